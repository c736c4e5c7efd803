//! Whatever happens, everything is made or nothing, and what is made can be taken back.

use std::io::pipe;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_plan::{Change, PortOption};
use portcullis_snapshot::{LinkKind, Reading};
use tempfile::TempDir;

use crate::testing::{Blow, Fake, Fault, device, made, process, steps};
use crate::watchdog::watch;
use crate::{
    Confirm, Confirmation, Ended, Error, Host, Order, Phase, Recovery, Standing, StateDir, apply, confirm,
    join, let_go, recover, rollback, status, take_back,
};

fn order(confirm: Option<u32>) -> Order {
    // Not the real watchdog: it only says that it is ready.
    let confirm = confirm.map(|seconds| Confirm {
        seconds,
        program: PathBuf::from("sh"),
        arguments: ["-c", "echo ready; exec cat"].map(Into::into).into(),
    });
    let (methods, command) = (vec!["tc-ingress".to_owned()], "portcullis fix".to_owned());
    Order { steps: steps(), methods, command, since: "2026-01-01T00:00:00Z".to_owned(), confirm }
}

fn state_dir() -> (TempDir, StateDir) {
    // In memory, where that is to be had: each record is put on the disk, and a busy one takes its time.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let temporary = TempDir::new_in(place).unwrap();
    let dir = StateDir::new(temporary.path().join("state"));
    (temporary, dir)
}

/// The names of what is in the directory, but for the lock, which stays.
fn files(dir: &StateDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "1.lock").collect()
}

#[test]
fn all_is_made_told_of_and_taken_back() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
    assert_eq!(confirm(&mut host, &dir).unwrap(), Confirmation::Nothing);
    assert!(status(&mut host, &dir).unwrap().is_empty());
    assert!(!dir.path().exists());
    apply(&mut host, &dir, order(None)).unwrap();
    assert_eq!(host.netns, made(before.clone()));
    let [status] = status(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(status.agrees());
    assert_eq!((status.phase, status.left), (Phase::InForce, None));
    assert_eq!((status.header.who.pid, status.header.steps), (std::process::id(), steps()));
    assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
    assert_eq!(confirm(&mut host, &dir).unwrap(), Confirmation::Already);
    let [back] = rollback(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(back.undone.left.is_empty());
    assert_eq!(back.undone.taken_back.len(), steps().concat().len());
    assert_eq!(host.netns, before);
    assert_eq!(files(&dir), [""; 0]);
    assert!(rollback(&mut host, &dir).unwrap().is_empty());
}

#[test]
fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_temporary, dir) = state_dir();
    apply(&mut Fake::new(), &dir, order(None)).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path().to_owned()), 0o700);
    assert_eq!([mode(dir.path().join("1.0")), mode(dir.path().join("1.lock"))], [0o600; 2]);
}

#[test]
fn a_refusal_at_any_change_leaves_everything_as_before() {
    for number in 0.. {
        let (_temporary, dir) = state_dir();
        let mut host = Fake::new();
        let before = host.netns.clone();
        host.blow = Some((number, Blow::Refuse));
        let result = apply(&mut host, &dir, order(None));
        if number == steps().concat().len() {
            result.unwrap();
            break;
        }
        let Err(Error::Failed(failure)) = result else { panic!("{result:?}") };
        assert!(failure.undone.unwrap().left.is_empty());
        assert_eq!(host.netns, before, "{number}");
        assert_eq!(files(&dir), [""; 0]);
    }
}

/// How often each sort of thing happens in an apply.
const RECORDS: usize = 1 + 3 * 2 + 1;

#[test]
fn a_full_disk_leaves_everything_as_before() {
    for number in 0..RECORDS {
        let (_temporary, dir) = state_dir();
        let mut host = Fake::new();
        let before = host.netns.clone();
        Fault::at(number, Blow::Refuse);
        let error = apply(&mut host, &dir, order(None)).unwrap_err();
        assert!(Fault::is_pending(), "{number}");
        Fault::none();
        assert!(error.to_string().contains("space"), "{error}");
        assert_eq!(host.netns, before, "{number}");
        assert_eq!(files(&dir), [""; 0]);
    }
}

/// Stops an apply at a place, then a recovery at another, then recovers, and applies anew.
fn stopped(set: &dyn Fn(&mut Fake), again: Option<(usize, Blow)>) -> bool {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    set(&mut host);
    let ended = process(|| apply(&mut host, &dir, order(None)).unwrap()).is_some();
    host.blow = again;
    let first = process(|| recover(&mut host, &dir).unwrap());
    host.blow = None;
    if first.is_none() {
        assert!(matches!(recover(&mut host, &dir).unwrap(), Recovery::Undone(_)));
    }
    let told = status(&mut host, &dir).unwrap();
    match told.as_slice() {
        [] => assert_eq!(host.netns, before),
        [status] => {
            assert_eq!(status.phase, Phase::InForce);
            assert!(status.agrees());
            assert_eq!(host.netns, made(before.clone()));
            rollback(&mut host, &dir).unwrap();
        }
        _ => panic!("{told:?}"),
    }
    assert_eq!(host.netns, before);
    assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
    apply(&mut host, &dir, order(None)).unwrap();
    assert_eq!(host.netns, made(before));
    ended
}

const STOPS: [Blow; 3] = [Blow::StopBefore, Blow::StopWithin, Blow::StopAfter];

#[test]
fn stopped_at_any_record_it_is_all_or_nothing() {
    for blow in STOPS {
        for number in 0..RECORDS {
            assert!(!stopped(&|_| Fault::at(number, blow), None), "{number} {blow:?}");
        }
    }
    assert!(stopped(&|_| Fault::at(RECORDS, Blow::StopBefore), None));
}

#[test]
fn stopped_at_any_change_and_again_in_the_undo_it_is_all_or_nothing() {
    let changes = steps().concat().len();
    for blow in STOPS {
        for number in 0..changes {
            assert!(!stopped(&|host| host.blow = Some((number, blow)), None));
            for again in STOPS {
                for at in 0..=number {
                    stopped(&|host| host.blow = Some((number, blow)), Some((at, again)));
                }
            }
        }
    }
}

#[test]
fn a_rollback_that_was_stopped_is_finished() {
    for blow in STOPS {
        for number in 0..steps().concat().len() {
            let (_temporary, dir) = state_dir();
            let mut host = Fake::new();
            let before = host.netns.clone();
            apply(&mut host, &dir, order(None)).unwrap();
            host.blow = Some((number, blow));
            assert!(process(|| rollback(&mut host, &dir)).is_none());
            host.blow = None;
            assert_eq!(status(&mut host, &dir).unwrap()[0].phase, Phase::Undoing);
            assert!(matches!(recover(&mut host, &dir).unwrap(), Recovery::Undone(_)));
            assert_eq!(host.netns, before);
        }
    }
}

#[test]
fn of_two_the_second_is_told_who_is_first() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    dir.create().unwrap();
    let lock = dir.try_lock(host.place.netns).unwrap();
    let error = apply(&mut host, &dir, order(None)).unwrap_err();
    assert!(matches!(error, Error::Busy { pid } if pid == Some(std::process::id())), "{error}");
    drop(lock);
    apply(&mut host, &dir, order(None)).unwrap();
}

#[test]
fn what_is_otherwise_than_the_plan_says_is_refused() {
    let (_temporary, dir) = state_dir();
    let mut others = Vec::new();
    let mut other = |change: &dyn Fn(&mut Fake)| {
        let mut host = Fake::new();
        change(&mut host);
        others.push(host);
    };
    other(&|host| host.without_link(3));
    other(&|host| host.link(3).name = "x0".to_owned());
    other(&|host| host.link(2).flags.0 |= portcullis_snapshot::LinkFlags::NOARP);
    other(&|host| assert!(host.link(2).ipv4.as_mut().unwrap().set("arp_ignore", 1)));
    other(&|host| host.link(4).port = None);
    for mut host in others {
        let before = host.netns.clone();
        let error = apply(&mut host, &dir, order(None)).unwrap_err();
        assert!(matches!(error, Error::Clashes(_)), "{error}");
        assert_eq!(host.netns, before);
        assert_eq!(files(&dir), [""; 0]);
    }
}

#[test]
fn an_entry_of_others_in_a_vlan_is_not_run_over() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let steps = steps();
    let Change::StaticEntry { port, address, .. } = steps[0][0].clone() else { panic!() };
    let theirs =
        Change::StaticEntry { port, address, vlan: portcullis_snapshot::VlanId::new(1), sticky: false };
    theirs.make(&mut host.netns).unwrap();
    let error = apply(&mut host, &dir, order(None)).unwrap_err();
    assert!(error.to_string().contains("in VLAN 1"), "{error}");
}

#[test]
fn what_vanished_since_is_no_matter() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let mut before = host.clone();
    before.without_link(3);
    apply(&mut host, &dir, order(None)).unwrap();
    host.without_link(3);
    let told = status(&mut host, &dir).unwrap();
    assert_eq!(told[0].changes[0].1, Standing::Gone);
    let [back] = rollback(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(back.undone.left.is_empty());
    assert_eq!(host.netns, before.netns);
}

#[test]
fn what_others_changed_since_is_left_and_told() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    apply(&mut host, &dir, order(None)).unwrap();
    // Another device has the place of p0, and somebody chose another way for ARP.
    host.link(3).name = "x0".to_owned();
    host.link(2).ipv4.as_mut().unwrap().set("arp_ignore", 1);
    assert!(!status(&mut host, &dir).unwrap()[0].agrees());
    let [back] = rollback(&mut host, &dir).unwrap().try_into().unwrap();
    assert_eq!(back.undone.left.len(), 3, "{:?}", back.undone.left);
    assert_eq!(host.link(2).ipv4.as_ref().unwrap().get("arp_ignore"), Some(1));
    assert_eq!(PortOption::Flood.get(host.link(3).bridge_port().unwrap()), Some(0));
    assert_eq!(PortOption::Learning.get(host.link(4).bridge_port().unwrap()), Some(1));
    assert_eq!(host.netns.rules, before.rules);
    assert_eq!(files(&dir), [""; 0]);
}

#[test]
fn what_is_not_to_be_seen_is_not_given_up() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    apply(&mut host, &dir, order(None)).unwrap();
    let fdb = std::mem::take(&mut host.netns.fdb);
    let error = rollback(&mut host, &dir).unwrap_err();
    assert!(matches!(&error, Error::Stuck { left, .. } if left.len() == 1), "{error}");
    host.netns.fdb = fdb;
    assert!(matches!(recover(&mut host, &dir).unwrap(), Recovery::Undone(_)));
    assert_eq!(host.netns, before);
}

#[test]
fn of_another_start_or_namespace_nothing_is_believed() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    host.blow = Some((4, Blow::StopBefore));
    process(|| apply(&mut host, &dir, order(None)));
    for (boot, cookie) in [("c", Some(7)), ("b", Some(8))] {
        let mut other = Fake::new();
        (other.place.boot, other.place.cookie) = (boot.to_owned(), cookie);
        assert_eq!(recover(&mut other, &dir).unwrap(), Recovery::Nothing);
        assert!(status(&mut other, &dir).unwrap().is_empty());
    }
    let mut other = Fake::new();
    other.place.boot = "c".to_owned();
    apply(&mut other, &dir, order(None)).unwrap();
    let mut files = files(&dir);
    files.sort();
    assert_eq!(files, ["1.0", "1.0.stale"]);
}

#[test]
fn a_damaged_journal_is_told_with_its_place() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    apply(&mut host, &dir, order(None)).unwrap();
    let path = dir.path().join("1.0");
    let mut text = std::fs::read(&path).unwrap();
    text.extend(b"nonsense\n");
    std::fs::write(&path, text).unwrap();
    for error in [
        apply(&mut host, &dir, order(None)).unwrap_err(),
        recover(&mut host, &dir).unwrap_err(),
        rollback(&mut host, &dir).unwrap_err(),
        status(&mut host, &dir).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("1.0, line 9: "), "{text}");
    }
}

/// A second thing to apply.
fn more() -> Order {
    let change = Change::Port { port: device(4, "p1"), option: PortOption::Flood, from: 1, to: 0 };
    Order { steps: vec![vec![change]], ..order(None) }
}

#[test]
fn one_on_top_of_another_waits_for_its_confirmation() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    apply(&mut host, &dir, order(Some(60))).unwrap();
    // 1.5 seconds since the start, rounded up, and 60 more.
    let told = status(&mut host, &dir).unwrap();
    assert_eq!(told[0].phase, Phase::Awaiting(Duration::from_secs(62)));
    assert_eq!(told[0].left, Some(Duration::from_millis(60_500)));
    let error = apply(&mut host, &dir, more()).unwrap_err();
    assert!(matches!(error, Error::Unconfirmed { .. }), "{error}");
    assert!(matches!(confirm(&mut host, &dir).unwrap(), Confirmation::Confirmed(_)));
    apply(&mut host, &dir, more()).unwrap();
    assert!(status(&mut host, &dir).unwrap().iter().all(crate::Status::agrees));
    host.now += Duration::from_secs(600);
    assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
    assert_eq!(rollback(&mut host, &dir).unwrap().len(), 2);
    assert_eq!(host.netns, before);
}

#[test]
fn one_is_taken_back_and_those_before_it_stay() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    apply(&mut host, &dir, order(None)).unwrap();
    let with_first = host.netns.clone();
    host.now += Duration::from_secs(1);
    let second = apply(&mut host, &dir, more()).unwrap().id.unwrap();
    assert_ne!(host.netns, with_first);
    assert_eq!(take_back(&mut host, &dir, &second).unwrap().unwrap().header.id, second);
    assert_eq!(host.netns, with_first);
    assert_eq!(status(&mut host, &dir).unwrap().len(), 1);
    assert_eq!(take_back(&mut host, &dir, &second).unwrap(), None);
}

/// Applies two things, each as a step of its own.
fn two(host: &mut Fake, dir: &StateDir) {
    apply(host, dir, order(None)).unwrap();
    host.now += Duration::from_secs(1);
    apply(host, dir, more()).unwrap();
}

#[test]
fn two_of_the_same_command_become_one() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    assert!(!join(&mut host, &dir).unwrap());
    two(&mut host, &dir);
    assert!(join(&mut host, &dir).unwrap());
    assert!(!join(&mut host, &dir).unwrap());
    let [told] = status(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(told.agrees());
    assert_eq!(told.header.methods, ["tc-ingress"]);
    assert_eq!(told.header.steps, [steps(), more().steps].concat());
    assert_eq!(rollback(&mut host, &dir).unwrap().len(), 1);
    assert_eq!(host.netns, before);
}

#[test]
fn those_of_another_command_or_not_confirmed_stay_apart() {
    let another = Order { command: "portcullis watch".to_owned(), ..order(None) };
    for second in [another, order(Some(60))] {
        let (_temporary, dir) = state_dir();
        let mut host = Fake::new();
        apply(&mut host, &dir, more()).unwrap();
        host.now += Duration::from_secs(1);
        apply(&mut host, &dir, second).unwrap();
        let told = status(&mut host, &dir).unwrap();
        assert!(!join(&mut host, &dir).unwrap());
        assert_eq!(status(&mut host, &dir).unwrap(), told);
    }
}

#[test]
fn what_is_about_devices_that_are_gone_is_not_told_any_more() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    two(&mut host, &dir);
    if let Reading::Read(links) = &mut host.netns.links {
        links.retain(|link| link.name != "p1");
    }
    assert!(join(&mut host, &dir).unwrap());
    let [told] = status(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(told.agrees(), "{told:?}");
    assert!(!told.header.steps.iter().flatten().any(|change| change.to_string().contains("p1")));
    // Where nothing is left to tell, nothing is told.
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    for option in [PortOption::Flood, PortOption::Learning] {
        let change = Change::Port { port: device(4, "p1"), option, from: 1, to: 0 };
        apply(&mut host, &dir, Order { steps: vec![vec![change]], ..order(None) }).unwrap();
        host.now += Duration::from_secs(1);
    }
    if let Reading::Read(links) = &mut host.netns.links {
        links.retain(|link| link.name != "p1");
    }
    assert!(join(&mut host, &dir).unwrap());
    assert!(status(&mut host, &dir).unwrap().is_empty());
}

#[test]
fn a_join_that_was_stopped_anywhere_loses_nothing() {
    for blow in [Blow::Refuse, Blow::StopBefore, Blow::StopWithin, Blow::StopAfter] {
        let (_temporary, dir) = state_dir();
        let mut host = Fake::new();
        let before = host.netns.clone();
        two(&mut host, &dir);
        Fault::at(0, blow);
        let ended = process(|| join(&mut host, &dir));
        Fault::none();
        assert!(!matches!(ended, Some(Ok(_))), "{blow:?} did nothing");
        assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
        rollback(&mut host, &dir).unwrap();
        assert_eq!(host.netns, before, "{blow:?}");
        assert!(status(&mut host, &dir).unwrap().is_empty());
    }
}

#[test]
fn what_has_become_wrong_is_let_go_and_the_rest_stays() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    assert!(let_go(&mut host, &dir, |_| true).unwrap().is_empty());
    two(&mut host, &dir);
    let with_both = status(&mut host, &dir).unwrap();
    assert!(let_go(&mut host, &dir, |_| false).unwrap().is_empty());
    assert_eq!(status(&mut host, &dir).unwrap(), with_both);
    // One of the second apply, which is all of it, and one of the first.
    let wrong = [more().steps[0][0].clone(), steps()[0][0].clone()];
    let gone = let_go(&mut host, &dir, |change| wrong.contains(change)).unwrap();
    assert_eq!(gone, wrong);
    let [told] = status(&mut host, &dir).unwrap().try_into().unwrap();
    assert!(told.agrees());
    let mut rest = steps();
    rest[0].remove(0);
    assert_eq!(told.header.steps, rest);
    rollback(&mut host, &dir).unwrap();
    assert_eq!(host.netns, before);
    // What waits to be confirmed is left to whoever confirms it.
    apply(&mut host, &dir, order(Some(60))).unwrap();
    assert!(let_go(&mut host, &dir, |_| true).unwrap().is_empty());
}

#[test]
fn what_would_be_applied_again_is_not_undone() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let watched = dir.watch(&host).unwrap();
    assert!(matches!(dir.watch(&host).unwrap_err(), Error::Watched { .. }));
    apply(&mut host, &dir, more()).unwrap();
    let with_it = host.netns.clone();
    assert!(matches!(rollback(&mut host, &dir).unwrap_err(), Error::Watched { pid: Some(_) }));
    assert_eq!(host.netns, with_it);
    drop(watched);
    assert_eq!(rollback(&mut host, &dir).unwrap().len(), 1);
}

#[test]
fn what_nobody_confirms_in_time_is_taken_back() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    apply(&mut host, &dir, order(Some(60))).unwrap();
    host.now += Duration::from_secs(60);
    assert_eq!(recover(&mut host, &dir).unwrap(), Recovery::Nothing);
    host.now += Duration::from_secs(1);
    assert!(matches!(confirm(&mut host, &dir).unwrap(), Confirmation::TooLate(_)));
    assert_eq!(host.netns, before);
}

#[test]
fn without_a_watchdog_nothing_is_done() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    for program in ["/nonexistent", "true"] {
        let confirm = Confirm { seconds: 1, program: PathBuf::from(program), arguments: Vec::new() };
        let error = apply(&mut host, &dir, Order { confirm: Some(confirm), ..order(None) }).unwrap_err();
        assert!(matches!(error, Error::Watchdog(_)), "{error}");
    }
    assert_eq!(host.netns, before);
    assert_eq!(files(&dir), [""; 0]);
}

#[test]
fn the_watchdog_takes_back_what_nobody_finishes_or_confirms() {
    let (_temporary, dir) = state_dir();
    let mut host = Fake::new();
    let before = host.netns.clone();
    let id = |host: &mut Fake| status(host, &dir).unwrap()[0].header.id.clone();
    let (reader, writer) = pipe().unwrap();
    drop(writer);
    // Whoever began it is gone.
    host.blow = Some((4, Blow::StopAfter));
    assert!(process(|| apply(&mut host, &dir, order(None))).is_none());
    host.blow = None;
    let begun = id(&mut host);
    assert!(matches!(watch(&mut host, &dir, &begun, reader.as_fd()).unwrap(), Ended::TakenBack(_)));
    assert_eq!(host.netns, before);
    assert_eq!(watch(&mut host, &dir, &begun, reader.as_fd()).unwrap(), Ended::Nothing);
    // Nobody confirms.
    apply(&mut host, &dir, order(Some(60))).unwrap();
    let applied = id(&mut host);
    host.now += Duration::from_secs(61);
    assert!(matches!(watch(&mut host, &dir, &applied, reader.as_fd()).unwrap(), Ended::TakenBack(_)));
    assert_eq!(host.netns, before);
    // Somebody does.
    apply(&mut host, &dir, order(Some(60))).unwrap();
    confirm(&mut host, &dir).unwrap();
    let confirmed = id(&mut host);
    assert_eq!(watch(&mut host, &dir, &confirmed, reader.as_fd()).unwrap(), Ended::Confirmed);
    assert!(matches!(host.link(2).kind, LinkKind::Bridge(_)));
    assert_eq!(host.netns, made(before));
    assert!(host.read().is_ok());
}
