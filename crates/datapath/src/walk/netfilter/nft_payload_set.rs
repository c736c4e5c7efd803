//! `net/netfilter/nft_payload.c`, the part that writes into the packet.

use portcullis_snapshot::{EtherType, PayloadBase, PayloadSum};

use super::nf_tables_core::Pktinfo;
use super::nft_payload::Transport;
use super::registers::{Piece, Registers, Source, Value, cut, join};
use crate::frame::{Field, Frame, Sums, Written, is_writable};
use crate::network::{PayloadSet, Verdict};
use crate::walk::{OpenKind, Skb, TagVid, Walker};

/// `NFT_PAYLOAD_CSUM_INET`.
const INET: u32 = 1;
/// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`.
const PSEUDO_HEADER: u32 = 1;
const H_PROTO: usize = 12;
const H_VLAN_TCI: usize = 14;
const H_VLAN_ENCAPSULATED_PROTO: usize = 16;

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_payload_set_eval`.
    pub(super) fn nft_payload_set_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        registers: &mut Registers,
        set: &PayloadSet,
    ) -> Verdict<'s> {
        let PayloadSet { base, offset, len, sreg, sum } = *set;
        if base != PayloadBase::Link && self.may_look_behind_tags(skb) {
            return self.nft_behind_tags(skb, pkt, registers);
        }
        let enough = match base {
            PayloadBase::Link => self.has_bytes(skb, (offset + len).saturating_sub(self.link_header(skb))),
            PayloadBase::Network => self.has_bytes(skb, offset + len),
            PayloadBase::Transport => {
                matches!(self.nft_pktinfo(skb, pkt), Some(Transport { later_fragment: false, .. }))
                    && self.has_transport_bytes(skb, offset + len)
            }
            PayloadBase::Inner | PayloadBase::Other(_) => {
                self.writes_what_is_not_followed(skb, pkt, "bytes behind the transport header");
                return Verdict::Continue;
            }
        };
        if !enough {
            return Verdict::Break;
        }
        let value = match registers.load(sreg, len) {
            Value::Known(bytes) => bytes.iter().map(|byte| Piece::known(8, (*byte).into())).collect(),
            Value::Pieces(pieces) => pieces,
            Value::Unknown => {
                self.writes_what_is_not_followed(skb, pkt, "what it does not know");
                return Verdict::Continue;
            }
        };
        if base == PayloadBase::Link
            && let Some(verdict) = self.nft_payload_set_vlan(skb, pkt, set, &value)
        {
            return verdict;
        }
        let place: Vec<_> = (offset..offset + len).flat_map(|at| self.byte(skb, pkt, base, at)).collect();
        let sums = self.sums(skb, pkt, base, sum);
        let mut at = 0;
        for piece in join(place) {
            let value = join(cut(&value, at, piece.bits));
            at += piece.bits;
            self.nft_store(skb, pkt, registers, (piece, &value, sums));
        }
        Verdict::Continue
    }

    /// Writes into one field.
    fn nft_store(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, '_>,
        registers: &mut Registers,
        (place, value, sums): (Piece, &[Piece], Option<Sums>),
    ) {
        let Source::Field(field, shift) = place.source else {
            return self.writes_what_is_not_followed(skb, pkt, "into a tag");
        };
        let unchanged = match *value {
            [Piece { source: Source::Field(of, from), .. }] => (of, from) == (field, shift),
            [Piece { source: Source::Known(value), bits }] => {
                let known = self.frame.known(field);
                known.is_some_and(|known| known >> shift & super::registers::ones(bits) == value)
            }
            _ => false,
        };
        let whole = place.bits == u32::from(field.bits());
        // A checksum of 0 becomes another even so.
        let sums_change = sums.is_none_or(|sums| sums.header || sums.transport) && self.frame.raw().is_some();
        if unchanged && !(sums_change && (sums.is_none() || whole && is_writable(field))) {
            return;
        }
        let written = match *value {
            [Piece { source: Source::Known(value), .. }] if whole => Some(Written::Value(value)),
            [Piece { source: Source::Field(of, 0), .. }] if whole && of.bits() == field.bits() => {
                Some(Written::Of(of))
            }
            _ => None,
        };
        let (Some(written), Some(sums)) = (written, sums) else {
            return self.writes_what_is_not_followed(
                skb,
                pkt,
                &format!("a part of {field:?}, or no checksum"),
            );
        };
        registers.forget_field(field);
        self.rewrite(skb, "nft_payload_set_eval", (field, written, sums), &pkt.place());
    }

    /// `nft_payload_set_vlan`: writes into the tag beside the bytes. `None` if what is written lies elsewhere.
    fn nft_payload_set_vlan<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        set: &PayloadSet,
        value: &[Piece],
    ) -> Option<Verdict<'s>> {
        let mut tag = skb.hwtag?;
        // nft_payload_need_vlan_adjust
        if set.offset + set.len <= H_PROTO {
            return None;
        }
        // Older kernels write as if there were no tag, and nothing tells.
        let what = format!("{}: whether this kernel's rules write into a tag beside the bytes", pkt.place());
        self.assume(skb, "nft_payload_set_vlan", OpenKind::Filter(what));
        if set.offset >= H_VLAN_ENCAPSULATED_PROTO {
            return None;
        }
        let tpid = if set.offset == H_PROTO { Some(join(cut(value, 0, 16))) } else { None };
        let tci = match (set.offset, set.len) {
            (H_PROTO, 2) => None,
            (H_PROTO, 4) => Some(cut(value, 16, 16)),
            (H_VLAN_TCI, 2) => Some(value.to_vec()),
            _ => return Some(Verdict::Break),
        };
        match tpid.as_deref() {
            None => {}
            Some(&[Piece { source: Source::Known(value), .. }]) => tag.tpid = EtherType(value as u16),
            Some(_) => self.writes_what_is_not_followed(skb, pkt, "the TPID"),
        }
        skb.hwtag = Some(tag);
        if let Some(tci) = tci {
            self.set_tci(skb, pkt, &tci);
        }
        Some(Verdict::Continue)
    }

    fn set_tci(&mut self, skb: &mut Skb, pkt: &Pktinfo<'_, '_>, tci: &[Piece]) {
        let Some(mut tag) = skb.hwtag else { return };
        let (priority, vid) = (join(cut(tci, 0, 4)), join(cut(tci, 4, 12)));
        let place = pkt.place();
        let put = |walker: &mut Self, skb: &mut Skb, field: Field, value: &[Piece]| match *value {
            [Piece { source: Source::Known(value), .. }] => {
                let what = (field, Written::Value(value), Sums::NONE);
                walker.rewrite(skb, "nft_payload_set_vlan", what, &place);
            }
            [Piece { source: Source::Field(of, 0), .. }] if of == field => {}
            _ => walker.writes_what_is_not_followed(skb, pkt, "into a tag"),
        };
        match tag.vid {
            TagVid::Frame(d) => {
                put(self, skb, Field::Priority(d), &priority);
                put(self, skb, Field::Vid(d), &vid);
            }
            TagVid::Fixed { vid: before, over, priority: own } => {
                match *vid.as_slice() {
                    [Piece { source: Source::Known(value), .. }] => {
                        tag.vid = TagVid::Fixed { vid: value as u16, over, priority: own };
                    }
                    _ => self.writes_what_is_not_followed(skb, pkt, &format!("over VLAN {before}")),
                }
                skb.hwtag = Some(tag);
                match (over.filter(|_| own.is_none()), priority.as_slice()) {
                    (Some(d), priority) => put(self, skb, Field::Priority(d), priority),
                    (None, [Piece { source: Source::Known(0), .. }]) if own.is_none() => {}
                    (None, _) => self.writes_what_is_not_followed(skb, pkt, "a priority"),
                }
            }
        }
    }

    /// Which checksums follow; `None` if one would have to that does not.
    fn sums(&mut self, skb: &Skb, pkt: &Pktinfo<'_, '_>, base: PayloadBase, sum: PayloadSum) -> Option<Sums> {
        let by_nft = Sums { mangled: true, ..Sums::NONE };
        match base {
            PayloadBase::Link => Some(Sums::NONE),
            PayloadBase::Network => {
                let ipv4 = self.frame.is(Field::Protocol(skb.depth), EtherType::IPV4);
                let header = sum.kind == INET && sum.offset == 10;
                let transport = sum.flags & PSEUDO_HEADER != 0;
                // Of other protocols, the bytes where IPv4 has its checksum are no checksum.
                let followed = if ipv4 { header } else { sum.kind != INET };
                followed.then_some(Sums { header: header && ipv4, transport, ..by_nft })
            }
            _ => {
                let Some(Some(Transport { protocol, .. })) = pkt.transport else { return None };
                let tcp = self.frame.is(protocol, 6u8);
                let place = if tcp { 16 } else { 6 };
                (sum.kind == INET && sum.offset == place).then_some(Sums {
                    transport: true,
                    even_none: true,
                    ..by_nft
                })
            }
        }
    }

    fn writes_what_is_not_followed(&mut self, skb: &mut Skb, pkt: &Pktinfo<'_, '_>, what: &str) {
        let what = format!("{}: writes into the packet: {what}", pkt.place());
        self.assume(skb, "nft_payload_set_eval", OpenKind::Filter(what));
    }
}
