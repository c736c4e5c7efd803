//! What bridges keep, as a snapshot tells it: VLANs, spanning tree instances, FDB, MDB; and the devices around them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod common;

use common::{Lab, fresh, mac, named, netns};
use nix::errno::Errno;
use portcullis_kernel::link::{
    self, FdbChange, NTF_EXT_LEARNED, NTF_MASTER, NTF_SELF, NTF_STICKY, NUD_NOARP, NUD_PERMANENT,
    NUD_REACHABLE, NewLink,
};
use portcullis_kernel::tap::Tap;
use portcullis_snapshot::{
    BoolOpt, EtherType, FdbEntry, FdbKind, IfIndex, LinkFlags, LinkKind, MacAddr, MacvlanMode, McastRouter,
    MdbGroup, MdbRouter, MstState, Netns as Captured, PortKind, PortState, VlanEntry, VlanFlags, VlanId,
    VlanTable,
};
use portcullis_testnet::skip;
use portcullis_wire::{Message, NLM_F_CREATE, bridge};

const AF_BRIDGE: u8 = 7;
const RTM_SETLINK: u16 = 19;
const RTM_NEWMDB: u16 = 84;
const RTM_NEWVLAN: u16 = 112;

fn vid(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

/// A bridge that filters VLANs, if this kernel can.
fn filtering_bridge(lab: &mut Lab) -> Option<IfIndex> {
    let bridge = lab.bridge("br0");
    match lab.try_to(link::bridge_option(bridge, 7, &[1])) {
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
            println!("skipped, because this kernel cannot filter VLANs");
            None
        }
        result => result.map(|()| bridge).ok(),
    }
}

/// The VLANs of a device: first, last, flags.
fn vlans(netns: &Captured, device: IfIndex) -> Vec<(u16, u16, u16)> {
    let table = netns.vlans.read().unwrap().iter().find(|table| table.device == device);
    let entry = |entry: &VlanEntry| (entry.from.get(), entry.to.get(), entry.flags.0);
    table.map(|table| table.vlans.iter().map(entry).collect()).unwrap_or_default()
}

#[test]
fn vlans_of_ports_and_of_the_bridge_device() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let (access, trunk) = (lab.port(bridge, "access"), lab.port(bridge, "trunk"));
        let both = VlanFlags::PVID | VlanFlags::UNTAGGED;
        lab.make(link::vlan_add(access, vid(10), both, false));
        lab.make(link::vlan_del(access, vid(1), false));
        for id in (100..=109).chain([4094]) {
            lab.make(link::vlan_add(trunk, vid(id), 0, false));
        }
        lab.make(link::vlan_add(bridge, vid(10), 0, true));
        let netns = netns();
        assert_eq!(vlans(&netns, access), [(10, 10, both)]);
        assert_eq!(vlans(&netns, trunk), [(1, 1, both), (100, 109, 0), (4094, 4094, 0)]);
        assert_eq!(vlans(&netns, bridge), [(1, 1, both | VlanFlags::BRENTRY), (10, 10, VlanFlags::BRENTRY)]);
    });
}

/// Sends `RTM_NEWVLAN` with one nest.
fn set_vlan(lab: &mut Lab, device: IfIndex, nest: u16, fill: impl FnOnce(Message) -> Message) -> Option<()> {
    let header = [u32::from(AF_BRIDGE).to_le_bytes(), device.0.to_ne_bytes()].concat();
    let result = lab.send(Message::new(RTM_NEWVLAN, 0).header(&header).nest(nest, fill));
    result
        .inspect_err(|error| println!("skipped, because this kernel refuses an option of VLANs: {error}"))
        .ok()
}

/// Sets an option of a port in a VLAN.
fn set_entry(lab: &mut Lab, device: IfIndex, id: u16, fill: impl FnOnce(Message) -> Message) -> Option<()> {
    let info = [0u16.to_ne_bytes(), id.to_ne_bytes()].concat();
    set_vlan(lab, device, 1, |nest| fill(nest.put(1, &info)))
}

/// Sets an option of a VLAN on the whole bridge.
fn set_global(lab: &mut Lab, bridge: IfIndex, id: u16, fill: impl FnOnce(Message) -> Message) -> Option<()> {
    set_vlan(lab, bridge, 2, |nest| fill(nest.put_u16(1, id)))
}

#[test]
fn options_that_a_vlan_has_on_a_port() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let port = lab.port(bridge, "p0");
        for id in 20..=24 {
            lab.make(link::vlan_add(port, vid(id), 0, false));
        }
        let state = |nest: Message| nest.put_u8(3, 4);
        let Some(()) = set_entry(lab, port, 22, state) else { return };
        let netns = netns();
        let table = netns.vlans.known().iter().find(|table| table.device == port).unwrap();
        let state_in = |id| table.get(vid(id)).unwrap().state;
        assert_eq!(state_in(21), Some(PortState::Forwarding));
        assert_eq!(state_in(22), Some(PortState::Blocking));
        assert_eq!(vlans(&netns, port)[1..], [(20, 21, 0), (22, 22, 0), (23, 24, 0)]);
    });
}

#[test]
fn neighbour_suppression_and_routers_by_vlan() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let port = lab.port(bridge, "p0");
        lab.make(link::vlan_add(port, vid(20), 0, false));
        let snooping = BoolOpt::McastVlanSnooping as u32;
        let bits = (1u32 << snooping).to_ne_bytes();
        lab.make(link::bridge_option(bridge, 46, &[bits, bits].concat()));
        lab.make(link::port_option(port, 43, &[1]));
        let Some(()) = set_entry(lab, port, 20, |nest| nest.put_u8(6, 2)) else { return };
        let Some(()) = set_entry(lab, port, 20, |nest| nest.put_u8(9, 1)) else { return };
        let Some(()) = set_global(lab, bridge, 20, |nest| nest.put_u8(3, 0)) else { return };
        let netns = netns();
        let table = netns.vlans.known().iter().find(|table| table.device == port).unwrap();
        let entry = table.get(vid(20)).unwrap();
        assert_eq!((entry.mcast_router, entry.neigh_suppress), (Some(McastRouter::Permanent), Some(true)));
        let globals = netns.vlan_globals.read().unwrap();
        let of =
            |id| globals.iter().find(|g| g.bridge == bridge && (g.from..=g.to).contains(&vid(id))).unwrap();
        assert_eq!((of(1).mcast_snooping, of(20).mcast_snooping), (Some(true), Some(false)));
    });
}

#[test]
fn spanning_tree_instances() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let bits = (1u32 << BoolOpt::MstEnable as u32).to_ne_bytes();
        lab.make(link::bridge_option(bridge, 46, &[bits, bits].concat()));
        let options = netns().bridges().next().unwrap().bridge().unwrap().clone();
        if options.multi_boolopt.and_then(|opts| opts.get(BoolOpt::MstEnable)) != Some(true) {
            skip!("this kernel has no multiple spanning trees");
        }
        let port = lab.port(bridge, "p0");
        lab.make(link::vlan_add(bridge, vid(30), 0, true));
        lab.make(link::vlan_add(port, vid(30), 0, false));
        set_global(lab, bridge, 30, |nest| nest.put_u16(18, 5)).unwrap();
        let mut header = [0; 16];
        header[0] = AF_BRIDGE;
        header[4..8].copy_from_slice(&port.0.to_ne_bytes());
        let entry = |entry: Message| entry.put_u16(1, 5).put_u8(2, 4);
        let spec = |spec: Message| spec.nest(6, |mst| mst.nest(1, entry));
        lab.send(Message::new(RTM_SETLINK, 0).header(&header).nest(26, spec)).unwrap();
        let netns = netns();
        let global = netns.vlan_globals.known().iter().find(|global| global.from == vid(30)).unwrap();
        assert_eq!(global.msti, Some(5));
        assert!(netns.mst.read().unwrap().contains(&MstState { port, msti: 5, state: PortState::Blocking }));
    });
}

#[test]
fn the_older_dump_tells_the_same_vlans() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let port = lab.port(bridge, "p0");
        for id in (2..=9).chain([77]) {
            lab.make(link::vlan_add(port, vid(id), VlanFlags::UNTAGGED, false));
        }
        let mut header = [0; 16];
        header[0] = AF_BRIDGE;
        let message = Message::new(18, 0).header(&header).put_u32(29, 1 << 2);
        let decode =
            |tables: &mut Vec<VlanTable>, payload: &[u8]| tables.extend(bridge::vlan_table_of_link(payload));
        let old = lab
            .route
            .dump("VLANs", &message, Vec::new, |tables, reply| decode(tables, reply.payload))
            .unwrap();
        let netns = netns();
        let table = old.iter().find(|table| table.device == port).unwrap();
        let told: Vec<_> = table.vlans.iter().map(|e| (e.from.get(), e.to.get(), e.flags.0)).collect();
        assert_eq!(told, vlans(&netns, port));
        assert_eq!(told.len(), 3);
    });
}

/// The entry for an address, outside VLANs or in one; there must be one.
fn entry(netns: &Captured, address: MacAddr, vlan: Option<VlanId>) -> FdbEntry {
    let wanted = |entry: &&FdbEntry| entry.address == address && entry.vlan == vlan;
    let found = netns.fdb.read().unwrap().iter().find(wanted);
    found.unwrap_or_else(|| panic!("no entry for {address}")).clone()
}

#[test]
fn fdb_entries_of_every_sort() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let port = lab.port(bridge, "p0");
        lab.forward("p0");
        let mut put = |name: &str, device, state, flags| {
            lab.make(FdbChange { device, address: mac(name), vlan: None, state, flags }.add());
        };
        put("local", port, NUD_PERMANENT, NTF_MASTER);
        put("static", port, NUD_NOARP, NTF_MASTER);
        put("dynamic", port, NUD_REACHABLE, NTF_MASTER);
        put("sticky", port, NUD_NOARP, NTF_MASTER | NTF_STICKY);
        put("learned", port, NUD_REACHABLE, NTF_MASTER | NTF_EXT_LEARNED);
        put("own", bridge, NUD_PERMANENT, NTF_SELF);
        let netns = netns();
        for (name, kind) in [
            ("local", FdbKind::Local),
            ("static", FdbKind::Static),
            ("dynamic", FdbKind::Dynamic),
            ("p0", FdbKind::Local),
        ] {
            let entry = entry(&netns, mac(name), None);
            assert_eq!((entry.kind(), entry.device, entry.bridge), (kind, port, Some(bridge)), "{name}");
            let marks = (entry.is_self(), entry.is_sticky(), entry.is_extern_learn(), entry.is_locked());
            assert_eq!(
                (marks, entry.vlan, &entry.unknown),
                ((false, false, false, false), None, &Vec::new()),
                "{name}"
            );
        }
        assert!(entry(&netns, mac("sticky"), None).is_sticky());
        assert!(entry(&netns, mac("learned"), None).is_extern_learn());
        let own = entry(&netns, mac("own"), None);
        assert_eq!((own.device, own.bridge, own.kind()), (bridge, Some(bridge), FdbKind::Local));
    });
}

#[test]
fn fdb_entries_of_a_vlan() {
    fresh(|lab| {
        let Some(bridge) = filtering_bridge(lab) else { return };
        let port = lab.port(bridge, "p0");
        lab.make(link::vlan_add(port, vid(50), 0, false));
        let change = FdbChange {
            device: port,
            address: mac("guest"),
            vlan: Some(vid(50)),
            state: NUD_NOARP,
            flags: NTF_MASTER,
        };
        lab.make(change.add());
        assert_eq!(entry(&netns(), mac("guest"), Some(vid(50))).device, port);
    });
}

/// A broadcast frame of no protocol that anybody handles.
fn broadcast_from(source: MacAddr) -> Vec<u8> {
    let mut frame = [[0xff; 6], source.0].concat();
    frame.extend([0x88, 0xb5]);
    frame.resize(60, 0);
    frame
}

#[test]
fn what_a_port_learned_and_what_a_locked_port_refused() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let mut tap = match Tap::create("tap0") {
            Ok(tap) => tap,
            Err(error) => skip!("{error}"),
        };
        let port = lab.index("tap0");
        lab.make(link::master(port, Some(bridge)));
        lab.forward("tap0");
        // Writing to a tap returns when the bridge has dealt with the frame.
        tap.send(&broadcast_from(mac("guest"))).unwrap();
        let learned = entry(&netns(), mac("guest"), None);
        assert_eq!((learned.kind(), learned.device, learned.is_locked()), (FdbKind::Dynamic, port, false));
        assert!(learned.updated.is_some_and(|age| age < 30_000) && learned.used.is_some(), "{learned:?}");
        lab.make(link::port_option(port, 39, &[1]));
        lab.make(link::port_option(port, 40, &[1]));
        if named(&netns(), "tap0").bridge_port().unwrap().mab != Some(true) {
            println!("this kernel lacks mab");
            return;
        }
        tap.send(&broadcast_from(mac("intruder"))).unwrap();
        let refused = entry(&netns(), mac("intruder"), None);
        assert_eq!((refused.kind(), refused.is_locked()), (FdbKind::Dynamic, true));
    });
}

#[test]
fn groups_and_router_ports() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let port = lab.port(bridge, "p0");
        lab.make(link::port_option(port, 25, &[2]));
        lab.forward("p0");
        // struct br_mdb_entry: port, permanent, no flags, no VLAN, 239.1.2.3, its protocol.
        let mut group = port.0.to_ne_bytes().to_vec();
        group.extend([1, 0, 0, 0, 239, 1, 2, 3]);
        group.resize(24, 0);
        group.extend([0x08, 0x00, 0, 0]);
        let header = [u32::from(AF_BRIDGE).to_le_bytes(), bridge.0.to_ne_bytes()].concat();
        lab.send(Message::new(RTM_NEWMDB, NLM_F_CREATE).header(&header).put(1, &group)).unwrap();
        let netns = netns();
        let mdb = netns.mdb.read().unwrap();
        let group = MdbGroup::Ipv4("239.1.2.3".parse().unwrap());
        let found = mdb.entries.iter().find(|entry| entry.port == port && entry.group == group).unwrap();
        assert_eq!((found.bridge, found.permanent, found.vlan, found.source), (bridge, true, None, None));
        let router = |router: &&MdbRouter| router.port == port && router.bridge == bridge;
        let router = mdb.routers.iter().find(router).unwrap();
        assert_eq!((router.kind, router.vlan), (Some(McastRouter::Permanent), None));
    });
}

#[test]
fn devices_by_their_kind() {
    fresh(|lab| {
        let (lower, peer) = lab.veth("v0", "w0");
        let tap = Tap::create("tap0").inspect_err(|error| println!("not here: {error}"));
        let mut lacking = Vec::new();
        let mut attempt = |name: &str, change| {
            if lab.try_to(change).is_err() {
                lacking.push(name.to_owned());
            }
        };
        attempt("mv0", NewLink::new("mv0", "macvlan").on(lower).macvlan(2));
        attempt("v0.7", NewLink::new("v0.7", "vlan").on(lower).vlan(EtherType::SVLAN, 7));
        attempt("vrf0", NewLink::new("vrf0", "vrf").vrf(77));
        attempt(
            "vx0",
            NewLink::new("vx0", "vxlan").create(|data| data.put_u32(1, 42).put(15, &4789u16.to_be_bytes())),
        );
        attempt("bond0", NewLink::new("bond0", "bond").create(|data| data.put_u8(1, 1)));
        let netns = netns();
        let kind = |name: &str| netns.link_named(name).map(|link| link.kind.clone());
        assert_eq!(kind("lo"), Some(LinkKind::Plain));
        assert_eq!((kind("v0"), named(&netns, "v0").link), (Some(LinkKind::Veth), Some(peer)));
        for (name, kind) in ["mv0", "v0.7", "vrf0", "vx0", "bond0"].map(|name| (name, kind(name))) {
            let right = match kind {
                None => lacking.iter().any(|lacks| lacks == name),
                Some(LinkKind::Macvlan(macvlan)) => macvlan.mode == MacvlanMode::Vepa,
                Some(LinkKind::Vlan(vlan)) => (vlan.id, vlan.protocol) == (7, EtherType::SVLAN),
                Some(LinkKind::Vrf { table }) => table == 77,
                Some(LinkKind::Vxlan(vxlan)) => (vxlan.id, vxlan.port) == (Some(42), Some(4789)),
                Some(LinkKind::Bond(bond)) => bond.mode == Some(1),
                Some(_) => false,
            };
            assert!(right, "{name}: {:?}", netns.link_named(name));
        }
        if tap.is_ok() {
            assert!(matches!(kind("tap0"), Some(LinkKind::Tun(tun)) if tun.tap && !tun.persist));
        }
    });
}

#[test]
fn what_an_interface_is_and_what_it_is_to_its_master() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let port = lab.port(bridge, "p0");
        lab.make(link::mtu(port, 1400));
        lab.make(link::flags(
            port,
            LinkFlags::NOARP | LinkFlags::PROMISC,
            LinkFlags::NOARP | LinkFlags::PROMISC,
        ));
        let netns = netns();
        let link = named(&netns, "p0");
        assert_eq!((link.index, link.mtu, link.address), (port, 1400, Some(mac("p0"))));
        assert_eq!(link.master, Some(bridge));
        assert!(matches!(link.port, Some(PortKind::Bridge(_))));
        assert!(link.flags.has(LinkFlags::NOARP) && link.flags.has(LinkFlags::PROMISC) && !link.is_up());
        // Once by the user, once by the bridge.
        assert_eq!(link.promiscuity, Some(2));
        assert_eq!(netns.ports(bridge).map(|port| port.index).collect::<Vec<_>>(), [port]);
        assert!(netns.links.known().iter().all(|link| link.unknown.is_empty()), "{:#?}", netns.links);
        assert!(netns.links.known().is_sorted_by_key(|link| link.index));
    });
}
