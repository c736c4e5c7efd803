//! What is said of packets that the host routes on: out of other devices, and back among isolated ports.

use std::collections::BTreeMap;

use portcullis_snapshot::IfIndex;

use super::{DOC, Way};
use crate::context::{BridgeView, Context, PortView};
use crate::finding::{Finding, Severity};
use crate::policy::Access;
use crate::remedy::{self, docs};

/// Packets that leave by another device.
pub(super) fn onward(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    port: &PortView<'_>,
    (out, at): (&BTreeMap<IfIndex, Way>, usize),
) -> Option<Finding> {
    let (device, way) = out.iter().min_by_key(|(_, way)| way.questions.len())?;
    let from = context.name(way.from);
    let denied = context.access_at(bridge, way.from) == Access::Deny;
    let names: Vec<_> = out.keys().map(|device| context.name(*device)).collect();
    let spoofed = out.values().any(|way| way.spoofed);
    let why = format!(
        "Packets that a guest sends to {}'s or its own port's MAC address come in on {from} and are routed on by {}. \
         The guest reaches the networks behind it{}.",
        bridge.link.name,
        names.join(", "),
        if spoofed { ", under a source address of its choice" } else { "" }
    );
    let shown = way.frames.get(at)?.clone();
    let finding = context
        .finding(&DOC, bridge, Some(port), format!("the host routes guests' packets on from {from}"), why)
        .severity(if denied { Severity::Critical } else { Severity::Medium })
        .evidence("leave by", names.join(" "))
        .evidence("forged sources", if spoofed { "let through" } else { "refused" })
        .evidence("forwarding", settings(context, way.from))
        .witness(shown.port, shown.frame, format!("{}, routed on from {from}", context.name(*device)))
        .unproven(way.questions.iter().cloned());
    let mut remedies = vec![forwarding_off(context, way.from)];
    if denied {
        remedies.extend(remedy::close_the_way_up(context, bridge));
    }
    Some(finding.remedies(remedies))
}

/// Packets that come back to an isolated port's neighbours.
pub(super) fn between_isolated(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    port: &PortView<'_>,
    (way, at): (&Way, usize),
) -> Option<Finding> {
    let name = &bridge.link.name;
    let why = format!(
        "The port is isolated, but the host routes what it sends to {name} back out of {name}, and frames that the host \
         sends reach isolated ports. Isolated guests meet by way of the host's router."
    );
    let rule = format!("add rule inet portcullis forward iifname \"{name}\" oifname \"{name}\" drop");
    let nft = crate::Remedy {
        method: docs::NFT_FORWARD.method,
        summary: format!("What comes in by {name} does not leave by {name}.").into(),
        commands: remedy::nft_commands(
            context,
            &[
                "add table inet portcullis",
                "add chain inet portcullis forward { type filter hook forward priority -10; }",
                &rule,
            ],
        ),
    };
    let shown = way.frames.get(at)?.clone();
    let finding = context
        .finding(&DOC, bridge, Some(port), "isolated guests meet through the host's router", why)
        .severity(Severity::High)
        .evidence(format!("isolated of {}", port.link.name), "on")
        .evidence("forwarding", settings(context, way.from))
        .witness(shown.port, shown.frame, format!("{name} again, routed by the host"))
        .unproven(way.questions.iter().cloned());
    Some(finding.remedies([nft, forwarding_off(context, way.from)]))
}

fn forwarding_off(context: &Context<'_>, device: IfIndex) -> crate::Remedy {
    let name = context.name(device);
    remedy::sysctl(
        context,
        &docs::FORWARDING_OFF,
        format!("Nothing that comes in by {name} is routed on; for IPv6, the host routes nothing at all."),
        &[("ipv4", &name, "forwarding", 0), ("ipv6", "all", "forwarding", 0)],
    )
}

/// The settings that forwarding goes by.
fn settings(context: &Context<'_>, device: IfIndex) -> String {
    let show = |value: Option<i32>| value.map_or_else(|| "unread".to_owned(), |value| value.to_string());
    let own =
        context.network().link(device).and_then(|link| link.ipv4.as_ref()).and_then(|conf| conf.forwarding);
    let all = context.netns().ipv4.read().and_then(|conf| conf.all.forwarding);
    let ipv6 = context.netns().ipv6.read().and_then(|conf| conf.all.forwarding);
    format!("ipv4 {} {}, ipv4 all {}, ipv6 all {}", context.name(device), show(own), show(all), show(ipv6))
}
