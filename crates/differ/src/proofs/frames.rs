//! What is sent where nothing is said to get through: the battery of `docs/kernel-path.md` 2.4, and mutants of frames that
//! get through where something is configured a little otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use portcullis_datapath::frame::{ArpOperation, Field, Icmp6Field, Ip4Field, Ip6Field};
use portcullis_datapath::{Concrete, FrameBuilder, Payload};
use portcullis_snapshot::{EtherType, MacAddr, Netns};

use crate::facts::inner;
use crate::generate::{EXPERIMENT, VLANS, guest_ip4, guest_ip6, guest_mac};
use crate::names::MOST_PORTS;

/// What frames are aimed with.
#[derive(Debug)]
pub(crate) struct Targets {
    macs: Vec<MacAddr>,
    ip4: Vec<Ipv4Addr>,
    ip6: Vec<Ipv6Addr>,
}

impl Targets {
    /// Everything of a host that can be meant.
    pub(crate) fn of(netns: &Netns) -> Self {
        let links = netns.links.known().iter().filter_map(|link| link.address);
        let mut macs: Vec<_> = links.filter(|mac| *mac != MacAddr::ZERO).collect();
        macs.extend(netns.fdb.known().iter().map(|entry| entry.address));
        macs.extend((0..MOST_PORTS).map(guest_mac));
        macs.extend((0..16).map(MacAddr::link_local));
        macs.extend([
            MacAddr::BROADCAST,
            MacAddr([0x01, 0, 0x5e, 0, 0, 1]),
            MacAddr([0x01, 0, 0x5e, 0x7f, 1, 1]),
            MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            MacAddr([0x02, 0, 0, 0, 0x30, 9]),
        ]);
        macs.sort_unstable();
        macs.dedup();
        let (mut ip4, mut ip6) = (Vec::new(), Vec::new());
        for address in netns.addresses.known() {
            match address.address.addr() {
                IpAddr::V4(address) => ip4.push(address),
                IpAddr::V6(address) => ip6.push(address),
            }
        }
        ip4.extend([Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1), guest_ip4(1)]);
        ip6.extend([Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), guest_ip6(1)]);
        Self { macs, ip4, ip6 }
    }
}

/// The sets of tags of the battery.
const TAG_SETS: [&[(EtherType, u16)]; 5] = [
    &[],
    &[(EtherType::VLAN, 0)],
    &[(EtherType::VLAN, 0); 2],
    &[(EtherType::SVLAN, 0)],
    &[(EtherType::VLAN, 1)],
];

/// Every interesting destination, with each set of tags, carrying each of a few things.
pub(crate) fn battery(targets: &Targets, src: MacAddr) -> Vec<Vec<u8>> {
    let payloads = payloads(targets, src);
    let heads = targets.macs.iter().flat_map(|dst| TAG_SETS.map(|tags| (*dst, tags)));
    heads
        .flat_map(|(dst, tags)| {
            let head =
                tags.iter().fold(FrameBuilder::new(dst, src), |head, (tpid, vid)| head.tag(*tpid, *vid));
            payloads.iter().map(move |payload| head.payload(payload))
        })
        .collect()
}

fn payloads(targets: &Targets, src: MacAddr) -> Vec<Payload> {
    let from = guest_ip4(0);
    let operation = ArpOperation::Request;
    let mut all = vec![Payload::Raw { ethertype: EXPERIMENT, data: b"portcullis".to_vec() }];
    for to in targets.ip4.iter().take(2).copied() {
        all.extend([
            Payload::Arp { operation, sender_mac: src, sender_ip: from, target_ip: to },
            Payload::Arp { operation, sender_mac: src, sender_ip: Ipv4Addr::UNSPECIFIED, target_ip: to },
            Payload::Ping4 { from, to },
        ]);
    }
    let (any, everybody) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    all.push(Payload::Udp4 { from: any, to: everybody, ports: (68, 67), data: b"portcullis".to_vec() });
    let from = guest_ip6(0);
    for to in targets.ip6.iter().take(2).copied() {
        all.extend([Payload::Ping6 { from, to }, Payload::NeighbourSolicitation { from, to, target: to }]);
    }
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    all.push(Payload::Ping6 { from, to: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) });
    all
}

/// Makes mutants of a frame: another address here, a tag there, another protocol.
pub(crate) fn mutants(rng: &mut Rng, targets: &Targets, frame: &[u8], count: usize) -> Vec<Vec<u8>> {
    let one = |rng: &mut Rng| {
        let mut bytes = frame.to_vec();
        for _ in 0..rng.u32(1..=3) {
            mutate(rng, targets, &mut bytes);
        }
        bytes
    };
    std::iter::once(frame.to_vec()).chain((1..count).map(|_| one(rng))).collect()
}

fn mutate(rng: &mut Rng, targets: &Targets, bytes: &mut Vec<u8>) {
    match rng.u32(..12) {
        0..=2 => put(bytes, 0, &choice_of(rng, &targets.macs, MacAddr::BROADCAST).0),
        3 => put(bytes, 6, &choice_of(rng, &targets.macs, MacAddr::BROADCAST).0),
        4..=6 => tag(rng, bytes),
        7 => untag(bytes),
        8 => {
            let protocol = choice(rng, &[0x0800, 0x0806, 0x86dd, EXPERIMENT.0, 0x8100, 0x88a8, 0x0004]);
            let at = payload_of(bytes).saturating_sub(2);
            put(bytes, at, &protocol.to_be_bytes());
        }
        9 => set_address(rng, targets, bytes, true),
        10 => set_address(rng, targets, bytes, false),
        _ => {
            let at = rng.usize(12..bytes.len().clamp(13, 80));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u32(..8);
            }
        }
    }
}

fn choice(rng: &mut Rng, from: &[u16]) -> u16 {
    choice_of(rng, from, 0)
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
        *byte = *new;
    }
}

fn payload_of(bytes: &[u8]) -> usize {
    Concrete::HEADER + 4 * inner(bytes).map_or(0, |(depth, _)| usize::from(depth))
}

fn tag(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let tpid = if rng.u32(..3) == 0 { EtherType::SVLAN } else { EtherType::VLAN };
    let vid = if rng.bool() { 0 } else { choice(rng, &VLANS) };
    let priority = if rng.u32(..4) == 0 { rng.u16(..8) << 13 } else { 0 };
    if bytes.len() >= 12 && payload_of(bytes) < Concrete::HEADER + 12 {
        bytes.splice(12..12, [tpid.0.to_be_bytes(), (vid | priority).to_be_bytes()].concat());
    }
}

fn untag(bytes: &mut Vec<u8>) {
    if payload_of(bytes) > Concrete::HEADER {
        bytes.drain(12..16);
    }
}

/// Changes an address of an IP packet, or in an ARP message, and the checksum with it.
fn set_address(rng: &mut Rng, targets: &Targets, bytes: &mut [u8], destination: bool) {
    let at = payload_of(bytes);
    match inner(bytes) {
        Some((_, EtherType::ARP)) => {
            let address = choice_of(rng, &targets.ip4, Ipv4Addr::UNSPECIFIED).octets();
            put(bytes, at + if destination { 24 } else { 14 }, &address);
        }
        Some((_, EtherType::IPV4)) if bytes.len() >= at + 20 => {
            let address = choice_of(rng, &targets.ip4, Ipv4Addr::UNSPECIFIED).octets();
            put(bytes, at + if destination { 16 } else { 12 }, &address);
            put(bytes, at + 10, &[0, 0]);
            let words = bytes.get(at..at + 20).unwrap_or_default().chunks_exact(2);
            let sum: u32 =
                words.map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            put(bytes, at + 10, &(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        }
        Some((_, EtherType::IPV6)) => {
            let address = choice_of(rng, &targets.ip6, Ipv6Addr::UNSPECIFIED).octets();
            put(bytes, at + if destination { 24 } else { 8 }, &address);
        }
        _ => {}
    }
}

fn choice_of<T: Copy>(rng: &mut Rng, from: &[T], otherwise: T) -> T {
    rng.choice(from).copied().unwrap_or(otherwise)
}

/// Whether a frame could change more of the host than proofs leave open, once it is taken in: its routes, its addresses.
pub(crate) fn changes_the_host(bytes: &[u8]) -> bool {
    let Some(frame) = Concrete::new(bytes) else { return false };
    // Wherever the kernel may look for it, behind tags or not.
    let (mut depth, mut changes) = (0, false);
    loop {
        changes |= advertises(&frame, depth) || redirects(&frame, depth);
        if !EtherType(frame.value(Field::Protocol(depth)) as u16).is_vlan() || depth >= 8 {
            return changes;
        }
        depth += 1;
    }
}

/// ICMPv6 router advertisements and redirects, whatever extension headers come first.
fn advertises(frame: &Concrete<'_>, depth: u8) -> bool {
    let next = frame.value(Field::Ip6(depth, Ip6Field::NextHeader));
    let kind = frame.value(Field::Icmp6(depth, Icmp6Field::Type));
    frame.value(Field::Protocol(depth)) == u128::from(EtherType::IPV6.0)
        && match next {
            58 => kind == 134 || kind == 137,
            0 | 43 | 44 | 60 => true,
            _ => false,
        }
}

/// ICMP redirects.
fn redirects(frame: &Concrete<'_>, depth: u8) -> bool {
    frame.value(Field::Protocol(depth)) == u128::from(EtherType::IPV4.0)
        && frame.value(Field::Ip4(depth, Ip4Field::Protocol)) == 1
        && frame.value(Field::Ip4(depth, Ip4Field::DestinationPort)) == 5
}
