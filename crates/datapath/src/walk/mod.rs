//! The walk itself, and what comes of it.
//!
//! One file for each of the kernel's: `receive` is `net/core/dev.c`, `br_input` is `net/bridge/br_input.c` and so on.
//! This file holds what all of them share: the frame's state on its way ([`Skb`]), the result ([`Walk`]) and the
//! bookkeeping of steps, drops and open questions. No decision is taken here.

mod arp;
mod br_arp_nd_proxy;
mod br_fdb;
mod br_forward;
mod br_input;
mod br_multicast;
mod br_vlan;
mod entry;
mod ip6_input;
mod ip_input;
mod macvlan;
mod ndisc;
mod netfilter;
mod outcome;
mod receive;
mod rewrite;
mod route;
mod sched;
#[cfg(test)]
mod tests;
mod vrf;

use std::fmt;

use portcullis_snapshot::{EtherType, IfIndex, MacAddr};

use crate::frame::{Edited, Field, Frame};
use crate::network::Network;

pub use entry::{Entered, Entry, Segment, walk_from, walk_segment};
pub use outcome::{
    Assumes, Drop, Effect, HostDelivery, Learned, LearnedChange, Open, OpenKind, Otherwise, Outcome,
    PortDelivery, Step, Walk,
};

/// What the receiving device took the frame for (`PACKET_*`, `linux/if_packet.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// Addressed to the device.
    Host,
    /// Broadcast.
    Broadcast,
    /// Multicast.
    Multicast,
    /// Addressed to somebody else.
    OtherHost,
}

/// A VLAN tag that the kernel keeps beside the bytes (`skb->vlan_proto`, `skb->vlan_tci`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HwTag {
    /// Its TPID.
    pub tpid: EtherType,
    /// Its VLAN id.
    pub vid: TagVid,
}

/// Where the VLAN id of a [`HwTag`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagVid {
    /// From the frame's own tag at this depth.
    Frame(u8),
    /// The kernel put it there: a PVID, or what a tc filter says.
    Fixed {
        /// The VLAN id.
        vid: u16,
        /// The depth of the frame's own tag that it was put into; its priority and drop bit remain.
        over: Option<u8>,
        /// The priority, where that was put there too: then the drop bit alone remains.
        priority: Option<u8>,
    },
}

impl HwTag {
    /// Returns the tag control information: priority, drop bit and VLAN id.
    #[must_use]
    pub fn tci(self, frame: crate::frame::Concrete<'_>) -> u16 {
        // Priority and drop bits come from the frame's own tag.
        match self.vid {
            TagVid::Frame(depth) => frame.tci(depth),
            TagVid::Fixed { vid, over, priority } => {
                let own = over.map_or(0, |depth| frame.tci(depth) & 0xf000);
                let first = priority.map_or(own, |priority| own & 0x1000 | u16::from(priority & 7) << 13);
                vid | first
            }
        }
    }
}

/// Whether the walk writes down its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Every step, for people.
    Steps,
    /// The result only.
    Off,
}

/// Where a frame is on its way, and what the kernel knows about it there (`struct sk_buff`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skb {
    /// The device that holds it (`skb->dev`).
    pub(crate) dev: IfIndex,
    /// `skb->pkt_type`.
    pub(crate) pkt_type: PacketType,
    /// How many of the frame's own tags are no longer in front of its bytes.
    pub(crate) depth: u8,
    /// The tag beside the bytes.
    pub(crate) hwtag: Option<HwTag>,
    /// Whether what the IP packet's own length does not cover was cut off (`pskb_trim_rcsum`).
    pub(crate) trimmed: bool,
    /// `skb->mark`.
    pub(crate) mark: u32,
    /// `skb->priority`.
    pub(crate) priority: u32,
    /// Whether a bridge rule sends it up past the bridge (`br_netfilter_broute`).
    pub(crate) broute: bool,
    /// Whether br_netfilter has shown it to the host's PREROUTING already (`nf_bridge_info_exists`).
    pub(crate) nf_bridge: bool,
    /// The bridge ports that br_netfilter remembers (`struct nf_bridge_info`).
    pub(crate) physdev: Option<Physdev>,
    /// The VRF that has taken it in (`IPSKB_L3SLAVE`).
    pub(crate) l3mdev: Option<IfIndex>,
    /// The bridge port that it came in by, from the bridge on (`skb->dev` while bridged).
    pub(crate) port: Option<IfIndex>,
    /// Whether a tag that was put back into the bytes stands between its Ethernet and its network header, as on the way
    /// out of a bridge whose tags are of the other kind (`vlan_insert_tag_set_proto` leaves `skb->network_header`).
    pub(crate) behind_tag: bool,
    /// Whether a tc filter sent it on (`skb->redirected`): generic XDP and nftables' egress hook do not see it then.
    pub(crate) redirected: bool,
    /// Whether a rule of nftables sent it on (`nf_dup_skb_recursion`).
    pub(crate) sent_on: bool,
    /// Whether a tc filter put it into the device, so that no driver saw it.
    pub(crate) injected: bool,
    /// How often tc filters sent it on (`skb->tc_depth`).
    pub(crate) hops: u8,
    /// The open questions whose answers could still change what was decided so far.
    pub(crate) assumes: Assumes,
}

/// Bridge ports, as br_netfilter remembers them while the host's rules see the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Physdev {
    /// The port that it came in by (`physinif`).
    pub(crate) input: IfIndex,
    /// The port that it leaves by (`physoutdev`).
    pub(crate) output: Option<IfIndex>,
}

impl Skb {
    /// Returns the device that firewall rules in the host's stack see it come in by.
    pub(crate) fn iif(&self) -> IfIndex {
        self.l3mdev.unwrap_or(self.dev)
    }
}

/// What of the walk is wanted: the rest need not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aim {
    /// Wherever it goes.
    Everywhere,
    /// What the host's stack does with it.
    Host,
    /// Whether it leaves by this port.
    Port(IfIndex),
}

/// Which state counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// The state that was read.
    Now,
    /// Every state that guests and time can bring about: learned FDB entries and multicast groups come and go.
    Ever,
}

/// How a walk is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Whether steps are written down.
    pub trace: Trace,
    /// What of it is wanted.
    pub aim: Aim,
    /// Which state counts.
    pub when: When,
}

impl From<Trace> for Manner {
    fn from(trace: Trace) -> Self {
        Self { trace, aim: Aim::Everywhere, when: When::Now }
    }
}

/// Walks one frame through the kernel, from the driver of `ingress` to wherever it ends.
///
/// The result is of the present state: nothing is learned into the network, [`Walk::learned`] tells what would be.
pub fn walk<F: Frame>(
    network: &Network<'_>,
    ingress: IfIndex,
    frame: &mut F,
    manner: impl Into<Manner>,
) -> Walk {
    let mut into = Walk::default();
    walk_into(network, ingress, frame, manner, &mut into);
    into
}

/// The same for many frames in a row: the result takes the place of an earlier one, whose memory it uses.
pub fn walk_into<F: Frame>(
    network: &Network<'_>,
    ingress: IfIndex,
    frame: &mut F,
    manner: impl Into<Manner>,
    into: &mut Walk,
) {
    into.clear();
    let frame = &mut Edited::new(frame);
    Walker::new(network, frame, manner.into(), into).netif_receive(ingress);
}

/// A walk under way.
pub(crate) struct Walker<'w, 's, F> {
    pub(crate) network: &'w Network<'s>,
    pub(crate) frame: &'w mut Edited<'w, F>,
    manner: Manner,
    pub(crate) walk: &'w mut Walk,
    /// How often a frame was handed to `__netif_receive_skb_core`, lest stacked devices walk for ever.
    rounds: u16,
    /// Where the walk paused, if it is to.
    entered: Option<Vec<Entered>>,
    /// Whose rules it is at, if it can pause between them.
    rules: Option<entry::Rules>,
    /// The rule that it goes on from.
    start_at: Option<entry::Position>,
}

impl<'w, 's, F: Frame> Walker<'w, 's, F> {
    fn new(
        network: &'w Network<'s>,
        frame: &'w mut Edited<'w, F>,
        mut manner: Manner,
        walk: &'w mut Walk,
    ) -> Self {
        if network.hooks().sends_elsewhere() {
            // No port can be passed over: what leaves by it may come back.
            manner.aim = Aim::Everywhere;
        }
        Self { network, frame, manner, walk, rounds: 0, entered: None, rules: None, start_at: None }
    }

    /// Writes down a step, if steps are wanted. The arguments are formatted only then.
    #[inline(always)]
    pub(crate) fn step(
        &mut self,
        function: &'static str,
        device: IfIndex,
        decision: fmt::Arguments<'_>,
        because: fmt::Arguments<'_>,
    ) {
        if self.manner.trace == Trace::Steps {
            self.write_step(function, device, decision, because);
        }
    }

    #[cold]
    fn write_step(
        &mut self,
        function: &'static str,
        device: IfIndex,
        decision: fmt::Arguments<'_>,
        because: fmt::Arguments<'_>,
    ) {
        let (decision, because) = (decision.to_string(), because.to_string());
        self.walk.steps.push(Step { function, device, decision, because });
    }

    /// Ends one way of the frame, and writes down the step.
    pub(crate) fn drop_skb(
        &mut self,
        function: &'static str,
        skb: &Skb,
        reason: &'static str,
        because: fmt::Arguments<'_>,
    ) {
        self.step(function, skb.dev, format_args!("drop: {reason}"), because);
        self.walk.drops.push(Drop { function, device: skb.dev, reason, assumes: skb.assumes });
    }

    /// Notes that something which is not modelled, or was not read, could decide differently from here on.
    pub(crate) fn assume(&mut self, skb: &mut Skb, function: &'static str, kind: OpenKind) {
        self.open(skb, Open { function, device: skb.dev, kind, otherwise: Otherwise::Anything });
    }

    /// Notes that the frame could end here, or be copied less, for a reason that is not modelled or was not read.
    pub(crate) fn may_stop(&mut self, skb: &mut Skb, function: &'static str, kind: OpenKind) {
        self.open(skb, Open { function, device: skb.dev, kind, otherwise: Otherwise::Stops });
    }

    /// Leaves a question open, and chooses the answer. Whether it is the second one: a rule that matches, a packet that
    /// ends.
    pub(crate) fn undecided(&mut self, skb: &mut Skb, function: &'static str, kind: OpenKind) -> bool {
        self.ask(skb, function, kind);
        self.frame.choose(2) == 1
    }

    /// Leaves a question open whose answer is chosen next.
    pub(crate) fn ask(&mut self, skb: &mut Skb, function: &'static str, kind: OpenKind) {
        self.open(skb, Open { function, device: skb.dev, kind, otherwise: Otherwise::Followed });
    }

    fn open(&mut self, skb: &mut Skb, open: Open) {
        self.step(open.function, skb.dev, format_args!("open question"), format_args!("{}", open.kind));
        let index = self.walk.open.iter().position(|known| *known == open).unwrap_or_else(|| {
            self.walk.open.push(open);
            self.walk.open.len() - 1
        });
        skb.assumes.add(index);
    }

    /// Whether learned entries are whatever guests and time make of them.
    pub(crate) fn ever(&self) -> bool {
        self.manner.when == When::Ever
    }

    /// Whether nothing that is wanted can come of a bridge port.
    pub(crate) fn passes_over(&self, port: &portcullis_snapshot::Link) -> bool {
        // What a macvlan sends may come straight back.
        let returns = matches!(port.kind, portcullis_snapshot::LinkKind::Macvlan(_));
        match self.manner.aim {
            Aim::Everywhere => false,
            Aim::Host => !returns,
            Aim::Port(aim) => aim != port.index && !returns,
        }
    }

    /// The port that is aimed at, if it is one of this bridge's.
    pub(crate) fn aims_at<'b>(
        &self,
        bridge: &'b crate::network::Bridge<'s>,
    ) -> Option<&'b crate::network::Port<'s>> {
        if let Aim::Port(port) = self.manner.aim { bridge.port(port) } else { None }
    }

    /// Whether the host's stack is of no interest.
    pub(crate) fn passes_over_the_stack(&self) -> bool {
        matches!(self.manner.aim, Aim::Port(_))
    }

    /// Follows a copy of the frame: what is written into it on its way stays its own.
    pub(crate) fn copy<T>(&mut self, follow: impl FnOnce(&mut Self) -> T) -> T {
        let mark = self.frame.mark();
        let result = follow(self);
        self.frame.roll_back(mark);
        result
    }

    /// Ends one way of the frame somewhere.
    pub(crate) fn arrive(&mut self, outcome: Outcome) {
        self.walk.outcomes.push(outcome);
    }

    /// Returns a device's link; the walk only moves between devices that exist.
    pub(crate) fn link(&self, device: IfIndex) -> Option<&'s portcullis_snapshot::Link> {
        self.network.link(device)
    }

    /// Whether the frame's destination is this address.
    pub(crate) fn dst_is(&mut self, address: Option<MacAddr>) -> bool {
        address.is_some_and(|address| self.frame.is(Field::Dst, address))
    }
}
