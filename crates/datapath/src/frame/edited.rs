//! A frame that rules write into on its way.
//!
//! What was written answers the later questions; whatever was not is the frame's own. Copies of a frame part where the
//! kernel clones it (each makes its bytes writable for itself first, `skb_ensure_writable`): the walk goes depth first,
//! so that a [`Mark`] and the way back to it around each copy is enough.

use super::concrete::{Concrete, payload, sum};
use super::{AnyOf, ArpField, Field, Frame, Icmp6Field, Ip4Field, Ip6Field, Partition, Set};

/// What was written into a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// This.
    Value(u128),
    /// What another field of the frame held when it was sent.
    Of(Field),
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value:#x}"),
            Self::Of(field) => write!(f, "the frame's {field:?}"),
        }
    }
}

/// Something that was written into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Write {
    /// Where.
    pub field: Field,
    /// What.
    pub value: Written,
    /// Which checksums were changed along with it.
    pub sums: Sums,
}

/// Checksums that follow what is written. They are changed by the difference (RFC 1624): a wrong one stays wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sums {
    /// That of the IPv4 header.
    pub header: bool,
    /// That of UDP, TCP or ICMPv6.
    pub transport: bool,
    /// That of UDP even where 0 says that there is none.
    pub even_none: bool,
    /// Whether 0 is written as 0xffff (`CSUM_MANGLED_0`) in every checksum, not only in UDP's.
    pub mangled: bool,
}

impl Write {
    /// Returns the bytes of a frame after some writes.
    #[must_use]
    pub fn apply(writes: &[Self], frame: &Concrete<'_>) -> Vec<u8> {
        written(frame, writes)
    }

    /// Returns what a field holds after some writes, if one of them was into it.
    #[must_use]
    pub fn last(writes: &[Self], field: Field) -> Option<Written> {
        writes.iter().rev().find(|write| write.field == field).map(|write| write.value)
    }
}

impl Sums {
    /// The field is in no checksum, or none was changed.
    pub const NONE: Self = Self { header: false, transport: false, even_none: false, mangled: false };
    /// What is in the IPv4 header, and not in the pseudo header.
    pub const HEADER: Self = Self { header: true, ..Self::NONE };
    /// What is in the transport's checksum only.
    pub const TRANSPORT: Self = Self { transport: true, ..Self::NONE };
    /// IPv4 addresses.
    pub const BOTH: Self = Self { header: true, ..Self::TRANSPORT };
}

/// How much had been written at some point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

/// A frame, and what was written into it.
#[derive(Debug)]
pub(crate) struct Edited<'f, F> {
    frame: &'f mut F,
    writes: Vec<Write>,
    /// The bytes as they are now, of a frame that is known in full and was written into; else empty.
    bytes: Vec<u8>,
}

impl<'f, F: Frame> Edited<'f, F> {
    pub(crate) const fn new(frame: &'f mut F) -> Self {
        Self { frame, writes: Vec::new(), bytes: Vec::new() }
    }

    /// A frame that was written into before.
    pub(crate) fn again(frame: &'f mut F, writes: &[Write]) -> Self {
        let bytes = match frame.raw() {
            Some(frame) if !writes.is_empty() => written(&frame, writes),
            _ => Vec::new(),
        };
        Self { frame, writes: writes.to_vec(), bytes }
    }

    /// Writes into a field; one of those that [`is_writable`] knows.
    pub(crate) fn write(&mut self, field: Field, value: Written, sums: Sums) {
        let value = match value {
            // What the field holds now may be something that was written.
            Written::Of(other) => self.find(other).unwrap_or(value),
            Written::Value(value) => Written::Value(value & ones(field.bits())),
        };
        self.writes.push(Write { field, value, sums });
        if let Some(frame) = self.frame.raw() {
            self.bytes = written(&frame, &self.writes);
        }
    }

    /// Returns what was written.
    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Returns what was written into a field last.
    pub(crate) fn find(&self, field: Field) -> Option<Written> {
        Write::last(&self.writes, field)
    }

    /// Returns what a field holds, as something that can be compared later.
    pub(crate) fn now(&self, field: Field) -> Written {
        self.find(field).unwrap_or(Written::Of(field))
    }

    /// Whether two things are the same.
    pub(crate) fn equal(&mut self, one: Written, other: Written) -> bool {
        match (one, other) {
            (Written::Value(one), Written::Value(other)) => one == other,
            (Written::Of(one), Written::Of(other)) => one == other || self.frame.same(one, other),
            (Written::Value(value), Written::Of(field)) | (Written::Of(field), Written::Value(value)) => {
                self.frame.which(field, &[Set::Exactly(value)]).is_some()
            }
        }
    }

    /// Returns the point to which [`Self::roll_back`] leads.
    pub(crate) const fn mark(&self) -> Mark {
        Mark(self.writes.len())
    }

    /// Forgets what was written since.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        if self.writes.len() > mark.0 {
            self.writes.truncate(mark.0);
            self.bytes = self.frame.raw().map_or_else(Vec::new, |frame| written(&frame, &self.writes));
        }
    }

    fn rewritten(&self) -> Option<Concrete<'_>> {
        if self.bytes.is_empty() { None } else { Concrete::new(&self.bytes) }
    }
}

impl<F: Frame> Edited<'_, F> {
    /// [`Frame::which`] of a frame that was written into.
    #[cold]
    fn which_now(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        if let Some(now) = self.rewritten() {
            return partition.class_of(now.value(field));
        }
        match self.find(field) {
            Some(Written::Value(value)) => partition.class_of(value),
            Some(Written::Of(other)) => self.frame.which(other, partition),
            None => self.frame.which(field, partition),
        }
    }

    /// [`Frame::known`] of a frame that was written into.
    #[cold]
    fn known_now(&self, field: Field) -> Option<u128> {
        if let Some(now) = self.rewritten() {
            return Some(now.value(field));
        }
        match self.find(field) {
            Some(Written::Value(value)) => Some(value),
            Some(Written::Of(other)) => self.frame.known(other),
            None => self.frame.known(field),
        }
    }
}

// Few frames are written into. What the others are asked becomes part of who asks it: a constant set is then a comparison.
impl<F: Frame> Frame for Edited<'_, F> {
    #[inline(always)]
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        if self.writes.is_empty() {
            self.frame.which(field, partition)
        } else {
            self.which_now(field, partition)
        }
    }

    #[inline(always)]
    fn is(&mut self, field: Field, set: impl Into<Set>) -> bool {
        let set = set.into();
        if self.writes.is_empty() {
            self.frame.is(field, set)
        } else {
            self.which_now(field, &[set]).is_some()
        }
    }

    #[inline(always)]
    fn is_any(&mut self, field: Field, sets: &[Set]) -> bool {
        if self.writes.is_empty() {
            self.frame.is_any(field, sets)
        } else {
            self.which_now(field, &AnyOf(sets)).is_some()
        }
    }

    #[inline(always)]
    fn known(&self, field: Field) -> Option<u128> {
        if self.writes.is_empty() { self.frame.known(field) } else { self.known_now(field) }
    }

    #[inline]
    fn raw(&self) -> Option<Concrete<'_>> {
        if self.writes.is_empty() { self.frame.raw() } else { self.rewritten() }
    }

    fn choose(&mut self, ways: usize) -> usize {
        self.frame.choose(ways)
    }

    fn chosen(&self) -> usize {
        self.frame.chosen()
    }

    fn forked(&self) -> usize {
        self.frame.forked()
    }

    fn same(&mut self, one: Field, other: Field) -> bool {
        if self.writes.is_empty() {
            return self.frame.same(one, other);
        }
        if let Some(now) = self.rewritten() {
            return now.value(one) == now.value(other);
        }
        self.equal(self.now(one), self.now(other))
    }
}

/// Returns the bytes of a frame with what was written.
pub(crate) fn written(frame: &Concrete<'_>, writes: &[Write]) -> Vec<u8> {
    let mut bytes = frame.bytes().to_vec();
    for write in writes {
        let value = match write.value {
            Written::Value(value) => value,
            Written::Of(field) => frame.value(field),
        };
        let Some((at, len)) = place(write.field, &bytes) else { continue };
        // Headers begin at even places, so that words do.
        let words = at & !1..(at + len).next_multiple_of(2);
        let before = sum(bytes.get(words.clone()).unwrap_or_default());
        let value = match write.field {
            // Priority and VLAN id share two bytes.
            Field::Priority(_) => number_at(&bytes, at, len) & 0x0fff | value << 12,
            Field::Vid(_) => number_at(&bytes, at, len) & 0xf000 | value,
            _ => value,
        };
        store(&mut bytes, at, len, value);
        let after = sum(bytes.get(words).unwrap_or_default());
        let transport = Concrete::new(&bytes).and_then(|frame| transport_sum(&frame, write.field));
        let header = header_sum(write.field).filter(|_| write.sums.header).map(|sum| (sum, false));
        let sums = [header, transport.filter(|_| write.sums.transport)];
        for (place, udp) in sums.into_iter().flatten() {
            if udp && number_at(&bytes, place, 2) == 0 && !write.sums.even_none {
                continue;
            }
            replace_sum(&mut bytes, place, (before, after), udp || write.sums.mangled);
        }
    }
    bytes
}

/// `csum_replace4` and the like (RFC 1624): `~(~sum + ~before + after)`.
fn replace_sum(bytes: &mut [u8], at: usize, (before, after): (u64, u64), mangled: bool) {
    let Some(&[high, low]) = bytes.get(at..at + 2) else { return };
    let sum = u64::from(u16::from_be_bytes([high, low]));
    let sum = !folded((!sum & 0xffff) + (!folded(before) & 0xffff) + after) & 0xffff;
    let sum = if mangled && sum == 0 { 0xffff } else { sum };
    store(bytes, at, 2, sum.into());
}

const fn folded(mut total: u64) -> u64 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

fn header_sum(field: Field) -> Option<usize> {
    match field {
        Field::Ip4(d, _) | Field::Byte(d, _) => Some(payload(d) + 10),
        _ => None,
    }
}

/// Where the transport's checksum is that covers a field, and whether it is UDP's
/// (`nft_payload_l4csum_offset`, `nf_nat_ipv4_csum_update`).
fn transport_sum(frame: &Concrete<'_>, field: Field) -> Option<(usize, bool)> {
    let (d, protocol, fragment) = match field {
        Field::Ip4(d, _) => {
            let fragment = frame.value(Field::Ip4(d, Ip4Field::FragmentBits)) & 0x1fff != 0;
            (d, frame.value(Field::Ip4(d, Ip4Field::Protocol)), fragment)
        }
        Field::Ip6(d, _) => (
            d,
            frame.value(Field::Ip6(d, Ip6Field::TransportProtocol)),
            frame.value(Field::Ip6(d, Ip6Field::LaterFragment)) == 1,
        ),
        _ => return None,
    };
    let ipv4 = matches!(field, Field::Ip4(..));
    let at = frame.transport(d).filter(|_| !fragment)?;
    match protocol {
        6 => Some((at + 16, false)),
        17 | 136 => Some((at + 6, protocol == 17)),
        58 if !ipv4 => Some((at + 2, false)),
        _ => None,
    }
}

/// Returns bytes as a number in network byte order.
fn number_at(bytes: &[u8], at: usize, len: usize) -> u128 {
    bytes.iter().skip(at).take(len).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn store(bytes: &mut [u8], at: usize, len: usize, value: u128) {
    let value = value.to_be_bytes();
    let value = value.get(16 - len.min(16)..).unwrap_or_default();
    for (place, byte) in bytes.iter_mut().skip(at).zip(value) {
        *place = *byte;
    }
}

const fn ones(bits: u8) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// Whether a field can be written, such that all that depends on it is followed: checksums, and nothing else.
pub(crate) const fn is_writable(field: Field) -> bool {
    match field {
        Field::Dst | Field::Src | Field::Vid(_) | Field::Priority(_) => true,
        Field::Arp(_, field) => matches!(
            field,
            ArpField::Operation
                | ArpField::SenderMac
                | ArpField::SenderIp
                | ArpField::TargetMac
                | ArpField::TargetIp
        ),
        Field::Ip4(_, field) => matches!(
            field,
            Ip4Field::Source
                | Ip4Field::Destination
                | Ip4Field::Ttl
                | Ip4Field::SourcePort
                | Ip4Field::DestinationPort
        ),
        Field::Ip6(_, field) => matches!(
            field,
            Ip6Field::Source
                | Ip6Field::Destination
                | Ip6Field::HopLimit
                | Ip6Field::SourcePort
                | Ip6Field::DestinationPort
        ),
        // The type of service.
        Field::Byte(_, at) => at == 1,
        _ => false,
    }
}

/// Where a field's bytes are, and how many.
fn place(field: Field, bytes: &[u8]) -> Option<(usize, usize)> {
    let transport = |d| Concrete::new(bytes)?.transport(d);
    let arp = |field| match field {
        ArpField::Operation => Some((6, 2)),
        ArpField::SenderMac => Some((8, 6)),
        ArpField::SenderIp => Some((14, 4)),
        ArpField::TargetMac => Some((18, 6)),
        ArpField::TargetIp => Some((24, 4)),
        _ => None,
    };
    let (start, (at, len)) = match field {
        Field::Dst => (0, (0, 6)),
        Field::Src => (0, (6, 6)),
        Field::Vid(d) | Field::Priority(d) => (payload(d), (0, 2)),
        Field::Byte(d, at) => (payload(d), (usize::from(at), 1)),
        Field::Arp(d, field) => (payload(d), arp(field)?),
        Field::Ip4(d, Ip4Field::Ttl) => (payload(d), (8, 1)),
        Field::Ip4(d, Ip4Field::Source) => (payload(d), (12, 4)),
        Field::Ip4(d, Ip4Field::Destination) => (payload(d), (16, 4)),
        Field::Ip6(d, Ip6Field::HopLimit) => (payload(d), (7, 1)),
        Field::Ip6(d, Ip6Field::Source) => (payload(d), (8, 16)),
        Field::Ip6(d, Ip6Field::Destination) => (payload(d), (24, 16)),
        Field::Icmp6(d, Icmp6Field::Target) => (payload(d), (48, 16)),
        Field::Ip4(d, Ip4Field::SourcePort) | Field::Ip6(d, Ip6Field::SourcePort) => (transport(d)?, (0, 2)),
        Field::Ip4(d, Ip4Field::DestinationPort) | Field::Ip6(d, Ip6Field::DestinationPort) => {
            (transport(d)?, (2, 2))
        }
        _ => return None,
    };
    (start + at + len <= bytes.len()).then_some((start + at, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameBuilder, Payload};
    use portcullis_snapshot::MacAddr;

    fn udp() -> Vec<u8> {
        let (to, from) = (MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1]));
        let payload = Payload::Udp4 {
            from: "10.0.0.1".parse().unwrap(),
            to: "10.0.0.2".parse().unwrap(),
            ports: (1000, 53),
            data: vec![1, 2, 3],
        };
        FrameBuilder::new(to, from).payload(&payload)
    }

    #[test]
    fn what_was_written_answers_and_checksums_follow() {
        let bytes = udp();
        let mut frame = Concrete::new(&bytes).unwrap();
        let mut edited = Edited::new(&mut frame);
        let destination = Field::Ip4(0, Ip4Field::Destination);
        let mark = edited.mark();
        edited.write(destination, Written::Value(0x0a00_0107), Sums::BOTH);
        edited.write(Field::Dst, Written::Of(Field::Src), Sums::NONE);
        assert_eq!(edited.known(destination), Some(0x0a00_0107));
        assert!(edited.same(Field::Dst, Field::Src));
        assert!(edited.is(Field::Ip4(0, Ip4Field::WellFormed), 1u8));
        edited.roll_back(mark);
        assert_eq!(edited.known(destination), Some(0x0a00_0002));
        assert!(edited.writes().is_empty());
    }

    #[test]
    fn sums_change_by_the_difference_at_odd_places_too() {
        let bytes = udp();
        for field in [Field::Ip4(0, Ip4Field::Ttl), Field::Byte(0, 1), Field::Ip4(0, Ip4Field::Source)] {
            for value in [0, 1, 7, 0xff] {
                let frame = Concrete::new(&bytes).unwrap();
                let write = Write { field, value: Written::Value(value), sums: Sums::HEADER };
                let bytes = written(&frame, &[write]);
                let frame = Concrete::new(&bytes).unwrap();
                assert_eq!(frame.value(Field::Ip4(0, Ip4Field::WellFormed)), 1, "{field:?} {value}");
                assert_eq!(frame.value(field), value);
            }
        }
    }
}
