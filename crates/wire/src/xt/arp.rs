//! arptables: its header, and its target `mangle` (`arp_tables.c`, `arpt_mangle.c`).

use portcullis_snapshot::{
    ArptHeader, Bytes, LegacyFamily, XtArpMangle, XtBytes, XtMasked, XtTarget, XtVerdict,
};

use super::Extension;
use super::info::{Info, asked, masked};
use super::tables::{Entry, Layout};

/// `struct arpt_entry`.
pub(super) const LAYOUT: Layout =
    Layout { family: LegacyFamily::Arptables, hooks: 3, target_offset: 164, len: 192 };

pub(super) fn decode_target(extension: &Extension<'_>) -> Option<XtTarget> {
    match (extension.name, extension.revision) {
        ("mangle", 0) => mangle(Info::sized(extension.info, 48)?).map(XtTarget::Mangle),
        _ => None,
    }
}

/// `struct arpt_mangle`.
fn mangle(info: Info<'_>) -> Option<XtArpMangle> {
    let set = info.u8(40)?;
    (set < 16).then_some(())?;
    let device = |bit, at| asked(set & bit != 0, || info.slice(at, 16).map(Bytes::from));
    Some(XtArpMangle {
        source_device: device(1, 0)?,
        target_device: device(2, 16)?,
        source: asked(set & 4 != 0, || info.ipv4(32))?,
        target: asked(set & 8 != 0, || info.ipv4(36))?,
        // As the kernel numbers verdicts, not as rules do.
        verdict: match info.i32(44)? {
            0 => XtVerdict::Drop,
            1 => XtVerdict::Accept,
            -1 => XtVerdict::Continue,
            other => XtVerdict::Other(other),
        },
    })
}

/// `struct arpt_arp`.
pub(super) fn header(entry: Info<'_>) -> Option<Entry<ArptHeader>> {
    const FAMILY: LegacyFamily = LegacyFamily::Arptables;
    let inverted = entry.u16(160)?;
    let not = |bit: u16| inverted & bit != 0;
    let word = |at, bit| Some(number(masked(entry.be16(at)?, entry.be16(at + 2)?, not(bit))));
    let header = ArptHeader {
        source: entry.address(FAMILY, (0, 8), not(4))?,
        target: entry.address(FAMILY, (4, 12), not(8))?,
        source_device: device_address(entry, 18, not(0x10))?,
        target_device: device_address(entry, 50, not(0x20))?,
        hardware_len: number(masked(entry.u8(16)?, entry.u8(17)?, not(0x200))),
        operation: word(82, 0x40)?,
        hardware: word(86, 0x80)?,
        protocol: word(90, 0x100)?,
        input: entry.device((94, 126), not(1))?,
        output: entry.device((110, 142), not(2))?,
    };
    Some(Entry { header, goto: false })
}

/// `struct arpt_devaddr_info`; `None` within if any will do.
fn device_address(entry: Info<'_>, at: usize, inverted: bool) -> Option<Option<XtBytes>> {
    let (value, mask) = (entry.slice(at, 16)?, entry.slice(at + 16, 16)?);
    let any = mask.iter().all(|byte| *byte == 0) && !inverted;
    Some((!any).then(|| XtBytes { value: Bytes::from(value), mask: Bytes::from(mask), inverted }))
}

/// `None` if any will do.
fn number<T: Copy + Default + PartialEq>(asked: XtMasked<T>) -> Option<XtMasked<T>> {
    let any = asked.value == T::default() && asked.mask == T::default() && !asked.inverted;
    (!any).then_some(asked)
}
