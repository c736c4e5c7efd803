//! `RTM_NEWQDISC`, `RTM_NEWTFILTER`: where filters can be, and what sort they are (linux/pkt_sched.h, linux/pkt_cls.h).

use portcullis_snapshot::{IfIndex, TcFilter};

use crate::Attributes;
use crate::attribute::u32_at;

/// `struct tcmsg`.
const TCMSG: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// Handle of the `ingress` and `clsact` queueing disciplines.
pub const INGRESS_HANDLE: u32 = 0xffff_0000;

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
        "bpf" => (1, None),
        "fw" => (4, None),
        "route" => (6, None),
        "flow" => (9, None),
        _ => (0, None),
    };
    if needed.is_some_and(|needed| options.get(needed).is_none()) {
        return None;
    }
    let actions = options.get(actions).into_iter().flat_map(|actions| actions.nested());
    let kinds = actions.filter_map(|action| Some(action.nested().get(1)?.string())).collect();
    let protocol = u16::from_be((info & 0xffff) as u16);
    Some(TcFilter { priority: (info >> 16) as u16, protocol, kind, actions: kinds })
}
