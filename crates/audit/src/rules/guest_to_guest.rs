//! `guest-to-guest`: frames pass between guest ports that are meant to be kept apart, by the policy or by isolation.

use std::collections::BTreeSet;

use portcullis_datapath::{Aim, Outcome};
use portcullis_prove::{Exposure, Goal, Verdict};
use portcullis_snapshot::IfIndex;

use super::host::{STRANGER4, arp_request, neighbour_of, undecided};
use crate::claims::Claim;
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::proven::Sent;
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct GuestToGuest;

const ISOLATED: RemedyDoc = RemedyDoc {
    method: "isolated",
    trade_off: "Ports with `isolated on` exchange frames with other ports only, the uplink for one. It must be on for \
                every guest port; the host as a router, and link-local frames, are not covered. Kernel 4.18 or later.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("guest-to-guest"),
    title: "Frames pass between guest ports that are meant to be kept apart",
    severity: Severity::High,
    threat: "A bridge is a switch: guests reach each other unless something stops them. Where they are meant not to, a \
             guest that reaches another can attack its services, answer its ARP and offer it addresses. A guest port \
             that is not isolated reaches isolated ones, too.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): FDB lookup or flood",
        "should_deliver (net/bridge/br_forward.c): hairpin, state, VLAN, and br_skb_isolated: only if both are isolated",
    ],
    how_found: "An ARP request to broadcast, and one to the address behind a port of each sort, are walked from each \
                guest port. With the policy's guest-to-guest = \"deny\" every guest port that is reached counts, \
                without it only isolated ones.",
    remedies: &[ISOLATED],
    references: &["net/bridge/br_private.h: br_skb_isolated", "net/bridge/br_forward.c: should_deliver"],
};

/// How many ports are listed by name.
const LISTED: usize = 6;

impl Rule for GuestToGuest {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let denied = bridge.policy.guest_to_guest == Some(Access::Deny);
            let protected: BTreeSet<_> = bridge
                .ports
                .iter()
                .filter(|port| port.role.is_untrusted() && (denied || port.options.isolated == Some(true)))
                .map(|port| port.link.index)
                .collect();
            if protected.is_empty() {
                continue;
            }
            let mut open = Vec::new();
            for alike in bridge.guests() {
                check_alike(context, bridge, &alike, &protected, (&mut open, findings));
            }
            findings.extend(undecided(context, &DOC, bridge, "guests reach other guests", open));
        }
    }
}

fn check_alike(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    protected: &BTreeSet<IfIndex>,
    (open, findings): (&mut Vec<String>, &mut Findings),
) {
    let probes = probes(bridge, alike.first);
    let mut reached: BTreeSet<IfIndex> = BTreeSet::new();
    let mut best: Option<(Sent<'_>, Vec<String>)> = None;
    for probe in &probes {
        for tags in &alike.first.tags {
            let ports = context.ports_reached(bridge, alike.first, (probe, tags));
            reached.extend(ports.into_iter().filter(|port| protected.contains(port)));
        }
        let arrives =
            |outcome: &Outcome| matches!(outcome, Outcome::Port(left) if protected.contains(&left.device));
        let mut reach =
            context.reach(bridge, alike.first, (Aim::Everywhere, std::slice::from_ref(probe)), arrives);
        if let Some(hit) = (!reach.hits.is_empty()).then(|| reach.hits.swap_remove(0))
            && best.as_ref().is_none_or(|(_, questions)| hit.questions.len() < questions.len())
        {
            best = Some((hit.sent, hit.questions));
        }
    }
    if best.as_ref().is_none_or(|(_, questions)| !questions.is_empty())
        && let Some((ports, exposure)) = by_proof(context, alike, protected)
    {
        reached.extend(ports);
        best = Some((Sent::proven(exposure, alike.first), Vec::new()));
    }
    let Some(best) = best else {
        let others = claims(context, alike, protected);
        return open.extend(others.flat_map(|claim| context.assumed(alike, claim.proof.goal)));
    };
    for port in alike.members() {
        findings.push(finding(context, bridge, (port, alike.first), &reached, &best));
    }
}

/// What is claimed of frames from a group to ports that they are meant to be kept from.
fn claims<'c>(
    context: &'c Context<'_>,
    alike: &Alike<'_, '_>,
    protected: &BTreeSet<IfIndex>,
) -> impl Iterator<Item = &'c Claim> {
    let to_protected = |claim: &&Claim| matches!(claim.proof.goal, Goal::Port(to) if protected.contains(&to));
    context.proofs(alike).iter().filter(to_protected)
}

/// The ports that a frame gets to of which a proof found out, and the frame.
fn by_proof<'c>(
    context: &'c Context<'_>,
    alike: &Alike<'_, '_>,
    protected: &BTreeSet<IfIndex>,
) -> Option<(Vec<IfIndex>, &'c Exposure)> {
    let exposed = claims(context, alike, protected).filter_map(|claim| match &claim.proof.verdict {
        Verdict::Exposed(exposure) => Some((claim, exposure)),
        Verdict::Isolated | Verdict::Unproven(_) => None,
    });
    // One that gets through now rather than one that will.
    let (claim, exposure) = exposed.min_by_key(|(_, exposure)| exposure.later)?;
    Some((claim.to.iter().map(|port| port.index).collect(), exposure))
}

fn finding(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    (port, first): (&PortView<'_>, &PortView<'_>),
    reached: &BTreeSet<IfIndex>,
    (sent, questions): &(Sent<'_>, Vec<String>),
) -> Finding {
    // What was found for the first port of the group is read for this one by exchanging the two.
    let exchange = |index: &IfIndex| if *index == port.link.index { first.link.index } else { *index };
    let others: BTreeSet<_> = reached.iter().map(exchange).collect();
    let names: Vec<_> = others.iter().take(LISTED).map(|index| context.name(*index)).collect();
    let more = others.len().saturating_sub(LISTED);
    let listed = if more == 0 { names.join(" ") } else { format!("{} and {more} more", names.join(" ")) };
    let denied = bridge.policy.guest_to_guest == Some(Access::Deny);
    let isolated = port.options.isolated == Some(true);
    let (title, severity) = if denied {
        ("guests reach other guests, which the policy denies", Severity::High)
    } else {
        ("a guest port reaches isolated guest ports", Severity::Medium)
    };
    let why = if isolated {
        "Isolation keeps isolated ports from each other only: frames still pass between this port and guest ports \
         that are not isolated."
    } else {
        "The port is not isolated. br_skb_isolated stops a frame only if the port it comes in by and the port it \
         leaves by are both isolated, so guests behind this port reach the others by broadcast and by address."
    };
    let aim = others.first().map_or(Aim::Everywhere, |to| Aim::Port(*to));
    let arrives =
        |outcome: &Outcome| matches!(outcome, Outcome::Port(left) if others.first() == Some(&left.device));
    let shown = context.shown_if(bridge, (first, port), (sent, aim), arrives);
    let reached = if shown.port.index == port.link.index { others.first() } else { reached.first() };
    let reaches = reached.map(|index| context.name(*index)).unwrap_or_default();
    let wrong: Vec<_> = std::iter::once(port)
        .chain(others.iter().filter_map(|index| bridge.port(*index)))
        .filter(|port| port.options.isolated != Some(true))
        .map(|port| {
            context
                .command(format!("bridge link set dev {} isolated on", crate::remedy::shell(&port.link.name)))
        })
        .take(LISTED)
        .collect();
    let finding = context
        .finding(&DOC, bridge, Some(port), title, why)
        .severity(severity)
        .evidence("guest ports reached", listed)
        .evidence(format!("isolated of {}", port.link.name), if isolated { "on" } else { "off" })
        .witness(shown.port, shown.frame, reaches)
        .unproven(questions.iter().cloned());
    finding.remedies([crate::Remedy {
        method: ISOLATED.method,
        summary: "Isolated ports exchange frames only with ports that are not.".into(),
        commands: wrong,
    }])
}

/// Broadcast, and unicast to one port of each sort.
fn probes(bridge: &BridgeView<'_>, from: &PortView<'_>) -> Vec<Probe<'static>> {
    let ask = |port: &PortView<'_>| arp_request(port, STRANGER4, neighbour_of(STRANGER4));
    let mut probes = vec![Probe::new(Destination::Broadcast, ask)];
    for alike in bridge.guests() {
        let other = alike.members().find(|port| port.link.index != from.link.index);
        probes.extend(other.map(|port| Probe::new(Destination::Mac(port.source), ask)));
    }
    probes
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    const DENY: &str = "[[bridge]]\nguest-to-guest = \"deny\"";

    #[test]
    fn a_switch_lets_guests_meet_and_that_is_no_finding() {
        assert_eq!(Host::hypervisor().found("guest-to-guest"), []);
    }

    #[test]
    fn where_the_policy_denies_it_every_guest_port_counts() {
        let found = Host::hypervisor().found_with("guest-to-guest", DENY);
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[1..2]), @r"
        high br0 vnet1: guests reach other guests, which the policy denies
          guest ports reached = vnet0 vnet2
          isolated of vnet1 = off
          ffffffffffff0250430000060806… by vnet1 reaches vnet0
          $ bridge link set dev vnet1 isolated on
          $ bridge link set dev vnet0 isolated on
          $ bridge link set dev vnet2 isolated on
        ");
    }

    #[test]
    fn isolation_keeps_them_apart() {
        let mut host = Host::hypervisor();
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.port_options(guest).isolated = Some(true);
        }
        assert_eq!(host.found_with("guest-to-guest", DENY), []);
    }

    #[test]
    fn one_port_without_isolation_reaches_the_isolated_ones() {
        let mut host = Host::hypervisor();
        for guest in ["vnet0", "vnet1"] {
            host.port_options(guest).isolated = Some(true);
        }
        let found = host.found("guest-to-guest");
        insta::assert_snapshot!(sketch(&found), @r"
        medium br0 vnet2: a guest port reaches isolated guest ports
          guest ports reached = vnet0 vnet1
          isolated of vnet2 = off
          ffffffffffff0250430000070806… by vnet2 reaches vnet0
          $ bridge link set dev vnet2 isolated on
        ");
        assert_eq!(host.found_with("guest-to-guest", DENY).len(), 3);
    }

    #[test]
    fn vlans_keep_them_apart() {
        use portcullis_snapshot::VlanFlags;
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        for (vid, guest) in [(10, "vnet0"), (11, "vnet1"), (12, "vnet2")] {
            host.no_vlan(guest, 1);
            host.vlan(guest, vid, VlanFlags::PVID | VlanFlags::UNTAGGED);
        }
        assert_eq!(host.found_with("guest-to-guest", DENY), []);
    }
}
