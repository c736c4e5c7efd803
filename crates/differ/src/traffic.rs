//! tc filters as steps: a queueing discipline, a table of `u32`, and each filter on its own, so that each can be left out.

use std::fmt::Write as _;

use portcullis_kernel::{Change, traffic};
use portcullis_snapshot::{
    FlowerField, FlowerKey, IfIndex, Netns, PeditHeader, TcAction, TcActionKind, TcBpf, TcClassifier,
    TcFilter, TcHook, TcHookKind, TcVerdict, U32Node, U32Table, VlanAction,
};
use portcullis_wire::tc::{CLSACT_EGRESS, CLSACT_INGRESS, FilterParent};

use crate::names::{Name, index, name};

/// A `clsact` of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qdisc {
    /// The device.
    pub device: Name,
    /// The block that its filters of the way in are shared in.
    pub ingress_block: Option<u32>,
    /// The same of the way out.
    pub egress_block: Option<u32>,
}

/// Where filters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a hook of a device.
    Device(Name, TcHookKind),
    /// In a shared block.
    Block(u32),
}

/// A filter. The root table of `u32` is not named in its handle: only the kernel knows its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Where.
    pub place: Place,
    /// Which.
    pub filter: TcFilter,
}

/// A table of `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Where.
    pub place: Place,
    /// Which.
    pub table: U32Table,
    /// The protocol of its priority.
    pub protocol: u16,
}

impl Qdisc {
    /// Returns the change that makes it.
    #[must_use]
    pub fn change(&self) -> Change {
        traffic::qdisc(index(self.device), "clsact", self.ingress_block, self.egress_block)
    }

    /// Returns the command that makes it.
    #[must_use]
    pub fn command(&self) -> String {
        let block = |word: &str, block: Option<u32>| {
            block.map_or_else(String::new, |block| format!(" {word}_block {block}"))
        };
        let (ingress, egress) = (block("ingress", self.ingress_block), block("egress", self.egress_block));
        format!("tc -n host qdisc add dev {}{ingress}{egress} clsact", self.device)
    }
}

impl Place {
    fn parent(self) -> FilterParent {
        match self {
            Self::Device(device, TcHookKind::Ingress) => FilterParent::Device(index(device), CLSACT_INGRESS),
            Self::Device(device, TcHookKind::Egress) => FilterParent::Device(index(device), CLSACT_EGRESS),
            Self::Block(block) => FilterParent::Block(block),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Device(device, TcHookKind::Ingress) => format!("dev {device} ingress"),
            Self::Device(device, TcHookKind::Egress) => format!("dev {device} egress"),
            Self::Block(block) => format!("block {block}"),
        }
    }

    /// Whether a hook in a snapshot is this place.
    fn is(self, hook: &TcHook) -> bool {
        match self {
            Self::Device(device, kind) => {
                hook.block.is_none() && (hook.device, hook.hook) == (index(device), kind)
            }
            Self::Block(block) => hook.block == Some(block),
        }
    }
}

impl Table {
    /// Returns the change that makes it.
    #[must_use]
    pub fn change(&self) -> Change {
        traffic::u32_table(self.place.parent(), &self.table, self.protocol)
    }

    /// Returns the command that makes it.
    #[must_use]
    pub fn command(&self) -> String {
        let U32Table { chain, priority, handle, divisor, .. } = self.table;
        let (place, protocol) = (self.place.words(), protocol_word(self.protocol));
        format!(
            "tc -n host filter add {place} pref {priority} chain {chain} protocol {protocol} handle {:x}: u32 \
             divisor {divisor}",
            handle >> 20
        )
    }

    /// Whether a snapshot has it.
    #[must_use]
    pub fn is_in(&self, netns: &Netns) -> bool {
        let mut hooks = netns.filters.tc.known().iter().filter(|hook| self.place.is(hook));
        hooks.any(|hook| {
            hook.u32_tables
                .iter()
                .any(|table| (table.handle, table.divisor) == (self.table.handle, self.table.divisor))
        })
    }
}

impl Filter {
    /// Returns the change that makes it.
    #[must_use]
    pub fn change(&self) -> Change {
        traffic::filter(self.place.parent(), &self.filter)
    }

    /// Whether a snapshot has it. What the kernel adds of its own, and bits that do not count, are no difference.
    #[must_use]
    pub fn is_in(&self, netns: &Netns) -> bool {
        let plain = |filter: &TcFilter| {
            let mut filter = TcFilter { flags: filter.flags & TcFilter::SKIP_SW, ..filter.clone() };
            match &mut filter.classifier {
                TcClassifier::U32(node) => {
                    if self.filter.u32_table() == 0 {
                        filter.handle &= 0xfff;
                    }
                    node.keys.iter_mut().for_each(|key| key.value &= key.mask);
                }
                TcClassifier::Flower(keys) => keys.sort_by_key(|key| format!("{key:?}")),
                TcClassifier::Bpf { program, .. } => program.tag = None,
                _ => {}
            }
            if filter.u32_table() != 0 && filter.kind() == "u32" && self.filter.u32_table() != 0 {
                // A linked table's nodes are told with the priority that the table was made in.
                (filter.chain, filter.priority, filter.protocol) = (0, 0, 0);
            }
            for action in &mut filter.actions {
                action.skip_sw = false;
                if let TcActionKind::Bpf(program) = &mut action.kind {
                    program.tag = None;
                }
            }
            filter
        };
        let wanted = plain(&self.filter);
        let mut hooks = netns.filters.tc.known().iter().filter(|hook| self.place.is(hook));
        // What a kernel takes in and forgets; the walk goes by what is read.
        let forgotten = {
            let mut filter = wanted.clone();
            match &mut filter.classifier {
                // Without CONFIG_CLS_U32_MARK.
                TcClassifier::U32(node) => node.mark = None,
                // Before 5.19, whose `fl_policy` ends before it.
                TcClassifier::Flower(keys) => {
                    keys.retain(|key| !matches!(key, FlowerKey::Field { field: FlowerField::NumOfVlans, .. }))
                }
                // `fw_dump` tells nothing of one that has neither a class nor an action.
                TcClassifier::Fw { mask } if filter.classid.is_none() && filter.actions.is_empty() => {
                    (*mask, filter.indev) = (None, None);
                }
                _ => {}
            }
            filter
        };
        hooks.any(|hook| {
            let mut found = hook.filters.iter().map(plain);
            found.any(|found| found == wanted || found == forgotten)
        })
    }

    /// Returns the command that makes it, as far as `tc` can say it.
    #[must_use]
    pub fn command(&self) -> String {
        let TcFilter { chain, priority, protocol, handle, .. } = self.filter;
        let (place, protocol) = (self.place.words(), protocol_word(protocol));
        let mut words =
            format!("tc -n host filter add {place} pref {priority} chain {chain} protocol {protocol} ");
        match &self.filter.classifier {
            TcClassifier::U32(node) => u32_words(&mut words, &self.filter, node),
            TcClassifier::Flower(keys) => {
                let _ = write!(words, "handle {handle} flower");
                keys.iter().for_each(|key| flower_words(&mut words, key));
            }
            TcClassifier::Bpf { program, direct_action } => {
                let direct = if *direct_action { " direct-action" } else { "" };
                let _ = write!(words, "handle {handle} bpf bytecode '{}'{direct}", bytecode(program));
            }
            TcClassifier::Fw { mask } => {
                let _ = write!(words, "handle {handle:#x}/{:#x} fw", mask.unwrap_or(u32::MAX));
            }
            TcClassifier::Matchall | TcClassifier::Other { .. } => {
                let _ = write!(words, "handle {handle} {}", self.filter.kind());
            }
        }
        if self.filter.flags & TcFilter::SKIP_SW != 0 {
            words.push_str(" skip_sw");
        }
        if let Some(indev) = &self.filter.indev {
            let _ = write!(words, " indev {indev}");
        }
        self.filter.actions.iter().for_each(|action| action_words(&mut words, action));
        words
    }
}

fn protocol_word(protocol: u16) -> String {
    if protocol == 3 { "all".to_owned() } else { format!("{protocol:#06x}") }
}

fn u32_words(words: &mut String, filter: &TcFilter, node: &U32Node) {
    let table = match filter.u32_table() >> 20 {
        0 => String::new(),
        table => format!(" ht {table:x}:{:x}:", filter.u32_bucket()),
    };
    let _ = write!(words, "handle ::{:x} u32{table}", filter.u32_node());
    for key in &node.keys {
        let next = if key.offset_mask == 0 { "" } else { "nexthdr+" };
        let _ = write!(words, " match u32 {:#010x} {:#010x} at {next}{}", key.value, key.mask, key.offset);
    }
    if let Some(mark) = node.mark {
        let _ = write!(words, " match mark {:#x} {:#x}", mark.value, mark.mask);
    }
    if node.flags & (U32Node::OFFSET | U32Node::VAROFFSET | U32Node::EAT) != 0 {
        let _ = write!(words, " offset plus {}", node.offset);
        if node.has(U32Node::VAROFFSET) {
            let (at, mask, shift) = (node.offset_at, node.offset_mask, node.offset_shift);
            let _ = write!(words, " at {at} mask {mask:#06x} shift {shift}");
        }
        if node.has(U32Node::EAT) {
            words.push_str(" eat");
        }
    }
    if node.hash_mask != 0 {
        let _ = write!(words, " hashkey mask {:#010x} at {}", node.hash_mask, node.hash_at);
    }
    if let Some(link) = node.link {
        let _ = write!(words, " link {:x}:", link >> 20);
    }
    if node.has(U32Node::TERMINAL) && node.link.is_none() {
        words.push_str(" flowid :1");
    }
}

fn flower_words(words: &mut String, key: &FlowerKey) {
    match key {
        FlowerKey::Field { field, value, mask } => {
            let word = match field {
                FlowerField::EthDst => "dst_mac",
                FlowerField::EthSrc => "src_mac",
                // It is the protocol.
                FlowerField::EthType => return,
                FlowerField::VlanId => "vlan_id",
                FlowerField::VlanPriority => "vlan_prio",
                FlowerField::VlanEthType => "vlan_ethtype",
                FlowerField::CvlanId => "cvlan_id",
                FlowerField::CvlanPriority => "cvlan_prio",
                FlowerField::CvlanEthType => "cvlan_ethtype",
                FlowerField::NumOfVlans => "num_of_vlans",
                FlowerField::IpProto => "ip_proto",
                FlowerField::Ipv4Src | FlowerField::Ipv6Src => "src_ip",
                FlowerField::Ipv4Dst | FlowerField::Ipv6Dst => "dst_ip",
                FlowerField::IpTos => "ip_tos",
                FlowerField::IpTtl => "ip_ttl",
                FlowerField::PortSrc => "src_port",
                FlowerField::PortDst => "dst_port",
                FlowerField::TcpFlags => "tcp_flags",
                FlowerField::IcmpType => "type",
                FlowerField::IcmpCode => "code",
                FlowerField::ArpSip => "arp_sip",
                FlowerField::ArpTip => "arp_tip",
                FlowerField::ArpOp => "arp_op",
                FlowerField::ArpSha => "arp_sha",
                FlowerField::ArpTha => "arp_tha",
                FlowerField::Flags => "ip_flags",
                FlowerField::L2Miss => "l2_miss",
                FlowerField::PppoeSession => "pppoe_sid",
                FlowerField::PppProtocol => "ppp_proto",
            };
            let whole = mask.0.iter().all(|byte| *byte == 0xff);
            let hex = |bytes: &[u8]| format!("0x{}", crate::facts::hex(bytes));
            let mask = if whole { String::new() } else { format!("/{}", hex(&mask.0)) };
            let _ = write!(words, " {word} {}{mask}", hex(&value.0));
        }
        FlowerKey::PortRange { source, from, to } => {
            let word = if *source { "src_port" } else { "dst_port" };
            let _ = write!(words, " {word} {from}-{to}");
        }
        FlowerKey::Other(other) => {
            let _ = write!(words, " key-{}", other.number);
        }
    }
}

/// As `tc` takes it: how many instructions, and each as four numbers.
fn bytecode(program: &TcBpf) -> String {
    let bytes = program.classic.as_ref().map_or(&[][..], |bytes| bytes.0.as_slice());
    let instruction = |one: &[u8]| match *one {
        [a, b, jt, jf, c, d, e, f] => {
            let (code, value) = (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([c, d, e, f]));
            format!(",{code} {jt} {jf} {value}")
        }
        _ => String::new(),
    };
    let all: String = bytes.chunks(8).map(instruction).collect();
    format!("{}{all}", bytes.len() / 8)
}

fn action_words(words: &mut String, action: &TcAction) {
    let device = |device: Option<IfIndex>| device.and_then(name).unwrap_or("?");
    let _ = write!(words, " action {}", action.kind.kind());
    match &action.kind {
        TcActionKind::Mirred { redirect, ingress, device: to, .. } => {
            let way = if *ingress { "ingress" } else { "egress" };
            let what = if *redirect { "redirect" } else { "mirror" };
            let _ = write!(words, " {way} {what} dev {}", device(*to));
        }
        TcActionKind::Vlan(VlanAction::Pop) => words.push_str(" pop"),
        TcActionKind::Vlan(VlanAction::Push(tag) | VlanAction::Modify(tag)) => {
            let way = if matches!(action.kind, TcActionKind::Vlan(VlanAction::Push(_))) {
                "push"
            } else {
                "modify"
            };
            let protocol = if tag.protocol.0 == 0x88a8 { "802.1ad" } else { "802.1Q" };
            let _ = write!(words, " {way} id {} protocol {protocol}", tag.id);
            if let Some(priority) = tag.priority {
                let _ = write!(words, " priority {priority}");
            }
        }
        TcActionKind::Skbedit(edit) => {
            for (word, value) in [("priority", edit.priority), ("mark", edit.mark)] {
                if let Some(value) = value {
                    let _ = write!(words, " {word} {value}");
                }
            }
            if let Some(ptype) = edit.ptype {
                let word = ["host", "broadcast", "multicast", "otherhost"];
                let _ = write!(words, " ptype {}", word.get(usize::from(ptype)).unwrap_or(&"?"));
            }
        }
        TcActionKind::Pedit { keys } => {
            words.push_str(" ex");
            for key in keys {
                let header = match key.header {
                    PeditHeader::Network | PeditHeader::Other(_) => "offset",
                    PeditHeader::Eth => "eth",
                    PeditHeader::Ip4 => "ip",
                    PeditHeader::Ip6 => "ip6",
                    PeditHeader::Tcp => "tcp",
                    PeditHeader::Udp => "udp",
                };
                let (offset, value, kept) = (key.offset.cast_signed(), key.value, key.mask);
                let how = if key.add { "add" } else { "set" };
                let _ = write!(words, " munge {header} {offset} u32 ");
                if key.offset_mask != 0 {
                    let _ = write!(words, "at {} {:#x} {} ", key.at, key.offset_mask, key.shift);
                }
                let _ = write!(words, "{how} {value:#010x} retain {:#010x}", !kept);
            }
        }
        TcActionKind::Bpf(program) => {
            let _ = write!(words, " bytecode '{}'", bytecode(program));
        }
        _ => {}
    }
    let verdict = match action.verdict {
        None => String::new(),
        Some(TcVerdict::Unspec) => " continue".to_owned(),
        Some(TcVerdict::Shot) => " drop".to_owned(),
        Some(TcVerdict::Jump(to)) => format!(" jump {to}"),
        Some(TcVerdict::GotoChain(chain)) => format!(" goto chain {chain}"),
        Some(verdict) => format!(" {verdict:?}").to_lowercase(),
    };
    words.push_str(&verdict);
}
