//! What in a frame is a port's own, or a bridge's: the blanks that another's are filled in for.

use portcullis_datapath::frame::symbolic::MOST_TAGS;
use portcullis_datapath::frame::{ArpField, Concrete, Field, Ip4Field, Ip6Field, Sums, Write, Written};
use portcullis_snapshot::{EtherType, MacAddr};

use crate::context::{BridgeView, PortView};

/// Something of a port's own that can stand in a frame: an address, as a number of so many bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blank {
    bits: u8,
    value: u128,
}

/// What is a port's own, at the same places as what is another's that is alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blanks(Vec<Option<Blank>>);

impl Blanks {
    /// Returns what is a port's own: its guest's address, the port's, and what rules know of it.
    #[must_use]
    pub fn of(port: &PortView<'_>) -> Self {
        let mac = |address: MacAddr| Blank::of(&address.0);
        let addresses = [Some(mac(port.source)), port.link.address.map(mac)];
        let own = port.own.iter().flat_map(|constant| parts(constant)).map(Some);
        Self(addresses.into_iter().chain(own).collect())
    }

    /// Returns what is a bridge's own: its address.
    #[must_use]
    pub fn of_bridge(bridge: &BridgeView<'_>) -> Self {
        Self(vec![bridge.link.address.map(|address| Blank::of(&address.0))])
    }

    /// Returns these, and then others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Returns a frame with another's in the place of these.
    #[must_use]
    pub fn replaced(&self, frame: &[u8], other: &Self) -> Vec<u8> {
        let Some(concrete) = Concrete::new(frame) else { return frame.to_vec() };
        let write = |(field, sums): (Field, Sums)| {
            let held = Some(Blank { bits: field.bits(), value: concrete.value(field) });
            let at = self.0.iter().position(|blank| *blank == held)?;
            let blank = other.0.get(at).copied().flatten()?;
            (Some(blank) != held).then_some(Write { field, value: Written::Value(blank.value), sums })
        };
        let writes: Vec<_> = fields(&concrete).into_iter().filter_map(write).collect();
        Write::apply(&writes, &concrete)
    }
}

/// The addresses that can stand in a register, or several: each begins at a multiple of its width.
fn parts(constant: &[u8]) -> impl Iterator<Item = Blank> {
    let at =
        move |start: usize| [4, 6, 16].into_iter().filter_map(move |len| constant.get(start..start + len));
    (0..constant.len()).step_by(4).flat_map(at).map(Blank::of)
}

impl Blank {
    fn of(bytes: &[u8]) -> Self {
        let value = bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
        Self { bits: bytes.len() as u8 * 8, value }
    }
}

/// The fields of a frame that hold addresses, and the checksums that they are in.
fn fields(frame: &Concrete<'_>) -> Vec<(Field, Sums)> {
    let fields = vec![(Field::Dst, Sums::NONE), (Field::Src, Sums::NONE)];
    for depth in 0..=MOST_TAGS {
        match u16::try_from(frame.value(Field::Protocol(depth))).map(EtherType) {
            Ok(EtherType::ARP) => {
                let of_arp =
                    [ArpField::SenderMac, ArpField::SenderIp, ArpField::TargetMac, ArpField::TargetIp];
                return [fields, of_arp.map(|field| (Field::Arp(depth, field), Sums::NONE)).into()].concat();
            }
            Ok(EtherType::IPV4) => {
                let of_ip = [Ip4Field::Source, Ip4Field::Destination];
                return [fields, of_ip.map(|field| (Field::Ip4(depth, field), Sums::BOTH)).into()].concat();
            }
            Ok(EtherType::IPV6) => {
                let of_ip = [Ip6Field::Source, Ip6Field::Destination];
                return [fields, of_ip.map(|field| (Field::Ip6(depth, field), Sums::TRANSPORT)).into()]
                    .concat();
            }
            Ok(EtherType::VLAN | EtherType::SVLAN) => {}
            _ => break,
        }
    }
    fields
}
