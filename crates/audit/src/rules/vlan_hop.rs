//! `vlan-hop`: a guest reaches a VLAN that it is not in, by tags within tags or by VLAN devices that stand in the way.

use portcullis_datapath::{Outcome, Walk};
use portcullis_snapshot::{EtherType, IfIndex, Link, LinkKind};

use super::settings::{by_hand, nothing};
use crate::context::{BridgeView, Context, PortView, Tag};
use crate::finding::{Findings, Role, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct VlanHop;

const DROP_TAGGED: RemedyDoc = RemedyDoc {
    method: "drop-tagged",
    trade_off: "Tagged frames, with either TPID, are dropped at the guest port: right for guests that have no business with \
                VLANs.",
};
const BRIDGE_TAGGED: RemedyDoc = RemedyDoc {
    method: "bridge-tagged-only",
    trade_off: "The bridge device is a tagged member of the VLANs of its VLAN devices and in no other; guests stay in \
                theirs.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("vlan-hop"),
    title: "A guest reaches a VLAN that it is not in",
    severity: Severity::High,
    threat: "The bridge looks at the outer tag only. What it passes up untagged can still carry an inner tag, and the \
             second pass through the stack hands that to a VLAN device of the bridge. Without VLAN filtering any tag will \
             do. A VLAN device on a port takes its VLAN from the bridge altogether.",
    kernel_path: &[
        "__allowed_ingress (net/bridge/br_vlan.c): classifies by the outer tag; an untagged or VLAN 0 frame is in the PVID",
        "br_handle_vlan (net/bridge/br_vlan.c): untagged egress takes the outer tag off",
        "vlan_do_receive (net/8021q/vlan_core.c): the inner tag meets the VLAN device",
    ],
    how_found: "For each VLAN device on a bridge or on a guest port, broadcasts with its VLAN id alone, within VLAN 0 of \
                either TPID and within the port's PVID are walked from each guest port; and it is walked whether an inner \
                tag survives to an uplink.",
    remedies: &[DROP_TAGGED, BRIDGE_TAGGED],
    references: &["net/8021q/vlan_core.c: vlan_do_receive", "net/core/dev.c: __netif_receive_skb_core"],
};

impl Rule for VlanHop {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for alike in bridge.guests() {
                for port in alike.members() {
                    check_devices(context, bridge, port, findings);
                }
            }
            check_uplink(context, bridge, findings);
        }
    }
}

/// The VLAN devices of this namespace on a device.
fn vlan_devices<'s>(context: &Context<'s>, lower: IfIndex) -> Vec<(&'s Link, Tag)> {
    let Some(uppers) = context.network().uppers(lower) else { return Vec::new() };
    let here = uppers.vlans.values().filter(|upper| upper.netns.is_none()).map(|upper| upper.link);
    let mut devices: Vec<_> = here
        .filter_map(|link| match &link.kind {
            LinkKind::Vlan(vlan) => Some((link, (vlan.protocol, vlan.id))),
            _ => None,
        })
        .collect();
    devices.sort_by_key(|(link, _)| link.index);
    devices
}

fn check_devices(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    port: &PortView<'_>,
    findings: &mut Findings,
) {
    let on_bridge = vlan_devices(context, bridge.link.index);
    let on_port = vlan_devices(context, port.link.index);
    for (device, tag) in on_bridge.into_iter().chain(on_port) {
        let member = bridge.vlan_filtering()
            && portcullis_snapshot::VlanId::new(tag.1)
                .is_some_and(|id| port.vlans.is_some_and(|t| t.get(id).is_some()));
        let of_port = device.link == Some(port.link.index);
        // A guest that is in the VLAN reaches its device by right.
        if member && !of_port {
            continue;
        }
        let Some((tags, frame, walk)) = ways(port, tag).into_iter().find_map(|tags| {
            let frame = Probe::new(Destination::Broadcast, nothing).frame(bridge, port, &tags)?;
            let walk = context.probe(port.link.index, &frame);
            arrives(&walk, device.index).then_some((tags, frame, walk))
        }) else {
            continue;
        };
        let shown: Vec<_> = tags.iter().map(|(tpid, vid)| format!("{tpid} {vid}")).collect();
        let title = format!("tagged frames reach {}, a VLAN that the guest is not in", device.name);
        let why = if of_port {
            "A VLAN device on the port itself takes its VLAN before the bridge, its filters and its isolation see the frame."
        } else if bridge.vlan_filtering() {
            "The bridge counts the frame to the port's PVID, takes the outer tag off on the way up, and the stack hands the \
             inner tag to the VLAN device."
        } else {
            "Without VLAN filtering the bridge passes tags on as they are, and the stack hands them to the VLAN device."
        };
        let questions = walk.open.iter().map(|open| open.kind.to_string());
        let finding = context
            .finding(&DOC, bridge, Some(port), title, why)
            .evidence("tags, from the outside in", shown.join(", "))
            .evidence(format!("vlan_filtering of {}", bridge.link.name), u8::from(bridge.vlan_filtering()))
            .witness(port, frame, device.name.clone())
            .unproven(questions);
        let drop = crate::remedy::at_port(context, port, "ether type { 0x8100, 0x88a8 } drop");
        findings.push(finding.remedies([by_hand(
            &DROP_TAGGED,
            "The guest port takes untagged frames only.",
            drop,
        )]));
    }
}

/// The ways to wrap a tag.
fn ways(port: &PortView<'_>, inner: Tag) -> Vec<Vec<Tag>> {
    let mut ways = vec![vec![inner], vec![(EtherType::VLAN, 0), inner], vec![(EtherType::SVLAN, 0), inner]];
    let pvid = port.vlans.and_then(portcullis_snapshot::VlanTable::pvid);
    ways.extend(pvid.map(|pvid| vec![(EtherType::VLAN, pvid.get()), inner]));
    ways
}

/// Whether a frame got to a device: the stack took it in there, or refused it for want of a handler.
fn arrives(walk: &Walk, device: IfIndex) -> bool {
    let host = walk.host().any(|delivery| delivery.device == device);
    host || walk.drops.iter().any(|drop| drop.device == device && drop.function == "deliver_ptype_list_skb")
        || walk
            .outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Elsewhere { device: at, .. } if *at == device))
}

/// Whether an inner tag leaves by an uplink that is untagged in a guest's VLAN: the next switch then obeys it.
fn check_uplink(context: &Context<'_>, bridge: &BridgeView<'_>, findings: &mut Findings) {
    const INNER: u16 = 4093;
    if !bridge.vlan_filtering() {
        return;
    }
    for alike in bridge.guests() {
        let port = alike.first;
        let tags = [(EtherType::VLAN, 0), (EtherType::VLAN, INNER)];
        let probe = Probe::new(Destination::Broadcast, nothing);
        let Some(frame) = probe.frame(bridge, port, &tags) else { continue };
        let walk = context.probe(port.link.index, &frame);
        let uplink = walk.ports().find_map(|delivery| {
            let port = bridge.port(delivery.device).filter(|port| port.role == Role::Uplink)?;
            // One tag is gone, none stands beside the bytes: the inner one comes first on the wire.
            (delivery.hwtag.is_none() && delivery.depth >= 1).then_some(port)
        });
        let Some(uplink) = uplink else { continue };
        for port in alike.members() {
            let Some(frame) = probe.frame(bridge, port, &tags) else { continue };
            let why = "The uplink carries the guest's VLAN untagged, so a second tag within the frame comes first on the \
                       wire, and the next switch takes the frame to be of that VLAN.";
            let finding = context
                .finding(&DOC, bridge, Some(port), "an inner tag of a guest survives to the uplink", why)
                .severity(Severity::Medium)
                .evidence("uplink untagged in the guest's VLAN", &uplink.link.name)
                .witness(port, frame, format!("{}, tagged {INNER}", uplink.link.name));
            let drop = crate::remedy::at_port(context, port, "ether type { 0x8100, 0x88a8 } drop");
            findings.push(finding.remedies([by_hand(
                &DROP_TAGGED,
                "The guest port takes untagged frames only.",
                drop,
            )]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::{EtherType, LinkKind, VlanDevice};

    fn with_vlan_device(lower: &str) -> Host {
        let mut host = Host::hypervisor();
        let vlan = VlanDevice { id: 7, protocol: EtherType::VLAN, flags: 1 };
        host.device("v7", LinkKind::Vlan(vlan));
        let lower = host.index(lower);
        host.link("v7").link = Some(lower);
        host
    }

    #[test]
    fn any_tag_without_filtering_and_an_inner_one_with() {
        assert_eq!(Host::hypervisor().found("vlan-hop"), []);
        assert_eq!(with_vlan_device("br0").found("vlan-hop").len(), 3);
        let mut filtering = with_vlan_device("br0");
        filtering.bridge_options("br0").vlan_filtering = Some(true);
        let reaches = |finding: &&crate::Finding| finding.title.contains("v7");
        assert_eq!(filtering.found("vlan-hop").iter().filter(reaches).count(), 3);
        filtering.no_vlan("br0", 1);
        assert_eq!(filtering.found("vlan-hop").iter().filter(reaches).count(), 0);
    }

    #[test]
    fn a_vlan_device_on_a_port_takes_its_vlan() {
        assert_eq!(with_vlan_device("vnet1").found("vlan-hop").len(), 1);
    }
}
