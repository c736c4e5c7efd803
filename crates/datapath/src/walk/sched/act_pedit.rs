//! `net/sched/act_pedit.c`: bytes of the packet are changed, and no checksum with them.

use portcullis_snapshot::{PeditHeader, PeditKey};

use super::Tc;
use crate::frame::{Field, Frame, Sums, Written};
use crate::walk::netfilter::registers::{Piece, Source};
use crate::walk::{Skb, Walker};

/// A field, and its bytes as far as they were changed.
struct Change {
    field: Field,
    bytes: Vec<Option<u8>>,
}

/// Where a byte stands, from the network header on, or before it.
const ETH: i64 = -super::ETH_HLEN;

impl<F: Frame> Walker<'_, '_, F> {
    /// `tcf_pedit_act`: key by key, until one is beyond the packet.
    pub(super) fn tcf_pedit_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, keys: &[PeditKey]) {
        let mut changes: Vec<Change> = Vec::new();
        for key in keys {
            let known = matches!(
                key.header,
                PeditHeader::Network | PeditHeader::Eth | PeditHeader::Ip4 | PeditHeader::Ip6
            );
            let Some(at) = pedit_offset(skb, tc, key).filter(|_| known && key.offset_mask == 0 && !key.add)
            else {
                self.act_open(skb, tc, "the action pedit, of a header or in a way that is not followed");
                continue;
            };
            let Ok(end) = usize::try_from((at + 4).max(0)) else { break };
            if end > 0xffff || !self.has_bytes(skb, end) {
                break;
            }
            if self.pedit_word(skb, &mut changes, key, at).is_none() {
                self.act_open(skb, tc, "the action pedit, of bytes whose meaning is not followed");
            }
        }
        for change in changes {
            self.pedit_write(skb, tc, &change);
        }
    }

    /// One word; `None` if something of it cannot be followed.
    fn pedit_word(&mut self, skb: &Skb, changes: &mut Vec<Change>, key: &PeditKey, at: i64) -> Option<()> {
        for (place, (mask, value)) in
            (at..).zip(key.mask.to_be_bytes().into_iter().zip(key.value.to_be_bytes()))
        {
            if (mask, value) == (0xff, 0) {
                continue;
            }
            if place < ETH {
                return None;
            }
            let [Piece { bits: 8, source: Source::Field(field, shift) }] = *self.tc_byte(skb, place) else {
                return None;
            };
            let width = usize::from(field.bits() / 8);
            let index = width.checked_sub(1 + (shift / 8) as usize)?;
            let before = changes.iter().find(|change| change.field == field);
            let before = before.and_then(|change| change.bytes.get(index).copied().flatten());
            let own = || self.frame.known(field).map(|number| (number >> shift) as u8);
            let byte = if mask == 0 { value } else { before.or_else(own)? & mask ^ value };
            if !changes.iter().any(|change| change.field == field) {
                changes.push(Change { field, bytes: vec![None; width] });
            }
            let change = changes.iter_mut().find(|change| change.field == field)?;
            *change.bytes.get_mut(index)? = Some(byte);
        }
        Some(())
    }

    fn pedit_write(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, change: &Change) {
        let own = self.frame.known(change.field);
        let bytes = change.bytes.iter().rev().zip((0..).step_by(8));
        let mut value = bytes.map(|(byte, shift)| {
            let byte = byte.or_else(|| own.map(|number| (number >> shift) as u8));
            byte.map(|byte| u128::from(byte) << shift)
        });
        let Some(value) = value.try_fold(0, |number, byte| Some(number | byte?)) else {
            return self.act_open(skb, tc, "the action pedit, which changes a part of an address");
        };
        if matches!(change.field, Field::TypeOrLength(_) | Field::Protocol(_)) {
            // The bytes change, and what the kernel takes the packet for does not.
            return self.act_open(skb, tc, "the action pedit, of the EtherType");
        }
        let summed = !matches!(change.field, Field::Dst | Field::Src | Field::Arp(..));
        if summed && self.frame.raw().is_none() {
            self.act_open(skb, tc, "the action pedit, which leaves checksums as they are");
        }
        let write = (change.field, Written::Value(value), Sums::NONE);
        self.rewrite(skb, "tcf_pedit_act", write, &tc.name());
    }
}

/// Where a key's word stands, from the header behind the tags that are not in the bytes any more.
fn pedit_offset(skb: &Skb, tc: &Tc<'_, '_>, key: &PeditKey) -> Option<i64> {
    let offset = i64::from(key.offset.cast_signed());
    let behind = skb.behind_tag && tc.hook == portcullis_snapshot::TcHookKind::Egress;
    match key.header {
        PeditHeader::Eth => Some(ETH + offset),
        _ if behind => Some(offset + 4),
        _ => Some(offset),
    }
}
