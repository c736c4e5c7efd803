//! `net/netfilter/nft_bitwise.c`: shifts, and operations of two registers.

use portcullis_snapshot::{Register, RegisterOp};

use super::nf_tables_core::unknown;
use super::registers::{Piece, Registers, Source, Value, cut, join};

/// `nft_bitwise_eval_lshift`, `nft_bitwise_eval_rshift`: words in host byte order, from the last (to the left) or the first
/// (to the right) on.
pub(super) fn shift(
    registers: &mut Registers,
    (sreg, dreg, len): (Register, Register, usize),
    left: bool,
    bits: u32,
) {
    let pieces = pieces(registers, sreg, len).and_then(|value| shifted(&value, left, bits));
    registers.store_pieces(dreg, pieces.unwrap_or_else(|| unknown(len)));
}

/// A shift within words: what leaves one comes into the next. Only of one word, or a big-endian machine's, are the bits
/// of a number in a row; others are not followed.
fn shifted(value: &[Piece], left: bool, bits: u32) -> Option<Vec<Piece>> {
    let width: u32 = value.iter().map(|piece| piece.bits).sum();
    if bits == 0 {
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
