//! Packet sockets: raw frames in and out of an interface.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use portcullis_snapshot::{EtherType, IfIndex};

use crate::{Error, sys};

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Its bytes; a tag that the kernel had set aside is back in its place.
    pub bytes: Vec<u8>,
    /// The interface.
    pub device: IfIndex,
    /// `PACKET_*`: 0 to us, 1 broadcast, 2 multicast, 3 to somebody else, 4 sent by us.
    pub pkt_type: u8,
}

/// How many frames or packets are returned at once: more than a socket holds, and not all of what goes round without end and
/// may come faster than it is read.
pub const MOST_AT_ONCE: usize = 16_384;

/// `PACKET_OUTGOING`: this host sent it.
pub const OUTGOING: u8 = 4;

/// Whether a socket asks its interface to be promiscuous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promiscuous {
    /// It does (`PACKET_MR_PROMISC`), until it is closed.
    Yes,
    /// It takes what comes.
    No,
}

/// A packet socket: on one interface for every protocol, or everywhere for some.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// `ETH_P_ALL`: for every protocol, in both directions.
pub const EVERY_PROTOCOL: EtherType = EtherType(libc::ETH_P_ALL as u16);

fn sockaddr_ll(protocol: EtherType, device: IfIndex) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.0.to_be(),
        sll_ifindex: device.0.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

impl PacketSocket {
    /// Opens a socket on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if there is no such interface.
    pub fn open(device: IfIndex, promiscuous: Promiscuous) -> Result<Self, Error> {
        let refused = |errno| Error::refused(format!("opening a packet socket on interface {device}"), errno);
        let fd = Self::bound(EVERY_PROTOCOL, device).map_err(refused)?;
        if promiscuous == Promiscuous::Yes {
            let request = libc::packet_mreq {
                mr_ifindex: device.0.cast_signed(),
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            sys::set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, request)
                .map_err(refused)?;
        }
        Ok(Self { fd, buffer: vec![0; 65536] })
    }

    /// Opens a socket on all interfaces of the calling thread's namespace, for one protocol or [`EVERY_PROTOCOL`].
    /// Protocol 0 hears nothing: for those who only send.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`.
    pub fn open_everywhere(protocol: EtherType) -> Result<Self, Error> {
        let fd = Self::bound(protocol, IfIndex(0))
            .map_err(|errno| Error::refused("opening a packet socket on every interface", errno))?;
        Ok(Self { fd, buffer: vec![0; 65536] })
    }

    fn bound(protocol: EtherType, device: IfIndex) -> Result<OwnedFd, Errno> {
        // Protocol 0 until it is bound, lest frames of other interfaces slip in before.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        sys::set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1i32)?;
        // Beyond `net.core.rmem_max` where that is allowed.
        for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
            let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, option, 4i32 << 20);
        }
        sys::bind(fd.as_fd(), &sockaddr_ll(protocol, device))?;
        Ok(fd)
    }

    /// Sends a frame out of an interface, whichever this socket is on.
    ///
    /// # Errors
    /// If the interface is down or the frame too long, or shorter than an Ethernet header.
    pub fn send_by(&self, device: IfIndex, frame: &[u8]) -> Result<(), Error> {
        let address = sockaddr_ll(EtherType(0), device);
        sys::send_to(self.fd.as_fd(), frame, &address).map_err(|e| Error::refused("sending a frame", e))
    }

    /// Sends a frame out of the interface.
    ///
    /// # Errors
    /// If the interface is down or the frame too long.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        loop {
            match send(self.fd.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("sending a frame", errno)),
            }
        }
    }

    /// Returns what has arrived so far, without waiting, [`MOST_AT_ONCE`] at most; frames that this host sent are left out.
    ///
    /// # Errors
    /// If the interface went away.
    pub fn drain(&mut self) -> Result<Vec<Captured>, Error> {
        let mut frames = self.drain_both_ways()?;
        frames.retain(|captured| captured.pkt_type != OUTGOING);
        Ok(frames)
    }

    /// Returns what has passed so far in either direction, without waiting, [`MOST_AT_ONCE`] at most.
    ///
    /// # Errors
    /// If the interface went away.
    pub fn drain_both_ways(&mut self) -> Result<Vec<Captured>, Error> {
        std::iter::from_fn(|| self.receive().transpose()).take(MOST_AT_ONCE).collect()
    }

    /// Waits until a frame arrives that `wanted` says yes to, and returns all that came until then, that one last.
    /// `None` if the time is over first.
    ///
    /// # Errors
    /// If the interface went away.
    pub fn wait_for(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Captured) -> bool,
    ) -> Result<Option<Vec<Captured>>, Error> {
        let (start, mut frames) = (Instant::now(), Vec::new());
        loop {
            while let Some(captured) = self.receive()? {
                if captured.pkt_type == OUTGOING {
                    continue;
                }
                let found = wanted(&captured);
                frames.push(captured);
                if found {
                    return Ok(Some(frames));
                }
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            wait_readable([self.fd.as_fd()], left)?;
        }
    }

    fn receive(&mut self) -> Result<Option<Captured>, Error> {
        let received = sys::receive_frame(self.fd.as_fd(), &mut self.buffer);
        let received = received.map_err(|errno| Error::refused("receiving a frame", errno))?;
        let Some((length, about)) = received else { return Ok(None) };
        let mut bytes = self.buffer.get(..length).unwrap_or_default().to_vec();
        if let Some((tpid, tci)) = about.tag
            && bytes.len() >= 12
        {
            let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            bytes.splice(12..12, tag);
        }
        let device = IfIndex(about.ifindex.cast_unsigned());
        Ok(Some(Captured { bytes, device, pkt_type: about.pkt_type }))
    }
}

/// Waits until there is something to read from one of several descriptors; whether there is.
///
/// # Errors
/// If the kernel refuses to wait.
pub fn wait_readable<'a>(
    fds: impl IntoIterator<Item = BorrowedFd<'a>>,
    limit: Duration,
) -> Result<bool, Error> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut fds: Vec<_> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(Error::refused("waiting for a frame", errno)),
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
