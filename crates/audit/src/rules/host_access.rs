//! `host-access`: what guests reach on a bridge that has an address: the addresses, and who listens there.

use std::net::IpAddr;

use portcullis_datapath::{Aim, Effect, Outcome, Payload};
use portcullis_snapshot::IfIndex;

use super::host::{link_local, neighbour_of, neighbour_of6, to_each};
use super::services;
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct HostAccess;

const INPUT_ALLOW_LIST: RemedyDoc = RemedyDoc {
    method: "input-allow-list",
    trade_off: "An input chain that accepts from the bridge device what guests need (DHCP, DNS) and drops the rest. \
                Link-local frames come in by the port device and need a rule of their own.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("host-access"),
    title: "What guests reach on a bridge that has an address",
    severity: Severity::Low,
    threat: "A bridge device with an address offers something to guests: a router, DHCP, DNS. Whatever else listens on \
             all addresses is offered with it. The finding lists what is reached, so that one can see whether it is \
             what was meant.",
    kernel_path: &[
        "br_pass_frame_up (net/bridge/br_input.c): the frame comes in again on the bridge device",
        "ip_rcv, ip_local_deliver; ipv6_rcv, ip6_input: the address is the device's own",
    ],
    how_found: "A ping to each address of the bridge device, and of VLAN devices on it, is walked from each sort of \
                guest port. Listening sockets that take such packets are listed.",
    remedies: &[INPUT_ALLOW_LIST],
    references: &["net/bridge/br_input.c: br_pass_frame_up", refs::BERNAT],
};

impl Rule for HostAccess {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let on_top = context.network().uppers(bridge.link.index);
            let vlans = on_top.into_iter().flat_map(|uppers| uppers.vlans.values());
            let vlans = vlans.filter(|upper| upper.netns.is_none()).map(|upper| upper.link.index);
            let mut devices: Vec<_> = std::iter::once(bridge.link.index).chain(vlans).collect();
            devices.sort_unstable();
            for device in devices {
                check_device(context, bridge, device, findings);
            }
        }
    }
}

fn check_device(context: &Context<'_>, bridge: &BridgeView<'_>, device: IfIndex, findings: &mut Findings) {
    let addresses: Vec<_> = context.chosen_addresses(device).map(|net| net.addr()).collect();
    let probes: Vec<_> = addresses.iter().flat_map(|address| probes(*address)).collect();
    for alike in bridge.guests() {
        let here = |outcome: &Outcome| matches!(outcome, Outcome::Host(to) if to.device == device && matches!(to.effect, Effect::Deliver { .. }));
        let reach = context.reach(bridge, alike.first, (Aim::Host, &probes), here);
        let Some(best) = reach.best() else { continue };
        let name = context.name(device);
        let denied = bridge.policy.host_access == Some(Access::Deny);
        let stated = if denied { "although the policy denies it" } else { "as its address suggests" };
        let why = format!(
            "{name} has an address, and guests reach it, {stated}. Whatever listens on it or on all addresses is \
             offered to them."
        );
        let listed: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let finding = context
            .finding(&DOC, bridge, None, format!("guests reach the host at {name}'s addresses"), why)
            .severity(if denied { Severity::High } else { Severity::Low })
            .evidence(format!("addresses of {name}"), listed.join(" "))
            .evidence("listening sockets", services::listed(context, device, &addresses))
            .witness(alike.first, best.frame(bridge, alike.first), format!("the host at {name}"))
            .unproven(best.questions.iter().cloned());
        findings.push(finding.remedies([input_allow_list(context, &name)]));
        // One sort of port is enough: the finding is about the bridge.
        return;
    }
}

fn input_allow_list(context: &Context<'_>, device: &str) -> crate::Remedy {
    let rules = [
        "add table inet portcullis".to_owned(),
        "add chain inet portcullis input { type filter hook input priority -10; }".to_owned(),
        format!("add rule inet portcullis input iifname \"{device}\" ct state established,related accept"),
        format!(
            "add rule inet portcullis input iifname \"{device}\" meta l4proto {{ icmp, ipv6-icmp }} accept"
        ),
        format!("add rule inet portcullis input iifname \"{device}\" udp dport {{ 53, 67, 547 }} accept"),
        format!("add rule inet portcullis input iifname \"{device}\" drop"),
    ];
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    crate::Remedy {
        method: INPUT_ALLOW_LIST.method,
        summary: format!("Guests reach ICMP, DNS and DHCP at {device}, and nothing else.").into(),
        commands: crate::remedy::nft_commands(context, &rules),
    }
}

fn probes(to: IpAddr) -> Vec<Probe<'static>> {
    let destinations = [Destination::Bridge, Destination::Port];
    match to {
        IpAddr::V4(to) => {
            let from = neighbour_of(neighbour_of(to));
            to_each(&destinations, move |_| Payload::Ping4 { from, to })
        }
        IpAddr::V6(to) => {
            let from = neighbour_of6(to);
            let mut probes = to_each(&destinations, move |_| Payload::Ping6 { from, to });
            probes.extend(to_each(&destinations, move |port| Payload::Ping6 {
                from: link_local(port.source),
                to,
            }));
            probes
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Severity;
    use crate::testing::{Host, sketch};

    #[test]
    fn a_bridge_without_an_address_offers_nothing() {
        assert_eq!(Host::hypervisor().found("host-access"), []);
    }

    #[test]
    fn a_bridge_with_an_address_is_listed_once() {
        let mut host = Host::hypervisor();
        host.address("br0", "192.0.2.1/24");
        let found = host.found("host-access");
        insta::assert_snapshot!(sketch(&found), @r#"
        low br0: guests reach the host at br0's addresses
          addresses of br0 = 192.0.2.1
          listening sockets = none
          0200000000040250430000050800… by vnet0 reaches the host at br0
          $ nft 'add table inet portcullis'
          $ nft 'add chain inet portcullis input { type filter hook input priority -10; }'
          $ nft 'add rule inet portcullis input iifname "br0" ct state established,related accept'
          $ nft 'add rule inet portcullis input iifname "br0" meta l4proto { icmp, ipv6-icmp } accept'
          $ nft 'add rule inet portcullis input iifname "br0" udp dport { 53, 67, 547 } accept'
          $ nft 'add rule inet portcullis input iifname "br0" drop'
        "#);
    }

    #[test]
    fn the_policy_makes_it_an_error() {
        let mut host = Host::hypervisor();
        host.address("br0", "192.0.2.1/24");
        let found = host.found_with("host-access", "[[bridge]]\nname = \"br0\"\nhost-access = \"deny\"");
        assert_eq!(found[0].severity, Severity::High);
    }
}
