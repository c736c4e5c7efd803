//! Frames that are made to get through: addresses, tags and payloads that firewalls tell apart, and those that they should.

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::{ArpOperation, RouterAdvertisement};
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_snapshot::{EtherType, MacAddr};

use crate::world::{Guest, INFRA, World};

const TAGS: [&[(EtherType, u16)]; 8] = [
    &[],
    &[],
    &[],
    &[(EtherType::VLAN, 0)],
    &[(EtherType::VLAN, 5)],
    &[(EtherType::SVLAN, 0)],
    &[(EtherType::VLAN, 0), (EtherType::VLAN, 0)],
    &[(EtherType::SVLAN, 7), (EtherType::VLAN, 0)],
];

/// Numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Returns so many frames for a port.
pub(crate) fn directed(world: &mut World, port: &str, count: usize) -> Vec<Vec<u8>> {
    let own = *world.guest(port);
    let bridge = world.bridge_mac(own.bridge);
    let others: Vec<Guest> = world.site.guests.iter().filter(|guest| guest.port != port).copied().collect();
    let gateways = world.site.bridges.iter().filter_map(|(_, address)| *address);
    let mut ips: Vec<Ipv4Addr> = gateways.chain(others.iter().map(|guest| guest.ip)).collect();
    let mut sources = ips.clone();
    sources.extend([own.ip, own.ip, own.ip, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 0, 2, 77)]);
    ips.extend([INFRA, Ipv4Addr::new(10, 99, 2, 9), Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)]);
    let mut macs: Vec<MacAddr> = others.iter().map(|guest| guest.mac).collect();
    macs.extend([bridge, MacAddr([2, 9, 9, 9, 9, 9])]);
    let mut targets = macs.clone();
    targets.extend([
        bridge,
        bridge,
        MacAddr([0xfe, 0x54, 0, 0, 0, own.mac.0[5]]),
        MacAddr::BROADCAST,
        MacAddr::BROADCAST,
        MacAddr([1, 0, 0x5e, 0, 0, 1]),
        MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::link_local(0),
        MacAddr::link_local(2),
        MacAddr::link_local(14),
    ]);
    let mut source_macs = macs.clone();
    source_macs.extend([own.mac; 6]);
    let mut numbers = Numbers(7);
    let mut frames = plain(world, &own, bridge);
    for at in 0..count {
        let mut builder = FrameBuilder::new(numbers.of(&targets), numbers.of(&source_macs));
        for (tpid, vid) in numbers.of(&TAGS) {
            builder = builder.tag(*tpid, *vid);
        }
        let (from, to) = (numbers.of(&sources), numbers.of(&ips));
        let from6 = numbers.of(&[own.link_local(), others[0].link_local(), global(1), Ipv6Addr::UNSPECIFIED]);
        let to6 = numbers.of(&[others[0].link_local(), global(2), all_nodes(), global(0xffff)]);
        let ports = (numbers.of(&[53, 67, 68, 546, 4000]), numbers.of(&[22, 53, 67, 68, 80, 547, 8080]));
        let data = format!("portcullis {at}").into_bytes();
        let payload = match at % 14 {
            0 | 1 => arp(ArpOperation::Request, numbers.of(&source_macs), from, to),
            2 => arp(ArpOperation::Reply, numbers.of(&source_macs), from, to),
            3 | 4 => Payload::Udp4 { from, to, ports, data },
            5 => Payload::Ping4 { from, to },
            6 => Payload::TcpSyn4 { from, to, ports },
            7 => Payload::Udp6 { from: from6, to: to6, ports, data },
            8 => Payload::Ping6 { from: from6, to: to6 },
            9 => Payload::NeighbourSolicitation { from: from6, to: to6, target: to6 },
            10 => advertisement(from6),
            11 => behind_options(from6, to6),
            12 => Payload::Ip4 {
                protocol: numbers.of(&[1, 2, 47, 132]),
                from,
                to,
                body: vec![3, 1, 0, 0, 0, 0, 0, 0],
                sum_at: Some(2),
            },
            _ => Payload::Raw {
                ethertype: EtherType(numbers.of(&[0x0835, 0x8035, 0x88cc, 0x8863, 0x0026])),
                data,
            },
        };
        frames.push(builder.payload(&payload));
    }
    frames
}

/// What an honest guest sends: to the host, through it, and to the others.
fn plain(world: &World, own: &Guest, bridge: MacAddr) -> Vec<Vec<u8>> {
    let gateway = world.site.bridges.iter().find(|(name, _)| *name == own.bridge).and_then(|(_, ip)| *ip);
    let beyond = world.site.guests.iter().filter(|guest| guest.bridge != own.bridge).map(|guest| guest.ip);
    let routed = beyond.chain([Ipv4Addr::new(10, 99, 2, 9)]).chain(gateway).map(|ip| (bridge, ip));
    let others =
        world.site.guests.iter().filter(|guest| guest.bridge == own.bridge && guest.port != own.port);
    let mut frames = Vec::new();
    for (mac, to) in routed.chain(others.map(|guest| (guest.mac, guest.ip))) {
        let builder = FrameBuilder::new(mac, own.mac);
        let data = b"portcullis".to_vec();
        frames.push(builder.payload(&Payload::Ping4 { from: own.ip, to }));
        for port in [22, 53, 67, 80, 8080] {
            let ports = (40_000, port);
            frames.push(builder.payload(&Payload::TcpSyn4 { from: own.ip, to, ports }));
            frames.push(builder.payload(&Payload::Udp4 { from: own.ip, to, ports, data: data.clone() }));
        }
    }
    frames
}

fn global(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

fn all_nodes() -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
}

fn arp(operation: ArpOperation, sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Payload {
    Payload::Arp { operation, sender_mac, sender_ip, target_ip }
}

fn advertisement(from: Ipv6Addr) -> Payload {
    Payload::RouterAdvertisement(RouterAdvertisement {
        from,
        to: all_nodes(),
        lifetime: 0,
        prefix: global(0),
    })
}

/// A neighbour advertisement behind destination options.
fn behind_options(from: Ipv6Addr, to: Ipv6Addr) -> Payload {
    let mut body = vec![0x60, 0, 0, 0, 0, 32, 60, 255];
    body.extend(from.octets());
    body.extend(to.octets());
    body.extend([58, 0, 1, 4, 0, 0, 0, 0]);
    body.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
    body.extend(global(1).octets());
    Payload::Raw { ethertype: EtherType::IPV6, data: body }
}
