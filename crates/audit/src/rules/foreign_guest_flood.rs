//! `foreign-guest-flood`: a MAC address behind the bridge device is never learned, so its traffic goes to every guest.

use portcullis_snapshot::{Link, MacAddr};

use super::foreign_bridge::signs;
use super::settings::{NOBODY, another, by_hand, nothing, questions_to, reached};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct ForeignGuestFlood;

const LOCAL_FDB: RemedyDoc = RemedyDoc {
    method: "local-fdb",
    trade_off: "One local FDB entry for each address; frames to it are passed up and no longer flooded. Turning \
                promiscuous mode off does not help: the address stays unknown.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("foreign-guest-flood"),
    title: "What is sent to an address behind the bridge device goes to every guest",
    severity: Severity::High,
    threat: "Addresses of devices on top of the bridge device, or of guests of another product behind it, are in no FDB: \
             frames sent through a bridge device teach it nothing. Everything that is sent to them is unknown unicast for \
             ever, and every guest port with flood on gets a copy of it.",
    kernel_path: &[
        "br_dev_xmit (net/bridge/br_device.c): no br_fdb_update",
        "br_handle_frame_finish (net/bridge/br_input.c): br_fdb_find_rcu finds nothing",
        "br_flood (net/bridge/br_forward.c)",
    ],
    how_found: "A frame to the address of each device on top of the bridge device is walked from the uplink; it counts if \
                it leaves by a guest port. Where another product bridges the bridge, its guests' addresses are not known \
                and an address that nobody has stands for them.",
    remedies: &[LOCAL_FDB],
    references: &["net/bridge/br_device.c: br_dev_xmit", refs::ANRACOM],
};

impl Rule for ForeignGuestFlood {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for (who, address) in addresses(context, bridge) {
                check_address(context, bridge, (&who, address), findings);
            }
        }
    }
}

/// Addresses that live above the bridge device and are not its own.
fn addresses(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<(String, MacAddr)> {
    let mut addresses = Vec::new();
    if let Some(uppers) = context.network().uppers(bridge.link.index) {
        let vlans = uppers.vlans.values().map(|upper| upper.link);
        let macvlans = uppers.macvlans.iter().map(|(upper, _)| upper.link);
        let own = |link: &&Link| link.address.is_some() && link.address != bridge.link.address;
        let foreign = vlans.chain(macvlans).filter(own);
        addresses.extend(foreign.filter_map(|link| Some((link.name.clone(), link.address?))));
        addresses.sort();
    }
    if addresses.is_empty() && !signs(context, bridge, bridge.link).is_empty() {
        addresses.push(("the other product's guests".to_owned(), NOBODY));
    }
    addresses
}

fn check_address(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    (who, address): (&str, MacAddr),
    findings: &mut Findings,
) {
    let Some(from) = another(bridge, &[]) else { return };
    let probe = Probe::new(Destination::Mac(address), nothing);
    let Some(frame) = probe.frame(bridge, from, from.tags.first().map_or(&[], Vec::as_slice)) else { return };
    let walk = context.probe(from.link.index, &frame);
    let Some(guest) = super::settings::guests(bridge).find(|port| reached(&walk, port)) else { return };
    let why = format!(
        "{who} is reached through {}, which does not learn what is sent through it. A frame from {} to it has no FDB entry \
         and leaves by every guest port that floods.",
        bridge.link.name, from.link.name
    );
    let copies = super::settings::guests(bridge).filter(|port| reached(&walk, port)).count();
    let name = crate::remedy::shell(&bridge.link.name);
    let mac = if address == NOBODY { "MAC".to_owned() } else { address.to_string() };
    let title = "guests get copies of what is sent to an address behind the bridge device";
    let finding = context
        .finding(&DOC, bridge, None, title, why)
        .evidence("address", format!("{mac} ({who})"))
        .evidence("guest ports that get a copy", copies)
        .witness(from, frame, guest.link.name.clone())
        .unproven(questions_to(&walk, guest));
    findings.push(finding.remedies([by_hand(
        &LOCAL_FDB,
        "Frames to the address go up to the bridge device only.",
        vec![context.command(format!("bridge fdb add {mac} dev {name} self permanent"))],
    )]));
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::{LinkKind, MacAddr, MacvlanMode, MacvlanOptions};

    #[test]
    fn a_macvlan_on_the_bridge_is_flooded_until_its_address_is_known() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("foreign-guest-flood"), []);
        let options = MacvlanOptions { mode: MacvlanMode::Bridge, flags: 0, sources: Vec::new() };
        host.device("mv0", LinkKind::Macvlan(options));
        let br0 = host.index("br0");
        host.link("mv0").link = Some(br0);
        host.link("mv0").address = Some(MacAddr([2, 9, 9, 9, 9, 9]));
        let found = host.found("foreign-guest-flood");
        assert_eq!(found.len(), 1);
        assert!(found[0].witness.is_some());
    }
}
