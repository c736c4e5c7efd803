//! `RTM_NEWQDISC`, `RTM_NEWTFILTER`: where filters can be, what they match and what they do (linux/pkt_sched.h,
//! linux/pkt_cls.h).

mod action;
mod emit;
mod flower;
mod u32;

use portcullis_snapshot::{Bytes, IfIndex, TcBpf, TcClassifier, TcFilter, U32Table, UnknownAttribute};

use crate::attribute::u32_at;
use crate::{Attribute, Attributes, Message};

pub use emit::{delete_filter, delete_qdisc, new_filter, new_qdisc, new_u32_table};

/// `struct tcmsg`.
const TCMSG: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
/// `TCM_IFINDEX_MAGIC_BLOCK`: the message speaks of a shared block, whose number stands where the parent would.
const MAGIC_BLOCK: u32 = u32::MAX;
const RTM_GETQDISC: u16 = 38;
const RTM_GETTFILTER: u16 = 46;
/// Handle of the `ingress` and `clsact` queueing disciplines; `ingress` keeps its filters there.
pub const INGRESS_HANDLE: u32 = 0xffff_0000;
/// Where `clsact` keeps the filters of the way in (`TC_H_MIN_INGRESS`).
pub const CLSACT_INGRESS: u32 = 0xffff_fff2;
/// Where `clsact` keeps the filters of the way out (`TC_H_MIN_EGRESS`).
pub const CLSACT_EGRESS: u32 = 0xffff_fff3;

/// A queueing discipline, as far as filters are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// Its device.
    pub device: IfIndex,
    /// Its kind: `clsact`, `ingress`, `fq_codel` …
    pub kind: String,
    /// Its handle; [`INGRESS_HANDLE`] for the two that filter.
    pub handle: u32,
    /// The block its ingress filters are shared in.
    pub ingress_block: Option<u32>,
    /// The block its egress filters are shared in.
    pub egress_block: Option<u32>,
}

/// Where filters hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterParent {
    /// On a queueing discipline or one of its two fixed classes, by its handle.
    Device(IfIndex, u32),
    /// In a shared block.
    Block(u32),
}

/// Asks for every queueing discipline of every device.
#[must_use]
pub fn qdiscs_request() -> Message {
    Message::new(RTM_GETQDISC, 0).header(&[0; TCMSG])
}

/// Asks for the filters of one place, those of every chain.
#[must_use]
pub fn filters_request(parent: FilterParent) -> Message {
    Message::new(RTM_GETTFILTER, 0).header(&tcmsg(parent, 0, 0))
}

/// Asks for the table of `u32` that packets of a list begin in (`u32_get` of `TC_U32_ROOT`). No dump tells it.
#[must_use]
pub fn u32_root_request(parent: FilterParent, list: &FilterList) -> Message {
    const TC_U32_ROOT: u32 = 0xfff0_0000;
    let info = u32::from(list.priority) << 16 | u32::from(list.protocol.to_be());
    Message::new(RTM_GETTFILTER, 0)
        .header(&tcmsg(parent, TC_U32_ROOT, info))
        .put_str(TCA_KIND, &list.kind)
        .put_u32(TCA_CHAIN, list.chain)
}

fn tcmsg(parent: FilterParent, handle: u32, info: u32) -> Vec<u8> {
    let (device, parent) = match parent {
        FilterParent::Device(device, handle) => (device.0, handle),
        FilterParent::Block(block) => (MAGIC_BLOCK, block),
    };
    [0, device, handle, parent, info].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Decodes `RTM_NEWQDISC`.
#[must_use]
pub fn qdisc(message: &[u8]) -> Option<Qdisc> {
    let attributes = Attributes::after(message, TCMSG);
    Some(Qdisc {
        device: IfIndex(u32_at(message, 4)?),
        kind: attributes.get(TCA_KIND)?.string(),
        handle: u32_at(message, 8)?,
        ingress_block: attributes.get(13).and_then(|block| block.u32()),
        egress_block: attributes.get(14).and_then(|block| block.u32()),
    })
}

/// All filters of one chain and priority (`struct tcf_proto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterList {
    /// Their chain.
    pub chain: u32,
    /// Their priority.
    pub priority: u16,
    /// Their protocol.
    pub protocol: u16,
    /// Their classifier.
    pub kind: String,
}

/// What a `RTM_NEWTFILTER` tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterEntry {
    /// That there is a list; its filters follow in later messages.
    List(FilterList),
    /// A hash table of `u32`. Whether it is a root is asked for elsewhere ([`u32_root_request`]).
    Table(U32Table),
    /// A filter.
    Filter(TcFilter),
}

/// Where a classifier keeps what all of them have, as numbers of its own attribute space; 0 for what it does not have.
#[derive(Clone, Copy, Default)]
struct Layout {
    classid: u16,
    actions: u16,
    /// A `police` action given in the way of before 2.6.8; it is told in the same way.
    police: u16,
    indev: u16,
    flags: u16,
    /// Counters, which are no part of a configuration.
    counters: u16,
}

impl Layout {
    /// The rows of `TCA_<CLASSIFIER>_*`.
    fn of(kind: &str) -> Self {
        let all = |classid, actions, police, indev, flags, counters| Self {
            classid,
            actions,
            police,
            indev,
            flags,
            counters,
        };
        match kind {
            "u32" => all(1, 7, 6, 8, 11, 9),
            "flower" => all(1, 3, 0, 2, 22, 86),
            "matchall" => all(1, 2, 0, 0, 3, 4),
            "bpf" => all(3, 1, 2, 0, 9, 0),
            "fw" => all(1, 4, 2, 3, 0, 0),
            "basic" => all(1, 3, 4, 0, 0, 5),
            "cgroup" => all(0, 1, 2, 0, 0, 0),
            "route" => all(1, 6, 5, 0, 0, 0),
            "flow" => all(0, 9, 10, 0, 0, 0),
            // Gone since 6.3.
            "rsvp" | "rsvp6" => all(1, 6, 5, 0, 0, 0),
            "tcindex" => all(5, 7, 6, 0, 0, 0),
            _ => Self::default(),
        }
    }

    /// Whether a number is one of these.
    fn has(self, number: u16) -> bool {
        let all = [self.classid, self.actions, self.police, self.indev, self.flags, self.counters];
        number != 0 && all.contains(&number)
    }
}

/// Decodes `RTM_NEWTFILTER`.
#[must_use]
pub fn filter_entry(message: &[u8]) -> Option<FilterEntry> {
    let attributes = Attributes::after(message, TCMSG);
    let (handle, info) = (u32_at(message, 8)?, u32_at(message, 16)?);
    let chain = attributes.get(TCA_CHAIN).and_then(|chain| chain.u32()).unwrap_or_default();
    let (priority, protocol) = ((info >> 16) as u16, u16::from_be((info & 0xffff) as u16));
    let kind = attributes.get(TCA_KIND)?.string();
    let options = attributes.get(TCA_OPTIONS).map(|options| options.nested());
    // The first message of a list has neither; a filter of `fw` may have no options.
    if handle == 0 && options.is_none() {
        return Some(FilterEntry::List(FilterList { chain, priority, protocol, kind }));
    }
    let options = options.unwrap_or(Attributes::new(&[]));
    if let Some(divisor) = (kind == "u32").then(|| u32::divisor(&options)).flatten() {
        return Some(FilterEntry::Table(U32Table { chain, priority, handle, divisor, root: false }));
    }
    let layout = Layout::of(&kind);
    let option = |number: u16| options.get(number).filter(|_| number != 0);
    let mut actions = option(layout.actions).map(|list| action::actions(list.nested())).unwrap_or_default();
    actions.extend(option(layout.police).map(|police| action::police(police.nested())));
    Some(FilterEntry::Filter(TcFilter {
        chain,
        priority,
        protocol,
        handle,
        classid: option(layout.classid).and_then(|class| class.u32()),
        indev: option(layout.indev).map(|device| device.string()),
        flags: option(layout.flags).and_then(|flags| flags.u32()).unwrap_or_default(),
        classifier: classifier(kind, layout, options),
        actions,
    }))
}

/// Decodes what a classifier has beside what all have. One that lacks what it needs is kept as it came.
fn classifier(kind: String, layout: Layout, options: Attributes<'_>) -> TcClassifier {
    const TCA_FW_MASK: u16 = 5;
    let own = options.clone().filter(|option| !layout.has(option.number));
    let known = match kind.as_str() {
        "matchall" => Some(TcClassifier::Matchall),
        "u32" => u32::node(&options).map(TcClassifier::U32),
        "flower" => Some(TcClassifier::Flower(flower::keys(&own.clone().collect::<Vec<_>>()))),
        "bpf" => Some(bpf_classifier(&options)),
        "fw" => {
            let mask = options.get(TCA_FW_MASK).and_then(|mask| mask.u32());
            // Told only if it is not the usual one; and nothing is, of a filter with neither class nor action.
            let mask = mask.or_else(|| options.clone().next().map(|_| u32::MAX));
            Some(TcClassifier::Fw { mask })
        }
        _ => None,
    };
    known.unwrap_or_else(|| TcClassifier::Other { kind, options: unknown(own) })
}

fn unknown<'a>(attributes: impl Iterator<Item = Attribute<'a>>) -> Vec<UnknownAttribute> {
    attributes.map(|attribute| attribute.unknown()).collect()
}

/// `cls_bpf_dump`.
fn bpf_classifier(options: &Attributes<'_>) -> TcClassifier {
    const TCA_BPF_FLAGS: u16 = 8;
    const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
    let flags = options.get(TCA_BPF_FLAGS).and_then(|flags| flags.u32()).unwrap_or_default();
    let program = bpf(options, BpfNumbers { ops: 5, name: 7, tag: 10, id: 11 });
    TcClassifier::Bpf { program, direct_action: flags & TCA_BPF_FLAG_ACT_DIRECT != 0 }
}

/// Where a program is told of: the classifier and the action number it differently.
#[derive(Clone, Copy)]
struct BpfNumbers {
    ops: u16,
    name: u16,
    tag: u16,
    id: u16,
}

fn bpf(options: &Attributes<'_>, numbers: BpfNumbers) -> TcBpf {
    TcBpf {
        name: options.get(numbers.name).map(|name| name.string()),
        id: options.get(numbers.id).and_then(|id| id.u32()),
        tag: options.get(numbers.tag).map(|tag| Bytes::from(tag.payload)),
        classic: options.get(numbers.ops).map(|ops| Bytes::from(ops.payload)),
    }
}

#[cfg(test)]
mod tests;
