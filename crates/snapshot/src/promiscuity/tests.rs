use super::*;
use crate::{
    BondOptions, BridgeOptions, EtherType, Filters, LinkNetns, MacvlanOptions, PacketSocket, PortOptions,
    Unread, VlanDevice,
};

const BRIDGE: IfIndex = IfIndex(10);
const PORT: IfIndex = IfIndex(11);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn link(index: IfIndex, name: &str, kind: LinkKind, count: u32) -> Link {
    Link {
        index,
        name: name.to_owned(),
        altnames: Vec::new(),
        arp_type: 1,
        flags: LinkFlags(LinkFlags::UP),
        sysfs_flags: None,
        promiscuity: Some(count),
        allmulti: Some(0),
        operstate: 6,
        carrier: Some(true),
        mtu: 1500,
        address: Some(MacAddr([2, 0, 0, 0, 0, index.0.to_be_bytes()[3]])),
        broadcast: Some(MacAddr::BROADCAST),
        master: None,
        link: None,
        link_netns: None,
        kind,
        port: None,
        xdp: Vec::new(),
        phys_switch_id: None,
        ipv4: None,
        ipv6: None,
        behind: None,
        unknown: Vec::new(),
    }
}

fn netns(links: Vec<Link>) -> Netns {
    Netns {
        id: NetnsId(1),
        names: Vec::new(),
        processes: Vec::new(),
        links: Reading::Read(links),
        vlans: Reading::default(),
        vlan_globals: Reading::default(),
        mst: Reading::default(),
        fdb: Reading::Read(Vec::new()),
        mdb: Reading::default(),
        addresses: Reading::default(),
        routes: Reading::default(),
        rules: Reading::default(),
        neighbours: Reading::default(),
        ipv4: Reading::default(),
        ipv6: Reading::default(),
        filters: Filters::default(),
        listeners: Reading::default(),
        packet_sockets: Reading::Read(Vec::new()),
        protocol_handlers: Reading::Read(Vec::new()),
        memberships: Reading::default(),
    }
}

fn bridge(count: u32, vlan_filtering: Option<bool>) -> Link {
    let options = BridgeOptions { vlan_filtering, ..BridgeOptions::default() };
    link(BRIDGE, "br0", LinkKind::Bridge(Box::new(options)), count)
}

fn port(index: IfIndex, kind: LinkKind, count: u32, automatic: bool) -> Link {
    let options = PortOptions { flood: Some(automatic), learning: Some(automatic), ..PortOptions::default() };
    let mut port = link(index, &format!("p{index}"), kind, count);
    port.master = Some(BRIDGE);
    port.port = Some(PortKind::Bridge(Box::new(options)));
    port
}

fn upper(kind: LinkKind, on: IfIndex, count: u32) -> Link {
    let mut upper = link(IfIndex(50), "upper", kind, count);
    upper.link = Some(on);
    upper.address = Some(OTHER_MAC);
    upper
}

fn macvlan(mode: MacvlanMode, flags: u16) -> LinkKind {
    LinkKind::Macvlan(MacvlanOptions { mode, flags, sources: Vec::new() })
}

fn capture_on(device: IfIndex, times: usize) -> PacketSocket {
    PacketSocket {
        device: None,
        protocol: EtherType(3),
        promiscuous: vec![device; times],
        allmulti: Vec::new(),
        uid: Some(0),
        inode: 77,
        processes: vec![ProcessRef { pid: 7, name: "tcpdump".to_owned() }],
    }
}

fn own_entry(device: IfIndex, address: MacAddr) -> FdbEntry {
    FdbEntry {
        device,
        bridge: None,
        address,
        vlan: None,
        state: 0x80,
        flags: 2,
        flags_ext: 0,
        used: None,
        updated: None,
        remote: None,
        unknown: Vec::new(),
    }
}

/// The account of one device: each holder with whether it is certain, and the range that remains.
fn of(netns: &Netns, index: IfIndex) -> (Vec<(HeldBy, bool)>, Unaccounted) {
    let found = account(netns, netns.link(index).unwrap());
    (found.holders.into_iter().map(|holder| (holder.who, holder.certain)).collect(), found.unaccounted)
}

fn exactly(count: u32) -> Unaccounted {
    Unaccounted::Between { min: count, max: count }
}

fn named(index: IfIndex, name: &str) -> Device {
    Device { netns: NetnsId(1), index, name: name.to_owned() }
}

fn upper_device() -> Device {
    named(IfIndex(50), "upper")
}

#[test]
fn a_device_that_nobody_holds() {
    assert_eq!(of(&netns(vec![bridge(0, Some(false))]), BRIDGE), (Vec::new(), exactly(0)));
}

#[test]
fn what_shows_nowhere_remains() {
    let mut netns = netns(vec![bridge(1, Some(false))]);
    let tap = |protocol, device: &str, function: &str| ProtocolHandler {
        protocol: EtherType(protocol),
        device: Some(device.to_owned()),
        function: function.to_owned(),
    };
    netns.protocol_handlers = Reading::Read(vec![
        tap(3, "br0", "VNetBridgeReceiveFromDev"),
        tap(3, "eth0", "x"),
        tap(0x800, "br0", "y"),
    ]);
    let found = account(&netns, netns.link(BRIDGE).unwrap());
    assert_eq!((found.holders.len(), &found.unaccounted), (0, &exactly(1)));
    assert_eq!(found.unaccounted.at_least(), 1);
    let suspects: Vec<_> = found.suspects.iter().map(|suspect| suspect.function.as_str()).collect();
    assert_eq!(suspects, ["VNetBridgeReceiveFromDev"]);
}

#[test]
fn a_user_and_two_sockets_add_up() {
    let mut br0 = bridge(4, Some(false));
    br0.flags.0 |= LinkFlags::PROMISC;
    let mut netns = netns(vec![br0]);
    netns.packet_sockets =
        Reading::Read(vec![capture_on(BRIDGE, 2), capture_on(PORT, 1), capture_on(BRIDGE, 1)]);
    let (holders, unaccounted) = of(&netns, BRIDGE);
    assert_eq!((holders.len(), unaccounted), (4, exactly(0)));
    assert_eq!(holders[0], (HeldBy::Administrator, true));
    assert!(
        matches!(&holders[1].0, HeldBy::PacketSocket { inode: 77, processes, .. } if processes[0].pid == 7)
    );
}

#[test]
fn unread_sockets_leave_the_rest_unknown() {
    let mut netns = netns(vec![bridge(1, Some(false))]);
    let why = Unread { cause: UnreadCause::Permission, reason: "not allowed".to_owned() };
    netns.packet_sockets = Reading::Unread(why);
    assert!(matches!(of(&netns, BRIDGE).1, Unaccounted::Unknown(why) if why.contains("not allowed")));
    // Where the rest is nothing anyway, sockets could not have added to it.
    let Reading::Read(links) = &mut netns.links else { unreachable!() };
    links[0].flags.0 |= LinkFlags::PROMISC;
    assert_eq!(of(&netns, BRIDGE).1, exactly(0));
}

#[test]
fn an_unread_count_leaves_it_unknown_unless_the_flags_tell() {
    let mut br0 = bridge(0, Some(false));
    br0.promiscuity = None;
    assert!(matches!(of(&netns(vec![br0.clone()]), BRIDGE).1, Unaccounted::Unknown(_)));
    br0.sysfs_flags = Some(LinkFlags(LinkFlags::UP));
    assert_eq!(of(&netns(vec![br0]), BRIDGE).1, exactly(0));
}

#[test]
fn a_bridge_holds_its_ports_while_it_does_not_filter() {
    for vlan_filtering in [None, Some(false)] {
        let netns = netns(vec![bridge(0, vlan_filtering), port(PORT, LinkKind::Plain, 1, true)]);
        let expected = vec![(HeldBy::Bridge(named(BRIDGE, "br0")), true)];
        assert_eq!(of(&netns, PORT), (expected, exactly(0)));
    }
}

#[test]
fn a_filtering_bridge_lets_its_only_automatic_port_go() {
    let second = IfIndex(12);
    let holds = |kind: LinkKind, bridge_count, second_is_automatic| {
        let ports = [port(PORT, kind, 1, true), port(second, LinkKind::Veth, 1, second_is_automatic)];
        let netns = netns([vec![bridge(bridge_count, Some(true))], ports.to_vec()].concat());
        of(&netns, PORT).0.first().map(|(_, certain)| *certain)
    };
    let vlan = || LinkKind::Vlan(VlanDevice { id: 5, protocol: EtherType::VLAN, flags: 0 });
    assert_eq!(holds(vlan(), 0, false), None, "it can filter and is alone");
    assert_eq!(holds(vlan(), 0, true), Some(true), "not alone");
    assert_eq!(holds(vlan(), 1, false), Some(true), "the bridge is promiscuous");
    assert_eq!(holds(LinkKind::Veth, 0, false), Some(true), "it cannot filter");
    assert_eq!(holds(LinkKind::Plain, 0, false), Some(false), "who knows whether it can");
}

#[test]
fn what_is_not_certain_makes_a_range() {
    let netns = netns(vec![bridge(0, Some(true)), port(PORT, LinkKind::Plain, 1, true)]);
    assert_eq!(of(&netns, PORT).1, Unaccounted::Between { min: 0, max: 1 });
}

#[test]
fn a_macvlan_on_a_bridge_counts_by_its_address_once() {
    let mut netns = netns(vec![bridge(1, Some(false)), upper(macvlan(MacvlanMode::Bridge, 0), BRIDGE, 0)]);
    let third = MacAddr([2, 0, 0, 0, 7, 7]);
    netns.fdb = Reading::Read(vec![
        own_entry(BRIDGE, OTHER_MAC),
        own_entry(BRIDGE, third),
        own_entry(BRIDGE, MacAddr([0x33, 0x33, 0, 0, 0, 1])),
        FdbEntry { flags: 0, bridge: Some(BRIDGE), ..own_entry(BRIDGE, MacAddr([2, 0, 0, 0, 8, 8])) },
    ]);
    let list = vec![
        SecondAddress { address: third, upper: None },
        SecondAddress { address: OTHER_MAC, upper: Some(upper_device()) },
    ];
    assert_eq!(of(&netns, BRIDGE), (vec![(HeldBy::SecondAddresses(list), true)], exactly(0)));
}

#[test]
fn addresses_that_no_device_on_top_explains_are_shown_all_the_same() {
    let mut netns = netns(vec![bridge(1, Some(false))]);
    netns.fdb = Reading::Read(vec![own_entry(BRIDGE, OTHER_MAC)]);
    let list = vec![SecondAddress { address: OTHER_MAC, upper: None }];
    assert_eq!(of(&netns, BRIDGE), (vec![(HeldBy::SecondAddresses(list), true)], exactly(0)));
}

#[test]
fn a_network_card_may_filter_by_second_addresses() {
    let nic = link(PORT, "eth0", LinkKind::Plain, 1);
    let netns = netns(vec![nic, upper(macvlan(MacvlanMode::Bridge, 0), PORT, 0)]);
    let (holders, unaccounted) = of(&netns, PORT);
    assert_eq!((holders.len(), holders[0].1), (1, false));
    assert_eq!(unaccounted, Unaccounted::Between { min: 0, max: 1 });
}

#[test]
fn passthru_counts_unless_it_was_told_not_to() {
    let with_flags = |flags| {
        let devices = vec![
            link(PORT, "eth0", LinkKind::Plain, 1),
            upper(macvlan(MacvlanMode::Passthru, flags), PORT, 1),
        ];
        of(&netns(devices), PORT)
    };
    assert_eq!(with_flags(0), (vec![(HeldBy::Passthru(upper_device()), true)], exactly(0)));
    assert_eq!(with_flags(1), (Vec::new(), exactly(1)));
}

#[test]
fn promiscuous_devices_on_top_pass_it_on() {
    let vlan = LinkKind::Vlan(VlanDevice { id: 5, protocol: EtherType::VLAN, flags: 0 });
    for kind in [macvlan(MacvlanMode::Private, 0), vlan, LinkKind::Other("macsec".to_owned())] {
        let mut on_top = upper(kind, PORT, 1);
        on_top.address = link(PORT, "", LinkKind::Plain, 0).address;
        // A bond filters by itself, so that the list of addresses adds nothing here.
        let lower = link(PORT, "bond0", LinkKind::Bond(BondOptions::default()), 1);
        let expected = vec![(HeldBy::PromiscuousUpper(upper_device()), true)];
        assert_eq!(of(&netns(vec![lower, on_top]), PORT), (expected, exactly(0)));
    }
}

#[test]
fn a_device_on_top_in_another_namespace_is_found_there() {
    let home = netns(vec![bridge(1, Some(false))]);
    let mut moved = upper(macvlan(MacvlanMode::Passthru, 0), BRIDGE, 1);
    moved.link_netns = Some(LinkNetns { nsid: 3, netns: Some(home.id) });
    let mut away = netns(vec![moved]);
    away.id = NetnsId(2);
    let all = [home, away];
    let br0 = all[0].link(BRIDGE).unwrap();
    assert_eq!(account(&all[0], br0).unaccounted, exactly(1));
    let found = account_among(&all, &all[0], br0);
    let expected = Device { netns: NetnsId(2), ..upper_device() };
    assert_eq!(found.holders, [certain(HeldBy::Passthru(expected))]);
    assert_eq!(found.unaccounted, exactly(0));
}

#[test]
fn an_active_backup_bond_holds_its_active_port_alone() {
    let bond = |mode| {
        let options = BondOptions { mode: Some(mode), active_slave: Some(PORT) };
        link(BRIDGE, "bond0", LinkKind::Bond(options), 1)
    };
    let slave = |index| {
        let mut slave = link(index, "s", LinkKind::Plain, 1);
        (slave.master, slave.port) = (Some(BRIDGE), Some(PortKind::Other("bond".to_owned())));
        slave
    };
    let backup = IfIndex(12);
    let active_backup = netns(vec![bond(1), slave(PORT), slave(backup)]);
    assert_eq!(of(&active_backup, PORT).0, [(HeldBy::Master(named(BRIDGE, "bond0")), true)]);
    assert_eq!(of(&active_backup, backup), (Vec::new(), exactly(1)));
    let balanced = netns(vec![bond(0), slave(PORT), slave(backup)]);
    assert_eq!(of(&balanced, backup).1, exactly(0));
}

#[test]
fn open_vswitch_holds_ports_and_internal_devices() {
    let mut vport = link(PORT, "eth0", LinkKind::Plain, 1);
    (vport.master, vport.port) = (Some(IfIndex(99)), Some(PortKind::Other("openvswitch".to_owned())));
    let internal = link(BRIDGE, "ovs0", LinkKind::Other("openvswitch".to_owned()), 1);
    let netns = netns(vec![internal, vport]);
    for index in [PORT, BRIDGE] {
        assert_eq!(of(&netns, index), (vec![(HeldBy::OpenVswitch, true)], exactly(0)));
    }
}

#[test]
fn a_device_that_is_down_may_remember_addresses() {
    let mut br0 = bridge(1, Some(false));
    br0.flags.0 = 0;
    let (holders, unaccounted) = of(&netns(vec![br0]), BRIDGE);
    assert_eq!(holders, [(HeldBy::SecondAddresses(Vec::new()), false)]);
    assert_eq!(unaccounted, Unaccounted::Between { min: 0, max: 1 });
}

#[test]
fn an_unread_fdb_may_hide_addresses() {
    let mut netns = netns(vec![bridge(1, Some(false))]);
    netns.fdb = Reading::default();
    assert_eq!(of(&netns, BRIDGE).1, Unaccounted::Between { min: 0, max: 1 });
}

#[test]
fn a_tunnels_own_entries_are_no_addresses_of_it() {
    let tunnel = link(PORT, "vxlan0", LinkKind::Vxlan(crate::VxlanOptions::default()), 1);
    let mut netns = netns(vec![tunnel]);
    netns.fdb = Reading::Read(vec![own_entry(PORT, OTHER_MAC)]);
    assert_eq!(of(&netns, PORT), (Vec::new(), exactly(1)));
}
