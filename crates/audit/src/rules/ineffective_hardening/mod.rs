//! `ineffective-hardening`: a setting that looks like protection and is none, or only part of one.
//!
//! Each such setting is an [`Illusion`]: that it is on, and probes that it should stop. One that arrives is reported.

mod layer2;
mod layer3;

use portcullis_datapath::{Aim, Outcome};

use crate::context::{BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Remedy, Severity};
use crate::probe::Probe;
use crate::remedy::docs;
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct IneffectiveHardening;

const MOVE_LOCAL: RemedyDoc = RemedyDoc {
    method: "move-local-rule",
    trade_off: "The local table is consulted after the rule for the bridge. 255.255.255.255, IPv4 multicast and ARP \
                probes consult no rule at all, and link-local frames come in by the port.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("ineffective-hardening"),
    title: "A setting looks like protection and is none",
    severity: Severity::Medium,
    threat: "Some settings are widely recommended against guests that reach the host, and do not do what they seem to: \
             a policy rule that is consulted too late, a reverse path filter that `all` weakens, ip_forward that is 0 \
             while a device forwards, IPv6 that is off on the bridge and on at its ports. Whoever set them believes the \
             host protected.",
    kernel_path: &[
        "fib_rules_lookup (net/core/fib_rules.c): rules by priority, the local table's is 0",
        "__fib_validate_source (net/ipv4/fib_frontend.c): the larger rp_filter of `all` and the device",
        "IN_DEV_FORWARD (include/linux/inetdevice.h): the receiving device's own forwarding",
        "ip6_rcv_core (net/ipv6/ip6_input.c): disable_ipv6 of the receiving device",
        "br_handle_frame (net/bridge/br_input.c): link-local frames go to the port's stack",
    ],
    how_found: "For each such setting that is on, the frames that it is thought to stop are walked from each sort of \
                guest port. If one arrives, the setting is reported with it.",
    remedies: &[
        MOVE_LOCAL,
        docs::DISABLE_IPV6,
        docs::FORWARDING_OFF,
        docs::VLAN_FILTERING,
        docs::DROP_ON_BRIDGE,
        docs::DROP_LINK_LOCAL,
    ],
    references: &[
        "Documentation/networking/ip-sysctl.rst: rp_filter, forwarding, disable_ipv6, arp_ignore",
        "ip-rule(8)",
        refs::BERNAT,
    ],
};

/// Whether an outcome of a probe from a port shows that a setting did not stop it.
type Arrives = Box<dyn Fn(&Outcome, &PortView<'_>) -> bool>;

/// A setting that is on, and what it should stop.
struct Illusion {
    title: String,
    why: String,
    severity: Severity,
    /// The setting, and its value.
    evidence: Vec<(String, String)>,
    probes: Vec<Probe<'static>>,
    arrives: Arrives,
    /// Where it arrives, in words.
    reaches: String,
    remedies: Vec<Remedy>,
}

impl Rule for IneffectiveHardening {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for group in [layer3::illusions(context, bridge), layer2::illusions(context, bridge)] {
                findings.extend(group.into_iter().filter_map(|illusion| finding(context, bridge, illusion)));
            }
        }
    }
}

fn finding(context: &Context<'_>, bridge: &BridgeView<'_>, illusion: Illusion) -> Option<Finding> {
    let mut best: Option<(Vec<String>, &PortView<'_>, Vec<u8>)> = None;
    for alike in bridge.guests() {
        let arrives = |outcome: &Outcome| (illusion.arrives)(outcome, alike.first);
        let reach = context.reach(bridge, alike.first, (Aim::Everywhere, &illusion.probes), arrives);
        let Some(hit) = reach.best() else { continue };
        if best.as_ref().is_none_or(|(questions, ..)| hit.questions.len() < questions.len()) {
            best = Some((hit.questions.clone(), alike.first, hit.frame(bridge, alike.first)));
        }
    }
    let (questions, port, frame) = best?;
    let finding =
        context.finding(&DOC, bridge, None, illusion.title, illusion.why).severity(illusion.severity);
    let with = |finding: Finding, (source, value)| finding.evidence(source, value);
    let finding = illusion.evidence.into_iter().fold(finding, with);
    let finding = finding.witness(port, frame, illusion.reaches).unproven(questions);
    Some(finding.remedies(illusion.remedies))
}

/// A setting's value, as evidence.
fn value(setting: Option<i32>) -> String {
    setting.map_or_else(|| "unread".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
