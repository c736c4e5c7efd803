//! Targets of iptables, ip6tables, arptables and ebtables, beside verdicts and jumps.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{XtOther, XtSet, XtVerdict};
use crate::{Bytes, MacAddr};

/// One target. Those that return no verdict of their own go on with the next rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum XtTarget {
    /// Tells the audit system; goes on (`audit_tg`), or with what the target says (`audit_tg_ebt`).
    Audit {
        /// `XT_AUDIT_TYPE_*`: 0 accept, 1 drop, 2 reject. It only names the message.
        kind: u8,
    },
    /// Fills in a checksum (`checksum_tg`); goes on.
    Checksum {
        /// `XT_CHECKSUM_OP_*`.
        operation: u8,
    },
    /// Sets `skb->priority` (`classify_tg`); goes on.
    Classify {
        /// The priority.
        priority: u32,
    },
    /// Marks of the connection and the packet (`connmark_tg`); goes on.
    Connmark(XtConnmarkTarget),
    /// A template for a connection, or none (`xt_ct_target`); goes on.
    Ct(XtCt),
    /// Translates the destination (`xt_dnat_target_v2`).
    Dnat(XtNat),
    /// Sets the DSCP (`dscp_tg`, `dscp_tg6`); goes on.
    Dscp {
        /// The DSCP, 6 bits.
        dscp: u8,
    },
    /// Changes IPv6's hop limit (`hl_tg6`); goes on.
    Hl(XtTtlTarget),
    /// Tells the kernel's log (`log_tg`); goes on.
    Log {
        /// What the line begins with.
        prefix: String,
        /// `LOGLEVEL_*`.
        level: u8,
    },
    /// Changes ARP's addresses (`target` in `arpt_mangle.c`).
    #[serde(rename = "mangle")]
    Mangle(XtArpMangle),
    /// Sets `skb->mark` (`mark_tg`); goes on.
    Mark(XtMarkTarget),
    /// Translates the source to the device's own (`masquerade_tg`).
    Masquerade(XtNat),
    /// Translates prefixes of addresses (`netmap_tg4`, `netmap_tg6`).
    Netmap(XtNat),
    /// Tells a program (`nflog_tg`, `ebt_nflog_tg`); goes on.
    Nflog {
        /// What the message begins with.
        prefix: String,
        /// The group.
        group: u16,
    },
    /// Hands it to a program that decides (`nfqueue_tg_v3`).
    Nfqueue(XtNfqueue),
    /// No connection for it (`notrack_tg`); goes on.
    Notrack,
    /// Translates the destination to the host's own (`redirect_tg4`, `redirect_tg6`).
    Redirect(XtNat),
    /// Drops it and tells the sender (`reject_tg`, `reject_tg6`).
    Reject {
        /// `enum ipt_reject_with`, `enum ip6t_reject_with`, by the family.
        with: u32,
    },
    /// Adds to a set of ipset, or takes from it (`set_target_v3`); goes on.
    Set(XtSetTarget),
    /// Translates the source (`xt_snat_target_v2`).
    Snat(XtNat),
    /// Sends a copy to a gateway (`tee_tg4`, `tee_tg6`); goes on.
    Tee {
        /// The gateway.
        gateway: IpAddr,
        /// The device, if one is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// Sets TCP's maximum segment size (`tcpmss_tg4`, `tcpmss_tg6`); goes on.
    Tcpmss {
        /// To what; `None` by the route's MTU.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mss: Option<u16>,
    },
    /// Sets bits of TOS or traffic class (`tos_tg`): `(tos & ~mask) ^ value`; goes on.
    Tos {
        /// The value.
        value: u8,
        /// The bits that are cleared before.
        mask: u8,
    },
    /// Hands it to a local socket (`tproxy_tg4_v1`, `tproxy_tg6_v1`); drops what has none.
    Tproxy {
        /// The address of the socket; the device's own if it is unspecified.
        address: IpAddr,
        /// Its port; the packet's own if it is 0.
        port: u16,
        /// The mark that is set.
        mark: u32,
        /// Its bits that count.
        mask: u32,
    },
    /// Follows the packet's way in the log (`trace_tg`); goes on.
    Trace,
    /// Changes IPv4's time to live (`ttl_tg`); goes on.
    Ttl(XtTtlTarget),
    /// Answers ARP requests (`ebt_arpreply_tg`).
    #[serde(rename = "arpreply")]
    BridgeArpreply(XtBridgeNat),
    /// Changes the destination MAC address (`ebt_dnat_tg`).
    #[serde(rename = "dnat")]
    BridgeDnat(XtBridgeNat),
    /// Changes the source MAC address (`ebt_snat_tg`).
    #[serde(rename = "snat")]
    BridgeSnat {
        /// The address and what follows.
        nat: XtBridgeNat,
        /// Whether the sender's address in ARP is changed too (`NAT_ARP_BIT` is not set).
        arp: bool,
    },
    /// Sends it up to the host (`ebt_redirect_tg`).
    #[serde(rename = "redirect")]
    BridgeRedirect {
        /// What follows.
        verdict: XtVerdict,
    },
    /// Sets `skb->mark` (`ebt_mark_tg`).
    #[serde(rename = "mark")]
    BridgeMark(XtBridgeMark),
    /// Another one.
    #[serde(rename = "other")]
    Other(XtOther),
}

impl XtTarget {
    /// Returns its name, as the tools have it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Audit { .. } => "AUDIT",
            Self::Checksum { .. } => "CHECKSUM",
            Self::Classify { .. } => "CLASSIFY",
            Self::Connmark(_) => "CONNMARK",
            Self::Ct(_) => "CT",
            Self::Dnat(_) => "DNAT",
            Self::Dscp { .. } => "DSCP",
            Self::Hl(_) => "HL",
            Self::Log { .. } => "LOG",
            Self::Mangle(_) => "mangle",
            Self::Mark(_) => "MARK",
            Self::Masquerade(_) => "MASQUERADE",
            Self::Netmap(_) => "NETMAP",
            Self::Nflog { .. } => "NFLOG",
            Self::Nfqueue(_) => "NFQUEUE",
            Self::Notrack => "NOTRACK",
            Self::Redirect(_) => "REDIRECT",
            Self::Reject { .. } => "REJECT",
            Self::Set(_) => "SET",
            Self::Snat(_) => "SNAT",
            Self::Tee { .. } => "TEE",
            Self::Tcpmss { .. } => "TCPMSS",
            Self::Tos { .. } => "TOS",
            Self::Tproxy { .. } => "TPROXY",
            Self::Trace => "TRACE",
            Self::Ttl(_) => "TTL",
            Self::BridgeArpreply(_) => "arpreply",
            Self::BridgeDnat(_) => "dnat",
            Self::BridgeSnat { .. } => "snat",
            Self::BridgeRedirect { .. } => "redirect",
            Self::BridgeMark(_) => "mark",
            Self::Other(other) => &other.name,
        }
    }
}

/// `struct xt_mark_tginfo2`: `(mark & ~mask) ^ value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtMarkTarget {
    /// The bits that are turned.
    pub value: u32,
    /// The bits that are cleared before.
    pub mask: u32,
}

/// `struct xt_connmark_tginfo2` and its elder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtConnmarkTarget {
    /// What is done.
    pub mode: XtConnmarkMode,
    /// The mark to be set.
    pub mark: u32,
    /// The bits of the connection's mark that count.
    pub mask: u32,
    /// The bits of the packet's mark that count.
    pub packet_mask: u32,
    /// By how many bits it is shifted; to the right if negative.
    #[serde(default)]
    pub shift: i16,
}

/// `XT_CONNMARK_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtConnmarkMode {
    /// Sets the connection's.
    Set,
    /// The packet's becomes the connection's.
    Save,
    /// The connection's becomes the packet's: `(mark & ~packet_mask) ^ (connection's & mask)`, shifted before.
    Restore,
}

/// `struct xt_ct_target_info_v1` and its elder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtCt {
    /// Whether there shall be no connection (`XT_CT_NOTRACK`).
    pub notrack: bool,
    /// `XT_CT_*` as they came: 1 notrack, 2 by its old name, 4 and 8 the zone for one direction, 16 the mark for a zone.
    pub flags: u16,
    /// The zone.
    pub zone: u16,
    /// The helper; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub helper: String,
}

/// Translation of addresses: `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range` and `nf_nat_range2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtNat {
    /// `NF_NAT_RANGE_*`: 1 addresses, 2 ports, 4 random ports, 8 persistent, 16 fully random, 32 ports by an offset,
    /// 64 prefixes.
    pub flags: u32,
    /// The first and the last address (with flag 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The first and the last port (with flag 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// The port that the offset is counted from (with flag 32).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_port: Option<u16>,
}

/// `struct xt_NFQ_info_v3` and its elders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtNfqueue {
    /// The first queue.
    pub first: u16,
    /// How many there are.
    pub count: u16,
    /// Whether it is accepted where nobody listens (`NFQ_FLAG_BYPASS`); in truth, goes on with the next hook.
    pub bypass: bool,
}

/// `struct xt_set_info_target_v3` and its elders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtSetTarget {
    /// The set that it is added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<XtSet>,
    /// The set that it is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<XtSet>,
    /// The set whose member gives mark, priority and queue (`skbinfo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<XtSet>,
    /// `IPSET_FLAG_*` as they came. 0x100 the mark is mapped, 0x200 the priority, 0x400 the queue.
    #[serde(default)]
    pub flags: u32,
}

/// `struct ipt_TTL_info`, `struct ip6t_HL_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtTtlTarget {
    /// How.
    pub mode: XtTtlChange,
    /// To what, or by how much.
    pub value: u8,
}

/// `IPT_TTL_*`, `IP6T_HL_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtTtlChange {
    /// Sets it.
    Set,
    /// Adds to it, to 255 at most.
    Increase,
    /// Takes from it, to 0 at least.
    Decrease,
}

/// `struct arpt_mangle`. What is not changed is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtArpMangle {
    /// The sender's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_device: Option<Bytes>,
    /// The target's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_device: Option<Bytes>,
    /// The sender's IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Ipv4Addr>,
    /// The target's IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Ipv4Addr>,
    /// What follows. A packet whose address lengths are others is dropped.
    pub verdict: XtVerdict,
}

/// `struct ebt_nat_info`, `struct ebt_arpreply_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBridgeNat {
    /// The MAC address.
    pub mac: MacAddr,
    /// What follows.
    pub verdict: XtVerdict,
}

/// `struct ebt_mark_t_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBridgeMark {
    /// How.
    pub op: XtBridgeMarkOp,
    /// With what; `skb->mark` takes its lower 32 bits.
    pub value: u64,
    /// What follows.
    pub verdict: XtVerdict,
}

/// `MARK_*_VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtBridgeMarkOp {
    /// Sets it.
    Set,
    /// Or.
    Or,
    /// And.
    And,
    /// Exclusive or.
    Xor,
}
