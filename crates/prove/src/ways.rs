//! Every way of frames through the walk, taken from one place where it can pause to the next.
//!
//! Frames of many kinds come to such a place alike. What becomes of them there is explored once, for a condition that holds
//! all of them and perhaps more; what comes of that is then held against each kind ([`Way::frames`]), so that in the end
//! nothing is said of frames that there are not.

use std::collections::BTreeSet;
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
    /// The questions that may have been left open on the way here.
    behind: Vec<Assumption>,
    explored: bool,
}

/// Frames of one kind that come to a place.
struct Kind {
    condition: Condition,
    /// How often the world was chosen before the place.
    chosen: usize,
    /// The questions that were left open since the place before.
    open: Vec<Assumption>,
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

/// Who looks at the frames that take a way.
pub(crate) trait Look {
    /// Whether questions that were left open before say nothing new, so that frames need not be shown for them.
    fn knows(&self, open: &[Assumption]) -> bool;

    /// Looks at frames of one kind, from the driver on, and at the questions that were left open before the way began.
    fn look(&mut self, condition: &Condition, open: &[Assumption]) -> ControlFlow<()>;
}

/// Goes back from where a way begins to the driver.
struct Back<'b> {
    places: &'b [Place],
    left: usize,
    open: Vec<Assumption>,
}

impl Way<'_> {
    /// Shows each kind of frames that takes this way, those first that leave no question open, until enough was seen.
    pub(crate) fn frames(&self, look: &mut impl Look) -> Seen {
        let mut back = Back { places: self.places, left: MOST_KINDS, open: Vec::new() };
        match back.go(self.at, self.condition, &self.condition.choices, look) {
            ControlFlow::Break(Seen::Some) => Seen::Some,
            ControlFlow::Break(Seen::All) | ControlFlow::Continue(()) => Seen::All,
        }
    }
}

impl Back<'_> {
    fn go(
        &mut self,
        at: usize,
        condition: &Condition,
        choices: &[usize],
        look: &mut impl Look,
    ) -> ControlFlow<Seen> {
        let places = self.places;
        let Some(place) = places.get(at).filter(|place| place.entry.is_some()) else {
            let whole = Condition { choices: choices.to_vec(), ..condition.clone() };
            return look.look(&whole, &self.open).map_break(|()| Seen::All);
        };
        for kind in &place.kinds {
            let behind = places.get(kind.from).map_or(&[][..], |place| &place.behind);
            let open = !(self.open.is_empty() && kind.open.is_empty());
            // What is open on the way so far counts, too: it is told only where the way is known to its beginning.
            if open && look.knows(&self.open) && look.knows(&kind.open) && look.knows(behind) {
                continue;
            }
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                return ControlFlow::Break(Seen::Some);
            }
            let Some(both) = kind.condition.and(condition) else { continue };
            // In the order in which the walk as a whole asks.
            let (before, after) =
                kind.condition.choices.split_at(kind.chosen.min(kind.condition.choices.len()));
            let choices = [before, choices, after].concat();
            let known = self.open.len();
            self.open.extend(kind.open.iter().cloned());
            self.go(kind.from, &both, &choices, look)?;
            self.open.truncate(known);
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
        let mut places = vec![Place { entry: None, kinds: Vec::new(), behind: Vec::new(), explored: false }];
        let mut left = self.most_ways;
        while let Some(at) = next_place(&places) {
            let behind = behind(&places, at);
            let Some(place) = places.get_mut(at) else { break };
            place.explored = true;
            place.behind = behind;
            place.kinds.sort_by_cached_key(|kind| (kind.open.len(), rank(&kind.condition)));
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
                    came.extend(entered.into_iter().map(|entered| {
                        let open = entered.open.iter().map(|open| Assumption::new(open.function, &open.kind));
                        let (chosen, open) = (entered.chosen, open.collect());
                        (entered.entry, Kind { condition: condition.clone(), chosen, open, from: at })
                    }));
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

/// The questions that may have been left open on the way to a place.
fn behind(places: &[Place], at: usize) -> Vec<Assumption> {
    let kinds = places.get(at).map_or(&[][..], |place| &place.kinds);
    let from: BTreeSet<usize> = kinds.iter().map(|kind| kind.from).collect();
    let before = from.into_iter().filter_map(|from| places.get(from)).flat_map(|place| &place.behind);
    let all: BTreeSet<_> = kinds.iter().flat_map(|kind| &kind.open).chain(before).cloned().collect();
    all.into_iter().collect()
}

fn arrive(places: &mut Vec<Place>, entry: Entry, kind: Kind) {
    let known = places.iter_mut().find(|place| !place.explored && place.entry.as_ref() == Some(&entry));
    match known {
        Some(place) => place.kinds.push(kind),
        None => {
            let behind = Vec::new();
            places.push(Place { entry: Some(entry), kinds: vec![kind], behind, explored: false });
        }
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
