//! Some hundred random cases on whatever kernel this is. `cargo xtask differ` runs as many as one likes.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_differ::generate;
use portcullis_differ::run::Runner;
use portcullis_differ::script::script;
use portcullis_differ::shrink::shrink;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_testnet::fresh;

/// How many frames, and how many through each configuration.
const CASES: u64 = 200;
const FRAMES: usize = 50;

#[test]
fn the_walk_agrees_with_this_kernel() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut runner = Runner::new(None);
        let (mut cases, mut open, mut transient) = (0, 0, 0);
        for seed in 1.. {
            let scenario = generate::scenario(seed, FRAMES);
            let account = runner.run(&scenario).unwrap();
            if let Some(mismatch) = account.mismatch {
                let (scenario, mismatch) = shrink(&mut runner, &scenario, mismatch).unwrap();
                panic!("scenario {seed}: {:#?}\n{}", mismatch, script(&scenario));
            }
            cases += account.cases;
            open += account.open;
            transient += u64::from(account.transient.is_some());
            if cases >= CASES {
                break;
            }
        }
        println!("{cases} cases, {open} with open questions, {transient} transient");
        // Were most of it open, agreement would mean little. Few cases come in clusters: a configuration with a rule that the
        // walk leaves open leaves all its frames so.
        assert!(open * 2 < cases, "{open} of {cases} with open questions");
    });
}
