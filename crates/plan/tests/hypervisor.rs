//! Plans for the first article's network, as a kernel told it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test, which may fail")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use portcullis_audit::Policy;
use portcullis_plan::{Method, Plan, PlanError, Request, State, plan};
use portcullis_prove::{Prover, Verdict};
use portcullis_snapshot::Snapshot;

/// An address-less `br0` with the guests `veth1` and `veth2`, on a host that forwards.
fn host() -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portcullis/tests/fixtures/hypervisor.json");
    Snapshot::load(File::open(path).unwrap()).unwrap()
}

fn planned(
    snapshot: &Snapshot,
    policy: &str,
    methods: &[Method],
    refused: &[Method],
) -> Result<Plan, PlanError> {
    let refused: BTreeMap<_, _> = refused.iter().map(|method| (*method, "no".to_owned())).collect();
    let request = Request { methods, complete: false, bridges: &[], refused: &refused };
    plan(snapshot, snapshot.namespaces[0].id, &Policy::parse(policy).unwrap(), &request)
}

/// The plan in a few lines.
fn sketch(plan: &Plan) -> String {
    let mut text = String::new();
    for chosen in &plan.chosen {
        writeln!(text, "{} on {}: {}", chosen.method, chosen.bridge, chosen.because).unwrap();
    }
    for change in &plan.changes {
        writeln!(text, "- {change}").unwrap();
    }
    for claim in &plan.claims {
        writeln!(text, "{:?}: {} → {}", claim.goal, claim.before.name(), claim.after.name()).unwrap();
    }
    for stops in &plan.stops {
        writeln!(text, "stops: {stops}").unwrap();
    }
    for unfit in &plan.unfit {
        writeln!(text, "not {}: {}", unfit.method, unfit.why).unwrap();
    }
    text
}

#[test]
fn without_a_word_everything_is_closed() {
    insta::assert_snapshot!(sketch(&planned(&host(), "", &[], &[]).unwrap()), @"");
}
