//! `mixed-firewalls`: several firewalls that do not see each other's rules act on bridged traffic.

use portcullis_snapshot::{LegacyFamily, NftFamily};

use super::settings::by_hand;
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct MixedFirewalls;

const ONE: RemedyDoc = RemedyDoc {
    method: "one-firewall",
    trade_off: "Keep the rules in one place: nftables shows nothing of legacy tables, and the legacy tools nothing of \
                nftables.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("mixed-firewalls"),
    title: "Legacy tables and nftables both hold rules",
    severity: Severity::Info,
    threat: "A frame must pass both. Rules that are listed by one tool and undone by the other are easily misread; a table \
             that was forgotten can redirect or drop what the visible rules allow.",
    kernel_path: &["nf_hook_slow (net/netfilter/core.c): all hooks of a point, in the order of priority"],
    how_found: "Legacy tables that are not empty beside nftables chains with rules, for bridged frames or for the host.",
    remedies: &[ONE],
    references: &["xtables-nft(8)", "ebtables-nft(8)"],
};

impl Rule for MixedFirewalls {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let filters = &context.netns().filters;
        let pairs: [(&str, &[LegacyFamily], &[NftFamily]); 2] = [
            ("bridged frames", &[LegacyFamily::Ebtables], &[NftFamily::Bridge]),
            (
                "the host's packets",
                &[LegacyFamily::Iptables, LegacyFamily::Ip6tables],
                &[NftFamily::Inet, NftFamily::Ip, NftFamily::Ip6],
            ),
        ];
        for (what, legacy, nft) in pairs {
            let tables: Vec<_> =
                filters.legacy_tables.known().iter().filter(|table| legacy.contains(&table.family)).collect();
            let active = |family, rules: u32, dormant: bool| nft.contains(&family) && rules > 0 && !dormant;
            let chains = filters.nft_chains.known().iter();
            let chains = chains.filter(|chain| active(chain.family, chain.rules, chain.dormant)).count();
            if tables.is_empty() || chains == 0 || context.bridges().is_empty() {
                continue;
            }
            let listed: Vec<_> =
                tables.iter().map(|table| format!("{:?} {}", table.family, table.table)).collect();
            let title = format!("legacy tables and nftables both act on {what}");
            let why = "Each tool lists its own rules only; a frame has to pass both.";
            let finding = context
                .finding_elsewhere(&DOC, None, title, why)
                .evidence("legacy tables", listed.join(", ").to_lowercase())
                .evidence("nftables chains with rules", chains);
            findings.push(finding.remedies([by_hand(&ONE, "Move the rules to one of them.", Vec::new())]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::{LegacyFamily, LegacyTable, NftFamily, Reading};

    #[test]
    fn both_at_once_are_told() {
        let mut host = Host::hypervisor();
        let table = LegacyTable {
            family: LegacyFamily::Ebtables,
            table: "filter".to_owned(),
            entries: Some(3),
            chains: Reading::Read(Vec::new()),
        };
        host.netns().filters.legacy_tables = Reading::Read(vec![table]);
        assert_eq!(host.found("mixed-firewalls"), []);
        host.nft_chain(NftFamily::Bridge, 2, "forward");
        assert_eq!(host.found("mixed-firewalls").len(), 1);
    }
}
