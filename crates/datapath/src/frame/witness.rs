//! One frame of all that a condition holds: its bytes.

use portcullis_snapshot::EtherType;

use super::concrete::{checksum, checksum_with_addresses};
use super::symbolic::Condition;
use super::{ArpField, Concrete, Field, Icmp6Field, Ip4Field, Ip6Field};

/// More tags than anything reads.
const MOST_TAGS: u8 = 8;
const ICMP6: u8 = 58;
/// The IPv6 extension headers that a witness may have: hop-by-hop options, a routing header, destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// How long an extension header of a witness may be, in bytes; 0 is none.
const OPTIONS: [usize; 7] = [0, 8, 16, 24, 32, 40, 48];

impl Condition {
    /// Whether a frame is one of those that the condition holds. How the world is does not count.
    #[must_use]
    pub fn holds(&self, frame: &Concrete<'_>) -> bool {
        self.fields.iter().all(|(field, domain)| domain.contains(*field, frame.value(*field)))
            && self
                .equal
                .iter()
                .all(|(one, other, equal)| (frame.value(*one) == frame.value(*other)) == *equal)
            && self.scattered.iter().all(|(field, set, inside)| set.contains(frame.value(*field)) == *inside)
    }

    /// Returns the bytes of a frame that the condition holds, with the `wanted` values where they are among the possible
    /// ones. `None` if none was found: the condition may hold frames that cannot be.
    #[must_use]
    pub fn witness(&self, wanted: &[(Field, u128)]) -> Option<Vec<u8>> {
        // Where the rules look at fixed places, it matters how far back extension headers push the transport header.
        OPTIONS.into_iter().find_map(|options| {
            let mut making = Making { condition: self, wanted, options, bytes: Vec::new() };
            if !making.make() && options > 0 {
                return None;
            }
            let frame = Concrete::new(&making.bytes)?;
            self.holds(&frame).then_some(making.bytes)
        })
    }
}

struct Making<'c> {
    condition: &'c Condition,
    wanted: &'c [(Field, u128)],
    /// How long an IPv6 extension header is, in bytes, if there is to be one.
    options: usize,
    bytes: Vec<u8>,
}

impl Making<'_> {
    /// Makes the frame; whether it has an extension header.
    fn make(&mut self) -> bool {
        let depth = self.tags();
        let start = Concrete::HEADER + 4 * usize::from(depth);
        let protocol = self.pick(Field::TypeOrLength(depth), 0x88b5);
        let body = match protocol {
            0x0800 => self.ip4(depth),
            0x86dd => self.ip6(depth),
            0x0806 => self.arp(depth),
            _ => Vec::new(),
        };
        self.bytes.resize(start, 0);
        self.put(Field::Dst, 0x0200_0000_00fe);
        self.put(Field::Src, 0x0200_0000_00fd);
        for d in 0..depth {
            self.put(Field::TypeOrLength(d), EtherType::VLAN.0.into());
            self.put(Field::Priority(d), 0);
            self.put(Field::Vid(d), 0);
        }
        self.put(Field::TypeOrLength(depth), protocol);
        self.bytes.extend(body);
        self.length(depth, protocol);
        let extended = protocol == 0x86dd && self.extension(depth).is_some();
        // What rules asked of single bytes, and of places that have other bytes now.
        let bytes: Vec<_> = self
            .condition
            .fields
            .iter()
            .filter(|(field, _)| is_byte(*field) || extended && matches!(field, Field::Icmp6(..)))
            .map(|(field, _)| *field)
            .collect();
        for field in bytes {
            self.put(field, 0);
        }
        self.relations();
        self.checksums(depth, protocol);
        extended
    }

    /// The extension header that follows the IPv6 header, if there is to be one.
    fn extension(&self, d: u8) -> Option<u8> {
        let next = self.pick(Field::Ip6(d, Ip6Field::NextHeader), 17) as u8;
        (self.options > 0 && EXTENSIONS.contains(&next)).then_some(next)
    }

    /// How many tags the frame has: as long as the protocol can only be a TPID.
    fn tags(&self) -> u8 {
        let tag = |d: &u8| {
            let domain = self.condition.domain(Field::Protocol(*d));
            let tpids = [EtherType::VLAN, EtherType::SVLAN].map(|tpid| u128::from(tpid.0));
            domain.count() <= 2 && domain.ends(Field::Protocol(*d)).all(|value| tpids.contains(&value))
        };
        (0..MOST_TAGS).take_while(tag).count() as u8
    }

    /// Returns a value that a field can have: the wanted one, the default, or the first.
    fn pick(&self, field: Field, default: u128) -> u128 {
        let domain = self.condition.domain(field);
        let wanted = self.wanted.iter().find(|(wanted, _)| *wanted == field).map(|(_, value)| *value);
        let fits = |value: &u128| domain.contains(field, *value);
        wanted.filter(fits).or(Some(default).filter(fits)).or_else(|| domain.first(field)).unwrap_or(default)
    }

    /// Writes a field where it stands.
    fn put(&mut self, field: Field, default: u128) {
        let value = self.pick(field, default);
        self.write(field, value);
    }

    fn write(&mut self, field: Field, value: u128) {
        let Some((byte, half)) = place(field, &self.bytes) else { return };
        let bits = u32::from(field.bits());
        if half {
            // Priority and VLAN id share two bytes.
            let Some([high, low]) = self.bytes.get_mut(byte..byte + 2) else { return };
            let word = u16::from_be_bytes([*high, *low]);
            let word =
                if bits == 4 { word & 0x0fff | (value as u16) << 12 } else { word & 0xf000 | value as u16 };
            [*high, *low] = word.to_be_bytes();
            return;
        }
        let count = (bits / 8) as usize;
        for (at, place) in self.bytes.iter_mut().skip(byte).take(count).enumerate() {
            *place = (value >> (8 * (count - 1 - at))) as u8;
        }
    }

    fn number(&self, field: Field, default: u128, bytes: usize) -> Vec<u8> {
        let value = self.pick(field, default);
        value.to_be_bytes().into_iter().skip(16 - bytes).collect()
    }

    fn ip4(&self, d: u8) -> Vec<u8> {
        let of = |field| Field::Ip4(d, field);
        let mut header = self.number(of(Ip4Field::VersionAndLength), 0x45, 1);
        let length = usize::from(header.first().copied().unwrap_or(0x45) & 15).max(5) * 4;
        let wrong = self.condition.domain(of(Ip4Field::WellFormed)).only(of(Ip4Field::WellFormed)) == Some(0)
            && self.condition.domain(of(Ip4Field::LengthsRight)).only(of(Ip4Field::LengthsRight)) == Some(0);
        let body = 24;
        header.push(0);
        let total = self.pick(of(Ip4Field::TotalLength), (length + body) as u128);
        header.extend((total as u16).to_be_bytes());
        header.extend([0, 0]);
        header.extend(self.number(of(Ip4Field::FragmentBits), 0, 2));
        header.extend(self.number(of(Ip4Field::Ttl), 64, 1));
        header.extend(self.number(of(Ip4Field::Protocol), 17, 1));
        header.extend([0, 0]);
        header.extend(self.number(of(Ip4Field::Source), 0x0a00_004d, 4));
        header.extend(self.number(of(Ip4Field::Destination), 0x0a00_004e, 4));
        // No options: padding.
        header.resize(length, 0);
        let igmp = self.pick(of(Ip4Field::Igmp), 0);
        header.extend(self.transport(
            of(Ip4Field::SourcePort),
            of(Ip4Field::DestinationPort),
            (igmp > 1).then_some(igmp as u8),
            body,
        ));
        if wrong && let Some(first) = header.first_mut() {
            // Neither lengths nor version may be right.
            *first = self.pick(of(Ip4Field::VersionAndLength), 0x55) as u8;
        }
        header
    }

    fn transport(&self, source: Field, destination: Field, kind: Option<u8>, length: usize) -> Vec<u8> {
        let mut header = self.number(source, 1000, 2);
        header.extend(self.number(destination, 2000, 2));
        header.extend((length as u16).to_be_bytes());
        if let (Some(kind), Some(first)) = (kind, header.first_mut()) {
            *first = kind;
        }
        header.resize(length, 0);
        header
    }

    fn ip6(&self, d: u8) -> Vec<u8> {
        let of = |field| Field::Ip6(d, field);
        let next = self.pick(of(Ip6Field::NextHeader), 17) as u8;
        let body = if self.extension(d).is_some() {
            self.behind_extension(d)
        } else if next == ICMP6 {
            self.icmp6(d)
        } else {
            self.transport(of(Ip6Field::SourcePort), of(Ip6Field::DestinationPort), None, 24)
        };
        let well_formed = self.pick(of(Ip6Field::WellFormed), 1) == 1;
        let mut header = vec![if well_formed { 0x60 } else { 0x50 }, 0, 0, 0];
        let total = self.pick(of(Ip6Field::TotalLength), (40 + body.len()) as u128);
        header.extend((total.saturating_sub(40) as u16).to_be_bytes());
        header.push(next);
        header.extend(self.number(of(Ip6Field::HopLimit), if next == ICMP6 { 255 } else { 64 }, 1));
        header.extend(self.number(of(Ip6Field::Source), 0xfe80 << 112 | 0x4d, 16));
        header.extend(self.number(of(Ip6Field::Destination), 0xfe80 << 112 | 0x4e, 16));
        header.extend(body);
        header
    }

    /// An extension header with nothing but padding, and room for a transport header.
    fn behind_extension(&self, d: u8) -> Vec<u8> {
        let mut body = self.number(Field::Ip6(d, Ip6Field::TransportProtocol), ICMP6.into(), 1);
        body.extend([(self.options / 8 - 1) as u8, 1, (self.options - 4) as u8]);
        body.resize(self.options + 32, 0);
        body
    }

    fn icmp6(&self, d: u8) -> Vec<u8> {
        let of = |field| Field::Icmp6(d, field);
        let mut body = self.number(of(Icmp6Field::Type), 128, 1);
        body.extend(self.number(of(Icmp6Field::Code), 0, 1));
        body.extend([0, 0]);
        let advertisement = body.first() == Some(&134);
        if advertisement {
            body.extend([64, 0]);
            body.extend(self.number(of(Icmp6Field::RouterLifetime), 1800, 2));
            body.extend([0; 8]);
            return body;
        }
        body.extend([if self.pick(of(Icmp6Field::Solicited), 0) == 1 { 0x40 } else { 0 }, 0, 0, 0]);
        body.extend(self.number(of(Icmp6Field::Target), 0xfe80 << 112 | 0x4f, 16));
        match self.pick(of(Icmp6Field::Options), 0) {
            0 => {}
            1 => body.extend([1, 1, 2, 0, 0, 0, 0, 0xfd]),
            _ => body.extend([1, 0, 0, 0, 0, 0, 0, 0]),
        }
        body
    }

    fn arp(&self, d: u8) -> Vec<u8> {
        let of = |field| Field::Arp(d, field);
        let wrong = self.pick(of(ArpField::WellFormed), 1) == 0;
        let mut message = self.number(of(ArpField::HardwareType), if wrong { 9 } else { 1 }, 2);
        message.extend(self.number(of(ArpField::ProtocolType), 0x0800, 2));
        message.extend(self.number(of(ArpField::HardwareLength), 6, 1));
        let lengths = self.pick(of(ArpField::LengthsRight), 1) == 1;
        message.extend(self.number(of(ArpField::ProtocolLength), if lengths { 4 } else { 16 }, 1));
        message.extend(self.number(of(ArpField::Operation), 1, 2));
        message.extend(self.number(of(ArpField::SenderMac), 0x0200_0000_00fd, 6));
        message.extend(self.number(of(ArpField::SenderIp), 0x0a00_004d, 4));
        message.extend(self.number(of(ArpField::TargetMac), 0, 6));
        message.extend(self.number(of(ArpField::TargetIp), 0x0a00_004e, 4));
        message
    }

    /// Makes the frame as long as it has to be, or as short.
    fn length(&mut self, depth: u8, protocol: u128) {
        let lengths = self.condition.domain(Field::Length(0));
        let now = (self.bytes.len() - Concrete::HEADER) as u128;
        let wide = |field| {
            Some(self.condition.domain(field))
                .filter(|domain| domain.count() < 1 << 16)
                .and_then(|domain| domain.first(field))
        };
        let inner = match protocol {
            0x0800 => wide(Field::Ip4(depth, Ip4Field::TotalLength)),
            0x86dd => wide(Field::Ip6(depth, Ip6Field::TotalLength)),
            _ => None,
        };
        let needed = now.max(inner.unwrap_or(0) + 4 * u128::from(depth)).max(46);
        let wanted = if lengths.contains(Field::Length(0), needed) {
            needed
        } else {
            let above = lengths.ends(Field::Length(0)).find(|end| *end >= needed);
            above.or_else(|| lengths.ends(Field::Length(0)).last()).unwrap_or(needed)
        };
        self.bytes.resize(Concrete::HEADER + wanted.min(super::symbolic::LONGEST) as usize, 0);
    }

    /// Fields that have to be alike, or to differ.
    fn relations(&mut self) {
        for (one, other, equal) in &self.condition.equal {
            let Some(frame) = Concrete::new(&self.bytes) else { return };
            let (here, there) = (frame.value(*one), frame.value(*other));
            if *equal && here != there {
                self.write(*other, here);
            } else if !*equal && here == there {
                let different = |field: &Field| {
                    let domain = self.condition.domain(*field);
                    let next = [here.wrapping_add(1), here.wrapping_add(2), here.wrapping_sub(1)];
                    let value = domain
                        .ends(*field)
                        .chain(next)
                        .find(|value| *value != here && domain.contains(*field, *value));
                    value.map(|value| (*field, value))
                };
                if let Some((field, value)) = different(other).or_else(|| different(one)) {
                    self.write(field, value);
                }
            }
        }
    }

    fn checksums(&mut self, depth: u8, protocol: u128) {
        let at = Concrete::HEADER + 4 * usize::from(depth);
        match protocol {
            0x0800 => {
                self.igmp(at);
                let length = usize::from(self.bytes.get(at).copied().unwrap_or(0) & 15) * 4;
                let Some(header) = self.bytes.get_mut(at..at + length) else { return };
                if let Some(sum) = header.get_mut(10..12) {
                    sum.fill(0);
                }
                let mut sum = checksum(header, 0);
                let field = Field::Ip4(depth, Ip4Field::WellFormed);
                if self.condition.domain(field).only(field) == Some(0) {
                    sum ^= 1;
                }
                if let Some(place) = header.get_mut(10..12) {
                    place.copy_from_slice(&sum.to_be_bytes());
                }
            }
            0x86dd if self.bytes.get(at + 6) == Some(&ICMP6) => {
                let length = self
                    .bytes
                    .get(at + 4..at + 6)
                    .map_or(0, |bytes| bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)));
                let Some(body) = self.bytes.get_mut(at + 40..at + 40 + length) else { return };
                if let Some(sum) = body.get_mut(2..4) {
                    sum.fill(0);
                }
                let body = body.to_vec();
                let addresses = self.bytes.get(at + 8..at + 40).unwrap_or_default();
                let mut sum = checksum_with_addresses(addresses, ICMP6, &body);
                let field = Field::Icmp6(depth, Icmp6Field::ChecksumRight);
                if self.condition.domain(field).only(field) == Some(0) {
                    sum ^= 1;
                }
                if let Some(place) = self.bytes.get_mut(at + 42..at + 44) {
                    place.copy_from_slice(&sum.to_be_bytes());
                }
            }
            _ => {}
        }
    }

    /// An IGMP message's own sum.
    fn igmp(&mut self, at: usize) {
        const IGMP: u8 = 2;
        if self.bytes.get(at + 9) != Some(&IGMP) {
            return;
        }
        let header = usize::from(self.bytes.get(at).copied().unwrap_or(0) & 15) * 4;
        let total = self
            .bytes
            .get(at + 2..at + 4)
            .map_or(0, |bytes| bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)));
        let Some(message) = self.bytes.get_mut(at + header..at + total) else { return };
        if let Some(place) = message.get_mut(2..4) {
            place.fill(0);
        }
        let sum = checksum(message, 0);
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

const fn is_byte(field: Field) -> bool {
    matches!(field, Field::Byte(..) | Field::TransportByte(..))
}

/// Returns where a field's bytes begin, and whether it has only a part of two bytes.
fn place(field: Field, bytes: &[u8]) -> Option<(usize, bool)> {
    let payload = |d: u8| Concrete::HEADER + 4 * usize::from(d);
    let arp = |field| match field {
        ArpField::HardwareType => Some(0),
        ArpField::ProtocolType => Some(2),
        ArpField::HardwareLength => Some(4),
        ArpField::ProtocolLength => Some(5),
        ArpField::Operation => Some(6),
        ArpField::SenderMac => Some(8),
        ArpField::SenderIp => Some(14),
        ArpField::TargetMac => Some(18),
        ArpField::TargetIp => Some(24),
        ArpField::WellFormed | ArpField::LengthsRight => None,
    };
    Some(match field {
        Field::Dst => (0, false),
        Field::Src => (6, false),
        Field::TypeOrLength(d) => (payload(d) - 2, false),
        Field::Priority(d) | Field::Vid(d) => (payload(d), true),
        Field::Byte(d, at) => (payload(d) + usize::from(at), false),
        Field::TransportByte(d, at) => (Concrete::new(bytes)?.transport(d)? + usize::from(at), false),
        Field::Arp(d, field) => (payload(d) + arp(field)?, false),
        Field::Ip4(d, Ip4Field::Source) => (payload(d) + 12, false),
        Field::Ip4(d, Ip4Field::Destination) => (payload(d) + 16, false),
        Field::Ip6(d, Ip6Field::Source) => (payload(d) + 8, false),
        Field::Ip6(d, Ip6Field::Destination) => (payload(d) + 24, false),
        Field::Icmp6(d, Icmp6Field::Target) => (payload(d) + 48, false),
        _ => return None,
    })
}
