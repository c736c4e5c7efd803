//! Proofs, held against the kernel: on configurations that it made, a frame that is said to get through is sent and does,
//! and none of thousands gets where none is said to. `cargo xtask differ --proofs` does as many as one likes.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_differ::proofs::{Account, Judge, Search};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_testnet::fresh;

const SEEDS: std::ops::Range<u64> = 1..13;
/// Frames enough for the whole battery.
const SEARCH: Search = Search { frames: 3_000, neighbours: 1, most_ways: 3_000 };

#[test]
fn witnesses_get_through_and_nothing_else_does() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let (mut judge, mut total) = (Judge::new(SEARCH), Account::default());
        for seed in SEEDS {
            let account = judge.seed(seed).unwrap();
            if let Some(wrong) = account.wrong.first() {
                let wrong = judge.shrink(wrong.clone()).unwrap();
                panic!("configuration {seed}: {}", wrong.lines().join("\n"));
            }
            total.add(account);
        }
        println!(
            "{} exposed, {} of them sent and arrived; {} isolated, searched with {} frames; {} unproven",
            total.with_verdict("exposed"),
            total.arrived,
            total.with_verdict("isolated"),
            total.sent,
            total.with_verdict("unproven"),
        );
        assert!(total.arrived >= 20, "too few arrived: {total:?}");
        assert!(total.searched >= 20, "too few are isolated: {total:?}");
    });
}
