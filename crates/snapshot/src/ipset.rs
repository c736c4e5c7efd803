//! Sets of ipset that rules look into (`net/netfilter/ipset`).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{MacAddr, UnknownAttribute};

/// One set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpSet {
    /// Its number, by which rules name it ([`crate::XtSet::index`]).
    pub index: u16,
    /// Its name.
    pub name: String,
    /// Its type: `hash:ip`, `hash:net`, `bitmap:ip,mac`, `list:set` …
    pub kind: String,
    /// The type's revision.
    pub revision: u8,
    /// Its family (`NFPROTO_*`): 2 IPv4, 10 IPv6, 0 neither.
    pub family: u8,
    /// Length of the prefix that addresses are cut to before they are looked up (`IPSET_ATTR_NETMASK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<u8>,
    /// The mask that marks are cut to before they are looked up (`IPSET_ATTR_MARKMASK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_mask: Option<u32>,
    /// The first and the last address of a bitmap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(IpAddr, IpAddr)>,
    /// The first and the last port of a bitmap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range: Option<(u16, u16)>,
    /// For how many seconds members stay, unless they say otherwise; with it, members come and go with time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether members count packets and bytes.
    #[serde(default)]
    pub counters: bool,
    /// What else its head tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
    /// Its members, in the kernel's order (of `list:set` that is the order in which they are asked).
    pub members: Vec<IpSetMember>,
}

/// One member. What its type does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpSetMember {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The last address, if it is a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_to: Option<IpAddr>,
    /// Length of its prefix; without, all of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u8>,
    /// The second address (`hash:ip,port,ip`, `hash:net,net` …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip2: Option<IpAddr>,
    /// The last second address, if it is a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip2_to: Option<IpAddr>,
    /// Length of the second one's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix2: Option<u8>,
    /// The MAC address. A member of `bitmap:ip,mac` without one takes that of the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The transport protocol of the port; without, in a `bitmap:port`, TCP or UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The port, or type and code of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last port, if it is a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_to: Option<u16>,
    /// The mark (`hash:ip,mark`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The device (`hash:net,iface`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whether the device is the bridge's port, rather than what the rule sees (`physdev:`).
    #[serde(default)]
    pub physdev: bool,
    /// The set (`list:set`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Whether it is an exception (`nomatch`).
    #[serde(default)]
    pub nomatch: bool,
    /// Whether the device's name is only a beginning (`wildcard`).
    #[serde(default)]
    pub wildcard: bool,
    /// Seconds until it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// What else it tells, which decides nothing that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}
