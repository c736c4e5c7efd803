//! `portcullis.explain/1`: manual pages of rules and remedies.

use portcullis_audit::{RuleDoc, Severity};
use portcullis_plan::{Method, MethodDoc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SeverityName;

/// What `portcullis explain` tells: one rule or remedy, or all of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The rules.
    pub rules: Vec<RulePage>,
    /// The remedies of `portcullis fix`.
    #[serde(default)]
    pub methods: Vec<MethodPage>,
}

/// The manual page of a remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MethodPage {
    /// Its name, in kebab case.
    pub method: String,
    /// What it does.
    pub does: String,
    /// What it costs, and what stops working.
    pub costs: String,
    /// What it leaves open.
    pub leaves: String,
    /// How it is done by hand, for a bridge `br0` with a guest port `vnet0`.
    pub by_hand: Vec<String>,
    /// Whether `portcullis fix` leaves it to the administrator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_by_hand: bool,
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
        Self {
            schema: Self::SCHEMA.to_owned(),
            rules: docs.into_iter().map(RulePage::from).collect(),
            methods: Vec::new(),
        }
    }

    /// Makes the document of some remedies.
    pub fn of_methods<'d>(docs: impl IntoIterator<Item = &'d MethodDoc>) -> Self {
        let methods = docs.into_iter().map(MethodPage::from).collect();
        Self { schema: Self::SCHEMA.to_owned(), rules: Vec::new(), methods }
    }
}

impl From<&MethodDoc> for MethodPage {
    fn from(doc: &MethodDoc) -> Self {
        Self {
            method: doc.name.to_owned(),
            does: doc.does.to_owned(),
            costs: doc.costs.to_owned(),
            leaves: doc.leaves.to_owned(),
            by_hand: doc.by_hand.iter().map(|&command| command.to_owned()).collect(),
            only_by_hand: Method::named(doc.name).is_none(),
        }
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
