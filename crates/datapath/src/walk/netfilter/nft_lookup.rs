//! `net/netfilter/nft_lookup.c`: keys in sets and maps.

use portcullis_snapshot::{NftSet, Register};

use super::nf_tables_core::Pktinfo;
use super::registers::{Piece, Registers, Source, Value, cut, lies_in, number_at, part};
use crate::frame::{Classes, Frame, Set};
use crate::network::{Datum, Elements, Range, Verdict};
use crate::walk::{OpenKind, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_lookup_eval`.
    pub(super) fn nft_lookup_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        registers: &mut Registers,
        (set, sreg, dreg, inverted): (usize, Register, Option<Register>, bool),
    ) -> Verdict<'s> {
        let Some(elements) = pkt.ruleset.sets.get(set) else { return Verdict::Break };
        let mut found = match registers.load(sreg, elements.set.key_len as usize) {
            Value::Known(key) => {
                elements.find(key).and_then(|at| elements.ranges.get(at)).map(|range| range.data)
            }
            Value::Pieces(pieces) => self.nft_set_lookup(elements, &pieces),
            Value::Unknown => {
                self.nft_ask(skb, pkt, "what it looks up");
                self.nft_any_element(elements)
            }
        };
        found = found.or(elements.catchall);
        if elements.set.changes() {
            let what = format!("{}: set {}, which packets and time change", pkt.place(), elements.set.name);
            if self.undecided(skb, "nft_lookup_eval", OpenKind::Changing(what)) {
                found = self.nft_any_element(elements);
            }
        }
        match found {
            Some(_) if inverted => Verdict::Break,
            None if inverted => Verdict::Continue,
            None => Verdict::Break,
            Some(datum) => self.nft_datum(skb, pkt, registers, dreg, datum),
        }
    }

    /// What a key may be found to have of which nothing tells, or in a set of which nothing tells what is in it: each
    /// of what there is, or nothing. A map that changes may have more.
    fn nft_any_element<'s>(&mut self, elements: &Elements<'s>) -> Option<Datum<'s>> {
        let mut data: Vec<Datum<'s>> = Vec::new();
        let is_map = elements.set.has(NftSet::MAP);
        let more = match (is_map, elements.set.changes()) {
            (true, true) => Some(Datum::Open),
            (false, _) => Some(Datum::Nothing),
            (true, false) => None,
        };
        for datum in elements.ranges.iter().map(|range| range.data).chain(elements.catchall).chain(more) {
            if !data.contains(&datum) {
                data.push(datum);
            }
        }
        self.frame.choose(1 + data.len()).checked_sub(1).and_then(|at| data.get(at).copied())
    }

    /// Looks a key up that is not known in full.
    fn nft_set_lookup<'s>(&mut self, elements: &Elements<'s>, pieces: &[Piece]) -> Option<Datum<'s>> {
        let candidates: Vec<_> = elements.ranges.iter().collect();
        if let [Piece { bits, source: Source::Field(field, shift) }] = *pieces {
            // One question, with a class for each different outcome.
            let mut data: Vec<Datum<'s>> = Vec::new();
            let mut classes: Vec<Vec<Set>> = Vec::new();
            for range in candidates {
                let (from, to) = (number_at(&range.from, 0, bits), number_at(&range.to, 0, bits));
                let class = data.iter().position(|datum| *datum == range.data).unwrap_or_else(|| {
                    data.push(range.data);
                    classes.push(Vec::new());
                    data.len() - 1
                });
                if let Some(sets) = classes.get_mut(class) {
                    sets.extend(part(field, shift, bits, from, to));
                }
            }
            return data.get(self.frame.which(field, &Classes(&classes))?).copied();
        }
        if elements.exact.is_some() {
            return self.nft_set_narrow(candidates, pieces, 0);
        }
        let parts = elements.parts();
        candidates
            .into_iter()
            .find(|range| self.nft_range_holds(range, &parts, pieces))
            .map(|range| range.data)
    }

    /// Piece by piece, with the elements that are still possible.
    fn nft_set_narrow<'s>(
        &mut self,
        candidates: Vec<&Range<'s>>,
        pieces: &[Piece],
        at: u32,
    ) -> Option<Datum<'s>> {
        let Some((piece, rest)) = pieces.split_first() else {
            return candidates.first().map(|range| range.data);
        };
        let value_of = |range: &Range<'s>| number_at(&range.from, at, piece.bits);
        let value = match piece.source {
            Source::Known(value) => value,
            Source::Unknown => return None,
            Source::Field(field, shift) => {
                let mut values: Vec<_> = candidates.iter().map(|range| value_of(range)).collect();
                values.sort_unstable();
                values.dedup();
                let classes: Vec<_> =
                    values.iter().map(|value| part(field, shift, piece.bits, *value, *value)).collect();
                *values.get(self.frame.which(field, &Classes(&classes))?)?
            }
        };
        let left: Vec<_> = candidates.into_iter().filter(|range| value_of(range) == value).collect();
        if left.is_empty() { None } else { self.nft_set_narrow(left, rest, at + piece.bits) }
    }

    /// Whether every part of a key lies in a range's part.
    fn nft_range_holds(&mut self, range: &Range<'_>, parts: &[usize], pieces: &[Piece]) -> bool {
        let mut at = 0;
        parts.iter().all(|len| {
            let bytes = at..at + len;
            let pieces = cut(pieces, (at * 8) as u32, (len * 8) as u32);
            at += len;
            let bounds = range.from.get(bytes.clone()).zip(range.to.get(bytes));
            bounds.is_some_and(|(from, to)| lies_in(self.frame, &pieces, from, to))
        })
    }
}
