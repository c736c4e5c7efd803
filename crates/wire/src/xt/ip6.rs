//! ip6tables: its header, and matches of extension headers (`ip6_tables.c`, `ip6t_*.c`).

use portcullis_snapshot::{Ip6tHeader, LegacyFamily, XtFrag, XtIp6Header, XtIp6Options, XtMatch, XtMh, XtRt};

use super::Extension;
use super::info::{Info, asked, value};
use super::tables::{Entry, Layout};

/// `struct ip6t_entry`.
pub(super) const LAYOUT: Layout =
    Layout { family: LegacyFamily::Ip6tables, hooks: 5, target_offset: 140, len: 168 };

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    Some(match (extension.name, extension.revision) {
        ("dst", 0) => XtMatch::Dst(options(sized(40)?)?),
        ("frag", 0) => XtMatch::Frag(frag(sized(16)?)?),
        ("hbh", 0) => XtMatch::Hbh(options(sized(40)?)?),
        ("ipv6header", 0) => {
            let info = sized(3)?;
            let (headers, inverted, soft) = (info.u8(0)?, info.u8(1)?, info.truth(2)?);
            XtMatch::Ipv6header(XtIp6Header { headers, inverted, soft })
        }
        ("mh", 0) => {
            let info = sized(3)?;
            let inverted = info.u8(2)?;
            (inverted < 2).then_some(())?;
            XtMatch::Mh(XtMh { kinds: info.range8(0, inverted != 0)? })
        }
        ("rt", 0) => XtMatch::Rt(rt(sized(280)?)?),
        _ => return None,
    })
}

/// `struct ip6t_opts`.
fn options(info: Info<'_>) -> Option<XtIp6Options> {
    let (set, inverted, count) = (info.u8(4)?, info.u8(5)?, usize::from(info.u8(38)?));
    (set < 8 && inverted < 2 && count <= 16).then_some(())?;
    let options = || (0..count).map(|at| info.u16(6 + at * 2)).collect::<Option<Vec<_>>>();
    Some(XtIp6Options {
        header_len: asked(set & 1 != 0, || Some(value(info.u32(0)?, inverted != 0)))?,
        options: asked(set & 2 != 0, options)?.unwrap_or_default(),
        not_strict: set & 4 != 0,
    })
}

/// `struct ip6t_frag`.
fn frag(info: Info<'_>) -> Option<XtFrag> {
    let (set, inverted) = (info.u8(12)?, info.u8(13)?);
    (set < 64 && inverted < 4).then_some(())?;
    Some(XtFrag {
        ids: info.range32(0, inverted & 1 != 0)?,
        header_len: asked(set & 2 != 0, || Some(value(info.u32(8)?, inverted & 2 != 0)))?,
        reserved_zero: set & 4 != 0,
        first: set & 8 != 0,
        more: set & 16 != 0,
        last: set & 32 != 0,
    })
}

/// `struct ip6t_rt`.
fn rt(info: Info<'_>) -> Option<XtRt> {
    let (set, inverted, count) = (info.u8(16)?, info.u8(17)?, usize::from(info.u8(276)?));
    (set < 64 && inverted < 8 && count <= 16).then_some(())?;
    let addresses = || (0..count).map(|at| info.ipv6(20 + at * 16)).collect::<Option<Vec<_>>>();
    Some(XtRt {
        kind: asked(set & 1 != 0, || Some(value(info.u32(0)?, inverted & 1 != 0)))?,
        segments: info.range32(4, inverted & 2 != 0)?,
        header_len: asked(set & 4 != 0, || Some(value(info.u32(12)?, inverted & 4 != 0)))?,
        reserved_zero: set & 8 != 0,
        addresses: asked(set & 16 != 0, addresses)?.unwrap_or_default(),
        not_strict: set & 32 != 0,
    })
}

/// `struct ip6t_ip6`.
pub(super) fn header(entry: Info<'_>) -> Option<Entry<Ip6tHeader>> {
    const FAMILY: LegacyFamily = LegacyFamily::Ip6tables;
    let (set, inverted) = (entry.u8(131)?, entry.u8(132)?);
    let header = Ip6tHeader {
        source: entry.address(FAMILY, (0, 32), inverted & 8 != 0)?,
        destination: entry.address(FAMILY, (16, 48), inverted & 0x10 != 0)?,
        input: entry.device((64, 96), inverted & 1 != 0)?,
        output: entry.device((80, 112), inverted & 2 != 0)?,
        protocol: asked(set & 1 != 0, || Some(value(entry.u16(128)?, inverted & 0x40 != 0)))?,
    };
    Some(Entry { header, goto: set & 4 != 0 })
}
