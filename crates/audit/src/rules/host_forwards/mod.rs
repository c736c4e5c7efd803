//! `host-forwards`: the host routes guests' packets on, also with a source that is not theirs, and also from one
//! isolated port to another.

mod report;
mod targets;

pub(crate) use targets::probes;

use std::collections::BTreeMap;

use portcullis_datapath::{Aim, Outcome};
use portcullis_prove::Goal;
use portcullis_snapshot::IfIndex;

use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::Probe;
use crate::remedy::docs;
use crate::rule::{Rule, RuleDoc, RuleId, refs};
use crate::shown::Shown;

/// The rule.
pub struct HostForwards;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("host-forwards"),
    title: "The host routes guests' packets on",
    severity: Severity::Critical,
    threat: "Where forwarding is on, the host is a router for whoever sends packets to the bridge's MAC address. A guest \
             reaches the networks behind the host's other interfaces, with a forged source too where no reverse path \
             filter objects. Isolated ports meet each other this way: what the host sends is not subject to isolation.",
    kernel_path: &[
        "br_pass_frame_up (net/bridge/br_input.c): the frame comes in again on the bridge device",
        "ip_route_input_slow, __mkroute_input (net/ipv4/route.c): forwarding of the receiving device, not ip_forward",
        "fib_validate_source (net/ipv4/fib_frontend.c): the larger rp_filter of `all` and the device",
        "ip_forward (net/ipv4/ip_forward.c): the frame was addressed to the host",
        "ip6_forward (net/ipv6/ip6_output.c): net.ipv6.conf.all.forwarding",
        "br_dev_xmit (net/bridge/br_device.c): what the host sends into the bridge is not isolated",
    ],
    how_found: "Pings to an address behind each route of the host, and to another guest, are walked from each guest \
                port by the bridge's and the port's own MAC address, with sources that the guests' network could have \
                and with one that is nobody's.",
    remedies: &[docs::FORWARDING_OFF, docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE, docs::NFT_FORWARD],
    references: &[
        "net/ipv4/route.c: ip_route_input_slow, __mkroute_input",
        "net/ipv6/ip6_output.c: ip6_forward",
        "RFC 3704: reverse path filtering",
        refs::BERNAT,
    ],
};

impl Rule for HostForwards {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let probes = probes(context, bridge);
            for alike in bridge.guests() {
                check_alike(context, bridge, &alike, &probes, findings);
            }
        }
    }
}

fn check_alike(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &crate::Alike<'_, '_>,
    probes: &[(bool, Probe<'_>)],
    findings: &mut Findings,
) {
    let mut out: BTreeMap<IfIndex, Way> = BTreeMap::new();
    for (spoofed, probe) in probes {
        let reach = context.reach(bridge, alike.first, (Aim::Host, std::slice::from_ref(probe)), forwarded);
        for hit in reach.hits {
            let Outcome::Forwarded { from, device, .. } = hit.outcome else { continue };
            let frames =
                || alike.members().map(|port| context.shown(bridge, (alike.first, port), &hit)).collect();
            let way = out.entry(device).or_insert_with(|| Way {
                from,
                frames: frames(),
                questions: hit.questions.clone(),
                spoofed: false,
            });
            way.spoofed |= spoofed;
            if hit.questions.len() < way.questions.len() {
                (way.frames, way.questions) = (frames(), hit.questions.clone());
            }
        }
    }
    if out.is_empty()
        && let Some(hit) = context.proven_hit(alike, Goal::Infrastructure, forwarded)
        && let Outcome::Forwarded { from, device, .. } = hit.outcome
    {
        let frames = alike.members().map(|port| context.shown(bridge, (alike.first, port), &hit)).collect();
        out.insert(device, Way { from, frames, questions: Vec::new(), spoofed: false });
    }
    let back = out.remove(&bridge.link.index);
    for (at, port) in alike.members().enumerate() {
        findings.extend(report::onward(context, bridge, port, (&out, at)));
        if port.options.isolated == Some(true) {
            findings.extend(
                back.as_ref().and_then(|way| report::between_isolated(context, bridge, port, (way, at))),
            );
        }
    }
}

/// How packets leave by one device.
struct Way {
    from: IfIndex,
    /// One for each port of the group.
    frames: Vec<Shown>,
    questions: Vec<String>,
    /// Whether a source that is nobody's is let through.
    spoofed: bool,
}

fn forwarded(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Forwarded { .. })
}

#[cfg(test)]
mod tests {
    use crate::Severity;
    use crate::testing::{Host, sketch};

    fn router() -> Host {
        let mut host = Host::hypervisor();
        for device in ["br0", "eth1"] {
            host.ipv4(device).forwarding = Some(1);
        }
        host
    }

    #[test]
    fn without_forwarding_nothing_is_routed() {
        assert_eq!(Host::hypervisor().found("host-forwards"), []);
    }

    #[test]
    fn a_router_takes_guests_into_the_infrastructure() {
        let found = router().found("host-forwards");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        critical br0 vnet0: the host routes guests' packets on from br0
          leave by = eth1
          forged sources = let through
          forwarding = ipv4 br0 1, ipv4 all 0, ipv6 all 0
          0200000000040250430000050800… by vnet0 reaches eth1, routed on from br0
          $ sysctl -w net.ipv4.conf.br0.forwarding=0
          $ sysctl -w net.ipv6.conf.all.forwarding=0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
        "#);
    }

    #[test]
    fn the_reverse_path_filter_of_a_bridge_without_an_address_stops_it() {
        let mut host = router();
        host.ipv4("br0").rp_filter = Some(2);
        assert_eq!(host.found("host-forwards"), []);
    }

    #[test]
    fn a_bridge_with_an_address_routes_its_own_guests() {
        let mut host = router();
        host.address("br0", "192.0.2.1/24");
        host.ipv4("br0").rp_filter = Some(1);
        let found = host.found("host-forwards");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].severity, Severity::Medium);
        assert!(found[0].evidence.iter().any(|e| &*e.source == "forged sources" && &*e.value == "refused"));
    }

    #[test]
    fn isolated_guests_meet_through_the_router() {
        let mut host = router();
        host.address("br0", "192.0.2.1/24");
        for guest in ["vnet0", "vnet1"] {
            host.port_options(guest).isolated = Some(true);
        }
        let found = host.found("host-forwards");
        let meeting: Vec<_> =
            found.into_iter().filter(|finding| finding.title.contains("isolated")).collect();
        assert_eq!(meeting.len(), 2);
        insta::assert_snapshot!(sketch(&meeting[..1]), @r#"
        high br0 vnet0: isolated guests meet through the host's router
          isolated of vnet0 = on
          forwarding = ipv4 br0 1, ipv4 all 0, ipv6 all 0
          0200000000040250430000050800… by vnet0 reaches br0 again, routed by the host
          $ nft 'add table inet portcullis'
          $ nft 'add chain inet portcullis forward { type filter hook forward priority -10; }'
          $ nft 'add rule inet portcullis forward iifname "br0" oifname "br0" drop'
          $ sysctl -w net.ipv4.conf.br0.forwarding=0
          $ sysctl -w net.ipv6.conf.all.forwarding=0
        "#);
    }
}
