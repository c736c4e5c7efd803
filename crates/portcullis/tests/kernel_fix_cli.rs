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
mod private_run;

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_plan::{BY_HAND, Method};
use portcullis_snapshot::{CmpOp, MacAddr, NftExpr};
use portcullis_testnet::{fresh, skip, where_all_is_read};
use serde_json::Value;

use lab::{Lab, Ran, Staying, here, lacks, missing, same, script_and_program};
use private_run::private_run;

#[test]
fn what_is_applied_holds_and_goes_away_again() {
    where_all_is_read(|| {
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
    where_all_is_read(|| {
        let lab = Lab::new();
        lab.state_addresses();
        let before = here();
        lab.fix(&["--yes", "--confirm", "0"]).ends(0);
        let lets_through = |address: [u8; 4]| {
            let compares = |expression: &NftExpr| match expression {
                NftExpr::Cmp { op: CmpOp::Neq, data, .. } => data.0 == address,
                _ => false,
            };
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
fn the_commands_for_a_namespace_of_its_own_isolate_the_bridge() {
    where_all_is_read(|| {
        if let Some(tool) = missing(&["sh", "ip"]) {
            skip!("{tool} is not here");
        }
        if let Err(error) = private_run() {
            skip!("a private /run cannot be had: {error}");
        }
        let lab = Lab::new();
        let mut route = Socket::open(Family::Route).unwrap();
        let vnet0 = NewLink::new("vnet0", "veth").address(MacAddr([2, 0, 0, 0, 4, 1]));
        vnet0.veth("guest0", MacAddr([2, 0, 0, 0, 4, 2]), None).apply(&mut route).unwrap();
        let doc = BY_HAND.into_iter().find(|doc| doc.name == "own-netns").unwrap();
        let (last, moving) = doc.by_hand.split_last().unwrap();
        let arguments = last.strip_prefix("portcullis ").unwrap();
        let (program, state) = (env!("CARGO_BIN_EXE_portcullis"), lab.file("state"));
        let script = format!(
            "{}\nexec {program} {arguments} --yes --confirm 0 --state-dir {}",
            moving.join("\n"),
            state.display()
        );
        let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("from vnet0") && said.contains("Proven with it"), "{said}");
        assert!(here().link_named("vnet0").is_none());
        // The reason why it is made anew there, and why fix does not do it.
        let br0 = link::index_of(&mut route, "br0").unwrap();
        let away = Namespace::create().unwrap();
        link::move_to(br0, away.as_fd()).apply(&mut route).unwrap_err();
        let g1 = link::index_of(&mut route, "g1").unwrap();
        assert!(here().link_named("g1").unwrap().bridge_port().is_some());
        link::move_to(g1, away.as_fd()).apply(&mut route).unwrap();
        assert!(away.run(|| here().link_named("g1").unwrap().bridge_port().is_none()).unwrap());
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
