//! What `portcullis fix` plans for the first article's network, put to the kernel: frames of every sort that got through
//! before are sent, and must not get through after; guests still reach what they are to reach; what is undone is as it was.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use portcullis_differ::fixes::{made_and_taken_back, tried};
use portcullis_differ::methods::{GUEST_PORTS, PUBLIC, goals, network};
use portcullis_differ::names::index;
use portcullis_differ::proofs::{Account, Judge, Kernel, Search};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_prove::{Goal, HostProtocol, Verdict};
use portcullis_snapshot::{FdbKind, LinkFlags, Netns, Reading};
use portcullis_testnet::{fresh, skip};

const SEARCH: Search = Search { frames: 300, neighbours: 1, most_ways: 20_000 };

/// What nobody may reach on a bridge that is only a switch.
fn host() -> Vec<Goal> {
    HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]).collect()
}

/// Fails if the kernel does otherwise than a verdict says.
fn agreed(account: &Account) {
    let wrong: Vec<_> = account.wrong.iter().flat_map(|wrong| wrong.lines()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(account.refused.is_empty(), "{:?}", account.refused);
}

#[test]
fn what_is_chosen_keeps_every_frame_from_the_host() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let tried = tried(&network(), true, &[]).unwrap().unwrap();
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
        let tried = tried(&network(), false, &[]).unwrap().unwrap();
        let other = Goal::Port(index(GUEST_PORTS[1]));
        let account = Judge::new(SEARCH).claims(&tried.steps, Some(vec![other]), 1).unwrap();
        agreed(&account);
        assert_eq!(account.claims[0].verdict, Verdict::Isolated);
    });
}

#[test]
fn each_remedy_does_what_is_proven_of_it() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut judge = Judge::new(SEARCH);
        for method in Method::ALL {
            let tried = match tried(&network(), false, &[method]).unwrap() {
                Ok(tried) => tried,
                Err(why) => {
                    println!("{method}: not here: {why}");
                    continue;
                }
            };
            let account = judge.claims(&tried.steps, Some(goals()), 1).unwrap();
            agreed(&account);
            let verdicts: Vec<_> = account.claims.iter().map(|claim| claim.verdict.name()).collect();
            println!("{method}: {}", verdicts.join(" "));
        }
    });
}

/// What is compared: everything that a change can be about. What the kernel learns, counts and numbers by itself is not.
fn settled(mut netns: Netns) -> Netns {
    if let Reading::Read(entries) = &mut netns.fdb {
        entries.retain(|entry| entry.kind() != FdbKind::Dynamic);
        for entry in entries.iter_mut() {
            (entry.used, entry.updated) = (None, None);
        }
        entries.sort_by_key(|entry| (entry.device, entry.address, entry.vlan, entry.flags));
    }
    if let Reading::Read(links) = &mut netns.links {
        for link in links {
            link.unknown.clear();
            if let Some(flags) = &mut link.sysfs_flags {
                flags.0 &= !LinkFlags::RUNNING;
            }
            match (&mut link.kind, &mut link.port) {
                (portcullis_snapshot::LinkKind::Bridge(options), _) => {
                    options.unknown.clear();
                    options.fdb_n_learned = None;
                }
                (_, Some(portcullis_snapshot::PortKind::Bridge(options))) => options.unknown.clear(),
                _ => {}
            }
        }
    }
    netns.neighbours = Reading::default();
    netns.listeners = Reading::default();
    netns.packet_sockets = Reading::default();
    netns
}

#[test]
fn each_remedy_is_undone_without_a_trace() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut done = 0;
        for method in Method::ALL {
            let Ok(tried) = tried(&network(), false, &[method]).unwrap() else { continue };
            let [before, with, after] =
                made_and_taken_back(&network(), &tried.plan.changes).unwrap().map(settled);
            assert_ne!(before, with, "{method} changed nothing");
            if before != after {
                let (one, other) = (format!("{before:#?}"), format!("{after:#?}"));
                let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
                panic!("{method} left something: {differing:?}");
            }
            done += 1;
        }
        if done == 0 {
            skip!("this kernel takes no remedy at all");
        }
        println!("{done} remedies made and undone");
    });
}
