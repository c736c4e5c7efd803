//! `portcullis.audit/1`: findings, and the bridges that were looked at.

use portcullis_audit::{
    AppliedWaiver, AuditReport, BridgeSummary, Finding, LowerDevice, PortSummary, Role, Severity, UnreadNote,
};
use portcullis_snapshot::{Netns, NetnsId, Problem, Snapshot, UnreadCause};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RoleName, SeverityName, hex};

/// What `portcullis audit` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// Version of the program that judged.
    pub version: String,
    /// The host that the snapshot was taken on.
    pub host: String,
    /// The release of its kernel.
    pub kernel: String,
    /// When the snapshot was taken, in RFC 3339.
    pub taken_at: String,
    /// The policy file that it was judged by; null if there was none.
    pub policy: Option<String>,
    /// What was found, worst first.
    pub findings: Vec<FindingEntry>,
    /// The bridges that were looked at.
    pub bridges: Vec<BridgeEntry>,
    /// The lower devices of macvlans that were looked at.
    pub lower_devices: Vec<LowerEntry>,
    /// What was not read, and could hide something.
    pub unread: Vec<UnreadEntry>,
    /// How many findings there are.
    pub summary: Summary,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingEntry {
    /// The rule that found it, in kebab case.
    pub rule: String,
    /// How much it matters.
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// The bridge, or the lower device of macvlans.
    pub bridge: Option<String>,
    /// The port, if it is about one.
    pub port: Option<String>,
    /// What is wrong, in a line.
    pub title: String,
    /// How the kernel comes to it, and what a guest gains.
    pub why: String,
    /// What was read that proves it.
    pub evidence: Vec<EvidenceEntry>,
    /// A frame that shows it.
    pub witness: Option<WitnessEntry>,
    /// What could still be different, because nothing here sees into it; empty if the finding is proven.
    pub unproven: Vec<String>,
    /// The names of the methods that close it, cheapest first.
    pub remedies: Vec<String>,
    /// The same methods with what they do and the commands for it, in the same order.
    pub commands: Vec<RemedyEntry>,
    /// Where to read on.
    pub references: Vec<String>,
    /// The waiver of the policy that covers it.
    pub waiver: Option<WaiverEntry>,
    /// The waiver that covered it and has expired.
    pub expired_waiver: Option<WaiverEntry>,
}

/// A fact that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceEntry {
    /// Where it was read.
    pub source: String,
    /// What it is.
    pub value: String,
}

/// A frame that gets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WitnessEntry {
    /// Its bytes from the destination address on, in hex, without a frame check sequence.
    pub frame: String,
    /// The port that it comes in by.
    pub port: String,
    /// Where it gets to, in words.
    pub reaches: String,
}

/// A method that closes a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyEntry {
    /// Its name, in kebab case.
    pub method: String,
    /// What it does, and what it leaves open.
    pub summary: String,
    /// The commands that do it, each a line for a shell.
    pub commands: Vec<String>,
}

/// A waiver of the policy.
#[derive(Debug, Clone, Hash, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaiverEntry {
    /// Why it is accepted.
    pub reason: String,
    /// Until when, that day included: `YYYY-MM-DD`.
    pub expires: String,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BridgeEntry {
    /// Its name.
    pub name: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// Its ports.
    pub ports: Vec<PortEntry>,
}

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortEntry {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[schemars(with = "RoleName")]
    pub role: Role,
    /// Whether the policy says so, rather than the look of the device.
    pub role_stated: bool,
    /// The guest behind it, where it is known.
    pub guest: Option<String>,
}

/// A device that macvlans sit on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LowerEntry {
    /// Its name.
    pub name: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// The macvlans and macvtaps on it.
    pub macvlans: Vec<UpperEntry>,
}

/// A macvlan or macvtap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpperEntry {
    /// Its name.
    pub name: String,
    /// The namespace that it is in.
    pub netns: String,
}

/// Something that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadEntry {
    /// The namespace it is of; null if it is of none.
    pub netns: Option<String>,
    /// What it is.
    pub what: String,
    /// Why it was not read.
    pub reason: String,
    /// Whether root could read it.
    pub needs_root: bool,
}

/// How many findings there are. Waived ones count in `waived` only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Of severity critical.
    pub critical: usize,
    /// Of severity high.
    pub high: usize,
    /// Of severity medium.
    pub medium: usize,
    /// Of severity low.
    pub low: usize,
    /// Of severity info.
    pub info: usize,
    /// Covered by a waiver.
    pub waived: usize,
    /// Of those that are not waived: how many are unproven.
    pub unproven: usize,
}

impl AuditDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.audit/1";

    /// Makes the document of what an audit of a snapshot came to.
    #[must_use]
    pub fn new(snapshot: &Snapshot, report: &AuditReport) -> Self {
        let findings: Vec<_> = report.findings.iter().map(FindingEntry::from).collect();
        let problems = snapshot.problems.iter().map(|problem| UnreadEntry::of_problem(snapshot, problem));
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: snapshot.kernel.host.clone(),
            kernel: snapshot.kernel.release.clone(),
            taken_at: snapshot.taken_at.clone(),
            policy: None,
            summary: Summary::of(&findings),
            findings,
            bridges: report.bridges.iter().map(BridgeEntry::from).collect(),
            lower_devices: report
                .lower_devices
                .iter()
                .map(|lower| LowerEntry::new(snapshot, lower))
                .collect(),
            unread: report.unread.iter().map(UnreadEntry::from).chain(problems).collect(),
        }
    }
}

impl From<&BridgeSummary> for BridgeEntry {
    fn from(bridge: &BridgeSummary) -> Self {
        Self {
            name: bridge.device.name.clone(),
            netns: bridge.netns_label.clone(),
            ports: bridge.ports.iter().map(PortEntry::from).collect(),
        }
    }
}

impl From<&PortSummary> for PortEntry {
    fn from(port: &PortSummary) -> Self {
        let PortSummary { device, role, role_stated, guest } = port;
        Self { name: device.name.clone(), role: *role, role_stated: *role_stated, guest: guest.clone() }
    }
}

impl LowerEntry {
    fn new(snapshot: &Snapshot, lower: &LowerDevice) -> Self {
        let upper = |(device, netns): &(portcullis_audit::Device, Option<NetnsId>)| UpperEntry {
            name: device.name.clone(),
            netns: netns.map_or_else(|| lower.netns_label.clone(), |netns| label(snapshot, netns)),
        };
        Self {
            name: lower.device.name.clone(),
            netns: lower.netns_label.clone(),
            macvlans: lower.uppers.iter().map(upper).collect(),
        }
    }
}

impl From<&UnreadNote> for UnreadEntry {
    fn from(note: &UnreadNote) -> Self {
        Self {
            netns: Some(note.netns_label.clone()),
            what: note.what.to_owned(),
            reason: note.reason.clone(),
            needs_root: note.cause == UnreadCause::Permission,
        }
    }
}

impl UnreadEntry {
    fn of_problem(snapshot: &Snapshot, problem: &Problem) -> Self {
        Self {
            netns: problem.netns.map(|netns| label(snapshot, netns)),
            what: problem.what.clone(),
            reason: problem.message.clone(),
            needs_root: false,
        }
    }
}

/// Returns the name that people know a namespace by.
fn label(snapshot: &Snapshot, netns: NetnsId) -> String {
    let known = snapshot.namespaces.iter().find(|candidate| candidate.id == netns);
    known.map_or_else(|| netns.to_string(), Netns::label)
}

impl Summary {
    /// Counts findings.
    #[must_use]
    pub fn of(findings: &[FindingEntry]) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            if finding.waiver.is_some() {
                summary.waived += 1;
                continue;
            }
            summary.unproven += usize::from(!finding.unproven.is_empty());
            match finding.severity {
                Severity::Critical => summary.critical += 1,
                Severity::High => summary.high += 1,
                Severity::Medium => summary.medium += 1,
                Severity::Low => summary.low += 1,
                Severity::Info => summary.info += 1,
            }
        }
        summary
    }
}

impl From<&Finding> for FindingEntry {
    fn from(finding: &Finding) -> Self {
        let name = |device: &portcullis_audit::Device| device.name.clone();
        Self {
            rule: finding.rule.to_string(),
            severity: finding.severity,
            netns: finding.netns_label.clone(),
            bridge: finding.bridge.as_ref().map(name),
            port: finding.port.as_ref().map(name),
            title: finding.title.clone(),
            why: finding.why.clone(),
            evidence: finding.evidence.iter().map(EvidenceEntry::from).collect(),
            witness: finding.witness.as_ref().map(WitnessEntry::from),
            unproven: finding.unproven.clone(),
            remedies: finding.remedies.iter().map(|remedy| remedy.method.to_owned()).collect(),
            commands: finding.remedies.iter().map(RemedyEntry::from).collect(),
            references: finding.references().iter().map(|&text| text.to_owned()).collect(),
            waiver: finding.waiver.as_ref().map(WaiverEntry::from),
            expired_waiver: finding.expired_waiver.as_ref().map(WaiverEntry::from),
        }
    }
}

impl From<&portcullis_audit::Evidence> for EvidenceEntry {
    fn from(evidence: &portcullis_audit::Evidence) -> Self {
        Self { source: evidence.source.clone(), value: evidence.value.clone() }
    }
}

impl From<&portcullis_audit::Witness> for WitnessEntry {
    fn from(witness: &portcullis_audit::Witness) -> Self {
        let portcullis_audit::Witness { frame, port, reaches } = witness;
        Self { frame: hex(frame), port: port.name.clone(), reaches: reaches.clone() }
    }
}

impl From<&portcullis_audit::Remedy> for RemedyEntry {
    fn from(remedy: &portcullis_audit::Remedy) -> Self {
        let portcullis_audit::Remedy { method, summary, commands } = remedy;
        Self { method: (*method).to_owned(), summary: summary.clone(), commands: commands.clone() }
    }
}

impl From<&AppliedWaiver> for WaiverEntry {
    fn from(waiver: &AppliedWaiver) -> Self {
        Self { reason: waiver.reason.clone(), expires: waiver.expires.clone() }
    }
}
