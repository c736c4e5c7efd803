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

use std::fs;

use portcullis_kernel::link;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_plan::Method;
use portcullis_snapshot::{CmpOp, NftExpr};
use portcullis_testnet::{fresh, skip};
use serde_json::Value;

use lab::{Lab, Ran, Staying, here, lacks, same, script_and_program};

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

#[test]
fn an_address_that_the_policy_changes_takes_the_place_of_the_other() {
    fresh(|| {
        let lab = Lab::new();
        lab.state_addresses();
        let before = here();
        lab.fix(&["--yes", "--confirm", "0"]).ends(0);
        let lets_through = |address: [u8; 4]| {
            let compares = |expression: &NftExpr| matches!(expression, NftExpr::Cmp { op: CmpOp::Neq, data, .. } if data.0 == address);
            let netns = here();
            let tables = netns.filters.nft_tables.known();
            let chains = tables.iter().flat_map(|table| &table.chains);
            chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.expressions).any(compares)
        };
        assert_eq!([lets_through([192, 0, 2, 3]), lets_through([192, 0, 2, 33])], [true, false]);
        let policy = fs::read_to_string(lab.file("policy.toml")).unwrap();
        fs::write(lab.file("policy.toml"), policy.replace("\"192.0.2.3\"", "\"192.0.2.33\"")).unwrap();
        lab.fix(&["--yes", "--confirm", "0"]).ends(0);
        assert_eq!([lets_through([192, 0, 2, 3]), lets_through([192, 0, 2, 33])], [false, true]);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "everything");
    });
}

#[test]
fn a_port_that_comes_is_seen_to_while_somebody_watches() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let watch = Staying::start(lab.program("watch", &["--reapply"]));
        let said = watch.says("Applied");
        assert!(said.contains("g1, g2"), "{said}");
        lab.one_more_guest("g3");
        let said = watch.says("Applied");
        assert!(said.contains("from g3"), "{said}");
        // Told as one, and undone only when nobody applies it again.
        let [told] = <[Value; 1]>::try_from(lab.applied()).unwrap();
        assert!(told["changes"].as_array().unwrap().iter().all(|change| change["holds"] == true), "{told}");
        let with = here();
        let refused = lab.run("rollback", &["--yes"]).ends(2);
        assert!(refused.complained.contains("watches"), "{}", refused.complained);
        same(&with, &here(), "somebody watches");
        drop(watch);
        lab.run("rollback", &["--yes"]).ends(0);
        let mut route = Socket::open(Family::Route).unwrap();
        let come = link::index_of(&mut route, "g3").unwrap();
        link::delete(come).apply(&mut route).unwrap();
        same(&before, &here(), "everything");
    });
}

#[test]
fn who_only_watches_changes_nothing() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let watch = Staying::start(lab.program("watch", &["--format", "json"]));
        watch.says("\"outcome\": \"planned\"");
        same(&before, &here(), "it only watches");
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
