//! `foreign-bridge`: another product has taken the bridge device, or a port, as its own uplink.

use portcullis_snapshot::promiscuity::{account_among, is_plainly_accounted};
use portcullis_snapshot::{Link, PacketSocket};

use super::bridge_promiscuous::holders;
use super::settings::by_hand;
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct ForeignBridge;

const OWN_PORT: RemedyDoc = RemedyDoc {
    method: "own-port",
    trade_off: "Give the other product a port of its own: a veth pair with one end in the bridge. Its guests are then \
                learned like any other. Two switches in a row want STP.",
};
const LOCAL_FDB: RemedyDoc = RemedyDoc {
    method: "local-fdb",
    trade_off: "A local FDB entry on the bridge device for each MAC address behind it stops the flood to guests; somebody \
                has to keep the entries up to date.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("foreign-bridge"),
    title: "Another product bridges the bridge",
    severity: Severity::High,
    threat: "Software that uses the bridge device as its uplink (VMware's vmnet, a user-space switch on a packet socket, \
             macvlans on the bridge) has guests of its own behind it. Their addresses are never learned, because frames \
             sent through a bridge device are not learned from: what is sent to them is flooded to every guest port. The \
             other product, in turn, reads all guests' traffic.",
    kernel_path: &[
        "br_dev_xmit (net/bridge/br_device.c): forwards without br_fdb_update",
        "br_flood (net/bridge/br_forward.c): to an address that is not in the FDB",
    ],
    how_found: "Promiscuity of the bridge device that nothing visible accounts for, promiscuous packet sockets bound to it \
                of programs that are no capture tools, and vmnet's handlers in /proc/net/ptype.",
    remedies: &[OWN_PORT, LOCAL_FDB],
    references: &["net/bridge/br_device.c: br_dev_xmit", refs::ANRACOM],
};

/// Programs that only look.
const CAPTURE_TOOLS: &[&str] = &[
    "tcpdump",
    "dumpcap",
    "wireshark",
    "tshark",
    "suricata",
    "snort",
    "zeek",
    "arpwatch",
    "p0f",
    "ngrep",
    "softflowd",
];

impl Rule for ForeignBridge {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let ports = bridge.ports.iter().map(|port| port.link);
            for device in std::iter::once(bridge.link).chain(ports) {
                let signs = signs(context, bridge, device);
                if signs.is_empty() {
                    continue;
                }
                let port = bridge.port(device.index);
                let why = format!(
                    "Something else takes every frame of {} and can send through it. Addresses behind it are never \
                     learned, so frames to them go to every guest port that floods.",
                    device.name
                );
                let title = "another product seems to use this device as its uplink";
                let mut finding = context.finding(&DOC, bridge, port, title, why);
                for sign in signs {
                    finding = finding.evidence(format!("on {}", device.name), sign);
                }
                findings.push(finding.remedies(remedies(context, bridge)));
            }
        }
    }
}

/// What shows that a device is somebody's uplink.
pub(super) fn signs(context: &Context<'_>, bridge: &BridgeView<'_>, device: &Link) -> Vec<String> {
    let mut signs: Vec<String> = Vec::new();
    if !is_plainly_accounted(context.netns(), device) {
        let held = account_among(&context.snapshot().namespaces, context.netns(), device);
        if held.unaccounted.at_least() > 0 {
            signs.extend(holders(&held).pop());
            let suspects = held.suspects.iter();
            signs.extend(suspects.map(|suspect| format!("receives every frame: {}", suspect.function)));
        }
    }
    let here = |socket: &&PacketSocket| socket.promiscuous.contains(&device.index) && !is_capture(socket);
    for socket in context.netns().packet_sockets.known().iter().filter(here) {
        let names: Vec<_> = socket.processes.iter().map(|p| format!("{} ({})", p.name, p.pid)).collect();
        let who = if names.is_empty() { format!("inode {}", socket.inode) } else { names.join(", ") };
        signs.push(format!("promiscuous packet socket of {who}"));
    }
    // On ports, a macvlan cannot be; on the bridge device it is a switch of its own.
    if device.index == bridge.link.index
        && let Some(uppers) = context.network().uppers(device.index)
    {
        signs.extend(uppers.macvlans.iter().map(|(upper, _)| format!("macvlan {}", upper.link.name)));
    }
    signs
}

fn is_capture(socket: &PacketSocket) -> bool {
    let known = |name: &str| CAPTURE_TOOLS.iter().any(|tool| name.starts_with(tool));
    !socket.processes.is_empty() && socket.processes.iter().all(|process| known(&process.name))
}

fn remedies(context: &Context<'_>, bridge: &BridgeView<'_>) -> [crate::Remedy; 2] {
    let name = crate::remedy::shell(&bridge.link.name);
    let pair = [
        "ip link add foreign0 type veth peer name foreign1",
        "ip link set dev foreign0 up",
        "ip link set dev foreign1 up",
    ];
    let mut commands: Vec<_> = pair.iter().map(|command| context.command(*command)).collect();
    commands.push(context.command(format!("ip link set dev foreign0 master {name}")));
    commands.push(context.command(format!("ip link set dev {name} type bridge stp_state 1")));
    let entry = context.command(format!("bridge fdb add MAC dev {name} self permanent"));
    [
        by_hand(&OWN_PORT, "The other product uses foreign1 as its uplink.", commands),
        by_hand(&LOCAL_FDB, "For each MAC address behind it; frames to it then go up only.", vec![entry]),
    ]
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::{EtherType, PacketSocket, ProcessRef, Reading};

    fn socket(host: &mut Host, process: &str) -> PacketSocket {
        let br0 = host.index("br0");
        PacketSocket {
            device: Some(br0),
            protocol: EtherType(3),
            promiscuous: vec![br0],
            allmulti: Vec::new(),
            uid: Some(0),
            inode: 7,
            processes: vec![ProcessRef { pid: 42, name: process.to_owned() }],
        }
    }

    #[test]
    fn a_switch_on_a_packet_socket_is_one_and_a_capture_is_not() {
        for (process, count) in [("tcpdump", 0), ("vmnet-bridge", 1)] {
            let mut host = Host::hypervisor();
            host.link("br0").promiscuity = Some(1);
            let socket = socket(&mut host, process);
            host.netns().packet_sockets = Reading::Read(vec![socket]);
            assert_eq!(host.found("foreign-bridge").len(), count, "{process}");
        }
    }

    #[test]
    fn promiscuity_that_nobody_explains_is_one() {
        let mut host = Host::hypervisor();
        host.netns().packet_sockets = Reading::Read(Vec::new());
        host.link("br0").promiscuity = Some(1);
        assert_eq!(host.found("foreign-bridge").len(), 1);
    }
}
