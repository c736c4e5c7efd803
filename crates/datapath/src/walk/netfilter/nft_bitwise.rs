//! `net/netfilter/nft_bitwise.c`: shifts, and operations of two registers.

use portcullis_snapshot::{Register, RegisterOp};

use super::nf_tables_core::unknown;
use super::registers::{Piece, Registers, Source, Value, cut, join};

/// `NFT_REG32_SIZE`.
const WORD: usize = 4;

/// `nft_bitwise_eval_lshift`, `nft_bitwise_eval_rshift`: words in host byte order, from the last (to the left) or the first
/// (to the right) on.
pub(super) fn shift(
    registers: &mut Registers,
    (sreg, dreg, len): (Register, Register, usize),
    left: bool,
    bits: u32,
) {
    // What stands behind a shorter value moves with it.
    let len = len.next_multiple_of(WORD);
    if let Value::Known(bytes) = registers.load(sreg, len) {
        let moved = moved(bytes, left, bits);
        return match moved {
            Some(bytes) => registers.store(dreg, &bytes),
            None => registers.store_pieces(dreg, unknown(len)),
        };
    }
    let pieces = pieces(registers, sreg, len).and_then(|value| shifted(&value, left, bits));
    registers.store_pieces(dreg, pieces.unwrap_or_else(|| unknown(len)));
}

/// A shift of what is known. By no bits at all, what comes in from the next word is up to the machine.
fn moved(bytes: &[u8], left: bool, bits: u32) -> Option<Vec<u8>> {
    let words = bytes.chunks_exact(WORD).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
    let words: Vec<u32> = words.collect();
    if bits >= 32 || (bits == 0 && words.len() > 1) {
        return None;
    }
    let at = |place: Option<usize>| place.and_then(|place| words.get(place)).copied().unwrap_or(0);
    let word = |(place, word): (usize, &u32)| {
        let moved = if left {
            word << bits | at(Some(place + 1)).checked_shr(32 - bits).unwrap_or(0)
        } else {
            word >> bits | at(place.checked_sub(1)).checked_shl(32 - bits).unwrap_or(0)
        };
        moved.to_ne_bytes()
    };
    Some(words.iter().enumerate().flat_map(word).collect())
}

/// A shift within words: what leaves one comes into the next. Only of one word, or a big-endian machine's, are the bits
/// of a number in a row; others are not followed.
fn shifted(value: &[Piece], left: bool, bits: u32) -> Option<Vec<Piece>> {
    let width: u32 = value.iter().map(|piece| piece.bits).sum();
    if bits == 0 && width == 32 {
        return Some(value.to_vec());
    }
    if width != 32 || bits >= 32 {
        return None;
    }
    // The word as the machine reads it, first bit first.
    let ordered = turned(value);
    let zeros = Piece::known(bits, 0);
    let result = if left {
        let mut kept = cut(&ordered, bits, width - bits);
        kept.push(zeros);
        kept
    } else {
        let mut kept = vec![zeros];
        kept.extend(cut(&ordered, 0, width - bits));
        kept
    };
    Some(turned(&join(result)))
}

/// The bytes of a word in the machine's order, or back.
fn turned(word: &[Piece]) -> Vec<Piece> {
    if cfg!(target_endian = "big") {
        return word.to_vec();
    }
    join((0..4).rev().flat_map(|byte| cut(word, byte * 8, 8)).collect())
}

/// `nft_bitwise_eval_and` and its likes, of what is known.
pub(super) fn combine(
    registers: &mut Registers,
    (sreg, sreg2, dreg, len): (Register, Register, Register, usize),
    op: RegisterOp,
) {
    let len = len.next_multiple_of(WORD);
    let known = |sreg| match registers.load(sreg, len) {
        Value::Known(bytes) => Some(bytes.to_vec()),
        _ => None,
    };
    let both = known(sreg).zip(known(sreg2));
    let apply = |(one, other): (&u8, &u8)| match op {
        RegisterOp::And => one & other,
        RegisterOp::Or => one | other,
        RegisterOp::Xor => one ^ other,
    };
    match both {
        Some((one, other)) => {
            let result: Vec<u8> = one.iter().zip(&other).map(apply).collect();
            registers.store(dreg, &result);
        }
        None => registers.store_pieces(dreg, unknown(len)),
    }
}

fn pieces(registers: &Registers, sreg: Register, len: usize) -> Option<Vec<Piece>> {
    match registers.load(sreg, len) {
        Value::Known(bytes) => Some(bytes.iter().map(|byte| Piece::known(8, (*byte).into())).collect()),
        Value::Pieces(pieces) => Some(pieces),
        Value::Unknown => None,
    }
    .filter(|pieces| pieces.iter().all(|piece| piece.source != Source::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted_of(words: &[u32], left: bool, bits: u32) -> Option<Vec<u32>> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let word = |four: &[u8]| u32::from_ne_bytes(four.try_into().unwrap());
        moved(&bytes, left, bits).map(|moved| moved.chunks(4).map(word).collect())
    }

    #[test]
    fn bits_come_into_the_next_word() {
        let words = [0x8000_0001, 0xc000_0003];
        assert_eq!(shifted_of(&words, true, 1), Some(vec![3, 0x8000_0006]));
        assert_eq!(shifted_of(&words, false, 1), Some(vec![0x4000_0000, 0xe000_0001]));
        assert_eq!(shifted_of(&words[..1], false, 0), Some(vec![0x8000_0001]));
        assert_eq!(shifted_of(&words, false, 0), None);
    }

    #[test]
    fn what_stands_behind_a_short_value_moves_too() {
        let mut registers = Registers::default();
        registers.store(4, &[1, 2]);
        shift(&mut registers, (4, 4, 2), true, 16);
        let whole = u32::from_ne_bytes([1, 2, 0, 0]) << 16;
        assert_eq!(registers.load(4, 4), Value::Known(&whole.to_ne_bytes()));
    }
}
