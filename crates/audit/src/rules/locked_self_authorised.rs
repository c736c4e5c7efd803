//! `locked-self-authorised`: a guest on a locked port lets itself in by a link-local frame.

use portcullis_datapath::LearnedChange;

use super::settings::{bridge_command, by_hand, nothing, port_commands};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct LockedSelfAuthorised;

const NO_LINKLOCAL_LEARN: RemedyDoc = RemedyDoc {
    method: "no-linklocal-learn",
    trade_off: "Link-local frames teach the FDB nothing any more. Kernel 5.0 or later.",
};
const LEARNING_OFF: RemedyDoc = RemedyDoc {
    method: "learning-off",
    trade_off: "The port learns nothing at all: its guest needs a static FDB entry.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("locked-self-authorised"),
    title: "A guest on a locked port can authorise itself",
    severity: Severity::High,
    threat: "A locked port lets in only sources that have an FDB entry there. But frames to link-local group addresses \
             are learned from before the lock is asked: one such frame makes the entry, and everything from that \
             address passes from then on.",
    kernel_path: &[
        "br_handle_frame (net/bridge/br_input.c): link-local frames leave before br_handle_frame_finish asks BR_PORT_LOCKED",
        "__br_handle_local_finish (net/bridge/br_input.c): br_fdb_update, unless no_linklocal_learn",
    ],
    how_found: "A frame to 01:80:c2:00:00:03 from an address that the FDB does not know is walked from each locked guest \
                port; it counts if it would be learned.",
    remedies: &[NO_LINKLOCAL_LEARN, LEARNING_OFF],
    references: &["net/bridge/br_input.c: __br_handle_local_finish", "bridge(8): locked"],
};

impl Rule for LockedSelfAuthorised {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let probe = Probe::new(Destination::LinkLocal(3), nothing);
        for bridge in context.bridges() {
            let guests = super::settings::guests(bridge).filter(|port| port.options.locked == Some(true));
            for port in guests {
                let Some(mut frame) = probe.frame(bridge, port, &[]) else { continue };
                // A source that has no entry yet: the group bit stays clear.
                if let Some(last) = frame.get_mut(11) {
                    *last ^= 0x55;
                }
                let walk = context.probe(port.link.index, &frame);
                if !walk.learned.iter().any(|learned| learned.change == LearnedChange::New) {
                    continue;
                }
                let why = "The port is locked, yet one frame to a link-local group address makes an ordinary FDB entry for \
                           its source, and the lock then lets that source in.";
                let finding = context
                    .finding(&DOC, bridge, Some(port), "a locked port learns from link-local frames", why)
                    .evidence(format!("locked of {}", port.link.name), "on")
                    .evidence(format!("learning of {}", port.link.name), "on")
                    .evidence(format!("no_linklocal_learn of {}", bridge.link.name), "off")
                    .witness(port, frame, format!("the FDB of {}", bridge.link.name));
                findings.push(finding.remedies([
                    by_hand(
                        &NO_LINKLOCAL_LEARN,
                        "Link-local frames no longer make FDB entries.",
                        bridge_command(context, bridge, "no_linklocal_learn 1"),
                    ),
                    by_hand(
                        &LEARNING_OFF,
                        "The port learns nothing.",
                        port_commands(context, [port], "learning off"),
                    ),
                ]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::BoolOpts;

    #[test]
    fn only_locked_ports_that_learn_from_link_local_frames() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("locked-self-authorised"), []);
        host.port_options("vnet1").locked = Some(true);
        assert_eq!(host.found("locked-self-authorised").len(), 1);
        host.bridge_options("br0").multi_boolopt = Some(BoolOpts { value: 1, mask: 0x1f });
        assert_eq!(host.found("locked-self-authorised"), []);
    }
}
