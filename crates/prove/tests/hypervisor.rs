//! Proofs about the first article's network, as a kernel told it: what is exposed, what closes it, and what that rests on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test, which may fail")]

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use portcullis_datapath::frame::symbolic::Condition;
use portcullis_datapath::{Aim, Manner, Network, Otherwise, Trace, When};
use portcullis_prove::{Goal, HostProtocol, Proof, Prover, Verdict, every_way, rests_on};
use portcullis_snapshot::{
    Bytes, CmpOp, EtherType, IfIndex, LinkKind, NftBaseChain, NftChain, NftData, NftElement, NftExpr,
    NftFamily, NftRule, NftSet, NftTable, NftVerdict, PayloadBase, PortKind, PortOptions, Reading, Snapshot,
};

/// An address-less `br0` with the guests `veth1` and `veth2`, on a host that forwards.
struct Host(Snapshot);

impl Host {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portcullis/tests/fixtures/hypervisor.json");
        Self(Snapshot::load(File::open(path).unwrap()).unwrap())
    }

    fn index(&self, name: &str) -> IfIndex {
        self.0.namespaces.first().unwrap().link_named(name).unwrap().index
    }

    fn each_port(&mut self, change: impl Fn(&mut PortOptions)) {
        let Reading::Read(links) = &mut self.0.namespaces.first_mut().unwrap().links else { panic!() };
        for link in links {
            if let Some(PortKind::Bridge(options)) = &mut link.port {
                change(options);
            }
        }
    }

    fn does_not_forward(&mut self) {
        let netns = self.0.namespaces.first_mut().unwrap();
        if let Reading::Read(settings) = &mut netns.ipv6 {
            settings.all.forwarding = Some(0);
        }
        let Reading::Read(links) = &mut netns.links else { panic!() };
        links.iter_mut().filter_map(|link| link.ipv4.as_mut()).for_each(|conf| conf.forwarding = Some(0));
    }

    /// What comes in by `veth1` is dropped, but for ARP without tags if that is let in.
    fn drop_at_ingress(&mut self, but_arp: bool) {
        let filters = &mut self.0.namespaces.first_mut().unwrap().filters;
        let family = NftFamily::Netdev;
        let expressions = vec![
            NftExpr::Payload { base: PayloadBase::Link, offset: 12, len: 2, dreg: 4 },
            NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: EtherType::ARP.0.to_be_bytes()[..].into() },
            NftExpr::Verdict(NftVerdict::Accept),
        ];
        let rules = if but_arp { vec![NftRule { handle: 1, expressions }] } else { Vec::new() };
        filters.nft_chains = Reading::Read(vec![NftBaseChain {
            family,
            table: "t".to_owned(),
            chain: "in".to_owned(),
            kind: "filter".to_owned(),
            hook: 0,
            hook_name: "ingress".to_owned(),
            priority: -500,
            devices: vec!["veth1".to_owned()],
            policy_drop: true,
            rules: rules.len() as u32,
            dormant: false,
        }]);
        let chains = vec![NftChain { name: "in".to_owned(), rules }];
        let table = NftTable { family, name: "t".to_owned(), dormant: false, chains, sets: Vec::new() };
        filters.nft_tables = Reading::Read(vec![table]);
    }

    /// What passes a hook of the bridge family is dropped, but for what rules let in.
    fn drop_at_bridge(&mut self, (hook, name): (u32, &str), rules: &[Vec<NftExpr>]) {
        self.drop_at_ingress(false);
        let filters = &mut self.0.namespaces.first_mut().unwrap().filters;
        let (Reading::Read(chains), Reading::Read(tables)) =
            (&mut filters.nft_chains, &mut filters.nft_tables)
        else {
            panic!()
        };
        let (chain, table) = (chains.first_mut().unwrap(), tables.first_mut().unwrap());
        (chain.family, table.family) = (NftFamily::Bridge, NftFamily::Bridge);
        (chain.hook, chain.priority, chain.rules) = (hook, -200, rules.len() as u32);
        chain.hook_name = name.to_owned();
        chain.devices.clear();
        let rule = |(handle, expressions): (u64, &Vec<NftExpr>)| NftRule {
            handle,
            expressions: expressions.clone(),
        };
        table.chains.first_mut().unwrap().rules = (1..).zip(rules).map(rule).collect();
    }

    fn prove(&self, goals: &[Goal]) -> Vec<Proof> {
        let network = Network::new(&self.0, self.0.namespaces.first().unwrap().id).unwrap();
        Prover::new(&network).prove(self.index("veth1"), goals)
    }

    fn verdicts(&self, goals: &[Goal]) -> Vec<&'static str> {
        self.prove(goals).iter().map(|proof| proof.verdict.name()).collect()
    }

    fn knobs(&self, proof: &Proof) -> Vec<String> {
        let netns = self.0.namespaces.first().unwrap();
        rests_on(&self.0, netns, proof, When::Ever).into_iter().map(|knob| knob.name).collect()
    }
}

fn of_host() -> Vec<Goal> {
    HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]).collect()
}

#[test]
fn as_it_is_a_guest_reaches_everything() {
    let host = Host::new();
    let mut goals = of_host();
    goals.extend([Goal::Port(host.index("veth2")), Goal::Sniff { from: host.index("veth2") }]);
    let proofs = host.prove(&goals);
    for proof in &proofs {
        let Verdict::Exposed(exposure) = &proof.verdict else { panic!("{proof:?}") };
        // No tags, where none are needed.
        let ethertype = exposure.frame.get(12..14).unwrap();
        assert!(![[0x81, 0x00], [0x88, 0xa8]].iter().any(|tpid| ethertype == tpid), "{proof:?}");
        assert!(!exposure.later, "{proof:?}");
    }
}

#[test]
fn what_is_dropped_at_the_port_reaches_nothing() {
    let mut host = Host::new();
    host.drop_at_ingress(false);
    let mut goals = of_host();
    goals.push(Goal::Port(host.index("veth2")));
    assert_eq!(host.verdicts(&goals), ["isolated"; 6]);
}

#[test]
fn what_is_let_in_is_what_gets_through() {
    let mut host = Host::new();
    host.drop_at_ingress(true);
    let verdicts = host.verdicts(&of_host());
    assert_eq!(verdicts, ["exposed", "isolated", "isolated", "isolated", "exposed"]);
}

#[test]
fn isolated_ports_keep_guests_apart_and_the_proof_says_what_it_rests_on() {
    let mut host = Host::new();
    host.each_port(|port| port.isolated = Some(true));
    let goal = Goal::Port(host.index("veth2"));
    // The host's router does not care about isolated ports.
    assert_eq!(host.verdicts(&[goal]), ["unproven"]);
    host.does_not_forward();
    let proofs = host.prove(&[goal]);
    let [proof] = proofs.as_slice() else { panic!() };
    assert_eq!(proof.verdict, Verdict::Isolated);
    let knobs = host.knobs(proof);
    assert!(
        ["isolated of veth1", "isolated of veth2"].iter().all(|knob| knobs.iter().any(|one| one == knob)),
        "{knobs:?}"
    );
    assert!(!knobs.iter().any(|knob| knob.starts_with("learning")), "{knobs:?}");
}

#[test]
fn what_a_map_has_for_established_connections_may_pass() {
    let mut host = Host::new();
    host.drop_at_ingress(false);
    let goal = Goal::Port(host.index("veth2"));
    assert_eq!(host.verdicts(&[goal]), ["isolated"]);
    // `ct state vmap { established : accept }` before everything is dropped.
    let Reading::Read(tables) = &mut host.0.namespaces.first_mut().unwrap().filters.nft_tables else {
        panic!()
    };
    let table = tables.first_mut().unwrap();
    let state = NftExpr::Other { name: "ct".to_owned(), data: Bytes::default() };
    let lookup = NftExpr::Lookup { set: "__map0".to_owned(), sreg: 4, dreg: Some(0), inverted: false };
    let rule = NftRule { handle: 1, expressions: vec![state, lookup] };
    table.chains.first_mut().unwrap().rules.push(rule);
    table.sets.push(NftSet {
        name: "__map0".to_owned(),
        flags: NftSet::MAP,
        key_len: 4,
        concat: Vec::new(),
        elements: vec![NftElement {
            key: Some(Bytes::from(&2u32.to_ne_bytes()[..])),
            key_end: None,
            interval_end: false,
            data: Some(NftData::Verdict(NftVerdict::Accept)),
            expires: false,
            expressions: Vec::new(),
        }],
    });
    assert_eq!(host.verdicts(&[goal]), ["unproven"]);
}

/// The question is asked in the middle of the way: behind the port's own filters, and before the bridge decides.
#[test]
fn a_question_on_the_way_stays_open_to_its_end() {
    let mut host = Host::new();
    host.does_not_forward();
    let state = NftExpr::Other { name: "ct".to_owned(), data: Bytes::default() };
    host.drop_at_bridge((0, "prerouting"), &[vec![state, NftExpr::Verdict(NftVerdict::Accept)]]);
    let mut goals = vec![Goal::Host(HostProtocol::Ipv6), Goal::Port(host.index("veth2"))];
    goals.push(Goal::Sniff { from: host.index("veth2") });
    let proofs = host.prove(&goals);
    for proof in &proofs {
        // To the host there is a way past the bridge: link-local group addresses.
        if proof.goal == goals[0] {
            assert_eq!(proof.verdict.name(), "exposed", "{proof:?}");
            continue;
        }
        let Verdict::Unproven(why) = &proof.verdict else { panic!("{proof:?}") };
        assert!(why.iter().any(|why| why.what.contains("rule 1")), "{why:?}");
    }
}

/// A verdict as a walk without a pause gives it, of which each way is taken for itself.
fn without_a_pause(host: &Host, to: &str) -> &'static str {
    let network = Network::new(&host.0, host.0.namespaces.first().unwrap().id).unwrap();
    let (from, to) = (host.index("veth1"), host.index(to));
    let manner = Manner { trace: Trace::Off, aim: Aim::Port(to), when: When::Ever };
    let (mut reached, mut open) = (false, false);
    for given in [Condition::untagged_frames(), Condition::tagged_frames()] {
        let whole = every_way(&network, (from, manner), &given, 200_000, &mut |_, walked| {
            open |= walked.open.iter().any(|open| open.otherwise == Otherwise::Anything);
            for delivery in walked.ports().filter(|delivery| delivery.device == to) {
                reached |= delivery.assumes.is_empty();
                open |= !delivery.assumes.is_empty();
            }
            ControlFlow::Continue(())
        });
        assert!(whole);
    }
    if reached {
        "exposed"
    } else if open {
        "unproven"
    } else {
        "isolated"
    }
}

/// What comes of pauses is what comes of none: for chains that drop, let in, and ask, at each of the bridge's hooks.
#[test]
fn pauses_change_no_verdict() {
    let ct = || NftExpr::Other { name: "ct".to_owned(), data: Bytes::default() };
    let ethertype = |value: EtherType| {
        let data = value.0.to_be_bytes()[..].into();
        [
            NftExpr::Payload { base: PayloadBase::Link, offset: 12, len: 2, dreg: 4 },
            NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data },
        ]
    };
    let then =
        |matches: Vec<NftExpr>, verdict: NftVerdict| [matches, vec![NftExpr::Verdict(verdict)]].concat();
    let chains = [
        vec![],
        vec![then(vec![ct()], NftVerdict::Accept)],
        vec![then(ethertype(EtherType::ARP).into(), NftVerdict::Accept)],
        vec![
            then(ethertype(EtherType::ARP).into(), NftVerdict::Drop),
            then(ethertype(EtherType::IPV4).into(), NftVerdict::Drop),
            then(vec![ct()], NftVerdict::Accept),
        ],
        vec![then(vec![ct()], NftVerdict::Drop), then(ethertype(EtherType::IPV6).into(), NftVerdict::Accept)],
    ];
    let mut seen = Vec::new();
    for (hook, name) in [(0, "prerouting"), (2, "forward"), (4, "postrouting")] {
        for rules in &chains {
            let mut host = Host::new();
            host.does_not_forward();
            host.drop_at_bridge((hook, name), rules);
            let verdict = host.verdicts(&[Goal::Port(host.index("veth2"))]);
            assert_eq!(verdict, [without_a_pause(&host, "veth2")], "{name}: {rules:?}");
            seen.extend(verdict);
        }
    }
    assert!(["isolated", "exposed", "unproven"].iter().all(|verdict| seen.contains(verdict)), "{seen:?}");
}

#[test]
fn an_address_is_taken_over_unless_its_entry_stays() {
    let mut host = Host::new();
    let goal = Goal::Spoof { of: host.index("veth2") };
    // Nobody was heard behind it yet.
    assert_eq!(host.verdicts(&[goal]), ["unproven"]);
    let (bridge, port) = (host.index("br0"), host.index("veth2"));
    let netns = host.0.namespaces.first_mut().unwrap();
    let Reading::Read(fdb) = &mut netns.fdb else { panic!() };
    let mut entry = fdb.iter().find(|entry| entry.bridge == Some(bridge)).unwrap().clone();
    (entry.device, entry.vlan, entry.state) = (port, None, 0x40);
    entry.address = "02:00:00:00:77:77".parse().unwrap();
    fdb.push(entry);
    assert_eq!(host.verdicts(&[goal]), ["exposed"]);
    host.each_port(|options| options.learning = Some(false));
    assert_eq!(host.verdicts(&[goal]), ["isolated"]);
}

#[test]
fn too_many_ways_are_no_proof() {
    let host = Host::new();
    let network = Network::new(&host.0, host.0.namespaces.first().unwrap().id).unwrap();
    assert!(matches!(network.link(host.index("br0")).unwrap().kind, LinkKind::Bridge(_)));
    let proofs = Prover::new(&network).most_ways(1).prove(host.index("veth1"), &[Goal::Infrastructure]);
    let [Proof { verdict: Verdict::Unproven(assumptions), .. }] = proofs.as_slice() else {
        panic!("{proofs:?}")
    };
    assert!(
        assumptions.iter().any(|one| one.what.contains("more than 1 sorts of frames")),
        "{assumptions:?}"
    );
}
