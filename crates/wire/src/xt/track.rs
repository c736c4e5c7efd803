//! Matches of connections and of ipset's sets (`xt_conntrack.c`, `xt_state.c`, `xt_set.c`).

use portcullis_snapshot::{LegacyFamily, XtConntrack, XtMatch, XtRange, XtSet, XtSetMatch};

use super::Extension;
use super::info::{Info, asked, flags, value};

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    Some(match (extension.name, extension.revision) {
        ("conntrack", revision @ 1..=3) => {
            let info = match revision {
                1 => sized(152)?,
                2 => sized(156)?,
                _ => sized(164)?,
            };
            XtMatch::Conntrack(Box::new(conntrack(info, revision, extension.family)?))
        }
        ("set", 1 | 2) => set_match(sized(4)?, 0, false)?,
        ("set", 3) => {
            let info = sized(48)?;
            // `struct ip_set_counter_match0`: a comparison, 0 for none, and a value.
            set_match(info, info.u32(40)?, info.truth(8)? || info.truth(24)?)?
        }
        ("set", 4) => {
            let info = sized(48)?;
            // `struct ip_set_counter_match`: a value and a comparison.
            set_match(info, info.u32(40)?, info.truth(16)? || info.truth(32)?)?
        }
        ("state", 0) => XtMatch::State { mask: sized(4)?.u32(0)? },
        _ => return None,
    })
}

/// `struct xt_conntrack_mtinfo1` to `3`.
fn conntrack(info: Info<'_>, revision: u8, family: LegacyFamily) -> Option<XtConntrack> {
    let (set, inverted) = (info.u16(146)?, info.u16(148)?);
    (set < 1 << 14 && inverted < 1 << 14).then_some(())?;
    // Without a family, nothing tells how long addresses are.
    let inet = matches!(family, LegacyFamily::Iptables | LegacyFamily::Ip6tables);
    (inet || set & 0x3c == 0).then_some(())?;
    let is = |bit: u16| set & 1 << bit != 0;
    let not = |bit: u16| inverted & 1 << bit != 0;
    let (state, status) = match revision {
        1 => (info.u8(150)?.into(), info.u8(151)?.into()),
        _ => (info.u16(150)?, info.u16(152)?),
    };
    let address = |bit, at| {
        asked(is(bit), || {
            let (address, mask) = (info.ip(family, at)?, info.ip(family, at + 16)?);
            Some(portcullis_snapshot::XtAddress { address, mask, inverted: not(bit) })
        })
    };
    let port = |bit, at, high| {
        asked(is(bit), || {
            let (from, to) = match revision {
                3 => (info.u16(at)?, info.u16(high)?),
                _ => (info.be16(at)?, info.be16(at)?),
            };
            Some(XtRange { from, to, inverted: not(bit) })
        })
    };
    Some(XtConntrack {
        state: is(0).then(|| flags(state.into(), not(0))),
        status: is(6).then(|| flags(status.into(), not(6))),
        original: is(12).then(|| !not(12)),
        protocol: asked(is(1), || Some(value(info.u16(136)?, not(1))))?,
        original_source: address(2, 0)?,
        original_destination: address(3, 32)?,
        reply_source: address(4, 64)?,
        reply_destination: address(5, 96)?,
        original_source_port: port(8, 138, 154)?,
        original_destination_port: port(9, 140, 156)?,
        reply_source_port: port(10, 142, 158)?,
        reply_destination_port: port(11, 144, 160)?,
        expires: asked(is(7), || info.range32(128, not(7)))?,
    })
}

fn set_match(info: Info<'_>, flags: u32, counters: bool) -> Option<XtMatch> {
    const IPSET_INV_MATCH: u8 = 1;
    let inverted = info.u8(3)? & IPSET_INV_MATCH != 0;
    Some(XtMatch::Set(XtSetMatch { set: set(info, 0)?, inverted, flags, counters }))
}

/// `struct xt_set_info`: for each part, a bit tells whether it is the source's.
pub(super) fn set(info: Info<'_>, at: usize) -> Option<XtSet> {
    const IPSET_DIM_MAX: u8 = 6;
    let (parts, set) = (info.u8(at + 2)?, info.u8(at + 3)?);
    (parts <= IPSET_DIM_MAX).then_some(())?;
    Some(XtSet { index: info.u16(at)?, from_source: (1..=parts).map(|part| set & 1 << part != 0).collect() })
}
