//! `net/sched/act_pedit.c`: bytes of the packet are changed, and no checksum with them.

use portcullis_snapshot::{EtherType, PeditHeader, PeditKey};

use super::Tc;
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set, Sums, Written};
use crate::walk::netfilter::registers::{Piece, Source};
use crate::walk::{Skb, Walker};

/// A field, and its bytes as far as they were changed.
struct Change {
    field: Field,
    bytes: Vec<Option<u8>>,
}

/// Where a byte stands, from the network header on, or before it.
const ETH: i64 = -super::ETH_HLEN;

/// Where a key's word stands.
enum At {
    /// From the network header on, or before it.
    Byte(i64),
    /// In a header that the packet does not have, or beyond it: this key and the others do nothing.
    Nowhere,
    /// Nothing here tells.
    Unknown,
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `tcf_pedit_act`: key by key, until one is beyond the packet.
    pub(super) fn tcf_pedit_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, keys: &[PeditKey]) {
        let mut changes: Vec<Change> = Vec::new();
        for key in keys {
            let at = match self.pedit_offset(skb, tc, key) {
                At::Byte(at) => at,
                At::Nowhere => break,
                At::Unknown => {
                    self.act_open(skb, tc, "the action pedit, of a header or in a way that is not followed");
                    continue;
                }
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

    /// Where a key's word stands, from the header behind the tags that are not in the bytes any more.
    fn pedit_offset(&mut self, skb: &Skb, tc: &Tc<'_, '_>, key: &PeditKey) -> At {
        let header = match key.header {
            PeditHeader::Eth => ETH,
            PeditHeader::Network | PeditHeader::Ip4 | PeditHeader::Ip6 => Self::network_offset(skb, tc),
            PeditHeader::Tcp => match self.pedit_transport(skb, tc, 6) {
                At::Byte(at) => at,
                other => return other,
            },
            PeditHeader::Udp => match self.pedit_transport(skb, tc, 17) {
                At::Byte(at) => at,
                other => return other,
            },
            PeditHeader::Other(_) => return At::Unknown,
        };
        let at = header + i64::from(key.offset.cast_signed());
        if key.offset_mask == 0 {
            return At::Byte(at);
        }
        // As far as a byte of the packet says.
        let place = header + i64::from(key.at.cast_signed());
        if !usize::try_from((place + 1).max(0)).is_ok_and(|end| end <= 0xffff && self.has_bytes(skb, end)) {
            return At::Nowhere;
        }
        if place < ETH || self.frame.raw().is_none() {
            return At::Unknown;
        }
        let more =
            (u32::from(self.raw_byte(skb, place)) & key.offset_mask).checked_shr(key.shift).unwrap_or(0);
        let at = at + i64::from(more);
        if (key.offset.wrapping_add(more)).is_multiple_of(4) { At::Byte(at) } else { At::Nowhere }
    }

    /// `pedit_l4_skb_offset`: where the transport header begins. Of IPv4 it is not asked whose it is.
    fn pedit_transport(&mut self, skb: &Skb, tc: &Tc<'_, '_>, protocol: u8) -> At {
        if Self::network_offset(skb, tc) != 0 {
            return At::Unknown;
        }
        let inet = [EtherType::IPV4, EtherType::IPV6].map(Set::from);
        match self.frame.which(Field::Protocol(skb.depth), &inet) {
            Some(0) if !self.has_bytes(skb, 20) => At::Nowhere,
            Some(0) if self.frame.raw().is_some() => At::Byte(i64::from(self.raw_byte(skb, 0) & 0xf) * 4),
            Some(1) if !self.has_bytes(skb, 40) => At::Nowhere,
            Some(1) => {
                let next = Field::Ip6(skb.depth, Ip6Field::NextHeader);
                // What `ipv6_find_hdr` looks behind.
                let extensions = [0, 43, 44, 51, 60].map(Set::Exactly);
                match self.frame.is(next, protocol) {
                    true => At::Byte(40),
                    false if self.frame.is_any(next, &extensions) => At::Unknown,
                    false => At::Nowhere,
                }
            }
            Some(_) => At::Unknown,
            None => At::Nowhere,
        }
    }

    /// One word; `None` if something of it cannot be followed.
    fn pedit_word(&mut self, skb: &Skb, changes: &mut Vec<Change>, key: &PeditKey, at: i64) -> Option<()> {
        let bytes = self.pedit_bytes(skb, changes, key, at)?;
        for (place, (mask, value)) in (at..).zip(bytes) {
            if (mask, value) == (0xff, 0) {
                continue;
            }
            let (field, index, before) = self.pedit_byte(skb, changes, place)?;
            let byte = if mask == 0 { value } else { before? & mask ^ value };
            if !changes.iter().any(|change| change.field == field) {
                let width = usize::from(field.bits() / 8);
                changes.push(Change { field, bytes: vec![None; width] });
            }
            let change = changes.iter_mut().find(|change| change.field == field)?;
            *change.bytes.get_mut(index)? = Some(byte);
        }
        Some(())
    }

    /// Of each byte of a word, the bits that stay, and what is put in.
    fn pedit_bytes(
        &mut self,
        skb: &Skb,
        changes: &[Change],
        key: &PeditKey,
        at: i64,
    ) -> Option<[(u8, u8); 4]> {
        let (kept, value) = (key.mask.to_be_bytes(), key.value.to_be_bytes());
        let mut bytes = [(0xff, 0); 4];
        let all = bytes.iter_mut().zip(at..).zip(kept.into_iter().zip(value));
        if !key.add {
            all.for_each(|((byte, _), put)| *byte = put);
            return Some(bytes);
        }
        // A sum in host byte order: from the last byte that counts to the first.
        let mut all: Vec<_> = all.collect();
        if cfg!(target_endian = "big") {
            all.reverse();
        }
        let mut carry = 0;
        for ((byte, place), (kept, value)) in all {
            if value == 0 && carry == 0 {
                continue;
            }
            let (.., before) = self.pedit_byte(skb, changes, place)?;
            let sum = u16::from(before?) + u16::from(value) + carry;
            *byte = (kept, sum as u8 & !kept);
            carry = sum >> 8;
        }
        Some(bytes)
    }

    /// The field that a byte belongs to, its place there, and what it is by now if that is known.
    fn pedit_byte(&mut self, skb: &Skb, changes: &[Change], at: i64) -> Option<(Field, usize, Option<u8>)> {
        if at < ETH {
            return None;
        }
        let pieces = self.pedit_port(skb, at).map_or_else(|| self.tc_byte(skb, at), |port| vec![port]);
        let [Piece { bits: 8, source: Source::Field(field, shift) }] = *pieces else { return None };
        let width = usize::from(field.bits() / 8);
        let index = width.checked_sub(1 + (shift / 8) as usize)?;
        let before = changes.iter().find(|change| change.field == field);
        let before = before.and_then(|change| change.bytes.get(index).copied().flatten());
        let own = || self.frame.known(field).map(|number| (number >> shift) as u8);
        Some((field, index, before.or_else(own)))
    }

    /// A byte of a port behind an IPv4 header, which has a name of its own where the header's length is known.
    fn pedit_port(&mut self, skb: &Skb, at: i64) -> Option<Piece> {
        let d = skb.depth;
        let behind = at.checked_sub(i64::from(self.frame.raw().map(|_| self.raw_byte(skb, 0))? & 0xf) * 4)?;
        let behind = usize::try_from(behind).ok().filter(|behind| *behind < 4 && at >= 20)?;
        let first = Set::Masked { value: 0, mask: 0x1fff };
        let whole = self.frame.is(Field::Protocol(d), EtherType::IPV4)
            && self.frame.is(Field::Ip4(d, Ip4Field::FragmentBits), first);
        whole.then(|| self.transport_byte(d, Some(Field::Ip4(d, Ip4Field::Protocol)), behind))
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
