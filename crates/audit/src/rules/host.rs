//! What the rules about reaching the host share: addresses to aim at, and the frames that carry them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_datapath::Payload;
use portcullis_datapath::frame::ArpOperation;
use portcullis_snapshot::{IfIndex, LinkFlags, MacAddr};

use crate::context::{Context, PortView};

/// A source that belongs to nobody here (RFC 5737, TEST-NET-2).
pub(crate) const STRANGER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
/// Likewise (RFC 3849).
pub(crate) const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5043, 0, 0, 0, 0, 0x77);
/// All nodes on the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Returns the host's addresses that are not on a loopback device, with their devices, in a fixed order.
pub(crate) fn host_addresses(context: &Context<'_>) -> Vec<(IfIndex, IpNet)> {
    let is_loopback =
        |device| context.network().link(device).is_some_and(|link| link.flags.has(LinkFlags::LOOPBACK));
    let addresses = context.netns().addresses.known().iter();
    let mut found: Vec<_> = addresses
        .filter(|address| !is_loopback(address.device) || !address.address.addr().is_loopback())
        .map(|address| (address.device, address.address))
        .collect();
    found.sort();
    found
}

/// Returns one IPv4 address of the host, if it has any.
pub(crate) fn ipv4_address(context: &Context<'_>) -> Option<Ipv4Addr> {
    host_addresses(context).iter().find_map(|(_, net)| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// Returns an address that a neighbour of this one may have: the next, or the one before.
pub(crate) fn neighbour_of(address: Ipv4Addr) -> Ipv4Addr {
    let bits = u32::from(address);
    Ipv4Addr::from(if bits & 0xff >= 0xfe { bits.wrapping_sub(1) } else { bits + 1 })
}

/// Returns the IPv6 link-local address that a guest with this MAC address gives itself (RFC 4291, appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// An ARP request of the guest behind a port.
pub(crate) fn arp_request(port: &PortView<'_>, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Payload {
    Payload::Arp { operation: ArpOperation::Request, sender_mac: port.source, sender_ip, target_ip }
}

/// A ping to every IPv6 node on the link.
pub(crate) fn ping_all_nodes(port: &PortView<'_>) -> Payload {
    Payload::Ping6 { from: link_local(port.source), to: ALL_NODES }
}
