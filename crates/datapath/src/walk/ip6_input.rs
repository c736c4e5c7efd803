//! `net/ipv6/ip6_input.c`, `net/ipv6/ip6_output.c`: IPv6 in the host's stack.

use portcullis_snapshot::{EtherType, IfIndex, Ipv6Conf, LinkFlags, NftFamily};

use super::netfilter::NfState;
use super::route::{FibResult, Flow, RTN_LOCAL, RTN_UNICAST};
use super::{OpenKind, PacketType, Skb, Walker};
use crate::frame::{Field, Frame, Ip6Field, Set};
use crate::network::NfHook;

const fn prefix(high: u16, bits: u32) -> Set {
    Set::Masked { value: (high as u128) << 112, mask: u128::MAX << (128 - bits) }
}

/// ff00::/8.
pub(super) const MULTICAST6: Set = prefix(0xff00, 8);
/// fe80::/10.
pub(super) const LINK_LOCAL6: Set = prefix(0xfe80, 10);
/// Multicast of scope 0 or 1: reserved, or for within one interface.
const NARROW_MULTICAST: [Set; 2] = [
    Set::Masked { value: 0xff00 << 112, mask: 0xff0f << 112 },
    Set::Masked { value: 0xff01 << 112, mask: 0xff0f << 112 },
];
const LOOPBACK6: Set = Set::Exactly(1);

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `ipv6_rcv`, `ip6_rcv_core`.
    pub(super) fn ipv6_rcv(&mut self, mut skb: Skb) {
        let function = "ip6_rcv_core";
        let d = skb.depth;
        let (saddr, daddr) = (Field::Ip6(d, Ip6Field::Source), Field::Ip6(d, Ip6Field::Destination));
        if skb.pkt_type == PacketType::OtherHost {
            return self.drop_skb(
                function,
                &skb,
                "addressed to another MAC",
                format_args!("pkt_type OtherHost"),
            );
        }
        let network = self.network;
        let runs = network.link(skb.dev).is_some_and(|link| link.ipv6.is_some());
        if !runs || self.ipv6_conf(skb.dev, |conf| conf.disable_ipv6) != 0 {
            return self.drop_skb(function, &skb, "no IPv6 on the interface", format_args!("disable_ipv6"));
        }
        if !self.frame.is(Field::Ip6(d, Ip6Field::WellFormed), 1u8) {
            return self.drop_skb(function, &skb, "malformed IPv6 header", format_args!("version, length"));
        }
        let loopback = network.link(skb.dev).is_some_and(|link| link.flags.has(LinkFlags::LOOPBACK));
        if !loopback && (self.frame.is(saddr, LOOPBACK6) || self.frame.is(daddr, LOOPBACK6)) {
            return self.drop_skb(function, &skb, "a loopback address on the wire", format_args!("::1"));
        }
        if self.frame.is_any(daddr, &NARROW_MULTICAST) {
            return self.drop_skb(
                function,
                &skb,
                "multicast that stays within an interface",
                format_args!("scope"),
            );
        }
        let group = matches!(skb.pkt_type, PacketType::Broadcast | PacketType::Multicast);
        let multicast = self.frame.is(daddr, MULTICAST6);
        if group && !multicast && self.ipv6_conf(skb.dev, |conf| conf.drop_unicast_in_l2_multicast) != 0 {
            let why = format_args!("drop_unicast_in_l2_multicast 1");
            return self.drop_skb(function, &skb, "a unicast packet in a multicast frame", why);
        }
        if self.frame.is(saddr, MULTICAST6) {
            return self.drop_skb(function, &skb, "the source is multicast", format_args!("saddr"));
        }
        // What its length does not cover is cut off (pskb_trim_rcsum); a hop-by-hop header may say another length.
        skb.trimmed = !self.has_hop_by_hop(&mut skb, "ipv6_parse_hopopts");
        if self.nf_inet_pre_routing(&mut skb, "ipv6_rcv", NftFamily::Ip6).is_none() {
            return;
        }
        // rt6_need_strict: such addresses mean something on one interface only.
        let strict = multicast || self.frame.is(daddr, LINK_LOCAL6);
        if self.vrf_ip6_rcv(&mut skb, strict).is_none() {
            return;
        }
        let oif = strict.then_some(skb.dev);
        let flow = Flow { ipv6: true, daddr, saddr, iif: Some(skb.iif()), oif };
        self.ip6_route_input(skb, flow, multicast);
    }

    /// Whether hop-by-hop options come first. Where they are not in order, or want it so, that ends the packet: an open question.
    pub(super) fn has_hop_by_hop(&mut self, skb: &mut Skb, function: &'static str) -> bool {
        let has = self.frame.is(Field::Ip6(skb.depth, Ip6Field::NextHeader), 0u8);
        if has {
            let what = "whether the hop-by-hop options are in order".to_owned();
            self.may_stop(skb, function, OpenKind::Unmodelled(what));
        }
        has
    }

    /// `ip6_route_input`: rules and tables, for multicast too.
    fn ip6_route_input(&mut self, mut skb: Skb, flow: Flow, multicast: bool) {
        let function = "ip6_route_input";
        let in_vrf = if flow.oif.is_some() { self.vrf_ip6_input_dst(&skb, &flow) } else { None };
        let found = match in_vrf {
            Some(route) => FibResult::Route(route),
            None => self.fib_lookup(&mut skb, &flow),
        };
        match found {
            FibResult::Refused(action) => {
                self.drop_skb(function, &skb, "a rule or route refuses it", format_args!("{action}"));
            }
            FibResult::Unreachable => {
                self.drop_skb(function, &skb, "no route to the destination", format_args!("routing tables"));
            }
            FibResult::Route(_) if multicast => self.ip6_mc_input(skb, flow.daddr),
            // 4 is anycast: the subnet-router address of a forwarding host.
            FibResult::Route(route) if matches!(route.kind, RTN_LOCAL | 4) => self.ip6_input(skb),
            FibResult::Route(route) if route.kind == RTN_UNICAST => {
                if let Some(oif) = self.nexthop(&mut skb, route) {
                    self.ip6_forward(skb, &flow, oif);
                }
            }
            FibResult::Route(route) => {
                self.drop_skb(function, &skb, "not a route to take", format_args!("type {}", route.kind));
            }
        }
    }

    /// `ip6_mc_input`: multicast comes in where the host is a member.
    fn ip6_mc_input(&mut self, mut skb: Skb, group: Field) {
        if !self.is_member(&mut skb, group, true) {
            return self.drop_skb(
                "ip6_mc_input",
                &skb,
                "not a member of the group",
                format_args!("/proc/net/igmp6"),
            );
        }
        self.ip6_input(skb);
    }

    /// `ip6_input`, `ip6_protocol_deliver_rcu`.
    fn ip6_input(&mut self, mut skb: Skb) {
        let d = skb.depth;
        let state =
            NfState { family: NftFamily::Ip6, hook: NfHook::LocalIn, iif: Some(skb.iif()), oif: None };
        if self.nf_hook(&mut skb, "ip6_input", state).is_none() {
            return;
        }
        let next = Field::Ip6(d, Ip6Field::NextHeader);
        if self.frame.is(next, 58u8) {
            return self.icmpv6_rcv(skb);
        }
        // Hop-by-hop, routing, fragment, destination options: what is behind them is not looked at.
        if self.frame.is_any(next, &[0u8, 43, 44, 60].map(Set::from)) {
            let what = "what is behind IPv6 extension headers".to_owned();
            self.assume(&mut skb, "ip6_protocol_deliver_rcu", OpenKind::Unmodelled(what));
            return self.host(&skb, EtherType::IPV6, super::Effect::Deliver { protocol: 0 });
        }
        self.deliver_transport(skb, EtherType::IPV6, next);
    }

    /// `ip6_forward`: on to another interface. `all`'s setting decides, not the interface's.
    fn ip6_forward(&mut self, mut skb: Skb, flow: &Flow, oif: IfIndex) {
        let function = "ip6_forward";
        let network = self.network;
        match network.netns().ipv6.read() {
            Some(settings) if settings.all.forwarding.unwrap_or(0) == 0 => {
                // Since 6.17 an interface can be made to forward on its own; the setting is not in the kernel's array.
                return self.drop_skb(
                    function,
                    &skb,
                    "not for this host",
                    format_args!("ipv6.conf.all.forwarding 0"),
                );
            }
            Some(_) => {}
            None => {
                let what = "net.ipv6.conf.all.forwarding was not read".to_owned();
                self.assume(&mut skb, function, OpenKind::Unread(what));
            }
        }
        if skb.pkt_type != PacketType::Host {
            let pkt_type = skb.pkt_type;
            return self.drop_skb(
                function,
                &skb,
                "only frames to its own MAC are routed on",
                format_args!("{pkt_type:?}"),
            );
        }
        if self.frame.is(Field::Ip6(skb.depth, Ip6Field::HopLimit), Set::Range(0, 1)) {
            return self.drop_skb(function, &skb, "the hop limit is over", format_args!("hop_limit"));
        }
        // Back out of the same interface, the kernel sends a redirect and asks no such question.
        if oif != skb.dev && self.frame.is_any(flow.saddr, &[Set::Exactly(0), LINK_LOCAL6]) {
            return self.drop_skb(function, &skb, "the source stays on its link", format_args!("saddr"));
        }
        if self.nf_inet_forward(&mut skb, NftFamily::Ip6, oif).is_none() {
            return;
        }
        self.forwarded(&skb, oif, EtherType::IPV6);
    }

    /// An IPv6 setting of an interface; one that the kernel does not have is 0.
    pub(super) fn ipv6_conf(&self, device: IfIndex, of: fn(&Ipv6Conf) -> Option<i32>) -> i32 {
        self.network.link(device).and_then(|link| of(link.ipv6.as_ref()?)).unwrap_or(0)
    }
}
