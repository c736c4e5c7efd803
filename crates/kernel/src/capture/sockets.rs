//! Sockets that take what arrives, and the stack's protocol handlers.

use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;
use portcullis_snapshot::{
    EtherType, IfIndex, Link, ListenProtocol, Listener, Membership, PacketSocket, ProtocolHandler, Reading,
    Unread, UnreadCause,
};
use portcullis_wire::{Message, diag, inet};

use crate::Error;
use crate::netlink::{Family, Socket};

/// Listening TCP sockets and unconnected UDP sockets.
pub(super) fn listeners() -> Reading<Vec<Listener>> {
    read_listeners().map_or_else(|error| not_diagnosed(&error, "tcp_diag or udp_diag"), Reading::Read)
}

fn read_listeners() -> Result<Vec<Listener>, Error> {
    const WHAT: &str = "reading listening sockets";
    let mut socket = Socket::open(Family::SockDiag)?;
    let mut listeners = Vec::new();
    for protocol in [ListenProtocol::Tcp, ListenProtocol::Udp] {
        for ipv6 in [false, true] {
            let request = diag::listeners_request(protocol, ipv6);
            listeners.extend(socket.dump(WHAT, &request, Vec::new, |all, reply| {
                all.extend(diag::listener(protocol, reply.payload));
            })?);
        }
    }
    Ok(listeners)
}

/// Packet sockets, of every user: asking takes no privilege (`packet_diag_handler_dump`).
pub(super) fn packet_sockets() -> Reading<Vec<PacketSocket>> {
    match read_packet_sockets() {
        Ok(sockets) => Reading::Read(sockets),
        // An older table tells at least whether there are any.
        Err(_) if proc_net("packet").is_ok_and(|table| table.lines().nth(1).is_none()) => {
            Reading::Read(Vec::new())
        }
        Err(error) => not_diagnosed(&error, "packet_diag"),
    }
}

fn read_packet_sockets() -> Result<Vec<PacketSocket>, Error> {
    let mut socket = Socket::open(Family::SockDiag)?;
    socket.dump("reading packet sockets", &diag::packet_sockets_request(), Vec::new, |all, reply| {
        all.extend(diag::packet_socket(reply.payload));
    })
}

/// A kernel that has the sockets but not what lists them answers `ENOENT`, and leaves it open what there is.
///
/// Asking makes it look for the module that would (`sock_load_diag_module`): those modules only read.
fn not_diagnosed<T>(error: &Error, module: &str) -> Reading<T> {
    let mut unread = error.unread();
    if error.errno() == Some(Errno::ENOENT) {
        unread =
            Unread { cause: UnreadCause::Failed, reason: format!("{error}: this kernel has no {module}") };
    }
    Reading::Unread(unread)
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

/// Lines are four characters of type (hex digits, or `ALL`), a device if the handler is confined to one, a function,
/// and in brackets the module that it is in if it is in one (`ptype_seq_show`).
fn parse_ptype(text: &str) -> Vec<ProtocolHandler> {
    const ETH_P_ALL: u16 = 3;
    let handler = |line: &str| {
        let (protocol, rest) = line.split_at_checked(4)?;
        let (rest, module) = match rest.trim().split_once(" [") {
            Some((rest, module)) => (rest, format!(" [{module}")),
            None => (rest.trim(), String::new()),
        };
        let (device, function) = match rest.split_once(char::is_whitespace) {
            Some((device, function)) => (Some(device.to_owned()), function.trim()),
            None => (None, rest),
        };
        let protocol = match protocol.trim() {
            "ALL" => ETH_P_ALL,
            digits => u16::from_str_radix(digits, 16).ok()?,
        };
        let of_a_socket = function.contains("packet_rcv");
        let function = format!("{function}{module}");
        (!of_a_socket).then_some(ProtocolHandler { protocol: EtherType(protocol), device, function })
    };
    text.lines().skip(1).filter_map(handler).collect()
}

/// The groups that the host joined, those of IPv4 from `/proc/net/igmp` where a kernel before 6.15 has no messages of
/// them. The kernel writes that file anew for each of its pages, which takes long on many interfaces.
pub(super) fn memberships(route: &mut Socket) -> Result<Vec<Membership>, Error> {
    let unsupported = |error: &Error| error.errno() == Some(Errno::EOPNOTSUPP);
    let mut all = match joined(route, libc::AF_INET) {
        Err(error) if unsupported(&error) => parse_igmp(&proc_net("igmp")?),
        groups => groups?,
    };
    match joined(route, libc::AF_INET6) {
        // This kernel runs no IPv6.
        Err(error) if unsupported(&error) => {}
        groups => all.extend(groups?),
    }
    Ok(all)
}

/// Keeps the memberships of interfaces that were read. `links` are in the order of their indices.
pub(super) fn of_links(mut all: Vec<Membership>, links: &[Link]) -> Vec<Membership> {
    all.retain(|membership| links.binary_search_by_key(&membership.device, |link| link.index).is_ok());
    all
}

fn joined(route: &mut Socket, family: i32) -> Result<Vec<Membership>, Error> {
    const RTM_GETMULTICAST: u16 = 58;
    let message = Message::new(RTM_GETMULTICAST, 0).header(&[family as u8, 0, 0, 0, 0, 0, 0, 0]);
    route.dump("reading multicast memberships", &message, Vec::new, |all, reply| {
        all.extend(inet::membership(reply.payload));
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_with_and_without_a_device_and_a_module() {
        let text = "Type Device      Function\n\
                    ALL  br0      tpacket_rcv\n\
                    ALL           packet_rcv [af_packet]\n\
                    ALL  br0      VNetBridgeReceiveFromDev [vmnet]\n\
                    0800          ip_rcv\n\
                    0004          llc_rcv [llc]\n\
                    88cc eth0     lldp_rcv\n";
        let found: Vec<_> =
            parse_ptype(text).into_iter().map(|h| (h.protocol.0, h.device, h.function)).collect();
        let expected = [
            (0x0003, Some("br0"), "VNetBridgeReceiveFromDev [vmnet]"),
            (0x0800, None, "ip_rcv"),
            (0x0004, None, "llc_rcv [llc]"),
            (0x88cc, Some("eth0"), "lldp_rcv"),
        ];
        assert_eq!(
            found,
            expected.map(|(p, device, function)| (p, device.map(str::to_owned), function.to_owned()))
        );
    }

    #[test]
    fn a_kernel_without_diagnostics_leaves_it_open() {
        let unread = |errno| {
            let reading: Reading<()> = not_diagnosed(&Error::refused("reading", errno), "packet_diag");
            reading.unread().cloned().unwrap()
        };
        assert_eq!(unread(Errno::ENOENT).cause, UnreadCause::Failed);
        assert!(unread(Errno::ENOENT).reason.contains("packet_diag"));
        assert_eq!(unread(Errno::EPERM).cause, UnreadCause::Permission);
    }

    #[test]
    fn groups_in_host_byte_order() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    2\tbr0       :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let all = "224.0.0.1".parse::<IpAddr>().unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(parse_igmp(igmp), [Membership { device: IfIndex(2), group: all }]);
        }
    }
}
