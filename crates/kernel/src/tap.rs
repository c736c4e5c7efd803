//! Taps: interfaces whose other end is a file descriptor, as virtual machines have them.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use portcullis_snapshot::IfIndex;

use crate::packet::MOST_AT_ONCE;
use crate::{Error, sys};

const DEVICE: &str = "/dev/net/tun";

/// The guest's end of a tap. The interface goes away with it.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes a tap in the calling thread's namespace.
    ///
    /// # Errors
    /// If `/dev/net/tun` cannot be opened, or without `CAP_NET_ADMIN`.
    pub fn create(name: &str) -> Result<Self, Error> {
        Self::make(name, None)
    }

    /// Makes a tap with an index of one's choice.
    ///
    /// # Errors
    /// As [`create`](Self::create), or if the index is taken.
    pub fn create_at(name: &str, index: IfIndex) -> Result<Self, Error> {
        Self::make(name, Some(index))
    }

    fn make(name: &str, index: Option<IfIndex>) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .map_err(|error| Error::file(DEVICE, error))?;
        let refused = |errno| Error::refused(format!("making the tap {name}"), errno);
        if let Some(index) = index {
            sys::tun_set_ifindex(file.as_fd(), index.0).map_err(refused)?;
        }
        sys::tun_set_iff(file.as_fd(), name).map_err(refused)?;
        Ok(Self { file })
    }

    /// Sends a frame, as the guest.
    ///
    /// # Errors
    /// If the interface is down.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.file.write_all(frame).map_err(|error| Error::file(DEVICE, error))
    }

    /// Returns what has arrived for the guest, without waiting, [`MOST_AT_ONCE`] at most.
    ///
    /// # Errors
    /// If the interface went away.
    pub fn drain(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let (mut frames, mut buffer) = (Vec::new(), vec![0; 65536]);
        while frames.len() < MOST_AT_ONCE {
            match self.file.read(&mut buffer) {
                Ok(length) => frames.push(buffer.get(..length).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::file(DEVICE, error)),
            }
        }
        Ok(frames)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
