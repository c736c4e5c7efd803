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
