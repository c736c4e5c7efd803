//! Frames made from a few words: what was not typed is filled in as a neighbour of the bridge would.
//!
//! Pure: looks at a snapshot and nothing else. What it fills in is said in the help of each option.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::{ArpOperation, RouterAdvertisement};
use portcullis_datapath::{Network, Payload};
use portcullis_snapshot::{FdbKind, Link, MacAddr};

use crate::arguments::{FrameKind, FrameOptions};
use crate::failure::Failure;

/// The source MAC of a guest that the bridge knows nothing of.
const STRANGER: MacAddr = MacAddr([0x02, 0x70, 0x63, 0, 0, 1]);
/// Source addresses, from the documentation ranges (RFC 5737, RFC 3849).
const STRANGER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
/// The prefix that a router advertisement offers.
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5043, 0, 0, 0, 0, 0);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Source port of datagrams and connections.
const SOURCE_PORT: u16 = 40_000;

/// Makes a frame that comes in by `from`.
pub(crate) fn build(
    network: &Network<'_>,
    from: &Link,
    kind: FrameKind,
    options: &FrameOptions,
) -> Result<Vec<u8>, Failure> {
    let src = options.src_mac.unwrap_or_else(|| known_source(network, from));
    let payload = payload(kind, options, src)?;
    let dst = options.dst_mac.or_else(|| group(&payload)).or_else(|| neighbour(network, from, options.to));
    let dst = dst.ok_or_else(|| {
        Failure::new(format!("{} has no MAC address to send to", from.name)).hint("say one with --dst-mac")
    })?;
    Ok(options.builder(dst, src).payload(&payload))
}

fn payload(kind: FrameKind, options: &FrameOptions, src: MacAddr) -> Result<Payload, Failure> {
    let ports = (SOURCE_PORT, options.port);
    let data = b"portcullis".to_vec();
    Ok(match kind {
        FrameKind::Arp => {
            let (sender_ip, target_ip) = both_v4(kind, options)?;
            Payload::Arp { operation: ArpOperation::Request, sender_mac: src, sender_ip, target_ip }
        }
        FrameKind::Ping | FrameKind::Udp => match (kind, addresses(kind, options)?) {
            (FrameKind::Ping, Addresses::V4(from, to)) => Payload::Ping4 { from, to },
            (FrameKind::Ping, Addresses::V6(from, to)) => Payload::Ping6 { from, to },
            (_, Addresses::V4(from, to)) => Payload::Udp4 { from, to, ports, data },
            (_, Addresses::V6(from, to)) => Payload::Udp6 { from, to, ports, data },
        },
        FrameKind::Tcp => {
            let (from, to) = both_v4(kind, options)?;
            Payload::TcpSyn4 { from, to, ports }
        }
        FrameKind::Ns => match addresses(kind, options)? {
            Addresses::V6(from, target) => {
                Payload::NeighbourSolicitation { from, to: solicited_node(target), target }
            }
            Addresses::V4(..) => return Err(wrong_family(kind, "an IPv6 address")),
        },
        FrameKind::Ra => {
            let to = options.to.map_or(Ok(ALL_NODES), |to| v6(kind, to))?;
            let from = options.src_ip.map_or_else(|| Ok(link_local(src)), |from| v6(kind, from))?;
            Payload::RouterAdvertisement(RouterAdvertisement { from, to, lifetime: 1800, prefix: PREFIX })
        }
        FrameKind::Igmp => {
            let from = options.src_ip.map_or(Ok(STRANGER4), |from| v4(kind, from))?;
            Payload::IgmpQuery { from }
        }
        FrameKind::Bpdu => Payload::Bpdu { priority: 0 },
    })
}

/// Source and destination, of one family.
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn addresses(kind: FrameKind, options: &FrameOptions) -> Result<Addresses, Failure> {
    match (options.to, options.src_ip) {
        (Some(IpAddr::V4(to)), None) => Ok(Addresses::V4(STRANGER4, to)),
        (Some(IpAddr::V6(to)), None) => Ok(Addresses::V6(STRANGER6, to)),
        (Some(IpAddr::V4(to)), Some(IpAddr::V4(from))) => Ok(Addresses::V4(from, to)),
        (Some(IpAddr::V6(to)), Some(IpAddr::V6(from))) => Ok(Addresses::V6(from, to)),
        (Some(_), Some(_)) => Err(Failure::new("--to and --src-ip are not of one family")),
        (None, _) => Err(Failure::new(format!("a frame of kind {} needs an address", name(kind)))
            .hint("say it with --to ADDRESS")),
    }
}

fn both_v4(kind: FrameKind, options: &FrameOptions) -> Result<(Ipv4Addr, Ipv4Addr), Failure> {
    match addresses(kind, options)? {
        Addresses::V4(from, to) => Ok((from, to)),
        Addresses::V6(..) => Err(wrong_family(kind, "an IPv4 address")),
    }
}

fn v4(kind: FrameKind, address: IpAddr) -> Result<Ipv4Addr, Failure> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(wrong_family(kind, "an IPv4 address")),
    }
}

fn v6(kind: FrameKind, address: IpAddr) -> Result<Ipv6Addr, Failure> {
    match address {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err(wrong_family(kind, "an IPv6 address")),
    }
}

fn wrong_family(kind: FrameKind, wanted: &str) -> Failure {
    Failure::new(format!("a frame of kind {} needs {wanted}", name(kind)))
}

fn name(kind: FrameKind) -> String {
    clap::ValueEnum::to_possible_value(&kind).map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Returns a source MAC that the bridge already knows behind the port, so that nothing new is learned.
fn known_source(network: &Network<'_>, from: &Link) -> MacAddr {
    let entries = network.netns().fdb.known().iter();
    let behind = entries.filter(|entry| entry.device == from.index && entry.kind() != FdbKind::Local);
    behind
        .map(|entry| entry.address)
        .find(|mac| !mac.is_multicast() && *mac != MacAddr::ZERO)
        .unwrap_or(STRANGER)
}

/// Returns the group address that a payload belongs to, if it does to one.
fn group(payload: &Payload) -> Option<MacAddr> {
    match payload {
        Payload::Arp { .. } => Some(MacAddr::BROADCAST),
        Payload::Bpdu { .. } => Some(MacAddr::link_local(0)),
        Payload::IgmpQuery { .. } => Some(group_of_v4(Ipv4Addr::new(224, 0, 0, 1))),
        Payload::NeighbourSolicitation { to, .. } | Payload::Ping6 { to, .. } | Payload::Udp6 { to, .. } => {
            to.is_multicast().then(|| group_of_v6(*to))
        }
        Payload::RouterAdvertisement(ra) => ra.to.is_multicast().then(|| group_of_v6(ra.to)),
        Payload::Ping4 { to, .. }
        | Payload::Udp4 { to, .. }
        | Payload::TcpSyn4 { to, .. }
        | Payload::Ip4 { to, .. } => {
            if to.is_broadcast() {
                Some(MacAddr::BROADCAST)
            } else {
                to.is_multicast().then(|| group_of_v4(*to))
            }
        }
        Payload::Raw { .. } => None,
    }
}

/// Returns the MAC that a neighbour would send to: the one that the host knows for the address, else the bridge's,
/// else the device's own.
fn neighbour(network: &Network<'_>, from: &Link, to: Option<IpAddr>) -> Option<MacAddr> {
    let bridge = from.master.filter(|_| from.bridge_port().is_some()).and_then(|bridge| network.link(bridge));
    let device = bridge.unwrap_or(from);
    let mut neighbours = network.netns().neighbours.known().iter();
    let known = neighbours.find(|entry| entry.device == device.index && Some(entry.address) == to);
    known.and_then(|entry| entry.mac).or(device.address)
}

/// RFC 1112, 6.4.
fn group_of_v4(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([0x01, 0, 0x5e, b & 0x7f, c, d])
}

/// RFC 2464, 7.
fn group_of_v6(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// RFC 4291, 2.7.1.
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., b, c, d] = target.octets();
    Ipv6Addr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b, c, d])
}

/// The link-local address of a MAC (RFC 4291, appendix A).
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_macs() {
        assert_eq!(group_of_v4([239, 129, 2, 3].into()).to_string(), "01:00:5e:01:02:03");
        assert_eq!(group_of_v6(ALL_NODES).to_string(), "33:33:00:00:00:01");
        let node = solicited_node("2001:db8::1:2345".parse().unwrap());
        assert_eq!(node.to_string(), "ff02::1:ff01:2345");
        assert_eq!(link_local(STRANGER).to_string(), "fe80::70:63ff:fe00:1");
    }

    #[test]
    fn what_cannot_be_made_says_what_it_needs() {
        let of = |kind, to: Option<&str>| {
            let options = FrameOptions { to: to.map(|to| to.parse().unwrap()), ..FrameOptions::default() };
            format!("{:?}", payload(kind, &options, STRANGER).unwrap_err())
        };
        assert!(of(FrameKind::Arp, None).contains("--to"));
        assert!(of(FrameKind::Arp, Some("2001:db8::1")).contains("an IPv4 address"));
        assert!(of(FrameKind::Ns, Some("192.0.2.1")).contains("an IPv6 address"));
    }
}
