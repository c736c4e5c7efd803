//! Which remedies a bridge needs: the cheapest set of them that makes every claim hold.
//!
//! Found by counterexamples. A claim that does not hold comes with a frame that shows it; some remedy of the set must stop
//! that frame. The cheapest set that stops every frame seen so far is proven; what that shows is one more frame, until
//! nothing is left to show. So remedies are proven to do what they are chosen for, on this host, and the set is the cheapest as
//! far as remedies do not undo each other.

use std::fmt;

use portcullis_audit::{BridgeView, Context, Policy};
use portcullis_prove::{Goal, Prover, Verdict};
use portcullis_snapshot::{Bytes, IfIndex, Snapshot};

use crate::claims::{self, Wanted};
use crate::methods::{Method, changes};
use crate::plan::{Request, Unfit};
use crate::reduced::reduced;
use crate::wants::{Want, wants};

/// How many ways of frames are looked at for a claim.
const MOST_WAYS: usize = 20_000;
/// What a remedy costs more that can only be imagined.
const IMAGINED: u32 = 1_000;
/// How many counterexamples are taken before it is given up.
const MOST_ROUNDS: usize = 64;

/// What came of choosing.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// The remedies, and why each.
    pub(crate) methods: Vec<(Method, Reason)>,
    /// Those that would have been candidates, and why they are not.
    pub(crate) unfit: Vec<Unfit>,
}

/// Why a remedy is part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody wants it.
    Asked,
    /// Without it this frame gets there.
    Shown { goal: Goal, frame: Bytes },
    /// Without it a claim stays open.
    Unproven,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "it is asked for",
            Self::Shown { .. } => "without it a frame gets through",
            Self::Unproven => "without it nothing can be proven",
        })
    }
}

/// A frame that gets through.
struct Counterexample {
    port: IfIndex,
    goal: Goal,
    frame: Bytes,
}

/// One bridge, and what is tried on it.
struct Trial<'p> {
    snapshot: Snapshot,
    policy: &'p Policy,
    bridge: IfIndex,
    wanted: Vec<Wanted>,
    wants: Vec<Want>,
}

impl Trial<'_> {
    /// Does something with the bridge as it is once some remedies are made; if they cannot be, says why.
    fn with<T>(
        &self,
        methods: &[Method],
        look: impl FnOnce(&Context<'_>, &BridgeView<'_>) -> T,
    ) -> Result<T, String> {
        let mut snapshot = self.snapshot.clone();
        let made = {
            let (context, at) = self.view(&snapshot).ok_or("the bridge is gone")?;
            let bridge = context.bridges().get(at).ok_or("the bridge is gone")?;
            let mut pieces = Vec::new();
            for method in methods {
                pieces.extend(method.pieces(&context, bridge).map_err(|lacks| lacks.to_string())?);
            }
            changes(&context, &pieces)
        };
        let netns = snapshot.namespaces.first_mut().ok_or("the namespace is gone")?;
        for change in &made {
            change.make(netns).map_err(|clash| clash.to_string())?;
        }
        let (context, at) = self.view(&snapshot).ok_or("the bridge is gone")?;
        let bridge = context.bridges().get(at).ok_or("the bridge is gone")?;
        Ok(look(&context, bridge))
    }

    fn view<'s>(&'s self, snapshot: &'s Snapshot) -> Option<(Context<'s>, usize)> {
        let context = Context::new(snapshot, snapshot.namespaces.first()?, self.policy)?;
        let at = context.bridges().iter().position(|bridge| bridge.link.index == self.bridge)?;
        Some((context, at))
    }

    /// The first claim that does not hold with some remedies, but for those that are given up: a frame, or nothing but the
    /// fact.
    fn refute(
        &self,
        methods: &[Method],
        given_up: &[(IfIndex, Goal)],
    ) -> Result<Option<Option<Counterexample>>, String> {
        self.with(methods, |context, _| {
            let prover = Prover::new(context.network()).most_ways(MOST_WAYS);
            for Wanted { port, goals } in &self.wanted {
                let goals: Vec<_> =
                    goals.iter().copied().filter(|goal| !given_up.contains(&(*port, *goal))).collect();
                for proof in prover.prove(*port, &goals) {
                    match proof.verdict {
                        Verdict::Isolated => {}
                        // One that needs other learned addresses cannot be tried against a single remedy.
                        Verdict::Exposed(exposure) if !exposure.later => {
                            let (goal, frame) = (proof.goal, exposure.frame);
                            return Some(Some(Counterexample { port: *port, goal, frame }));
                        }
                        Verdict::Exposed(_) | Verdict::Unproven(_) => return Some(None),
                    }
                }
            }
            None
        })
    }

    /// Whether some remedies stop a frame.
    fn stops(&self, methods: &[Method], by: &Counterexample) -> bool {
        let gets_there = |context: &Context<'_>, _: &BridgeView<'_>| {
            Prover::new(context.network()).gets_there(by.port, by.goal, &by.frame)
        };
        self.with(methods, gets_there).is_ok_and(|gets_there| !gets_there)
    }

    /// Whether guests are to be kept from each other.
    fn keeps_guests_apart(&self) -> bool {
        self.goals().any(|goal| matches!(goal, Goal::Port(_)))
    }

    /// Whether guests are to be kept from the host.
    fn keeps_host_closed(&self) -> bool {
        self.goals().any(|goal| matches!(goal, Goal::Host(_)))
    }

    fn goals(&self) -> impl Iterator<Item = &Goal> {
        self.wanted.iter().flat_map(|wanted| &wanted.goals)
    }

    /// What some remedies would cut off.
    fn cuts(&self, methods: &[Method]) -> Result<Option<String>, String> {
        self.with(methods, |context, _| {
            let prover = Prover::new(context.network()).now();
            self.wants.iter().find(|want| !want.holds(&prover)).map(ToString::to_string)
        })
    }
}

/// Chooses remedies for a bridge: those that are asked for, and what else it takes.
pub(crate) fn choose(context: &Context<'_>, bridge: &BridgeView<'_>, request: &Request<'_>) -> Choice {
    let mut choice = Choice::default();
    for method in request.methods {
        match method.pieces(context, bridge) {
            Ok(_) => choice.methods.push((*method, Reason::Asked)),
            Err(lacks) => choice.unfit.push(Unfit::new(*method, bridge, lacks.to_string())),
        }
    }
    let forced: Vec<_> = choice.methods.iter().map(|(method, _)| *method).collect();
    if !request.searches() {
        return choice;
    }
    let snapshot = reduced(context, bridge);
    let trial = {
        let Some(small) =
            snapshot.namespaces.first().and_then(|netns| Context::new(&snapshot, netns, context.policy()))
        else {
            return choice;
        };
        let Some(small_bridge) = small.bridges().iter().find(|one| one.link.index == bridge.link.index)
        else {
            return choice;
        };
        let (wanted, wants) = (claims::wanted(&small, small_bridge), wants(&small, small_bridge));
        Trial {
            snapshot: snapshot.clone(),
            policy: context.policy(),
            bridge: bridge.link.index,
            wanted,
            wants,
        }
    };
    let candidates = candidates(&trial, bridge, request, &forced, &mut choice.unfit);
    let Some(chosen) = cheapest(&trial, &forced, &candidates) else { return choice };
    // What another remedy makes needless is left out; of the rest it is known what they are for.
    let mut kept = chosen.clone();
    for method in chosen {
        let without: Vec<_> =
            forced.iter().chain(kept.iter().filter(|one| **one != method)).copied().collect();
        let imagined = request.refused.contains_key(&method);
        match trial.refute(&without, &[]) {
            Ok(None) => kept.retain(|one| *one != method),
            _ if imagined => {}
            Ok(Some(Some(Counterexample { goal, frame, .. }))) => {
                choice.methods.push((method, Reason::Shown { goal, frame }));
            }
            Ok(Some(None)) | Err(_) => choice.methods.push((method, Reason::Unproven)),
        }
    }
    choice
}

/// Chooses a remedy for what is still found on a bridge: the first of those that findings name which is harmless, fits, and
/// stops nobody. Whether it closes the finding is seen when the whole is looked at again.
pub(crate) fn choose_for(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    request: &Request<'_>,
    chosen: &[Method],
    named: &[Method],
) -> Option<Method> {
    let snapshot = reduced(context, bridge);
    let wants = {
        let small = Context::new(&snapshot, snapshot.namespaces.first()?, context.policy())?;
        wants(&small, small.bridges().iter().find(|one| one.link.index == bridge.link.index)?)
    };
    let policy = context.policy();
    let trial = Trial { snapshot, policy, bridge: bridge.link.index, wanted: Vec::new(), wants };
    let fits = |method: &Method| {
        let may = method.is_harmless() || method.is_stated(bridge);
        let new = may && !chosen.contains(method) && !request.refused.contains_key(method);
        new && matches!(trial.cuts(&[*method]), Ok(None))
    };
    named.iter().copied().find(fits)
}

/// The remedies that may be chosen, cheapest first: those that fit, and cut nobody off. Those that the kernel refuses are among
/// them, dearer than all others together: what helps beside them helps without them too, though less.
fn candidates(
    trial: &Trial<'_>,
    bridge: &BridgeView<'_>,
    request: &Request<'_>,
    forced: &[Method],
    unfit: &mut Vec<Unfit>,
) -> Vec<(u32, Method)> {
    let mut fitting = Vec::new();
    for method in Method::ALL {
        let Some(cost) = method.cost() else { continue };
        // Guests are kept from each other, and from the host, only where that is wanted.
        let idle =
            if method == Method::Isolate { !trial.keeps_guests_apart() } else { !trial.keeps_host_closed() };
        if idle || forced.contains(&method) {
            continue;
        }
        let why = match trial.cuts(&[method]) {
            Ok(None) => match request.refused.get(&method) {
                None => {
                    fitting.push((cost, method));
                    continue;
                }
                Some(why) => {
                    fitting.push((cost + IMAGINED, method));
                    format!("this kernel refuses it: {why}")
                }
            },
            Ok(Some(want)) => format!("it would stop {want}"),
            Err(why) => why,
        };
        unfit.push(Unfit::new(method, bridge, why));
    }
    fitting.sort_by_key(|(cost, _)| *cost);
    fitting
}

/// The cheapest set that makes every claim hold, beside what is made anyway. If there is none, the cheapest that stops every
/// frame that can be stopped.
fn cheapest(trial: &Trial<'_>, forced: &[Method], candidates: &[(u32, Method)]) -> Option<Vec<Method>> {
    let sets = subsets(candidates);
    let (mut stopped_by, mut failed, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
    let mut best = None;
    for _ in 0..MOST_ROUNDS {
        let stops_all = |set: u32| stopped_by.iter().all(|by| set & by != 0);
        let is_new = |set: u32| !failed.iter().any(|failed: &u32| set & !failed == 0);
        let Some((_, set)) = sets.iter().find(|(_, set)| stops_all(*set) && is_new(*set)) else {
            return best;
        };
        let chosen: Vec<_> = members(candidates, *set).collect();
        let made: Vec<_> = forced.iter().copied().chain(chosen.iter().copied()).collect();
        match trial.refute(&made, &given_up) {
            Ok(None) => return Some(chosen),
            Ok(Some(Some(by))) => match stoppers(trial, candidates, &made, &by) {
                // Nothing here stops it. It stays, and the rest is closed all the same.
                0 => given_up.push((by.port, by.goal)),
                stoppers => stopped_by.push(stoppers),
            },
            Ok(Some(None)) => {
                best = best.or(Some(chosen));
                failed.push(*set);
            }
            Err(_) => failed.push(*set),
        }
    }
    best
}

/// The candidates that stop a frame which gets through what is made already, as bits.
fn stoppers(trial: &Trial<'_>, candidates: &[(u32, Method)], made: &[Method], by: &Counterexample) -> u32 {
    let stops = |method: &Method| {
        let with: Vec<_> = made.iter().copied().chain([*method]).collect();
        !made.contains(method) && trial.stops(&with, by)
    };
    let each = candidates.iter().enumerate().filter(|(_, (_, method))| stops(method));
    each.fold(0, |set, (at, _)| set | 1 << at)
}

/// Every set of candidates as bits, cheapest first; of equally cheap ones the smaller.
fn subsets(candidates: &[(u32, Method)]) -> Vec<(u32, u32)> {
    let cost = |set: u32| members_at(candidates, set).map(|(cost, _)| *cost).sum::<u32>();
    let mut sets: Vec<_> = (0..1u32 << candidates.len().min(16)).map(|set| (cost(set), set)).collect();
    sets.sort_by_key(|(cost, set)| (*cost, set.count_ones(), *set));
    sets
}

fn members_at(candidates: &[(u32, Method)], set: u32) -> impl Iterator<Item = &(u32, Method)> {
    candidates.iter().enumerate().filter(move |(at, _)| set >> at & 1 == 1).map(|(_, one)| one)
}

fn members(candidates: &[(u32, Method)], set: u32) -> impl Iterator<Item = Method> {
    members_at(candidates, set).map(|(_, method)| *method)
}
