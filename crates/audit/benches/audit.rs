//! How long an audit takes, by number of ports: on one bridge, and on sixteen.
//!
//! The hosts are those of `portcullis_testnet::large_host`.

use divan::Bencher;
use portcullis_audit::{Policy, audit};
use portcullis_testnet::{AntiSpoofing, large_host};

fn main() {
    divan::main();
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 10)]
fn one_bridge(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 1, AntiSpoofing::None);
    bencher.bench(|| audit(&snapshot, &Policy::default(), jiff::civil::date(2026, 1, 1)).findings.len());
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 10)]
fn sixteen_bridges(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 16, AntiSpoofing::None);
    bencher.bench(|| audit(&snapshot, &Policy::default(), jiff::civil::date(2026, 1, 1)).findings.len());
}

/// With rules that single every port out, so that none is like another.
#[divan::bench(args = [16, 256, 1024], sample_count = 5)]
fn anti_spoofing(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 16, AntiSpoofing::Libvirt);
    bencher.bench(|| audit(&snapshot, &Policy::default(), jiff::civil::date(2026, 1, 1)).findings.len());
}
