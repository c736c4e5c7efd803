//! What is shown of one bridge, carried over to another that is alike: the same with the other's ports and addresses.
//!
//! That a frame gets there as well is not taken for granted. It is walked from its new port, which takes microseconds, where
//! a proof takes many ways through the walk.

use portcullis_prove::{Exposure, Goal, Prover, Verdict};
use portcullis_snapshot::{Bytes, IfIndex};

use crate::blanks::Blanks;
use crate::context::{BridgeView, Context, PortView};

/// What stands for what.
#[derive(Debug)]
pub struct Carry<'b, 's> {
    bridge: &'b BridgeView<'s>,
    ports: Vec<(IfIndex, IfIndex)>,
    from: Blanks,
    to: Blanks,
}

impl<'b, 's> Carry<'b, 's> {
    /// Carries over from one bridge to another, of which certain ports stand for each other.
    #[must_use]
    pub fn between(
        (from, to): (&'b BridgeView<'s>, &'b BridgeView<'s>),
        ports: impl IntoIterator<Item = (&'b PortView<'s>, &'b PortView<'s>)>,
    ) -> Self {
        let mut carry = Self {
            bridge: from,
            ports: Vec::new(),
            from: Blanks::of_bridge(from),
            to: Blanks::of_bridge(to),
        };
        for (one, other) in ports {
            carry.ports.push((one.link.index, other.link.index));
            carry.from = carry.from.and(Blanks::of(one));
            carry.to = carry.to.and(Blanks::of(other));
        }
        carry
    }

    /// Carries over from one bridge to another whose ports are of the same sorts in the same order: of each sort the first
    /// two, so that there is another one beside the one that is looked at.
    #[must_use]
    pub fn whole(from: &'b BridgeView<'s>, to: &'b BridgeView<'s>) -> Self {
        let members = |bridge| BridgeView::groups(bridge).map(|alike| alike.members().take(2).collect());
        let (ones, others): (Vec<Vec<_>>, Vec<Vec<_>>) = (members(from).collect(), members(to).collect());
        let pairs = ones.into_iter().zip(others).flat_map(|(ones, others)| ones.into_iter().zip(others));
        Self::between((from, to), pairs)
    }

    /// Returns the port that stands for another.
    #[must_use]
    pub fn port(&self, port: IfIndex) -> Option<IfIndex> {
        self.ports.iter().find(|(one, _)| *one == port).map(|(_, other)| *other)
    }

    /// Returns what is claimed of the ports that stand for those of a claim.
    #[must_use]
    pub fn goal(&self, goal: Goal) -> Option<Goal> {
        match goal.other() {
            Some(other) => Some(goal.about(self.port(other)?)),
            None => Some(goal),
        }
    }

    /// Returns a frame with the addresses of those that it is carried over to.
    #[must_use]
    pub fn frame(&self, frame: &[u8]) -> Bytes {
        Bytes(self.from.replaced(frame, &self.to))
    }

    /// Returns a verdict about a port as one about the port that stands for it. That something is isolated holds for both, and
    /// so does what is assumed, unless it names somebody; a frame that gets through is carried over if it does there, too. What
    /// else there is must be looked at for itself.
    #[must_use]
    pub fn verdict(
        &self,
        context: &Context<'_>,
        port: IfIndex,
        goal: Goal,
        verdict: &Verdict,
    ) -> Option<Verdict> {
        match verdict {
            Verdict::Isolated => Some(Verdict::Isolated),
            Verdict::Exposed(Exposure { frame, into, later: false }) => {
                let (port, goal, into) = (self.port(port)?, self.goal(goal)?, self.port(*into)?);
                let frame = self.frame(frame);
                let gets_there = Prover::new(context.network()).gets_there(port, goal, &frame);
                gets_there.then_some(Verdict::Exposed(Exposure { frame, into, later: false }))
            }
            Verdict::Unproven(assumed) if !assumed.iter().any(|one| self.names(&one.what)) => {
                Some(verdict.clone())
            }
            Verdict::Exposed(_) | Verdict::Unproven(_) => None,
        }
    }

    /// Whether a sentence names the bridge that is carried over from, or a port of it.
    fn names(&self, sentence: &str) -> bool {
        let mut links = self.bridge.ports.iter().map(|port| port.link).chain([self.bridge.link]);
        links.any(|link| sentence.contains(&link.name))
    }
}
