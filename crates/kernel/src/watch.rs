//! Waiting until something happens in a directory, the other end of a pipe is closed, or anything changes in a namespace.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::Error;
use crate::netlink::{Events, Family};
use crate::packet::wait_readable;

/// `NFNLGRP_NFTABLES` (`include/uapi/linux/netfilter/nfnetlink.h`).
const NFTABLES: u32 = 7;
/// What `rtnetlink` tells of that decides where frames go.
const ROUTE: [u32; 12] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_TC,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_IPV4_NETCONF,
    libc::RTNLGRP_IPV6_NETCONF,
    libc::RTNLGRP_MDB,
];

/// Hears of whatever the kernel tells of that decides where frames go, in one network namespace.
///
/// It tells nothing of most settings under `/proc/sys`, nor of the rules of iptables-legacy, ebtables-legacy and arptables-legacy.
#[derive(Debug)]
pub struct Changes(Vec<Events>);

impl Changes {
    /// Listens from now on, in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn listen() -> Result<Self, Error> {
        let mut heard = vec![Events::subscribe(Family::Route, &ROUTE)?];
        // Where nftables cannot be had there is nothing of it to hear.
        heard.extend(Events::subscribe(Family::Netfilter, &[NFTABLES]).ok());
        Ok(Self(heard))
    }

    /// Waits until something changes, or for some time; tells whether something did. Several changes are one.
    ///
    /// # Errors
    /// If the kernel refuses to wait, or to tell.
    pub fn wait(&mut self, at_most: Duration) -> Result<bool, Error> {
        wait_readable(self.0.iter().map(AsFd::as_fd), at_most)?;
        let told = self.0.iter_mut().map(Events::drain).collect::<Result<Vec<_>, _>>()?;
        Ok(!told.concat().is_empty())
    }
}

/// Hears of files that are written or taken away in a directory.
#[derive(Debug)]
pub struct Directory {
    inotify: Inotify,
}

impl Directory {
    /// Listens from now on.
    ///
    /// # Errors
    /// If there is no such directory, or the user has too many of these.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |errno| Error::refused(format!("watching {}", path.display()), errno);
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(refused)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(path, flags).map_err(refused)?;
        Ok(Self { inotify })
    }

    /// Waits for something to happen there, for a pipe to be closed at its other end, or for some time to pass, whichever is
    /// first; tells whether the pipe was closed. Several things that happened are one.
    ///
    /// # Errors
    /// If the kernel refuses to wait.
    pub fn wait(&self, pipe: Option<BorrowedFd<'_>>, at_most: Duration) -> Result<bool, Error> {
        let refused = |errno| Error::refused("waiting", errno);
        let mut places = vec![PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        // Without events asked for, it is told of the end only.
        places.extend(pipe.map(|pipe| PollFd::new(pipe, PollFlags::empty())));
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        match poll(&mut places, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(refused(errno)),
        }
        let closed = places.get(1).and_then(PollFd::any).unwrap_or(false);
        drop(places);
        match self.inotify.read_events() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(closed),
            Err(errno) => Err(refused(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_closed_pipe_and_a_written_file_are_noticed() {
        let path = std::env::temp_dir().join(format!("portcullis-watch-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let directory = Directory::open(&path).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        std::fs::write(path.join("file"), "1").unwrap();
        assert!(!directory.wait(Some(reader.as_fd()), LONG).unwrap());
        drop(writer);
        assert!(directory.wait(Some(reader.as_fd()), LONG).unwrap());
        assert!(!directory.wait(None, Duration::ZERO).unwrap());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
