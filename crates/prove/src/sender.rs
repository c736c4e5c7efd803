//! Frames in the name of an IP address: that say to those who get them that they come from there.
//!
//! Those are ARP messages with the address as the sender's (`arp_process`), IPv4 and IPv6 packets with it as their source,
//! and neighbour advertisements of it, behind destination options, too (`ndisc_recv_na`). Each is meant as a receiver takes
//! it in: well formed, and an advertisement with the hop limit that it must have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::{Condition, MOST_TAGS};
use portcullis_datapath::frame::{ArpField, Field, Icmp6Field, Ip4Field, Ip6Field, Set, Write, Written};
use portcullis_datapath::{Network, Outcome};
use portcullis_snapshot::{EtherType, IfIndex, Link, MacAddr, Neighbour};

/// What is asked of some fields.
type Asked = Vec<(Field, Domain)>;
/// A protocol, and what is asked of its fields behind so many tags.
type Sort = (EtherType, fn(u8, IpAddr) -> Asked);

const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// `struct nd_msg`, from the IPv6 header on: a message that ends before its target does is none.
const WHOLE: Set = Set::Range(64, 0xffff_ffff);

/// Returns the frames in the name of an address, as conditions of which no two have a frame in common: those without tags
/// first.
#[must_use]
pub fn in_the_name_of(address: IpAddr) -> Vec<Condition> {
    let sorts: Vec<Sort> = match address {
        IpAddr::V4(_) => vec![(EtherType::ARP, arp), (EtherType::IPV4, ipv4)],
        IpAddr::V6(_) => vec![
            (EtherType::IPV6, ipv6),
            (EtherType::IPV6, advertisement),
            (EtherType::IPV6, advertisement_behind_options),
        ],
    };
    let sorts = &sorts;
    let at = |depth| {
        sorts.iter().filter_map(move |(protocol, asked)| behind_tags(depth, *protocol, asked(depth, address)))
    };
    (0..=MOST_TAGS).flat_map(at).collect()
}

fn arp(depth: u8, address: IpAddr) -> Asked {
    asked([
        (Field::Arp(depth, ArpField::WellFormed), 1u8.into()),
        (Field::Arp(depth, ArpField::SenderIp), Set::Exactly(number(address))),
    ])
}

fn ipv4(depth: u8, address: IpAddr) -> Asked {
    asked([
        (Field::Ip4(depth, Ip4Field::WellFormed), 1u8.into()),
        (Field::Ip4(depth, Ip4Field::Source), Set::Exactly(number(address))),
    ])
}

fn ipv6(depth: u8, address: IpAddr) -> Asked {
    asked([
        (Field::Ip6(depth, Ip6Field::WellFormed), 1u8.into()),
        (Field::Ip6(depth, Ip6Field::Source), Set::Exactly(number(address))),
    ])
}

/// From any other address: from this one it is a packet like others.
fn of_neighbour(depth: u8, address: IpAddr) -> Asked {
    let source = Field::Ip6(depth, Ip6Field::Source);
    let this = Domain::of(source, Set::Exactly(number(address))).unwrap_or_default();
    let mut all = asked([
        (Field::Ip6(depth, Ip6Field::WellFormed), 1u8.into()),
        (Field::Ip6(depth, Ip6Field::HopLimit), 255u8.into()),
        (Field::Length(depth), WHOLE),
    ]);
    all.push((source, Domain::full(source.bits()).without(&this)));
    all
}

fn advertisement(depth: u8, address: IpAddr) -> Asked {
    let right_behind = asked([
        (Field::Ip6(depth, Ip6Field::NextHeader), ICMPV6.into()),
        (Field::Icmp6(depth, Icmp6Field::Type), NEIGHBOUR_ADVERTISEMENT.into()),
        (Field::Icmp6(depth, Icmp6Field::Target), Set::Exactly(number(address))),
    ]);
    [of_neighbour(depth, address), right_behind].concat()
}

fn advertisement_behind_options(depth: u8, address: IpAddr) -> Asked {
    let options = asked([
        (Field::Ip6(depth, Ip6Field::NextHeader), 60u8.into()),
        (Field::Ip6(depth, Ip6Field::HasTransport), 1u8.into()),
        (Field::Ip6(depth, Ip6Field::TransportProtocol), ICMPV6.into()),
        (Field::TransportByte(depth, 0), NEIGHBOUR_ADVERTISEMENT.into()),
    ]);
    let target = number(address).to_be_bytes();
    let target = (8..).zip(target).map(|(at, byte)| (Field::TransportByte(depth, at), Set::from(byte)));
    [of_neighbour(depth, address), options, asked(target)].concat()
}

fn asked(fields: impl IntoIterator<Item = (Field, Set)>) -> Asked {
    fields.into_iter().filter_map(|(field, set)| Some((field, Domain::of(field, set)?))).collect()
}

/// The frames of a protocol behind so many tags, of which fields have certain values; `None` if there are none.
fn behind_tags(depth: u8, protocol: EtherType, asked: Asked) -> Option<Condition> {
    let tpids = Set::VLAN_TPIDS.into_iter().filter_map(|tpid| Domain::of(Field::Protocol(0), tpid));
    let tpids = tpids.fold(Domain::default(), |all, tpid| all.union(&tpid));
    let protocol = Domain::of(Field::Protocol(depth), protocol.into())?;
    let mut given = Condition::every_frame();
    let tags = (0..depth).all(|outer| given.narrow(Field::Protocol(outer), &tpids));
    let all = tags
        && given.narrow(Field::Protocol(depth), &protocol)
        && asked.iter().all(|(field, domain)| given.narrow(*field, domain));
    all.then_some(given)
}

/// Whether what arrives is still in the name of an address, whatever rules wrote into it.
pub(crate) fn keeps_the_name(outcome: &Outcome, address: IpAddr) -> bool {
    let rewritten: &[Write] = match outcome {
        Outcome::Host(delivery) => &delivery.rewritten,
        Outcome::Port(delivery) => &delivery.rewritten,
        Outcome::Forwarded { .. } | Outcome::Elsewhere { .. } => &[],
    };
    let names = |field| {
        matches!(
            field,
            Field::Arp(_, ArpField::SenderIp)
                | Field::Ip4(_, Ip4Field::Source)
                | Field::Ip6(_, Ip6Field::Source)
                | Field::Icmp6(_, Icmp6Field::Target)
        )
    };
    rewritten.iter().filter(|write| names(write.field)).all(|write| {
        let last = Write::last(rewritten, write.field);
        !matches!(last, Some(Written::Value(value)) if value != number(address))
    })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// `NTF_PROXY`.
const PROXY: u8 = 8;

/// Returns the IP addresses that the host knows of neighbours with one of these MAC addresses, by a device that leads to
/// their bridge.
pub(crate) fn known_of(network: &Network<'_>, bridge: IfIndex, macs: &[MacAddr]) -> Vec<IpAddr> {
    let leads_there = |device: &Link| device.index == bridge || device.link == Some(bridge);
    let known = |neighbour: &&Neighbour| {
        neighbour.flags & PROXY == 0
            && neighbour.mac.is_some_and(|mac| macs.contains(&mac))
            && network.link(neighbour.device).is_some_and(leads_there)
            && !is_nobody(neighbour.address)
    };
    let mut all: Vec<_> =
        network.netns().neighbours.known().iter().filter(known).map(|neighbour| neighbour.address).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn is_nobody(address: IpAddr) -> bool {
    address.is_multicast()
        || [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)].contains(&address)
}
