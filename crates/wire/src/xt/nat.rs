//! Targets that translate addresses (`xt_nat.c`, `xt_MASQUERADE.c`, `xt_REDIRECT.c`, `xt_NETMAP.c`).

use portcullis_snapshot::{LegacyFamily, XtNat, XtTarget};

use super::Extension;
use super::info::{Info, asked};

const NF_NAT_RANGE_MAP_IPS: u32 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
const NF_NAT_RANGE_PROTO_OFFSET: u32 = 32;
const NF_NAT_RANGE_NETMAP: u32 = 64;

pub(super) fn decode(extension: &Extension<'_>) -> Option<XtTarget> {
    let (family, bytes) = (extension.family, extension.info);
    let old = || old_range(Info::sized(bytes, 20)?);
    let range = || range(Info::sized(bytes, 40)?, family);
    let range2 = || range2(Info::sized(bytes, 44)?, family);
    // Those of the first revision hold IPv4's old structure with IPv4, and the next one with IPv6.
    let by_family = || if family == LegacyFamily::Iptables { old() } else { range() };
    Some(match (extension.name, extension.revision) {
        ("DNAT", 0) if family == LegacyFamily::Iptables => XtTarget::Dnat(old()?),
        ("DNAT", 1) => XtTarget::Dnat(range()?),
        ("DNAT", 2) => XtTarget::Dnat(range2()?),
        ("MASQUERADE", 0) => XtTarget::Masquerade(by_family()?),
        ("NETMAP", 0) => XtTarget::Netmap(by_family()?),
        ("REDIRECT", 0) => XtTarget::Redirect(by_family()?),
        ("SNAT", 0) if family == LegacyFamily::Iptables => XtTarget::Snat(old()?),
        ("SNAT", 1) => XtTarget::Snat(range()?),
        ("SNAT", 2) => XtTarget::Snat(range2()?),
        _ => return None,
    })
}

/// `struct nf_nat_ipv4_multi_range_compat`, of which the kernel takes one range.
fn old_range(info: Info<'_>) -> Option<XtNat> {
    (info.u32(0)? == 1).then_some(())?;
    let flags = info.u32(4)?;
    nat(flags, 32, || {
        Some(((info.ipv4(8)?.into(), info.ipv4(12)?.into()), (info.be16(16)?, info.be16(18)?), 0))
    })
}

/// `struct nf_nat_range`.
fn range(info: Info<'_>, family: LegacyFamily) -> Option<XtNat> {
    nat(info.u32(0)?, 32, || {
        Some(((info.ip(family, 4)?, info.ip(family, 20)?), (info.be16(36)?, info.be16(38)?), 0))
    })
}

/// `struct nf_nat_range2`.
fn range2(info: Info<'_>, family: LegacyFamily) -> Option<XtNat> {
    nat(info.u32(0)?, 2 * NF_NAT_RANGE_NETMAP, || {
        let ports = (info.be16(36)?, info.be16(38)?);
        Some(((info.ip(family, 4)?, info.ip(family, 20)?), ports, info.be16(40)?))
    })
}

type Parts = ((std::net::IpAddr, std::net::IpAddr), (u16, u16), u16);

fn nat(flags: u32, unknown: u32, parts: impl FnOnce() -> Option<Parts>) -> Option<XtNat> {
    (flags < unknown).then_some(())?;
    let (addresses, ports, base_port) = parts()?;
    let is = |bit| flags & bit != 0;
    Some(XtNat {
        flags,
        addresses: is(NF_NAT_RANGE_MAP_IPS).then_some(addresses),
        ports: is(NF_NAT_RANGE_PROTO_SPECIFIED).then_some(ports),
        base_port: asked(is(NF_NAT_RANGE_PROTO_OFFSET), || Some(base_port))?,
    })
}
