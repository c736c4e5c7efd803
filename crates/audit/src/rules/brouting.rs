//! `brouting`, `steering`: something can take frames out of the bridge's path.

use portcullis_datapath::Outcome;
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{LegacyFamily, NftFamily, TcFilter, TcHookKind};

use super::settings::by_hand;
use crate::context::{Alike, BridgeView, Context};
use crate::finding::{Findings, Severity};
use crate::probe::Destination;
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct Brouting;

const REVIEW: RemedyDoc = RemedyDoc {
    method: "review",
    trade_off: "Nothing to change by itself: what the rules and programs do is not evaluated yet, so they have to be read.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("brouting"),
    title: "Rules or programs can take frames out of the bridge's path",
    severity: Severity::Low,
    threat: "ebtables' broute table and nftables' `meta broute` hand a guest's frames to the host's stack on the port device; \
             redirect and dnat in bridge hooks give them to the host; tc mirred, XDP and BPF programs move them to any \
             other device. Each is a hole on purpose, or one that was forgotten.",
    kernel_path: &[
        "nf_hook_bridge_pre (net/bridge/br_input.c): br_netfilter_broute",
        "sch_handle_ingress (net/core/dev.c): TC_ACT_REDIRECT",
    ],
    how_found: "A broute table or bridge prerouting chains that are not empty, tc filters that redirect or run BPF, XDP and \
                tcx programs on the bridge device and its ports: that they are there is told. A frame that is proven to reach the \
                host on the port itself, and is not to a link-local address, is told for itself.",
    remedies: &[REVIEW],
    references: &["net/bridge/netfilter/ebtable_broute.c", "net/bridge/netfilter/nft_meta_bridge.c"],
};

impl Rule for Brouting {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            for alike in bridge.guests() {
                taken_out(context, bridge, &alike, findings);
            }
            let found = steering(context, bridge);
            if found.is_empty() {
                continue;
            }
            let why = "These stand where a frame can be taken out of the bridge's path and given to the host or to another \
                       device. Whether they do is not evaluated.";
            let mut finding =
                context.finding(&DOC, bridge, None, "frames can be taken out of the bridge's path", why);
            for (source, value) in &found {
                finding = finding.evidence(source.as_str(), value);
            }
            let unproven = found.iter().map(|(_, value)| format!("{value} is not evaluated"));
            let finding = finding.unproven(unproven);
            findings.push(finding.remedies([by_hand(&REVIEW, "Read what stands there.", Vec::new())]));
        }
    }
}

/// Reports ports whose frames are proven to reach the host's stack on the port itself, though they are not to link-local
/// addresses.
fn taken_out(context: &Context<'_>, bridge: &BridgeView<'_>, alike: &Alike<'_, '_>, findings: &mut Findings) {
    let on_port =
        |outcome: &Outcome| matches!(outcome, Outcome::Host(to) if to.device == alike.first.link.index);
    for protocol in [HostProtocol::Ipv4, HostProtocol::Ipv6, HostProtocol::Arp] {
        let hit = context.proven_hit(alike, Goal::Host(protocol), on_port);
        let Some(hit) = hit.filter(|hit| !matches!(hit.sent.to(), Destination::LinkLocal(_))) else {
            continue;
        };
        let Some(taken) = hit.host().map(|host| host.protocol) else { continue };
        let why = "Something on the port's ingress or in the bridge's prerouting hook hands the frame to the stack of the \
                   port device, past the bridge and all that it filters: the host takes it in there.";
        for port in alike.members() {
            let shown = context.shown(bridge, (alike.first, port), &hit);
            let on = format!("the host's stack on {}", shown.port.name);
            let title = format!("frames taken out of the bridge's path reach the host's {taken}");
            let finding = context
                .finding(&DOC, bridge, Some(port), title, why)
                .severity(Severity::High)
                .evidence("addressed to", hit.sent.to().words())
                .witness(shown.port, shown.frame, on);
            findings.push(finding.remedies([by_hand(&REVIEW, "Read what stands there.", Vec::new())]));
        }
        return;
    }
}

fn steering(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<(String, String)> {
    let filters = &context.netns().filters;
    let mut found = Vec::new();
    let broute = |family, table: &str| family == LegacyFamily::Ebtables && matches!(table, "broute" | "nat");
    for table in filters.legacy_tables.known().iter().filter(|table| broute(table.family, &table.table)) {
        found.push(("ebtables".to_owned(), format!("table {}", table.table)));
    }
    let prerouting = |family, hook| family == NftFamily::Bridge && hook == 0;
    for chain in filters.nft_chains.known().iter().filter(|chain| prerouting(chain.family, chain.hook)) {
        if chain.rules > 0 && !chain.dormant {
            found.push(("nftables".to_owned(), format!("chain bridge {} {}", chain.table, chain.chain)));
        }
    }
    let ours = |device| device == bridge.link.index || bridge.port(device).is_some();
    for hook in filters.tc.known().iter().filter(|hook| ours(hook.device) && hook.hook == TcHookKind::Ingress)
    {
        let moves = |filter: &TcFilter| {
            filter.kind() == "bpf" || filter.action_kinds().any(|kind| matches!(kind, "mirred" | "bpf"))
        };
        if hook.filters.iter().any(moves) {
            found.push((
                format!("tc ingress of {}", context.name(hook.device)),
                "a filter that redirects or runs BPF".to_owned(),
            ));
        }
    }
    for programs in filters.tcx.known().iter().filter(|programs| ours(programs.device)) {
        found.push((
            format!("tcx of {}", context.name(programs.device)),
            format!("BPF programs {:?}", programs.programs),
        ));
    }
    let devices = std::iter::once(bridge.link).chain(bridge.ports.iter().map(|port| port.link));
    for device in devices.filter(|device| !device.xdp.is_empty()) {
        found.push((format!("XDP of {}", device.name), format!("{} program(s)", device.xdp.len())));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::NftFamily;

    #[test]
    fn a_bridge_prerouting_chain_is_named() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("brouting"), []);
        host.nft_chain(NftFamily::Bridge, 0, "prerouting");
        assert_eq!(host.found("brouting").len(), 1);
    }
}
