//! How long an audit takes, by number of ports: on one bridge, and on sixteen.
//!
//! The hosts are made by hand and look as a capture would: each port is a tap with its local FDB entry, a learned
//! entry, a link-local address and the routes and groups that come with it.

#![expect(clippy::panic, reason = "a bench whose own literals are wrong has nothing to measure")]

use std::net::Ipv6Addr;

use divan::Bencher;
use portcullis_audit::{Policy, audit};
use portcullis_snapshot::{
    Address, BoolOpts, BridgeOptions, EtherType, FdbEntry, Filters, IfIndex, Ipv4Conf, Ipv6Conf, Kernel,
    Link, LinkFlags, LinkKind, MacAddr, Mdb, Membership, Netns, NetnsId, NextHop, PolicyRule, PortKind,
    PortOptions, PortState, Reading, Route, SCHEMA, Settings, Snapshot, StpState, TunOptions,
};

fn main() {
    divan::main();
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 10)]
fn one_bridge(bencher: Bencher<'_, '_>, ports: u32) {
    let snapshot = host(1, ports);
    bencher.bench(|| audit(&snapshot, &Policy::default(), jiff::civil::date(2026, 1, 1)).findings.len());
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 10)]
fn sixteen_bridges(bencher: Bencher<'_, '_>, ports: u32) {
    let snapshot = host(16, ports);
    bencher.bench(|| audit(&snapshot, &Policy::default(), jiff::civil::date(2026, 1, 1)).findings.len());
}

/// A host with this many bridges, which share this many ports.
fn host(bridges: u32, ports: u32) -> Snapshot {
    let mut netns = empty();
    let mut links = Vec::new();
    let eth1 = IfIndex(2);
    links.push(link(eth1, "eth1", LinkKind::Plain));
    add(&mut netns.addresses, address(eth1, "10.1.2.3/24"));
    add(&mut netns.routes, route(eth1, "10.1.2.3/32", 255, 2));
    add(&mut netns.routes, route(eth1, "10.1.2.0/24", 254, 1));
    for at in 0..bridges {
        let bridge = IfIndex(10 + at);
        links.push(link(bridge, &format!("br{at}"), bridge_kind()));
        device(&mut netns, bridge, bridge);
    }
    for at in 0..ports {
        let (index, bridge) = (IfIndex(100 + at), IfIndex(10 + at % bridges));
        let mut port = link(
            index,
            &format!("vnet{at}"),
            LinkKind::Tun(TunOptions { tap: true, ..TunOptions::default() }),
        );
        port.master = Some(bridge);
        port.port = Some(PortKind::Bridge(Box::new(port_options(at))));
        links.push(port);
        device(&mut netns, index, bridge);
        let [.., a, b] = at.to_be_bytes();
        add(&mut netns.fdb, fdb(index, bridge, MacAddr([0x52, 0x54, 0, 0, a, b]), 2));
    }
    netns.links = Reading::Read(links);
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: String::new(),
        taken_at: String::new(),
        kernel: Kernel { release: "6.12.0".to_owned(), host: String::new() },
        namespaces: vec![netns],
        problems: Vec::new(),
    }
}

/// What comes with every device that is up.
fn device(netns: &mut Netns, index: IfIndex, bridge: IfIndex) {
    add(&mut netns.fdb, fdb(index, bridge, mac(index), 0x80));
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, index.0 as u16);
    add(&mut netns.addresses, address(index, &format!("{own}/64")));
    add(&mut netns.routes, route(index, &format!("{own}/128"), 255, 2));
    add(&mut netns.routes, route(index, "fe80::/64", 254, 1));
    add(&mut netns.routes, route(index, "ff00::/8", 255, 5));
    for group in ["224.0.0.1", "ff02::1"].map(|group| group.parse().ok()).into_iter().flatten() {
        add(&mut netns.memberships, Membership { device: index, group });
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

fn port_options(number: u32) -> PortOptions {
    PortOptions {
        state: Some(PortState::Forwarding),
        learning: Some(true),
        flood: Some(true),
        mcast_flood: Some(true),
        bcast_flood: Some(true),
        no: Some(number as u16),
        ..PortOptions::default()
    }
}

fn address(device: IfIndex, text: &str) -> Address {
    let address = text.parse().unwrap_or_else(|_| panic!("{text}"));
    Address { device, address, peer: None, scope: 0, flags: 0x80 }
}

fn route(device: IfIndex, destination: &str, table: u32, kind: u8) -> Route {
    Route {
        table,
        destination: destination.parse().unwrap_or_else(|_| panic!("{destination}")),
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

fn fdb(device: IfIndex, bridge: IfIndex, address: MacAddr, state: u16) -> FdbEntry {
    FdbEntry {
        device,
        bridge: Some(bridge),
        address,
        vlan: None,
        state,
        flags: 0,
        flags_ext: 0,
        used: None,
        updated: None,
        remote: None,
        unknown: Vec::new(),
    }
}

fn rule(ipv6: bool, priority: u32, table: u32) -> PolicyRule {
    PolicyRule {
        ipv6,
        priority,
        action: 1,
        table,
        not: false,
        source: None,
        destination: None,
        iif: None,
        oif: None,
        l3mdev: false,
        goto: None,
        suppress_prefixlen: None,
        unknown: Vec::new(),
    }
}

fn empty() -> Netns {
    let filters = Filters {
        tc: Reading::Read(Vec::new()),
        tcx: Reading::Read(Vec::new()),
        nft_chains: Reading::Read(Vec::new()),
        nft_tables: Reading::Read(Vec::new()),
        nft_flowtables: Reading::Read(Vec::new()),
        legacy_tables: Reading::Read(Vec::new()),
        ipsets: Reading::Read(Vec::new()),
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
