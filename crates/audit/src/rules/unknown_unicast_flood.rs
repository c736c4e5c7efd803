//! `unknown-unicast-flood`: frames to addresses that the bridge does not know reach guests.

use portcullis_prove::{Goal, Verdict};

use super::settings::{NOBODY, another, by_hand, nothing, on_off, port_commands, questions_to, reached};
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct UnknownUnicastFlood;

const FLOOD_OFF: RemedyDoc = RemedyDoc {
    method: "flood-off",
    trade_off: "Unknown unicast no longer reaches the port. A guest that is silent longer than the ageing time is not \
                found by others until it speaks: pair it with a static FDB entry. Kernel 3.11 or later.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("unknown-unicast-flood"),
    title: "Frames to unknown addresses are flooded to guests",
    severity: Severity::Low,
    threat: "What is sent to an address that is not in the FDB goes out of every port that floods: a guest overhears \
             traffic to hosts that were silent, and everything once another guest has filled the FDB.",
    kernel_path: &["br_flood (net/bridge/br_forward.c): every port with BR_FLOOD that should_deliver allows"],
    how_found: "A frame to an address that nobody has is walked from another port, the uplink if there is one; each \
                guest port that it leaves by is reported.",
    remedies: &[FLOOD_OFF],
    references: &["net/bridge/br_forward.c: br_flood", "bridge(8): flood", refs::ANRACOM],
};

impl Rule for UnknownUnicastFlood {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let probe = Probe::new(Destination::Mac(NOBODY), nothing);
        for bridge in context.bridges() {
            for alike in bridge.guests() {
                let Some(from) = another(bridge, &[alike.first]) else { continue };
                let frames = from.tags.iter().filter_map(|tags| probe.frame(bridge, from, tags));
                let walked = frames.map(|frame| (context.probe(from.link.index, &frame), frame));
                let tried = { walked }.find(|(walk, _)| reached(walk, alike.first));
                let tried = tried.map(|(walk, frame)| (from, frame, questions_to(&walk, alike.first)));
                let Some((from, frame, questions)) = tried.or_else(|| by_proof(context, bridge, &alike))
                else {
                    continue;
                };
                for port in alike.members().filter(|port| !is_for(&frame, port)) {
                    let why = "br_flood sends a frame whose destination has no FDB entry out of every port with flood on, \
                               so this guest sees what is meant for hosts that the bridge does not know.";
                    let sender = if from.link.index == port.link.index {
                        another(bridge, &[port])
                    } else {
                        Some(from)
                    };
                    let finding = context
                        .finding(&DOC, bridge, Some(port), "unknown unicast is flooded to guest ports", why)
                        .evidence(format!("flood of {}", port.link.name), on_off(port.options.flood))
                        .witness(sender.unwrap_or(from).link, frame.clone(), port.link.name.clone())
                        .unproven(questions.iter().cloned());
                    findings.push(finding.remedies([by_hand(
                        &FLOOD_OFF,
                        "Only frames to known addresses leave by the port.",
                        port_commands(context, [port], "flood off"),
                    )]));
                }
            }
        }
    }
}

/// Whether a frame is for the guest behind a port.
fn is_for(frame: &[u8], port: &PortView<'_>) -> bool {
    frame.first_chunk() == Some(&port.source.0)
}

/// A frame of which a proof found that it leaves by a port though it is for nobody there, in the state that was read. (With
/// another table of learned addresses almost any does: that is what mac-spoofing and fdb-exhaustion are about.)
fn by_proof<'v, 's>(
    context: &Context<'_>,
    bridge: &'v BridgeView<'s>,
    alike: &Alike<'_, '_>,
) -> Option<(&'v PortView<'s>, Vec<u8>, Vec<String>)> {
    context.proofs(alike).iter().find_map(|claim| match (&claim.proof.verdict, claim.proof.goal) {
        (Verdict::Exposed(exposure), Goal::Sniff { from }) if !exposure.later => {
            Some((bridge.port(from)?, exposure.frame.to_vec(), Vec::new()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn each_flooding_guest_port_is_told() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("unknown-unicast-flood").len(), 3);
        host.port_options("vnet1").flood = Some(false);
        assert_eq!(host.found("unknown-unicast-flood").len(), 2);
    }
}
