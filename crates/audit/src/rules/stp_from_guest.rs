//! `stp-from-guest`: a guest takes part in the spanning tree.

use portcullis_datapath::Payload;
use portcullis_snapshot::StpState;

use super::settings::{by_hand, guests, port_commands, reached};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Role, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct StpFromGuest;

const GUARD: RemedyDoc = RemedyDoc {
    method: "bpdu-guard",
    trade_off: "A guest that sends a BPDU loses its port until it is turned off and on again. root_block only refuses its \
                claim to be the root.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("stp-from-guest"),
    title: "A guest takes part in the spanning tree",
    severity: Severity::Medium,
    threat: "With STP in the kernel a guest's BPDU can make its port the way to the root, block other ports and flush the \
             FDB by topology changes. With STP off the bridge forwards BPDUs like other multicast: a guest can then do \
             the same to the switches behind the uplink.",
    kernel_path: &[
        "br_handle_frame (net/bridge/br_input.c): 01:80:c2:00:00:00 goes to the port's stack while STP is on",
        "br_stp_rcv (net/bridge/br_stp_bpdu.c): BR_BPDU_GUARD disables the port, BR_ROOT_BLOCK refuses the claim",
    ],
    how_found: "A BPDU that claims to be the root is walked from each guest port, with the bridge's STP state and the \
                port's guard and root_block.",
    remedies: &[GUARD, crate::remedy::docs::DROP_LINK_LOCAL],
    references: &["net/bridge/br_stp_bpdu.c: br_stp_rcv", "bridge(8): guard, root_block"],
};

impl Rule for StpFromGuest {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            match bridge.options.stp_state {
                None | Some(StpState::Off) => forwarded(context, bridge, findings),
                Some(_) => taken_in(context, bridge, findings),
            }
        }
    }
}

fn bpdu() -> Probe<'static> {
    Probe::new(Destination::LinkLocal(0), |_| Payload::Bpdu { priority: 0 })
}

fn taken_in(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    let open = |port: &&crate::context::PortView<'_>| {
        port.options.guard != Some(true) && port.options.root_block != Some(true)
    };
    for port in guests(bridge).filter(open) {
        let why = "The kernel runs the spanning tree and neither guard nor root_block is on for the port: a BPDU with \
                   priority 0 from the guest makes it the root.";
        let frame = bpdu().frame(bridge, port, &[]).unwrap_or_default();
        let finding = context
            .finding(&DOC, bridge, Some(port), "BPDUs from guests are obeyed", why)
            .evidence(format!("stp_state of {}", bridge.link.name), "on")
            .evidence(format!("guard and root_block of {}", port.link.name), "off")
            .witness(port, frame, format!("the spanning tree of {}", bridge.link.name));
        findings.push(finding.remedies([by_hand(
            &GUARD,
            "A BPDU from the guest turns its port off.",
            port_commands(context, [port], "guard on"),
        )]));
    }
}

fn forwarded(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    for alike in bridge.guests() {
        let Some(frame) = bpdu().frame(bridge, alike.first, &[]) else { continue };
        let walk = context.probe(alike.first.link.index, &frame);
        let uplink = bridge.ports.iter().find(|port| port.role == Role::Uplink && reached(&walk, port));
        let Some(uplink) = uplink else { continue };
        for port in alike.members() {
            let why = "With STP off, br_handle_frame forwards BPDUs like other multicast, so a guest speaks to the spanning \
                       tree of the network behind the uplink.";
            let finding = context
                .finding(&DOC, bridge, Some(port), "BPDUs from guests leave by the uplink", why)
                .severity(Severity::Low)
                .evidence(format!("stp_state of {}", bridge.link.name), "off")
                .witness(
                    port.link,
                    bpdu().frame(bridge, port, &[]).unwrap_or_default(),
                    uplink.link.name.clone(),
                );
            let drop = crate::remedy::at_port(context, port, "ether daddr 01:80:c2:00:00:00 drop");
            findings.push(finding.remedies([crate::Remedy {
                method: crate::remedy::docs::DROP_LINK_LOCAL.method,
                summary: "BPDUs are dropped at the guest port.".into(),
                commands: drop,
            }]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::StpState;

    #[test]
    fn with_stp_on_guard_decides_and_without_it_bpdus_pass_through() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("stp-from-guest").len(), 3);
        host.bridge_options("br0").stp_state = Some(StpState::Kernel);
        host.port_options("vnet0").guard = Some(true);
        let found = host.found("stp-from-guest");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].severity, crate::Severity::Medium);
    }
}
