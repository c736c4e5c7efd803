//! `fdb-exhaustion`: one guest can fill the FDB, so that others' traffic is flooded.

use super::settings::{bridge_command, by_hand, guests, names, port_commands};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct FdbExhaustion;

const MAX_LEARNED: RemedyDoc = RemedyDoc {
    method: "fdb-max-learned",
    trade_off: "Bounds memory and lookup time. The limit is the whole bridge's: a guest that reaches it keeps others from \
                being learned. Kernel 6.7 or later.",
};
const NO_LEARNING: RemedyDoc = RemedyDoc {
    method: "learning-off",
    trade_off: "Guest ports learn nothing; each guest needs a static FDB entry.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("fdb-exhaustion"),
    title: "A guest can fill the FDB",
    severity: Severity::Low,
    threat: "Every new source address of a guest becomes an FDB entry. Without a limit the table grows as fast as a guest \
             can send; with one, it is shared by all ports, and what cannot be learned is flooded to everybody.",
    kernel_path: &["br_fdb_update, fdb_create (net/bridge/br_fdb.c): fdb_n_learned against fdb_max_learned"],
    how_found: "Guest ports that learn and are not locked, and the bridge's limit.",
    remedies: &[MAX_LEARNED, NO_LEARNING],
    references: &["net/bridge/br_fdb.c: fdb_create", "ip-link(8): fdb_max_learned"],
};

impl Rule for FdbExhaustion {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let learning = || {
                let learns = |port: &&crate::context::PortView<'_>| {
                    port.options.learning == Some(true) && port.options.locked != Some(true)
                };
                guests(bridge).filter(learns)
            };
            if learning().next().is_none() || bridge.options.ageing_time == Some(0) {
                continue;
            }
            let limit = bridge.options.fdb_max_learned;
            let (title, severity, why) = match limit {
                Some(limit) if limit > 0 => (
                    "all guests share one limit of learned FDB entries",
                    Severity::Info,
                    "A guest that uses many source addresses reaches the limit; new addresses of others are then not \
                     learned, and frames to them are flooded.",
                ),
                _ => (
                    "guests can grow the FDB without limit",
                    Severity::Low,
                    "Each frame with a new source address adds an FDB entry; nothing bounds how many.",
                ),
            };
            let shown = limit.map_or_else(|| "not in this kernel".to_owned(), |limit| limit.to_string());
            let finding = context
                .finding(&DOC, bridge, None, title, why)
                .severity(severity)
                .evidence(format!("fdb_max_learned of {}", bridge.link.name), shown)
                .evidence("guest ports that learn", names(learning()));
            findings.push(finding.remedies([
                by_hand(
                    &MAX_LEARNED,
                    "No more than this many addresses are learned.",
                    bridge_command(context, bridge, "fdb_max_learned 4096"),
                ),
                by_hand(
                    &NO_LEARNING,
                    "Guest ports learn nothing.",
                    port_commands(context, learning(), "learning off"),
                ),
            ]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;

    #[test]
    fn no_learning_no_growth() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("fdb-exhaustion").len(), 1);
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.port_options(guest).learning = Some(false);
        }
        assert_eq!(host.found("fdb-exhaustion"), []);
    }
}
