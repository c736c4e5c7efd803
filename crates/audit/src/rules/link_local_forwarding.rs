//! `link-local-forwarding`: link-local control frames of one guest reach others, or the uplink.

use super::settings::{bridge_command, by_hand, nothing};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct LinkLocalForwarding;

const MASK_OFF: RemedyDoc = RemedyDoc {
    method: "group-fwd-mask-off",
    trade_off: "The frames go to the port's own stack again instead: combine it with drop-link-local.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("link-local-forwarding"),
    title: "Link-local control frames are forwarded",
    severity: Severity::Low,
    threat: "group_fwd_mask makes a bridge forward 802.1X, LACP, LLDP and other frames that a bridge should keep to itself. \
             A guest then speaks those protocols with other guests and with the switch behind the uplink.",
    kernel_path: &["br_handle_frame (net/bridge/br_input.c): group_fwd_mask of the bridge and of the port"],
    how_found: "A frame to each of 01:80:c2:00:00:02 to :0f is walked from each guest port; those that leave by another \
                port count.",
    remedies: &[MASK_OFF],
    references: &["net/bridge/br_input.c: br_handle_frame", "IEEE 802.1Q, table 8-1"],
};

impl Rule for LinkLocalForwarding {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for alike in bridge.guests() {
                let forwarded: Vec<u8> = (2..16)
                    .filter(|x| {
                        let frame =
                            Probe::new(Destination::LinkLocal(*x), nothing).frame(bridge, alike.first, &[]);
                        frame.is_some_and(|frame| {
                            context.probe(alike.first.link.index, &frame).ports().next().is_some()
                        })
                    })
                    .collect();
                let Some(first) = forwarded.first() else { continue };
                let listed: Vec<_> = forwarded.iter().map(|x| format!(":{x:02x}")).collect();
                for port in alike.members() {
                    let frame = Probe::new(Destination::LinkLocal(*first), nothing).frame(bridge, port, &[]);
                    let why = "group_fwd_mask lets these control frames through to other ports.";
                    let finding = context
                        .finding(&DOC, bridge, Some(port), "link-local control frames are forwarded", why)
                        .evidence("forwarded", format!("01:80:c2:00:00 {}", listed.join(" ")))
                        .evidence(
                            format!("group_fwd_mask of {} and {}", bridge.link.name, port.link.name),
                            format!(
                                "{:#06x}, {:#06x}",
                                bridge.options.group_fwd_mask.unwrap_or(0),
                                port.options.group_fwd_mask.unwrap_or(0)
                            ),
                        )
                        .witness(port, frame.unwrap_or_default(), "other ports");
                    findings.push(finding.remedies([by_hand(
                        &MASK_OFF,
                        "Nothing link-local is forwarded.",
                        bridge_command(context, bridge, "group_fwd_mask 0"),
                    )]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn the_mask_of_bridge_or_port_forwards_them() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("link-local-forwarding"), []);
        host.bridge_options("br0").group_fwd_mask = Some(1 << 3);
        assert_eq!(host.found("link-local-forwarding").len(), 3);
    }
}
