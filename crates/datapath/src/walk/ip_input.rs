//! `net/ipv4/ip_input.c`, `net/ipv4/ip_forward.c`: IPv4 in the host's stack.

use std::net::IpAddr;

use portcullis_snapshot::{EtherType, IfIndex, NftFamily, TcHookKind};

use super::netfilter::NfState;
use super::route::{Flow, Input, MULTICAST};
use super::{Effect, HostDelivery, OpenKind, Outcome, PacketType, Skb, Walker};
use crate::frame::{Field, Frame, Ip4Field, Set};
use crate::network::NfHook;

/// Protocols that a host may have a handler for: UDP, ICMP, IGMP, IPIP, TCP, IPv6, GRE, ESP, AH, PIM, SCTP. UDP comes
/// first, as it makes the witness that is easiest to read.
const IP_PROTOCOLS: [u8; 11] = [17, 1, 2, 4, 6, 41, 47, 50, 51, 103, 132];
/// The same of IPv6, which has ICMPv6 in the place of ICMP and IGMP.
const IP6_PROTOCOLS: [u8; 10] = [17, 58, 4, 6, 41, 47, 50, 51, 103, 132];
/// 224.0.0.1: every host is a member.
const ALL_HOSTS: Set = Set::Exactly(0xe000_0001);

impl<F: Frame> Walker<'_, '_, F> {
    /// `ip_rcv`: is it for us at all?
    pub(super) fn ip_rcv(&mut self, mut skb: Skb) {
        let d = skb.depth;
        if skb.pkt_type == PacketType::OtherHost {
            return self.drop_skb(
                "ip_rcv",
                &skb,
                "addressed to another MAC",
                format_args!("pkt_type OtherHost"),
            );
        }
        if !self.frame.is(Field::Ip4(d, Ip4Field::WellFormed), 1u8) {
            return self.drop_skb(
                "ip_rcv_core",
                &skb,
                "malformed IPv4 header",
                format_args!("version, length, checksum"),
            );
        }
        // What its length does not cover is cut off (pskb_trim_rcsum).
        skb.trimmed = true;
        if self.nf_inet_pre_routing(&mut skb, "ip_rcv", NftFamily::Ip).is_none() {
            return;
        }
        if self.vrf_ip_rcv(&mut skb, Field::Ip4(d, Ip4Field::Destination)).is_none() {
            return;
        }
        let network = self.network;
        if network.link(skb.dev).is_none_or(|link| link.ipv4.is_none()) {
            return self.drop_skb(
                "ip_rcv_finish",
                &skb,
                "no IPv4 on the interface",
                format_args!("in_device"),
            );
        }
        self.ip_rcv_finish(skb);
    }

    /// `ip_rcv_finish`: the route, then options and what the frame's MAC address allows.
    fn ip_rcv_finish(&mut self, mut skb: Skb) {
        let d = skb.depth;
        let (saddr, daddr) = (Field::Ip4(d, Ip4Field::Source), Field::Ip4(d, Ip4Field::Destination));
        let flow = Flow { ipv6: false, daddr, saddr, iif: Some(skb.dev), oif: None };
        if self.frame.is(daddr, MULTICAST) {
            return self.ip_route_input_mc(skb, &flow);
        }
        let Some(input) = self.ip_route_input(&mut skb, &flow, false) else { return };
        self.ip_options(&mut skb);
        let group = matches!(skb.pkt_type, PacketType::Broadcast | PacketType::Multicast);
        let unicast = !matches!(input, Input::Broadcast);
        if group && unicast && self.ipv4_or(&mut skb, |conf| conf.drop_unicast_in_l2_multicast) {
            let why = format_args!("drop_unicast_in_l2_multicast 1");
            return self.drop_skb("ip_rcv_finish_core", &skb, "a unicast packet in a multicast frame", why);
        }
        match input {
            Input::Local | Input::Broadcast => self.ip_local_deliver(skb),
            Input::Forward(oif) => self.ip_forward(skb, oif),
        }
    }

    /// `ip_rcv_options`: a source route could send the packet elsewhere.
    fn ip_options(&mut self, skb: &mut Skb) {
        if self.frame.is(Field::Ip4(skb.depth, Ip4Field::HasOptions), 1u8) {
            let what = "IP options (a source route needs accept_source_route)".to_owned();
            self.assume(skb, "ip_rcv_options", OpenKind::Unmodelled(what));
        }
    }

    /// `ip_route_input_mc`: multicast comes in where the host is a member, with no question to rules or routes.
    fn ip_route_input_mc(&mut self, mut skb: Skb, flow: &Flow) {
        let function = "ip_route_input_mc";
        if !self.is_member(&mut skb, flow.daddr, false) {
            if self.ipv4_conf(skb.dev, |conf| conf.mc_forwarding) != 0 {
                let what = "multicast routing".to_owned();
                self.assume(&mut skb, function, OpenKind::Unmodelled(what));
            }
            return self.drop_skb(
                function,
                &skb,
                "not a member of the group",
                format_args!("/proc/net/igmp"),
            );
        }
        // ip_mc_validate_source
        if self.frame.is_any(flow.saddr, &[MULTICAST, Set::Exactly(0xffff_ffff)]) {
            return self.drop_skb(
                "ip_mc_validate_source",
                &skb,
                "the source is multicast or broadcast",
                format_args!("saddr"),
            );
        }
        let localnet = self.ipv4_or(&mut skb, |conf| conf.route_localnet);
        if !localnet && self.frame.is(flow.saddr, super::route::LOOPBACK) {
            return self.drop_skb(
                "ip_mc_validate_source",
                &skb,
                "a loopback source on the wire",
                format_args!("route_localnet 0"),
            );
        }
        let from_nowhere = self.frame.is(flow.saddr, super::route::ZERONET);
        let local = self.frame.is(flow.daddr, Set::Masked { value: 0xe000_0000, mask: 0xffff_ff00 });
        let igmp = self.frame.is(Field::Ip4(skb.depth, Ip4Field::Protocol), 2u8);
        if from_nowhere && !local && !igmp {
            return self.drop_skb("ip_mc_validate_source", &skb, "no source", format_args!("saddr 0.0.0.0"));
        }
        if !from_nowhere && self.fib_validate_source(&mut skb, flow, None).is_none() {
            return;
        }
        self.ip_options(&mut skb);
        self.ip_local_deliver(skb);
    }

    /// `ip_check_mc_rcu`, `ipv6_chk_mcast_addr`: whether the host joined the group on this interface.
    pub(super) fn is_member(&mut self, skb: &mut Skb, group: Field, ipv6: bool) -> bool {
        let network = self.network;
        if let Some(why) = network.netns().memberships.unread() {
            let all = if ipv6 { Set::Exactly((0xff02 << 112) | 1) } else { ALL_HOSTS };
            if self.frame.is(group, all) {
                return true;
            }
            let what = format!("group memberships were not read: {}", why.reason);
            self.assume(skb, "ip_check_mc_rcu", OpenKind::Unread(what));
            return false;
        }
        let here = network.groups(skb.dev).filter(|group| group.is_ipv6() == ipv6);
        let groups: Vec<Set> = here
            .map(|group| match group {
                IpAddr::V4(group) => group.into(),
                IpAddr::V6(group) => group.into(),
            })
            .collect();
        self.frame.is_any(group, &groups)
    }

    /// `ip_local_deliver`: to the transport protocols.
    fn ip_local_deliver(&mut self, mut skb: Skb) {
        let d = skb.depth;
        if self.frame.is(Field::Ip4(d, Ip4Field::Fragment), 1u8) {
            let what = "whether the other fragments come".to_owned();
            self.may_stop(&mut skb, "ip_defrag", OpenKind::Changing(what));
        }
        let state = NfState { family: NftFamily::Ip, hook: NfHook::LocalIn, iif: Some(skb.iif()), oif: None };
        if self.nf_hook(&mut skb, "ip_local_deliver", state).is_none() {
            return;
        }
        self.deliver_transport(skb, EtherType::IPV4, Field::Ip4(d, Ip4Field::Protocol));
    }

    /// `ip_protocol_deliver_rcu`, `ip6_protocol_deliver_rcu`. TCP and SCTP insist on a frame to this very host.
    pub(super) fn deliver_transport(&mut self, skb: Skb, ethertype: EtherType, field: Field) {
        let function = "ip_protocol_deliver_rcu";
        let protocol = if ethertype == EtherType::IPV6 {
            self.known_protocol(field, IP6_PROTOCOLS)
        } else {
            self.known_protocol(field, IP_PROTOCOLS)
        };
        let Some(protocol) = protocol else {
            let why = format_args!("protocol");
            return self.drop_skb(function, &skb, "no handler for the IP protocol", why);
        };
        if matches!(protocol, 6 | 132) && skb.pkt_type != PacketType::Host {
            let pkt_type = skb.pkt_type;
            return self.drop_skb(
                "tcp_v4_rcv",
                &skb,
                "TCP wants a frame to its own MAC",
                format_args!("{pkt_type:?}"),
            );
        }
        self.step(function, skb.dev, format_args!("delivered"), format_args!("IP protocol {protocol}"));
        self.host(&skb, ethertype, Effect::Deliver { protocol });
    }

    fn known_protocol<const N: usize>(&mut self, field: Field, known: [u8; N]) -> Option<u8> {
        let class = self.frame.which(field, &known.map(Set::from))?;
        known.get(class).copied()
    }

    /// Ends one way of the frame in the host's stack.
    pub(super) fn host(&mut self, skb: &Skb, protocol: EtherType, effect: Effect) {
        let mut skb = *skb;
        let answers = match effect {
            Effect::ArpReply => Some(NftFamily::Arp),
            Effect::NeighbourAdvertisement => Some(NftFamily::Ip6),
            _ => None,
        };
        if let Some(family) = answers {
            self.answers_get_out(&mut skb, family);
        }
        let (device, pkt_type, assumes) = (skb.dev, skb.pkt_type, skb.assumes);
        // A bond that is down still gets what its ports receive, and under MST a bridge without a forwarding port, which
        // has no carrier, what comes in by one that is not; their answers are not sent (noop_qdisc).
        let mute = self.link(device).is_some_and(|link| !link.is_up() || link.carrier == Some(false));
        let effect = match effect {
            Effect::ArpReply if mute => Effect::ArpUpdate,
            Effect::NeighbourAdvertisement if mute => Effect::NeighbourUpdate,
            effect => effect,
        };
        let rewritten = self.frame.writes().to_vec();
        self.arrive(Outcome::Host(HostDelivery { device, protocol, effect, pkt_type, rewritten, assumes }));
    }

    /// Whether something on the way out could stop the host's answer, which is another frame.
    fn answers_get_out(&mut self, skb: &mut Skb, family: NftFamily) {
        let hooks = self.network.hooks();
        let out = |family| !hooks.netfilter(family, NfHook::LocalOut).is_empty();
        let device = !hooks.egress(skb.dev).is_empty() || hooks.has_tc(skb.dev, TcHookKind::Egress);
        // ARP has no hook behind it.
        let behind = family == NftFamily::Ip6 && !hooks.netfilter(family, NfHook::PostRouting).is_empty();
        if device || out(family) || behind || out(NftFamily::Bridge) {
            let what = "rules for what the host itself sends".to_owned();
            self.may_stop(skb, "arp_send_dst", OpenKind::Filter(what));
        }
    }

    /// `ip_forward`: on to another interface, or back out of the same one.
    fn ip_forward(&mut self, mut skb: Skb, oif: IfIndex) {
        if skb.pkt_type != PacketType::Host {
            let pkt_type = skb.pkt_type;
            return self.drop_skb(
                "ip_forward",
                &skb,
                "only frames to its own MAC are routed on",
                format_args!("{pkt_type:?}"),
            );
        }
        if self.frame.is(Field::Ip4(skb.depth, Ip4Field::Ttl), Set::Range(0, 1)) {
            return self.drop_skb("ip_forward", &skb, "the time to live is over", format_args!("ttl"));
        }
        if self.nf_inet_forward(&mut skb, NftFamily::Ip, oif).is_none() {
            return;
        }
        self.forwarded(&skb, oif, EtherType::IPV4);
    }

    /// The PREROUTING hook.
    pub(super) fn nf_inet_pre_routing(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        family: NftFamily,
    ) -> Option<()> {
        if self.ip_sabotage_in(skb) {
            return Some(());
        }
        let state = NfState { family, hook: NfHook::PreRouting, iif: Some(skb.dev), oif: None };
        self.nf_hook(skb, function, state)
    }

    /// The hooks of a packet that the host routes on (`ip_forward`, `ip_output`).
    pub(super) fn nf_inet_forward(&mut self, skb: &mut Skb, family: NftFamily, oif: IfIndex) -> Option<()> {
        let state = NfState { family, hook: NfHook::Forward, iif: Some(skb.iif()), oif: Some(oif) };
        self.nf_hook(skb, "ip_forward", state)?;
        let state = NfState { family, hook: NfHook::PostRouting, iif: Some(skb.iif()), oif: Some(oif) };
        self.nf_hook(skb, "ip_output", state)?;
        let network = self.network;
        // The header that it leaves with is not known here.
        if !network.hooks().egress(oif).is_empty() || network.hooks().has_tc(oif, TcHookKind::Egress) {
            let what = format!("filters on the way out of {}", network.name(oif));
            self.assume(skb, "__dev_queue_xmit", OpenKind::Filter(what));
        }
        Some(())
    }

    pub(super) fn forwarded(&mut self, skb: &Skb, device: IfIndex, protocol: EtherType) {
        let name = self.network.name(device);
        self.step("ip_forward_finish", skb.dev, format_args!("out of {name}"), format_args!("forwarding on"));
        self.arrive(Outcome::Forwarded { from: skb.dev, device, protocol, assumes: skb.assumes });
    }
}
