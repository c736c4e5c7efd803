//! What `portcullis fix` plans for the first article's network, put to the kernel: frames of every sort that got through
//! before are sent, and must not get through after; guests still reach what they are to reach; what is undone is as it was.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

#[path = "fix/shots.rs"]
mod shots;

use portcullis_differ::fixes::Bench;
use portcullis_differ::methods::{GUEST_PORTS, PUBLIC, network};
use portcullis_differ::names::index;
use portcullis_differ::proofs::{Judge, Kernel, Search};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_prove::{Goal, Verdict};
use portcullis_testnet::{fresh, skip};

use shots::*;

#[test]
fn what_is_chosen_keeps_every_frame_from_the_host() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let tried = Bench::new(network()).unwrap().tried(true, &[]).unwrap().unwrap();
        let names: Vec<_> = tried.plan.chosen.iter().map(|chosen| chosen.method.name()).collect();
        println!("chosen: {}; refused: {:?}", names.join(", "), tried.refused);
        assert!(tried.plan.is_proven() && !tried.plan.claims.is_empty());
        let mut judge = Judge::new(Search { frames: 2_000, ..SEARCH });
        let account = judge.claims(&tried.steps, Some(host()), 1).unwrap();
        agreed(&account);
        for claim in &account.claims {
            assert_eq!(
                (&claim.verdict, claim.kernel),
                (&Verdict::Isolated, Kernel::Confirmed),
                "{:?}",
                claim.goal
            );
        }
        // The guests still have each other, and the network.
        let kept = [index(GUEST_PORTS[1]), index(PUBLIC)].map(Goal::Port);
        let account = judge.claims(&tried.steps, Some(kept.to_vec()), 1).unwrap();
        agreed(&account);
        for claim in &account.claims {
            assert!(matches!(claim.verdict, Verdict::Exposed(_)), "{:?}", claim.goal);
            assert_eq!(claim.kernel, Kernel::Confirmed, "{:?}", claim.goal);
        }
    });
}

#[test]
fn guests_are_kept_apart_where_that_is_wanted() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let tried = Bench::new(network()).unwrap().tried(false, &[]).unwrap().unwrap();
        let other = Goal::Port(index(GUEST_PORTS[1]));
        let account = Judge::new(SEARCH).claims(&tried.steps, Some(vec![other]), 1).unwrap();
        agreed(&account);
        assert_eq!(account.claims[0].verdict, Verdict::Isolated);
    });
}

#[test]
fn each_remedy_stops_a_frame_that_got_through() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let asked = each_stops_its_frame(&network(), Method::ALL);
        assert!(asked > 0, "this kernel takes no remedy at all");
    });
}

/// Where another product's bridge hears everything: `remedies` asks the same of all the others on one kernel.
#[test]
fn remedies_of_some_kernels_do_so_beside_a_foreign_bridge() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let of_some = [Method::VlanFiltering, Method::TcOnBridge, Method::TcLinkLocal, Method::BridgeInput];
        if each_stops_its_frame(&with_foreign_bridge(), of_some) == 0 {
            skip!("this kernel takes none of them");
        }
    });
}
