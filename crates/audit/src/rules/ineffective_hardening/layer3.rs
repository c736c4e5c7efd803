//! Policy rules, the reverse path filter and forwarding.

use std::net::Ipv4Addr;

use portcullis_datapath::{Effect, Outcome, Payload};
use portcullis_snapshot::{EtherType, IfIndex, PolicyRule};

use super::{Arrives, Illusion, MOVE_LOCAL, value};
use crate::context::{BridgeView, Context};
use crate::finding::{Remedy, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rules::host::{
    self, STRANGER4, above_bridge, arp_request, ipv4_targets, ipv6_targets, neighbour_of, to_each,
};
use crate::rules::host_forwards;

/// `RT_TABLE_LOCAL`.
const LOCAL_TABLE: u32 = 255;

pub(super) fn illusions(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Illusion> {
    let mut illusions = policy_rules(context, bridge);
    illusions.extend(reverse_path(context, bridge));
    illusions.extend(ip_forward(context, bridge));
    illusions
}

/// Whether the host's stack delivers a packet of this protocol that came in above the bridge.
fn delivered(protocol: EtherType) -> Arrives {
    Box::new(move |outcome, port| {
        above_bridge(outcome, port.link.index)
            .is_some_and(|to| to.protocol == protocol && matches!(to.effect, Effect::Deliver { .. }))
    })
}

/// `ip rule add iif br0 blackhole`, behind the rule that consults the local table or not.
fn policy_rules(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Illusion> {
    let rules = context.netns().rules.known();
    let name = bridge.link.name.as_str();
    // 6, 7, 8: blackhole, unreachable, prohibit.
    let blocks = |rule: &&PolicyRule| {
        rule.iif.as_deref() == Some(name)
            && matches!(rule.action, 6..=8)
            && !rule.not
            && rule.destination.is_none()
    };
    rules.iter().filter(blocks).flat_map(|rule| policy_rule(context, bridge, rule)).collect()
}

fn policy_rule(context: &Context<'_>, bridge: &BridgeView<'_>, rule: &PolicyRule) -> Vec<Illusion> {
    let name = &bridge.link.name;
    let family = if rule.ipv6 { "ip -6 rule" } else { "ip rule" };
    let local = context
        .netns()
        .rules
        .known()
        .iter()
        .find(|r| r.ipv6 == rule.ipv6 && r.table == LOCAL_TABLE && r.action == 1);
    let local_priority = local.map_or_else(|| "absent".to_owned(), |rule| rule.priority.to_string());
    let evidence = vec![
        (format!("priority of the {family} that blocks {name}"), rule.priority.to_string()),
        (format!("priority of the {family} for the local table"), local_priority),
    ];
    let behind_local = Illusion {
        title: format!("the policy rule for {name} does not stop packets to the host itself"),
        why: format!(
            "fib_rules_lookup consults rules by priority, and the local table, with all addresses of the host, comes \
             before the rule for {name}. The rule stops what would be routed on, not what is delivered here."
        ),
        severity: Severity::Medium,
        evidence: evidence.clone(),
        probes: to_the_host(context, rule.ipv6),
        arrives: delivered(if rule.ipv6 { EtherType::IPV6 } else { EtherType::IPV4 }),
        reaches: format!("the host, on {name}"),
        remedies: vec![move_local(context, rule, local), remedy::drop_on_bridge(context, bridge.link)],
    };
    let moved = local.is_none_or(|local| local.priority > rule.priority);
    if rule.ipv6 || !moved {
        return vec![behind_local];
    }
    let past_rules = Illusion {
        title: format!("broadcast and address probes pass the policy rule for {name}"),
        why: "Packets to 255.255.255.255 and ARP probes from 0.0.0.0 are taken in without consulting any policy rule \
              (ip_route_input_slow, arp_process)."
            .to_owned(),
        severity: Severity::Low,
        evidence,
        probes: past_any_rule(context),
        arrives: Box::new(|outcome, port| above_bridge(outcome, port.link.index).is_some()),
        reaches: format!("the host, on {name}"),
        remedies: vec![remedy::drop_on_bridge(context, bridge.link)],
    };
    vec![behind_local, past_rules]
}

fn move_local(context: &Context<'_>, rule: &PolicyRule, local: Option<&PolicyRule>) -> Remedy {
    let ip = if rule.ipv6 { "ip -6" } else { "ip" };
    let (behind, now) = (rule.priority.saturating_add(1), local.map_or(0, |local| local.priority));
    Remedy {
        method: MOVE_LOCAL.method,
        summary: "The local table is consulted after the rule. Keep the order: without the local table the host is \
                  cut off."
            .into(),
        commands: [
            format!("{ip} rule add pref {behind} lookup local"),
            format!("{ip} rule del pref {now} lookup local"),
        ]
        .map(|command| context.command(command))
        .to_vec(),
    }
}

fn to_the_host(context: &Context<'_>, ipv6: bool) -> Vec<Probe<'static>> {
    let destinations = [Destination::Bridge, Destination::Port];
    if ipv6 {
        let each = |to| to_each(&destinations, move |_| Payload::Ping6 { from: host::neighbour_of6(to), to });
        ipv6_targets(context).into_iter().flat_map(each).collect()
    } else {
        let each = |to| to_each(&destinations, move |_| Payload::Ping4 { from: neighbour_of(to), to });
        ipv4_targets(context).into_iter().flat_map(each).collect()
    }
}

/// What consults no policy rule and no route back.
fn past_any_rule(context: &Context<'_>) -> Vec<Probe<'static>> {
    let mut probes = vec![Probe::new(Destination::Broadcast, |_| Payload::Udp4 {
        from: Ipv4Addr::UNSPECIFIED,
        to: Ipv4Addr::BROADCAST,
        ports: (68, 67),
        data: Vec::new(),
    })];
    let ask =
        |to| Probe::new(Destination::Broadcast, move |port| arp_request(port, Ipv4Addr::UNSPECIFIED, to));
    probes.extend(ipv4_targets(context).into_iter().map(ask));
    probes
}

/// `rp_filter` that `all` makes loose, or that leaves broadcast and probes open.
fn reverse_path(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Illusion> {
    let name = &bridge.link.name;
    let own = bridge.link.ipv4.as_ref().and_then(|conf| conf.rp_filter);
    let all = context.netns().ipv4.read().and_then(|conf| conf.all.rp_filter);
    let evidence = vec![
        (remedy::sysctl_name("ipv4", name, "rp_filter"), value(own)),
        (remedy::sysctl_name("ipv4", "all", "rp_filter"), value(all)),
    ];
    let mut illusions = Vec::new();
    if own == Some(1) && all == Some(2) {
        let own_addresses = context.chosen_addresses(bridge.link.index).filter_map(|net| match net.addr() {
            std::net::IpAddr::V4(address) => Some(address),
            std::net::IpAddr::V6(_) => None,
        });
        let spoof = |to| to_each(&[Destination::Bridge], move |_| Payload::Ping4 { from: STRANGER4, to });
        illusions.push(Illusion {
            title: format!("rp_filter of {name} is strict in name only"),
            why: "The larger value of `all` and the device counts, and 2 is loose: a source that is routed anywhere \
                  passes."
                .to_owned(),
            severity: Severity::Medium,
            evidence: evidence.clone(),
            probes: own_addresses.flat_map(spoof).collect(),
            arrives: delivered(EtherType::IPV4),
            reaches: format!("the host on {name}, with a forged source"),
            remedies: Vec::new(),
        });
    }
    let filtered = own.max(all).is_some_and(|effective| effective > 0);
    if filtered && context.access_at(bridge, bridge.link.index) == Access::Deny {
        illusions.push(Illusion {
            title: format!("the reverse path filter leaves broadcast and address probes on {name} open"),
            why: "A packet from 0.0.0.0 to 255.255.255.255 and an ARP probe have no source that could be looked up, so \
                  that fib_validate_source is not asked. IPv6 has no reverse path filter."
                .to_owned(),
            severity: Severity::Low,
            evidence,
            probes: past_any_rule(context),
            arrives: Box::new(|outcome, port| above_bridge(outcome, port.link.index).is_some()),
            reaches: format!("the host, on {name}"),
            remedies: vec![remedy::drop_on_bridge(context, bridge.link)],
        });
    }
    illusions
}

/// `ip_forward` 0 while the device forwards.
fn ip_forward(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Illusion> {
    let own = bridge.link.ipv4.as_ref()?.forwarding;
    let all = context.netns().ipv4.read()?.all.forwarding;
    if own != Some(1) || all != Some(0) {
        return None;
    }
    let name = &bridge.link.name;
    let from: IfIndex = bridge.link.index;
    let is_v4 = move |outcome: &Outcome| matches!(outcome, Outcome::Forwarded { protocol, from: by, .. } if *protocol == EtherType::IPV4 && *by == from);
    Some(Illusion {
        title: format!("ip_forward is 0, yet {name} forwards"),
        why: format!(
            "net.ipv4.ip_forward is only the value of `all`, which was copied to each device when it was last written. \
             Whether a packet is routed on goes by the device it came in by, and {name} has forwarding on."
        ),
        severity: Severity::Medium,
        evidence: vec![
            (remedy::sysctl_name("ipv4", name, "forwarding"), value(own)),
            ("net.ipv4.ip_forward".to_owned(), value(all)),
        ],
        probes: host_forwards::probes(context, bridge).into_iter().map(|(_, probe)| probe).collect(),
        arrives: Box::new(move |outcome, _| is_v4(outcome)),
        reaches: "another device, routed by the host".to_owned(),
        remedies: vec![remedy::sysctl(
            context,
            &docs::FORWARDING_OFF,
            format!("Nothing that comes in by {name} is routed on."),
            &[("ipv4", name, "forwarding", 0)],
        )],
    })
}
