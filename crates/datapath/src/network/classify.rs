//! Which rules of a chain are left for a packet, told for all of them at once.
//!
//! Rules test few things of a packet: its device, its protocol, an address, a port. For each such thing a [`Dimension`]
//! cuts the numbers at every bound that a rule names; between two bounds all numbers leave the same rules, which are kept
//! as one bit each. A packet's rules are then one lookup and one *and* for each thing, however many rules there are
//! (Lakshman and Stiliadis, "High-speed policy-based packet forwarding", SIGCOMM 1998).

use std::collections::HashMap;
use std::ops::{BitAnd, BitXor};

use super::prepared::Load;
use crate::frame::domain::Domain;

/// How many rules have their bits in one word.
const WORD: usize = 128;

/// Some rules of a chain: one bit for each, by its place.
#[derive(Debug)]
pub(crate) enum Rules {
    /// Those of most chains, which stay in registers.
    Word(u128),
    Words(Box<[u128]>),
}

/// What is tested of a packet: some bits of something that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bits {
    pub(super) mask: u128,
    pub(super) xor: u128,
}

/// A test of one thing.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) slot: u8,
    pub(super) of: Bits,
    pub(super) within: Domain,
    pub(super) negated: bool,
}

/// Everything that a chain's rules test of one thing, which is a number of so many bits.
#[derive(Debug)]
pub(crate) struct Dimension<N> {
    /// What has to be loaded for it; what stands behind that does not matter.
    pub(crate) load: Load,
    mask: N,
    xor: N,
    /// The rules that test it, of the chain's first.
    first: u128,
    /// Where the rules that are left change, in order.
    bounds: Box<[N]>,
    /// The rules that are left, in rows of as many words as a chain's rules need.
    rows: Box<[u128]>,
    /// Before the first bound, and from each on: which of the rows. Of a chain whose rules have their bits in one word each
    /// has its own.
    intervals: Box<[u32]>,
    /// The rules that test it.
    tested_by: Box<[u128]>,
}

/// Everything that a chain's rules test.
#[derive(Debug, Default)]
pub(crate) struct Dimensions {
    /// What has at most eight bytes.
    pub(crate) short: Vec<Dimension<u64>>,
    pub(crate) long: Vec<Dimension<u128>>,
    /// What an expression has to be evaluated for.
    pub(crate) evaluated: Vec<Dimension<u128>>,
}

/// A number in which what was loaded stands in the first bytes.
pub(crate) trait Number: Copy + Ord + BitAnd<Output = Self> + BitXor<Output = Self> {
    /// Returns the first bytes of a number.
    fn first(number: u128) -> Self;

    /// Returns the number with these first bytes.
    fn of_short(number: u64) -> Self;

    /// Returns the number that bytes begin with, if there are enough.
    fn of_bytes(bytes: &[u8]) -> Option<Self>;

    /// Returns the first of these that is no smaller than a number, if there is any.
    fn reaching(number: u128) -> Option<Self>;
}

impl Number for u64 {
    #[inline(always)]
    fn of_short(number: u64) -> Self {
        number
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(*bytes.first_chunk()?))
    }

    #[inline(always)]
    fn first(number: u128) -> Self {
        (number >> 64) as Self
    }

    fn reaching(number: u128) -> Option<Self> {
        Self::try_from(number.div_ceil(1 << 64)).ok()
    }
}

impl Number for u128 {
    #[inline(always)]
    fn of_short(number: u64) -> Self {
        Self::from(number) << 64
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(*bytes.first_chunk()?))
    }

    #[inline(always)]
    fn first(number: u128) -> Self {
        number
    }

    fn reaching(number: u128) -> Option<Self> {
        Some(number)
    }
}

impl Bits {
    /// Everything that was loaded.
    pub(super) const ALL: Self = Self { mask: u128::MAX, xor: 0 };

    /// Whether these are the first bits, as they were loaded.
    const fn are_first(self) -> bool {
        self.xor == 0 && self.mask.leading_ones() + self.mask.trailing_zeros() == u128::BITS
    }
}

impl Test {
    /// Asks the same of all that was loaded, where that is possible: then tests with masks of any length, as of networks,
    /// are of one thing.
    fn widen(&mut self) {
        if !self.of.are_first() {
            return;
        }
        let mask = self.of.mask;
        let widened = |&(from, to): &(u128, u128)| {
            // The first number with these bits that is not below.
            let from = if from & !mask == 0 { from } else { (from | !mask).checked_add(1)? };
            let to = if to == u128::MAX { to } else { to & mask | !mask };
            (from <= to).then_some((from, to))
        };
        self.within = Domain::of_ranges(self.within.ranges().iter().filter_map(widened).collect());
        self.of = Bits::ALL;
    }

    /// Returns the numbers that pass.
    fn passing(&self) -> Domain {
        if self.negated { Domain::full(128).without(&self.within) } else { self.within.clone() }
    }
}

impl Dimensions {
    /// Sorts the tests of a chain's rules by what they are of; what most rules test comes first.
    /// Of each slot it is to be told what is loaded.
    pub(super) fn of(rules: Vec<Vec<Test>>, loads: &[Load]) -> Self {
        let words = rules.len().div_ceil(WORD);
        let mut by_thing: HashMap<(u8, Bits), Vec<(usize, Domain)>> = HashMap::new();
        for (rule, mut test) in rules
            .into_iter()
            .enumerate()
            .flat_map(|(at, tests)| tests.into_iter().map(move |test| (at, test)))
        {
            test.widen();
            let all = by_thing.entry((test.slot, test.of)).or_default();
            let passing = test.passing();
            match all.last_mut().filter(|(last, _)| *last == rule) {
                Some((_, before)) => *before = before.intersect(&passing),
                None => all.push((rule, passing)),
            }
        }
        let mut things: Vec<_> = by_thing.into_iter().collect();
        things.sort_by_key(|((slot, of), rules)| (usize::MAX - rules.len(), *slot, of.mask, of.xor));
        let mut this = Self::default();
        for ((slot, of), rules) in things {
            let Some(&load) = loads.get(usize::from(slot)) else { continue };
            let of = of.first(load.len());
            match load {
                Load::Evaluated { .. } => this.evaluated.push(Dimension::new(load, of, words, &rules)),
                _ if load.len() <= 8 => this.short.push(Dimension::new(load, of, words, &rules)),
                _ => this.long.push(Dimension::new(load, of, words, &rules)),
            }
        }
        this
    }
}

impl<N: Number> Dimension<N> {
    fn new(load: Load, of: Bits, words: usize, rules: &[(usize, Domain)]) -> Self {
        let mut row = vec![u128::MAX; words];
        let mut tested_by = vec![0; words];
        let mut changes: Vec<(u128, usize)> = Vec::new();
        for (rule, passing) in rules {
            set(&mut tested_by, *rule);
            turn(&mut row, *rule);
            for (from, to) in passing.ranges() {
                changes.push((*from, *rule));
                changes.extend(to.checked_add(1).map(|after| (after, *rule)));
            }
        }
        changes.sort_unstable();
        let (mut bounds, mut rows, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = HashMap::new();
        let mut interval = |row: &[u128]| {
            if words == 1 {
                return rows.extend_from_slice(row);
            }
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let at = *known.entry(row.to_vec()).or_insert(next);
            if at == next {
                rows.extend_from_slice(row);
            }
            intervals.push(at);
        };
        interval(&row);
        for change in changes.chunk_by(|one, next| one.0 == next.0) {
            // Greater bounds are not reached either.
            let Some(bound) = change.first().and_then(|(bound, _)| N::reaching(*bound)) else { break };
            change.iter().for_each(|(_, rule)| turn(&mut row, *rule));
            bounds.push(bound);
            interval(&row);
        }
        let first = tested_by.first().copied().unwrap_or_default();
        Self {
            load,
            mask: N::first(of.mask),
            xor: N::first(of.xor),
            first,
            bounds: bounds.into(),
            rows: rows.into(),
            intervals: intervals.into(),
            tested_by: tested_by.into(),
        }
    }

    /// How many bounds are no greater than a value.
    #[inline(always)]
    fn interval(&self, value: N) -> usize {
        let value = value & self.mask ^ self.xor;
        match *self.bounds {
            // Rules name few of all numbers, and most packets have others.
            [first, ..] if value < first => 0,
            [.., last] if value >= last => self.bounds.len(),
            _ => self.bounds.partition_point(|bound| *bound <= value),
        }
    }

    /// Returns the rules of a chain whose rules have their bits in one word that match a packet with this value, or without
    /// one, as far as it goes by this.
    #[inline(always)]
    fn word(&self, value: Option<N>) -> u128 {
        let Some(value) = value else { return !self.first };
        self.rows.get(self.interval(value)).copied().unwrap_or(u128::MAX)
    }

    /// Takes out the rules that do not match a packet with this value; without one, all that test it.
    fn words(&self, left: &mut [u128], value: Option<N>) {
        let Some(value) = value else {
            return left.iter_mut().zip(&*self.tested_by).for_each(|(left, tested)| *left &= !tested);
        };
        let row = self.intervals.get(self.interval(value)).map_or(0, |row| *row as usize * left.len());
        let row = self.rows.get(row..).unwrap_or_default();
        left.iter_mut().zip(row).for_each(|(left, row)| *left &= row);
    }
}

impl Rules {
    /// Returns every rule of a chain from one on.
    #[inline]
    pub(crate) fn from(next: usize, count: usize) -> Self {
        let word = |at: usize| {
            let from =
                |first: usize| u128::MAX.checked_shl(first.saturating_sub(WORD * at) as u32).unwrap_or(0);
            from(next) & !from(count)
        };
        if count <= WORD {
            Self::Word(word(0))
        } else {
            Self::Words((0..count.div_ceil(WORD)).map(word).collect())
        }
    }

    /// Takes the first rule out.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<usize> {
        let words = match self {
            Self::Word(word) => std::slice::from_mut(word),
            Self::Words(words) => words,
        };
        let (at, word) = words.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros() as usize;
        *word &= *word - 1;
        Some(WORD * at + bit)
    }

    /// Takes out the rules that a packet does not match. It is told as far as rules that are left test it; what a packet
    /// does not have ends the rule.
    #[inline(always)]
    pub(crate) fn narrow<N: Number>(
        &mut self,
        dimensions: &[Dimension<N>],
        mut value: impl FnMut(&Load) -> Option<N>,
    ) {
        match self {
            Self::Word(word) => {
                let mut left = *word;
                for dimension in dimensions {
                    if left & dimension.first != 0 {
                        left &= dimension.word(value(&dimension.load));
                    }
                }
                *word = left;
            }
            Self::Words(left) => {
                for dimension in dimensions {
                    if left.iter().zip(&*dimension.tested_by).any(|(left, tested)| left & tested != 0) {
                        dimension.words(left, value(&dimension.load));
                    }
                }
            }
        }
    }
}

fn set(rules: &mut [u128], rule: usize) {
    if let Some(word) = rules.get_mut(rule / WORD) {
        *word |= 1 << (rule % WORD);
    }
}

fn turn(rules: &mut [u128], rule: usize) {
    if let Some(word) = rules.get_mut(rule / WORD) {
        *word ^= 1 << (rule % WORD);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prepared::Header;
    use super::*;

    #[test]
    fn rules_are_taken_in_order_from_one_on() {
        let taken = |next, count| {
            let mut left = Rules::from(next, count);
            std::iter::from_fn(move || left.take_first()).collect::<Vec<_>>()
        };
        for (next, count) in
            [(62, 128), (62, 129), (62, 400), (130, 200), (0, 0), (64, 64), (128, 128), (200, 200)]
        {
            assert_eq!(taken(next, count), (next..count).collect::<Vec<_>>());
        }
    }

    /// A test of one of two things, over few numbers so that many fall together.
    fn any_test() -> impl Strategy<Value = (u8, u128, u128, Vec<(u8, u8)>, bool)> {
        let mask = prop_oneof![
            Just(u128::MAX),
            (0u32..9).prop_map(|bits| u128::MAX << (128 - bits.max(1))),
            (0u8..=255).prop_map(|mask| u128::from(mask) << 120),
        ];
        let xor = prop_oneof![Just(0u128), (0u8..=255).prop_map(|xor| u128::from(xor) << 120)];
        (0u8..2, mask, xor, prop::collection::vec((0u8..16, 0u8..16), 0..3), any::<bool>())
    }

    fn test((slot, mask, xor, ranges, negated): (u8, u128, u128, Vec<(u8, u8)>, bool)) -> Test {
        let number = |byte: u8| u128::from(byte) << 120;
        let ranges = ranges.iter().map(|(one, other)| (number(*one.min(other)), number(*one.max(other))));
        let within = Domain::of_ranges(ranges.collect());
        Test { slot, of: Bits { mask, xor }, within, negated }
    }

    proptest! {
        /// What is left is what each rule's tests, asked one by one, let through.
        #[test]
        fn what_is_left_passes_every_test(
            rules in prop::collection::vec(prop::collection::vec(any_test(), 0..4), 0..80),
            values in [prop::option::of(0u8..18), prop::option::of(0u8..18)],
            next in 0usize..3,
            others in prop_oneof![Just(0usize), Just(100)],
        ) {
            let values = values.map(|value| value.map(|value| u128::from(value) << 120));
            let wanted: Vec<_> = (next..rules.len()).filter(|at| {
                rules[*at].iter().cloned().map(test).all(|test| {
                    let value = values[usize::from(test.slot)];
                    value.is_some_and(|value| {
                        let value = value & test.of.mask ^ test.of.xor;
                        test.within.ranges().iter().any(|(from, to)| (from..=to).contains(&&value)) != test.negated
                    })
                })
            }).collect();
            // Behind them there may be so many that their bits do not fit into one word.
            let count = rules.len();
            let others = (0..others).map(|_| Vec::new());
            let rules: Vec<Vec<Test>> =
                rules.into_iter().map(|rule| rule.into_iter().map(test).collect()).chain(others).collect();
            // Of one thing a single byte is loaded.
            let loads = [1, 16].map(|len| Load::Payload { header: Header::Network, offset: 0, len });
            let mut left = Rules::from(next, rules.len());
            let dimensions = Dimensions::of(rules, &loads);
            left.narrow(&dimensions.short, |_| values[0].map(u64::first));
            left.narrow(&dimensions.long, |_| values[1]);
            let found: Vec<_> = std::iter::from_fn(|| left.take_first()).take_while(|rule| *rule < count).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
