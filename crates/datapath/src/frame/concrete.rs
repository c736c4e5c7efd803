//! A frame of bytes: answers every question from them, whatever they are.

use super::{ArpField, Field, Frame, Icmp6Field, Ip4Field, Ip6Field, Partition, Set};

/// A frame as it is on the wire, without preamble and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concrete<'a> {
    bytes: &'a [u8],
}

impl<'a> Concrete<'a> {
    /// Length of the Ethernet header: a frame that is shorter never becomes an skb.
    pub const HEADER: usize = 14;

    /// Takes the bytes of a frame; `None` if there is not even an Ethernet header.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < Self::HEADER { None } else { Some(Self { bytes }) }
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same as [`value`](Self::value), for callers that name one of the fields that are asked for most.
    #[inline(always)]
    fn quick(&self, field: Field) -> u128 {
        match field {
            Field::Dst => self.number(0, 6),
            Field::Src => self.number(6, 6),
            Field::Protocol(depth) => self.protocol(depth),
            Field::Length(depth) => self.rest(payload(depth)).len() as u128,
            Field::Ip4(depth, field @ (Ip4Field::LengthsRight | Ip4Field::FragmentBits)) => {
                self.ip4(payload(depth), field)
            }
            other => self.value(other),
        }
    }

    /// Returns the value of a field; bytes beyond the end read as 0.
    #[must_use]
    pub fn value(&self, field: Field) -> u128 {
        match field {
            Field::Dst => self.number(0, 6),
            Field::Src => self.number(6, 6),
            Field::Protocol(depth) => self.protocol(depth),
            Field::TypeOrLength(depth) => self.number(payload(depth) - 2, 2),
            Field::Vid(depth) => self.number(payload(depth), 2) & 0x0fff,
            Field::Priority(depth) => self.number(payload(depth), 2) >> 12,
            Field::Length(depth) => self.rest(payload(depth)).len() as u128,
            Field::Arp(depth, field) => self.arp(payload(depth), field),
            Field::Ip4(depth, field) => self.ip4(payload(depth), field),
            Field::Ip6(depth, field) => self.ip6(payload(depth), field),
            Field::Icmp6(depth, field) => self.icmp6(payload(depth), field),
            Field::Byte(depth, offset) => self.number(payload(depth) + usize::from(offset), 1),
            Field::TransportByte(depth, offset) => {
                self.transport(depth).map_or(0, |at| self.number(at + usize::from(offset), 1))
            }
        }
    }

    /// Returns where the transport header of the packet at a depth begins, if it has one (`nft_thoff`).
    pub(crate) fn transport(&self, depth: u8) -> Option<usize> {
        let at = payload(depth);
        match self.protocol(depth) {
            0x0800 => Some(at + (self.number(at, 1) & 0x0f) as usize * 4),
            0x86dd => self.ipv6_find_hdr(at).map(|(_, transport, _)| transport),
            _ => None,
        }
    }

    /// `ipv6_find_hdr` (net/ipv6/exthdrs_core.c) for the last header: its protocol, where it begins, and whether the
    /// packet is a later fragment, which has none.
    fn ipv6_find_hdr(&self, at: usize) -> Option<(u128, usize, bool)> {
        const NONE: u128 = 59;
        let (mut next, mut offset) = (self.number(at + 6, 1), at + 40);
        while matches!(next, 0 | 43 | 44 | 51 | 60 | NONE) {
            if next == NONE || offset + 2 > self.bytes.len() {
                return None;
            }
            let length = self.number(offset + 1, 1) as usize;
            let header = match next {
                44 => {
                    if offset + 4 > self.bytes.len() {
                        return None;
                    }
                    if self.number(offset + 2, 2) & !7 != 0 {
                        let protocol = self.number(offset, 1);
                        let extension = matches!(protocol, 0 | 43 | 44 | 51 | 60 | NONE);
                        // Without a header to look for, NEXTHDR_NONE counts as one here.
                        return (!extension || protocol == NONE).then_some((protocol, offset, true));
                    }
                    8
                }
                51 => (length + 2) * 4,
                _ => (length + 1) * 8,
            };
            next = self.number(offset, 1);
            offset += header;
        }
        Some((next, offset, false))
    }

    /// Returns the tag control information of the tag at a depth: priority, drop bit and VLAN id.
    #[must_use]
    pub fn tci(&self, depth: u8) -> u16 {
        self.number(payload(depth), 2) as u16
    }

    /// Returns how long the IP packet at a depth says it is; 0 if it is none.
    #[must_use]
    pub fn packet_length(&self, depth: u8) -> usize {
        let length = match self.protocol(depth) {
            0x0800 => self.value(Field::Ip4(depth, Ip4Field::TotalLength)),
            0x86dd => self.value(Field::Ip6(depth, Ip6Field::TotalLength)),
            // Behind a tag that was put back.
            0x8100 | 0x88a8 if depth < 8 => return 4 + self.packet_length(depth + 1),
            _ => 0,
        };
        length as usize
    }

    /// `ndisc_parse_options` (net/ipv6/ndisc.c), as far as [`Icmp6Field::Options`] tells of it.
    fn ndisc_parse_options(&self, mut at: usize, end: usize) -> u128 {
        const SOURCE_LINK_LAYER_ADDRESS: u128 = 1;
        let mut found = 0;
        while at < end {
            let length = self.number(at + 1, 1) as usize * 8;
            if at + 2 > end || length == 0 || at + length > end {
                return 2;
            }
            if self.number(at, 1) == SOURCE_LINK_LAYER_ADDRESS {
                // Of another length than Ethernet's it is no address (ndisc_opt_addr_data).
                found = if length == 8 { 1 } else { 2 };
            }
            at += length;
        }
        found
    }

    /// Returns what follows an offset; nothing if the frame ends before it.
    fn rest(&self, offset: usize) -> &'a [u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// Returns `count` bytes, 16 at most, as a number in network byte order.
    #[inline]
    fn number(&self, offset: usize, count: usize) -> u128 {
        // Most frames have sixteen bytes there, which are one load.
        if let Some(sixteen) = self.bytes.get(offset..).and_then(<[u8]>::first_chunk)
            && (1..=16).contains(&count)
        {
            return u128::from_be_bytes(*sixteen) >> (8 * (16 - count));
        }
        let mut number = [0; 16];
        let place = number.get_mut(16 - count.min(16)..).unwrap_or_default();
        match self.bytes.get(offset..offset + count) {
            Some(bytes) if bytes.len() == place.len() => place.copy_from_slice(bytes),
            // The frame ends before or among them.
            _ => place.iter_mut().zip(self.rest(offset)).for_each(|(to, byte)| *to = *byte),
        }
        u128::from_be_bytes(number)
    }

    /// `eth_type_trans` (net/ethernet/eth.c), and `vlan_set_encap_proto` (linux/if_vlan.h), which agrees with it.
    #[inline]
    fn protocol(&self, depth: u8) -> u128 {
        let offset = payload(depth) - 2;
        match self.number(offset, 2) {
            value @ 0x0600.. => value,
            _ => self.ieee_802_3(offset + 2),
        }
    }

    /// The same of a frame with a length in the place of the protocol.
    #[cold]
    fn ieee_802_3(&self, offset: usize) -> u128 {
        let novell = self.number(offset, 2) == 0xffff && self.rest(offset).len() >= 2;
        if novell { 0x0001 } else { 0x0004 }
    }

    fn arp(&self, at: usize, field: ArpField) -> u128 {
        match field {
            ArpField::WellFormed => {
                let ethernet = matches!(self.number(at, 2), 1 | 6);
                u128::from(ethernet) & self.arp(at, ArpField::LengthsRight)
            }
            ArpField::LengthsRight => {
                let ipv4 = self.number(at + 2, 2) == 0x0800;
                let lengths = self.number(at + 4, 1) == 6 && self.number(at + 5, 1) == 4;
                u128::from(ipv4 && lengths && self.rest(at).len() >= 28)
            }
            ArpField::HardwareType => self.number(at, 2),
            ArpField::ProtocolType => self.number(at + 2, 2),
            ArpField::HardwareLength => self.number(at + 4, 1),
            ArpField::ProtocolLength => self.number(at + 5, 1),
            ArpField::Operation => self.number(at + 6, 2),
            ArpField::SenderMac => self.number(at + 8, 6),
            ArpField::SenderIp => self.number(at + 14, 4),
            ArpField::TargetMac => self.number(at + 18, 6),
            ArpField::TargetIp => self.number(at + 24, 4),
        }
    }

    #[inline]
    fn ip4(&self, at: usize, field: Ip4Field) -> u128 {
        let header = || (self.number(at, 1) & 0x0f) as usize * 4;
        let inside = || self.number(at + 9, 1);
        match field {
            Ip4Field::WellFormed => u128::from(self.ip_rcv_core(at, header())),
            Ip4Field::LengthsRight => u128::from(self.ip_lengths_right(at, header())),
            Ip4Field::VersionAndLength => self.number(at, 1),
            Ip4Field::FragmentBits => self.number(at + 6, 2),
            Ip4Field::HasOptions => u128::from(header() > 20),
            Ip4Field::Fragment => u128::from(self.number(at + 6, 2) & 0x3fff != 0),
            Ip4Field::TotalLength => self.number(at + 2, 2),
            Ip4Field::Ttl => self.number(at + 8, 1),
            Ip4Field::Protocol => inside(),
            Ip4Field::Source => self.number(at + 12, 4),
            Ip4Field::Destination => self.number(at + 16, 4),
            Ip4Field::SourcePort if matches!(inside(), 6 | 17) => self.number(at + header(), 2),
            Ip4Field::SourcePort => 0,
            Ip4Field::DestinationPort if matches!(inside(), 6 | 17) => self.number(at + header() + 2, 2),
            Ip4Field::DestinationPort if matches!(inside(), 1 | 2) => self.number(at + header(), 1),
            Ip4Field::DestinationPort => 0,
            Ip4Field::Igmp => self.ip_mc_check_igmp(at, header()),
        }
    }

    /// The checks of `ip_rcv_core` (net/ipv4/ip_input.c).
    fn ip_rcv_core(&self, at: usize, header: usize) -> bool {
        let bytes = self.rest(at).get(..header).unwrap_or_default();
        self.ip_lengths_right(at, header) && checksum(bytes, 0) == 0
    }

    fn ip_lengths_right(&self, at: usize, header: usize) -> bool {
        let packet = self.rest(at).len();
        let total = self.number(at + 2, 2) as usize;
        let lengths = header >= 20 && header <= packet && total >= header && total <= packet;
        self.number(at, 1) >> 4 == 4 && lengths
    }

    /// `ip_mc_check_igmp` (net/ipv4/igmp.c), of a packet whose header is right.
    fn ip_mc_check_igmp(&self, at: usize, header: usize) -> u128 {
        const QUERY: u128 = 0x11;
        const REPORTS_AND_LEAVE: [u128; 4] = [0x12, 0x16, 0x17, 0x22];
        let message = at + header;
        let length = (self.number(at + 2, 2) as usize).saturating_sub(header);
        let body = self.rest(message).get(..length).unwrap_or_default();
        if length < 8 || checksum(body, 0) != 0 {
            return 0;
        }
        match self.number(message, 1) {
            QUERY => {
                let whole = length == 8 || length >= 12;
                let general = self.number(message + 4, 4) == 0;
                let to_all = self.number(at + 16, 4) == 0xe000_0001;
                if whole && (!general || to_all) { QUERY } else { 0 }
            }
            kind if REPORTS_AND_LEAVE.contains(&kind) => kind,
            _ => 1,
        }
    }

    fn ip6(&self, at: usize, field: Ip6Field) -> u128 {
        let inside = self.number(at + 6, 1);
        match field {
            Ip6Field::WellFormed => {
                let payload = self.number(at + 4, 2) as usize;
                // A length of 0 announces a jumbogram; the hop-by-hop header then says how long it is.
                let jumbo = payload == 0 && inside == 0;
                let fits = self.rest(at).len() >= 40 && (jumbo || payload + 40 <= self.rest(at).len());
                u128::from(self.number(at, 1) >> 4 == 6 && fits)
            }
            Ip6Field::HasTransport => u128::from(self.ipv6_find_hdr(at).is_some()),
            Ip6Field::TransportProtocol => self.ipv6_find_hdr(at).map_or(0, |(protocol, ..)| protocol),
            Ip6Field::LaterFragment => u128::from(self.ipv6_find_hdr(at).is_some_and(|(.., later)| later)),
            Ip6Field::TotalLength => 40 + self.number(at + 4, 2),
            Ip6Field::HopLimit => self.number(at + 7, 1),
            Ip6Field::NextHeader => inside,
            Ip6Field::Source => self.number(at + 8, 16),
            Ip6Field::Destination => self.number(at + 24, 16),
            Ip6Field::SourcePort if matches!(inside, 6 | 17) => self.number(at + 40, 2),
            Ip6Field::DestinationPort if matches!(inside, 6 | 17) => self.number(at + 42, 2),
            Ip6Field::SourcePort | Ip6Field::DestinationPort => 0,
        }
    }

    fn icmp6(&self, at: usize, field: Icmp6Field) -> u128 {
        let message = at + 40;
        match field {
            Icmp6Field::Type => self.number(message, 1),
            Icmp6Field::Code => self.number(message + 1, 1),
            Icmp6Field::ChecksumRight => {
                let length = self.number(at + 4, 2) as usize;
                let addresses = self.bytes.get(at + 8..at + 40).unwrap_or_default();
                let pseudo = sum(addresses) + length as u64 + 58;
                let body = self.rest(message).get(..length);
                u128::from(body.is_some_and(|body| checksum(body, pseudo) == 0))
            }
            Icmp6Field::Target => self.number(message + 8, 16),
            Icmp6Field::Solicited => self.number(message + 4, 1) >> 6 & 1,
            Icmp6Field::Options => {
                let length = self.number(at + 4, 2) as usize;
                self.ndisc_parse_options(message + 24, message + length)
            }
            Icmp6Field::RouterLifetime => self.number(message + 6, 2),
        }
    }
}

impl Frame for Concrete<'_> {
    #[inline(always)]
    fn known(&self, field: Field) -> Option<u128> {
        Some(self.quick(field))
    }

    #[inline(always)]
    fn raw(&self) -> Option<Concrete<'_>> {
        Some(*self)
    }

    #[inline(always)]
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        partition.class_of(self.quick(field))
    }

    #[inline(always)]
    fn is(&mut self, field: Field, set: impl Into<Set>) -> bool {
        set.into().contains(self.quick(field))
    }

    #[inline(always)]
    fn is_any(&mut self, field: Field, sets: &[Set]) -> bool {
        let value = self.quick(field);
        sets.iter().any(|set| set.contains(value))
    }

    fn same(&mut self, one: Field, other: Field) -> bool {
        self.value(one) == self.value(other)
    }
}

/// Where the bytes behind the protocol field begin, after this many tags.
pub(super) const fn payload(depth: u8) -> usize {
    Concrete::HEADER + 4 * depth as usize
}

/// Adds up 16-bit words in network byte order; an odd last byte counts as a high one (RFC 1071).
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    };
    bytes.chunks(2).map(word).sum()
}

/// Returns the Internet checksum of bytes and of what was added up before; 0 if they contain a right one.
pub(super) fn checksum(bytes: &[u8], before: u64) -> u16 {
    let mut total = sum(bytes) + before;
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// Returns the ICMPv6, UDP or TCP checksum over IPv6 or IPv4 addresses.
pub(super) fn checksum_with_addresses(addresses: &[u8], protocol: u8, body: &[u8]) -> u16 {
    checksum(body, sum(addresses) + body.len() as u64 + u64::from(protocol))
}
