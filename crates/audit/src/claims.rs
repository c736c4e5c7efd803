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

use crate::carry::Carry;
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
        let left =
            bridge.guests().filter(|alike| !done.contains(&(bridge.link.index, alike.first.link.index)));
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

/// What makes groups alike, on whichever bridges: the class of their ports, and what is claimed, with the class of those that it
/// is about.
pub(crate) type Sort = (Option<usize>, Vec<(std::mem::Discriminant<Goal>, Option<usize>)>);

/// Returns what sort of group a group is.
pub(crate) fn sort(context: &Context<'_>, group: (IfIndex, IfIndex)) -> Option<Sort> {
    let (bridge, alike) = find(context, group)?;
    let class = |port: IfIndex| context.classes().class(port);
    let goal = |(goal, to): (Goal, Arc<[Device]>)| {
        (std::mem::discriminant(&goal), to.first().and_then(|to| class(to.index)))
    };
    Some((class(alike.first.link.index), goals(bridge, &alike).into_iter().map(goal).collect()))
}

fn find<'c, 's>(
    context: &'c Context<'s>,
    (bridge, first): (IfIndex, IfIndex),
) -> Option<(&'c BridgeView<'s>, Alike<'c, 's>)> {
    let bridge = context.bridges().iter().find(|one| one.link.index == bridge)?;
    let alike = bridge.guests().find(|alike| alike.first.link.index == first)?;
    Some((bridge, alike))
}

/// Proves what is of interest of a group of guest ports. What is proven of a group that is alike, on whichever bridge, is
/// carried over.
pub(crate) fn prove<'c, 's>(
    context: &'c Context<'s>,
    group: (IfIndex, IfIndex),
    known: Option<((IfIndex, IfIndex), &[Claim])>,
) -> Vec<Claim> {
    let Some((bridge, alike)) = find(context, group) else { return Vec::new() };
    let port = alike.first.link.index;
    let goals = goals(bridge, &alike);
    let mut verdicts: Vec<Option<Verdict>> = goals.iter().map(|_| None).collect();
    if let Some((first, claims)) = known
        && let Some((from, like)) = find(context, first)
    {
        for ((verdict, (goal, _)), Claim { proof, .. }) in verdicts.iter_mut().zip(&goals).zip(claims) {
            let other = |bridge: &'c BridgeView<'s>, goal: Goal| bridge.port(goal.other()?);
            let others = other(from, proof.goal).zip(other(bridge, *goal));
            let ports = std::iter::once((like.first, alike.first)).chain(others);
            let carry = Carry::between((from, bridge), ports);
            *verdict = carry.verdict(context, proof.port, proof.goal, &proof.verdict);
        }
    }
    let unknown = goals.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none());
    let wanted: Vec<_> = unknown.map(|((goal, _), _)| *goal).collect();
    let prover = Prover::new(context.network()).most_ways(MOST_WAYS);
    let mut proven = prover.prove(port, &wanted).into_iter().map(|proof| proof.verdict);
    let from: Arc<[Device]> = alike.members().map(Device::from).collect();
    let label: Arc<str> = context.label().into();
    let claim = |((goal, to), verdict): ((Goal, Arc<[Device]>), Option<Verdict>)| {
        let verdict = verdict.or_else(|| proven.next())?;
        Some(Claim {
            netns: context.netns().id,
            netns_label: label.clone(),
            bridge: bridge.device.clone(),
            from: from.clone(),
            to,
            into: match &verdict {
                Verdict::Exposed(exposure) => bridge.port(exposure.into).map(Device::from),
                Verdict::Isolated | Verdict::Unproven(_) => None,
            },
            proof: Proof { port, goal, verdict },
        })
    };
    goals.into_iter().zip(verdicts).filter_map(claim).collect()
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
    goals
        .extend(uplinks.filter_map(|alike| another(&alike, from)).map(|(to, ports)| (Goal::Port(to), ports)));
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
    use portcullis_prove::{Goal, HostProtocol, Verdict};
    use portcullis_snapshot::{NftFamily, Reading, VlanFlags};

    use crate::testing::{Host, sketch};
    use crate::{AuditReport, Claim};

    const DENY: &str = "[[bridge]]\nguest-to-guest = \"deny\"";
    const GUESTS: [&str; 3] = ["vnet0", "vnet1", "vnet2"];
    const HOST: [Goal; 5] = [
        Goal::Host(HostProtocol::Arp),
        Goal::Host(HostProtocol::Ipv4),
        Goal::Host(HostProtocol::Ipv6),
        Goal::Host(HostProtocol::Other),
        Goal::Infrastructure,
    ];

    fn claim<'r>(report: &'r AuditReport, from: &str, goal: Goal) -> &'r Claim {
        let about = |claim: &&Claim| &*claim.from[0].name == from && claim.proof.goal == goal;
        report.claims.iter().find(about).unwrap()
    }

    #[test]
    fn ports_that_are_alike_share_their_claims() {
        let report = Host::hypervisor().audit();
        // The host's four protocols, what is behind it; another guest, its frames and addresses; the uplink.
        assert_eq!(report.claims.len(), 9);
        let names =
            |ports: &[crate::Device]| ports.iter().map(|port| port.name.to_string()).collect::<Vec<_>>();
        let last = &report.claims[5];
        assert_eq!(names(&last.from), ["vnet0", "vnet1", "vnet2"]);
        assert_eq!(names(&last.to), ["vnet1", "vnet2"]);
        assert_eq!(report.not_proven, []);
    }

    #[test]
    fn what_drops_at_ingress_isolates_and_that_is_said() {
        let mut host = Host::hypervisor();
        host.drop_at_ingress(&GUESTS, None);
        let report = host.audit();
        for goal in HOST {
            assert_eq!(claim(&report, "vnet0", goal).proof.verdict, Verdict::Isolated, "{goal:?}");
        }
        let about_host = ["host-arp", "host-ipv4", "host-ipv6", "link-local-to-host", "infra-address"];
        assert!(report.findings.iter().all(|finding| !about_host.contains(&finding.rule.0)));
    }

    #[test]
    fn a_witness_through_link_local_comes_out_of_the_well_known_recipe() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        host.no_vlan("br0", 1);
        let report = host.audit();
        let Verdict::Exposed(exposure) = &claim(&report, "vnet0", HOST[1]).proof.verdict else { panic!() };
        assert_eq!(exposure.frame[..5], [1, 0x80, 0xc2, 0, 0]);
    }

    #[test]
    fn with_an_unknown_filter_it_is_unproven_and_the_filter_is_named() {
        let mut host = Host::hypervisor();
        host.nft_chain(NftFamily::Netdev, 0, "ingress");
        if let Reading::Read(chains) = &mut host.netns().filters.nft_chains {
            chains[0].devices = GUESTS.map(str::to_owned).into();
        }
        let report = host.audit();
        let Verdict::Unproven(because) = &claim(&report, "vnet0", HOST[0]).proof.verdict else { panic!() };
        assert!(because.iter().any(|one| one.what.contains("netdev filter ingress")), "{because:?}");
    }

    #[test]
    fn a_hole_that_no_probe_fits_is_found_by_its_proof() {
        // Only what carries a tag with VLAN 0 gets past the ports.
        let mut host = Host::hypervisor();
        host.drop_at_ingress(&GUESTS, Some(0x8100));
        let report = host.audit_with(DENY);
        let found: Vec<_> =
            report.findings.iter().filter(|finding| finding.rule.0 == "guest-to-guest").cloned().collect();
        insta::assert_snapshot!(sketch(&found[..1]), @r"
        high br0 vnet0: guests reach other guests, which the policy denies
          guest ports reached = vnet1 vnet2
          isolated of vnet0 = off
          0200000000fe0200000000fd8100… by vnet0 reaches vnet1
          $ bridge link set dev vnet0 isolated on
          $ bridge link set dev vnet1 isolated on
          $ bridge link set dev vnet2 isolated on
        ");
        let found: Vec<_> =
            report.findings.iter().filter(|finding| finding.rule.0 == "link-local-to-host").collect();
        assert_eq!(found.len(), 3);
        for finding in found {
            let witness = finding.witness.as_ref().unwrap();
            assert_eq!(witness.frame[12..14], [0x81, 0], "{:02x?}", witness.frame);
        }
    }

    #[test]
    fn beyond_a_number_of_sorts_of_ports_the_rest_is_named() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        for vid in 10..22 {
            let guest = format!("tap{vid}");
            host.tap(&guest, "br0");
            host.no_vlan(&guest, 1);
            host.vlan(&guest, vid, VlanFlags::PVID | VlanFlags::UNTAGGED);
        }
        let report = host.audit();
        let left: usize = report.not_proven.iter().map(|bridge| bridge.ports.len()).sum();
        assert_eq!(left, 13 - super::MOST_GROUPS_OF_BRIDGE);
    }
}
