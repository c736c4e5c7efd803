//! Whether a VLAN 0 tag takes a frame past what the plain one meets, on the same way.

use std::collections::{HashMap, HashSet};

use portcullis_datapath::{Effect, OpenKind, Outcome, Walk};
use portcullis_snapshot::IfIndex;

use crate::context::{Alike, BridgeView, Context, Tag};
use crate::probe::Probe;

/// A tagged frame that arrives where the plain one does.
pub(super) struct Evasion<'p> {
    pub(super) probe: &'p Probe<'p>,
    pub(super) tags: &'static [Tag],
    pub(super) reaches: String,
    /// Filters that only the plain frame meets.
    pub(super) evaded: Vec<String>,
    /// Filters that both meet.
    pub(super) met: Vec<String>,
}

/// Walks a probe without a tag and with some, and compares.
pub(super) fn evasion<'p>(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    (probe, tags): (&'p Probe<'p>, &'static [Tag]),
) -> Option<Evasion<'p>> {
    let walk = |tags| Some(context.probe(alike.first.link.index, &probe.frame(bridge, alike.first, tags)?));
    let plain = walk(&[])?;
    if plain.open.is_empty() {
        // Nothing stands in the way of the plain frame, so that there is nothing to evade.
        return None;
    }
    let tagged = walk(tags)?;
    // Frames are flooded to many ports that are alike: one place for each set of questions is enough.
    let mut seen: HashSet<Vec<String>> = HashSet::new();
    let arrived: HashMap<_, _> = tagged.outcomes.iter().map(|outcome| (place(outcome), outcome)).collect();
    let mut best: Option<Evasion<'p>> = None;
    for outcome in &plain.outcomes {
        let Some(other) = arrived.get(&place(outcome)) else { continue };
        let asked = filters(&plain, outcome);
        if asked.is_empty() || !seen.insert(asked.clone()) {
            continue;
        }
        let met = questions(&tagged, other);
        let evaded: Vec<_> = asked.into_iter().filter(|filter| !met.contains(filter)).collect();
        if best.as_ref().is_none_or(|best| evaded.len() > best.evaded.len()) {
            best = Some(Evasion { probe, tags, reaches: reaches(context, outcome), evaded, met });
        }
    }
    best
}

/// Where an outcome is, without how it came there.
fn place(outcome: &Outcome) -> (u8, IfIndex, Option<Effect>) {
    match outcome {
        Outcome::Host(to) => (0, to.device, Some(to.effect)),
        Outcome::Forwarded { device, .. } => (1, *device, None),
        Outcome::Port(to) => (2, to.device, None),
        Outcome::Elsewhere { device, .. } => (3, *device, None),
    }
}

fn reaches(context: &Context<'_>, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Host(to) => format!("the host's {} on {}", to.protocol, context.name(to.device)),
        Outcome::Forwarded { device, .. } => format!("{}, routed by the host", context.name(*device)),
        Outcome::Port(to) => context.name(to.device),
        Outcome::Elsewhere { netns, .. } => format!("a device in {netns}"),
    }
}

fn questions(walk: &Walk, outcome: &Outcome) -> Vec<String> {
    walk.questions(outcome.assumes()).map(|open| open.kind.to_string()).collect()
}

/// The filters among the questions; what was not read is evaded by nobody.
fn filters(walk: &Walk, outcome: &Outcome) -> Vec<String> {
    let open = walk.questions(outcome.assumes());
    open.filter(|open| matches!(open.kind, OpenKind::Filter(_))).map(|open| open.kind.to_string()).collect()
}
