//! Whether a way of the walk ends where a claim says that none does.

use ipnet::IpNet;
use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::{Condition, MOST_TAGS};
use portcullis_datapath::frame::{
    ArpField, Concrete, Field, Icmp6Field, Ip4Field, Ip6Field, Set, Write, Written,
};
use portcullis_datapath::{Assumes, Effect, HostDelivery, Network, Outcome, Walk};
use portcullis_snapshot::{EtherType, IfIndex};

use crate::claim::{Goal, HostProtocol, Receiver};
use crate::sender::keeps_the_name;

/// An end of a way that a claim is about.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    /// What is open on the way there.
    pub(crate) assumes: Assumes,
    /// Values that the frame must have, of those that the way allows.
    pub(crate) wanted: Vec<(Field, u128)>,
}

impl Reached {
    fn with(assumes: Assumes) -> Self {
        Self { assumes, wanted: Vec::new() }
    }
}

/// Returns the ends of a way that the goal is about.
pub(crate) fn reached(network: &Network<'_>, goal: Goal, walk: &Walk, condition: &Condition) -> Vec<Reached> {
    let outcomes = walk.outcomes.iter();
    match goal {
        Goal::Host(protocol) => outcomes
            .filter(|outcome| match outcome {
                Outcome::Host(delivery) => HostProtocol::of(delivery.protocol) == protocol,
                _ => false,
            })
            .map(|outcome| Reached::with(outcome.assumes()))
            .collect(),
        Goal::Infrastructure => outcomes
            .flat_map(|outcome| match outcome {
                Outcome::Host(delivery) => elsewhere(network, delivery, condition),
                Outcome::Forwarded { assumes, .. } => vec![Reached::with(*assumes)],
                // By a device that is no bridge's, where a filter sent it.
                Outcome::Port(delivery)
                    if network.link(delivery.device).is_some_and(|link| link.bridge_port().is_none()) =>
                {
                    vec![Reached::with(delivery.assumes)]
                }
                _ => Vec::new(),
            })
            .collect(),
        Goal::Port(port) => leaves_by(walk, port),
        Goal::SpoofIp { address, to } => outcomes
            .filter(|outcome| match (outcome, to) {
                (Outcome::Host(delivery), Receiver::Host) => {
                    HostProtocol::of(delivery.protocol) != HostProtocol::Other
                }
                (Outcome::Forwarded { .. }, Receiver::Host) => true,
                (Outcome::Port(delivery), Receiver::Port(port)) => delivery.device == port,
                _ => false,
            })
            .filter(|outcome| keeps_the_name(outcome, address))
            .map(|outcome| Reached::with(outcome.assumes()))
            .collect(),
        Goal::Sniff { .. } | Goal::Spoof { .. } => Vec::new(),
    }
}

/// Returns the ways by which it leaves by a port.
pub(crate) fn leaves_by(walk: &Walk, port: IfIndex) -> Vec<Reached> {
    walk.ports()
        .filter(|delivery| delivery.device == port)
        .map(|delivery| Reached::with(delivery.assumes))
        .collect()
}

/// Returns how a delivery is to an address of another interface than the one it came in by.
fn elsewhere(network: &Network<'_>, delivery: &HostDelivery, condition: &Condition) -> Vec<Reached> {
    if !matches!(delivery.effect, Effect::Deliver { .. } | Effect::ArpReply | Effect::NeighbourAdvertisement)
    {
        return Vec::new();
    }
    let Some(depth) = depth_of(condition, delivery.protocol) else { return Vec::new() };
    let (field, ipv4) = match (delivery.protocol, delivery.effect) {
        (EtherType::ARP, _) => (Field::Arp(depth, ArpField::TargetIp), true),
        (EtherType::IPV4, _) => (Field::Ip4(depth, Ip4Field::Destination), true),
        (EtherType::IPV6, Effect::NeighbourAdvertisement) => (Field::Icmp6(depth, Icmp6Field::Target), false),
        (EtherType::IPV6, _) => (Field::Ip6(depth, Ip6Field::Destination), false),
        _ => return Vec::new(),
    };
    let now = Write::last(&delivery.rewritten, field).unwrap_or(Written::Of(field));
    let addresses = network.netns().addresses.known().iter();
    addresses
        .filter(|address| address.device != delivery.device)
        .filter_map(|address| match address.address {
            IpNet::V4(net) if ipv4 && !net.addr().is_loopback() => Some(u128::from(u32::from(net.addr()))),
            IpNet::V6(net) if !ipv4 && !net.addr().is_loopback() && !net.addr().is_unicast_link_local() => {
                Some(u128::from(net.addr()))
            }
            _ => None,
        })
        .filter_map(|address| can_be(condition, now, address))
        .map(|wanted| Reached { assumes: delivery.assumes, wanted })
        .collect()
}

/// Whether what a field holds now, written or not, can be a value; and what the frame that is sent must have for that.
pub(crate) fn can_be(condition: &Condition, now: Written, value: u128) -> Option<Vec<(Field, u128)>> {
    match now {
        Written::Value(written) => (written == value).then(Vec::new),
        Written::Of(field) => condition.domain(field).contains(field, value).then(|| vec![(field, value)]),
    }
}

/// Returns behind how many tags the frames of a way carry a protocol for certain.
fn depth_of(condition: &Condition, protocol: EtherType) -> Option<u8> {
    (0..=MOST_TAGS).find(|depth| {
        let field = Field::Protocol(*depth);
        condition.domain(field).only(field) == Some(protocol.0.into())
    })
}

/// Whether the frames of a way can carry a protocol of the host's, behind tags or not.
pub(crate) fn may_carry(condition: &Condition, protocol: HostProtocol) -> bool {
    let ethertype = match protocol {
        HostProtocol::Arp => EtherType::ARP,
        HostProtocol::Ipv4 => EtherType::IPV4,
        HostProtocol::Ipv6 => EtherType::IPV6,
        HostProtocol::Other => return true,
    };
    for depth in 0..=MOST_TAGS {
        let field = Field::Protocol(depth);
        let domain = condition.domain(field);
        if domain.contains(field, ethertype.0.into()) {
            return true;
        }
        let mut tags = Set::VLAN_TPIDS.into_iter().filter_map(|tpid| Domain::of(field, tpid));
        if tags.all(|tpid| domain.intersect(&tpid).is_empty()) {
            return false;
        }
    }
    false
}

/// How many tags the frames of a way have at least.
pub(crate) fn fewest_tags(condition: &Condition) -> usize {
    (0..=MOST_TAGS).take_while(|depth| !condition.may_end_behind(*depth)).count()
}

/// The condition of one frame, in the fields that claims ask about.
pub(crate) fn exactly(frame: &Concrete<'_>) -> Condition {
    let mut fields = vec![Field::Dst, Field::Src];
    for depth in 0..=MOST_TAGS {
        fields.extend([
            Field::Protocol(depth),
            Field::Arp(depth, ArpField::TargetIp),
            Field::Ip4(depth, Ip4Field::Destination),
            Field::Ip6(depth, Ip6Field::Destination),
            Field::Icmp6(depth, Icmp6Field::Target),
        ]);
    }
    let mut condition = Condition::default();
    for field in fields {
        if let Some(domain) = Domain::of(field, Set::Exactly(frame.value(field))) {
            // A frame cannot contradict itself.
            let _ = condition.narrow(field, &domain);
        }
    }
    condition
}
