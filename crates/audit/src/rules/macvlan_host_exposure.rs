//! `macvlan-host-exposure`: the host on a macvlan's lower device hears what arrives for others.

use std::net::Ipv4Addr;

use portcullis_datapath::{FrameBuilder, Payload, frame::ArpOperation};
use portcullis_snapshot::{Link, MacAddr, MacvlanMode, Reading};

use super::settings::{NOBODY, by_hand};
use crate::context::Context;
use crate::finding::{Findings, Severity};
use crate::remedy;
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId, refs};

/// The rule.
pub struct MacvlanHostExposure;

const BRIDGE_MODE: RemedyDoc = RemedyDoc {
    method: "macvlan-bridge-mode",
    trade_off: "A passthru macvlan takes over its lower device with every address; bridge mode takes its own only.",
};

const BRIDGE_INSTEAD: RemedyDoc = RemedyDoc {
    method: "bridge-instead",
    trade_off: "A bridge with the same NIC as a port, and guests on ports of their own, is closed towards the host for every \
                protocol at once (vlan-filtering or drop-on-bridge, with drop-link-local). The NIC then has no stack of its own; \
                guests have to be attached anew.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("macvlan-host-exposure"),
    title: "The host's stack runs on the lower device of macvlans",
    severity: Severity::Medium,
    threat: "A guest on a macvlan cannot speak to the host directly. But whatever arrives on the lower device and is not \
             for a macvlan's address is processed by the host: its own address, broadcast, multicast, router \
             advertisements. Other machines on the wire reach the host this way, and so does a guest whose frames come \
             back from the next switch. Isolation is only to be had protocol by protocol, in the stack: what drops at the \
             device's ingress, be it nftables or tc, comes before the macvlans and cuts the guests off. On a bridge the host \
             can be closed as a whole.",
    kernel_path: &[
        "macvlan_handle_frame (drivers/net/macvlan.c): RX_HANDLER_PASS for what no macvlan takes, and for group addresses",
        "ip_rcv, arp_rcv, ipv6_rcv on the lower device",
    ],
    how_found: "An ARP request to broadcast and one to the lower device's address are walked from the lower device.",
    remedies: &[
        remedy::docs::ARP_INPUT,
        remedy::docs::RAW_PREROUTING,
        remedy::docs::IP6_PREROUTING,
        BRIDGE_INSTEAD,
        BRIDGE_MODE,
    ],
    references: &["drivers/net/macvlan.c: macvlan_handle_frame", refs::BERNAT],
};

impl Rule for MacvlanHostExposure {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        let Reading::Read(links) = &context.netns().links else { return };
        for lower in links {
            let Some(uppers) = context.network().uppers(lower.index) else { continue };
            if uppers.macvlans.is_empty() || lower.bridge().is_some() {
                continue;
            }
            check_lower(context, lower, findings);
            let passthru = uppers.macvlans.iter().find(|(_, options)| options.mode == MacvlanMode::Passthru);
            if let Some((upper, _)) = passthru {
                let why = "A passthru macvlan is handed every unicast frame as its own, whatever the destination address.";
                let finding = context
                    .finding_elsewhere(
                        &DOC,
                        Some(lower),
                        "a passthru macvlan takes every frame as its own",
                        why,
                    )
                    .severity(Severity::Info)
                    .evidence("passthru macvlan", &upper.link.name);
                findings.push(finding.remedies([by_hand(
                    &BRIDGE_MODE,
                    "See the manual page of the rule.",
                    Vec::new(),
                )]));
            }
        }
    }
}

fn check_lower(context: &Context<'_>, lower: &Link, findings: &mut Findings) {
    // The address of the host that most likely answers: one of the lower device, else any.
    let addresses = context.netns().addresses.known();
    let own = addresses.iter().filter(|address| address.device == lower.index).chain(addresses);
    let target = own.filter_map(|address| match address.address.addr() {
        std::net::IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    });
    let target = target.into_iter().next().unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
    let frame = |dst: MacAddr| {
        let (sender_mac, sender_ip) = (NOBODY, Ipv4Addr::UNSPECIFIED);
        let payload =
            Payload::Arp { operation: ArpOperation::Request, sender_mac, sender_ip, target_ip: target };
        FrameBuilder::new(dst, NOBODY).payload(&payload)
    };
    let to = [Some(MacAddr::BROADCAST), lower.address].into_iter().flatten();
    let mut reached = to.filter_map(|dst| {
        let walk = context.probe(lower.index, &frame(dst));
        let host = walk.host().find(|delivery| delivery.device == lower.index)?;
        Some((dst, walk.questions(host.assumes).map(|open| open.kind.to_string()).collect::<Vec<_>>()))
    });
    let Some((dst, questions)) = reached.next() else { return };
    let also = reached.next().map(|(dst, _)| format!(" and {dst}")).unwrap_or_default();
    let why = format!(
        "macvlan_handle_frame passes on what is for no macvlan: the host answers on {} to whatever is on the wire, while \
         its guests cannot reach it themselves.",
        lower.name
    );
    let uppers = context.network().uppers(lower.index).map_or(0, |uppers| uppers.macvlans.len());
    let finding = context
        .finding_elsewhere(
            &DOC,
            Some(lower),
            "the host's stack takes frames in on the lower device of macvlans",
            why,
        )
        .evidence("macvlans on it", uppers)
        .evidence("reached by", format!("{dst}{also}"))
        .witness(lower, frame(dst), format!("the host's ARP on {}", lower.name))
        .unproven(questions);
    let instead = by_hand(&BRIDGE_INSTEAD, "See the manual page of the rule.", Vec::new());
    findings.push(finding.remedies(remedy::drop_in_the_stack(context, lower).into_iter().chain([instead])));
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};
    use portcullis_snapshot::{LinkKind, MacAddr, MacvlanMode, MacvlanOptions};

    #[test]
    fn a_lower_device_with_a_stack_is_told() {
        let mut host = Host::hypervisor();
        assert_eq!(host.found("macvlan-host-exposure"), []);
        let options = MacvlanOptions { mode: MacvlanMode::Bridge, flags: 0, sources: Vec::new() };
        host.device("mv0", LinkKind::Macvlan(options));
        let lower = host.index("eth1");
        host.link("mv0").link = Some(lower);
        host.link("mv0").address = Some(MacAddr([2, 9, 9, 9, 9, 9]));
        let found = host.found("macvlan-host-exposure");
        assert_eq!(found.len(), 1);
        insta::assert_snapshot!(sketch(&found), @r#"
        medium eth1: the host's stack takes frames in on the lower device of macvlans
          macvlans on it = 1
          reached by = ff:ff:ff:ff:ff:ff and 02:00:00:00:00:03
          ffffffffffff025043ffffff0806… by eth1 reaches the host's ARP on eth1
          $ nft add table arp portcullis
          $ nft 'add chain arp portcullis up { type filter hook input priority -200; }'
          $ nft 'add rule arp portcullis up iifname "eth1" drop'
          $ nft add table ip portcullis
          $ nft 'add chain ip portcullis up { type filter hook prerouting priority -300; }'
          $ nft 'add rule ip portcullis up iifname "eth1" drop'
          $ nft add table ip6 portcullis
          $ nft 'add chain ip6 portcullis up { type filter hook prerouting priority -300; }'
          $ nft 'add rule ip6 portcullis up iifname "eth1" drop'
        "#);
    }
}
