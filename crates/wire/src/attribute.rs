//! Netlink attributes in bytes that somebody else wrote: nothing here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{MacAddr, UnknownAttribute};

/// Bytes that are not what the kernel's headers say they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, attribute {number}: wanted {wanted}, got {got} bytes")]
pub struct DecodeError {
    /// The message or the nest.
    pub what: &'static str,
    /// The attribute's number there; 0 for the fixed header.
    pub number: u16,
    /// What should have been there.
    pub wanted: &'static str,
    /// How many bytes there were.
    pub got: usize,
}

/// One attribute (`struct nlattr`): its number without flags, and its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The number in its attribute space.
    pub number: u16,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

/// The attributes in a stretch of bytes. A broken one ends the iteration: what came before it is good.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`.
const FLAGS: u16 = 0xc000;

impl<'a> Attributes<'a> {
    /// Looks at bytes as attributes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Looks at what follows a fixed header of `header` bytes.
    #[must_use]
    pub fn after(message: &'a [u8], header: usize) -> Self {
        Self::new(message.get(header..).unwrap_or_default())
    }

    /// Returns the first attribute of a number.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<Attribute<'a>> {
        self.clone().find(|attribute| attribute.number == number)
    }

    /// Returns how many bytes were left where the iteration ended: 0 unless an attribute was broken.
    #[must_use]
    pub const fn left_over(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(u16_at(self.rest, 0)?);
        let number = u16_at(self.rest, 2)? & !FLAGS;
        let payload = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { number, payload })
    }
}

impl<'a> Attribute<'a> {
    /// Looks into a nest.
    #[must_use]
    pub const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }

    /// Returns the payload as a number in host byte order.
    #[must_use]
    pub fn u8(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Returns the payload as a number in host byte order.
    #[must_use]
    pub fn u16(&self) -> Option<u16> {
        u16_at(self.payload, 0)
    }

    /// Returns the payload as a number in host byte order.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        u32_at(self.payload, 0)
    }

    /// Returns the payload as a number in host byte order.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.payload.first_chunk()?))
    }

    /// Returns the payload as a number in network byte order.
    #[must_use]
    pub fn be16(&self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.payload.first_chunk()?))
    }

    /// Returns the payload as a number in network byte order.
    #[must_use]
    pub fn be32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.payload.first_chunk()?))
    }

    /// Returns the payload as text, up to its first NUL. Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn string(&self) -> String {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(self.payload.get(..end).unwrap_or_default()).into_owned()
    }

    /// Returns the payload as a MAC address, if it has six bytes.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        <[u8; 6]>::try_from(self.payload).ok().map(MacAddr)
    }

    /// Returns the payload as an IP address, if it has four or sixteen bytes.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        if let Ok(bytes) = <[u8; 4]>::try_from(self.payload) {
            return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
        }
        <[u8; 16]>::try_from(self.payload).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
    }

    /// Keeps the attribute as it came.
    #[must_use]
    pub fn unknown(&self) -> UnknownAttribute {
        let bytes = self.payload.iter().map(|byte| format!("{byte:02x}")).collect();
        UnknownAttribute { number: self.number, bytes }
    }
}

/// Returns a 16-bit number in host byte order.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns a 32-bit number in host byte order.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns one byte.
#[must_use]
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_are_no_part_of_the_number() {
        let bytes = [8, 0, 0x12, 0x80, 1, 0, 0, 0];
        let attribute = Attributes::new(&bytes).next().unwrap();
        assert_eq!((attribute.number, attribute.u32()), (0x12, Some(1)));
    }

    #[test]
    fn a_broken_attribute_ends_the_iteration() {
        let mut all = Attributes::new(&[5, 0, 1, 0, 7, 0, 0, 0, 200, 0, 2, 0, 1]);
        assert_eq!(all.next().unwrap().payload, [7]);
        assert_eq!(all.next(), None);
        assert_eq!(all.left_over(), 5);
        assert_eq!(Attributes::new(&[2, 0, 1, 0]).next(), None, "shorter than its own header");
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for attribute in Attributes::new(&bytes).take(100) {
                let _ = (attribute.u64(), attribute.ip(), attribute.string(), attribute.nested().count());
            }
        }
    }
}
