//! Whether the kernel did what a claim says that it does not, by what was heard.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use portcullis_datapath::Concrete;
use portcullis_datapath::frame::{ArpField, Field, Icmp6Field, Ip4Field, Ip6Field};
use portcullis_kernel::counters::Counters;
use portcullis_prove::{Goal, HostProtocol, Receiver, in_the_name_of};
use portcullis_snapshot::{EtherType, FdbEntry, FdbKind, IfIndex, MacAddr, Neighbour, Netns};

use crate::evidence::{LOOPBACK, Marks, is_answer, is_arp_reply};
use crate::facts::{Facts, below, inner, source};
use crate::generate::EXPERIMENT;
use crate::names;
use crate::stand::Heard;

/// How sure the evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arrived {
    /// Nothing of it was seen.
    No,
    /// Nothing would show it.
    Untold,
    /// What was seen would be so, but could have been so before.
    Perhaps,
    /// It was seen.
    Yes,
}

/// What is read before and after something is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) counters: Counters,
    pub(crate) neighbours: Vec<Neighbour>,
    pub(crate) fdb: Vec<FdbEntry>,
}

/// Something that was sent, and what came of it.
pub(crate) struct Seen {
    pub(crate) before: Tables,
    pub(crate) after: Tables,
    pub(crate) heard: Heard,
}

impl Seen {
    fn counted(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.after.counters.since(&self.before.counters, name) > 0)
    }

    /// Whether the stack took something in that nobody there knows the IP protocol of: it got there all the same.
    fn unknown(&self) -> bool {
        self.counted(&["Ip.InUnknownProtos", "Ip6InUnknownProtos"])
    }

    fn routed(&self) -> bool {
        self.counted(&["Ip.ForwDatagrams", "Ip6OutForwDatagrams"])
    }
}

/// A claim, with what is needed to know whether something arrived.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) port: IfIndex,
    pub(crate) goal: Goal,
}

const INTO_IPV4: [&str; 1] = ["Ip.InDelivers"];
const INTO_IPV6: [&str; 1] = ["Ip6InDelivers"];

impl Question<'_> {
    /// Whether one frame arrived.
    pub(crate) fn one(&self, frame: &[u8], facts: &Facts, seen: &Seen) -> Arrived {
        match self.goal {
            Goal::Host(protocol) => host(protocol, frame, facts, seen),
            Goal::Infrastructure => self.infrastructure(frame, facts, seen),
            Goal::Port(to) => self.at_wire(to, facts, |_| true),
            Goal::Sniff { .. } => self.at_wire(self.port, facts, |_| true),
            Goal::Spoof { of } => self.took_over(of, source(frame), &seen.after),
            Goal::SpoofIp { address, to } => {
                let named = in_the_name_of(address);
                let is_named = |bytes: &[u8]| {
                    Concrete::new(bytes).is_some_and(|frame| named.iter().any(|given| given.holds(&frame)))
                };
                if !is_named(frame) {
                    return Arrived::No;
                }
                match to {
                    // On the way it may have been given another name.
                    Receiver::Port(to) => self.at_wire(to, facts, is_named),
                    Receiver::Host if seen.routed() => Arrived::Yes,
                    Receiver::Host => {
                        let protocols = [HostProtocol::Arp, HostProtocol::Ipv4, HostProtocol::Ipv6];
                        let of = protocols.map(|protocol| host(protocol, frame, facts, seen));
                        of.into_iter().max().unwrap_or(Arrived::No)
                    }
                }
            }
        }
    }

    /// Whether it left by a port, and is what was wanted.
    fn at_wire(&self, port: IfIndex, facts: &Facts, wanted: impl Fn(&[u8]) -> bool) -> Arrived {
        let Some(wire) = names::name(port).and_then(names::wire) else { return Arrived::Untold };
        if facts.copies.iter().any(|(at, bytes)| *at == wire && wanted(bytes)) {
            return Arrived::Yes;
        }
        if self.is_cut_off(port) { Arrived::Untold } else { Arrived::No }
    }

    /// Whether what is below a port, a bond's slaves or a lower device, has no carrier, so that nothing of what leaves by the
    /// port is heard. A port that has none itself is out of use.
    fn is_cut_off(&self, port: IfIndex) -> bool {
        let links = self.netns.links.known();
        let lower = links.iter().find(|link| link.index == port).filter(|link| link.link_netns.is_none());
        let lower = lower.and_then(|link| link.link);
        let mut below = links.iter().filter(|link| link.master == Some(port) || Some(link.index) == lower);
        let first = below.next();
        first.into_iter().chain(below).all(|link| link.carrier == Some(false)) && first.is_some()
    }

    /// The host, by way of an address that it has on another interface; or what it routes on.
    fn infrastructure(&self, frame: &[u8], facts: &Facts, seen: &Seen) -> Arrived {
        if seen.routed() {
            return Arrived::Yes;
        }
        let Some(address) = meant(frame) else { return Arrived::No };
        let holders: Vec<_> = self.holders(address).collect();
        let elsewhere = |device: IfIndex| !holders.is_empty() && !holders.contains(&device);
        let mut delivered = facts.delivered.iter().map(|(device, ..)| *device);
        let answered: Vec<_> = facts.arp_replies.iter().chain(&facts.advertisements).copied().collect();
        if delivered.any(elsewhere) || self.not_below(&answered, &holders) {
            return Arrived::Yes;
        }
        let [bridge, port] = [names::index(names::BRIDGE), self.port];
        if seen.unknown()
            && !holders.is_empty()
            && !holders.iter().any(|holder| [bridge, port].contains(holder))
        {
            return Arrived::Yes;
        }
        let tcp = facts.tcp && !holders.is_empty();
        // What a device above another answers leaves by that one too, which may have answered itself.
        let below = |device: &IfIndex| {
            holders
                .iter()
                .any(|holder| self.netns.link(*holder).is_some_and(|link| link.link == Some(*device)))
        };
        match tcp {
            true => Arrived::Perhaps,
            false if is_cut_icmp(frame) || answered.iter().any(below) => Arrived::Untold,
            false => Arrived::No,
        }
    }

    /// Whether an answer left by a device that is none of those that have the address, nor below one: what leaves by a
    /// bridge leaves by its ports, too.
    fn not_below(&self, answered: &[IfIndex], holders: &[IfIndex]) -> bool {
        let by = answered.iter().filter(|device| holders.contains(device));
        let explained: Vec<_> = by.flat_map(|device| below(self.netns, *device)).collect();
        !holders.is_empty() && answered.iter().any(|device| !explained.contains(device))
    }

    fn holders(&self, address: IpAddr) -> impl Iterator<Item = IfIndex> {
        let addresses = self.netns.addresses.known().iter();
        addresses.filter(move |one| one.address.addr() == address).map(|one| one.device)
    }

    /// Whether anything of many frames may have been taken in for an address of another interface.
    fn elsewhere(&self, frames: &[Vec<u8>], heard: &Heard) -> bool {
        let elsewhere = |device: IfIndex, address: IpAddr| {
            let mut holders = self.holders(address).peekable();
            holders.peek().is_some() && holders.all(|holder| holder != device)
        };
        let ipv6: HashSet<_> =
            frames.iter().filter_map(|frame| meant(frame)).filter(IpAddr::is_ipv6).collect();
        let delivered = heard.delivered.iter().filter(|(.., packet)| packet.device != LOOPBACK);
        let mut delivered = delivered.map(|(ethertype, _, packet)| match *ethertype {
            EtherType::IPV4 => ipv4_at(&packet.bytes, 16).is_some_and(|to| elsewhere(packet.device, to)),
            _ => ipv6.iter().any(|to| elsewhere(packet.device, *to)),
        });
        let answers = heard.host.iter().filter(|captured| is_answer(captured));
        let mut by: BTreeMap<IpAddr, Vec<IfIndex>> = BTreeMap::new();
        for (address, device) in answers.filter_map(|one| Some((answered(&one.bytes)?, one.device))) {
            by.entry(address).or_default().push(device);
        }
        let mut by =
            by.iter().map(|(address, devices)| (self.holders(*address).collect::<Vec<_>>(), devices));
        delivered.any(|one| one) || by.any(|(holders, devices)| self.not_below(devices, &holders))
    }

    /// Whether an address that was behind the other port is behind this one.
    fn took_over(&self, of: IfIndex, address: MacAddr, after: &Tables) -> Arrived {
        let at = |port: IfIndex| {
            move |entry: &&FdbEntry| {
                let is_there = entry.device == port && entry.bridge.is_some() && entry.address == address;
                is_there && !entry.is_locked() && entry.kind() != FdbKind::Local
            }
        };
        let before = self.netns.fdb.known();
        if !before.iter().any(|entry| at(of)(&entry)) {
            return Arrived::No;
        }
        // Of an address that was at both, in one VLAN here and in another there, an entry here says nothing.
        let is_new =
            |entry: &FdbEntry| !before.iter().filter(at(self.port)).any(|known| known.vlan == entry.vlan);
        let mut here = after.fdb.iter().filter(at(self.port)).peekable();
        match (here.peek().is_some(), here.any(is_new)) {
            (_, true) => Arrived::Yes,
            (true, false) => Arrived::Perhaps,
            (false, false) => Arrived::No,
        }
    }

    /// Whether one of many frames may have arrived: each is then looked at on its own.
    pub(crate) fn many(&self, frames: &[Vec<u8>], marks: &Marks, seen: &Seen) -> bool {
        match self.goal {
            Goal::Host(HostProtocol::Arp) => {
                let senders: HashSet<_> = frames.iter().filter_map(|frame| arp_sender(frame)).collect();
                let new = new_neighbours(seen).any(|(_, mac)| senders.contains(&mac));
                new || seen.heard.host.iter().any(is_arp_reply)
            }
            Goal::Host(HostProtocol::Ipv4) => seen.counted(&INTO_IPV4),
            Goal::Host(HostProtocol::Ipv6) => seen.counted(&INTO_IPV6),
            Goal::Host(HostProtocol::Other) => {
                seen.heard.handlers.iter().any(|(protocol, _)| is_other(*protocol))
            }
            Goal::Infrastructure => seen.routed() || self.elsewhere(frames, &seen.heard),
            Goal::Port(to) => copy_at(to, marks, seen),
            Goal::Sniff { .. } => copy_at(self.port, marks, seen),
            Goal::Spoof { of } => {
                frames.iter().any(|frame| self.took_over(of, source(frame), &seen.after) == Arrived::Yes)
            }
            Goal::SpoofIp { to: Receiver::Port(to), .. } => copy_at(to, marks, seen),
            // Each is looked at on its own.
            Goal::SpoofIp { to: Receiver::Host, .. } => true,
        }
    }
}

/// Whether it is ICMP whose header is not whole, of which raw sockets get nothing (`icmp_filter`, net/ipv4/raw.c).
fn is_cut_icmp(frame: &[u8]) -> bool {
    const WHOLE: u128 = 8;
    let Some(((depth, EtherType::IPV4), frame)) = inner(frame).zip(Concrete::new(frame)) else {
        return false;
    };
    let value = |field| frame.value(Field::Ip4(depth, field));
    let header = 4 * (value(Ip4Field::VersionAndLength) & 15);
    value(Ip4Field::Protocol) == 1 && value(Ip4Field::TotalLength) < header + WHOLE
}

/// An IPv4 address in a packet or message, from a byte on.
fn ipv4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets = bytes.get(at..)?.first_chunk::<4>()?;
    Some(IpAddr::from(*octets))
}

fn host(protocol: HostProtocol, frame: &[u8], facts: &Facts, seen: &Seen) -> Arrived {
    let of = |wanted: EtherType| facts.delivered.iter().any(|(_, ethertype, _)| *ethertype == wanted);
    let tcp = |wanted: EtherType| facts.tcp && inner(frame).is_some_and(|(_, protocol)| protocol == wanted);
    let yes = match protocol {
        HostProtocol::Arp => {
            let sender = arp_sender(frame);
            if !facts.arp_replies.is_empty() || new_neighbours(seen).any(|(_, mac)| Some(mac) == sender) {
                true
            } else {
                let known =
                    seen.after.neighbours.iter().any(|entry| Some(entry.address) == arp_sender_ip(frame));
                return if known { Arrived::Perhaps } else { Arrived::No };
            }
        }
        HostProtocol::Ipv4 => {
            of(EtherType::IPV4)
                || tcp(EtherType::IPV4)
                || seen.counted(&INTO_IPV4)
                || seen.counted(&["Ip.InUnknownProtos"])
        }
        HostProtocol::Ipv6 => {
            let told = !facts.advertisements.is_empty() || facts.prefix == Some(true);
            let taken = seen.counted(&INTO_IPV6) || seen.counted(&["Ip6InUnknownProtos"]);
            told || of(EtherType::IPV6) || tcp(EtherType::IPV6) || taken
        }
        HostProtocol::Other => facts.handled.iter().any(|(_, protocol, _)| is_other(*protocol)),
    };
    if yes { Arrived::Yes } else { Arrived::No }
}

/// Whether a protocol is one of which the harness hears where the kernel has a handler of its own for it.
fn is_other(protocol: EtherType) -> bool {
    // Nobody but the harness listens for experiments.
    HostProtocol::of(protocol) == HostProtocol::Other && protocol != EXPERIMENT
}

fn copy_at(port: IfIndex, marks: &Marks, seen: &Seen) -> bool {
    let Some(wire) = names::name(port).and_then(names::wire) else { return false };
    let at = seen.heard.guests.iter().filter(|(name, _)| names::wire(name) == Some(wire));
    at.into_iter().any(|(_, bytes)| marks.has_copy(bytes))
}

/// Entries of IPv4 that were not there, or had another hardware address.
fn new_neighbours(seen: &Seen) -> impl Iterator<Item = (IfIndex, MacAddr)> {
    let key = |entry: &Neighbour| Some((entry.device, entry.address, entry.mac?));
    let before: HashSet<_> = seen.before.neighbours.iter().filter_map(key).collect();
    let after = seen.after.neighbours.iter().filter(|entry| entry.address.is_ipv4()).filter_map(key);
    after.filter(move |entry| !before.contains(entry)).map(|(device, _, mac)| (device, mac))
}

fn arp(frame: &[u8], field: ArpField) -> Option<u128> {
    let (depth, EtherType::ARP) = inner(frame)? else { return None };
    Some(Concrete::new(frame)?.value(Field::Arp(depth, field)))
}

fn arp_sender(frame: &[u8]) -> Option<MacAddr> {
    arp(frame, ArpField::SenderMac).map(|value| MacAddr::from_u64(value as u64))
}

fn arp_sender_ip(frame: &[u8]) -> Option<IpAddr> {
    arp(frame, ArpField::SenderIp).map(|value| IpAddr::V4((value as u32).into()))
}

/// The address that an answer of the host's speaks for.
fn answered(frame: &[u8]) -> Option<IpAddr> {
    let (depth, protocol) = inner(frame)?;
    let target = Field::Icmp6(depth, Icmp6Field::Target);
    match protocol {
        EtherType::ARP => arp_sender_ip(frame),
        _ => Some(IpAddr::V6(Concrete::new(frame)?.value(target).into())),
    }
}

/// The address that a packet is for, or that a message asks for.
fn meant(frame: &[u8]) -> Option<IpAddr> {
    let (depth, protocol) = inner(frame)?;
    let frame = Concrete::new(frame)?;
    let ipv4 = |field| Some(IpAddr::V4((frame.value(field) as u32).into()));
    let ipv6 = |field| Some(IpAddr::V6(frame.value(field).into()));
    match protocol {
        EtherType::ARP => ipv4(Field::Arp(depth, ArpField::TargetIp)),
        EtherType::IPV4 => ipv4(Field::Ip4(depth, Ip4Field::Destination)),
        EtherType::IPV6 => {
            let solicits = frame.value(Field::Ip6(depth, Ip6Field::NextHeader)) == 58
                && frame.value(Field::Icmp6(depth, Icmp6Field::Type)) == 135;
            ipv6(if solicits {
                Field::Icmp6(depth, Icmp6Field::Target)
            } else {
                Field::Ip6(depth, Ip6Field::Destination)
            })
        }
        _ => None,
    }
}
