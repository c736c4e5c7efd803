//! `net/core/flow_dissector.c`, as far as `flower` asks it: what lies behind tags, in which IP packet.

use portcullis_snapshot::EtherType;

use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::walk::netfilter::nft_payload::part;
use crate::walk::netfilter::registers::Piece;
use crate::walk::{HwTag, Skb, TagVid, Walker};

/// Protocols that another protocol is looked for behind: PPPoE, B.A.T.M.A.N., PRP, HSR.
const ENCAPSULATIONS: [u16; 4] = [0x8864, 0x4305, 0x88fb, 0x892f];
/// IPv6 extension headers that are passed over: hop-by-hop, routing, fragment, destination options.
const EXTENSIONS: [Set; 4] = [Set::Exactly(0), Set::Exactly(43), Set::Exactly(44), Set::Exactly(60)];
/// `IPPROTO_MPLS`, behind which it goes on with MPLS.
const IPPROTO_MPLS: u8 = 137;

/// What was found (`struct fl_flow_key`).
pub(super) struct Dissected {
    /// The first two tags, from the outside.
    pub(super) tags: Vec<HwTag>,
    /// How many there are in all.
    pub(super) count: u8,
    /// What stands behind the first and the second tag, and behind all (`basic.n_proto`), 16 bits each.
    pub(super) behind: Vec<Piece>,
    pub(super) n_proto: Piece,
    /// The depth of the header behind all tags.
    pub(super) depth: u8,
    pub(super) network: Network,
}

/// The network header.
#[derive(Clone, Copy)]
pub(super) enum Network {
    /// IPv4 or IPv6.
    Ip(Ip),
    Arp,
    /// Something else, or a header that is malformed.
    None,
    /// Something behind which there is more, which is not looked at here.
    Open(&'static str),
}

/// An IP packet.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    pub(super) ipv6: bool,
    /// `basic.ip_proto`.
    pub(super) protocol: Piece,
    /// The field that tells the protocol of the transport header; `None` if there is none, or behind extension headers.
    pub(super) transport: Option<Field>,
    /// Where the transport header begins, of a frame that is known in full: from the frame's first byte on.
    pub(super) transport_at: Option<usize>,
    /// Whether it is a fragment, and the first.
    pub(super) fragment: (bool, bool),
}

/// What is found behind the IPv6 header of a frame that is known in full.
struct Behind6 {
    protocol: u8,
    at: Option<usize>,
    fragment: (bool, bool),
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `__skb_flow_dissect`.
    pub(super) fn skb_flow_dissect(&mut self, skb: &Skb) -> Dissected {
        let mut found = Dissected {
            tags: Vec::new(),
            count: 0,
            behind: Vec::new(),
            n_proto: Piece::field(16, Field::Protocol(skb.depth), 0),
            depth: skb.depth,
            network: Network::None,
        };
        if let Some(tag) = skb.hwtag {
            found.count = 1;
            found.tags.push(tag);
            found.behind.push(found.n_proto);
        }
        let mut whole = true;
        while let Some(tpid) = self.frame.which(Field::Protocol(found.depth), &Set::VLAN_TPIDS) {
            // More tags than anything sends are not told apart.
            whole = found.depth < 8 && self.has_bytes_from(skb, found.depth, 4);
            if !whole {
                break;
            }
            let tpid = if tpid == 0 { EtherType::VLAN } else { EtherType::SVLAN };
            let vid = TagVid::Frame(found.depth);
            found.depth += 1;
            found.n_proto = Piece::field(16, Field::TypeOrLength(found.depth), 0);
            found.count += 1;
            if found.tags.len() < 2 {
                found.tags.push(HwTag { tpid, vid });
                found.behind.push(found.n_proto);
            }
        }
        if whole {
            found.network = self.dissect_network(skb, found.depth);
        }
        found
    }

    /// Whether the packet has so many bytes from the header at a depth on.
    fn has_bytes_from(&mut self, skb: &Skb, depth: u8, count: usize) -> bool {
        self.has_bytes(skb, 4 * usize::from(depth.saturating_sub(skb.depth)) + count)
    }

    fn dissect_network(&mut self, skb: &Skb, d: u8) -> Network {
        let known = [EtherType::IPV4, EtherType::IPV6, EtherType::ARP, EtherType(0x8035)];
        let sets: Vec<Set> = known.into_iter().chain(ENCAPSULATIONS.map(EtherType)).map(Set::from).collect();
        match self.frame.which(Field::Protocol(d), &crate::frame::Sets(&sets)) {
            Some(0) => self.dissect_ipv4(skb, d),
            Some(1) => self.dissect_ipv6(skb, d),
            Some(2 | 3) => Network::Arp,
            Some(_) => Network::Open("what is inside PPPoE or another encapsulation"),
            None => Network::None,
        }
    }

    fn dissect_ipv4(&mut self, skb: &Skb, d: u8) -> Network {
        let header = Field::Ip4(d, Ip4Field::VersionAndLength);
        let short = Set::Masked { value: 0, mask: 0x0c };
        // iph->ihl of 5 or more.
        let right = self.has_bytes_from(skb, d, 20)
            && !self.frame.is(header, short)
            && !self.frame.is(header, Set::Masked { value: 4, mask: 0x0f });
        if !right {
            return Network::None;
        }
        let protocol = Field::Ip4(d, Ip4Field::Protocol);
        let bits = Field::Ip4(d, Ip4Field::FragmentBits);
        let fragment = self.frame.is(Field::Ip4(d, Ip4Field::Fragment), 1u8);
        let first = fragment && self.frame.is(bits, Set::Masked { value: 0, mask: 0x1fff });
        if !fragment && self.frame.is(protocol, IPPROTO_MPLS) {
            return Network::Open("what is inside MPLS");
        }
        Network::Ip(Ip {
            ipv6: false,
            protocol: part(protocol, 0),
            transport: (!fragment).then_some(protocol),
            transport_at: self.frame.raw().and_then(|frame| frame.transport(d)),
            fragment: (fragment, first),
        })
    }

    fn dissect_ipv6(&mut self, skb: &Skb, d: u8) -> Network {
        if !self.has_bytes_from(skb, d, 40) {
            return Network::None;
        }
        let next = Field::Ip6(d, Ip6Field::NextHeader);
        if self.frame.is(next, IPPROTO_MPLS) {
            return Network::Open("what is inside MPLS");
        }
        let plain = Ip {
            ipv6: true,
            protocol: part(next, 0),
            transport: Some(next),
            transport_at: self.frame.raw().map(|_| 54 + 4 * usize::from(d)),
            fragment: (false, false),
        };
        if !self.frame.is_any(next, &EXTENSIONS) {
            return Network::Ip(plain);
        }
        let Some(found) = self.frame.raw().map(|frame| behind_ipv6(frame.bytes(), d)) else {
            return Network::Open("IPv6 extension headers");
        };
        let transport = found.at.map(|_| next);
        Network::Ip(Ip {
            protocol: Piece::known(8, found.protocol.into()),
            transport,
            transport_at: found.at,
            fragment: found.fragment,
            ..plain
        })
    }

    /// Bytes of the transport header; `None` if there are not so many.
    pub(super) fn dissected_transport(
        &mut self,
        skb: &Skb,
        d: u8,
        ip: &Ip,
        (at, len): (usize, usize),
        needed: usize,
    ) -> Option<Vec<Piece>> {
        ip.transport?;
        if let (Some(frame), Some(start)) = (self.frame.raw(), ip.transport_at) {
            // A packet that was trimmed ends earlier.
            let end = start + needed;
            let bytes = frame.bytes().get(start..end)?;
            let pieces =
                bytes.get(at..at + len)?.iter().map(|byte| Piece::known(8, (*byte).into())).collect();
            let from_network = end.checked_sub(14 + 4 * usize::from(skb.depth))?;
            return self.has_bytes(skb, from_network).then_some(pieces);
        }
        if !self.has_transport_bytes(&Skb { depth: d, ..*skb }, needed) {
            return None;
        }
        Some((at..at + len).map(|at| self.transport_byte(d, ip.transport, at)).collect())
    }
}

/// Follows extension headers as the dissector does: it passes over those that may be long, and ends at fragments.
fn behind_ipv6(bytes: &[u8], d: u8) -> Behind6 {
    let header = 14 + 4 * usize::from(d);
    let byte = |at: usize| bytes.get(at).copied();
    let (mut next, mut at) = (byte(header + 6).unwrap_or(59), header + 40);
    // `MAX_FLOW_DISSECT_HDRS`.
    for _ in 0..15 {
        match next {
            0 | 43 | 60 => {
                let Some((following, length)) = byte(at).zip(byte(at + 1)) else {
                    return Behind6 { protocol: next, at: None, fragment: (false, false) };
                };
                (next, at) = (following, at + (usize::from(length) + 1) * 8);
            }
            44 => {
                let whole = bytes.get(at..at + 8);
                let Some(fragment) = whole else {
                    return Behind6 { protocol: next, at: None, fragment: (false, false) };
                };
                let offset = fragment.get(2..4).map_or(0, |bits| {
                    bits.iter().fold(0u16, |number, byte| number << 8 | u16::from(*byte)) & !7
                });
                let protocol = fragment.first().copied().unwrap_or(59);
                return Behind6 { protocol, at: None, fragment: (true, offset == 0) };
            }
            _ => break,
        }
    }
    Behind6 { protocol: next, at: Some(at), fragment: (false, false) }
}
