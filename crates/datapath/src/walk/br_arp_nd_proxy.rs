//! `net/bridge/br_arp_nd_proxy.c`: ARP and neighbour discovery answered by the bridge in place of a guest.
//!
//! The frame itself goes on either way; but some ports are then passed over when it is flooded.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_snapshot::{EtherType, MacAddr, Neighbour};

use super::br_input::Bridged;
use super::{OpenKind, Walker};
use crate::frame::{ArpField, Field, Frame, Ip6Field, Partition, Set};
use crate::network::{Bridge, FdbDst, Port, membership};

/// `NUD_VALID`: permanent, noarp, reachable, probe, stale, delay.
const NUD_VALID: u16 = 0xde;

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// The proxies of `br_handle_frame_finish`: ARP always visits, neighbour discovery only where a port suppresses.
    pub(super) fn br_proxy(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let d = bridged.skb.depth;
        let protocols: [Set; 3] = [EtherType::ARP, EtherType::RARP, EtherType::IPV6].map(Set::from);
        match self.frame.which(Field::Protocol(d), &protocols) {
            Some(0 | 1) => self.br_do_proxy_suppress_arp(bridged, bridge, port),
            Some(_) if self.suppresses_somewhere(bridge, bridged.vid) => {
                self.br_do_suppress_nd(bridged, bridge)
            }
            _ => {}
        }
    }

    /// `br_do_suppress_nd`: the same for neighbour discovery; whether it answers is not modelled.
    fn br_do_suppress_nd(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>) {
        if self.frame.is(Field::Ip6(bridged.skb.depth, Ip6Field::NextHeader), 58u8) {
            let what = format!("whether {} answers neighbour discovery for a guest", bridge.link.name);
            self.assume(&mut bridged.skb, "br_do_suppress_nd", OpenKind::Unmodelled(what));
        }
    }

    fn suppresses_somewhere(&self, bridge: &Bridge<'s>, vid: u16) -> bool {
        bridge.ports.iter().any(|port| Self::neigh_suppressed(port, vid))
    }

    /// `br_do_proxy_suppress_arp`: whether the bridge answers an ARP request from its own neighbour table and FDB.
    fn br_do_proxy_suppress_arp(&mut self, bridged: &mut Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let (d, vid) = (bridged.skb.depth, bridged.vid);
        let wanted = |port: &Port<'_>| {
            port.has(|o| o.proxy_arp) || port.has(|o| o.proxy_arp_wifi) || Self::neigh_suppressed(port, vid)
        };
        if !bridge.ports.iter().any(wanted) {
            return;
        }
        let request = self.frame.is(Field::Arp(d, ArpField::WellFormed), 1u8)
            && self.frame.is(Field::Arp(d, ArpField::Operation), 1u16);
        if !request {
            return;
        }
        let Some((target, mac)) = self.neighbour_of_target(bridge, d) else { return };
        let Some(entry) = bridge.fdb.find(mac, vid) else { return };
        let behind = match entry.dst {
            FdbDst::Port(to) => bridge.port(to),
            FdbDst::Local(_) => None,
        };
        let replies = port.has(|o| o.proxy_arp)
            || behind.is_some_and(|to| to.has(|o| o.proxy_arp_wifi) || Self::neigh_suppressed(to, vid));
        if replies {
            let why = format_args!("{target} is at {mac} in the host's neighbour table");
            self.step(
                "br_do_proxy_suppress_arp",
                bridged.skb.dev,
                format_args!("answered by the bridge"),
                why,
            );
            bridged.proxyarp_replied = true;
        }
    }

    /// The neighbour entry of the address that an ARP request asks for.
    fn neighbour_of_target(&mut self, bridge: &Bridge<'s>, depth: u8) -> Option<(Ipv4Addr, MacAddr)> {
        let here = |neighbour: &&Neighbour| {
            neighbour.device == bridge.link.index && neighbour.state & NUD_VALID != 0
        };
        let known: Vec<(Ipv4Addr, MacAddr)> = self
            .network
            .netns()
            .neighbours
            .known()
            .iter()
            .filter(here)
            .filter_map(|neighbour| match neighbour.address {
                IpAddr::V4(address) => Some((address, neighbour.mac?)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let class = self.frame.which(Field::Arp(depth, ArpField::TargetIp), &Targets(&known))?;
        known.get(class).copied()
    }

    /// `br_is_neigh_suppress_enabled`: by port, or by VLAN where the port says so.
    pub(super) fn neigh_suppressed(port: &Port<'_>, vid: u16) -> bool {
        if vid != 0 && port.has(|options| options.neigh_vlan_suppress) {
            return membership(port.vlans, vid, false).and_then(|entry| entry.neigh_suppress) == Some(true);
        }
        port.has(|options| options.neigh_suppress)
    }
}

/// The partition of target addresses by neighbour.
struct Targets<'a>(&'a [(Ipv4Addr, MacAddr)]);

impl Partition for Targets<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.iter().position(|(address, _)| u128::from(u32::from(*address)) == value)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, (address, _)) in self.0.iter().enumerate() {
            each(class, (*address).into());
        }
    }
}
