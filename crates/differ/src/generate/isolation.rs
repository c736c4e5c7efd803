//! Configurations in which much is closed: random ones with some of the remedies that the articles and administrators
//! know, so that *isolated* is a frequent verdict and rests on little.

use std::net::Ipv4Addr;

use fastrand::Rng;
use portcullis_kernel::link::{NUD_NOARP, NUD_REACHABLE};
use portcullis_snapshot::{CmpOp, EtherType, LinkFlags, NftFamily, NftVerdict, PayloadBase};

use super::config::{self, Sort};
use super::{guest_mac, one_in, pick};
use crate::firewall::{self, Match};
use crate::names::{BRIDGE, Name, PORTS};
use crate::remedies::{
    self, at_ingress, chain, conf, ether_type, link_local_dropped, no_forwarding, port_option, tc_drop,
    unicast_in_groups_dropped, vlan_filtering,
};
use crate::step::Step;

/// Makes the steps of a configuration.
pub(super) fn steps(rng: &mut Rng) -> Vec<Step> {
    let sort = match rng.u32(..10) {
        0 => Sort::Anything,
        1..=3 => Sort::NoRules,
        _ => Sort::Calm,
    };
    let mut steps = config::steps(rng, sort);
    // What time alone changes is no isolation.
    steps.retain(|step| !matches!(step, Step::BridgeOption { knob, .. } if knob.keyword == "stp_state"));
    steps.retain(|step| !matches!(step, Step::PortOption { knob, .. } if knob.is_state()));
    let ports: Vec<Name> = steps.iter().filter_map(port_of_bridge).collect();
    if !one_in(rng, 4) {
        // The bridge has heard the guests, whose addresses others may then want.
        steps.extend(ports.iter().enumerate().map(|(number, port)| Step::Fdb {
            device: port,
            address: guest_mac(number),
            vlan: None,
            state: NUD_REACHABLE,
            flags: 0,
        }));
    }
    let mut made = Vec::new();
    if one_in(rng, 3) {
        made.extend(recipe(rng, &ports));
    }
    for _ in 0..rng.u32(1..=4) {
        made.extend(pick(rng, REMEDIES).map_or_else(Vec::new, |remedy| remedy(rng, &ports)));
    }
    drop_doubles(&mut made);
    steps.extend(made);
    steps
}

fn port_of_bridge(step: &Step) -> Option<Name> {
    match step {
        Step::Master { device, master: BRIDGE } => Some(device),
        _ => None,
    }
}

/// A chain or rule that two remedies bring is there once.
fn drop_doubles(steps: &mut Vec<Step>) {
    let mut seen: Vec<String> = Vec::new();
    steps.retain(|step| {
        let (Step::Chain(_) | Step::FirewallRule(_)) = step else { return true };
        let text = format!("{step:?}");
        let new = !seen.contains(&text);
        seen.push(text);
        new
    });
}

type Remedy = fn(&mut Rng, &[Name]) -> Vec<Step>;

/// Remedies, each of which closes something.
const REMEDIES: &[Remedy] = &[
    |_, _| vlan_filtering(),
    |_, _| vec![Step::Flag { device: BRIDGE, flag: LinkFlags::NOARP }],
    |rng, _| conf("ipv4", BRIDGE, "arp_ignore", pick(rng, &[1, 2, 8]).unwrap_or(8)),
    |_, _| conf("ipv4", BRIDGE, "rp_filter", 1),
    |_, _| conf("ipv6", BRIDGE, "disable_ipv6", 1),
    |_, _| conf("ipv6", "all", "disable_ipv6", 1),
    |_, _| no_forwarding(),
    |_, _| no_forwarding(),
    |_, _| unicast_in_groups_dropped(),
    |rng, _| blackhole_first(rng),
    |rng, ports| every(rng, ports, "isolated", 1),
    |rng, ports| every(rng, ports, "isolated", 1),
    |rng, ports| every(rng, ports, "flood", 0),
    |rng, ports| {
        ["flood", "mcast_flood", "bcast_flood"].iter().flat_map(|knob| every(rng, ports, knob, 0)).collect()
    },
    |_, _| vec![port_option(PORTS[0], "locked", 1)].into_iter().flatten().collect(),
    |rng, ports| every(rng, ports, "learning", 0),
    |rng, ports| fixed_entries(rng, ports),
    |_, _| port_option(PORTS[0], "group_fwd_mask", 0xfffd).into_iter().collect(),
    |_, _| chain(NftFamily::Bridge, 1, "input", &[], true),
    |_, _| chain(NftFamily::Bridge, 2, "forward", &[], true),
    |_, _| chain(NftFamily::Bridge, 0, "prerouting", &[], true),
    |_, _| chain(NftFamily::Netdev, 0, "ingress", &[BRIDGE], true),
    |_, _| chain(NftFamily::Netdev, 0, "ingress", &[PORTS[0]], true),
    |_, _| link_local_dropped(&[PORTS[0]]),
    |_, _| tc_drop(BRIDGE),
    |_, _| tc_drop(PORTS[0]),
    |rng, _| allow_list(rng),
    |rng, _| deny_list(rng),
    |_, _| chain(NftFamily::Arp, 0, "input", &[], true),
    |_, _| chain(NftFamily::Inet, 0, "prerouting", &[], true),
    |_, _| chain(NftFamily::Ip6, 1, "input", &[], true),
    |_, _| chain(NftFamily::Inet, 2, "forward", &[], true),
];

/// A few that together close the way to the host, or between guests, but for one of them now and then.
fn recipe(rng: &mut Rng, ports: &[Name]) -> Vec<Step> {
    let parts: &[&dyn Fn(&mut Rng) -> Vec<Step>] = match rng.u32(..4) {
        0 => &[&|_| vlan_filtering(), &|_| link_local_dropped(&[PORTS[0]])],
        1 => &[&|_| chain(NftFamily::Netdev, 0, "ingress", &[BRIDGE], true), &|_| {
            link_local_dropped(&[PORTS[0]])
        }],
        2 => &[
            &|_| vec![Step::Flag { device: BRIDGE, flag: LinkFlags::NOARP }],
            &|_| conf("ipv4", BRIDGE, "rp_filter", 1),
            &|_| conf("ipv6", BRIDGE, "disable_ipv6", 1),
            &|_| link_local_dropped(&[PORTS[0]]),
        ],
        _ => &[&|rng| every(rng, ports, "isolated", 1), &|_| no_forwarding()],
    };
    parts
        .iter()
        .filter(|_| !one_in(rng, 6))
        .collect::<Vec<_>>()
        .into_iter()
        .flat_map(|part| part(rng))
        .collect()
}

/// An option of every port, or of every one but one.
fn every(rng: &mut Rng, ports: &[Name], keyword: &str, value: u32) -> Vec<Step> {
    let but = if one_in(rng, 4) { pick(rng, ports) } else { None };
    ports
        .iter()
        .filter(|port| Some(**port) != but)
        .filter_map(|port| port_option(port, keyword, value))
        .collect()
}

fn blackhole_first(rng: &mut Rng) -> Vec<Step> {
    let ipv6 = if one_in(rng, 2) { remedies::blackhole_first(true) } else { Vec::new() };
    [remedies::blackhole_first(false), ipv6].concat()
}

/// Each guest's address in the FDB, on its port, for good.
fn fixed_entries(rng: &mut Rng, ports: &[Name]) -> Vec<Step> {
    let of = |(number, port): (usize, &Name)| Step::Fdb {
        device: port,
        address: guest_mac(number),
        vlan: None,
        state: NUD_NOARP,
        flags: if rng.bool() { portcullis_kernel::link::NTF_STICKY } else { 0 },
    };
    ports.iter().enumerate().map(of).collect()
}

fn source() -> Match {
    let mac = guest_mac(0);
    firewall::payload(format!("ether saddr {mac}"), PayloadBase::Link, 6, CmpOp::Eq, &mac.0)
}

/// Only certain frames come in by the first port.
fn allow_list(rng: &mut Rng) -> Vec<Step> {
    let mut rules = vec![(vec![ether_type(EtherType::ARP)], NftVerdict::Accept)];
    if one_in(rng, 2) {
        let target = Ipv4Addr::new(10, 0, 0, 12).octets();
        let text = "ip daddr 10.0.0.12".to_owned();
        let to = firewall::payload(text, PayloadBase::Network, 16, CmpOp::Eq, &target);
        rules.push((vec![ether_type(EtherType::IPV4), source(), to], NftVerdict::Accept));
    }
    if one_in(rng, 3) {
        rules = vec![(vec![source()], NftVerdict::Accept)];
    }
    at_ingress("allow", &[PORTS[0]], true, rules)
}

/// Certain frames do not come in by the first port: with luck all that matter.
fn deny_list(rng: &mut Rng) -> Vec<Step> {
    let all = [EtherType::ARP, EtherType::IPV4, EtherType::IPV6, EtherType::VLAN, EtherType::SVLAN];
    let denied = all.into_iter().filter(|_| !one_in(rng, 5)).collect::<Vec<_>>();
    let rules = denied.into_iter().map(|protocol| (vec![ether_type(protocol)], NftVerdict::Drop)).collect();
    at_ingress("deny", &[PORTS[0]], false, rules)
}
