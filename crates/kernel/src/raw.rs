//! Raw IP sockets: a copy of what the host's transport layer gets, with the interface that it came in by.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use portcullis_snapshot::IfIndex;

use crate::packet::MOST_AT_ONCE;
use crate::{Error, sys};

/// A packet that was delivered to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The interface, as the IP layer sees it.
    pub device: IfIndex,
    /// From the IPv4 header on; for IPv6 what follows the headers.
    pub bytes: Vec<u8>,
}

/// A raw socket of one IP protocol. It gets its copy after the routing decision and the LOCAL_IN hooks
/// (`raw_local_deliver`, `raw6_local_deliver`), before the protocol's own handler.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl RawSocket {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if the kernel runs no IPv6.
    pub fn open(ipv6: bool, protocol: u8) -> Result<Self, Error> {
        let refused =
            |errno| Error::refused(format!("opening a raw socket of IP protocol {protocol}"), errno);
        let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        let fd =
            sys::socket(family, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol.into()).map_err(refused)?;
        let told = if ipv6 {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)
        } else {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)
        };
        told.map_err(refused)?;
        Ok(Self { fd, buffer: vec![0; 65536] })
    }

    /// Returns what was delivered so far, without waiting, [`MOST_AT_ONCE`] at most.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn drain(&mut self) -> Result<Vec<Delivered>, Error> {
        std::iter::from_fn(|| self.receive().transpose()).take(MOST_AT_ONCE).collect()
    }

    fn receive(&mut self) -> Result<Option<Delivered>, Error> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo);
        let mut vectors = [IoSliceMut::new(&mut self.buffer)];
        let (length, device) = loop {
            let fd = self.fd.as_fd().as_raw_fd();
            let received =
                recvmsg::<SockaddrStorage>(fd, &mut vectors, Some(&mut control), MsgFlags::empty());
            match received {
                Ok(message) => {
                    let device = message.cmsgs().ok().and_then(|mut all| all.find_map(|one| interface(&one)));
                    break (message.bytes, device.unwrap_or(IfIndex(0)));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("receiving a packet", errno)),
            }
        };
        Ok(Some(Delivered { device, bytes: self.buffer.get(..length).unwrap_or_default().to_vec() }))
    }
}

fn interface(message: &ControlMessageOwned) -> Option<IfIndex> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IfIndex(info.ipi_ifindex.cast_unsigned())),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IfIndex(info.ipi6_ifindex)),
        _ => None,
    }
}
