//! The registers of nftables (`struct nft_regs`).
//!
//! A register holds bytes; of a frame that is not known in full, bytes that are parts of its fields. Comparisons then
//! become questions to the frame, part by part.

use std::cmp::Ordering;

use portcullis_snapshot::Register;

use crate::frame::{Classes, Field, Frame, Set};

/// `NFT_REG32_SIZE`.
const WORD: usize = 4;
const BYTES: usize = 20 * WORD;

/// Some bits of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// How many; at most 128.
    pub(crate) bits: u32,
    pub(crate) source: Source,
}

/// Where bits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// They are these.
    Known(u128),
    /// They are those of a field, from this bit on (0 is the last).
    Field(Field, u32),
    /// Nothing tells.
    Unknown,
}

/// What a register holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'r> {
    /// These bytes.
    Known(&'r [u8]),
    /// These parts, first to last.
    Pieces(Vec<Piece>),
    /// Nothing tells.
    Unknown,
}

/// The registers, verdict registers included, which no value is put into.
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    bytes: [u8; BYTES],
    /// What is not known in full: from which byte on, and what.
    pieces: Vec<(usize, Vec<Piece>)>,
}

impl Piece {
    pub(crate) const fn known(bits: u32, value: u128) -> Self {
        Self { bits, source: Source::Known(value) }
    }

    pub(crate) const fn field(bits: u32, field: Field, shift: u32) -> Self {
        Self { bits, source: Source::Field(field, shift) }
    }

    /// Returns `count` of its bits, from bit `from` on, counted from the first.
    fn slice(self, from: u32, count: u32) -> Self {
        let below = self.bits - from - count;
        let source = match self.source {
            Source::Known(value) => Source::Known(value >> below & ones(count)),
            Source::Field(field, shift) => Source::Field(field, shift + below),
            Source::Unknown => Source::Unknown,
        };
        Self { bits: count, source }
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self { bytes: [0; BYTES], pieces: Vec::new() }
    }
}

impl Registers {
    /// Stores known bytes; the rest of the last word becomes 0.
    pub(crate) fn store(&mut self, dreg: Register, bytes: &[u8]) {
        let start = usize::from(dreg) * WORD;
        let end = start + bytes.len().next_multiple_of(WORD);
        self.forget(start, end);
        for (place, byte) in self
            .bytes
            .iter_mut()
            .skip(start)
            .zip(bytes.iter().copied().chain(std::iter::repeat(0)).take(end - start))
        {
            *place = byte;
        }
    }

    /// Stores parts; the rest of the last word becomes 0.
    pub(crate) fn store_pieces(&mut self, dreg: Register, mut pieces: Vec<Piece>) {
        let bits: u32 = pieces.iter().map(|piece| piece.bits).sum();
        if pieces.iter().all(|piece| matches!(piece.source, Source::Known(_))) {
            return self.store(dreg, &bytes_of(&pieces));
        }
        let padding = bits.next_multiple_of(32) - bits;
        if padding > 0 {
            pieces.push(Piece::known(padding, 0));
        }
        let start = usize::from(dreg) * WORD;
        self.forget(start, start + (bits.next_multiple_of(32) / 8) as usize);
        self.pieces.push((start, pieces));
    }

    /// Makes every register unknown.
    pub(crate) fn forget_all(&mut self) {
        // As long as pieces can be.
        let unknown = Piece { bits: 128, source: Source::Unknown };
        self.pieces = vec![(0, vec![unknown; BYTES * 8 / 128])];
    }

    /// Makes what was loaded from a field unknown, because the field is about to be written.
    pub(crate) fn forget_field(&mut self, field: Field) {
        for piece in self.pieces.iter_mut().flat_map(|(_, pieces)| pieces) {
            if matches!(piece.source, Source::Field(of, _) if of == field) {
                piece.source = Source::Unknown;
            }
        }
    }

    /// Drops what is not known of some bytes, which are about to be overwritten.
    fn forget(&mut self, start: usize, end: usize) {
        if self.pieces.is_empty() {
            return;
        }
        let mut kept = Vec::new();
        for (at, pieces) in std::mem::take(&mut self.pieces) {
            let bits: u32 = pieces.iter().map(|piece| piece.bits).sum();
            let until = at + (bits / 8) as usize;
            if until <= start || end <= at {
                kept.push((at, pieces));
                continue;
            }
            if at < start {
                kept.push((at, cut(&pieces, 0, ((start - at) * 8) as u32)));
            }
            if end < until {
                kept.push((end, cut(&pieces, ((end - at) * 8) as u32, ((until - end) * 8) as u32)));
            }
        }
        self.pieces = kept;
    }

    /// Returns `len` bytes from a register on.
    pub(crate) fn load(&self, sreg: Register, len: usize) -> Value<'_> {
        let start = usize::from(sreg) * WORD;
        let Some(bytes) = self.bytes.get(start..start + len) else { return Value::Unknown };
        let within = |(at, pieces): &&(usize, Vec<Piece>)| {
            let bits: u32 = pieces.iter().map(|piece| piece.bits).sum();
            *at < start + len && start < at + (bits / 8) as usize
        };
        if !self.pieces.iter().any(|entry| within(&entry)) {
            return Value::Known(bytes);
        }
        let mut all: Vec<_> = self.pieces.iter().filter(within).collect();
        all.sort_by_key(|(at, _)| *at);
        let mut value = Vec::new();
        let mut place = start;
        for (at, pieces) in all {
            if place < *at {
                value.extend(
                    bytes
                        .get(place - start..at - start)
                        .into_iter()
                        .flatten()
                        .map(|byte| Piece::known(8, (*byte).into())),
                );
                place = *at;
            }
            let bits: u32 = pieces.iter().map(|piece| piece.bits).sum();
            let until = (at + (bits / 8) as usize).min(start + len);
            value.extend(cut(pieces, ((place - at) * 8) as u32, ((until - place) * 8) as u32));
            place = until;
        }
        value.extend(
            bytes.get(place - start..).into_iter().flatten().map(|byte| Piece::known(8, (*byte).into())),
        );
        if value.iter().any(|piece| piece.source == Source::Unknown) {
            return Value::Unknown;
        }
        Value::Pieces(join(value))
    }
}

/// Returns `(value & mask) ^ xor`; `None` if bits of a field would be turned.
pub(crate) fn masked(pieces: &[Piece], mask: &[u8], xor: &[u8]) -> Option<Vec<Piece>> {
    let mut result = Vec::new();
    let mut at = 0;
    for piece in pieces {
        for bit in 0..piece.bits {
            let (kept, turned) = (bit_of(mask, at), bit_of(xor, at));
            at += 1;
            let one = piece.slice(bit, 1);
            result.push(match (one.source, kept, turned) {
                (_, false, turned) => Piece::known(1, turned.into()),
                (Source::Known(value), true, turned) => Piece::known(1, value ^ u128::from(turned)),
                (_, true, false) => one,
                (_, true, true) => return None,
            });
        }
    }
    Some(join(result))
}

/// Returns the bytes of every `size` bytes in reverse.
pub(crate) fn swapped(pieces: &[Piece], len: usize, size: usize) -> Vec<Piece> {
    let byte = |at: usize| cut(pieces, (at * 8) as u32, 8);
    let order = (0..len).map(|at| at / size * size + (size - 1 - at % size));
    join(order.flat_map(byte).collect())
}

/// Compares parts with bytes, as `memcmp` does.
pub(crate) fn compare<F: Frame>(frame: &mut F, pieces: &[Piece], data: &[u8]) -> Ordering {
    let mut at = 0;
    for piece in pieces {
        let wanted = number_at(data, at, piece.bits);
        at += piece.bits;
        let found = match piece.source {
            Source::Known(value) => value.cmp(&wanted),
            Source::Unknown => Ordering::Equal,
            Source::Field(field, shift) => {
                let below = wanted.checked_sub(1).map(|last| (0, last));
                let classes = [below, Some((wanted, wanted))];
                let classes = classes.map(|range| {
                    range.map_or_else(Vec::new, |(from, to)| part(field, shift, piece.bits, from, to))
                });
                match frame.which(field, &Classes(&classes)) {
                    Some(0) => Ordering::Less,
                    Some(_) => Ordering::Equal,
                    None => Ordering::Greater,
                }
            }
        };
        if found != Ordering::Equal {
            return found;
        }
    }
    Ordering::Equal
}

/// Whether parts equal bytes: fewer questions than [`compare`].
pub(crate) fn equals<F: Frame>(frame: &mut F, pieces: &[Piece], data: &[u8]) -> bool {
    lies_in(frame, pieces, data, data)
}

/// Whether parts lie in a range of bytes.
pub(crate) fn lies_in<F: Frame>(frame: &mut F, pieces: &[Piece], from: &[u8], to: &[u8]) -> bool {
    let mut at = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let (first, last) = (number_at(from, at, piece.bits), number_at(to, at, piece.bits));
        // Where the bounds part, the rest counts only at either bound.
        if first != last && index + 1 < pieces.len() {
            let rest = pieces.get(index..).unwrap_or_default();
            let skip = |bytes: &[u8]| bits_from(bytes, at);
            return compare(frame, rest, &skip(from)) != Ordering::Less
                && compare(frame, rest, &skip(to)) != Ordering::Greater;
        }
        at += piece.bits;
        let inside = match piece.source {
            Source::Known(value) => first <= value && value <= last,
            Source::Unknown => true,
            Source::Field(field, shift) => {
                frame.which(field, &Classes(&[part(field, shift, piece.bits, first, last)])).is_some()
            }
        };
        if !inside {
            return false;
        }
    }
    true
}

/// Returns the values of a field of which some bits lie in a range.
pub(crate) fn part(field: Field, shift: u32, bits: u32, from: u128, to: u128) -> Vec<Set> {
    let width = u32::from(field.bits());
    let (from, to) = (from.min(ones(bits)), to.min(ones(bits)));
    if shift + bits >= width {
        // The first bits of the field: still one range.
        return vec![if from == to && shift == 0 {
            Set::Exactly(from)
        } else {
            Set::Range(from << shift, to << shift | ones(shift))
        }];
    }
    let mask = |low: u32| (ones(bits) & !ones(low)) << shift;
    let mut sets = Vec::new();
    let mut next = from;
    while next <= to {
        // The largest block that begins here and does not reach beyond the range.
        let mut low = next.trailing_zeros().min(bits);
        while next | ones(low) > to {
            low -= 1;
        }
        sets.push(Set::Masked { value: next << shift, mask: mask(low) });
        let Some(after) = (next | ones(low)).checked_add(1) else { break };
        next = after;
    }
    sets
}

pub(crate) const fn ones(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

fn bit_of(bytes: &[u8], at: u32) -> bool {
    bytes.get((at / 8) as usize).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

/// Returns bits of bytes as a number.
pub(crate) fn number_at(bytes: &[u8], at: u32, bits: u32) -> u128 {
    if at.is_multiple_of(8) && bits.is_multiple_of(8) {
        let bytes = bytes.get((at / 8) as usize..((at + bits) / 8) as usize);
        if let Some(bytes) = bytes {
            return bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        }
    }
    (at..at + bits).fold(0, |number, at| number << 1 | u128::from(bit_of(bytes, at)))
}

fn bits_from(bytes: &[u8], at: u32) -> Vec<u8> {
    let bits = (bytes.len() * 8) as u32 - at;
    (0..bits.div_ceil(8)).map(|byte| number_at(bytes, at + byte * 8, 8) as u8).collect()
}

/// Returns some bits of parts.
pub(crate) fn cut(pieces: &[Piece], from: u32, count: u32) -> Vec<Piece> {
    let mut cut = Vec::new();
    let mut at = 0;
    for piece in pieces {
        let (start, end) = (from.max(at), (from + count).min(at + piece.bits));
        if start < end {
            cut.push(piece.slice(start - at, end - start));
        }
        at += piece.bits;
    }
    cut
}

/// Joins neighbours that belong together.
pub(crate) fn join(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        if let Some(last) = joined.last_mut()
            && last.bits + piece.bits <= 128
        {
            let together = match (last.source, piece.source) {
                (Source::Known(high), Source::Known(low)) => Some(Source::Known(high << piece.bits | low)),
                (Source::Field(one, high), Source::Field(other, low))
                    if one == other && high == low + piece.bits =>
                {
                    Some(Source::Field(other, low))
                }
                _ => None,
            };
            if let Some(source) = together {
                *last = Piece { bits: last.bits + piece.bits, source };
                continue;
            }
        }
        joined.push(piece);
    }
    joined
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let bits: u32 = pieces.iter().map(|piece| piece.bits).sum();
    let byte = |at: u32| {
        let parts = cut(pieces, at * 8, 8);
        parts.iter().fold(0, |byte: u128, part| match part.source {
            Source::Known(value) => byte << part.bits | value,
            Source::Field(..) | Source::Unknown => byte << part.bits,
        }) as u8
    };
    (0..bits / 8).map(byte).collect()
}
