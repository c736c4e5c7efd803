//! Hosts with rules for each guest: what is proven of one guest's port is proven of all that are alike, and each has a
//! witness that is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test, which may fail")]

use std::collections::BTreeSet;

use jiff::civil::date;
use portcullis_audit::{AuditReport, Policy, audit};
use portcullis_datapath::{Concrete, Network, Trace, walk};
use portcullis_prove::{Proof, Prover, Verdict};
use portcullis_snapshot::Snapshot;
use portcullis_testnet::{AntiSpoofing, large_host};

const STYLES: [AntiSpoofing; 3] = [AntiSpoofing::None, AntiSpoofing::Libvirt, AntiSpoofing::Proxmox];

fn audit_of(snapshot: &Snapshot) -> AuditReport {
    audit(snapshot, &Policy::default(), date(2026, 1, 1))
}

#[test]
fn guests_with_rules_of_their_own_share_their_claims() {
    for style in STYLES {
        let report = audit_of(&large_host(64, 2, style));
        assert_eq!(report.not_proven, [], "{style:?}");
        // One set for the guests of each bridge: the host's four protocols, what is behind it; another guest, its frames and
        // addresses; the uplink.
        assert_eq!(report.claims.len(), 2 * 9, "{style:?}");
        let of: BTreeSet<_> = report.claims.iter().map(|claim| claim.from.len()).collect();
        assert_eq!(of, [32].into(), "{style:?}");
    }
}

/// Every finding's frame comes in by the port that it is about, and does what it is shown for.
#[test]
fn each_guest_has_a_witness_of_its_own() {
    for style in STYLES {
        let snapshot = large_host(12, 2, style);
        let network = Network::new(&snapshot, snapshot.namespaces[0].id).unwrap();
        let report = audit_of(&snapshot);
        let mut seen = 0;
        for finding in &report.findings {
            let (Some(port), Some(witness)) = (&finding.port, &finding.witness) else { continue };
            if !matches!(finding.rule.0, "unknown-unicast-flood") {
                assert_eq!(witness.port, *port, "{style:?}: {}", finding.rule.0);
            }
            let mut frame = Concrete::new(&witness.frame).unwrap();
            let walked = walk(&network, witness.port.index, &mut frame, Trace::Off);
            let comes_to_something = !walked.outcomes.is_empty() || !walked.learned.is_empty();
            assert!(comes_to_something, "{style:?}: {} by {}", finding.rule.0, port.name);
            seen += 1;
        }
        assert!(seen >= 12, "{style:?}: {seen}");
        let exposed = report.claims.iter().any(|claim| matches!(claim.proof.verdict, Verdict::Exposed(_)));
        assert!(exposed, "{style:?}");
    }
}

/// What is carried over to a bridge that is alike is what a proof of its own would say, and its frames get there.
#[test]
fn what_is_carried_over_holds_where_it_is_carried_to() {
    for style in STYLES {
        let snapshot = large_host(9, 3, style);
        let network = Network::new(&snapshot, snapshot.namespaces[0].id).unwrap();
        let prover = Prover::new(&network);
        let report = audit_of(&snapshot);
        let bridges: BTreeSet<_> = report.claims.iter().map(|claim| claim.bridge.index).collect();
        assert_eq!((bridges.len(), report.claims.len()), (3, 3 * 9), "{style:?}");
        for claim in &report.claims {
            let Proof { port, goal, verdict } = &claim.proof;
            let own = prover.prove(*port, &[*goal]).pop().unwrap().verdict;
            assert_eq!(verdict.name(), own.name(), "{style:?}: {goal:?} of {}", claim.from[0].name);
            if let Verdict::Exposed(exposure) = verdict {
                assert!(prover.gets_there(*port, *goal, &exposure.frame), "{style:?}: {goal:?}");
                assert_eq!(network.link(exposure.into).unwrap().master, Some(claim.bridge.index));
            }
        }
    }
}
