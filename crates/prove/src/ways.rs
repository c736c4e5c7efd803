//! Every way of frames through the walk, taken from one place where it can pause to the next.
//!
//! Frames of many kinds come to such a place alike. What becomes of them there is explored once, for a condition that holds
//! all of them and perhaps more; what comes of that is then held against each kind ([`Way::frames`]), so that in the end
//! nothing is said of frames that there are not.

use std::ops::ControlFlow;

use portcullis_datapath::frame::Field;
use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::{Condition, explore};
use portcullis_datapath::{Aim, Entry, Manner, Network, Segment, Walk, walk, walk_from, walk_segment};
use portcullis_snapshot::IfIndex;

use crate::prover::Prover;
use crate::tally::rank;
use crate::verdict::Assumption;

/// How many kinds of frames are held against one way at most.
const MOST_KINDS: usize = 20_000;

/// What is done with each way.
pub(crate) trait Judge {
    /// Returns to what the frames that go on from a place are narrowed; `None` if all are of interest.
    fn wanted(&self, _: &Entry) -> Option<(Field, Domain)> {
        None
    }

    /// Looks at a way from one place to the next, or to an end.
    fn judge(&mut self, way: &Way<'_>, walked: &Walk) -> ControlFlow<()>;

    /// Is told that all ways from one place were looked at. Whether to go on.
    fn place_is_done(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Where walks paused.
struct Place {
    /// `None` where they begin.
    entry: Option<Entry>,
    kinds: Vec<Kind>,
    explored: bool,
}

/// Frames of one kind that come to a place.
struct Kind {
    condition: Condition,
    /// How often the world was chosen before the place.
    chosen: usize,
    /// The place that they come from.
    from: usize,
}

/// A way from one place to the next, or to an end.
pub(crate) struct Way<'w> {
    /// What is known of the frames that take it. Not each of them has to come to where it begins.
    pub(crate) condition: &'w Condition,
    places: &'w [Place],
    at: usize,
}

/// Whether all was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    /// There was too much.
    Some,
}

impl Way<'_> {
    /// Calls `visit` with each kind of frames that takes this way, from the driver on, until it has seen enough.
    pub(crate) fn frames(&self, visit: &mut dyn FnMut(&Condition) -> ControlFlow<()>) -> Seen {
        let mut left = MOST_KINDS;
        let choices = self.condition.choices.clone();
        match self.back(self.at, self.condition, &choices, &mut left, visit) {
            ControlFlow::Break(Seen::Some) => Seen::Some,
            ControlFlow::Break(Seen::All) | ControlFlow::Continue(()) => Seen::All,
        }
    }

    /// Goes back from a place to where the frames come from.
    fn back(
        &self,
        at: usize,
        condition: &Condition,
        choices: &[usize],
        left: &mut usize,
        visit: &mut dyn FnMut(&Condition) -> ControlFlow<()>,
    ) -> ControlFlow<Seen> {
        let Some(place) = self.places.get(at).filter(|place| place.entry.is_some()) else {
            let whole = Condition { choices: choices.to_vec(), ..condition.clone() };
            return visit(&whole).map_break(|()| Seen::All);
        };
        for kind in &place.kinds {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return ControlFlow::Break(Seen::Some);
            }
            let Some(both) = kind.condition.and(condition) else { continue };
            // In the order in which the walk as a whole asks.
            let (before, after) =
                kind.condition.choices.split_at(kind.chosen.min(kind.condition.choices.len()));
            let choices = [before, choices, after].concat();
            self.back(kind.from, &both, &choices, left, visit)?;
        }
        ControlFlow::Continue(())
    }
}

impl Prover<'_, '_> {
    /// Shows a judge every way of the frames that `given` holds. Returns what is assumed if there were too many.
    pub(crate) fn every_way(
        &self,
        (port, aim): (IfIndex, Aim),
        given: &Condition,
        judge: &mut impl Judge,
    ) -> Option<Assumption> {
        let mut places = vec![Place { entry: None, kinds: Vec::new(), explored: false }];
        let mut left = self.most_ways;
        while let Some(at) = next_place(&places) {
            let Some(place) = places.get_mut(at) else { break };
            place.explored = true;
            place.kinds.sort_by_key(|kind| rank(&kind.condition));
            let Some(place) = places.get(at) else { break };
            let mut joined = match &place.entry {
                None => given.clone(),
                Some(_) => Condition::join(place.kinds.iter().map(|kind| &kind.condition)),
            };
            let wanted = place.entry.as_ref().and_then(|entry| judge.wanted(entry));
            if wanted.is_some_and(|(field, domain)| !joined.narrow(field, &domain)) {
                continue;
            }
            let mut came: Vec<(Entry, Kind)> = Vec::new();
            let mut stopped = false;
            let whole = explore(
                &joined,
                left,
                |frame| match &place.entry {
                    None => walk_segment(self.network, port, frame, self.manner(aim)),
                    Some(entry) => walk_from(self.network, entry, frame, self.manner(aim)),
                },
                |condition, Segment { walk, entered }| {
                    left = left.saturating_sub(1);
                    let kind = |chosen| Kind { condition: condition.clone(), chosen, from: at };
                    came.extend(entered.into_iter().map(|(entry, chosen)| (entry, kind(chosen))));
                    let flow = judge.judge(&Way { condition, places: &places, at }, &walk);
                    stopped = flow.is_break();
                    flow
                },
            );
            if !whole {
                return Some(self.unfinished());
            }
            if stopped || judge.place_is_done().is_break() {
                break;
            }
            came.into_iter().for_each(|(entry, kind)| arrive(&mut places, entry, kind));
        }
        None
    }

    /// What is assumed where there are too many ways.
    pub(crate) fn unfinished(&self) -> Assumption {
        let what = format!("there are more than {} sorts of frames to be told apart", self.most_ways);
        Assumption { what, function: "" }
    }
}

/// The place that comes first of those that were not explored: all frames that come there came already, but for those that
/// come by again.
fn next_place(places: &[Place]) -> Option<usize> {
    let left = places.iter().enumerate().filter(|(_, place)| !place.explored);
    left.min_by_key(|(_, place)| place.entry.as_ref().map(Entry::order)).map(|(at, _)| at)
}

fn arrive(places: &mut Vec<Place>, entry: Entry, kind: Kind) {
    let known = places.iter_mut().find(|place| !place.explored && place.entry.as_ref() == Some(&entry));
    match known {
        Some(place) => place.kinds.push(kind),
        None => places.push(Place { entry: Some(entry), kinds: vec![kind], explored: false }),
    }
}

/// Takes every way of the frames that `given` holds and that come in by a port, `most` at most, until `visit` has seen
/// enough: for those who have claims of their own. Returns whether that was all of them, or enough.
pub fn every_way(
    network: &Network<'_>,
    (port, manner): (IfIndex, Manner),
    given: &Condition,
    most: usize,
    visit: &mut dyn FnMut(&Condition, &Walk) -> ControlFlow<()>,
) -> bool {
    explore(
        given,
        most,
        |frame| walk(network, port, frame, manner),
        |condition, walked| visit(condition, &walked),
    )
}
