//! Legacy tables of iptables, ip6tables, arptables and ebtables, rule by rule.
//!
//! Numbers are as a person reads them. What a rule asks of a packet's own header stands in its [`LegacyHeader`]; there,
//! what is not asked for is `None`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EtherType, Reading, XtAddress, XtBytes, XtDevice, XtMac, XtMasked, XtMatch, XtTarget, XtValue, XtVerdict,
};

/// A legacy table that is not empty: one with a rule, or with a policy other than to accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LegacyTable {
    /// Which tool's.
    pub family: LegacyFamily,
    /// The table: `filter`, `nat`, `broute`, `raw` …
    pub table: String,
    /// How many entries it has, where the kernel tells. Policies and ends of chains count as entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// Its chains: base chains by their hooks, then those that rules go to.
    #[serde(default)]
    pub chains: Reading<Vec<LegacyChain>>,
}

/// The legacy tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegacyFamily {
    /// `iptables-legacy`.
    Iptables,
    /// `ip6tables-legacy`.
    Ip6tables,
    /// `arptables-legacy`.
    Arptables,
    /// `ebtables-legacy`.
    Ebtables,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LegacyChain {
    /// Its name. Base chains are named as in the tools: `PREROUTING`, `INPUT`, `FORWARD`, `OUTPUT`, `POSTROUTING`,
    /// `BROUTING`.
    pub name: String,
    /// The hook of a base chain, by its number in its family (`NF_INET_*`, `NF_ARP_*`, `NF_BR_*`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<u32>,
    /// What becomes of a packet that no rule decides on: a base chain's policy. For other chains it is
    /// [`XtVerdict::Return`], but in ebtables, where they have policies too.
    pub policy: XtVerdict,
    /// Its rules, in order; the tools number them from 1.
    pub rules: Vec<LegacyRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LegacyRule {
    /// What it asks of the packet's own header and of devices.
    pub header: LegacyHeader,
    /// Its matches, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<XtMatch>,
    /// ebtables' watchers, which run before the target and decide nothing: `log`, `nflog`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watchers: Vec<XtTarget>,
    /// What it does.
    pub target: LegacyTarget,
}

/// What a rule does. Without a target, that is [`XtVerdict::Continue`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LegacyTarget {
    /// It decides.
    Verdict(XtVerdict),
    /// It goes to a chain, and comes back.
    Jump(String),
    /// It goes to a chain, and back from there to where this one was jumped to from.
    Goto(String),
    /// What an extension does.
    Extension(XtTarget),
}

/// What a rule asks of the header of its family, and of devices. All of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LegacyHeader {
    /// `struct ipt_ip` (`ip_packet_match`).
    Ip(IptHeader),
    /// `struct ip6t_ip6` (`ip6_packet_match`).
    Ip6(Ip6tHeader),
    /// `struct arpt_arp` (`arp_packet_match`).
    Arp(ArptHeader),
    /// `struct ebt_entry` (`ebt_basic_match`).
    Bridge(EbtHeader),
}

/// What iptables asks of IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IptHeader {
    /// The source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtAddress>,
    /// The destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtAddress>,
    /// The device it comes in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<XtDevice>,
    /// The device it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<XtDevice>,
    /// The transport protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<u16>>,
    /// Whether it must be a fragment other than the first (`-f`); inverted, whether it must not (`! -f`). No tool writes
    /// an inverted `false`, which nothing matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<XtValue<bool>>,
}

/// What ip6tables asks of IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ip6tHeader {
    /// The source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtAddress>,
    /// The destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtAddress>,
    /// The device it comes in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<XtDevice>,
    /// The device it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<XtDevice>,
    /// The transport protocol, behind the extension headers (`ipv6_find_hdr`), or that of a first fragment. Matches
    /// that look at the transport header count on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<u16>>,
}

/// What arptables asks of ARP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArptHeader {
    /// The sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtAddress>,
    /// The target's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<XtAddress>,
    /// The sender's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_device: Option<XtBytes>,
    /// The target's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_device: Option<XtBytes>,
    /// The length of hardware addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_len: Option<XtMasked<u8>>,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<XtMasked<u16>>,
    /// The hardware type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<XtMasked<u16>>,
    /// The protocol type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtMasked<u16>>,
    /// The device it comes in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<XtDevice>,
    /// The device it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<XtDevice>,
}

/// What ebtables asks of a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EbtHeader {
    /// The EtherType, or 802.3's length in its place. That of a frame with a tag set aside is the tag's TPID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<EbtProtocol>>,
    /// The source MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtMac>,
    /// The destination MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtMac>,
    /// The port it comes in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<XtDevice>,
    /// The port it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<XtDevice>,
    /// The bridge of the port it comes in by. Holds where that is no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_input: Option<XtDevice>,
    /// The bridge of the port it leaves by. Holds where that is no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_output: Option<XtDevice>,
}

/// What ebtables' `-p` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EbtProtocol {
    /// This EtherType.
    Type(EtherType),
    /// A length, as 802.3 has it: below 0x600 (`-p LENGTH`).
    Length,
}
