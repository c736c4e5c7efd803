//! Matches of ip6tables for extension headers (`net/ipv6/netfilter/ip6t_*.c`).

use std::net::Ipv6Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::is_false;
use super::{XtRange, XtValue};

/// `struct ip6t_frag`. What is not asked for is `None` or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtFrag {
    /// Identifications. The kernel asks for them whether the tool's flag is set or not.
    pub ids: XtRange<u32>,
    /// The header's length in bytes, if a tool asked for it (`IP6T_FRAG_LEN`). The kernel does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_len: Option<XtValue<u32>>,
    /// Whether reserved bits must be zero (`IP6T_FRAG_RES`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub reserved_zero: bool,
    /// Whether it must be the first (`IP6T_FRAG_FST`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub first: bool,
    /// Whether more must follow (`IP6T_FRAG_MF`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Whether none may follow (`IP6T_FRAG_NMF`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub last: bool,
}

/// `struct ip6t_opts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtIp6Options {
    /// The header's length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_len: Option<XtValue<u32>>,
    /// Options that must be there, in order, if any are asked for: type in the upper byte, length in the lower; 255
    /// for the length is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<u16>,
    /// Whether others may stand between them (`IP6T_OPTS_NSTRICT`). The kernel does not support it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_strict: bool,
}

/// `struct ip6t_rt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtRt {
    /// The type of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<XtValue<u32>>,
    /// Segments left. The kernel asks for them whether the tool's flag is set or not.
    pub segments: XtRange<u32>,
    /// The header's length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_len: Option<XtValue<u32>>,
    /// Whether reserved bits must be zero, in type 0 (`IP6T_RT_RES`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub reserved_zero: bool,
    /// Addresses of type 0, if any are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv6Addr>,
    /// Whether others may stand between them (`IP6T_RT_FST_NSTRICT`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_strict: bool,
}

/// `struct ip6t_mh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtMh {
    /// Types.
    pub kinds: XtRange<u8>,
}

/// `struct ip6t_ipv6header_info`. Bits: 128 hop-by-hop, 64 destination, 32 routing, 16 fragment, 8 AH, 4 ESP,
/// 2 none, 1 a transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtIp6Header {
    /// The headers asked for.
    pub headers: u8,
    /// Those of which presence is turned (`invflags`).
    pub inverted: u8,
    /// Whether others may be there too.
    pub soft: bool,
}
