//! `priority-tags`: VLAN 0 tags, which change nothing for the receiver, change what filters see.

mod evasion;

use portcullis_datapath::Payload;
use portcullis_snapshot::{EtherType, LegacyFamily, NftFamily};

use self::evasion::evasion;

use super::host::{ALL_NODES, arp_request, ipv4_targets, link_local, neighbour_of, to_each};
use crate::context::{Alike, BridgeView, Context, Tag};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct PriorityTags;

const DROP_TAGGED: RemedyDoc = RemedyDoc {
    method: "drop-tagged",
    trade_off: "Drops whatever is tagged at the guest port, with either TPID: `ether type vlan` alone is evaded by \
                802.1ad. Guests that use VLANs of their own lose them.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("priority-tags"),
    title: "Frames with VLAN 0 tags evade layer 2 filters",
    severity: Severity::Medium,
    threat: "A tag with VLAN id 0 only carries a priority: the kernel removes any number of them, 802.1Q or 802.1ad, \
             before it looks for a protocol. Filters that go by EtherType see the tag instead of IPv4 or ARP, and \
             iptables rules on bridged packets do not see such frames at all. A guest puts the tag on and is past them.",
    kernel_path: &[
        "skb_vlan_untag (net/core/skbuff.c): one tag goes beside the bytes",
        "br_nf_pre_routing (net/bridge/br_netfilter_hooks.c): tagged frames are passed over unless \
         bridge-nf-filter-vlan-tagged is 1; those with two tags always",
        "nft_payload_copy_vlan (net/netfilter/nft_payload.c): `ether type` reads the tag's TPID",
        "__netif_receive_skb_core (net/core/dev.c): VLAN 0 is passed over, and the next tag too",
    ],
    how_found: "ARP, IPv4 and IPv6 frames are walked from each guest port without a tag and with one and two VLAN 0 \
                tags. A filter that the plain frame meets and the tagged frame does not is evaded. Where filters of \
                the bridge or of a device are met by both, whether their rules look past tags is not evaluated.",
    remedies: &[DROP_TAGGED],
    references: &[
        "net/core/dev.c: __netif_receive_skb_core",
        "net/bridge/br_netfilter_hooks.c: br_nf_pre_routing",
        refs::VLAN0,
        "https://blog.champtar.fr/VLAN0_LLC_SNAP/",
    ],
};

const STACKS: [&[Tag]; 3] =
    [&[(EtherType::VLAN, 0)], &[(EtherType::SVLAN, 0)], &[(EtherType::VLAN, 0), (EtherType::VLAN, 0)]];

impl Rule for PriorityTags {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let probes = probes(context);
        for bridge in context.bridges() {
            for alike in bridge.guests().filter(|alike| alike.first.tags.iter().any(Vec::is_empty)) {
                check_alike(context, bridge, &alike, &probes, findings);
            }
        }
    }
}

fn check_alike(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    probes: &[Probe<'_>],
    findings: &mut Findings,
) {
    let stacks = probes.iter().flat_map(|probe| STACKS.map(|tags| (probe, tags)));
    let evasions: Vec<_> = stacks.filter_map(|one| evasion(context, bridge, alike, one)).collect();
    let proven = evasions.iter().find(|evasion| !evasion.evaded.is_empty());
    let filtered =
        || evasions.iter().find(|evasion| !evasion.met.is_empty()).filter(|_| has_layer_2_filters(context));
    let Some(best) = proven.or_else(filtered) else { return };
    for port in alike.members() {
        let (title, why) = if best.evaded.is_empty() {
            (
                "whether filters look past VLAN 0 tags is not decided",
                "The frame with VLAN 0 tags passes where the plain one does. Rules that go by EtherType see the tag \
                 instead; unless tagged frames are dropped first, they are evaded.",
            )
        } else {
            (
                "VLAN 0 tags take frames past filters",
                "The kernel passes over VLAN 0 tags and delivers the frame like the plain one, but the filters that \
                 the plain frame meets are not asked. A guest adds the tag and is past them.",
            )
        };
        let frame = best.probe.frame(bridge, port, best.tags).unwrap_or_default();
        let mut finding = context
            .finding(&DOC, bridge, Some(port), title, why)
            .severity(if best.evaded.is_empty() { Severity::Low } else { Severity::Medium });
        for filter in &best.evaded {
            finding = finding.evidence("evaded", filter);
        }
        finding = finding.witness(port, frame, best.reaches.clone()).unproven(best.met.iter().cloned());
        findings.push(finding.remedies([drop_tagged(context, port)]));
    }
}

/// Whether there are filters that look at the link layer's header.
fn has_layer_2_filters(context: &Context<'_>) -> bool {
    let filters = &context.netns().filters;
    let chains = filters.nft_chains.known().iter();
    chains
        .filter(|chain| chain.rules > 0)
        .any(|chain| matches!(chain.family, NftFamily::Bridge | NftFamily::Netdev))
        || filters.legacy_tables.known().iter().any(|table| table.family == LegacyFamily::Ebtables)
        || filters.tc.known().iter().any(|hook| !hook.filters.is_empty())
}

fn probes(context: &Context<'_>) -> Vec<Probe<'static>> {
    let target = ipv4_targets(context).first().copied().unwrap_or(super::host::STRANGER4);
    let from = neighbour_of(target);
    let mut probes = vec![Probe::new(Destination::Broadcast, move |port| arp_request(port, from, target))];
    probes.extend(to_each(&[Destination::Bridge, Destination::Broadcast], move |_| Payload::Ping4 {
        from,
        to: target,
    }));
    probes.push(Probe::new(Destination::ALL_NODES, |port| Payload::Ping6 {
        from: link_local(port.source),
        to: ALL_NODES,
    }));
    probes
}

fn drop_tagged(context: &Context<'_>, port: &crate::PortView<'_>) -> crate::Remedy {
    crate::Remedy {
        method: DROP_TAGGED.method,
        summary: "Tagged frames are dropped at the port, before every other filter.".into(),
        commands: crate::remedy::at_port(context, port, "ether type { 0x8100, 0x88a8 } drop"),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::{BrNetfilter, NftFamily, Reading};

    #[test]
    fn without_filters_there_is_nothing_to_evade() {
        assert_eq!(Host::hypervisor().found("priority-tags"), []);
    }

    #[test]
    fn bridged_iptables_are_evaded() {
        let mut host = Host::hypervisor();
        host.netns().filters.br_netfilter = Reading::Read(BrNetfilter {
            call_iptables: true,
            call_ip6tables: true,
            call_arptables: true,
            filter_vlan_tagged: false,
            filter_pppoe_tagged: false,
            pass_vlan_input_dev: false,
        });
        host.nft_chain(NftFamily::Ip, 2, "forward");
        let found = host.found("priority-tags");
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        medium br0 vnet0: VLAN 0 tags take frames past filters
          evaded = nftables chain ip filter forward (1 rules)
          ffffffffffff0250430000058100… by vnet0 reaches eth0
          $ nft 'add table netdev portcullis'
          $ nft 'add chain netdev portcullis port_vnet0 { type filter hook ingress device "vnet0" priority -500; }'
          $ nft 'add rule netdev portcullis port_vnet0 ether type { 0x8100, 0x88a8 } drop'
        "#);
    }

    #[test]
    fn chains_of_the_bridge_leave_it_open() {
        let mut host = Host::hypervisor();
        host.nft_chain(NftFamily::Bridge, 0, "prerouting");
        let found = host.found("priority-tags");
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|finding| !finding.is_proven()));
    }
}
