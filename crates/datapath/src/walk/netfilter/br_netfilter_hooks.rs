//! `net/bridge/br_netfilter_hooks.c`: bridged packets before the rules of the host's own stack.

use portcullis_snapshot::{EtherType, IfIndex, NftFamily};

use super::NfState;
use crate::frame::{ArpField, Field, Frame, Ip4Field, Ip6Field, Set, Sums, Written};
use crate::network::{Bridge, NfHook, Port};
use crate::walk::ip6_input::{LINK_LOCAL6, MULTICAST6};
use crate::walk::route::{FibResult, Flow, Input, MULTICAST, NO_ROUTE, RTN_LOCAL};
use crate::walk::{OpenKind, PacketType, Physdev, Skb, Walker};

/// What is shown to FORWARD.
const SHOWN: [Set; 3] = [Set::of(EtherType::IPV4), Set::of(EtherType::IPV6), Set::of(EtherType::ARP)];

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_nf_pre_routing` (net/bridge/br_netfilter_hooks.c). A frame with a tag beside it, or two tags, is passed over.
    /// Whether it took the packet over (`NF_STOLEN`) and went on from where it stands.
    pub(in crate::walk) fn br_nf_pre_routing(&mut self, skb: &mut Skb, bridge: &Bridge<'s>) -> Option<bool> {
        let Some(settings) = self.network.hooks().br_netfilter().copied() else { return Some(false) };
        if self.encap_header_is_cut_off(skb.depth) {
            self.drop_skb("br_nf_pre_routing", skb, "the header is cut off", format_args!("br_netfilter"));
            return None;
        }
        let tagged = skb.hwtag.is_some();
        if tagged && !settings.filter_vlan_tagged {
            return Some(false);
        }
        let iptables = settings.call_iptables || bridge.options.nf_call_iptables == Some(true);
        let ip6tables = settings.call_ip6tables || bridge.options.nf_call_ip6tables == Some(true);
        let inet = [EtherType::IPV4, EtherType::IPV6].map(Set::from);
        let (family, on, valid) = match self.frame.which(Field::Protocol(skb.depth), &inet) {
            None => return Some(false),
            Some(0) => (NftFamily::Ip, iptables, Field::Ip4(skb.depth, Ip4Field::WellFormed)),
            Some(_) => (NftFamily::Ip6, ip6tables, Field::Ip6(skb.depth, Ip6Field::WellFormed)),
        };
        if !on {
            return Some(false);
        }
        if !self.frame.is(valid, 1u8) {
            self.drop_skb(
                "br_nf_pre_routing",
                skb,
                "malformed IP header",
                format_args!("bridge-nf-call-iptables"),
            );
            return None;
        }
        // br_validate_ipv4, br_validate_ipv6
        skb.trimmed = true;
        if family == NftFamily::Ip6 {
            self.has_hop_by_hop(skb, "nf_ip6_check_hbh_len");
        }
        skb.nf_bridge = true;
        skb.physdev = Some(Physdev { input: skb.dev, output: None });
        let state = NfState { family, hook: NfHook::PreRouting, iif: Some(bridge.link.index), oif: None };
        let daddr = if family == NftFamily::Ip {
            Field::Ip4(skb.depth, Ip4Field::Destination)
        } else {
            Field::Ip6(skb.depth, Ip6Field::Destination)
        };
        let before = self.frame.now(daddr);
        self.br_nf_hook(skb, "br_nf_pre_routing", state)?;
        if before != self.frame.now(daddr) {
            self.br_nf_daddr_was_changed(skb, bridge, (daddr, before))?;
        }
        Some(true)
    }

    /// `br_nf_pre_routing_finish`, `br_nf_pre_routing_finish_ipv6` of a packet with a new destination: what is not for
    /// this bridge's own network goes up to the host.
    fn br_nf_daddr_was_changed(
        &mut self,
        skb: &mut Skb,
        bridge: &Bridge<'s>,
        (daddr, before): (Field, Written),
    ) -> Option<()> {
        let now = self.frame.now(daddr);
        if self.frame.equal(before, now) {
            return Some(());
        }
        let brdev = bridge.link.index;
        let ipv6 = matches!(daddr, Field::Ip6(..));
        let mut routed = Skb { dev: brdev, ..*skb };
        let oif = if ipv6 {
            self.br_nf_route_input_ipv6(&mut routed, daddr)
        } else {
            self.br_nf_route_input(&mut routed, daddr)
        };
        skb.assumes = routed.assumes;
        if oif? == Some(brdev) {
            let what =
                "to which MAC address br_netfilter sends what a rule gave a new destination".to_owned();
            self.assume(skb, "br_nf_pre_routing_finish_bridge", OpenKind::Changing(what));
            let why = format_args!("a neighbour of {}", bridge.link.name);
            self.drop_skb("br_nf_pre_routing_finish_bridge", skb, "its neighbour is not known here", why);
            return None;
        }
        if let Some(address) = bridge.link.address {
            let to = (Field::Dst, Written::Value(address.to_u64().into()), Sums::NONE);
            self.rewrite(skb, "br_nf_pre_routing_finish", to, "a new destination, routed");
        }
        skb.pkt_type = PacketType::Host;
        Some(())
    }

    /// `ip_route_input` of a bridged packet: the device that it leaves by; none if it goes to the host, or nowhere.
    fn br_nf_route_input(&mut self, skb: &mut Skb, daddr: Field) -> Option<Option<IfIndex>> {
        let saddr = Field::Ip4(skb.depth, Ip4Field::Source);
        let flow = Flow { ipv6: false, daddr, saddr, iif: Some(skb.dev), oif: None };
        if self.frame.is(daddr, MULTICAST) {
            let what = "a bridged packet that a rule sends to a group".to_owned();
            self.assume(skb, "br_nf_pre_routing_finish", OpenKind::Unmodelled(what));
            return Some(None);
        }
        match self.ip_route_input(skb, &flow, false) {
            Some(Input::Forward(oif)) => Some(Some(oif)),
            Some(Input::Local | Input::Broadcast) => Some(None),
            // It has a route that ends in ip_error, once it is up.
            None if self.walk.drops.last().is_some_and(|drop| NO_ROUTE.contains(&drop.reason)) => {
                self.walk.drops.pop();
                Some(None)
            }
            None => None,
        }
    }

    fn br_nf_route_input_ipv6(&mut self, skb: &mut Skb, daddr: Field) -> Option<Option<IfIndex>> {
        let saddr = Field::Ip6(skb.depth, Ip6Field::Source);
        let strict = self.frame.is_any(daddr, &[MULTICAST6, LINK_LOCAL6]);
        let oif = strict.then_some(skb.dev);
        let flow = Flow { ipv6: true, daddr, saddr, iif: Some(skb.dev), oif };
        match self.fib_lookup(skb, &flow) {
            FibResult::Route(route) if matches!(route.kind, RTN_LOCAL | 4) => Some(None),
            FibResult::Route(route) => self.nexthop(skb, route).map(Some),
            FibResult::Refused(_) | FibResult::Unreachable => {
                let why = format_args!("routing tables");
                self.drop_skb("br_nf_pre_routing_finish_ipv6", skb, "no route to its new destination", why);
                None
            }
        }
    }

    /// `nf_bridge_encap_header_len`: a tag in the bytes, or a PPPoE header, has to be there in full.
    fn encap_header_is_cut_off(&mut self, depth: u8) -> bool {
        let needed = match self
            .frame
            .which(Field::Protocol(depth), &[EtherType::VLAN, EtherType::PPPOE_SESSION].map(Set::from))
        {
            Some(0) => 4,
            Some(_) => 8,
            None => return false,
        };
        !self.frame.is(Field::Length(depth), Set::Range(needed, u128::MAX))
    }

    /// `br_nf_forward_ip`, `br_nf_forward_arp`: through br_netfilter bridged packets pass the host's own FORWARD hooks.
    ///
    /// `None` if the packet ends there; else whose hooks saw it, if any did.
    pub(in crate::walk) fn br_nf_forward(
        &mut self,
        skb: &mut Skb,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
    ) -> Option<Option<NftFamily>> {
        let network = self.network;
        let Some(settings) = network.hooks().br_netfilter() else { return Some(None) };
        if skb.hwtag.is_some() && !settings.filter_vlan_tagged {
            return Some(None);
        }
        let arptables = settings.call_arptables || bridge.options.nf_call_arptables == Some(true);
        if skb.behind_tag && settings.filter_vlan_tagged {
            return self.br_nf_forward_behind_tag(skb, arptables);
        }
        let family = match self.frame.which(Field::Protocol(skb.depth), &SHOWN) {
            // Only of packets that br_nf_pre_routing has seen (nf_bridge_info_get).
            Some(0) if skb.nf_bridge => NftFamily::Ip,
            Some(1) if skb.nf_bridge => NftFamily::Ip6,
            Some(2) if arptables => NftFamily::Arp,
            _ => return Some(None),
        };
        // sizeof(struct arphdr)
        if family == NftFamily::Arp && !self.frame.is(Field::Length(skb.depth), Set::Range(8, u128::MAX)) {
            let why = format_args!("bridge-nf-call-arptables");
            self.drop_skb("br_nf_forward_arp", skb, "the ARP header is cut off", why);
            return None;
        }
        let lengths = Field::Arp(skb.depth, ArpField::ProtocolLength);
        if family == NftFamily::Arp && !self.frame.is(lengths, 4u8) {
            return Some(None);
        }
        if let Some(physdev) = &mut skb.physdev {
            physdev.output = Some(port.link.index);
        }
        let state = if family == NftFamily::Arp {
            NfState { family, hook: NfHook::Forward, iif: skb.port, oif: Some(port.link.index) }
        } else {
            let logical = Some(bridge.link.index);
            NfState { family, hook: NfHook::Forward, iif: logical, oif: logical }
        };
        if family == NftFamily::Arp {
            self.nf_hook(skb, "br_nf_forward_arp", state)?;
        } else {
            self.br_nf_hook(skb, "br_nf_forward_ip", state)?;
        }
        Some(Some(family))
    }

    /// The same of a packet behind a tag that was put back (`IS_VLAN_IP`, `IS_VLAN_ARP`). Its network header was left where it
    /// was then, and `nf_bridge_pull_encap_header` moves that on by the tag's length: what is validated is four bytes off.
    fn br_nf_forward_behind_tag(&mut self, skb: &mut Skb, arptables: bool) -> Option<Option<NftFamily>> {
        let d = skb.depth + 1;
        // vlan_proto
        if skb.hwtag.is_some() || !self.frame.is(Field::Protocol(skb.depth), EtherType::VLAN) {
            return Some(None);
        }
        let family = match self.frame.which(Field::Protocol(d), &SHOWN) {
            Some(0) if skb.nf_bridge => NftFamily::Ip,
            Some(1) if skb.nf_bridge => NftFamily::Ip6,
            Some(2) if arptables => NftFamily::Arp,
            _ => return Some(None),
        };
        let passes = match family {
            // Version and header length, in the place of the identification.
            NftFamily::Ip => self.frame.is(Field::Byte(d, 4), Set::Range(0x45, 0x4f)),
            // The version, in the place of the payload's length.
            NftFamily::Ip6 => {
                self.frame.is(Field::Ip6(d, Ip6Field::TotalLength), Set::Range(0x6000 + 40, 0x6fff + 40))
            }
            _ => {
                // ar_pln, in the place of the sender's second byte: with another length the packet is left alone.
                let length = Set::Masked { value: 4 << 32, mask: 0xff << 32 };
                if !self.frame.is(Field::Arp(d, ArpField::SenderMac), length) {
                    return Some(None);
                }
                true
            }
        };
        if !passes {
            let why = format_args!("four bytes off, behind a tag that was put back");
            self.drop_skb("br_nf_forward_ip", skb, "malformed IP header", why);
            return None;
        }
        let what = "br_netfilter takes bytes within the header for its beginning".to_owned();
        self.assume(skb, "br_nf_forward_ip", OpenKind::Unmodelled(what));
        Some(None)
    }

    /// `br_nf_post_routing`: a packet that `br_nf_forward_ip` has shown to FORWARD passes POSTROUTING as well.
    pub(in crate::walk) fn br_nf_post_routing(
        &mut self,
        skb: &mut Skb,
        bridge: &Bridge<'s>,
        shown: Option<NftFamily>,
    ) -> Option<()> {
        let (Some(family @ (NftFamily::Ip | NftFamily::Ip6)), true) = (shown, skb.nf_bridge) else {
            return Some(());
        };
        let state = NfState { family, hook: NfHook::PostRouting, iif: None, oif: Some(bridge.link.index) };
        self.br_nf_hook(skb, "br_nf_post_routing", state)
    }

    /// A hook of IPv4's or IPv6's, whose rules see the packet as one that is addressed to the host (`pkt_otherhost`).
    fn br_nf_hook(&mut self, skb: &mut Skb, function: &'static str, state: NfState) -> Option<()> {
        let pkt_type = skb.pkt_type;
        if pkt_type == PacketType::OtherHost {
            skb.pkt_type = PacketType::Host;
        }
        self.nf_hook(skb, function, state)?;
        if pkt_type == PacketType::OtherHost {
            skb.pkt_type = pkt_type;
        }
        Some(())
    }
}
