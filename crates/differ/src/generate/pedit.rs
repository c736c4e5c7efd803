//! Random keys of tc's `pedit`: whole fields as people change them, and words anywhere.

use fastrand::Rng;
use portcullis_snapshot::{MacAddr, PeditHeader, PeditKey};

use super::{guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::names::{BRIDGE, MOST_PORTS, mac};

/// Makes the keys of one action: most often those of one field.
pub(super) fn keys(rng: &mut Rng) -> Vec<PeditKey> {
    let mut keys = Vec::new();
    for _ in 0..pick(rng, &[1, 1, 1, 2]).unwrap_or(1) {
        keys.extend(field(rng));
    }
    keys
}

/// A word of which the bits of `kept` stay.
const fn word(header: PeditHeader, offset: i32, kept: u32, value: u32) -> PeditKey {
    let offset = offset.cast_unsigned();
    PeditKey { header, add: false, mask: kept, value, offset, at: 0, offset_mask: 0, shift: 0 }
}

fn field(rng: &mut Rng) -> Vec<PeditKey> {
    let four = pick(rng, &[PeditHeader::Ip4, PeditHeader::Network]).unwrap_or(PeditHeader::Ip4);
    let six = pick(rng, &[PeditHeader::Ip6, PeditHeader::Network]).unwrap_or(PeditHeader::Ip6);
    match rng.u32(..16) {
        0..=2 => ethernet(rng),
        3 | 4 => {
            let offset = pick(rng, &[12, 16]).unwrap_or(16);
            vec![word(four, offset, 0, guest_ip4(rng.usize(..MOST_PORTS)).into())]
        }
        5 => {
            let at = pick(rng, &[8, 24]).unwrap_or(24);
            let address = u128::from(guest_ip6(rng.usize(..MOST_PORTS)));
            (0..4).map(|part| word(six, at + 4 * part, 0, (address >> (96 - 32 * part)) as u32)).collect()
        }
        6 => vec![time_to_live(rng, word(four, 8, 0x00ff_ffff, 0), 24)],
        7 => vec![time_to_live(rng, word(six, 4, 0xffff_ff00, 0), 0)],
        8 => vec![word(four, 0, 0xff00_ffff, u32::from(rng.u8(..)) << 16)],
        9 | 10 => vec![port(rng)],
        11 => arp(rng),
        12 => vec![added(rng)],
        _ => vec![anywhere(rng)],
    }
}

/// A hardware address, which is a word and half of another.
fn ethernet(rng: &mut Rng) -> Vec<PeditKey> {
    let address = match rng.u32(..4) {
        0 => mac(BRIDGE),
        1 => MacAddr::BROADCAST,
        _ => guest_mac(rng.usize(..MOST_PORTS)),
    };
    let number = address.to_u64();
    if one_in(rng, 2) {
        let (first, second) = ((number >> 16) as u32, (number as u32) << 16);
        vec![word(PeditHeader::Eth, 0, 0, first), word(PeditHeader::Eth, 4, 0x0000_ffff, second)]
    } else {
        let (first, second) = ((number >> 32) as u32, number as u32);
        vec![word(PeditHeader::Eth, 4, 0xffff_0000, first), word(PeditHeader::Eth, 8, 0, second)]
    }
}

/// Set, or one less, as `munge ip ttl add 0xff` has it.
fn time_to_live(rng: &mut Rng, key: PeditKey, shift: u32) -> PeditKey {
    if one_in(rng, 2) {
        return PeditKey { add: true, value: 0xff << shift, ..key };
    }
    PeditKey { value: pick(rng, &[0, 1, 2, 64, 255]).unwrap_or(1) << shift, ..key }
}

fn port(rng: &mut Rng) -> PeditKey {
    let header = pick(rng, &[PeditHeader::Tcp, PeditHeader::Udp, PeditHeader::Udp]);
    let header = header.unwrap_or(PeditHeader::Udp);
    let value = pick(rng, &[22, 53, 1000, 2000, 4000]).unwrap_or(53);
    if one_in(rng, 2) { word(header, 0, 0xffff_0000, value) } else { word(header, 0, 0xffff, value << 16) }
}

fn arp(rng: &mut Rng) -> Vec<PeditKey> {
    let address = u32::from(guest_ip4(rng.usize(..MOST_PORTS)));
    let network = PeditHeader::Network;
    match rng.u32(..3) {
        0 => vec![word(network, 4, 0xffff_0000, rng.u32(1..=2))],
        1 => vec![word(network, 24, 0, address)],
        _ => vec![word(network, 12, 0xffff_0000, address >> 16), word(network, 16, 0xffff, address << 16)],
    }
}

/// A sum, which the kernel makes in host byte order.
fn added(rng: &mut Rng) -> PeditKey {
    let (header, offset) = pick(
        rng,
        &[
            (PeditHeader::Eth, 8),
            (PeditHeader::Eth, 0),
            (PeditHeader::Ip4, 16),
            (PeditHeader::Network, 12),
            (PeditHeader::Ip6, 36),
            (PeditHeader::Udp, 0),
        ],
    )
    .unwrap_or((PeditHeader::Ip4, 16));
    let value = if one_in(rng, 2) { rng.u32(..) } else { rng.u32(..3) << 24 };
    let kept = pick(rng, &[0, 0, 0xffff_ff00, 0x00ff_ffff, 0xffff_0000]).unwrap_or(0);
    PeditKey { add: true, ..word(header, offset, kept, value) }
}

fn anywhere(rng: &mut Rng) -> PeditKey {
    let header = pick(
        rng,
        &[
            PeditHeader::Network,
            PeditHeader::Network,
            PeditHeader::Eth,
            PeditHeader::Ip4,
            PeditHeader::Ip6,
            PeditHeader::Tcp,
            PeditHeader::Udp,
        ],
    )
    .unwrap_or(PeditHeader::Network);
    let offset = pick(rng, &[-16, -12, -8, -4, 0, 4, 8, 20, 24, 28, 36, 40, 60, 600]).unwrap_or(0);
    let key = word(header, offset, rng.u32(..) | rng.u32(..), rng.u32(..) & rng.u32(..));
    // Beyond the header's own length, perhaps.
    if one_in(rng, 6) { PeditKey { offset_mask: 0x0c, shift: rng.u32(..2), ..key } } else { key }
}
