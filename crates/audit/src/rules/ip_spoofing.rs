//! `ip-spoofing`: a guest can speak in another's name, where the policy says whose which address is.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_prove::{Goal, Prover, Receiver, Verdict};

use super::host::undecided;
use super::settings::{another, by_hand, guests};
use crate::context::{Alike, BridgeView, Context, PortView};
use crate::finding::{Finding, Findings, Severity};
use crate::proven::Sent;
use crate::remedy::at_port;
use crate::rule::{RemedyDoc, Rule, RuleDoc, RuleId};

/// The rule.
pub struct IpSpoofing;

/// How many ways of frames are looked at for a port before it is left undecided.
const MOST_WAYS: usize = 20_000;

const ANTI_SPOOF: RemedyDoc = RemedyDoc {
    method: "anti-spoof",
    trade_off: "nftables drops, at the guest's port, ARP, IPv4, IPv6 and neighbour advertisements in any name but those that \
                the policy states. A guest with a new address is cut off until the policy and the rules say so.",
};

static DOC: RuleDoc = RuleDoc {
    id: RuleId("ip-spoofing"),
    title: "A guest can speak in the name of another guest's IP address",
    severity: Severity::Medium,
    threat: "Whoever hears a guest's false ARP reply, neighbour advertisement or packet takes it for the other guest: its \
             traffic can be drawn off, its permissions used, its name blamed.",
    kernel_path: &[
        "br_handle_frame (net/bridge/br_input.c): a bridge looks no further than the MAC addresses",
        "nf_ingress (include/linux/netfilter_netdev.h), br_nf_hook_thresh: where rules can",
    ],
    how_found: "Only where the policy states IP addresses of guest ports. For each sort of guest port it is proven whether any \
                ARP, IPv4, IPv6 or neighbour advertisement in the name of another port's first address gets to the uplink, or \
                to another guest if there is none.",
    remedies: &[ANTI_SPOOF],
    references: &["RFC 826", "RFC 4861, section 4.4", "RFC 2827"],
};

impl Rule for IpSpoofing {
    fn doc(&self) -> &'static RuleDoc {
        &DOC
    }

    fn check(&self, context: &Context<'_>, findings: &mut Findings) {
        for bridge in context.bridges() {
            let mut open = Vec::new();
            for alike in bridge.guests() {
                check_alike(context, bridge, &alike, (&mut open, findings));
            }
            let whether = "guests can speak in another's name";
            findings.extend(undecided(context, &DOC, bridge, whether, open));
        }
    }
}

/// Somebody whose name a guest may take.
struct Victim<'v, 's> {
    port: &'v PortView<'s>,
    address: IpAddr,
    /// Who hears it.
    by: &'v PortView<'s>,
}

impl Victim<'_, '_> {
    fn goal(&self) -> Goal {
        Goal::SpoofIp { address: self.address, to: Receiver::Port(self.by.link.index) }
    }
}

/// The first guest with a stated address that is not the one looked at.
fn victim<'v, 's>(bridge: &'v BridgeView<'s>, attacker: &PortView<'_>) -> Option<Victim<'v, 's>> {
    let address = |port: &PortView<'_>| port.stated_ip.as_ref()?.first()?.hosts().next();
    let others = guests(bridge).filter(|port| port.link.index != attacker.link.index);
    let (port, address) = others.filter_map(|port| Some((port, address(port)?))).next()?;
    let by = another(bridge, &[attacker, port]).unwrap_or(port);
    Some(Victim { port, address, by })
}

fn check_alike(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    alike: &Alike<'_, '_>,
    (open, findings): (&mut Vec<String>, &mut Findings),
) {
    let Some(of_first) = victim(bridge, alike.first) else { return };
    let prover = Prover::new(context.network()).most_ways(MOST_WAYS);
    let proof =
        |port: &PortView<'_>, goal| prover.prove(port.link.index, &[goal]).pop().map(|proof| proof.verdict);
    let exposure = match proof(alike.first, of_first.goal()) {
        Some(Verdict::Exposed(exposure)) => exposure,
        Some(Verdict::Unproven(assumed)) => {
            return open.extend(assumed.into_iter().map(|one| one.what));
        }
        Some(Verdict::Isolated) | None => return,
    };
    let sent = Sent::proven(&exposure, alike.first);
    for port in alike.members() {
        let Some(victim) = victim(bridge, port) else { continue };
        let own = sent.frame(bridge, port);
        let shown = if prover.gets_there(port.link.index, victim.goal(), &own) {
            (port, own)
        } else if victim.address == of_first.address {
            (alike.first, exposure.frame.to_vec())
        } else {
            // The one whose name is taken by all others takes another's.
            match proof(port, victim.goal()) {
                Some(Verdict::Exposed(exposure)) => (port, exposure.frame.to_vec()),
                _ => continue,
            }
        };
        findings.push(finding(context, bridge, (port, &victim), shown));
    }
}

fn finding(
    context: &Context<'_>,
    bridge: &BridgeView<'_>,
    (port, victim): (&PortView<'_>, &Victim<'_, '_>),
    (sender, frame): (&PortView<'_>, Vec<u8>),
) -> Finding {
    let (name, by) = (&port.link.name, &victim.by.link.name);
    let why = format!(
        "A frame from {name} in the name of {}, which the policy gives to the guest behind {}, gets to {by}.",
        victim.address, victim.port.link.name
    );
    let own: Vec<_> = port.stated_ip.iter().flatten().map(short).collect();
    let own = if own.is_empty() { "none".to_owned() } else { own.join(" ") };
    context
        .finding(&DOC, bridge, Some(port), "a guest can speak in another guest's name", why)
        .evidence(format!("ip of {name}, by the policy"), own)
        .witness(sender.link, frame, by.clone())
        .remedies([by_hand(&ANTI_SPOOF, "Only the guest's own names get in.", commands(context, port))])
}

/// A single address without its prefix.
fn short(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// What to type, of the rules that matter most: `portcullis fix` makes all of them.
fn commands(context: &Context<'_>, port: &PortView<'_>) -> Vec<String> {
    let others = |field: &str| {
        let own = port.stated_ip.iter().flatten().filter(|net| net.addr().is_ipv4());
        let own: String = own.map(|net| format!("{field} != {} ", short(net))).collect();
        at_port(context, port, &format!("{field} != 0.0.0.0 {own}drop"))
    };
    let of_ip = others("ip saddr").pop();
    others("arp saddr ip").into_iter().chain(of_ip).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{Host, sketch};

    const ADDRESSES: &str = "[[port]]\nname = \"vnet0\"\nip = [\"192.0.2.10\", \"2001:db8::/64\"]\n\
                             [[port]]\nname = \"vnet1\"\nip = [\"192.0.2.11\"]\n";

    #[test]
    fn where_the_policy_says_nothing_there_is_nothing_to_find() {
        assert_eq!(Host::hypervisor().found("ip-spoofing"), []);
    }

    #[test]
    fn each_guest_takes_the_name_of_another() {
        let found = Host::hypervisor().found_with("ip-spoofing", ADDRESSES);
        assert_eq!(found.len(), 3);
        insta::assert_snapshot!(sketch(&found[..1]), @r#"
        medium br0 vnet0: a guest can speak in another guest's name
          ip of vnet0, by the policy = 192.0.2.10 2001:db8::/64
          ffffffffffff0200000000fd0806… by vnet0 reaches eth0
          $ nft 'add table netdev portcullis'
          $ nft 'add chain netdev portcullis port_vnet0 { type filter hook ingress device "vnet0" priority -500; }'
          $ nft 'add rule netdev portcullis port_vnet0 arp saddr ip != 0.0.0.0 arp saddr ip != 192.0.2.10 drop'
          $ nft 'add rule netdev portcullis port_vnet0 ip saddr != 0.0.0.0 ip saddr != 192.0.2.10 drop'
        "#);
    }

    #[test]
    fn none_does_where_nothing_gets_past_its_port() {
        let mut host = Host::hypervisor();
        host.drop_at_ingress(&["vnet0", "vnet1", "vnet2"], None);
        assert_eq!(host.found_with("ip-spoofing", ADDRESSES), []);
    }
}
