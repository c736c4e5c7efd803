//! `TCA_FLOWER_KEY_*` (linux/pkt_cls.h, `fl_dump_key`).

use portcullis_snapshot::{Bytes, FlowerField, FlowerKey};

use crate::{Attribute, Message};

/// One field: where its value stands, and its mask, in how many bytes.
struct Row {
    field: FlowerField,
    value: u16,
    mask: Mask,
    length: usize,
    /// Whether the kernel tells the number in host byte order.
    host_order: bool,
}

/// Which bits of a field count.
enum Mask {
    /// Those that an attribute says; all, if it is not there.
    At(u16),
    /// Always these, from the lowest.
    Bits(u32),
    /// All.
    All,
}

const fn row(field: FlowerField, value: u16, mask: Mask, length: usize) -> Row {
    Row { field, value, mask, length, host_order: false }
}

const ROWS: &[Row] = &[
    row(FlowerField::EthDst, 4, Mask::At(5), 6),
    row(FlowerField::EthSrc, 6, Mask::At(7), 6),
    row(FlowerField::EthType, 8, Mask::All, 2),
    row(FlowerField::IpProto, 9, Mask::All, 1),
    row(FlowerField::Ipv4Src, 10, Mask::At(11), 4),
    row(FlowerField::Ipv4Dst, 12, Mask::At(13), 4),
    row(FlowerField::Ipv6Src, 14, Mask::At(15), 16),
    row(FlowerField::Ipv6Dst, 16, Mask::At(17), 16),
    // TCP, UDP and SCTP have numbers of their own, though the kernel keeps the ports in one place.
    row(FlowerField::PortSrc, 18, Mask::At(35), 2),
    row(FlowerField::PortDst, 19, Mask::At(36), 2),
    row(FlowerField::PortSrc, 20, Mask::At(37), 2),
    row(FlowerField::PortDst, 21, Mask::At(38), 2),
    row(FlowerField::PortSrc, 41, Mask::At(39), 2),
    row(FlowerField::PortDst, 42, Mask::At(40), 2),
    // The comment in the header has it in network byte order; fl_dump_key_vlan uses nla_put_u16.
    Row { host_order: true, ..row(FlowerField::VlanId, 23, Mask::Bits(0xfff), 2) },
    row(FlowerField::VlanPriority, 24, Mask::Bits(7), 1),
    row(FlowerField::VlanEthType, 25, Mask::All, 2),
    row(FlowerField::Flags, 47, Mask::At(48), 4),
    row(FlowerField::IcmpCode, 49, Mask::At(50), 1),
    row(FlowerField::IcmpType, 51, Mask::At(52), 1),
    row(FlowerField::IcmpCode, 53, Mask::At(54), 1),
    row(FlowerField::IcmpType, 55, Mask::At(56), 1),
    row(FlowerField::ArpSip, 57, Mask::At(58), 4),
    row(FlowerField::ArpTip, 59, Mask::At(60), 4),
    row(FlowerField::ArpOp, 61, Mask::At(62), 1),
    row(FlowerField::ArpSha, 63, Mask::At(64), 6),
    row(FlowerField::ArpTha, 65, Mask::At(66), 6),
    row(FlowerField::TcpFlags, 71, Mask::At(72), 2),
    row(FlowerField::IpTos, 73, Mask::At(74), 1),
    row(FlowerField::IpTtl, 75, Mask::At(76), 1),
    Row { host_order: true, ..row(FlowerField::CvlanId, 77, Mask::Bits(0xfff), 2) },
    row(FlowerField::CvlanPriority, 78, Mask::Bits(7), 1),
    row(FlowerField::CvlanEthType, 79, Mask::All, 2),
    row(FlowerField::NumOfVlans, 102, Mask::All, 1),
    row(FlowerField::PppoeSession, 103, Mask::All, 2),
    row(FlowerField::PppProtocol, 104, Mask::All, 2),
    row(FlowerField::L2Miss, 106, Mask::All, 1),
];

/// Ends of port ranges: whether of the source, and their numbers.
const RANGES: [(bool, u16, u16); 2] = [(true, 87, 88), (false, 89, 90)];

/// The keys, from what is left of a filter's options without what all classifiers have.
pub(super) fn keys(options: &[Attribute<'_>]) -> Vec<FlowerKey> {
    let mut taken = Vec::new();
    let mut keys: Vec<FlowerKey> = ROWS.iter().filter_map(|row| field(row, options, &mut taken)).collect();
    keys.extend(RANGES.iter().filter_map(|range| port_range(*range, options, &mut taken)));
    let rest = options.iter().filter(|option| !taken.contains(&option.number));
    keys.extend(rest.map(|option| FlowerKey::Other(option.unknown())));
    keys
}

/// Writes a field. Ports and ICMP have numbers of their own for each protocol, which `transport` tells.
pub(super) fn put(
    options: Message,
    field: FlowerField,
    transport: Option<u8>,
    value: &Bytes,
    mask: &Bytes,
) -> Message {
    let mut rows = ROWS.iter().filter(|row| row.field == field);
    let at = match (field, transport) {
        (FlowerField::PortSrc | FlowerField::PortDst, Some(17)) => 1,
        (FlowerField::PortSrc | FlowerField::PortDst, Some(132)) => 2,
        (FlowerField::IcmpType | FlowerField::IcmpCode, Some(58)) => 1,
        _ => 0,
    };
    let Some(row) = rows.nth(at) else { return options };
    let mut bytes = value.0.clone();
    if row.host_order && cfg!(target_endian = "little") {
        bytes.reverse();
    }
    let options = options.put(row.value, &bytes);
    match row.mask {
        Mask::At(number) => options.put(number, &mask.0),
        Mask::Bits(_) | Mask::All => options,
    }
}

/// Writes a range of ports.
pub(super) fn put_range(options: Message, source: bool, from: u16, to: u16) -> Message {
    RANGES.iter().filter(|(of, ..)| *of == source).fold(options, |options, (_, first, last)| {
        options.put(*first, &from.to_be_bytes()).put(*last, &to.to_be_bytes())
    })
}

fn find<'a>(options: &[Attribute<'a>], number: u16) -> Option<&'a [u8]> {
    options.iter().find(|option| option.number == number).map(|option| option.payload)
}

/// A field, if its value and its mask are as long as they should be.
fn field(row: &Row, options: &[Attribute<'_>], taken: &mut Vec<u16>) -> Option<FlowerKey> {
    let right = |bytes: &&[u8]| bytes.len() == row.length;
    let mut value = find(options, row.value).filter(right)?.to_vec();
    if row.host_order && cfg!(target_endian = "little") {
        value.reverse();
    }
    let mut mask = vec![0xff; row.length];
    match row.mask {
        Mask::All => {}
        Mask::Bits(bits) => {
            let bytes = bits.to_be_bytes();
            mask.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(byte, new)| *byte = *new);
        }
        Mask::At(number) => {
            if let Some(bytes) = find(options, number) {
                mask = Some(bytes).filter(right)?.to_vec();
                taken.push(number);
            }
        }
    }
    taken.push(row.value);
    Some(FlowerKey::Field { field: row.field, value: Bytes(value), mask: Bytes(mask) })
}

fn port_range(
    (source, first, last): (bool, u16, u16),
    options: &[Attribute<'_>],
    taken: &mut Vec<u16>,
) -> Option<FlowerKey> {
    let port = |number| find(options, number)?.try_into().ok().map(u16::from_be_bytes);
    let (from, to) = (port(first)?, port(last)?);
    taken.extend([first, last]);
    Some(FlowerKey::PortRange { source, from, to })
}
