//! `net/netfilter/nf_tables_core.c`: the rules of a chain, one after the other.

use std::cell::Cell;
use std::cmp::Ordering;

use portcullis_snapshot::{CmpOp, MetaKey};

use super::nft_prepared::{Candidate, Loaded};
use super::registers::{Registers, Value, compare, equals, lies_in, masked, number_at, swapped};
use super::{NfState, NfVerdict};
use crate::frame::Frame;
use crate::network::{Datum, Expr, Rule, Ruleset, Verdict};
use crate::walk::{OpenKind, Skb, Trace, Walker};

/// `NFT_JUMP_STACK_SIZE`.
const JUMP_STACK_SIZE: usize = 16;

/// What a packet's rules are evaluated with (`struct nft_pktinfo`).
pub(super) struct Pktinfo<'r, 's> {
    pub(super) state: NfState,
    pub(super) ruleset: &'r Ruleset<'s>,
    /// The transport header, once it was looked for.
    pub(super) transport: Option<Option<super::nft_payload::Transport>>,
    /// The rule that is being evaluated, for people.
    pub(super) rule: (usize, u64),
    /// The last rule that left a question open. What else of it is not known follows from that.
    asked: Cell<Option<(usize, u64)>>,
}

impl<'r, 's> Pktinfo<'r, 's> {
    /// Names the rule that is being evaluated.
    pub(super) fn place(&self) -> String {
        let table = self.ruleset.table;
        let family = format!("{:?}", table.family).to_lowercase();
        let (chain, handle) = self.rule;
        let chain = self.ruleset.chains.get(chain).map_or("", |chain| chain.name);
        format!("nftables {family} {} {chain} rule {handle}", table.name)
    }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_do_chain`.
    pub(super) fn nft_do_chain(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: usize,
        base: usize,
        policy_drop: bool,
    ) -> NfVerdict {
        let network = self.network;
        let Some(ruleset) = network.hooks().ruleset(table) else { return NfVerdict::Accept };
        let mut pkt =
            Pktinfo { state: *state, ruleset, transport: None, rule: (base, 0), asked: Cell::new(None) };
        let mut registers = Registers::default();
        let mut loaded = self.nft_prepares(skb, &pkt);
        let mut stack: Vec<(usize, usize)> = Vec::new();
        let (mut chain, mut next) = (base, 0);
        let mut resumed = self.start_at.take();
        if let Some(start) = &mut resumed {
            (chain, next, stack) = (start.chain, start.next, std::mem::take(&mut start.stack));
        }
        loop {
            if resumed.take().is_none()
                && ruleset.self_contained
                && self.pauses_before(skb, (chain, next), &stack)
            {
                return NfVerdict::Paused;
            }
            let known = loaded.as_mut();
            let candidate = known
                .and_then(|loaded| self.nft_candidate(skb, &mut pkt, loaded, (chain, next)))
                .unwrap_or(Candidate { at: next, verdict: None });
            let rule = ruleset.chains.get(chain).and_then(|chain| chain.rules.get(candidate.at));
            let Some(rule) = rule else {
                // The end of a chain: back to where it was jumped to from, or to the policy.
                let Some((back, at)) = stack.pop() else { break };
                (chain, next) = (back, at);
                continue;
            };
            next = candidate.at + 1;
            pkt.rule = (chain, rule.handle);
            let verdict = candidate.verdict.unwrap_or_else(|| {
                loaded.iter_mut().for_each(Loaded::forget);
                self.nft_rule(skb, &mut pkt, rule, &mut registers)
            });
            match verdict {
                Verdict::Accept => return NfVerdict::Accept,
                Verdict::Drop => {
                    self.nft_drop(skb, || pkt.place());
                    return NfVerdict::Drop;
                }
                Verdict::Stolen => return NfVerdict::Drop,
                Verdict::Continue | Verdict::Break => {}
                Verdict::Return => match stack.pop() {
                    Some((back, at)) => (chain, next) = (back, at),
                    None => break,
                },
                Verdict::Jump(to) if stack.len() < JUMP_STACK_SIZE => {
                    stack.push((chain, next));
                    (chain, next) = (to, 0);
                }
                Verdict::Goto(to) => (chain, next) = (to, 0),
                Verdict::Jump(_) | Verdict::Open(_) => {
                    let what = format!("{}: a verdict that is not known", pkt.place());
                    if self.undecided(skb, "nft_do_chain", OpenKind::Filter(what)) {
                        self.nft_drop(skb, || pkt.place());
                        return NfVerdict::Drop;
                    }
                    return NfVerdict::Accept;
                }
            }
        }
        if policy_drop {
            let chain = ruleset.chains.get(base).map_or("", |chain| chain.name);
            self.nft_drop(skb, || format!("nftables {} {chain}: policy drop", ruleset.table.name));
            return NfVerdict::Drop;
        }
        NfVerdict::Accept
    }

    fn nft_drop(&mut self, skb: &Skb, place: impl Fn() -> String) {
        let place = if self.manner.trace == Trace::Steps { place() } else { String::new() };
        self.drop_skb("nft_do_chain", skb, "a rule drops it", format_args!("{place}"));
    }

    /// One rule: expression after expression, until one does not hold or decides.
    fn nft_rule<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        rule: &Rule<'s>,
        registers: &mut Registers,
    ) -> Verdict<'s> {
        for expression in &rule.expressions {
            let verdict = self.nft_expr(skb, pkt, expression, registers);
            if verdict != Verdict::Continue {
                return verdict;
            }
        }
        Verdict::Continue
    }

    fn nft_expr<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        expression: &Expr<'s>,
        registers: &mut Registers,
    ) -> Verdict<'s> {
        let holds = match *expression {
            Expr::Payload { base, offset, len, dreg } => {
                return self.nft_payload_eval(skb, pkt, registers, (base, offset, len), dreg);
            }
            Expr::PayloadSet(ref set) => return self.nft_payload_set_eval(skb, pkt, registers, set),
            Expr::Meta { key, dreg } => return self.nft_meta_get_eval(skb, pkt, key, registers, dreg),
            Expr::MetaSet { key, sreg } => {
                self.nft_meta_set_eval(skb, pkt, key, &registers.load(sreg, len_of_meta(key)));
                true
            }
            Expr::Cmp { sreg, op, data } => match registers.load(sreg, data.len()) {
                Value::Known(bytes) => ordering_holds(op, bytes.cmp(data)),
                Value::Pieces(pieces) if op == CmpOp::Eq => equals(self.frame, &pieces, data),
                Value::Pieces(pieces) if op == CmpOp::Neq => !equals(self.frame, &pieces, data),
                Value::Pieces(pieces) => ordering_holds(op, compare(self.frame, &pieces, data)),
                Value::Unknown => return self.nft_unknown(skb, pkt, "what it compares"),
            },
            Expr::Range { sreg, negated, from, to } => match registers.load(sreg, from.len()) {
                Value::Known(bytes) => (from <= bytes && bytes <= to) != negated,
                Value::Pieces(pieces) => lies_in(self.frame, &pieces, from, to) != negated,
                Value::Unknown => return self.nft_unknown(skb, pkt, "what it compares"),
            },
            Expr::Bitwise { sreg, dreg, mask, xor } => {
                bitwise(registers, sreg, dreg, mask, xor);
                true
            }
            Expr::Byteorder { sreg, dreg, len, size } => {
                byteorder(registers, sreg, dreg, len, size);
                true
            }
            Expr::Immediate { dreg, data } => {
                registers.store(dreg, data);
                true
            }
            Expr::Lookup { set, sreg, dreg, inverted } => {
                return self.nft_lookup_eval(skb, pkt, registers, (set, sreg, dreg, inverted));
            }
            Expr::Fib { dreg, result, flags } => {
                return self.nft_fib_eval(skb, pkt, registers, dreg, result, flags);
            }
            Expr::XtMatch(ref one) => return self.nft_match_eval(skb, pkt, one),
            Expr::XtTarget(target) => return self.nft_target_eval(skb, pkt, target),
            Expr::Verdict(verdict) => return verdict,
            Expr::Reject => return Verdict::Drop,
            Expr::ToDevice { copy, sreg } => return self.nft_to_device(skb, pkt, registers, copy, sreg),
            Expr::Nat(nat) => return self.nft_nat_eval(skb, pkt, registers, nat),
            Expr::Dynset(set) => return self.nft_dynset_eval(skb, pkt, set),
            Expr::Shift { sreg, dreg, len, left, bits } => {
                super::nft_bitwise::shift(registers, (sreg, dreg, len), left, bits);
                true
            }
            Expr::Registers { sreg, sreg2, dreg, len, op } => {
                super::nft_bitwise::combine(registers, (sreg, sreg2, dreg, len), op);
                true
            }
            Expr::Open(ref what) => {
                registers.forget_all();
                return self.nft_unknown(skb, pkt, what);
            }
        };
        if holds { Verdict::Continue } else { Verdict::Break }
    }

    /// Something that nothing here tells: the rule goes on or not.
    pub(super) fn nft_unknown<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        what: &str,
    ) -> Verdict<'s> {
        self.nft_ask(skb, pkt, what);
        if self.frame.choose(2) == 1 { Verdict::Continue } else { Verdict::Break }
    }

    /// Leaves a question open about the rule, unless it did so before.
    pub(super) fn nft_ask(&mut self, skb: &mut Skb, pkt: &Pktinfo<'_, '_>, what: &str) {
        if pkt.asked.replace(Some(pkt.rule)) != Some(pkt.rule) {
            let what = format!("{}: {what}", pkt.place());
            self.ask(skb, "nft_do_chain", OpenKind::Filter(what));
        }
    }

    /// What a map has for a key goes into a register, or is the verdict.
    pub(super) fn nft_datum<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        registers: &mut Registers,
        dreg: Option<portcullis_snapshot::Register>,
        datum: Datum<'s>,
    ) -> Verdict<'s> {
        match (datum, dreg) {
            (Datum::Value(value), Some(dreg)) => registers.store(dreg, value),
            (Datum::Verdict(verdict), Some(_)) => return verdict,
            (Datum::Open, _) => {
                registers.forget_all();
                return self.nft_unknown(skb, pkt, "an element that decides by a limit or an object");
            }
            (Datum::Nothing, _) | (_, None) => {}
        }
        Verdict::Continue
    }
}

fn len_of_meta(key: MetaKey) -> usize {
    if matches!(key, MetaKey::PktType | MetaKey::BriBroute) { 1 } else { 4 }
}

const fn ordering_holds(op: CmpOp, ordering: Ordering) -> bool {
    match op {
        CmpOp::Eq => ordering.is_eq(),
        CmpOp::Neq => ordering.is_ne(),
        CmpOp::Lt => ordering.is_lt(),
        CmpOp::Lte => ordering.is_le(),
        CmpOp::Gt => ordering.is_gt(),
        CmpOp::Gte => ordering.is_ge(),
    }
}

/// `nft_bitwise_eval_mask_xor`.
fn bitwise(registers: &mut Registers, sreg: u8, dreg: u8, mask: &[u8], xor: &[u8]) {
    let done = match registers.load(sreg, mask.len()) {
        Value::Known(bytes) => {
            let turned = xor.iter().chain(std::iter::repeat(&0));
            let result: Vec<u8> =
                bytes.iter().zip(mask).zip(turned).map(|((byte, mask), xor)| byte & mask ^ xor).collect();
            Ok(result)
        }
        Value::Pieces(pieces) => Err(masked(&pieces, mask, xor)),
        Value::Unknown => Err(None),
    };
    match done {
        Ok(bytes) => registers.store(dreg, &bytes),
        Err(Some(pieces)) => registers.store_pieces(dreg, pieces),
        Err(None) => registers.store_pieces(dreg, unknown(mask.len())),
    }
}

/// `nft_byteorder_eval`: both directions turn the bytes round, on a little-endian host; on the other kind neither does.
fn byteorder(registers: &mut Registers, sreg: u8, dreg: u8, len: usize, size: usize) {
    let size = if cfg!(target_endian = "little") { size.max(1) } else { 1 };
    let turned = match registers.load(sreg, len) {
        Value::Known(bytes) => {
            Ok(bytes.chunks(size).flat_map(|value| value.iter().rev().copied()).collect::<Vec<u8>>())
        }
        Value::Pieces(pieces) => Err(swapped(&pieces, len, size)),
        Value::Unknown => Err(unknown(len)),
    };
    match turned {
        Ok(bytes) => registers.store(dreg, &bytes),
        Err(pieces) => registers.store_pieces(dreg, pieces),
    }
}

pub(super) fn unknown(len: usize) -> Vec<super::registers::Piece> {
    vec![super::registers::Piece { bits: 8, source: super::registers::Source::Unknown }; len]
}

/// Returns a number in host byte order.
pub(super) fn host_number(bytes: &[u8]) -> u128 {
    let mut bytes = bytes.to_vec();
    if cfg!(target_endian = "little") {
        bytes.reverse();
    }
    number_at(&bytes, 0, (bytes.len() * 8) as u32)
}
