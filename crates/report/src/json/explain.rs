//! `portcullis.explain/1`: manual pages of rules.

use portcullis_audit::{RuleDoc, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SeverityName;

/// What `portcullis explain` tells: one rule, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The rules.
    pub rules: Vec<RulePage>,
}

/// The manual page of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RulePage {
    /// Its name, in kebab case.
    pub rule: String,
    /// What it looks for, in a line.
    pub title: String,
    /// The severity that its findings usually have.
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// What a guest gains.
    pub threat: String,
    /// The kernel's functions that the frame passes, in order.
    pub kernel_path: Vec<String>,
    /// How the rule comes to its finding.
    pub how_found: String,
    /// What helps, cheapest first.
    pub remedies: Vec<RemedyPage>,
    /// Where to read on.
    pub references: Vec<String>,
}

/// A method, and its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyPage {
    /// Its name, in kebab case.
    pub method: String,
    /// What it costs, and what it leaves open.
    pub trade_off: String,
}

impl ExplainDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.explain/1";

    /// Makes the document of some rules.
    pub fn new<'d>(docs: impl IntoIterator<Item = &'d RuleDoc>) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), rules: docs.into_iter().map(RulePage::from).collect() }
    }
}

impl From<&RuleDoc> for RulePage {
    fn from(doc: &RuleDoc) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let remedies = doc.remedies.iter().map(|remedy| RemedyPage {
            method: remedy.method.to_owned(),
            trade_off: remedy.trade_off.to_owned(),
        });
        Self {
            rule: doc.id.to_string(),
            title: doc.title.to_owned(),
            severity: doc.severity,
            threat: doc.threat.to_owned(),
            kernel_path: owned(doc.kernel_path),
            how_found: doc.how_found.to_owned(),
            remedies: remedies.collect(),
            references: owned(doc.references),
        }
    }
}
