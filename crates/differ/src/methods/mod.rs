//! The isolation methods of both articles over the first one's network, as steps: what each leaves open is proven, and
//! held against the kernel.

pub mod table;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_kernel::link::{NUD_PERMANENT, NUD_REACHABLE};
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{CmpOp, LinkFlags, MacAddr, MetaKey, NftBaseChain, NftFamily, NftVerdict};

use crate::firewall::{self, Match};
use crate::generate::guest_mac;
use crate::names::{BRIDGE, GUESTS, Name, OUTSIDE, PORTS, UPLINK, index, mac};
use crate::remedies::{
    at_ingress, base, blackhole, blackhole_first, bridge_option, chain, conf, link_local_dropped,
    port_option, tc_drop, unicast_in_groups_dropped, vlan_filtering, with_rules,
};
use crate::step::{Route, Step};

/// The guests' ports; the first is the one that claims are about.
pub const GUEST_PORTS: [Name; 3] = [PORTS[0], PORTS[1], PORTS[2]];
/// The port that leads to the public network.
pub const PUBLIC: Name = PORTS[3];
/// The hardware address of a guest of another product, which has taken the bridge device as its uplink.
pub const FOREIGN: MacAddr = MacAddr([0x00, 0x0c, 0x29, 0, 0, 1]);

/// A method.
#[derive(Clone, Copy)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// How it is done, in the words of the article or the administrator.
    pub how: &'static str,
    /// What it changes.
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// These steps come last.
    Add(fn() -> Vec<Step>),
    /// The bridge has a namespace of its own: nothing else of the host's is there.
    Alone,
}

/// The network without any method: the laboratory's `hypervisor`.
#[must_use]
pub fn network() -> Vec<Step> {
    let mut steps = vec![Step::Bridge(BRIDGE)];
    for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
        steps.push(Step::Sysctl { family: "bridge", device: None, setting, value: 0 });
    }
    for (near, far) in PORTS.into_iter().zip(GUESTS).take(4) {
        steps.extend([Step::Cable { near, far }, Step::Master { device: near, master: BRIDGE }]);
        steps.extend([Step::Up(far), Step::Up(near)]);
    }
    steps.extend([Step::Cable { near: UPLINK, far: OUTSIDE }, Step::Up(OUTSIDE), Step::Up(UPLINK)]);
    steps.push(Step::Up(BRIDGE));
    let infra = Ipv4Addr::new(198, 51, 100, 10).into();
    let address = |address: IpAddr, prefix| Step::Address { device: UPLINK, address, prefix };
    let any = Ipv4Addr::UNSPECIFIED.into();
    steps.extend([
        address(Ipv4Addr::new(198, 51, 100, 1).into(), 24),
        address(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into(), 64),
        Step::Route(Route {
            to: any,
            prefix: 0,
            kind: 1,
            via: Some(infra),
            device: Some(UPLINK),
            table: 254,
        }),
        Step::Neighbour { device: UPLINK, address: infra, mac: mac(OUTSIDE) },
    ]);
    steps.extend(conf("ipv4", "all", "forwarding", 1));
    // The bridge has heard everybody.
    steps.extend(PORTS.iter().take(4).enumerate().map(|(number, port)| Step::Fdb {
        device: port,
        address: guest_mac(number),
        vlan: None,
        state: NUD_REACHABLE,
        flags: 0,
    }));
    steps
}

/// The network with some of the methods.
#[must_use]
pub fn with(methods: &[&Method]) -> Vec<Step> {
    let mut steps = network();
    if methods.iter().any(|method| matches!(method.change, Change::Alone)) {
        steps.retain(|step| !is_elsewhere(step));
    }
    for method in methods {
        if let Change::Add(change) = method.change {
            steps.extend(change());
        }
    }
    steps
}

/// Whether a step is about what stays behind when the bridge goes to a namespace of its own.
fn is_elsewhere(step: &Step) -> bool {
    match step {
        Step::Cable { near: device, .. }
        | Step::Address { device, .. }
        | Step::Neighbour { device, .. }
        | Step::Up(device) => [UPLINK, OUTSIDE].contains(device),
        Step::Route(_) => true,
        Step::Sysctl { setting, .. } => *setting == "forwarding",
        _ => false,
    }
}

/// What is claimed, in the order of the table's columns.
#[must_use]
pub fn goals() -> Vec<Goal> {
    let mut goals: Vec<_> = HostProtocol::ALL.map(Goal::Host).into();
    let (other, public) = (index(PORTS[1]), index(PUBLIC));
    goals.extend([
        Goal::Infrastructure,
        Goal::Port(other),
        Goal::Port(public),
        Goal::Sniff { from: other },
        Goal::Sniff { from: public },
        Goal::Spoof { of: other },
    ]);
    goals
}

/// The table's columns.
pub const COLUMNS: [&str; 10] = [
    "host arp",
    "host ipv4",
    "host ipv6",
    "host other",
    "infrastructure",
    "guest",
    "uplink",
    "sniff guest",
    "sniff uplink",
    "spoof",
];

const fn add(name: &'static str, how: &'static str, change: fn() -> Vec<Step>) -> Method {
    Method { name, how, change: Change::Add(change) }
}

/// All of them, the first article's first.
pub const METHODS: &[Method] = &[
    add(
        "vlan filtering",
        "vlan_filtering 1, br0 in no VLAN: the first article's two commands",
        vlan_filtering,
    ),
    add("tc ingress", "tc ingress of br0: u32 match u8 0 0 action drop", || tc_drop(BRIDGE)),
    add(
        "bridge input",
        "nft bridge input: meta ibrname br0 drop (ebtables -A INPUT --logical-in br0)",
        || from_bridge(base(NftFamily::Bridge, (1, "input"), &[], false), MetaKey::BriIifName),
    ),
    Method {
        name: "own namespace",
        how: "the bridge and its ports in a namespace of their own: the host of the claims is that namespace",
        change: Change::Alone,
    },
    add("arp off", "ip link set br0 arp off", || vec![Step::Flag { device: BRIDGE, flag: LinkFlags::NOARP }]),
    add("arp input", "nft arp input: iifname br0 drop (arptables -A INPUT -i br0)", || {
        from_bridge(base(NftFamily::Arp, (0, "input"), &[], false), MetaKey::IifName)
    }),
    add("arp_ignore", "net.ipv4.conf.br0.arp_ignore 2", || conf("ipv4", BRIDGE, "arp_ignore", 2)),
    add(
        "raw prerouting",
        "nft ip prerouting: iifname br0 drop (iptables -t raw -I PREROUTING -i br0)",
        || from_bridge(base(NftFamily::Ip, (0, "prerouting"), &[], false), MetaKey::IifName),
    ),
    add("rp_filter", "net.ipv4.conf.br0.rp_filter 1", || conf("ipv4", BRIDGE, "rp_filter", 1)),
    add("ip rule", "ip rule add iif br0 blackhole", || vec![blackhole(false, 32_765)]),
    add("ip rule first", "the same, in front of the rule for local addresses", || blackhole_first(false)),
    add("disable_ipv6", "net.ipv6.conf.br0.disable_ipv6 1", || conf("ipv6", BRIDGE, "disable_ipv6", 1)),
    add("ip6 prerouting", "nft ip6 prerouting: iifname br0 drop", || {
        from_bridge(base(NftFamily::Ip6, (0, "prerouting"), &[], false), MetaKey::IifName)
    }),
    add(
        "ip -6 rule first",
        "ip -6 rule add iif br0 blackhole, in front of the rule for local addresses",
        || blackhole_first(true),
    ),
    add(
        "unicast in groups",
        "drop_unicast_in_l2_multicast 1 of br0, IPv4 and IPv6",
        unicast_in_groups_dropped,
    ),
    add("netdev ingress", "nft netdev ingress of br0: drop", || {
        chain(NftFamily::Netdev, 0, "ingress", &[BRIDGE], true)
    }),
    add("ageing 0", "ageing_time 0, which the second article warns of", || {
        bridge_option("ageing_time", 0).into_iter().collect()
    }),
    add("flood off", "flood off on the guests' ports", || on_guest_ports(&[("flood", 0)])),
    add("foreign entry", "a local FDB entry for the foreign guest's address on br0", || {
        vec![Step::Fdb { device: BRIDGE, address: FOREIGN, vlan: None, state: NUD_PERMANENT, flags: 0 }]
    }),
    add("learning off", "learning off on the guests' ports", || on_guest_ports(&[("learning", 0)])),
    add("isolated", "isolated on the guests' ports", || on_guest_ports(&[("isolated", 1)])),
    add("link-local drop", "nft netdev ingress of the guests' ports: 01:80:c2:00:00:00/44 drop", || {
        link_local_dropped(&GUEST_PORTS)
    }),
    add(
        "allow-list",
        "nft netdev ingress of the guests' ports: only ARP and IPv4 from the guest's own address",
        || {
            let rule = |protocol| {
                let own = guest_mac(0);
                let text = format!("ether saddr {own}");
                let own =
                    firewall::payload(text, portcullis_snapshot::PayloadBase::Link, 6, CmpOp::Eq, &own.0);
                (vec![crate::remedies::ether_type(protocol), own], NftVerdict::Accept)
            };
            use portcullis_snapshot::EtherType;
            at_ingress("allow", &[PORTS[0]], true, vec![rule(EtherType::ARP), rule(EtherType::IPV4)])
        },
    ),
];

fn on_guest_ports(options: &[(&str, u32)]) -> Vec<Step> {
    let all = GUEST_PORTS.iter().flat_map(|port| options.iter().map(move |option| (*port, *option)));
    all.filter_map(|(port, (keyword, value))| port_option(port, keyword, value)).collect()
}

/// What comes in by the bridge is dropped.
fn from_bridge(base: NftBaseChain, key: MetaKey) -> Vec<Step> {
    let word = if key == MetaKey::BriIifName { "meta ibrname br0" } else { "iifname br0" };
    let name: Match = firewall::meta(word.to_owned(), key, CmpOp::Eq, &firewall::name(BRIDGE));
    with_rules(base, vec![(vec![name], NftVerdict::Drop)])
}
