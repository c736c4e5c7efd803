//! Rules of nftables as tests of a packet that is known in full.
//!
//! Most rules begin with loads and comparisons that have no effect but that the rule ends where one does not hold. Of
//! such a beginning there is a list of [`Test`]s here: a packet for which one fails is not matched by the rule, which
//! need then not be evaluated. What is loaded is told by the expressions' own code, once for each packet and chain.
//! Where all tests hold the rule is evaluated as ever, unless nothing but a verdict follows.

use std::collections::HashSet;

use portcullis_snapshot::{CmpOp, IfIndex, Link, MetaKey, Netns, PayloadBase, Register};

use super::quick::{FACTOR, QuickMap};
use super::ruleset::{Chain, Datum, Elements, Expr, Verdict};

/// So many different things are loaded for tests in a chain; rules that would load more are evaluated.
pub(crate) const SLOTS: usize = 32;
/// Longer values are not tested, as they are numbers here.
const LONGEST: usize = 16;
/// `IFNAMSIZ`.
const IFNAMSIZ: usize = 16;

/// A chain's rules as tests.
#[derive(Debug, Default)]
pub(crate) struct Prepared<'s> {
    /// What is loaded, by slot.
    pub(crate) loads: Vec<Load>,
    /// The tests of all rules, one after the other.
    pub(crate) tests: Vec<Test>,
    /// For each rule, in order.
    pub(crate) guards: Vec<Guard<'s>>,
    /// Rules that want something to have one value, by what and by the value.
    pub(crate) groups: Vec<Group>,
    /// The others, in order.
    pub(crate) every: Vec<u32>,
}

/// Rules that want the same bits of the same load to have one value each: of all of them, only those of the value that a
/// packet has are looked at.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) slot: u8,
    mask: u128,
    /// A bit for each value, which most that are not among them do not share.
    sieve: u64,
    rules: QuickMap<u128, Vec<u32>>,
}

/// What a rule loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    Payload { base: PayloadBase, offset: usize, len: usize },
    Meta { key: MetaKey, len: usize },
}

/// Which tests a rule begins with, and what it does where they hold.
#[derive(Debug)]
pub(crate) struct Guard<'s> {
    /// The first of its tests, and the first behind them.
    pub(crate) tests: (u32, u32),
    /// Its verdict, if the tests are all there is before it.
    pub(crate) verdict: Option<Verdict<'s>>,
}

/// A comparison of something that was loaded: a number whose first byte is its highest, whatever its length.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) slot: u8,
    negated: bool,
    how: How,
}

#[derive(Debug)]
enum How {
    Equal { mask: u128, wanted: u128 },
    Between(Box<Between>),
    Among(Box<Among>),
}

/// `(value & mask) ^ xor` lies in a range.
#[derive(Debug)]
struct Between {
    of: Bits,
    from: u128,
    to: u128,
}

/// It lies in one of several, in order and apart.
#[derive(Debug)]
struct Among {
    of: Bits,
    ranges: Vec<(u128, u128)>,
}

/// What expressions made of a loaded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bits {
    mask: u128,
    xor: u128,
}

/// What a register holds, while a rule is looked through.
#[derive(Debug, Clone, Copy)]
struct Held {
    sreg: Register,
    slot: u8,
    len: usize,
    of: Bits,
    tested: bool,
}

impl Test {
    /// The one value that it wants, and of what.
    const fn wants(&self) -> Option<((u8, u128), u128)> {
        match self.how {
            How::Equal { mask, wanted } if !self.negated => Some(((self.slot, mask), wanted)),
            _ => None,
        }
    }

    /// Takes another test's bounds over, if both are ranges of the same.
    fn narrow(&mut self, other: &Self) -> bool {
        let alike = self.slot == other.slot && !self.negated && !other.negated;
        match (&mut self.how, &other.how) {
            (How::Between(this), How::Between(other)) if alike && this.of == other.of => {
                (this.from, this.to) = (this.from.max(other.from), this.to.min(other.to));
                true
            }
            _ => false,
        }
    }

    /// Whether a value that was loaded passes.
    #[inline]
    pub(crate) fn holds(&self, value: u128) -> bool {
        let found = match &self.how {
            How::Equal { mask, wanted } => value & mask == *wanted,
            How::Between(between) => (between.from..=between.to).contains(&between.of.of(value)),
            How::Among(among) => {
                let value = among.of.of(value);
                let before = among.ranges.partition_point(|(from, _)| *from <= value);
                before.checked_sub(1).and_then(|at| among.ranges.get(at)).is_some_and(|(_, to)| value <= *to)
            }
        };
        found != self.negated
    }
}

impl Bits {
    const fn of(self, value: u128) -> u128 {
        (value & self.mask) ^ self.xor
    }

    /// The same of the first bytes only.
    const fn first(self, len: usize) -> Self {
        let mask = first_bytes(len);
        Self { mask: self.mask & mask, xor: self.xor & mask }
    }
}

impl Group {
    /// Returns the rules for a value, in order.
    #[inline]
    pub(crate) fn rules(&self, value: u128) -> &[u32] {
        let value = value & self.mask;
        if self.sieve & sieve(value) == 0 {
            return &[];
        }
        self.rules.get(&value).map_or(&[], Vec::as_slice)
    }
}

/// One bit of 64, by a value.
const fn sieve(value: u128) -> u64 {
    let mixed = (value as u64 ^ ((value >> 64) as u64).rotate_left(7)).wrapping_mul(FACTOR);
    1 << (mixed >> 58)
}

/// A rule's tests and verdict, before it is put in its place.
struct Looked<'s> {
    tests: Vec<Test>,
    verdict: Option<Verdict<'s>>,
}

impl<'s> Prepared<'s> {
    /// Makes a chain's rules ready.
    pub(crate) fn new(chain: &Chain<'s>, sets: &[Elements<'s>], names: &DeviceNames) -> Self {
        let mut this = Self::default();
        let mut rules = Vec::new();
        for rule in &chain.rules {
            let mut tests = Vec::new();
            let verdict = this.rule(&rule.expressions, sets, &mut tests);
            this.name_devices(&mut tests, names);
            rules.push(Looked { tests, verdict });
        }
        let mut values: QuickMap<(u8, u128), HashSet<u128>> = QuickMap::default();
        for (place, wanted) in rules.iter().flat_map(|rule| &rule.tests).filter_map(Test::wants) {
            values.entry(place).or_default().insert(wanted);
        }
        let mut places: QuickMap<(u8, u128), usize> = QuickMap::default();
        for (at, Looked { mut tests, verdict }) in (0u32..).zip(rules) {
            // By what tells the most rules apart.
            let apart = |test: &Test| {
                test.wants()
                    .and_then(|(place, _)| values.get(&place))
                    .map(HashSet::len)
                    .filter(|len| *len > 1)
            };
            let best = (0..tests.len()).rev().max_by_key(|at| tests.get(*at).and_then(apart));
            let best = best.filter(|at| tests.get(*at).and_then(apart).is_some());
            match best.map(|at| tests.remove(at)).and_then(|test| test.wants()) {
                Some(((slot, mask), wanted)) => {
                    let place = *places.entry((slot, mask)).or_insert(this.groups.len());
                    if place == this.groups.len() {
                        this.groups.push(Group { slot, mask, sieve: 0, rules: QuickMap::default() });
                    }
                    if let Some(group) = this.groups.get_mut(place) {
                        group.sieve |= sieve(wanted);
                        group.rules.entry(wanted).or_default().push(at);
                    }
                }
                None => this.every.push(at),
            }
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let first = place(this.tests.len());
            this.tests.append(&mut tests);
            this.guards.push(Guard { tests: (first, place(this.tests.len())), verdict });
        }
        this
    }

    /// Turns tests of a device's name into tests of its number, which tell the same faster.
    fn name_devices(&mut self, tests: &mut [Test], names: &DeviceNames) {
        for test in tests {
            let key = match self.loads.get(usize::from(test.slot)) {
                Some(Load::Meta { key: MetaKey::IifName, .. }) => MetaKey::Iif,
                Some(Load::Meta { key: MetaKey::OifName, .. }) => MetaKey::Oif,
                _ => continue,
            };
            let How::Equal { mask: u128::MAX, wanted } = test.how else { continue };
            if let Some(device) = names.device(wanted)
                && let Some(slot) = self.slot(Load::Meta { key, len: 4 })
            {
                let wanted = number(&device.0.to_ne_bytes()).unwrap_or_default();
                *test =
                    Test { slot, negated: test.negated, how: How::Equal { mask: first_bytes(4), wanted } };
            }
        }
    }

    /// Looks through a rule: finds its tests, and returns its verdict if nothing else comes before that.
    fn rule(
        &mut self,
        expressions: &[Expr<'s>],
        sets: &[Elements<'s>],
        tests: &mut Vec<Test>,
    ) -> Option<Verdict<'s>> {
        let mut held: Vec<Held> = Vec::new();
        for expression in expressions {
            match *expression {
                Expr::Payload { base, offset, len, dreg } => {
                    self.load(&mut held, Load::Payload { base, offset, len }, dreg)?;
                }
                Expr::Meta { key, dreg } => {
                    let len = len_of(key)?;
                    self.load(&mut held, Load::Meta { key, len }, dreg)?;
                }
                Expr::Bitwise { sreg, dreg, mask, xor } => {
                    let one = find(&mut held, sreg, mask.len())?;
                    let (and, xor) = (number(mask)?, number(xor.get(..mask.len()).unwrap_or(xor))?);
                    let of = Bits { mask: one.of.mask & and, xor: one.of.xor & and ^ xor };
                    let made = Held { sreg: dreg, len: mask.len(), of, ..*one };
                    // Whether it could be loaded is told by a test of either.
                    one.tested = true;
                    hold(&mut held, made)?;
                }
                Expr::Verdict(Verdict::Continue) => {}
                Expr::Verdict(Verdict::Open(_)) => return None,
                Expr::Verdict(verdict) => return held.iter().all(|one| one.tested).then_some(verdict),
                ref other => {
                    let (sreg, len) = compared(other, sets)?;
                    let one = find(&mut held, sreg, len)?;
                    one.tested = true;
                    let test = test(other, sets, one.slot, one.of.first(len))?;
                    if !tests.last_mut().is_some_and(|last| last.narrow(&test)) {
                        tests.push(test);
                    }
                }
            }
        }
        held.iter().all(|one| one.tested).then_some(Verdict::Continue)
    }

    /// Finds the slot of a load; `None` if it is not for tests.
    fn load(&mut self, held: &mut Vec<Held>, load: Load, dreg: Register) -> Option<()> {
        let len = load.len();
        let known = match load {
            Load::Payload { base: PayloadBase::Inner | PayloadBase::Other(_), .. } => false,
            Load::Payload { .. } | Load::Meta { .. } => (1..=LONGEST).contains(&len),
        };
        let slot = self.slot(load).filter(|_| known)?;
        let of = Bits { mask: u128::MAX, xor: 0 };
        hold(held, Held { sreg: dreg, slot, len, of, tested: false })
    }

    /// Finds the slot of a load, while there are any.
    fn slot(&mut self, load: Load) -> Option<u8> {
        let slot = self.loads.iter().position(|candidate| *candidate == load).unwrap_or(self.loads.len());
        if slot >= SLOTS {
            return None;
        }
        if slot == self.loads.len() {
            self.loads.push(load);
        }
        u8::try_from(slot).ok()
    }
}

impl Load {
    const fn len(self) -> usize {
        let (Self::Payload { len, .. } | Self::Meta { len, .. }) = self;
        len
    }
}

/// Devices by name, as rules see it.
#[derive(Debug)]
pub(crate) struct DeviceNames(Vec<([u8; IFNAMSIZ], IfIndex)>);

impl DeviceNames {
    pub(crate) fn new(netns: &Netns) -> Self {
        // Only devices that are found by their index count.
        let found = |link: &&Link| netns.link(link.index).is_some_and(|found| std::ptr::eq(found, *link));
        let name = |link: &Link| {
            let mut name = [0; IFNAMSIZ];
            name.iter_mut().zip(link.name.bytes()).for_each(|(to, byte)| *to = byte);
            (name, link.index)
        };
        let mut names: Vec<_> = netns.links.known().iter().filter(found).map(name).collect();
        names.sort_unstable();
        Self(names)
    }

    /// Returns the device with a name, if it is one that no other has, nor a packet without any.
    fn device(&self, name: u128) -> Option<IfIndex> {
        let name = name.to_be_bytes();
        let first = self.0.partition_point(|(other, _)| *other < name);
        let mut alike = self.0.iter().skip(first).take_while(|(other, _)| *other == name);
        let (_, device) = alike.next().filter(|(name, device)| *name != [0; IFNAMSIZ] && device.0 != 0)?;
        alike.next().is_none().then_some(*device)
    }
}

/// How long what a meta expression loads is, if tests know it.
const fn len_of(key: MetaKey) -> Option<usize> {
    match key {
        MetaKey::Protocol => Some(2),
        MetaKey::L4Proto | MetaKey::NfProto | MetaKey::PktType => Some(1),
        MetaKey::Mark | MetaKey::Iif | MetaKey::Oif => Some(4),
        MetaKey::IifName | MetaKey::OifName | MetaKey::BriIifName | MetaKey::BriOifName => Some(IFNAMSIZ),
        _ => None,
    }
}

/// What an expression compares: the register, and how many bytes from there.
fn compared(expression: &Expr<'_>, sets: &[Elements<'_>]) -> Option<(Register, usize)> {
    match *expression {
        Expr::Cmp { sreg, data, .. } => Some((sreg, data.len())),
        Expr::Range { sreg, from, .. } => Some((sreg, from.len())),
        Expr::Lookup { set, sreg, .. } => Some((sreg, sets.get(set)?.set.key_len as usize)),
        _ => None,
    }
}

fn test(expression: &Expr<'_>, sets: &[Elements<'_>], slot: u8, of: Bits) -> Option<Test> {
    let between = |from, to, negated| {
        Some(Test { slot, negated, how: How::Between(Box::new(Between { of, from, to })) })
    };
    match *expression {
        Expr::Cmp { op, data, .. } => {
            let data = number(data)?;
            match op {
                CmpOp::Eq | CmpOp::Neq => {
                    let how = How::Equal { mask: of.mask, wanted: data ^ of.xor };
                    Some(Test { slot, negated: op == CmpOp::Neq, how })
                }
                CmpOp::Lt => between(data, u128::MAX, true),
                CmpOp::Lte => between(0, data, false),
                CmpOp::Gt => between(0, data, true),
                CmpOp::Gte => between(data, u128::MAX, false),
            }
        }
        Expr::Range { negated, from, to, .. } if from.len() == to.len() => {
            between(number(from)?, number(to)?, negated)
        }
        Expr::Lookup { set, dreg, inverted, .. } => {
            let ranges = ranges(sets.get(set)?, dreg.is_some() && !inverted)?;
            Some(Test { slot, negated: inverted, how: How::Among(Box::new(Among { of, ranges })) })
        }
        _ => None,
    }
}

/// The keys in a set, in order and apart; `None` if something else decides too.
fn ranges(elements: &Elements<'_>, is_map: bool) -> Option<Vec<(u128, u128)>> {
    let len = elements.set.key_len as usize;
    let decides = |datum: Datum<'_>| is_map || matches!(datum, Datum::Open);
    if elements.set.changes()
        || elements.catchall.is_some()
        || (elements.exact.is_none() && elements.parts().len() != 1)
        || elements.ranges.iter().any(|range| decides(range.data))
        || elements.ranges.iter().any(|range| range.from.len() != len || range.to.len() != len)
    {
        return None;
    }
    let both = |range: &super::ruleset::Range<'_>| Some((number(&range.from)?, number(&range.to)?));
    let mut ranges: Vec<_> = elements.ranges.iter().map(both).collect::<Option<_>>()?;
    ranges.retain(|(from, to)| from <= to);
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joined = next.0 <= last.1;
        if joined {
            last.1 = last.1.max(next.1);
        }
        joined
    });
    Some(ranges)
}

/// Finds what is in a register, if it has so many bytes.
fn find(held: &mut [Held], sreg: Register, len: usize) -> Option<&mut Held> {
    held.iter_mut().find(|one| one.sreg == sreg && (1..=one.len).contains(&len))
}

/// Puts something into a register: what it covers is gone; but a rule whose loads are not all tested may end there.
fn hold(held: &mut Vec<Held>, new: Held) -> Option<()> {
    let words = |one: &Held| {
        let first = usize::from(one.sreg);
        first..first + one.len.div_ceil(4)
    };
    let covered = words(&new);
    if covered.end > 20 {
        return None;
    }
    let overlaps = |one: &Held| words(one).start < covered.end && covered.start < words(one).end;
    let lost = held.iter().any(|one| overlaps(one) && !one.tested);
    held.retain(|one| !overlaps(one));
    held.push(new);
    (!lost).then_some(())
}

/// Bytes as a number whose first byte is the highest; `None` if there are too many.
fn number(bytes: &[u8]) -> Option<u128> {
    let mut all = [0; LONGEST];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u128::from_be_bytes(all))
}

/// Ones in the first bytes.
const fn first_bytes(len: usize) -> u128 {
    if len == 0 {
        0
    } else if len >= LONGEST {
        u128::MAX
    } else {
        u128::MAX << (8 * (LONGEST - len))
    }
}
