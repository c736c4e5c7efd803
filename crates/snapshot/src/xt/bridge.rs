//! Matches of ebtables (`net/bridge/netfilter/ebt_*.c`). What is not asked for is `None`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::is_false;
use super::{XtAddress, XtMac, XtRange, XtValue};
use crate::MacAddr;

/// `struct ebt_ip_info`, `struct ebt_ip6_info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBridgeIp {
    /// The source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtAddress>,
    /// The destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtAddress>,
    /// IPv4's TOS; IPv6's traffic class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos: Option<XtValue<u8>>,
    /// The transport protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<u8>>,
    /// Ports, or types and codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<XtBridgePorts>,
}

/// What ebtables asks of the transport header. A fragment that does not hold it does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum XtBridgePorts {
    /// Ports of TCP, UDP, SCTP or DCCP.
    Ports {
        /// The source port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<XtRange<u16>>,
        /// The destination port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<XtRange<u16>>,
    },
    /// ICMP's or ICMPv6's type and code.
    Icmp {
        /// Types.
        kinds: XtRange<u8>,
        /// Codes. The whole test is inverted if `kinds` is; this one is not by itself.
        codes: XtRange<u8>,
    },
    /// IGMP's type.
    Igmp {
        /// Types.
        kinds: XtRange<u8>,
    },
}

/// `struct ebt_arp_info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBridgeArp {
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<XtValue<u16>>,
    /// The hardware type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<XtValue<u16>>,
    /// The protocol type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<u16>>,
    /// The sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtAddress>,
    /// The target's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<XtAddress>,
    /// The sender's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<XtMac>,
    /// The target's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_mac: Option<XtMac>,
    /// Whether it must be gratuitous (sender and target the same), or must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gratuitous: Option<bool>,
}

/// `struct ebt_vlan_info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBridgeVlan {
    /// The VLAN id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<XtValue<u16>>,
    /// The priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<XtValue<u8>>,
    /// The EtherType behind the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulated: Option<XtValue<u16>>,
}

/// `struct ebt_802_3_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtIeee8023 {
    /// DSAP and SSAP, which must both be this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sap: Option<XtValue<u8>>,
    /// SNAP's type, of frames whose SAPs are 0xaa.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<XtValue<u16>>,
}

/// `struct ebt_among_info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtAmong {
    /// Where the source must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Vec<XtAmongEntry>>,
    /// Whether it must not (`EBT_AMONG_SRC_NEG`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub source_inverted: bool,
    /// Where the destination must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Vec<XtAmongEntry>>,
    /// Whether it must not (`EBT_AMONG_DST_NEG`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub destination_inverted: bool,
}

/// A MAC address, alone or with the IPv4 address that IP or ARP of the frame must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtAmongEntry {
    /// The MAC address.
    pub mac: MacAddr,
    /// The IPv4 address; `None` is any, also of frames that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
}

/// `struct ebt_stp_info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtStp {
    /// The type of the BPDU: 0 configuration, 0x80 a change of the topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<XtValue<u8>>,
    /// The flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<XtValue<u8>>,
    /// The root's priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_priority: Option<XtRange<u16>>,
    /// The root's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_address: Option<XtMac>,
    /// Cost of the way to the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cost: Option<XtRange<u32>>,
    /// The sender's priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_priority: Option<XtRange<u16>>,
    /// The sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_address: Option<XtMac>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<XtRange<u16>>,
    /// The message's age, in 1/256 of a second, like those that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_age: Option<XtRange<u16>>,
    /// The highest age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<XtRange<u16>>,
    /// The time between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello_time: Option<XtRange<u16>>,
    /// The delay before forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_delay: Option<XtRange<u16>>,
}
