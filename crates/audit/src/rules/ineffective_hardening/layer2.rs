//! ARP, IPv6, isolation and VLAN filtering on the bridge, while another way stays open.

use portcullis_datapath::{Outcome, Payload};
use portcullis_snapshot::{EtherType, LinkFlags};

use super::{Illusion, value};
use crate::context::{BridgeView, Context, PortView};
use crate::finding::Severity;
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rules::host::{above_bridge, ipv4_targets, neighbour_of, ping_all_nodes, to_each};

pub(super) fn illusions(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Illusion> {
    let denied = context.access_at(bridge, bridge.link.index) == Access::Deny;
    let mut illusions: Vec<_> =
        [disable_ipv6(context, bridge), no_vlan(context, bridge)].into_iter().flatten().collect();
    if denied {
        illusions.extend([no_arp(context, bridge), isolation(context, bridge)].into_iter().flatten());
    }
    illusions
}

fn on_port(outcome: &Outcome, port: &PortView<'_>) -> bool {
    matches!(outcome, Outcome::Host(to) if to.device == port.link.index)
}

fn link_local_remedies(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<crate::Remedy> {
    let first = bridge.guests().next();
    first.map(|alike| remedy::drop_link_local(context, bridge, alike.first)).into_iter().collect()
}

/// The protocol handlers' view of each link-local address, :0e first.
fn link_local(payload: fn(&PortView<'_>) -> Payload) -> Vec<Probe<'static>> {
    let destinations: Vec<_> = Destination::all_link_local().collect();
    to_each(&destinations, payload)
}

/// IPv6 off on the bridge device, on at its ports.
fn disable_ipv6(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Illusion> {
    let own = bridge.link.ipv6.as_ref()?.disable_ipv6;
    if own != Some(1) {
        return None;
    }
    let name = &bridge.link.name;
    let mut remedies = link_local_remedies(context, bridge);
    let ports: Vec<_> = bridge.ports.iter().filter(|port| port.role.is_untrusted()).take(4).collect();
    let settings: Vec<_> =
        ports.iter().map(|port| ("ipv6", port.link.name.as_str(), "disable_ipv6", 1)).collect();
    remedies
        .insert(0, remedy::sysctl(context, &docs::DISABLE_IPV6, "The ports take no IPv6 either.", &settings));
    Some(Illusion {
        title: format!("IPv6 is off on {name} and on at its ports"),
        why: format!(
            "Link-local frames come in on the port device, whose own disable_ipv6 counts there. The host still takes \
             IPv6 from guests, past {name}."
        ),
        severity: Severity::Medium,
        evidence: vec![(remedy::sysctl_name("ipv6", name, "disable_ipv6"), value(own))],
        probes: link_local(ping_all_nodes),
        arrives: Box::new(on_port),
        reaches: "the host's IPv6 on the port".to_owned(),
        remedies,
    })
}

/// The recipe of the first article: VLAN filtering, the bridge device in no VLAN.
fn no_vlan(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Illusion> {
    if !bridge.vlan_filtering() || bridge.own_vlans().next().is_some() {
        return None;
    }
    let name = &bridge.link.name;
    Some(Illusion {
        title: format!("{name} is in no VLAN, yet link-local frames reach the host"),
        why: "Frames to 01:80:c2:00:00:0X go to the stack of the port device before the VLAN filter is asked \
              (br_handle_frame). Taking the bridge device out of its VLANs closes every other way up, and leaves this \
              one open."
            .to_owned(),
        severity: Severity::Medium,
        evidence: vec![
            (format!("vlan_filtering of {name}"), "on".to_owned()),
            (format!("VLANs of {name} itself"), "none".to_owned()),
        ],
        probes: link_local(ping_all_nodes).into_iter().chain(link_local_ipv4(context)).collect(),
        arrives: Box::new(on_port),
        reaches: "the host's stack on the port".to_owned(),
        remedies: link_local_remedies(context, bridge),
    })
}

fn link_local_ipv4(context: &Context<'_>) -> Vec<Probe<'static>> {
    let Some(to) = ipv4_targets(context).first().copied() else { return Vec::new() };
    to_each(&[Destination::LinkLocal(14)], move |_| Payload::Ping4 { from: neighbour_of(to), to })
}

/// No ARP, but IPv4.
fn no_arp(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Illusion> {
    let name = &bridge.link.name;
    let off = bridge.link.flags.has(LinkFlags::NOARP);
    let own = bridge.link.ipv4.as_ref().and_then(|conf| conf.arp_ignore);
    let all = context.netns().ipv4.read().and_then(|conf| conf.all.arp_ignore);
    let evidence = if off {
        (format!("ARP of {name}"), "off".to_owned())
    } else if own.max(all).is_some_and(|ignore| ignore > 0) {
        (remedy::sysctl_name("ipv4", name, "arp_ignore"), format!("{} (all: {})", value(own), value(all)))
    } else {
        return None;
    };
    Some(Illusion {
        title: format!("{name} answers no ARP, yet takes IPv4"),
        why: format!(
            "ARP only tells which MAC address to use. A guest uses broadcast, its port's own address or {name}'s, which \
             it finds in any frame the host sends there, and the host takes the packet in."
        ),
        severity: Severity::Medium,
        evidence: vec![evidence],
        probes: ipv4(context),
        arrives: Box::new(|outcome, port| {
            above_bridge(outcome, port.link.index).is_some_and(|to| to.protocol == EtherType::IPV4)
        }),
        reaches: format!("the host's IPv4 on {name}"),
        remedies: remedy::close_the_way_up(context, bridge),
    })
}

fn ipv4(context: &Context<'_>) -> Vec<Probe<'static>> {
    let destinations = [Destination::Broadcast, Destination::Port, Destination::Bridge];
    let ping = |to| to_each(&destinations, move |_| Payload::Ping4 { from: neighbour_of(to), to });
    ipv4_targets(context).into_iter().flat_map(ping).collect()
}

/// Isolated ports, and a bridge device that is not isolated from them.
fn isolation(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Illusion> {
    let isolated = |port: &PortView<'_>| port.role.is_untrusted() && port.options.isolated == Some(true);
    let count = bridge.ports.iter().filter(|port| isolated(port)).count();
    if count == 0 {
        return None;
    }
    let name = &bridge.link.name;
    let device = bridge.link.index;
    Some(Illusion {
        title: "isolation does not keep guests from the host".to_owned(),
        why: format!(
            "br_skb_isolated is asked when a frame leaves by a port, not when it is passed up to {name}: an isolated \
             guest reaches the host like any other."
        ),
        severity: Severity::Low,
        evidence: vec![("isolated guest ports".to_owned(), count.to_string())],
        probes: ipv4(context).into_iter().chain(to_each(&[Destination::ALL_NODES], ping_all_nodes)).collect(),
        arrives: Box::new(move |outcome, port| {
            port.options.isolated == Some(true) && matches!(outcome, Outcome::Host(to) if to.device == device)
        }),
        reaches: format!("the host on {name}"),
        remedies: remedy::close_the_way_up(context, bridge),
    })
}
