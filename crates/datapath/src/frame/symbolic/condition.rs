//! Which frames go one way: what is known of their fields, and what follows from it for others.

use std::sync::LazyLock;

use crate::frame::domain::Domain;
use crate::frame::{ArpField, Field, Ip4Field, Ip6Field, Set};

/// The frames that are answered in one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// What the fields that were asked can be.
    pub fields: Vec<(Field, Domain)>,
    /// Pairs of fields that were compared, and whether they are equal.
    pub equal: Vec<(Field, Field, bool)>,
    /// Sets that were too scattered to be kept as ranges, and whether the field lies in them.
    pub scattered: Vec<(Field, Set, bool)>,
    /// How the world was chosen to be, where neither frame nor snapshot tells, in the order of the questions.
    pub choices: Vec<usize>,
}

/// With how many tags frames are looked at. The kernel takes any number of VLAN 0 tags off, one after the other, and asks
/// each time the same: what more of them do is what three do.
pub const MOST_TAGS: u8 = 3;

/// The TPIDs.
static TAGS: LazyLock<Domain> = LazyLock::new(|| {
    let tpids = Set::VLAN_TPIDS.iter().filter_map(|set| Domain::of(Field::Protocol(0), *set));
    tpids.fold(Domain::default(), |all, tpid| all.union(&tpid))
});

impl Condition {
    /// Every frame of at most [`MOST_TAGS`] tags.
    #[must_use]
    pub fn every_frame() -> Self {
        let mut condition = Self::default();
        let _ = condition.narrow(Field::Protocol(MOST_TAGS), &Domain::full(16).without(&TAGS));
        condition
    }

    /// Those of them that have none.
    #[must_use]
    pub fn untagged_frames() -> Self {
        let mut condition = Self::every_frame();
        let _ = condition.narrow(Field::Protocol(0), &Domain::full(16).without(&TAGS));
        condition
    }

    /// Those of them that have one at least.
    #[must_use]
    pub fn tagged_frames() -> Self {
        let mut condition = Self::every_frame();
        let _ = condition.narrow(Field::Protocol(0), &TAGS);
        condition
    }

    /// Returns what a field can be, as far as it was asked.
    #[must_use]
    pub fn domain(&self, field: Field) -> Domain {
        let (field, _) = base(field);
        self.find(field).cloned().unwrap_or_else(|| Domain::full(field.bits()))
    }

    /// Whether what stands behind so many tags can be something else than one more.
    #[must_use]
    pub fn may_end_behind(&self, depth: u8) -> bool {
        self.find(Field::Protocol(depth)).is_none_or(|protocol| !protocol.is_within(&TAGS))
    }

    pub(super) fn find(&self, field: Field) -> Option<&Domain> {
        self.fields.iter().find(|(known, _)| *known == field).map(|(_, domain)| domain)
    }

    /// Narrows a field, and what depends on it. Whether any value is left.
    #[must_use]
    pub fn narrow(&mut self, field: Field, domain: &Domain) -> bool {
        Narrowing { condition: self, log: &mut Vec::new() }.narrow(field, domain)
    }

    /// Returns a condition that holds every frame that one of these holds, and perhaps more. How the world is does not
    /// count.
    #[must_use]
    pub fn join<'c>(all: impl IntoIterator<Item = &'c Self>) -> Self {
        let mut all = all.into_iter();
        let Some(first) = all.next() else { return Self::default() };
        let mut joined = Self { choices: Vec::new(), ..first.clone() };
        for other in all {
            joined.fields.retain_mut(|(field, domain)| match other.find(*field) {
                Some(more) => {
                    if more != domain {
                        *domain = domain.union(more);
                    }
                    true
                }
                None => false,
            });
            joined.equal.retain(|pair| other.equal.contains(pair));
            joined.scattered.retain(|set| other.scattered.contains(set));
        }
        joined
    }

    /// Returns the condition of the frames that both hold; `None` if there are surely none. How the world is, is as in this
    /// one.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        // Most have nothing in common, which is told without a copy.
        let apart =
            |(field, domain): &(Field, Domain)| self.find(*field).is_some_and(|known| !known.meets(domain));
        if other.fields.iter().any(apart) {
            return None;
        }
        let mut both = self.clone();
        let pairs = || self.equal.iter().chain(&other.equal);
        let compared = |field: Field| pairs().any(|(one, two, _)| *one == field || *two == field);
        for (field, domain) in &other.fields {
            // What follows of a field as either has it is among its other fields.
            let known = both.fields.iter().position(|(known, _)| known == field);
            match known.and_then(|at| both.fields.get_mut(at)) {
                None if !compared(*field) => both.fields.push((*field, domain.clone())),
                Some((_, known)) if known.is_within(domain) => {}
                Some((_, known)) if domain.is_within(known) && !compared(*field) => known.clone_from(domain),
                _ => {
                    if !both.narrow(*field, domain) {
                        return None;
                    }
                }
            }
        }
        for &(one, two, equal) in &other.equal {
            let known = |(a, b, _): &&(Field, Field, bool)| (*a, *b) == (one, two) || (*a, *b) == (two, one);
            match both.equal.iter().find(known) {
                Some((_, _, known)) if *known == equal => continue,
                Some(_) => return None,
                None => {}
            }
            let common = both.domain(one).intersect(&both.domain(two));
            if equal && !(both.narrow(one, &common) && both.narrow(two, &common)) {
                return None;
            }
            both.equal.push((one, two, equal));
        }
        for &(field, set, inside) in &other.scattered {
            let known = both.scattered.iter().find(|(known, of, _)| *known == field && *of == set);
            match known {
                Some((_, _, known)) if *known == inside => continue,
                Some(_) => return None,
                None => both.scattered.push((field, set, inside)),
            }
        }
        let mut fields = both.scattered.iter().map(|(field, _, _)| *field);
        fields.all(|field| both.agrees(field)).then_some(both)
    }

    /// Whether a field that has only one value has one that its scattered sets allow.
    pub(super) fn agrees(&self, field: Field) -> bool {
        let Some(value) = self.find(field).and_then(|domain| domain.only(field)) else { return true };
        let mut sets = self.scattered.iter().filter(|(of, _, _)| *of == field);
        sets.all(|(_, set, inside)| set.contains(value) == *inside)
    }

    /// Takes back what was done since the log was so long.
    pub(super) fn undo(&mut self, log: &mut Vec<Undo>, mark: usize) {
        while log.len() > mark {
            match log.pop() {
                Some(Undo::Was(at, domain)) => {
                    if let Some((_, known)) = self.fields.get_mut(at) {
                        *known = domain;
                    }
                }
                Some(Undo::Field) => drop(self.fields.pop()),
                Some(Undo::Equal) => drop(self.equal.pop()),
                Some(Undo::Scattered) => drop(self.scattered.pop()),
                Some(Undo::Choice) => drop(self.choices.pop()),
                None => {}
            }
        }
    }
}

/// How one step of narrowing is taken back.
#[derive(Debug)]
pub(super) enum Undo {
    /// A field was otherwise.
    Was(usize, Domain),
    /// A field was not there.
    Field,
    /// Nor was a comparison.
    Equal,
    /// Nor was a scattered set.
    Scattered,
    /// Nor was a choice.
    Choice,
}

/// A condition that is narrowed, so that it can be taken back.
pub(super) struct Narrowing<'c> {
    pub(super) condition: &'c mut Condition,
    pub(super) log: &'c mut Vec<Undo>,
}

impl Narrowing<'_> {
    fn put(&mut self, field: Field, domain: Domain) {
        let known = self.condition.fields.iter_mut().enumerate().find(|(_, (known, _))| *known == field);
        match known {
            Some((at, (_, known))) => self.log.push(Undo::Was(at, std::mem::replace(known, domain))),
            None => {
                self.condition.fields.push((field, domain));
                self.log.push(Undo::Field);
            }
        }
    }

    /// Gives a field those of its values that are left, and narrows what depends on it.
    pub(super) fn restrict(&mut self, field: Field, left: Domain) -> bool {
        self.put(field, left);
        self.linked(field)
    }

    /// [`Condition::narrow`].
    pub(super) fn narrow(&mut self, field: Field, domain: &Domain) -> bool {
        let (field, more) = base(field);
        let shifted;
        let domain = if more == 0 {
            domain
        } else {
            shifted = domain.plus(more);
            &shifted
        };
        let narrowed = match self.condition.find(field) {
            Some(known) => known.intersect(domain),
            None => Domain::full(field.bits()).intersect(domain),
        };
        if narrowed.is_empty() {
            return false;
        }
        self.condition.find(field) == Some(&narrowed) || self.restrict(field, narrowed)
    }

    fn domain(&self, field: Field) -> Domain {
        self.condition.domain(field)
    }

    /// Narrows what a field's value says of others.
    fn linked(&mut self, field: Field) -> bool {
        let pairs: Vec<_> = self
            .condition
            .equal
            .iter()
            .filter(|(one, other, equal)| *equal && (*one == field || *other == field))
            .copied()
            .collect();
        for (one, other, _) in pairs {
            let domain = self.domain(field);
            let partner = if one == field { other } else { one };
            if !self.narrow(partner, &domain) {
                return false;
            }
        }
        match field {
            Field::Protocol(d) => self.type_of_protocol(d),
            Field::TypeOrLength(d) => self.protocol_of_type(d),
            Field::Ip4(d, Ip4Field::Fragment) => {
                self.by(field, 0, Field::Ip4(d, Ip4Field::FragmentBits), &FRAGMENT.0)
                    && self.by(field, 1, Field::Ip4(d, Ip4Field::FragmentBits), &FRAGMENT.1)
            }
            Field::Ip4(d, Ip4Field::FragmentBits) => {
                self.back(field, &FRAGMENT.0, Field::Ip4(d, Ip4Field::Fragment))
            }
            Field::Ip4(d, Ip4Field::HasOptions) => {
                self.by(field, 0, Field::Ip4(d, Ip4Field::VersionAndLength), &OPTIONS.0)
                    && self.by(field, 1, Field::Ip4(d, Ip4Field::VersionAndLength), &OPTIONS.1)
            }
            Field::Ip4(d, Ip4Field::VersionAndLength) => {
                self.back(field, &OPTIONS.0, Field::Ip4(d, Ip4Field::HasOptions))
            }
            Field::Ip4(d, Ip4Field::WellFormed) => {
                self.by(field, 1, Field::Ip4(d, Ip4Field::LengthsRight), &Domain::range(1, 1))
            }
            Field::Ip4(d, Ip4Field::LengthsRight) => {
                self.by(field, 1, Field::Ip4(d, Ip4Field::VersionAndLength), &Domain::range(0x45, 0x4f))
                    && self.by(field, 1, Field::Length(d), &Domain::range(20, LONGEST))
                    && self.by(field, 0, Field::Ip4(d, Ip4Field::WellFormed), &Domain::range(0, 0))
            }
            Field::Ip6(d, Ip6Field::WellFormed) => {
                self.by(field, 1, Field::Length(d), &Domain::range(40, LONGEST))
            }
            Field::Arp(d, ArpField::WellFormed) => {
                self.by(field, 1, Field::Arp(d, ArpField::LengthsRight), &Domain::range(1, 1))
                    && self.by(field, 1, Field::Arp(d, ArpField::HardwareType), &ETHERNET)
            }
            Field::Arp(d, ArpField::LengthsRight) => {
                self.by(field, 1, Field::Arp(d, ArpField::ProtocolType), &Domain::range(0x0800, 0x0800))
                    && self.by(field, 1, Field::Arp(d, ArpField::HardwareLength), &Domain::range(6, 6))
                    && self.by(field, 1, Field::Arp(d, ArpField::ProtocolLength), &Domain::range(4, 4))
                    && self.by(field, 1, Field::Length(d), &Domain::range(28, LONGEST))
                    && self.by(field, 0, Field::Arp(d, ArpField::WellFormed), &Domain::range(0, 0))
            }
            _ => true,
        }
    }

    /// If a field is surely `value`, another lies in `domain`.
    fn by(&mut self, field: Field, value: u128, other: Field, domain: &Domain) -> bool {
        let known = self.condition.find(field).and_then(|known| known.only(field));
        known != Some(value) || self.narrow(other, domain)
    }

    /// A field that is 0 where another lies in `domain`, and 1 elsewhere.
    fn back(&mut self, field: Field, domain: &Domain, of: Field) -> bool {
        let (inside, outside) = match self.condition.find(field) {
            Some(now) => (now.meets(domain), !now.is_within(domain)),
            None => (true, true),
        };
        self.narrow(of, &Domain::range(u128::from(!inside), u128::from(outside)))
    }

    /// `eth_type_trans`: below 0x0600 it is a length, and the protocol 4, or 1 with Novell's mark behind it.
    fn type_of_protocol(&mut self, d: u8) -> bool {
        let protocol = self.domain(Field::Protocol(d));
        let types = protocol.intersect(&Domain::range(0x0600, 0xffff));
        let lengths = protocol.intersect(&LENGTHS);
        let lengths = if lengths.is_empty() { Domain::default() } else { Domain::range(0, 0x05ff) };
        self.narrow(Field::TypeOrLength(d), &types.union(&lengths))
    }

    fn protocol_of_type(&mut self, d: u8) -> bool {
        let value = self.domain(Field::TypeOrLength(d));
        let types = value.intersect(&Domain::range(0x0600, 0xffff));
        let short = value.intersect(&Domain::range(0, 0x05ff)).is_empty();
        let lengths = if short { Domain::default() } else { LENGTHS.clone() };
        self.narrow(Field::Protocol(d), &types.union(&lengths))
    }
}

/// More bytes than any frame has.
pub(in crate::frame) const LONGEST: u128 = 0xffff;

/// The flags and offset of packets that are no fragment, and of those that are. An offset, or more to come; the other two
/// flags do not matter.
static FRAGMENT: LazyLock<(Domain, Domain)> = LazyLock::new(|| {
    let not = Domain::of_ranges([0, 0x4000, 0x8000, 0xc000].map(|bits| (bits, bits)).into());
    let is = Domain::full(16).without(&not);
    (not, is)
});

/// Version and header length without options, and with.
static OPTIONS: LazyLock<(Domain, Domain)> = LazyLock::new(|| {
    let with = (0..16).map(|version| (version << 4 | 6, version << 4 | 15));
    let with = Domain::of_ranges(with.collect());
    (Domain::full(8).without(&with), with)
});

/// Ethernet, and IEEE 802.
static ETHERNET: LazyLock<Domain> = LazyLock::new(|| Domain::of_ranges(vec![(1, 1), (6, 6)]));

/// What `Protocol` is where there is a length.
static LENGTHS: LazyLock<Domain> = LazyLock::new(|| Domain::of_ranges(vec![(1, 1), (4, 4)]));

/// Returns the field that another is a matter of, and what to add to its values: every length is that of the whole frame.
pub(super) const fn base(field: Field) -> (Field, u128) {
    match field {
        Field::Length(d) => (Field::Length(0), 4 * d as u128),
        other => (other, 0),
    }
}
