//! `portcullis.status/1`: what is applied, and whether the kernel still has it so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `portcullis status` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// What is applied in this network namespace, the first first.
    pub applied: Vec<AppliedEntry>,
}

/// Something that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedEntry {
    /// The remedies, each with its bridge.
    pub remedies: Vec<String>,
    /// When it was applied, in RFC 3339.
    pub since: String,
    /// The user who did so.
    pub user: String,
    /// The process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// How far it got.
    pub phase: AppliedPhase,
    /// How many seconds are left to confirm it; null if it has not to be confirmed.
    pub seconds_left: Option<u64>,
    /// Its changes.
    pub changes: Vec<AppliedChange>,
}

/// How far an apply got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppliedPhase {
    /// It is being made, or whoever did so was stopped; the next command undoes it.
    Unfinished,
    /// It is undone unless it is confirmed.
    AwaitsConfirmation,
    /// It is made, and stays.
    Applied,
    /// It is being undone, or whoever did so was stopped; the next command goes on.
    BeingUndone,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedChange {
    /// What it is about and how it changed, in words.
    pub what: String,
    /// Whether the kernel has it so.
    pub holds: bool,
    /// What there is instead; null if it holds.
    pub found: Option<String>,
}

impl StatusDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.status/1";

    /// Makes the document.
    #[must_use]
    pub fn new(applied: Vec<AppliedEntry>) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), applied }
    }
}
