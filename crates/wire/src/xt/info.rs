//! Fields of the kernel's structures, at their offsets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{
    Bytes, LegacyFamily, MacAddr, XtAddress, XtDevice, XtFlags, XtInterface, XtMac, XtMasked, XtRange,
    XtValue,
};

/// Bytes of a structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Info<'a>(&'a [u8]);

impl<'a> Info<'a> {
    /// Any bytes.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The data of an extension whose structure has `size` bytes: rounded up to 8 it is in rules (`XT_ALIGN`).
    pub(super) fn sized(bytes: &'a [u8], size: usize) -> Option<Self> {
        (bytes.len() == size || bytes.len() == size.next_multiple_of(8)).then_some(Self(bytes))
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    pub(super) fn slice(self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(at..)?.get(..len)
    }

    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// A number that stands for yes if it is not 0.
    pub(super) fn truth(self, at: usize) -> Option<bool> {
        self.u8(at).map(|byte| byte != 0)
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    pub(super) fn be16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    pub(super) fn i32(self, at: usize) -> Option<i32> {
        self.array(at).map(i32::from_ne_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_ne_bytes)
    }

    pub(super) fn mac(self, at: usize) -> Option<MacAddr> {
        self.array(at).map(MacAddr)
    }

    pub(super) fn ipv4(self, at: usize) -> Option<Ipv4Addr> {
        self.array::<4>(at).map(Ipv4Addr::from)
    }

    pub(super) fn ipv6(self, at: usize) -> Option<Ipv6Addr> {
        self.array::<16>(at).map(Ipv6Addr::from)
    }

    /// `union nf_inet_addr`.
    pub(super) fn ip(self, family: LegacyFamily, at: usize) -> Option<IpAddr> {
        match family {
            LegacyFamily::Ip6tables => self.ipv6(at).map(IpAddr::V6),
            _ => self.ipv4(at).map(IpAddr::V4),
        }
    }

    /// A text that a zero ends, or the field's end.
    pub(super) fn text(self, at: usize, len: usize) -> Option<&'a str> {
        let field = self.slice(at, len)?;
        let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(text).ok()
    }

    pub(super) fn name(self, at: usize, len: usize) -> Option<String> {
        self.text(at, len).map(str::to_owned)
    }

    /// A range of two numbers that stand side by side.
    pub(super) fn range16(self, at: usize, inverted: bool) -> Option<XtRange<u16>> {
        Some(XtRange { from: self.u16(at)?, to: self.u16(at + 2)?, inverted })
    }

    pub(super) fn range32(self, at: usize, inverted: bool) -> Option<XtRange<u32>> {
        Some(XtRange { from: self.u32(at)?, to: self.u32(at + 4)?, inverted })
    }

    pub(super) fn range8(self, at: usize, inverted: bool) -> Option<XtRange<u8>> {
        Some(XtRange { from: self.u8(at)?, to: self.u8(at + 1)?, inverted })
    }

    /// A MAC address and its mask, side by side.
    pub(super) fn masked_mac(self, at: usize, inverted: bool) -> Option<XtMac> {
        Some(XtMac { address: self.mac(at)?, mask: self.mac(at + 6)?, inverted })
    }

    /// An address and its mask, which stand apart; `None` within if any will do.
    pub(super) fn address(
        self,
        family: LegacyFamily,
        (at, mask): (usize, usize),
        inverted: bool,
    ) -> Option<Option<XtAddress>> {
        let address = XtAddress { address: self.ip(family, at)?, mask: self.ip(family, mask)?, inverted };
        let any = address.address.is_unspecified() && address.mask.is_unspecified() && !inverted;
        Some((!any).then_some(address))
    }

    /// A device and its mask (`IFNAMSIZ` each); `None` within if any will do.
    pub(super) fn device(self, (at, mask): (usize, usize), inverted: bool) -> Option<Option<XtDevice>> {
        let interface = interface(self.array(at)?, self.array(mask)?);
        Some(device(interface, inverted))
    }
}

/// `None` if any device will do.
pub(super) fn device(interface: XtInterface, inverted: bool) -> Option<XtDevice> {
    (interface != XtInterface::Any || inverted).then_some(XtDevice { interface, inverted })
}

/// What a name under a mask asks for (`ifname_compare_aligned`).
pub(super) fn interface(name: [u8; 16], mask: [u8; 16]) -> XtInterface {
    let masked = || XtInterface::Masked { name: Bytes::from(&name[..]), mask: Bytes::from(&mask[..]) };
    let ones = mask.iter().take_while(|byte| **byte == 0xff).count();
    let (beginning, rest) = mask.split_at(ones);
    if rest.iter().any(|byte| *byte != 0) {
        return masked();
    }
    let Some(asked) = name.get(..beginning.len()) else { return masked() };
    let length = asked.iter().position(|byte| *byte == 0);
    let (text, behind) = asked.split_at(length.unwrap_or(ones));
    match (str::from_utf8(text), length) {
        (Ok(""), None) => XtInterface::Any,
        (Ok(text), None) => XtInterface::Prefix(text.to_owned()),
        (Ok(text), Some(1..)) if behind.iter().all(|byte| *byte == 0) => XtInterface::Name(text.to_owned()),
        _ => masked(),
    }
}

/// A test of a number, by its bit among the inverted ones.
pub(super) const fn value<T: Copy>(value: T, inverted: bool) -> XtValue<T> {
    XtValue { value, inverted }
}

pub(super) const fn masked<T: Copy>(value: T, mask: T, inverted: bool) -> XtMasked<T> {
    XtMasked { value, mask, inverted }
}

pub(super) const fn flags(flags: u32, inverted: bool) -> XtFlags {
    XtFlags { flags, inverted }
}

/// `Some` of what `read` finds where it is asked for.
pub(super) fn asked<T>(is_asked: bool, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    if is_asked { read().map(Some) } else { Some(None) }
}
