//! `TCA_ACT_*` and the options of each action (linux/pkt_cls.h, linux/tc_act/).

use portcullis_snapshot::{
    EtherType, GactRandom, IfIndex, PeditHeader, PeditKey, Skbedit, TcAction, TcActionKind, TcVerdict,
    VlanAction, VlanTag,
};

use super::{BpfNumbers, bpf, unknown};
use crate::attribute::{u8_at, u16_at, u32_at};
use crate::{Attribute, Attributes};

const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_FLAGS: u16 = 7;
/// `tc_gen`, with which the parameters of every action but `police` begin; its verdict stands behind two words.
const TC_GEN: usize = 20;
const TC_GEN_ACTION: usize = 8;

/// The actions of a filter, in their order.
pub(super) fn actions(list: Attributes<'_>) -> Vec<TcAction> {
    list.filter_map(|action| one(&action.nested())).collect()
}

/// `tcf_action_dump_1`.
fn one(action: &Attributes<'_>) -> Option<TcAction> {
    const TCA_ACT_FLAGS_SKIP_SW: u32 = 4;
    let kind = action.get(TCA_ACT_KIND)?.string();
    let options = action.get(TCA_ACT_OPTIONS).map_or(Attributes::new(&[]), |options| options.nested());
    // A bitfield: the flags, and which of them are meant.
    let flags = action.get(TCA_ACT_FLAGS).and_then(|flags| flags.u32()).unwrap_or_default();
    let decoded = if kind == "police" { police(options) } else { decode(kind, &options) };
    Some(TcAction { skip_sw: flags & TCA_ACT_FLAGS_SKIP_SW != 0, ..decoded })
}

/// `tcf_police_dump`, which is also how a classifier tells of a `police` of the old sort.
pub(super) fn police(options: Attributes<'_>) -> TcAction {
    const TCA_POLICE_TBF: u16 = 1;
    const TCA_POLICE_RESULT: u16 = 5;
    const TCA_POLICE_TM: u16 = 6;
    // struct tc_police: the index, then the verdict.
    let exceeding = options.get(TCA_POLICE_TBF).and_then(|police| u32_at(police.payload, 4));
    let conform = options.get(TCA_POLICE_RESULT).and_then(|result| result.u32());
    let kind = TcActionKind::Police {
        // What is 0 is not told.
        conform: conform.map_or(TcVerdict::Ok, verdict),
        options: unknown(
            options.filter(|option| !matches!(option.number, TCA_POLICE_RESULT | TCA_POLICE_TM)),
        ),
    };
    TcAction { kind, verdict: exceeding.map(verdict), skip_sw: false }
}

/// Numbers of an action's parameters and of its times. The times are no part of a configuration.
fn numbers(kind: &str) -> (u16, u16) {
    match kind {
        "gact" | "mirred" | "vlan" | "skbedit" | "pedit" | "bpf" | "simple" | "skbmod" | "tunnel_key"
        | "sample" | "mpls" => (2, 1),
        "nat" | "csum" | "connmark" | "ife" | "ct" => (1, 2),
        "ctinfo" => (3, 2),
        "gate" => (2, 1),
        _ => (0, 0),
    }
}

fn decode(kind: String, options: &Attributes<'_>) -> TcAction {
    let (parameters, times) = numbers(&kind);
    let attribute = |number: u16| options.get(number).filter(|_| number != 0).map(|option| option.payload);
    let parameters = attribute(parameters).unwrap_or_default();
    let known = match kind.as_str() {
        "gact" => Some(TcActionKind::Gact { random: options.get(3).and_then(|random| gact_random(&random)) }),
        "mirred" => mirred(parameters, options),
        "vlan" => vlan(parameters, options),
        "skbedit" => Some(TcActionKind::Skbedit(skbedit(options))),
        "pedit" => pedit(options),
        "bpf" => Some(TcActionKind::Bpf(bpf(options, BpfNumbers { ops: 4, name: 6, tag: 8, id: 9 }))),
        _ => None,
    };
    // pedit has one of two sorts of parameters.
    let parameters = if kind == "pedit" { pedit_parameters(options).unwrap_or_default() } else { parameters };
    let decided = u32_at(parameters, TC_GEN_ACTION).filter(|_| parameters.len() >= TC_GEN).map(verdict);
    let rest = || options.clone().filter(|option| times == 0 || option.number != times);
    let kind = known.unwrap_or_else(|| TcActionKind::Other { kind, options: unknown(rest()) });
    TcAction { kind, verdict: decided, skip_sw: false }
}

/// `TC_ACT_*`: above `TC_ACT_EXT_SHIFT`, those that have a value.
fn verdict(number: u32) -> TcVerdict {
    const TC_ACT_JUMP: u32 = 1;
    const TC_ACT_GOTO_CHAIN: u32 = 2;
    let value = number & 0x0fff_ffff;
    match (number, number >> 28) {
        (u32::MAX, _) => TcVerdict::Unspec,
        (0, _) => TcVerdict::Ok,
        (1, _) => TcVerdict::Reclassify,
        (2, _) => TcVerdict::Shot,
        (3, _) => TcVerdict::Pipe,
        (4, _) => TcVerdict::Stolen,
        (5, _) => TcVerdict::Queued,
        (6, _) => TcVerdict::Repeat,
        (7, _) => TcVerdict::Redirect,
        (8, _) => TcVerdict::Trap,
        (_, TC_ACT_JUMP) => TcVerdict::Jump(value),
        (_, TC_ACT_GOTO_CHAIN) => TcVerdict::GotoChain(value),
        _ => TcVerdict::Other(number.cast_signed()),
    }
}

/// `struct tc_gact_p`.
fn gact_random(attribute: &Attribute<'_>) -> Option<GactRandom> {
    Some(GactRandom {
        kind: attribute.u16()?,
        value: u16_at(attribute.payload, 2)?,
        verdict: verdict(u32_at(attribute.payload, 4)?),
    })
}

/// `struct tc_mirred`.
fn mirred(parameters: &[u8], options: &Attributes<'_>) -> Option<TcActionKind> {
    const TCA_MIRRED_BLOCKID: u16 = 4;
    let (redirect, ingress) = match u32_at(parameters, TC_GEN)? {
        1 => (true, false),
        2 => (false, false),
        3 => (true, true),
        4 => (false, true),
        _ => return None,
    };
    let device = Some(u32_at(parameters, TC_GEN + 4)?).filter(|index| *index != 0);
    let block = options.get(TCA_MIRRED_BLOCKID).and_then(|block| block.u32());
    Some(TcActionKind::Mirred { redirect, ingress, device: device.map(IfIndex), block })
}

/// `struct tc_vlan`, `tcf_vlan_dump`.
fn vlan(parameters: &[u8], options: &Attributes<'_>) -> Option<TcActionKind> {
    const TCA_VLAN_PUSH_VLAN_ID: u16 = 3;
    const TCA_VLAN_PUSH_VLAN_PROTOCOL: u16 = 4;
    const TCA_VLAN_PUSH_VLAN_PRIORITY: u16 = 6;
    const TCA_VLAN_PUSH_ETH_DST: u16 = 7;
    const TCA_VLAN_PUSH_ETH_SRC: u16 = 8;
    let tag = || {
        Some(VlanTag {
            id: options.get(TCA_VLAN_PUSH_VLAN_ID)?.u16()?,
            protocol: EtherType(options.get(TCA_VLAN_PUSH_VLAN_PROTOCOL)?.be16()?),
            priority: options.get(TCA_VLAN_PUSH_VLAN_PRIORITY).and_then(|priority| priority.u8()),
        })
    };
    Some(TcActionKind::Vlan(match u32_at(parameters, TC_GEN)? {
        1 => VlanAction::Pop,
        2 => VlanAction::Push(tag()?),
        3 => VlanAction::Modify(tag()?),
        4 => VlanAction::PopEth,
        5 => VlanAction::PushEth {
            dst: options.get(TCA_VLAN_PUSH_ETH_DST)?.mac()?,
            src: options.get(TCA_VLAN_PUSH_ETH_SRC)?.mac()?,
        },
        other => VlanAction::Other(other.cast_signed()),
    }))
}

/// `tcf_skbedit_dump`.
fn skbedit(options: &Attributes<'_>) -> Skbedit {
    let (short, long) = (
        |number| options.get(number).and_then(|value| value.u16()),
        |number| options.get(number).and_then(|value| value.u32()),
    );
    Skbedit {
        priority: long(3),
        queue_mapping: short(4),
        queue_mapping_max: short(10),
        mark: long(5),
        mark_mask: long(8),
        ptype: short(7),
        flags: options.get(9).and_then(|flags| flags.u64()).unwrap_or_default(),
    }
}

/// `struct tc_pedit_sel` with its keys, in the old place or in the one that has headers too.
fn pedit_parameters<'a>(options: &Attributes<'a>) -> Option<&'a [u8]> {
    const TCA_PEDIT_PARMS: u16 = 2;
    const TCA_PEDIT_PARMS_EX: u16 = 4;
    Some(options.get(TCA_PEDIT_PARMS_EX).or_else(|| options.get(TCA_PEDIT_PARMS))?.payload)
}

/// `tcf_pedit_dump`; `None` if there are fewer keys than there should be.
fn pedit(options: &Attributes<'_>) -> Option<TcActionKind> {
    const TCA_PEDIT_KEYS_EX: u16 = 5;
    const TCA_PEDIT_KEY_EX_HTYPE: u16 = 1;
    const TCA_PEDIT_KEY_EX_CMD: u16 = 2;
    // tc_gen, how many keys, flags, and padding.
    const SELECTOR: usize = TC_GEN + 4;
    const KEY: usize = 24;
    let parameters = pedit_parameters(options)?;
    let count = usize::from(u8_at(parameters, TC_GEN)?);
    let mut extended = options.get(TCA_PEDIT_KEYS_EX).map_or(Attributes::new(&[]), |keys| keys.nested());
    let key = |bytes: &[u8]| {
        let extension = extended.next().map_or(Attributes::new(&[]), |key| key.nested());
        let number = |number| extension.get(number).and_then(|value| value.u16()).unwrap_or_default();
        Some(PeditKey {
            header: header(number(TCA_PEDIT_KEY_EX_HTYPE)),
            add: number(TCA_PEDIT_KEY_EX_CMD) == 1,
            mask: u32::from_be(u32_at(bytes, 0)?),
            value: u32::from_be(u32_at(bytes, 4)?),
            offset: u32_at(bytes, 8)?,
            at: u32_at(bytes, 12)?,
            offset_mask: u32_at(bytes, 16)?,
            shift: u32_at(bytes, 20)?,
        })
    };
    let bytes = parameters.get(SELECTOR..)?;
    let keys: Vec<_> = bytes.chunks_exact(KEY).take(count).filter_map(key).collect();
    (keys.len() == count).then_some(TcActionKind::Pedit { keys })
}

fn header(number: u16) -> PeditHeader {
    match number {
        0 => PeditHeader::Network,
        1 => PeditHeader::Eth,
        2 => PeditHeader::Ip4,
        3 => PeditHeader::Ip6,
        4 => PeditHeader::Tcp,
        5 => PeditHeader::Udp,
        other => PeditHeader::Other(other),
    }
}
