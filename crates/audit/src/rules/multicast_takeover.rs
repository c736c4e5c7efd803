//! `multicast-takeover`: a guest becomes the multicast querier and router of the bridge.

use portcullis_datapath::Payload;
use portcullis_snapshot::McastRouter;

use super::settings::{by_hand, port_commands};
use crate::context::{Context, PortView};
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct MulticastTakeover;

const ROUTER_OFF: RemedyDoc = RemedyDoc {
    method: "mcast-router-off",
    trade_off: "The port never counts as leading to a multicast router. A guest that is one by right needs it on.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("multicast-takeover"),
    title: "A guest can become the bridge's multicast querier and router port",
    severity: Severity::Low,
    threat: "One IGMP or MLD query from a guest makes its port a router port for minutes: it then gets every group's \
             traffic. As a querier exists from then on, groups that nobody registered are no longer flooded, and the host \
             and other guests stop receiving them; IPv6 neighbour discovery is among them.",
    kernel_path: &[
        "br_ip4_multicast_query (net/bridge/br_multicast.c): br_multicast_query_received, br_ip4_multicast_mark_router",
        "br_multicast_querier_exists (net/bridge/br_private.h): from then on mcast_hit decides",
    ],
    how_found: "Snooping is on, and the guest port may become a router port when a query is heard. The query is the \
                witness; what it changes comes after it.",
    remedies: &[ROUTER_OFF],
    references: &["net/bridge/br_multicast.c: br_multicast_mark_router", "bridge(8): mcast_router"],
};

impl Rule for MulticastTakeover {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let query =
            Probe::new(Destination::ALL_HOSTS, |_| Payload::IgmpQuery { from: [192, 0, 2, 1].into() });
        for bridge in context.bridges().iter().filter(|bridge| bridge.options.mcast_snooping == Some(true)) {
            let may = |port: &PortView<'_>| {
                !matches!(port.options.mcast_router, Some(McastRouter::Disabled) | None)
            };
            let frame =
                |port: &PortView<'_>| query.frame(bridge, port, port.tags.first().map_or(&[], Vec::as_slice));
            // A port that lets nothing in cannot become anything.
            let gets_in = |port: &PortView<'_>| {
                let walked = frame(port).map(|frame| context.probe(port.link.index, &frame));
                walked.is_some_and(|walk| !walk.outcomes.is_empty())
            };
            let groups = bridge.guests().filter(|alike| may(alike.first) && gets_in(alike.first));
            for port in groups.flat_map(|alike| alike.members()) {
                let Some(frame) = frame(port) else { continue };
                let why = "Snooping is on and the port may become a multicast router port: one query from its guest makes it \
                           one, and makes the bridge believe that a querier exists.";
                let finding = context
                    .finding(
                        &DOC,
                        bridge,
                        Some(port),
                        "a guest's query makes its port a multicast router port",
                        why,
                    )
                    .evidence(format!("mcast_snooping of {}", bridge.link.name), 1)
                    .evidence(format!("mcast_router of {}", port.link.name), "1 (when a query is heard)")
                    .witness(port, frame, format!("the multicast state of {}", bridge.link.name));
                findings.push(finding.remedies([by_hand(
                    &ROUTER_OFF,
                    "The port never becomes a router port.",
                    port_commands(context, [port], "mcast_router 0"),
                )]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::McastRouter;

    #[test]
    fn only_where_snooping_listens() {
        let mut host = Host::hypervisor();
        host.bridge_options("br0").mcast_snooping = Some(true);
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.port_options(guest).mcast_router = Some(McastRouter::TempQuery);
        }
        host.port_options("vnet1").mcast_router = Some(McastRouter::Disabled);
        assert_eq!(host.found("multicast-takeover").len(), 2);
        host.bridge_options("br0").mcast_snooping = Some(false);
        assert_eq!(host.found("multicast-takeover"), []);
    }
}
