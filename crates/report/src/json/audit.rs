//! `portcullis.audit/1`: findings, and the bridges that were looked at.

use std::borrow::Cow;

use portcullis_audit::{
    AppliedWaiver, AuditReport, BridgeSummary, Finding, LowerDevice, PortSummary, Role, Severity, UnreadNote,
};
use portcullis_snapshot::{Bytes, Netns, NetnsId, Problem, Snapshot, UnreadCause};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{ClaimEntry, NotProvenEntry, RoleName, SeverityName};

/// What `portcullis audit` found.
// `F` is where its findings are: a list of entries, as it is read back, or `Unmade` ones. (No doc comment: that would be
// part of the published schema.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditDocument")]
pub struct AuditDocument<F = Vec<FindingEntry<'static>>> {
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
    pub findings: F,
    /// What holds for every frame of the guest ports, and what does not, whatever is learned meanwhile.
    pub claims: Vec<ClaimEntry>,
    /// The guest ports that nothing was proven for.
    pub not_proven: Vec<NotProvenEntry>,
    /// The bridges that were looked at.
    pub bridges: Vec<BridgeEntry>,
    /// The lower devices of macvlans that were looked at.
    pub lower_devices: Vec<LowerEntry>,
    /// What was not read, and could hide something.
    pub unread: Vec<UnreadEntry>,
    /// How many findings there are.
    pub summary: Summary,
}

/// Findings that entries can be had of.
pub trait Findings {
    /// Returns the entries, in order.
    fn entries(&self) -> impl Iterator<Item = Cow<'_, FindingEntry<'_>>>;
}

impl Findings for Vec<FindingEntry<'_>> {
    fn entries(&self) -> impl Iterator<Item = Cow<'_, FindingEntry<'_>>> {
        self.iter().map(Cow::Borrowed)
    }
}

/// Findings whose entries are made when they are wanted, one at a time: there are thousands on a host with many
/// guests, and no output needs two of them at once.
#[derive(Debug, Clone, Copy)]
pub struct Unmade<'a>(&'a [Finding]);

impl Findings for Unmade<'_> {
    fn entries(&self) -> impl Iterator<Item = Cow<'_, FindingEntry<'_>>> {
        self.0.iter().map(|finding| Cow::Owned(FindingEntry::from(finding)))
    }
}

impl Serialize for Unmade<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries())
    }
}

/// One finding.
// Its texts are borrowed from the finding it is made of, or, once read back, its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingEntry<'a> {
    /// The rule that found it, in kebab case.
    pub rule: Cow<'a, str>,
    /// How much it matters.
    #[schemars(with = "SeverityName")]
    pub severity: Severity,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: Cow<'a, str>,
    /// The bridge, or the lower device of macvlans.
    pub bridge: Option<Cow<'a, str>>,
    /// The port, if it is about one.
    pub port: Option<Cow<'a, str>>,
    /// What is wrong, in a line.
    pub title: Cow<'a, str>,
    /// How the kernel comes to it, and what a guest gains.
    pub why: Cow<'a, str>,
    /// What was read that proves it.
    pub evidence: Vec<EvidenceEntry<'a>>,
    /// A frame that shows it.
    pub witness: Option<WitnessEntry<'a>>,
    /// What could still be different, because nothing here sees into it; empty if the finding is proven.
    pub unproven: Vec<Cow<'a, str>>,
    /// The names of the methods that close it, cheapest first.
    pub remedies: Vec<Cow<'a, str>>,
    /// The same methods with what they do and the commands for it, in the same order.
    pub commands: Vec<RemedyEntry<'a>>,
    /// Where to read on.
    pub references: Vec<Cow<'a, str>>,
    /// The waiver of the policy that covers it.
    pub waiver: Option<WaiverEntry<'a>>,
    /// The waiver that covered it and has expired.
    pub expired_waiver: Option<WaiverEntry<'a>>,
}

/// A fact that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceEntry<'a> {
    /// Where it was read.
    pub source: Cow<'a, str>,
    /// What it is.
    pub value: Cow<'a, str>,
}

/// A frame that gets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WitnessEntry<'a> {
    /// Its bytes from the destination address on, in hex, without a frame check sequence.
    #[schemars(with = "String")]
    pub frame: Cow<'a, Bytes>,
    /// The port that it comes in by.
    pub port: Cow<'a, str>,
    /// Where it gets to, in words.
    pub reaches: Cow<'a, str>,
}

/// A method that closes a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemedyEntry<'a> {
    /// Its name, in kebab case.
    pub method: Cow<'a, str>,
    /// What it does, and what it leaves open.
    pub summary: Cow<'a, str>,
    /// The commands that do it, each a line for a shell.
    pub commands: Vec<Cow<'a, str>>,
}

/// A waiver of the policy.
#[derive(Debug, Clone, Hash, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaiverEntry<'a> {
    /// Why it is accepted.
    pub reason: Cow<'a, str>,
    /// Until when, that day included: `YYYY-MM-DD`.
    pub expires: Cow<'a, str>,
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
}

impl<'a> AuditDocument<Unmade<'a>> {
    /// Makes the document of what an audit of a snapshot came to.
    #[must_use]
    pub fn new(snapshot: &Snapshot, report: &'a AuditReport) -> Self {
        let problems = snapshot.problems.iter().map(|problem| UnreadEntry::of_problem(snapshot, problem));
        Self {
            schema: AuditDocument::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: snapshot.kernel.host.clone(),
            kernel: snapshot.kernel.release.clone(),
            taken_at: snapshot.taken_at.clone(),
            policy: None,
            summary: Summary::of(
                report.findings.iter().map(|found| (found.severity, found.stands(), found.is_proven())),
            ),
            findings: Unmade(&report.findings),
            claims: report.claims.iter().map(ClaimEntry::from).collect(),
            not_proven: report.not_proven.iter().map(NotProvenEntry::from).collect(),
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
            name: bridge.device.name.to_string(),
            netns: bridge.netns_label.clone(),
            ports: bridge.ports.iter().map(PortEntry::from).collect(),
        }
    }
}

impl From<&PortSummary> for PortEntry {
    fn from(port: &PortSummary) -> Self {
        let PortSummary { device, role, role_stated, guest } = port;
        Self { name: device.name.to_string(), role: *role, role_stated: *role_stated, guest: guest.clone() }
    }
}

impl LowerEntry {
    fn new(snapshot: &Snapshot, lower: &LowerDevice) -> Self {
        let upper = |(device, netns): &(portcullis_audit::Device, Option<NetnsId>)| UpperEntry {
            name: device.name.to_string(),
            netns: netns.map_or_else(|| lower.netns_label.clone(), |netns| label(snapshot, netns)),
        };
        Self {
            name: lower.device.name.to_string(),
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
    /// Counts findings: of each its severity, whether it stands (is not waived) and whether it is proven.
    #[must_use]
    pub fn of(findings: impl IntoIterator<Item = (Severity, bool, bool)>) -> Self {
        let mut summary = Self::default();
        for (severity, stands, proven) in findings {
            if !stands {
                summary.waived += 1;
                continue;
            }
            summary.unproven += usize::from(!proven);
            match severity {
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

impl<'a> From<&'a Finding> for FindingEntry<'a> {
    fn from(finding: &'a Finding) -> Self {
        fn name(device: &portcullis_audit::Device) -> Cow<'_, str> {
            (*device.name).into()
        }
        Self {
            rule: finding.rule.0.into(),
            severity: finding.severity,
            netns: (*finding.netns_label).into(),
            bridge: finding.bridge.as_ref().map(name),
            port: finding.port.as_ref().map(name),
            title: (*finding.title).into(),
            why: (*finding.why).into(),
            evidence: finding.evidence.iter().map(EvidenceEntry::from).collect(),
            witness: finding.witness.as_ref().map(WitnessEntry::from),
            unproven: finding.unproven.iter().map(Cow::from).collect(),
            remedies: finding.remedies.iter().map(|remedy| remedy.method.into()).collect(),
            commands: finding.remedies.iter().map(|remedy| RemedyEntry::from(&**remedy)).collect(),
            references: finding.references.iter().map(|&text| text.into()).collect(),
            waiver: finding.waiver.as_deref().map(WaiverEntry::from),
            expired_waiver: finding.expired_waiver.as_deref().map(WaiverEntry::from),
        }
    }
}

impl<'a> From<&'a portcullis_audit::Evidence> for EvidenceEntry<'a> {
    fn from(evidence: &'a portcullis_audit::Evidence) -> Self {
        Self { source: (*evidence.source).into(), value: (*evidence.value).into() }
    }
}

impl<'a> From<&'a portcullis_audit::Witness> for WitnessEntry<'a> {
    fn from(witness: &'a portcullis_audit::Witness) -> Self {
        let portcullis_audit::Witness { frame, port, reaches } = witness;
        Self { frame: Cow::Borrowed(frame), port: (*port.name).into(), reaches: (**reaches).into() }
    }
}

impl<'a> From<&'a portcullis_audit::Remedy> for RemedyEntry<'a> {
    fn from(remedy: &'a portcullis_audit::Remedy) -> Self {
        let portcullis_audit::Remedy { method, summary, commands } = remedy;
        let commands = commands.iter().map(Cow::from).collect();
        Self { method: (*method).into(), summary: (**summary).into(), commands }
    }
}

impl<'a> From<&'a AppliedWaiver> for WaiverEntry<'a> {
    fn from(waiver: &'a AppliedWaiver) -> Self {
        Self { reason: waiver.reason.as_str().into(), expires: waiver.expires.as_str().into() }
    }
}
