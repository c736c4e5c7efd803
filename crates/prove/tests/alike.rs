//! Ports that are said to be alike, proven one by one: all of a class have the same verdicts, and a difference sets apart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test, which may fail")]

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use portcullis_datapath::Network;
use portcullis_prove::{Goal, HostProtocol, Prover};
use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, IfIndex, IptHeader, LegacyChain, LegacyFamily, LegacyHeader, LegacyRule,
    LegacyTable, LegacyTarget, Link, MacAddr, Mdb, MdbEntry, MdbGroup, MetaKey, Neighbour, NftBaseChain,
    NftChain, NftData, NftElement, NftExpr, NftFamily, NftRule, NftSet, NftTable, NftVerdict, PayloadBase,
    PortKind, PortOptions, Reading, Snapshot, XtAddress, XtDevice, XtInterface, XtMatch, XtValue, XtVerdict,
};
use portcullis_testnet::{AntiSpoofing, Guest, large_host};

const STYLES: [AntiSpoofing; 3] = [AntiSpoofing::None, AntiSpoofing::Libvirt, AntiSpoofing::Proxmox];

/// Returns the classes of a snapshot's ports, by name.
fn classes(snapshot: &Snapshot) -> Vec<Vec<String>> {
    let network = Network::new(snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let alike = network.alike();
    let names = |class: &Vec<IfIndex>| class.iter().map(|port| network.name(*port)).collect();
    alike.classes().iter().map(names).collect()
}

fn links(snapshot: &mut Snapshot) -> &mut Vec<Link> {
    let Reading::Read(links) = &mut snapshot.namespaces.first_mut().unwrap().links else { panic!() };
    links
}

fn is_guest(link: &Link) -> bool {
    matches!(link.port, Some(PortKind::Bridge(_))) && !link.name.starts_with("eth")
}

fn port<'s>(snapshot: &'s mut Snapshot, name: &str) -> &'s mut PortOptions {
    let link = links(snapshot).iter_mut().find(|link| link.name == name).unwrap();
    let Some(PortKind::Bridge(options)) = &mut link.port else { panic!() };
    options
}

#[test]
fn guests_and_uplinks_are_a_class_each() {
    for style in STYLES {
        let classes = classes(&large_host(12, 3, style));
        let sizes: Vec<_> = classes.iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 12], "{style:?}: {classes:?}");
    }
}

#[test]
fn all_of_a_class_have_the_same_verdicts() {
    for style in STYLES {
        let mut snapshot = large_host(6, 2, style);
        // One bridge is unlike the other, one port unlike its neighbours.
        let name = if style == AntiSpoofing::Proxmox { "tap100i0" } else { "vnet0" };
        port(&mut snapshot, name).isolated = Some(true);
        assert!(classes(&snapshot).len() >= 4, "{style:?}");
        assert_same_verdicts(&snapshot, &format!("{style:?}"));
    }
}

/// A bridge that was given no address has one of its ports', here a guest's: that sets neither the port apart nor the bridge.
#[test]
fn a_port_may_lend_its_bridge_the_address() {
    for style in STYLES {
        let mut snapshot = large_host(12, 3, style);
        let guests: Vec<_> = links(&mut snapshot).iter().filter(|link| is_guest(link)).cloned().collect();
        for bridge in links(&mut snapshot).iter_mut().filter(|link| link.bridge().is_some()) {
            let lender =
                guests.iter().filter(|guest| guest.master == Some(bridge.index)).max_by_key(|one| one.index);
            bridge.address = lender.unwrap().address;
        }
        let classes = classes(&snapshot);
        assert_eq!(classes.iter().map(Vec::len).collect::<Vec<_>>(), [3, 12], "{style:?}: {classes:?}");
        assert_same_verdicts(&snapshot, &format!("{style:?}"));
    }
}

/// A rule of one port that names the bridge's address sets that port apart, though it is the port's own as well.
#[test]
fn a_lent_address_is_nobodys_own() {
    let mut snapshot = large_host(6, 1, AntiSpoofing::Libvirt);
    let lent = links(&mut snapshot).iter().find(|link| link.name == "vnet3").unwrap().address;
    links(&mut snapshot).iter_mut().find(|link| link.bridge().is_some()).unwrap().address = lent;
    rules_of(&mut snapshot, |rules| {
        for expression in rules.iter_mut().flat_map(|rule| &mut rule.expressions) {
            if let NftExpr::Cmp { data, .. } = expression
                && data.len() == 6
            {
                *data = lent.unwrap().0[..].into();
            }
        }
    });
    assert!(classes(&snapshot).contains(&vec!["vnet3".to_owned()]));
}

/// Proves everything of every port, and holds it against what others of its class come to.
fn assert_same_verdicts(snapshot: &Snapshot, what: &str) {
    let network = Network::new(snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let prover = Prover::new(&network);
    let alike = network.alike();
    let master = |port| network.link(port).unwrap().master;
    let mut known: HashMap<_, &'static str> = HashMap::new();
    for &port in alike.classes().iter().flatten() {
        let mut goals: Vec<_> = HostProtocol::ALL.map(|protocol| (None, Goal::Host(protocol))).into();
        goals.push((None, Goal::Infrastructure));
        for &to in alike.classes().iter().flatten().filter(|to| **to != port) {
            let key = Some((alike.class(to), master(to) == master(port)));
            goals
                .extend([Goal::Port(to), Goal::Sniff { from: to }, Goal::Spoof { of: to }].map(|g| (key, g)));
        }
        let plain: Vec<_> = goals.iter().map(|(_, goal)| *goal).collect();
        for ((key, goal), proof) in goals.iter().zip(prover.prove(port, &plain)) {
            let sort = match goal {
                Goal::Host(protocol) => protocol.name(),
                Goal::Infrastructure => "infrastructure",
                Goal::Port(_) => "port",
                Goal::Sniff { .. } => "sniff",
                Goal::Spoof { .. } => "spoof",
                Goal::SpoofIp { .. } => "spoof-ip",
            };
            let verdict = proof.verdict.name();
            let first = *known.entry((alike.class(port), *key, sort)).or_insert(verdict);
            assert_eq!(first, verdict, "{what}: {} {goal:?}", network.name(port));
        }
    }
}

type Change = fn(&mut Snapshot);

#[test]
fn a_difference_sets_a_port_apart() {
    let changes: [(&str, Change); 5] = [
        ("an option", |snapshot| port(snapshot, "vnet3").learning = Some(false)),
        ("a flag", |snapshot| {
            links(snapshot).iter_mut().find(|link| link.name == "vnet3").unwrap().mtu = 1400;
        }),
        ("a rule more", |snapshot| {
            rules_of(snapshot, |rules| {
                rules.pop();
            });
        }),
        ("another rule", |snapshot| {
            rules_of(snapshot, |rules| {
                rules[0].expressions.retain(|expression| !matches!(expression, NftExpr::Verdict(_)));
            });
        }),
        ("an address that is the host's", |snapshot| {
            let host = links(snapshot).iter().find(|link| link.name == "eth1").unwrap().address.unwrap();
            rules_of(snapshot, |rules| {
                for expression in rules.iter_mut().flat_map(|rule| &mut rule.expressions) {
                    if let NftExpr::Cmp { data, .. } = expression
                        && data.len() == 6
                    {
                        *data = host.0[..].into();
                    }
                }
            });
        }),
    ];
    for (what, change) in changes {
        let mut snapshot = large_host(6, 1, AntiSpoofing::Libvirt);
        change(&mut snapshot);
        let classes = classes(&snapshot);
        assert!(classes.contains(&vec!["vnet3".to_owned()]), "{what}: {classes:?}");
        assert_eq!(classes.len(), 3, "{what}: {classes:?}");
    }
}

/// A rule that is for all names an address or a port of one: that one is alike to no other.
#[test]
fn what_rules_of_all_name_is_set_apart() {
    let (guest, port) = ([0x52, 0x54, 0, 0, 0, 3], *b"vnet3\0\0\0\0\0\0\0\0\0\0\0");
    let source = || NftExpr::Payload { base: PayloadBase::Link, offset: 6, len: 6, dreg: 4 };
    let drop = || NftExpr::Verdict(NftVerdict::Drop);
    let is = |data: &[u8]| NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: data.into() };
    let within = || NftExpr::Lookup { set: "s".to_owned(), sreg: 4, dreg: None, inverted: false };
    let name = |dreg| NftExpr::Meta { key: MetaKey::IifName, dreg };
    let cases: Vec<(&str, Vec<NftExpr>, Vec<u8>)> = vec![
        ("its guest's address", vec![source(), is(&guest), drop()], Vec::new()),
        ("the address in a set", vec![source(), within(), drop()], guest.to_vec()),
        (
            "the address before another thing in a set",
            vec![source(), NftExpr::Meta { key: MetaKey::Protocol, dreg: 6 }, within(), drop()],
            [&guest[..], &[0, 0, 8, 0, 0, 0]].concat(),
        ),
        (
            "its name behind the address in a set",
            vec![source(), name(6), within(), drop()],
            [&guest[..], &[0, 0], &port].concat(),
        ),
        (
            "its name behind another thing",
            vec![NftExpr::Meta { key: MetaKey::Protocol, dreg: 4 }, name(5), within(), drop()],
            [&[8, 0, 0, 0][..], &port].concat(),
        ),
    ];
    for (style, (what, expressions, key)) in
        cases.iter().flat_map(|case| [(AntiSpoofing::Libvirt, case), (AntiSpoofing::None, case)])
    {
        let mut snapshot = large_host(6, 1, style);
        if style == AntiSpoofing::None {
            // The rules of the other host, without those that are for one port.
            let rules = large_host(6, 1, AntiSpoofing::Libvirt).namespaces.remove(0).filters;
            let filters = &mut snapshot.namespaces[0].filters;
            (filters.nft_tables, filters.nft_chains) = (rules.nft_tables, rules.nft_chains);
            prerouting(&mut snapshot).chains.retain(|chain| chain.name == "prerouting");
            prerouting(&mut snapshot).chains[0].rules.clear();
        }
        let element = NftElement {
            key: Some(Bytes(key.clone())),
            key_end: None,
            interval_end: false,
            data: None,
            expires: false,
            expressions: Vec::new(),
        };
        let (name, concat) = ("s".to_owned(), Vec::new());
        let elements = if key.is_empty() { Vec::new() } else { vec![element] };
        let (flags, key_len) = (0, key.len() as u32);
        let table = prerouting(&mut snapshot);
        table.sets.push(NftSet { name, flags, key_len, concat, elements });
        let chain = table.chains.iter_mut().find(|chain| chain.name == "prerouting").unwrap();
        chain.rules.insert(0, NftRule { handle: 999, expressions: expressions.clone() });
        let classes = classes(&snapshot);
        assert!(classes.contains(&vec!["vnet3".to_owned()]), "{style:?}, {what}: {classes:?}");
        assert_eq!(classes.len(), 3, "{style:?}, {what}: {classes:?}");
    }
}

/// A chain at each guest's port that lets nothing in but from its own network, and one rule for all.
fn with_networks(for_all: Vec<NftExpr>) -> Snapshot {
    let mut snapshot = large_host(6, 1, AntiSpoofing::None);
    let mask = [&[0xff; 8][..], &[0; 8]].concat();
    let source = || NftExpr::Payload { base: PayloadBase::Network, offset: 8, len: 16, dreg: 4 };
    let rule = |expressions| NftRule { handle: 1, expressions };
    let (mut chains, mut bases) = (Vec::new(), Vec::new());
    for number in 0..6u8 {
        let own = [&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, number][..], &[0; 8]].concat();
        let op = BitwiseOp::Mask { mask: Bytes(mask.clone()), xor: Bytes(vec![0; 16]) };
        let expressions = vec![
            source(),
            NftExpr::Bitwise { sreg: 4, dreg: 4, len: 16, op },
            NftExpr::Cmp { sreg: 4, op: CmpOp::Neq, data: Bytes(own) },
            NftExpr::Verdict(NftVerdict::Drop),
        ];
        let name = format!("from_vnet{number}");
        chains.push(NftChain { name: name.clone(), rules: vec![rule(expressions)] });
        bases.push(base(NftFamily::Netdev, &name, (0, "ingress"), vec![format!("vnet{number}")]));
    }
    let forward = NftChain { name: "forward".to_owned(), rules: vec![rule(for_all)] };
    let table =
        |family, chains| NftTable { family, name: "t".to_owned(), dormant: false, chains, sets: Vec::new() };
    bases.push(base(NftFamily::Bridge, "forward", (2, "forward"), Vec::new()));
    let filters = &mut snapshot.namespaces.first_mut().unwrap().filters;
    filters.nft_tables =
        Reading::Read(vec![table(NftFamily::Netdev, chains), table(NftFamily::Bridge, vec![forward])]);
    filters.nft_chains = Reading::Read(bases);
    snapshot
}

fn base(
    family: NftFamily,
    chain: &str,
    (hook, hook_name): (u32, &str),
    devices: Vec<String>,
) -> NftBaseChain {
    NftBaseChain {
        family,
        table: "t".to_owned(),
        chain: chain.to_owned(),
        kind: "filter".to_owned(),
        hook,
        hook_name: hook_name.to_owned(),
        priority: 0,
        devices,
        policy_drop: false,
        rules: 1,
        dormant: false,
    }
}

/// Guests with a network each are alike, as long as nobody names an address in one of them.
#[test]
fn networks_of_ones_own_are_alike() {
    let named = |network: u8| {
        let address = [&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, network][..], &[0, 0, 0, 0, 0, 0, 0, 5]].concat();
        let source = NftExpr::Payload { base: PayloadBase::Network, offset: 8, len: 16, dreg: 4 };
        let is = NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: Bytes(address) };
        with_networks(vec![source, is, NftExpr::Verdict(NftVerdict::Drop)])
    };
    let alike = named(9);
    assert_eq!(classes(&alike).len(), 2, "{:?}", classes(&alike));
    assert_same_verdicts(&alike, "networks");
    let apart = named(3);
    assert!(classes(&apart).contains(&vec!["vnet3".to_owned()]), "{:?}", classes(&apart));
    assert_eq!(classes(&apart).len(), 3, "{:?}", classes(&apart));
    assert_same_verdicts(&apart, "one network with an address that is named");
}

fn prerouting(snapshot: &mut Snapshot) -> &mut NftTable {
    let filters = &mut snapshot.namespaces.first_mut().unwrap().filters;
    let Reading::Read(tables) = &mut filters.nft_tables else { panic!() };
    tables.first_mut().unwrap()
}

/// Changes the rules that are for `vnet3` only.
fn rules_of(snapshot: &mut Snapshot, change: impl Fn(&mut Vec<NftRule>)) {
    let Reading::Read(tables) = &mut snapshot.namespaces.first_mut().unwrap().filters.nft_tables else {
        panic!()
    };
    let chains = tables.iter_mut().flat_map(|table| &mut table.chains);
    change(&mut chains.into_iter().find(|chain| chain.name == "I-vnet3").unwrap().rules);
}

#[test]
fn groups_of_one_guest_each_tell_ports_not_apart() {
    let mut snapshot = large_host(6, 1, AntiSpoofing::Libvirt);
    let index = |snapshot: &Snapshot, name: &str| snapshot.namespaces[0].link_named(name).unwrap().index;
    let member = |port: IfIndex, group: &str| MdbEntry {
        bridge: IfIndex(10),
        port,
        group: MdbGroup::Ipv6(group.parse().unwrap()),
        source: None,
        vlan: None,
        permanent: false,
        flags: 0,
        mode: None,
    };
    let guests: Vec<_> = (0..6).map(|at| index(&snapshot, &format!("vnet{at}"))).collect();
    let mut entries: Vec<_> =
        guests.iter().map(|port| member(*port, &format!("ff02::1:ff00:{}", port.0))).collect();
    let mdb = |snapshot: &mut Snapshot, entries: &[MdbEntry]| {
        snapshot.namespaces[0].mdb = Reading::Read(Mdb { entries: entries.to_vec(), ..Mdb::default() });
    };
    mdb(&mut snapshot, &entries);
    assert_eq!(classes(&snapshot).len(), 2);
    // A group with a name of its own is the same for all, or sets apart.
    entries.push(member(guests[3], "ff02::fb"));
    mdb(&mut snapshot, &entries);
    assert!(classes(&snapshot).contains(&vec!["vnet3".to_owned()]));
    entries.extend(guests.iter().filter(|port| **port != guests[3]).map(|port| member(*port, "ff02::fb")));
    mdb(&mut snapshot, &entries);
    assert_eq!(classes(&snapshot).len(), 2);
}

/// Rules of the other tools tell apart whom they name, and nobody else.
#[test]
fn what_legacy_rules_name_is_set_apart() {
    let device =
        |name: &str| Some(XtDevice { interface: XtInterface::Name(name.to_owned()), inverted: false });
    let source = |address: &str, mask: &str| {
        let (address, mask) = (address.parse().unwrap(), mask.parse().unwrap());
        Some(XtAddress { address, mask, inverted: false })
    };
    let mac = XtMatch::Mac(XtValue { value: MacAddr([0x52, 0x54, 0, 0, 0, 3]), inverted: false });
    let established = XtMatch::State { mask: 2 };
    let none = IptHeader::default;
    let cases: Vec<(&str, IptHeader, Vec<XtMatch>, usize)> = vec![
        ("a bridge", IptHeader { input: device("br0"), ..none() }, vec![established.clone()], 2),
        ("a network", IptHeader { source: source("10.0.0.0", "255.255.0.0"), ..none() }, Vec::new(), 2),
        ("a port", IptHeader { input: device("vnet3"), ..none() }, Vec::new(), 3),
        ("a guest's address", none(), vec![mac], 3),
        (
            "a guest's IP address",
            IptHeader { source: source("10.0.0.5", "255.255.255.255"), ..none() },
            vec![],
            3,
        ),
        ("some guests", IptHeader { source: source("10.0.0.4", "255.255.255.254"), ..none() }, vec![], 3),
    ];
    for (what, header, matches, count) in cases {
        let mut snapshot = large_host(6, 1, AntiSpoofing::Libvirt);
        let rule = LegacyRule {
            header: LegacyHeader::Ip(header),
            matches,
            watchers: Vec::new(),
            target: LegacyTarget::Verdict(XtVerdict::Drop),
        };
        let (name, policy) = ("INPUT".to_owned(), XtVerdict::Accept);
        let chain = LegacyChain { name, hook: Some(1), policy, rules: vec![rule] };
        snapshot.namespaces[0].filters.legacy_tables = Reading::Read(vec![LegacyTable {
            family: LegacyFamily::Iptables,
            table: "filter".to_owned(),
            entries: None,
            chains: Reading::Read(vec![chain]),
        }]);
        let classes = classes(&snapshot);
        assert_eq!(classes.len(), count, "{what}: {classes:?}");
        let apart: &[&str] = match what {
            _ if count == 2 => &[],
            "some guests" => &["vnet2", "vnet3"],
            _ => &["vnet3"],
        };
        let is_apart = |class: &Vec<String>| class.iter().eq(apart);
        assert!(apart.is_empty() || classes.iter().any(is_apart), "{what}: {classes:?}");
    }
}

#[test]
fn a_pair_between_bridges_is_no_end() {
    let mut snapshot = large_host(4, 2, AntiSpoofing::None);
    // The second guests of both bridges become the two ends of one cable.
    let ends = ["vnet2", "vnet3"];
    let index = |snapshot: &Snapshot, name: &str| snapshot.namespaces[0].link_named(name).unwrap().index;
    let indices = ends.map(|name| index(&snapshot, name));
    for (at, name) in ends.iter().enumerate() {
        let link = links(&mut snapshot).iter_mut().find(|link| link.name == *name).unwrap();
        link.kind = portcullis_snapshot::LinkKind::Veth;
        link.link = Some(indices[1 - at]);
    }
    assert!(classes(&snapshot).contains(&vec!["vnet2".to_owned()]));
    let (near, far) = (index(&snapshot, "vnet0"), index(&snapshot, "vnet1"));
    let network = Network::new(&snapshot, snapshot.namespaces[0].id).unwrap();
    let proofs = Prover::new(&network).prove(near, &[Goal::Port(far)]);
    let portcullis_prove::Verdict::Unproven(why) = &proofs[0].verdict else { panic!("{proofs:?}") };
    assert!(why.iter().any(|why| why.what.contains("what leaves by vnet2 comes in by vnet3")), "{why:?}");
}

/// As libvirt's own nftables driver has it: the port is looked up by its number.
#[test]
fn rules_that_are_found_by_a_ports_number_are_its_own() {
    let mut snapshot = large_host(6, 1, AntiSpoofing::Libvirt);
    let links = snapshot.namespaces[0].links.known().iter();
    let numbers: Vec<_> = links.map(|link| (link.name.clone(), link.index)).collect();
    let table = prerouting(&mut snapshot);
    let chain = table.chains.iter_mut().find(|chain| chain.name == "prerouting").unwrap();
    let element = |rule: &NftRule| {
        let jump = rule.expressions.iter().find_map(|expression| match expression {
            NftExpr::Verdict(NftVerdict::Jump(to)) => Some(to.clone()),
            _ => None,
        });
        let to = jump.unwrap();
        let (_, index) = numbers.iter().find(|(name, _)| to == format!("I-{name}")).unwrap();
        NftElement {
            key: Some(index.0.to_ne_bytes()[..].into()),
            key_end: None,
            interval_end: false,
            data: Some(NftData::Verdict(NftVerdict::Jump(to))),
            expires: false,
            expressions: Vec::new(),
        }
    };
    let elements = chain.rules.iter().map(element).collect();
    let expressions = vec![
        NftExpr::Meta { key: MetaKey::Iif, dreg: 4 },
        NftExpr::Lookup { set: "vmap-iif".to_owned(), sreg: 4, dreg: Some(0), inverted: false },
    ];
    chain.rules = vec![NftRule { handle: 1, expressions }];
    let (name, concat) = ("vmap-iif".to_owned(), Vec::new());
    table.sets.push(NftSet { name, flags: 8, key_len: 4, concat, elements });
    assert_eq!(classes(&snapshot).len(), 2, "{:?}", classes(&snapshot));
    rules_of(&mut snapshot, |rules| {
        rules.pop();
    });
    assert!(classes(&snapshot).contains(&vec!["vnet3".to_owned()]), "{:?}", classes(&snapshot));
}

/// A host that has an address on the bridge knows all guests as its neighbours.
#[test]
fn neighbours_of_the_host_are_alike() {
    for style in STYLES {
        let mut snapshot = large_host(6, 1, style);
        let bridge = snapshot.namespaces[0].link_named("br0").unwrap().index;
        let neighbour = |number: usize| {
            let Guest { mac, ip, .. } = Guest::new(number, 0, style);
            // Reachable or stale.
            let state = if number.is_multiple_of(2) { 2 } else { 4 };
            Neighbour { device: bridge, address: ip.into(), mac: Some(mac), state, flags: 0 }
        };
        let mut neighbours: Vec<_> = (0..6).map(neighbour).collect();
        let set = |snapshot: &mut Snapshot, neighbours: &[Neighbour]| {
            snapshot.namespaces[0].neighbours = Reading::Read(neighbours.to_vec());
            classes(snapshot)
        };
        let all = set(&mut snapshot, &neighbours);
        assert_eq!(all.len(), 2, "{style:?}: {all:?}");
        // One whom nothing that is heard can change is another.
        let name = Guest::new(3, 0, style).port;
        neighbours[3].state = 0x80;
        let all = set(&mut snapshot, &neighbours);
        assert!(all.contains(&vec![name.clone()]) && all.len() == 3, "{style:?}: {all:?}");
        // So is one with another's IP address.
        neighbours[3].state = 2;
        neighbours[3].address = "10.9.9.9".parse().unwrap();
        let all = set(&mut snapshot, &neighbours);
        let apart = style != AntiSpoofing::None;
        assert_eq!(all.contains(&vec![name]), apart, "{style:?}: {all:?}");
    }
}

/// As a kernel told it, with all that it has of its own on each device: the two that have the filter, and the one that has none.
#[test]
fn guests_of_libvirt_are_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../portcullis/tests/fixtures/rulesets/libvirt-nwfilter.json");
    let snapshot = Snapshot::load(File::open(path).unwrap()).unwrap();
    let classes = classes(&snapshot);
    assert!(classes.contains(&vec!["vnet0".to_owned(), "vnet1".to_owned()]), "{classes:?}");
    assert_eq!(classes.len(), 2, "{classes:?}");
}
