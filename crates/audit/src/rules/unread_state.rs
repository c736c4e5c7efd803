//! `unread-state`: what could not be read, and so leaves other answers unproven.

use portcullis_snapshot::UnreadCause;

use crate::audit::unread;
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct UnreadState;

static DOC: RuleDoc = RuleDoc {
    id: RuleId("unread-state"),
    title: "State that decides about frames could not be read",
    severity: Severity::Low,
    threat: "What was not read is not assumed to be absent. Findings that it could change say that they are unproven, \
             and a rule that found nothing may have missed something.",
    kernel_path: &[],
    how_found: "Every reading of the snapshot that failed, other than for want of the feature in the kernel, is listed \
                with the kernel's answer. Only namespaces that have a bridge, or may have one, are looked at.",
    remedies: &[RemedyDoc {
        method: "read-as-root",
        trade_off: "Take the snapshot with CAP_NET_ADMIN (and CAP_BPF for tcx programs); it can be judged elsewhere, \
                    without.",
    }],
    references: &["capabilities(7)"],
};

impl Rule for UnreadState {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let notes = unread(context.netns());
        // Without the links it is not even known whether there is a bridge.
        let concerned = !context.bridges().is_empty() || context.netns().links.unread().is_some();
        if notes.is_empty() || !concerned {
            return;
        }
        let permission = notes.iter().any(|note| note.cause == UnreadCause::Permission);
        let why = "What was not read may hold a filter, an entry or a setting that decides otherwise than the rest \
                   suggests.";
        let title = "state that decides about frames could not be read";
        let mut finding = context.finding_elsewhere(&DOC, None, title, why);
        for note in notes {
            finding = finding.evidence(note.what, note.reason);
        }
        if permission {
            finding = finding.remedies([crate::Remedy {
                method: "read-as-root",
                summary: "Root may read it.".into(),
                commands: vec!["sudo portcullis snapshot -o snapshot.json".to_owned()],
            }]);
        }
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::{Reading, Unread};

    #[test]
    fn refusals_are_listed_with_the_kernels_answer() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("unread-state"), []);
        let refused =
            Unread { cause: super::UnreadCause::Permission, reason: "Operation not permitted".to_owned() };
        host.netns().filters.nft_chains = Reading::Unread(refused);
        insta::assert_snapshot!(sketch(&host.found("unread-state")), @r"
        low : state that decides about frames could not be read
          nftables chains = Operation not permitted
          $ sudo portcullis snapshot -o snapshot.json
        ");
        // And nothing that the chains could stop is proven any more.
        assert!(host.found("host-ipv4").iter().all(|finding| !finding.is_proven()));
    }

    #[test]
    fn whatever_is_missing_is_said() {
        fn lose<T>(reading: &mut Reading<T>) {
            *reading =
                Reading::Unread(Unread { cause: super::UnreadCause::Failed, reason: "gone".to_owned() });
        }
        let losses: [fn(&mut portcullis_snapshot::Netns); 18] = [
            |netns| lose(&mut netns.links),
            |netns| lose(&mut netns.vlans),
            |netns| lose(&mut netns.vlan_globals),
            |netns| lose(&mut netns.mst),
            |netns| lose(&mut netns.fdb),
            |netns| lose(&mut netns.mdb),
            |netns| lose(&mut netns.addresses),
            |netns| lose(&mut netns.routes),
            |netns| lose(&mut netns.rules),
            |netns| lose(&mut netns.neighbours),
            |netns| lose(&mut netns.ipv4),
            |netns| lose(&mut netns.ipv6),
            |netns| lose(&mut netns.filters.tc),
            |netns| lose(&mut netns.filters.nft_chains),
            |netns| lose(&mut netns.filters.br_netfilter),
            |netns| lose(&mut netns.packet_sockets),
            |netns| lose(&mut netns.protocol_handlers),
            |netns| lose(&mut netns.memberships),
        ];
        for (at, lose) in losses.into_iter().enumerate() {
            let mut host = Host::hypervisor();
            lose(host.netns());
            assert_eq!(host.found("unread-state").len(), 1, "loss {at}");
            assert_eq!(host.audit().unread.len(), 1, "loss {at}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_have_is_not_missed() {
        let mut host = Host::hypervisor();
        let why = Unread { cause: super::UnreadCause::Unsupported, reason: "no".to_owned() };
        host.netns().filters.tcx = Reading::Unread(why);
        assert_eq!(host.found("unread-state"), []);
    }
}
