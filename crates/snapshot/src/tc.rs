//! tc: filters with what they match and what they do, as the kernel evaluates them (`net/sched`, `linux/pkt_cls.h`).
//!
//! Numbers are as a person reads them: those that the kernel holds in network byte order are turned. What is not known
//! is kept as attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, EtherType, IfIndex, MacAddr, UnknownAttribute};

/// The tc filters of one hook of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcHook {
    /// The device.
    pub device: IfIndex,
    /// Which hook.
    pub hook: TcHookKind,
    /// The queueing discipline that makes the hook: `clsact`, `ingress`, or any classful one on egress.
    pub qdisc: String,
    /// The shared block, if the hook uses one (`TCA_INGRESS_BLOCK`, `TCA_EGRESS_BLOCK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// The filters, by chain, then by priority, in which order the kernel consults them (`tcf_classify`, from chain 0).
    /// All of one chain and priority have the same protocol and the same classifier.
    ///
    /// Within a priority: those of `u32` stand by table (its root first), bucket and node, and are reached from the
    /// root table on ([`U32Node`]). `bpf` and `basic` are asked in the order in which they stand. `flower` asks mask by
    /// mask (`fl_classify`), in the order in which the masks came to be, and of one mask at most one filter matches;
    /// the kernel does not tell that order. The filters stand by their handles, which is the order in which they
    /// were made unless somebody chose the handles. So where two filters of different masks match the same frame, which
    /// one decides is likely, not certain.
    pub filters: Vec<TcFilter>,
    /// Hash tables of `u32`, in the kernel's order: the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub u32_tables: Vec<U32Table>,
}

/// A tc hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TcHookKind {
    /// Before the bridge and the stack.
    Ingress,
    /// On the way out.
    Egress,
}

/// BPF programs attached to a device by tcx or netkit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcxPrograms {
    /// The device.
    pub device: IfIndex,
    /// Which hook.
    pub hook: TcHookKind,
    /// Program ids, in the order in which they run.
    pub programs: Vec<u32>,
}

/// One tc filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcFilter {
    /// Its chain (`TCA_CHAIN`); packets begin in chain 0.
    #[serde(default)]
    pub chain: u32,
    /// Priority; lower is consulted first.
    pub priority: u16,
    /// The protocol it is for, as an EtherType; 3 is all. `__tcf_classify` holds it against `skb_protocol(skb, false)`:
    /// of a tagged frame that is the TPID.
    pub protocol: u16,
    /// Its handle (`tcm_handle`). In `u32` that is table, bucket and node ([`U32Node`]), in `fw` the mark.
    #[serde(default)]
    pub handle: u32,
    /// What it matches.
    pub classifier: TcClassifier,
    /// The class it gives (`TCA_*_CLASSID`), which decides nothing at these hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classid: Option<u32>,
    /// The device that a packet must have come in by (`tcf_match_indev`; in `flower` a key as any other).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indev: Option<String>,
    /// `TCA_CLS_FLAGS_*`: 1 not in hardware, 2 not in software, 4 in hardware, 8 not in hardware so far.
    #[serde(default)]
    pub flags: u32,
    /// What it does, in order (`tcf_action_exec`). Without any, a match is [`TcVerdict::Ok`] (`tcf_exts_exec`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<TcAction>,
}

impl TcFilter {
    /// `TCA_CLS_FLAGS_SKIP_SW`: only hardware looks at it.
    pub const SKIP_SW: u32 = 2;

    /// Returns the classifier's name: `u32`, `flower`, `matchall`, `bpf` …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.classifier.kind()
    }

    /// Returns the names of its actions: `gact`, `mirred` …
    pub fn action_kinds(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(|action| action.kind.kind())
    }

    /// Returns the table of `u32` that it stands in (`TC_U32_HTID` of its handle).
    #[must_use]
    pub const fn u32_table(&self) -> u32 {
        self.handle & 0xfff0_0000
    }

    /// Returns the bucket of that table (`TC_U32_HASH`).
    #[must_use]
    pub const fn u32_bucket(&self) -> u32 {
        self.handle >> 12 & 0xff
    }

    /// Returns its place in that bucket (`TC_U32_NODE`); lower is asked first.
    #[must_use]
    pub const fn u32_node(&self) -> u32 {
        self.handle & 0xfff
    }
}

/// What a filter matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TcClassifier {
    /// Every packet (`mall_classify`).
    Matchall,
    /// Words of the packet, with links between tables (`u32_classify`).
    U32(U32Node),
    /// What the flow dissector finds (`fl_classify`). All keys must match; without one, every packet does.
    Flower(Vec<FlowerKey>),
    /// A program (`cls_bpf_classify`).
    Bpf {
        /// Which.
        program: TcBpf,
        /// Whether what it returns is the verdict (`TCA_BPF_FLAG_ACT_DIRECT`), rather than a class.
        direct_action: bool,
    },
    /// `skb->mark` under a mask is the handle (`fw_classify`).
    Fw {
        /// The mask (`TCA_FW_MASK`). `None` if the kernel does not tell: of a filter that has neither a class nor an
        /// action, `fw_dump` tells the handle alone, and neither the mask nor the device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<u32>,
    },
    /// Another classifier: `basic`, `cgroup`, `route`, `flow` …
    Other {
        /// Its name.
        kind: String,
        /// Its options, as they came, but for its actions and counters.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<UnknownAttribute>,
    },
}

impl TcClassifier {
    /// Returns its name in the kernel (`struct tcf_proto_ops`).
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Matchall => "matchall",
            Self::U32(_) => "u32",
            Self::Flower(_) => "flower",
            Self::Bpf { .. } => "bpf",
            Self::Fw { .. } => "fw",
            Self::Other { kind, .. } => kind,
        }
    }
}

/// A hash table of `u32` (`struct tc_u_hnode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct U32Table {
    /// The chain it was told of in.
    pub chain: u32,
    /// The priority it was made with.
    pub priority: u16,
    /// Its handle, as [`TcFilter::u32_table`] returns it.
    pub handle: u32,
    /// How many buckets it has.
    pub divisor: u32,
    /// Whether packets of this chain and priority begin here (`tp->root`); else only links lead to it.
    pub root: bool,
}

/// One node of a table of `u32` (`struct tc_u_knode`, `struct tc_u32_sel`).
///
/// Nodes of a bucket are asked in ascending order until one that is terminal matches and its actions decide. Offsets count
/// from the network header (`skb_network_offset`), and a link can move that. A word that the packet does not have ends the
/// whole search without a match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct U32Node {
    /// `TC_U32_*`: 1 terminal, 2 offset, 4 variable offset, 8 eat.
    pub flags: u8,
    /// What must match, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<U32Key>,
    /// The table that a match leads to (`TCA_U32_LINK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// `skb->mark` (`TCA_U32_MARK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<U32Mark>,
    /// How far the variable offset is shifted down (`offshift`).
    pub offset_shift: u8,
    /// The bits of it that count (`offmask`).
    pub offset_mask: u16,
    /// The fixed offset of what a link leads to (`off`).
    pub offset: u16,
    /// Where the variable offset stands, as 16 bits (`offoff`).
    pub offset_at: i16,
    /// Where the word stands that chooses the bucket of the linked table (`hoff`).
    pub hash_at: i16,
    /// Its bits that count, which are shifted down to the lowest of them (`hmask`).
    pub hash_mask: u32,
}

impl U32Node {
    /// A node that links nowhere and asks for no mark.
    #[must_use]
    pub const fn new(flags: u8, keys: Vec<U32Key>) -> Self {
        Self {
            flags,
            keys,
            link: None,
            mark: None,
            offset_shift: 0,
            offset_mask: 0,
            offset: 0,
            offset_at: 0,
            hash_at: 0,
            hash_mask: 0,
        }
    }

    /// `TC_U32_TERMINAL`.
    pub const TERMINAL: u8 = 1;
    /// `TC_U32_OFFSET`.
    pub const OFFSET: u8 = 2;
    /// `TC_U32_VAROFFSET`.
    pub const VAROFFSET: u8 = 4;
    /// `TC_U32_EAT`.
    pub const EAT: u8 = 8;

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// One word that must match: `(word ^ value) & mask == 0` (`struct tc_u32_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct U32Key {
    /// The bits that count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
    /// Where the word stands (`off`).
    pub offset: i32,
    /// Which bits of the offset that a link brought along are added (`offmask`).
    pub offset_mask: i32,
}

/// What `skb->mark` must be under a mask (`struct tc_u32_mark`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct U32Mark {
    /// What its bits must be.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// One key of a `flower` filter (`fl_dump_key`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FlowerKey {
    /// A field under a mask.
    Field {
        /// Which.
        field: FlowerField,
        /// What it must be, in network byte order. It may have bits that do not count.
        value: Bytes,
        /// The bits that count, in as many bytes.
        mask: Bytes,
    },
    /// A port within a range, both ends included (`fl_range_port_src_cmp`, `fl_range_port_dst_cmp`).
    PortRange {
        /// Whether it is the source's.
        source: bool,
        /// The first.
        from: u16,
        /// The last.
        to: u16,
    },
    /// What nothing here decodes: tunnels' headers, connection tracking, MPLS and so on.
    Other(UnknownAttribute),
}

/// Fields that `flower` compares (`TCA_FLOWER_KEY_*`). What a packet does not have is 0 for it (`fl_clear_masked_range`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowerField {
    /// Destination in the Ethernet header, 6 bytes.
    EthDst,
    /// Source in the Ethernet header.
    EthSrc,
    /// EtherType, 2 bytes, as `basic.n_proto` has it: of what follows the tags that the filter has keys for.
    EthType,
    /// VID of the outermost tag, 2 bytes. Its TPID is compared too (`fl_set_key_vlan`), and not told: it is the filter's
    /// protocol, if that was given as `tc`(8) does.
    VlanId,
    /// Its priority, one byte.
    VlanPriority,
    /// EtherType behind it; of another tag, that one's TPID.
    VlanEthType,
    /// VID of the tag behind that.
    CvlanId,
    /// Its priority.
    CvlanPriority,
    /// EtherType behind it.
    CvlanEthType,
    /// How many tags there are, one byte.
    NumOfVlans,
    /// Transport protocol, one byte.
    IpProto,
    /// IPv4 source, 4 bytes.
    Ipv4Src,
    /// IPv4 destination.
    Ipv4Dst,
    /// IPv6 source, 16 bytes.
    Ipv6Src,
    /// IPv6 destination.
    Ipv6Dst,
    /// TOS or traffic class, one byte.
    IpTos,
    /// TTL or hop limit.
    IpTtl,
    /// Source port, 2 bytes; of which protocol, [`Self::IpProto`] says.
    PortSrc,
    /// Destination port.
    PortDst,
    /// TCP flags, the lower 12 bits of 2 bytes.
    TcpFlags,
    /// ICMP or ICMPv6 type, one byte.
    IcmpType,
    /// ICMP or ICMPv6 code.
    IcmpCode,
    /// ARP sender's IPv4 address.
    ArpSip,
    /// ARP target's IPv4 address.
    ArpTip,
    /// ARP operation, one byte.
    ArpOp,
    /// ARP sender's MAC address.
    ArpSha,
    /// ARP target's MAC address.
    ArpTha,
    /// `TCA_FLOWER_KEY_FLAGS_*`, 4 bytes: 1 a fragment, 2 the first fragment.
    Flags,
    /// Whether the bridge had no FDB entry for it (`TCA_FLOWER_L2_MISS`, since 6.5), one byte.
    L2Miss,
    /// PPPoE session, 2 bytes.
    PppoeSession,
    /// PPP protocol, 2 bytes.
    PppProtocol,
}

/// A BPF program of a filter or an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcBpf {
    /// The name it was attached with (`TCA_BPF_NAME`, `TCA_ACT_BPF_NAME`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Bytes>,
    /// The instructions of a classic program (`struct sock_filter`, in host byte order).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classic: Option<Bytes>,
}

/// One action of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcAction {
    /// What it does.
    pub kind: TcActionKind,
    /// What it decides (`tcf_action` of it), where that is known: it is not for actions that nothing here knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<TcVerdict>,
    /// Whether only hardware takes it (`TCA_ACT_FLAGS_SKIP_SW`, since 5.17): then it is passed over.
    #[serde(default)]
    pub skip_sw: bool,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TcActionKind {
    /// Nothing but its verdict (`tcf_gact_act`).
    Gact {
        /// What it decides now and then instead (`TCA_GACT_PROB`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        random: Option<GactRandom>,
    },
    /// Sends the packet or a copy elsewhere (`tcf_mirred_act`).
    Mirred {
        /// Whether the packet itself goes, rather than a copy.
        redirect: bool,
        /// Whether it comes in there, rather than leaves.
        ingress: bool,
        /// The device; `None` if it is gone or a block is meant. A packet for a device that is gone is dropped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<IfIndex>,
        /// The block whose every device is meant (`TCA_MIRRED_BLOCKID`, since 6.8).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<u32>,
    },
    /// Changes tags or the Ethernet header (`tcf_vlan_act`).
    Vlan(VlanAction),
    /// Changes what the kernel notes about the packet (`tcf_skbedit_act`).
    Skbedit(Skbedit),
    /// Changes bytes of the packet (`tcf_pedit_act`), key by key.
    Pedit {
        /// The changes.
        keys: Vec<PeditKey>,
    },
    /// Counts against a rate (`tcf_police_act`): over it, the action's verdict holds.
    Police {
        /// The verdict within the rate (`TCA_POLICE_RESULT`).
        conform: TcVerdict,
        /// The rates, as they came.
        options: Vec<UnknownAttribute>,
    },
    /// Runs a program (`tcf_bpf_act`); the action's verdict holds if it returns `TC_ACT_UNSPEC`.
    Bpf(TcBpf),
    /// Another action: `csum`, `nat`, `ct`, `tunnel_key` …
    Other {
        /// Its name.
        kind: String,
        /// Its options, as they came, but for its times.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<UnknownAttribute>,
    },
}

impl TcActionKind {
    /// Returns its name in the kernel (`struct tc_action_ops`).
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Gact { .. } => "gact",
            Self::Mirred { .. } => "mirred",
            Self::Vlan(_) => "vlan",
            Self::Skbedit(_) => "skbedit",
            Self::Pedit { .. } => "pedit",
            Self::Police { .. } => "police",
            Self::Bpf(_) => "bpf",
            Self::Other { kind, .. } => kind,
        }
    }
}

/// What an action or a program decides (`TC_ACT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TcVerdict {
    /// `TC_ACT_UNSPEC`: on with the next filter.
    Unspec,
    /// `TC_ACT_OK`: the packet passes; no other filter is asked.
    Ok,
    /// `TC_ACT_RECLASSIFY`: from the first filter of the first chain again.
    Reclassify,
    /// `TC_ACT_SHOT`: dropped.
    Shot,
    /// `TC_ACT_PIPE`: on with the next action. Behind the last one the packet passes, and no other filter is asked.
    Pipe,
    /// `TC_ACT_STOLEN`: gone, and not counted as dropped.
    Stolen,
    /// `TC_ACT_QUEUED`: the same here.
    Queued,
    /// `TC_ACT_REPEAT`: this action again; `Ok` after 32 times.
    Repeat,
    /// `TC_ACT_REDIRECT`: where `bpf_redirect` said.
    Redirect,
    /// `TC_ACT_TRAP`: as `Stolen`, in software.
    Trap,
    /// `TC_ACT_JUMP`: on with the action of that number, the first one being 0. 0, or more than there are, is `Ok`.
    Jump(u32),
    /// `TC_ACT_GOTO_CHAIN`: on with the first filter of that chain.
    GotoChain(u32),
    /// A value newer than this program.
    Other(i32),
}

/// When `gact` decides otherwise (`struct tc_gact_p`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GactRandom {
    /// `PGACT_*`: 1 at random, 2 every so-manieth time.
    pub kind: u16,
    /// One in how many.
    pub value: u16,
    /// What it decides then.
    pub verdict: TcVerdict,
}

/// What the `vlan` action does (`TCA_VLAN_ACT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VlanAction {
    /// Takes the outermost tag off.
    Pop,
    /// Puts a tag on.
    Push(VlanTag),
    /// Changes the outermost tag.
    Modify(VlanTag),
    /// Takes the Ethernet header off.
    PopEth,
    /// Puts an Ethernet header on.
    PushEth {
        /// Its destination.
        dst: MacAddr,
        /// Its source.
        src: MacAddr,
    },
    /// A value newer than this program.
    Other(i32),
}

/// The tag that the `vlan` action puts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanTag {
    /// Its VID; 0 if not given, and that is what it then is.
    pub id: u16,
    /// Its TPID.
    pub protocol: EtherType,
    /// Its priority. Without one, `Push` puts 0, and `Modify` leaves what is there (before 5.11, it puts 0 too).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// What the `skbedit` action sets; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skbedit {
    /// `skb->priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The queue to leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_mapping: Option<u16>,
    /// The last of a range of queues, of which the packet's hash chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_mapping_max: Option<u16>,
    /// `skb->mark`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The bits of it that are set; all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_mask: Option<u32>,
    /// `skb->pkt_type` (`PACKET_*`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptype: Option<u16>,
    /// `SKBEDIT_F_*` that need no value: 0x20 the priority is that of the IP header, 0x40 the queue is chosen by hash.
    #[serde(default)]
    pub flags: u64,
}

/// One change of the `pedit` action (`struct tc_pedit_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeditKey {
    /// From where the offset counts.
    pub header: PeditHeader,
    /// Whether the value is added rather than put (`TCA_PEDIT_KEY_EX_CMD_ADD`).
    pub add: bool,
    /// The bits that stay. Put: `(word & mask) ^ value`. Added: `word & mask | (word + value) & !mask`, where the kernel
    /// adds in host byte order.
    pub mask: u32,
    /// The value.
    pub value: u32,
    /// Where the word stands.
    pub offset: u32,
    /// Where a byte stands that moves the offset, if `offset_mask` is not 0 (`at`).
    pub at: u32,
    /// Its bits that count (`offmask`).
    pub offset_mask: u32,
    /// How far they are shifted down (`shift`).
    pub shift: u32,
}

/// From where an offset of `pedit` counts (`enum pedit_header_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeditHeader {
    /// The network header, of whatever protocol; also what is in front of it, by negative offsets.
    Network,
    /// The Ethernet header.
    Eth,
    /// The IPv4 header.
    Ip4,
    /// The IPv6 header.
    Ip6,
    /// The TCP header.
    Tcp,
    /// The UDP header.
    Udp,
    /// A value newer than this program.
    Other(u16),
}
