//! Rules of nftables as remedies write them: what the kernel gets, and the same in `nft`'s words.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, EtherType, FibResult, MacAddr, MetaKey, NftBaseChain, NftChain, NftExpr,
    NftFamily, NftRule, NftVerdict, PayloadBase, Register,
};

use crate::change::{Ruleset, TABLE};

/// The register that everything is loaded into.
const REGISTER: Register = 4;

/// Something that a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    text: String,
    expressions: Vec<NftExpr>,
}

/// A rule that drops what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drop(pub(crate) Vec<Match>);

/// A base chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) base: NftBaseChain,
    pub(crate) rules: Vec<Drop>,
}

/// Where a chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// On the way in of devices, before the bridge.
    Ingress,
    /// Where a bridge passes frames up.
    BridgeInput,
    /// Where the host takes ARP in.
    ArpInput,
    /// Before IPv4 is routed, and before connections are tracked.
    Ipv4Prerouting,
    /// Before IPv6 is.
    Ipv6Prerouting,
}

impl Hook {
    const fn place(self) -> (NftFamily, u32, &'static str, i32) {
        match self {
            Self::Ingress => (NftFamily::Netdev, 0, "ingress", -500),
            Self::BridgeInput => (NftFamily::Bridge, 1, "input", -200),
            Self::ArpInput => (NftFamily::Arp, 0, "input", -200),
            Self::Ipv4Prerouting => (NftFamily::Ip, 0, "prerouting", -300),
            Self::Ipv6Prerouting => (NftFamily::Ip6, 0, "prerouting", -300),
        }
    }
}

impl Chain {
    pub(crate) fn new(hook: Hook, name: String, devices: Vec<String>, rules: Vec<Drop>) -> Self {
        let (family, hook, hook_name, priority) = hook.place();
        let base = NftBaseChain {
            family,
            table: TABLE.to_owned(),
            chain: name,
            kind: "filter".to_owned(),
            hook,
            hook_name: hook_name.to_owned(),
            priority,
            devices,
            policy_drop: false,
            rules: rules.len() as u32,
            dormant: false,
        };
        Self { base, rules }
    }

    /// The same, and what no rule decides on is dropped.
    pub(crate) fn dropping(mut self) -> Self {
        self.base.policy_drop = true;
        self
    }

    fn chain(&self) -> NftChain {
        let rules = self.rules.iter().map(|rule| NftRule { handle: 0, expressions: rule.expressions() });
        NftChain { name: self.base.chain.clone(), rules: rules.collect() }
    }

    /// The chains of a ruleset that are for devices, as this one is, and do the same.
    fn same_in<'r>(&self, ruleset: &'r Ruleset) -> Vec<&'r NftBaseChain> {
        let place = |base: &NftBaseChain| (base.hook, base.priority, base.policy_drop);
        let here = |base: &&NftBaseChain| !base.devices.is_empty() && place(base) == place(&self.base);
        let mut bases = ruleset.bases.iter().filter(here).peekable();
        // A host with many guests has as many chains.
        if self.base.devices.is_empty() || bases.peek().is_none() {
            return Vec::new();
        }
        let rules: Vec<_> = self.rules.iter().map(Drop::expressions).collect();
        let does_the_same = |held: &&NftChain| {
            held.rules.len() == rules.len()
                && held.rules.iter().zip(&rules).all(|(held, rule)| held.expressions == *rule)
        };
        let same: HashSet<&str> =
            ruleset.table.chains.iter().filter(does_the_same).map(|held| held.name.as_str()).collect();
        bases.filter(|base| same.contains(base.chain.as_str())).collect()
    }

    /// Returns what makes it, for `nft -f`, within its table.
    fn text(&self) -> Vec<String> {
        let NftBaseChain { chain, hook_name, priority, devices, policy_drop, .. } = &self.base;
        let quoted: Vec<_> = devices.iter().map(|device| format!("\"{device}\"")).collect();
        let devices = match quoted.as_slice() {
            [] => String::new(),
            [one] => format!(" device {one}"),
            several => format!(" devices = {{ {} }}", several.join(", ")),
        };
        let policy = if *policy_drop { "drop" } else { "accept" };
        let mut lines = vec![
            format!("chain {chain} {{"),
            format!("\ttype filter hook {hook_name}{devices} priority {priority}; policy {policy};"),
        ];
        lines.extend(self.rules.iter().map(|rule| format!("\t{}", rule.text())));
        lines.push("}".to_owned());
        lines
    }
}

impl Drop {
    fn expressions(&self) -> Vec<NftExpr> {
        let asked = self.0.iter().flat_map(|one| one.expressions.iter().cloned());
        asked.chain([NftExpr::Verdict(NftVerdict::Drop)]).collect()
    }

    fn text(&self) -> String {
        let asked: Vec<_> = self.0.iter().map(|one| one.text.as_str()).collect();
        [asked.as_slice(), &["drop"]].concat().join(" ")
    }
}

/// Most devices that one chain can be bound to: one less than `NFT_NETDEVICE_MAX`, at which `nf_tables_parse_netdev_hooks`
/// refuses (net/netfilter/nf_tables_api.c).
const MOST_DEVICES: usize = 255;

/// Puts chains into Portcullis's table of their family, beside those that it has. Chains that are for several devices and do
/// the same become one, with what the table has of that sort, or as many as it takes.
pub(crate) fn with_chains(from: Option<&Ruleset>, family: NftFamily, chains: &[Chain]) -> Ruleset {
    let mut ruleset = from.cloned().unwrap_or_else(|| Ruleset::empty(family));
    let chains = together(chains);
    chains.iter().for_each(|chain| give_way(&mut ruleset, chain));
    for chain in chains {
        if is_there(&ruleset, &chain) {
            continue;
        }
        for chain in taken_in(&mut ruleset, chain) {
            ruleset.table.chains.push(chain.chain());
            ruleset.bases.push(chain.base.clone());
            ruleset.text.extend(chain.text());
        }
    }
    ruleset
}

/// Chains of one name that do the same, as one.
fn together(chains: &[Chain]) -> Vec<Chain> {
    let mut merged: Vec<Chain> = Vec::new();
    for chain in chains {
        let same = |held: &&mut Chain| {
            (&held.base.chain, held.base.policy_drop) == (&chain.base.chain, chain.base.policy_drop)
        };
        match merged.iter_mut().find(same) {
            // What is for all devices says in its rules which it means.
            Some(held) if chain.base.devices.is_empty() => {
                let new = chain.rules.iter().filter(|rule| !held.rules.contains(rule));
                let new: Vec<_> = new.cloned().collect();
                held.rules.extend(new);
            }
            Some(held) if held.rules == chain.rules => {
                let new = chain.base.devices.iter().filter(|device| !held.base.devices.contains(device));
                let new: Vec<_> = new.cloned().collect();
                held.base.devices.extend(new);
            }
            _ => merged.push(chain.clone()),
        }
    }
    merged
}

/// Whether chains of a ruleset do for each of a chain's devices what it does.
fn is_there(ruleset: &Ruleset, chain: &Chain) -> bool {
    let same = chain.same_in(ruleset);
    let has = |device: &String| same.iter().any(|held| held.devices.contains(device));
    !same.is_empty() && chain.base.devices.iter().all(has)
}

/// Takes out of a ruleset the chains of a chain's name that are for no other devices and do something else: the same remedy made
/// them for what the policy said before. One that is for others too stays, and drops what it drops.
fn give_way(ruleset: &mut Ruleset, chain: &Chain) {
    let same: Vec<String> = chain.same_in(ruleset).into_iter().map(|base| base.chain.clone()).collect();
    let of_it = |name: &str| {
        let number = name.strip_prefix(chain.base.chain.as_str()).map(|rest| rest.strip_prefix('_'));
        name == chain.base.chain || number.flatten().is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let is_for = |devices: &[String]| devices.iter().all(|device| chain.base.devices.contains(device));
    ruleset.bases.retain(|base| {
        let old = !base.devices.is_empty() && of_it(&base.chain) && !same.contains(&base.chain);
        let stays = !(old && is_for(&base.devices));
        ruleset.table.chains.retain(|held| stays || held.name != base.chain);
        stays
    });
}

/// Takes out of a ruleset what does the same as a chain, and returns the chains that stand for both, each with a name that is
/// free and no more devices than it can have.
fn taken_in(ruleset: &mut Ruleset, mut chain: Chain) -> Vec<Chain> {
    let same: Vec<String> = chain.same_in(ruleset).into_iter().map(|base| base.chain.clone()).collect();
    if !same.is_empty() {
        let is_same = |base: &NftBaseChain| same.contains(&base.chain);
        let (same, others): (Vec<_>, Vec<_>) = ruleset.bases.drain(..).partition(is_same);
        ruleset.bases = others;
        ruleset.table.chains.retain(|held| !same.iter().any(|base| base.chain == held.name));
        let new = std::mem::take(&mut chain.base.devices);
        let mut devices: Vec<String> = same.into_iter().flat_map(|base| base.devices).collect();
        let more: Vec<_> = new.into_iter().filter(|device| !devices.contains(device)).collect();
        devices.extend(more);
        chain.base.devices = devices;
    }
    let name = chain.base.chain.clone();
    let numbered = |number: u32| if number == 1 { name.clone() } else { format!("{name}_{number}") };
    let is_free = |name: &String| !ruleset.table.chains.iter().any(|chain| chain.name == *name);
    let mut free = (1..).map(numbered).filter(is_free);
    let devices = std::mem::take(&mut chain.base.devices);
    let lots: Vec<Vec<String>> =
        match devices.chunks(MOST_DEVICES).map(<[String]>::to_vec).collect::<Vec<_>>() {
            lots if lots.is_empty() => vec![Vec::new()],
            lots => lots,
        };
    let lot = |devices: Vec<String>| {
        let mut chain = chain.clone();
        chain.base.devices = devices;
        chain.base.chain = free.next().unwrap_or_else(|| chain.base.chain.clone());
        chain
    };
    lots.into_iter().map(lot).collect()
}

/// A name for a chain that `nft` can parse, whatever the device is called.
pub(crate) fn chain_name(prefix: &str, device: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    std::iter::once(prefix).chain(["_"]).collect::<String>() + &device.chars().map(plain).collect::<String>()
}

fn compare(op: CmpOp, data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: REGISTER, op, data: Bytes::from(data) }
}

fn load(base: PayloadBase, offset: u32, len: usize) -> NftExpr {
    NftExpr::Payload { base, offset, len: len as u32, dreg: REGISTER }
}

fn field(text: String, (base, offset): (PayloadBase, u32), op: CmpOp, data: &[u8]) -> Match {
    Match { text, expressions: vec![load(base, offset, data.len()), compare(op, data)] }
}

fn meta(text: String, key: MetaKey, op: CmpOp, data: &[u8]) -> Match {
    Match { text, expressions: vec![NftExpr::Meta { key, dreg: REGISTER }, compare(op, data)] }
}

/// A device's name as the kernel compares it (`IFNAMSIZ`).
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// The destination is a link-local group address.
pub(crate) fn to_link_local() -> Match {
    let (mask, group) = (Bytes::from(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0][..]), MacAddr::link_local(0).0);
    let op = BitwiseOp::Mask { mask, xor: Bytes::from(&[0; 6][..]) };
    let and = NftExpr::Bitwise { sreg: REGISTER, dreg: REGISTER, len: 6, op };
    Match {
        text: "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00".to_owned(),
        expressions: vec![load(PayloadBase::Link, 0, 6), and, compare(CmpOp::Eq, &group)],
    }
}

/// The EtherType is, or is not, this one. Of a tagged frame that is the tag's.
pub(crate) fn ether_type(op: CmpOp, protocol: EtherType) -> Match {
    let text = format!("ether type {}0x{:04x}", word(op), protocol.0);
    field(text, (PayloadBase::Link, 12), op, &protocol.0.to_be_bytes())
}

/// The EtherType behind the first tag is this one.
pub(crate) fn behind_tag(protocol: EtherType) -> Match {
    let text = format!("@ll,128,16 0x{:04x}", protocol.0);
    field(text, (PayloadBase::Link, 16), CmpOp::Eq, &protocol.0.to_be_bytes())
}

/// It is an EtherType at all, and not the length of an 802.2 frame.
pub(crate) fn has_ether_type() -> Match {
    field("ether type > 1500".to_owned(), (PayloadBase::Link, 12), CmpOp::Gt, &1500u16.to_be_bytes())
}

/// The source is, or is not, this one.
pub(crate) fn from_mac(op: CmpOp, address: MacAddr) -> Match {
    field(format!("ether saddr {}{address}", word(op)), (PayloadBase::Link, 6), op, &address.0)
}

/// The protocol is, by the packet's own account: behind a single tag, what the tag is in front of.
pub(crate) fn of_protocol(protocol: EtherType) -> Match {
    let text = format!("meta protocol 0x{:04x}", protocol.0);
    meta(text, MetaKey::Protocol, CmpOp::Eq, &protocol.0.to_be_bytes())
}

/// The sender's MAC address in ARP is not this one.
pub(crate) fn arp_not_from_mac(address: MacAddr) -> Match {
    field(format!("arp saddr ether != {address}"), (PayloadBase::Network, 8), CmpOp::Neq, &address.0)
}

/// The sender's address in ARP, or the source of an IP packet, or the target of a neighbour advertisement, is not of this
/// network.
pub(crate) fn not_in_the_name_of(of: Named, net: IpNet) -> Match {
    let (name, base, offset) = match of {
        Named::Arp => ("arp saddr ip", PayloadBase::Network, 14),
        Named::Ip if net.addr().is_ipv4() => ("ip saddr", PayloadBase::Network, 12),
        Named::Ip => ("ip6 saddr", PayloadBase::Network, 8),
        Named::Advertised => ("@th,64,128", PayloadBase::Transport, 8),
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (network, mask) = (octets(net.network()), octets(net.netmask()));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (value, bits) = match of {
        Named::Advertised => (format!("0x{}", hex(&network)), format!("0x{}", hex(&mask))),
        Named::Arp | Named::Ip => (net.network().to_string(), net.netmask().to_string()),
    };
    if net.prefix_len() == net.max_prefix_len() {
        return field(format!("{name} != {value}"), (base, offset), CmpOp::Neq, &network);
    }
    let len = network.len() as u32;
    let op = BitwiseOp::Mask { mask: Bytes::from(&*mask), xor: Bytes(vec![0; network.len()]) };
    let and = NftExpr::Bitwise { sreg: REGISTER, dreg: REGISTER, len, op };
    Match {
        text: format!("{name} & {bits} != {value}"),
        expressions: vec![load(base, offset, network.len()), and, compare(CmpOp::Neq, &network)],
    }
}

/// In what a name is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The sender of ARP.
    Arp,
    /// The source of a packet.
    Ip,
    /// The target of a neighbour advertisement (RFC 4861, section 4.4).
    Advertised,
}

/// It came in by this device.
pub(crate) fn by_device(name: &str) -> Match {
    meta(format!("iifname \"{name}\""), MetaKey::IifName, CmpOp::Eq, &padded(name))
}

/// It came in by a port of this bridge.
pub(crate) fn by_bridge(name: &str) -> Match {
    meta(format!("meta ibrname \"{name}\""), MetaKey::BriIifName, CmpOp::Eq, &padded(name))
}

/// It is UDP from this port.
pub(crate) fn from_udp_port(port: u16) -> Match {
    let udp = meta(String::new(), MetaKey::L4Proto, CmpOp::Eq, &[17]);
    let port_is = field(String::new(), (PayloadBase::Transport, 0), CmpOp::Eq, &port.to_be_bytes());
    let expressions = [udp.expressions, port_is.expressions].concat();
    Match { text: format!("meta l4proto udp udp sport {port}"), expressions }
}

/// It is ICMPv6 of this type.
pub(crate) fn icmpv6(kind: u8) -> Match {
    let icmp = meta(String::new(), MetaKey::L4Proto, CmpOp::Eq, &[58]);
    let type_is = field(String::new(), (PayloadBase::Transport, 0), CmpOp::Eq, &[kind]);
    let expressions = [icmp.expressions, type_is.expressions].concat();
    Match { text: format!("meta l4proto ipv6-icmp icmpv6 type {kind}"), expressions }
}

/// No route leads back to the source by the device it came in by.
pub(crate) fn no_way_back() -> Match {
    const SADDR: u32 = 1;
    const IIF: u32 = 8;
    let fib = NftExpr::Fib { dreg: REGISTER, result: FibResult::Oif, flags: SADDR | IIF };
    Match {
        text: "fib saddr . iif oif missing".to_owned(),
        expressions: vec![fib, compare(CmpOp::Eq, &0u32.to_ne_bytes())],
    }
}

const fn word(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Neq => "!= ",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(devices: std::ops::Range<usize>) -> Chain {
        let devices = devices.map(|number| format!("tap{number}")).collect();
        Chain::new(Hook::Ingress, "guests".to_owned(), devices, vec![Drop(vec![to_link_local()])])
    }

    fn sketch(ruleset: &Ruleset) -> Vec<(&str, usize)> {
        ruleset.bases.iter().map(|base| (base.chain.as_str(), base.devices.len())).collect()
    }

    #[test]
    fn chains_that_do_the_same_become_one() {
        let up = |name: &str| {
            Chain::new(Hook::Ingress, "up".to_owned(), vec![name.to_owned()], Vec::new()).dropping()
        };
        let chains = [up("br0"), guests(0..2), up("br1"), guests(1..4)];
        let ruleset = with_chains(None, NftFamily::Netdev, &chains);
        assert_eq!(sketch(&ruleset), [("up", 2), ("guests", 4)]);
    }

    #[test]
    fn a_chain_has_no_more_devices_than_it_can() {
        let ruleset = with_chains(None, NftFamily::Netdev, &[guests(0..600)]);
        assert_eq!(sketch(&ruleset), [("guests", 255), ("guests_2", 255), ("guests_3", 90)]);
    }

    #[test]
    fn what_is_there_is_taken_in() {
        let first = with_chains(None, NftFamily::Netdev, &[guests(0..300)]);
        let second = with_chains(Some(&first), NftFamily::Netdev, &[guests(290..310)]);
        assert_eq!(sketch(&second), [("guests", 255), ("guests_2", 55)]);
        // What does something else for others too keeps its name.
        let others = |devices: std::ops::Range<usize>| Chain { rules: Vec::new(), ..guests(devices) };
        let third = with_chains(Some(&second), NftFamily::Netdev, &[others(0..1)]);
        assert_eq!(sketch(&third), [("guests", 255), ("guests_2", 55), ("guests_3", 1)]);
        // What is for nobody else gives way.
        let fourth = with_chains(Some(&second), NftFamily::Netdev, &[others(0..310)]);
        assert_eq!(sketch(&fourth), [("guests", 255), ("guests_2", 55)]);
        assert!(fourth.table.chains.iter().all(|chain| chain.rules.is_empty()));
        // What is there already is not made again.
        assert_eq!(with_chains(Some(&fourth), NftFamily::Netdev, &[others(5..7)]), fourth);
    }

    #[test]
    fn rules_that_name_their_device_share_a_chain() {
        let rule = |name| Drop(vec![by_device(name)]);
        let up = |name| Chain::new(Hook::ArpInput, "up".to_owned(), Vec::new(), vec![rule(name)]);
        let ruleset = with_chains(None, NftFamily::Arp, &[up("br0"), up("br1"), up("br0")]);
        assert_eq!(sketch(&ruleset), [("up", 0)]);
        assert_eq!(ruleset.table.chains[0].rules.len(), 2);
    }
}
