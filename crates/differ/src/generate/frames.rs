//! Random frames, aimed at the edges: whose address they bear, which tags, what they carry, and how it is damaged.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use portcullis_datapath::frame::{ArpOperation, RouterAdvertisement};
use portcullis_datapath::{Concrete, FrameBuilder, Payload};
use portcullis_snapshot::{EtherType, MacAddr};

use super::{ROUTER4, ROUTER6, Sent, VLANS, guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::facts::inner;
use crate::names::{LOWERS, MOST_PORTS, Name, OUTSIDE, PORTS, UPLINK, mac};
use crate::step::Step;

/// An EtherType for local experiments (IEEE 802), which a handler listens for.
pub(crate) const EXPERIMENT: EtherType = EtherType(0x88b5);

/// What frames are aimed with.
struct Aim<'r> {
    rng: &'r mut Rng,
    /// Where frames come in.
    wires: Vec<Name>,
    macs: Vec<MacAddr>,
    ip4: Vec<Ipv4Addr>,
    ip6: Vec<Ipv6Addr>,
    /// Tags that a frame needs for a port that is a VLAN device.
    needed: Vec<(Name, EtherType, u16)>,
}

/// Makes frames for a configuration.
pub(super) fn frames(rng: &mut Rng, steps: &[Step], count: usize) -> Vec<Sent> {
    let mut aim = Aim::new(rng, steps);
    (0..count).map(|number| aim.frame(number)).collect()
}

/// Makes frames for a configuration that come in by one wire.
pub(super) fn frames_into(rng: &mut Rng, steps: &[Step], into: Name, count: usize) -> Vec<Vec<u8>> {
    let mut aim = Aim::new(rng, steps);
    aim.wires = vec![into];
    (0..count).map(|number| aim.frame(number).bytes).collect()
}

impl<'r> Aim<'r> {
    fn new(rng: &'r mut Rng, steps: &[Step]) -> Self {
        let mut aim = Self {
            rng,
            wires: Vec::new(),
            macs: Vec::new(),
            ip4: Vec::new(),
            ip6: Vec::new(),
            needed: Vec::new(),
        };
        for step in steps {
            match *step {
                Step::Cable { near, .. } => {
                    aim.macs.push(mac(near));
                    aim.wires.push(near);
                }
                Step::Tap(name) => {
                    aim.macs.push(mac(name));
                    aim.wires.push(name);
                }
                Step::Bridge(name) | Step::Bond(name) => aim.macs.push(mac(name)),
                Step::Vlan { name, lower, tpid, id } => {
                    aim.macs.push(mac(name));
                    aim.needed.push((lower, tpid, id));
                }
                Step::Macvlan { name, .. } => aim.macs.push(mac(name)),
                Step::Fdb { address, .. } => aim.macs.push(address),
                Step::Address { address, .. } => match address {
                    std::net::IpAddr::V4(address) => aim.ip4.push(address),
                    std::net::IpAddr::V6(address) => aim.ip6.push(address),
                },
                _ => {}
            }
        }
        aim
    }

    fn frame(&mut self, number: usize) -> Sent {
        // Mostly from a guest; the uplink's other side is nobody's guest.
        let mut into = pick(self.rng, &self.wires).unwrap_or(PORTS[0]);
        if into == UPLINK && !one_in(self.rng, 3) {
            into = pick(self.rng, &self.wires).unwrap_or(into);
        }
        let guest = PORTS.iter().chain(&LOWERS).position(|name| *name == into).map(|at| at % MOST_PORTS);
        let src = self.source(guest);
        let payload = self.payload(guest, src);
        let dst = self.destination(&payload);
        let mut builder = FrameBuilder::new(dst, src);
        for (tpid, vid) in self.tags(into) {
            builder = builder.tag(tpid, vid);
        }
        let mut bytes = builder.payload(&payload);
        identify(&mut bytes, number as u16);
        self.set_priorities(&mut bytes);
        if one_in(self.rng, 12) {
            self.damage(&mut bytes);
        }
        if one_in(self.rng, 40) {
            bytes.resize(bytes.len().max(self.rng.usize(590..680)), 0);
        }
        let mut cookie = *b"pc\0\0\0\0\0\0";
        for (to, from) in cookie
            .iter_mut()
            .skip(2)
            .zip(self.rng.u32(..).to_be_bytes().into_iter().chain((number as u16).to_be_bytes()))
        {
            *to = from;
        }
        bytes.extend(cookie);
        if one_in(self.rng, 40) {
            bytes.truncate(self.rng.usize(14..40));
        }
        Sent { into, bytes }
    }

    fn source(&mut self, guest: Option<usize>) -> MacAddr {
        match self.rng.u32(..24) {
            0 => MacAddr([0x03, 0, 0, 0, 0, 1]),
            1 => MacAddr::ZERO,
            2 => MacAddr([0x02, 0, 0, 0, 0x30, self.rng.u8(..4)]),
            3 | 4 => pick(self.rng, &self.macs).unwrap_or(MacAddr::ZERO),
            5 | 6 => guest_mac(self.rng.usize(..MOST_PORTS)),
            _ => guest.map_or(mac(OUTSIDE), guest_mac),
        }
    }

    fn destination(&mut self, payload: &Payload) -> MacAddr {
        match self.rng.u32(..20) {
            0..=2 => MacAddr::link_local(self.rng.u8(..16)),
            3 | 4 => MacAddr::BROADCAST,
            5 => MacAddr([0x02, 0, 0, 0, 0x30, self.rng.u8(..4)]),
            6..=8 => guest_mac(self.rng.usize(..MOST_PORTS)),
            9 => MacAddr([0x01, 0, 0x5e, 0x7f, 1, 1]),
            10 => MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            11..=12 => fitting(payload),
            _ => pick(self.rng, &self.macs).unwrap_or(MacAddr::BROADCAST),
        }
    }

    fn tags(&mut self, into: Name) -> Vec<(EtherType, u16)> {
        let mut tags: Vec<_> = Vec::new();
        let needed = self.needed.iter().find(|(lower, ..)| *lower == into).map(|(_, tpid, id)| (*tpid, *id));
        if let Some(tag) = needed.filter(|_| !one_in(self.rng, 4)) {
            tags.push(tag);
        }
        let more = match self.rng.u32(..10) {
            0..=4 => 0,
            5..=7 => 1,
            8 => 2,
            _ => 3,
        };
        for _ in 0..more {
            let tpid = if one_in(self.rng, 4) { EtherType::SVLAN } else { EtherType::VLAN };
            let vid = match self.rng.u32(..8) {
                0 | 1 => 0,
                2 => self.rng.u16(..4096),
                _ => pick(self.rng, &VLANS).unwrap_or(1),
            };
            tags.push((tpid, vid));
        }
        tags
    }

    /// Gives each tag a priority now and then, and a drop bit.
    fn set_priorities(&mut self, bytes: &mut [u8]) {
        let mut at = 12;
        while let Some([0x81, 0x00] | [0x88, 0xa8]) = bytes.get(at..at + 2) {
            if let Some(byte) = bytes.get_mut(at + 2).filter(|_| one_in(self.rng, 3)) {
                *byte |= self.rng.u8(..16) << 4;
            }
            at += 4;
        }
    }

    /// Changes a byte behind the addresses: of a header, most likely.
    fn damage(&mut self, bytes: &mut [u8]) {
        let at = self.rng.usize(12..bytes.len().clamp(13, 64));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if one_in(self.rng, 2) { self.rng.u8(..) } else { *byte ^ (1 << self.rng.u32(..8)) };
        }
    }

    fn host4(&mut self) -> Ipv4Addr {
        match self.rng.u32(..12) {
            0 => Ipv4Addr::BROADCAST,
            1 => Ipv4Addr::UNSPECIFIED,
            2 => Ipv4Addr::LOCALHOST,
            3 => pick(self.rng, &[[224, 0, 0, 1], [224, 0, 0, 251], [239, 1, 1, 1]])
                .unwrap_or([224, 0, 0, 1])
                .into(),
            4 => Ipv4Addr::new(10, 0, 0, 255),
            5 => pick(self.rng, &[Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 7), ROUTER4])
                .unwrap_or(ROUTER4),
            6 | 7 => guest_ip4(self.rng.usize(..MOST_PORTS)),
            _ => pick(self.rng, &self.ip4).unwrap_or(Ipv4Addr::new(10, 0, 0, 1)),
        }
    }

    fn source4(&mut self, guest: Option<usize>) -> Ipv4Addr {
        match self.rng.u32(..8) {
            0 => self.host4(),
            1 => Ipv4Addr::UNSPECIFIED,
            2 => Ipv4Addr::new(203, 0, 113, 9),
            3 => Ipv4Addr::new(10, self.rng.u8(..8), 0, 77),
            _ => guest.map_or(Ipv4Addr::new(192, 0, 2, 77), guest_ip4),
        }
    }

    fn host6(&mut self) -> Ipv6Addr {
        match self.rng.u32(..12) {
            0 => Ipv6Addr::LOCALHOST,
            1 => Ipv6Addr::UNSPECIFIED,
            2 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            3 => pick(self.rng, &[0xff01, 0xff02, 0xff05])
                .map_or(Ipv6Addr::LOCALHOST, |scope| Ipv6Addr::new(scope, 0, 0, 0, 0, 0, 0, 2)),
            4 => self.link_local(),
            5 => pick(self.rng, &[Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7), ROUTER6])
                .unwrap_or(ROUTER6),
            6 | 7 => guest_ip6(self.rng.usize(..MOST_PORTS)),
            _ => pick(self.rng, &self.ip6).unwrap_or(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// The link-local address that a device of the host's makes from its hardware address (RFC 4291, appendix A).
    fn link_local(&mut self) -> Ipv6Addr {
        let MacAddr(mac) = pick(self.rng, &self.macs).unwrap_or(MacAddr::ZERO);
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            word(mac[0] ^ 2, mac[1]),
            word(mac[2], 0xff),
            word(0xfe, mac[3]),
            word(mac[4], mac[5]),
        )
    }

    fn source6(&mut self, guest: Option<usize>) -> Ipv6Addr {
        match self.rng.u32(..8) {
            0 => self.host6(),
            1 => Ipv6Addr::UNSPECIFIED,
            2 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
            _ => guest.map_or(ROUTER6, guest_ip6),
        }
    }

    fn payload(&mut self, guest: Option<usize>, src: MacAddr) -> Payload {
        match self.rng.u32(..22) {
            0..=4 => self.arp(guest, src),
            5..=6 => Payload::Ping4 { from: self.source4(guest), to: self.host4() },
            7..=9 => {
                let (from, to) = (self.source4(guest), self.host4());
                Payload::Udp4 { from, to, ports: (1000, 2000), data: b"portcullis".to_vec() }
            }
            10 => Payload::TcpSyn4 { from: self.source4(guest), to: self.host4(), ports: (1000, 22) },
            11..=12 => Payload::Ping6 { from: self.source6(guest), to: self.host6() },
            13..=14 => {
                let (from, to) = (self.source6(guest), self.host6());
                Payload::Udp6 { from, to, ports: (1000, 2000), data: b"portcullis".to_vec() }
            }
            15 | 16 => {
                let (from, to, target) = (self.source6(guest), self.host6(), self.host6());
                Payload::NeighbourSolicitation { from, to, target }
            }
            17 if one_in(self.rng, 3) => Payload::RouterAdvertisement(RouterAdvertisement {
                from: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
                to: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                lifetime: 1800,
                prefix: Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0),
            }),
            18 if one_in(self.rng, 4) => Payload::IgmpQuery { from: self.source4(guest) },
            18 if one_in(self.rng, 2) => self.igmp_message(guest),
            19 => Payload::Bpdu { priority: 0x8000 },
            _ => {
                let ethertype =
                    pick(self.rng, &[0x88b5, 0x88b5, 0x9000, 0x888e, 0x88cc, 0x0040, 0x8902, 0x0600]);
                Payload::Raw {
                    ethertype: EtherType(ethertype.unwrap_or(0x88b5)),
                    data: b"portcullis".to_vec(),
                }
            }
        }
    }

    /// A report or a leave, of either version.
    fn igmp_message(&mut self, guest: Option<usize>) -> Payload {
        let kind = pick(self.rng, &[0x12, 0x16, 0x17, 0x22, 0x30]).unwrap_or(0x16);
        let group = self.host4();
        let mut message = vec![kind, 0, 0, 0];
        message.extend(if kind == 0x22 { [0, 0, 0, 1] } else { group.octets() });
        if kind == 0x22 {
            // One record: to exclude nothing, which is to join.
            message.extend([4, 0, 0, 0]);
            message.extend(group.octets());
        }
        Payload::Ip4 {
            protocol: 2,
            from: self.source4(guest),
            to: self.host4(),
            body: message,
            sum_at: Some(2),
        }
    }

    fn arp(&mut self, guest: Option<usize>, src: MacAddr) -> Payload {
        let operation = if one_in(self.rng, 5) { ArpOperation::Reply } else { ArpOperation::Request };
        let target_ip = self.host4();
        let sender_ip = if one_in(self.rng, 8) { target_ip } else { self.source4(guest) };
        // Replies go to the address in the message; another than the frame's would hide them.
        Payload::Arp { operation, sender_mac: src, sender_ip, target_ip }
    }
}

/// Makes an IP packet unlike any other: its identification, or its flow label.
fn identify(bytes: &mut [u8], number: u16) {
    let Some((depth, protocol)) = inner(bytes) else { return };
    let at = Concrete::HEADER + 4 * usize::from(depth);
    let Some(header) = bytes.get_mut(at..) else { return };
    let [high, low] = number.to_be_bytes();
    match (protocol, header) {
        (EtherType::IPV4, [_, _, _, _, id_high, id_low, _, _, _, _, sum_high, sum_low, ..]) => {
            // The identification was 0, so the sum grows by what it becomes (RFC 1624).
            let before = u32::from(!u16::from_be_bytes([*sum_high, *sum_low]));
            let sum = before + u32::from(number);
            [*sum_high, *sum_low] = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
            [*id_high, *id_low] = [high, low];
        }
        (EtherType::IPV6, [_, _, label_high, label_low, ..]) => [*label_high, *label_low] = [high, low],
        _ => {}
    }
}

/// The hardware address that an IP destination maps to, where it is a group.
fn fitting(payload: &Payload) -> MacAddr {
    match payload {
        Payload::Ping4 { to, .. } | Payload::Udp4 { to, .. } if to.is_multicast() => {
            let [_, b, c, d] = to.octets();
            MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        Payload::Ping6 { to, .. } | Payload::Udp6 { to, .. } | Payload::NeighbourSolicitation { to, .. }
            if to.is_multicast() =>
        {
            let [.., a, b, c, d] = to.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
        _ => MacAddr::BROADCAST,
    }
}
