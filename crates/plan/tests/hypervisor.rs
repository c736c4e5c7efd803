//! Plans for the first article's network, as a kernel told it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use portcullis_audit::Policy;
use portcullis_datapath::Network;
use portcullis_plan::{
    BehindBridges, Change, Method, Plan, PlanError, Request, Ruleset, State, Words, broken, plan, write,
};
use portcullis_prove::{Goal, HostProtocol, Prover, Verdict};
use portcullis_snapshot::{
    Behind, EtherType, FdbEntry, IfIndex, LinkKind, MacAddr, ProcessRef, Reading, Snapshot, Unread,
    UnreadCause, VlanEntry, VlanFlags, VlanId, VlanTable,
};

/// An address-less `br0` with the guests `veth1` and `veth2`, on a host that forwards.
fn host() -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portcullis/tests/fixtures/hypervisor.json");
    Snapshot::load(File::open(path).unwrap()).unwrap()
}

fn planned(
    snapshot: &Snapshot,
    policy: &str,
    methods: &[Method],
    refused: &[Method],
) -> Result<Plan, PlanError> {
    let refused: BTreeMap<_, _> = refused.iter().map(|method| (*method, "no".to_owned())).collect();
    let request = Request {
        methods,
        complete: false,
        bridges: &[],
        refused: &refused,
        today: jiff::civil::date(2026, 6, 1),
    };
    plan(snapshot, snapshot.namespaces[0].id, &Policy::parse(policy).unwrap(), &request)
}

/// The plan in a few lines.
fn sketch(plan: &Plan) -> String {
    let mut text = String::new();
    for chosen in &plan.chosen {
        writeln!(text, "{} on {}: {}", chosen.method, chosen.bridge, chosen.because).unwrap();
    }
    for change in &plan.changes {
        writeln!(text, "- {change}").unwrap();
    }
    for claim in &plan.claims {
        writeln!(text, "{:?}: {} → {}", claim.goal, claim.before.name(), claim.after.name()).unwrap();
    }
    for (word, found) in [("closed", &plan.found_closed), ("left", &plan.found_left)] {
        for found in found {
            writeln!(text, "{word}: {} {} ×{}", found.severity.name(), found.rule, found.count).unwrap();
        }
    }
    for stops in &plan.stops {
        writeln!(text, "stops: {stops}").unwrap();
    }
    for unfit in &plan.unfit {
        writeln!(text, "not {}: {}", unfit.method, unfit.why).unwrap();
    }
    text
}

/// The snapshot with a plan made in it.
fn made(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut made = snapshot.clone();
    for change in &plan.changes {
        assert_eq!(change.state(&made.namespaces[0]), State::Before, "{change}");
        change.make(&mut made.namespaces[0]).unwrap();
        assert_eq!(change.state(&made.namespaces[0]), State::After, "{change}");
    }
    made
}

/// The same host on a kernel that filters VLANs, whose bridge has heard its guests.
fn vlan_aware() -> Snapshot {
    let mut snapshot = host();
    let netns = &mut snapshot.namespaces[0];
    let (Reading::Read(links), Reading::Read(fdb)) = (&mut netns.links, &mut netns.fdb) else { panic!() };
    let bridge = links.iter_mut().find(|link| link.bridge().is_some()).unwrap();
    let LinkKind::Bridge(options) = &mut bridge.kind else { panic!() };
    options.vlan_protocol = Some(EtherType::VLAN);
    let bridge = bridge.index;
    let ports = links.iter().filter(|link| link.bridge_port().is_some());
    for (number, port) in ports.enumerate() {
        fdb.push(FdbEntry {
            device: port.index,
            bridge: Some(bridge),
            address: MacAddr([2, 0, 0, 0, 0x10, number as u8]),
            vlan: None,
            state: 2,
            flags: 4,
            flags_ext: 0,
            used: Some(0),
            updated: Some(0),
            remote: None,
            unknown: Vec::new(),
        });
    }
    let entry = |flags| VlanEntry {
        from: VlanId::new(1).unwrap(),
        to: VlanId::new(1).unwrap(),
        flags: VlanFlags(flags),
        state: None,
        mcast_router: None,
        neigh_suppress: None,
        tunnel_id: None,
        unknown: Vec::new(),
    };
    let untagged = VlanFlags::PVID | VlanFlags::UNTAGGED;
    let ports = links.iter().filter(|link| link.bridge_port().is_some()).map(|link| (link.index, untagged));
    let tables = ports.chain([(bridge, untagged | VlanFlags::BRENTRY)]);
    let tables = tables.map(|(device, flags)| VlanTable { device, vlans: vec![entry(flags)] });
    let mut tables: Vec<_> = tables.collect();
    tables.sort_by_key(|table| table.device);
    netns.vlans = Reading::Read(tables);
    snapshot
}

#[test]
fn without_a_word_the_host_is_closed() {
    insta::assert_snapshot!("host_closed", sketch(&planned(&host(), "", &[], &[]).unwrap()));
}

#[test]
fn what_this_kernel_refuses_is_done_otherwise() {
    let refused = [Method::DropOnBridge, Method::DropLinkLocal, Method::BridgeInput];
    let plan = planned(&host(), "", &[], &refused).unwrap();
    insta::assert_snapshot!("refused", sketch(&plan));
    let refused = [&refused[..], &[Method::TcOnBridge]].concat();
    let plan = planned(&host(), "", &[], &refused).unwrap();
    assert!(plan.chosen.iter().any(|chosen| chosen.method == Method::BpfOnBridge));
    assert!(plan.is_proven());
}

#[test]
fn what_cannot_be_closed_is_left_and_said() {
    let refused = [Method::DropLinkLocal, Method::TcLinkLocal];
    let plan = planned(&host(), "", &[], &refused).unwrap();
    assert!(!plan.is_proven());
    assert!(plan.chosen.iter().any(|chosen| chosen.method == Method::DropOnBridge));
    for left in plan.left() {
        let Verdict::Exposed(exposure) = &left.after else { panic!("{left:?}") };
        assert_eq!(exposure.frame[..5], [1, 0x80, 0xc2, 0, 0]);
    }
}

#[test]
fn what_the_policy_states_of_guests_is_enforced() {
    let of = |guest: &str, ip: &str| format!("[[port]]\nname = \"{guest}\"\nip = [{ip}]\n");
    let both = of("veth1", "\"192.0.2.1\"") + &of("veth2", "\"192.0.2.2\", \"2001:db8::/64\"");
    let chosen = |policy: &str| {
        let plan = planned(&host(), policy, &[], &[]).unwrap();
        (plan.chosen.iter().any(|chosen| chosen.method == Method::AntiSpoof), plan)
    };
    let (enforced, plan) = chosen(&both);
    assert!(enforced && plan.is_proven(), "{}", sketch(&plan));
    let is_closed = |found: &&portcullis_plan::Found| found.rule.0 == "ip-spoofing";
    assert_eq!(
        plan.found_closed.iter().find(is_closed).map(|found| found.count),
        Some(2),
        "{}",
        sketch(&plan)
    );
    // With an own address on every port nobody is left out; else the guest of the other port would be cut off.
    assert!(!chosen(&of("veth1", "\"192.0.2.1\"")).0);
}

#[test]
fn a_guest_whose_address_the_policy_changes_is_heard_by_it() {
    let of = |one: &str, two: &str| {
        format!(
            "[[port]]\nname = \"veth1\"\nip = [\"{one}\"]\n[[port]]\nname = \"veth2\"\nip = [\"{two}\"]\n"
        )
    };
    let mut snapshot = host();
    let (before, then) = (of("192.0.2.1", "192.0.2.2"), of("192.0.2.1", "192.0.2.9"));
    let first = planned(&snapshot, &before, &[], &[]).unwrap();
    assert_eq!(first.unheard, [""; 0]);
    let make = |plan: &Plan, snapshot: &mut Snapshot| {
        plan.changes.iter().for_each(|change| change.make(&mut snapshot.namespaces[0]).unwrap());
    };
    make(&first, &mut snapshot);
    assert!(planned(&snapshot, &before, &[], &[]).unwrap().is_empty());
    let changed = planned(&snapshot, &then, &[], &[]).unwrap();
    assert!(changed.is_proven());
    assert_eq!(changed.unheard, [""; 0]);
    // The chain gives way to one of its name; the other guest's stays as it is.
    let [Change::Table { from: Some(from), to }] = changed.changes.as_slice() else {
        panic!("{}", sketch(&changed))
    };
    let rules = |ruleset: &Ruleset, chain: &str| {
        let chain = ruleset.table.chains.iter().find(|held| held.name == chain).unwrap();
        chain.rules.iter().map(|rule| rule.expressions.clone()).collect::<Vec<_>>()
    };
    assert_eq!(from.table.chains.len(), to.table.chains.len());
    assert_eq!(rules(from, "from_veth1"), rules(to, "from_veth1"));
    assert_ne!(rules(from, "from_veth2"), rules(to, "from_veth2"));
    insta::assert_snapshot!("changed_address", write(Words::Nft, &changed.changes));
    make(&changed, &mut snapshot);
    assert!(planned(&snapshot, &then, &[], &[]).unwrap().is_empty());
    // So it is with the address of its hardware.
    let with_mac = |mac: &str| format!("{then}mac = [\"{mac}\"]\n");
    let [one, another] = [with_mac("02:00:00:00:05:01"), with_mac("02:00:00:00:05:02")];
    let stated = planned(&snapshot, &one, &[Method::AntiSpoof], &[]).unwrap();
    make(&stated, &mut snapshot);
    let changed = planned(&snapshot, &another, &[], &[]).unwrap();
    assert_eq!(changed.unheard, [""; 0]);
    make(&changed, &mut snapshot);
    let text = write(Words::Nft, &changed.changes);
    assert!(text.contains("02:00:00:00:05:02") && !text.contains("02:00:00:00:05:01"), "{text}");
    assert!(planned(&snapshot, &another, &[], &[]).unwrap().is_empty());
}

#[test]
fn a_guest_that_rules_of_others_drop_is_said_to_be_dropped() {
    let policy = "[[port]]\nname = \"veth1\"\nip = [\"192.0.2.1\"]\n[[port]]\nname = \"veth2\"\nip = [\"192.0.2.2\"]\n";
    let mut snapshot = host();
    let first = planned(&snapshot, policy, &[], &[]).unwrap();
    first.changes.iter().for_each(|change| change.make(&mut snapshot.namespaces[0]).unwrap());
    // The table is another's now.
    let filters = &mut snapshot.namespaces[0].filters;
    let (Reading::Read(tables), Reading::Read(bases)) = (&mut filters.nft_tables, &mut filters.nft_chains)
    else {
        panic!("not read")
    };
    tables.iter_mut().for_each(|table| table.name = "others".to_owned());
    bases.iter_mut().for_each(|base| base.table = "others".to_owned());
    let changed = planned(&snapshot, &policy.replace("192.0.2.2", "192.0.2.9"), &[], &[]).unwrap();
    let [said] = changed.unheard.as_slice() else { panic!("{:?}", changed.unheard) };
    assert!(
        said.starts_with("br0: ARP of veth2 in its own name, 192.0.2.9: nftables netdev others "),
        "{said}"
    );
}

#[test]
fn a_bridge_that_is_meant_to_be_reached_stays_so() {
    let plan = planned(&host(), "[[bridge]]\nhost-access = \"allow\"", &[], &[]).unwrap();
    assert!(plan.claims.is_empty());
    // What is found there all the same is closed: advertisements from guests, and what passes the bridge by.
    let chosen: Vec<_> = plan.chosen.iter().map(|chosen| chosen.method).collect();
    assert_eq!(chosen, [Method::AcceptRaOff, Method::DropLinkLocal]);
    let of_bridge = |change: &&Change| change.device().is_some_and(|device| device.name == "br0");
    assert_eq!(plan.changes.iter().find(of_bridge), None);
}

#[test]
fn what_was_not_read_is_not_guessed() {
    let mut snapshot = host();
    let unread = Unread { cause: UnreadCause::Permission, reason: "no".to_owned() };
    snapshot.namespaces[0].addresses = Reading::Unread(unread);
    assert!(matches!(planned(&snapshot, "", &[], &[]), Err(PlanError::Unread { .. })));
    assert!(planned(&snapshot, "[[bridge]]\nhost-access = \"allow\"", &[], &[]).is_ok());
}

#[test]
fn a_promise_that_is_not_kept_is_noticed() {
    let snapshot = host();
    let plan = planned(&snapshot, "", &[], &[]).unwrap();
    assert_eq!(broken(&made(&snapshot, &plan), plan.netns, &plan.claims), None);
    assert!(broken(&snapshot, plan.netns, &plan.claims).is_some());
}

#[test]
fn a_hub_becomes_a_switch_again() {
    let mut snapshot = host();
    let Reading::Read(links) = &mut snapshot.namespaces[0].links else { panic!() };
    for link in links.iter_mut() {
        if let LinkKind::Bridge(options) = &mut link.kind {
            options.ageing_time = Some(0);
        }
    }
    // A third guest, who overhears the two.
    let mut third = links.iter().find(|link| link.name == "veth2").unwrap().clone();
    (third.index, third.name) = (IfIndex(1_000), "veth3".to_owned());
    links.push(third);
    let plan = planned(&snapshot, "", &[], &[]).unwrap();
    assert!(plan.chosen.iter().any(|chosen| chosen.method == Method::AgeingTime));
    assert!(plan.found_closed.iter().any(|found| found.rule.0 == "hub-mode"));
}

#[test]
fn guests_are_kept_apart_where_the_policy_says_so() {
    let policy = "[[bridge]]\nhost-access = \"allow\"\nguest-to-guest = \"deny\"";
    insta::assert_snapshot!("guests_apart", sketch(&planned(&host(), policy, &[], &[]).unwrap()));
}

#[test]
fn protocols_that_the_policy_lets_through_stay_open_and_that_is_said() {
    let plan = planned(&host(), "[[bridge]]\nlink-local = [\"lldp\", \"stp\"]", &[], &[]).unwrap();
    let text = write(Words::Nft, &plan.changes);
    assert!(text.contains("ether type != 0x88cc ether type > 1500 drop"), "{text}");
    assert!(plan.left().next().is_some(), "LLDP has a way to the stack");
}

#[test]
fn vlan_filtering_is_for_bridges_that_filter_already() {
    let names = |snapshot: &Snapshot| {
        let plan = planned(snapshot, "", &[], &[]).unwrap();
        assert!(plan.is_proven());
        plan.chosen.iter().map(|chosen| chosen.method).collect::<Vec<_>>()
    };
    let mut snapshot = vlan_aware();
    // A guest's own VLANs would stop.
    assert_eq!(names(&snapshot), [Method::DropOnBridge, Method::DropLinkLocal, Method::AcceptRaDefault]);
    let Reading::Read(links) = &mut snapshot.namespaces[0].links else { panic!() };
    for link in links {
        if let LinkKind::Bridge(options) = &mut link.kind {
            options.vlan_filtering = Some(true);
        }
    }
    assert_eq!(names(&snapshot), [Method::VlanFiltering, Method::DropLinkLocal, Method::AcceptRaDefault]);
}

#[test]
fn what_is_asked_for_is_made_and_what_it_stops_is_said() {
    let plan = planned(&vlan_aware(), "", &[Method::VlanFiltering], &[]).unwrap();
    insta::assert_snapshot!("vlan_filtering", sketch(&plan));
    // What would cut guests off is not made.
    let error = planned(&host(), "", &[Method::Isolate], &[]).unwrap_err();
    insta::assert_snapshot!("isolate_cuts_off", error);
}

/// The remedies that fit a host, each with its plan.
fn each_alone(snapshot: &Snapshot) -> Vec<(Method, Plan)> {
    let policy = "[[bridge]]\nguest-to-guest = \"deny\"";
    let plan = |method| planned(snapshot, policy, &[method], &[]).ok().map(|plan| (method, plan));
    Method::ALL.into_iter().filter_map(plan).filter(|(_, plan)| !plan.is_empty()).collect()
}

#[test]
fn every_remedy_is_taken_back_without_a_trace() {
    let snapshot = vlan_aware();
    let all = each_alone(&snapshot);
    assert!(all.len() >= 30, "{:?}", all.iter().map(|(method, _)| method).collect::<Vec<_>>());
    for (method, plan) in all {
        let mut back = made(&snapshot, &plan);
        assert_ne!(back, snapshot, "{method}");
        for change in plan.changes.iter().rev() {
            change.take_back(&mut back.namespaces[0]).unwrap();
        }
        let (Reading::Read(fdb), Reading::Read(before)) =
            (&mut back.namespaces[0].fdb, &snapshot.namespaces[0].fdb)
        else {
            panic!()
        };
        // What was learned is in the static entry's place, and comes again by itself.
        let learned = before.iter().filter(|entry| !fdb.contains(entry)).cloned().collect::<Vec<_>>();
        fdb.extend(learned);
        assert!(fdb.len() == before.len() && before.iter().all(|entry| fdb.contains(entry)), "{method}");
        back.namespaces[0].fdb = snapshot.namespaces[0].fdb.clone();
        assert_eq!(back, snapshot, "{method}");
    }
}

#[test]
fn no_state_on_the_way_is_more_open_than_the_first() {
    let snapshot = vlan_aware();
    for (method, plan) in each_alone(&snapshot) {
        let mut state = snapshot.clone();
        for change in &plan.changes {
            change.make(&mut state.namespaces[0]).unwrap();
            let network = Network::new(&state, plan.netns).unwrap();
            for claim in plan.claims.iter().filter(|claim| claim.before == Verdict::Isolated) {
                let proof = Prover::new(&network).prove(claim.from[0].index, &[claim.goal]).pop().unwrap();
                assert_eq!(proof.verdict, Verdict::Isolated, "{method}, after {change}");
            }
        }
    }
}

#[test]
fn a_second_plan_changes_nothing() {
    let snapshot = host();
    let plan = planned(&snapshot, "", &[], &[]).unwrap();
    let again = planned(&made(&snapshot, &plan), "", &[], &[]).unwrap();
    assert!(again.is_empty() && again.is_proven() && !again.claims.is_empty());
}

#[test]
fn a_change_is_made_only_where_the_old_state_is() {
    let snapshot = vlan_aware();
    for (method, plan) in each_alone(&snapshot) {
        let mut state = made(&snapshot, &plan);
        for change in &plan.changes {
            let error = change.make(&mut state.namespaces[0]).unwrap_err();
            assert!(error.to_string().contains("it is so already"), "{method}: {error}");
        }
        // Another device of the same index.
        let Reading::Read(links) = &mut state.namespaces[0].links else { panic!() };
        links.iter_mut().for_each(|link| link.name.push('x'));
        for change in plan.changes.iter().filter(|change| change.device().is_some()) {
            let error = change.take_back(&mut state.namespaces[0]).unwrap_err();
            assert!(error.to_string().contains("is gone, or another device"), "{method}: {error}");
        }
    }
}

#[test]
fn a_plan_can_be_said_in_other_words() {
    let methods = [
        Method::VlanFiltering,
        Method::DropLinkLocal,
        Method::IpRule,
        Method::AcceptRaOff,
        Method::TcOnBridge,
    ];
    let plan = planned(&vlan_aware(), "", &methods, &[]).unwrap();
    for (name, words) in [
        ("script", Words::Script),
        ("nft", Words::Nft),
        ("sysctl", Words::Sysctl),
        ("ifupdown", Words::Ifupdown),
        ("networkd", Words::Networkd),
        ("nmstate", Words::Nmstate),
    ] {
        insta::assert_snapshot!(name, write(words, &plan.changes));
    }
}

#[test]
fn changes_are_read_as_they_were_written() {
    for (method, plan) in each_alone(&vlan_aware()) {
        let text = serde_json::to_string(&plan.changes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Change>>(&text).unwrap(), plan.changes, "{method}");
    }
}

/// The host with a guest on a macvtap, instead of the host's own macvlan there; the name of the device below.
fn with_macvtap(snapshot: &mut Snapshot) -> &'static str {
    let Reading::Read(links) = &mut snapshot.namespaces[0].links else { panic!() };
    let macvlan = links.iter_mut().find(|link| link.name == "mv0").unwrap();
    let LinkKind::Macvlan(options) = &macvlan.kind else { panic!() };
    macvlan.kind = LinkKind::Macvtap(options.clone());
    let process = ProcessRef { pid: 4711, name: "qemu-system-x86".to_owned() };
    macvlan.behind = Some(Behind { guest: None, processes: vec![process] });
    "eth1"
}

#[test]
fn whoever_moves_away_from_behind_the_bridge_device_is_told() {
    let mut snapshot = host();
    let netns = &mut snapshot.namespaces[0];
    let bridge = netns.link_named("br0").unwrap().index;
    let (moves, stays) = (MacAddr([0, 0x0c, 0x29, 0, 0, 1]), MacAddr([0, 0x0c, 0x29, 0, 0, 2]));
    let above = |link: &mut portcullis_snapshot::Link, to| {
        (link.link, link.address) = (Some(to), Some(moves));
    };
    let Reading::Read(links) = &mut netns.links else { panic!() };
    above(links.iter_mut().find(|link| link.name == "mv0").unwrap(), bridge);
    let text = format!("[[port]]\nname = \"br0\"\nmac = [\"{stays}\"]\n");
    let policy = Policy::parse(&text).unwrap();
    let plan = planned(&snapshot, &text, &[Method::ForeignEntries], &[]).unwrap();
    let [one, other] = &plan.changes[..] else { panic!("{}", sketch(&plan)) };
    let now = BehindBridges::of(&snapshot.namespaces[0], &policy);
    assert!(!now.outdates(one) && !now.outdates(other));
    let Reading::Read(links) = &mut snapshot.namespaces[0].links else { panic!() };
    links.retain(|link| link.name != "mv0");
    let now = BehindBridges::of(&snapshot.namespaces[0], &policy);
    let outdated: Vec<_> = plan.changes.iter().filter(|change| now.outdates(change)).collect();
    assert_eq!(outdated.len(), 1);
    assert!(outdated[0].to_string().contains(&moves.to_string()), "{}", outdated[0]);
}

#[test]
fn below_macvlans_each_protocol_is_closed_for_itself_where_that_is_wanted() {
    let mut snapshot = host();
    let lower = with_macvtap(&mut snapshot);
    let methods = |plan: &Plan| {
        let here = plan.chosen.iter().filter(|chosen| chosen.bridge.name == lower);
        here.map(|chosen| chosen.method).collect::<Vec<_>>()
    };
    // The host's own uplink is left alone, unless somebody says otherwise.
    assert_eq!(methods(&planned(&snapshot, "", &[], &[]).unwrap()), []);
    let deny = format!("[[bridge]]\nname = \"{lower}\"\nhost-access = \"deny\"\n");
    let plan = planned(&snapshot, &deny, &[], &[]).unwrap();
    let wanted = [Method::ArpInput, Method::RawPrerouting, Method::Ip6Prerouting];
    assert_eq!(methods(&plan), wanted, "{}", sketch(&plan));
    let isolated = plan.claims.iter().filter(|claim| claim.bridge.name == lower);
    let open: Vec<_> =
        isolated.filter(|claim| claim.after != Verdict::Isolated).map(|claim| claim.goal).collect();
    assert!(open.iter().all(|goal| *goal == Goal::Host(HostProtocol::Other)), "{open:?}");
    // What this kernel has not is done otherwise; what is for bridges is for bridges.
    let plan = planned(&snapshot, &deny, &[], &[Method::ArpInput]).unwrap();
    assert_eq!(methods(&plan)[0], Method::ArpOff);
    let plan = planned(&snapshot, &deny, &[Method::VlanFiltering, Method::ArpOff], &[]).unwrap();
    assert_eq!(methods(&plan), [Method::ArpOff]);
    assert!(plan.unfit.iter().any(|unfit| unfit.bridge.name == lower && unfit.why.contains("for bridges")));
}
