//! Frames made to measure: the probes of the rules, the lab and the tests.
//!
//! What comes out is whole and right (lengths, checksums), and at least 60 bytes long, as on a wire.

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{EtherType, MacAddr};

use super::concrete::{checksum, checksum_with_addresses};

/// Builds a frame: addresses, then tags from the outside in, then a payload.
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    dst: MacAddr,
    src: MacAddr,
    tags: Vec<(EtherType, u16)>,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// ARP for IPv4 over Ethernet.
    Arp {
        /// What it says.
        operation: ArpOperation,
        /// Whose MAC address it claims.
        sender_mac: MacAddr,
        /// Whose IPv4 address it claims; `0.0.0.0` is an address probe (RFC 5227).
        sender_ip: Ipv4Addr,
        /// Whom it asks for.
        target_ip: Ipv4Addr,
    },
    /// An ICMP echo request.
    Ping4 {
        /// Source address.
        from: Ipv4Addr,
        /// Destination address.
        to: Ipv4Addr,
    },
    /// An ICMPv6 echo request.
    Ping6 {
        /// Source address.
        from: Ipv6Addr,
        /// Destination address.
        to: Ipv6Addr,
    },
    /// A UDP datagram over IPv4.
    Udp4 {
        /// Source address.
        from: Ipv4Addr,
        /// Destination address.
        to: Ipv4Addr,
        /// Source and destination port.
        ports: (u16, u16),
        /// What it carries.
        data: Vec<u8>,
    },
    /// A UDP datagram over IPv6.
    Udp6 {
        /// Source address.
        from: Ipv6Addr,
        /// Destination address.
        to: Ipv6Addr,
        /// Source and destination port.
        ports: (u16, u16),
        /// What it carries.
        data: Vec<u8>,
    },
    /// The first segment of a TCP connection over IPv4.
    TcpSyn4 {
        /// Source address.
        from: Ipv4Addr,
        /// Destination address.
        to: Ipv4Addr,
        /// Source and destination port.
        ports: (u16, u16),
    },
    /// A neighbour solicitation, with the frame's source as link-layer address.
    NeighbourSolicitation {
        /// Source address.
        from: Ipv6Addr,
        /// Destination address.
        to: Ipv6Addr,
        /// Whom it asks for.
        target: Ipv6Addr,
    },
    /// A router advertisement.
    RouterAdvertisement(RouterAdvertisement),
    /// An IGMPv2 general membership query.
    IgmpQuery {
        /// Source address.
        from: Ipv4Addr,
    },
    /// An IPv4 packet of any protocol.
    Ip4 {
        /// The IP protocol.
        protocol: u8,
        /// Source address.
        from: Ipv4Addr,
        /// Destination address.
        to: Ipv4Addr,
        /// What follows the header.
        body: Vec<u8>,
        /// Where in the body its Internet checksum goes, if it has one there.
        sum_at: Option<usize>,
    },
    /// A spanning tree configuration BPDU that claims to be the root.
    Bpdu {
        /// The priority it claims; 0 beats every other.
        priority: u16,
    },
    /// Anything.
    Raw {
        /// Its EtherType.
        ethertype: EtherType,
        /// Its bytes.
        data: Vec<u8>,
    },
}

/// What an ARP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has it?
    Request,
    /// It is here.
    Reply,
}

/// A router advertisement with one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Source; the kernel accepts link-local ones only.
    pub from: Ipv6Addr,
    /// Destination, usually `ff02::1`.
    pub to: Ipv6Addr,
    /// How long it stays a default router, in seconds.
    pub lifetime: u16,
    /// The prefix it offers for addresses, always a /64.
    pub prefix: Ipv6Addr,
}

impl FrameBuilder {
    /// Starts a frame with its two addresses.
    #[must_use]
    pub const fn new(dst: MacAddr, src: MacAddr) -> Self {
        Self { dst, src, tags: Vec::new() }
    }

    /// Adds a VLAN tag inside those added before.
    #[must_use]
    pub fn tag(mut self, tpid: EtherType, vid: u16) -> Self {
        self.tags.push((tpid, vid & 0x0fff));
        self
    }

    /// Finishes the frame.
    #[must_use]
    pub fn payload(&self, payload: &Payload) -> Vec<u8> {
        let mut frame = Vec::with_capacity(96);
        frame.extend(self.dst.0);
        frame.extend(self.src.0);
        for (tpid, vid) in &self.tags {
            frame.extend(tpid.0.to_be_bytes());
            frame.extend(vid.to_be_bytes());
        }
        self.append(payload, &mut frame);
        // The shortest frame on a wire; the kernel trims what a packet's own length does not cover.
        frame.resize(frame.len().max(60), 0);
        frame
    }

    fn append(&self, payload: &Payload, frame: &mut Vec<u8>) {
        use Payload as P;
        match payload {
            P::Arp { operation, sender_mac, sender_ip, target_ip } => {
                arp(frame, *operation, *sender_mac, *sender_ip, *target_ip);
            }
            P::Ping4 { from, to } => ipv4(frame, 1, *from, *to, &echo(8, |body| checksum(body, 0))),
            P::Ping6 { from, to } => {
                let addresses = [from.octets(), to.octets()].concat();
                ipv6(frame, 58, *from, *to, &echo(128, |body| checksum_with_addresses(&addresses, 58, body)));
            }
            P::Udp4 { from, to, ports, data } => {
                let addresses = [from.octets(), to.octets()].concat();
                ipv4(frame, 17, *from, *to, &udp(*ports, data, &addresses));
            }
            P::Udp6 { from, to, ports, data } => {
                let addresses = [from.octets(), to.octets()].concat();
                ipv6(frame, 17, *from, *to, &udp(*ports, data, &addresses));
            }
            P::TcpSyn4 { from, to, ports } => {
                let addresses = [from.octets(), to.octets()].concat();
                ipv4(frame, 6, *from, *to, &tcp_syn(*ports, &addresses));
            }
            P::NeighbourSolicitation { from, to, target } => {
                let body = [&[135, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..], &[1, 1], &self.src.0].concat();
                icmp6(frame, *from, *to, body);
            }
            P::RouterAdvertisement(ra) => icmp6(frame, ra.from, ra.to, self.router_advertisement(ra)),
            P::IgmpQuery { from } => igmp_query(frame, *from),
            P::Ip4 { protocol, from, to, body, sum_at } => {
                let mut body = body.clone();
                if let Some(at) = *sum_at {
                    let sum = checksum(&body, 0);
                    put_be16(&mut body, at, sum);
                }
                ipv4(frame, *protocol, *from, *to, &body);
            }
            P::Bpdu { priority } => self.bpdu(frame, *priority),
            P::Raw { ethertype, data } => {
                frame.extend(ethertype.0.to_be_bytes());
                frame.extend(data);
            }
        }
    }

    fn router_advertisement(&self, ra: &RouterAdvertisement) -> Vec<u8> {
        let mut body = vec![134, 0, 0, 0, 64, 0];
        body.extend(ra.lifetime.to_be_bytes());
        body.extend([0; 8]);
        body.extend([1, 1]);
        body.extend(self.src.0);
        // Prefix information: on-link and autonomous, valid and preferred for ten minutes.
        body.extend([3, 4, 64, 0xc0, 0, 0, 2, 0x58, 0, 0, 2, 0x58, 0, 0, 0, 0]);
        body.extend(ra.prefix.octets());
        body
    }

    /// A configuration BPDU (IEEE 802.1D, 9.3.1) over LLC.
    fn bpdu(&self, frame: &mut Vec<u8>, priority: u16) {
        let mut bridge = priority.to_be_bytes().to_vec();
        bridge.extend(self.src.0);
        frame.extend(38u16.to_be_bytes());
        frame.extend([0x42, 0x42, 0x03, 0, 0, 0, 0, 0]);
        frame.extend(&bridge);
        frame.extend([0; 4]);
        frame.extend(&bridge);
        frame.extend([0x80, 0x01, 0, 0, 20, 0, 2, 0, 15, 0]);
    }
}

fn arp(frame: &mut Vec<u8>, operation: ArpOperation, mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) {
    let code: u16 = if operation == ArpOperation::Request { 1 } else { 2 };
    frame.extend(EtherType::ARP.0.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(code.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
}

fn ipv4(frame: &mut Vec<u8>, protocol: u8, from: Ipv4Addr, to: Ipv4Addr, body: &[u8]) {
    let mut header = vec![0x45, 0];
    header.extend((20 + body.len() as u16).to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header, 0);
    put_be16(&mut header, 10, sum);
    frame.extend(EtherType::IPV4.0.to_be_bytes());
    frame.extend(header);
    frame.extend(body);
}

fn ipv6(frame: &mut Vec<u8>, next: u8, from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) {
    frame.extend(EtherType::IPV6.0.to_be_bytes());
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend([next, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(body);
}

fn icmp6(frame: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr, mut body: Vec<u8>) {
    let addresses = [from.octets(), to.octets()].concat();
    let sum = checksum_with_addresses(&addresses, 58, &body);
    put_be16(&mut body, 2, sum);
    ipv6(frame, 58, from, to, &body);
}

fn echo(kind: u8, sum_of: impl FnOnce(&[u8]) -> u16) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0x50, 0x43, 0, 1];
    body.extend(b"portcullis");
    let sum = sum_of(&body);
    put_be16(&mut body, 2, sum);
    body
}

fn udp((from, to): (u16, u16), data: &[u8], addresses: &[u8]) -> Vec<u8> {
    let mut body = from.to_be_bytes().to_vec();
    body.extend(to.to_be_bytes());
    body.extend((8 + data.len() as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(data);
    // A computed 0 goes out as all ones: 0 would mean "no checksum" (RFC 768).
    let sum = match checksum_with_addresses(addresses, 17, &body) {
        0 => 0xffff,
        sum => sum,
    };
    put_be16(&mut body, 6, sum);
    body
}

fn tcp_syn((from, to): (u16, u16), addresses: &[u8]) -> Vec<u8> {
    let mut body = from.to_be_bytes().to_vec();
    body.extend(to.to_be_bytes());
    body.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum_with_addresses(addresses, 6, &body);
    put_be16(&mut body, 16, sum);
    body
}

/// A general query with the router alert option, which snooping requires.
fn igmp_query(frame: &mut Vec<u8>, from: Ipv4Addr) {
    let mut header = vec![0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0];
    header.extend(from.octets());
    header.extend([224, 0, 0, 1, 0x94, 4, 0, 0]);
    let sum = checksum(&header, 0);
    put_be16(&mut header, 10, sum);
    let mut body = vec![0x11, 100, 0, 0, 0, 0, 0, 0];
    let sum = checksum(&body, 0);
    put_be16(&mut body, 2, sum);
    frame.extend(EtherType::IPV4.0.to_be_bytes());
    frame.extend(header);
    frame.extend(body);
}

fn put_be16(bytes: &mut [u8], at: usize, value: u16) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *byte = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Concrete, Field, Icmp6Field, Ip4Field, Ip6Field};

    const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn value(frame: &[u8], field: Field) -> u128 {
        Concrete::new(frame).unwrap().value(field)
    }

    #[test]
    fn tags_move_the_protocol_inwards() {
        let frame =
            FrameBuilder::new(MacAddr::BROADCAST, GUEST).tag(EtherType::SVLAN, 0).tag(EtherType::VLAN, 5);
        let frame = frame.payload(&Payload::Ping4 { from: [10, 0, 0, 1].into(), to: [10, 0, 0, 2].into() });
        assert_eq!(value(&frame, Field::Protocol(0)), 0x88a8);
        assert_eq!(value(&frame, Field::Protocol(1)), 0x8100);
        assert_eq!(value(&frame, Field::Vid(1)), 5);
        assert_eq!(value(&frame, Field::Protocol(2)), 0x0800);
        assert_eq!(value(&frame, Field::Ip4(2, Ip4Field::WellFormed)), 1);
        assert_eq!(value(&frame, Field::Ip4(2, Ip4Field::Destination)), 0x0a00_0002);
    }

    #[test]
    fn an_advertisement_is_well_formed() {
        let from = "fe80::1".parse().unwrap();
        let ra = RouterAdvertisement {
            from,
            to: "ff02::1".parse().unwrap(),
            lifetime: 1800,
            prefix: "2001:db8::".parse().unwrap(),
        };
        let frame =
            FrameBuilder::new(MacAddr::link_local(14), GUEST).payload(&Payload::RouterAdvertisement(ra));
        assert_eq!(value(&frame, Field::Ip6(0, Ip6Field::WellFormed)), 1);
        assert_eq!(value(&frame, Field::Icmp6(0, Icmp6Field::ChecksumRight)), 1);
        assert_eq!(value(&frame, Field::Icmp6(0, Icmp6Field::RouterLifetime)), 1800);
    }

    #[test]
    fn a_bpdu_is_802_2() {
        let frame = FrameBuilder::new(MacAddr::link_local(0), GUEST).payload(&Payload::Bpdu { priority: 0 });
        assert_eq!(value(&frame, Field::Protocol(0)), 4);
    }

    #[test]
    fn a_frame_that_ends_early_reads_as_zeroes() {
        let frame = [0xff; 14];
        assert_eq!(value(&frame, Field::Length(0)), 0);
        assert_eq!(value(&frame, Field::Ip4(3, Ip4Field::WellFormed)), 0);
        assert!(Concrete::new(&frame[..13]).is_none());
    }
}
