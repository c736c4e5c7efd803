//! What is proven of every frame, for rules whose own probes do not say it all.
//!
//! A proof knows no policy: that a frame of its reaches the host is a rule's business only where the walk of that frame
//! ends at what the rule is about.

use portcullis_datapath::{Aim, Outcome};
use portcullis_prove::{Assumption, Exposure, Goal, Verdict};
use portcullis_snapshot::MacAddr;

use crate::blanks::Blanks;
use crate::context::{Alike, BridgeView, Context, PortView, Tag};
use crate::probe::{Destination, Hit, Probe, Reach};

/// What is said of a frame that gets through later only.
pub(crate) const LATER: &str =
    "what is learned now being forgotten or displaced, after which a frame gets there";

/// A frame with blanks, however it was found.
pub enum Sent<'p> {
    /// A rule's own, with the tags that it was sent with.
    Probe(&'p Probe<'p>, Vec<Tag>),
    /// A proof's.
    Proven {
        /// The frame, as it is for the first port of a group.
        frame: Vec<u8>,
        /// What in it is that port's own.
        first: Blanks,
    },
}

impl Sent<'_> {
    /// Returns the frame of a proof, which was made for one port, to be sent by those that are alike too.
    #[must_use]
    pub fn proven(exposure: &Exposure, first: &PortView<'_>) -> Self {
        Self::Proven { frame: exposure.frame.to_vec(), first: Blanks::of(first) }
    }

    /// Returns the frame for a port that is alike.
    #[must_use]
    pub fn frame(&self, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Vec<u8> {
        match self {
            Self::Probe(probe, tags) => probe.frame(bridge, port, tags).unwrap_or_default(),
            Self::Proven { frame, first } => first.replaced(frame, &Blanks::of(port)),
        }
    }

    /// Returns whom it is addressed to.
    #[must_use]
    pub fn to(&self) -> Destination {
        match self {
            Self::Probe(probe, _) => probe.to,
            Self::Proven { frame, .. } => {
                let destination = frame.first_chunk().copied().unwrap_or_default();
                Destination::of(MacAddr(destination))
            }
        }
    }

    /// Whether it is a certain probe.
    #[must_use]
    pub fn is(&self, probe: &Probe<'_>) -> bool {
        matches!(self, Self::Probe(known, _) if std::ptr::addr_eq(*known, probe))
    }
}

impl Context<'_> {
    /// Sends probes in by ports that are alike, as [`reach`](Self::reach), and asks what is proven: where no probe arrives
    /// for certain, the frame of a proof may; and what is isolated leaves nothing undecided.
    pub fn reach_proven<'p>(
        &self,
        bridge: &BridgeView<'_>,
        alike: &Alike<'_, '_>,
        (aim, probes): (Aim, &'p [Probe<'p>]),
        goals: &[Goal],
        wanted: impl Fn(&Outcome) -> bool,
    ) -> Reach<'p> {
        let mut reach = self.reach(bridge, alike.first, (aim, probes), &wanted);
        if reach.best().is_some_and(|best| best.questions.is_empty()) {
            return reach;
        }
        let isolated = |goal: &Goal| matches!(self.verdict(alike, *goal), Some(Verdict::Isolated));
        if goals.iter().all(isolated) {
            reach.undecided.clear();
        }
        let hit = goals.iter().find_map(|goal| self.proven_hit(alike, *goal, &wanted));
        reach.hits.splice(..0, hit);
        reach
    }

    /// Returns the frame that refutes a claim, if it arrives where it is wanted, in the state that was read.
    pub fn proven_hit<'p>(
        &self,
        alike: &Alike<'_, '_>,
        goal: Goal,
        wanted: impl Fn(&Outcome) -> bool,
    ) -> Option<Hit<'p>> {
        let exposure = self.exposure(alike, goal).filter(|exposure| !exposure.later)?;
        let walk = self.probe(exposure.into, &exposure.frame);
        let certain = |outcome: &&Outcome| outcome.assumes().is_empty() && wanted(outcome);
        let outcome = walk.outcomes.iter().find(certain)?.clone();
        Some(Hit { sent: Sent::proven(exposure, alike.first), outcome, questions: Vec::new() })
    }

    /// Returns the frame that refutes a claim.
    #[must_use]
    pub fn exposure(&self, alike: &Alike<'_, '_>, goal: Goal) -> Option<&Exposure> {
        match self.verdict(alike, goal)? {
            Verdict::Exposed(exposure) => Some(exposure),
            Verdict::Isolated | Verdict::Unproven(_) => None,
        }
    }

    /// Returns what a claim depends on that is neither proven nor refuted, or that is refuted for another state than the
    /// one that was read.
    #[must_use]
    pub fn assumed(&self, alike: &Alike<'_, '_>, goal: Goal) -> Vec<String> {
        match self.verdict(alike, goal) {
            Some(Verdict::Unproven(all)) => distinct(all),
            Some(Verdict::Exposed(exposure)) if exposure.later => vec![LATER.to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Returns what assumptions are, in words, each once: the same may stand in several places.
pub(crate) fn distinct(assumptions: &[Assumption]) -> Vec<String> {
    let mut all: Vec<_> = assumptions.iter().map(|assumption| assumption.what.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}
