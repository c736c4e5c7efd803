//! Takes every way through the walk, and judges claims by where they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::ControlFlow;

use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::Condition;
use portcullis_datapath::frame::{Field, Set, Written};
use portcullis_datapath::network::{Bridge, FdbDst};
use portcullis_datapath::{Aim, Concrete, LearnedChange, Manner, Network, Trace, Walk, When, walk};
use portcullis_snapshot::{IfIndex, Link, LinkKind, MacAddr};

use crate::claim::{Goal, Receiver};
use crate::reach::{self, Reached, can_be};
use crate::sender;
use crate::tally::{Claim, Tally};
use crate::verdict::{Assumption, Proof};
use crate::ways::{Judge, Look, Seen, Way};

/// How many ways are taken before a proof is given up. What is met in practice has some tens of thousands at most.
pub const MOST_WAYS: usize = 200_000;

/// Judges claims about the ports of one namespace.
#[derive(Clone, Copy)]
pub struct Prover<'n, 's> {
    pub(crate) network: &'n Network<'s>,
    when: When,
    pub(crate) most_ways: usize,
}

impl<'n, 's> Prover<'n, 's> {
    /// A prover whose verdicts hold for every sequence of frames: what was learned counts for nothing.
    #[must_use]
    pub const fn new(network: &'n Network<'s>) -> Self {
        Self { network, when: When::Ever, most_ways: MOST_WAYS }
    }

    /// One whose verdicts hold for the state as it was read.
    #[must_use]
    pub const fn now(self) -> Self {
        Self { when: When::Now, ..self }
    }

    /// One that gives up after another number of ways than [`MOST_WAYS`].
    #[must_use]
    pub const fn most_ways(self, most_ways: usize) -> Self {
        Self { most_ways, ..self }
    }

    /// Judges claims about a port, in their order.
    #[must_use]
    pub fn prove(&self, port: IfIndex, goals: &[Goal]) -> Vec<Proof> {
        let mut tallies: Vec<_> = goals.iter().map(|goal| self.without_host(port, *goal)).collect();
        // The host is judged as a whole, by one exploration.
        if goals.iter().any(|goal| matches!(goal, Goal::Host(_) | Goal::Infrastructure)) {
            let host = self.of_host(port);
            for (goal, tally) in goals.iter().zip(&mut tallies) {
                match *goal {
                    Goal::Host(protocol) => *tally = host.protocol(protocol).clone(),
                    Goal::Infrastructure => *tally = host.infrastructure.clone(),
                    Goal::Port(_) | Goal::Sniff { .. } | Goal::Spoof { .. } | Goal::SpoofIp { .. } => {}
                }
            }
        }
        // Of each lot of frames, wherever they are to get, the host's router is asked once.
        let mut apart: BTreeMap<Option<IpAddr>, Vec<(IfIndex, &mut Tally)>> = BTreeMap::new();
        for (goal, tally) in goals.iter().zip(&mut tallies).filter(|(_, tally)| !tally.is_exposed()) {
            match *goal {
                Goal::Port(to) => apart.entry(None).or_default().push((to, tally)),
                Goal::SpoofIp { address, to: Receiver::Port(to) } => {
                    apart.entry(Some(address)).or_default().push((to, tally));
                }
                _ => {}
            }
        }
        for (address, apart) in apart {
            self.by_router(port, address, apart);
        }
        let proof = |(goal, tally): (&Goal, Tally)| Proof { port, goal: *goal, verdict: tally.verdict() };
        goals.iter().zip(tallies).map(proof).collect()
    }

    /// Whether one frame gets where a claim says that none does, in the state that was read and with no question open.
    #[must_use]
    pub fn gets_there(&self, port: IfIndex, goal: Goal, bytes: &[u8]) -> bool {
        let Some(mut frame) = Concrete::new(bytes) else { return false };
        let (into, aim) = match goal {
            Goal::Host(_) | Goal::Infrastructure => (port, Aim::Host),
            Goal::Port(to) => (port, Aim::Port(to)),
            Goal::Sniff { from } => (from, Aim::Port(port)),
            Goal::Spoof { .. } => (port, Aim::Port(IfIndex(0))),
            Goal::SpoofIp { address, to } => {
                if !sender::in_the_name_of(address).iter().any(|given| given.holds(&frame)) {
                    return false;
                }
                (port, to.aim())
            }
        };
        let condition = reach::exactly(&frame);
        let walked = walk(self.network, into, &mut frame, Manner { when: When::Now, ..self.manner(aim) });
        let goal = if let Goal::Sniff { .. } = goal { Goal::Port(port) } else { goal };
        let claim = Claim { prover: self, way: (into, aim), goal };
        claim.reached(&walked, &condition).iter().any(|end| end.assumes.is_empty())
    }

    /// Whether the host may route anything at all: it takes long to find out what.
    fn may_route(&self) -> bool {
        let netns = self.network.netns();
        let on = |setting: Option<i32>| setting != Some(0);
        let ipv4 = |link: &Link| link.ipv4.as_ref().is_some_and(|conf| on(conf.forwarding));
        netns.links.known().iter().any(ipv4) || netns.ipv6.read().is_none_or(|conf| on(conf.all.forwarding))
    }

    /// Judges a claim as far as the host's stack has no part in it.
    fn without_host(&self, port: IfIndex, goal: Goal) -> Tally {
        match goal {
            Goal::Host(_) | Goal::Infrastructure => Tally::default(),
            Goal::Port(to) => self.of_port(port, to, None),
            Goal::Sniff { from } => self.of_sniffing(port, from),
            Goal::Spoof { of } => self.of_spoofing(port, of),
            Goal::SpoofIp { address, to } => self.of_ip_spoofing(port, address, to),
        }
    }

    pub(crate) fn manner(&self, aim: Aim) -> Manner {
        Manner { trace: Trace::Off, aim, when: self.when }
    }

    /// Whether frames of one port cannot get to another one but by the host's router: they are on different bridges, and
    /// nothing leads from the one to another device.
    fn is_apart(&self, port: IfIndex, to: IfIndex) -> bool {
        let network = self.network;
        let (Some(from), Some(there)) = (self.bridge_of(port), self.bridge_of(to)) else { return false };
        let leads_on = |link: &Link| network.uppers(link.index).is_some();
        let ends = from.link.master.is_none() && !leads_on(from.link);
        let ports = from.ports.iter().map(|port| port.link);
        let mut ports = ports.filter(|link| {
            leads_on(link) || matches!(link.kind, LinkKind::Macvlan(_) | LinkKind::Macvtap(_))
        });
        from.link.index != there.link.index && ends && ports.next().is_none() && !network.may_go_anywhere()
    }

    /// The ports of a port's bridge whose other end is in this namespace as well, and that end: what leaves by the one comes
    /// in by the other (`veth_xmit`).
    pub(crate) fn pairs_of(&self, port: IfIndex) -> impl Iterator<Item = (&'n Link, &'n Link)> {
        let network = self.network;
        let ports = self.bridge_of(port).into_iter().flat_map(|bridge| &bridge.ports);
        let others = ports.map(|port| port.link).filter(move |link| link.index != port);
        others.filter_map(move |link| {
            let here = matches!(link.kind, LinkKind::Veth) && link.link_netns.is_none();
            Some((link, network.link(link.link.filter(|_| here)?)?))
        })
    }

    /// What is assumed of such a pair.
    pub(crate) fn not_followed((link, peer): (&Link, &Link)) -> Assumption {
        let what = format!("what leaves by {} comes in by {}, and is not followed", link.name, peer.name);
        Assumption { what, function: "veth_xmit" }
    }

    /// Whether frames of one port leave by another: all, or those of which a field has certain values.
    fn of_port(&self, port: IfIndex, to: IfIndex, only: Option<(Field, Domain)>) -> Tally {
        let claim = Claim { prover: self, way: (port, Aim::Port(to)), goal: Goal::Port(to) };
        let mut tally = if self.is_apart(port, to) { Tally::default() } else { claim.judge(frames(only)) };
        self.by_pairs(port, to, &mut tally);
        tally
    }

    /// Counts the ways to a port that lead over pairs.
    fn by_pairs(&self, port: IfIndex, to: IfIndex, tally: &mut Tally) {
        let master = |port| self.network.link(port).and_then(|link| link.master);
        let pairs = self.pairs_of(port).filter(|(_, peer)| peer.master.is_some());
        // To come back to its own bridge a frame has to leave by one pair and return by another.
        let enough = if master(port) == master(to) { 2 } else { 1 };
        let pairs: Vec<_> = pairs.map(Self::not_followed).collect();
        if pairs.len() >= enough {
            tally.assumptions.extend(pairs);
        }
    }

    /// Whether frames in the name of an IP address get to somebody.
    fn of_ip_spoofing(&self, port: IfIndex, address: IpAddr, to: Receiver) -> Tally {
        let goal = Goal::SpoofIp { address, to };
        let claim = Claim { prover: self, way: (port, to.aim()), goal };
        let all = || sender::in_the_name_of(address);
        match to {
            Receiver::Host => {
                let mut tally = claim.judge(all());
                tally.assumptions.extend(self.pairs_of(port).map(Self::not_followed));
                tally
            }
            Receiver::Port(to) => {
                let mut tally = if self.is_apart(port, to) { Tally::default() } else { claim.judge(all()) };
                self.by_pairs(port, to, &mut tally);
                tally
            }
        }
    }

    /// Returns the IP addresses that the host knows of those whose MAC addresses the FDB has behind a port.
    #[must_use]
    pub fn ip_addresses_behind(&self, port: IfIndex) -> Vec<IpAddr> {
        let Some(bridge) = self.bridge_of(port) else { return Vec::new() };
        sender::known_of(self.network, bridge.link.index, &self.addresses_behind(port))
    }

    /// Whether frames, all or those in the name of an address, get to the ports that they are otherwise kept from by way of
    /// the host's router.
    fn by_router(&self, port: IfIndex, address: Option<IpAddr>, apart: Vec<(IfIndex, &mut Tally)>) {
        if !self.may_route() {
            return;
        }
        let all = address.map_or_else(|| frames(None).collect(), sender::in_the_name_of);
        let (devices, unfinished) = self.routed(port, &all);
        for (to, tally) in apart {
            for device in devices.iter().filter(|device| self.leads_to(**device, to)) {
                let name = self.network.name(*device);
                let what = format!("the host routes packets on to {name}; what leaves by it is not followed");
                tally.assumptions.insert(Assumption { what, function: "br_dev_xmit" });
            }
            tally.assumptions.extend(unfinished.clone());
        }
    }

    /// Returns the devices by which the host routes some packets of a port on, and what is assumed if there were too many
    /// ways.
    fn routed(&self, port: IfIndex, all: &[Condition]) -> (BTreeSet<IfIndex>, Option<Assumption>) {
        let mut routed = Routed::default();
        let each = all.iter().filter_map(|given| self.every_way((port, Aim::Host), given, &mut routed));
        let unfinished = each.last();
        (routed.devices, unfinished)
    }

    /// Whether what the host sends by a device can leave by a bridge port.
    fn leads_to(&self, device: IfIndex, port: IfIndex) -> bool {
        let bridge = self.network.link(port).and_then(|link| link.master);
        let below = self.network.link(device).and_then(|link| link.link);
        device == port || bridge.is_some_and(|bridge| device == bridge || below == Some(bridge))
    }

    /// Whether frames that come in by `from` and are for somebody else leave by `port`.
    fn of_sniffing(&self, port: IfIndex, from: IfIndex) -> Tally {
        let group = Domain::of(Field::Dst, Set::MULTICAST).unwrap_or_default();
        let own = self.addresses_behind(port);
        let own = own.into_iter().filter_map(|address| Domain::of(Field::Dst, address.into()));
        let others = own.fold(Domain::full(48).without(&group), |others, address| others.without(&address));
        self.of_port(from, port, Some((Field::Dst, others)))
    }

    /// Whether the bridge believes that an address of another port is behind this one.
    fn of_spoofing(&self, port: IfIndex, of: IfIndex) -> Tally {
        let addresses = self.addresses_behind(of);
        let sources = addresses.iter().filter_map(|address| Domain::of(Field::Src, (*address).into()));
        let sources = sources.fold(Domain::default(), |all, source| all.union(&source));
        if sources.is_empty() {
            let what = format!("no address behind {} is known", self.network.name(of));
            return Tally::assuming(Assumption { what, function: "" });
        }
        // No port is aimed at: only what is learned matters.
        let way = (port, Aim::Port(IfIndex(0)));
        Claim { prover: self, way, goal: Goal::Spoof { of } }.judge(frames(Some((Field::Src, sources))))
    }

    fn bridge_of(&self, port: IfIndex) -> Option<&'n Bridge<'s>> {
        self.network.bridge(self.network.link(port)?.master?)
    }

    /// The addresses that the FDB has behind a port.
    fn addresses_behind(&self, port: IfIndex) -> Vec<MacAddr> {
        let Some(bridge) = self.bridge_of(port) else { return Vec::new() };
        let records = bridge.fdb.records().map(|(_, record)| record);
        let mut behind: Vec<_> = records
            .filter(|record| record.dst == FdbDst::Port(port) && !record.address.is_multicast())
            .map(|record| record.address)
            .collect();
        behind.sort_unstable();
        behind.dedup();
        behind
    }

    /// The ends of a way that take over one of the addresses behind a port.
    pub(crate) fn taken_over(
        &self,
        of: IfIndex,
        port: IfIndex,
        walked: &Walk,
        condition: &Condition,
    ) -> Vec<Reached> {
        let Some(bridge) = self.bridge_of(port) else { return Vec::new() };
        let mut all = Vec::new();
        for learned in walked
            .learned
            .iter()
            .filter(|learned| learned.port == port && learned.change != LearnedChange::Locked)
        {
            // The source may be one that a rule wrote.
            let now = learned.rewritten.unwrap_or(Written::Of(Field::Src));
            for address in self.addresses_behind(of) {
                let entry = bridge.fdb.find(address, learned.vid);
                let stays = entry.is_some_and(|entry| entry.sticky || matches!(entry.dst, FdbDst::Local(_)));
                let number = u128::from(address.to_u64());
                let wanted = if stays { None } else { can_be(condition, now, number) };
                all.extend(wanted.map(|wanted| Reached { assumes: learned.assumes, wanted }));
            }
        }
        all
    }
}

impl Receiver {
    const fn aim(self) -> Aim {
        match self {
            Self::Host => Aim::Host,
            Self::Port(port) => Aim::Port(port),
        }
    }
}

/// Notes by which devices packets are routed on.
#[derive(Default)]
struct Routed {
    devices: BTreeSet<IfIndex>,
}

/// Whether there are frames at all.
struct Any(bool);

impl Look for Any {
    fn knows(&self, _: &[Assumption]) -> bool {
        false
    }

    fn look(&mut self, _: &Condition, _: &[Assumption]) -> ControlFlow<()> {
        self.0 = true;
        ControlFlow::Break(())
    }
}

impl Judge for Routed {
    fn judge(&mut self, way: &Way<'_>, walked: &Walk) -> ControlFlow<()> {
        for device in walked.forwarded() {
            if !self.devices.contains(&device) {
                let mut any = Any(false);
                let seen = way.frames(&mut any);
                if any.0 || seen == Seen::Some {
                    self.devices.insert(device);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Every frame, or all of which a field has certain values: first those without tags, which make the plainest
/// witnesses, then the others.
pub(crate) fn frames(only: Option<(Field, Domain)>) -> impl Iterator<Item = Condition> {
    let all = [Condition::untagged_frames(), Condition::tagged_frames()].into_iter();
    all.filter_map(move |mut given| match &only {
        Some((field, domain)) => given.narrow(*field, domain).then_some(given),
        None => Some(given),
    })
}
