//! Matches of ebtables (`net/bridge/netfilter/ebt_*.c`).

use std::net::Ipv4Addr;

use portcullis_snapshot::{
    LegacyFamily, MacAddr, XtAddress, XtAmong, XtAmongEntry, XtBridgeArp, XtBridgeIp, XtBridgePorts,
    XtBridgeVlan, XtIeee8023, XtMatch, XtStp,
};

use super::Extension;
use super::info::{Info, asked, value};

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtMatch> {
    let sized = |size| Info::sized(extension.info, size);
    if extension.revision != 0 {
        return None;
    }
    Some(match extension.name {
        "802_3" => ieee_802_3(sized(6)?)?,
        "among" => among(Info::new(extension.info))?,
        "arp" => arp(sized(52)?)?,
        "ip" => XtMatch::Ip(ip(sized(28)?)?),
        "ip6" => XtMatch::Ip6(ip6(sized(76)?)?),
        "mark_m" => mark(sized(24)?)?,
        "pkttype" => {
            let info = sized(2)?;
            XtMatch::Pkttype(value(info.u8(0)?.into(), info.truth(1)?))
        }
        "stp" => XtMatch::Stp(Box::new(stp(sized(72)?)?)),
        "vlan" => vlan(sized(8)?)?,
        _ => return None,
    })
}

/// `struct ebt_802_3_info`. The kernel takes all bits that are defined for rules here too.
fn ieee_802_3(info: Info<'_>) -> Option<XtMatch> {
    let (set, inverted) = (info.u8(4)?, info.u8(5)?);
    (set < 4).then_some(())?;
    Some(XtMatch::Ieee8023(XtIeee8023 {
        sap: asked(set & 1 != 0, || Some(value(info.u8(0)?, inverted & 1 != 0)))?,
        kind: asked(set & 2 != 0, || Some(value(info.be16(2)?, inverted & 2 != 0)))?,
    }))
}

/// `struct ebt_among_info`.
fn among(info: Info<'_>) -> Option<XtMatch> {
    let (destination, source, set) = (info.i32(0)?, info.i32(4)?, info.u32(8)?);
    (set < 4).then_some(())?;
    Some(XtMatch::Among(XtAmong {
        source: asked(source != 0, || wormhash(info, usize::try_from(source).ok()?))?,
        source_inverted: set & 2 != 0,
        destination: asked(destination != 0, || wormhash(info, usize::try_from(destination).ok()?))?,
        destination_inverted: set & 1 != 0,
    }))
}

/// `struct ebt_mac_wormhash`: where the entries for each last byte of an address begin, their number, and they. One that
/// stands in another byte's place is never found.
fn wormhash(info: Info<'_>, at: usize) -> Option<Vec<XtAmongEntry>> {
    const POOL: usize = 4 * 257 + 4;
    const TUPLE: usize = 12;
    let hash = Info::new(info.slice(at, POOL)?);
    let mut found = Vec::new();
    for last in 0..=255u8 {
        let of = usize::from(last) * 4;
        let (from, to) = (hash.u32(of)? as usize, hash.u32(of + 4)? as usize);
        for tuple in from..to {
            let tuple = Info::new(info.slice(at.checked_add(POOL + tuple.checked_mul(TUPLE)?)?, TUPLE)?);
            let (zero, mac, ip) = (tuple.u16(0)?, tuple.mac(2)?, tuple.ipv4(8)?);
            let reached = zero == 0 && matches!(mac, MacAddr([.., byte]) if byte == last);
            let ip = (ip != Ipv4Addr::UNSPECIFIED).then_some(ip);
            found.extend(reached.then_some(XtAmongEntry { mac, ip }));
        }
    }
    Some(found)
}

/// `struct ebt_arp_info`.
fn arp(info: Info<'_>) -> Option<XtMatch> {
    let (set, inverted) = (info.u8(48)?, info.u8(49)?);
    let is = |bit: u8| set & bit != 0;
    let not = |bit: u8| inverted & bit != 0;
    let word = |bit, at| asked(is(bit), || Some(value(info.be16(at)?, not(bit))));
    let address = |bit, at| asked(is(bit), || ipv4(info, at, at + 4, not(bit)));
    Some(XtMatch::Arp(XtBridgeArp {
        operation: word(1, 4)?,
        hardware: word(2, 0)?,
        protocol: word(4, 2)?,
        source: address(8, 8)?,
        target: address(0x10, 16)?,
        source_mac: asked(is(0x20), || info.masked_mac(24, not(0x20)))?,
        target_mac: asked(is(0x40), || info.masked_mac(36, not(0x40)))?,
        gratuitous: is(0x80).then(|| !not(0x80)),
    }))
}

fn ipv4(info: Info<'_>, at: usize, mask: usize, inverted: bool) -> Option<XtAddress> {
    let family = LegacyFamily::Ebtables;
    Some(XtAddress { address: info.ip(family, at)?, mask: info.ip(family, mask)?, inverted })
}

/// `struct ebt_ip_info`.
fn ip(info: Info<'_>) -> Option<XtBridgeIp> {
    let (set, inverted) = (info.u8(18)?, info.u8(19)?);
    let is = |bit: u8| set & bit != 0;
    let not = |bit: u8| inverted & bit != 0;
    Some(XtBridgeIp {
        source: asked(is(1), || ipv4(info, 0, 8, not(1)))?,
        destination: asked(is(2), || ipv4(info, 4, 12, not(2)))?,
        tos: asked(is(4), || Some(value(info.u8(16)?, not(4))))?,
        protocol: asked(is(8), || Some(value(info.u8(17)?, not(8))))?,
        transport: asked(is(8) && set & 0xf0 != 0, || transport(info, (20, 24), set >> 4, inverted >> 4))?,
    })
}

/// `struct ebt_ip6_info`.
fn ip6(info: Info<'_>) -> Option<XtBridgeIp> {
    let (set, inverted) = (info.u8(66)?, info.u8(67)?);
    (set < 0x80).then_some(())?;
    let is = |bit: u8| set & bit != 0;
    let not = |bit: u8| inverted & bit != 0;
    let address = |bit, at| {
        asked(is(bit), || {
            let (address, mask) = (info.ipv6(at)?.into(), info.ipv6(at + 32)?.into());
            Some(XtAddress { address, mask, inverted: not(bit) })
        })
    };
    Some(XtBridgeIp {
        source: address(1, 0)?,
        destination: address(2, 16)?,
        tos: asked(is(4), || Some(value(info.u8(64)?, not(4))))?,
        protocol: asked(is(8), || Some(value(info.u8(65)?, not(8))))?,
        transport: asked(is(8) && set & 0xf0 != 0, || transport(info, (68, 72), set >> 4, inverted >> 4))?,
    })
}

/// Ports, or what stands in their place; `set` and `inverted` have the bits 1 source port, 2 destination port, 4 ICMP,
/// 8 IGMP. Only one sort of them makes sense of the fields.
fn transport(
    info: Info<'_>,
    (first, second): (usize, usize),
    set: u8,
    inverted: u8,
) -> Option<XtBridgePorts> {
    let not = |bit: u8| inverted & bit != 0;
    Some(match set {
        1..=3 => XtBridgePorts::Ports {
            source: asked(set & 1 != 0, || info.range16(first, not(1)))?,
            destination: asked(set & 2 != 0, || info.range16(second, not(2)))?,
        },
        4 => XtBridgePorts::Icmp { kinds: info.range8(first, not(4))?, codes: info.range8(second, false)? },
        8 => XtBridgePorts::Igmp { kinds: info.range8(first, not(8))? },
        _ => return None,
    })
}

/// `struct ebt_mark_m_info`.
fn mark(info: Info<'_>) -> Option<XtMatch> {
    let any = match info.u8(17)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    Some(XtMatch::MarkM { mark: info.u64(0)?, mask: info.u64(8)?, any, inverted: info.truth(16)? })
}

/// `struct ebt_stp_info`, with `struct ebt_stp_config_info` from byte 4 on.
fn stp(info: Info<'_>) -> Option<XtStp> {
    let (set, inverted) = (info.u16(68)?, info.u16(70)?);
    (set < 0x1000).then_some(())?;
    let is = |bit: u16| set & bit != 0;
    let not = |bit: u16| inverted & bit != 0;
    let byte = |bit, at| asked(is(bit), || Some(value(info.u8(at)?, not(bit))));
    let range = |bit, at| asked(is(bit), || info.range16(at, not(bit)));
    let mac = |bit, at| asked(is(bit), || info.masked_mac(at, not(bit)));
    Some(XtStp {
        kind: byte(1, 0)?,
        flags: byte(2, 4)?,
        root_priority: range(4, 6)?,
        root_address: mac(8, 10)?,
        root_cost: asked(is(0x10), || info.range32(24, not(0x10)))?,
        sender_priority: range(0x20, 32)?,
        sender_address: mac(0x40, 36)?,
        port: range(0x80, 48)?,
        message_age: range(0x100, 52)?,
        max_age: range(0x200, 56)?,
        hello_time: range(0x400, 60)?,
        forward_delay: range(0x800, 64)?,
    })
}

/// `struct ebt_vlan_info`.
fn vlan(info: Info<'_>) -> Option<XtMatch> {
    let (set, inverted) = (info.u8(6)?, info.u8(7)?);
    (set < 8).then_some(())?;
    Some(XtMatch::Vlan(XtBridgeVlan {
        id: asked(set & 1 != 0, || Some(value(info.u16(0)?, inverted & 1 != 0)))?,
        priority: asked(set & 2 != 0, || Some(value(info.u8(2)?, inverted & 2 != 0)))?,
        encapsulated: asked(set & 4 != 0, || Some(value(info.be16(4)?, inverted & 4 != 0)))?,
    }))
}
