//! `host-ipv6`: the host processes guests' IPv6 on a bridge that is meant to be only a switch.

use std::net::Ipv6Addr;

use ipnet::IpNet;
use portcullis_datapath::Payload;
use portcullis_snapshot::EtherType;

use super::host::{
    self, Case, STRANGER6, group_mac, ipv6_targets, link_local, ping_all_nodes, solicited_node, to_each,
};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rule::{Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct HostIpv6;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("host-ipv6"),
    title: "The host processes guests' IPv6 on a bridge that is meant to be only a switch",
    severity: Severity::High,
    threat: "The kernel gives each device a link-local address as it comes up, bridge devices and ports included, and \
             takes IPv6 in for every global address of the host wherever it arrives. There is no reverse path filter \
             for IPv6. A guest reaches services that listen on ::, and what IPv4 rules were meant to protect.",
    kernel_path: &[
        "br_handle_frame_finish, br_pass_frame_up (net/bridge/br_input.c): local FDB entry, multicast, broadcast",
        "ip6_rcv_core (net/ipv6/ip6_input.c): disable_ipv6 of the receiving device, not of others",
        "ip6_route_input (net/ipv6/route.c): the destination is local, on any device",
        "ip6_input, ip6_mc_input (net/ipv6/ip6_input.c); ndisc_recv_ns (net/ipv6/ndisc.c)",
    ],
    how_found: "Pings to one global address of each of the host's devices, to ff02::1 and to the bridge device's \
                link-local addresses, and solicitations for those, are walked from each guest port.",
    remedies: &[docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE, docs::DISABLE_IPV6, docs::OWN_NETNS],
    references: &[
        "net/ipv6/ip6_input.c: ip6_rcv_core, ip6_mc_input",
        "RFC 4291, section 2.8: addresses that a node must recognise",
        refs::BERNAT,
    ],
};

impl Rule for HostIpv6 {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let case = Case {
            doc: &DOC,
            protocol: EtherType::IPV6,
            title: "the host processes guests' IPv6",
            why: "What is passed up to {device} goes to ipv6_rcv, which only asks whether IPv6 is disabled on {device}. \
                  A guest reaches the device's link-local address and each global address of the host.",
        };
        case.check(
            context,
            findings,
            |bridge| probes(context, bridge),
            |bridge| {
                let mut remedies = remedy::close_the_way_up(context, bridge);
                remedies.push(remedy::sysctl(
                    context,
                    &docs::DISABLE_IPV6,
                    "The bridge device takes no IPv6. The ports still do, by link-local frames.",
                    &[("ipv6", &bridge.link.name, "disable_ipv6", 1)],
                ));
                remedies
            },
        );
    }
}

fn probes(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Probe<'static>> {
    let unicast = [Destination::Bridge, Destination::Port];
    let all = [Destination::Bridge, Destination::Port, Destination::ALL_NODES, Destination::Broadcast];
    let mut probes = Vec::new();
    for to in ipv6_targets(context) {
        for from in [host::neighbour_of6(to), STRANGER6] {
            probes.extend(to_each(&all, move |_| Payload::Ping6 { from, to }));
        }
    }
    for own in own_link_locals(context, bridge) {
        probes
            .extend(to_each(&unicast, move |port| Payload::Ping6 { from: link_local(port.source), to: own }));
        let group = solicited_node(own);
        let solicitation = move |port: &crate::PortView<'_>| Payload::NeighbourSolicitation {
            from: link_local(port.source),
            to: group,
            target: own,
        };
        probes.extend(to_each(&[Destination::Multicast(group_mac(group))], solicitation));
    }
    probes.extend(to_each(&all, ping_all_nodes));
    probes
}

fn own_link_locals(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Ipv6Addr> {
    let addresses = context.addresses(bridge.link.index).iter();
    let own = addresses.filter_map(|address| match address.address {
        IpNet::V6(net) if net.addr().is_unicast_link_local() => Some(net.addr()),
        _ => None,
    });
    own.take(2).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    #[test]
    fn a_bridge_without_an_address_takes_packets_in() {
        let found = Host::hypervisor().found("host-ipv6");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        high br0 vnet0: the host processes guests' IPv6 on br0, which has no address
          reached by = the bridge's address, the port's own address, multicast (33:33:00:00:00:01), broadcast
          addresses of br0 = none
          connections possible = yes: the host takes the frame to be its own, TCP included
          02000000000402504300000586dd… by vnet0 reaches the host's IPv6 on br0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
          $ sysctl -w net.ipv6.conf.br0.disable_ipv6=1
        "#);
    }

    #[test]
    fn disable_ipv6_closes_it() {
        let mut host = Host::hypervisor();
        host.ipv6("br0").disable_ipv6 = Some(1);
        assert_eq!(host.found("host-ipv6"), []);
    }

    #[test]
    fn a_link_local_address_alone_does_not_mean_access() {
        let mut host = Host::hypervisor();
        host.address("br0", "fe80::1/64");
        assert_eq!(host.found("host-ipv6").len(), 3);
    }
}
