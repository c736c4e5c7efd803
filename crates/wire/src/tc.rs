//! `RTM_NEWQDISC`, `RTM_NEWTFILTER`: where filters can be, and what sort they are (linux/pkt_sched.h, linux/pkt_cls.h).

use portcullis_snapshot::{IfIndex, TcFilter};

use crate::attribute::u32_at;
use crate::{Attributes, Message};

/// `struct tcmsg`.
const TCMSG: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
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
    let (device, parent) = match parent {
        FilterParent::Device(device, handle) => (device.0, handle),
        FilterParent::Block(block) => (MAGIC_BLOCK, block),
    };
    let mut header = vec![0; 4];
    header.extend(device.to_ne_bytes());
    header.extend([0; 4]);
    header.extend(parent.to_ne_bytes());
    header.extend([0; 4]);
    Message::new(RTM_GETTFILTER, 0).header(&header)
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

/// Decodes `RTM_NEWTFILTER`. What only holds filters together (the first message of a priority, the hash tables of
/// `u32`) is `None`.
///
/// A BPF program that gives its own verdict has no action; `direct-action` stands for it, as `tc`(8) says it.
#[must_use]
pub fn filter(message: &[u8]) -> Option<TcFilter> {
    let attributes = Attributes::after(message, TCMSG);
    let (info, kind) = (u32_at(message, 16)?, attributes.get(TCA_KIND)?.string());
    let options = attributes.get(TCA_OPTIONS)?.nested();
    // Where each classifier keeps its actions, and what a real filter of it has.
    let (actions, needed) = match kind.as_str() {
        "u32" => (7, Some(5)),
        "flower" | "basic" => (3, None),
        "matchall" => (2, None),
        "bpf" | "cgroup" => (1, None),
        "fw" => (4, None),
        "route" => (6, None),
        "flow" => (9, None),
        _ => (0, None),
    };
    if needed.is_some_and(|needed| options.get(needed).is_none()) {
        return None;
    }
    let actions = options.get(actions).into_iter().flat_map(|actions| actions.nested());
    let mut kinds: Vec<_> = actions.filter_map(|action| Some(action.nested().get(1)?.string())).collect();
    let flags = options.get(TCA_BPF_FLAGS).filter(|_| kind == "bpf").and_then(|flags| flags.u32());
    if flags.is_some_and(|flags| flags & TCA_BPF_FLAG_ACT_DIRECT != 0) {
        kinds.push("direct-action".to_owned());
    }
    let protocol = u16::from_be((info & 0xffff) as u16);
    Some(TcFilter { priority: (info >> 16) as u16, protocol, kind, actions: kinds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    /// A message's payload: `tcmsg` and what `fill` puts behind it.
    fn payload(device: u32, handle: u32, info: u32, fill: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let words = [0, device, handle, 0, info];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let bytes = fill(Message::new(44, 0).header(&header)).finish(1);
        Messages::new(&bytes).next().unwrap().payload.to_vec()
    }

    /// Priority 7, protocol 802.1Q.
    const INFO: u32 = 7 << 16 | 0x8100u16.to_be() as u32;

    #[test]
    fn a_qdisc_with_a_shared_block() {
        let bytes = payload(3, INGRESS_HANDLE, 1, |m| m.put_str(TCA_KIND, "clsact").put_u32(13, 22));
        let expected = Qdisc {
            device: IfIndex(3),
            kind: "clsact".to_owned(),
            handle: INGRESS_HANDLE,
            ingress_block: Some(22),
            egress_block: None,
        };
        assert_eq!(qdisc(&bytes), Some(expected));
    }

    #[test]
    fn actions_are_named_in_their_order() {
        let action = |m: Message, at, kind| m.nest(at, |action| action.put_str(1, kind));
        let bytes = payload(3, 0x8000_0800, INFO, |m| {
            m.put_str(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
                options.put(5, &[0; 16]).nest(7, |list| action(action(list, 1, "vlan"), 2, "mirred"))
            })
        });
        let found = filter(&bytes).unwrap();
        assert_eq!((found.priority, found.protocol, found.kind.as_str()), (7, 0x8100, "u32"));
        assert_eq!(found.actions, ["vlan", "mirred"]);
    }

    #[test]
    fn what_only_holds_filters_together_is_none_itself() {
        assert_eq!(
            filter(&payload(3, 0, INFO, |m| m.put_str(TCA_KIND, "u32"))),
            None,
            "the first of a priority"
        );
        let table = payload(3, 0x8000_0000, INFO, |m| {
            m.put_str(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| options.put_u32(4, 1))
        });
        assert_eq!(filter(&table), None, "a hash table");
    }

    #[test]
    fn a_program_with_its_own_verdict_says_so() {
        let with_flags = |flags| {
            payload(3, 1, INFO, |m| {
                m.put_str(TCA_KIND, "bpf").nest(TCA_OPTIONS, |options| options.put_u32(TCA_BPF_FLAGS, flags))
            })
        };
        assert_eq!(filter(&with_flags(1)).unwrap().actions, ["direct-action"]);
        assert!(filter(&with_flags(0)).unwrap().actions.is_empty());
    }

    #[test]
    fn requests_say_where() {
        let bytes = filters_request(FilterParent::Block(22)).finish(1);
        assert_eq!((u32_at(&bytes, 16 + 4), u32_at(&bytes, 16 + 12)), (Some(MAGIC_BLOCK), Some(22)));
        let bytes = filters_request(FilterParent::Device(IfIndex(9), CLSACT_EGRESS)).finish(1);
        assert_eq!((u32_at(&bytes, 16 + 4), u32_at(&bytes, 16 + 12)), (Some(9), Some(CLSACT_EGRESS)));
    }
}
