//! Which rules of a chain are left for a packet, told for all of them at once.
//!
//! Rules test few things of a packet: its device, its protocol, an address, a port. For each such thing a [`Dimension`]
//! cuts the numbers at every bound that a rule names; between two bounds all numbers leave the same rules, which are kept
//! as one bit each. A packet's rules are then one lookup and one *and* for each thing, however many rules there are
//! (Lakshman and Stiliadis, "High-speed policy-based packet forwarding", SIGCOMM 1998).

use std::collections::HashMap;

use crate::frame::domain::Domain;

/// How many rules have their bits in one word.
const WORD: usize = 128;

/// One bit for each rule, by its place in the chain.
pub(crate) type Rules = smallvec::SmallVec<[u128; 2]>;

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

/// Everything that a chain's rules test of one thing.
#[derive(Debug)]
pub(crate) struct Dimension {
    /// What has to be loaded for it.
    pub(crate) slot: u8,
    of: Bits,
    /// The rules that test it, of the chain's first.
    first: u128,
    /// The rules that test it.
    tested_by: Box<[u128]>,
    /// Where the rules that are left change.
    bounds: Bounds,
    /// Before the first bound, and from each on: the rules that are left.
    left: Intervals,
}

/// The rules that are left in each interval between bounds.
#[derive(Debug)]
enum Intervals {
    /// Of a chain whose rules have their bits in one word: that.
    OneWord(Vec<u128>),
    /// Of a longer one: which of the `rows`, each of so many words.
    Rows { intervals: Vec<u32>, rows: Vec<u128> },
}

/// Numbers in order.
#[derive(Debug)]
enum Bounds {
    /// Of something that has at most eight bytes: those.
    Short(Vec<u64>),
    Long(Vec<u128>),
}

impl Bounds {
    fn new(bounds: Vec<u128>, short: bool) -> Self {
        if !short {
            return Self::Long(bounds);
        }
        // What is loaded stands in the first bytes, and the others are 0: greater bounds are never reached.
        let short = |bound: u128| u64::try_from(bound.div_ceil(1 << 64)).ok();
        Self::Short(bounds.into_iter().map_while(short).collect())
    }

    /// How many are no greater.
    #[inline]
    fn up_to(&self, value: u128) -> usize {
        match self {
            Self::Short(bounds) => {
                let value = (value >> 64) as u64;
                bounds.partition_point(|bound| *bound <= value)
            }
            Self::Long(bounds) => bounds.partition_point(|bound| *bound <= value),
        }
    }
}

impl Bits {
    /// Everything that was loaded.
    pub(super) const ALL: Self = Self { mask: u128::MAX, xor: 0 };

    const fn of(self, value: u128) -> u128 {
        (value & self.mask) ^ self.xor
    }

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

impl Dimension {
    /// Sorts the tests of a chain's rules by what they are of; what most rules test comes first.
    /// Of each slot it is to be told how many bytes are loaded.
    pub(super) fn of(rules: Vec<Vec<Test>>, len: impl Fn(u8) -> usize) -> Vec<Self> {
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
        let dimension =
            |((slot, of), rules): ((u8, Bits), Vec<_>)| Self::new(slot, of, len(slot) <= 8, words, &rules);
        things.into_iter().map(dimension).collect()
    }

    fn new(slot: u8, of: Bits, short: bool, words: usize, rules: &[(usize, Domain)]) -> Self {
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
        let mut bounds = Vec::new();
        let mut left = if words == 1 {
            Intervals::OneWord(Vec::new())
        } else {
            Intervals::Rows { intervals: Vec::new(), rows: Vec::new() }
        };
        let mut known = HashMap::new();
        let mut interval = |row: &[u128]| match &mut left {
            Intervals::OneWord(all) => all.extend(row),
            Intervals::Rows { intervals, rows } => {
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                let at = *known.entry(row.to_vec()).or_insert(next);
                if at == next {
                    rows.extend_from_slice(row);
                }
                intervals.push(at);
            }
        };
        interval(&row);
        for change in changes.chunk_by(|one, next| one.0 == next.0) {
            let Some((bound, _)) = change.first() else { continue };
            change.iter().for_each(|(_, rule)| turn(&mut row, *rule));
            bounds.push(*bound);
            interval(&row);
        }
        let first = tested_by.first().copied().unwrap_or_default();
        let (bounds, tested_by) = (Bounds::new(bounds, short), tested_by.into());
        Self { slot, of, first, tested_by, bounds, left }
    }

    /// Whether any rule that is left tests it, in a chain whose rules have their bits in one word.
    #[inline]
    pub(crate) const fn matters_to_word(&self, left: u128) -> bool {
        left & self.first != 0
    }

    /// Returns the rules of such a chain that match a packet with this value, or without one, as far as it goes by this.
    #[inline]
    pub(crate) fn word(&self, value: Option<u128>) -> u128 {
        match (value, &self.left) {
            (Some(value), Intervals::OneWord(all)) => {
                all.get(self.bounds.up_to(self.of.of(value))).copied().unwrap_or(u128::MAX)
            }
            _ => !self.first,
        }
    }

    /// Whether any rule that is left tests it.
    #[inline]
    pub(crate) fn matters_to(&self, left: &[u128]) -> bool {
        left.iter().zip(&*self.tested_by).any(|(left, tested)| left & tested != 0)
    }

    /// Takes out the rules that do not match a packet with this value; without one, all that test it.
    #[inline]
    pub(crate) fn narrow(&self, left: &mut [u128], value: Option<u128>) {
        let Some(value) = value else {
            return left.iter_mut().zip(&*self.tested_by).for_each(|(left, tested)| *left &= !tested);
        };
        let at = self.bounds.up_to(self.of.of(value));
        let row = match &self.left {
            Intervals::OneWord(all) => all.get(at..).unwrap_or_default(),
            Intervals::Rows { intervals, rows } => {
                let row = intervals.get(at).map_or(0, |row| *row as usize * left.len());
                rows.get(row..).unwrap_or_default()
            }
        };
        left.iter_mut().zip(row).for_each(|(left, row)| *left &= row);
    }
}

/// Returns every rule of a chain from one on.
pub(crate) fn rules_from(next: usize, count: usize) -> Rules {
    let word = |at: usize| {
        let from = |first: usize| u128::MAX.checked_shl(first.saturating_sub(WORD * at) as u32).unwrap_or(0);
        from(next) & !from(count)
    };
    (0..count.div_ceil(WORD)).map(word).collect()
}

/// Takes the first rule out.
#[inline]
pub(crate) fn take_first(left: &mut [u128]) -> Option<usize> {
    let (at, word) = left.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
    let bit = word.trailing_zeros() as usize;
    *word &= *word - 1;
    Some(WORD * at + bit)
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

    use super::*;

    #[test]
    fn rules_are_taken_in_order_from_one_on() {
        let mut left = rules_from(62, 130);
        let taken: Vec<_> = std::iter::from_fn(|| take_first(&mut left)).collect();
        assert_eq!(taken, (62..130).collect::<Vec<_>>());
        assert!(rules_from(64, 64).iter().all(|word| *word == 0));
        assert!(rules_from(0, 0).is_empty());
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
        ) {
            let values = values.map(|value| value.map(|value| u128::from(value) << 120));
            let wanted: Vec<_> = (next..rules.len()).filter(|at| {
                rules[*at].iter().cloned().map(test).all(|test| {
                    let value = values[usize::from(test.slot)];
                    value.is_some_and(|value| {
                        let value = test.of.of(value);
                        test.within.ranges().iter().any(|(from, to)| (from..=to).contains(&&value)) != test.negated
                    })
                })
            }).collect();
            let count = rules.len();
            let rules = rules.into_iter().map(|rule| rule.into_iter().map(test).collect()).collect();
            // Of one thing a single byte is loaded.
            let dimensions = Dimension::of(rules, |slot| [1, 16][usize::from(slot)]);
            let mut left = rules_from(next, count);
            for dimension in &dimensions {
                if dimension.matters_to(&left) {
                    dimension.narrow(&mut left, values[usize::from(dimension.slot)]);
                }
            }
            if let [all] = rules_from(next, count).as_slice() {
                let mut word = *all;
                for dimension in dimensions.iter().filter(|one| one.matters_to_word(*all)) {
                    word &= dimension.word(values[usize::from(dimension.slot)]);
                }
                prop_assert_eq!(left.as_slice(), [word]);
            }
            let found: Vec<_> = std::iter::from_fn(|| take_first(&mut left)).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
