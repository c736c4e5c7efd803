//! A plan that is being made: remedies, bridge by bridge, what they come to, and what is found with them.

use portcullis_audit::{BridgeView, Carry, Claim, Context, Policy, RuleId, audit};
use portcullis_snapshot::{IfIndex, Link, NetnsId, Snapshot};

use crate::change::Change;
use crate::choose::{Reason, choose, choose_for};
use crate::claims;
use crate::device::Device;
use crate::lower::Lower;
use crate::methods::{Method, changes};
use crate::plan::{Chosen, Found, PlanError, Request, Unfit};
use crate::sorts::Sorted;
use crate::wants::outdated;

/// A plan that is being made.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) chosen: Vec<Chosen>,
    /// Those that were chosen for findings, and for which.
    for_finding: Vec<Answer>,
    pub(crate) unfit: Vec<Unfit>,
}

/// A remedy that was chosen for findings of a rule, and how many there were.
struct Answer {
    method: Method,
    bridge: IfIndex,
    rule: RuleId,
    count: usize,
}

impl Draft {
    /// Chooses remedies for each bridge; those of one that is like another are the other's. Then for each lower device.
    pub(crate) fn new(
        (context, snapshot): (&Context<'_>, &Snapshot),
        bridges: &[Sorted<'_, '_>],
        lowers: &[Lower<'_>],
        request: &Request<'_>,
    ) -> Self {
        let mut draft = Self::default();
        let mut choices: Vec<Vec<(Method, Reason)>> = Vec::new();
        for Sorted { bridge, like } in bridges {
            let first = like.and_then(|like| Some((bridges.get(like)?.bridge, choices.get(like)?)));
            let choice = match first.and_then(|(first, choice)| carried(choice, first, bridge)) {
                Some(choice) => choice,
                None => {
                    let choice = choose(context, bridge, request);
                    draft.unfit.extend(choice.unfit);
                    choice.methods
                }
            };
            for (method, reason) in &choice {
                let first = bridge.guests().next().map(|alike| alike.first.link);
                draft.take(context, bridge, *method, reason_in_words(reason, context, first));
            }
            if request.searches() && choice.iter().all(|(method, _)| *method != Method::AntiSpoof) {
                draft.state_anew(context, bridge);
            }
            choices.push(choice);
        }
        for lower in lowers {
            let choice = lower.choose(context, snapshot, request);
            draft.unfit.extend(choice.unfit);
            draft.chosen.extend(choice.methods.into_iter().map(|(method, reason)| {
                let because = reason_in_words(&reason, context, Some(lower.link));
                Chosen { method, bridge: lower.device(), because }
            }));
        }
        draft
    }

    /// Takes the remedy that was made for what the policy stated before, so that it is made for what it states now.
    fn state_anew(&mut self, context: &Context<'_>, bridge: &BridgeView<'_>) {
        let is_stated = Method::AntiSpoof.is_stated(bridge);
        if let Some(port) = is_stated.then(|| outdated(context, bridge)).flatten() {
            let because = format!("without it {port} is not heard by the address that the policy states now");
            self.take(context, bridge, Method::AntiSpoof, because);
        }
    }

    /// Takes a remedy for a bridge. That it fits was found out of a part of the namespace; of the whole it may not.
    fn take(&mut self, context: &Context<'_>, bridge: &BridgeView<'_>, method: Method, because: String) {
        match method.pieces(context, bridge) {
            Ok(_) => self.chosen.push(Chosen { method, bridge: bridge.link.into(), because }),
            Err(lacks) => self.unfit.push(Unfit::new(method, bridge, lacks.to_string())),
        }
    }

    /// Takes a remedy for each bridge where findings name one that may be taken. Returns whether there was any.
    pub(crate) fn for_findings(
        &mut self,
        context: &Context<'_>,
        bridges: &[Sorted<'_, '_>],
        request: &Request<'_>,
        left: &[Found],
    ) -> bool {
        // What was chosen of a bridge for findings of a rule, and what was chosen there before.
        let mut known: Vec<(usize, RuleId, Vec<Method>, Option<Method>)> = Vec::new();
        let mut more = false;
        for (at, Sorted { bridge, like }) in bridges.iter().enumerate() {
            let index = bridge.link.index;
            let here = left.iter().filter(|found| found.bridge.index == index);
            for found in here.filter(|found| found.severity <= context.policy().fail_on) {
                let chosen = self.chosen.iter().filter(|one| one.bridge.index == index);
                let chosen: Vec<_> = chosen.map(|one| one.method).collect();
                let first = like.unwrap_or(at);
                let same = known.iter().find(|one| (one.0, one.1, &one.2) == (first, found.rule, &chosen));
                let method = match same {
                    Some((.., method)) => *method,
                    None => choose_for(context, bridge, request, &chosen, &found.remedies),
                };
                known.push((first, found.rule, chosen, method));
                let Some(method) = method else { continue };
                let because =
                    format!("without it {} is found, which is {}", found.rule, found.severity.name());
                self.take(context, bridge, method, because);
                self.for_finding.push(Answer { method, bridge: index, rule: found.rule, count: found.count });
                more = true;
            }
        }
        more
    }

    /// Takes out what was chosen for findings that are there all the same, as many as before, and for no others. Returns whether there was any.
    pub(crate) fn drop_idle(&mut self, left: &[Found]) -> bool {
        let helps = |answer: &&Answer| {
            let mut of = left.iter().filter(|found| found.bridge.index == answer.bridge);
            of.find(|found| found.rule == answer.rule).is_none_or(|found| found.count < answer.count)
        };
        let of = |chosen: &Chosen| {
            let (method, bridge) = (chosen.method, chosen.bridge.index);
            move |answer: &&Answer| (answer.method, answer.bridge) == (method, bridge)
        };
        let idle = |chosen: &Chosen| {
            let mut answers = self.for_finding.iter().filter(of(chosen)).peekable();
            answers.peek().is_some() && !answers.any(|answer| helps(&answer))
        };
        let before = self.chosen.len();
        self.chosen.retain(|chosen| !idle(chosen));
        self.chosen.len() < before
    }

    /// Returns the changes it comes to, and the snapshot with them.
    pub(crate) fn made(
        &self,
        context: &Context<'_>,
        snapshot: &Snapshot,
        at: usize,
    ) -> Result<(Vec<Change>, Snapshot), PlanError> {
        let of = |chosen: &Chosen| {
            let index = chosen.bridge.index;
            match context.bridges().iter().find(|bridge| bridge.link.index == index) {
                Some(bridge) => chosen.method.pieces(context, bridge).ok(),
                None => chosen.method.pieces_in_stack(context, context.netns().link(index)?).ok(),
            }
        };
        let pieces: Vec<_> = self.chosen.iter().filter_map(of).flatten().collect();
        let changes = changes(context, &pieces);
        let mut made = snapshot.clone();
        if let Some(netns) = made.namespaces.get_mut(at) {
            for change in &changes {
                change.make(netns)?;
            }
        }
        Ok((changes, made))
    }
}

/// What was chosen for a bridge, for one that is like it.
fn carried(
    choice: &[(Method, Reason)],
    first: &BridgeView<'_>,
    bridge: &BridgeView<'_>,
) -> Option<Vec<(Method, Reason)>> {
    let carry = Carry::whole(first, bridge);
    let reason = |reason: &Reason| match reason {
        Reason::Shown { goal, frame } => {
            Some(Reason::Shown { goal: carry.goal(*goal)?, frame: carry.frame(frame) })
        }
        Reason::Asked | Reason::Unproven => Some(reason.clone()),
    };
    choice.iter().map(|(method, why)| Some((*method, reason(why)?))).collect()
}

/// Says why a remedy is part of a plan, of the device that frames come in by.
fn reason_in_words(reason: &Reason, context: &Context<'_>, from: Option<&Link>) -> String {
    let Reason::Shown { goal, frame } = reason else { return reason.to_string() };
    let port = from.map(|link| link.name.as_str()).unwrap_or_default();
    let start: String = frame.iter().take(14).map(|byte| format!("{byte:02x}")).collect();
    let goal = claims::goal_in_words(goal, |device| context.name(device));
    format!("without it {port} reaches {goal}: {start}…")
}

/// What an audit finds on some devices, by device and rule, the worst first; and what it proves.
pub(crate) fn found(
    snapshot: &Snapshot,
    netns: NetnsId,
    request: &Request<'_>,
    devices: &[Device],
    policy: &Policy,
) -> (Vec<Found>, Vec<Claim>) {
    let report = audit(snapshot, policy, request.today);
    let mut all: Vec<Found> = Vec::new();
    for finding in report.standing().filter(|finding| finding.netns == netns) {
        let at = finding.bridge.as_ref().map(|bridge| bridge.index);
        let Some(bridge) = devices.iter().find(|one| Some(one.index) == at) else { continue };
        let known = all.iter_mut().find(|found| (found.rule, Some(found.bridge.index)) == (finding.rule, at));
        let named = finding.remedies.iter().filter_map(|remedy| Method::named(remedy.method));
        let named = named.chain(Method::for_rule(finding.rule).iter().copied());
        match known {
            Some(found) => {
                found.count += 1;
                found.severity = found.severity.min(finding.severity);
                let new: Vec<_> = named.filter(|method| !found.remedies.contains(method)).collect();
                found.remedies.extend(new);
            }
            None => {
                let mut remedies = Vec::new();
                named.for_each(|method| {
                    if !remedies.contains(&method) {
                        remedies.push(method)
                    }
                });
                let (rule, severity, bridge) = (finding.rule, finding.severity, bridge.clone());
                all.push(Found { rule, severity, bridge, count: 1, remedies });
            }
        }
    }
    all.sort_by_key(|found| found.severity);
    (all, report.claims.into_iter().filter(|claim| claim.netns == netns).collect())
}
