//! `net/bridge/netfilter/ebt_*.c`: the matches of ebtables.

use portcullis_snapshot::{
    EtherType, XtAmong, XtAmongEntry, XtBridgeArp, XtBridgeIp, XtBridgePorts, XtBridgeVlan,
};

use super::nft_payload::Transport;
use super::x_tables::Xt;
use crate::frame::{ArpField, Field, Frame, Ip4Field, Ip6Field, Set};
use crate::walk::{HwTag, Skb, TagVid, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `ebt_ip_mt`. The rule asks for IPv4 before.
    pub(super) fn ebt_ip_mt(&mut self, skb: &Skb, ip: &XtBridgeIp) -> bool {
        let d = skb.depth;
        let of = |field| Field::Ip4(d, field);
        if !self.has_bytes(skb, 20)
            || !self.xt_value(Field::Byte(d, 1), ip.tos.as_ref())
            || !self.xt_address(of(Ip4Field::Source), ip.source.as_ref())
            || !self.xt_address(of(Ip4Field::Destination), ip.destination.as_ref())
        {
            return false;
        }
        let Some(protocol) = &ip.protocol else { return true };
        if !self.xt_value(of(Ip4Field::Protocol), Some(protocol)) {
            return false;
        }
        let Some(ports) = &ip.transport else { return true };
        let first = Set::Masked { value: 0, mask: 0x1fff };
        let transport = Transport { protocol: of(Ip4Field::Protocol), later_fragment: false };
        self.frame.is(of(Ip4Field::FragmentBits), first)
            && self.has_transport_bytes(skb, 4)
            && self.ebt_ports(d, transport, ports)
    }

    /// `ebt_ip6_mt`. The rule asks for IPv6 before.
    pub(super) fn ebt_ip6_mt(&mut self, skb: &mut Skb, xt: &Xt<'_>, ip: &XtBridgeIp) -> bool {
        let d = skb.depth;
        let of = |field| Field::Ip6(d, field);
        if !self.has_bytes(skb, 40)
            || !self.xt_address(of(Ip6Field::Source), ip.source.as_ref())
            || !self.xt_address(of(Ip6Field::Destination), ip.destination.as_ref())
        {
            return false;
        }
        if ip.tos.is_some() && !self.xt_unknown(skb, xt, "ip6 of a traffic class") {
            return false;
        }
        let Some(protocol) = &ip.protocol else { return true };
        // ipv6_skip_exthdr
        let Some(transport) = self.nft_set_pktinfo_ipv6(d, false) else { return false };
        if transport.later_fragment {
            return self.xt_unknown(skb, xt, "ip6 of a later fragment");
        }
        self.xt_value(transport.protocol, Some(protocol))
            && ip
                .transport
                .as_ref()
                .is_none_or(|ports| self.has_transport_bytes(skb, 4) && self.ebt_ports(d, transport, ports))
    }

    fn ebt_ports(&mut self, d: u8, transport: Transport, ports: &XtBridgePorts) -> bool {
        match ports {
            XtBridgePorts::Ports { source, destination } => {
                [(0, source), (2, destination)].into_iter().all(|(at, range)| {
                    range.is_none_or(|range| {
                        let bounds = (range.from.into(), range.to.into());
                        self.transport_in(d, transport, (at, 2), bounds) != range.inverted
                    })
                })
            }
            XtBridgePorts::Icmp { kinds, codes } => {
                let (kind, code) =
                    ((kinds.from.into(), kinds.to.into()), (codes.from.into(), codes.to.into()));
                let holds = self.transport_in(d, transport, (0, 1), kind)
                    && (code == (0, 0xff) || self.transport_in(d, transport, (1, 1), code));
                holds != kinds.inverted
            }
            XtBridgePorts::Igmp { kinds } => {
                let kind = (kinds.from.into(), kinds.to.into());
                self.transport_in(d, transport, (0, 1), kind) != kinds.inverted
            }
        }
    }

    /// `ebt_arp_mt`. The rule asks for ARP or RARP before; addresses are found behind those of the lengths that the
    /// message tells.
    pub(super) fn ebt_arp_mt(&mut self, skb: &mut Skb, xt: &Xt<'_>, arp: &XtBridgeArp) -> bool {
        let d = skb.depth;
        let of = |field| Field::Arp(d, field);
        if !self.has_bytes(skb, 8)
            || !self.xt_value(of(ArpField::Operation), arp.operation.as_ref())
            || !self.xt_value(of(ArpField::HardwareType), arp.hardware.as_ref())
            || !self.xt_value(of(ArpField::ProtocolType), arp.protocol.as_ref())
        {
            return false;
        }
        let ethernet = self.frame.is(of(ArpField::HardwareLength), 6u8);
        let ips = arp.source.is_some() || arp.target.is_some() || arp.gratuitous.is_some();
        if ips {
            let ipv4 = self.frame.is(of(ArpField::ProtocolLength), 4u8)
                && self.frame.is(of(ArpField::ProtocolType), EtherType::IPV4);
            if !ipv4 {
                return false;
            }
            if !ethernet {
                return self.xt_unknown(skb, xt, "arp of another length of addresses");
            }
            if !self.has_bytes(skb, 28)
                || !self.xt_address(of(ArpField::SenderIp), arp.source.as_ref())
                || !self.xt_address(of(ArpField::TargetIp), arp.target.as_ref())
            {
                return false;
            }
            if let Some(wanted) = arp.gratuitous
                && self.frame.same(of(ArpField::SenderIp), of(ArpField::TargetIp)) != wanted
            {
                return false;
            }
        }
        if arp.source_mac.is_none() && arp.target_mac.is_none() {
            return true;
        }
        if !ethernet || !self.frame.is(of(ArpField::HardwareType), 1u16) {
            return false;
        }
        if arp.source_mac.is_some()
            && !(self.has_bytes(skb, 14) && self.xt_mac(of(ArpField::SenderMac), arp.source_mac.as_ref()))
        {
            return false;
        }
        if arp.target_mac.is_none() {
            return true;
        }
        if !self.frame.is(of(ArpField::ProtocolLength), 4u8) {
            return self.xt_unknown(skb, xt, "arp of another length of addresses");
        }
        self.has_bytes(skb, 24) && self.xt_mac(of(ArpField::TargetMac), arp.target_mac.as_ref())
    }

    /// `ebt_vlan_mt`. The rule asks for 802.1Q before: a tag beside the bytes, of either kind, or one in them.
    pub(super) fn ebt_vlan_mt(&mut self, skb: &Skb, vlan: &XtBridgeVlan) -> bool {
        let d = skb.depth;
        let (tag, encapsulated) = match skb.hwtag {
            Some(tag) => (tag, Field::Protocol(d)),
            None if !self.has_bytes(skb, 4) => return false,
            None => {
                let tag = HwTag { tpid: EtherType::VLAN, vid: TagVid::Frame(d) };
                (tag, Field::TypeOrLength(d + 1))
            }
        };
        let id = vlan.id.as_ref().is_none_or(|id| {
            let holds = match tag.vid {
                TagVid::Fixed { vid, .. } => vid == id.value,
                TagVid::Frame(d) => self.frame.is(Field::Vid(d), Set::Exactly(id.value.into())),
            };
            holds != id.inverted
        });
        let priority = |walker: &mut Self, value: u8| {
            let from = match tag.vid {
                TagVid::Frame(d) | TagVid::Fixed { over: Some(d), .. } => d,
                TagVid::Fixed { over: None, .. } => return value == 0,
            };
            // The drop bit is not asked for.
            let set = Set::Masked { value: u128::from(value) << 1, mask: 0b1110 };
            walker.frame.is(Field::Priority(from), set)
        };
        id && vlan.priority.as_ref().is_none_or(|wanted| priority(self, wanted.value) != wanted.inverted)
            && self.xt_value(encapsulated, vlan.encapsulated.as_ref())
    }

    /// `ebt_among_mt`.
    pub(super) fn ebt_among_mt(&mut self, skb: &mut Skb, xt: &Xt<'_>, among: &XtAmong) -> bool {
        let sides = [
            (Field::Src, true, &among.source, among.source_inverted),
            (Field::Dst, false, &among.destination, among.destination_inverted),
        ];
        for (mac, sender, list, inverted) in sides {
            let Some(list) = list else { continue };
            let Some(contains) = self.wormhash_contains(skb, xt, (mac, sender), list) else { return false };
            if contains == inverted {
                return false;
            }
        }
        true
    }

    /// `get_ip_src`, `get_ip_dst`, `ebt_mac_wormhash_contains`; `None` if the header is cut off, which never matches.
    fn wormhash_contains(
        &mut self,
        skb: &mut Skb,
        xt: &Xt<'_>,
        (mac, sender): (Field, bool),
        list: &[XtAmongEntry],
    ) -> Option<bool> {
        let d = skb.depth;
        // h_proto: of a frame with its tag set aside, what was behind the tag.
        let with_ip =
            match self.frame.which(Field::TypeOrLength(d), &[EtherType::IPV4, EtherType::ARP].map(Set::from))
            {
                Some(0) => {
                    if !self.has_bytes(skb, 20) {
                        return None;
                    }
                    Some(Field::Ip4(d, if sender { Ip4Field::Source } else { Ip4Field::Destination }))
                }
                Some(_) => {
                    let lengths = self.frame.is(Field::Arp(d, ArpField::ProtocolLength), 4u8)
                        && self.frame.is(Field::Arp(d, ArpField::HardwareLength), 6u8);
                    if !self.has_bytes(skb, if sender { 18 } else { 28 }) || !lengths {
                        return None;
                    }
                    Some(Field::Arp(d, if sender { ArpField::SenderIp } else { ArpField::TargetIp }))
                }
                None => None,
            };
        if list.len() > 4096 {
            return Some(self.xt_unknown(skb, xt, "among, of a very long list"));
        }
        for entry in list {
            if !self.frame.is(mac, entry.mac) {
                continue;
            }
            let ip = match (entry.ip, with_ip) {
                (None, _) => true,
                (Some(ip), Some(field)) => self.frame.is(field, ip),
                (Some(_), None) => false,
            };
            if ip {
                return Some(true);
            }
        }
        Some(false)
    }
}
