//! Packet sockets: raw frames in and out of an interface.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use portcullis_snapshot::IfIndex;

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

/// Whether a socket asks its interface to be promiscuous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promiscuous {
    /// It does (`PACKET_MR_PROMISC`), until it is closed.
    Yes,
    /// It takes what comes.
    No,
}

/// A packet socket bound to one interface, for every protocol.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

const ETH_P_ALL_BE: u16 = (libc::ETH_P_ALL as u16).to_be();

impl PacketSocket {
    /// Opens a socket on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if there is no such interface.
    pub fn open(device: IfIndex, promiscuous: Promiscuous) -> Result<Self, Error> {
        let what = || format!("opening a packet socket on interface {device}");
        let refused = |errno| Error::refused(what(), errno);
        // Protocol 0 until it is bound, lest frames of other interfaces slip in before.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0).map_err(refused)?;
        sys::set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1i32).map_err(refused)?;
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 4i32 << 20);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ETH_P_ALL_BE,
            sll_ifindex: device.0.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        sys::bind(fd.as_fd(), &address).map_err(refused)?;
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

    /// Returns what has arrived so far, without waiting; frames that this host sent are left out.
    ///
    /// # Errors
    /// If the interface went away.
    pub fn drain(&mut self) -> Result<Vec<Captured>, Error> {
        let mut frames = Vec::new();
        while let Some((captured, ours)) = self.receive()? {
            if !ours {
                frames.push(captured);
            }
        }
        Ok(frames)
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
            while let Some((captured, ours)) = self.receive()? {
                if ours {
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
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("waiting for a frame", errno)),
            }
        }
    }

    fn receive(&mut self) -> Result<Option<(Captured, bool)>, Error> {
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
        let ours = i32::from(about.pkt_type) == i32::from(libc::PACKET_OUTGOING);
        Ok(Some((Captured { bytes, device, pkt_type: about.pkt_type }, ours)))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
