//! `net/netfilter/nft_payload.c`, `include/net/netfilter/nf_tables_ipv4.h` and `_ipv6.h`: bytes of the packet.

use portcullis_snapshot::{EtherType, NftFamily, PayloadBase, Register};

use super::nf_tables_core::Pktinfo;
use super::registers::{Piece, Registers, join};
use crate::frame::{ArpField, Concrete, Field, Frame, Icmp6Field, Ip4Field, Ip6Field, Set};
use crate::network::Verdict;
use crate::walk::{HwTag, Skb, TagVid, Walker};

/// `VLAN_ETH_HLEN`.
pub(super) const VLAN_ETH_HLEN: usize = 18;
pub(super) const ETH_HLEN: usize = 14;
const INET: [Set; 2] = [Set::of(EtherType::IPV4), Set::of(EtherType::IPV6)];
/// What some kernels look behind.
const ENCAPSULATED: [Set; 3] =
    [Set::of(EtherType::VLAN), Set::of(EtherType::SVLAN), Set::of(EtherType::PPPOE_SESSION)];
/// Extension headers that `ipv6_find_hdr` passes over.
const EXTENSIONS: [Set; 6] = [
    Set::Exactly(0),
    Set::Exactly(43),
    Set::Exactly(44),
    Set::Exactly(51),
    Set::Exactly(59),
    Set::Exactly(60),
];

/// The transport header of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transport {
    /// The field that says its protocol.
    pub(super) protocol: Field,
    /// Whether there is none, because the packet is a later fragment.
    pub(super) later_fragment: bool,
}

/// What a network header is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Ipv4,
    Arp,
    Ipv6,
    Tag,
    Other,
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_payload_eval`.
    pub(super) fn nft_payload_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        registers: &mut Registers,
        (base, offset, len): (PayloadBase, usize, usize),
        dreg: Register,
    ) -> Verdict<'s> {
        if base != PayloadBase::Link && self.may_look_behind_tags(skb) {
            return self.nft_behind_tags(skb, pkt, registers);
        }
        match base {
            PayloadBase::Link => {
                let behind = (offset + len).saturating_sub(self.link_header(skb));
                if !self.has_bytes(skb, behind) {
                    return Verdict::Break;
                }
            }
            PayloadBase::Network if !self.has_bytes(skb, offset + len) => return Verdict::Break,
            PayloadBase::Network => {}
            PayloadBase::Transport => {
                let Some(Transport { later_fragment: false, .. }) = self.nft_pktinfo(skb, pkt) else {
                    return Verdict::Break;
                };
                if !self.has_transport_bytes(skb, offset + len) {
                    return Verdict::Break;
                }
            }
            PayloadBase::Inner | PayloadBase::Other(_) => {
                registers.forget_all();
                return self.nft_unknown(skb, pkt, "bytes behind the transport header");
            }
        }
        if let Some(frame) = self.frame.raw() {
            let mut bytes = [0; 256];
            let Some(bytes) = bytes.get_mut(..len) else { return Verdict::Break };
            raw_bytes(frame, skb, base, offset, bytes);
            registers.store(dreg, bytes);
        } else {
            let pieces = (offset..offset + len).flat_map(|at| self.byte(skb, pkt, base, at)).collect();
            registers.store_pieces(dreg, join(pieces));
        }
        Verdict::Continue
    }

    /// Whether there is a tag in the bytes, or a PPPoE header, that some kernels look behind: what `meta protocol` and
    /// the network header are then has changed in 6.19 or later, and nothing tells. 6.18 brought the option asked for.
    pub(super) fn may_look_behind_tags(&mut self, skb: &Skb) -> bool {
        self.network.is_recent() && self.frame.is_any(Field::Protocol(skb.depth), &ENCAPSULATED)
    }

    /// A rule that goes by what may be behind them.
    pub(super) fn nft_behind_tags<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        registers: &mut Registers,
    ) -> Verdict<'s> {
        registers.forget_all();
        self.nft_unknown(skb, pkt, "whether this kernel's rules look behind a second tag")
    }

    /// How many bytes of the link header a rule sees: the tag beside the bytes is put back (`nft_payload_copy_vlan`).
    pub(super) const fn link_header(&self, skb: &Skb) -> usize {
        if skb.hwtag.is_some() { VLAN_ETH_HLEN } else { ETH_HLEN }
    }

    /// `skb_copy_bits`: whether the packet has so many bytes from its network header on.
    pub(in crate::walk) fn has_bytes(&mut self, skb: &Skb, count: usize) -> bool {
        if count == 0 {
            return true;
        }
        let length = self.length_field(skb);
        self.frame.is(length, Set::Range(count as u128, u128::MAX))
    }

    /// `skb->len` counted from the network header.
    pub(in crate::walk) fn length_field(&mut self, skb: &Skb) -> Field {
        let d = skb.depth;
        if !skb.trimmed {
            Field::Length(d)
        } else if self.frame.is(Field::Protocol(d), EtherType::IPV4) {
            Field::Ip4(d, Ip4Field::TotalLength)
        } else {
            Field::Ip6(d, Ip6Field::TotalLength)
        }
    }

    pub(in crate::walk) fn has_transport_bytes(&mut self, skb: &Skb, count: usize) -> bool {
        let d = skb.depth;
        let known = self.frame.raw().map(|frame| frame.transport(d).unwrap_or(0));
        let header = match known {
            Some(at) => at.saturating_sub(ETH_HLEN + 4 * usize::from(d)),
            // Without options or extension headers; with them there is less room, which is no matter of isolation.
            None if self.frame.is(Field::Protocol(d), EtherType::IPV4) => 20,
            None => 40,
        };
        self.has_bytes(skb, header + count)
    }

    /// `nft_set_pktinfo`: the transport header, if the packet has one that a rule may read.
    pub(super) fn nft_pktinfo(&mut self, skb: &Skb, pkt: &mut Pktinfo<'_, '_>) -> Option<Transport> {
        if let Some(found) = pkt.transport {
            return found;
        }
        let d = skb.depth;
        let validates = matches!(pkt.state.family, NftFamily::Bridge | NftFamily::Netdev);
        let found = match (pkt.state.family, self.frame.which(Field::Protocol(d), &INET)) {
            (NftFamily::Arp, _) | (_, None) => None,
            (_, Some(0)) => {
                let valid = !validates || self.frame.is(Field::Ip4(d, Ip4Field::LengthsRight), 1u8);
                let offset = Set::Masked { value: 0, mask: 0x1fff };
                valid.then(|| Transport {
                    protocol: Field::Ip4(d, Ip4Field::Protocol),
                    later_fragment: !self.frame.is(Field::Ip4(d, Ip4Field::FragmentBits), offset),
                })
            }
            (_, Some(_)) => self.nft_set_pktinfo_ipv6(d, validates),
        };
        pkt.transport = Some(found);
        found
    }

    pub(super) fn nft_set_pktinfo_ipv6(&mut self, d: u8, validates: bool) -> Option<Transport> {
        if validates && !self.frame.is(Field::Ip6(d, Ip6Field::WellFormed), 1u8) {
            return None;
        }
        let next = Field::Ip6(d, Ip6Field::NextHeader);
        if !self.frame.is_any(next, &EXTENSIONS) {
            return Some(Transport { protocol: next, later_fragment: false });
        }
        let found = self.frame.is(Field::Ip6(d, Ip6Field::HasTransport), 1u8);
        found.then(|| Transport {
            protocol: Field::Ip6(d, Ip6Field::TransportProtocol),
            later_fragment: self.frame.is(Field::Ip6(d, Ip6Field::LaterFragment), 1u8),
        })
    }

    /// One byte of a header, as parts of the frame's fields.
    pub(super) fn byte(
        &mut self,
        skb: &Skb,
        pkt: &Pktinfo<'_, '_>,
        base: PayloadBase,
        at: usize,
    ) -> Vec<Piece> {
        match base {
            PayloadBase::Link => self.link_byte(skb, at),
            PayloadBase::Network => self.network_byte(skb.depth, at),
            _ => {
                let protocol = pkt.transport.flatten().map(|transport| transport.protocol);
                vec![self.transport_byte(skb.depth, protocol, at)]
            }
        }
    }

    fn link_byte(&mut self, skb: &Skb, at: usize) -> Vec<Piece> {
        let d = skb.depth;
        let Some(tag) = skb.hwtag else {
            return match at {
                0..12 => vec![address_byte(at)],
                12 | 13 => vec![part(Field::TypeOrLength(d), at - 12)],
                _ => self.network_byte(d, at - ETH_HLEN),
            };
        };
        match at {
            0..12 => vec![address_byte(at)],
            12 | 13 => vec![known_byte(tag.tpid.0, at - 12)],
            14 | 15 => tag_byte(tag, at - 14),
            // The kernel takes skb->protocol for it, which is no length.
            16 | 17 => vec![part(Field::Protocol(d), at - 16)],
            _ => self.network_byte(d, at - VLAN_ETH_HLEN),
        }
    }

    pub(in crate::walk) fn network_byte(&mut self, d: u8, at: usize) -> Vec<Piece> {
        let other = || vec![Piece::field(8, Field::Byte(d, at as u16), 0)];
        match self.network_header(d) {
            Network::Ipv4 => match at {
                0 => vec![part(Field::Ip4(d, Ip4Field::VersionAndLength), 0)],
                2 | 3 => vec![part(Field::Ip4(d, Ip4Field::TotalLength), at - 2)],
                6 | 7 => vec![part(Field::Ip4(d, Ip4Field::FragmentBits), at - 6)],
                8 => vec![part(Field::Ip4(d, Ip4Field::Ttl), 0)],
                9 => vec![part(Field::Ip4(d, Ip4Field::Protocol), 0)],
                12..16 => vec![part(Field::Ip4(d, Ip4Field::Source), at - 12)],
                16..20 => vec![part(Field::Ip4(d, Ip4Field::Destination), at - 16)],
                _ => other(),
            },
            Network::Arp => match at {
                0 | 1 => vec![part(Field::Arp(d, ArpField::HardwareType), at)],
                2 | 3 => vec![part(Field::Arp(d, ArpField::ProtocolType), at - 2)],
                4 => vec![part(Field::Arp(d, ArpField::HardwareLength), 0)],
                5 => vec![part(Field::Arp(d, ArpField::ProtocolLength), 0)],
                6 | 7 => vec![part(Field::Arp(d, ArpField::Operation), at - 6)],
                8..14 => vec![part(Field::Arp(d, ArpField::SenderMac), at - 8)],
                14..18 => vec![part(Field::Arp(d, ArpField::SenderIp), at - 14)],
                18..24 => vec![part(Field::Arp(d, ArpField::TargetMac), at - 18)],
                24..28 => vec![part(Field::Arp(d, ArpField::TargetIp), at - 24)],
                _ => other(),
            },
            Network::Ipv6 => match at {
                6 => vec![part(Field::Ip6(d, Ip6Field::NextHeader), 0)],
                7 => vec![part(Field::Ip6(d, Ip6Field::HopLimit), 0)],
                8..24 => vec![part(Field::Ip6(d, Ip6Field::Source), at - 8)],
                24..40 => vec![part(Field::Ip6(d, Ip6Field::Destination), at - 24)],
                40.. => vec![self.behind_ipv6(d, at - 40)],
                _ => other(),
            },
            Network::Tag => match at {
                0 | 1 => tag_byte(HwTag { tpid: EtherType::VLAN, vid: TagVid::Frame(d) }, at),
                2 | 3 => vec![part(Field::TypeOrLength(d + 1), at - 2)],
                _ => self.network_byte(d + 1, at - 4),
            },
            Network::Other => other(),
        }
    }

    fn network_header(&mut self, d: u8) -> Network {
        let protocols = [EtherType::IPV4, EtherType::ARP, EtherType::IPV6, EtherType::VLAN, EtherType::SVLAN];
        match self.frame.which(Field::Protocol(d), &protocols.map(Set::from)) {
            Some(0) => Network::Ipv4,
            Some(1) => Network::Arp,
            Some(2) => Network::Ipv6,
            // More tags than anything reads are not told apart.
            Some(_) if d < 8 => Network::Tag,
            _ => Network::Other,
        }
    }

    /// What follows the IPv6 header: ports and ICMPv6 have names of their own there.
    fn behind_ipv6(&mut self, d: u8, at: usize) -> Piece {
        let protocols = [6, 17, 58].map(Set::Exactly);
        match (self.frame.which(Field::Ip6(d, Ip6Field::NextHeader), &protocols), at) {
            (Some(0 | 1), 0 | 1) => part(Field::Ip6(d, Ip6Field::SourcePort), at),
            (Some(0 | 1), 2 | 3) => part(Field::Ip6(d, Ip6Field::DestinationPort), at - 2),
            (Some(2), 0) => part(Field::Icmp6(d, Icmp6Field::Type), 0),
            (Some(2), 1) => part(Field::Icmp6(d, Icmp6Field::Code), 0),
            (Some(2), 8..24) => part(Field::Icmp6(d, Icmp6Field::Target), at - 8),
            _ => Piece::field(8, Field::Byte(d, 40 + at as u16), 0),
        }
    }

    /// One byte from the transport header on, whose protocol a field tells.
    pub(in crate::walk) fn transport_byte(&mut self, d: u8, protocol: Option<Field>, at: usize) -> Piece {
        let other = Piece::field(8, Field::TransportByte(d, at as u16), 0);
        let Some(protocol) = protocol else { return other };
        if let Field::Ip6(_, Ip6Field::NextHeader) = protocol {
            return self.behind_ipv6(d, at);
        }
        let ports = self.frame.is_any(protocol, &[Set::Exactly(6), Set::Exactly(17)]);
        match (protocol, at) {
            (Field::Ip4(..), 0 | 1) if ports => part(Field::Ip4(d, Ip4Field::SourcePort), at),
            (Field::Ip4(..), 2 | 3) if ports => part(Field::Ip4(d, Ip4Field::DestinationPort), at - 2),
            _ => other,
        }
    }
}

/// Byte `at` of a field that has several.
pub(in crate::walk) fn part(field: Field, at: usize) -> Piece {
    let bits = u32::from(field.bits());
    Piece::field(8, field, bits - 8 - 8 * at as u32)
}

pub(in crate::walk) fn address_byte(at: usize) -> Piece {
    if at < 6 { part(Field::Dst, at) } else { part(Field::Src, at - 6) }
}

fn known_byte(value: u16, at: usize) -> Piece {
    Piece::known(8, (value >> (8 - 8 * at) & 0xff).into())
}

/// A byte of a tag's control information.
fn tag_byte(tag: HwTag, at: usize) -> Vec<Piece> {
    if at == 0 {
        let mut pieces = tag_priority(tag);
        pieces.push(tag_vid(tag, 4, 8));
        pieces
    } else {
        vec![tag_vid(tag, 8, 0)]
    }
}

/// The priority and the drop bit of a tag.
pub(in crate::walk) fn tag_priority(tag: HwTag) -> Vec<Piece> {
    let (over, priority) = match tag.vid {
        TagVid::Frame(d) => (Some(d), None),
        TagVid::Fixed { over, priority, .. } => (over, priority),
    };
    let own =
        |bits, shift| over.map_or(Piece::known(bits, 0), |d| Piece::field(bits, Field::Priority(d), shift));
    match priority {
        None => vec![own(4, 0)],
        Some(priority) => vec![Piece::known(3, (priority & 7).into()), own(1, 0)],
    }
}

/// Some bits of a tag's VLAN id.
pub(in crate::walk) fn tag_vid(tag: HwTag, bits: u32, shift: u32) -> Piece {
    match tag.vid {
        TagVid::Frame(d) => Piece::field(bits, Field::Vid(d), shift),
        TagVid::Fixed { vid, .. } => Piece::known(bits, u128::from(vid) >> shift & ((1 << bits) - 1)),
    }
}

/// Bytes of a header of a frame that is known in full; 0 behind its end.
pub(super) fn raw_bytes(frame: Concrete<'_>, skb: &Skb, base: PayloadBase, offset: usize, bytes: &mut [u8]) {
    let tags = 4 * usize::from(skb.depth);
    // Where they are, if they are in a row.
    let start = match (base, skb.hwtag) {
        (PayloadBase::Link, _) if offset + bytes.len() <= 12 => Some(offset),
        (PayloadBase::Link, None) if offset >= 12 => Some(offset + tags),
        (PayloadBase::Link, _) => None,
        (PayloadBase::Network, _) => Some(ETH_HLEN + tags + offset),
        _ => frame.transport(skb.depth).map(|transport| transport + offset),
    };
    match start {
        Some(start) => match frame.bytes().get(start..start + bytes.len()) {
            Some(from) => bytes.copy_from_slice(from),
            // The frame ends before or among them.
            None => {
                let from = frame.bytes().get(start..).unwrap_or_default();
                bytes.iter_mut().zip(from).for_each(|(to, byte)| *to = *byte);
            }
        },
        None => {
            let places = bytes.iter_mut().zip(offset..);
            places.for_each(|(to, at)| *to = raw_byte(frame, skb, base, at));
        }
    }
}

/// One byte of it.
fn raw_byte(frame: Concrete<'_>, skb: &Skb, base: PayloadBase, at: usize) -> u8 {
    let bytes = frame.bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let d = skb.depth;
    let network = ETH_HLEN + 4 * usize::from(d);
    match (base, skb.hwtag) {
        (PayloadBase::Link, _) if at < 12 => byte(at),
        (PayloadBase::Link, None) => byte(at + 4 * usize::from(d)),
        (PayloadBase::Link, Some(tag)) => match at {
            12 | 13 => tag.tpid.0.to_be_bytes().get(at - 12).copied().unwrap_or(0),
            14 | 15 => tag.tci(frame).to_be_bytes().get(at - 14).copied().unwrap_or(0),
            16 | 17 => (frame.value(Field::Protocol(d)) >> (8 * (17 - at)) & 0xff) as u8,
            _ => byte(network + at - VLAN_ETH_HLEN),
        },
        (PayloadBase::Network, _) => byte(network + at),
        _ => frame.transport(d).map_or(0, |transport| byte(transport + at)),
    }
}
