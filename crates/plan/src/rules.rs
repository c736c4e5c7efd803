//! Rules of nftables as remedies write them: what the kernel gets, and the same in `nft`'s words.

use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, EtherType, FibResult, MacAddr, MetaKey, NftBaseChain, NftChain, NftExpr,
    NftFamily, NftRule, NftTable, NftVerdict, PayloadBase, Register,
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

/// Puts chains into Portcullis's table of their family, beside those that it has. One of the same name gives way.
pub(crate) fn with_chains(from: Option<&Ruleset>, family: NftFamily, chains: &[Chain]) -> Ruleset {
    let mut ruleset = from.cloned().unwrap_or_else(|| Ruleset {
        table: NftTable {
            family,
            name: TABLE.to_owned(),
            dormant: false,
            chains: Vec::new(),
            sets: Vec::new(),
        },
        bases: Vec::new(),
        text: Vec::new(),
    });
    for chain in chains {
        ruleset.table.chains.retain(|held| held.name != chain.base.chain);
        ruleset.bases.retain(|held| held.chain != chain.base.chain);
        ruleset.table.chains.push(chain.chain());
        ruleset.bases.push(chain.base.clone());
        ruleset.text.extend(chain.text());
    }
    ruleset
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

/// It is an EtherType at all, and not the length of an 802.2 frame.
pub(crate) fn has_ether_type() -> Match {
    field("ether type > 1500".to_owned(), (PayloadBase::Link, 12), CmpOp::Gt, &1500u16.to_be_bytes())
}

/// The source is, or is not, this one.
pub(crate) fn from_mac(op: CmpOp, address: MacAddr) -> Match {
    field(format!("ether saddr {}{address}", word(op)), (PayloadBase::Link, 6), op, &address.0)
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
