//! What people read about hosts with products' rulesets: snapshots that `product_rulesets` took of them, audited, and proven
//! from one guest.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs a command on a product's host, and returns what it prints.
fn portcullis(product: &str, arguments: &[&str]) -> String {
    let fixtures: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "rulesets"].iter().collect();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .arg("--snapshot")
        .arg(fixtures.join(format!("{product}.json")))
        .stdin(Stdio::null())
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    String::from_utf8(output.stdout).unwrap()
}

/// Proofs without the bytes of their witnesses: which one is the plainest is the prover's to choose, and each is put to
/// the kernel elsewhere.
fn without_frames(text: &str) -> String {
    let cut = |line: &str| match line.split_once("--frame ") {
        Some((before, _)) => format!("{before}--frame …\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

/// The audit in full, and what is proven of a guest's frames to these.
fn golden(product: &str, from: &str, to: &[&str]) {
    let to = to.iter().flat_map(|to| ["--to", to]);
    let proofs: Vec<_> = ["prove", "--from", from].into_iter().chain(to).collect();
    let text = portcullis(product, &["audit"]) + "\n" + &without_frames(&portcullis(product, &proofs));
    insta::assert_snapshot!(product, text);
}

#[test]
fn incus() {
    golden("incus", "vethc1", &["host", "infra", "vethc3", "spoof", "spoof-ip"]);
}

#[test]
fn libvirt() {
    golden("libvirt-nwfilter", "vnet0", &["host", "infra", "vnet2", "sniff", "spoof", "spoof-ip"]);
}

#[test]
fn docker() {
    golden("docker", "veth3", &["host", "infra", "veth4", "spoof"]);
}

#[test]
fn proxmox() {
    golden("proxmox-firewall", "tap100i0", &["tap102i0", "spoof"]);
}

#[test]
fn firewalld() {
    golden("firewalld", "vnet0", &["vnet1", "spoof"]);
}
