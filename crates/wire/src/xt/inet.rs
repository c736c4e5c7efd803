//! Matches of devices, addresses, marks and of IP's header (`xt_physdev.c`, `xt_addrtype.c`, `xt_iprange.c` …).

use portcullis_snapshot::{
    Bytes, LegacyFamily, XtAddrtype, XtBpf, XtIprange, XtMatch, XtOwner, XtPhysdev, XtRange, XtString,
    XtTtlMode, XtU32, XtU32Op, XtU32Step, XtU32Test,
};

use super::Extension;
use super::info::{Info, asked, flags, interface, masked, value};

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    let family = extension.family;
    Some(match (extension.name, extension.revision) {
        ("addrtype", 0) => addrtype_v0(sized(12)?)?,
        ("addrtype", 1) => addrtype(sized(8)?)?,
        ("bpf", 0) => bpf_v0(sized(528)?)?,
        ("bpf", 1) => bpf(sized(528)?)?,
        ("comment", 0) => XtMatch::Comment(sized(256)?.name(0, 256)?),
        ("connmark", 1) => {
            let info = sized(12)?;
            XtMatch::Connmark(masked(info.u32(0)?, info.u32(4)?, info.truth(8)?))
        }
        ("dscp", 0) => {
            let info = sized(2)?;
            XtMatch::Dscp(value(info.u8(0)?, info.truth(1)?))
        }
        ("hl", 0) => {
            let (mode, value) = ttl(sized(2)?)?;
            XtMatch::Hl { mode, value }
        }
        ("iprange", 1) => iprange(sized(68)?, family)?,
        ("length", 0) => {
            let info = sized(6)?;
            XtMatch::Length(info.range16(0, info.truth(4)?)?)
        }
        ("mac", 0) => {
            let info = sized(12)?;
            XtMatch::Mac(value(info.mac(0)?, info.i32(8)? != 0))
        }
        ("mark", 1) => {
            let info = sized(12)?;
            XtMatch::Mark(masked(info.u32(0)?, info.u32(4)?, info.truth(8)?))
        }
        ("owner", 1) => owner(sized(20)?)?,
        ("physdev", 0) => physdev(sized(66)?)?,
        ("pkttype", 0) => {
            let info = sized(8)?;
            XtMatch::Pkttype(value(info.u32(0)?, info.i32(4)? != 0))
        }
        ("rpfilter", 0) => XtMatch::Rpfilter { flags: sized(1)?.u8(0)? },
        ("socket", 1..=3) => XtMatch::Socket { flags: sized(1)?.u8(0)? },
        ("string", 0 | 1) => string(sized(160)?, extension.revision)?,
        ("tos", 1) => {
            let info = sized(3)?;
            XtMatch::Tos(masked(info.u8(1)?, info.u8(0)?, info.truth(2)?))
        }
        ("ttl", 0) => {
            let (mode, value) = ttl(sized(2)?)?;
            XtMatch::Ttl { mode, value }
        }
        ("u32", 0) => u32(sized(1984)?)?,
        _ => return None,
    })
}

/// `struct xt_addrtype_info`.
fn addrtype_v0(info: Info<'_>) -> Option<XtMatch> {
    let side = |at, inverted| {
        let types = info.u16(at)?;
        let inverted = info.u32(inverted)? != 0;
        Some((types != 0).then(|| flags(types.into(), inverted)))
    };
    let (source, destination) = (side(0, 4)?, side(2, 8)?);
    Some(XtMatch::Addrtype(XtAddrtype { source, destination, limit_in: false, limit_out: false }))
}

/// `struct xt_addrtype_info_v1`.
fn addrtype(info: Info<'_>) -> Option<XtMatch> {
    let (source, destination, set) = (info.u16(0)?, info.u16(2)?, info.u32(4)?);
    let side = |types: u16, bit| (types != 0).then(|| flags(types.into(), set & bit != 0));
    (set < 16).then(|| {
        XtMatch::Addrtype(XtAddrtype {
            source: side(source, 1),
            destination: side(destination, 2),
            limit_in: set & 4 != 0,
            limit_out: set & 8 != 0,
        })
    })
}

/// `struct xt_bpf_info`.
fn bpf_v0(info: Info<'_>) -> Option<XtMatch> {
    let instructions = usize::from(info.u16(0)?);
    (instructions <= 64).then_some(())?;
    Some(XtMatch::Bpf(XtBpf::Bytecode(Bytes::from(info.slice(4, instructions * 8)?))))
}

/// `struct xt_bpf_info_v1`.
fn bpf(info: Info<'_>) -> Option<XtMatch> {
    let instructions = usize::from(info.u16(2)?);
    Some(XtMatch::Bpf(match info.u16(0)? {
        0 if instructions <= 64 => XtBpf::Bytecode(Bytes::from(info.slice(8, instructions * 8)?)),
        1 => XtBpf::Pinned(info.name(8, 512)?),
        _ => return None,
    }))
}

/// `struct xt_iprange_mtinfo`.
fn iprange(info: Info<'_>, family: LegacyFamily) -> Option<XtMatch> {
    let set = info.u8(64)?;
    let side = |bit: u8, at| {
        asked(set & bit != 0, || {
            let (from, to) = (info.ip(family, at)?, info.ip(family, at + 16)?);
            Some(XtRange { from, to, inverted: set & bit << 4 != 0 })
        })
    };
    (set & !0x33 == 0).then_some(())?;
    Some(XtMatch::Iprange(XtIprange { source: side(1, 0)?, destination: side(2, 32)? }))
}

/// `struct xt_owner_match_info`.
fn owner(info: Info<'_>) -> Option<XtMatch> {
    let (set, inverted) = (info.u8(16)?, info.u8(17)?);
    (set < 16 && inverted < 16).then_some(())?;
    Some(XtMatch::Owner(XtOwner {
        uid: asked(set & 1 != 0, || info.range32(0, inverted & 1 != 0))?,
        gid: asked(set & 2 != 0, || info.range32(8, inverted & 2 != 0))?,
        socket: (set & 4 != 0).then_some(inverted & 4 == 0),
        supplementary_groups: set & 8 != 0,
    }))
}

/// `struct xt_physdev_info`.
fn physdev(info: Info<'_>) -> Option<XtMatch> {
    let (inverted, set) = (info.u8(64)?, info.u8(65)?);
    (set < 32 && inverted < 32).then_some(())?;
    let device = |bit, name, mask| {
        asked(set & bit != 0, || {
            let interface = interface(info.array(name)?, info.array(mask)?);
            Some(portcullis_snapshot::XtDevice { interface, inverted: inverted & bit != 0 })
        })
    };
    let truth = |bit| (set & bit != 0).then_some(inverted & bit == 0);
    Some(XtMatch::Physdev(XtPhysdev {
        input: device(1, 0, 16)?,
        output: device(2, 32, 48)?,
        is_bridged: truth(4),
        is_in: truth(8),
        is_out: truth(16),
    }))
}

/// `struct xt_string_info`.
fn string(info: Info<'_>, revision: u8) -> Option<XtMatch> {
    let set = info.u8(149)?;
    (revision == 0 || set < 4).then_some(())?;
    Some(XtMatch::String(XtString {
        pattern: Bytes::from(info.slice(20, 128)?.get(..usize::from(info.u8(148)?))?),
        algorithm: info.name(4, 16)?,
        from: info.u16(0)?,
        to: info.u16(2)?,
        ignore_case: revision > 0 && set & 2 != 0,
        inverted: if revision == 0 { set != 0 } else { set & 1 != 0 },
    }))
}

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`.
fn ttl(info: Info<'_>) -> Option<(XtTtlMode, u8)> {
    let mode = match info.u8(0)? {
        0 => XtTtlMode::Equal,
        1 => XtTtlMode::NotEqual,
        2 => XtTtlMode::Less,
        3 => XtTtlMode::Greater,
        _ => return None,
    };
    Some((mode, info.u8(1)?))
}

/// `struct xt_u32`: eleven tests of 180 bytes, each with eleven locations and eleven values of 8 bytes.
fn u32(info: Info<'_>) -> Option<XtMatch> {
    const TEST: usize = 180;
    let count = usize::from(info.u8(11 * TEST)?);
    (count <= 11).then_some(())?;
    let tests = (0..count).map(|test| u32_test(Info::new(info.slice(test * TEST, TEST)?)));
    let inverted = info.truth(11 * TEST + 1)?;
    Some(XtMatch::U32(XtU32 { tests: tests.collect::<Option<_>>()?, inverted }))
}

/// `struct xt_u32_test`. What is done with the first location's number is fixed.
fn u32_test(test: Info<'_>) -> Option<XtU32Test> {
    let (locations, values) = (usize::from(test.u8(176)?), usize::from(test.u8(177)?));
    ((1..=11).contains(&locations) && values <= 11).then_some(())?;
    let step = |at: usize| {
        let op = match test.u8(at * 8 + 4)? {
            0 => XtU32Op::And,
            1 => XtU32Op::ShiftLeft,
            2 => XtU32Op::ShiftRight,
            3 => XtU32Op::At,
            _ => return None,
        };
        Some(XtU32Step { op, number: test.u32(at * 8)? })
    };
    Some(XtU32Test {
        start: test.u32(0)?,
        steps: (1..locations).map(step).collect::<Option<_>>()?,
        values: (0..values).map(|at| test.range32(88 + at * 8, false)).collect::<Option<_>>()?,
    })
}
