//! `net/sched/cls_u32.c`: words of the packet, in tables that lead to each other.

use portcullis_snapshot::{TcFilter, TcVerdict, U32Key, U32Node};

use super::{Act, Read, Tc};
use crate::frame::Frame;
use crate::network::Block;
use crate::walk::netfilter::registers::{Piece, Source, equals, masked};
use crate::walk::{OpenKind, Skb, Walker};

/// `TC_U32_MAXDEPTH`.
const TC_U32_MAXDEPTH: usize = 8;
/// More nodes than a packet is ever held against.
const MOST_NODES: u32 = 20_000;
/// Variable offsets with more bits than this are not told apart.
const MOST_OFFSET_BITS: u32 = 6;

/// Where the search is.
#[derive(Clone, Copy)]
struct At {
    table: u32,
    bucket: u32,
    /// The place in the bucket of the node that is asked next.
    next: usize,
    /// Where offsets count from (`off`), from the network header on.
    offset: i64,
}

/// What comes of one node.
enum Node {
    /// It does not match, or does not decide: on with the next.
    Next,
    /// It matches, and leads to a table.
    Link(u32),
    /// It decides.
    Decided(Act),
}

/// Whether a table that is led to is searched.
enum Linked {
    Searched(At),
    /// The offset is beyond the packet.
    Beyond,
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `u32_classify`. A word that the packet does not have ends it without a match.
    pub(super) fn u32_classify<'s>(&mut self, skb: &mut Skb, tc: &mut Tc<'_, 's>, root: u32) -> Act {
        self.u32_search(skb, tc, root).unwrap_or(Act::Of(TcVerdict::Unspec))
    }

    fn u32_search<'s>(&mut self, skb: &mut Skb, tc: &mut Tc<'_, 's>, root: u32) -> Option<Act> {
        let block = tc.block;
        let mut stack: Vec<At> = Vec::new();
        let mut at = At { table: root, bucket: 0, next: 0, offset: 0 };
        // `off2`, which is not put back when a table is done with.
        let mut more = 0;
        for _ in 0..MOST_NODES {
            let Some((filter, node)) = node_at(block, &at) else {
                // POP: back to the node that led here.
                at = stack.pop()?;
                let (filter, node) = node_at(block, &at)?;
                at.next += 1;
                match self.u32_terminal(skb, tc, filter, node) {
                    Some(act) => return Some(act),
                    None => continue,
                }
            };
            match self.u32_node(skb, tc, filter, node, at.offset, more)? {
                Node::Decided(act) => return Some(act),
                Node::Next => at.next += 1,
                Node::Link(_) if stack.len() >= TC_U32_MAXDEPTH => return None,
                Node::Link(table) => {
                    stack.push(at);
                    if let Linked::Searched(there) = self.u32_link(skb, tc, node, table, at, &mut more)? {
                        at = there;
                    } else {
                        at.next = usize::MAX;
                    }
                }
            }
        }
        self.u32_open(skb, tc, "more nodes than are followed")
    }

    /// The keys of a node, and its end if it leads nowhere.
    fn u32_node<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        filter: &'s TcFilter,
        node: &U32Node,
        offset: i64,
        more: i64,
    ) -> Option<Node> {
        tc.filter = Some(filter);
        let marked = node.mark.is_none_or(|mark| skb.mark & mark.mask == mark.value);
        if filter.flags & TcFilter::SKIP_SW != 0 || !marked {
            return Some(Node::Next);
        }
        for key in &node.keys {
            if !self.u32_key(skb, tc, key, offset, more)? {
                return Some(Node::Next);
            }
        }
        Some(match node.link {
            Some(link) => Node::Link(link),
            None => self.u32_terminal(skb, tc, filter, node).map_or(Node::Next, Node::Decided),
        })
    }

    /// Label `check_terminal`.
    fn u32_terminal<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        filter: &'s TcFilter,
        node: &U32Node,
    ) -> Option<Act> {
        if !node.has(U32Node::TERMINAL) || !self.tcf_match_indev(skb, filter) {
            return None;
        }
        Some(self.tcf_exts_exec(skb, tc, filter)).filter(|act| *act != Act::Of(TcVerdict::Unspec))
    }

    /// Whether one word matches; `None` if the packet does not have it.
    fn u32_key(
        &mut self,
        skb: &mut Skb,
        tc: &Tc<'_, '_>,
        key: &U32Key,
        offset: i64,
        more: i64,
    ) -> Option<bool> {
        let at = offset + i64::from(key.offset) + (more & i64::from(key.offset_mask));
        match self.tc_read(skb, tc, at, 4) {
            Read::Short => None,
            Read::Unknown => Some(self.tc_undecided(skb, tc, "u32_classify", "bytes in front of the frame")),
            Read::Bytes(word) => Some(self.is_word(&word, key.mask, key.value)),
        }
    }

    /// Whether a word is a value under a mask.
    fn is_word(&mut self, word: &[Piece], mask: u32, value: u32) -> bool {
        let value = value & mask;
        match masked(word, &mask.to_be_bytes(), &[0; 4]) {
            Some(pieces) => equals(self.frame, &pieces, &value.to_be_bytes()),
            None => false,
        }
    }

    /// PUSH: the bucket and the offset in the table that a node leads to; `None` if the packet has not what they go by.
    fn u32_link(
        &mut self,
        skb: &mut Skb,
        tc: &Tc<'_, '_>,
        node: &U32Node,
        link: u32,
        at: At,
        more: &mut i64,
    ) -> Option<Linked> {
        let Some(table) = tc.block.table(link) else {
            self.u32_open(skb, tc, "a table that was not read")?;
            return None;
        };
        let mut bucket = 0;
        let mask = table.divisor.wrapping_sub(1);
        if table.divisor > 1 {
            let Read::Bytes(word) = self.tc_read(skb, tc, at.offset + i64::from(node.hash_at), 4) else {
                return None;
            };
            let shift = node.hash_mask.trailing_zeros() & 31;
            let counts = node.hash_mask & mask.checked_shl(shift).unwrap_or(0);
            // A bucket without nodes is like any other of them.
            bucket = u32::MAX;
            let mut candidates: Vec<u32> = table.buckets.keys().copied().collect();
            candidates.sort_unstable();
            for candidate in candidates {
                let value = candidate << shift;
                if value & counts == value && self.is_word(&word, counts, value) {
                    bucket = candidate;
                    break;
                }
            }
        }
        let there = At { table: link, bucket, next: 0, offset: at.offset };
        if !node.has(U32Node::VAROFFSET) && !node.has(U32Node::OFFSET) && !node.has(U32Node::EAT) {
            return Some(Linked::Searched(there));
        }
        let mut offset = at.offset;
        if node.has(U32Node::VAROFFSET) || node.has(U32Node::OFFSET) {
            *more = i64::from(node.offset) + 3;
            if node.has(U32Node::VAROFFSET) {
                *more += self.u32_variable_offset(skb, tc, node, at.offset)?;
            }
            *more &= !3;
        }
        if node.has(U32Node::EAT) {
            offset += *more;
            *more = 0;
        }
        let end = offset + Self::network_offset(skb, tc) + 1;
        let within = usize::try_from(end).is_ok_and(|end| end <= 0xffff && self.has_bytes(skb, end));
        Some(if within { Linked::Searched(At { offset, ..there }) } else { Linked::Beyond })
    }

    /// What the packet itself adds to the offset, such as its header's length.
    fn u32_variable_offset(
        &mut self,
        skb: &mut Skb,
        tc: &Tc<'_, '_>,
        node: &U32Node,
        offset: i64,
    ) -> Option<i64> {
        let Read::Bytes(pieces) = self.tc_read(skb, tc, offset + i64::from(node.offset_at), 2) else {
            return None;
        };
        let shifted = |value: u16| i64::from(value.checked_shr(node.offset_shift.into()).unwrap_or(0));
        let pieces = masked(&pieces, &node.offset_mask.to_be_bytes(), &[0; 2])?;
        let known = pieces.iter().try_fold(0u128, |number, piece| match piece.source {
            Source::Known(value) => Some(number << piece.bits | value),
            Source::Field(..) | Source::Unknown => None,
        });
        if let Some(value) = known {
            return Some(shifted(value as u16));
        }
        if node.offset_mask.count_ones() > MOST_OFFSET_BITS {
            self.u32_open(skb, tc, "an offset that the packet gives")?;
            return None;
        }
        let values = subsets(node.offset_mask);
        let found = values.into_iter().find(|value| equals(self.frame, &pieces, &value.to_be_bytes()));
        found.map(shifted)
    }

    /// Leaves the rest of the search open, as if nothing matched.
    fn u32_open(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, what: &str) -> Option<Act> {
        let what = format!("{}: {what}", tc.name());
        self.assume(skb, "u32_classify", OpenKind::Filter(what));
        Some(Act::Of(TcVerdict::Unspec))
    }
}

fn node_at<'s>(block: &Block<'s>, at: &At) -> Option<(&'s TcFilter, &'s U32Node)> {
    block.table(at.table)?.buckets.get(&at.bucket)?.get(at.next).copied()
}

/// Returns every value that has no bits but these; the usual length of a header first.
fn subsets(mask: u16) -> Vec<u16> {
    let mut values = vec![0];
    for bit in (0..16).map(|bit| 1 << bit).filter(|bit| mask & bit != 0) {
        values.extend(values.clone().into_iter().map(|value: u16| value | bit));
    }
    values
}
