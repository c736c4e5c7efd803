//! What the host's stack does with frames of a port.
//!
//! The way there is explored first. Frames of many kinds come to the stack alike, as far as it can tell: what it does with
//! them is explored once for all of them, and then held against each kind.

use std::ops::ControlFlow;

use portcullis_datapath::frame::Field;
use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::{Condition, explore};
use portcullis_datapath::{Aim, Entry, Walk, walk_from, walk_to_the_stack};
use portcullis_snapshot::{EtherType, IfIndex};

use crate::claim::{Goal, HostProtocol};
use crate::prover::{Prover, frames};
use crate::reach;
use crate::tally::{Claim, Tally, rank};
use crate::verdict::Assumption;

/// Of how many kinds of frames that come to the stack alike, and get where a claim says that none does, a frame is tried
/// to be made.
const KINDS: usize = 4;

/// The frames that come to the stack alike.
struct Alike {
    entry: Entry,
    /// What is known of each kind, and how often the world was chosen before the stack is asked.
    kinds: Vec<(Condition, usize)>,
}

/// What the host does with frames of a port.
#[derive(Debug, Default)]
pub(crate) struct OfHost {
    protocols: [Tally; HostProtocol::ALL.len()],
    pub(crate) infrastructure: Tally,
}

impl OfHost {
    /// Whether nothing of it is left to be shown.
    fn is_exposed(&self) -> bool {
        self.protocols.iter().chain([&self.infrastructure]).all(Tally::is_exposed)
    }

    /// The protocols that something is still to be found out about.
    fn wanted(&self) -> Domain {
        let done = |protocol: &HostProtocol| self.protocol(*protocol).is_exposed();
        let mut wanted = Domain::full(16);
        for (protocol, ethertype) in [
            (HostProtocol::Arp, EtherType::ARP),
            (HostProtocol::Ipv4, EtherType::IPV4),
            (HostProtocol::Ipv6, EtherType::IPV6),
        ] {
            if self.infrastructure.is_exposed() && done(&protocol) {
                wanted = wanted.without(&Domain::range(ethertype.0.into(), ethertype.0.into()));
            }
        }
        if done(&HostProtocol::Other) {
            let inet = [EtherType::ARP, EtherType::IPV4, EtherType::IPV6].map(|one| u128::from(one.0));
            let inet = inet.iter().fold(Domain::default(), |all, one| all.union(&Domain::range(*one, *one)));
            wanted = wanted.intersect(&inet);
        }
        wanted
    }

    fn place(protocol: HostProtocol) -> usize {
        HostProtocol::ALL.iter().position(|one| *one == protocol).unwrap_or_default()
    }

    pub(crate) fn protocol(&self, protocol: HostProtocol) -> &Tally {
        self.protocols.get(Self::place(protocol)).unwrap_or(&self.infrastructure)
    }

    fn protocol_mut(&mut self, protocol: HostProtocol) -> &mut Tally {
        self.protocols.get_mut(Self::place(protocol)).unwrap_or(&mut self.infrastructure)
    }
}

impl Prover<'_, '_> {
    /// What the host does with frames of a port. Frames without tags come first: what they show need not be asked of
    /// others.
    pub(crate) fn of_host(&self, port: IfIndex) -> OfHost {
        let mut found = OfHost::default();
        for given in frames(None) {
            self.of_host_frames(port, &given, &mut found);
            if found.is_exposed() {
                break;
            }
        }
        found
    }

    fn of_host_frames(&self, port: IfIndex, given: &Condition, found: &mut OfHost) {
        let manner = self.manner(Aim::Host);
        let mut entries: Vec<Alike> = Vec::new();
        let whole = explore(
            given,
            self.most_ways,
            |frame| walk_to_the_stack(self.network, port, frame, manner),
            |condition, (walked, entered)| {
                self.count(port, found, condition, &walked);
                for (entry, chosen) in entered {
                    let kind = (condition.clone(), chosen);
                    match entries.iter_mut().rev().find(|alike| alike.entry == entry) {
                        Some(alike) => alike.kinds.push(kind),
                        None => entries.push(Alike { entry, kinds: vec![kind] }),
                    }
                }
                ControlFlow::Continue(())
            },
        );
        let mut unfinished = (!whole).then(|| self.unfinished());
        // Plain frames first.
        entries.sort_by_key(|alike| alike.entry.depth());
        for alike in entries {
            if found.is_exposed() {
                break;
            }
            unfinished = self.of_stack(port, alike, found).or(unfinished);
        }
        self.each(port, |claim, tally| claim.settle(tally), found);
        if let Some(why) = unfinished {
            let tallies = found.protocols.iter_mut().chain([&mut found.infrastructure]);
            tallies.for_each(|tally| {
                tally.assumptions.insert(why.clone());
            });
        }
    }

    /// Does something for each claim about the host.
    fn each(&self, port: IfIndex, mut with: impl FnMut(&Claim<'_, '_, '_>, &mut Tally), found: &mut OfHost) {
        let claim = |goal| Claim { prover: self, way: (port, Aim::Host), goal };
        for protocol in HostProtocol::ALL {
            with(&claim(Goal::Host(protocol)), found.protocol_mut(protocol));
        }
        with(&claim(Goal::Infrastructure), &mut found.infrastructure);
    }

    /// Counts a way that does not come to the stack, and what is open before.
    fn count(&self, port: IfIndex, found: &mut OfHost, condition: &Condition, walked: &Walk) {
        if walked.open.is_empty() && walked.outcomes.is_empty() {
            return;
        }
        let count = |claim: &Claim<'_, '_, '_>, tally: &mut Tally| {
            claim.count(tally, condition, walked, is_relevant(condition, claim.goal));
        };
        self.each(port, count, found);
    }

    /// What the stack does with frames that come to it alike. Returns what is assumed if there were too many ways.
    fn of_stack(&self, port: IfIndex, mut alike: Alike, found: &mut OfHost) -> Option<Assumption> {
        let manner = self.manner(Aim::Host);
        alike.kinds.sort_by_key(|(condition, _)| rank(condition));
        let mut joined = Condition::join(alike.kinds.iter().map(|(condition, _)| condition));
        if !joined.narrow(Field::Protocol(alike.entry.depth()), &found.wanted()) {
            return None;
        }
        let whole = explore(
            &joined,
            self.most_ways,
            |frame| walk_from(self.network, &alike.entry, frame, manner),
            |way, walked| {
                let count = |claim: &Claim<'_, '_, '_>, tally: &mut Tally| {
                    if tally.is_exposed() {
                        return;
                    }
                    if is_relevant(way, claim.goal) {
                        tally.may_go_anywhere(&walked);
                    }
                    if !claim.reached(&walked, way).is_empty() {
                        count_kinds(claim, tally, &alike.kinds, way, &walked);
                    }
                };
                self.each(port, count, found);
                if found.is_exposed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        self.each(port, |claim, tally| claim.settle(tally), found);
        (!whole).then(|| self.unfinished())
    }
}

/// Counts a way of the stack for the plainest kinds of frames that can take it.
fn count_kinds(
    claim: &Claim<'_, '_, '_>,
    tally: &mut Tally,
    kinds: &[(Condition, usize)],
    way: &Condition,
    walked: &Walk,
) {
    let mut left = KINDS;
    for (kind, chosen) in kinds {
        let Some(mut both) = kind.and(way) else { continue };
        // In the order in which the walk as a whole asks.
        both.choices.splice(chosen..chosen, way.choices.iter().copied());
        if claim.count_ends(tally, &both, walked) {
            left -= 1;
        }
        if left == 0 {
            return;
        }
    }
}

/// Whether frames of a way can be what a claim about the host is about.
fn is_relevant(condition: &Condition, goal: Goal) -> bool {
    let may_carry = |protocol: &HostProtocol| reach::may_carry(condition, *protocol);
    match goal {
        Goal::Host(protocol) => may_carry(&protocol),
        _ => [HostProtocol::Arp, HostProtocol::Ipv4, HostProtocol::Ipv6].iter().any(may_carry),
    }
}
