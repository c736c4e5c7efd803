//! What was found about a claim so far, and the frames that show it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use portcullis_datapath::frame::Field;
use portcullis_datapath::frame::symbolic::Condition;
use portcullis_datapath::{Aim, Concrete, Manner, Otherwise, Walk, When, walk};
use portcullis_snapshot::{Bytes, IfIndex};

use crate::claim::Goal;
use crate::prover::Prover;
use crate::reach::{self, Reached};
use crate::verdict::{Assumption, Exposure, Verdict};
use crate::ways::{Judge, Look, Seen, Way};

/// From how many ways that get there a frame is made of the plainest.
const MANY: usize = 64;
/// Of how many kinds of frames that take such a way one is tried to be made.
const KINDS: usize = 4;

/// What was found about a claim so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    best: Option<(Rank, Exposure)>,
    /// Ways that get there, of which no frame was made yet.
    candidates: Vec<Candidate>,
    /// Whether a way was found of which no frame could be made.
    without_frame: bool,
    pub(crate) assumptions: BTreeSet<Assumption>,
}

/// How plain the frames of a way are: how many tags they have, and how much was asked of them.
pub(crate) type Rank = (usize, usize);

/// How plain the frames of a condition are.
pub(crate) fn rank(condition: &Condition) -> Rank {
    (reach::fewest_tags(condition), condition.fields.len())
}

/// A way that gets there.
#[derive(Debug, Clone)]
struct Candidate {
    rank: Rank,
    condition: Condition,
    wanted: Vec<(Field, u128)>,
}

impl Tally {
    /// A claim that depends on something, whatever its frames do.
    pub(crate) fn assuming(what: Assumption) -> Self {
        Self { assumptions: [what].into(), ..Self::default() }
    }

    /// Whether a frame was found that gets there in the state that was read.
    pub(crate) fn is_exposed(&self) -> bool {
        self.best.as_ref().is_some_and(|(_, best)| !best.later)
    }

    /// Whether a frame of this rank would be plainer than the best.
    fn wants(&self, rank: Rank) -> bool {
        self.best.as_ref().is_none_or(|(known, best)| best.later || rank < *known)
    }

    /// Counts the questions of a way whose answer could lead the frame anywhere.
    pub(crate) fn may_go_anywhere(&mut self, walked: &Walk) {
        let open = walked.open.iter().filter(|open| open.otherwise == Otherwise::Anything);
        self.assumptions.extend(open.map(|open| Assumption::new(open.function, &open.kind)));
    }

    pub(crate) fn verdict(mut self) -> Verdict {
        if let Some((_, best)) = self.best {
            return Verdict::Exposed(best);
        }
        if self.without_frame {
            let what = "a sort of frame gets through of which none could be made".to_owned();
            self.assumptions.insert(Assumption { what, function: "" });
        }
        if self.assumptions.is_empty() {
            Verdict::Isolated
        } else {
            Verdict::Unproven(self.assumptions.into_iter().collect())
        }
    }
}

/// A claim under proof, and the way its frames are walked.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'p, 'n, 's> {
    pub(crate) prover: &'p Prover<'n, 's>,
    pub(crate) way: (IfIndex, Aim),
    pub(crate) goal: Goal,
}

/// Judges one claim.
struct OfClaim<'p, 'n, 's> {
    claim: Claim<'p, 'n, 's>,
    tally: Tally,
}

impl Judge for OfClaim<'_, '_, '_> {
    fn judge(&mut self, way: &Way<'_>, walked: &Walk) -> ControlFlow<()> {
        self.claim.count(&mut self.tally, way, walked, true);
        self.place_flow()
    }

    fn place_is_done(&mut self) -> ControlFlow<()> {
        self.claim.settle(&mut self.tally);
        self.place_flow()
    }
}

impl OfClaim<'_, '_, '_> {
    fn place_flow(&self) -> ControlFlow<()> {
        if self.tally.is_exposed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Counts where the frames of a way end.
struct Ends<'e, 'p, 'n, 's> {
    claim: &'e Claim<'p, 'n, 's>,
    tally: &'e mut Tally,
    walked: &'e Walk,
    /// Of how many kinds a frame is still tried to be made.
    left: usize,
}

impl Look for Ends<'_, '_, '_, '_> {
    fn knows(&self, open: &[Assumption]) -> bool {
        open.iter().all(|open| self.tally.assumptions.contains(open))
    }

    fn look(&mut self, condition: &Condition, open: &[Assumption]) -> ControlFlow<()> {
        let rank = rank(condition);
        for Reached { assumes, wanted } in self.claim.reached(self.walked, condition) {
            if !assumes.is_empty() || !open.is_empty() {
                let questions = self.walked.questions(assumes);
                let questions = questions.map(|open| Assumption::new(open.function, &open.kind));
                self.tally.assumptions.extend(questions.chain(open.iter().cloned()));
            } else if self.tally.wants(rank) {
                self.tally.candidates.push(Candidate { rank, condition: condition.clone(), wanted });
                self.left = self.left.saturating_sub(1);
            }
        }
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Claim<'_, '_, '_> {
    /// Takes every way of some frames, until one is found that gets there.
    pub(crate) fn judge(&self, all: impl IntoIterator<Item = Condition>) -> Tally {
        let mut judge = OfClaim { claim: *self, tally: Tally::default() };
        for given in all {
            let unfinished = self.prover.every_way(self.way, &given, &mut judge);
            self.settle(&mut judge.tally);
            judge.tally.assumptions.extend(unfinished);
            if judge.tally.is_exposed() {
                break;
            }
        }
        judge.tally
    }

    /// Counts what a way means for the claim. Questions whose answer could lead the frame anywhere count if the way is
    /// `relevant`, wherever it ends.
    pub(crate) fn count(&self, tally: &mut Tally, way: &Way<'_>, walked: &Walk, relevant: bool) {
        if relevant {
            tally.may_go_anywhere(walked);
        }
        if self.reached(walked, way.condition).is_empty() {
            return;
        }
        let mut ends = Ends { claim: self, tally, walked, left: KINDS };
        let seen = way.frames(&mut ends);
        if seen == Seen::Some {
            tally.assumptions.insert(self.prover.unfinished());
        }
        if tally.candidates.len() >= MANY {
            self.settle(tally);
        }
    }

    /// Makes a frame of the plainest way that there is one of.
    pub(crate) fn settle(&self, tally: &mut Tally) {
        let mut candidates = std::mem::take(&mut tally.candidates);
        candidates.sort_by_key(|candidate| candidate.rank);
        for candidate in candidates {
            if !tally.wants(candidate.rank) {
                break;
            }
            match self.show(&candidate) {
                Some(exposure) if tally.best.is_none() || !exposure.later => {
                    tally.best = Some((candidate.rank, exposure));
                }
                Some(_) => {}
                None => tally.without_frame = true,
            }
        }
    }

    pub(crate) fn reached(&self, walked: &Walk, condition: &Condition) -> Vec<Reached> {
        match self.goal {
            Goal::Spoof { of } => self.prover.taken_over(of, self.way.0, walked, condition),
            goal => reach::reached(self.prover.network, goal, walked, condition),
        }
    }

    /// Makes a frame of a way, and walks it for itself: in the state that was read, or else in the one that the way
    /// supposes.
    fn show(&self, Candidate { condition, wanted, .. }: &Candidate) -> Option<Exposure> {
        let bytes = condition.witness(wanted)?;
        let mut frame = Concrete::new(&bytes)?;
        if wanted.iter().any(|(field, value)| frame.value(*field) != *value) {
            return None;
        }
        let (into, aim) = self.way;
        let gets_there = |walked: &Walk| {
            let ends = self.reached(walked, condition);
            ends.iter().any(|end| end.assumes.is_empty() && end.wanted == *wanted)
        };
        let network = self.prover.network;
        let now = Manner { when: When::Now, ..self.prover.manner(aim) };
        let later = !gets_there(&walk(network, into, &mut frame, now));
        if later && !gets_there(&walk(network, into, &mut condition.replay(frame), self.prover.manner(aim))) {
            return None;
        }
        Some(Exposure { frame: Bytes(bytes), into, later })
    }
}
