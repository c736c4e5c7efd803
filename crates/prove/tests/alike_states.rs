//! What hosts that run for a while have, and what their kernels make by themselves, tells no ports apart, nor bridges.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test, which may fail")]

use std::net::IpAddr;

use portcullis_datapath::Network;
use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, FdbEntry, IfIndex, MacAddr, Mdb, MdbEntry, MdbGroup, Membership, Netns,
    NftBaseChain, NftChain, NftExpr, NftFamily, NftRule, NftTable, NftVerdict, PayloadBase, Reading,
    Snapshot,
};
use portcullis_testnet::{AntiSpoofing, large_host};

/// The sizes of a snapshot's classes of ports, by name of the first.
fn classes(snapshot: &Snapshot) -> Vec<(String, usize)> {
    let network = Network::new(snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let classes = network.alike();
    let named = classes.classes().iter().map(|class| (network.name(*class.first().unwrap()), class.len()));
    named.collect()
}

fn sizes(snapshot: &Snapshot) -> Vec<usize> {
    classes(snapshot).into_iter().map(|(_, size)| size).collect()
}

fn host(guests: usize, bridges: usize) -> Snapshot {
    large_host(guests, bridges, AntiSpoofing::None)
}

fn netns(snapshot: &mut Snapshot) -> &mut Netns {
    snapshot.namespaces.first_mut().unwrap()
}

fn index(snapshot: &Snapshot, name: &str) -> IfIndex {
    snapshot.namespaces.first().unwrap().link_named(name).unwrap().index
}

fn learned(snapshot: &Snapshot, port: &str, last: u8) -> FdbEntry {
    let port = snapshot.namespaces.first().unwrap().link_named(port).unwrap();
    FdbEntry::new(port.index, port.master, MacAddr([0x52, 0x54, 1, 0, 0, last]), 2)
}

fn fdb(snapshot: &mut Snapshot, entries: Vec<FdbEntry>) {
    let known = netns(snapshot).fdb.known().iter().cloned();
    netns(snapshot).fdb = Reading::Read(known.chain(entries).collect());
}

#[test]
fn how_many_addresses_were_learned_does_not_matter() {
    let mut snapshot = host(6, 1);
    let before = sizes(&snapshot);
    // One is heard with one more address, one with three more.
    let heard = [("vnet1", 1), ("vnet2", 2), ("vnet2", 3), ("vnet2", 4)];
    let entries = heard.map(|(port, last)| learned(&snapshot, port, last)).to_vec();
    fdb(&mut snapshot, entries);
    assert_eq!(sizes(&snapshot), before);
    // An entry that a port's own traffic does not change is something else.
    // (NUD_NOARP, NTF_STICKY.)
    let mut sticky = learned(&snapshot, "vnet3", 5);
    (sticky.state, sticky.flags) = (0x40, 0x40);
    fdb(&mut snapshot, vec![sticky]);
    assert!(classes(&snapshot).contains(&("vnet3".to_owned(), 1)), "{:?}", classes(&snapshot));
}

/// The addresses of a bridge make it a member of groups, which are noted in its own MDB.
#[test]
fn a_bridge_is_a_member_of_its_own_groups() {
    let mut snapshot = host(12, 3);
    let before = sizes(&snapshot);
    let bridges = ["br0", "br1", "br2"].map(|name| index(&snapshot, name));
    let group = |bridge: IfIndex| format!("ff02::1:ff00:{}", bridge.0).parse().unwrap();
    let entry = |bridge: IfIndex| MdbEntry {
        bridge,
        port: bridge,
        group: MdbGroup::Ipv6(group(bridge)),
        source: None,
        vlan: None,
        permanent: false,
        flags: 0,
        mode: None,
    };
    let membership = |device: IfIndex, of: IfIndex| Membership { device, group: IpAddr::V6(group(of)) };
    let entries: Vec<_> = bridges.map(entry).to_vec();
    let mut memberships: Vec<_> = bridges.map(|bridge| membership(bridge, bridge)).to_vec();
    netns(&mut snapshot).mdb = Reading::Read(Mdb { entries, ..Mdb::default() });
    netns(&mut snapshot).memberships = Reading::Read(memberships.clone());
    assert_eq!(sizes(&snapshot), before);
    // A group that is another's as well is more than its own.
    memberships.push(membership(bridges[0], bridges[1]));
    netns(&mut snapshot).memberships = Reading::Read(memberships);
    assert_ne!(sizes(&snapshot), before);
}

/// A rule that drops what is addressed to some of the addresses, those that a mask makes alike.
fn drops_masked(mask: [u8; 6], left: [u8; 6]) -> NftRule {
    let (sreg, dreg) = (4, 4);
    let op = BitwiseOp::Mask { mask: Bytes(mask.to_vec()), xor: Bytes(vec![0; 6]) };
    let expressions = vec![
        NftExpr::Payload { base: PayloadBase::Link, offset: 0, len: 6, dreg },
        NftExpr::Bitwise { sreg, dreg, len: 6, op },
        NftExpr::Cmp { sreg, op: CmpOp::Eq, data: left[..].into() },
        NftExpr::Verdict(NftVerdict::Drop),
    ];
    NftRule { handle: 1, expressions }
}

/// Gives guests' ports a chain at their ingress: those up to a number one, those from it on another.
fn chains(snapshot: &mut Snapshot, rules: [Vec<NftRule>; 2]) {
    let names = snapshot.namespaces.first().unwrap().links.known().iter().map(|link| link.name.clone());
    let guests: Vec<_> = names.filter(|name| name.starts_with("vnet")).collect();
    let halves = guests.split_at(guests.len() / 2);
    let base = |chain: &str, devices: &[String], rules: &[NftRule]| NftBaseChain {
        family: NftFamily::Netdev,
        table: "t".to_owned(),
        chain: chain.to_owned(),
        kind: "filter".to_owned(),
        hook: 0,
        hook_name: "ingress".to_owned(),
        priority: 0,
        devices: devices.to_vec(),
        policy_drop: false,
        dormant: false,
        rules: rules.len() as u32,
    };
    let [one, other] = &rules;
    let bases = vec![base("a", halves.0, one), base("b", halves.1, other)];
    let chains = [("a", one), ("b", other)];
    let chains = chains.map(|(name, rules)| NftChain { name: name.to_owned(), rules: rules.clone() });
    let table = NftTable {
        family: NftFamily::Netdev,
        name: "t".to_owned(),
        dormant: false,
        chains: chains.to_vec(),
        sets: Vec::new(),
    };
    let filters = &mut netns(snapshot).filters;
    filters.nft_chains = Reading::Read(bases);
    filters.nft_tables = Reading::Read(vec![table]);
}

const LINK_LOCAL: ([u8; 6], [u8; 6]) = ([0xff, 0xff, 0xff, 0xff, 0xff, 0xf0], [1, 0x80, 0xc2, 0, 0, 0]);

#[test]
fn what_a_mask_leaves_of_an_address_matters_where_it_is_compared() {
    let (mask, left) = LINK_LOCAL;
    let mut snapshot = host(6, 1);
    let before = sizes(&snapshot);
    let entry = learned(&snapshot, "vnet1", 0x31);
    fdb(&mut snapshot, vec![entry]);
    let mut rules = vec![drops_masked(mask, left)];
    chains(&mut snapshot, [rules.clone(), rules.clone()]);
    assert_eq!(sizes(&snapshot), before);
    // Now the address that is known behind one port is among those that are dropped.
    rules.push(drops_masked(mask, [0x52, 0x54, 1, 0, 0, 0x30]));
    chains(&mut snapshot, [rules.clone(), rules]);
    assert!(classes(&snapshot).contains(&("vnet1".to_owned(), 1)), "{:?}", classes(&snapshot));
}

/// A chain takes 255 devices, so that a large host has several that say the same.
#[test]
fn chains_that_say_the_same_are_one() {
    let (mask, left) = LINK_LOCAL;
    let rules = vec![drops_masked(mask, left)];
    let mut snapshot = host(6, 1);
    let before = sizes(&snapshot);
    chains(&mut snapshot, [rules.clone(), rules.clone()]);
    assert_eq!(sizes(&snapshot), before);
    let others = vec![drops_masked(mask, [1, 0x80, 0xc2, 0, 0, 0x10])];
    chains(&mut snapshot, [rules, others]);
    assert_eq!(sizes(&snapshot).len(), before.len() + 1);
}

/// To a frame it is the same whether there are two others or a hundred.
#[test]
fn bridges_may_have_more_and_fewer_ports() {
    // Seven guests on two bridges: four and three.
    assert_eq!(sizes(&host(7, 2)).len(), 2, "{:?}", classes(&host(7, 2)));
    // A guest that is alone on its bridge reaches no other.
    assert_eq!(sizes(&host(3, 2)).len(), 4, "{:?}", classes(&host(3, 2)));
}
