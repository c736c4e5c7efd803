//! What the host's stack does with frames of a port.

use std::ops::ControlFlow;

use portcullis_datapath::frame::Field;
use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::Condition;
use portcullis_datapath::{Aim, Entry, Walk};
use portcullis_snapshot::{EtherType, IfIndex};

use crate::claim::{Goal, HostProtocol};
use crate::prover::{Prover, frames};
use crate::reach;
use crate::tally::{Claim, Tally};
use crate::ways::{Judge, Way};

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
        let mut judge = OfFrames { prover: self, port, found: OfHost::default() };
        for given in frames(None) {
            let unfinished = self.every_way((port, Aim::Host), &given, &mut judge);
            judge.settle();
            if let Some(why) = unfinished {
                judge.each(|_, tally| {
                    tally.assumptions.insert(why.clone());
                });
            }
            if judge.found.is_exposed() {
                break;
            }
        }
        let pairs: Vec<_> = self.pairs_of(port).map(Self::not_followed).collect();
        judge.each(|_, tally| tally.assumptions.extend(pairs.iter().cloned()));
        judge.found
    }
}

/// Judges the claims about the host, all of them on each way.
struct OfFrames<'p, 'n, 's> {
    prover: &'p Prover<'n, 's>,
    port: IfIndex,
    found: OfHost,
}

impl OfFrames<'_, '_, '_> {
    /// Does something for each claim.
    fn each(&mut self, mut with: impl FnMut(&Claim<'_, '_, '_>, &mut Tally)) {
        let claim = |goal| Claim { prover: self.prover, way: (self.port, Aim::Host), goal };
        for protocol in HostProtocol::ALL {
            with(&claim(Goal::Host(protocol)), self.found.protocol_mut(protocol));
        }
        with(&claim(Goal::Infrastructure), &mut self.found.infrastructure);
    }

    fn settle(&mut self) {
        self.each(|claim, tally| claim.settle(tally));
    }
}

impl Judge for OfFrames<'_, '_, '_> {
    fn wanted(&self, entry: &Entry) -> Option<(Field, Domain)> {
        entry.stack().map(|depth| (Field::Protocol(depth), self.found.wanted()))
    }

    fn judge(&mut self, way: &Way<'_>, walked: &Walk) -> ControlFlow<()> {
        if walked.open.is_empty() && walked.outcomes.is_empty() {
            return ControlFlow::Continue(());
        }
        self.each(|claim, tally| {
            if !tally.is_exposed() {
                claim.count(tally, way, walked, is_relevant(way.condition, claim.goal));
            }
        });
        if self.found.is_exposed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn place_is_done(&mut self) -> ControlFlow<()> {
        self.settle();
        if self.found.is_exposed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
