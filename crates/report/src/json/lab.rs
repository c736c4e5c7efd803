//! `portcullis.lab/1`: what a run of a lab did, and whether it went as expected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run of one of the labs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The lab's name.
    pub lab: String,
    /// The release of the kernel that it ran on.
    pub kernel: String,
    /// What was tried, in order.
    pub steps: Vec<LabStep>,
}

/// One step of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabStep {
    /// Its name, in kebab case; unique within the lab.
    pub name: String,
    /// What is tried.
    pub tried: String,
    /// What should happen, by what is known of the kernel.
    pub expected: String,
    /// What happened; null if the step was skipped.
    pub observed: Option<String>,
    /// Whether the two agree; null if the step was skipped.
    pub agrees: Option<bool>,
    /// What the article says of it, where it says something.
    pub article: Option<String>,
    /// How that differs from what happened; null if it does not.
    pub differs: Option<String>,
    /// Why the step was skipped.
    pub skipped: Option<String>,
    /// Counts and addresses that were seen, as lines.
    pub details: Vec<String>,
}

impl LabDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.lab/1";

    /// Whether every step that ran went as expected.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.steps.iter().all(|step| step.agrees != Some(false))
    }
}
