//! Proofs, held against the kernel: on configurations that it made, a frame that is said to get through is sent and does,
//! and none of thousands gets where none is said to.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_datapath::{Aim, Concrete, Manner, Network, Outcome, Trace, Walk, When, walk};
use portcullis_differ::firewall::{self, Chain, TABLE};
use portcullis_differ::generate::{self, Scenario, Sent};
use portcullis_differ::names::{PORTS, index};
use portcullis_differ::run::{Runner, configured};
use portcullis_differ::step::Step;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_prove::{Goal, HostProtocol, Proof, Prover, Verdict};
use portcullis_snapshot::{CmpOp, EtherType, NftBaseChain, NftFamily, NftVerdict, PayloadBase};
use portcullis_testnet::fresh;

const SCENARIOS: std::ops::Range<u64> = 1..7;
/// How many generated sets of frames are held against what is said to be isolated.
const SETS: std::ops::Range<u64> = 1_000..1_020;
const FRAMES: usize = 60;

fn goals(network: &Network<'_>) -> Vec<Goal> {
    let mut goals: Vec<_> = HostProtocol::ALL.map(Goal::Host).into();
    goals.push(Goal::Infrastructure);
    let ports = PORTS.iter().map(|name| index(name)).filter(|port| network.link(*port).is_some());
    goals.extend(ports.filter(|port| *port != index(PORTS[0])).map(Goal::Port));
    goals
}

/// Whether a walk ends where a goal says, with no question on the way.
fn ends_at(walked: &Walk, goal: Goal) -> bool {
    walked.outcomes.iter().filter(|end| end.assumes().is_empty()).any(|end| match (end, goal) {
        (Outcome::Host(delivery), Goal::Host(protocol)) => HostProtocol::of(delivery.protocol) == protocol,
        (Outcome::Port(delivery), Goal::Port(port)) => delivery.device == port,
        (Outcome::Forwarded { .. }, Goal::Infrastructure) => true,
        _ => false,
    })
}

/// Rules that let only ARP in by port 0, and that without tags.
fn arp_only() -> [Step; 2] {
    let family = NftFamily::Netdev;
    let base = NftBaseChain {
        family,
        table: TABLE.to_owned(),
        chain: "only".to_owned(),
        kind: "filter".to_owned(),
        hook: 0,
        hook_name: "ingress".to_owned(),
        priority: -500,
        devices: vec![PORTS[0].to_owned()],
        policy_drop: true,
        rules: 0,
        dormant: false,
    };
    let text = "ether type arp".to_owned();
    let arp = firewall::payload(text, PayloadBase::Link, 12, CmpOp::Eq, &EtherType::ARP.0.to_be_bytes());
    let chain = Chain { family, name: base.chain.clone(), base: Some(base) };
    let verdict = Some(NftVerdict::Accept);
    let rule = firewall::Rule { family, chain: chain.name.clone(), matches: vec![arp], verdict };
    [Step::Chain(chain), Step::FirewallRule(rule)]
}

/// The frames that are sent to many a configuration.
fn frames() -> Vec<Vec<u8>> {
    let sets = SETS.map(|seed| generate::scenario(seed, FRAMES));
    sets.flat_map(|scenario| scenario.frames).map(|sent| sent.bytes).collect()
}

/// Sends a witness into the configuration it is of; the harness holds what the kernel does against the walk.
fn send(scenario: &Scenario, proof: &Proof, frame: &[u8]) {
    let sent = Sent { into: PORTS[0], bytes: frame.to_vec() };
    let alone = Scenario { steps: scenario.steps.clone(), frames: vec![sent] };
    let account = Runner::new(None).run(&alone).unwrap();
    assert!(account.mismatch.is_none(), "{proof:?}: {:#?}", account.mismatch);
}

#[test]
fn witnesses_get_through_and_nothing_else_does() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let frames = frames();
        let (mut exposed, mut isolated, mut unproven) = (0, 0, 0);
        for seed in SCENARIOS {
            let mut scenario = generate::scenario(seed, 0);
            if seed % 2 == 0 {
                scenario.steps.extend(arp_only());
            }
            let snapshot = configured(&scenario).unwrap();
            let network = Network::new(&snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
            let from = index(PORTS[0]);
            if network.link(from).is_none() {
                continue;
            }
            let manner = Manner { trace: Trace::Off, aim: Aim::Everywhere, when: When::Now };
            let walked = |bytes: &[u8]| walk(&network, from, &mut Concrete::new(bytes).unwrap(), manner);
            let prover = Prover::new(&network).now().most_ways(4_000);
            for proof in prover.prove(from, &goals(&network)) {
                match &proof.verdict {
                    Verdict::Exposed(exposure) => {
                        assert!(!exposure.later, "seed {seed}: {proof:?}");
                        if proof.goal != Goal::Infrastructure {
                            assert!(ends_at(&walked(&exposure.frame), proof.goal), "seed {seed}: {proof:?}");
                        }
                        send(&scenario, &proof, &exposure.frame);
                        exposed += 1;
                    }
                    Verdict::Isolated => {
                        for bytes in &frames {
                            let hex = portcullis_snapshot::Hex(bytes);
                            let there = ends_at(&walked(bytes), proof.goal);
                            assert!(!there, "seed {seed}, {:?}: {hex} gets there", proof.goal);
                        }
                        isolated += 1;
                    }
                    Verdict::Unproven(_) => unproven += 1,
                }
            }
        }
        println!(
            "{exposed} exposed and sent, {isolated} isolated against {} frames, {unproven} unproven",
            frames.len()
        );
        assert!(exposed + isolated >= 15, "too few were decided: {exposed}, {isolated}, {unproven}");
    });
}
