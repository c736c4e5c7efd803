//! What a rule found: values only. How it is said is the business of `portcullis-report`.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_snapshot::{Bytes, IfIndex, Link, NetnsId};
use serde::{Deserialize, Serialize};

use crate::context::PortView;
use crate::rule::{RuleDoc, RuleId};

/// How much a finding matters, from worst to least: `Critical < Info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A guest takes over the host's networking or reads others' traffic without effort.
    Critical,
    /// A guest crosses a boundary that is meant to hold.
    High,
    /// A guest crosses one under a condition, or learns what it should not.
    Medium,
    /// Hygiene: it matters once something else goes wrong.
    Low,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// All of them, worst first, with their names.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("critical", Self::Critical),
        ("high", Self::High),
        ("medium", Self::Medium),
        ("low", Self::Low),
        ("info", Self::Info),
    ];

    /// Returns its name, as in the policy file and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Info => "info",
        }
    }
}

/// A device, by index and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its index in its namespace.
    pub index: IfIndex,
    /// Its name, as the kernel has it: untrusted text.
    pub name: Arc<str>,
}

impl From<&Link> for Device {
    fn from(link: &Link) -> Self {
        Self { index: link.index, name: link.name.as_str().into() }
    }
}

impl From<&PortView<'_>> for Device {
    fn from(port: &PortView<'_>) -> Self {
        port.device.clone()
    }
}

/// Something that is not as it should be, with what proves it.
///
/// What the findings of ports that are alike have in common is there once, however many they are: see
/// [`at`](Self::at).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it; [`crate::registry::doc`] has its manual page.
    pub rule: RuleId,
    /// Where the rule says to read on.
    pub references: &'static [&'static str],
    /// How much it matters here.
    pub severity: Severity,
    /// The namespace.
    pub netns: NetnsId,
    /// The name of the namespace ([`portcullis_snapshot::Netns::label`]).
    pub netns_label: Arc<str>,
    /// The bridge or the macvlan's lower device.
    pub bridge: Option<Device>,
    /// The port, if it is about one.
    pub port: Option<Device>,
    /// What is wrong here, in a line. It does not name the port, so that findings which are alike share it.
    pub title: Arc<str>,
    /// How the kernel comes to it and what a guest gains, in a few sentences.
    pub why: Arc<str>,
    /// What was read that proves it.
    pub evidence: Vec<Evidence>,
    /// A frame that shows it.
    pub witness: Option<Witness>,
    /// What could still be different, because the walk did not see into it; empty if the finding is proven.
    pub unproven: Vec<String>,
    /// What helps, cheapest first.
    pub remedies: Vec<Arc<Remedy>>,
    /// The waiver that covers it, if the policy has one.
    pub waiver: Option<Arc<AppliedWaiver>>,
    /// The waiver that covered it and has expired: the finding stands again, and says so.
    pub expired_waiver: Option<Arc<AppliedWaiver>>,
}

/// A fact that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it comes from: `IFLA_BRPORT_ISOLATED of tap3`, `net.ipv4.conf.br0.rp_filter`.
    pub source: Arc<str>,
    /// What it is.
    pub value: Arc<str>,
}

/// A frame that gets through, and where a guest would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The frame, from the destination address on, without a frame check sequence.
    pub frame: Bytes,
    /// The port that it comes in by.
    pub port: Device,
    /// Where it gets to, in words: "the host's ARP on br0", "tap2".
    pub reaches: Arc<str>,
}

/// A way to close a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// The name of the method, in kebab case.
    pub method: &'static str,
    /// What it does, and what it leaves open, in a line or two.
    pub summary: Cow<'static, str>,
    /// The commands that do it by hand, each a line for a shell.
    pub commands: Vec<String>,
}

/// A waiver of the policy file that covers a finding, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedWaiver {
    /// Why it is accepted.
    pub reason: String,
    /// Until when, that day included, as `YYYY-MM-DD`.
    pub expires: String,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A guest is behind it.
    Guest,
    /// It leads to the network.
    Uplink,
    /// The host itself is behind it.
    Host,
    /// Another product has taken it as its own uplink.
    Foreign,
}

impl Role {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("guest", Self::Guest), ("uplink", Self::Uplink), ("host", Self::Host), ("foreign", Self::Foreign)];

    /// Returns its name, as in the policy file and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Uplink => "uplink",
            Self::Host => "host",
            Self::Foreign => "foreign",
        }
    }

    /// Whether somebody who is not the host's administrator decides what comes in by such a port.
    #[must_use]
    pub const fn is_untrusted(self) -> bool {
        matches!(self, Self::Guest | Self::Foreign)
    }
}

impl Finding {
    /// Returns the same finding about another port.
    #[must_use]
    pub fn at(&self, port: impl Into<Device>) -> Self {
        Self { port: Some(port.into()), ..self.clone() }
    }

    /// Returns the finding with another fact that proves it.
    #[must_use]
    pub fn evidence(mut self, source: impl Into<Arc<str>>, value: impl ToString) -> Self {
        self.evidence.push(Evidence { source: source.into(), value: value.to_string().into() });
        self
    }

    /// Returns the finding with the frame that shows it.
    #[must_use]
    pub fn witness(mut self, port: impl Into<Device>, frame: Vec<u8>, reaches: impl Into<Arc<str>>) -> Self {
        self.witness = Some(Witness { frame: Bytes(frame), port: port.into(), reaches: reaches.into() });
        self
    }

    /// Returns the finding with what leaves it unproven.
    #[must_use]
    pub fn unproven(mut self, because: impl IntoIterator<Item = String>) -> Self {
        for reason in because {
            if !self.unproven.contains(&reason) {
                self.unproven.push(reason);
            }
        }
        self
    }

    /// Returns the finding with ways to close it, after those it has.
    #[must_use]
    pub fn remedies(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedies.into_iter().map(Arc::new));
        self
    }

    /// Returns the finding with another severity than its rule's usual one.
    #[must_use]
    pub const fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether it counts towards the exit status: it is not waived.
    #[must_use]
    pub const fn stands(&self) -> bool {
        self.waiver.is_none()
    }

    /// Whether it is proven: nothing that was met on the way could still change it.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.unproven.is_empty()
    }
}

/// Where rules put what they find.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    /// Adds several, or none.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.found.extend(findings);
    }

    /// Returns what was found, in the order in which it was added.
    #[must_use]
    pub fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}

/// Starts a finding of a rule in a namespace; see [`Context::finding`](crate::Context::finding).
pub(crate) fn start(
    doc: &RuleDoc,
    netns: (NetnsId, Arc<str>),
    places: (Option<Device>, Option<Device>),
    text: (Arc<str>, Arc<str>),
) -> Finding {
    Finding {
        rule: doc.id,
        references: doc.references,
        severity: doc.severity,
        netns: netns.0,
        netns_label: netns.1,
        bridge: places.0,
        port: places.1,
        title: text.0,
        why: text.1,
        evidence: Vec::new(),
        witness: None,
        unproven: Vec::new(),
        remedies: Vec::new(),
        waiver: None,
        expired_waiver: None,
    }
}
