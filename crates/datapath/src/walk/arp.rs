//! `net/ipv4/arp.c`: which ARP messages the host answers, and which change its neighbour table.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_snapshot::{Address, EtherType, IfIndex, LinkFlags, NftFamily, Route};

use super::netfilter::NfState;
use super::route::{FibResult, Flow, Input, LOOPBACK, MULTICAST, RTN_LOCAL, RTN_UNICAST};
use super::{Effect, OpenKind, PacketType, Skb, Walker};
use crate::frame::{ArpField, Field, Frame, Partition, Set};
use crate::network::NfHook;

const RT_SCOPE_LINK: u8 = 253;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

impl<F: Frame> Walker<'_, '_, F> {
    /// `arp_rcv`.
    pub(super) fn arp_rcv(&mut self, mut skb: Skb) {
        let network = self.network;
        let noarp = network.link(skb.dev).is_none_or(|link| link.flags.has(LinkFlags::NOARP));
        if noarp {
            return self.drop_skb("arp_rcv", &skb, "ARP is off on the interface", format_args!("NOARP"));
        }
        if skb.pkt_type == PacketType::OtherHost {
            return self.drop_skb(
                "arp_rcv",
                &skb,
                "addressed to another MAC",
                format_args!("pkt_type OtherHost"),
            );
        }
        if !self.frame.is(Field::Arp(skb.depth, ArpField::WellFormed), 1u8) {
            return self.drop_skb(
                "arp_rcv",
                &skb,
                "malformed ARP message",
                format_args!("types and lengths"),
            );
        }
        let state = NfState { family: NftFamily::Arp, hook: NfHook::LocalIn, iif: Some(skb.dev), oif: None };
        if self.nf_hook(&mut skb, "arp_rcv", state).is_none() {
            return;
        }
        if network.link(skb.dev).is_none_or(|link| link.ipv4.is_none()) {
            return self.drop_skb("arp_process", &skb, "no IPv4 on the interface", format_args!("in_device"));
        }
        self.arp_process(skb);
    }

    /// `arp_process`.
    fn arp_process(&mut self, mut skb: Skb) {
        let d = skb.depth;
        let (sip, tip) = (Field::Arp(d, ArpField::SenderIp), Field::Arp(d, ArpField::TargetIp));
        let operation = self.frame.which(Field::Arp(d, ArpField::Operation), &[1u16, 2].map(Set::from));
        let Some(operation) = operation else {
            return self.drop_skb(
                "arp_process",
                &skb,
                "neither request nor reply",
                format_args!("operation"),
            );
        };
        let request = operation == 0;
        let localnet = self.ipv4_or(&mut skb, |conf| conf.route_localnet);
        if self.frame.is(tip, MULTICAST) || (!localnet && self.frame.is(tip, LOOPBACK)) {
            return self.drop_skb(
                "arp_process",
                &skb,
                "asks for a multicast or loopback address",
                format_args!("tip"),
            );
        }
        if self.ipv4_or(&mut skb, |conf| conf.drop_gratuitous_arp) && self.frame.same(sip, tip) {
            return self.drop_skb(
                "arp_process",
                &skb,
                "gratuitous ARP",
                format_args!("drop_gratuitous_arp 1"),
            );
        }
        if self.frame.is(sip, Set::Exactly(0)) {
            return self.arp_probe(skb, request, tip);
        }
        if request && self.arp_request(&mut skb, sip, tip) {
            return;
        }
        self.arp_update(skb, request, sip, tip);
    }

    /// The special case of an address probe (RFC 5227): answered for every address of the host, with no question to
    /// rules, routes or `arp_filter`.
    fn arp_probe(&mut self, mut skb: Skb, request: bool, tip: Field) {
        if request && self.is_local_type(skb.dev, tip) && !self.arp_ignore(&mut skb, None, tip) {
            self.step(
                "arp_process",
                skb.dev,
                format_args!("reply"),
                format_args!("sender 0.0.0.0: no route is looked up"),
            );
            return self.host(&skb, EtherType::ARP, Effect::ArpReply);
        }
        self.drop_skb(
            "arp_process",
            &skb,
            "an address probe for no address of the host's",
            format_args!("sender 0.0.0.0"),
        );
    }

    /// A request: whether it is answered. What is not answered may still update the table.
    fn arp_request(&mut self, skb: &mut Skb, sip: Field, tip: Field) -> bool {
        let flow = Flow { ipv6: false, daddr: tip, saddr: sip, iif: Some(skb.dev), oif: None };
        let drops = self.walk.drops.len();
        let input = self.ip_route_input(skb, &flow, true);
        // A route that refuses ends the answer, not the frame: it may still update the neighbour table.
        self.walk.drops.truncate(drops);
        match input {
            Some(Input::Local) => {
                if self.arp_ignore(skb, Some(sip), tip) {
                    self.step("arp_process", skb.dev, format_args!("no reply"), format_args!("arp_ignore"));
                } else if self.ipv4_or(skb, |conf| conf.arp_filter) && self.arp_filter(skb, sip, tip) {
                    self.step("arp_process", skb.dev, format_args!("no reply"), format_args!("arp_filter"));
                } else {
                    self.step("arp_process", skb.dev, format_args!("reply"), format_args!("a local address"));
                    self.host(skb, EtherType::ARP, Effect::ArpReply);
                    return true;
                }
                // The sender was not even noted: arp_process is done with it.
                self.drop_skb(
                    "arp_process",
                    skb,
                    "the host does not answer for this address here",
                    format_args!("arp_ignore, arp_filter"),
                );
                true
            }
            Some(Input::Forward(oif)) if self.arp_proxies(skb, oif, sip, tip) => {
                self.step(
                    "arp_process",
                    skb.dev,
                    format_args!("reply for another"),
                    format_args!("proxy ARP"),
                );
                self.host(skb, EtherType::ARP, Effect::ArpReply);
                true
            }
            _ => false,
        }
    }

    /// `arp_fwd_proxy`, `arp_fwd_pvlan`, `pneigh_lookup`.
    fn arp_proxies(&mut self, skb: &mut Skb, oif: IfIndex, sip: Field, tip: Field) -> bool {
        const NTF_PROXY: u8 = 8;
        if oif == skb.dev {
            return !self.frame.same(sip, tip) && self.arp_fwd_pvlan(skb);
        }
        if self.ipv4_or(skb, |conf| conf.proxy_arp) {
            return true;
        }
        let network = self.network;
        let proxies = network.netns().neighbours.known().iter();
        let proxies = proxies.filter(|entry| entry.flags & NTF_PROXY != 0 && entry.device == skb.dev);
        let targets: Vec<Set> = proxies
            .filter_map(|entry| match entry.address {
                IpAddr::V4(address) => Some(address.into()),
                IpAddr::V6(_) => None,
            })
            .collect();
        self.frame.is_any(tip, &targets)
    }

    /// `IN_DEV_PROXY_ARP_PVLAN`: the interface's own setting; that of `all` counts in newer kernels only.
    fn arp_fwd_pvlan(&mut self, skb: &mut Skb) -> bool {
        if self.ipv4_conf(skb.dev, |conf| conf.proxy_arp_pvlan) != 0 {
            return true;
        }
        if self.ipv4_or(skb, |conf| conf.proxy_arp_pvlan) {
            let what = "whether this kernel heeds proxy_arp_pvlan of all".to_owned();
            self.assume(skb, "arp_fwd_pvlan", OpenKind::Unmodelled(what));
        }
        false
    }

    /// `arp_ignore`: whether the interface keeps silent about an address. `sip` is `None` for a probe.
    fn arp_ignore(&mut self, skb: &mut Skb, sip: Option<Field>, tip: Field) -> bool {
        match self.ipv4_max(skb, |conf| conf.arp_ignore) {
            1 => !self.inet_confirm_addr(Some(skb.dev), None, tip, 254),
            2 => !self.inet_confirm_addr(Some(skb.dev), sip, tip, 254),
            3 => !self.inet_confirm_addr(None, None, tip, RT_SCOPE_LINK),
            8 => true,
            _ => false,
        }
    }

    /// `inet_confirm_addr`: whether an interface, or any, has the address, of at most this scope, and with the sender in
    /// its subnet.
    fn inet_confirm_addr(
        &mut self,
        device: Option<IfIndex>,
        sip: Option<Field>,
        tip: Field,
        scope: u8,
    ) -> bool {
        let network = self.network;
        let here = |address: &&Address| {
            address.scope <= scope && device.is_none_or(|device| address.device == device)
        };
        for address in network.netns().addresses.known().iter().filter(here) {
            let ipnet::IpNet::V4(net) = address.address else { continue };
            let in_subnet = sip.is_none_or(|sip| self.frame.is(sip, net));
            if in_subnet && self.frame.is(tip, net.addr()) {
                return true;
            }
        }
        false
    }

    /// `arp_filter`: whether the way back to the sender is by another interface.
    fn arp_filter(&mut self, skb: &mut Skb, sip: Field, tip: Field) -> bool {
        let vrf = self.l3mdev_master(skb.dev);
        // ip_route_output_key_hash_rcu: by a VRF that is down there is no way out.
        if vrf.and_then(|vrf| self.link(vrf)).is_some_and(|vrf| !vrf.flags.has(LinkFlags::UP)) {
            return true;
        }
        let back = Flow { ipv6: false, daddr: sip, saddr: tip, iif: vrf, oif: None };
        match self.fib_lookup(skb, &back) {
            // To one of the host's own addresses the way is by `lo`, whatever device the route names.
            FibResult::Route(route) => {
                let here = route.nexthops.iter().any(|nexthop| nexthop.device == Some(skb.dev));
                route.kind == RTN_LOCAL || !here
            }
            _ => true,
        }
    }

    /// The end of `arp_process`: an entry of the sender is refreshed, or made where unsolicited ARP is accepted.
    fn arp_update(&mut self, mut skb: Skb, request: bool, sip: Field, tip: Field) {
        let network = self.network;
        let neighbours = network.netns().neighbours.known().iter();
        // neigh_update: what an administrator entered, or a group's address, is not changed by what is heard.
        let known: Vec<Ipv4Addr> = neighbours
            .filter(|entry| entry.device == skb.dev && entry.state & (NUD_NOARP | NUD_PERMANENT) == 0)
            .filter_map(|entry| match entry.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        let why = if self.frame.which(sip, &Addresses(&known)).is_some() {
            "known"
        } else if self.arp_accept(&mut skb, sip) && self.is_unsolicited(&skb, request, sip, tip) {
            "arp_accept"
        } else if self.comes_to_ask_by(skb.dev, false) {
            "of somebody whom the host may come to ask for"
        } else {
            return self.drop_skb(
                "arp_process",
                &skb,
                "nothing that concerns the host",
                format_args!("no entry, arp_accept"),
            );
        };
        self.step("arp_process", skb.dev, format_args!("neighbour entry"), format_args!("{why}"));
        self.host(&skb, EtherType::ARP, Effect::ArpUpdate);
    }

    /// Whether the host has come to look for somebody by a device, who then has an entry: it may where a route leads there.
    pub(super) fn comes_to_ask_by(&mut self, device: IfIndex, ipv6: bool) -> bool {
        let routes = self.network.netns().routes.known().iter();
        let unicast =
            |route: &&Route| route.destination.addr().is_ipv6() == ipv6 && route.kind == RTN_UNICAST;
        let mut ways = routes.filter(unicast).flat_map(|route| &route.nexthops);
        self.ever() && ways.any(|nexthop| nexthop.device == Some(device)) && self.frame.choose(2) == 1
    }

    /// `arp_accept`: whether unsolicited ARP may make an entry; 2 is for senders in a subnet of the interface's.
    fn arp_accept(&mut self, skb: &mut Skb, sip: Field) -> bool {
        match self.ipv4_max(skb, |conf| conf.arp_accept) {
            1 => true,
            2 => {
                let network = self.network;
                let here = network.netns().addresses.known().iter().filter(|a| a.device == skb.dev);
                let nets: Vec<ipnet::Ipv4Net> = here
                    .filter_map(|address| match address.address {
                        ipnet::IpNet::V4(net) => Some(net),
                        ipnet::IpNet::V6(_) => None,
                    })
                    .collect();
                nets.into_iter().any(|net| self.frame.is(sip, net))
            }
            _ => false,
        }
    }

    /// Gratuitous ARP (`arp_is_garp`), or any reply; from an address that could be another host's.
    fn is_unsolicited(&mut self, skb: &Skb, request: bool, sip: Field, tip: Field) -> bool {
        if request && !self.frame.same(sip, tip) {
            return false;
        }
        self.is_unicast_type(skb.dev, sip)
    }
}

/// The partition of addresses by a list.
struct Addresses<'a>(&'a [Ipv4Addr]);

impl Partition for Addresses<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.iter().position(|address| u128::from(u32::from(*address)) == value)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, address) in self.0.iter().enumerate() {
            each(class, (*address).into());
        }
    }
}
