//! Changes in a copy of the kernel's state: what exactly they make of it, and when they are not made.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test, which may fail"
)]

use std::fs::File;
use std::path::Path;

use portcullis_plan::{Change, Device, State, local_rule};
use portcullis_snapshot::{
    Netns, PolicyRule, PortState, Reading, Snapshot, Unread, UnreadCause, VlanEntry, VlanFlags, VlanId,
    VlanTable,
};

fn netns() -> Netns {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portcullis/tests/fixtures/hypervisor.json");
    Snapshot::load(File::open(path).unwrap()).unwrap().namespaces.remove(0)
}

fn bridge(netns: &Netns) -> Device {
    netns.links.known().iter().find(|link| link.bridge().is_some()).unwrap().into()
}

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

const TAGGED: VlanFlags = VlanFlags(VlanFlags::BRENTRY);
const UNTAGGED: VlanFlags = VlanFlags(VlanFlags::BRENTRY | VlanFlags::UNTAGGED);

fn entry((from, to, flags): (u16, u16, VlanFlags)) -> VlanEntry {
    VlanEntry {
        from: vlan(from),
        to: vlan(to),
        flags,
        state: Some(PortState::Forwarding),
        mcast_router: None,
        neigh_suppress: Some(false),
        tunnel_id: None,
        unknown: Vec::new(),
    }
}

/// The namespace with a bridge device that is in some VLANs, and ports that are in VLAN 1.
fn in_vlans(own: &[(u16, u16, VlanFlags)]) -> Netns {
    let mut netns = netns();
    let bridge = bridge(&netns).index;
    let ports = netns.links.known().iter().filter(|link| link.bridge_port().is_some());
    let ports = ports.map(|port| (port.index, vec![entry((1, 1, VlanFlags(VlanFlags::UNTAGGED)))]));
    let own = own.iter().copied().map(entry).collect::<Vec<_>>();
    let all = ports.chain([(bridge, own)]).filter(|(_, vlans)| !vlans.is_empty());
    let mut tables: Vec<_> = all.map(|(device, vlans)| VlanTable { device, vlans }).collect();
    tables.sort_by_key(|table| table.device);
    netns.vlans = Reading::Read(tables);
    netns
}

fn leave(from: u16, to: u16, flags: VlanFlags) -> Change {
    Change::LeaveVlans { bridge: bridge(&netns()), from: vlan(from), to: vlan(to), flags }
}

/// Makes a change and takes it back. Returns the state with it.
fn there_and_back(before: &Netns, change: &Change) -> Netns {
    let mut netns = before.clone();
    assert_eq!(change.state(&netns), State::Before);
    change.make(&mut netns).unwrap();
    assert_eq!(change.state(&netns), State::After);
    let with = netns.clone();
    change.take_back(&mut netns).unwrap();
    assert_eq!(&netns, before);
    with
}

#[test]
fn of_a_range_only_what_is_left_goes() {
    let all = [(1, 1, UNTAGGED), (10, 300, TAGGED), (4000, 4094, TAGGED)];
    for (change, left) in [
        (leave(10, 300, TAGGED), vec![(1, 1, UNTAGGED), (4000, 4094, TAGGED)]),
        (leave(10, 20, TAGGED), vec![(1, 1, UNTAGGED), (21, 300, TAGGED), (4000, 4094, TAGGED)]),
        (leave(300, 300, TAGGED), vec![(1, 1, UNTAGGED), (10, 299, TAGGED), (4000, 4094, TAGGED)]),
        (leave(1, 1, UNTAGGED), vec![(10, 300, TAGGED), (4000, 4094, TAGGED)]),
        (leave(4094, 4094, TAGGED), vec![(1, 1, UNTAGGED), (10, 300, TAGGED), (4000, 4093, TAGGED)]),
        (
            leave(100, 200, TAGGED),
            vec![(1, 1, UNTAGGED), (10, 99, TAGGED), (201, 300, TAGGED), (4000, 4094, TAGGED)],
        ),
    ] {
        assert_eq!(there_and_back(&in_vlans(&all), &change), in_vlans(&left), "{change}");
    }
}

#[test]
fn who_leaves_the_last_vlan_has_no_table_until_it_is_back() {
    let before = in_vlans(&[(1, 1, UNTAGGED)]);
    let with = there_and_back(&before, &leave(1, 1, UNTAGGED));
    assert_eq!(with, in_vlans(&[]));
    let own = |netns: &Netns| netns.vlans.known().iter().any(|table| table.device == bridge(netns).index);
    assert!(own(&before) && !own(&with));
}

#[test]
fn vlans_in_part_or_otherwise_are_somebody_elses() {
    for own in [&[(10, 20, TAGGED)][..], &[(10, 300, UNTAGGED)], &[(10, 20, TAGGED), (21, 300, UNTAGGED)]] {
        let mut netns = in_vlans(own);
        let change = leave(10, 300, TAGGED);
        assert!(matches!(change.state(&netns), State::Other(_)), "{own:?}");
        assert!(change.make(&mut netns).is_err() && change.take_back(&mut netns).is_err());
    }
}

#[test]
fn vlans_that_were_not_read_are_not_thought_left() {
    let mut netns = in_vlans(&[(1, 1, UNTAGGED)]);
    let reason = "the kernel refused".to_owned();
    netns.vlans = Reading::Unread(Unread { cause: UnreadCause::Permission, reason: reason.clone() });
    assert_eq!(leave(1, 1, UNTAGGED).state(&netns), State::Other(reason));
}

#[test]
fn only_the_plain_rule_for_local_addresses_is_moved() {
    let change = Change::LocalRule { ipv6: false, to: 100 };
    let plain = local_rule(false, 0);
    let with = |rules: Vec<PolicyRule>| Netns { rules: Reading::Read(rules), ..netns() };
    there_and_back(&with(vec![plain.clone()]), &change);
    for narrow in [
        PolicyRule { iif: Some("br0".to_owned()), ..plain.clone() },
        PolicyRule { oif: Some("br0".to_owned()), ..plain.clone() },
        PolicyRule { source: "10.0.0.0/8".parse().ok(), ..plain.clone() },
        PolicyRule { destination: "10.0.0.0/8".parse().ok(), ..plain.clone() },
        PolicyRule { not: true, ..plain.clone() },
    ] {
        let mut netns = with(vec![narrow.clone()]);
        assert!(matches!(change.state(&netns), State::Other(_)), "{narrow:?}");
        assert!(change.make(&mut netns).is_err());
        // The kernel could take it for the plain one, if it were told to take that away.
        assert!(change.make(&mut with(vec![plain.clone(), narrow])).is_err());
    }
}
