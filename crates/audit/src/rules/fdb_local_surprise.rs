//! `fdb-local-surprise`: a local FDB entry sends a guest's traffic to the host instead.

use portcullis_datapath::network::FdbDst;

use super::settings::{another, by_hand, nothing};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::probe::{Destination, Probe};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct FdbLocalSurprise;

const STATIC: RemedyDoc =
    RemedyDoc { method: "static-fdb", trade_off: "Replaces the entry by one that leads to the port." };
const RESTORE: RemedyDoc = RemedyDoc {
    method: "restore-local-fdb",
    trade_off: "Puts the bridge device's own entry back; giving the device its address again does the same.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("fdb-local-surprise"),
    title: "FDB entries do not lead where they seem to",
    severity: Severity::Medium,
    threat: "`bridge fdb add MAC dev PORT master` makes a permanent entry by default, which is a local one: frames to the \
             guest are passed up to the host and never reach the guest. The reverse happens after `bridge fdb flush`: \
             without its local entry, what is sent to the bridge's own address is flooded to guests.",
    kernel_path: &[
        "br_handle_frame_finish (net/bridge/br_input.c): BR_FDB_LOCAL goes to br_pass_frame_up only",
    ],
    how_found: "Local entries on guest ports for addresses that are not the port's own, each with the walk of a frame to \
                it; and the walk of a frame to the bridge's own address.",
    remedies: &[STATIC, RESTORE],
    references: &["net/bridge/br_fdb.c: fdb_add_entry", "bridge(8): permanent, static"],
};

impl Rule for FdbLocalSurprise {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let Some(indexed) = context.network().bridge(bridge.link.index) else { continue };
            let mut surprising: Vec<_> = indexed
                .fdb
                .records()
                .filter_map(|(vid, record)| match record.dst {
                    FdbDst::Local(owner) => Some((vid, record.address, bridge.port(owner)?)),
                    FdbDst::Port(_) => None,
                })
                .filter(|(_, address, port)| port.role.is_untrusted() && port.link.address != Some(*address))
                .collect();
            surprising.sort_by_key(|(vid, address, port)| (port.link.index, *address, *vid));
            surprising.dedup_by_key(|(_, address, port)| (port.link.index, *address));
            for (_, address, port) in surprising {
                let name = crate::remedy::shell(&port.link.name);
                let why = "The entry is local (permanent), so br_handle_frame_finish passes frames to this address up to the \
                           bridge device and never sends them to the port.";
                let mut finding = context
                    .finding(
                        &DOC,
                        bridge,
                        Some(port),
                        "a guest's address leads to the host instead of its port",
                        why,
                    )
                    .evidence("local FDB entry", format!("{address} dev {} permanent", port.link.name));
                let from = another(bridge, &[port]);
                let probe = Probe::new(Destination::Mac(address), nothing);
                if let Some((from, frame)) =
                    from.and_then(|from| Some((from, probe.frame(bridge, from, &[])?)))
                {
                    finding = finding.witness(from, frame, bridge.link.name.clone());
                }
                findings.push(finding.remedies([by_hand(
                    &STATIC,
                    "A static entry leads to the port.",
                    vec![context.command(format!("bridge fdb replace {address} dev {name} master static"))],
                )]));
            }
            let known = bridge.link.address.is_none_or(|own| {
                indexed
                    .fdb
                    .records()
                    .any(|(_, record)| record.address == own && matches!(record.dst, FdbDst::Local(_)))
            });
            if !known && context.netns().fdb.read().is_some() {
                let own = bridge.link.address.map(|own| own.to_string()).unwrap_or_default();
                let name = crate::remedy::shell(&bridge.link.name);
                let why = "Without its local entry the bridge does not know its own address: frames to the host are flooded \
                           to guest ports.";
                let finding = context
                    .finding(&DOC, bridge, None, "the bridge's own address has no local FDB entry", why)
                    .evidence("address", &own);
                findings.push(finding.remedies([by_hand(
                    &RESTORE,
                    "Frames to the bridge's address go up again.",
                    vec![context.command(format!("bridge fdb add {own} dev {name} self permanent"))],
                )]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Host;
    use portcullis_snapshot::Reading;

    #[test]
    fn a_flushed_fdb_is_told() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("fdb-local-surprise"), []);
        host.netns().fdb = Reading::Read(Vec::new());
        assert_eq!(host.found("fdb-local-surprise").len(), 1);
    }

    #[test]
    fn a_permanent_entry_on_a_guest_port_is_told() {
        let mut host = Host::hypervisor();
        let mut entry = host.netns().fdb.known()[0].clone();
        entry.device = host.index("vnet1");
        entry.address = portcullis_snapshot::MacAddr([2, 7, 7, 7, 7, 7]);
        entry.state = 0x80;
        if let Reading::Read(entries) = &mut host.netns().fdb {
            entries.push(entry);
        }
        assert_eq!(host.found("fdb-local-surprise").len(), 1);
    }
}
