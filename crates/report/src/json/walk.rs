//! `portcullis.walk/1`: the way of one frame.

use portcullis_datapath::{
    Assumes, Concrete, Effect, LearnedChange, Network, OpenKind, Outcome, PacketType, Walk,
};
use portcullis_snapshot::{EtherType, Hex, IfIndex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a frame goes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalkDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// The device that the frame comes in by.
    pub from: String,
    /// The frame from its destination address on, in hex.
    pub frame: String,
    /// What each kernel function decided, in order.
    pub steps: Vec<StepEntry>,
    /// Where it arrived; empty if it was dropped.
    pub outcomes: Vec<OutcomeEntry>,
    /// Why it was dropped, if it arrived nowhere.
    pub drop: Option<DropEntry>,
    /// Every place where a copy of it ended without arriving.
    pub drops: Vec<DropEntry>,
    /// What the walk could not see into.
    pub open: Vec<OpenEntry>,
    /// What the bridge would learn from it.
    pub learned: Vec<LearnedEntry>,
}

/// What one kernel function decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepEntry {
    /// The function.
    pub function: String,
    /// The device that held the frame.
    pub device: String,
    /// What it decided.
    pub decision: String,
    /// The setting, or the property of the frame, that made it decide so.
    pub because: String,
}

/// A place where the frame, or a copy of it, arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeEntry {
    /// `host`: its own stack; `forwarded`: the host routed it on; `port`: it left by a bridge port; `netns`: a device
    /// in another namespace took it.
    pub to: String,
    /// The device: where the host's stack sees it, or where it leaves.
    pub device: String,
    /// What it is to the host: `arp`, `ipv4`, `ipv6`, or its EtherType in hex. Null for ports.
    pub protocol: Option<String>,
    /// What it does there, or how it came there.
    pub effect: String,
    /// The bytes that arrive, in hex.
    pub frame: String,
    /// What could still be different; empty if nothing could.
    pub unproven: Vec<String>,
}

/// A place where a copy of the frame ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropEntry {
    /// Why.
    pub reason: String,
    /// The kernel function.
    pub function: String,
    /// The device that held the frame.
    pub device: String,
    /// What could still be different; empty if nothing could.
    pub unproven: Vec<String>,
}

/// Something that could decide differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenEntry {
    /// The kernel function where it stands.
    pub function: String,
    /// The device.
    pub device: String,
    /// `filter`, `unread`, `changing` or `unmodelled`.
    pub kind: String,
    /// What it is.
    pub what: String,
}

/// An FDB change that the frame makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedEntry {
    /// The bridge.
    pub bridge: String,
    /// The port that the frame's source is found behind from now on.
    pub port: String,
    /// The VLAN; null without VLAN filtering.
    pub vlan: Option<u16>,
    /// `new`, `refresh` or `move`.
    pub change: String,
    /// The port where it was before, if it moves.
    pub moved_from: Option<String>,
}

impl WalkDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.walk/1";

    /// Makes the document of a walk.
    #[must_use]
    pub fn new(network: &Network<'_>, from: IfIndex, frame: &Concrete<'_>, walk: &Walk) -> Self {
        let twin = Twin { network, frame, walk };
        let drops: Vec<_> = walk.drops.iter().map(|drop| twin.dropped(drop)).collect();
        Self {
            schema: Self::SCHEMA.to_owned(),
            netns: network.netns().label(),
            from: network.name(from),
            frame: Hex(frame.bytes()).to_string(),
            steps: walk.steps.iter().map(|step| twin.step(step)).collect(),
            outcomes: walk.outcomes.iter().map(|outcome| twin.outcome(outcome)).collect(),
            drop: if walk.outcomes.is_empty() { drops.last().cloned() } else { None },
            drops,
            open: walk.open.iter().map(|open| twin.open(open)).collect(),
            learned: walk.learned.iter().map(|learned| twin.learned(learned)).collect(),
        }
    }
}

/// What the entries need to be made from.
struct Twin<'t, 's> {
    network: &'t Network<'s>,
    frame: &'t Concrete<'t>,
    walk: &'t Walk,
}

impl Twin<'_, '_> {
    fn step(&self, step: &portcullis_datapath::Step) -> StepEntry {
        StepEntry {
            function: step.function.to_owned(),
            device: self.network.name(step.device),
            decision: step.decision.clone(),
            because: step.because.clone(),
        }
    }

    fn unproven(&self, assumes: Assumes) -> Vec<String> {
        self.walk.questions(assumes).map(|open| open.kind.to_string()).collect()
    }

    fn outcome(&self, outcome: &Outcome) -> OutcomeEntry {
        let whole = || Hex(self.frame.bytes()).to_string();
        let (to, device, protocol, effect, frame) = match outcome {
            Outcome::Host(host) => {
                let effect = format!("{}, taken as {}", effect(host.effect), pkt_type(host.pkt_type));
                ("host", self.network.name(host.device), Some(host.protocol), effect, whole())
            }
            Outcome::Forwarded { from, device, protocol, .. } => {
                let effect = format!("routed on, in by {}", self.network.name(*from));
                ("forwarded", self.network.name(*device), Some(*protocol), effect, whole())
            }
            Outcome::Port(port) => {
                let effect = if port.flooded { "flooded" } else { "sent by an FDB or MDB entry" };
                (
                    "port",
                    self.network.name(port.device),
                    None,
                    effect.to_owned(),
                    Hex(&port.bytes(self.frame)).to_string(),
                )
            }
            Outcome::Elsewhere { device, netns, .. } => {
                ("netns", format!("if{device}"), None, format!("taken by a device in {netns}"), whole())
            }
        };
        let unproven = self.unproven(outcome.assumes());
        OutcomeEntry { to: to.to_owned(), device, protocol: protocol.map(name_of), effect, frame, unproven }
    }

    fn dropped(&self, drop: &portcullis_datapath::Drop) -> DropEntry {
        DropEntry {
            reason: drop.reason.to_owned(),
            function: drop.function.to_owned(),
            device: self.network.name(drop.device),
            unproven: self.unproven(drop.assumes),
        }
    }

    fn open(&self, open: &portcullis_datapath::Open) -> OpenEntry {
        let kind = match open.kind {
            OpenKind::Filter(_) => "filter",
            OpenKind::Unread(_) => "unread",
            OpenKind::Changing(_) => "changing",
            OpenKind::Unmodelled(_) => "unmodelled",
        };
        OpenEntry {
            function: open.function.to_owned(),
            device: self.network.name(open.device),
            kind: kind.to_owned(),
            what: open.kind.to_string(),
        }
    }

    fn learned(&self, learned: &portcullis_datapath::Learned) -> LearnedEntry {
        let (change, moved_from) = match learned.change {
            LearnedChange::New => ("new", None),
            LearnedChange::Locked => ("locked", None),
            LearnedChange::Refresh => ("refresh", None),
            LearnedChange::Move { from } => ("move", Some(self.network.name(from))),
        };
        LearnedEntry {
            bridge: self.network.name(learned.bridge),
            port: self.network.name(learned.port),
            vlan: (learned.vid != 0).then_some(learned.vid),
            change: change.to_owned(),
            moved_from,
        }
    }
}

/// Returns the name of a protocol in documents.
fn name_of(protocol: EtherType) -> String {
    match protocol {
        EtherType::ARP => "arp".to_owned(),
        EtherType::IPV4 => "ipv4".to_owned(),
        EtherType::IPV6 => "ipv6".to_owned(),
        EtherType(other) => format!("{other:#06x}"),
    }
}

fn pkt_type(pkt_type: PacketType) -> &'static str {
    match pkt_type {
        PacketType::Host => "PACKET_HOST",
        PacketType::Broadcast => "PACKET_BROADCAST",
        PacketType::Multicast => "PACKET_MULTICAST",
        PacketType::OtherHost => "PACKET_OTHERHOST",
    }
}

fn effect(effect: Effect) -> String {
    match effect {
        Effect::ArpReply => "an ARP request that the host answers".to_owned(),
        Effect::ArpUpdate => "an ARP message that the host takes in".to_owned(),
        Effect::Deliver { protocol } => format!("a packet for the host's {}", transport(protocol)),
        Effect::NeighbourAdvertisement => "a neighbour solicitation that the host answers".to_owned(),
        Effect::NeighbourUpdate => "a neighbour discovery message that the host takes in".to_owned(),
        Effect::RouterAdvertisement => "a router advertisement that the host believes".to_owned(),
        Effect::Handler => "a frame for the host's handler of the protocol".to_owned(),
    }
}

fn transport(protocol: u8) -> String {
    match protocol {
        1 => "ICMP".to_owned(),
        2 => "IGMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("IP protocol {other}"),
    }
}
