//! Matches of transport headers (`xt_tcpudp.c`, `xt_multiport.c`, `icmp_match`).

use portcullis_snapshot::{LegacyFamily, XtIcmp, XtMatch, XtMultiport, XtPortSide, XtRange, XtTcp, XtUdp};

use super::Extension;
use super::info::{Info, masked, value};

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    Some(match (extension.name, extension.revision) {
        ("icmp", 0) if extension.family == LegacyFamily::Iptables => XtMatch::Icmp(icmp(sized(4)?)?),
        ("icmp6", 0) if extension.family == LegacyFamily::Ip6tables => XtMatch::Icmp6(icmp(sized(4)?)?),
        ("multiport", 1) => multiport(sized(48)?)?,
        ("tcp", 0) => tcp(sized(12)?)?,
        ("udp", 0) => XtMatch::Udp(udp(sized(10)?)?),
        ("udplite", 0) => XtMatch::Udplite(udp(sized(10)?)?),
        _ => return None,
    })
}

/// `struct ipt_icmp`, `struct ip6t_icmp`.
fn icmp(info: Info<'_>) -> Option<XtIcmp> {
    let inverted = info.u8(3)?;
    (inverted < 2).then_some(())?;
    Some(XtIcmp { kind: info.u8(0)?, codes: info.range8(1, inverted != 0)? })
}

/// `struct xt_multiport_v1`. A port with a flag is the first of a range whose last is the next one.
fn multiport(info: Info<'_>) -> Option<XtMatch> {
    let side = match info.u8(0)? {
        0 => XtPortSide::Source,
        1 => XtPortSide::Destination,
        2 => XtPortSide::Either,
        _ => return None,
    };
    let count = usize::from(info.u8(1)?);
    (count <= 15).then_some(())?;
    let port = |at: usize| info.u16(2 + at * 2);
    let (mut at, mut ports) = (0, Vec::new());
    while at < count {
        let from = port(at)?;
        // `ports_match_v1` does not look whether there is a next one: behind the last of all stand the flags.
        at += usize::from(info.truth(32 + at)? && at + 1 < 15);
        ports.push(XtRange { from, to: port(at)?, inverted: false });
        at += 1;
    }
    Some(XtMatch::Multiport(XtMultiport { side, ports, inverted: info.truth(47)? }))
}

/// `struct xt_tcp`.
fn tcp(info: Info<'_>) -> Option<XtMatch> {
    let (option, inverted) = (info.u8(8)?, info.u8(11)?);
    (inverted < 16).then_some(())?;
    Some(XtMatch::Tcp(XtTcp {
        source: info.range16(0, inverted & 1 != 0)?,
        destination: info.range16(4, inverted & 2 != 0)?,
        flags: masked(info.u8(10)?, info.u8(9)?, inverted & 4 != 0),
        option: (option != 0).then(|| value(option, inverted & 8 != 0)),
    }))
}

/// `struct xt_udp`.
fn udp(info: Info<'_>) -> Option<XtUdp> {
    let inverted = info.u8(8)?;
    (inverted < 4).then_some(())?;
    let (source, destination) = (info.range16(0, inverted & 1 != 0)?, info.range16(4, inverted & 2 != 0)?);
    Some(XtUdp { source, destination })
}
