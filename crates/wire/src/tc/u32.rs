//! `TCA_U32_*` (linux/pkt_cls.h, `u32_dump`).

use portcullis_snapshot::{U32Key, U32Mark, U32Node};

use crate::Attributes;
use crate::attribute::{u8_at, u16_at, u32_at};

const TCA_U32_LINK: u16 = 3;
const TCA_U32_DIVISOR: u16 = 4;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_MARK: u16 = 10;
/// `struct tc_u32_sel` without its keys, and `struct tc_u32_key`.
const SELECTOR: usize = 16;
const KEY: usize = 16;

/// How many buckets it has, if this is a table rather than a node.
pub(super) fn divisor(options: &Attributes<'_>) -> Option<u32> {
    options.get(TCA_U32_DIVISOR)?.u32()
}

/// A node of a table; `None` without the selector that every node has.
pub(super) fn node(options: &Attributes<'_>) -> Option<U32Node> {
    let selector = options.get(TCA_U32_SEL)?.payload;
    let (fixed, keys) = selector.split_at_checked(SELECTOR)?;
    let count = usize::from(u8_at(fixed, 2)?);
    let keys: Vec<U32Key> = keys.chunks_exact(KEY).take(count).filter_map(key).collect();
    // Fewer keys would match more than the kernel's.
    if keys.len() != count {
        return None;
    }
    Some(U32Node {
        flags: u8_at(fixed, 0)?,
        keys,
        link: options.get(TCA_U32_LINK).and_then(|link| link.u32()),
        mark: options.get(TCA_U32_MARK).and_then(|mark| mark_of(mark.payload)),
        offset_shift: u8_at(fixed, 1)?,
        offset_mask: u16::from_be(u16_at(fixed, 4)?),
        offset: u16_at(fixed, 6)?,
        offset_at: u16_at(fixed, 8)?.cast_signed(),
        hash_at: u16_at(fixed, 10)?.cast_signed(),
        hash_mask: u32::from_be(u32_at(fixed, 12)?),
    })
}

fn key(bytes: &[u8]) -> Option<U32Key> {
    Some(U32Key {
        mask: u32::from_be(u32_at(bytes, 0)?),
        value: u32::from_be(u32_at(bytes, 4)?),
        offset: u32_at(bytes, 8)?.cast_signed(),
        offset_mask: u32_at(bytes, 12)?.cast_signed(),
    })
}

/// `struct tc_u32_mark`; how often it matched comes behind that.
fn mark_of(bytes: &[u8]) -> Option<U32Mark> {
    Some(U32Mark { value: u32_at(bytes, 0)?, mask: u32_at(bytes, 4)? })
}
