//! Matches that go by what came before, or by chance (`xt_limit.c`, `xt_hashlimit.c`, `xt_recent.c` …).

use portcullis_snapshot::{LegacyFamily, XtConnlimit, XtHashlimit, XtMatch, XtRecent, XtStatistic};

use super::Extension;
use super::info::Info;

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    Some(match (extension.name, extension.revision) {
        ("connlimit", 1) => connlimit(sized(32)?, extension.family)?,
        ("hashlimit", 1) => XtMatch::Hashlimit(hashlimit_v1(sized(56)?)?),
        ("hashlimit", 2) => XtMatch::Hashlimit(hashlimit(sized(304)?, 292)?),
        ("hashlimit", 3) => XtMatch::Hashlimit(hashlimit(sized(312)?, 296)?),
        ("limit", 0) => {
            // Another structure of the same beginning is ebtables' own.
            let own = (extension.family == LegacyFamily::Ebtables).then(|| sized(28)).flatten();
            let info = own.or_else(|| sized(40))?;
            XtMatch::Limit { average: info.u32(0)?, burst: info.u32(4)? }
        }
        ("recent", 0) => recent(sized(212)?)?,
        ("recent", 1) => recent(sized(228)?)?,
        ("statistic", 0) => statistic(sized(24)?)?,
        _ => return None,
    })
}

/// `struct xt_connlimit_info`.
fn connlimit(info: Info<'_>, family: LegacyFamily) -> Option<XtMatch> {
    let set = info.u32(20)?;
    (set < 4).then_some(())?;
    Some(XtMatch::Connlimit(XtConnlimit {
        limit: info.u32(16)?,
        mask: info.ip(family, 0)?,
        destination: set & 2 != 0,
        inverted: set & 1 != 0,
    }))
}

/// `struct xt_hashlimit_mtinfo1`.
fn hashlimit_v1(info: Info<'_>) -> Option<XtHashlimit> {
    Some(XtHashlimit {
        name: info.name(0, 16)?,
        mode: info.u32(16)?,
        average: info.u32(20)?.into(),
        burst: info.u32(24)?.into(),
        source_prefix: info.u8(44)?,
        destination_prefix: info.u8(45)?,
    })
}

/// `struct xt_hashlimit_mtinfo2` and `3`, which differ in where the lengths of prefixes stand.
fn hashlimit(info: Info<'_>, prefixes: usize) -> Option<XtHashlimit> {
    Some(XtHashlimit {
        name: info.name(0, 255)?,
        mode: info.u32(272)?,
        average: info.u64(256)?,
        burst: info.u64(264)?,
        source_prefix: info.u8(prefixes)?,
        destination_prefix: info.u8(prefixes + 1)?,
    })
}

/// `struct xt_recent_mtinfo` and `_v1`, which adds a mask.
fn recent(info: Info<'_>) -> Option<XtMatch> {
    Some(XtMatch::Recent(XtRecent {
        name: info.name(10, 200)?,
        flags: info.u8(8)?,
        seconds: info.u32(0)?,
        hit_count: info.u32(4)?,
        destination: info.truth(210)?,
        inverted: info.truth(9)?,
    }))
}

/// `struct xt_statistic_info`.
fn statistic(info: Info<'_>) -> Option<XtMatch> {
    let inverted = info.u16(2)? & 1 != 0;
    Some(XtMatch::Statistic(match info.u16(0)? {
        0 => XtStatistic::Random { probability: info.u32(4)?, inverted },
        1 => XtStatistic::Nth { every: info.u32(4)?, packet: info.u32(8)?, inverted },
        _ => return None,
    }))
}
