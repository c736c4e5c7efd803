//! `host-ipv4`: the host processes guests' IPv4 on a bridge that is meant to be only a switch.

use std::net::Ipv4Addr;

use portcullis_datapath::Payload;
use portcullis_snapshot::EtherType;

use super::host::{Case, STRANGER4, ipv4_targets, neighbour_of, to_each};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct HostIpv4;

const RP_FILTER: RemedyDoc = RemedyDoc {
    method: "rp-filter",
    trade_off: "On a device without an address, 1 and 2 alike refuse every source. ARP probes, 0.0.0.0 to \
                255.255.255.255, IPv6 and link-local frames still get through.",
};
const L2_MULTICAST: RemedyDoc = RemedyDoc {
    method: "drop-unicast-in-l2-multicast",
    trade_off: "Refuses packets to a unicast address in broadcast and multicast frames only.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("host-ipv4"),
    title: "The host processes guests' IPv4 on a bridge that is meant to be only a switch",
    severity: Severity::High,
    threat: "A device needs no address to take IPv4 in: every address of the host is reachable through every device \
             (the weak host model of RFC 1122). A guest talks to the host's services, on addresses of other networks \
             too, by the bridge's MAC address, by the MAC address of its own port's host side, and, for UDP and ICMP, \
             by broadcast and multicast.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): a local FDB entry (bridge or port), broadcast or multicast",
        "br_pass_frame_up (net/bridge/br_input.c): the frame comes in again on the bridge device",
        "ip_rcv_core, ip_rcv_finish_core (net/ipv4/ip_input.c): not OTHERHOST",
        "ip_route_input_slow, fib_validate_source (net/ipv4/route.c, fib_frontend.c): the destination is local",
        "ip_local_deliver (net/ipv4/ip_input.c)",
    ],
    how_found: "Pings to one address of each of the host's devices, to 255.255.255.255 and to 224.0.0.1 are walked from \
                each guest port, from a neighbour's and a stranger's address, by each kind of MAC address.",
    remedies: &[docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE, RP_FILTER, L2_MULTICAST, docs::OWN_NETNS],
    references: &[
        "net/ipv4/ip_input.c, net/ipv4/route.c: ip_route_input_slow",
        "RFC 1122, section 3.3.4.2: the weak host model",
        "RFC 3704: reverse path filtering",
        refs::BERNAT,
    ],
};

impl Rule for HostIpv4 {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let case = Case {
            doc: &DOC,
            protocol: EtherType::IPV4,
            title: "the host processes guests' IPv4",
            why: "Frames to the bridge's address, to the address of the port itself, to broadcast and to multicast are \
                  passed up to {device}, and ip_rcv takes them in although {device} has no address: each address of \
                  the host counts on each device. A guest talks to whatever listens there.",
        };
        case.check(
            context,
            findings,
            |_| probes(context),
            |bridge| {
                let device = bridge.link.name.as_str();
                let mut remedies = remedy::close_the_way_up(context, bridge);
                remedies.push(remedy::sysctl(
                    context,
                    &RP_FILTER,
                    "Without an address, the reverse path filter refuses every source but 0.0.0.0.",
                    &[("ipv4", device, "rp_filter", 1)],
                ));
                remedies
            },
        );
    }
}

fn probes(context: &Context<'_>) -> Vec<Probe<'static>> {
    let destinations =
        [Destination::Bridge, Destination::Port, Destination::Broadcast, Destination::ALL_HOSTS];
    let mut probes = Vec::new();
    for to in ipv4_targets(context) {
        for from in [neighbour_of(to), STRANGER4] {
            probes.extend(to_each(&destinations, move |_| Payload::Ping4 { from, to }));
        }
    }
    let to = Ipv4Addr::BROADCAST;
    probes.extend(to_each(&[Destination::Broadcast], move |_| Payload::Udp4 {
        from: Ipv4Addr::UNSPECIFIED,
        to,
        ports: (68, 67),
        data: Vec::new(),
    }));
    let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1));
    probes.extend(to_each(&[Destination::ALL_HOSTS], move |_| Payload::Ping4 { from, to }));
    probes
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    #[test]
    fn a_bridge_without_an_address_takes_packets_in() {
        let found = Host::hypervisor().found("host-ipv4");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        high br0 vnet0: the host processes guests' IPv4 on br0, which has no address
          reached by = the bridge's address, the port's own address, broadcast, multicast (01:00:5e:00:00:01)
          addresses of br0 = none
          connections possible = yes: the host takes the frame to be its own, TCP included
          0200000000040250430000050800… by vnet0 reaches the host's IPv4 on br0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
          $ sysctl -w net.ipv4.conf.br0.rp_filter=1
        "#);
    }

    #[test]
    fn the_reverse_path_filter_leaves_broadcast_open() {
        let mut host = Host::hypervisor();
        host.ipv4("br0").rp_filter = Some(1);
        let found = host.found("host-ipv4");
        assert_eq!(found.len(), 3);
        assert!(
            found[0]
                .evidence
                .iter()
                .any(|e| &*e.source == "connections possible" && e.value.starts_with("no"))
        );
    }

    #[test]
    fn a_chain_at_the_bridge_leaves_it_unproven() {
        let mut host = Host::hypervisor();
        host.nft_chain(portcullis_snapshot::NftFamily::Bridge, 1, "input");
        assert!(host.found("host-ipv4").iter().all(|finding| !finding.is_proven()));
    }

    #[test]
    fn without_the_bridge_in_the_vlan_nothing_goes_up() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        host.no_vlan("br0", 1);
        assert_eq!(host.found("host-ipv4"), []);
    }
}
