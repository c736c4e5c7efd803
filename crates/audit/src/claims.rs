//! What holds for every frame of a guest port: proofs, one for each group of ports that are alike.
//!
//! For the first port of each group of guest ports it is proven whether its frames reach the host, what is behind the
//! host, an uplink, another guest of its own group and one of each other group; and whether the two can overhear each
//! other or take each other's address. Rules look here where their own probes find nothing, and a report says what is
//! proven. An audit is to be quick, so that not everything is tried: what is left out is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_prove::{Goal, HostProtocol, Proof, Prover, Verdict};
use portcullis_snapshot::{IfIndex, NetnsId};

use crate::context::{Alike, BridgeView, Context};
use crate::finding::{Device, Role};

/// How many ways of frames are looked at for a claim before it is left unproven.
const MOST_WAYS: usize = 20_000;
/// For how many groups of guest ports of a namespace something is proven.
const MOST_GROUPS: usize = 64;
/// For how many of one bridge.
const MOST_GROUPS_OF_BRIDGE: usize = 8;
/// How many groups of other ports are looked at from each.
const MOST_OTHERS: usize = 4;

/// Something that is claimed of ports that are alike, judged for every frame that can come in by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The namespace.
    pub netns: NetnsId,
    /// The name of the namespace.
    pub netns_label: Arc<str>,
    /// The bridge.
    pub bridge: Device,
    /// The port that was looked at, then those that are alike.
    pub from: Arc<[Device]>,
    /// The other port that the claim is about, then those that are alike; empty if it is about the host.
    pub to: Arc<[Device]>,
    /// The port that the witness comes in by.
    pub into: Option<Device>,
    /// What is claimed, and whether it holds.
    pub proof: Proof,
}

/// Guest ports of a bridge of which nothing was proven, because there are too many that are not alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotProven {
    /// The namespace.
    pub netns: NetnsId,
    /// The name of the namespace.
    pub netns_label: Arc<str>,
    /// The bridge.
    pub bridge: Device,
    /// The ports.
    pub ports: Vec<Device>,
}

/// What was proven in a namespace.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_port: BTreeMap<IfIndex, Vec<Claim>>,
}

impl Claims {
    /// Puts the claims of several groups together.
    pub(crate) fn of(claims: impl IntoIterator<Item = Claim>) -> Self {
        let mut by_port: BTreeMap<IfIndex, Vec<Claim>> = BTreeMap::new();
        for claim in claims {
            by_port.entry(claim.proof.port).or_default().push(claim);
        }
        Self { by_port }
    }

    /// Returns all of them, in the order of the ports.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Claim> {
        self.by_port.values().flatten()
    }

    /// Returns those of the group that a port stands for.
    pub(crate) fn of_port(&self, port: IfIndex) -> &[Claim] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }
}

/// Returns the groups of guest ports that something is proven for: the bridge and the first port of each.
pub(crate) fn proven(context: &Context<'_>) -> Vec<(IfIndex, IfIndex)> {
    let of_bridge = |bridge: &BridgeView<'_>| {
        let groups = bridge.guests().take(MOST_GROUPS_OF_BRIDGE);
        groups.map(|alike| (bridge.link.index, alike.first.link.index)).collect::<Vec<_>>()
    };
    context.bridges().iter().flat_map(of_bridge).take(MOST_GROUPS).collect()
}

/// Returns the ports that nothing is proven for.
pub(crate) fn not_proven(context: &Context<'_>) -> Vec<NotProven> {
    let done = proven(context);
    let of_bridge = |bridge: &BridgeView<'_>| {
        let left = bridge.guests().filter(|alike| !done.contains(&(bridge.link.index, alike.first.link.index)));
        let ports: Vec<_> = left.flat_map(|alike| alike.members().map(Device::from)).collect();
        (!ports.is_empty()).then(|| NotProven {
            netns: context.netns().id,
            netns_label: context.label().into(),
            bridge: bridge.device.clone(),
            ports,
        })
    };
    context.bridges().iter().filter_map(of_bridge).collect()
}

/// Proves what is of interest of a group of guest ports.
pub(crate) fn prove(context: &Context<'_>, (bridge, first): (IfIndex, IfIndex)) -> Vec<Claim> {
    let Some(bridge) = context.bridges().iter().find(|one| one.link.index == bridge) else { return Vec::new() };
    let Some(alike) = bridge.guests().find(|alike| alike.first.link.index == first) else { return Vec::new() };
    let goals = goals(bridge, &alike);
    let wanted: Vec<_> = goals.iter().map(|(goal, _)| *goal).collect();
    let prover = Prover::new(context.network()).most_ways(MOST_WAYS);
    let from: Arc<[Device]> = alike.members().map(Device::from).collect();
    let label: Arc<str> = context.label().into();
    let claim = |(proof, (_, to)): (Proof, (Goal, Arc<[Device]>))| Claim {
        netns: context.netns().id,
        netns_label: label.clone(),
        bridge: bridge.device.clone(),
        from: from.clone(),
        to,
        into: match &proof.verdict {
            Verdict::Exposed(exposure) => bridge.port(exposure.into).map(Device::from),
            Verdict::Isolated | Verdict::Unproven(_) => None,
        },
        proof,
    };
    prover.prove(first, &wanted).into_iter().zip(goals).map(claim).collect()
}

/// What is claimed of a group, with the ports that are like the one that each claim is about.
fn goals(bridge: &BridgeView<'_>, from: &Alike<'_, '_>) -> Vec<(Goal, Arc<[Device]>)> {
    let nobody: Arc<[Device]> = Arc::new([]);
    let host = HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]);
    let mut goals: Vec<_> = host.map(|goal| (goal, nobody.clone())).collect();
    let (own, others): (Vec<_>, Vec<_>) =
        bridge.guests().partition(|alike| alike.first.link.index == from.first.link.index);
    let others = own.into_iter().chain(others.into_iter().take(MOST_OTHERS));
    for (to, ports) in others.filter_map(|alike| another(&alike, from)) {
        let of_guest = [Goal::Port(to), Goal::Sniff { from: to }, Goal::Spoof { of: to }];
        goals.extend(of_guest.map(|goal| (goal, ports.clone())));
    }
    let uplinks = bridge.groups().filter(|alike| alike.first.role == Role::Uplink).take(MOST_OTHERS);
    goals.extend(
        uplinks.filter_map(|alike| another(&alike, from)).map(|(to, ports)| (Goal::Port(to), ports)),
    );
    goals
}

/// Returns the first port of a group that is not the one looked at, and all like it.
fn another(group: &Alike<'_, '_>, than: &Alike<'_, '_>) -> Option<(IfIndex, Arc<[Device]>)> {
    let others = group.members().filter(|port| port.link.index != than.first.link.index);
    let ports: Arc<[Device]> = others.map(Device::from).collect();
    Some((ports.first()?.index, ports))
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn show() {
        let t = std::time::Instant::now();
        let mut host = Host::hypervisor();
        for n in 0..3 {
            if n == 1 { host.port_options("vnet1").isolated = Some(true); }
            if n == 2 { host.nft_chain(portcullis_snapshot::NftFamily::Bridge, 1, "input"); }
            let report = host.audit();
            println!("---- {n} {:?}", t.elapsed());
            for c in &report.claims {
                let w = match &c.proof.verdict { portcullis_prove::Verdict::Exposed(e) => format!("later {} {:02x?}", e.later, &e.frame[..]), v => format!("{v:?}") };
                println!("{} {:?} -> {:?}: {}", c.from[0].name, c.proof.goal, c.to.len(), w);
            }
        }
        panic!();
    }
}
