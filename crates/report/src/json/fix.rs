//! `portcullis.fix/1`: the plan, what is proven of it, and what became of it.

use portcullis_audit::Severity;
use portcullis_plan::{Chosen, Found, Judged, Plan, Unfit};
use portcullis_prove::Proof;
use portcullis_snapshot::{IfIndex, Netns, Snapshot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClaimEntry, SeverityName, VerdictName};

/// What `portcullis fix` came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// Version of the program that planned.
    pub version: String,
    /// The host that the snapshot was taken on.
    pub host: String,
    /// The release of its kernel.
    pub kernel: String,
    /// When the snapshot was taken, in RFC 3339.
    pub taken_at: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// What became of the plan.
    pub outcome: FixOutcome,
    /// Within how many seconds it has to be confirmed, or is undone; null if it has not.
    pub confirm_within: Option<u64>,
    /// The remedies, bridge by bridge.
    pub remedies: Vec<FixRemedy>,
    /// The changes they come to, in order.
    pub changes: Vec<FixChange>,
    /// What the policy wants of each sort of guest port: as it is before, and once the plan is made.
    pub claims: Vec<FixClaim>,
    /// Findings that are gone once it is made, by bridge and rule.
    pub findings_closed: Vec<FixFound>,
    /// Findings that are there still.
    pub findings_left: Vec<FixFound>,
    /// What worked and will not any more, in sentences.
    pub stops: Vec<String>,
    /// Which guests do not get through in their own names, as the policy states them, and by which rules; in sentences.
    #[serde(default)]
    pub unheard: Vec<String>,
    /// Remedies that do not fit, and why.
    pub unfit: Vec<FixUnfit>,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixOutcome {
    /// There was nothing to do.
    Nothing,
    /// It was only to be shown.
    Planned,
    /// It is made, and stays.
    Applied,
    /// It is made, and undone unless it is confirmed.
    AwaitsConfirmation,
}

/// A remedy of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixRemedy {
    /// Its name, in kebab case; `portcullis explain` has its page.
    pub method: String,
    /// The bridge.
    pub bridge: String,
    /// What it does, in a line.
    pub does: String,
    /// Why it is part of the plan.
    pub because: String,
}

/// A change of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixChange {
    /// What it is about and how it changes, in words.
    pub what: String,
    /// The same with every value.
    pub change: portcullis_plan::Change,
}

/// A claim, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixClaim {
    /// Its verdict before.
    pub before: VerdictName,
    /// The claim with its verdict after.
    pub after: ClaimEntry,
}

/// Findings of one rule on one bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixFound {
    /// The rule.
    pub rule: String,
    /// How much the worst of them matters.
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// The bridge.
    pub bridge: String,
    /// How many there are.
    pub count: usize,
    /// The remedies of `portcullis fix` that they name.
    pub remedies: Vec<String>,
}

/// A remedy that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixUnfit {
    /// Its name, in kebab case.
    pub method: String,
    /// The bridge.
    pub bridge: String,
    /// Why.
    pub why: String,
}

impl FixDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.fix/1";

    /// Makes the document of a plan for a namespace of a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot, netns: &Netns, plan: &Plan, outcome: FixOutcome) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: snapshot.kernel.host.clone(),
            kernel: snapshot.kernel.release.clone(),
            taken_at: snapshot.taken_at.clone(),
            netns: plan.label.clone(),
            outcome,
            confirm_within: None,
            remedies: plan.chosen.iter().map(FixRemedy::from).collect(),
            changes: plan
                .changes
                .iter()
                .map(|change| FixChange { what: change.to_string(), change: change.clone() })
                .collect(),
            claims: plan.claims.iter().filter_map(|claim| FixClaim::new(netns, claim)).collect(),
            findings_closed: plan.found_closed.iter().map(FixFound::from).collect(),
            findings_left: plan.found_left.iter().map(FixFound::from).collect(),
            stops: plan.stops.clone(),
            unheard: plan.unheard.clone(),
            unfit: plan.unfit.iter().map(FixUnfit::from).collect(),
        }
    }
}

impl FixClaim {
    fn new(netns: &Netns, judged: &Judged) -> Option<Self> {
        let Judged { bridge, from, goal, before, after } = judged;
        let (first, alike) = from.split_first()?;
        let name = |device: IfIndex| {
            netns.link(device).map_or_else(|| format!("if{device}"), |link| link.name.clone())
        };
        let proof = Proof { port: first.index, goal: *goal, verdict: after.clone() };
        let alike = alike.iter().map(|device| device.name.clone()).collect();
        let place = (netns.label(), bridge.name.clone());
        Some(Self {
            before: VerdictName::from(before),
            after: ClaimEntry::named(&proof, place, name, (alike, Vec::new())),
        })
    }
}

impl From<&Chosen> for FixRemedy {
    fn from(chosen: &Chosen) -> Self {
        Self {
            method: chosen.method.to_string(),
            bridge: chosen.bridge.name.clone(),
            does: chosen.method.doc().does.to_owned(),
            because: chosen.because.clone(),
        }
    }
}

impl From<&Found> for FixFound {
    fn from(found: &Found) -> Self {
        Self {
            rule: found.rule.to_string(),
            severity: found.severity,
            bridge: found.bridge.name.clone(),
            count: found.count,
            remedies: found.remedies.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Unfit> for FixUnfit {
    fn from(unfit: &Unfit) -> Self {
        Self { method: unfit.method.to_string(), bridge: unfit.bridge.name.clone(), why: unfit.why.clone() }
    }
}
