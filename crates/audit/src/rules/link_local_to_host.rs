//! `link-local-to-host`: frames to link-local group addresses reach the host's stack on the port device, past
//! everything that the bridge is told.

use std::net::Ipv4Addr;
use std::sync::Arc;

use portcullis_datapath::{Aim, Outcome, Payload};
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{EtherType, StpState};

use super::host;
use crate::context::{BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::probe::{Destination, Probe, Reach};
use crate::remedy::{self, docs};
use crate::rule::{Rule, RuleDoc, RuleId, refs};
use crate::shown::Shown;

/// The rule.
pub struct LinkLocalToHost;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("link-local-to-host"),
    title: "Frames to 01:80:c2:00:00:0X reach the host's stack on the port device",
    severity: Severity::High,
    threat: "A frame to a link-local group address never becomes the bridge's: the kernel hands it to the stack of the \
             port device it came in by, whatever it carries. IPv4, ARP and IPv6 are processed there. VLAN filtering, \
             port isolation, locked ports, the STP state, a bridge that is down and most bridge filters have no say, \
             and firewall rules that name the bridge as input interface do not match. A guest reaches UDP services \
             and ICMP on every address of the host, and its ARP; one router advertisement installs a default route.",
    kernel_path: &[
        "br_handle_frame (net/bridge/br_input.c): is_link_local_ether_addr; :00 with STP on, :02 to :0f unless \
         group_fwd_mask says otherwise",
        "br_handle_local_finish (net/bridge/br_input.c): RX_HANDLER_PASS, behind NF_BR_LOCAL_IN except for :00 and :0e",
        "__netif_receive_skb_core (net/core/dev.c): protocol handlers of the port device",
        "ip_rcv, arp_rcv, ipv6_rcv: the packet type is multicast, hence no TCP and no routing",
    ],
    how_found: "ARP requests, pings over IPv4 and IPv6 and neighbour solicitations to each of the sixteen addresses are \
                walked from each guest port. What the host's stack takes in on the port device is reported.",
    remedies: &[docs::DROP_LINK_LOCAL, docs::TC_LINK_LOCAL, docs::OWN_NETNS],
    references: &[
        "net/bridge/br_input.c: br_handle_frame, br_handle_local_finish",
        "IEEE 802.1Q, table 8-1: addresses that a bridge does not forward",
        refs::BERNAT,
    ],
};

impl Rule for LinkLocalToHost {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let probes = probes(context);
        for bridge in context.bridges() {
            let mut open = Vec::new();
            for alike in bridge.guests() {
                let on_port = |outcome: &Outcome| matches!(outcome, Outcome::Host(delivery) if delivery.device == alike.first.link.index);
                let goals = HostProtocol::ALL.map(Goal::Host);
                let mut reach = context.reach_proven(bridge, &alike, (Aim::Host, &probes), &goals, on_port);
                // Others that get there were taken out of the bridge's path: see brouting.
                reach.hits.retain(|hit| matches!(hit.sent.to(), Destination::LinkLocal(_)));
                if let Some(best) = reach.best() {
                    let (title, ways) = (title(&reach), reach.ways());
                    let finding = |port| {
                        let shown = context.shown(bridge, (alike.first, port), best);
                        finding(context, bridge, port, shown, (&title, &ways))
                            .unproven(best.questions.iter().cloned())
                    };
                    findings.extend(alike.members().map(finding));
                }
                if reach.hits.is_empty() {
                    open.extend(reach.undecided);
                }
            }
            let whether = "the host's stack takes link-local frames";
            findings.extend(host::undecided(context, &DOC, bridge, whether, open));
        }
    }
}

/// Every address with every protocol that needs no address of the port's own.
fn probes(context: &Context<'_>) -> Vec<Probe<'static>> {
    let target = host::ipv4_targets(context).first().copied().unwrap_or(Ipv4Addr::BROADCAST);
    let from = host::neighbour_of(target);
    let mut probes = Vec::new();
    for to in Destination::all_link_local() {
        probes.push(Probe::new(to, move |_| Payload::Ping4 { from, to: target }));
        probes.push(Probe::new(to, move |port| host::arp_request(port, from, target)));
        probes.push(Probe::new(to, host::ping_all_nodes));
        // What even a strict reverse path filter lets through: a client that has no address yet.
        probes.push(Probe::new(to, |_| Payload::Udp4 {
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::BROADCAST,
            ports: (68, 67),
            data: Vec::new(),
        }));
    }
    probes
}

fn title(reach: &Reach<'_>) -> Arc<str> {
    let protocols: Vec<_> = [EtherType::IPV4, EtherType::ARP, EtherType::IPV6]
        .into_iter()
        .filter(|one| reach.hits.iter().any(|hit| hit.host().is_some_and(|host| host.protocol == *one)))
        .map(|one| one.to_string())
        .collect();
    format!("link-local frames reach the host's {} on the port device", protocols.join(", ")).into()
}

fn finding(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    port: &PortView<'_>,
    shown: Shown,
    (title, ways): (&Arc<str>, &str),
) -> Finding {
    let stp = match bridge.options.stp_state {
        None | Some(StpState::Off) => "off",
        _ => "on",
    };
    let name = &port.link.name;
    let why = format!(
        "br_handle_frame passes frames to 01:80:c2:00:00:0X to the stack of {name} itself, whatever they carry and \
         whatever VLAN filter, isolation or state say. A guest reaches the host's UDP services, ICMP and ARP this way \
         on any of the host's addresses, past rules that match the bridge."
    );
    let mask = port.options.group_fwd_mask.unwrap_or(0) | bridge.options.group_fwd_mask.unwrap_or(0);
    let on = format!("the host's stack on {}", shown.port.name);
    let finding = context
        .finding(&DOC, bridge, Some(port), title.clone(), why)
        .evidence("reached by", ways)
        .evidence(format!("group_fwd_mask of {} and {name}", bridge.link.name), format!("{mask:#06x}"))
        .evidence(format!("stp_state of {}", bridge.link.name), stp)
        .witness(shown.port, shown.frame, on);
    finding.remedies([remedy::drop_link_local(context, bridge, port), remedy::tc_link_local(context, port)])
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::{PortState, StpState};

    #[test]
    fn the_ports_own_stack_takes_them() {
        let found = Host::hypervisor().found("link-local-to-host");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        high br0 vnet0: link-local frames reach the host's IPv4, ARP, IPv6 on the port device
          reached by = 01:80:c2:00:00 :02 :03 :04 :05 :06 :07 :08 :09 :0a :0b :0c :0d :0e :0f
          group_fwd_mask of br0 and vnet0 = 0x0000
          stp_state of br0 = off
          0180c200000e0250430000050800… by vnet0 reaches the host's stack on vnet0
          $ nft 'add table netdev portcullis'
          $ nft 'add chain netdev portcullis port_vnet0 { type filter hook ingress device "vnet0" priority -500; }'
          $ nft 'add rule netdev portcullis port_vnet0 ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop'
          $ tc qdisc add dev vnet0 clsact
          $ tc filter add dev vnet0 ingress protocol all flower dst_mac 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0 action drop
        "#);
    }

    #[test]
    fn the_well_known_recipe_does_not_stop_them() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        host.no_vlan("br0", 1);
        assert_eq!(host.found("link-local-to-host").len(), 3);
    }

    #[test]
    fn neither_state_nor_lock_nor_isolation_stops_them() {
        let mut host = Host::hypervisor();
        let port = host.port_options("vnet1");
        (port.state, port.locked, port.isolated) = (Some(PortState::Blocking), Some(true), Some(true));
        assert_eq!(host.found("link-local-to-host").len(), 3);
    }

    #[test]
    fn forwarding_them_all_does() {
        let mut host = Host::hypervisor();
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.port_options(guest).group_fwd_mask = Some(0xfffd);
        }
        assert_eq!(host.found("link-local-to-host"), []);
    }

    #[test]
    fn with_stp_the_bpdu_address_joins_them() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").stp_state = Some(StpState::Kernel);
        let found = host.found("link-local-to-host");
        assert!(found[0].evidence[0].value.split(' ').any(|way| way == ":00"), "{:?}", found[0].evidence);
    }

    #[test]
    fn a_filter_at_the_port_leaves_it_unproven() {
        let mut host = Host::hypervisor();
        host.nft_chain(portcullis_snapshot::NftFamily::Netdev, 0, "ingress");
        host.netns().filters.nft_chains = match host.netns().filters.nft_chains.clone() {
            portcullis_snapshot::Reading::Read(mut chains) => {
                chains[0].devices = vec!["vnet0".to_owned()];
                portcullis_snapshot::Reading::Read(chains)
            }
            unread => unread,
        };
        let found = host.found("link-local-to-host");
        assert_eq!(found.iter().filter(|finding| !finding.is_proven()).count(), 1);
    }
}
