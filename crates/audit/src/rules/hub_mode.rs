//! `hub-mode`: the bridge does not learn, so that what is meant for one guest goes to all.

use super::settings::{
    another, bridge_command, by_hand, guests, nothing, port_commands, questions_to, reached,
};
use crate::context::{BridgeView, Context, PortView};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct HubMode;

const AGEING: RemedyDoc = RemedyDoc {
    method: "ageing",
    trade_off: "One command. Guests are learned again within seconds. Some mirror traffic by ageing 0 on purpose: a \
                waiver says so.",
};
const STATIC_FDB: RemedyDoc = RemedyDoc {
    method: "static-fdb",
    trade_off: "A static entry for each guest; whoever starts guests has to keep them up to date.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("hub-mode"),
    title: "The bridge works like a hub: it does not learn where guests are",
    severity: Severity::High,
    threat: "Frames to a guest whose address is not in the FDB are flooded. With ageing time 0 nothing is ever learned, \
             with learning off nothing is learned on that port: every guest then sees what is meant for another.",
    kernel_path: &[
        "br_fdb_update (net/bridge/br_fdb.c): returns at once if hold_time is 0",
        "br_handle_frame_finish (net/bridge/br_input.c): no entry, hence br_flood",
    ],
    how_found: "A frame to the address of a guest is walked from the uplink; it counts if it also leaves by another \
                guest port, and the bridge would not learn its way to do better.",
    remedies: &[AGEING, STATIC_FDB],
    references: &["net/bridge/br_fdb.c: br_fdb_update, hold_time", refs::ANRACOM],
};

impl Rule for HubMode {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            if bridge.options.ageing_time == Some(0) {
                ageing_zero(context, bridge, findings);
            } else {
                learning_off(context, bridge, findings);
            }
        }
    }
}

fn ageing_zero(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    let Some((victim, other, from)) =
        bridge.guests().find_map(|alike| overheard(context, bridge, alike.first))
    else {
        return;
    };
    let probe = Probe::new(Destination::Mac(victim.source), nothing);
    let frame = probe.frame(bridge, from, from.tags.first().map_or(&[], Vec::as_slice)).unwrap_or_default();
    let why = "With ageing time 0 the FDB keeps nothing that it learns: every frame between guests is flooded, and each \
               guest sees the others' traffic in full.";
    let finding = context
        .finding(&DOC, bridge, None, "ageing time 0: the bridge is a hub", why)
        .evidence(format!("ageing_time of {}", bridge.link.name), 0)
        .witness(from, frame.clone(), format!("{} besides {}", other.link.name, victim.link.name))
        .unproven(questions_to(&context.probe(from.link.index, &frame), other));
    findings.push(finding.remedies([by_hand(
        &AGEING,
        "Learned addresses are kept for five minutes again.",
        bridge_command(context, bridge, "ageing_time 30000"),
    )]));
}

fn learning_off(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    let silent = guests(bridge).filter(|port| port.options.learning == Some(false) && !port.source_in_fdb);
    for port in silent {
        let Some((_, other, from)) = overheard(context, bridge, port) else { continue };
        let probe = Probe::new(Destination::Mac(port.source), nothing);
        let frame =
            probe.frame(bridge, from, from.tags.first().map_or(&[], Vec::as_slice)).unwrap_or_default();
        let why = "The port does not learn and the FDB has no entry for its guest, so whatever is sent to that guest is \
                   flooded to the others.";
        let finding = context
            .finding(&DOC, bridge, Some(port), "learning is off and there is no static FDB entry", why)
            .severity(Severity::Medium)
            .evidence(format!("learning of {}", port.link.name), "off")
            .witness(from, frame.clone(), other.link.name.clone())
            .unproven(questions_to(&context.probe(from.link.index, &frame), other));
        let name = crate::remedy::shell(&port.link.name);
        findings.push(finding.remedies([
            by_hand(
                &STATIC_FDB,
                "Frames to the guest go to its port only.",
                vec![
                    context.command(format!(
                        "bridge fdb replace {} dev {name} master static sticky",
                        port.source
                    )),
                ],
            ),
            by_hand(&AGEING, "The port learns again.", port_commands(context, [port], "learning on")),
        ]));
    }
}

/// Another guest port that overhears what is sent to this one, and the port that it is sent from.
fn overheard<'v, 's>(
    context: &Context<'_>,
    bridge: &'v BridgeView<'s>,
    victim: &'v PortView<'s>,
) -> Option<(&'v PortView<'s>, &'v PortView<'s>, &'v PortView<'s>)> {
    let probe = Probe::new(Destination::Mac(victim.source), nothing);
    let from = another(bridge, &[victim])?;
    let frame = probe.frame(bridge, from, from.tags.first().map_or(&[], Vec::as_slice))?;
    let walk = context.probe(from.link.index, &frame);
    let other = guests(bridge).find(|port| port.link.index != victim.link.index && reached(&walk, port))?;
    Some((victim, other, from))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    #[test]
    fn ageing_zero_is_a_hub() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("hub-mode"), []);
        host.bridge_options("br0").ageing_time = Some(0);
        let found = host.found("hub-mode");
        assert_eq!(found.len(), 1, "{}", sketch(&found));
        assert!(found[0].witness.is_some());
    }

    #[test]
    fn learning_off_without_an_entry_leaks_that_guest() {
        let mut host = Host::hypervisor();
        host.port_options("vnet1").learning = Some(false);
        assert_eq!(host.found("hub-mode").len(), 1);
    }
}
