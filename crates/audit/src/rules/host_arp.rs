//! `host-arp`: the host answers guests' ARP, or takes it in, on a bridge that is meant to be only a switch.

use portcullis_datapath::Payload;
use portcullis_datapath::frame::ArpOperation;
use portcullis_snapshot::EtherType;

use super::host::{Case, STRANGER4, arp_request, ipv4_targets, neighbour_of, to_each};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct HostArp;

const ARP_IGNORE: RemedyDoc = RemedyDoc {
    method: "arp-ignore",
    trade_off: "The host answers only for addresses of the device that the request came in by (1), hence not at all \
                on a bridge without one. Stops ARP only; the larger of `all` and the device's own value counts.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("host-arp"),
    title: "The host processes guests' ARP on a bridge that is meant to be only a switch",
    severity: Severity::High,
    threat: "Linux answers ARP for every address of the host on every interface, also on one without an address. A \
             guest learns which addresses the host has, gets the MAC address to talk to them, and enters itself or \
             others into the host's neighbour table.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): broadcast is also passed up",
        "br_pass_frame_up (net/bridge/br_input.c): the frame comes in again on the bridge device",
        "arp_rcv, arp_process (net/ipv4/arp.c): ip_route_input says the target is local; arp_ignore and arp_filter do \
         not object",
    ],
    how_found: "ARP requests for one address of each of the host's devices, from a neighbour of that address and from a \
                stranger, are walked from each guest port by broadcast, multicast, the bridge's and the port's own \
                address; and replies that would change an existing neighbour entry of the bridge device.",
    remedies: &[docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE, docs::ARP_OFF, ARP_IGNORE, docs::OWN_NETNS],
    references: &[
        "net/ipv4/arp.c: arp_process, arp_ignore, arp_filter",
        "Documentation/networking/ip-sysctl.rst: arp_ignore, arp_filter",
        "RFC 826",
        refs::BERNAT,
    ],
};

impl Rule for HostArp {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let case = Case {
            doc: &DOC,
            protocol: EtherType::ARP,
            title: "the host processes guests' ARP",
            why: "Broadcast is passed up to {device}, and arp_process answers for every address that the host has \
                  anywhere. A guest finds the host's addresses this way, and whom to send packets for them to.",
        };
        case.check(context, findings, |bridge| probes(context, bridge), |bridge| remedies(context, bridge));
    }
}

fn probes(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Probe<'static>> {
    let destinations =
        [Destination::Broadcast, Destination::Bridge, Destination::Port, Destination::ALL_HOSTS];
    let mut probes = Vec::new();
    for target in ipv4_targets(context) {
        for sender in [neighbour_of(target), STRANGER4] {
            probes.extend(to_each(&destinations, move |port| arp_request(port, sender, target)));
        }
    }
    // A neighbour that the host knows behind this bridge: its entry can be overwritten.
    let neighbours = context.netns().neighbours.known().iter();
    for neighbour in neighbours.filter(|neighbour| neighbour.device == bridge.link.index).take(2) {
        let std::net::IpAddr::V4(address) = neighbour.address else { continue };
        probes.push(Probe::new(Destination::Broadcast, move |port| Payload::Arp {
            operation: ArpOperation::Reply,
            sender_mac: port.source,
            sender_ip: address,
            target_ip: address,
        }));
    }
    probes
}

fn remedies(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<crate::Remedy> {
    let name = remedy::shell(&bridge.link.name);
    let arp_off = crate::Remedy {
        method: docs::ARP_OFF.method,
        summary: "The bridge device takes no ARP. IPv4 and IPv6 stay reachable without it.".into(),
        commands: vec![context.command(format!("ip link set dev {name} arp off"))],
    };
    let mut remedies = remedy::close_the_way_up(context, bridge);
    remedies.extend([
        arp_off,
        remedy::sysctl(
            context,
            &ARP_IGNORE,
            "The bridge device answers for no address.",
            &[("ipv4", &bridge.link.name, "arp_ignore", 1)],
        ),
    ]);
    remedies
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::LinkFlags;

    #[test]
    fn a_bridge_without_an_address_answers() {
        let found = Host::hypervisor().found("host-arp");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        high br0 vnet0: the host processes guests' ARP on br0, which has no address
          reached by = broadcast, the bridge's address, the port's own address, multicast (01:00:5e:00:00:01)
          addresses of br0 = none
          ffffffffffff0250430000050806… by vnet0 reaches the host's ARP on br0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
          $ ip link set dev br0 arp off
          $ sysctl -w net.ipv4.conf.br0.arp_ignore=1
        "#);
    }

    #[test]
    fn arp_off_closes_it() {
        let mut host = Host::hypervisor();
        host.link("br0").flags.0 |= LinkFlags::NOARP;
        assert_eq!(host.found("host-arp"), []);
    }

    #[test]
    fn arp_ignore_closes_it() {
        let mut host = Host::hypervisor();
        host.ipv4("br0").arp_ignore = Some(1);
        assert_eq!(host.found("host-arp"), []);
    }

    #[test]
    fn without_the_bridge_in_the_vlan_nothing_goes_up() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        assert_eq!(host.found("host-arp").len(), 3);
        host.no_vlan("br0", 1);
        assert_eq!(host.found("host-arp"), []);
    }

    #[test]
    fn a_bridge_with_an_address_is_meant_to_answer() {
        let mut host = Host::hypervisor();
        host.address("br0", "192.0.2.1/24");
        assert_eq!(host.found("host-arp"), []);
        assert_eq!(host.found_with("host-arp", "[[bridge]]\nhost-access = \"deny\"").len(), 3);
    }
}
