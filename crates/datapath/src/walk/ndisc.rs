//! `net/ipv6/icmp.c`, `net/ipv6/ndisc.c`: ICMPv6, neighbour discovery and router advertisements.

use std::net::IpAddr;

use portcullis_snapshot::{EtherType, Route};

use super::ip6_input::{LINK_LOCAL6, MULTICAST6};
use super::{Effect, Skb, Walker};
use crate::frame::{Field, Frame, Icmp6Field, Ip6Field, Set};

/// ff02::1:ff00:0/104.
const SOLICITED_NODE: Set = Set::Masked { value: 0xff02 << 112 | 0x0001_ff00_0000, mask: u128::MAX << 24 };

fn ipv6_set(address: IpAddr) -> Option<Set> {
    match address {
        IpAddr::V6(address) => Some(address.into()),
        IpAddr::V4(_) => None,
    }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `icmpv6_rcv`.
    pub(super) fn icmpv6_rcv(&mut self, skb: Skb) {
        let d = skb.depth;
        if !self.frame.is(Field::Icmp6(d, Icmp6Field::ChecksumRight), 1u8) {
            return self.drop_skb("icmpv6_rcv", &skb, "wrong checksum", format_args!("icmp6_cksum"));
        }
        let kinds = [133u8, 134, 135, 136, 137].map(Set::from);
        let Some(kind) = self.frame.which(Field::Icmp6(d, Icmp6Field::Type), &kinds) else {
            return self.deliver_transport(skb, EtherType::IPV6, Field::Ip6(d, Ip6Field::NextHeader));
        };
        // ndisc_rcv: nothing that crossed a router counts.
        let valid = self.frame.is(Field::Ip6(d, Ip6Field::HopLimit), 255u8)
            && self.frame.is(Field::Icmp6(d, Icmp6Field::Code), 0u8);
        if !valid {
            return self.drop_skb(
                "ndisc_rcv",
                &skb,
                "came from beyond the link",
                format_args!("hop limit below 255"),
            );
        }
        match kind {
            0 => {
                self.drop_skb("ndisc_recv_rs", &skb, "a router solicitation", format_args!("for user space"))
            }
            1 => self.ndisc_router_discovery(skb),
            2 => self.ndisc_recv_ns(skb),
            3 => self.ndisc_recv_na(skb),
            _ => self.ndisc_redirect_rcv(skb),
        }
    }

    /// `ndisc_recv_ns`: answered for addresses of this very interface, and for proxied ones.
    fn ndisc_recv_ns(&mut self, skb: Skb) {
        let d = skb.depth;
        let target = Field::Icmp6(d, Icmp6Field::Target);
        if self.frame.is(target, MULTICAST6) {
            return self.drop_skb(
                "ndisc_recv_ns",
                &skb,
                "asks for a multicast address",
                format_args!("target"),
            );
        }
        let (saddr, daddr) = (Field::Ip6(d, Ip6Field::Source), Field::Ip6(d, Ip6Field::Destination));
        let probe = self.frame.is(saddr, Set::Exactly(0));
        if probe && !self.frame.is(daddr, SOLICITED_NODE) {
            let why = format_args!("RFC 4861, 7.1.1");
            return self.drop_skb("ndisc_recv_ns", &skb, "an address probe to no solicited-node group", why);
        }
        let options = self.frame.which(Field::Icmp6(d, Icmp6Field::Options), &[0u8, 1].map(Set::from));
        if options.is_none() || (probe && options == Some(1)) {
            let why = format_args!("RFC 4861, 7.1.1");
            return self.drop_skb("ndisc_recv_ns", &skb, "options that may not be", why);
        }
        if !self.answers_for(&skb, target) {
            return self.drop_skb(
                "ndisc_recv_ns",
                &skb,
                "not an address of this interface",
                format_args!("target"),
            );
        }
        // __neigh_lookup: nobody to answer, if a multicast solicitation does not say who asks.
        let asks_all = self.frame.is(daddr, MULTICAST6);
        if !probe && asks_all && options == Some(0) && !self.is_neighbour(&skb, saddr) {
            return self.drop_skb(
                "ndisc_recv_ns",
                &skb,
                "the sender is not known",
                format_args!("no option"),
            );
        }
        self.step("ndisc_recv_ns", skb.dev, format_args!("advertisement"), format_args!("target"));
        self.host(&skb, EtherType::IPV6, Effect::NeighbourAdvertisement);
    }

    /// Whether the host answers for a target on this interface: an address of it, or of its VRF, an anycast address, or
    /// where it forwards and `proxy_ndp` is on a proxied one.
    fn answers_for(&mut self, skb: &Skb, target: Field) -> bool {
        const NTF_PROXY: u8 = 8;
        const RTN_ANYCAST: u8 = 4;
        let network = self.network;
        let netns = network.netns();
        let master = self.l3mdev_master(skb.dev);
        let here = |device| device == skb.dev || Some(device) == master;
        let own =
            netns.addresses.known().iter().filter(|address| here(address.device)).map(|a| a.address.addr());
        let on_device = |route: &&Route| route.nexthops.iter().any(|nexthop| nexthop.device == Some(skb.dev));
        let anycast = netns.routes.known().iter().filter(|route| route.kind == RTN_ANYCAST).filter(on_device);
        let anycast = anycast.map(|route| route.destination.addr());
        let all = netns.ipv6.read().and_then(|settings| settings.all.proxy_ndp).unwrap_or(0);
        let proxies = self.ipv6_conf(skb.dev, |conf| conf.forwarding) != 0
            && (all != 0 || self.ipv6_conf(skb.dev, |conf| conf.proxy_ndp) != 0);
        let proxied = netns
            .neighbours
            .known()
            .iter()
            .filter(|entry| proxies && entry.flags & NTF_PROXY != 0 && entry.device == skb.dev);
        let answered = own.chain(anycast).chain(proxied.map(|entry| entry.address));
        let answered: Vec<Set> = answered.filter_map(ipv6_set).collect();
        answered.into_iter().any(|address| self.frame.is(target, address))
    }

    /// Whether there is a neighbour entry for an address.
    fn is_neighbour(&mut self, skb: &Skb, address: Field) -> bool {
        let network = self.network;
        let known = network.netns().neighbours.known().iter().filter(|entry| entry.device == skb.dev);
        let known: Vec<Set> = known.filter_map(|entry| ipv6_set(entry.address)).collect();
        known.into_iter().any(|known| self.frame.is(address, known))
    }

    /// `ndisc_recv_na`: an entry that exists is refreshed; those of groups are nobody's to refresh.
    fn ndisc_recv_na(&mut self, skb: Skb) {
        let (function, target) = ("ndisc_recv_na", Field::Icmp6(skb.depth, Icmp6Field::Target));
        if self.frame.is(target, MULTICAST6) {
            return self.drop_skb(function, &skb, "about a multicast address", format_args!("target"));
        }
        self.ndisc_update(skb, function, target);
    }

    /// An entry that exists is refreshed; where the host may ask, one may be there by then.
    fn ndisc_update(&mut self, skb: Skb, function: &'static str, target: Field) {
        if self.is_neighbour(&skb, target) || self.comes_to_ask_by(skb.dev, true) {
            self.step(function, skb.dev, format_args!("neighbour entry"), format_args!("known"));
            return self.host(&skb, EtherType::IPV6, Effect::NeighbourUpdate);
        }
        self.drop_skb(function, &skb, "about a neighbour that is not known", format_args!("no entry"));
    }

    /// `ndisc_redirect_rcv`.
    fn ndisc_redirect_rcv(&mut self, skb: Skb) {
        if self.ipv6_conf(skb.dev, |conf| conf.accept_redirects) == 0 {
            return self.drop_skb(
                "ndisc_redirect_rcv",
                &skb,
                "redirects are not believed",
                format_args!("accept_redirects 0"),
            );
        }
        self.host(&skb, EtherType::IPV6, Effect::NeighbourUpdate);
    }

    /// `ndisc_router_discovery`, `ipv6_accept_ra`: whether the host lets a router configure it.
    fn ndisc_router_discovery(&mut self, skb: Skb) {
        let function = "ndisc_router_discovery";
        if !self.frame.is(Field::Ip6(skb.depth, Ip6Field::Source), LINK_LOCAL6) {
            return self.drop_skb(
                function,
                &skb,
                "the source is not link-local",
                format_args!("RFC 4861, 6.1.2"),
            );
        }
        let accept_ra = self.ipv6_conf(skb.dev, |conf| conf.accept_ra);
        let forwarding = self.ipv6_conf(skb.dev, |conf| conf.forwarding);
        let accepts = if forwarding != 0 { accept_ra == 2 } else { accept_ra != 0 };
        if !accepts {
            let why = format_args!("accept_ra {accept_ra}, forwarding {forwarding}");
            return self.drop_skb(function, &skb, "router advertisements are not believed", why);
        }
        let takes_something = self.ipv6_conf(skb.dev, |conf| conf.accept_ra_defrtr) != 0
            || self.ipv6_conf(skb.dev, |conf| conf.accept_ra_pinfo) != 0;
        if !takes_something {
            let why = format_args!("accept_ra_defrtr 0, accept_ra_pinfo 0");
            return self.drop_skb(function, &skb, "nothing is taken from advertisements", why);
        }
        self.step(function, skb.dev, format_args!("believed"), format_args!("accept_ra {accept_ra}"));
        self.host(&skb, EtherType::IPV6, Effect::RouterAdvertisement);
    }
}
