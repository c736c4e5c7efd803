//! `arp-probe`: ARP requests from 0.0.0.0 are answered past rp_filter, arp_filter and policy rules.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_datapath::{Aim, Effect, Outcome};

use super::host::{above_bridge, arp_request, host_addresses};
use crate::context::{BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Probe};
use crate::remedy::{self, docs};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct ArpProbe;

const ARP_IGNORE: RemedyDoc = RemedyDoc {
    method: "arp-ignore",
    trade_off: "arp_ignore 1 or more is the only setting that probes respect; the larger of `all` and the device's \
                own value counts.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("arp-probe"),
    title: "Address probes discover the host's addresses",
    severity: Severity::Medium,
    threat: "An ARP request whose sender address is 0.0.0.0 is an address probe (RFC 5227). The kernel answers it for \
             every address of the host before it looks at routes, so that rp_filter, arp_filter and policy rules have \
             no say. A guest finds out every IPv4 address of the host, those of other networks too, and the MAC \
             address of the bridge.",
    kernel_path: &[
        "br_pass_frame_up (net/bridge/br_input.c): broadcast is passed up",
        "arp_process (net/ipv4/arp.c): sip == 0, inet_addr_type_dev_table() == RTN_LOCAL and !arp_ignore(): reply",
    ],
    how_found: "A probe for each of the host's IPv4 addresses is walked from each guest port. Probes for the bridge \
                device's own addresses are as they should be, where guests may reach the host.",
    remedies: &[ARP_IGNORE, docs::ARP_OFF, docs::VLAN_FILTERING, docs::DROP_ON_BRIDGE],
    references: &["net/ipv4/arp.c: arp_process", "RFC 5227, section 2.1", refs::BERNAT],
};

impl Rule for ArpProbe {
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
    let own = context.access_at(bridge, bridge.link.index) == Access::Allow;
    let targets = host_addresses(context).into_iter().filter_map(|(device, net)| match net.addr() {
        IpAddr::V4(address) if !(own && device == bridge.link.index) => Some(address),
        _ => None,
    });
    let targets: Vec<_> = targets.collect();
    let probe = |target: &Ipv4Addr| {
        let target = *target;
        Probe::new(Destination::Broadcast, move |port| arp_request(port, Ipv4Addr::UNSPECIFIED, target))
    };
    let probes: Vec<_> = targets.iter().map(probe).collect();
    for alike in bridge.guests() {
        let index = alike.first.link.index;
        let answered =
            |outcome: &Outcome| above_bridge(outcome, index).is_some_and(|d| d.effect == Effect::ArpReply);
        let reach = context.reach(bridge, alike.first, (Aim::Host, &probes), answered);
        let Some(best) = reach.best() else { continue };
        let discovered: Vec<_> = targets
            .iter()
            .zip(&probes)
            .filter(|(_, probe)| reach.has(probe))
            .map(|(to, _)| to.to_string())
            .collect();
        let device = context.name(best.host().map_or(bridge.link.index, |host| host.device));
        let severity = if own { Severity::Low } else { Severity::Medium };
        let title = format!("address probes on {device} discover the host's addresses");
        let why = format!(
            "arp_process answers a request from 0.0.0.0 for any address of the host without a route lookup: neither \
             rp_filter nor arp_filter nor a policy rule for {device} applies. A guest learns all of them."
        );
        for port in alike.members() {
            let shown = context.shown(bridge, (alike.first, port), best);
            let finding = context
                .finding(&DOC, bridge, Some(port), title.clone(), why.clone())
                .severity(severity)
                .evidence("addresses discovered", discovered.join(" "))
                .evidence(remedy::sysctl_name("ipv4", &device, "arp_ignore"), ignore(context, bridge))
                .witness(shown.port, shown.frame, format!("the host's ARP on {device}, which answers"))
                .unproven(best.questions.iter().cloned());
            findings.push(finding.remedies([remedy::sysctl(
                context,
                &ARP_IGNORE,
                "The device answers for its own addresses only.",
                &[("ipv4", &device, "arp_ignore", 1)],
            )]));
        }
    }
}

/// The values of `arp_ignore`, of which the larger counts.
fn ignore(context: &Context<'_>, bridge: &BridgeView<'_>) -> String {
    let show = |value: Option<i32>| value.map_or_else(|| "unread".to_owned(), |value| value.to_string());
    let own = bridge.link.ipv4.as_ref().and_then(|conf| conf.arp_ignore);
    let all = context.netns().ipv4.read().and_then(|conf| conf.all.arp_ignore);
    format!("{} (all: {})", show(own), show(all))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    #[test]
    fn probes_pass_the_reverse_path_filter() {
        let mut host = Host::hypervisor();
        host.ipv4("br0").rp_filter = Some(1);
        host.all_ipv4().all.rp_filter = Some(1);
        let found = host.found("arp-probe");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r"
        medium br0 vnet0: address probes on br0 discover the host's addresses
          addresses discovered = 10.1.2.3
          net.ipv4.conf.br0.arp_ignore = 0 (all: 0)
          ffffffffffff0250430000050806… by vnet0 reaches the host's ARP on br0, which answers
          $ sysctl -w net.ipv4.conf.br0.arp_ignore=1
        ");
    }

    #[test]
    fn arp_ignore_of_all_closes_it() {
        let mut host = Host::hypervisor();
        host.all_ipv4().all.arp_ignore = Some(2);
        assert_eq!(host.found("arp-probe"), []);
    }

    #[test]
    fn on_a_bridge_with_an_address_other_addresses_still_count() {
        let mut host = Host::hypervisor();
        host.address("br0", "192.0.2.1/24");
        let found = host.found("arp-probe");
        assert_eq!(found[0].severity, crate::Severity::Low);
        assert_eq!(&*found[0].evidence[0].value, "10.1.2.3");
    }
}
