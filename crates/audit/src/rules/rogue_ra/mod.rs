//! `rogue-ra`: the host would believe a guest's router advertisement: on the bridge device, on a port, or on the next
//! port that is made.

mod next_port;

use std::net::Ipv6Addr;

use portcullis_datapath::{Aim, Effect, Outcome, Payload, frame::RouterAdvertisement};
use portcullis_snapshot::{Ipv6Conf, Link};

use super::host::{ALL_NODES, link_local, to_each};
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rule::{Rule, RuleDoc, RuleId, refs};
use crate::shown::Shown;

/// The rule.
pub struct RogueRa;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("rogue-ra"),
    title: "The host would believe a guest's router advertisement",
    severity: Severity::Critical,
    threat: "One router advertisement from a guest gives the host a default route through that guest, an address and \
             perhaps a name server: the guest then sees and changes what the host sends over IPv6. The kernel believes \
             advertisements wherever accept_ra is on and forwarding is off, which is the default on every device that \
             comes up, taps and veths included. Those to 01:80:c2:00:00:0e come in on the port itself, past the \
             bridge and its settings.",
    kernel_path: &[
        "br_pass_frame_up, or br_handle_frame for link-local addresses (net/bridge/br_input.c)",
        "ip6_mc_input (net/ipv6/ip6_input.c): every device is a member of ff02::1",
        "ndisc_router_discovery (net/ipv6/ndisc.c): ipv6_accept_ra(): accept_ra and forwarding of the receiving device",
    ],
    how_found: "An advertisement of a default route and of a prefix is walked from each guest port, to the multicast \
                address of all nodes, to the bridge's and the port's own address, and to each link-local group address. \
                For ports to come, the values of `default` are looked at.",
    remedies: &[
        docs::ACCEPT_RA_OFF,
        docs::ACCEPT_RA_DEFAULT,
        docs::DISABLE_IPV6,
        docs::VLAN_FILTERING,
        docs::DROP_LINK_LOCAL,
        docs::OWN_NETNS,
    ],
    references: &[
        "net/ipv6/ndisc.c: ndisc_router_discovery",
        "include/net/ipv6.h: ipv6_accept_ra",
        "RFC 6104: rogue IPv6 router advertisements",
        refs::VLAN0,
    ],
};

impl Rule for RogueRa {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let probes = probes();
        for bridge in context.bridges() {
            let mut guests = false;
            for alike in bridge.guests() {
                guests = true;
                check_alike(context, bridge, &alike, &probes, findings);
            }
            if guests {
                findings.extend(next_port::finding(context, bridge));
            }
        }
    }
}

fn probes() -> Vec<Probe<'static>> {
    let mut destinations =
        vec![Destination::ALL_NODES, Destination::Broadcast, Destination::Bridge, Destination::Port];
    destinations.extend(Destination::all_link_local());
    to_each(&destinations, |port| {
        Payload::RouterAdvertisement(RouterAdvertisement {
            from: link_local(port.source),
            to: ALL_NODES,
            lifetime: 1800,
            prefix: Ipv6Addr::new(0x2001, 0xdb8, 0x5043, 0xbad, 0, 0, 0, 0),
        })
    })
}

fn check_alike(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    probes: &[Probe<'_>],
    findings: &mut Findings,
) {
    let index = alike.first.link.index;
    let believed = [false, true].map(|on_port| {
        move |outcome: &Outcome| matches!(outcome, Outcome::Host(to) if to.effect == Effect::RouterAdvertisement && (to.device == index) == on_port)
    });
    let reaches = context.reaches(bridge, alike.first, (Aim::Host, probes), believed);
    for (reach, on_port) in reaches.iter().zip([false, true]) {
        let Some((best, on)) = reach.best().and_then(|best| Some((best, best.host()?.device))) else {
            continue;
        };
        let ways = reach.ways();
        let finding = |port: Option<&PortView<'_>>, device: &Link, place: &str| {
            let finding = believes(context, (bridge, port), device, place, &ways);
            finding.unproven(best.questions.iter().cloned())
        };
        let witnessed = |finding: Finding, port: &PortView<'_>, device: Option<&str>| {
            let Shown { port, frame } = context.shown(bridge, (alike.first, port), best);
            let reaches = format!("the host's router discovery on {}", device.unwrap_or(&port.name));
            finding.witness(port, frame, reaches)
        };
        if on_port {
            findings.extend(alike.members().map(|port| {
                let finding = finding(Some(port), port.link, "the port device");
                let drop = remedy::drop_link_local(context, bridge, port);
                witnessed(finding.remedies([drop]), port, None)
            }));
        } else if let Some(device) = context.network().link(on) {
            let denied = context.access_at(bridge, on) == Access::Deny;
            let closing = if denied { remedy::vlan_filtering(context, bridge) } else { None };
            let finding = finding(None, device, &device.name).remedies(closing);
            findings
                .extend(alike.members().map(|port| witnessed(finding.at(port), port, Some(&device.name))));
        }
    }
}

/// What is found of a device that believes advertisements, by one port or whichever they come in by.
fn believes(
    context: &Context<'_>,
    (bridge, port): (&BridgeView<'_>, Option<&PortView<'_>>),
    device: &Link,
    place: &str,
    ways: &str,
) -> Finding {
    let name = &device.name;
    let why = format!(
        "ndisc_router_discovery accepts it on {name}: accept_ra is on there and forwarding is off. One frame gives the \
         host a default route through the guest and an address in a prefix of the guest's choice."
    );
    let title = format!("the host believes guests' router advertisements on {place}");
    let off = remedy::sysctl(
        context,
        &docs::ACCEPT_RA_OFF,
        format!("The kernel ignores router advertisements on {name}."),
        &[("ipv6", name, "accept_ra", 0)],
    );
    context
        .finding(&DOC, bridge, port, title, why)
        .evidence("reached by", ways)
        .evidence(format!("IPv6 settings of {name}"), show(device.ipv6.as_ref()))
        .remedies([off])
}

fn show(conf: Option<&Ipv6Conf>) -> String {
    let show = |value: Option<i32>| value.map_or_else(|| "unread".to_owned(), |value| value.to_string());
    conf.map_or_else(
        || "unread".to_owned(),
        |conf| {
            let (ra, forwarding, off) =
                (show(conf.accept_ra), show(conf.forwarding), show(conf.disable_ipv6));
            format!("accept_ra {ra}, forwarding {forwarding}, disable_ipv6 {off}")
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    #[test]
    fn defaults_believe_on_the_bridge_on_ports_and_on_the_next_port() {
        let found = Host::hypervisor().found("rogue-ra");
        assert_eq!(found.len(), 3 + 3 + 1);
        let (on_port, on_bridge): (Vec<_>, Vec<_>) =
            found.into_iter().filter(|f| f.port.is_some()).partition(|f| f.title.contains("port device"));
        insta::assert_snapshot!(sketch(&[on_port[0].clone(), on_bridge[0].clone()]), @r#"
        critical br0 vnet0: the host believes guests' router advertisements on the port device
          reached by = 01:80:c2:00:00 :02 :03 :04 :05 :06 :07 :08 :09 :0a :0b :0c :0d :0e :0f
          IPv6 settings of vnet0 = accept_ra 1, forwarding 0, disable_ipv6 0
          0180c200000e02504300000586dd… by vnet0 reaches the host's router discovery on vnet0
          $ sysctl -w net.ipv6.conf.vnet0.accept_ra=0
          $ nft 'add table netdev portcullis'
          $ nft 'add chain netdev portcullis port_vnet0 { type filter hook ingress device "vnet0" priority -500; }'
          $ nft 'add rule netdev portcullis port_vnet0 ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop'
        critical br0 vnet0: the host believes guests' router advertisements on br0
          reached by = multicast (33:33:00:00:00:01), broadcast, the bridge's address, the port's own address, 01:80:c2:00:00 :00
          IPv6 settings of br0 = accept_ra 1, forwarding 0, disable_ipv6 0
          33330000000102504300000586dd… by vnet0 reaches the host's router discovery on br0
          $ sysctl -w net.ipv6.conf.br0.accept_ra=0
          $ bridge vlan del dev br0 vid 1 self
          $ ip link set dev br0 type bridge vlan_filtering 1
        "#);
    }

    #[test]
    fn the_bridges_own_switch_does_not_cover_its_ports() {
        let mut host = Host::hypervisor();
        host.ipv6("br0").disable_ipv6 = Some(1);
        let found = host.found("rogue-ra");
        assert!(found.iter().filter(|f| f.port.is_some()).all(|f| f.title.contains("port device")));
        assert_eq!(found.len(), 3 + 1);
    }

    #[test]
    fn the_defaults_alone_are_reported_once_for_each_bridge() {
        let mut host = Host::hypervisor();
        for device in ["br0", "vnet0", "vnet1", "vnet2"] {
            host.ipv6(device).accept_ra = Some(0);
        }
        let found = host.found("rogue-ra");
        insta::assert_snapshot!(sketch(&found), @r"
        medium br0: the next port will believe router advertisements
          IPv6 settings of default = accept_ra 1, forwarding 0, disable_ipv6 0
          $ sysctl -w net.ipv6.conf.default.accept_ra=0
        ");
        host.all_ipv6().default.accept_ra = Some(0);
        assert_eq!(host.found("rogue-ra"), []);
    }

    #[test]
    fn routers_believe_only_when_told_twice() {
        let mut host = Host::hypervisor();
        host.ipv6("br0").forwarding = Some(1);
        let on_bridge = |host: &Host| host.found("rogue-ra").iter().any(|f| f.title.ends_with("on br0"));
        assert!(!on_bridge(&host));
        host.ipv6("br0").accept_ra = Some(2);
        assert!(on_bridge(&host));
    }
}
