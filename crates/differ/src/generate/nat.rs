//! Random chains of nftables that translate destinations, to constants.

use fastrand::Rng;
use portcullis_snapshot::{CmpOp, MetaKey, NftBaseChain, NftExpr, NftFamily, NftNat, NftNatKind, Register};

use super::{guest_ip4, guest_ip6, one_in, pick};
use crate::firewall::{Match, REGISTER, meta};
use crate::names::MOST_PORTS;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Where ports are put: behind an IPv6 address.
const PORT: Register = REGISTER + 4;
/// `NF_NAT_RANGE_MAP_IPS`.
const MAP_IPS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`.
const PROTO_SPECIFIED: u32 = 2;

/// Makes a chain one that translates, where packets have not been routed yet.
pub(super) fn chain(rng: &mut Rng, base: NftBaseChain) -> NftBaseChain {
    let families = [NftFamily::Ip, NftFamily::Ip, NftFamily::Ip6, NftFamily::Inet];
    NftBaseChain {
        family: pick(rng, &families).unwrap_or(NftFamily::Ip),
        kind: "nat".to_owned(),
        hook: 0,
        hook_name: "prerouting".to_owned(),
        priority: if one_in(rng, 4) { base.priority.max(-199) } else { -100 },
        devices: Vec::new(),
        ..base
    }
}

/// What a rule of such a chain does, with what must be asked before.
pub(super) fn statement(rng: &mut Rng, family: NftFamily) -> Vec<Match> {
    let six = family == NftFamily::Ip6 || family == NftFamily::Inet && one_in(rng, 2);
    let mut matches = Vec::new();
    let port = one_in(rng, 2).then(|| pick(rng, &[22u16, 53, 1000, 4000]).unwrap_or(53));
    let redirect = one_in(rng, 4);
    if family == NftFamily::Inet && !redirect {
        let (word, number) = if six { ("ipv6", NFPROTO_IPV6) } else { ("ipv4", NFPROTO_IPV4) };
        matches.push(meta(format!("meta nfproto {word}"), MetaKey::NfProto, CmpOp::Eq, &[number]));
    }
    if port.is_some() {
        let (word, number) = pick(rng, &[("udp", 17), ("tcp", 6)]).unwrap_or(("udp", 17));
        matches.push(meta(format!("meta l4proto {word}"), MetaKey::L4Proto, CmpOp::Eq, &[number]));
    }
    let mut expressions = Vec::new();
    let mut put = |dreg, data: &[u8]| expressions.push(NftExpr::Immediate { dreg, data: data.into() });
    let mut text = String::new();
    let mut nat = NftNat { kind: NftNatKind::Redirect, family: 0, addresses: None, ports: None, flags: 0 };
    if !redirect {
        let number = rng.usize(..MOST_PORTS);
        (nat.kind, nat.flags, nat.addresses) = (NftNatKind::Dnat, MAP_IPS, Some((REGISTER, REGISTER)));
        if six {
            let address = guest_ip6(number);
            nat.family = NFPROTO_IPV6;
            text = format!("[{address}]");
            put(REGISTER, &address.octets());
        } else {
            let address = if one_in(rng, 3) { [10, 0, 0, 1].into() } else { guest_ip4(number) };
            nat.family = NFPROTO_IPV4;
            text = address.to_string();
            put(REGISTER, &address.octets());
        }
    }
    if let Some(port) = port {
        (nat.ports, nat.flags) = (Some((PORT, PORT)), nat.flags | PROTO_SPECIFIED);
        text = format!("{text}:{port}");
        put(PORT, &port.to_be_bytes());
    }
    expressions.push(NftExpr::Nat(nat));
    let word = if redirect { "redirect" } else { "dnat" };
    let to = if text.is_empty() { String::new() } else { format!(" to {text}") };
    matches.push(Match { text: format!("{word}{to}"), expressions, set: None });
    matches
}
