//! Rules and their expressions (`NFT_MSG_NEWRULE`): the attributes of `net/netfilter/nft_*.c`, both ways.

use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, FibResult, LegacyFamily, MetaKey, NftExpr, NftFamily, NftNat, NftNatKind,
    NftRule, NftVerdict, PayloadBase, PayloadSum, Register, RegisterOp, XtMatch, XtOther, XtTarget,
};

use crate::xt::Extension;
use crate::{Attribute, Attributes, Message};

const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// Keys of meta, by their number in the kernel (`enum nft_meta_keys`). The last three are newer than most headers.
const META_KEYS: [(u32, MetaKey); 21] = [
    (0, MetaKey::Len),
    (1, MetaKey::Protocol),
    (2, MetaKey::Priority),
    (3, MetaKey::Mark),
    (4, MetaKey::Iif),
    (5, MetaKey::Oif),
    (6, MetaKey::IifName),
    (7, MetaKey::OifName),
    (8, MetaKey::IifType),
    (9, MetaKey::OifType),
    (15, MetaKey::NfProto),
    (16, MetaKey::L4Proto),
    (17, MetaKey::BriIifName),
    (18, MetaKey::BriOifName),
    (19, MetaKey::PktType),
    (26, MetaKey::IifKind),
    (27, MetaKey::OifKind),
    (28, MetaKey::BriIifPvid),
    (29, MetaKey::BriIifVproto),
    (35, MetaKey::BriBroute),
    // Between the two, kernels do not agree which one 36 is.
    (37, MetaKey::BriIifHwAddr),
];

/// A rule: its table's family is the message's; table, chain and the rule itself.
#[must_use]
pub fn rule(message: &[u8]) -> Option<(String, String, NftRule)> {
    let family = super::family(message);
    let attributes = Attributes::after(message, super::NFGENMSG);
    let list = attributes.get(4);
    let expressions = list.map(|list| list.nested().map(|item| expr(family, &item.nested())).collect());
    let handle = attributes.get(3)?.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))?;
    let rule = NftRule { handle, expressions: expressions.unwrap_or_default() };
    Some((attributes.get(1)?.string(), attributes.get(2)?.string(), rule))
}

/// One expression (`NFTA_EXPR_*`) of a rule of a family. What cannot be made sense of is kept as it came.
#[must_use]
pub fn expr(family: Option<NftFamily>, attributes: &Attributes<'_>) -> NftExpr {
    let name = attributes.get(1).map(|name| name.string()).unwrap_or_default();
    let data = attributes.get(2).map_or(&[][..], |data| data.payload);
    known(family, &name, &Attributes::new(data))
        .unwrap_or_else(|| NftExpr::Other { name, data: Bytes::from(data) })
}

fn known(family: Option<NftFamily>, name: &str, a: &Attributes<'_>) -> Option<NftExpr> {
    Some(match name {
        "payload" => payload(a)?,
        "meta" => {
            let number = a.get(2)?.be32()?;
            let known = META_KEYS.iter().find(|(known, _)| *known == number).map(|(_, key)| *key);
            let key = known.unwrap_or(MetaKey::Other(number));
            match (register(a, 1), register(a, 3)) {
                (Some(dreg), _) => NftExpr::Meta { key, dreg },
                (None, sreg) => NftExpr::MetaSet { key, sreg: sreg? },
            }
        }
        "cmp" => {
            let op = match a.get(2)?.be32()? {
                0 => CmpOp::Eq,
                1 => CmpOp::Neq,
                2 => CmpOp::Lt,
                3 => CmpOp::Lte,
                4 => CmpOp::Gt,
                5 => CmpOp::Gte,
                _ => return None,
            };
            NftExpr::Cmp { sreg: register(a, 1)?, op, data: value(a.get(3)?)? }
        }
        "range" => {
            let negated = match a.get(2)?.be32()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            NftExpr::Range { sreg: register(a, 1)?, negated, from: value(a.get(3)?)?, to: value(a.get(4)?)? }
        }
        "bitwise" => bitwise(a)?,
        "byteorder" => NftExpr::Byteorder {
            sreg: register(a, 1)?,
            dreg: register(a, 2)?,
            to_network: a.get(3)?.be32()? == 1,
            len: a.get(4)?.be32()?,
            size: a.get(5)?.be32()?,
        },
        "lookup" => NftExpr::Lookup {
            set: a.get(1)?.string(),
            sreg: register(a, 2)?,
            dreg: register(a, 3),
            inverted: a.get(5).and_then(|flags| flags.be32()).is_some_and(|flags| flags & 1 != 0),
        },
        "immediate" => match a.get(2)?.nested().get(NFTA_DATA_VERDICT) {
            Some(code) => NftExpr::Verdict(verdict(&code.nested())?),
            None => NftExpr::Immediate { dreg: register(a, 1)?, data: value(a.get(2)?)? },
        },
        "fib" => {
            let result = match a.get(2)?.be32()? {
                1 => FibResult::Oif,
                2 => FibResult::OifName,
                3 => FibResult::AddressType,
                other => FibResult::Other(other),
            };
            NftExpr::Fib { dreg: register(a, 1)?, result, flags: a.get(3)?.be32()? }
        }
        "reject" => NftExpr::Reject,
        // Those of the netdev family, which name a device; `dup` of IP names an address too.
        "dup" if a.get(1).is_none() => NftExpr::ToDevice { copy: true, sreg: register(a, 2)? },
        // With an address (`nft_fwd_neigh_eval`) it changes the packet, and goes on with the next rule for other protocols.
        "fwd" if a.get(2).is_none() => NftExpr::ToDevice { copy: false, sreg: register(a, 1)? },
        "nat" | "masq" | "redir" => NftExpr::Nat(nat(name, a)?),
        "dynset" => NftExpr::Dynset { set: a.get(1)?.string() },
        "counter" | "log" | "last" => NftExpr::NoEffect(name.to_owned()),
        "match" => NftExpr::Match(extension(family, a, |xt| xt.decode_match())?),
        "target" => NftExpr::Target(extension(family, a, |xt| xt.decode_target())?),
        _ => return None,
    })
}

/// An extension of the tools (`NFTA_MATCH_*`, `NFTA_TARGET_*`).
fn extension<T>(
    family: Option<NftFamily>,
    a: &Attributes<'_>,
    decode: impl Fn(&Extension<'_>) -> T,
) -> Option<T> {
    let name = a.get(1)?.string();
    let revision = u8::try_from(a.get(2)?.be32()?).ok()?;
    let family = match family? {
        NftFamily::Ip => LegacyFamily::Iptables,
        NftFamily::Ip6 => LegacyFamily::Ip6tables,
        NftFamily::Arp => LegacyFamily::Arptables,
        NftFamily::Bridge => LegacyFamily::Ebtables,
        // nft_compat knows no other.
        NftFamily::Inet | NftFamily::Netdev | NftFamily::Other(_) => return None,
    };
    Some(decode(&Extension { family, name: &name, revision, info: a.get(3)?.payload }))
}

fn payload(a: &Attributes<'_>) -> Option<NftExpr> {
    let base = match a.get(2)?.be32()? {
        0 => PayloadBase::Link,
        1 => PayloadBase::Network,
        2 => PayloadBase::Transport,
        3 => PayloadBase::Inner,
        other => PayloadBase::Other(other),
    };
    let (offset, len) = (a.get(3)?.be32()?, a.get(4)?.be32()?);
    Some(match (register(a, 1), register(a, 5)) {
        (Some(dreg), _) => NftExpr::Payload { base, offset, len, dreg },
        (None, sreg) => {
            let number = |at| a.get(at).and_then(|value| value.be32()).unwrap_or(0);
            let sum = PayloadSum { kind: number(6), offset: number(7), flags: number(8) };
            NftExpr::PayloadSet { base, offset, len, sreg: sreg?, sum }
        }
    })
}

fn bitwise(a: &Attributes<'_>) -> Option<NftExpr> {
    let op = match a.get(6).and_then(|op| op.be32()).unwrap_or(0) {
        0 => BitwiseOp::Mask { mask: value(a.get(4)?)?, xor: value(a.get(5)?)? },
        1 => BitwiseOp::Shift { left: true, bits: shift(a)? },
        2 => BitwiseOp::Shift { left: false, bits: shift(a)? },
        3 => BitwiseOp::Registers { op: RegisterOp::And, sreg2: register(a, 8)? },
        4 => BitwiseOp::Registers { op: RegisterOp::Or, sreg2: register(a, 8)? },
        5 => BitwiseOp::Registers { op: RegisterOp::Xor, sreg2: register(a, 8)? },
        // Nothing is known of what else belongs to it.
        _ => return None,
    };
    Some(NftExpr::Bitwise { sreg: register(a, 1)?, dreg: register(a, 2)?, len: a.get(3)?.be32()?, op })
}

/// `NFTA_NAT_*`, `NFTA_MASQ_*`, `NFTA_REDIR_*`.
fn nat(name: &str, a: &Attributes<'_>) -> Option<NftNat> {
    let number = |at: u16| a.get(at).and_then(|value| value.be32()).unwrap_or(0);
    let pair = |from, to| register(a, from).map(|first| (first, register(a, to).unwrap_or(first)));
    Some(match name {
        "nat" => NftNat {
            kind: if number(1) == 0 { NftNatKind::Snat } else { NftNatKind::Dnat },
            family: u8::try_from(number(2)).ok()?,
            addresses: pair(3, 4),
            ports: pair(5, 6),
            flags: number(7),
        },
        "masq" => NftNat {
            kind: NftNatKind::Masquerade,
            family: 0,
            addresses: None,
            ports: pair(2, 3),
            flags: number(1),
        },
        _ => NftNat {
            kind: NftNatKind::Redirect,
            family: 0,
            addresses: None,
            ports: pair(1, 2),
            flags: number(3),
        },
    })
}

fn put_nat(message: Message, nat: &NftNat) -> Message {
    let pair = |message: Message, registers: Option<(Register, Register)>, (from, to)| match registers {
        Some((first, last)) => put_register(put_register(message, from, first), to, last),
        None => message,
    };
    match nat.kind {
        NftNatKind::Snat | NftNatKind::Dnat => {
            let kind = u32::from(nat.kind == NftNatKind::Dnat);
            let message = put_be32(put_be32(message, 1, kind), 2, nat.family.into());
            put_be32(pair(pair(message, nat.addresses, (3, 4)), nat.ports, (5, 6)), 7, nat.flags)
        }
        NftNatKind::Masquerade => pair(put_be32(message, 1, nat.flags), nat.ports, (2, 3)),
        NftNatKind::Redirect => put_be32(pair(message, nat.ports, (1, 2)), 3, nat.flags),
    }
}

/// By how many bits (`NFTA_BITWISE_DATA`), in host byte order.
fn shift(a: &Attributes<'_>) -> Option<u32> {
    a.get(7)?.nested().get(NFTA_DATA_VALUE)?.u32()
}

/// `NFTA_DATA_VALUE` in a nest.
pub(super) fn value(data: Attribute<'_>) -> Option<Bytes> {
    Some(Bytes::from(data.nested().get(NFTA_DATA_VALUE)?.payload))
}

/// `NFTA_DATA_VERDICT` in a nest.
pub(super) fn verdict_in(data: Attribute<'_>) -> Option<NftVerdict> {
    verdict(&data.nested().get(NFTA_DATA_VERDICT)?.nested())
}

/// `NFTA_VERDICT_*`.
fn verdict(a: &Attributes<'_>) -> Option<NftVerdict> {
    let chain = || a.get(2).map(|chain| chain.string());
    Some(match a.get(1)?.be32()?.cast_signed() {
        0 => NftVerdict::Drop,
        1 => NftVerdict::Accept,
        -1 => NftVerdict::Continue,
        -2 => NftVerdict::Break,
        -3 => NftVerdict::Jump(chain()?),
        -4 => NftVerdict::Goto(chain()?),
        -5 => NftVerdict::Return,
        other => NftVerdict::Other(other),
    })
}

/// `nft_parse_register`: four registers of 16 bytes, or sixteen of 4 that begin with number 8.
fn register(a: &Attributes<'_>, number: u16) -> Option<Register> {
    match u8::try_from(a.get(number)?.be32()?).ok()? {
        large @ 0..=4 => Some(large * 4),
        small @ 8..=23 => Some(small - 4),
        _ => None,
    }
}

/// `nft_dump_register`.
fn put_register(message: Message, number: u16, register: Register) -> Message {
    let named = if register.is_multiple_of(4) { register / 4 } else { register + 4 };
    put_be32(message, number, named.into())
}

pub(super) fn put_be32(message: Message, number: u16, value: u32) -> Message {
    message.put(number, &value.to_be_bytes())
}

pub(super) fn put_value(message: Message, number: u16, bytes: &Bytes) -> Message {
    message.nest(number, |data| data.put(NFTA_DATA_VALUE, &bytes.0))
}

pub(super) fn put_verdict(message: Message, number: u16, verdict: &NftVerdict) -> Message {
    let (code, chain) = match verdict {
        NftVerdict::Drop => (0, None),
        NftVerdict::Accept => (1, None),
        NftVerdict::Continue => (-1, None),
        NftVerdict::Break => (-2, None),
        NftVerdict::Jump(chain) => (-3, Some(chain)),
        NftVerdict::Goto(chain) => (-4, Some(chain)),
        NftVerdict::Return => (-5, None),
        NftVerdict::Other(code) => (*code, None),
    };
    message.nest(number, |data| {
        data.nest(NFTA_DATA_VERDICT, |nest| {
            let nest = nest.put(1, &i32::to_be_bytes(code));
            chain.into_iter().fold(nest, |nest, chain| nest.put_str(2, chain))
        })
    })
}

/// Writes an expression into a list (`NFTA_LIST_ELEM`). Of extensions of the tools only those can be written that are
/// held as bytes ([`XtOther`]); the kernel refuses the others.
#[must_use]
pub fn put_expr(message: Message, expr: &NftExpr) -> Message {
    message.nest(1, |item| {
        let (name, data) = named(expr);
        let item = item.put_str(1, name);
        if let NftExpr::Other { data, .. } = expr {
            const NLA_F_NESTED: u16 = 0x8000;
            return item.put(2 | NLA_F_NESTED, &data.0);
        }
        item.nest(2, data)
    })
}

/// Returns an expression's name and what writes its attributes.
fn named(expr: &NftExpr) -> (&str, Box<dyn FnOnce(Message) -> Message + '_>) {
    match expr {
        NftExpr::Payload { base, offset, len, dreg } => {
            ("payload", Box::new(move |m| put_register(put_payload(m, *base, *offset, *len), 1, *dreg)))
        }
        NftExpr::PayloadSet { base, offset, len, sreg, sum } => (
            "payload",
            Box::new(move |m| {
                let m = put_register(put_payload(m, *base, *offset, *len), 5, *sreg);
                put_be32(put_be32(put_be32(m, 6, sum.kind), 7, sum.offset), 8, sum.flags)
            }),
        ),
        NftExpr::Meta { key, dreg } => {
            ("meta", Box::new(move |m| put_register(put_be32(m, 2, meta_number(*key)), 1, *dreg)))
        }
        NftExpr::MetaSet { key, sreg } => {
            ("meta", Box::new(move |m| put_register(put_be32(m, 2, meta_number(*key)), 3, *sreg)))
        }
        NftExpr::Cmp { sreg, op, data } => {
            ("cmp", Box::new(move |m| put_value(put_be32(put_register(m, 1, *sreg), 2, *op as u32), 3, data)))
        }
        NftExpr::Range { sreg, negated, from, to } => (
            "range",
            Box::new(move |m| {
                let m = put_be32(put_register(m, 1, *sreg), 2, u32::from(*negated));
                put_value(put_value(m, 3, from), 4, to)
            }),
        ),
        NftExpr::Bitwise { sreg, dreg, len, op } => (
            "bitwise",
            Box::new(move |m| {
                let m = put_be32(put_register(put_register(m, 1, *sreg), 2, *dreg), 3, *len);
                put_bitwise(m, op)
            }),
        ),
        NftExpr::Byteorder { sreg, dreg, to_network, len, size } => (
            "byteorder",
            Box::new(move |m| {
                let m = put_register(put_register(m, 1, *sreg), 2, *dreg);
                put_be32(put_be32(put_be32(m, 3, u32::from(*to_network)), 4, *len), 5, *size)
            }),
        ),
        NftExpr::Lookup { set, sreg, dreg, inverted } => (
            "lookup",
            Box::new(move |m| {
                let m = put_register(m.put_str(1, set), 2, *sreg);
                let m = dreg.iter().fold(m, |m, dreg| put_register(m, 3, *dreg));
                if *inverted { put_be32(m, 5, 1) } else { m }
            }),
        ),
        NftExpr::Immediate { dreg, data } => {
            ("immediate", Box::new(move |m| put_value(put_register(m, 1, *dreg), 2, data)))
        }
        NftExpr::Verdict(verdict) => {
            ("immediate", Box::new(move |m| put_verdict(put_register(m, 1, 0), 2, verdict)))
        }
        NftExpr::Fib { dreg, result, flags } => (
            "fib",
            Box::new(move |m| {
                let number = match result {
                    FibResult::Oif => 1,
                    FibResult::OifName => 2,
                    FibResult::AddressType => 3,
                    FibResult::Other(other) => *other,
                };
                put_be32(put_be32(put_register(m, 1, *dreg), 2, number), 3, *flags)
            }),
        ),
        NftExpr::Reject => ("reject", Box::new(|m| put_be32(m, 1, 0).put_u8(2, 0))),
        NftExpr::ToDevice { copy: true, sreg } => ("dup", Box::new(move |m| put_register(m, 2, *sreg))),
        NftExpr::ToDevice { copy: false, sreg } => ("fwd", Box::new(move |m| put_register(m, 1, *sreg))),
        NftExpr::Nat(nat) => (
            match nat.kind {
                NftNatKind::Snat | NftNatKind::Dnat => "nat",
                NftNatKind::Masquerade => "masq",
                NftNatKind::Redirect => "redir",
            },
            Box::new(move |m| put_nat(m, nat)),
        ),
        NftExpr::Dynset { set } => ("dynset", Box::new(move |m| m.put_str(1, set))),
        NftExpr::NoEffect(name) => (name, Box::new(|m| m)),
        NftExpr::Match(XtMatch::Other(other)) => ("match", Box::new(move |m| put_extension(m, other))),
        NftExpr::Target(XtTarget::Other(other)) => ("target", Box::new(move |m| put_extension(m, other))),
        // Without a revision and data, which the kernel refuses.
        NftExpr::Match(known) => ("match", Box::new(move |m| m.put_str(1, known.name()))),
        NftExpr::Target(known) => ("target", Box::new(move |m| m.put_str(1, known.name()))),
        NftExpr::Other { name, .. } => (name, Box::new(|m| m)),
    }
}

fn put_bitwise(message: Message, op: &BitwiseOp) -> Message {
    match op {
        BitwiseOp::Mask { mask, xor } => put_value(put_value(message, 4, mask), 5, xor),
        BitwiseOp::Shift { left, bits } => {
            let message = put_be32(message, 6, if *left { 1 } else { 2 });
            put_value(message, 7, &Bytes::from(&bits.to_ne_bytes()[..]))
        }
        BitwiseOp::Registers { op, sreg2 } => {
            let number = match op {
                RegisterOp::And => 3,
                RegisterOp::Or => 4,
                RegisterOp::Xor => 5,
            };
            put_register(put_be32(message, 6, number), 8, *sreg2)
        }
    }
}

fn put_extension(message: Message, extension: &XtOther) -> Message {
    put_be32(message.put_str(1, &extension.name), 2, extension.revision.into()).put(3, &extension.info.0)
}

fn put_payload(message: Message, base: PayloadBase, offset: u32, len: u32) -> Message {
    let base = match base {
        PayloadBase::Link => 0,
        PayloadBase::Network => 1,
        PayloadBase::Transport => 2,
        PayloadBase::Inner => 3,
        PayloadBase::Other(other) => other,
    };
    put_be32(put_be32(put_be32(message, 2, base), 3, offset), 4, len)
}

fn meta_number(key: MetaKey) -> u32 {
    if let MetaKey::Other(number) = key {
        return number;
    }
    META_KEYS.iter().find(|(_, known)| *known == key).map_or(u32::MAX, |(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Messages;

    fn read_back(expr_in: &NftExpr) -> NftExpr {
        let bytes = put_expr(Message::new(0, 0), expr_in).finish(1);
        let message = Messages::new(&bytes).next().unwrap();
        expr(Some(NftFamily::Bridge), &Attributes::new(message.payload).next().unwrap().nested())
    }

    /// An expression with attributes as the kernel would send them.
    fn one(name: &str, data: impl FnOnce(Message) -> Message) -> NftExpr {
        let bytes = Message::new(0, 0).nest(1, |item| item.put_str(1, name).nest(2, data)).finish(1);
        let message = Messages::new(&bytes).next().unwrap();
        expr(Some(NftFamily::Bridge), &Attributes::new(message.payload).next().unwrap().nested())
    }

    fn others_name(expr: NftExpr) -> Option<String> {
        if let NftExpr::Other { name, .. } = expr { Some(name) } else { None }
    }

    /// The numbers of `nft_parse_register`, written out: the encoder beside is no witness for them.
    #[test]
    fn registers_by_either_name() {
        let dreg = |number| match one("meta", |m| put_be32(put_be32(m, 2, 1), 1, number)) {
            NftExpr::Meta { dreg, .. } => Some(dreg),
            _ => None,
        };
        let numbers = [0, 1, 2, 4, 5, 7, 8, 9, 12, 23, 24, 256 + 1, u32::MAX];
        let wanted = [0, 4, 8, 16].map(Some).into_iter().chain([None; 2]).chain([4, 5, 8, 19].map(Some));
        assert_eq!(numbers.map(dreg).to_vec(), wanted.chain([None; 3]).collect::<Vec<_>>());
    }

    #[test]
    fn shifts_and_operations_of_two_registers() {
        let of = |op, fill: fn(Message) -> Message| {
            let start = |m| put_be32(put_be32(put_be32(put_be32(m, 1, 1), 2, 9), 3, 4), 6, op);
            one("bitwise", |m| fill(start(m)))
        };
        let shift = |m: Message| m.nest(7, |data| data.put(NFTA_DATA_VALUE, &12u32.to_ne_bytes()));
        let register = |m: Message| put_be32(m, 8, 10);
        for (op, fill, op_wanted) in [
            (1, shift as fn(Message) -> Message, BitwiseOp::Shift { left: true, bits: 12 }),
            (2, shift, BitwiseOp::Shift { left: false, bits: 12 }),
            (3, register, BitwiseOp::Registers { op: RegisterOp::And, sreg2: 6 }),
            (5, register, BitwiseOp::Registers { op: RegisterOp::Xor, sreg2: 6 }),
        ] {
            assert_eq!(of(op, fill), NftExpr::Bitwise { sreg: 4, dreg: 5, len: 4, op: op_wanted });
        }
        assert_eq!(others_name(of(1, register)).as_deref(), Some("bitwise"), "a shift by nobody knows what");
        assert_eq!(others_name(of(6, shift)).as_deref(), Some("bitwise"), "a newer operation");
    }

    #[test]
    fn what_only_resembles_a_known_expression() {
        let next_hop = one("fwd", |m| put_be32(put_be32(put_be32(m, 1, 1), 2, 2), 3, 2));
        assert_eq!(others_name(next_hop).as_deref(), Some("fwd"));
        let of_ip = one("dup", |m| put_be32(put_be32(m, 1, 1), 2, 2));
        assert_eq!(others_name(of_ip).as_deref(), Some("dup"));
        let jump_to_nowhere = one("immediate", |m| {
            put_be32(m, 1, 0).nest(2, |d| d.nest(NFTA_DATA_VERDICT, |v| put_be32(v, 1, -3i32 as u32)))
        });
        assert_eq!(others_name(jump_to_nowhere).as_deref(), Some("immediate"));
    }

    #[test]
    fn a_rule_of_several_expressions() {
        let bytes = Message::new(0, 0)
            .header(&[7, 0, 0, 0])
            .put_str(1, "t")
            .put_str(2, "c")
            .put(3, &9u64.to_be_bytes())
            .nest(4, |list| {
                let log = |item: Message| item.put_str(1, "log").nest(2, |data| data.put_str(2, "prefix"));
                let drop = |v: Message| put_be32(v, 1, 0);
                let data = |m: Message| put_be32(m, 1, 0).nest(2, |data| data.nest(NFTA_DATA_VERDICT, drop));
                list.nest(1, log).nest(1, |item| item.put_str(1, "immediate").nest(2, data))
            })
            .put(7, b"\0\x06hello\0")
            .finish(1);
        let (table, chain, found) = rule(Messages::new(&bytes).next().unwrap().payload).unwrap();
        let expressions = vec![NftExpr::NoEffect("log".to_owned()), NftExpr::Verdict(NftVerdict::Drop)];
        assert_eq!((table.as_str(), chain.as_str()), ("t", "c"));
        assert_eq!(found, NftRule { handle: 9, expressions });
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = |bytes: &[u8]| Bytes::from(bytes);
        let all = [
            NftExpr::Payload { base: PayloadBase::Link, offset: 12, len: 2, dreg: 4 },
            NftExpr::PayloadSet {
                base: PayloadBase::Network,
                offset: 8,
                len: 1,
                sreg: 9,
                sum: PayloadSum { kind: 1, offset: 10, flags: 1 },
            },
            NftExpr::Meta { key: MetaKey::BriIifName, dreg: 8 },
            NftExpr::Meta { key: MetaKey::Other(31), dreg: 19 },
            NftExpr::MetaSet { key: MetaKey::Mark, sreg: 4 },
            NftExpr::Cmp { sreg: 4, op: CmpOp::Gte, data: bytes(&[8, 6]) },
            NftExpr::Range { sreg: 5, negated: true, from: bytes(&[0, 1]), to: bytes(&[0, 9]) },
            NftExpr::Bitwise {
                sreg: 4,
                dreg: 4,
                len: 2,
                op: BitwiseOp::Mask { mask: bytes(&[0x0f, 0xff]), xor: bytes(&[0, 0]) },
            },
            NftExpr::Byteorder { sreg: 4, dreg: 6, to_network: true, len: 4, size: 4 },
            NftExpr::Lookup { set: "s".into(), sreg: 4, dreg: Some(0), inverted: false },
            NftExpr::Lookup { set: "__set3".into(), sreg: 12, dreg: None, inverted: true },
            NftExpr::Immediate { dreg: 4, data: bytes(&[1, 0, 0, 0]) },
            NftExpr::Verdict(NftVerdict::Jump("chain".into())),
            NftExpr::Verdict(NftVerdict::Drop),
            NftExpr::Verdict(NftVerdict::Other(3)),
            NftExpr::Fib { dreg: 4, result: FibResult::AddressType, flags: 2 },
            NftExpr::Reject,
            NftExpr::ToDevice { copy: true, sreg: 4 },
            NftExpr::ToDevice { copy: false, sreg: 4 },
            NftExpr::NoEffect("counter".into()),
            NftExpr::Match(XtMatch::Other(XtOther {
                name: "physdev".into(),
                revision: 1,
                info: bytes(&[1, 2, 3]),
            })),
        ];
        for expr in all {
            assert_eq!(read_back(&expr), expr);
        }
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let other = NftExpr::Other { name: "limit".into(), data: Bytes(vec![5, 0, 1, 0, 7, 0, 0, 0]) };
        assert_eq!(read_back(&other), other);
        let broken =
            Message::new(0, 0).nest(1, |m| m.put_str(1, "cmp").nest(2, |m| put_be32(m, 1, 99))).finish(1);
        let message = Messages::new(&broken).next().unwrap();
        let found = expr(Some(NftFamily::Bridge), &Attributes::new(message.payload).next().unwrap().nested());
        assert!(matches!(found, NftExpr::Other { name, data } if name == "cmp" && data.0.len() == 8));
    }

    /// What the kernel's attributes of an expression are, from number 1: numbers, values or verdicts, strings.
    const SHAPES: [(&str, &str); 14] = [
        ("payload", "nnnnn"),
        ("meta", "nnn"),
        ("cmp", "nnv"),
        ("range", "nnvv"),
        ("bitwise", "nnnvvnvn"),
        ("byteorder", "nnnnn"),
        ("lookup", "snnnn"),
        ("immediate", "nv"),
        ("fib", "nnn"),
        ("dup", "nn"),
        ("fwd", "nnn"),
        ("dynset", "snn"),
        ("match", "snv"),
        ("limit", "nnn"),
    ];

    fn a_payload(kind: char) -> BoxedStrategy<Vec<u8>> {
        let nest = |fill: &dyn Fn(Message) -> Message| {
            let bytes = fill(Message::new(0, 0)).finish(1);
            Messages::new(&bytes).next().unwrap().payload.to_vec()
        };
        let some_bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let verdict = (-6..4i32).prop_map(move |code| {
            nest(&|m| m.nest(NFTA_DATA_VERDICT, |v| v.put(1, &code.to_be_bytes()).put_str(2, "chain")))
        });
        let value = some_bytes().prop_map(move |bytes| nest(&|m| m.put(NFTA_DATA_VALUE, &bytes)));
        match kind {
            'n' => (0..10u32).prop_map(|number| number.to_be_bytes().to_vec()).boxed(),
            'v' => prop_oneof![5 => value, 1 => verdict, 1 => some_bytes()].boxed(),
            _ => "[a-z]{1,8}".prop_map(|text| [text.as_bytes(), &[0]].concat()).boxed(),
        }
    }

    /// An expression's name and its attributes, of which some are missing.
    fn an_expression() -> impl Strategy<Value = (String, Vec<Option<Vec<u8>>>)> {
        proptest::sample::select(&SHAPES[..]).prop_flat_map(|(name, shape)| {
            let payloads: Vec<_> =
                shape.chars().map(|kind| proptest::option::weighted(0.9, a_payload(kind))).collect();
            (Just(name.to_owned()), payloads)
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = rule(&bytes);
            let _ = expr(Some(NftFamily::Bridge), &Attributes::new(&bytes));
            let _ = super::super::set::set(&bytes);
            let _ = super::super::set::elements(&bytes);
        }

        #[test]
        fn no_data_makes_it_panic(name in "payload|meta|cmp|range|bitwise|byteorder|lookup|immediate|fib|dup|fwd|dynset|match", bytes: Vec<u8>) {
            let _ = known(Some(NftFamily::Ip), &name, &Attributes::new(&bytes));
        }

        /// Attributes as they might come, in any combination: what is understood says the same again when it is written,
        /// what is not is kept to the last byte.
        #[test]
        fn nothing_is_lost((name, payloads) in an_expression()) {
            let filled = |m| (1..).zip(&payloads).fold(m, |m: Message, (number, payload)| match payload {
                Some(payload) => m.put(number, payload),
                None => m,
            });
            let bytes = filled(Message::new(0, 0)).finish(1);
            let data = Messages::new(&bytes).next().unwrap().payload;
            match one(&name, filled) {
                NftExpr::Other { name: kept, data: raw } => prop_assert_eq!((kept, raw.0), (name, data.to_vec())),
                found => prop_assert_eq!(read_back(&found), found),
            }
        }
    }
}
