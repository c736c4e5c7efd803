//! The documents that every command prints with `--format json`, and that other programs build on.
//!
//! Each is a twin of a finished value: it names devices where the value has indices, and hex where it has bytes. Text
//! output is made from the same documents, so that the two cannot tell different stories. Keys may be added within a
//! version; none changes its meaning or goes away. The schemas are published in `schemas/`.

mod audit;
mod explain;
mod fix;
mod lab;
mod map;
mod prove;
mod status;
mod walk;

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

pub use audit::{
    AuditDocument, BridgeEntry, EvidenceEntry, FindingEntry, Findings, LowerEntry, PortEntry, RemedyEntry,
    Summary, Unmade, UnreadEntry, UpperEntry, WaiverEntry, WitnessEntry,
};
pub use explain::{ExplainDocument, MethodPage, RemedyPage, RulePage};
pub use fix::{FixChange, FixClaim, FixDocument, FixFound, FixOutcome, FixRemedy, FixUnfit};
pub use lab::{ArticleClaim, LabDocument, LabEntry, LabStep, LabsDocument};
pub use map::{Holder, MapBridge, MapDocument, MapLower, MapPort, MapUpper};
pub use prove::{
    AssumptionEntry, ClaimEntry, ClaimKind, Holds, KnobEntry, NotProvenEntry, ProofWitness, ProveDocument,
    ProveSummary, VerdictName,
};
pub use status::{AppliedChange, AppliedEntry, AppliedPhase, StatusDocument};
pub use walk::{DropEntry, LearnedEntry, OpenEntry, OutcomeEntry, StepEntry, WalkDocument};

/// Writes a document, indented, with a newline at its end.
///
/// # Errors
/// Whatever writing gives.
pub fn write(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    out.write_all(b"\n")
}

/// Writes a document on a single line: for programs, where it can be many megabytes long.
///
/// # Errors
/// Whatever writing gives.
pub fn write_line(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    out.write_all(b"\n")
}

/// Returns the schema of every document, by the name of its file in `schemas/`.
#[must_use]
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("audit", schemars::schema_for!(AuditDocument)),
        ("explain", schemars::schema_for!(ExplainDocument)),
        ("fix", schemars::schema_for!(FixDocument)),
        ("lab", schemars::schema_for!(LabDocument)),
        ("labs", schemars::schema_for!(LabsDocument)),
        ("map", schemars::schema_for!(MapDocument)),
        ("prove", schemars::schema_for!(ProveDocument)),
        ("snapshot", schemars::schema_for!(portcullis_snapshot::Snapshot)),
        ("status", schemars::schema_for!(StatusDocument)),
        ("walk", schemars::schema_for!(WalkDocument)),
    ]
}

/// How [`Severity`](portcullis_audit::Severity) looks in a schema: the audit crate knows nothing of schemas.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Severity")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum SeverityName {
    Critical,
    High,
    Medium,
    Low,
    Info,
}

/// How [`Role`](portcullis_audit::Role) looks in a schema.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Role")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum RoleName {
    Guest,
    Uplink,
    Host,
    Foreign,
}
