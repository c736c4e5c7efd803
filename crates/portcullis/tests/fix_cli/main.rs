//! `portcullis fix` and what follows it, as programs: what they print, how they end, and what the kernel has afterwards.
//! Which kernel it is does not matter to most of it, so that this machine's is enough; `kernel_fix_cli` is for the rest.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

mod lab;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::*;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::lock::{FileLock, Tried};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::sysctl;
use portcullis_kernel::watch::Directory;
use portcullis_plan::Method;
use portcullis_snapshot::{FdbEntry, MacAddr};
use portcullis_testnet::{fresh, skip, where_all_is_read};
use serde_json::Value;

#[test]
fn what_is_applied_holds_is_enough_and_goes_away_again() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        let applied = lab.fix(&["--yes"]).ends(0);
        println!("{}", applied.said);
        let with = here();
        assert_ne!(before, with);
        lab.run("status", &[]).ends(0);
        let [told] = <[Value; 1]>::try_from(lab.applied()).unwrap();
        assert_eq!(told["phase"], "applied");
        assert!(told["changes"].as_array().unwrap().iter().all(|change| change["holds"] == true), "{told}");
        // Once more is nothing.
        let again = lab.fix(&["--yes"]).ends(0);
        assert!(again.said.contains("othing"), "{}", again.said);
        same(&with, &here(), "a second time");
        assert_eq!(lab.applied().len(), 1);
        let back = lab.run("rollback", &["--yes"]).ends(0);
        assert!(back.said.contains("Undone"), "{}", back.said);
        same(&before, &here(), "taken back");
        assert_eq!(lab.journals(), <[PathBuf; 0]>::default());
        lab.run("status", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
    });
}

#[test]
fn without_somebody_to_ask_nothing_is_changed() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        let refused = lab.fix(&[]).ends(2);
        assert!(refused.complained.contains("--yes"), "{}", refused.complained);
        let shown = lab.fix(&["--dry-run"]).ends(0);
        assert!(shown.said.contains("br0"), "{}", shown.said);
        lab.fix(&["--dry-run", "--yes"]).ends(0);
        lab.fix(&["--as", "script"]).ends(0);
        same(&before, &here(), "nobody was asked");
        assert!(lab.applied().is_empty() && lab.journals().is_empty());
        // What is applied is not taken back unasked either.
        lab.fix(&["--yes"]).ends(0);
        let with = here();
        lab.run("rollback", &[]).ends(2);
        same(&with, &here(), "nobody was asked to take it back");
    });
}

#[test]
fn what_nobody_confirms_is_undone_when_whoever_applied_it_is_gone() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        let directory = Directory::open(&lab.file("state")).unwrap();
        let applied = lab.fix(&["--yes", "--confirm", "1s"]).ends(0);
        assert!(applied.said.contains("portcullis confirm"), "{}", applied.said);
        lab.wait_until_undone(&directory);
        same(&before, &here(), "nobody confirmed");
        lab.run("confirm", &[]).ends(2);
        same(&before, &here(), "too late");
    });
}

#[test]
fn what_is_confirmed_stays() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        lab.fix(&["--yes", "--confirm", "1h"]).ends(0);
        let with = here();
        let [told] = <[Value; 1]>::try_from(lab.applied()).unwrap();
        assert_eq!(told["phase"], "awaits_confirmation");
        assert!(told["seconds_left"].as_u64().unwrap() <= 3601);
        // Nothing is put on top of it.
        let refused = lab.fix(&["--yes", "--method", "arp-ignore"]).ends(2);
        assert!(refused.complained.contains("confirm"), "{}", refused.complained);
        lab.run("confirm", &[]).ends(0);
        assert_eq!(lab.applied()[0]["phase"], "applied");
        same(&with, &here(), "confirmed");
        lab.run("confirm", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "taken back");
    });
}

/// Starts the program and kills it as soon as it has begun. Tells whether it was still at it.
fn killed_in_the_middle(lab: &Lab) -> bool {
    let directory = Directory::open(&lab.file("state")).unwrap();
    let mut fix: Child =
        lab.program("fix", &["--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !lab.has_begun() {
        assert!(start.elapsed() < PATIENCE, "it never begins");
        directory.wait(None, Duration::from_millis(100)).unwrap();
    }
    fix.kill().unwrap();
    fix.wait().unwrap();
    match lab.applied().first().map(|told| told["phase"].clone()) {
        Some(phase) => phase == "unfinished",
        None => false,
    }
}

#[test]
fn what_was_killed_in_the_middle_the_next_command_undoes() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        let mut kills = 0;
        // It may have come to its end before it is killed.
        for _ in 0..30 {
            if killed_in_the_middle(&lab) {
                kills += 1;
                if kills == 2 {
                    break;
                }
            }
            lab.run("rollback", &["--yes"]).ends(0);
            same(&before, &here(), "killed, and taken back");
        }
        assert_eq!(kills, 2, "it is never killed in the middle");
        // What only looks, leaves it; fix itself finishes the undo, and then does what it was asked for.
        assert_eq!(lab.applied()[0]["phase"], "unfinished");
        let again = lab.fix(&["--yes"]).ends(0);
        assert!(again.complained.contains("did not come to its end"), "{}", again.complained);
        assert_eq!(lab.applied().len(), 1);
        lab.run("status", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "killed, undone, applied, taken back");
    });
}

#[test]
fn whoever_comes_and_goes_behind_the_bridge_device_has_an_entry_meanwhile() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let entries = || {
            let netns = here();
            let local = |entry: &&FdbEntry| entry.address.0[..3] == [0, 0x0c, 0x29] && entry.bridge.is_some();
            netns.fdb.known().iter().filter(local).map(|entry| entry.address).collect::<Vec<_>>()
        };
        let first = MacAddr([0, 0x0c, 0x29, 0, 0, 1]);
        let second = MacAddr([0, 0x0c, 0x29, 0, 0, 2]);
        let watch = Staying::start(lab.program("watch", &["--reapply", "--method", "local-fdb"]));
        watch.says("Applied");
        assert_eq!(entries(), [first]);
        let mut route = Socket::open(Family::Route).unwrap();
        let bridge = link::index_of(&mut route, "br0").unwrap();
        NewLink::new("mv1", "macvlan").on(bridge).address(second).macvlan(4).apply(&mut route).unwrap();
        watch.says("Applied");
        assert_eq!(entries(), [first, second]);
        let gone = link::index_of(&mut route, "mv1").unwrap();
        link::delete(gone).apply(&mut route).unwrap();
        let start = Instant::now();
        while entries() != [first] {
            assert!(start.elapsed() < PATIENCE, "it stays for ever");
            std::thread::yield_now();
        }
        drop(watch);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "everything");
    });
}

#[test]
fn of_two_at_once_one_is_refused() {
    where_all_is_read(|| {
        let lab = Lab::new();
        let before = here();
        let lock = lab.file("state").join(format!("{}.lock", Namespace::current().unwrap().id().0));
        let Tried::Held(held) = FileLock::attempt(&lock).unwrap() else { panic!("it is taken") };
        let refused = lab.fix(&["--yes"]).ends(2);
        let told = format!("another process ({}) is applying or undoing", std::process::id());
        assert!(refused.complained.contains(&told), "{}", refused.complained);
        same(&before, &here(), "refused");
        assert!(lab.journals().is_empty());
        drop(held);
        lab.fix(&["--yes"]).ends(0);
    });
}

#[test]
fn what_others_changed_since_is_left_alone() {
    fresh(|| {
        let lab = Lab::new();
        let conf = |setting| sysctl::read(&["ipv4", "conf", "br0", setting]).unwrap().trim().to_owned();
        let set = |setting, value| sysctl::write(&["ipv4", "conf", "br0", setting], value).unwrap();
        // Whatever this machine starts with.
        set("arp_ignore", "0");
        set("rp_filter", "0");
        let applied = lab.fix(&["--yes", "--method", "arp-ignore,rp-filter"]);
        assert!(matches!(applied.status, Some(0 | 1)), "{applied:?}");
        assert_eq!((conf("arp_ignore"), conf("rp_filter")), ("2".to_owned(), "1".to_owned()));
        set("arp_ignore", "1");
        let told = lab.run("status", &[]).ends(1);
        assert!(told.said.contains("it is 1 now"), "{}", told.said);
        let back = lab.run("rollback", &["--yes"]).ends(0);
        assert!(back.said.contains("left alone") && back.said.contains("arp_ignore"), "{}", back.said);
        assert_eq!((conf("arp_ignore"), conf("rp_filter")), ("1".to_owned(), "0".to_owned()));
        assert!(lab.applied().is_empty());
    });
}

#[test]
fn the_script_does_what_the_program_does() {
    fresh(|| {
        if let Some(tool) = lacks() {
            skip!("{tool} is not here");
        }
        let mut groups = vec![Vec::new(); GROUPS];
        // Newer than many an iproute2.
        let words = Command::new("ip").args(["link", "help", "bridge"]).output().unwrap();
        let knows_limit = String::from_utf8_lossy(&words.stderr).contains("fdb_max_learned");
        for (at, method) in Method::ALL.into_iter().enumerate() {
            if method == Method::FdbMaxLearned && !knows_limit {
                println!("{method}: ip(8) has no word for it here");
            } else {
                groups[at % GROUPS].push(method);
            }
        }
        for group in groups {
            Namespace::create().unwrap().run(|| script_and_program(group)).unwrap();
        }
    });
}
