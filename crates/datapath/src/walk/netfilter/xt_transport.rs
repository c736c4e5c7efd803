//! `net/netfilter/xt_tcpudp.c`, `xt_multiport.c`: what rules ask of the transport header.

use portcullis_snapshot::{NftFamily, XtIcmp, XtMultiport, XtPortSide, XtRange, XtTcp, XtUdp};

use super::nft_payload::Transport;
use super::registers::{join, lies_in};
use super::x_tables::{Matched, Xt};
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::walk::{Skb, Walker};

/// Where ports stand in the header.
const SOURCE: usize = 0;
const DESTINATION: usize = 2;
const TCP_HEADER: usize = 20;

impl<F: Frame> Walker<'_, '_, F> {
    /// The transport header, if the packet has one (`acpar.thoff`, `acpar.fragoff`).
    pub(super) fn xt_transport(&mut self, skb: &Skb, xt: &mut Xt<'_>) -> Option<Transport> {
        if let Some(found) = xt.transport {
            return found;
        }
        let d = skb.depth;
        let found = match xt.state.family {
            NftFamily::Ip => {
                let first = Set::Masked { value: 0, mask: 0x1fff };
                Some(Transport {
                    protocol: Field::Ip4(d, Ip4Field::Protocol),
                    later_fragment: !self.frame.is(Field::Ip4(d, Ip4Field::FragmentBits), first),
                })
            }
            NftFamily::Ip6 => self.nft_set_pktinfo_ipv6(d, false),
            _ => None,
        };
        xt.transport = Some(found);
        found
    }

    /// Whether a number in the transport header lies in a range.
    pub(super) fn transport_in(
        &mut self,
        d: u8,
        transport: Transport,
        (at, len): (usize, usize),
        (from, to): (u32, u32),
    ) -> bool {
        if from > to {
            return false;
        }
        // Ports of TCP and UDP, which nearly every such question is about.
        let direct = match (transport.protocol, at, len) {
            (Field::Ip4(..), SOURCE, 2) => Some(Field::Ip4(d, Ip4Field::SourcePort)),
            (Field::Ip4(..), DESTINATION, 2) => Some(Field::Ip4(d, Ip4Field::DestinationPort)),
            (Field::Ip6(_, Ip6Field::NextHeader), SOURCE, 2) => Some(Field::Ip6(d, Ip6Field::SourcePort)),
            (Field::Ip6(_, Ip6Field::NextHeader), DESTINATION, 2) => {
                Some(Field::Ip6(d, Ip6Field::DestinationPort))
            }
            _ => None,
        };
        let ports = [Set::Exactly(6), Set::Exactly(17)];
        if let Some(field) = direct
            && self.frame.is_any(transport.protocol, &ports)
        {
            return self.frame.is(field, Set::Range(from.into(), to.into()));
        }
        let pieces = (at..at + len).map(|at| self.transport_byte(d, Some(transport.protocol), at)).collect();
        let bytes = |number: u32| number.to_be_bytes();
        let (from, to) = (bytes(from), bytes(to));
        let tail = |bytes: &[u8; 4]| bytes.get(4 - len..).unwrap_or_default().to_vec();
        lies_in(self.frame, &join(pieces), &tail(&from), &tail(&to))
    }

    fn port_match(&mut self, d: u8, transport: Transport, at: usize, range: &XtRange<u16>) -> bool {
        if range.from == 0 && range.to == u16::MAX {
            return !range.inverted;
        }
        self.transport_in(d, transport, (at, 2), (range.from.into(), range.to.into())) != range.inverted
    }

    /// The transport header, where a match wants so many bytes of it.
    fn header_of(&mut self, skb: &Skb, xt: &mut Xt<'_>, bytes: usize) -> Result<Transport, Matched> {
        match self.xt_transport(skb, xt) {
            None => Err(Matched::Not),
            Some(Transport { later_fragment: true, .. }) => Err(Matched::Not),
            Some(_) if !self.has_transport_bytes(skb, bytes) => Err(Matched::HotDrop),
            Some(transport) => Ok(transport),
        }
    }

    /// `tcp_mt`. A fragment that begins 8 bytes into the segment is dropped.
    pub(super) fn tcp_mt(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, tcp: &XtTcp) -> Matched {
        let d = skb.depth;
        let transport = match self.header_of(skb, xt, TCP_HEADER) {
            Ok(transport) => transport,
            Err(Matched::Not) if xt.state.family == NftFamily::Ip => {
                let evil = Set::Masked { value: 1, mask: 0x1fff };
                let evil = self.frame.is(Field::Ip4(d, Ip4Field::FragmentBits), evil);
                return if evil { Matched::HotDrop } else { Matched::Not };
            }
            Err(matched) => return matched,
        };
        if !self.port_match(d, transport, SOURCE, &tcp.source)
            || !self.port_match(d, transport, DESTINATION, &tcp.destination)
            || !self.tcp_flags(d, transport, tcp)
        {
            return Matched::Not;
        }
        if tcp.option.is_some() {
            return self.xt_unknown(skb, xt, "tcp of an option").into();
        }
        Matched::Holds
    }

    fn tcp_flags(&mut self, d: u8, transport: Transport, tcp: &XtTcp) -> bool {
        let (value, mask) = (u128::from(tcp.flags.value), u128::from(tcp.flags.mask));
        let field = match self.transport_byte(d, Some(transport.protocol), 13).source {
            super::registers::Source::Field(field, 0) => field,
            _ => Field::TransportByte(d, 13),
        };
        let holds = value & !mask == 0 && (mask == 0 || self.frame.is(field, Set::Masked { value, mask }));
        holds != tcp.flags.inverted
    }

    /// `udp_mt`.
    pub(super) fn udp_mt(&mut self, skb: &Skb, xt: &mut Xt<'_>, udp: &XtUdp) -> Matched {
        match self.header_of(skb, xt, 8) {
            Ok(transport) => (self.port_match(skb.depth, transport, SOURCE, &udp.source)
                && self.port_match(skb.depth, transport, DESTINATION, &udp.destination))
            .into(),
            Err(matched) => matched,
        }
    }

    /// `multiport_mt`.
    pub(super) fn multiport_mt(&mut self, skb: &Skb, xt: &mut Xt<'_>, multiport: &XtMultiport) -> Matched {
        let transport = match self.header_of(skb, xt, 4) {
            Ok(transport) => transport,
            Err(matched) => return matched,
        };
        let d = skb.depth;
        let places: &[usize] = match multiport.side {
            XtPortSide::Source => &[SOURCE],
            XtPortSide::Destination => &[DESTINATION],
            XtPortSide::Either => &[DESTINATION, SOURCE],
        };
        for range in &multiport.ports {
            let range = (range.from.into(), range.to.into());
            for at in places {
                if self.transport_in(d, transport, (*at, 2), range) {
                    return (!multiport.inverted).into();
                }
            }
        }
        multiport.inverted.into()
    }

    /// `icmp_match`, `icmp6_match`. Of ICMP, type 255 is any.
    pub(super) fn icmp_match(&mut self, skb: &Skb, xt: &mut Xt<'_>, icmp: &XtIcmp, any: bool) -> Matched {
        let transport = match self.header_of(skb, xt, if any { 8 } else { 4 }) {
            Ok(transport) => transport,
            Err(matched) => return matched,
        };
        let d = skb.depth;
        let (kind, codes) = (u32::from(icmp.kind), (icmp.codes.from.into(), icmp.codes.to.into()));
        let all = any && icmp.kind == 0xff;
        let holds = all
            || (self.transport_in(d, transport, (0, 1), (kind, kind))
                && (codes == (0, 0xff) || self.transport_in(d, transport, (1, 1), codes)));
        (holds != icmp.codes.inverted).into()
    }
}
