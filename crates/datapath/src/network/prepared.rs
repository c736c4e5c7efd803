//! Rules of nftables as tests of a packet that is known in full.
//!
//! Most rules begin with loads and comparisons that have no effect but that the rule ends where one does not hold. Of such
//! a beginning there are tests here, sorted by what they are of ([`Dimension`](super::classify::Dimension)): a packet for which one fails is not
//! matched by the rule, which need then not be evaluated. What is loaded is told by the expressions' own code. Where all
//! tests hold the rule is evaluated as ever, unless nothing but a verdict follows.

use portcullis_snapshot::{CmpOp, IfIndex, Link, MetaKey, Netns, PayloadBase, Register};

use super::classify::{Bits, Dimensions, Test};
use super::ruleset::{Chain, Datum, Elements, Expr, Verdict};
use crate::frame::domain::Domain;

/// So many different things are loaded for tests in a chain; rules that would load more are evaluated.
const SLOTS: usize = 64;
/// Longer values are not tested, as they are numbers here.
const LONGEST: usize = 16;
/// `IFNAMSIZ`.
const IFNAMSIZ: usize = 16;

/// A chain's rules as tests.
#[derive(Debug, Default)]
pub(crate) struct Prepared<'s> {
    /// What is loaded, by slot.
    loads: Vec<Load>,
    /// What is tested.
    pub(crate) dimensions: Dimensions,
    /// Of each rule its verdict, if the tests are all there is before it.
    pub(crate) verdicts: Vec<Option<Verdict<'s>>>,
}

/// What a rule loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Bytes.
    Payload { header: Header, offset: usize, len: usize },
    /// Something that is known of every packet, if it has it.
    Meta(Meta),
    /// What only a meta expression tells.
    Evaluated { key: MetaKey, len: usize },
}

/// Where bytes are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Link,
    Network,
    Transport,
}

/// What is known of every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    Iif,
    Oif,
    Protocol,
    L4Proto,
}

impl Meta {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;
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

impl Bits {
    /// The same of the first bytes only.
    pub(super) const fn first(self, len: usize) -> Self {
        let mask = first_bytes(len);
        Self { mask: self.mask & mask, xor: self.xor & mask }
    }
}

impl<'s> Prepared<'s> {
    /// Makes a chain's rules ready.
    pub(crate) fn new(chain: &Chain<'s>, sets: &[Elements<'s>], names: &DeviceNames) -> Self {
        let mut this = Self::default();
        let mut rules = Vec::with_capacity(chain.rules.len());
        for rule in &chain.rules {
            let mut tests = Vec::new();
            let verdict = this.rule(&rule.expressions, sets, &mut tests);
            this.name_devices(&mut tests, names);
            this.verdicts.push(verdict);
            rules.push(tests);
        }
        this.dimensions = Dimensions::of(rules, &this.loads);
        this
    }

    /// Turns tests of a device's name into tests of its number, which tell the same faster.
    fn name_devices(&mut self, tests: &mut [Test], names: &DeviceNames) {
        for test in tests {
            let key = match self.loads.get(usize::from(test.slot)) {
                Some(Load::Evaluated { key: MetaKey::IifName, .. }) => Meta::Iif,
                Some(Load::Evaluated { key: MetaKey::OifName, .. }) => Meta::Oif,
                _ => continue,
            };
            let [(from, to)] = *test.within.ranges() else { continue };
            if test.of == Bits::ALL
                && from == to
                && let Some(device) = names.device(from)
                && let Some(slot) = self.slot(Load::Meta(key))
            {
                let number = number(&device.0.to_ne_bytes()).unwrap_or_default();
                *test = Test {
                    slot,
                    of: Bits::ALL,
                    within: Domain::range(number, number),
                    negated: test.negated,
                };
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
                    let header = header(base)?;
                    self.load(&mut held, Load::Payload { header, offset, len }, dreg)?;
                }
                Expr::Meta { key, dreg } => self.load(&mut held, meta(key)?, dreg)?,
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
                    tests.push(test(other, sets, one.slot, one.of.first(len))?);
                }
            }
        }
        held.iter().all(|one| one.tested).then_some(Verdict::Continue)
    }

    /// Finds the slot of a load; `None` if it is not for tests.
    fn load(&mut self, held: &mut Vec<Held>, load: Load, dreg: Register) -> Option<()> {
        let len = load.len();
        let slot = self.slot(load).filter(|_| (1..=LONGEST).contains(&len))?;
        hold(held, Held { sreg: dreg, slot, len, of: Bits::ALL, tested: false })
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
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Payload { len, .. } | Self::Evaluated { len, .. } => len,
            Self::Meta(Meta::Iif | Meta::Oif) => 4,
            Self::Meta(Meta::Protocol) => 2,
            Self::Meta(Meta::L4Proto) => 1,
        }
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

/// What bytes are counted from, if tests know it.
const fn header(base: PayloadBase) -> Option<Header> {
    match base {
        PayloadBase::Link => Some(Header::Link),
        PayloadBase::Network => Some(Header::Network),
        PayloadBase::Transport => Some(Header::Transport),
        PayloadBase::Inner | PayloadBase::Other(_) => None,
    }
}

/// What a meta expression loads, if tests know it.
const fn meta(key: MetaKey) -> Option<Load> {
    let len = match key {
        MetaKey::Iif => return Some(Load::Meta(Meta::Iif)),
        MetaKey::Oif => return Some(Load::Meta(Meta::Oif)),
        MetaKey::Protocol => return Some(Load::Meta(Meta::Protocol)),
        MetaKey::L4Proto => return Some(Load::Meta(Meta::L4Proto)),
        MetaKey::NfProto | MetaKey::PktType => 1,
        MetaKey::Mark => 4,
        MetaKey::IifName | MetaKey::OifName | MetaKey::BriIifName | MetaKey::BriOifName => IFNAMSIZ,
        _ => return None,
    };
    Some(Load::Evaluated { key, len })
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
    let test = |within, negated| Some(Test { slot, of, within, negated });
    let between = |from, to, negated| test(Domain::range(from, to), negated);
    match *expression {
        Expr::Cmp { op, data, .. } => {
            let data = number(data)?;
            match op {
                CmpOp::Eq | CmpOp::Neq => between(data, data, op == CmpOp::Neq),
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
            test(ranges(sets.get(set)?, dreg.is_some() && !inverted)?, inverted)
        }
        _ => None,
    }
}

/// The keys in a set, in order and apart; `None` if something else decides too.
fn ranges(elements: &Elements<'_>, is_map: bool) -> Option<Domain> {
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
    Some(Domain::of_ranges(ranges))
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
