//! Targets and watchers of ebtables (`net/bridge/netfilter/ebt_*.c`).

use portcullis_snapshot::{XtBridgeMark, XtBridgeMarkOp, XtBridgeNat, XtTarget, XtVerdict};

use super::Extension;
use super::info::Info;
use super::targets::nflog;

/// The bits of a verdict that are used for something else (`EBT_VERDICT_BITS` are the others).
const OTHER_BITS: i32 = !0xf;

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtTarget> {
    let sized = |size| Info::sized(extension.info, size);
    if extension.revision != 0 {
        return None;
    }
    Some(match extension.name {
        "arpreply" => XtTarget::BridgeArpreply(nat(sized(12)?, 0)?),
        "dnat" => XtTarget::BridgeDnat(nat(sized(12)?, 0)?),
        "log" => {
            let info = sized(36)?;
            XtTarget::Log { level: info.u8(0)?, prefix: info.name(1, 30)? }
        }
        "mark" => mark(sized(16)?)?,
        "nflog" => nflog(sized(80)?)?,
        "redirect" => XtTarget::BridgeRedirect { verdict: verdict(sized(4)?.i32(0)?) },
        "snat" => {
            const NAT_ARP_BIT: i32 = 0x10;
            let info = sized(12)?;
            let arp = info.i32(8)? & NAT_ARP_BIT == 0;
            XtTarget::BridgeSnat { nat: nat(info, OTHER_BITS)?, arp }
        }
        _ => return None,
    })
}

/// `EBT_ACCEPT` and its like.
pub(super) const fn verdict(number: i32) -> XtVerdict {
    match number {
        -1 => XtVerdict::Accept,
        -2 => XtVerdict::Drop,
        -3 => XtVerdict::Continue,
        -4 => XtVerdict::Return,
        other => XtVerdict::Other(other),
    }
}

/// `struct ebt_nat_info`, `struct ebt_arpreply_info`.
fn nat(info: Info<'_>, other_bits: i32) -> Option<XtBridgeNat> {
    Some(XtBridgeNat { mac: info.mac(0)?, verdict: verdict(info.i32(8)? | other_bits) })
}

/// `struct ebt_mark_t_info`.
fn mark(info: Info<'_>) -> Option<XtTarget> {
    let target = info.i32(8)?;
    let op = match target & OTHER_BITS {
        -0x10 => XtBridgeMarkOp::Set,
        -0x20 => XtBridgeMarkOp::Or,
        -0x30 => XtBridgeMarkOp::And,
        -0x40 => XtBridgeMarkOp::Xor,
        _ => return None,
    };
    Some(XtTarget::BridgeMark(XtBridgeMark {
        op,
        value: info.u64(0)?,
        verdict: verdict(target | OTHER_BITS),
    }))
}
