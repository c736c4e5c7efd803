//! Targets of iptables, ip6tables and arptables, beside those that translate addresses.

use portcullis_snapshot::{
    LegacyFamily, XtConnmarkMode, XtConnmarkTarget, XtCt, XtMarkTarget, XtNfqueue, XtSet, XtSetTarget,
    XtTarget, XtTtlChange, XtTtlTarget,
};

use super::info::Info;
use super::{Extension, track};

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtTarget> {
    let sized = |size| Info::sized(extension.info, size);
    Some(match (extension.name, extension.revision) {
        ("AUDIT", _) => XtTarget::Audit { kind: sized(1)?.u8(0)? },
        ("CHECKSUM", 0) => XtTarget::Checksum { operation: sized(1)?.u8(0)? },
        ("CLASSIFY", 0) => XtTarget::Classify { priority: sized(4)?.u32(0)? },
        ("CONNMARK", 1 | 2) => XtTarget::Connmark(connmark(sized(16)?, extension.revision)?),
        ("CT", 0) => ct(sized(40)?)?,
        ("CT", 1 | 2) => ct(sized(72)?)?,
        ("DSCP", 0) => XtTarget::Dscp { dscp: sized(1)?.u8(0)? },
        ("HL", 0) if extension.family == LegacyFamily::Ip6tables => XtTarget::Hl(ttl(sized(2)?)?),
        ("LOG", 0) => {
            let info = sized(32)?;
            XtTarget::Log { level: info.u8(0)?, prefix: info.name(2, 30)? }
        }
        ("MARK", 2) => {
            let info = sized(8)?;
            XtTarget::Mark(XtMarkTarget { value: info.u32(0)?, mask: info.u32(4)? })
        }
        ("NFLOG", 0) => nflog(sized(80)?)?,
        ("NFQUEUE", revision @ 0..=3) => nfqueue(extension.info, revision)?,
        ("NOTRACK", 0) => XtTarget::Notrack,
        ("REJECT", 0) => XtTarget::Reject { with: sized(4)?.u32(0)? },
        ("SET", 1) => set(sized(8)?, 1)?,
        ("SET", 2) => set(sized(16)?, 2)?,
        ("SET", 3) => set(sized(20)?, 3)?,
        ("TCPMSS", 0) => {
            const XT_TCPMSS_CLAMP_PMTU: u16 = 0xffff;
            let mss = sized(2)?.u16(0)?;
            XtTarget::Tcpmss { mss: (mss != XT_TCPMSS_CLAMP_PMTU).then_some(mss) }
        }
        ("TEE", 1) => tee(sized(40)?, extension.family)?,
        ("TOS", 1) => {
            let info = sized(2)?;
            XtTarget::Tos { value: info.u8(0)?, mask: info.u8(1)? }
        }
        ("TPROXY", 0) => tproxy(sized(16)?, extension.family, 12)?,
        ("TPROXY", 1) => tproxy(sized(28)?, extension.family, 24)?,
        ("TRACE", 0) => XtTarget::Trace,
        ("TTL", 0) if extension.family == LegacyFamily::Iptables => XtTarget::Ttl(ttl(sized(2)?)?),
        _ => return None,
    })
}

/// `struct xt_connmark_tginfo1` and `2`, which adds a shift.
fn connmark(info: Info<'_>, revision: u8) -> Option<XtConnmarkTarget> {
    let (mode, shift) = match revision {
        1 => (info.u8(12)?, 0),
        _ => {
            let bits = i16::from(info.u8(13)?);
            let shift = match info.u8(12)? {
                0 => bits,
                1 => -bits,
                _ => return None,
            };
            (info.u8(14)?, shift)
        }
    };
    let mode = match mode {
        0 => XtConnmarkMode::Set,
        1 => XtConnmarkMode::Save,
        2 => XtConnmarkMode::Restore,
        _ => return None,
    };
    let (mark, mask, packet_mask) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
    Some(XtConnmarkTarget { mode, mark, mask, packet_mask, shift })
}

/// `struct xt_ct_target_info` and `_v1`.
fn ct(info: Info<'_>) -> Option<XtTarget> {
    const XT_CT_NOTRACK: u16 = 1;
    let flags = info.u16(0)?;
    let (notrack, zone, helper) = (flags & XT_CT_NOTRACK != 0, info.u16(2)?, info.name(12, 16)?);
    Some(XtTarget::Ct(XtCt { notrack, flags, zone, helper }))
}

/// `struct ipt_TTL_info`, `struct ip6t_HL_info`.
fn ttl(info: Info<'_>) -> Option<XtTtlTarget> {
    let mode = match info.u8(0)? {
        0 => XtTtlChange::Set,
        1 => XtTtlChange::Increase,
        2 => XtTtlChange::Decrease,
        _ => return None,
    };
    Some(XtTtlTarget { mode, value: info.u8(1)? })
}

/// `struct xt_nflog_info`, `struct ebt_nflog_info`.
pub(super) fn nflog(info: Info<'_>) -> Option<XtTarget> {
    Some(XtTarget::Nflog { group: info.u16(4)?, prefix: info.name(12, 64)? })
}

/// `struct xt_NFQ_info` to `_v3`.
fn nfqueue(bytes: &[u8], revision: u8) -> Option<XtTarget> {
    let info = Info::sized(bytes, [2, 4, 6, 6].get(usize::from(revision)).copied()?)?;
    let count = if revision > 0 { info.u16(2)? } else { 1 };
    let flags = if revision > 1 { info.u16(4)? } else { 0 };
    (flags < 4).then_some(())?;
    let bypass = flags & 1 != 0;
    Some(XtTarget::Nfqueue(XtNfqueue { first: info.u16(0)?, count, bypass }))
}

/// `struct xt_set_info_target_v1` to `3`.
fn set(info: Info<'_>, revision: u8) -> Option<XtTarget> {
    const IPSET_INVALID_ID: u16 = u16::MAX;
    let named = |at| track::set(info, at).map(|set: XtSet| (set.index != IPSET_INVALID_ID).then_some(set));
    Some(XtTarget::Set(XtSetTarget {
        add: named(0)?,
        delete: named(4)?,
        map: if revision == 3 { named(8)? } else { None },
        flags: match revision {
            1 => 0,
            2 => info.u32(8)?,
            _ => info.u32(12)?,
        },
    }))
}

/// `struct xt_tee_tginfo`.
fn tee(info: Info<'_>, family: LegacyFamily) -> Option<XtTarget> {
    let output = info.name(16, 16)?;
    let output = (!output.is_empty()).then_some(output);
    Some(XtTarget::Tee { gateway: info.ip(family, 0)?, output })
}

/// `struct xt_tproxy_target_info` and `_v1`.
fn tproxy(info: Info<'_>, family: LegacyFamily, port: usize) -> Option<XtTarget> {
    let (mask, mark) = (info.u32(0)?, info.u32(4)?);
    Some(XtTarget::Tproxy { address: info.ip(family, 8)?, port: info.be16(port)?, mark, mask })
}
