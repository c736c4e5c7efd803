//! Finds the compressed kernel inside a `vmlinuz`. Pure: bytes in, a slice of them and its compression out.
//!
//! QEMU starts the ELF `vmlinux` through the PVH entry several times faster than it emulates the decompressor.

use crate::Error;

/// How a kernel payload, or a module, is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    /// gzip, RFC 1952.
    Gzip,
    /// LZ4 in its legacy frame.
    Lz4,
    /// xz.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Compression {
    /// Recognises a compression by the first bytes; `None` for plain data or anything else.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the program that undoes it with `-dc`.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// Returns the payload of a bzImage and how it is compressed.
///
/// The offsets are those of the x86 boot protocol (`Documentation/arch/x86/boot.rst`): `setup_sects` at 0x1f1, the magic
/// `HdrS` at 0x202, the protocol version at 0x206, `payload_offset` and `payload_length` at 0x248 and 0x24c (2.08 and later).
///
/// # Errors
/// When the bytes are not a bzImage of protocol 2.08 or later, or the payload is of an unknown kind.
pub fn payload(image: &[u8]) -> Result<(Compression, &[u8]), Error> {
    let damaged = |why: &str| Error::damaged("the kernel image", why);
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(damaged("no boot header"));
    }
    let version = image.get(0x206..0x208).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    if version.is_none_or(|version| version < 0x0208) {
        return Err(damaged("its boot protocol is older than 2.08"));
    }
    let sectors = match image.get(0x1f1) {
        None | Some(0) => 4, // the protocol's own rule for 0
        Some(&sectors) => usize::from(sectors),
    };
    let (Some(offset), Some(length)) = (word(image, 0x248), word(image, 0x24c)) else {
        return Err(damaged("the boot header is cut short"));
    };
    let start = ((sectors + 1) * 512).saturating_add(offset);
    let bytes =
        image.get(start..start.saturating_add(length)).ok_or_else(|| damaged("the payload is cut short"))?;
    let compression =
        Compression::of(bytes).ok_or_else(|| damaged("the payload's compression is unknown"))?;
    // The build appends the plain size (scripts/Makefile.lib, size_append); gzip's own trailer holds it already.
    let appended = if compression == Compression::Gzip { 0 } else { 4 };
    let kept = bytes.get(..bytes.len().saturating_sub(appended)).unwrap_or(bytes);
    Ok((compression, kept))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(word)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(sectors: u8, payload: &[u8]) -> Vec<u8> {
        let start = (usize::from(if sectors == 0 { 4 } else { sectors }) + 1) * 512 + 64;
        let mut bytes = vec![0; start];
        bytes[0x1f1] = sectors;
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        bytes[0x248..0x24c].copy_from_slice(&64_u32.to_le_bytes());
        bytes[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"signature");
        bytes
    }

    #[test]
    fn the_payload_is_found_without_the_appended_size() {
        let xz = b"\xfd7zXZ\0stream\x01\x02\x03\x04";
        assert_eq!(payload(&image(31, xz)).unwrap(), (Compression::Xz, &xz[..xz.len() - 4]));
        assert_eq!(payload(&image(0, xz)).unwrap().0, Compression::Xz);
        let gzip = b"\x1f\x8bstream";
        assert_eq!(payload(&image(31, gzip)).unwrap(), (Compression::Gzip, &gzip[..]));
    }

    #[test]
    fn a_cut_or_foreign_image_is_refused() {
        let whole = image(31, b"\x28\xb5\x2f\xfdstream");
        assert!(payload(&whole).is_ok());
        assert!(payload(&whole[..whole.len() - 12]).is_err());
        assert!(payload(&whole[..0x24a]).is_err());
        assert!(payload(b"\x7fELF").is_err());
        assert!(payload(&image(31, b"plain text")).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), header: bool) {
            if header && bytes.len() > 0x206 { bytes[0x202..0x206].copy_from_slice(b"HdrS"); }
            let _ = payload(&bytes);
        }
    }
}
