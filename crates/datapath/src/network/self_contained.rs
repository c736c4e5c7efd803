//! Whether rules of nftables read only registers that they have loaded before.
//!
//! Registers keep what an earlier rule put into them. Where a rule may read that, no rule before it can be passed over
//! ([`super::prepared`]), and no walk can be taken up before it. The tools write no such rules, and kernels since 6.16
//! refuse them.

use portcullis_snapshot::{FibResult, MetaKey, Register};

use super::ruleset::{Datum, Elements, Expr, Rule};

/// All that fits into the registers that hold no verdict.
const LONGEST: usize = 64;

/// The bytes of the registers that a rule has written so far, a bit each.
struct Registers(u128);

impl Registers {
    fn bytes(register: Register, len: usize) -> u128 {
        // There are 80.
        let (first, len) = (u32::from(register) * 4, u32::try_from(len).unwrap_or(u32::MAX).min(80));
        if first >= 80 { 0 } else { ((1 << len) - 1) << first & ((1 << 80) - 1) }
    }

    /// Whole words are written.
    fn write(&mut self, register: Register, len: usize) {
        self.0 |= Self::bytes(register, len.next_multiple_of(4));
    }

    fn holds(&self, register: Register, len: usize) -> bool {
        let bytes = Self::bytes(register, len);
        self.0 & bytes == bytes
    }
}

/// Whether a rule reads only registers that it has loaded before.
pub(super) fn is_self_contained(rule: &Rule<'_>, sets: &[Elements<'_>]) -> bool {
    let mut written = Registers(0);
    rule.expressions.iter().all(|expression| {
        let right = reads(expression, sets, &written);
        write(expression, sets, &mut written);
        right
    })
}

/// Whether what an expression reads was written.
fn reads(expression: &Expr<'_>, sets: &[Elements<'_>], written: &Registers) -> bool {
    match *expression {
        Expr::PayloadSet(ref set) => written.holds(set.sreg, set.len),
        Expr::MetaSet { key, sreg } => {
            let len = if matches!(key, MetaKey::PktType | MetaKey::BriBroute) { 1 } else { 4 };
            written.holds(sreg, len)
        }
        Expr::Cmp { sreg, data, .. } => written.holds(sreg, data.len()),
        Expr::Range { sreg, from, .. } => written.holds(sreg, from.len()),
        Expr::Bitwise { sreg, mask, .. } => written.holds(sreg, mask.len()),
        Expr::Byteorder { sreg, len, .. } | Expr::Shift { sreg, len, .. } => written.holds(sreg, len),
        Expr::Registers { sreg, sreg2, len, .. } => written.holds(sreg, len) && written.holds(sreg2, len),
        Expr::Lookup { set, sreg, .. } => {
            sets.get(set).is_none_or(|elements| written.holds(sreg, elements.set.key_len as usize))
        }
        Expr::ToDevice { sreg, .. } => written.holds(sreg, 4),
        Expr::Nat(nat) => {
            const NFPROTO_IPV4: u8 = 2;
            let len = if nat.family == NFPROTO_IPV4 { 4 } else { 16 };
            let both = |pair: Option<(Register, Register)>, len| {
                pair.is_none_or(|(first, last)| written.holds(first, len) && written.holds(last, len))
            };
            both(nat.addresses, len) && both(nat.ports, 2)
        }
        Expr::Payload { .. }
        | Expr::Meta { .. }
        | Expr::Immediate { .. }
        | Expr::Verdict(_)
        | Expr::Fib { .. }
        | Expr::XtMatch(_)
        | Expr::XtTarget(_)
        | Expr::Reject
        | Expr::Dynset(_)
        | Expr::Open(_) => true,
    }
}

/// Notes what an expression writes, or makes unknown: of several possibilities the least.
fn write(expression: &Expr<'_>, sets: &[Elements<'_>], written: &mut Registers) {
    match *expression {
        Expr::Payload { dreg, len, .. } => written.write(dreg, len),
        Expr::Meta { key, dreg } => written.write(dreg, len_of(key)),
        Expr::Bitwise { dreg, mask, .. } => written.write(dreg, mask.len()),
        Expr::Byteorder { dreg, len, .. }
        | Expr::Shift { dreg, len, .. }
        | Expr::Registers { dreg, len, .. } => written.write(dreg, len),
        Expr::Lookup { set, dreg: Some(dreg), inverted: false, .. } => {
            let lens = sets.get(set).into_iter().flat_map(|elements| {
                let data = elements.ranges.iter().map(|range| range.data).chain(elements.catchall);
                data.map(|datum| match datum {
                    Datum::Value(value) => value.len(),
                    // Everything is unknown then.
                    Datum::Open => usize::MAX,
                    Datum::Nothing | Datum::Verdict(_) => 0,
                })
            });
            // Behind an empty map nothing is evaluated.
            written.write(dreg, lens.min().unwrap_or(LONGEST).min(LONGEST));
        }
        Expr::Immediate { dreg, data } => written.write(dreg, data.len()),
        Expr::Fib { dreg, result, flags } => {
            const PRESENT: u32 = 32;
            let named = result == FibResult::OifName && flags & PRESENT == 0;
            written.write(dreg, if named { 16 } else { 4 });
        }
        Expr::Open(_) => written.0 = u128::MAX,
        Expr::PayloadSet(_)
        | Expr::MetaSet { .. }
        | Expr::Cmp { .. }
        | Expr::Range { .. }
        | Expr::Lookup { .. }
        | Expr::Verdict(_)
        | Expr::XtMatch(_)
        | Expr::XtTarget(_)
        | Expr::Reject
        | Expr::ToDevice { .. }
        | Expr::Nat(_)
        | Expr::Dynset(_) => {}
    }
}

/// How many bytes a meta expression writes.
const fn len_of(key: MetaKey) -> usize {
    match key {
        MetaKey::NfProto | MetaKey::L4Proto | MetaKey::PktType => 1,
        MetaKey::Protocol
        | MetaKey::IifType
        | MetaKey::OifType
        | MetaKey::BriIifPvid
        | MetaKey::BriIifVproto => 2,
        MetaKey::BriIifHwAddr => 6,
        MetaKey::Len | MetaKey::Priority | MetaKey::Mark | MetaKey::Iif | MetaKey::Oif => 4,
        MetaKey::IifName
        | MetaKey::OifName
        | MetaKey::BriIifName
        | MetaKey::BriOifName
        | MetaKey::IifKind
        | MetaKey::OifKind => 16,
        // Everything is unknown then.
        MetaKey::BriBroute | MetaKey::Other(_) => LONGEST,
    }
}
