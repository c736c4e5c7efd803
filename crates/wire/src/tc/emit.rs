//! `RTM_NEWQDISC`, `RTM_NEWTFILTER` as requests: what the decoders here read, written. What they keep undecoded is left out.
//! And `RTM_DELQDISC`, `RTM_DELTFILTER`, which take them away.

use portcullis_snapshot::{
    Bytes, FlowerField, FlowerKey, IfIndex, PeditHeader, PeditKey, Skbedit, TcAction, TcActionKind, TcBpf,
    TcClassifier, TcFilter, TcVerdict, U32Node, U32Table, VlanAction,
};

use super::{FilterParent, INGRESS_HANDLE, TCA_CHAIN, TCA_KIND, TCA_OPTIONS, flower, tcmsg};
use crate::{Message, NLM_F_CREATE, NLM_F_EXCL};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
/// `TC_H_CLSACT`, which is `TC_H_INGRESS` too.
const TC_H_CLSACT: u32 = 0xffff_fff1;

/// Makes an `ingress` or `clsact` queueing discipline, whose filters are shared in these blocks.
#[must_use]
pub fn new_qdisc(
    device: IfIndex,
    kind: &str,
    ingress_block: Option<u32>,
    egress_block: Option<u32>,
) -> Message {
    let header = tcmsg(FilterParent::Device(device, TC_H_CLSACT), INGRESS_HANDLE, 0);
    let mut message =
        Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL).header(&header).put_str(TCA_KIND, kind);
    for (number, block) in [(13, ingress_block), (14, egress_block)] {
        if let Some(block) = block {
            message = message.put_u32(number, block);
        }
    }
    message
}

/// Takes an `ingress` or `clsact` queueing discipline away, with all of its filters. The kernel refuses if it is of another
/// kind.
#[must_use]
pub fn delete_qdisc(device: IfIndex, kind: &str) -> Message {
    let header = tcmsg(FilterParent::Device(device, TC_H_CLSACT), INGRESS_HANDLE, 0);
    Message::new(RTM_DELQDISC, 0).header(&header).put_str(TCA_KIND, kind)
}

/// Takes away a filter: with a handle that one, without one all that have its chain, priority, protocol and classifier.
#[must_use]
pub fn delete_filter(parent: FilterParent, filter: &TcFilter, handle: Option<u32>) -> Message {
    let info = u32::from(filter.priority) << 16 | u32::from(filter.protocol.to_be());
    Message::new(RTM_DELTFILTER, 0)
        .header(&tcmsg(parent, handle.unwrap_or(0), info))
        .put_str(TCA_KIND, filter.kind())
        .put_u32(TCA_CHAIN, filter.chain)
}

/// Makes a hash table of `u32`.
#[must_use]
pub fn new_u32_table(parent: FilterParent, table: &U32Table, protocol: u16) -> Message {
    const TCA_U32_DIVISOR: u16 = 4;
    start(parent, table.handle, (table.chain, table.priority, protocol), "u32")
        .nest(TCA_OPTIONS, |options| options.put_u32(TCA_U32_DIVISOR, table.divisor))
}

/// Makes a filter. A `u32` node whose handle names no table comes into the root table of its priority.
#[must_use]
pub fn new_filter(parent: FilterParent, filter: &TcFilter) -> Message {
    let handle = match &filter.classifier {
        TcClassifier::U32(_) => filter.u32_node(),
        _ => filter.handle,
    };
    let at = (filter.chain, filter.priority, filter.protocol);
    start(parent, handle, at, filter.kind()).nest(TCA_OPTIONS, |options| {
        let options = classifier(options, filter);
        let layout = super::Layout::of(filter.kind());
        let mut options = actions(options, layout.actions, &filter.actions);
        if let (Some(class), 1..) = (filter.classid, layout.classid) {
            options = options.put_u32(layout.classid, class);
        }
        if let (Some(indev), 1..) = (&filter.indev, layout.indev) {
            options = options.put_str(layout.indev, indev);
        }
        if filter.flags != 0 && layout.flags != 0 {
            options = options.put_u32(layout.flags, filter.flags);
        }
        options
    })
}

fn start(
    parent: FilterParent,
    handle: u32,
    (chain, priority, protocol): (u32, u16, u16),
    kind: &str,
) -> Message {
    let info = u32::from(priority) << 16 | u32::from(protocol.to_be());
    Message::new(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL)
        .header(&tcmsg(parent, handle, info))
        .put_str(TCA_KIND, kind)
        .put_u32(TCA_CHAIN, chain)
}

fn classifier(options: Message, filter: &TcFilter) -> Message {
    const TCA_FW_MASK: u16 = 5;
    match &filter.classifier {
        TcClassifier::Matchall => options,
        TcClassifier::U32(node) => u32_node(options, filter, node),
        TcClassifier::Flower(keys) => flower_keys(options, filter.protocol, keys),
        TcClassifier::Bpf { program, direct_action } => {
            const TCA_BPF_FLAGS: u16 = 8;
            bpf(options, program, 4, 5).put_u32(TCA_BPF_FLAGS, u32::from(*direct_action))
        }
        TcClassifier::Fw { mask: Some(mask) } => options.put_u32(TCA_FW_MASK, *mask),
        TcClassifier::Fw { mask: None } => options,
        TcClassifier::Other { .. } => options,
    }
}

fn u32_node(mut options: Message, filter: &TcFilter, node: &U32Node) -> Message {
    const TCA_U32_HASH: u16 = 2;
    const TCA_U32_LINK: u16 = 3;
    const TCA_U32_SEL: u16 = 5;
    const TCA_U32_MARK: u16 = 10;
    if filter.u32_table() != 0 {
        options = options.put_u32(TCA_U32_HASH, filter.u32_table() | filter.u32_bucket() << 12);
    }
    if let Some(link) = node.link {
        options = options.put_u32(TCA_U32_LINK, link);
    }
    if let Some(mark) = node.mark {
        let words = [mark.value, mark.mask, 0];
        options = options.put(TCA_U32_MARK, &words.map(u32::to_ne_bytes).concat());
    }
    let mut selector = vec![node.flags, node.offset_shift, node.keys.len() as u8, 0];
    selector.extend(node.offset_mask.to_be_bytes());
    selector.extend(node.offset.to_ne_bytes());
    selector.extend(node.offset_at.to_ne_bytes());
    selector.extend(node.hash_at.to_ne_bytes());
    selector.extend(node.hash_mask.to_be_bytes());
    for key in &node.keys {
        selector.extend(key.mask.to_be_bytes());
        selector.extend((key.value & key.mask).to_be_bytes());
        selector.extend(key.offset.to_ne_bytes());
        selector.extend(key.offset_mask.to_ne_bytes());
    }
    options.put(TCA_U32_SEL, &selector)
}

fn flower_keys(options: Message, protocol: u16, keys: &[FlowerKey]) -> Message {
    const TCA_FLOWER_KEY_ETH_TYPE: u16 = 8;
    let tagged = matches!(protocol, 0x8100 | 0x88a8);
    let transport = keys.iter().find_map(|key| match key {
        FlowerKey::Field { field: FlowerField::IpProto, value, .. } => value.0.first().copied(),
        _ => None,
    });
    // Behind a tag, what it is for is said by the tag's keys.
    let options =
        if tagged { options.put(TCA_FLOWER_KEY_ETH_TYPE, &protocol.to_be_bytes()) } else { options };
    keys.iter().fold(options, |options, key| match key {
        FlowerKey::Field { field: FlowerField::EthType, .. } if tagged => options,
        FlowerKey::Field { field, value, mask } => flower::put(options, *field, transport, value, mask),
        FlowerKey::PortRange { source, from, to } => flower::put_range(options, *source, *from, *to),
        FlowerKey::Other(_) => options,
    })
}

fn actions(options: Message, number: u16, actions: &[TcAction]) -> Message {
    if actions.is_empty() || number == 0 {
        return options;
    }
    options.nest(number, |list| {
        (1..).zip(actions).fold(list, |list, (at, action)| list.nest(at, |one| one_action(one, action)))
    })
}

fn one_action(message: Message, action: &TcAction) -> Message {
    const TCA_ACT_KIND: u16 = 1;
    const TCA_ACT_OPTIONS: u16 = 2;
    message.put_str(TCA_ACT_KIND, action.kind.kind()).nest(TCA_ACT_OPTIONS, |options| {
        let decided = action.verdict.map_or(0, number);
        // struct tc_gen
        let general = [0, 0, decided, 0, 0].map(u32::to_ne_bytes).concat();
        match &action.kind {
            TcActionKind::Gact { random } => {
                let options = options.put(2, &general);
                match random {
                    Some(random) => {
                        let mut bytes = random.kind.to_ne_bytes().to_vec();
                        bytes.extend(random.value.to_ne_bytes());
                        bytes.extend(number(random.verdict).to_ne_bytes());
                        options.put(3, &bytes)
                    }
                    None => options,
                }
            }
            TcActionKind::Mirred { redirect, ingress, device, block } => {
                let way: u32 = match (redirect, ingress) {
                    (true, false) => 1,
                    (false, false) => 2,
                    (true, true) => 3,
                    (false, true) => 4,
                };
                let device = device.map_or(0, |device| device.0);
                let bytes = [general, way.to_ne_bytes().to_vec(), device.to_ne_bytes().to_vec()].concat();
                let options = options.put(2, &bytes);
                block.map_or(options.clone(), |block| options.put_u32(4, block))
            }
            TcActionKind::Vlan(vlan) => vlan_options(options, general, vlan),
            TcActionKind::Skbedit(edit) => skbedit(options.put(2, &general), edit),
            TcActionKind::Pedit { keys } => pedit(options, general, keys),
            TcActionKind::Bpf(program) => bpf(options.put(2, &general), program, 3, 4),
            TcActionKind::Police { .. } | TcActionKind::Other { .. } => options,
        }
    })
}

fn vlan_options(options: Message, general: Vec<u8>, vlan: &VlanAction) -> Message {
    let (way, tag): (u32, _) = match vlan {
        VlanAction::Pop => (1, None),
        VlanAction::Push(tag) => (2, Some(tag)),
        VlanAction::Modify(tag) => (3, Some(tag)),
        VlanAction::PopEth => (4, None),
        VlanAction::PushEth { .. } => (5, None),
        VlanAction::Other(other) => (other.cast_unsigned(), None),
    };
    let mut options = options.put(2, &[general, way.to_ne_bytes().to_vec()].concat());
    if let VlanAction::PushEth { dst, src } = vlan {
        options = options.put(7, &dst.0).put(8, &src.0);
    }
    let Some(tag) = tag else { return options };
    options = options.put_u16(3, tag.id).put(4, &tag.protocol.0.to_be_bytes());
    tag.priority.map_or(options.clone(), |priority| options.put_u8(6, priority))
}

fn skbedit(mut options: Message, edit: &Skbedit) -> Message {
    for (number, value) in [(3, edit.priority), (5, edit.mark), (8, edit.mark_mask)] {
        options = value.map_or(options.clone(), |value| options.put_u32(number, value));
    }
    for (number, value) in [(4, edit.queue_mapping), (7, edit.ptype), (10, edit.queue_mapping_max)] {
        options = value.map_or(options.clone(), |value| options.put_u16(number, value));
    }
    if edit.flags == 0 { options } else { options.put(9, &edit.flags.to_ne_bytes()) }
}

fn pedit(options: Message, general: Vec<u8>, keys: &[PeditKey]) -> Message {
    const TCA_PEDIT_PARMS_EX: u16 = 4;
    const TCA_PEDIT_KEYS_EX: u16 = 5;
    const TCA_PEDIT_KEY_EX: u16 = 6;
    let mut parameters = general;
    parameters.extend([keys.len() as u8, 0, 0, 0]);
    for key in keys {
        parameters.extend([key.mask.to_be_bytes(), key.value.to_be_bytes()].concat());
        parameters.extend([key.offset, key.at, key.offset_mask, key.shift].map(u32::to_ne_bytes).concat());
    }
    options.put(TCA_PEDIT_PARMS_EX, &parameters).nest(TCA_PEDIT_KEYS_EX, |list| {
        keys.iter().fold(list, |list, key| {
            let header = match key.header {
                PeditHeader::Network => 0,
                PeditHeader::Eth => 1,
                PeditHeader::Ip4 => 2,
                PeditHeader::Ip6 => 3,
                PeditHeader::Tcp => 4,
                PeditHeader::Udp => 5,
                PeditHeader::Other(other) => other,
            };
            list.nest(TCA_PEDIT_KEY_EX, |one| one.put_u16(1, header).put_u16(2, key.add.into()))
        })
    })
}

/// A classic program: how many instructions, and these.
fn bpf(options: Message, program: &TcBpf, length: u16, instructions: u16) -> Message {
    let Some(Bytes(bytes)) = &program.classic else { return options };
    options.put_u16(length, (bytes.len() / 8) as u16).put(instructions, bytes)
}

/// `TC_ACT_*`.
fn number(verdict: TcVerdict) -> u32 {
    match verdict {
        TcVerdict::Unspec => u32::MAX,
        TcVerdict::Ok => 0,
        TcVerdict::Reclassify => 1,
        TcVerdict::Shot => 2,
        TcVerdict::Pipe => 3,
        TcVerdict::Stolen => 4,
        TcVerdict::Queued => 5,
        TcVerdict::Repeat => 6,
        TcVerdict::Redirect => 7,
        TcVerdict::Trap => 8,
        TcVerdict::Jump(to) => 1 << 28 | to & 0x0fff_ffff,
        TcVerdict::GotoChain(chain) => 2 << 28 | chain & 0x0fff_ffff,
        TcVerdict::Other(other) => other.cast_unsigned(),
    }
}
