//! The values that a field can still have.

use smallvec::{SmallVec, smallvec};

use super::{Field, Set};

/// Sets that would fall apart into more ranges than this are not taken apart.
const MOST_RANGES: u32 = 10;

/// Values, as ranges in ascending order that do not touch. MAC addresses stand in another order than their numbers: with
/// the group bit first, so that group addresses are one range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Domain {
    ranges: Ranges,
}

/// Most have one or two.
type Ranges = SmallVec<[(u128, u128); 2]>;

impl Domain {
    /// Every value of so many bits.
    #[must_use]
    pub fn full(bits: u8) -> Self {
        let last = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        Self { ranges: smallvec![(0, last)] }
    }

    /// Every value from the first to the last, as they stand in the field's order.
    #[must_use]
    pub fn range(first: u128, last: u128) -> Self {
        Self { ranges: if first <= last { smallvec![(first, last)] } else { Ranges::new() } }
    }

    /// The values of a set of a field; `None` if they are too many ranges.
    #[must_use]
    pub fn of(field: Field, set: Set) -> Option<Self> {
        let full = Self::full(field.bits());
        let mac = field.is_mac();
        let ranges = match set {
            Set::Exactly(value) => smallvec![(order(mac, value), order(mac, value))],
            Set::Range(first, last) if !mac => smallvec![(first, last)],
            Set::Range(first, last) if first == last => {
                smallvec![(order(mac, first), order(mac, first))]
            }
            Set::Range(first, last) => return Some(mac_range(first, last)),
            Set::Masked { value, mask } => {
                masked(order(mac, value & mask), order(mac, mask), u32::from(field.bits()))?
            }
        };
        Some(Self { ranges }.intersect(&full))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the value of a field, if there is only one.
    #[must_use]
    pub fn only(&self, field: Field) -> Option<u128> {
        match self.ranges.as_slice() {
            [(first, last)] if first == last => Some(number(field.is_mac(), *first)),
            _ => None,
        }
    }

    /// Whether a value of a field is one of them.
    #[must_use]
    pub fn contains(&self, field: Field, value: u128) -> bool {
        let value = order(field.is_mac(), value);
        self.ranges.iter().any(|(first, last)| *first <= value && value <= *last)
    }

    /// Whether a set may have values of a field in common with these: `false` is certain, and quickly told.
    #[must_use]
    pub fn may_meet(&self, field: Field, set: Set) -> bool {
        let mac = field.is_mac();
        let (first, last) = match set {
            Set::Exactly(value) => (order(mac, value), order(mac, value)),
            Set::Range(first, last) if !mac => (first, last),
            Set::Masked { value, mask } if !mac => (value & mask, value | !mask),
            Set::Range(..) | Set::Masked { .. } => return true,
        };
        let next = self.ranges.partition_point(|(_, end)| *end < first);
        self.ranges.get(next).is_some_and(|(start, _)| *start <= last)
    }

    /// Returns the first value of a field.
    #[must_use]
    pub fn first(&self, field: Field) -> Option<u128> {
        self.ranges.first().map(|(first, _)| number(field.is_mac(), *first))
    }

    /// Returns some values of a field: the first and the last of every range.
    pub fn ends(&self, field: Field) -> impl Iterator<Item = u128> {
        let mac = field.is_mac();
        self.ranges.iter().flat_map(move |(first, last)| [number(mac, *first), number(mac, *last)])
    }

    /// Returns how many values there are; the largest number if there are more.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.ranges
            .iter()
            .fold(0, |count: u128, (first, last)| count.saturating_add((last - first).saturating_add(1)))
    }

    /// Returns those that are in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Ranges::new();
        while let (Some((a, b)), Some((c, d))) = (one.peek(), two.peek()) {
            let (first, last) = ((*a).max(*c), (*b).min(*d));
            if first <= last {
                ranges.push((first, last));
            }
            if b < d {
                one.next()
            } else {
                two.next()
            };
        }
        Self { ranges }
    }

    /// Whether any is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let (mut one, mut two) = (self.ranges.as_slice(), other.ranges.as_slice());
        while let ([(a, b), others @ ..], [(c, d), rest @ ..]) = (one, two) {
            if a.max(c) <= b.min(d) {
                return true;
            }
            if b < d {
                one = others;
            } else {
                two = rest;
            }
        }
        false
    }

    /// Whether all are in the other.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        // Ranges do not touch, so that each has to be within one.
        self.ranges.iter().all(|(first, last)| {
            let next = other.ranges.partition_point(|(_, end)| end < first);
            other.ranges.get(next).is_some_and(|(start, end)| start <= first && last <= end)
        })
    }

    /// Returns those that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut ranges = Ranges::new();
        let mut cuts = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut next = Some(first);
            while let Some((from, to)) = cuts.peek() {
                let Some(start) = next else { break };
                if *from > last {
                    break;
                }
                if *to < start {
                    cuts.next();
                    continue;
                }
                if start < *from {
                    ranges.push((start, from - 1));
                }
                next = to.checked_add(1).filter(|next| *next <= last);
                if *to <= last {
                    cuts.next();
                } else {
                    break;
                }
            }
            if let Some(start) = next {
                ranges.push((start, last));
            }
        }
        Self { ranges }
    }

    /// Returns those that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Ranges::new();
        loop {
            let next = match (one.peek(), two.peek()) {
                (Some(a), Some(b)) if b < a => two.next(),
                (Some(_), _) => one.next(),
                (None, _) => two.next(),
            };
            let Some(next) = next else { break };
            append(&mut ranges, *next);
        }
        Self { ranges }
    }

    /// Returns the values of some ranges, in whatever order they stand.
    #[must_use]
    pub(crate) fn of_ranges(mut all: Vec<(u128, u128)>) -> Self {
        all.sort_unstable();
        let mut ranges = Ranges::new();
        all.into_iter().for_each(|next| append(&mut ranges, next));
        Self { ranges }
    }

    /// Returns its ranges, first to last.
    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.ranges
    }

    /// Returns the same values plus a number; none may be lost.
    #[must_use]
    pub fn plus(&self, more: u128) -> Self {
        let add = |(first, last): &(u128, u128)| (first.saturating_add(more), last.saturating_add(more));
        Self { ranges: self.ranges.iter().map(add).collect() }
    }
}

/// Appends a range that begins no sooner than the last one.
fn append(ranges: &mut Ranges, (first, last): (u128, u128)) {
    match ranges.last_mut() {
        Some((_, end)) if end.checked_add(1).is_none_or(|after| first <= after) => *end = last.max(*end),
        _ => ranges.push((first, last)),
    }
}

impl Field {
    /// Whether the field is a MAC address.
    pub(super) const fn is_mac(self) -> bool {
        use super::ArpField::{SenderMac, TargetMac};
        matches!(self, Self::Dst | Self::Src | Self::Arp(_, SenderMac | TargetMac))
    }
}

/// The group bit, as it stands in a MAC address's number.
const GROUP: u32 = 40;

/// Where a value stands in its field's order.
const fn order(mac: bool, value: u128) -> u128 {
    if !mac {
        return value;
    }
    let (high, low) = (value >> (GROUP + 1), value & ((1 << GROUP) - 1));
    (value >> GROUP & 1) << 47 | high << GROUP | low
}

/// The value that stands at a place.
const fn number(mac: bool, place: u128) -> u128 {
    if !mac {
        return place;
    }
    let (high, low) = (place >> GROUP & 0x7f, place & ((1 << GROUP) - 1));
    high << (GROUP + 1) | (place >> 47 & 1) << GROUP | low
}

/// A range of MAC addresses by their numbers, in the order of the field: one range for each first byte.
fn mac_range(first: u128, last: u128) -> Domain {
    let byte = |value: u128| value >> GROUP & 0xff;
    let mut domain = Domain::default();
    for high in byte(first)..=byte(last) {
        let from = if high == byte(first) { first } else { high << GROUP };
        let to = if high == byte(last) { last } else { high << GROUP | ((1 << GROUP) - 1) };
        domain = domain.union(&Domain { ranges: smallvec![(order(true, from), order(true, to))] });
    }
    domain
}

/// The values that equal `value` where `mask` has ones; `None` if they are too many ranges.
fn masked(value: u128, mask: u128, bits: u32) -> Option<Ranges> {
    let all = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
    if value & mask & !all != 0 {
        return Some(Ranges::new());
    }
    let mask = mask & all;
    let low = mask.trailing_zeros().min(bits);
    let tail = if low >= 128 { u128::MAX } else { (1u128 << low) - 1 };
    let free: Vec<u32> = (low..bits).filter(|bit| mask >> bit & 1 == 0).collect();
    let count = free.len() as u32;
    // Small fields may fall apart as they like: there are not many values.
    if count > MOST_RANGES && bits > 16 {
        return None;
    }
    let spread = |number: u64| {
        free.iter().enumerate().fold(0, |bits: u128, (at, bit)| bits | u128::from(number >> at & 1) << bit)
    };
    let ranges = (0..1u64 << count).map(|number| {
        let first = (value & mask) | spread(number);
        (first, first | tail)
    });
    Some(ranges.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain(ranges: &[(u128, u128)]) -> Domain {
        ranges.iter().fold(Domain::default(), |all, (a, b)| all.union(&Domain::range(*a.min(b), *a.max(b))))
    }

    proptest! {
        #[test]
        fn sets_are_sets(one: Vec<(u8, u8)>, two: Vec<(u8, u8)>) {
            let wide = |list: &[(u8, u8)]| domain(&list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<_>>());
            let (one, two) = (wide(&one), wide(&two));
            let field = Field::Byte(0, 0);
            for value in 0..=255 {
                let (a, b) = (one.contains(field, value), two.contains(field, value));
                prop_assert_eq!(one.intersect(&two).contains(field, value), a && b);
                prop_assert_eq!(one.union(&two).contains(field, value), a || b);
                prop_assert_eq!(one.without(&two).contains(field, value), a && !b);
            }
            prop_assert_eq!(one.meets(&two), !one.intersect(&two).is_empty());
            prop_assert_eq!(one.is_within(&two), one.without(&two).is_empty());
            prop_assert_eq!(one.intersect(&two).union(&one.without(&two)), one);
        }

        #[test]
        fn a_set_of_a_field_holds_what_it_holds(value: u64, mask in prop_oneof![Just(1u64 << 40), Just(0xffff_ff00_0000), Just(0xffff_ffff_fff0), any::<u64>()], candidate: u64) {
            let (value, candidate) = (u128::from(value & 0xffff_ffff_ffff), u128::from(candidate & 0xffff_ffff_ffff));
            let mask = u128::from(mask & 0xffff_ffff_ffff);
            for set in [Set::Exactly(value), Set::Masked { value, mask }, Set::Range(value.min(mask), value.max(mask))] {
                for field in [Field::Dst, Field::Length(0)] {
                    if let Some(domain) = Domain::of(field, set) {
                        for candidate in [candidate, value, value & mask, candidate & !mask | value & mask] {
                            let candidate = candidate & (u128::MAX >> (128 - u32::from(field.bits())));
                            prop_assert_eq!(domain.contains(field, candidate), set.contains(candidate), "{:?} {:?} {:x}", field, set, candidate);
                        }
                        if let Some(first) = domain.first(field) {
                            prop_assert!(set.contains(first));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn group_addresses_are_one_range() {
        let groups = Domain::of(Field::Dst, Set::MULTICAST).unwrap();
        assert_eq!(groups.ranges.len(), 1);
        let link_local = Domain::of(Field::Dst, Set::LINK_LOCAL).unwrap();
        assert_eq!((link_local.ranges.len(), link_local.count()), (1, 16));
        assert_eq!(groups.intersect(&link_local), link_local);
    }
}
