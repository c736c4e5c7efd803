//! nftables' tables, made ready to be evaluated: names of chains and sets are resolved once.

use std::collections::HashMap;
use std::sync::OnceLock;

use portcullis_snapshot::{
    BitwiseOp, CmpOp, FibResult, Link, MetaKey, NftChain, NftData, NftElement, NftExpr, NftFamily, NftNat,
    NftSet, NftTable, NftVerdict, PayloadBase, PayloadSum, Register, RegisterOp, XtTarget,
};

use super::legacy::{Match, Sets};
use super::prepared::{DeviceNames, Prepared};
use super::self_contained::is_self_contained;

/// A table, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Ruleset<'s> {
    pub(crate) table: &'s NftTable,
    pub(crate) chains: Vec<Chain<'s>>,
    pub(crate) sets: Vec<Elements<'s>>,
    /// Whether each rule reads only what it has loaded itself.
    pub(crate) self_contained: bool,
}

/// A chain of it.
#[derive(Debug)]
pub(crate) struct Chain<'s> {
    pub(crate) name: &'s str,
    pub(crate) rules: Vec<Rule<'s>>,
    /// Its rules as tests, once a packet that is known in full came by.
    prepared: OnceLock<Prepared<'s>>,
}

/// A rule of it.
#[derive(Debug)]
pub(crate) struct Rule<'s> {
    pub(crate) handle: u64,
    pub(crate) expressions: Vec<Expr<'s>>,
}

/// What an expression does.
#[derive(Debug)]
pub(crate) enum Expr<'s> {
    Payload {
        base: PayloadBase,
        offset: usize,
        len: usize,
        dreg: Register,
    },
    PayloadSet(PayloadSet),
    Meta {
        key: MetaKey,
        dreg: Register,
    },
    MetaSet {
        key: MetaKey,
        sreg: Register,
    },
    Cmp {
        sreg: Register,
        op: CmpOp,
        data: &'s [u8],
    },
    Range {
        sreg: Register,
        negated: bool,
        from: &'s [u8],
        to: &'s [u8],
    },
    Bitwise {
        sreg: Register,
        dreg: Register,
        mask: &'s [u8],
        xor: &'s [u8],
    },
    Byteorder {
        sreg: Register,
        dreg: Register,
        len: usize,
        size: usize,
    },
    Lookup {
        set: usize,
        sreg: Register,
        dreg: Option<Register>,
        inverted: bool,
    },
    Immediate {
        dreg: Register,
        data: &'s [u8],
    },
    Verdict(Verdict<'s>),
    Fib {
        dreg: Register,
        result: FibResult,
        flags: u32,
    },
    /// A match of x_tables.
    XtMatch(Match<'s>),
    /// A target of x_tables.
    XtTarget(&'s XtTarget),
    /// Ends the frame's way; the sender may be told.
    Reject,
    /// A copy leaves by another device, or the frame itself does.
    ToDevice {
        copy: bool,
        sreg: Register,
    },
    /// Translates addresses.
    Nat(&'s NftNat),
    /// Adds to a set: only a full one, or a limit in it, stops the rule.
    Dynset(&'s str),
    Shift {
        sreg: Register,
        dreg: Register,
        len: usize,
        left: bool,
        bits: u32,
    },
    Registers {
        sreg: Register,
        sreg2: Register,
        dreg: Register,
        len: usize,
        op: RegisterOp,
    },
    /// Decides by what is not in the frame, or is not known: the name of it.
    Open(String),
}

/// A write into the packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadSet {
    pub(crate) base: PayloadBase,
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) sreg: Register,
    pub(crate) sum: PayloadSum,
}

/// A verdict, with the chain that it names resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<'s> {
    Accept,
    Drop,
    /// It went on elsewhere.
    Stolen,
    Continue,
    Break,
    Return,
    Jump(usize),
    Goto(usize),
    /// Queued to a program, stolen, or to a chain that was not read: the name of it.
    Open(&'s str),
}

/// The elements of a set, as ranges of keys.
#[derive(Debug)]
pub(crate) struct Elements<'s> {
    pub(crate) set: &'s NftSet,
    pub(crate) ranges: Vec<Range<'s>>,
    /// By key, if every range is one.
    pub(crate) exact: Option<HashMap<Vec<u8>, usize>>,
    pub(crate) catchall: Option<Datum<'s>>,
}

/// One element.
#[derive(Debug)]
pub(crate) struct Range<'s> {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
    pub(crate) data: Datum<'s>,
}

/// What a map has for an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datum<'s> {
    Nothing,
    Value(&'s [u8]),
    Verdict(Verdict<'s>),
    /// An object, or an element that decides by a limit.
    Open,
}

/// Where the chains and sets of a table stand, by name.
struct Names<'s> {
    chains: HashMap<&'s str, usize>,
    sets: HashMap<&'s str, usize>,
}

impl<'s> Names<'s> {
    fn new(table: &'s NftTable) -> Self {
        let chains = table.chains.iter().enumerate().map(|(at, chain)| (chain.name.as_str(), at));
        let sets = table.sets.iter().enumerate().map(|(at, set)| (set.name.as_str(), at));
        Self { chains: chains.collect(), sets: sets.collect() }
    }
}

impl<'s> Ruleset<'s> {
    pub(crate) fn new(table: &'s NftTable) -> Self {
        let names = &Names::new(table);
        let mut chains: Vec<Chain<'s>> = table.chains.iter().map(|chain| Chain::new(names, chain)).collect();
        let sets: Vec<_> = table.sets.iter().map(|set| Elements::new(names, set)).collect();
        let self_contained =
            chains.iter().flat_map(|chain| &chain.rules).all(|rule| is_self_contained(rule, &sets));
        if self_contained {
            // What a rule loads last nobody reads.
            let rules = chains.iter_mut().flat_map(|chain| &mut chain.rules);
            rules.for_each(|rule| {
                while rule.expressions.pop_if(|last| matches!(last, Expr::Immediate { .. })).is_some() {}
            });
        }
        Self { table, chains, sets, self_contained }
    }

    /// Returns a chain's rules as tests.
    pub(crate) fn prepared(&self, chain: usize, devices: &DeviceNames) -> Option<&Prepared<'s>> {
        let chain = self.chains.get(chain)?;
        Some(chain.prepared.get_or_init(|| Prepared::new(chain, &self.sets, devices)))
    }

    /// Resolves the devices and sets that matches of x_tables name.
    pub(crate) fn resolve(&mut self, links: &[Link], sets: &Sets<'s>) {
        let rules = self.chains.iter_mut().flat_map(|chain| &mut chain.rules);
        for expression in rules.flat_map(|rule| &mut rule.expressions) {
            if let Expr::XtMatch(one) = expression
                && let Match::Plain(xt) = *one
            {
                *one = Match::new(links, sets, xt);
            }
        }
    }

    /// Returns a chain's place by its name.
    pub(crate) fn chain(&self, name: &str) -> Option<usize> {
        self.chains.iter().position(|chain| chain.name == name)
    }

    /// Whether a rule of it translates addresses.
    pub(crate) fn translates(&self) -> bool {
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.any(|rule| {
            rule.expressions.iter().any(|expression| match expression {
                Expr::Nat(_) => true,
                Expr::XtTarget(target) => super::legacy::translates(target),
                _ => false,
            })
        })
    }

    /// Returns the table's family.
    pub(crate) const fn family(&self) -> NftFamily {
        self.table.family
    }
}

impl<'s> Chain<'s> {
    fn new(names: &Names<'s>, chain: &'s NftChain) -> Self {
        let rule = |rule: &'s portcullis_snapshot::NftRule| Rule {
            handle: rule.handle,
            expressions: rule.expressions.iter().filter_map(|expr| Expr::new(names, expr)).collect(),
        };
        Self { name: &chain.name, rules: chain.rules.iter().map(rule).collect(), prepared: OnceLock::new() }
    }
}

impl<'s> Verdict<'s> {
    fn new(names: &Names<'s>, verdict: &'s NftVerdict) -> Self {
        let place = |name: &String| names.chains.get(name.as_str()).copied();
        match verdict {
            NftVerdict::Accept => Self::Accept,
            NftVerdict::Drop => Self::Drop,
            NftVerdict::Continue => Self::Continue,
            NftVerdict::Break => Self::Break,
            NftVerdict::Return => Self::Return,
            NftVerdict::Jump(name) => place(name).map_or(Self::Open(name), Self::Jump),
            NftVerdict::Goto(name) => place(name).map_or(Self::Open(name), Self::Goto),
            NftVerdict::Other(_) => Self::Open("a queue, or a verdict that is not known"),
        }
    }
}

impl<'s> Expr<'s> {
    /// `None` if it has no effect on the frame's way.
    fn new(names: &Names<'s>, expr: &'s NftExpr) -> Option<Self> {
        let open = |name: &str| Some(Self::Open(name.to_owned()));
        Some(match *expr {
            NftExpr::Payload { base, offset, len, dreg } => {
                Self::Payload { base, offset: offset as usize, len: len as usize, dreg }
            }
            NftExpr::PayloadSet { base, offset, len, sreg, sum } => {
                Self::PayloadSet(PayloadSet { base, offset: offset as usize, len: len as usize, sreg, sum })
            }
            NftExpr::Meta { key, dreg } => Self::Meta { key, dreg },
            NftExpr::MetaSet { key, sreg } => Self::MetaSet { key, sreg },
            NftExpr::Cmp { sreg, op, ref data } => Self::Cmp { sreg, op, data: &data.0 },
            NftExpr::Range { sreg, negated, ref from, ref to } => {
                Self::Range { sreg, negated, from: &from.0, to: &to.0 }
            }
            NftExpr::Bitwise { sreg, dreg, op: BitwiseOp::Mask { ref mask, ref xor }, .. } => {
                Self::Bitwise { sreg, dreg, mask: &mask.0, xor: &xor.0 }
            }
            NftExpr::Bitwise { sreg, dreg, len, op: BitwiseOp::Shift { left, bits } } => {
                Self::Shift { sreg, dreg, len: len as usize, left, bits }
            }
            NftExpr::Bitwise { sreg, dreg, len, op: BitwiseOp::Registers { op, sreg2 } } => {
                Self::Registers { sreg, sreg2, dreg, len: len as usize, op }
            }
            NftExpr::Byteorder { sreg, dreg, len, size, .. } => {
                Self::Byteorder { sreg, dreg, len: len as usize, size: size as usize }
            }
            NftExpr::Lookup { ref set, sreg, dreg, inverted } => match names.sets.get(set.as_str()) {
                Some(&set) => Self::Lookup { set, sreg, dreg, inverted },
                None => return open("a set that was not read"),
            },
            NftExpr::Immediate { dreg, ref data } => Self::Immediate { dreg, data: &data.0 },
            NftExpr::Verdict(ref verdict) => Self::Verdict(Verdict::new(names, verdict)),
            NftExpr::Fib { dreg, result, flags } => Self::Fib { dreg, result, flags },
            NftExpr::Reject => Self::Reject,
            NftExpr::ToDevice { copy, sreg } => Self::ToDevice { copy, sreg },
            NftExpr::Nat(ref nat) => Self::Nat(nat),
            NftExpr::Dynset { ref set } => Self::Dynset(set),
            NftExpr::NoEffect(_) => return None,
            NftExpr::Match(ref xt) => Self::XtMatch(Match::Plain(xt)),
            NftExpr::Target(ref xt) => Self::XtTarget(xt),
            NftExpr::Other { ref name, .. } => return open(&format!("the expression {name}")),
        })
    }
}

impl<'s> Elements<'s> {
    fn new(names: &Names<'s>, set: &'s NftSet) -> Self {
        let len = set.key_len as usize;
        let datum = |element: &'s NftElement| match &element.data {
            // Counters do not decide; whatever else an element carries may.
            _ if element.expressions.iter().any(|name| name != "counter" && name != "last") => Datum::Open,
            None => Datum::Nothing,
            Some(NftData::Value(value)) => Datum::Value(&value.0),
            Some(NftData::Verdict(verdict)) => Datum::Verdict(Verdict::new(names, verdict)),
            Some(NftData::Object(_)) => Datum::Open,
        };
        let keys: Vec<_> =
            set.elements.iter().filter_map(|element| Some((element, element.key.as_ref()?))).collect();
        let boundaries =
            set.has(NftSet::INTERVAL) && keys.iter().all(|(element, _)| element.key_end.is_none());
        let mut ranges = Vec::new();
        for (at, (element, key)) in keys.iter().enumerate() {
            if element.interval_end {
                continue;
            }
            let to = match &element.key_end {
                Some(end) => padded(&end.0, len),
                None if !boundaries => padded(&key.0, len),
                // The key before the next boundary; without one the interval has no end.
                None => keys
                    .get(at + 1)
                    .map_or_else(|| vec![0xff; len], |(_, next)| before(&padded(&next.0, len))),
            };
            ranges.push(Range { from: padded(&key.0, len), to, data: datum(element) });
        }
        let exact = ranges.iter().all(|range| range.from == range.to);
        let exact =
            exact.then(|| ranges.iter().enumerate().map(|(at, range)| (range.from.clone(), at)).collect());
        let catchall = set.elements.iter().find(|element| element.key.is_none()).map(datum);
        Self { set, ranges, exact, catchall }
    }

    /// Returns the lengths in bytes of a key's parts, of which each has a range of its own.
    pub(crate) fn parts(&self) -> Vec<usize> {
        if self.set.concat.is_empty() {
            return vec![self.set.key_len as usize];
        }
        // NFT_REG32_SIZE
        self.set.concat.iter().map(|len| (*len as usize).next_multiple_of(4)).collect()
    }

    /// Returns the element that a key lies in.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        if let Some(exact) = &self.exact {
            return exact.get(key).copied();
        }
        let parts = self.parts();
        let holds = |range: &Range<'_>| {
            let mut at = 0;
            parts.iter().all(|part| {
                let bytes = at..at + part;
                at += part;
                let (from, to) = (range.from.get(bytes.clone()), range.to.get(bytes.clone()));
                let part = key.get(bytes);
                from <= part && part <= to
            })
        };
        self.ranges.iter().position(holds)
    }
}

fn padded(key: &[u8], len: usize) -> Vec<u8> {
    let mut key = key.to_vec();
    key.resize(len.max(key.len()), 0);
    key
}

/// Returns the key before a key.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    key
}
