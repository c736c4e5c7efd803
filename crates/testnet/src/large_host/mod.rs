//! Snapshots of large hosts, for benchmarks: guests by the thousand, with the rules that products write for each.
//!
//! Made by hand and as a capture would be: each guest's port is a tap with its local FDB entry, a learned entry for the
//! guest, a link-local address, and the routes and groups that come with it. The rules are, expression by expression, what
//! `nft` 1.0.6 makes of such a product's text; `tests/kernel_large_host.rs` holds them against a kernel.

mod rules;

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{
    Address, BoolOpts, BridgeOptions, EtherType, FdbEntry, Filters, IfIndex, Ipv4Conf, Ipv6Conf, Kernel,
    Link, LinkFlags, LinkKind, MacAddr, Mdb, Membership, Netns, NetnsId, NextHop, PolicyRule, PortKind,
    PortOptions, PortState, Reading, Route, SCHEMA, Settings, Snapshot, StpState, TunOptions,
};

/// Whose rules keep guests from using each other's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AntiSpoofing {
    /// None at all.
    None,
    /// As libvirt's network filter `clean-traffic`: one jump for each port, in a row, into a chain of its own. 8 rules a
    /// guest.
    Libvirt,
    /// As Proxmox VE's nftables firewall with MAC and IP filter: a verdict map from ports to chains, both ways, a set of
    /// addresses for each guest. 20 rules a guest.
    Proxmox,
}

/// One guest, as its rules need it.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its port.
    pub port: String,
    /// The number that Proxmox VE knows it by.
    pub vmid: usize,
    /// Its only MAC address.
    pub mac: MacAddr,
    /// Its only IPv4 address.
    pub ip: Ipv4Addr,
    /// Its link-local IPv6 address, made from the MAC address.
    pub link_local: Ipv6Addr,
}

impl Guest {
    /// Returns the guest with a number, counted from 0 over all bridges, of which it is on this one.
    #[must_use]
    pub fn new(number: usize, bridge: usize, style: AntiSpoofing) -> Self {
        let vmid = 100 + number;
        let port = match style {
            AntiSpoofing::None | AntiSpoofing::Libvirt => format!("vnet{number}"),
            AntiSpoofing::Proxmox => format!("tap{vmid}i0"),
        };
        let [.., c, d] = number.to_be_bytes();
        let mac = MacAddr([0x52, 0x54, 0, 0, c, d]);
        // 10.bridge.0.2 and on; each guest has the host's part of its number, whichever bridge it is on.
        let [.., high, low] = (number + 2).to_be_bytes();
        let ip = Ipv4Addr::new(10, bridge as u8, high, low);
        let last = u16::from_be_bytes([c, d]);
        Self { port, vmid, mac, ip, link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, last) }
    }
}

/// Returns a host with so many guests, dealt out to so many bridges (256 at most) in turn; each bridge leads out by an
/// uplink of its own, and the host has an address on a network of its own.
#[must_use]
pub fn large_host(guests: usize, bridges: usize, style: AntiSpoofing) -> Snapshot {
    let mut netns = empty();
    let mut links = Vec::new();
    let eth1 = IfIndex(2);
    links.push(link(eth1, "eth1", LinkKind::Plain));
    add(&mut netns.addresses, address(eth1, "10.255.2.3/24"));
    add(&mut netns.routes, route(eth1, "10.255.2.3/32", 255, 2));
    add(&mut netns.routes, route(eth1, "10.255.2.0/24", 254, 1));
    for at in 0..bridges {
        let bridge = IfIndex(number(10 + at));
        links.push(link(bridge, &format!("br{at}"), bridge_kind()));
        device(&mut netns, bridge, bridge);
    }
    for at in 0..bridges {
        let (index, bridge) = (IfIndex(number(300 + at)), IfIndex(number(10 + at)));
        links.push(port(link(index, &format!("ens{at}"), LinkKind::Plain), bridge, at));
        device(&mut netns, index, bridge);
    }
    let mut all = Vec::new();
    for at in 0..guests {
        let guest = Guest::new(at, at % bridges, style);
        let (index, bridge) = (IfIndex(number(1000 + at)), IfIndex(number(10 + at % bridges)));
        let tap = LinkKind::Tun(TunOptions { tap: true, ..TunOptions::default() });
        links.push(port(link(index, &guest.port, tap), bridge, bridges + at));
        device(&mut netns, index, bridge);
        add(&mut netns.fdb, FdbEntry::new(index, Some(bridge), guest.mac, 2));
        all.push(guest);
    }
    netns.links = Reading::Read(links);
    (netns.filters.nft_tables, netns.filters.nft_chains) = match style {
        AntiSpoofing::None => (Reading::Read(Vec::new()), Reading::Read(Vec::new())),
        AntiSpoofing::Libvirt => rules::libvirt(&all).read(),
        AntiSpoofing::Proxmox => rules::proxmox(&all).read(),
    };
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: String::new(),
        taken_at: String::new(),
        kernel: Kernel { release: "6.12.0".to_owned(), host: String::new() },
        namespaces: vec![netns],
        problems: Vec::new(),
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap()
}

/// What comes with every device that is up and belongs to a bridge.
fn device(netns: &mut Netns, index: IfIndex, bridge: IfIndex) {
    add(&mut netns.fdb, FdbEntry::new(index, Some(bridge), mac(index), 0x80));
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, index.0 as u16);
    add(&mut netns.addresses, address(index, &format!("{own}/64")));
    add(&mut netns.routes, route(index, &format!("{own}/128"), 255, 2));
    add(&mut netns.routes, route(index, "fe80::/64", 254, 1));
    add(&mut netns.routes, route(index, "ff00::/8", 255, 5));
    for group in ["224.0.0.1", "ff02::1"] {
        add(&mut netns.memberships, Membership { device: index, group: group.parse().unwrap() });
    }
}

fn add<T>(reading: &mut Reading<Vec<T>>, item: T) {
    if let Reading::Read(items) = reading {
        items.push(item);
    }
}

fn mac(index: IfIndex) -> MacAddr {
    let [_, _, a, b] = index.0.to_be_bytes();
    MacAddr([0xfe, 0x54, 0, 0, a, b])
}

fn link(index: IfIndex, name: &str, kind: LinkKind) -> Link {
    Link {
        index,
        name: name.to_owned(),
        altnames: Vec::new(),
        arp_type: 1,
        flags: LinkFlags(LinkFlags::UP | LinkFlags::LOWER_UP | LinkFlags::RUNNING),
        sysfs_flags: None,
        promiscuity: Some(0),
        allmulti: Some(0),
        operstate: 6,
        carrier: Some(true),
        mtu: 1500,
        address: Some(mac(index)),
        broadcast: Some(MacAddr::BROADCAST),
        master: None,
        link: None,
        link_netns: None,
        kind,
        port: None,
        xdp: Vec::new(),
        phys_switch_id: None,
        ipv4: Some(Ipv4Conf::gather(|_, _| Some(0))),
        ipv6: Some(ipv6()),
        behind: None,
        unknown: Vec::new(),
    }
}

/// Makes a device a port with a number.
fn port(link: Link, bridge: IfIndex, at: usize) -> Link {
    let options = PortOptions {
        state: Some(PortState::Forwarding),
        learning: Some(true),
        flood: Some(true),
        mcast_flood: Some(true),
        bcast_flood: Some(true),
        no: Some(at as u16),
        ..PortOptions::default()
    };
    Link { master: Some(bridge), port: Some(PortKind::Bridge(Box::new(options))), ..link }
}

fn ipv6() -> Ipv6Conf {
    Ipv6Conf::gather(|name, _| Some(i32::from(name.starts_with("accept_ra") || name == "autoconf")))
}

fn bridge_kind() -> LinkKind {
    LinkKind::Bridge(Box::new(BridgeOptions {
        ageing_time: Some(30000),
        stp_state: Some(StpState::Off),
        vlan_filtering: Some(false),
        vlan_protocol: Some(EtherType::VLAN),
        group_fwd_mask: Some(0),
        mcast_snooping: Some(true),
        multi_boolopt: Some(BoolOpts { value: 0, mask: 0x1f }),
        ..BridgeOptions::default()
    }))
}

fn address(device: IfIndex, text: &str) -> Address {
    Address { device, address: text.parse().unwrap(), peer: None, scope: 0, flags: 0x80 }
}

fn route(device: IfIndex, destination: &str, table: u32, kind: u8) -> Route {
    Route {
        table,
        destination: destination.parse().unwrap(),
        source: None,
        kind,
        scope: 0,
        protocol: 2,
        tos: 0,
        flags: None,
        metric: None,
        prefsrc: None,
        nexthops: vec![NextHop { device: Some(device), gateway: None, flags: 0 }],
        nexthop_id: None,
    }
}

fn rule(ipv6: bool, priority: u32, table: u32) -> PolicyRule {
    PolicyRule::new(ipv6, priority, 1, table)
}

fn empty() -> Netns {
    let filters = Filters {
        tc: Reading::Read(Vec::new()),
        tcx: Reading::Read(Vec::new()),
        nft_chains: Reading::Read(Vec::new()),
        nft_tables: Reading::Read(Vec::new()),
        nft_flowtables: Reading::Read(Vec::new()),
        ipsets: Reading::Read(Vec::new()),
        legacy_tables: Reading::Read(Vec::new()),
        br_netfilter: Reading::default(),
    };
    let ipv4 = || Ipv4Conf::gather(|_, _| Some(0));
    let rules = [(false, 0, 255), (false, 32766, 254), (true, 0, 255), (true, 32766, 254)];
    Netns {
        id: NetnsId(1),
        names: Vec::new(),
        processes: Vec::new(),
        links: Reading::Read(Vec::new()),
        vlans: Reading::Read(Vec::new()),
        vlan_globals: Reading::Read(Vec::new()),
        mst: Reading::Read(Vec::new()),
        fdb: Reading::Read(Vec::new()),
        mdb: Reading::Read(Mdb::default()),
        addresses: Reading::Read(Vec::new()),
        routes: Reading::Read(Vec::new()),
        rules: Reading::Read(rules.map(|(ipv6, priority, table)| rule(ipv6, priority, table)).to_vec()),
        neighbours: Reading::Read(Vec::new()),
        ipv4: Reading::Read(Settings { all: ipv4(), default: ipv4() }),
        ipv6: Reading::Read(Settings { all: ipv6(), default: ipv6() }),
        filters,
        listeners: Reading::Read(Vec::new()),
        packet_sockets: Reading::Read(Vec::new()),
        protocol_handlers: Reading::Read(Vec::new()),
        memberships: Reading::Read(Vec::new()),
    }
}
