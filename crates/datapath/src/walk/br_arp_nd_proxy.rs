//! `net/bridge/br_arp_nd_proxy.c`: ARP and neighbour discovery answered by the bridge in place of a guest.
//!
//! The frame itself goes on either way; but some ports are then passed over when it is flooded.

use std::net::IpAddr;

use portcullis_snapshot::{BoolOpt, EtherType, IfIndex, LinkFlags, MacAddr, Neighbour};

use super::br_input::Bridged;
use super::route::{LOOPBACK, MULTICAST};
use super::{HwTag, OpenKind, Skb, TagVid, Walker};
use crate::frame::{ArpField, Field, Frame, Icmp6Field, Ip6Field, Partition, Set};
use crate::network::{Bridge, FdbDst, Port, membership, unread};

const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
/// What a proxy may answer.
const PROXIED: [Set; 3] = [Set::of(EtherType::ARP), Set::of(EtherType::RARP), Set::of(EtherType::IPV6)];
/// `NUD_VALID`: permanent, noarp, reachable, probe, stale, delay.
const NUD_VALID: u16 = 0xde;

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// The proxies of `br_handle_frame_finish`: ARP always visits, neighbour discovery only where a port suppresses.
    pub(super) fn br_proxy(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let d = bridged.skb.depth;
        match self.frame.which(Field::Protocol(d), &PROXIED) {
            Some(0 | 1) => self.br_do_proxy_suppress_arp(bridged, bridge, port),
            Some(_) if suppresses_somewhere(bridge) => self.br_do_suppress_nd(bridged, bridge, port),
            _ => {}
        }
    }

    /// `br_do_proxy_suppress_arp`: whether the bridge answers an ARP request from its own neighbour table and FDB.
    fn br_do_proxy_suppress_arp(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let (d, vid) = (bridged.skb.depth, bridged.vid);
        let (sip, tip) = (Field::Arp(d, ArpField::SenderIp), Field::Arp(d, ArpField::TargetIp));
        if bridge.link.flags.has(LinkFlags::NOARP)
            || !self.frame.is(Field::Arp(d, ArpField::LengthsRight), 1u8)
            || self.frame.is_any(tip, &[LOOPBACK, MULTICAST])
        {
            return;
        }
        let suppresses = suppresses_somewhere(bridge);
        let proxies = |port: &Port<'_>| port.has(|o| o.proxy_arp) || port.has(|o| o.proxy_arp_wifi);
        if !suppresses && !bridge.ports.iter().any(proxies) {
            return;
        }
        let operation = Field::Arp(d, ArpField::Operation);
        if suppresses {
            if neigh_suppressed(port, vid)
                || (self.frame.is(operation, 1u16) && self.unicast_is_left_alone(bridge))
            {
                return;
            }
            let reverse = self.frame.is_any(operation, &[3u16, 4].map(Set::from));
            if !reverse && self.frame.is(sip, Set::Exactly(0)) {
                return self.probe_is_open(bridged, bridge);
            }
            if !reverse && self.frame.same(sip, tip) {
                return self.replied(bridged, "a gratuitous message is kept from suppressed ports");
            }
        }
        if !self.frame.is(operation, 1u16) {
            return;
        }
        let Some(device) = self.vlan_device(bridged, bridge) else { return };
        if suppresses && self.br_is_local_ip(&mut bridged.skb, device, tip) {
            return self.replied(bridged, "an address of the host's own");
        }
        let Some(mac) = self.neigh_lookup(&mut bridged.skb, device, tip) else { return };
        let Some(dst) = self.fdb_find_after_learning(bridged, bridge, mac) else { return };
        let behind = match dst {
            FdbDst::Port(to) => bridge.port(to),
            FdbDst::Local(_) => None,
        };
        let answers = port.has(|o| o.proxy_arp)
            || behind.is_some_and(|to| to.has(|o| o.proxy_arp_wifi) || neigh_suppressed(to, vid));
        if answers || suppresses {
            self.replied(bridged, if answers { "answered by the bridge" } else { "the address is known" });
        }
    }

    /// `br_do_suppress_nd`: the same for neighbour discovery.
    fn br_do_suppress_nd(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let (d, vid) = (bridged.skb.depth, bridged.vid);
        let (kind, code) = (Field::Icmp6(d, Icmp6Field::Type), Field::Icmp6(d, Icmp6Field::Code));
        // br_is_nd_neigh_msg: an IPv6 header, and a message with its target.
        let long_enough = self.frame.is(Field::Length(d), Set::Range(64, u128::MAX));
        if !long_enough
            || !self.frame.is(Field::Ip6(d, Ip6Field::NextHeader), 58u8)
            || !self.frame.is(code, 0u8)
            || neigh_suppressed(port, vid)
        {
            return;
        }
        match self.frame.which(kind, &[135u8, 136].map(Set::from)) {
            Some(0) if self.unicast_is_left_alone(bridge) => {}
            Some(0) => self.suppress_solicitation(bridged, bridge, d),
            Some(_) if !self.frame.is(Field::Icmp6(d, Icmp6Field::Solicited), 1u8) => {
                self.replied(bridged, "an unsolicited advertisement is kept from suppressed ports");
            }
            _ => {}
        }
    }

    /// Whether this is a request to one host only, and the kernel one that does not answer such in another's stead.
    ///
    /// It came with 6.15. The next thing that a kernel can be asked about came with 6.16: a boolean option.
    fn unicast_is_left_alone(&mut self, bridge: &Bridge<'s>) -> bool {
        let newer = bridge.knows(BoolOpt::MdbOffloadFailNotification);
        newer && !self.frame.is(Field::Dst, Set::MULTICAST)
    }

    fn suppress_solicitation(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, d: u8) {
        let (saddr, daddr) = (Field::Ip6(d, Ip6Field::Source), Field::Ip6(d, Ip6Field::Destination));
        if self.frame.is(saddr, Set::Exactly(0)) {
            return self.probe_is_open(bridged, bridge);
        }
        if self.frame.same(saddr, daddr) {
            return self.replied(bridged, "a gratuitous message is kept from suppressed ports");
        }
        let target = Field::Icmp6(d, Icmp6Field::Target);
        let Some(device) = self.vlan_device(bridged, bridge) else { return };
        if self.br_is_local_ip(&mut bridged.skb, device, target) {
            return self.replied(bridged, "an address of the host's own");
        }
        let Some(mac) = self.neigh_lookup(&mut bridged.skb, device, target) else { return };
        if self.fdb_find_after_learning(bridged, bridge, mac).is_some() {
            self.replied(bridged, "the address is known");
        }
    }

    /// Address probes (RFC 5227, and of duplicate address detection) were kept from suppressed ports at first, and are
    /// not any more: stable releases differ in that, and nothing tells them apart.
    fn probe_is_open(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>) {
        let what =
            format!("whether {} keeps address probes from ports with neigh_suppress", bridge.link.name);
        self.may_stop(&mut bridged.skb, "br_do_proxy_suppress_arp", OpenKind::Unmodelled(what));
    }

    /// `proxyarp_replied`: ports that suppress, or stand for such, are passed over from here on.
    fn replied(&mut self, bridged: &mut Bridged, why: &str) {
        bridged.proxyarp_replied = true;
        let device = bridged.skb.dev;
        self.step(
            "br_do_proxy_suppress_arp",
            device,
            format_args!("proxyarp_replied"),
            format_args!("{why}"),
        );
    }

    /// `__vlan_find_dev_deep_rcu`: whose neighbour table counts. Within a VLAN that of a VLAN device on the bridge.
    fn vlan_device(&mut self, bridged: &Bridged, bridge: &Bridge<'s>) -> Option<IfIndex> {
        if bridged.vid == 0 {
            return Some(bridge.link.index);
        }
        let tpid = bridged.skb.hwtag.map_or(EtherType::VLAN, |HwTag { tpid, .. }| tpid);
        let tag = HwTag { tpid, vid: TagVid::Fixed { vid: bridged.vid, over: None, priority: None } };
        self.vlan_find_dev(bridge.link.index, tag).map(|upper| upper.link.index)
    }

    /// `br_is_local_ip`, `br_is_local_ip6`: whether a device, or one on top of it, has the address.
    fn br_is_local_ip(&mut self, skb: &mut Skb, device: IfIndex, field: Field) -> bool {
        let network = self.network;
        let mut devices = vec![device];
        let mut at = 0;
        while let Some(&device) = devices.get(at) {
            at += 1;
            let uppers = network.uppers(device).into_iter();
            let here = uppers.flat_map(|uppers| {
                let macvlans = uppers.macvlans.iter().map(|(upper, _)| upper);
                uppers.vlans.values().chain(macvlans).chain(&uppers.ipvlans)
            });
            let above = here.filter(|upper| upper.netns.is_none()).map(|upper| upper.link.index);
            let master = network.link(device).and_then(|link| link.master);
            // A damaged snapshot can have devices on top of themselves.
            let new: Vec<_> = above.chain(master).filter(|above| !devices.contains(above)).collect();
            devices.extend(new);
        }
        let ipv6 = matches!(field, Field::Icmp6(..));
        if !ipv6 && self.frame.is(field, Set::Exactly(0)) {
            // inet_confirm_addr takes 0.0.0.0 for "any" and finds 0.0.0.0 where there is none: the two compare equal.
            return devices.iter().any(|device| !self.has_ipv4_address(*device));
        }
        let netns = network.netns();
        let addresses = netns.addresses.known().iter();
        let here = addresses.clone().filter(|address| devices.contains(&address.device));
        let own: Vec<Set> = here.filter_map(|address| set_of(address.address.addr(), ipv6)).collect();
        if own.into_iter().any(|own| self.frame.is(field, own)) {
            return true;
        }
        // ipv6_chk_addr was not strict here at first: any address of the same VRF would do, except those that mean
        // something on their own link or host only. Newer kernels are strict, and nothing tells them apart.
        let domains: Vec<_> = devices.iter().map(|device| self.l3mdev_master(*device)).collect();
        let elsewhere = addresses.filter(|address| {
            ipv6 && !matches!(address.scope, RT_SCOPE_LINK | RT_SCOPE_HOST)
                && domains.contains(&self.l3mdev_master(address.device))
        });
        let elsewhere: Vec<Set> =
            elsewhere.filter_map(|address| set_of(address.address.addr(), ipv6)).collect();
        if elsewhere.into_iter().any(|address| self.frame.is(field, address)) {
            let what = "whether an address of another interface counts as the bridge's own".to_owned();
            self.may_stop(skb, "br_is_local_ip6", OpenKind::Unmodelled(what));
        }
        false
    }

    /// `br_fdb_find_rcu`, once this very frame's source has been learned.
    fn fdb_find_after_learning(
        &mut self,
        bridged: &Bridged,
        bridge: &Bridge<'s>,
        mac: MacAddr,
    ) -> Option<FdbDst> {
        if self.just_learned(bridge, bridged.vid) && self.frame.is(Field::Src, mac) {
            return bridged.skb.port.map(FdbDst::Port);
        }
        bridge.fdb.find(mac, bridged.vid).map(|entry| entry.dst)
    }

    /// `neigh_lookup`: the hardware address that the host knows for the one asked for, if the entry is valid.
    fn neigh_lookup(&mut self, skb: &mut Skb, device: IfIndex, field: Field) -> Option<MacAddr> {
        if let Some(kind) = unread("neighbours", &self.network.netns().neighbours) {
            self.assume(skb, "neigh_lookup", kind);
        }
        let ipv6 = matches!(field, Field::Icmp6(..));
        let here = |neighbour: &&Neighbour| neighbour.device == device && neighbour.state & NUD_VALID != 0;
        let neighbours = self.network.netns().neighbours.known().iter().filter(here);
        let known: Vec<(Set, MacAddr)> =
            neighbours.filter_map(|n| Some((set_of(n.address, ipv6)?, n.mac?))).collect();
        let class = self.frame.which(field, &Targets(&known))?;
        known.get(class).map(|(_, mac)| *mac)
    }
}

fn set_of(address: IpAddr, ipv6: bool) -> Option<Set> {
    match address {
        IpAddr::V4(address) => (!ipv6).then(|| address.into()),
        IpAddr::V6(address) => ipv6.then(|| address.into()),
    }
}

/// `BROPT_NEIGH_SUPPRESS_ENABLED`.
fn suppresses_somewhere(bridge: &Bridge<'_>) -> bool {
    bridge.ports.iter().any(|port| port.has(|o| o.neigh_suppress) || port.has(|o| o.neigh_vlan_suppress))
}

/// `br_is_neigh_suppress_enabled`: by port, or by VLAN where the port says so.
pub(super) fn neigh_suppressed(port: &Port<'_>, vid: u16) -> bool {
    if vid != 0 && port.has(|options| options.neigh_vlan_suppress) {
        return membership(port.vlans, vid, false).and_then(|entry| entry.neigh_suppress) == Some(true);
    }
    port.has(|options| options.neigh_suppress)
}

/// The partition of target addresses by neighbour.
struct Targets<'a>(&'a [(Set, MacAddr)]);

impl Partition for Targets<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.iter().position(|(address, _)| address.contains(value))
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, (address, _)) in self.0.iter().enumerate() {
            each(class, *address);
        }
    }
}
