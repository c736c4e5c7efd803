//! What comes of a walk: where the frame arrived, where it was dropped, what remained open.

use std::fmt;

use portcullis_snapshot::{EtherType, IfIndex, MacAddr, NetnsId};

use super::{HwTag, PacketType};
use crate::frame::{Concrete, Field, Write, Written, written};

/// The result of walking one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Where it arrived, each place once per copy; empty if it was dropped.
    pub outcomes: Vec<Outcome>,
    /// Where a copy of it ended without arriving.
    pub drops: Vec<Drop>,
    /// The questions that stayed open on any of its ways.
    pub open: Vec<Open>,
    /// What the bridge would learn from it.
    pub learned: Vec<Learned>,
    /// Every step, if [`super::Trace::Steps`] was asked for.
    pub steps: Vec<Step>,
}

/// One step: which function decided what, because of which setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The kernel's function.
    pub function: &'static str,
    /// The device that held the frame.
    pub device: IfIndex,
    /// What it decided.
    pub decision: String,
    /// The setting and its value, or the frame's property, that made it decide so.
    pub because: String,
}

/// A place where the frame, or a copy of it, arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The host's own stack took it in.
    Host(HostDelivery),
    /// The host routed the packet on.
    Forwarded {
        /// The device that it came in by, as the stack sees it.
        from: IfIndex,
        /// The device that it leaves by.
        device: IfIndex,
        /// IPv4 or IPv6.
        protocol: EtherType,
        /// Open questions on the way.
        assumes: Assumes,
    },
    /// It left by a bridge port.
    Port(PortDelivery),
    /// A device in another namespace took it: a macvlan or VLAN device that was moved there.
    Elsewhere {
        /// The device, by its index there.
        device: IfIndex,
        /// Where.
        netns: NetnsId,
        /// Open questions on the way.
        assumes: Assumes,
    },
}

/// How the host's stack took a frame in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDelivery {
    /// The device that the stack sees it on.
    pub device: IfIndex,
    /// The protocol handler that took it.
    pub protocol: EtherType,
    /// What it does there.
    pub effect: Effect,
    /// What it was taken for.
    pub pkt_type: PacketType,
    /// What rules wrote into it before.
    pub rewritten: Vec<Write>,
    /// Open questions on the way.
    pub assumes: Assumes,
}

/// What a frame does in the host's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The host answers an ARP request.
    ArpReply,
    /// The host takes an ARP message in: it may change its neighbour table, and answers nothing.
    ArpUpdate,
    /// An IP packet reaches the host's transport layer.
    Deliver {
        /// The IP protocol.
        protocol: u8,
    },
    /// The host answers a neighbour solicitation.
    NeighbourAdvertisement,
    /// The host takes a neighbour discovery message in and answers nothing.
    NeighbourUpdate,
    /// The host believes a router advertisement.
    RouterAdvertisement,
    /// A handler of another protocol takes it.
    Handler,
}

/// How a frame left by a bridge port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDelivery {
    /// The port.
    pub device: IfIndex,
    /// Whether it was flooded there, rather than sent because of an FDB or MDB entry.
    pub flooded: bool,
    /// The tag it leaves with.
    pub hwtag: Option<HwTag>,
    /// How many of its own tags are no longer in front of its bytes.
    pub depth: u8,
    /// Whether br_netfilter cut off what the IP packet's own length does not cover.
    pub trimmed: bool,
    /// The member's address, where multicast was turned into unicast.
    pub dst: Option<MacAddr>,
    /// What rules wrote into it.
    pub rewritten: Vec<Write>,
    /// Open questions on the way.
    pub assumes: Assumes,
}

/// A place where a way of the frame ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drop {
    /// The kernel's function.
    pub function: &'static str,
    /// The device that held the frame.
    pub device: IfIndex,
    /// Why, in a few words.
    pub reason: &'static str,
    /// Open questions on the way.
    pub assumes: Assumes,
}

/// An FDB change that the frame would make (`br_fdb_update`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// The bridge.
    pub bridge: IfIndex,
    /// The port that the frame's source would be found behind.
    pub port: IfIndex,
    /// The VLAN; 0 without VLAN filtering.
    pub vid: u16,
    /// What becomes of the entry.
    pub change: LearnedChange,
    /// The address, if a rule wrote it; else it is the frame's own source.
    pub rewritten: Option<Written>,
    /// Open questions on the way.
    pub assumes: Assumes,
}

/// What a frame does to the FDB entry of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LearnedChange {
    /// There was none; now there is.
    New,
    /// There was none; now there is one that only notes a source which a locked port refused.
    Locked,
    /// It was on this port already.
    Refresh,
    /// It was on another port: it moves.
    Move {
        /// Where it was.
        from: IfIndex,
    },
}

/// Something that the walk cannot see into, or that was not read: it could decide differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The kernel's function where it stands.
    pub function: &'static str,
    /// The device.
    pub device: IfIndex,
    /// What it is.
    pub kind: OpenKind,
    /// What the answer could be that the walk did not go by.
    pub otherwise: Otherwise,
}

/// What the answer to an open question could be that the walk did not go by. It goes by the one that lets the frame pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Otherwise {
    /// The walk chose ([`Frame::choose`](crate::Frame::choose)): exploring follows each answer.
    Followed,
    /// The frame ends there, or fewer copies of it are made.
    Stops,
    /// Anything: it could go elsewhere, or become another frame.
    Anything,
}

/// The sorts of open questions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OpenKind {
    /// A filter or program that is present and not evaluated: "nftables chain bridge filter input (3 rules)".
    Filter(String),
    /// State that was not read: what, and why not.
    Unread(String),
    /// State that changes by itself or by what guests send: "an IGMP querier may have been heard".
    Changing(String),
    /// A device or feature that is not modelled: "team device".
    Unmodelled(String),
}

impl fmt::Display for OpenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Filter(what) | Self::Unread(what) | Self::Changing(what) | Self::Unmodelled(what)) = self;
        f.write_str(what)
    }
}

/// A set of open questions, as indices into [`Walk::open`].
///
/// There is room for 64; beyond that all share the last place, so that none is ever lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Assumes(u64);

impl Assumes {
    /// Whether nothing is open.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn add(&mut self, index: usize) {
        self.0 |= 1 << index.min(63);
    }

    const fn holds(self, index: usize) -> bool {
        self.0 >> (if index < 63 { index } else { 63 }) & 1 == 1
    }
}

impl Walk {
    /// Returns the open questions of an outcome or a drop.
    pub fn questions(&self, assumes: Assumes) -> impl Iterator<Item = &Open> {
        self.open.iter().enumerate().filter(move |(index, _)| assumes.holds(*index)).map(|(_, open)| open)
    }

    /// Makes it as it was before anything was walked.
    pub(super) fn clear(&mut self) {
        self.outcomes.clear();
        self.drops.clear();
        self.open.clear();
        self.learned.clear();
        self.steps.clear();
    }

    /// Returns what the host's own stack took in.
    pub fn host(&self) -> impl Iterator<Item = &HostDelivery> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Host(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// Returns the ports that the frame left by.
    pub fn ports(&self) -> impl Iterator<Item = &PortDelivery> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Port(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// Returns the devices by which the host routed the packet on.
    pub fn forwarded(&self) -> impl Iterator<Item = IfIndex> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Forwarded { device, .. } => Some(*device),
            _ => None,
        })
    }
}

impl Outcome {
    /// Returns the open questions on the way here.
    #[must_use]
    pub const fn assumes(&self) -> Assumes {
        match self {
            Self::Host(HostDelivery { assumes, .. })
            | Self::Forwarded { assumes, .. }
            | Self::Port(PortDelivery { assumes, .. })
            | Self::Elsewhere { assumes, .. } => *assumes,
        }
    }
}

impl Learned {
    /// Returns the address that is learned from a frame.
    #[must_use]
    pub fn source(&self, frame: &Concrete<'_>) -> MacAddr {
        let address = match self.rewritten {
            Some(Written::Value(value)) => value,
            Some(Written::Of(field)) => frame.value(field),
            None => frame.value(Field::Src),
        };
        MacAddr::from_u64(address as u64)
    }

    /// Whether it is about this source in a VLAN of a bridge.
    pub(super) fn is_in(&self, bridge: IfIndex, vid: u16, source: Option<Written>) -> bool {
        self.bridge == bridge && self.vid == vid && self.rewritten == source
    }
}

impl PortDelivery {
    /// Returns the bytes that leave by the port.
    #[must_use]
    pub fn bytes(&self, frame: &Concrete<'_>) -> Vec<u8> {
        if self.rewritten.is_empty() {
            return self.leaving(frame);
        }
        let bytes = written(frame, &self.rewritten);
        Concrete::new(&bytes).map_or_else(Vec::new, |frame| self.leaving(&frame))
    }

    fn leaving(&self, frame: &Concrete<'_>) -> Vec<u8> {
        let addresses = frame.bytes().get(..12).unwrap_or_default();
        let from = 12 + 4 * usize::from(self.depth);
        let to = if self.trimmed { from + 2 + frame.packet_length(self.depth) } else { frame.bytes().len() };
        let rest = frame.bytes().get(from..to).unwrap_or_default();
        let mut bytes = Vec::with_capacity(frame.bytes().len() + 4);
        bytes.extend(addresses);
        if let Some(dst) = self.dst {
            bytes.splice(..6, dst.0);
        }
        if let Some(tag) = self.hwtag {
            bytes.extend(tag.tpid.0.to_be_bytes());
            bytes.extend(tag.tci(*frame).to_be_bytes());
        }
        bytes.extend(rest);
        bytes
    }
}
