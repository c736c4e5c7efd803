//! The second reading of the walk: on configurations that the kernel made, every frame lies in exactly one of the ways
//! that a symbolic frame takes, with the same end, and every way that can be shown has a frame.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_datapath::frame::symbolic::{Condition, explore};
use portcullis_datapath::{Aim, Concrete, Manner, Network, Trace, Walk, When, walk};
use portcullis_differ::generate;
use portcullis_differ::names::{BRIDGE, PORTS, index};
use portcullis_differ::run::configured;
use portcullis_snapshot::{IfIndex, Snapshot};
use portcullis_testnet::fresh;

/// How many configurations are explored in full, and among how many they are looked for.
const ENOUGH: usize = 3;
const SCENARIOS: std::ops::Range<u64> = 1..40;
/// More ways than most configurations have.
const MOST_WAYS: usize = 4_000;

fn ways(network: &Network<'_>, from: IfIndex, manner: Manner) -> Option<Vec<(Condition, Walk)>> {
    let mut all = Vec::new();
    let whole = explore(
        &Condition::every_frame(),
        MOST_WAYS,
        |frame| walk(network, from, frame, manner),
        |condition, walk| {
            all.push((condition.clone(), walk));
            std::ops::ControlFlow::Continue(())
        },
    );
    whole.then_some(all)
}

/// Holds the ways against frames; how many configurations were explored in full, and how many frames were compared.
fn compare(seed: u64, snapshot: &Snapshot, aim: Aim) -> (usize, usize, usize) {
    let network = Network::new(snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let scenario = generate::scenario(seed, 60);
    let from = index(PORTS[0]);
    if network.link(from).is_none() {
        return (0, 0, 0);
    }
    let manner = Manner { trace: Trace::Off, aim, when: When::Now };
    let Some(ways) = ways(&network, from, manner) else { return (0, 0, 0) };
    let mut compared = 0;
    for sent in &scenario.frames {
        let mut frame = Concrete::new(&sent.bytes).unwrap();
        let expected = walk(&network, from, &mut frame, manner);
        if !Condition::every_frame().holds(&frame) {
            continue;
        }
        // Where the world was chosen to be other than as it is, the frame goes another way.
        let as_it_is = |condition: &Condition| condition.choices.iter().all(|choice| *choice == 0);
        let holding: Vec<_> =
            ways.iter().filter(|(condition, _)| as_it_is(condition) && condition.holds(&frame)).collect();
        let hex: String = sent.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match holding.as_slice() {
            [(condition, found)] => assert_eq!(
                (&found.outcomes, &found.drops),
                (&expected.outcomes, &expected.drops),
                "scenario {seed}, {aim:?}, frame {hex}: {condition:#?}"
            ),
            others => panic!("scenario {seed}, {aim:?}: {} ways hold frame {hex}", others.len()),
        }
        compared += 1;
    }
    let mut shown = 0;
    for (condition, found) in &ways {
        let Some(bytes) = condition.witness(&[]) else { continue };
        if condition.choices.iter().any(|choice| *choice != 0) {
            continue;
        }
        let again = walk(&network, from, &mut Concrete::new(&bytes).unwrap(), manner);
        assert_eq!(again.outcomes, found.outcomes, "scenario {seed}, {aim:?}: the witness goes elsewhere");
        shown += 1;
    }
    println!("scenario {seed}, {aim:?}: {} ways, {shown} shown, {compared} frames", ways.len());
    (1, compared, ways.len() - shown)
}

#[test]
fn every_frame_lies_in_one_way() {
    fresh(|| {
        let (mut explored, mut compared) = (0, 0);
        for seed in SCENARIOS {
            let snapshot = configured(&generate::scenario(seed, 0)).unwrap();
            for aim in [Aim::Host, Aim::Port(index(PORTS[1]))] {
                let (more, frames, _) = compare(seed, &snapshot, aim);
                explored += more;
                compared += frames;
            }
            if explored >= ENOUGH {
                break;
            }
        }
        println!("{explored} explored in full, {compared} frames compared, bridge {BRIDGE}");
        assert!(explored >= ENOUGH, "most could not be explored in full: {explored}");
    });
}
