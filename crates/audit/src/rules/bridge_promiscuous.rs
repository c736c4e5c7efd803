//! `bridge-promiscuous`: the bridge device takes in every frame, and who made it so.

use portcullis_snapshot::promiscuity::{HeldBy, Holder, Promiscuity, Unaccounted, account_among};

use super::settings::{NOBODY, by_hand, nothing};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct BridgePromiscuous;

const STOP_HOLDER: RemedyDoc = RemedyDoc {
    method: "stop-holder",
    trade_off: "Stop whatever asked for it. A capture on the bridge can be made on a port instead, or without promiscuous \
                mode (tcpdump -p).",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("bridge-promiscuous"),
    title: "The bridge device is promiscuous",
    severity: Severity::Medium,
    threat: "Every frame that the bridge forwards is also passed up to the bridge device. By itself the host's IP ignores \
             what is for others; but the device is no longer kept out of VLANs it is not in, uplinks that filter by \
             address let everything in, and whoever made it promiscuous reads all guests' traffic. `ip link` does not \
             show it.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): local_rcv = IFF_PROMISC",
        "br_pass_frame_up (net/bridge/br_input.c): the VLAN test of the bridge device is skipped",
        "br_manage_promisc (net/bridge/br_if.c): every port becomes promiscuous",
    ],
    how_found: "IFLA_PROMISCUITY of the bridge device, and who is seen to hold it: users, packet sockets and their \
                processes, devices on top. What nobody explains was asked for within the kernel. The walk of a frame to \
                an address that nobody has shows the copy.",
    remedies: &[STOP_HOLDER],
    references: &["net/core/dev.c: __dev_set_promiscuity, dev_get_flags", refs::ANRACOM],
};

impl Rule for BridgePromiscuous {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let held = account_among(&context.snapshot().namespaces, context.netns(), bridge.link);
            if held.count.is_none_or(|count| count == 0) {
                continue;
            }
            let why = "Whatever passes the bridge is passed up to the bridge device as well, and VLAN membership of the \
                       bridge device protects nothing that stands on it.";
            let mut finding =
                context.finding(&DOC, bridge, None, "the bridge device is promiscuous", why).evidence(
                    format!("IFLA_PROMISCUITY of {}", bridge.link.name),
                    held.count.unwrap_or_default(),
                );
            for line in holders(&held) {
                finding = finding.evidence("held by", line);
            }
            if let Some((port, frame)) = witness(bridge) {
                finding = finding.witness(port, frame, format!("{} (a copy)", bridge.link.name));
            }
            findings.push(finding.remedies([by_hand(
                &STOP_HOLDER,
                "Stop what holds it; this command undoes what a user set.",
                vec![context.command(format!(
                    "ip link set dev {} promisc off",
                    crate::remedy::shell(&bridge.link.name)
                ))],
            )]));
        }
    }
}

fn witness<'s>(bridge: &BridgeView<'s>) -> Option<(&'s portcullis_snapshot::Link, Vec<u8>)> {
    let port = bridge.guests().next()?.first;
    let probe = Probe::new(Destination::Mac(NOBODY), nothing);
    let frame = probe.frame(bridge, port, port.tags.first().map_or(&[], Vec::as_slice))?;
    Some((port.link, frame))
}

/// Who holds it, a line each; what nobody explains, last.
pub(super) fn holders(held: &Promiscuity) -> Vec<String> {
    let mut lines: Vec<_> = held.holders.iter().map(holder).collect();
    match held.unaccounted {
        Unaccounted::Unknown(ref why) => lines.push(format!("perhaps others: {why}")),
        ref unaccounted if unaccounted.at_least() > 0 => {
            let count = unaccounted.at_least();
            lines.push(format!("{count} time(s) by a user within the kernel that shows itself nowhere, as VMware's vmnet does"));
        }
        _ => {}
    }
    lines
}

fn holder(holder: &Holder) -> String {
    match &holder.who {
        HeldBy::Administrator => "an administrator (ip link set promisc on)".to_owned(),
        HeldBy::PacketSocket { processes, inode, .. } => {
            let names: Vec<_> =
                processes.iter().map(|process| format!("{} ({})", process.name, process.pid)).collect();
            if names.is_empty() {
                format!("a packet socket (inode {inode})")
            } else {
                format!("packet socket of {}", names.join(", "))
            }
        }
        HeldBy::Bridge(device) => format!("the bridge {}", device.name),
        HeldBy::OpenVswitch => "Open vSwitch".to_owned(),
        HeldBy::Master(device) => format!("its master {}", device.name),
        HeldBy::Passthru(device) => format!("the passthru macvlan {}", device.name),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn a_count_above_zero_is_told() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("bridge-promiscuous"), []);
        host.link("br0").promiscuity = Some(1);
        let found = host.found("bridge-promiscuous");
        assert_eq!(found.len(), 1);
        assert!(found[0].evidence.iter().any(|evidence| &*evidence.source == "held by"));
    }
}
