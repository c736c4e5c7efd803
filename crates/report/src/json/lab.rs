//! `portcullis.lab/1`: what a run of a lab did, and whether it went as expected. `portcullis.labs/1`: which labs
//! there are, and which namespaces came or went.

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
    /// What is set up, in a few lines.
    pub network: String,
    /// What was done, in order.
    pub steps: Vec<LabStep>,
    /// What the audit said of the network, as lines of text.
    pub audit: Vec<String>,
}

/// One step of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabStep {
    /// The part of the run that it belongs to.
    pub part: String,
    /// What was tried.
    pub name: String,
    /// What happens on a kernel as this program knows it.
    pub expected: String,
    /// What happened; null if the step was skipped.
    pub observed: Option<String>,
    /// Whether the two agree; a skipped step agrees.
    pub agrees: bool,
    /// Why it was skipped, if it was.
    pub skipped: Option<String>,
    /// What the article says about it, where it says something.
    pub article: Option<ArticleClaim>,
}

/// An article's claim beside what this kernel did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArticleClaim {
    /// The claim.
    pub says: String,
    /// Whether this kernel did so.
    pub holds: bool,
}

/// Labs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabsDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The labs: every one, or the one that went up or down.
    pub labs: Vec<LabEntry>,
}

/// A lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabEntry {
    /// Its name.
    pub name: String,
    /// What it shows, in a line.
    pub about: String,
    /// The namespaces that were made or removed; null in a list.
    pub namespaces: Option<Vec<String>>,
}

impl LabsDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.labs/1";

    /// Makes the document of some labs.
    pub fn new(labs: impl IntoIterator<Item = LabEntry>) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), labs: labs.into_iter().collect() }
    }
}

impl LabDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.lab/1";
}
