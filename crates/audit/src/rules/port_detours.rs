//! `port-detours`: options of a port that make traffic go where the FDB does not say: hairpin, backup ports, proxies.

use super::settings::{by_hand, guests, nothing, port_commands, reached};
use crate::context::{BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct PortDetours;

const OFF: RemedyDoc = RemedyDoc {
    method: "port-option-off",
    trade_off: "Turns the option off; whatever wanted it has to do without.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("port-detours"),
    title: "A port's options send traffic where the FDB does not",
    severity: Severity::Low,
    threat: "hairpin sends frames back out of the port they came in by. A backup port takes over a guest's traffic while \
             that guest's link is down. With proxy ARP and neighbour suppression the bridge answers for guests out of the \
             host's neighbour table, which guests can poison, and tells guests of each other.",
    kernel_path: &[
        "should_deliver, br_forward (net/bridge/br_forward.c): BR_HAIRPIN_MODE, backup_port",
        "br_do_proxy_suppress_arp (net/bridge/br_arp_nd_proxy.c)",
    ],
    how_found: "The options of guest ports; hairpin is shown by the walk of a frame that comes back.",
    remedies: &[OFF],
    references: &[
        "net/bridge/br_forward.c: should_deliver",
        "bridge(8): hairpin, backup_port, proxy_arp, neigh_suppress",
    ],
};

impl Rule for PortDetours {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for port in guests(bridge) {
                findings.extend(hairpin(context, bridge, port));
                findings.extend(backup(context, bridge, port));
                findings.extend(proxy(context, bridge, port));
            }
        }
    }
}

fn hairpin(context: &Context<'_>, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Option<Finding> {
    if port.options.hairpin != Some(true) {
        return None;
    }
    let frame = Probe::new(Destination::Broadcast, nothing).frame(bridge, port, port.tags.first()?)?;
    if !reached(&context.probe(port.link.index, &frame), port) {
        return None;
    }
    let why = "Frames leave again by the port they came in by. Several guests behind one port then reach each other through \
               the bridge.";
    let finding = context
        .finding(&DOC, bridge, Some(port), "hairpin reflects a guest's frames", why)
        .severity(Severity::Info)
        .evidence(format!("hairpin of {}", port.link.name), "on")
        .witness(port, frame, port.link.name.clone());
    Some(finding.remedies([by_hand(
        &OFF,
        "Nothing is reflected.",
        port_commands(context, [port], "hairpin off"),
    )]))
}

fn backup(context: &Context<'_>, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Option<Finding> {
    let backup = bridge.port(port.options.backup_port?)?;
    let why = "While the guest's link has no carrier, frames to it leave by the backup port: whoever is there receives them.";
    let finding = context
        .finding(&DOC, bridge, Some(port), "a backup port takes over a guest's traffic", why)
        .evidence(format!("backup_port of {}", port.link.name), &backup.link.name);
    Some(finding.remedies([by_hand(
        &OFF,
        "No other port takes over.",
        port_commands(context, [port], "nobackup_port"),
    )]))
}

fn proxy(context: &Context<'_>, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Option<Finding> {
    let options = port.options;
    let on: Vec<_> = [
        ("proxy_arp", options.proxy_arp),
        ("proxy_arp_wifi", options.proxy_arp_wifi),
        ("neigh_suppress", options.neigh_suppress),
    ]
    .into_iter()
    .filter(|(_, value)| *value == Some(true))
    .map(|(name, _)| name)
    .collect();
    let first = *on.first()?;
    let why = "The bridge answers ARP or neighbour discovery in a guest's stead from the host's neighbour table, which is fed \
               by guests' own messages.";
    let finding = context
        .finding(&DOC, bridge, Some(port), "the bridge answers ARP or neighbour discovery for guests", why)
        .severity(Severity::Info)
        .evidence(format!("options of {}", port.link.name), on.join(" "));
    let off = port_commands(context, [port], &format!("{first} off"));
    Some(finding.remedies([by_hand(&OFF, "Guests answer for themselves.", off)]))
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn each_option_is_told() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("port-detours"), []);
        host.port_options("vnet0").hairpin = Some(true);
        host.port_options("vnet1").neigh_suppress = Some(true);
        let backup = host.index("vnet2");
        host.port_options("vnet1").backup_port = Some(backup);
        assert_eq!(host.found("port-detours").len(), 3);
    }
}
