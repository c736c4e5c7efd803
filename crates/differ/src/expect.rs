//! What the walk says beforehand.

use portcullis_datapath::frame::{ArpField, Field, Write};
use portcullis_datapath::{
    Concrete, Effect, HostDelivery, Network, Outcome, PortDelivery, Trace, Walk, walk,
};
use portcullis_snapshot::{EtherType, IfIndex, LinkKind, Netns, Snapshot};

use crate::facts::Facts;
use crate::names;

/// A walk, and what it makes one expect.
pub(crate) struct Expectation {
    pub(crate) walk: Walk,
    pub(crate) facts: Facts,
    /// Whether any question stayed open, so that more may be seen than was said.
    pub(crate) open: bool,
}

/// Walks a frame through a snapshot of the host's namespace. `None` if it is no frame.
pub(crate) fn expect(snapshot: &Snapshot, into: IfIndex, bytes: &[u8], trace: Trace) -> Option<Expectation> {
    let netns = snapshot.namespaces.first()?;
    let network = Network::new(snapshot, netns.id)?;
    let mut frame = Concrete::new(bytes)?;
    let walk = walk(&network, into, &mut frame, trace);
    let mut facts = Facts::default();
    for outcome in walk.outcomes.iter().filter(|outcome| outcome.assumes().is_empty()) {
        match outcome {
            Outcome::Port(delivery) => facts.copies.extend(leave(netns, delivery, &frame)),
            Outcome::Host(delivery) => take_in(&mut facts, netns, delivery),
            Outcome::Forwarded { protocol, .. } => {
                let [four, six] = &mut facts.forwarded;
                *if *protocol == EtherType::IPV4 { four } else { six } += 1;
            }
            Outcome::Elsewhere { .. } => {}
        }
    }
    let open = !walk.open.is_empty();
    Some(Expectation { walk, facts, open })
}

fn take_in(facts: &mut Facts, netns: &Netns, delivery: &HostDelivery) {
    let HostDelivery { device, protocol, effect, pkt_type, .. } = *delivery;
    facts.handled.push((device, protocol, pkt_type));
    // Of a sender that a rule wrote over, the table tells another.
    let sender =
        |write: &Write| matches!(write.field, Field::Arp(_, ArpField::SenderIp | ArpField::SenderMac));
    let known = (!delivery.rewritten.iter().any(sender)).then_some(device);
    match effect {
        Effect::Deliver { protocol: 6 } => facts.tcp = true,
        Effect::Deliver { protocol: ip } => facts.delivered.push((device, protocol, ip)),
        Effect::ArpReply => {
            facts.arp_replies.push(device);
            facts.neighbours.extend(known);
        }
        Effect::ArpUpdate => facts.neighbours.extend(known),
        Effect::NeighbourAdvertisement => facts.advertisements.push(device),
        Effect::RouterAdvertisement => {
            let takes = netns.link(device).and_then(|link| link.ipv6.as_ref()?.accept_ra_pinfo);
            facts.prefix = facts.prefix.or((takes == Some(1)).then_some(true));
        }
        Effect::NeighbourUpdate | Effect::Handler => {}
    }
}

/// Follows a copy from a bridge port to the end of a cable: through a VLAN device, which adds its tag, a macvlan or a bond.
fn leave(netns: &Netns, delivery: &PortDelivery, frame: &Concrete<'_>) -> Option<(usize, Vec<u8>)> {
    let mut bytes = delivery.bytes(frame);
    let mut beside = delivery.hwtag.is_some();
    let mut link = netns.link(delivery.device)?;
    for _ in 0..4 {
        if !link.is_up() || link.carrier == Some(false) {
            return None;
        }
        match &link.kind {
            LinkKind::Vlan(vlan) => {
                let tag = [vlan.protocol.0.to_be_bytes(), vlan.id.to_be_bytes()].concat();
                bytes.splice(12..12, tag);
                beside = true;
                link = netns.link(link.link?)?;
            }
            LinkKind::Macvlan(_) => {
                // It cannot have an 802.1ad tag beside the bytes (MACVLAN_FEATURES), so that the kernel puts it in.
                beside &= delivery.hwtag.is_none_or(|tag| tag.tpid != EtherType::SVLAN);
                link = netns.link(link.link?)?;
            }
            LinkKind::Bond(bond) => link = netns.link(bond.active_slave?)?,
            // The other end of a cable throws away what ends within a tag, before anybody sees it.
            LinkKind::Veth if !beside && ends_within_a_tag(&bytes) => return None,
            _ => return Some((names::wire(names::name(link.index)?)?, bytes)),
        }
    }
    None
}

/// Whether `skb_vlan_untag` would find too little behind a tag.
fn ends_within_a_tag(bytes: &[u8]) -> bool {
    let tagged = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    tagged && bytes.len() < Concrete::HEADER + 6
}
