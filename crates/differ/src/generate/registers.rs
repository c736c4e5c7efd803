//! Random expressions of nftables that reckon with registers: shifts, and operations of two registers.

use fastrand::Rng;
use portcullis_snapshot::{BitwiseOp, CmpOp, MacAddr, MetaKey, NftExpr, PayloadBase, Register, RegisterOp};

use super::{guest_ip4, guest_mac, one_in, pick};
use crate::firewall::{Match, REGISTER, compare};
use crate::names::MOST_PORTS;

/// The other register of an operation: the one behind the first 16 bytes.
const OTHER: Register = REGISTER + 4;

/// What is loaded, and what it may be.
#[derive(Debug, Clone)]
struct Source {
    /// In `nft`'s words.
    text: String,
    load: fn(Register) -> NftExpr,
    likely: Vec<u8>,
}

/// A question about bits that were moved, or about two values together.
pub(super) fn reckoned(rng: &mut Rng, layer2: bool) -> Match {
    if one_in(rng, 2) { shifted(rng, layer2) } else { combined(rng, layer2) }
}

const fn load(base: PayloadBase, offset: u32, len: u32, dreg: Register) -> NftExpr {
    NftExpr::Payload { base, offset, len, dreg }
}

fn source(rng: &mut Rng, layer2: bool) -> Source {
    let number = rng.usize(..MOST_PORTS);
    let ip = |number| guest_ip4(number).octets().to_vec();
    let of = |text: &str, load: fn(Register) -> NftExpr, likely: Vec<u8>| Source {
        text: text.to_owned(),
        load,
        likely,
    };
    use PayloadBase::{Link, Network, Transport};
    match rng.u32(..9) {
        0 => of("@nh,96,32", |dreg| load(Network, 12, 4, dreg), ip(number)),
        1 => of("@nh,128,32", |dreg| load(Network, 16, 4, dreg), ip(number)),
        2 => of("@nh,0,32", |dreg| load(Network, 0, 4, dreg), vec![0x45, 0, 0, 38]),
        3 => of("@nh,64,16", |dreg| load(Network, 8, 2, dreg), vec![64, 17]),
        4 => of("@nh,96,64", |dreg| load(Network, 12, 8, dreg), [ip(number), ip(0)].concat()),
        5 => of("@th,0,32", |dreg| load(Transport, 0, 4, dreg), vec![0x03, 0xe8, 0x07, 0xd0]),
        6 => of(
            "meta mark",
            |dreg| NftExpr::Meta { key: MetaKey::Mark, dreg },
            rng.u32(..3).to_ne_bytes().to_vec(),
        ),
        7 if layer2 => {
            let MacAddr(bytes) = guest_mac(number);
            of("@ll,48,48", |dreg| load(Link, 6, 6, dreg), bytes.to_vec())
        }
        _ => of("@nh,48,16", |dreg| load(Network, 6, 2, dreg), vec![0, 1]),
    }
}

/// The words of a value, as the machine reads them.
fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |four: &[u8]| {
        let mut word = [0; 4];
        word.iter_mut().zip(four).for_each(|(to, from)| *to = *from);
        u32::from_ne_bytes(word)
    };
    bytes.chunks(4).map(word).collect()
}

/// What the kernel makes of a value: bits that leave a word come into the one before it (to the left) or behind it.
fn moved(bytes: &[u8], left: bool, bits: u32) -> Vec<u8> {
    let words = words(bytes);
    let neighbour = |at: Option<usize>| at.and_then(|at| words.get(at)).copied().unwrap_or(0);
    let word = |(at, word): (usize, &u32)| {
        let (next, before) = (neighbour(Some(at + 1)), neighbour(at.checked_sub(1)));
        let moved = if left {
            word << bits | next.checked_shr(32 - bits).unwrap_or(0)
        } else {
            word >> bits | before.checked_shl(32 - bits).unwrap_or(0)
        };
        moved.to_ne_bytes()
    };
    words.iter().enumerate().flat_map(word).take(bytes.len()).collect()
}

fn shifted(rng: &mut Rng, layer2: bool) -> Match {
    let Source { text, load, likely } = source(rng, layer2);
    let left = one_in(rng, 2);
    let bits = pick(rng, &[1, 4, 8, 12, 16, 24, 31]).unwrap_or(8);
    let wanted = moved(&likely, left, bits);
    let way = if left { "<<" } else { ">>" };
    let len = likely.len() as u32;
    let op = BitwiseOp::Shift { left, bits };
    let shift = NftExpr::Bitwise { sreg: REGISTER, dreg: REGISTER, len, op };
    ending(rng, vec![load(REGISTER), shift], format!("({text} {way} {bits})"), &wanted)
}

fn combined(rng: &mut Rng, layer2: bool) -> Match {
    let one = source(rng, layer2);
    // Of the same length, or one that is not loaded at all.
    let other = (0..8).map(|_| source(rng, layer2)).find(|other| other.likely.len() == one.likely.len());
    let constant = one_in(rng, 3);
    let (second, text, value) = match other.filter(|_| !constant) {
        Some(other) => ((other.load)(OTHER), other.text, other.likely),
        None => {
            let value: Vec<u8> = one.likely.iter().map(|_| rng.u8(..)).collect();
            let data = value.as_slice().into();
            (NftExpr::Immediate { dreg: OTHER, data }, format!("0x{}", crate::facts::hex(&value)), value)
        }
    };
    let (op, sign) = pick(rng, &[(RegisterOp::And, "&"), (RegisterOp::Or, "|"), (RegisterOp::Xor, "^")])
        .unwrap_or((RegisterOp::And, "&"));
    let apply = |(one, other): (&u8, &u8)| match op {
        RegisterOp::And => one & other,
        RegisterOp::Or => one | other,
        RegisterOp::Xor => one ^ other,
    };
    let wanted: Vec<u8> = one.likely.iter().zip(&value).map(apply).collect();
    let bitwise = NftExpr::Bitwise {
        sreg: REGISTER,
        dreg: REGISTER,
        len: wanted.len() as u32,
        op: BitwiseOp::Registers { op, sreg2: OTHER },
    };
    ending(rng, vec![(one.load)(REGISTER), second, bitwise], format!("({} {sign} {text})", one.text), &wanted)
}

/// Compares with what it would be of a likely value.
fn ending(rng: &mut Rng, mut expressions: Vec<NftExpr>, text: String, wanted: &[u8]) -> Match {
    let (op, sign) = pick(
        rng,
        &[(CmpOp::Eq, "=="), (CmpOp::Eq, "=="), (CmpOp::Neq, "!="), (CmpOp::Lt, "<"), (CmpOp::Gte, ">=")],
    )
    .unwrap_or((CmpOp::Eq, "=="));
    expressions.push(compare(op, wanted));
    Match { text: format!("{text} {sign} 0x{}", crate::facts::hex(wanted)), expressions, set: None }
}
