//! `infra-address`: addresses of other interfaces answer through the bridge, because Linux hosts are weak hosts.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_datapath::frame::symbolic::MOST_TAGS;
use portcullis_datapath::frame::{Concrete, Field, Ip4Field, Ip6Field};
use portcullis_datapath::{Aim, Effect, Outcome, Payload};
use portcullis_prove::Goal;
use portcullis_snapshot::{EtherType, IfIndex};

use super::host::{self, STRANGER4, STRANGER6, above_bridge, host_addresses, neighbour_of};
use super::services;
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Hit, Probe};
use crate::proven::Sent;
use crate::remedy::{self, docs};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};
use crate::shown::Shown;

/// The rule.
pub struct InfraAddress;

const NFT_INPUT: RemedyDoc = RemedyDoc {
    method: "nft-input",
    trade_off: "Packets that come in by the bridge device to an address of another are dropped in the input hook. \
                Link-local frames come in by the port instead and do not match.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("infra-address"),
    title: "An address of another interface answers through the bridge",
    severity: Severity::High,
    threat: "An address belongs to the host, not to an interface. A guest that sends a packet for the host's address \
             in the infrastructure network to the bridge's MAC address talks to whatever listens on that address: SSH, \
             management agents, storage. Being on another network does not protect it.",
    kernel_path: &[
        "br_pass_frame_up (net/bridge/br_input.c): the frame comes in again on the bridge device",
        "ip_route_input_slow (net/ipv4/route.c): the local table holds the addresses of all devices",
        "ip6_route_input (net/ipv6/route.c): likewise",
        "ip_local_deliver, ip6_input: no look at the device that has the address",
    ],
    how_found: "A ping to each address of a device other than the receiving one is walked from each guest port, by the \
                bridge's and the port's own MAC address. 127.0.0.1 is tried too, for the sake of route_localnet.",
    remedies: &[docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE, NFT_INPUT, docs::OWN_NETNS],
    references: &[
        "net/ipv4/route.c: ip_route_input_slow",
        "RFC 1122, section 3.3.4.2: the weak host model",
        refs::BERNAT,
    ],
};

impl Rule for InfraAddress {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            check_bridge(context, bridge, findings);
        }
    }
}

fn check_bridge(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    let mut targets = host_addresses(context);
    targets.retain(|(device, _)| *device != bridge.link.index);
    let loopback = context.netns().addresses.known().iter().find(|a| a.address.addr().is_loopback());
    targets.extend(loopback.map(|address| (address.device, address.address)));
    for alike in bridge.guests() {
        let mut reached: Vec<Reached> = Vec::new();
        for (device, net) in &targets {
            reached.extend(reach(context, bridge, &alike, *device, net.addr()));
        }
        if reached.iter().all(|reached| !reached.questions.is_empty()) {
            reached.extend(by_proof(context, bridge, &alike, &targets));
        }
        // The best witness is one that nothing could have stopped.
        let Some(best) = reached.iter().min_by_key(|reached| reached.questions.len()) else { continue };
        for (at, port) in alike.members().enumerate() {
            if let Some(shown) = best.frames.get(at).cloned() {
                findings.push(finding(context, bridge, port, &reached, best, shown));
            }
        }
    }
}

/// An address that was reached.
struct Reached {
    address: IpAddr,
    /// The device that has it.
    of: IfIndex,
    /// The device that the packet came in by.
    on: IfIndex,
    questions: Vec<String>,
    /// The frame, for each port of the group.
    frames: Vec<Shown>,
}

fn reach(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    of: IfIndex,
    address: IpAddr,
) -> Option<Reached> {
    let index = alike.first.link.index;
    let elsewhere = |outcome: &Outcome| {
        above_bridge(outcome, index)
            .is_some_and(|to| to.device != of && matches!(to.effect, Effect::Deliver { .. }))
    };
    let probes = probes(address);
    let reach = context.reach(bridge, alike.first, (Aim::Host, &probes), elsewhere);
    let best = reach.best()?;
    let frames = alike.members().map(|port| context.shown(bridge, (alike.first, port), best)).collect();
    Some(Reached { address, of, on: best.host()?.device, questions: best.questions.clone(), frames })
}

/// What a frame of a proof reaches, where no probe reached anything for certain.
fn by_proof(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    targets: &[(IfIndex, IpNet)],
) -> Option<Reached> {
    let index = alike.first.link.index;
    let delivered = |outcome: &Outcome| {
        above_bridge(outcome, index).is_some_and(|to| matches!(to.effect, Effect::Deliver { .. }))
    };
    let hit = context.proven_hit(alike, Goal::Infrastructure, delivered)?;
    let on = hit.host()?.device;
    let (of, net) = targets.iter().find(|(of, net)| *of != on && is_to(&hit, net.addr()))?;
    let frames = alike.members().map(|port| context.shown(bridge, (alike.first, port), &hit)).collect();
    Some(Reached { address: net.addr(), of: *of, on, questions: Vec::new(), frames })
}

/// Whether the packet in a frame is to an address.
fn is_to(hit: &Hit<'_>, address: IpAddr) -> bool {
    let Sent::Proven { frame, .. } = &hit.sent else { return false };
    let Some(frame) = Concrete::new(frame) else { return false };
    (0..=MOST_TAGS).any(|depth| match address {
        IpAddr::V4(address) => {
            frame.value(Field::Protocol(depth)) == u128::from(EtherType::IPV4.0)
                && frame.value(Field::Ip4(depth, Ip4Field::Destination)) == u128::from(u32::from(address))
        }
        IpAddr::V6(address) => {
            frame.value(Field::Protocol(depth)) == u128::from(EtherType::IPV6.0)
                && frame.value(Field::Ip6(depth, Ip6Field::Destination)) == u128::from(address)
        }
    })
}

fn finding(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    port: &PortView<'_>,
    reached: &[Reached],
    best: &Reached,
    shown: Shown,
) -> Finding {
    let name = context.name(best.on);
    let denied = context.access_at(bridge, best.on) == Access::Deny;
    let listed: Vec<_> =
        reached.iter().map(|reached| format!("{} ({})", reached.address, context.name(reached.of))).collect();
    let addresses: Vec<_> = reached.iter().map(|reached| reached.address).collect();
    let why = format!(
        "What comes in on {name} is delivered to any address of the host, whichever device has it          (ip_route_input_slow consults the local table for all). A guest talks to services that were meant for          other networks."
    );
    let title = format!("addresses of other interfaces answer through {name}");
    context
        .finding(&DOC, bridge, Some(port), title, why)
        .severity(if denied { Severity::High } else { Severity::Medium })
        .evidence("addresses reached", listed.join(" "))
        .evidence("listening sockets there", services::listed(context, best.on, &addresses))
        .witness(shown.port, shown.frame, format!("the host's {} on {name}", best.address))
        .unproven(best.questions.iter().cloned())
        .remedies(remedies(context, bridge, denied))
}

fn probes(to: IpAddr) -> Vec<Probe<'static>> {
    let destinations = [Destination::Bridge, Destination::Port];
    let payloads = match to {
        IpAddr::V4(to) => [neighbour_of(to), STRANGER4].map(|from| Payload::Ping4 { from, to }),
        IpAddr::V6(to) => [host::neighbour_of6(to), STRANGER6].map(|from| Payload::Ping6 { from, to }),
    };
    let each = |payload: Payload| host::to_each(&destinations, move |_| payload.clone());
    payloads.into_iter().flat_map(each).collect()
}

fn remedies(context: &Context<'_>, bridge: &BridgeView<'_>, denied: bool) -> Vec<crate::Remedy> {
    let name = &bridge.link.name;
    // Group and broadcast addresses are not of the type `local` and have to stay.
    let types = "{ local, multicast, broadcast }";
    let rule =
        format!("add rule inet portcullis input iifname \"{name}\" fib daddr . iif type != {types} drop");
    let input = crate::Remedy {
        method: NFT_INPUT.method,
        summary: format!("Packets on {name} to an address of another device are dropped.").into(),
        commands: remedy::nft_commands(
            context,
            &[
                "add table inet portcullis",
                "add chain inet portcullis input { type filter hook input priority -10; }",
                &rule,
            ],
        ),
    };
    let mut remedies = if denied { remedy::close_the_way_up(context, bridge) } else { Vec::new() };
    remedies.push(input);
    remedies
}

#[cfg(test)]
mod tests {
    use crate::Severity;
    use crate::testing::{Host, sketch};

    #[test]
    fn an_address_of_eth1_answers_on_br0() {
        let found = Host::hypervisor().found("infra-address");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        high br0 vnet0: addresses of other interfaces answer through br0
          addresses reached = 10.1.2.3 (eth1) 2001:db8:1::3 (eth1)
          listening sockets there = none
          0200000000040250430000050800… by vnet0 reaches the host's 10.1.2.3 on br0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
          $ nft 'add table inet portcullis'
          $ nft 'add chain inet portcullis input { type filter hook input priority -10; }'
          $ nft 'add rule inet portcullis input iifname "br0" fib daddr . iif type != { local, multicast, broadcast } drop'
        "#);
    }

    #[test]
    fn an_address_on_the_bridge_does_not_protect_the_others() {
        let mut host = Host::hypervisor();
        host.address("br0", "192.0.2.1/24");
        let found = host.found("infra-address");
        assert_eq!(found[0].severity, Severity::Medium);
        assert!(!found[0].evidence[0].value.contains("192.0.2.1"));
    }

    #[test]
    fn localnet_opens_loopback() {
        let mut host = Host::hypervisor();
        assert!(!host.found("infra-address")[0].evidence[0].value.contains("127.0.0.1"));
        host.ipv4("br0").route_localnet = Some(1);
        assert!(host.found("infra-address")[0].evidence[0].value.contains("127.0.0.1"));
    }

    #[test]
    fn without_the_bridge_in_the_vlan_nothing_answers() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").vlan_filtering = Some(true);
        host.no_vlan("br0", 1);
        assert_eq!(host.found("infra-address"), []);
    }
}
