//! Changes in words.

use super::*;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge { bridge, option, from, to } => {
                write!(f, "{} of bridge {bridge}: {from} → {to}", option.keyword())
            }
            Self::Port { port, option, from, to } => {
                write!(f, "{} of port {port}: {from} → {to}", option.keyword())
            }
            Self::LeaveVlans { bridge, from, to, .. } if from == to => {
                write!(f, "bridge device {bridge} leaves VLAN {from}")
            }
            Self::LeaveVlans { bridge, from, to, .. } => {
                write!(f, "bridge device {bridge} leaves VLANs {from}-{to}")
            }
            Self::Ipv4 { at, setting, from, to } => write!(f, "net.ipv4.conf.{at}.{setting}: {from} → {to}"),
            Self::Ipv6 { at, setting, from, to } => write!(f, "net.ipv6.conf.{at}.{setting}: {from} → {to}"),
            Self::ArpOff { device } => write!(f, "ARP of {device}: on → off"),
            Self::LocalEntry { bridge, address } => write!(f, "local FDB entry {address} on {bridge}"),
            Self::StaticEntry { port, address, .. } => write!(f, "static FDB entry {address} on {port}"),
            Self::Table { from: None, to } => write!(f, "nftables table {}", Name(to)),
            Self::Table { from: Some(_), to } => {
                write!(f, "nftables table {}, in place of what it is", Name(to))
            }
            Self::Filter { device, filter, .. } => {
                write!(
                    f,
                    "tc ingress of {device}: a {} filter at priority {}",
                    filter.kind(),
                    filter.priority
                )
            }
            Self::Rule(rule) => {
                write!(f, "policy rule at priority {} of {}", rule.priority, family(rule.ipv6))
            }
            Self::LocalRule { ipv6, to } => {
                write!(f, "rule for local addresses of {}: priority 0 → {to}", family(*ipv6))
            }
        }
    }
}

struct Name<'a>(&'a Ruleset);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.0.table;
        let (chains, rules) =
            (table.chains.len(), table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>());
        let counted = |count, noun| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
        let (chains, rules) = (counted(chains, "chain"), counted(rules, "rule"));
        write!(f, "{} {} ({chains}, {rules})", family_word(self.0), table.name)
    }
}

pub(crate) fn family_word(ruleset: &Ruleset) -> &'static str {
    use portcullis_snapshot::NftFamily::{Arp, Bridge, Inet, Ip, Ip6, Netdev, Other};
    match ruleset.table.family {
        Inet => "inet",
        Ip => "ip",
        Ip6 => "ip6",
        Arp => "arp",
        Bridge => "bridge",
        Netdev => "netdev",
        Other(_) => "?",
    }
}

const fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}
