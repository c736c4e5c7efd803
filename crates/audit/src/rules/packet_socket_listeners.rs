//! `packet-socket-listeners`: processes that take frames from a bridge or its ports before any filter does.

use portcullis_snapshot::{EtherType, PacketSocket};

use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct PacketSocketListeners;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("packet-socket-listeners"),
    title: "Processes read frames from the bridge past every filter",
    severity: Severity::Info,
    threat: "A packet socket gets its copy of a frame before tc, nftables and the routing have a say. DHCP servers and \
             clients, LLDP and 802.1X daemons and captures use them. What such a process makes of a guest's frames is \
             not limited by the firewall, and a fault in it is within a guest's reach.",
    kernel_path: &[
        "__netif_receive_skb_core (net/core/dev.c): ptype_all and the device's own list, before sch_handle_ingress",
    ],
    how_found: "Packet sockets that are bound to the bridge device or to one of its guest ports, and those that are \
                bound to no device, are listed with their processes.",
    remedies: &[RemedyDoc {
        method: "bind-elsewhere",
        trade_off: "Bind the process to the devices it is meant for, or run it in another network namespace.",
    }],
    references: &["net/core/dev.c: __netif_receive_skb_core", "packet(7)"],
};

impl Rule for PacketSocketListeners {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges().iter().filter(|bridge| bridge.guests().next().is_some()) {
            let sockets = context.netns().packet_sockets.known().iter();
            let mut listed: Vec<_> = sockets
                .filter_map(|socket| Some((place(context, bridge, socket)?, describe(socket))))
                .collect();
            if listed.is_empty() {
                continue;
            }
            listed.sort();
            listed.dedup();
            let why = "Packet sockets get frames before any filter, also those that a filter then drops. Each of these \
                       processes reads what guests send.";
            let title = "processes read guests' frames past every filter";
            let finding = context.finding(&DOC, bridge, None, title, why);
            findings.push(
                listed
                    .into_iter()
                    .fold(finding, |finding, (place, process)| finding.evidence(place, process)),
            );
        }
    }
}

/// Where a socket listens, if guests' frames pass there.
fn place(context: &Context<'_>, bridge: &BridgeView<'_>, socket: &PacketSocket) -> Option<String> {
    // Protocol 0 receives nothing: such a socket only sends.
    if socket.protocol.0 == 0 {
        return None;
    }
    match socket.device {
        None => Some("packet socket on every device".to_owned()),
        Some(device) => {
            let on_port = bridge.port(device).is_some_and(|port| port.role.is_untrusted());
            let here = device == bridge.link.index || on_port;
            here.then(|| format!("packet socket on {}", context.name(device)))
        }
    }
}

fn describe(socket: &PacketSocket) -> String {
    let processes: Vec<_> =
        socket.processes.iter().map(|process| format!("{} ({})", process.name, process.pid)).collect();
    let who = if processes.is_empty() {
        "a process that could not be found".to_owned()
    } else {
        processes.join(", ")
    };
    // 3 is ETH_P_ALL.
    let what = if socket.protocol == EtherType(3) {
        "every protocol".to_owned()
    } else {
        socket.protocol.to_string()
    };
    format!("{who}, {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::{ProcessRef, Reading};

    fn socket(device: Option<portcullis_snapshot::IfIndex>, protocol: u16) -> PacketSocket {
        PacketSocket {
            device,
            protocol: EtherType(protocol),
            promiscuous: Vec::new(),
            allmulti: Vec::new(),
            uid: Some(0),
            inode: 1,
            processes: vec![ProcessRef { pid: 7, name: "lldpd".to_owned() }],
        }
    }

    #[test]
    fn sockets_that_hear_guests_are_listed() {
        let mut host = Host::hypervisor();
        let (br0, eth1, vnet0) = (host.index("br0"), host.index("eth1"), host.index("vnet0"));
        let sockets =
            [socket(Some(br0), 3), socket(Some(eth1), 3), socket(Some(vnet0), 0x88cc), socket(None, 0)];
        host.netns().packet_sockets = Reading::Read(sockets.to_vec());
        insta::assert_snapshot!(sketch(&host.found("packet-socket-listeners")), @r"
        info br0: processes read guests' frames past every filter
          packet socket on br0 = lldpd (7), every protocol
          packet socket on vnet0 = lldpd (7), LLDP
        ");
    }

    #[test]
    fn none_are_nothing() {
        assert_eq!(Host::hypervisor().found("packet-socket-listeners"), []);
    }
}
