//! The frame that is shown for each port of a group: the first's, with the other's own addresses in it.
//!
//! That it arrives from the other port as well is not taken for granted: rules may ask for something of the guest's own that
//! has no place among the blanks. The frame is walked from there, and where it does not arrive, the first port's is shown.

use portcullis_datapath::frame::symbolic::MOST_TAGS;
use portcullis_datapath::frame::{ArpField, Concrete, Field, Ip4Field, Ip6Field, Sums, Write, Written};
use portcullis_datapath::{Aim, Outcome};
use portcullis_snapshot::{EtherType, IfIndex, MacAddr};

use crate::context::{BridgeView, Context, PortView};
use crate::finding::Device;
use crate::probe::Hit;
use crate::proven::Sent;

/// A frame to be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The port that it comes in by.
    pub port: Device,
    /// The frame.
    pub frame: Vec<u8>,
}

impl Context<'_> {
    /// Returns the frame that shows for a port what a hit shows for the first one of its group.
    #[must_use]
    pub fn shown(
        &self,
        bridge: &BridgeView<'_>,
        (first, port): (&PortView<'_>, &PortView<'_>),
        hit: &Hit<'_>,
    ) -> Shown {
        let exchange = exchange(first.link.index, port.link.index);
        let aim = match &hit.outcome {
            Outcome::Host(_) | Outcome::Forwarded { .. } => Aim::Host,
            Outcome::Port(left) => Aim::Port(exchange(left.device)),
            Outcome::Elsewhere { .. } => Aim::Everywhere,
        };
        let arrives = |outcome: &Outcome| {
            (outcome.assumes().is_empty() || !hit.questions.is_empty())
                && is_same_end(&hit.outcome, outcome, exchange)
        };
        self.shown_if(bridge, (first, port), (&hit.sent, aim), arrives)
    }

    /// Returns the frame for a port if it arrives where it is wanted, or else the one for the first port of the group.
    #[must_use]
    pub fn shown_if(
        &self,
        bridge: &BridgeView<'_>,
        (first, port): (&PortView<'_>, &PortView<'_>),
        (sent, aim): (&Sent<'_>, Aim),
        arrives: impl Fn(&Outcome) -> bool,
    ) -> Shown {
        let of = |port: &PortView<'_>| Shown { port: port.into(), frame: sent.frame(bridge, port) };
        let own = of(port);
        let is_first = port.link.index == first.link.index;
        if is_first || self.probe_for(aim, port.link.index, &own.frame).outcomes.iter().any(arrives) {
            own
        } else {
            of(first)
        }
    }
}

/// Reads what is found for one port for another: each stands for the other.
fn exchange(one: IfIndex, other: IfIndex) -> impl Fn(IfIndex) -> IfIndex + Copy {
    move |device| match device {
        device if device == one => other,
        device if device == other => one,
        device => device,
    }
}

fn is_same_end(one: &Outcome, other: &Outcome, exchange: impl Fn(IfIndex) -> IfIndex) -> bool {
    match (one, other) {
        (Outcome::Host(one), Outcome::Host(other)) => {
            (exchange(one.device), one.protocol, one.effect, one.pkt_type)
                == (other.device, other.protocol, other.effect, other.pkt_type)
        }
        (Outcome::Forwarded { from: one, device: out, .. }, Outcome::Forwarded { from, device, .. }) => {
            (exchange(*one), exchange(*out)) == (*from, *device)
        }
        (Outcome::Port(one), Outcome::Port(other)) => exchange(one.device) == other.device,
        (Outcome::Elsewhere { device: one, .. }, Outcome::Elsewhere { device, .. }) => one == device,
        _ => false,
    }
}

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
