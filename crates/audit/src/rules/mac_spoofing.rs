//! `mac-spoofing`: a guest can speak as another and take its traffic.

use portcullis_datapath::{FrameBuilder, LearnedChange};
use portcullis_prove::{Exposure, Goal, Prover, Verdict};

use super::settings::{NOBODY, by_hand, guests, nothing, on_off, port_commands};
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct MacSpoofing;

const LOCKED: RemedyDoc = RemedyDoc {
    method: "locked",
    trade_off: "Only sources with an FDB entry on the port get in; add static entries, and turn link-local learning off \
                (see locked-self-authorised). Kernel 5.18 or later.",
};
const STICKY: RemedyDoc = RemedyDoc {
    method: "static-sticky-fdb",
    trade_off: "A static and sticky entry does not move, so traffic is not taken; frames with a borrowed source still \
                pass. Kernel 4.20 or later. A static entry that is not sticky does move.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("mac-spoofing"),
    title: "A guest can use another's MAC address and take its traffic",
    severity: Severity::Medium,
    threat: "A frame with another guest's source address moves that address to the sender's port: traffic to the victim \
             goes to the attacker until the victim speaks again. Entries that were put there by hand move too, unless \
             they are sticky.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): BR_PORT_LOCKED asks for an entry on this very port",
        "br_fdb_update (net/bridge/br_fdb.c): an entry moves unless it is local or sticky",
    ],
    how_found: "A frame with the address of another guest as its source is walked from each guest port; it counts if it \
                gets past the lock and the FDB would follow it. Where that one does not, any frame with an address that \
                the FDB has behind another guest's port does, if one is found by proof.",
    remedies: &[LOCKED, STICKY],
    references: &["net/bridge/br_fdb.c: br_fdb_update", "bridge(8): locked, sticky"],
};

impl Rule for MacSpoofing {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for alike in bridge.guests() {
                let victim = guests(bridge).find(|port| port.link.index != alike.first.link.index);
                let tried = victim.and_then(|v| Some((v, moves(context, alike.first, v)?)));
                if let Some((victim, moved)) = tried {
                    for port in alike.members() {
                        let victim = if victim.link.index == port.link.index { alike.first } else { victim };
                        let frame = spoofed(port, victim);
                        findings.push(finding(context, bridge, (port, victim), (frame, moved)));
                    }
                } else if let Some((victim, exposure)) = by_proof(context, bridge, &alike) {
                    let moved = LearnedChange::Move { from: victim.link.index };
                    let goal = Goal::Spoof { of: victim.link.index };
                    let prover = Prover::new(context.network());
                    let can =
                        |port: &&PortView<'_>| prover.gets_there(port.link.index, goal, &exposure.frame);
                    for port in alike.members().filter(can) {
                        findings.push(finding(
                            context,
                            bridge,
                            (port, victim),
                            (exposure.frame.to_vec(), moved),
                        ));
                    }
                }
            }
        }
    }
}

/// What the FDB makes of a frame from one guest with the other's address; `None` if it does not follow it.
fn moves(context: &Context<'_>, attacker: &PortView<'_>, victim: &PortView<'_>) -> Option<LearnedChange> {
    let walk = context.probe(attacker.link.index, &spoofed(attacker, victim));
    let learned = walk.learned.first()?;
    (learned.change != LearnedChange::Refresh).then_some(learned.change)
}

/// The guest whose address a proof found to be taken over in the state that was read, and the frame that does it.
fn by_proof<'v, 's>(
    context: &'v Context<'s>,
    bridge: &'v BridgeView<'s>,
    alike: &Alike<'_, '_>,
) -> Option<(&'v PortView<'s>, &'v Exposure)> {
    context.proofs(alike).iter().find_map(|claim| match (&claim.proof.verdict, claim.proof.goal) {
        (Verdict::Exposed(exposure), Goal::Spoof { of }) if !exposure.later => {
            Some((bridge.port(of)?, exposure))
        }
        _ => None,
    })
}

fn spoofed(attacker: &PortView<'_>, victim: &PortView<'_>) -> Vec<u8> {
    let start = FrameBuilder::new(NOBODY, victim.source);
    let tags = attacker.tags.first().into_iter().flatten();
    tags.fold(start, |frame, (tpid, vid)| frame.tag(*tpid, *vid)).payload(&nothing(attacker))
}

fn finding(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    (port, victim): (&PortView<'_>, &PortView<'_>),
    (frame, moved): (Vec<u8>, LearnedChange),
) -> Finding {
    let how = match moved {
        LearnedChange::Move { .. } => "its FDB entry moves to the sender's port",
        _ => "it is learned on the sender's port",
    };
    let why = format!(
        "A frame from {} with the address of the guest behind {} is let in, and {how}: frames to the victim then go to \
         the attacker.",
        port.link.name, victim.link.name
    );
    let name = crate::remedy::shell(&port.link.name);
    let entry =
        context.command(format!("bridge fdb replace {} dev {name} master static sticky", port.source));
    let mut lock = vec![entry.clone()];
    lock.extend(port_commands(context, [port], "locked on learning off"));
    context
        .finding(&DOC, bridge, Some(port), "a guest can take another guest's MAC address", why)
        .evidence(format!("locked of {}", port.link.name), on_off(port.options.locked))
        .evidence(format!("learning of {}", port.link.name), on_off(port.options.learning))
        .witness(port.link, frame, format!("the FDB: {} at {}", victim.source, port.link.name))
        .remedies([
            by_hand(&LOCKED, "Only the guest's own address gets in.", lock),
            by_hand(&STICKY, "The guest's own entry can no longer be moved by others.", vec![entry]),
        ])
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn a_locked_port_cannot_and_others_can() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("mac-spoofing").len(), 3);
        host.port_options("vnet0").locked = Some(true);
        assert_eq!(host.found("mac-spoofing").len(), 2);
    }

    #[test]
    fn nothing_is_taken_where_nothing_is_learned() {
        let mut host = Host::hypervisor();
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.port_options(guest).learning = Some(false);
        }
        assert_eq!(host.found("mac-spoofing"), []);
    }
}
