//! How a walk that does not see a knob is caught.

use portcullis_differ::blind::Blind;
use portcullis_differ::generate;
use portcullis_differ::run::Runner;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_testnet::{fresh, skip};

/// More than any of them has needed; less than a minute's work.
const MOST_SCENARIOS: usize = 150;

/// A knob that none of so many scenarios could turn is not there.
const ENOUGH_TO_TELL: usize = 20;

/// Runs scenarios from one on until one does not agree. The first is chosen so that not many are needed. A kernel that cannot be set so that the knob matters is left out.
pub(crate) fn is_caught(blind: Blind, first: u64) {
    fresh(move || {
        pin_to_one_processor().unwrap();
        let mut runner = Runner::new(Some(blind));
        let mut in_force = 0;
        for (number, seed) in (first..).take(MOST_SCENARIOS).enumerate() {
            if number >= ENOUGH_TO_TELL && in_force == 0 {
                skip!("this kernel has no such knob as {blind:?}");
            }
            let account = runner.run(&generate::scenario(seed, 50)).unwrap();
            if let Some(mismatch) = account.mismatch {
                return println!("caught by scenario {seed}: {}", mismatch.differences.join("; "));
            }
            in_force += usize::from(account.hidden);
        }
        panic!("{blind:?} was hidden in {in_force} of {MOST_SCENARIOS} scenarios, and nothing was noticed");
    });
}
