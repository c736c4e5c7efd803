//! `portcullis.prove/1`: what holds for every frame of a port.

use portcullis_audit::{Claim, Device, NotProven};
use portcullis_datapath::Network;
use portcullis_prove::{Assumption, Exposure, Goal, HostProtocol, Knob, Proof, Receiver, Verdict};
use portcullis_snapshot::{Bytes, IfIndex, Snapshot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `portcullis prove` came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProveDocument {
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
    /// For which state the verdicts hold.
    pub holds: Holds,
    /// The claims, by namespace, bridge and port.
    pub claims: Vec<ClaimEntry>,
    /// How many there are of each verdict.
    pub summary: ProveSummary,
}

/// For which state verdicts hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Whatever guests send and time does: learned addresses and memberships come and go.
    Ever,
    /// As it was read.
    Now,
}

/// A claim, judged. It holds for every port that is like `from`, on whichever bridge, and there for every one that is like `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimEntry {
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// The bridge.
    pub bridge: String,
    /// What is claimed not to happen.
    pub claim: ClaimKind,
    /// The port whose frames are meant; for `sniff`, the port that others' frames would leave by.
    pub from: String,
    /// The ports that are like it, for which the same holds.
    pub from_alike: Vec<String>,
    /// `host:arp`, `host:ipv4`, `host:ipv6`, `host:other`, `infra`, or a port; for `spoof_ip`, `host` or a port.
    pub to: String,
    /// The ports that are like that one, for which the same holds.
    pub to_alike: Vec<String>,
    /// For `spoof_ip`, the IP address; else null.
    #[serde(default)]
    pub address: Option<String>,
    /// Whether the claim holds.
    pub verdict: VerdictName,
    /// A frame that shows that it does not.
    pub witness: Option<ProofWitness>,
    /// What the verdict `unproven` depends on.
    pub assumptions: Vec<AssumptionEntry>,
    /// The settings each of which, changed alone, changes the verdict; null if that was not asked for.
    pub rests_on: Option<Vec<KnobEntry>>,
}

/// The sorts of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// No frame from `from` reaches `to`.
    Reach,
    /// No unicast frame that comes in by `to` leaves by `from`, unless it is for somebody behind `from`.
    Sniff,
    /// No frame from `from` makes the bridge send there what is for an address behind `to`.
    Spoof,
    /// No frame from `from` reaches `to` in the name of `address`: as ARP's sender, as the source of a packet, or in a
    /// neighbour advertisement of it.
    SpoofIp,
}

/// Whether a claim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictName {
    /// For every frame.
    Isolated,
    /// Not for the witness.
    Exposed,
    /// It depends.
    Unproven,
}

/// A frame that gets through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofWitness {
    /// Its bytes from the destination address on, in hex, without a frame check sequence.
    #[schemars(with = "String")]
    pub frame: Bytes,
    /// The port that it comes in by.
    pub port: String,
    /// Whether it gets through only once other addresses are learned, or other groups joined, than when the state was
    /// read.
    pub later: bool,
}

/// Something that a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssumptionEntry {
    /// What it is.
    pub what: String,
    /// The kernel's function where it stands; null if it is about the proof itself.
    pub function: Option<String>,
}

/// Guest ports of a bridge that an audit proved nothing for, because too many are not alike; `portcullis prove` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotProvenEntry {
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// The bridge.
    pub bridge: String,
    /// The ports.
    pub ports: Vec<String>,
}

/// A setting that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnobEntry {
    /// What it is.
    pub name: String,
    /// How it is.
    pub is: String,
    /// How it would have to be for another verdict.
    pub instead: String,
    /// That verdict: `isolated`, `exposed` or `unproven`.
    pub verdict: String,
}

/// How many claims there are of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProveSummary {
    /// Proven.
    pub isolated: usize,
    /// Refuted.
    pub exposed: usize,
    /// Neither.
    pub unproven: usize,
}

impl ProveDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.prove/1";

    /// Makes the document of claims about a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot, holds: Holds, claims: Vec<ClaimEntry>) -> Self {
        let mut summary = ProveSummary::default();
        for claim in &claims {
            match claim.verdict {
                VerdictName::Isolated => summary.isolated += 1,
                VerdictName::Exposed => summary.exposed += 1,
                VerdictName::Unproven => summary.unproven += 1,
            }
        }
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: snapshot.kernel.host.clone(),
            kernel: snapshot.kernel.release.clone(),
            taken_at: snapshot.taken_at.clone(),
            holds,
            claims,
            summary,
        }
    }
}

impl ClaimEntry {
    /// Makes the entry of a proof about a port of a bridge, and of those that are like it and like the one it is to.
    #[must_use]
    pub fn new(
        network: &Network<'_>,
        bridge: &str,
        proof: &Proof,
        (from_alike, to_alike): (Vec<String>, Vec<String>),
    ) -> Self {
        let name = |port| network.name(port);
        let place = (network.netns().label(), bridge.to_owned());
        Self::named(proof, place, name, (from_alike, to_alike))
    }

    /// Makes the entry of a proof, given the names of its namespace and bridge and what ports are called.
    pub(crate) fn named(
        proof: &Proof,
        (netns, bridge): (String, String),
        name: impl Fn(IfIndex) -> String,
        (from_alike, to_alike): (Vec<String>, Vec<String>),
    ) -> Self {
        let (claim, to) = match proof.goal {
            Goal::Host(protocol) => (ClaimKind::Reach, format!("host:{}", protocol.name())),
            Goal::Infrastructure => (ClaimKind::Reach, "infra".to_owned()),
            Goal::Port(port) => (ClaimKind::Reach, name(port)),
            Goal::Sniff { from } => (ClaimKind::Sniff, name(from)),
            Goal::Spoof { of } => (ClaimKind::Spoof, name(of)),
            Goal::SpoofIp { to: Receiver::Host, .. } => (ClaimKind::SpoofIp, "host".to_owned()),
            Goal::SpoofIp { to: Receiver::Port(port), .. } => (ClaimKind::SpoofIp, name(port)),
        };
        let address = match proof.goal {
            Goal::SpoofIp { address, .. } => Some(address.to_string()),
            _ => None,
        };
        let (verdict, witness, assumptions) = match &proof.verdict {
            Verdict::Isolated => (VerdictName::Isolated, None, Vec::new()),
            Verdict::Exposed(exposure) => {
                let Exposure { frame, into, later } = exposure;
                let witness = ProofWitness { frame: frame.clone(), port: name(*into), later: *later };
                (VerdictName::Exposed, Some(witness), Vec::new())
            }
            Verdict::Unproven(all) => {
                (VerdictName::Unproven, None, all.iter().map(AssumptionEntry::from).collect())
            }
        };
        Self {
            netns,
            bridge,
            claim,
            from: name(proof.port),
            from_alike,
            to,
            to_alike,
            address,
            verdict,
            witness,
            assumptions,
            rests_on: None,
        }
    }

    /// Returns the protocol of the host's stack that the claim is about, if it is about one.
    #[must_use]
    pub fn host_protocol(&self) -> Option<HostProtocol> {
        let name = self.to.strip_prefix("host:").filter(|_| self.claim == ClaimKind::Reach)?;
        HostProtocol::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

impl From<&Claim> for ClaimEntry {
    fn from(claim: &Claim) -> Self {
        let ports = || claim.from.iter().chain(&*claim.to).chain(&claim.into);
        let name = |index| {
            let named = ports().find(|port| port.index == index);
            named.map_or_else(|| index.to_string(), |port| port.name.to_string())
        };
        let others = |ports: &[Device]| ports.iter().skip(1).map(|port| port.name.to_string()).collect();
        let place = (claim.netns_label.to_string(), claim.bridge.name.to_string());
        Self::named(&claim.proof, place, name, (others(&claim.from), others(&claim.to)))
    }
}

impl From<&NotProven> for NotProvenEntry {
    fn from(left: &NotProven) -> Self {
        Self {
            netns: left.netns_label.to_string(),
            bridge: left.bridge.name.to_string(),
            ports: left.ports.iter().map(|port| port.name.to_string()).collect(),
        }
    }
}

impl VerdictName {
    /// Returns the verdict as a word, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Exposed => "exposed",
            Self::Unproven => "unproven",
        }
    }
}

impl From<&Verdict> for VerdictName {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Isolated => Self::Isolated,
            Verdict::Exposed(_) => Self::Exposed,
            Verdict::Unproven(_) => Self::Unproven,
        }
    }
}

impl From<Knob> for KnobEntry {
    fn from(knob: Knob) -> Self {
        let Knob { name, is, instead, verdict } = knob;
        Self { name, is, instead, verdict: verdict.to_owned() }
    }
}

impl From<&Assumption> for AssumptionEntry {
    fn from(assumption: &Assumption) -> Self {
        let function = Some(assumption.function).filter(|function| !function.is_empty());
        Self { what: assumption.what.clone(), function: function.map(str::to_owned) }
    }
}
