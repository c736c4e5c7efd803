//! The labs on the kernel at hand: what each shows, and that nothing of it stays.
//!
//! Root runs them through the library, which is all there is inside a stock kernel; an ordinary user through the
//! program, since a process with several threads cannot make a user namespace for itself.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod private_run;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis::lab::{LABS, LabError, find};
use portcullis_kernel::namespace;
use serde_json::Value;

use private_run::private_run;

/// One at a time: what is left behind could not be told apart otherwise.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a lab could leave behind: names, descriptors (they hold the namespaces), interfaces of this namespace.
fn traces() -> (Vec<String>, usize, String) {
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (namespace::names(), descriptors, names.collect::<Vec<_>>().join(" "))
}

/// Runs a lab and returns its document; `None` where namespaces cannot be had.
fn run(name: &str) -> Option<Value> {
    let before = traces();
    let document = if nix::unistd::geteuid().is_root() { by_library(name) } else { by_program(name) }?;
    assert_eq!(traces(), before, "the lab {name} left something behind");
    assert_eq!(document["schema"], "portcullis.lab/1");
    for step in steps(&document) {
        assert_eq!(step["agrees"], true, "{step:#}");
        match step["skipped"].as_str() {
            Some(why) => println!("{}: skipped, because {why}", step["name"]),
            None => assert_eq!(step["observed"], step["expected"]),
        }
    }
    Some(document)
}

fn by_library(name: &str) -> Option<Value> {
    // The lab keeps its thread on one processor, so it gets one of its own.
    let outcome = std::thread::scope(|scope| scope.spawn(|| find(name).unwrap().run()).join().unwrap());
    match outcome {
        Ok(story) => Some(serde_json::to_value(story).unwrap()),
        Err(error) => {
            // Root that may not make a namespace is root of a container; anything else is a fault.
            assert!(namespace::Netns::create().is_err(), "{error}");
            println!("skipped, because {error}");
            None
        }
    }
}

fn by_program(name: &str) -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["lab", "run", name, "--format", "json"])
        .output()
        .expect("the program cannot be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) && complaint.contains("user namespace") {
        println!("skipped, because {complaint}");
        return None;
    }
    assert!(output.status.success(), "{}\n{complaint}", String::from_utf8_lossy(&output.stdout));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn steps(document: &Value) -> impl Iterator<Item = &Value> {
    document["steps"].as_array().unwrap().iter()
}

/// What was observed in the one step whose name begins so; `None` if it was skipped.
fn observed<'d>(document: &'d Value, name: &str) -> Option<&'d str> {
    step(document, name)["observed"].as_str()
}

fn step<'d>(document: &'d Value, name: &str) -> &'d Value {
    let mut found = steps(document).filter(|step| step["name"].as_str().unwrap().starts_with(name));
    let step = found.next().unwrap_or_else(|| panic!("no step {name:?}"));
    assert!(found.next().is_none(), "two steps {name:?}");
    step
}

/// Whether the article's claim in a step held; the step must have one.
fn article_holds(document: &Value, name: &str) -> bool {
    step(document, name)["article"]["holds"].as_bool().unwrap_or_else(|| panic!("no claim in {name:?}"))
}

/// The rules that found something.
fn rules(document: &Value) -> Vec<&str> {
    let lines = document["audit"].as_array().unwrap().iter();
    lines.map(|line| line.as_str().unwrap().split_whitespace().nth(1).unwrap()).collect()
}

#[test]
fn guests_reach_the_host_and_what_is_behind_it() {
    let _guard = alone();
    let Some(story) = run("hypervisor") else { return };
    for (name, seen) in [
        ("the public router answers ARP", "yes"),
        ("the host answers ping at", "yes"),
        ("the machine behind it answers ping", "yes"),
        ("the host answers ARP", "no"),
        ("ping with the bridge's MAC entered by hand", "yes"),
        ("ping with the broadcast MAC", "yes"),
        ("the host's answer finds a way back", "no"),
        ("echo requests that the host counted", "1"),
    ] {
        assert_eq!(observed(&story, name), Some(seen), "{name}");
    }
    for rule in ["host-arp", "host-ipv4", "host-ipv6", "infra-address", "host-forwards", "link-local-to-host"]
    {
        assert!(rules(&story).contains(&rule), "{rule} found nothing");
    }
    for rule in ["host-forwards: ", "link-local-to-host: ", "arp-probe: ", "mac-spoofing: "] {
        assert!(observed(&story, rule).unwrap().starts_with("confirmed: "), "{rule}");
    }
}

#[test]
fn remedies_leave_what_they_leave() {
    let _guard = alone();
    let Some(story) = run("hypervisor") else { return };
    assert_eq!(observed(&story, "none"), Some("ARP, IPv4, IPv6, link-local"));
    assert_eq!(observed(&story, "rp_filter 1"), Some("IPv6, link-local"));
    // The local table is consulted before the rule that the article adds.
    assert_eq!(observed(&story, "ip rule add iif br0 blackhole"), Some("ARP, IPv4, IPv6, link-local"));
    assert!(!article_holds(&story, "ip rule add iif br0 blackhole"));
    assert_eq!(observed(&story, "the bridge and its ports in a namespace"), Some("nothing"));
    assert_eq!(observed(&story, "br0 down"), Some("link-local; the public network is cut off"));
    if let Some(left) = observed(&story, "VLAN filtering") {
        assert_eq!(left, "link-local");
        assert!(!article_holds(&story, "VLAN filtering"));
    }
}

#[test]
fn a_foreign_bridge_makes_guests_overhear() {
    let _guard = alone();
    let Some(story) = run("foreign-bridge") else { return };
    for (name, seen) in [
        ("ageing 30: kali2 gets", "yes"),
        ("ageing 30: kali3 sees", "no"),
        ("ageing 0: kali3 sees", "yes"),
        ("ports that are promiscuous", "eth0, tap2, tap3"),
        ("outbound: the server gets", "yes"),
        ("outbound: kali3 sees", "no"),
        ("inbound: the foreign guest gets", "yes"),
        ("inbound: kali3 sees", "yes"),
        ("promiscuity 0: kali3 still sees", "yes"),
        ("a local FDB entry for its MAC on br0: the foreign guest", "yes"),
        ("a local FDB entry for its MAC on br0: kali3", "no"),
        ("unicast flood off on the guest ports: kali3", "no"),
        ("unicast flood off: kali2", "yes"),
    ] {
        assert_eq!(observed(&story, name), Some(seen), "{name}");
    }
    // A container may not be allowed a sysfs of its own.
    for (when, seen) in
        [("before the foreign bridge", "no"), ("while it runs", "yes"), ("after it stopped", "no")]
    {
        assert_eq!(observed(&story, &format!("{when}: IFF_PROMISC")).unwrap_or(seen), seen, "{when}");
    }
    // The flood does not come from the promiscuous mode.
    assert!(!article_holds(&story, "promiscuity 0: kali3 still sees"));
    for rule in ["bridge-promiscuous", "foreign-bridge", "foreign-guest-flood"] {
        assert!(rules(&story).contains(&rule), "{rule} found nothing");
    }
}

#[test]
fn macvlan_is_one_sided() {
    let _guard = alone();
    let Some(story) = run("macvlan") else { return };
    if steps(&story).any(|step| step["name"] == "two macvlans on a veth") {
        return;
    }
    for (name, seen) in [
        ("a frame to the host's own MAC reaches the host", "no"),
        ("it goes out on the wire instead", "yes"),
        ("a frame to the host's MAC is taken in by the host", "yes"),
        ("a frame to the guest's MAC is taken in by the host", "no"),
        ("a broadcast is taken in by the host", "yes"),
        ("a broadcast reaches the guest as well", "yes"),
    ] {
        assert_eq!(observed(&story, name), Some(seen), "{name}");
    }
    assert_eq!(rules(&story), ["macvlan-host-exposure"]);
}

#[test]
fn what_goes_up_comes_down() {
    let _guard = alone();
    let before = traces();
    let on_a_thread = || {
        if let Err(error) = private_run() {
            println!("skipped, because a private /run cannot be had: {error}");
            return;
        }
        for lab in LABS {
            let made = match lab.up() {
                Ok(made) => made,
                Err(error) if lab.name == "macvlan" => {
                    println!("macvlan: skipped, because {error}");
                    assert_eq!(namespace::names(), Vec::<String>::new());
                    continue;
                }
                Err(error) => panic!("{}: {error}", lab.name),
            };
            let prefix = format!("portcullis-{}-", lab.name);
            assert!(made.len() > 2 && made.iter().all(|name| name.starts_with(&prefix)), "{made:?}");
            let mut sorted = made.clone();
            sorted.sort();
            assert_eq!(namespace::names(), sorted);
            assert!(matches!(lab.up(), Err(LabError::Up { .. })));
            assert_eq!(namespace::names(), sorted, "a second try changed something");
            let host = namespace::Netns::named(&format!("{prefix}host")).unwrap();
            let interfaces =
                host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
            assert!(interfaces.contains("eth0"), "{interfaces}");
            assert_eq!(lab.down().unwrap(), sorted);
            assert!(matches!(lab.down(), Err(LabError::NotUp { .. })));
            assert_eq!(namespace::names(), Vec::<String>::new());
        }
    };
    std::thread::scope(|scope| scope.spawn(on_a_thread).join().unwrap());
    assert_eq!(traces(), before);
}

#[test]
fn a_lab_that_does_not_exist_is_told_with_those_that_do() {
    let error = find("hypervisr").unwrap_err().to_string();
    assert!(LABS.iter().all(|lab| error.contains(lab.name)), "{error}");
}
