//! `br-netfilter`: bridged traffic goes through the host's own firewall, and tagged traffic past it.

use portcullis_snapshot::NftFamily;

use super::settings::by_hand;
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct BrNetfilter;

const CALLS_OFF: RemedyDoc = RemedyDoc {
    method: "br-netfilter-off",
    trade_off: "Bridged traffic no longer meets iptables. Docker and Kubernetes turn it on because they rely on it; rules \
                meant for bridged traffic then belong in nftables' bridge family.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("br-netfilter"),
    title: "Bridged traffic goes through iptables",
    severity: Severity::Info,
    threat: "With br_netfilter, frames between guests run through the host's PREROUTING and FORWARD hooks: a DNAT or \
             REDIRECT rule captures guest-to-guest traffic into the host, and a FORWARD policy of DROP cuts guests off. A \
             filter that relies on it is evaded: frames with a VLAN tag, VLAN 0 included, pass it by unless \
             bridge-nf-filter-vlan-tagged is on, and doubly tagged ones always do.",
    kernel_path: &[
        "br_nf_pre_routing (net/bridge/br_netfilter_hooks.c): NF_INET_PRE_ROUTING for every bridged packet",
        "br_nf_forward (net/bridge/br_netfilter_hooks.c): NF_INET_FORWARD",
    ],
    how_found: "bridge-nf-call-* of the namespace and nf_call_* of the bridge, and whether any chain or table stands at \
                those hooks.",
    remedies: &[CALLS_OFF],
    references: &["net/bridge/br_netfilter_hooks.c: br_nf_pre_routing", "VU#855201"],
};

impl Rule for BrNetfilter {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let Some(settings) = context.netns().filters.br_netfilter.read() else { return };
        let filters = &context.netns().filters;
        let inet = |family| matches!(family, NftFamily::Inet | NftFamily::Ip | NftFamily::Ip6);
        let chains =
            filters.nft_chains.known().iter().filter(|chain| inet(chain.family) && chain.rules > 0).count();
        let tables = filters.legacy_tables.known().len();
        for bridge in context.bridges() {
            let by_bridge = [bridge.options.nf_call_iptables, bridge.options.nf_call_ip6tables];
            let on = settings.call_iptables || settings.call_ip6tables || by_bridge.contains(&Some(true));
            if !on || bridge.ports.is_empty() {
                continue;
            }
            let filtering = chains + tables > 0;
            let severity = match (filtering, settings.filter_vlan_tagged) {
                (true, false) => Severity::Medium,
                (true, true) => Severity::Low,
                (false, _) => Severity::Info,
            };
            let why = if filtering {
                "Rules stand at the hooks that bridged packets run through. What they stop for untagged frames passes with a \
                 priority tag, unless bridge-nf-filter-vlan-tagged is on; and address translation meant for the host can \
                 capture traffic between guests."
            } else {
                "Nothing stands at those hooks now; the first rule will act on bridged traffic too."
            };
            let finding = context
                .finding(&DOC, bridge, None, "bridged packets run through iptables", why)
                .severity(severity)
                .evidence("net.bridge.bridge-nf-call-iptables", u8::from(settings.call_iptables))
                .evidence("net.bridge.bridge-nf-call-ip6tables", u8::from(settings.call_ip6tables))
                .evidence("net.bridge.bridge-nf-filter-vlan-tagged", u8::from(settings.filter_vlan_tagged))
                .evidence("chains and tables at those hooks", chains + tables);
            let off = ["iptables", "ip6tables", "arptables"];
            let off =
                off.map(|name| context.command(format!("sysctl -w net.bridge.bridge-nf-call-{name}=0")));
            findings.push(finding.remedies([by_hand(
                &CALLS_OFF,
                "Bridged frames stay with the bridge.",
                off.to_vec(),
            )]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::{BrNetfilter, NftFamily, Reading};

    #[test]
    fn it_matters_once_rules_stand_there() {
        let mut host = Host::hypervisor();
        let on = BrNetfilter {
            call_iptables: true,
            call_ip6tables: true,
            call_arptables: true,
            filter_vlan_tagged: false,
            filter_pppoe_tagged: false,
            pass_vlan_input_dev: false,
        };
        host.netns().filters.br_netfilter = Reading::Read(on);
        assert_eq!(host.found("br-netfilter")[0].severity, crate::Severity::Info);
        host.nft_chain(NftFamily::Inet, 2, "forward");
        assert_eq!(host.found("br-netfilter")[0].severity, crate::Severity::Medium);
    }
}
