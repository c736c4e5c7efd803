//! A frame of which each field may have many values: every answer that one of them gives is followed.
//!
//! The walk runs once for each way of answering. Whatever was asked, and how it was answered, is remembered as what the
//! fields' values still can be: together the ways hold every frame, and no two hold the same one ([`explore`]).

use super::domain::Domain;
use super::{ArpField, Field, Frame, Ip4Field, Ip6Field, Partition, Set};

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

/// A frame under exploration.
#[derive(Debug)]
pub struct Symbolic<'e> {
    condition: Condition,
    explorer: &'e mut Explorer,
}

/// A question that has several answers.
#[derive(Debug)]
struct Fork {
    ways: usize,
    taken: usize,
}

/// The ways that remain.
#[derive(Debug, Default)]
struct Explorer {
    forks: Vec<Fork>,
    depth: usize,
}

/// Whether to go on.
pub type Flow = std::ops::ControlFlow<()>;

/// Runs something with every kind of frame that `given` allows. `run` is called once for each way of answering its
/// questions, and told the condition afterwards by `visit`. Returns whether all ways were taken.
pub fn explore<T>(
    given: &Condition,
    most: usize,
    mut run: impl FnMut(&mut Symbolic<'_>) -> T,
    mut visit: impl FnMut(Condition, T) -> Flow,
) -> bool {
    let mut explorer = Explorer::default();
    for _ in 0..most {
        explorer.depth = 0;
        let mut frame = Symbolic { condition: given.clone(), explorer: &mut explorer };
        let result = run(&mut frame);
        let condition = std::mem::take(&mut frame.condition);
        if visit(condition, result).is_break() {
            return true;
        }
        if !explorer.next_way() {
            return true;
        }
    }
    false
}

impl Explorer {
    /// Takes the next answer of the last question that has one left.
    fn next_way(&mut self) -> bool {
        // A shorter run has asked less than the one before.
        self.forks.truncate(self.depth);
        while let Some(fork) = self.forks.last_mut() {
            fork.taken += 1;
            if fork.taken < fork.ways {
                return true;
            }
            self.forks.pop();
        }
        false
    }

    fn fork(&mut self, ways: usize) -> usize {
        let at = self.depth;
        self.depth += 1;
        match self.forks.get(at) {
            Some(fork) => fork.taken,
            None => {
                self.forks.push(Fork { ways, taken: 0 });
                0
            }
        }
    }
}

/// With how many tags frames are looked at. The kernel takes any number of VLAN 0 tags off, one after the other, and asks
/// each time the same: what more of them do is what three do.
pub const MOST_TAGS: u8 = 3;

/// The TPIDs.
fn tags() -> Domain {
    let tpids = Set::VLAN_TPIDS.iter().filter_map(|set| Domain::of(Field::Protocol(0), *set));
    tpids.fold(Domain::default(), |all, tpid| all.union(&tpid))
}

impl Condition {
    /// Every frame of at most [`MOST_TAGS`] tags.
    #[must_use]
    pub fn every_frame() -> Self {
        let mut condition = Self::default();
        let _ = condition.narrow(Field::Protocol(MOST_TAGS), &Domain::full(16).without(&tags()));
        condition
    }

    /// Those of them that have none.
    #[must_use]
    pub fn untagged_frames() -> Self {
        let mut condition = Self::every_frame();
        let _ = condition.narrow(Field::Protocol(0), &Domain::full(16).without(&tags()));
        condition
    }

    /// Those of them that have one at least.
    #[must_use]
    pub fn tagged_frames() -> Self {
        let mut condition = Self::every_frame();
        let _ = condition.narrow(Field::Protocol(0), &tags());
        condition
    }

    /// Returns what a field can be, as far as it was asked.
    #[must_use]
    pub fn domain(&self, field: Field) -> Domain {
        let (field, _) = base(field);
        self.find(field).cloned().unwrap_or_else(|| Domain::full(field.bits()))
    }

    fn find(&self, field: Field) -> Option<&Domain> {
        self.fields.iter().find(|(known, _)| *known == field).map(|(_, domain)| domain)
    }

    fn put(&mut self, field: Field, domain: Domain) {
        match self.fields.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = domain,
            None => self.fields.push((field, domain)),
        }
    }

    /// Narrows a field, and what depends on it. Whether any value is left.
    #[must_use]
    pub fn narrow(&mut self, field: Field, domain: &Domain) -> bool {
        let (field, more) = base(field);
        let narrowed = self.domain(field).intersect(&domain.plus(more));
        if narrowed.is_empty() {
            return false;
        }
        if self.find(field) == Some(&narrowed) {
            return true;
        }
        self.put(field, narrowed);
        self.linked(field)
    }

    /// Narrows what a field's value says of others.
    fn linked(&mut self, field: Field) -> bool {
        let pairs: Vec<_> = self
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
                self.by(field, 0, Field::Ip4(d, Ip4Field::FragmentBits), &fragment(false))
                    && self.by(field, 1, Field::Ip4(d, Ip4Field::FragmentBits), &fragment(true))
            }
            Field::Ip4(d, Ip4Field::FragmentBits) => {
                self.back(field, &fragment(false), Field::Ip4(d, Ip4Field::Fragment))
            }
            Field::Ip4(d, Ip4Field::HasOptions) => {
                self.by(field, 0, Field::Ip4(d, Ip4Field::VersionAndLength), &options(false))
                    && self.by(field, 1, Field::Ip4(d, Ip4Field::VersionAndLength), &options(true))
            }
            Field::Ip4(d, Ip4Field::VersionAndLength) => {
                self.back(field, &options(false), Field::Ip4(d, Ip4Field::HasOptions))
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
                    && self.by(field, 1, Field::Arp(d, ArpField::HardwareType), &ethernet())
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
        self.domain(field).only(field) != Some(value) || self.narrow(other, domain)
    }

    /// A field that is 0 where another lies in `domain`, and 1 elsewhere.
    fn back(&mut self, field: Field, domain: &Domain, of: Field) -> bool {
        let now = self.domain(field);
        let (inside, outside) = (!now.intersect(domain).is_empty(), !now.without(domain).is_empty());
        self.narrow(of, &Domain::range(u128::from(!inside), u128::from(outside)))
    }

    /// `eth_type_trans`: below 0x0600 it is a length, and the protocol 4, or 1 with Novell's mark behind it.
    fn type_of_protocol(&mut self, d: u8) -> bool {
        let protocol = self.domain(Field::Protocol(d));
        let types = protocol.intersect(&Domain::range(0x0600, 0xffff));
        let lengths = protocol.intersect(&Domain::range(1, 1).union(&Domain::range(4, 4)));
        let lengths = if lengths.is_empty() { Domain::default() } else { Domain::range(0, 0x05ff) };
        self.narrow(Field::TypeOrLength(d), &types.union(&lengths))
    }

    fn protocol_of_type(&mut self, d: u8) -> bool {
        let value = self.domain(Field::TypeOrLength(d));
        let types = value.intersect(&Domain::range(0x0600, 0xffff));
        let short = value.intersect(&Domain::range(0, 0x05ff)).is_empty();
        let lengths = if short { Domain::default() } else { Domain::range(1, 1).union(&Domain::range(4, 4)) };
        self.narrow(Field::Protocol(d), &types.union(&lengths))
    }
}

/// More bytes than any frame has.
pub(super) const LONGEST: u128 = 0xffff;

fn fragment(is: bool) -> Domain {
    // An offset, or more to come; the other two flags do not matter.
    let not = Domain::range(0, 0)
        .union(&Domain::range(0x4000, 0x4000))
        .union(&Domain::range(0x8000, 0x8000))
        .union(&Domain::range(0xc000, 0xc000));
    if is { Domain::full(16).without(&not) } else { not }
}

fn options(has: bool) -> Domain {
    let with = (0..16u128).fold(Domain::default(), |all, version| {
        all.union(&Domain::range(version << 4 | 6, version << 4 | 15))
    });
    if has { with } else { Domain::full(8).without(&with) }
}

fn ethernet() -> Domain {
    Domain::range(1, 1).union(&Domain::range(6, 6))
}

/// Returns the field that another is a matter of, and what to add to its values: every length is that of the whole frame.
const fn base(field: Field) -> (Field, u128) {
    match field {
        Field::Length(d) => (Field::Length(0), 4 * d as u128),
        other => (other, 0),
    }
}

impl Symbolic<'_> {
    /// Returns the conditions of each answer that some frame gives.
    fn answers(&self, field: Field, partition: &dyn Partition) -> Vec<(Option<usize>, Condition)> {
        let mut rest = self.condition.domain(field);
        let (cell, more) = base(field);
        let mut classes: Vec<(usize, Domain)> = Vec::new();
        let mut scattered = Vec::new();
        partition.for_each_class(&mut |class, set| {
            let Some(values) = Domain::of(field, set).map(|values| values.plus(more)) else {
                return scattered.push((class, set));
            };
            let here = rest.intersect(&values);
            if here.is_empty() {
                return;
            }
            rest = rest.without(&values);
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, domain)) => *domain = domain.union(&here),
                None => classes.push((class, here)),
            }
        });
        let plain = classes.into_iter().map(|(class, domain)| (Some(class), domain));
        let mut answers: Vec<(Option<usize>, Condition)> = Vec::new();
        let narrowed = |domain: &Domain| {
            let mut condition = self.condition.clone();
            condition.put(cell, domain.clone());
            condition.linked(cell).then_some(condition)
        };
        for (class, domain) in plain {
            answers.extend(narrowed(&domain).map(|condition| (class, condition)));
        }
        if !rest.is_empty()
            && let Some(mut condition) = narrowed(&rest)
        {
            // What is too scattered to be kept as ranges: in it, or not, and nothing more is known of it.
            for (class, set) in scattered {
                match condition.scattered.iter().find(|(known, of, _)| *known == cell && *of == set) {
                    Some((_, _, true)) => {
                        answers.push((Some(class), condition));
                        return answers;
                    }
                    Some((_, _, false)) => {}
                    None => {
                        let mut inside = condition.clone();
                        inside.scattered.push((cell, set, true));
                        answers.push((Some(class), inside));
                        condition.scattered.push((cell, set, false));
                    }
                }
            }
            answers.push((None, condition));
        }
        answers
    }
}

impl Frame for Symbolic<'_> {
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        let mut answers = self.answers(field, partition);
        // Something is always left: no condition is without a frame.
        let way = if answers.len() > 1 { self.explorer.fork(answers.len()) } else { 0 };
        if way >= answers.len() {
            return None;
        }
        let (class, condition) = answers.swap_remove(way);
        self.condition = condition;
        class
    }

    fn known(&self, field: Field) -> Option<u128> {
        let (cell, more) = base(field);
        self.condition.find(cell)?.only(cell)?.checked_sub(more)
    }

    fn choose(&mut self, ways: usize) -> usize {
        let way = self.explorer.fork(ways);
        self.condition.choices.push(way);
        way
    }

    fn same(&mut self, one: Field, other: Field) -> bool {
        let known = |(a, b, _): &&(Field, Field, bool)| (*a, *b) == (one, other) || (*a, *b) == (other, one);
        if let Some((_, _, equal)) = self.condition.equal.iter().find(known) {
            return *equal;
        }
        let (here, there) = (self.condition.domain(one), self.condition.domain(other));
        let both = here.intersect(&there);
        if both.is_empty() {
            return false;
        }
        let mut equal = self.condition.clone();
        let possible = equal.narrow(one, &both) && equal.narrow(other, &both);
        equal.equal.push((one, other, true));
        let certain = here.count() == 1 && here == there;
        if possible && (certain || self.explorer.fork(2) == 0) {
            self.condition = equal;
            return true;
        }
        self.condition.equal.push((one, other, false));
        false
    }
}
