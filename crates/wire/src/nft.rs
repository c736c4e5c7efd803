//! nftables' tables, base chains and flowtables (linux/netfilter/nf_tables.h). Numbers are in network byte order.

use portcullis_snapshot::{NftBaseChain, NftFamily, NftFlowtable};

use crate::{Attribute, Attributes, u8_at};

/// `struct nfgenmsg`.
const NFGENMSG: usize = 4;

/// A table: its family, its name, and whether it is dormant.
#[must_use]
pub fn table(message: &[u8]) -> Option<(NftFamily, String, bool)> {
    const NFT_TABLE_F_DORMANT: u32 = 1;
    let attributes = Attributes::after(message, NFGENMSG);
    let flags = attributes.get(2).and_then(|flags| flags.be32()).unwrap_or_default();
    Some((family(message)?, attributes.get(1)?.string(), flags & NFT_TABLE_F_DORMANT != 0))
}

/// A base chain; `None` for other chains. Whether its table is dormant has to be filled in.
#[must_use]
pub fn base_chain(message: &[u8]) -> Option<NftBaseChain> {
    let attributes = Attributes::after(message, NFGENMSG);
    let hook = attributes.get(4)?.nested();
    let (family, number) = (family(message)?, hook.get(1)?.be32()?);
    Some(NftBaseChain {
        family,
        table: attributes.get(1)?.string(),
        chain: attributes.get(3)?.string(),
        kind: attributes.get(7).map(|kind| kind.string()).unwrap_or_default(),
        hook: number,
        hook_name: hook_name(family, number).to_owned(),
        priority: hook.get(2)?.be32()?.cast_signed(),
        devices: hook_devices(&hook, 3, 4),
        policy_drop: attributes.get(5).and_then(|policy| policy.be32()) == Some(0),
        // Nothing can jump to a base chain, so what uses it are its rules.
        rules: attributes.get(6).and_then(|uses| uses.be32()).unwrap_or_default(),
        dormant: false,
    })
}

/// A flowtable.
#[must_use]
pub fn flowtable(message: &[u8]) -> Option<NftFlowtable> {
    let attributes = Attributes::after(message, NFGENMSG);
    let devices = attributes.get(3).map(|hook| hook_devices(&hook.nested(), 0, 3)).unwrap_or_default();
    let (table, name) = (attributes.get(1)?.string(), attributes.get(2)?.string());
    Some(NftFlowtable { family: family(message)?, table, name, devices })
}

fn hook_devices(hook: &Attributes<'_>, single: u16, several: u16) -> Vec<String> {
    let several = hook.get(several).into_iter().flat_map(|devices| devices.nested());
    let mut devices: Vec<_> = several.map(|device: Attribute<'_>| device.string()).collect();
    // The kernel tells a single device twice, in the old place and in the new.
    if let (true, Some(device)) = (devices.is_empty() && single != 0, hook.get(single)) {
        devices.push(device.string());
    }
    devices
}

fn family(message: &[u8]) -> Option<NftFamily> {
    Some(match u8_at(message, 0)? {
        1 => NftFamily::Inet,
        2 => NftFamily::Ip,
        3 => NftFamily::Arp,
        5 => NftFamily::Netdev,
        7 => NftFamily::Bridge,
        10 => NftFamily::Ip6,
        other => NftFamily::Other(other),
    })
}

/// The hook's name in `nft`(8).
fn hook_name(family: NftFamily, number: u32) -> &'static str {
    match (family, number) {
        (NftFamily::Netdev, 0) => "ingress",
        (NftFamily::Netdev, 1) => "egress",
        (NftFamily::Arp, 0) => "input",
        (NftFamily::Arp, 1) => "output",
        (NftFamily::Arp, 2) => "forward",
        (_, 0) => "prerouting",
        (_, 1) => "input",
        (_, 2) => "forward",
        (_, 3) => "output",
        (_, 4) => "postrouting",
        (NftFamily::Inet, 5) => "ingress",
        _ => "unknown",
    }
}
