//! What a policy wants proven of a bridge: that its guests do not reach what it denies them.

use std::collections::BTreeMap;

use portcullis_audit::{Access, Alike, BridgeView, Claim, Context, PortView};
use portcullis_datapath::Network;
use portcullis_prove::{Goal, HostProtocol, Prover, Verdict};
use portcullis_snapshot::{IfIndex, NetnsId, Snapshot};

use crate::device::Device;

/// How many ways of frames are looked at for a claim.
const MOST_WAYS: usize = 50_000;

/// What is wanted of the frames of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The port.
    pub(crate) port: IfIndex,
    /// Where none of them may get.
    pub(crate) goals: Vec<Goal>,
}

/// A claim, before a plan is made and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The bridge.
    pub bridge: Device,
    /// The port that was looked at, then those that are alike.
    pub from: Vec<Device>,
    /// What is claimed not to happen.
    pub goal: Goal,
    /// Its verdict now.
    pub before: Verdict,
    /// Its verdict once the plan is made.
    pub after: Verdict,
}

/// Returns what the policy wants of a bridge.
pub(crate) fn wanted(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Wanted> {
    bridge
        .guests()
        .map(|alike| of_group(context, bridge, &alike))
        .filter(|wanted| !wanted.goals.is_empty())
        .collect()
}

fn of_group(context: &Context<'_>, bridge: &BridgeView<'_>, from: &Alike<'_, '_>) -> Wanted {
    let mut goals = Vec::new();
    if context.access_at(bridge, bridge.link.index) == Access::Deny {
        goals.extend(HostProtocol::ALL.map(Goal::Host));
        goals.push(Goal::Infrastructure);
    }
    if bridge.policy.guest_to_guest == Some(Access::Deny) {
        let another = |to: Alike<'_, '_>| {
            to.members()
                .map(|port: &PortView<'_>| port.link.index)
                .find(|port| *port != from.first.link.index)
        };
        goals.extend(bridge.guests().filter_map(another).map(Goal::Port));
    }
    Wanted { port: from.first.link.index, goals }
}

/// Judges what is wanted of a bridge, in the order of `wanted`. What an audit came to is known; where that is nothing, more ways
/// are looked at if it is worth it.
pub(crate) fn judge(
    network: &Network<'_>,
    known: &[Claim],
    wanted: &[Wanted],
    worth_it: bool,
) -> Vec<(IfIndex, Goal, Verdict)> {
    let prover = Prover::new(network).most_ways(MOST_WAYS);
    let known = |port: IfIndex, goal: Goal| {
        let mut known = known.iter().map(|claim| &claim.proof);
        let proof = known.find(|proof| (proof.port, proof.goal) == (port, goal))?;
        (!worth_it || !matches!(proof.verdict, Verdict::Unproven(_))).then(|| proof.verdict.clone())
    };
    let of_port = |Wanted { port, goals }: &Wanted| {
        let verdicts: Vec<_> = goals.iter().map(|goal| (*goal, known(*port, *goal))).collect();
        let unknown = verdicts.iter().filter(|(_, verdict)| verdict.is_none()).map(|(goal, _)| *goal);
        let mut proofs = prover.prove(*port, &unknown.collect::<Vec<_>>()).into_iter();
        let verdict = |(goal, known): (Goal, Option<Verdict>)| {
            Some((*port, goal, known.or_else(|| Some(proofs.next()?.verdict))?))
        };
        verdicts.into_iter().filter_map(verdict).collect::<Vec<_>>()
    };
    wanted.iter().flat_map(of_port).collect()
}

/// Returns the first of some claims that was to be isolated once a plan is made and is not proven in a snapshot that was taken
/// since. What is proven of one port about the host holds for those that are like it.
#[must_use]
pub fn broken<'c>(snapshot: &Snapshot, netns: NetnsId, claims: &'c [Judged]) -> Option<&'c Judged> {
    let promised = || claims.iter().filter(|claim| claim.after == Verdict::Isolated);
    let Some(network) = Network::new(snapshot, netns) else { return promised().next() };
    let classes = network.alike();
    let prover = Prover::new(&network).most_ways(MOST_WAYS);
    let mut proven: Vec<(Option<usize>, Goal)> = Vec::new();
    let mut by_port: BTreeMap<IfIndex, Vec<&Judged>> = BTreeMap::new();
    for claim in promised() {
        let Some(port) = claim.from.first() else { return Some(claim) };
        by_port.entry(port.index).or_default().push(claim);
    }
    for (port, claims) in by_port {
        let class = classes.class(port);
        let known = |claim: &&&Judged| {
            class.is_some() && !matches!(claim.goal, Goal::Port(_)) && proven.contains(&(class, claim.goal))
        };
        let unknown: Vec<_> = claims.iter().filter(|claim| !known(claim)).copied().collect();
        let goals: Vec<_> = unknown.iter().map(|claim| claim.goal).collect();
        for (claim, proof) in unknown.iter().zip(prover.prove(port, &goals)) {
            if proof.verdict != Verdict::Isolated {
                return Some(claim);
            }
            proven.push((class, claim.goal));
        }
    }
    None
}

/// Says where a claim is about, in a few words.
pub(crate) fn goal_in_words(goal: &Goal, name: impl Fn(IfIndex) -> String) -> String {
    match goal {
        Goal::Host(HostProtocol::Arp) => "the host's ARP".to_owned(),
        Goal::Host(HostProtocol::Ipv4) => "the host's IPv4".to_owned(),
        Goal::Host(HostProtocol::Ipv6) => "the host's IPv6".to_owned(),
        Goal::Host(HostProtocol::Other) => "other protocols of the host".to_owned(),
        Goal::Infrastructure => "what is behind the host".to_owned(),
        Goal::Port(port) => name(*port),
        Goal::Sniff { from } => format!("frames of {}", name(*from)),
        Goal::Spoof { of } => format!("addresses of {}", name(*of)),
        Goal::SpoofIp { address, .. } => format!("others in the name of {address}"),
    }
}
