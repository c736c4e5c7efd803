//! Each remedy of `portcullis fix`, put to this machine's kernel: what is proven of it, and that it goes without a trace. What each
//! stops, `kernel_fix` asks of every kernel; that changes are undone there, `kernel_apply` of the package `portcullis-apply`.

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
use portcullis_differ::methods::{PUBLIC, network};
use portcullis_differ::names::index;
use portcullis_differ::proofs::{Judge, Search};
use portcullis_differ::step::Step;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_prove::Goal;
use portcullis_snapshot::{FdbKind, LinkFlags, Netns, Reading};
use portcullis_testnet::{fresh, skip};

use shots::*;

#[test]
fn each_remedy_does_what_is_proven_of_it() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let bench = Bench::new(network()).unwrap();
        let mut judge = Judge::new(Search { frames: 100, neighbours: 0, ..SEARCH });
        let mut asked = 0;
        for method in Method::ALL {
            let tried = match bench.planned(false, &[method]).unwrap() {
                Ok(tried) => tried,
                Err(why) => {
                    println!("{method}: not here: {why}");
                    continue;
                }
            };
            // What it is for, and that the network is reached still; a few claims, for proofs take their time where a processor
            // is emulated.
            let aim = shot(method).map_or(Goal::Infrastructure, |shot| shot.goal);
            let account = judge.claims(&tried.steps, Some(vec![aim, Goal::Port(index(PUBLIC))]), 1).unwrap();
            if let Some(why) = refused(&account) {
                println!("{method}: not here: {why}");
                continue;
            }
            agreed(&account);
            asked += 1;
            let verdicts: Vec<_> = account.claims.iter().map(|claim| claim.verdict.name()).collect();
            println!("{method}: {}", verdicts.join(" "));
        }
        assert!(asked > 0, "this kernel takes no remedy at all");
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
fn each_remedy_stops_its_frame_beside_a_foreign_bridge() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let asked = each_stops_its_frame(&with_foreign_bridge(), Method::ALL);
        assert!(asked > 0, "this kernel takes no remedy at all");
    });
}

#[test]
fn each_remedy_is_undone_without_a_trace() {
    undone_without_a_trace(network());
}

#[test]
fn each_remedy_is_undone_without_a_trace_beside_a_foreign_bridge() {
    undone_without_a_trace(with_foreign_bridge());
}

fn undone_without_a_trace(network: Vec<Step>) {
    fresh(move || {
        pin_to_one_processor().unwrap();
        let mut bench = Bench::new(network).unwrap();
        let planned = |method| Some((method, bench.planned(false, &[method]).unwrap().ok()?.plan.changes));
        let (methods, changes): (Vec<_>, Vec<_>) = Method::ALL.into_iter().filter_map(planned).unzip();
        let mut done = 0;
        for (method, passed) in methods.into_iter().zip(bench.made_and_taken_back(&changes).unwrap()) {
            let [before, with, after] = [passed.before, passed.with, passed.after].map(settled);
            if before != after {
                let (one, other) = (format!("{before:#?}"), format!("{after:#?}"));
                let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
                panic!("{method} left something: {differing:?}");
            }
            match passed.refused {
                Some(why) => println!("{method}: not here: {why}"),
                None => {
                    assert_ne!(before, with, "{method} changed nothing");
                    done += 1;
                }
            }
        }
        if done == 0 {
            skip!("this kernel takes no remedy at all");
        }
        println!("{done} remedies made and undone");
    });
}
