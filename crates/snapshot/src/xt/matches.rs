//! Matches of iptables, ip6tables and ebtables (`net/netfilter/xt_*.c`, `net/ipv4/netfilter/ip_tables.c`, …).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bridge::{XtAmong, XtBridgeArp, XtBridgeIp, XtBridgeVlan, XtIeee8023, XtStp};
use super::ip6::{XtFrag, XtIp6Header, XtIp6Options, XtMh, XtRt};
use super::parts::is_false;
use super::{XtAddress, XtDevice, XtFlags, XtMasked, XtOther, XtRange, XtValue};
use crate::{Bytes, MacAddr};

/// One match. All of a rule must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum XtMatch {
    /// Types of addresses (`addrtype_mt_v1`).
    Addrtype(XtAddrtype),
    /// MAC addresses of lists (`ebt_among_mt`).
    Among(XtAmong),
    /// ARP's fields (`ebt_arp_mt`).
    Arp(XtBridgeArp),
    /// A program (`bpf_mt`).
    Bpf(XtBpf),
    /// A text; always holds (`comment_mt`).
    Comment(String),
    /// How many connections there are (`connlimit_mt`).
    Connlimit(XtConnlimit),
    /// The connection's mark (`connmark_mt`).
    Connmark(XtMasked<u32>),
    /// The connection (`conntrack_mt`).
    Conntrack(Box<XtConntrack>),
    /// The DSCP, 6 bits (`dscp_mt`, `dscp_mt6`).
    Dscp(XtValue<u8>),
    /// IPv6's destination options header (`hbh_mt6` in `ip6t_hbh.c`).
    Dst(XtIp6Options),
    /// IPv6's fragment header (`frag_mt6`).
    Frag(XtFrag),
    /// Limits by hashes of addresses and ports (`hashlimit_mt`).
    Hashlimit(XtHashlimit),
    /// IPv6's hop-by-hop options header (`hbh_mt6`).
    Hbh(XtIp6Options),
    /// IPv6's hop limit (`hl_mt6`).
    Hl {
        /// How it is compared.
        mode: XtTtlMode,
        /// With what.
        value: u8,
    },
    /// ICMP's type and code (`icmp_match`). Type 255 is any.
    Icmp(XtIcmp),
    /// ICMPv6's type and code (`icmp6_match`).
    Icmp6(XtIcmp),
    /// IPv4 as ebtables matches it (`ebt_ip_mt`).
    Ip(XtBridgeIp),
    /// IPv6 as ebtables matches it (`ebt_ip6_mt`).
    Ip6(XtBridgeIp),
    /// Ranges of addresses (`iprange_mt4`, `iprange_mt6`).
    Iprange(XtIprange),
    /// Which extension headers there are (`ipv6header_mt6`).
    Ipv6header(XtIp6Header),
    /// Length of the packet: of IPv4 what its header tells (`length_mt`), of IPv6 what there is from the network header
    /// on (`length_mt6`).
    Length(XtRange<u16>),
    /// A rate (`limit_mt`, `ebt_limit_mt`).
    Limit {
        /// The time between two packets, in 1/10,000 of a second.
        average: u32,
        /// How many may come at once.
        burst: u32,
    },
    /// The source MAC address of the frame (`mac_mt`): of devices that have one, and of a frame that has one still.
    Mac(XtValue<MacAddr>),
    /// `skb->mark` (`mark_mt`).
    Mark(XtMasked<u32>),
    /// `skb->mark` (`ebt_mark_mt`).
    MarkM {
        /// What it must be, with `mask`; or nothing, if one bit of the mask is enough.
        mark: u64,
        /// The bits that count.
        mask: u64,
        /// Whether one bit of `mask` is enough (`EBT_MARK_OR`), rather than `(mark & mask) == self.mark`.
        any: bool,
        /// Whether it must not.
        #[serde(default, skip_serializing_if = "is_false")]
        inverted: bool,
    },
    /// IPv6's mobility header (`mh_mt6`).
    Mh(XtMh),
    /// Several ports (`multiport_mt`).
    Multiport(XtMultiport),
    /// The user of the socket that sent it (`owner_mt`); never of a packet that came in.
    Owner(XtOwner),
    /// The ports of the bridge that it comes in by and leaves by (`physdev_mt`).
    Physdev(XtPhysdev),
    /// `skb->pkt_type`: 0 host, 1 broadcast, 2 multicast, 3 otherhost; that of a packet that the host sends to itself
    /// is told by its address (`pkttype_mt`). That of ebtables takes it as it is (`ebt_pkttype_mt`).
    Pkttype(XtValue<u32>),
    /// Whether an address was seen lately (`recent_mt`).
    Recent(XtRecent),
    /// Whether the source would be reached by the way the packet came (`rpfilter_mt`). `XT_RPFILTER_*`: 1 loose,
    /// 2 by mark, 4 accept local, 8 inverted.
    Rpfilter {
        /// The flags.
        flags: u8,
    },
    /// IPv6's routing header (`rt_mt6`).
    Rt(XtRt),
    /// A set of ipset (`set_match_v4`).
    Set(XtSetMatch),
    /// Whether there is a socket for it (`socket_mt4_v1_v2_v3`). `XT_SOCKET_*`: 1 transparent, 2 no wildcard,
    /// 4 restore its mark.
    Socket {
        /// The flags.
        flags: u8,
    },
    /// The state of its connection (`state_mt`): 1 invalid, 2 established, 4 related, 8 new, 64 untracked.
    State {
        /// Those that match.
        mask: u32,
    },
    /// By chance or by number (`statistic_mt`).
    Statistic(XtStatistic),
    /// STP (`ebt_stp_mt`).
    Stp(Box<XtStp>),
    /// Bytes anywhere in the packet (`string_mt`).
    String(XtString),
    /// TCP's fields (`tcp_mt`).
    Tcp(XtTcp),
    /// IPv4's TOS or IPv6's traffic class, all 8 bits (`tos_mt`).
    Tos(XtMasked<u8>),
    /// IPv4's time to live (`ttl_mt`).
    Ttl {
        /// How it is compared.
        mode: XtTtlMode,
        /// With what.
        value: u8,
    },
    /// Words of the packet, with links (`u32_mt`).
    U32(XtU32),
    /// UDP's fields (`udp_mt`).
    Udp(XtUdp),
    /// UDP-Lite's, with the same ones.
    Udplite(XtUdp),
    /// The VLAN tag (`ebt_vlan_mt`).
    Vlan(XtBridgeVlan),
    /// 802.3's fields (`ebt_802_3_mt`).
    #[serde(rename = "802_3")]
    Ieee8023(XtIeee8023),
    /// Another one.
    Other(XtOther),
}

impl XtMatch {
    /// Returns its name, as the tools have it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Addrtype(_) => "addrtype",
            Self::Among(_) => "among",
            Self::Arp(_) => "arp",
            Self::Bpf(_) => "bpf",
            Self::Comment(_) => "comment",
            Self::Connlimit(_) => "connlimit",
            Self::Connmark(_) => "connmark",
            Self::Conntrack(_) => "conntrack",
            Self::Dscp(_) => "dscp",
            Self::Dst(_) => "dst",
            Self::Frag(_) => "frag",
            Self::Hashlimit(_) => "hashlimit",
            Self::Hbh(_) => "hbh",
            Self::Hl { .. } => "hl",
            Self::Icmp(_) => "icmp",
            Self::Icmp6(_) => "icmp6",
            Self::Ip(_) => "ip",
            Self::Ip6(_) => "ip6",
            Self::Iprange(_) => "iprange",
            Self::Ipv6header(_) => "ipv6header",
            Self::Length(_) => "length",
            Self::Limit { .. } => "limit",
            Self::Mac(_) => "mac",
            Self::Mark(_) => "mark",
            Self::MarkM { .. } => "mark_m",
            Self::Mh(_) => "mh",
            Self::Multiport(_) => "multiport",
            Self::Owner(_) => "owner",
            Self::Physdev(_) => "physdev",
            Self::Pkttype(_) => "pkttype",
            Self::Recent(_) => "recent",
            Self::Rpfilter { .. } => "rpfilter",
            Self::Rt(_) => "rt",
            Self::Set(_) => "set",
            Self::Socket { .. } => "socket",
            Self::State { .. } => "state",
            Self::Statistic(_) => "statistic",
            Self::Stp(_) => "stp",
            Self::String(_) => "string",
            Self::Tcp(_) => "tcp",
            Self::Tos(_) => "tos",
            Self::Ttl { .. } => "ttl",
            Self::U32(_) => "u32",
            Self::Udp(_) => "udp",
            Self::Udplite(_) => "udplite",
            Self::Vlan(_) => "vlan",
            Self::Ieee8023(_) => "802_3",
            Self::Other(other) => &other.name,
        }
    }
}

/// `struct xt_tcp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtTcp {
    /// Source ports.
    pub source: XtRange<u16>,
    /// Destination ports.
    pub destination: XtRange<u16>,
    /// The byte of flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: XtMasked<u8>,
    /// A TCP option that must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<XtValue<u8>>,
}

/// `struct xt_udp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtUdp {
    /// Source ports.
    pub source: XtRange<u16>,
    /// Destination ports.
    pub destination: XtRange<u16>,
}

/// `struct ipt_icmp`, `struct ip6t_icmp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtIcmp {
    /// The type. Of ICMP, 255 is any type with any code.
    pub kind: u8,
    /// Codes of that type. If it is inverted, the whole test is.
    pub codes: XtRange<u8>,
}

/// Which ports of a packet are meant (`enum xt_multiport_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtPortSide {
    /// The source port.
    Source,
    /// The destination port.
    Destination,
    /// One of the two.
    Either,
}

/// `struct xt_multiport_v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtMultiport {
    /// Which ports of the packet.
    pub side: XtPortSide,
    /// Ranges, one of which must hold the port. None of them is inverted.
    pub ports: Vec<XtRange<u16>>,
    /// Whether none of them may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// `struct xt_physdev_info`. What is not asked for is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtPhysdev {
    /// The port that it came in by (`XT_PHYSDEV_OP_IN`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<XtDevice>,
    /// The port that it leaves by (`XT_PHYSDEV_OP_OUT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<XtDevice>,
    /// Whether it is bridged, rather than routed (`XT_PHYSDEV_OP_BRIDGED`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_bridged: Option<bool>,
    /// Whether it came in by a bridge's port (`XT_PHYSDEV_OP_ISIN`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_in: Option<bool>,
    /// Whether it leaves by a bridge's port (`XT_PHYSDEV_OP_ISOUT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_out: Option<bool>,
}

/// `struct xt_addrtype_info_v1`. A mask has the bit `1 << RTN_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtAddrtype {
    /// Types of the source, if that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtFlags>,
    /// Types of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtFlags>,
    /// Whether only the device it comes in by counts (`XT_ADDRTYPE_LIMIT_IFACE_IN`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub limit_in: bool,
    /// Whether only the device it leaves by counts (`XT_ADDRTYPE_LIMIT_IFACE_OUT`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub limit_out: bool,
}

/// `struct xt_iprange_mtinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtIprange {
    /// Where the source must lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<XtRange<IpAddr>>,
    /// Where the destination must lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<XtRange<IpAddr>>,
}

/// A set of ipset, as a rule names it (`struct xt_set_info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtSet {
    /// Its number ([`crate::IpSet::index`]).
    pub index: u16,
    /// For each part of a member, whether it is taken from the source, rather than the destination.
    pub from_source: Vec<bool>,
}

/// `struct xt_set_info_match_v4` and its elders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtSetMatch {
    /// The set, and what of the packet is looked up.
    pub set: XtSet,
    /// Whether it must not be in the set (`IPSET_INV_MATCH`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
    /// `IPSET_FLAG_*` as they came: 8 counters stay, 16 those of a list's sets too, 32 counters must match,
    /// 128 only a `nomatch` member is a match.
    #[serde(default)]
    pub flags: u32,
    /// Whether counters of the member decide too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub counters: bool,
}

/// `struct xt_conntrack_mtinfo3` and its elders. What is not asked for is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtConntrack {
    /// States: 1 invalid, 2 established, 4 related, 8 new, 64 source translated, 128 destination translated,
    /// 256 untracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<XtFlags>,
    /// `IPS_*`: 1 expected, 2 seen reply, 4 assured, 8 confirmed …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<XtFlags>,
    /// The direction: true for the original one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<bool>,
    /// The connection's transport protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XtValue<u16>>,
    /// Addresses of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_source: Option<XtAddress>,
    /// The destination of the original direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_destination: Option<XtAddress>,
    /// The source of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_source: Option<XtAddress>,
    /// The destination of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_destination: Option<XtAddress>,
    /// Ports of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_source_port: Option<XtRange<u16>>,
    /// The destination port of the original direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_destination_port: Option<XtRange<u16>>,
    /// The source port of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_source_port: Option<XtRange<u16>>,
    /// The destination port of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_destination_port: Option<XtRange<u16>>,
    /// Seconds until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<XtRange<u32>>,
}

/// `struct xt_hashlimit_mtinfo3` and its elders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtHashlimit {
    /// Its name, by which rules share it.
    pub name: String,
    /// `XT_HASHLIMIT_*`: 1 destination, 2 its port, 4 source, 8 its port, 16 inverted, 32 bytes, 64 by rate.
    pub mode: u32,
    /// The time between two packets, in 1/10,000 (since revision 2, 1/1,000,000) of a second; or how many bytes.
    pub average: u64,
    /// How many may come at once.
    pub burst: u64,
    /// Length of the prefix of the source that counts.
    pub source_prefix: u8,
    /// Length of the prefix of the destination that counts.
    pub destination_prefix: u8,
}

/// `struct xt_connlimit_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtConnlimit {
    /// How many connections may be.
    pub limit: u32,
    /// Addresses that count as one, by their mask.
    pub mask: IpAddr,
    /// Whether the destination counts, rather than the source.
    #[serde(default, skip_serializing_if = "is_false")]
    pub destination: bool,
    /// Whether it matches while there are no more than that, rather than more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// `struct xt_recent_mtinfo_v1` and its elder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtRecent {
    /// The list.
    pub name: String,
    /// `XT_RECENT_*`: 1 check, 2 set, 4 update, 8 remove, 16 the TTL too, 32 reap.
    pub flags: u8,
    /// Within how many seconds; 0 for ever.
    pub seconds: u32,
    /// How often at least.
    pub hit_count: u32,
    /// Whether the destination counts, rather than the source.
    #[serde(default, skip_serializing_if = "is_false")]
    pub destination: bool,
    /// Whether it must not have been seen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// `struct xt_owner_match_info`. What is not asked for is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtOwner {
    /// Users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<XtRange<u32>>,
    /// Groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<XtRange<u32>>,
    /// Whether there must be a socket, or must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<bool>,
    /// Whether a user's other groups count too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub supplementary_groups: bool,
}

/// How a time to live is compared (`IPT_TTL_*`, `IP6T_HL_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtTtlMode {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

/// `struct xt_statistic_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum XtStatistic {
    /// By chance.
    Random {
        /// Of 2^31.
        probability: u32,
        /// Whether the others match.
        inverted: bool,
    },
    /// By number.
    Nth {
        /// One of how many, less one.
        every: u32,
        /// Which to begin with.
        packet: u32,
        /// Whether the others match.
        inverted: bool,
    },
}

/// `struct xt_string_info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtString {
    /// What is looked for.
    pub pattern: Bytes,
    /// How: `bm`, `kmp`.
    pub algorithm: String,
    /// Where it may begin, from the network header on.
    pub from: u16,
    /// Where the search ends.
    pub to: u16,
    /// Whether upper and lower case are the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_case: bool,
    /// Whether it must not be there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// `struct xt_u32`: all tests must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtU32 {
    /// The tests.
    pub tests: Vec<XtU32Test>,
    /// Whether they must not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// `struct xt_u32_test`: the 32-bit word at `start` behind the network header, changed by `steps`, in one of `values`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtU32Test {
    /// Where the word begins, in bytes.
    pub start: u32,
    /// What is done with it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<XtU32Step>,
    /// Ranges. None of them is inverted.
    pub values: Vec<XtRange<u32>>,
}

/// One step of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtU32Step {
    /// What is done.
    pub op: XtU32Op,
    /// With what number.
    pub number: u32,
}

/// `enum xt_u32_ops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtU32Op {
    /// `&`.
    And,
    /// `<<`.
    ShiftLeft,
    /// `>>`.
    ShiftRight,
    /// `@`: the value is added to the offset, and the word at `number` behind that is read.
    At,
}

/// `struct xt_bpf_info_v1` and its elder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum XtBpf {
    /// Classic instructions, 8 bytes each (`struct sock_filter`).
    Bytecode(Bytes),
    /// A pinned program.
    Pinned(String),
    /// Another mode.
    Other(u16),
}
