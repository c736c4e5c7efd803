//! Random writes of nftables into the packet: of what the packet has elsewhere, into ARP, and of bytes anywhere.

use fastrand::Rng;
use portcullis_snapshot::{BitwiseOp, Bytes, NftExpr, NftFamily, PayloadBase, PayloadSum};

use super::firewall::{needs, write};
use super::{guest_ip4, guest_mac, one_in, pick};
use crate::firewall::{Match, REGISTER};
use crate::names::MOST_PORTS;

/// As `nft` writes into an IPv4 header, with the pseudo-header's sum or without.
const HEADER_SUM: PayloadSum = PayloadSum { kind: 1, offset: 10, flags: 0 };
const BOTH_SUMS: PayloadSum = PayloadSum { kind: 1, offset: 10, flags: 1 };

/// A write, with what must be asked before.
pub(super) fn other(rng: &mut Rng, family: NftFamily) -> Vec<Match> {
    let layer2 = matches!(family, NftFamily::Bridge | NftFamily::Netdev);
    let number = rng.usize(..MOST_PORTS);
    match rng.u32(..8) {
        0 if layer2 => {
            let text = "ether daddr set ether saddr".to_owned();
            vec![copied(text, PayloadBase::Link, (6, 0, 6), PayloadSum::default())]
        }
        0 | 1 => {
            let (from, to, text) = if one_in(rng, 2) {
                (12, 16, "ip daddr set ip saddr")
            } else {
                (16, 12, "ip saddr set ip daddr")
            };
            let write = copied(text.to_owned(), PayloadBase::Network, (from, to, 4), BOTH_SUMS);
            [needs(family, 0x0800), vec![write]].concat()
        }
        2 => [needs(family, 0x0800), vec![time_to_live(rng)]].concat(),
        3 | 4 if layer2 || family == NftFamily::Arp => {
            let (text, offset, value) = match rng.u32(..3) {
                0 => ("@nh,112,32", 14, guest_ip4(number).octets().to_vec()),
                1 => ("@nh,192,32", 24, guest_ip4(number).octets().to_vec()),
                _ => ("@nh,64,48", 8, guest_mac(number).0.to_vec()),
            };
            let text = format!("{text} set 0x{}", crate::facts::hex(&value));
            let sum = PayloadSum::default();
            [needs(family, 0x0806), vec![write(text, PayloadBase::Network, offset, &value, sum)]].concat()
        }
        5 if layer2 => {
            let offset = pick(rng, &[0, 4, 6, 8, 10, 12, 14, 16]).unwrap_or(12);
            anywhere(rng, PayloadBase::Link, "ll", offset, PayloadSum::default())
        }
        6 => {
            let sum = PayloadSum { kind: 1, offset: pick(rng, &[6, 16]).unwrap_or(6), flags: 0 };
            let offset = rng.u32(..8);
            anywhere(rng, PayloadBase::Transport, "th", offset, sum)
        }
        _ => {
            let sum = pick(rng, &[PayloadSum::default(), HEADER_SUM, BOTH_SUMS]).unwrap_or_default();
            let offset = rng.u32(..44);
            anywhere(rng, PayloadBase::Network, "nh", offset, sum)
        }
    }
}

fn copied(text: String, base: PayloadBase, (from, to, len): (u32, u32, u32), sum: PayloadSum) -> Match {
    let expressions = vec![
        NftExpr::Payload { base, offset: from, len, dreg: REGISTER },
        NftExpr::PayloadSet { base, offset: to, len, sreg: REGISTER, sum },
    ];
    Match { text, expressions, set: None }
}

/// A byte of which a checksum has two: the other is read, and written again.
fn time_to_live(rng: &mut Rng) -> Match {
    let value = pick(rng, &[1, 2, 64, 255]).unwrap_or(1);
    let (base, offset, len) = (PayloadBase::Network, 8, 2);
    let op = BitwiseOp::Mask { mask: Bytes(vec![0, 0xff]), xor: Bytes(vec![value, 0]) };
    let expressions = vec![
        NftExpr::Payload { base, offset, len, dreg: REGISTER },
        NftExpr::Bitwise { sreg: REGISTER, dreg: REGISTER, len, op },
        NftExpr::PayloadSet { base, offset, len, sreg: REGISTER, sum: HEADER_SUM },
    ];
    Match { text: format!("ip ttl set {value}"), expressions, set: None }
}

fn anywhere(rng: &mut Rng, base: PayloadBase, word: &str, offset: u32, sum: PayloadSum) -> Vec<Match> {
    let value: Vec<u8> = (0..pick(rng, &[1, 2, 2, 4]).unwrap_or(2)).map(|_| rng.u8(..)).collect();
    let text = format!("@{word},{},{} set 0x{}", offset * 8, value.len() * 8, crate::facts::hex(&value));
    vec![write(text, base, offset, &value, sum)]
}
