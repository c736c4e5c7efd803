//! What a verdict rests on: the settings each of which, changed alone, changes it. Found by changing them in a copy of the
//! snapshot and proving again, not by knowing.

use std::fmt::Debug;

use portcullis_datapath::{Network, When};
use portcullis_snapshot::{
    BridgeOptions, IfIndex, Ipv4Conf, Ipv6Conf, Link, LinkFlags, LinkKind, Netns, PortKind, PortOptions,
    PortState, Reading, Snapshot, StpState,
};

use crate::claim::{Goal, Receiver};
use crate::prover::Prover;
use crate::verdict::{Proof, Verdict};

/// A setting that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knob {
    /// What it is: `isolated of vnet0`, `nftables chain bridge filter forward`.
    pub name: String,
    /// How it is.
    pub is: String,
    /// How it would have to be for another verdict.
    pub instead: String,
    /// That verdict, by name.
    pub verdict: &'static str,
}

/// A change of one setting.
struct Flip {
    name: String,
    is: String,
    instead: String,
    change: Box<dyn Fn(&mut Netns)>,
}

/// Returns the settings that a verdict about a namespace of a snapshot rests on, in the order of the frame's way.
///
/// Settings of the two ports and their bridge, of the host's stack there and as a whole, VLANs, chains of nftables: one
/// at a time. What two of them do only together is not found.
#[must_use]
pub fn rests_on(snapshot: &Snapshot, netns: &Netns, proof: &Proof, when: When) -> Vec<Knob> {
    let Some(at) = snapshot.namespaces.iter().position(|one| one.id == netns.id) else { return Vec::new() };
    let again = |flip: Flip| {
        let mut changed = snapshot.clone();
        (flip.change)(changed.namespaces.get_mut(at)?);
        let network = Network::new(&changed, netns.id)?;
        let prover = Prover::new(&network);
        let prover = if when == When::Now { prover.now() } else { prover };
        if let Verdict::Exposed(exposure) = &proof.verdict
            && prover.gets_there(proof.port, proof.goal, &exposure.frame)
        {
            return None;
        }
        let verdict = prover.prove(proof.port, &[proof.goal]).pop()?.verdict.name();
        let Flip { name, is, instead, .. } = flip;
        (verdict != proof.verdict.name()).then_some(Knob { name, is, instead, verdict })
    };
    flips(netns, proof).into_iter().filter_map(again).collect()
}

/// The changes that are tried.
fn flips(netns: &Netns, proof: &Proof) -> Vec<Flip> {
    let other = match proof.goal {
        Goal::Port(port)
        | Goal::Sniff { from: port }
        | Goal::Spoof { of: port }
        | Goal::SpoofIp { to: Receiver::Port(port), .. } => Some(port),
        Goal::Host(_) | Goal::Infrastructure | Goal::SpoofIp { to: Receiver::Host, .. } => None,
    };
    let ports: Vec<&Link> =
        [Some(proof.port), other].into_iter().flatten().filter_map(|port| netns.link(port)).collect();
    let bridge = ports.first().and_then(|port| netns.link(port.master?));
    let mut flips = Vec::new();
    for port in &ports {
        of_device(port, &mut flips);
        of_port(port, &mut flips);
        of_vlans(netns, port, &mut flips);
    }
    if let Some(bridge) = bridge {
        of_bridge(bridge, &mut flips);
        of_vlans(netns, bridge, &mut flips);
        of_device(bridge, &mut flips);
    }
    of_host(netns, &mut flips);
    flips
}

fn flip(
    name: String,
    (is, instead): (impl Debug, impl Debug),
    change: impl Fn(&mut Netns) + 'static,
) -> Flip {
    let word = |value: &dyn Debug| match format!("{value:?}").as_str() {
        "true" => "on".to_owned(),
        "false" => "off".to_owned(),
        other => other.to_lowercase(),
    };
    Flip { name, is: word(&is), instead: word(&instead), change: Box::new(change) }
}

fn link_mut(netns: &mut Netns, device: IfIndex) -> Option<&mut Link> {
    match &mut netns.links {
        Reading::Read(links) => links.iter_mut().find(|link| link.index == device),
        Reading::Unread(_) => None,
    }
}

fn port_mut(netns: &mut Netns, device: IfIndex) -> Option<&mut PortOptions> {
    match &mut link_mut(netns, device)?.port {
        Some(PortKind::Bridge(options)) => Some(options),
        _ => None,
    }
}

fn bridge_mut(netns: &mut Netns, device: IfIndex) -> Option<&mut BridgeOptions> {
    match &mut link_mut(netns, device)?.kind {
        LinkKind::Bridge(options) => Some(options),
        _ => None,
    }
}

/// A flag of a device, and what the host's stack does on it.
fn of_device(link: &Link, flips: &mut Vec<Flip>) {
    let (device, name) = (link.index, &link.name);
    for (flag, what) in [(LinkFlags::UP, "up"), (LinkFlags::NOARP, "noarp")] {
        let is = link.flags.has(flag);
        flips.push(flip(format!("{what} of {name}"), (is, !is), move |netns| {
            if let Some(link) = link_mut(netns, device) {
                link.flags = LinkFlags(link.flags.0 ^ flag);
            }
        }));
    }
    type Ipv4 = fn(&mut Ipv4Conf) -> &mut Option<i32>;
    let ipv4: [(&str, i32, Ipv4); 4] = [
        ("arp_ignore", 8, |conf| &mut conf.arp_ignore),
        ("rp_filter", 1, |conf| &mut conf.rp_filter),
        ("forwarding", 1, |conf| &mut conf.forwarding),
        ("drop_unicast_in_l2_multicast", 1, |conf| &mut conf.drop_unicast_in_l2_multicast),
    ];
    for (setting, on, of) in ipv4 {
        let Some(is) = link.ipv4.clone().and_then(|mut conf| *of(&mut conf)) else { continue };
        let instead = if is == 0 { on } else { 0 };
        flips.push(flip(format!("net.ipv4.conf.{name}.{setting}"), (is, instead), move |netns| {
            if let Some(conf) = link_mut(netns, device).and_then(|link| link.ipv4.as_mut()) {
                *of(conf) = Some(instead);
            }
        }));
    }
    type Ipv6 = fn(&mut Ipv6Conf) -> &mut Option<i32>;
    let ipv6: [(&str, Ipv6); 3] = [
        ("disable_ipv6", |conf| &mut conf.disable_ipv6),
        ("accept_ra", |conf| &mut conf.accept_ra),
        ("drop_unicast_in_l2_multicast", |conf| &mut conf.drop_unicast_in_l2_multicast),
    ];
    for (setting, of) in ipv6 {
        let Some(is) = link.ipv6.clone().and_then(|mut conf| *of(&mut conf)) else { continue };
        let instead = i32::from(is == 0);
        flips.push(flip(format!("net.ipv6.conf.{name}.{setting}"), (is, instead), move |netns| {
            if let Some(conf) = link_mut(netns, device).and_then(|link| link.ipv6.as_mut()) {
                *of(conf) = Some(instead);
            }
        }));
    }
}

/// The options of a bridge port.
fn of_port(link: &Link, flips: &mut Vec<Flip>) {
    let Some(options) = link.bridge_port() else { return };
    let (device, name) = (link.index, &link.name);
    type Switch = fn(&mut PortOptions) -> &mut Option<bool>;
    let switches: [(&str, Switch); 12] = [
        ("isolated", |port| &mut port.isolated),
        ("locked", |port| &mut port.locked),
        ("mab", |port| &mut port.mab),
        ("learning", |port| &mut port.learning),
        ("flood", |port| &mut port.flood),
        ("mcast_flood", |port| &mut port.mcast_flood),
        ("bcast_flood", |port| &mut port.bcast_flood),
        ("hairpin", |port| &mut port.hairpin),
        ("neigh_suppress", |port| &mut port.neigh_suppress),
        ("proxy_arp", |port| &mut port.proxy_arp),
        ("mcast_to_unicast", |port| &mut port.mcast_to_unicast),
        ("vlan_tunnel", |port| &mut port.vlan_tunnel),
    ];
    for (option, of) in switches {
        let Some(is) = *of(&mut options.clone()) else { continue };
        flips.push(flip(format!("{option} of {name}"), (is, !is), move |netns| {
            if let Some(options) = port_mut(netns, device) {
                *of(options) = Some(!is);
            }
        }));
    }
    if let Some(is) = options.group_fwd_mask {
        let instead = if is == 0 { 0xfff8 } else { 0 };
        flips.push(flip(format!("group_fwd_mask of {name}"), (is, instead), move |netns| {
            if let Some(options) = port_mut(netns, device) {
                options.group_fwd_mask = Some(instead);
            }
        }));
    }
    if let Some(is) = options.state {
        let instead = if is == PortState::Forwarding { PortState::Blocking } else { PortState::Forwarding };
        flips.push(flip(format!("state of {name}"), (is, instead), move |netns| {
            if let Some(options) = port_mut(netns, device) {
                options.state = Some(instead);
            }
        }));
    }
}

/// The options of a bridge.
fn of_bridge(link: &Link, flips: &mut Vec<Flip>) {
    let Some(options) = link.bridge() else { return };
    let (device, name) = (link.index, &link.name);
    type Switch = fn(&mut BridgeOptions) -> &mut Option<bool>;
    let switches: [(&str, Switch); 2] = [
        ("vlan_filtering", |bridge| &mut bridge.vlan_filtering),
        ("mcast_snooping", |bridge| &mut bridge.mcast_snooping),
    ];
    for (option, of) in switches {
        let Some(is) = *of(&mut options.clone()) else { continue };
        flips.push(flip(format!("{option} of {name}"), (is, !is), move |netns| {
            if let Some(options) = bridge_mut(netns, device) {
                *of(options) = Some(!is);
            }
        }));
    }
    if let Some(is) = options.stp_state {
        let instead = if is == StpState::Off { StpState::Kernel } else { StpState::Off };
        flips.push(flip(format!("stp_state of {name}"), (is, instead), move |netns| {
            if let Some(options) = bridge_mut(netns, device) {
                options.stp_state = Some(instead);
            }
        }));
    }
    if let Some(is) = options.ageing_time {
        let instead = if is == 0 { 30_000 } else { 0 };
        flips.push(flip(format!("ageing_time of {name}"), (is, instead), move |netns| {
            if let Some(options) = bridge_mut(netns, device) {
                options.ageing_time = Some(instead);
            }
        }));
    }
    if let Some(is) = options.group_fwd_mask {
        let instead = if is == 0 { 0xfff8 } else { 0 };
        flips.push(flip(format!("group_fwd_mask of {name}"), (is, instead), move |netns| {
            if let Some(options) = bridge_mut(netns, device) {
                options.group_fwd_mask = Some(instead);
            }
        }));
    }
    if let Some(is) = link.promiscuity {
        let instead = u32::from(is == 0);
        flips.push(flip(format!("promiscuity of {name}"), (is, instead), move |netns| {
            if let Some(link) = link_mut(netns, device) {
                link.promiscuity = Some(instead);
                link.sysfs_flags = None;
            }
        }));
    }
}

/// The VLANs that a port, or the bridge device, is in: none of them.
fn of_vlans(netns: &Netns, link: &Link, flips: &mut Vec<Flip>) {
    let device = link.index;
    let table = netns.vlans.known().iter().find(|table| table.device == device);
    if table.is_none_or(|table| table.vlans.is_empty()) {
        return;
    }
    flips.push(flip(format!("VLANs of {}", link.name), ("some", "none"), move |netns| {
        if let Reading::Read(tables) = &mut netns.vlans {
            tables.iter_mut().filter(|table| table.device == device).for_each(|table| table.vlans.clear());
        }
    }));
}

/// What is of the host as a whole.
fn of_host(netns: &Netns, flips: &mut Vec<Flip>) {
    if let Some(is) = netns.ipv6.read().and_then(|settings| settings.all.forwarding) {
        let instead = i32::from(is == 0);
        flips.push(flip("net.ipv6.conf.all.forwarding".to_owned(), (is, instead), move |netns| {
            if let Reading::Read(settings) = &mut netns.ipv6 {
                settings.all.forwarding = Some(instead);
            }
        }));
    }
    for chain in netns.filters.nft_chains.known() {
        let (family, table, name) = (chain.family, chain.table.clone(), chain.chain.clone());
        let text = format!("nftables chain {} {table} {name}", format!("{family:?}").to_lowercase());
        flips.push(flip(text, ("there", "gone"), move |netns| {
            if let Reading::Read(chains) = &mut netns.filters.nft_chains {
                chains.retain(|chain| (chain.family, &chain.table, &chain.chain) != (family, &table, &name));
            }
        }));
    }
}
