//! Socket diagnostics: who listens and who captures (linux/inet_diag.h, linux/packet_diag.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{EtherType, IfIndex, ListenProtocol, Listener, PacketSocket};

use crate::attribute::{u8_at, u16_at, u32_at};
use crate::{Attributes, Message};

/// `SOCK_DIAG_BY_FAMILY`.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_msg`.
const INET_DIAG_MSG: usize = 72;
/// `struct packet_diag_msg`.
const PACKET_DIAG_MSG: usize = 16;
/// `struct packet_diag_mclist`.
const PACKET_DIAG_MCLIST: usize = 44;

/// Asks for the sockets of a protocol that take what comes: listening TCP, unconnected UDP.
#[must_use]
pub fn listeners_request(protocol: ListenProtocol, ipv6: bool) -> Message {
    const TCP_CLOSE: u32 = 7;
    const TCP_LISTEN: u32 = 10;
    let (number, state) = match protocol {
        ListenProtocol::Tcp => (6, TCP_LISTEN),
        ListenProtocol::Udp => (17, TCP_CLOSE),
    };
    let mut request = vec![if ipv6 { 10 } else { 2 }, number, 0, 0];
    request.extend((1u32 << state).to_ne_bytes());
    request.extend([0; 48]);
    Message::new(SOCK_DIAG_BY_FAMILY, 0).header(&request)
}

/// Decodes one answer to [`listeners_request`].
#[must_use]
pub fn listener(protocol: ListenProtocol, message: &[u8]) -> Option<Listener> {
    let address: [u8; 16] = *message.get(8..)?.first_chunk()?;
    let [a, b, c, d, ..] = address;
    let address = match u8_at(message, 0)? {
        2 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(address)),
    };
    let device = u32_at(message, 40)?;
    let v6only = Attributes::after(message, INET_DIAG_MSG).get(11).and_then(|only| only.u8());
    Some(Listener {
        protocol,
        address,
        port: u16::from_be(u16_at(message, 4)?),
        device: (device != 0).then_some(IfIndex(device)),
        v6only: v6only.map(|only| only != 0),
        uid: u32_at(message, 64)?,
        inode: u32_at(message, 68)?.into(),
        processes: Vec::new(),
    })
}

/// Asks for every packet socket, with what it asked its interfaces for.
#[must_use]
pub fn packet_sockets_request() -> Message {
    const PACKET_SHOW_INFO: u32 = 1;
    const PACKET_SHOW_MCLIST: u32 = 2;
    let mut request = vec![17, 0, 0, 0, 0, 0, 0, 0];
    request.extend((PACKET_SHOW_INFO | PACKET_SHOW_MCLIST).to_ne_bytes());
    request.extend([0; 8]);
    Message::new(SOCK_DIAG_BY_FAMILY, 0).header(&request)
}

/// Decodes one answer to [`packet_sockets_request`].
#[must_use]
pub fn packet_socket(message: &[u8]) -> Option<PacketSocket> {
    const PACKET_MR_PROMISC: u16 = 1;
    const PACKET_MR_ALLMULTI: u16 = 2;
    let attributes = Attributes::after(message, PACKET_DIAG_MSG);
    let device = attributes.get(0).and_then(|info| info.u32()).filter(|device| *device != 0);
    let memberships = attributes.get(1).map(|list| list.payload).unwrap_or_default();
    // However often one socket asks, its interface counts it once (packet_mc_add).
    let asked_for = |wanted: u16| {
        let entries = memberships.chunks_exact(PACKET_DIAG_MCLIST);
        let of_kind = entries.filter(move |entry| u16_at(entry, 8) == Some(wanted));
        of_kind.filter_map(|entry| u32_at(entry, 0).map(IfIndex)).collect::<Vec<_>>()
    };
    Some(PacketSocket {
        device: device.map(IfIndex),
        protocol: EtherType(u16_at(message, 2)?),
        promiscuous: asked_for(PACKET_MR_PROMISC),
        allmulti: asked_for(PACKET_MR_ALLMULTI),
        uid: attributes.get(5).and_then(|uid| uid.u32()),
        inode: u32_at(message, 4)?.into(),
        processes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listener_bytes(family: u8, address: &[u8], device: u32, v6only: Option<u8>) -> Vec<u8> {
        let mut bytes = vec![family, 10, 0, 0, 0, 22, 0, 0];
        bytes.extend(address);
        bytes.resize(40, 0);
        bytes.extend(device.to_ne_bytes());
        bytes.resize(64, 0);
        bytes.extend(1000u32.to_ne_bytes());
        bytes.extend(4711u32.to_ne_bytes());
        if let Some(only) = v6only {
            bytes.extend([5, 0, 11, 0, only, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn listeners_of_both_families() {
        let four = listener(ListenProtocol::Tcp, &listener_bytes(2, &[192, 0, 2, 1], 0, None)).unwrap();
        assert_eq!((four.address.to_string(), four.port, four.device), ("192.0.2.1".to_owned(), 22, None));
        assert_eq!((four.uid, four.inode, four.v6only), (1000, 4711, None));
        let six = listener(ListenProtocol::Udp, &listener_bytes(10, &[0; 16], 4, Some(1))).unwrap();
        assert_eq!((six.address.to_string(), six.device), ("::".to_owned(), Some(IfIndex(4))));
        assert_eq!((six.protocol, six.v6only), (ListenProtocol::Udp, Some(true)));
    }

    #[test]
    fn a_packet_socket_with_its_memberships() {
        let mut bytes = vec![17, 3];
        bytes.extend(3u16.to_ne_bytes());
        bytes.extend(99u32.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([24, 0, 0, 0]); // PACKET_DIAG_INFO
        bytes.extend(5u32.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend((4 + 2 * 44u16).to_ne_bytes());
        bytes.extend([1, 0]); // PACKET_DIAG_MCLIST
        for (device, count, kind) in [(5u32, 2u32, 1u16), (6, 1, 2)] {
            bytes.extend(device.to_ne_bytes());
            bytes.extend(count.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(bytes.len() + 34, 0);
        }
        bytes.extend([8, 0, 5, 0]); // PACKET_DIAG_UID
        bytes.extend(0u32.to_ne_bytes());
        let socket = packet_socket(&bytes).unwrap();
        assert_eq!((socket.protocol, socket.inode, socket.uid), (EtherType(3), 99, Some(0)));
        assert_eq!(socket.device, Some(IfIndex(5)));
        assert_eq!((socket.promiscuous, socket.allmulti), (vec![IfIndex(5)], vec![IfIndex(6)]));
    }

    #[test]
    fn requests_have_the_kernels_sizes() {
        // struct inet_diag_req_v2 and struct packet_diag_req behind the netlink header.
        assert_eq!(listeners_request(ListenProtocol::Tcp, true).finish(1).len(), 16 + 56);
        assert_eq!(packet_sockets_request().finish(1).len(), 16 + 20);
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (listener(ListenProtocol::Tcp, &bytes), packet_socket(&bytes));
            let _ = (crate::tc::qdisc(&bytes), crate::tc::filter_entry(&bytes));
            let _ = (crate::nft::table(&bytes), crate::nft::base_chain(&bytes), crate::nft::flowtable(&bytes));
            let _ = crate::nft::hook_function(&bytes);
        }
    }
}
