//! `net/ipv6/icmp.c`, `net/ipv6/ndisc.c`: ICMPv6, neighbour discovery and router advertisements.

use std::net::IpAddr;

use portcullis_snapshot::{Address, EtherType};

use super::ip6_input::{LINK_LOCAL6, MULTICAST6};
use super::{Effect, Skb, Walker};
use crate::frame::{Field, Frame, Icmp6Field, Ip6Field, Set};

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
            3 => self.ndisc_update(skb, "ndisc_recv_na", Field::Icmp6(d, Icmp6Field::Target)),
            _ => self.ndisc_redirect_rcv(skb),
        }
    }

    /// `ndisc_recv_ns`: answered for addresses of this very interface, and for proxied ones.
    fn ndisc_recv_ns(&mut self, skb: Skb) {
        const NTF_PROXY: u8 = 8;
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
        let network = self.network;
        let of_device = |address: &&Address| address.device == skb.dev;
        let addresses = network.netns().addresses.known().iter().filter(of_device).map(|a| a.address.addr());
        let proxied = network.netns().neighbours.known().iter();
        let proxied = proxied.filter(|entry| entry.flags & NTF_PROXY != 0 && entry.device == skb.dev);
        let answered: Vec<Set> = addresses
            .chain(proxied.map(|entry| entry.address))
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(address.into()),
                IpAddr::V4(_) => None,
            })
            .collect();
        if self.frame.is_any(target, &answered) {
            self.step(
                "ndisc_recv_ns",
                skb.dev,
                format_args!("advertisement"),
                format_args!("an address of the interface"),
            );
            return self.host(&skb, EtherType::IPV6, Effect::NeighbourAdvertisement);
        }
        self.drop_skb("ndisc_recv_ns", &skb, "not an address of this interface", format_args!("target"));
    }

    /// `ndisc_recv_na`: an entry that exists is refreshed.
    fn ndisc_update(&mut self, skb: Skb, function: &'static str, target: Field) {
        let network = self.network;
        let known = network.netns().neighbours.known().iter().filter(|entry| entry.device == skb.dev);
        let known: Vec<Set> = known
            .filter_map(|entry| match entry.address {
                IpAddr::V6(address) => Some(address.into()),
                IpAddr::V4(_) => None,
            })
            .collect();
        if self.frame.is_any(target, &known) {
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
