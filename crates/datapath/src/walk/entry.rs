//! Places where a walk can pause, and be taken up again.
//!
//! What becomes of a frame from there on depends on nothing but what an [`Entry`] holds, and on the frame itself. Many kinds
//! of frames come to such a place alike: whoever looks at all of them goes on from there once for all, instead of once for
//! each.

use portcullis_snapshot::{IfIndex, MacAddr};

use super::br_input::Bridged;
use super::{Assumes, Learned, Manner, Open, Skb, Walk, Walker};
use crate::frame::{Edited, Frame, Write};
use crate::network::Network;

/// A place in the kernel's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Behind a device's own filters (`nf_ingress` in `__netif_receive_skb_core`).
    Received,
    /// Behind the bridge's PRE_ROUTING (`br_handle_frame_finish`).
    Finish { bridge: IfIndex, port: IfIndex },
    /// Before the hooks of one copy's way out (`__br_forward`).
    Leaving { bridged: Bridged, bridge: IfIndex, port: IfIndex, flooded: bool, dst: Option<MacAddr> },
    /// Before the protocol handlers (`deliver_ptype_list_skb`).
    Stack,
}

/// A frame where a walk paused, and what the kernel knows about it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    at: At,
    skb: Skb,
    /// What was written into it.
    writes: Vec<Write>,
    /// The questions that are open so far.
    open: Vec<Open>,
    /// What the bridge learned of it so far.
    learned: Vec<Learned>,
    rounds: u16,
}

impl Entry {
    /// Returns how many of the frame's own tags are no longer in front of its bytes, if the protocol handlers are about to
    /// get it.
    #[must_use]
    pub fn stack(&self) -> Option<u8> {
        (self.at == At::Stack).then_some(self.skb.depth)
    }

    /// Returns where it stands on a frame's way: what comes later has a greater number, but for frames that come by again.
    #[must_use]
    pub const fn order(&self) -> (u16, u8) {
        let place = match self.at {
            At::Received => 0,
            At::Finish { .. } => 1,
            At::Leaving { .. } => 2,
            At::Stack => 3,
        };
        (self.rounds, place)
    }
}

/// An [`Entry`], and how often the world was chosen before.
pub type Entered = (Entry, usize);

/// A walk up to where it paused.
#[derive(Debug)]
pub struct Segment {
    /// What came of it before.
    pub walk: Walk,
    /// Where it goes on: each copy of the frame for itself.
    pub entered: Vec<Entered>,
}

/// Walks one frame as [`walk`](super::walk) does, up to the first places where it can pause.
pub fn walk_segment<F: Frame>(
    network: &Network<'_>,
    ingress: IfIndex,
    frame: &mut F,
    manner: impl Into<Manner>,
) -> Segment {
    let frame = &mut Edited::new(frame);
    let mut walker = Walker::new(network, frame, manner.into());
    walker.entered = Some(Vec::new());
    walker.netif_receive(ingress);
    Segment { walk: walker.walk, entered: walker.entered.unwrap_or_default() }
}

/// Walks one frame on from where a walk paused, up to the next places.
pub fn walk_from<F: Frame>(
    network: &Network<'_>,
    entry: &Entry,
    frame: &mut F,
    manner: impl Into<Manner>,
) -> Segment {
    let frame = &mut Edited::again(frame, &entry.writes);
    let mut walker = Walker::new(network, frame, manner.into());
    walker.entered = Some(Vec::new());
    walker.rounds = entry.rounds;
    walker.walk.open.clone_from(&entry.open);
    walker.walk.learned.clone_from(&entry.learned);
    let mut skb = entry.skb;
    (0..entry.open.len()).for_each(|index| skb.assumes.add(index));
    walker.resume(entry.at, skb);
    Segment { walk: walker.walk, entered: walker.entered.unwrap_or_default() }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// Pauses here, if the walk is to.
    pub(super) fn pauses(&mut self, at: At, skb: &Skb) -> bool {
        let Some(entered) = &mut self.entered else { return false };
        let open = self.walk.questions(skb.assumes).cloned().collect();
        let skb = Skb { assumes: Assumes::default(), ..*skb };
        let at = match at {
            At::Leaving { bridged, bridge, port, flooded, dst } => {
                At::Leaving { bridged: Bridged { skb, ..bridged }, bridge, port, flooded, dst }
            }
            At::Received | At::Finish { .. } | At::Stack => at,
        };
        let learned = self.walk.learned.iter();
        let learned = learned.map(|learned| Learned { assumes: Assumes::default(), ..*learned }).collect();
        let writes = self.frame.writes().to_vec();
        let entry = Entry { at, skb, writes, open, learned, rounds: self.rounds };
        entered.push((entry, self.frame.chosen()));
        true
    }

    fn resume(&mut self, at: At, skb: Skb) {
        let network = self.network;
        let bridged_at = |bridge, port| {
            let bridge = network.bridge(bridge)?;
            Some((bridge, *bridge.port(port)?))
        };
        match at {
            At::Received => {
                if let Some(next) = self.handed_over(skb) {
                    self.netif_receive_skb_core(next);
                }
            }
            At::Finish { bridge, port } => {
                if let Some((bridge, port)) = bridged_at(bridge, port) {
                    self.br_handle_frame_finish(skb, bridge, &port);
                }
            }
            At::Leaving { bridged, bridge, port, flooded, dst } => {
                if let Some((bridge, port)) = bridged_at(bridge, port) {
                    self.br_forward_copy(&Bridged { skb, ..bridged }, bridge, &port, flooded, dst);
                }
            }
            At::Stack => self.deliver(skb),
        }
    }
}
