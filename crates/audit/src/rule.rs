//! What a rule is: its identity, its manual page, its check.
//!
//! A rule looks at one namespace through a [`Context`] and adds [`Finding`](crate::Finding)s. It reads nothing else
//! and keeps nothing between runs. Rules themselves live in `rules/`, one file each; the list of them in `registry`.

use std::fmt;

use crate::context::Context;
use crate::finding::{Findings, Severity};

/// The name of a rule, in kebab case. It is stable: policies and other programs refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub &'static str);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// The manual page of a rule: what `portcullis explain RULE` prints.
#[derive(Debug)]
pub struct RuleDoc {
    /// Its name.
    pub id: RuleId,
    /// What it looks for, in a line.
    pub title: &'static str,
    /// The severity that its findings usually have.
    pub severity: Severity,
    /// What a guest gains, in a short paragraph.
    pub threat: &'static str,
    /// The kernel's functions that the frame passes, in order, as `function (file): what it decides`.
    pub kernel_path: &'static [&'static str],
    /// How the rule comes to its finding, in a short paragraph.
    pub how_found: &'static str,
    /// What helps, cheapest first.
    pub remedies: &'static [RemedyDoc],
    /// Where to read on: kernel source, RFCs, articles, advisories.
    pub references: &'static [&'static str],
}

/// A method that closes what a rule finds, and its price.
#[derive(Debug)]
pub struct RemedyDoc {
    /// The name of the method, in kebab case; the same as in [`Remedy`](crate::Remedy).
    pub method: &'static str,
    /// What it costs, and what it leaves open.
    pub trade_off: &'static str,
}

/// One rule.
pub trait Rule: Sync {
    /// Returns its manual page.
    fn doc(&self) -> &'static RuleDoc;

    /// Looks at one namespace and adds what it finds.
    fn check(&self, context: &Context<'_>, findings: &mut Findings);
}

/// References that several rules share.
pub mod refs {
    /// The article that the first half of the rules grew out of.
    pub const BERNAT: &str = "Vincent Bernat, Proper isolation of a Linux bridge (2017), https://vincent.bernat.ch/en/blog/2017-linux-bridge-isolation";
    /// The article on another product bridging a bridge.
    pub const ANRACOM: &str =
        "Linux bridges and bridging by VMware: who sees which frames, https://linux-blog.anracom.com";
    /// Layer 2 filters evaded by VLAN 0, SNAP and length fields.
    pub const VLAN0: &str = "CVE-2021-27853, CVE-2021-27854, CVE-2021-27861, CVE-2021-27862 (VU#855201): layer 2 filters and stacked headers";
}
