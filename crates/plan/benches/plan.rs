//! How long a plan takes, by number of guest ports: on one bridge, and on sixteen.
//!
//! The hosts are those of `portcullis_testnet::large_host`.

use std::collections::BTreeMap;

use divan::Bencher;
use portcullis_audit::Policy;
use portcullis_plan::{Plan, Request, plan};
use portcullis_snapshot::Snapshot;
use portcullis_testnet::{AntiSpoofing, large_host};

fn main() {
    divan::main();
}

fn planned(snapshot: &Snapshot) -> Option<Plan> {
    let today = jiff::civil::date(2026, 1, 1);
    let request = Request { methods: &[], complete: false, bridges: &[], refused: &BTreeMap::new(), today };
    plan(snapshot, snapshot.namespaces.first()?.id, &Policy::default(), &request).ok()
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 5)]
fn one_bridge(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 1, AntiSpoofing::None);
    bencher.bench(|| planned(&snapshot));
}

#[divan::bench(args = [16, 256, 1024, 4096], sample_count = 5)]
fn sixteen_bridges(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 16, AntiSpoofing::None);
    bencher.bench(|| planned(&snapshot));
}

/// With rules that single every port out.
#[divan::bench(args = [16, 256, 1024], sample_count = 3)]
fn anti_spoofing(bencher: Bencher<'_, '_>, ports: usize) {
    let snapshot = large_host(ports, 16, AntiSpoofing::Libvirt);
    bencher.bench(|| planned(&snapshot));
}
