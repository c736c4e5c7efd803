//! Netlink sockets: requests with their answers, dumps that are consistent, batches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, recv, send};
use portcullis_wire::{Message, Messages, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use crate::{Error, sys};

/// How often an interrupted dump is tried again.
const DUMP_TRIES: u32 = 8;
/// Large enough for whatever the kernel packs into one datagram of a dump.
const BUFFER: usize = 128 * 1024;

/// The netlink families that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours, tc.
    Route,
    /// nftables.
    Netfilter,
    /// Socket diagnostics.
    SockDiag,
}

impl Family {
    const fn protocol(self) -> i32 {
        match self {
            Self::Route => libc::NETLINK_ROUTE,
            Self::Netfilter => libc::NETLINK_NETFILTER,
            Self::SockDiag => libc::NETLINK_SOCK_DIAG,
        }
    }
}

/// One message out of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// Its type.
    pub kind: u16,
    /// What follows its netlink header.
    pub payload: &'a [u8],
}

/// A netlink socket, in the namespace that its thread was in when it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket.
    ///
    /// # Errors
    /// If the kernel does not have the family.
    pub fn open(family: Family) -> Result<Self, Error> {
        let protocol = family.protocol();
        let what = || format!("opening a netlink socket ({family:?})");
        let fd =
            sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol).map_err(|e| Error::refused(what(), e))?;
        // Comforts that an old kernel may lack: errors in words, no echo of requests, a large queue, strict checks.
        let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1i32);
        let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1i32);
        let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 1i32);
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 4i32 << 20);
        Ok(Self { fd, sequence: 1, buffer: vec![0; BUFFER] })
    }

    /// Turns strict checking of dump requests off, for messages that predate it.
    pub fn lenient(self) -> Self {
        let _ = sys::set_option(self.fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 0i32);
        self
    }

    /// Makes a change and waits for the kernel's word on it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's own words.
    pub fn change(&mut self, what: &str, message: Message) -> Result<(), Error> {
        self.request(what, message.flags(NLM_F_ACK), |_| ())
    }

    /// Makes several changes at once; stops being careful about order: the kernel takes them one after another, and
    /// the first refusal is reported, though later ones were tried too.
    ///
    /// # Errors
    /// The first refusal, with what was being done.
    pub fn batch(&mut self, changes: Vec<(String, Message)>) -> Result<(), Error> {
        self.batch_each(changes)?.into_iter().collect()
    }

    /// Makes several changes at once, and tells of each what became of it.
    ///
    /// # Errors
    /// If the kernel cannot be talked to at all.
    pub fn batch_each(&mut self, changes: Vec<(String, Message)>) -> Result<Vec<Result<(), Error>>, Error> {
        let mut results = Vec::with_capacity(changes.len());
        // A handful at a time, so that the answers always fit into the receive queue.
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let chunk: Vec<_> = changes.by_ref().take(64).collect();
            let first = self.sequence;
            let mut bytes = Vec::new();
            for (_, message) in &chunk {
                let sequence = self.next_sequence();
                bytes.extend(message.clone().flags(NLM_F_ACK).finish(sequence));
            }
            self.send("a batch of changes", &bytes)?;
            self.collect_acks(chunk, first, &mut results)?;
        }
        Ok(results)
    }

    /// Makes several changes at once, or none of them (nfnetlink's batches).
    ///
    /// # Errors
    /// The first refusal, with what was being done.
    pub fn transaction(&mut self, changes: Vec<(String, Message)>) -> Result<(), Error> {
        const WHAT: &str = "a transaction";
        let Some(last) = changes.len().checked_sub(1) else { return Ok(()) };
        let begin = self.next_sequence();
        let mut bytes = portcullis_wire::nft::batch_begin().finish(begin);
        for (at, (_, message)) in changes.iter().enumerate() {
            let sequence = self.next_sequence();
            // Refusals come unasked. That there are none the last one tells: an answer to each would not fit into the queue.
            let message = if at == last { message.clone().flags(NLM_F_ACK) } else { message.clone() };
            bytes.extend(message.finish(sequence));
        }
        let end = self.next_sequence();
        bytes.extend(portcullis_wire::nft::batch_end().finish(end));
        self.make_room(bytes.len());
        self.send(WHAT, &bytes)?;
        loop {
            let length = self.receive(WHAT)?;
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                let place = message.sequence.wrapping_sub(begin);
                let Some(ack) = message.ack().filter(|_| place <= end.wrapping_sub(begin)) else { continue };
                // What is about the whole is told of its first message.
                let of = (place as usize).checked_sub(1).filter(|at| *at <= last);
                match (ack.errno, of) {
                    (0, Some(at)) if at == last => return Ok(()),
                    (0, _) => {}
                    (errno, of) => {
                        let what =
                            of.and_then(|at| changes.get(at)).map_or(WHAT, |(what, _)| what).to_owned();
                        return Err(Error::Refused {
                            what,
                            errno: Errno::from_raw(errno),
                            detail: ack.message,
                        });
                    }
                }
            }
        }
    }

    /// Has the socket take a message of so many bytes, beyond `net.core.wmem_max` where that is allowed.
    fn make_room(&self, bytes: usize) {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        for option in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
            let _ = sys::set_option(self.fd.as_fd(), libc::SOL_SOCKET, option, bytes);
        }
    }

    /// The kernel answers in the order of the requests.
    fn collect_acks(
        &mut self,
        chunk: Vec<(String, Message)>,
        first: u32,
        results: &mut Vec<Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut waiting = chunk.into_iter().zip(first..);
        let mut next = waiting.next();
        while next.is_some() {
            let length = self.receive("a batch of changes")?;
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                let Some(ack) = message.ack() else { continue };
                let Some(((what, _), _)) = next.take_if(|(_, sequence)| *sequence == message.sequence) else {
                    continue;
                };
                results.push(match ack.errno {
                    0 => Ok(()),
                    errno => Err(Error::Refused { what, errno: Errno::from_raw(errno), detail: ack.message }),
                });
                next = waiting.next();
            }
        }
        Ok(())
    }

    /// Sends one request and hands over what comes back, until the kernel's word that it was all.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's own words.
    pub fn request(
        &mut self,
        what: &str,
        message: Message,
        mut each: impl FnMut(Reply<'_>),
    ) -> Result<(), Error> {
        let sequence = self.next_sequence();
        self.send(what, &message.finish(sequence))?;
        loop {
            let length = self.receive(what)?;
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                if message.sequence != sequence {
                    continue;
                }
                match message.ack() {
                    Some(ack) if ack.errno == 0 => return Ok(()),
                    Some(ack) => {
                        let (what, errno) = (what.to_owned(), Errno::from_raw(ack.errno));
                        return Err(Error::Refused { what, errno, detail: ack.message });
                    }
                    None => each(Reply { kind: message.kind, payload: message.payload }),
                }
            }
        }
    }

    /// Dumps a table, as a whole: one that changed while it was read is read again. `fold` starts anew each time from
    /// `start()` and takes in one message after another.
    ///
    /// # Errors
    /// [`Error::Refused`], or [`Error::Interrupted`] if the table would not hold still.
    pub fn dump<T>(
        &mut self,
        what: &str,
        message: &Message,
        start: impl Fn() -> T,
        mut fold: impl FnMut(&mut T, Reply<'_>),
    ) -> Result<T, Error> {
        for _ in 0..DUMP_TRIES {
            let mut table = start();
            if self.dump_once(what, message.clone(), &mut |reply| fold(&mut table, reply))? {
                return Ok(table);
            }
        }
        Err(Error::Interrupted { what: what.to_owned(), tries: DUMP_TRIES })
    }

    /// One pass of a dump; whether it was consistent.
    fn dump_once(
        &mut self,
        what: &str,
        message: Message,
        each: &mut dyn FnMut(Reply<'_>),
    ) -> Result<bool, Error> {
        let sequence = self.next_sequence();
        self.send(what, &message.flags(NLM_F_DUMP).finish(sequence))?;
        let mut consistent = true;
        loop {
            let length = self.receive(what)?;
            for message in Messages::new(self.buffer.get(..length).unwrap_or_default()) {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => match message.ack() {
                        Some(ack) if ack.errno != 0 => {
                            let (what, errno) = (what.to_owned(), Errno::from_raw(ack.errno));
                            return Err(Error::Refused { what, errno, detail: ack.message });
                        }
                        _ => return Ok(consistent),
                    },
                    kind => each(Reply { kind, payload: message.payload }),
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        sequence
    }

    fn send(&self, what: &str, bytes: &[u8]) -> Result<(), Error> {
        match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::refused(what, errno)),
        }
    }

    fn receive(&mut self, what: &str) -> Result<usize, Error> {
        loop {
            // MSG_TRUNC: the true length, so that a datagram which did not fit is noticed.
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    let detail = format!("a datagram of {length} bytes");
                    return Err(Error::Malformed { what: what.to_owned(), detail });
                }
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused(what, errno)),
            }
        }
    }
}

/// Hears of changes while something else is done.
#[derive(Debug)]
pub struct Events {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// A change that the kernel told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A message of this type (`RTM_*`), about this address family.
    Message {
        /// Its type.
        kind: u16,
        /// The first byte of its payload: `AF_BRIDGE` for the FDB, `AF_INET` and so on.
        family: u8,
    },
    /// More than the queue could hold: anything may have changed.
    Lost,
}

impl Events {
    /// Listens for changes of interfaces from now on, in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn of_links() -> Result<Self, Error> {
        Self::subscribe(Family::Route, &[libc::RTNLGRP_LINK])
    }

    /// Listens to groups (`RTNLGRP_*`, `NFNLGRP_*`) from now on, in the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket, or has no such group.
    pub fn subscribe(family: Family, groups: &[u32]) -> Result<Self, Error> {
        let refused = |errno| Error::refused("listening for changes", errno);
        let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, family.protocol());
        let fd = fd.map_err(refused)?;
        nix::sys::socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(refused)?;
        for group in groups {
            let number = group.cast_signed();
            sys::set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, number)
                .map_err(refused)?;
        }
        Ok(Self { fd, buffer: vec![0; BUFFER] })
    }

    /// Returns what the kernel told since the last time this was asked.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn drain(&mut self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let messages = Messages::new(self.buffer.get(..length).unwrap_or_default());
                    events.extend(messages.map(|message| Event::Message {
                        kind: message.kind,
                        family: message.payload.first().copied().unwrap_or(0),
                    }));
                }
                Err(Errno::EAGAIN) => return Ok(events),
                Err(Errno::ENOBUFS) => events.push(Event::Lost),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::refused("listening for changes", errno)),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
