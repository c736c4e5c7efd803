//! A frame, as something that can be asked questions.
//!
//! The walk never looks at bytes. It asks in which class of a [`Partition`] a [`Field`] lies, and goes on from the
//! answer. A [`Concrete`] frame answers from its bytes. A symbolic one can answer both ways, once for each class that
//! its possible values still reach, and remember under which condition: the walk cannot tell the difference, so that
//! the two readings cannot disagree. What a field means is said here, where both readings find it.

mod build;
mod concrete;
pub mod domain;
mod edited;
mod field;
mod replay;
pub mod symbolic;
mod witness;

pub use build::{ArpOperation, FrameBuilder, Payload, RouterAdvertisement};
pub use concrete::Concrete;
pub(crate) use edited::{Edited, is_writable, written};
pub use edited::{Sums, Write, Written};
pub use field::{ArpField, Field, Icmp6Field, Ip4Field, Ip6Field};
pub use replay::Replay;

use portcullis_snapshot::{EtherType, MacAddr};

/// A division of the values of a field into classes, numbered from 0. Values outside every class have none.
pub trait Partition {
    /// Returns the class that a value lies in.
    fn class_of(&self, value: u128) -> Option<usize>;

    /// Calls `each` with every class and the sets of values that make it up. A value that lies in several belongs to
    /// the class that comes first.
    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set));
}

/// A set of values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// One value.
    Exactly(u128),
    /// Every value that equals `value` where `mask` has ones.
    Masked {
        /// What the bits must be.
        value: u128,
        /// Which bits count.
        mask: u128,
    },
    /// Every value from the first to the last.
    Range(u128, u128),
}

impl Set {
    /// The group addresses: the multicast bit is set.
    pub const MULTICAST: Self = Self::Masked { value: 1 << 40, mask: 1 << 40 };
    /// `01:80:c2:00:00:00` to `:0f`.
    pub const LINK_LOCAL: Self =
        Self::Masked { value: MacAddr::link_local(0).to_u64() as u128, mask: 0xffff_ffff_fff0 };
    /// The TPIDs that the kernel strips.
    pub const VLAN_TPIDS: [Self; 2] = [Self::of(EtherType::VLAN), Self::of(EtherType::SVLAN)];

    /// One EtherType.
    #[must_use]
    pub const fn of(ethertype: EtherType) -> Self {
        Self::Exactly(ethertype.0 as u128)
    }

    /// Whether a value is in the set.
    #[must_use]
    pub const fn contains(&self, candidate: u128) -> bool {
        match *self {
            Self::Exactly(value) => candidate == value,
            Self::Masked { value, mask } => candidate & mask == value & mask,
            Self::Range(first, last) => first <= candidate && candidate <= last,
        }
    }
}

impl From<MacAddr> for Set {
    fn from(mac: MacAddr) -> Self {
        Self::Exactly(mac.to_u64().into())
    }
}

impl From<EtherType> for Set {
    fn from(ethertype: EtherType) -> Self {
        Self::of(ethertype)
    }
}

impl From<u16> for Set {
    fn from(value: u16) -> Self {
        Self::Exactly(value.into())
    }
}

impl From<u8> for Set {
    fn from(value: u8) -> Self {
        Self::Exactly(value.into())
    }
}

impl From<std::net::Ipv4Addr> for Set {
    fn from(address: std::net::Ipv4Addr) -> Self {
        Self::Exactly(u32::from(address).into())
    }
}

impl From<std::net::Ipv6Addr> for Set {
    fn from(address: std::net::Ipv6Addr) -> Self {
        Self::Exactly(u128::from(address))
    }
}

impl From<ipnet::Ipv4Net> for Set {
    fn from(net: ipnet::Ipv4Net) -> Self {
        Self::Masked { value: u32::from(net.network()).into(), mask: u32::from(net.netmask()).into() }
    }
}

impl From<ipnet::Ipv6Net> for Set {
    fn from(net: ipnet::Ipv6Net) -> Self {
        Self::Masked { value: u128::from(net.network()), mask: u128::from(net.netmask()) }
    }
}

/// A list of disjoint sets is a partition: class n is the n-th set.
impl Partition for [Set] {
    #[inline(always)]
    fn class_of(&self, value: u128) -> Option<usize> {
        self.iter().position(|set| set.contains(value))
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, set) in self.iter().enumerate() {
            each(class, *set);
        }
    }
}

impl<const N: usize> Partition for [Set; N] {
    #[inline(always)]
    fn class_of(&self, value: u128) -> Option<usize> {
        self.as_slice().class_of(value)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        self.as_slice().for_each_class(each);
    }
}

/// What the walk may ask of a frame.
pub trait Frame {
    /// Returns the class of `partition` in which `field` lies, or `None` if it lies in none.
    ///
    /// A field beyond the end of the frame reads as 0; ask [`Field::Length`] first, as the kernel does.
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize>;

    /// Returns the value of a field, if there is only one that it can have.
    fn known(&self, field: Field) -> Option<u128> {
        let _ = field;
        None
    }

    /// Returns the bytes, if every field has only one value that it can have.
    fn raw(&self) -> Option<Concrete<'_>> {
        None
    }

    /// Returns which of several ways the world goes, where neither the frame nor the snapshot tells: what time, other
    /// packets or a program could decide. The first unless every way is to be seen.
    fn choose(&mut self, ways: usize) -> usize {
        let _ = ways;
        0
    }

    /// Returns how often [`choose`](Self::choose) was asked so far; 0 if nobody counts.
    fn chosen(&self) -> usize {
        0
    }

    /// Returns how many of the questions so far had several answers; 0 if nobody counts.
    fn forked(&self) -> usize {
        0
    }

    /// Whether two fields hold the same value.
    fn same(&mut self, one: Field, other: Field) -> bool;

    /// Whether `field` lies in `set`.
    fn is(&mut self, field: Field, set: impl Into<Set>) -> bool
    where
        Self: Sized,
    {
        self.which(field, &[set.into()]).is_some()
    }

    /// Whether `field` lies in one of `sets`.
    fn is_any(&mut self, field: Field, sets: &[Set]) -> bool
    where
        Self: Sized,
    {
        self.which(field, &AnyOf(sets)).is_some()
    }
}

/// One class that is the union of sets.
struct AnyOf<'a>(&'a [Set]);

impl Partition for AnyOf<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.iter().any(|set| set.contains(value)).then_some(0)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        self.0.iter().for_each(|set| each(0, *set));
    }
}

/// Classes of several sets each.
pub(crate) struct Classes<'a>(pub(crate) &'a [Vec<Set>]);

impl Partition for Classes<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.iter().position(|sets| sets.iter().any(|set| set.contains(value)))
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, sets) in self.0.iter().enumerate() {
            sets.iter().for_each(|set| each(class, *set));
        }
    }
}

/// A slice of sets, as something that has a size.
pub(crate) struct Sets<'a>(pub(crate) &'a [Set]);

impl Partition for Sets<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.class_of(value)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        self.0.for_each_class(each);
    }
}
