//! nftables' rules, expression by expression, as the kernel evaluates them (`linux/netfilter/nf_tables.h`).
//!
//! Registers are numbered as the kernel's 32-bit ones are ([`Register`]), whichever way a rule names them. Values keep
//! the byte order that the kernel holds them in. An expression that is not known is kept with its payload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, NftFamily, XtMatch, XtTarget};

/// One table with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftTable {
    /// Its family.
    pub family: NftFamily,
    /// Its name.
    pub name: String,
    /// Whether it is dormant: then its base chains do nothing.
    #[serde(default)]
    pub dormant: bool,
    /// Its chains, base chains too. Where a base chain hooks in is told in [`crate::Filters::nft_chains`].
    pub chains: Vec<NftChain>,
    /// Its sets and maps, anonymous ones too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<NftSet>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftChain {
    /// Its name.
    pub name: String,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftRule {
    /// Its handle, as `nft -a list ruleset` shows it.
    pub handle: u64,
    /// Its expressions, in order.
    pub expressions: Vec<NftExpr>,
}

/// A 32-bit register: 0 to 19, of which 0 to 3 hold the verdict (`NFT_REG32_00` is 4).
pub type Register = u8;

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NftExpr {
    /// `nft_payload_eval`: bytes of the packet into a register.
    Payload {
        /// From where the offset counts.
        base: PayloadBase,
        /// In bytes.
        offset: u32,
        /// In bytes.
        len: u32,
        /// The destination.
        dreg: Register,
    },
    /// `nft_payload_set_eval`: a register into the packet.
    PayloadSet {
        /// From where the offset counts.
        base: PayloadBase,
        /// In bytes.
        offset: u32,
        /// In bytes.
        len: u32,
        /// The source.
        sreg: Register,
        /// Which checksum follows.
        #[serde(default, skip_serializing_if = "PayloadSum::is_none")]
        sum: PayloadSum,
    },
    /// `nft_meta_get_eval`.
    Meta {
        /// Which (`NFT_META_*`).
        key: MetaKey,
        /// The destination.
        dreg: Register,
    },
    /// `nft_meta_set_eval`.
    MetaSet {
        /// Which (`NFT_META_*`).
        key: MetaKey,
        /// The source.
        sreg: Register,
    },
    /// `nft_cmp_eval`: goes on if the comparison holds.
    Cmp {
        /// The source.
        sreg: Register,
        /// The comparison.
        op: CmpOp,
        /// With what.
        data: Bytes,
    },
    /// `nft_range_eval`.
    Range {
        /// The source.
        sreg: Register,
        /// Whether it must lie outside.
        negated: bool,
        /// The first value in the range.
        from: Bytes,
        /// The last.
        to: Bytes,
    },
    /// `nft_bitwise_eval`: `dreg = (sreg & mask) ^ xor`, or a shift.
    Bitwise {
        /// The source.
        sreg: Register,
        /// The destination.
        dreg: Register,
        /// In bytes.
        len: u32,
        /// What is done.
        op: BitwiseOp,
    },
    /// `nft_byteorder_eval`.
    Byteorder {
        /// The source.
        sreg: Register,
        /// The destination.
        dreg: Register,
        /// Whether from host to network order, rather than the other way.
        to_network: bool,
        /// In bytes, of all values together.
        len: u32,
        /// In bytes, of one value: 2, 4 or 8.
        size: u32,
    },
    /// `nft_lookup_eval`: goes on if the key is in the set; for a map, the value goes into `dreg`.
    Lookup {
        /// The set.
        set: String,
        /// Where the key begins.
        sreg: Register,
        /// Where a map's value goes; 0 for a verdict.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dreg: Option<Register>,
        /// Whether the key must not be in it.
        inverted: bool,
    },
    /// `nft_immediate_eval` of a value.
    Immediate {
        /// The destination.
        dreg: Register,
        /// The value.
        data: Bytes,
    },
    /// `nft_immediate_eval` of a verdict.
    Verdict(NftVerdict),
    /// `nft_fib_eval`.
    Fib {
        /// The destination.
        dreg: Register,
        /// What is asked for.
        result: FibResult,
        /// `NFTA_FIB_F_*`: 1 saddr, 2 daddr, 4 mark, 8 iif, 16 oif, 32 present.
        flags: u32,
    },
    /// `nft_reject_eval`: the packet ends here; the sender may be told.
    Reject,
    /// `nft_dup_netdev_eval`, `nft_fwd_netdev_eval`: a copy, or the packet itself, leaves by the device in a register.
    ToDevice {
        /// Whether only a copy does.
        copy: bool,
        /// Where the device's number stands.
        sreg: Register,
    },
    /// `nft_nat_eval`, `nft_redir_eval`, `nft_masq_eval`: translates addresses of a connection.
    Nat(NftNat),
    /// `nft_dynset_eval`: puts the key into a set.
    Dynset {
        /// The set.
        set: String,
    },
    /// `nft_counter_eval`, `nft_log_eval`, `nft_last_eval`, comments: no effect on the packet's way.
    NoEffect(String),
    /// `nft_match_eval`: a match of iptables, ip6tables or ebtables. One that does not hold ends the rule.
    Match(XtMatch),
    /// `nft_target_eval`, `nft_target_eval_bridge`: a target of iptables, ip6tables, arptables or ebtables.
    Target(XtTarget),
    /// An expression that decides by what changes (limits, quotas, conntrack), or that is not known.
    Other {
        /// Its name in the kernel: `limit`, `ct` …
        name: String,
        /// Its attributes, as they came.
        data: Bytes,
    },
}

/// Which checksums follow what a rule writes (`NFTA_PAYLOAD_CSUM_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PayloadSum {
    /// 0 none, 1 an Internet checksum, 2 that of SCTP.
    pub kind: u32,
    /// Where it is, in bytes from the base.
    pub offset: u32,
    /// 1: the transport's checksum follows too, as the pseudo header changes.
    pub flags: u32,
}

impl PayloadSum {
    /// Whether none follows.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.kind == 0 && self.flags == 0
    }
}

/// Translation of addresses (`NFTA_NAT_*`, `NFTA_REDIR_*`, `NFTA_MASQ_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftNat {
    /// What of the connection.
    pub kind: NftNatKind,
    /// `NFPROTO_*` of the addresses: 2 IPv4, 10 IPv6; 0 where none is named.
    pub family: u8,
    /// Where the first and the last address stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<(Register, Register)>,
    /// Where the first and the last port stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(Register, Register)>,
    /// `NF_NAT_RANGE_*`: 4 random ports, 8 persistent, 16 fully random, 64 prefixes.
    pub flags: u32,
}

/// What is translated, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NftNatKind {
    /// The source.
    Snat,
    /// The destination.
    Dnat,
    /// The source, to an address of the device it leaves by.
    Masquerade,
    /// The destination, to an address of the device it came in by.
    Redirect,
}

/// From where a payload expression counts (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadBase {
    /// The MAC header.
    Link,
    /// The network header.
    Network,
    /// The transport header.
    Transport,
    /// The first byte behind the transport header.
    Inner,
    /// A value newer than this program.
    Other(u32),
}

/// What a meta expression reads or sets (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetaKey {
    /// `skb->len`, in host byte order.
    Len,
    /// `skb->protocol`, in network byte order.
    Protocol,
    /// `skb->priority`.
    Priority,
    /// `skb->mark`, in host byte order.
    Mark,
    /// The number of the device it comes in by, in host byte order.
    Iif,
    /// The number of the device it leaves by.
    Oif,
    /// The name of the device it comes in by, 16 bytes.
    IifName,
    /// The name of the device it leaves by.
    OifName,
    /// `ARPHRD_*` of the device it comes in by, in host byte order.
    IifType,
    /// The same of the device it leaves by.
    OifType,
    /// `NFPROTO_*` of the hook, one byte.
    NfProto,
    /// The transport protocol, one byte.
    L4Proto,
    /// The bridge that the device it comes in by belongs to, 16 bytes.
    BriIifName,
    /// The same of the device it leaves by.
    BriOifName,
    /// `skb->pkt_type`, one byte.
    PktType,
    /// PVID of the port it comes in by, in host byte order.
    BriIifPvid,
    /// VLAN protocol of its bridge, in network byte order.
    BriIifVproto,
    /// The bridge device's own MAC address.
    BriIifHwAddr,
    /// Whether the port lets broadcasts up to the host (`meta broute`, since 6.4); only set.
    BriBroute,
    /// The kind of the device it comes in by (`IFLA_INFO_KIND`), 16 bytes.
    IifKind,
    /// The same of the device it leaves by.
    OifKind,
    /// Any other: routing class, socket's user, cgroup, time and so on.
    Other(u32),
}

/// Comparisons (`enum nft_cmp_ops`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less, byte by byte from the first.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// What a bitwise expression does (`enum nft_bitwise_ops`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BitwiseOp {
    /// `(value & mask) ^ xor`.
    Mask {
        /// The bits that stay.
        mask: Bytes,
        /// The bits that are turned.
        xor: Bytes,
    },
    /// Every 32-bit word of the value, in host byte order, is shifted; bits move on into the next word.
    Shift {
        /// To the left, or to the right.
        left: bool,
        /// By how many bits, less than 32.
        bits: u32,
    },
    /// An operation of two registers, since 6.13.
    Registers {
        /// Which.
        op: RegisterOp,
        /// The other one.
        sreg2: Register,
    },
}

/// An operation of two registers (`NFT_BITWISE_AND` and the following).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisterOp {
    /// Bits that are set in both.
    And,
    /// Bits that are set in either.
    Or,
    /// Bits that differ.
    Xor,
}

/// What a fib expression asks for (`enum nft_fib_result`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FibResult {
    /// The device of the route, by number in host byte order; 0 if there is none.
    Oif,
    /// The device of the route, by name.
    OifName,
    /// The type of the address (`RTN_*`), in host byte order.
    AddressType,
    /// A value newer than this program.
    Other(u32),
}

/// What a rule or an element decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NftVerdict {
    /// `NF_ACCEPT`: this base chain lets it pass.
    Accept,
    /// `NF_DROP`.
    Drop,
    /// `NFT_CONTINUE`: on with the next expression.
    Continue,
    /// `NFT_BREAK`: on with the next rule.
    Break,
    /// `NFT_RETURN`: back to where the chain was jumped to from.
    Return,
    /// `NFT_JUMP`.
    Jump(String),
    /// `NFT_GOTO`.
    Goto(String),
    /// `NF_QUEUE`, `NF_STOLEN`, or a number newer than this program.
    Other(i32),
}

/// A set or a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftSet {
    /// Its name; anonymous ones have one too (`__set0`).
    pub name: String,
    /// `NFT_SET_*` as they came: 2 constant, 4 interval, 8 map, 16 timeout, 32 eval, 64 object, 128 concatenation.
    pub flags: u32,
    /// Length of a key in bytes. Parts of a concatenation are padded to 4 bytes each.
    pub key_len: u32,
    /// For intervals of concatenations, the length of each part in bytes (`NFTA_SET_DESC_CONCAT`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concat: Vec<u32>,
    /// Its elements. Those of an interval set without `key_end` are its boundaries, in ascending order.
    pub elements: Vec<NftElement>,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftElement {
    /// Its key; `None` for the one that catches all others (`NFT_SET_ELEM_CATCHALL`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Bytes>,
    /// The last key of its range, in concatenations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_end: Option<Bytes>,
    /// Whether it is the first key *behind* an interval (`NFT_SET_ELEM_INTERVAL_END`).
    #[serde(default)]
    pub interval_end: bool,
    /// What a map has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<NftData>,
    /// Whether it goes away by itself.
    #[serde(default)]
    pub expires: bool,
    /// Names of the expressions it carries (`counter`, `limit` …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<String>,
}

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NftData {
    /// A value.
    Value(Bytes),
    /// A verdict.
    Verdict(NftVerdict),
    /// A stateful object, by name.
    Object(String),
}

impl NftSet {
    /// Its elements are intervals (`NFT_SET_INTERVAL`).
    pub const INTERVAL: u32 = 4;
    /// It is a map (`NFT_SET_MAP`).
    pub const MAP: u32 = 8;
    /// Its elements may go away by themselves (`NFT_SET_TIMEOUT`).
    pub const TIMEOUT: u32 = 16;
    /// Rules put elements into it (`NFT_SET_EVAL`).
    pub const EVAL: u32 = 32;

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether packets or time can change what is in it.
    #[must_use]
    pub const fn changes(&self) -> bool {
        self.has(Self::TIMEOUT) || self.has(Self::EVAL)
    }
}

impl NftTable {
    /// Returns a chain.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&NftChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// Returns a set or map.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&NftSet> {
        self.sets.iter().find(|set| set.name == name)
    }
}
