//! Places where a walk can pause, and be taken up again.
//!
//! What becomes of a frame from there on depends on nothing but what an [`Entry`] holds, and on the frame itself. Many kinds
//! of frames come to such a place alike: whoever looks at all of them goes on from there once for all, instead of once for
//! each.

use portcullis_snapshot::{IfIndex, MacAddr, NftFamily};

use super::br_input::Bridged;
use super::{Assumes, Learned, Manner, Open, Skb, Walk, Walker};
use crate::frame::{Edited, Frame, Write};
use crate::network::{Network, NfHook};

/// A place in the kernel's functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// Behind a device's own filters (`nf_ingress` in `__netif_receive_skb_core`).
    Received,
    /// Behind the bridge's PRE_ROUTING (`br_handle_frame_finish`).
    Finish { bridge: IfIndex, port: IfIndex },
    /// Before the hooks of one copy's way out (`__br_forward`).
    Leaving { bridged: Bridged, bridge: IfIndex, port: IfIndex, flooded: bool, dst: Option<MacAddr> },
    /// Before the protocol handlers (`deliver_ptype_list_skb`).
    Stack,
    /// Between two rules of a hook (`nft_do_chain`).
    Rules(RulesOf, Position),
}

/// Whose hook rules stand at: what follows behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RulesOf {
    /// A device's own (`nf_ingress`).
    Ingress,
    /// The bridge's PRE_ROUTING (`nf_hook_bridge_pre`).
    Bridge {
        bridge: IfIndex,
        port: IfIndex,
        /// Whether br_netfilter has taken it over.
        stolen: bool,
    },
    /// A copy on its way out (`__br_forward`, `br_forward_finish`).
    Leaving { bridged: Bridged, bridge: IfIndex, port: IfIndex, flooded: bool, dst: Option<MacAddr> },
    /// The bridge's LOCAL_IN, on the way up (`br_pass_frame_up`).
    Up { bridge: IfIndex },
}

impl RulesOf {
    /// Whether they stand at this hook.
    pub(super) fn are_at(self, family: NftFamily, hook: NfHook) -> bool {
        match self {
            Self::Ingress => (family, hook) == (NftFamily::Netdev, NfHook::Ingress),
            Self::Bridge { .. } => (family, hook) == (NftFamily::Bridge, NfHook::PreRouting),
            Self::Leaving { .. } => {
                family == NftFamily::Bridge && matches!(hook, NfHook::Forward | NfHook::PostRouting)
            }
            Self::Up { .. } => (family, hook) == (NftFamily::Bridge, NfHook::LocalIn),
        }
    }
}

/// A rule that is the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) hook: NfHook,
    /// Which of the functions at the hook.
    pub(crate) function: usize,
    pub(crate) chain: usize,
    pub(crate) next: usize,
    /// Where chains that were jumped to go back to.
    pub(crate) stack: Vec<(usize, usize)>,
}

/// The rules that a walk is at, if it can pause between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) of: RulesOf,
    pub(super) hook: NfHook,
    pub(super) function: usize,
}

/// How many questions with several answers may come together before a walk pauses between rules.
const FORKS: usize = 5;

/// A frame where a walk paused, and what the kernel knows about it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    at: At,
    skb: Skb,
    /// What was written into it.
    writes: Vec<Write>,
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
            At::Rules(RulesOf::Ingress, _) => 0,
            At::Received => 1,
            At::Rules(RulesOf::Bridge { .. }, _) => 2,
            At::Finish { .. } => 3,
            At::Leaving { .. } => 4,
            At::Rules(RulesOf::Leaving { .. }, _) => 5,
            At::Rules(RulesOf::Up { .. }, _) => 6,
            At::Stack => 7,
        };
        (self.rounds, place)
    }
}

/// A frame that came to a place, and what it came by.
#[derive(Debug)]
pub struct Entered {
    /// The place.
    pub entry: Entry,
    /// How often the world was chosen before.
    pub chosen: usize,
    /// The questions that were left open since the place before.
    pub open: Vec<Open>,
}

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
    let mut walk = Walk::default();
    let frame = &mut Edited::new(frame);
    let mut walker = Walker::new(network, frame, manner.into(), &mut walk);
    walker.entered = Some(Vec::new());
    walker.netif_receive(ingress);
    let entered = walker.entered.unwrap_or_default();
    Segment { walk, entered }
}

/// Walks one frame on from where a walk paused, up to the next places. Questions that were open before are not among those
/// of what comes of it.
pub fn walk_from<F: Frame>(
    network: &Network<'_>,
    entry: &Entry,
    frame: &mut F,
    manner: impl Into<Manner>,
) -> Segment {
    let mut walk = Walk { learned: entry.learned.clone(), ..Walk::default() };
    let frame = &mut Edited::again(frame, &entry.writes);
    let mut walker = Walker::new(network, frame, manner.into(), &mut walk);
    walker.entered = Some(Vec::new());
    walker.rounds = entry.rounds;
    walker.resume(&entry.at, entry.skb);
    let entered = walker.entered.unwrap_or_default();
    Segment { walk, entered }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// Pauses here, if the walk is to.
    #[inline]
    pub(super) fn pauses(&mut self, at: impl FnOnce() -> At, skb: &Skb) -> bool {
        self.entered.is_some() && self.pauses_at(at(), skb)
    }

    fn pauses_at(&mut self, at: At, skb: &Skb) -> bool {
        let Some(entered) = &mut self.entered else { return false };
        let open = self.walk.questions(skb.assumes).cloned().collect();
        let skb = Skb { assumes: Assumes::default(), ..*skb };
        let at = match at {
            At::Leaving { bridged, bridge, port, flooded, dst } => {
                At::Leaving { bridged: Bridged { skb, ..bridged }, bridge, port, flooded, dst }
            }
            At::Rules(RulesOf::Leaving { bridged, bridge, port, flooded, dst }, position) => {
                let bridged = Bridged { skb, ..bridged };
                At::Rules(RulesOf::Leaving { bridged, bridge, port, flooded, dst }, position)
            }
            At::Received | At::Finish { .. } | At::Stack | At::Rules(..) => at,
        };
        let learned = self.walk.learned.iter();
        let learned = learned.map(|learned| Learned { assumes: Assumes::default(), ..*learned }).collect();
        let writes = self.frame.writes().to_vec();
        let entry = Entry { at, skb, writes, learned, rounds: self.rounds };
        entered.push(Entered { entry, chosen: self.frame.chosen(), open });
        true
    }

    /// Pauses before a rule, if the walk is to and has come by questions enough.
    pub(super) fn pauses_before(
        &mut self,
        skb: &Skb,
        (chain, next): (usize, usize),
        stack: &[(usize, usize)],
    ) -> bool {
        if self.entered.is_none() || self.frame.forked() < FORKS {
            return false;
        }
        let Some(Rules { of, hook, function }) = self.rules else { return false };
        let position = Position { hook, function, chain, next, stack: stack.to_vec() };
        self.pauses_at(At::Rules(of, position), skb)
    }

    fn resume(&mut self, at: &At, mut skb: Skb) {
        let network = self.network;
        let bridged_at = |bridge, port| {
            let bridge = network.bridge(bridge)?;
            Some((bridge, *bridge.port(port)?))
        };
        match at {
            At::Received => {
                if self.handed_over(&mut skb).is_some() {
                    self.netif_receive_skb_core(skb);
                }
            }
            &At::Finish { bridge, port } => {
                if let Some((bridge, port)) = bridged_at(bridge, port) {
                    self.br_handle_frame_finish(&mut skb, bridge, &port);
                }
            }
            &At::Leaving { bridged, bridge, port, flooded, dst } => {
                if let Some((bridge, port)) = bridged_at(bridge, port) {
                    self.br_forward_copy(&Bridged { skb, ..bridged }, bridge, &port, flooded, dst);
                }
            }
            At::Stack => self.deliver(skb),
            At::Rules(of, position) => {
                self.start_at = Some(position.clone());
                match *of {
                    RulesOf::Ingress => self.ingress_from(skb),
                    RulesOf::Bridge { bridge, port, stolen } => {
                        if let Some((bridge, port)) = bridged_at(bridge, port) {
                            self.bridge_from(skb, bridge, &port, stolen);
                        }
                    }
                    RulesOf::Leaving { bridged, bridge, port, flooded, dst } => {
                        if let Some((bridge, port)) = bridged_at(bridge, port) {
                            self.br_forward_copy(&Bridged { skb, ..bridged }, bridge, &port, flooded, dst);
                        }
                    }
                    RulesOf::Up { bridge } => self.up_from(skb, bridge),
                }
            }
        }
    }
}
