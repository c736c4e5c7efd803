//! `net/sched/cls_flower.c`: what the flow dissector finds, under masks.

use portcullis_snapshot::{FlowerField, FlowerKey, TcClassifier, TcFilter, TcVerdict};

use super::flow_dissector::{Dissected, Ip, Network};
use super::{Act, Tc};
use crate::frame::{ArpField, Field, Frame, Ip4Field, Ip6Field, Set};
use crate::walk::netfilter::nft_payload::{part, tag_priority, tag_vid};
use crate::walk::netfilter::registers::{Piece, cut, equals, lies_in, masked};
use crate::walk::{HwTag, Skb, Walker};

/// What a packet has for a key.
enum Has {
    /// These bits.
    Bits(Vec<Piece>),
    /// Nothing: 0 for `flower`.
    Nothing,
    /// Something that nothing here tells.
    Open(&'static str),
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `fl_classify`: mask by mask. Where filters of several masks match, which comes first is not certain.
    pub(super) fn fl_classify<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        masks: &[Vec<&'s TcFilter>],
    ) -> Act {
        let dissected = self.skb_flow_dissect(skb);
        let mut matching: Vec<&'s TcFilter> = Vec::new();
        for mask in masks {
            // Filters that do the same as one that matches change nothing.
            if mask.iter().all(|filter| matching.iter().any(|known| known.actions == filter.actions)) {
                continue;
            }
            let found = mask.iter().find(|filter| self.fl_matches(skb, tc, &dissected, filter));
            matching.extend(found.copied().filter(|filter| filter.flags & TcFilter::SKIP_SW == 0));
        }
        let Some((last, before)) = matching.split_last() else { return Act::Of(TcVerdict::Unspec) };
        for filter in before {
            tc.filter = Some(filter);
            if !self.tc_undecided(skb, tc, "fl_classify", "whether another flower filter is asked before it")
            {
                return self.tcf_exts_exec(skb, tc, filter);
            }
        }
        self.tcf_exts_exec(skb, tc, last)
    }

    /// Whether all keys of a filter match.
    fn fl_matches<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        dissected: &Dissected,
        filter: &'s TcFilter,
    ) -> bool {
        tc.filter = Some(filter);
        let TcClassifier::Flower(keys) = &filter.classifier else { return false };
        if !self.tcf_match_indev(skb, filter) {
            return false;
        }
        let behind_tag = Self::network_offset(skb, tc) != 0 && !keys.is_empty();
        // A filter for any protocol says nothing of the TPID that its tags must have.
        let any_tpid = filter.protocol == 3 && keys.iter().any(is_vlan_key);
        let mut open = match (behind_tag, any_tpid) {
            (true, _) => Some("a tag between Ethernet and network header"),
            (_, true) => Some("which TPID it is for"),
            _ => None,
        };
        for key in keys {
            match self.fl_key(skb, dissected, key) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(what) => open = Some(what),
            }
        }
        open.is_none_or(|what| self.tc_undecided(skb, tc, "fl_classify", what))
    }

    /// Whether one key matches; what is open, if nothing here tells.
    fn fl_key(&mut self, skb: &Skb, dissected: &Dissected, key: &FlowerKey) -> Result<bool, &'static str> {
        match key {
            FlowerKey::Field { field, value, mask } => {
                let value: Vec<u8> = value.0.iter().zip(&mask.0).map(|(value, mask)| value & mask).collect();
                match self.fl_field(skb, dissected, *field) {
                    Has::Bits(pieces) => Ok(masked(&pieces, &mask.0, &vec![0; value.len()])
                        .is_some_and(|pieces| equals(self.frame, &pieces, &value))),
                    Has::Nothing => Ok(value.iter().all(|byte| *byte == 0) && !is_address(*field)),
                    Has::Open(what) => Err(what),
                }
            }
            FlowerKey::PortRange { source, from, to } => {
                let field = if *source { FlowerField::PortSrc } else { FlowerField::PortDst };
                match self.fl_field(skb, dissected, field) {
                    Has::Bits(pieces) => {
                        Ok(lies_in(self.frame, &pieces, &from.to_be_bytes(), &to.to_be_bytes()))
                    }
                    Has::Nothing => Ok(*from == 0),
                    Has::Open(what) => Err(what),
                }
            }
            FlowerKey::Other(_) => Err("a key that is not known"),
        }
    }

    fn fl_field(&mut self, skb: &Skb, dissected: &Dissected, field: FlowerField) -> Has {
        use FlowerField as Key;
        let tag = |at: usize| dissected.tags.get(at).copied();
        let behind = |at: usize| dissected.behind.get(at).copied();
        match field {
            Key::EthDst => return Has::Bits(whole(Field::Dst)),
            Key::EthSrc => return Has::Bits(whole(Field::Src)),
            Key::VlanId => return vid(tag(0)),
            Key::VlanPriority => return priority(tag(0)),
            Key::VlanEthType => return behind(0).map_or(Has::Nothing, |piece| Has::Bits(vec![piece])),
            Key::CvlanId => return vid(tag(1)),
            Key::CvlanPriority => return priority(tag(1)),
            Key::NumOfVlans => return Has::Bits(vec![Piece::known(8, dissected.count.into())]),
            Key::L2Miss => return Has::Open("whether a bridge knew its destination"),
            _ => {}
        }
        if let Network::Open(what) = dissected.network {
            return Has::Open(what);
        }
        match field {
            Key::EthType => Has::Bits(vec![dissected.n_proto]),
            Key::CvlanEthType => behind(1).map_or(Has::Nothing, |piece| Has::Bits(vec![piece])),
            Key::ArpSip | Key::ArpTip | Key::ArpOp | Key::ArpSha | Key::ArpTha => {
                self.fl_arp(skb, dissected, field)
            }
            Key::PppoeSession | Key::PppProtocol => Has::Open("PPPoE"),
            _ => match dissected.network {
                Network::Ip(ip) => self.fl_ip(skb, dissected.depth, &ip, field),
                _ => Has::Nothing,
            },
        }
    }

    /// `__skb_flow_dissect_arp`: requests and replies of IPv4 over Ethernet.
    fn fl_arp(&mut self, skb: &Skb, dissected: &Dissected, field: FlowerField) -> Has {
        let d = dissected.depth;
        let arp = |field| Field::Arp(d, field);
        let right = matches!(dissected.network, Network::Arp)
            && self.has_bytes(skb, 4 * usize::from(d - skb.depth) + 28)
            && self.frame.is(arp(ArpField::HardwareType), 1u16)
            && self.frame.is(arp(ArpField::LengthsRight), 1u8)
            && self.frame.is_any(arp(ArpField::Operation), &[Set::Exactly(1), Set::Exactly(2)]);
        if !right {
            return Has::Nothing;
        }
        Has::Bits(match field {
            FlowerField::ArpSip => whole(arp(ArpField::SenderIp)),
            FlowerField::ArpTip => whole(arp(ArpField::TargetIp)),
            FlowerField::ArpSha => whole(arp(ArpField::SenderMac)),
            FlowerField::ArpTha => whole(arp(ArpField::TargetMac)),
            _ => vec![part(arp(ArpField::Operation), 1)],
        })
    }

    fn fl_ip(&mut self, skb: &Skb, d: u8, ip: &Ip, field: FlowerField) -> Has {
        use FlowerField as Key;
        let bits = match (field, ip.ipv6) {
            (Key::IpProto, _) => Some(vec![ip.protocol]),
            (Key::Ipv4Src, false) => Some(whole(Field::Ip4(d, Ip4Field::Source))),
            (Key::Ipv4Dst, false) => Some(whole(Field::Ip4(d, Ip4Field::Destination))),
            (Key::Ipv6Src, true) => Some(whole(Field::Ip6(d, Ip6Field::Source))),
            (Key::Ipv6Dst, true) => Some(whole(Field::Ip6(d, Ip6Field::Destination))),
            (Key::IpTtl, false) => Some(whole(Field::Ip4(d, Ip4Field::Ttl))),
            (Key::IpTtl, true) => Some(whole(Field::Ip6(d, Ip6Field::HopLimit))),
            (Key::IpTos, false) => Some(self.network_byte(d, 1)),
            (Key::IpTos, true) => {
                let mut first = self.network_byte(d, 0);
                first.extend(self.network_byte(d, 1));
                Some(cut(&first, 4, 8))
            }
            (Key::Flags, _) => {
                let (fragment, first) = ip.fragment;
                let flags = u128::from(fragment) | u128::from(first) << 1;
                Some(vec![Piece::known(32, flags)])
            }
            (Key::PortSrc, _) => self.fl_transport(skb, d, ip, &[6, 17, 132], (0, 2), 4),
            (Key::PortDst, _) => self.fl_transport(skb, d, ip, &[6, 17, 132], (2, 2), 4),
            (Key::TcpFlags, _) => self.fl_tcp_flags(skb, d, ip),
            (Key::IcmpType, _) => self.fl_transport(skb, d, ip, &[1, 58], (0, 1), 8),
            (Key::IcmpCode, _) => self.fl_transport(skb, d, ip, &[1, 58], (1, 1), 8),
            _ => None,
        };
        bits.map_or(Has::Nothing, Has::Bits)
    }

    /// Bytes of a transport header of one of these protocols, which must be so long.
    fn fl_transport(
        &mut self,
        skb: &Skb,
        d: u8,
        ip: &Ip,
        protocols: &[u8],
        place: (usize, usize),
        needed: usize,
    ) -> Option<Vec<Piece>> {
        let protocol = [ip.protocol];
        let one = protocols.iter().any(|known| equals(self.frame, &protocol, &[*known]));
        if !one {
            return None;
        }
        self.dissected_transport(skb, d, ip, place, needed)
    }

    /// `__skb_flow_dissect_tcp`: the lower 12 bits of the word with the flags, of a header that says it is long enough.
    fn fl_tcp_flags(&mut self, skb: &Skb, d: u8, ip: &Ip) -> Option<Vec<Piece>> {
        let word = self.fl_transport(skb, d, ip, &[6], (12, 2), 20)?;
        let (length, rest) = (cut(&word, 0, 4), cut(&word, 4, 12));
        if !lies_in(self.frame, &length, &[0x50], &[0xf0]) {
            return None;
        }
        let mut pieces = vec![Piece::known(4, 0)];
        pieces.extend(rest);
        Some(pieces)
    }
}

fn whole(field: Field) -> Vec<Piece> {
    vec![Piece::field(field.bits().into(), field, 0)]
}

fn vid(tag: Option<HwTag>) -> Has {
    tag.map_or(Has::Nothing, |tag| Has::Bits(vec![Piece::known(4, 0), tag_vid(tag, 12, 0)]))
}

fn priority(tag: Option<HwTag>) -> Has {
    let Some(tag) = tag else { return Has::Nothing };
    let mut pieces = vec![Piece::known(5, 0)];
    pieces.extend(cut(&tag_priority(tag), 0, 3));
    Has::Bits(pieces)
}

/// An address counts with its sort (`control.addr_type`), which a packet without it does not have.
const fn is_address(field: FlowerField) -> bool {
    matches!(field, FlowerField::Ipv4Src | FlowerField::Ipv4Dst | FlowerField::Ipv6Src | FlowerField::Ipv6Dst)
}

const fn is_vlan_key(key: &FlowerKey) -> bool {
    use FlowerField as Key;
    matches!(
        key,
        FlowerKey::Field {
            field: Key::VlanId | Key::VlanPriority | Key::VlanEthType | Key::CvlanId | Key::CvlanPriority,
            ..
        }
    )
}
