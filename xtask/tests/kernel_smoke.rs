//! Shows that a kernel-facing test runs where it should: on this machine, and as root inside each kernel of the lab.
//! Claims about Portcullis itself do not belong here.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Only a guest of the lab has the job's list.
fn in_a_guest() -> bool {
    Path::new(xtask::initramfs::LIST_PATH).exists()
}

#[test]
fn the_kernel_says_its_release() {
    let version = fs::read_to_string("/proc/version").unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(version.starts_with(&format!("Linux version {}", release.trim_end())), "{version}");
}

#[test]
fn a_guest_runs_tests_as_root_and_as_a_first_process_would_see_it() {
    if !in_a_guest() {
        println!("skipped, because this is not a guest of the lab");
        return;
    }
    assert!(nix::unistd::geteuid().is_root());
    assert!(Path::new("/dev/net/tun").exists());
    assert_eq!(fs::read_to_string("/sys/class/net/lo/flags").unwrap().trim_end(), "0x9");
}

#[test]
fn a_guest_has_the_ordinary_tools() {
    if !in_a_guest() {
        println!("skipped, because this is not a guest of the lab");
        return;
    }
    let calls: [&[&str]; 5] = [
        &["ip", "link", "show", "lo"],
        &["nft", "list", "tables"],
        &["tc", "qdisc", "show"],
        &["ebtables-legacy", "--version"],
        &["sh", "-c", "bridge link show"],
    ];
    let mut problems = Vec::new();
    for call in calls {
        match Command::new(call[0]).args(&call[1..]).output() {
            Ok(output) if output.status.success() => {}
            answer => problems.push(format!("{call:?}: {answer:?}")),
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_guest_loads_modules_by_name_and_by_alias() {
    if !in_a_guest() {
        println!("skipped, because this is not a guest of the lab");
        return;
    }
    let loads = |name: &str| Command::new("/sbin/modprobe").arg(name).status().unwrap().success();
    for name in
        ["bridge", "rtnl-link-vlan", "rtnl-link-bond", "nft-expr-7-meta", "net-pf-16-proto-12", "act_gact"]
    {
        assert!(loads(name), "{name}");
    }
    assert!(!loads("no_such_module"));
    let loaded = fs::read_to_string("/proc/modules").unwrap();
    for name in ["bridge ", "8021q ", "bonding ", "llc "] {
        assert!(loaded.lines().any(|line| line.starts_with(name)), "{name} of {loaded}");
    }
}
