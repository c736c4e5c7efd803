//! Sockets that take what arrives, and the stack's protocol handlers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{
    EtherType, IfIndex, Link, ListenProtocol, Listener, Membership, PacketSocket, ProtocolHandler,
};
use portcullis_wire::diag;

use crate::Error;
use crate::netlink::{Family, Socket};

/// Listening TCP sockets and unconnected UDP sockets.
pub(super) fn listeners() -> Result<Vec<Listener>, Error> {
    let mut socket = Socket::open(Family::SockDiag)?;
    let mut listeners = Vec::new();
    for protocol in [ListenProtocol::Tcp, ListenProtocol::Udp] {
        for ipv6 in [false, true] {
            let request = diag::listeners_request(protocol, ipv6);
            listeners.extend(socket.dump(
                "reading listening sockets",
                &request,
                Vec::new,
                |all, reply| {
                    all.extend(diag::listener(protocol, reply.payload));
                },
            )?);
        }
    }
    Ok(listeners)
}

/// Packet sockets. The kernel wants `CAP_NET_RAW` for them.
pub(super) fn packet_sockets() -> Result<Vec<PacketSocket>, Error> {
    let mut socket = Socket::open(Family::SockDiag)?;
    socket.dump("reading packet sockets", &diag::packet_sockets_request(), Vec::new, |all, reply| {
        all.extend(diag::packet_socket(reply.payload));
    })
}

/// A file of the calling thread's namespace: `/proc/net` would be that of the process's first thread.
fn proc_net(name: &str) -> Result<String, Error> {
    let path = format!("/proc/thread-self/net/{name}");
    std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))
}

/// The handlers in `/proc/net/ptype`, without those of packet sockets.
pub(super) fn protocol_handlers() -> Result<Vec<ProtocolHandler>, Error> {
    Ok(parse_ptype(&proc_net("ptype")?))
}

/// Lines are `TYPE [DEVICE] FUNCTION`; the type is four hex digits or `ALL`, the device is there if it is confined to one.
fn parse_ptype(text: &str) -> Vec<ProtocolHandler> {
    const ETH_P_ALL: u16 = 3;
    let handler = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (protocol, device, function) = match *words.as_slice() {
            [protocol, function] => (protocol, None, function),
            [protocol, device, function] => (protocol, Some(device.to_owned()), function),
            _ => return None,
        };
        let protocol = if protocol == "ALL" { ETH_P_ALL } else { u16::from_str_radix(protocol, 16).ok()? };
        let of_a_socket = function.contains("packet_rcv");
        (!of_a_socket).then(|| ProtocolHandler {
            protocol: EtherType(protocol),
            device,
            function: function.to_owned(),
        })
    };
    text.lines().skip(1).filter_map(handler).collect()
}

/// The groups in `/proc/net/igmp` and `/proc/net/igmp6`.
pub(super) fn memberships(links: &[Link]) -> Result<Vec<Membership>, Error> {
    let mut all = parse_igmp(&proc_net("igmp")?);
    // No such file where the kernel runs no IPv6.
    all.extend(proc_net("igmp6").map(|text| parse_igmp6(&text)).unwrap_or_default());
    all.retain(|membership| links.iter().any(|link| link.index == membership.device));
    Ok(all)
}

/// A line of an interface begins with its index; those of its groups follow, indented, as numbers in host byte order.
fn parse_igmp(text: &str) -> Vec<Membership> {
    let (mut device, mut all) = (None, Vec::new());
    for line in text.lines().skip(1) {
        let word = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) {
            device = word.parse().ok().map(IfIndex);
        } else if let (Some(device), Ok(group)) = (device, u32::from_str_radix(word, 16)) {
            let group = IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()));
            all.push(Membership { device, group });
        }
    }
    all
}

/// A line is an index, a name, a group in hex, and more.
fn parse_igmp6(text: &str) -> Vec<Membership> {
    let membership = |line: &str| {
        let mut words = line.split_whitespace();
        let (device, group) = (words.next()?.parse().ok()?, words.nth(1)?);
        let group = u128::from_str_radix(group, 16).ok()?;
        Some(Membership { device: IfIndex(device), group: IpAddr::V6(Ipv6Addr::from(group)) })
    };
    text.lines().filter_map(membership).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_with_and_without_a_device() {
        let text = "Type Device      Function\nALL  br0      tpacket_rcv\n0800          ip_rcv\n88cc eth0     lldp_rcv\n";
        let found: Vec<_> =
            parse_ptype(text).into_iter().map(|h| (h.protocol.0, h.device, h.function)).collect();
        let lldp = (0x88cc, Some("eth0".to_owned()), "lldp_rcv".to_owned());
        assert_eq!(found, [(0x0800, None, "ip_rcv".to_owned()), lldp]);
    }

    #[test]
    fn groups_of_both_families() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    2\tbr0       :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let all = "224.0.0.1".parse::<IpAddr>().unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(parse_igmp(igmp), [Membership { device: IfIndex(2), group: all }]);
        }
        let igmp6 = "2    br0             ff020000000000000000000000000001     1 0000000C 0\n";
        assert_eq!(
            parse_igmp6(igmp6),
            [Membership { device: IfIndex(2), group: "ff02::1".parse().unwrap() }]
        );
    }
}
