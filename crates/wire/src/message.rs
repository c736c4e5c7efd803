//! Netlink messages: building requests, and taking apart what comes back.

use crate::attribute::{Attributes, u16_at, u32_at};

/// `NLM_F_REQUEST`.
pub const NLM_F_REQUEST: u16 = 0x01;
/// `NLM_F_ACK`.
pub const NLM_F_ACK: u16 = 0x04;
/// `NLM_F_DUMP_INTR`: the dump is not consistent.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub const NLM_F_DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const NLM_F_REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const NLM_F_EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const NLM_F_CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const NLM_F_APPEND: u16 = 0x800;
/// `NLMSG_ERROR`.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// A request under construction. Lengths are always right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a message of a type; `NLM_F_REQUEST` is added to the flags.
    #[must_use]
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes }
    }

    /// Appends the fixed header of a family, as it is, and pads it.
    #[must_use]
    pub fn header(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub fn put(mut self, number: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(number.to_ne_bytes());
        self.bytes.extend(payload.iter().take(usize::from(length) - 4));
        self.pad();
        self
    }

    /// Appends an attribute without a payload.
    #[must_use]
    pub fn put_flag(self, number: u16) -> Self {
        self.put(number, &[])
    }

    /// Appends a number in host byte order.
    #[must_use]
    pub fn put_u8(self, number: u16, value: u8) -> Self {
        self.put(number, &[value])
    }

    /// Appends a number in host byte order.
    #[must_use]
    pub fn put_u16(self, number: u16, value: u16) -> Self {
        self.put(number, &value.to_ne_bytes())
    }

    /// Appends a number in host byte order.
    #[must_use]
    pub fn put_u32(self, number: u16, value: u32) -> Self {
        self.put(number, &value.to_ne_bytes())
    }

    /// Appends a text with a NUL at its end.
    #[must_use]
    pub fn put_str(self, number: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(number, &bytes)
    }

    /// Appends a nest of attributes.
    #[must_use]
    pub fn nest(mut self, number: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        const NLA_F_NESTED: u16 = 0x8000;
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((number | NLA_F_NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).unwrap_or(u16::MAX);
        patch(&mut filled.bytes, start, &length.to_ne_bytes());
        filled
    }

    /// Finishes the message with its sequence number.
    #[must_use]
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        patch(&mut self.bytes, 0, &length.to_ne_bytes());
        patch(&mut self.bytes, 8, &sequence.to_ne_bytes());
        self.bytes
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        let before = u16_at(&self.bytes, 6).unwrap_or_default();
        patch(&mut self.bytes, 6, &(before | flags).to_ne_bytes());
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn patch(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}

/// One message of a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of a receive buffer. A broken one ends the iteration.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Looks at a receive buffer as messages.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let length = u32_at(self.rest, 0)? as usize;
        let (kind, flags) = (u16_at(self.rest, 4)?, u16_at(self.rest, 6)?);
        let sequence = u32_at(self.rest, 8)?;
        let payload = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received { kind, flags, sequence, payload })
    }
}

/// An answer of the kernel to a request (`struct nlmsgerr`), with what it says in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The error number; 0 is success.
    pub errno: i32,
    /// The kernel's own words (`NLMSGERR_ATTR_MSG`).
    pub message: Option<String>,
}

impl Received<'_> {
    /// Reads an `NLMSG_ERROR` or `NLMSG_DONE` message.
    #[must_use]
    pub fn ack(&self) -> Option<Ack> {
        const NLM_F_CAPPED: u16 = 0x100;
        const NLMSGERR_ATTR_MSG: u16 = 1;
        let errno = u32_at(self.payload, 0).unwrap_or(0).cast_signed().wrapping_neg();
        let attributes = match self.kind {
            NLMSG_DONE => 4,
            // Behind the code stands the request: its header only where capped, or all of it.
            NLMSG_ERROR if self.flags & NLM_F_CAPPED != 0 => 4 + HEADER,
            NLMSG_ERROR => 4 + (u32_at(self.payload, 4)? as usize).next_multiple_of(4),
            _ => return None,
        };
        let text = Attributes::after(self.payload, attributes).get(NLMSGERR_ATTR_MSG);
        Some(Ack { errno, message: text.map(|attribute| attribute.string()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_is_found_again() {
        let bytes = Message::new(16, 0)
            .header(&[7; 16])
            .put_str(3, "br0")
            .nest(18, |nest| nest.put_str(1, "bridge").nest(2, |data| data.put_u8(7, 1)))
            .put_u32(4, 1500)
            .finish(9);
        assert_eq!(bytes.len() % 4, 0);
        let message = Messages::new(&bytes).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (16, NLM_F_REQUEST, 9));
        let attributes = Attributes::after(message.payload, 16);
        assert_eq!(attributes.get(3).unwrap().string(), "br0");
        assert_eq!(attributes.get(4).unwrap().u32(), Some(1500));
        let info = attributes.get(18).unwrap().nested();
        assert_eq!(info.get(1).unwrap().string(), "bridge");
        assert_eq!(info.get(2).unwrap().nested().get(7).unwrap().u8(), Some(1));
    }

    #[test]
    fn the_kernels_words_are_found() {
        let mut payload = (-22i32).to_ne_bytes().to_vec();
        payload.extend([20, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([7, 0, 1, 0, b'n', b'o', 0, 0]);
        let received = Received { kind: NLMSG_ERROR, flags: 0x100, sequence: 1, payload: &payload };
        assert_eq!(received.ack(), Some(Ack { errno: 22, message: Some("no".to_owned()) }));
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages::new(&bytes).take(100) {
                let _ = message.ack();
            }
        }
    }
}
