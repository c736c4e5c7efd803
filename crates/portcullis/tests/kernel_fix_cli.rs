//! `portcullis fix` as a program, on every kernel: what it applies, and what the script does that it prints.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

#[path = "fix_cli/lab.rs"]
mod lab;

use portcullis_plan::Method;
use portcullis_testnet::{fresh, skip};

use lab::{Lab, Ran, here, lacks, same, script_and_program};

#[test]
fn what_is_applied_holds_and_goes_away_again() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        lab.fix(&["--yes", "--confirm", "0"]).ends(0);
        let Ran { said, .. } = lab.run("status", &[]).ends(0);
        assert!(said.contains("applied"), "{said}");
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "everything");
    });
}

/// The remedies that not every kernel has.
#[test]
fn the_script_does_what_the_program_does() {
    fresh(|| {
        if let Some(tool) = lacks() {
            skip!("{tool} is not here");
        }
        let rare = vec![Method::VlanFiltering, Method::TcOnBridge, Method::TcLinkLocal, Method::BridgeInput];
        script_and_program(rare);
    });
}
