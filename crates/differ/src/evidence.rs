//! What the kernel did, from everything that was heard.

use std::collections::HashSet;

use portcullis_datapath::frame::{ArpField, Field, Icmp6Field, Ip6Field, Write};
use portcullis_datapath::{Concrete, Outcome, PacketType, Walk};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::netlink::Event;
use portcullis_kernel::packet::{Captured, OUTGOING};
use portcullis_snapshot::{EtherType, IfIndex, Link, LinkKind, MacAddr, Netns};

use crate::expect::Expectation;
use crate::facts::{
    Difference, Facts, Strictness, below, destination, differences, hex, inner, show, source,
};
use crate::generate::Sent;
use crate::names;
use crate::stand::Heard;

/// `lo`: what the host says to itself.
pub(crate) const LOOPBACK: IfIndex = IfIndex(1);
const ICMPV6: u8 = 58;
const RTM_NEWPREFIX: u16 = 52;

/// A frame as it was sent, and what is needed to know its copies again.
pub(crate) struct Mark<'a> {
    sent: &'a Sent,
    /// The frame as it was sent, and as the walk says that rules wrote it anew.
    variants: Vec<Variant>,
}

/// One form of a frame.
struct Variant {
    source: MacAddr,
    /// What follows the tags, the protocol first.
    body: Vec<u8>,
    /// The same without what its packet's own length does not cover.
    trimmed: Option<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Variant {
    fn new(bytes: Vec<u8>) -> Self {
        let trimmed = without_trailer(&bytes).map(|bytes| body(bytes).to_vec());
        Self { source: source(&bytes), body: body(&bytes).to_vec(), trimmed, bytes }
    }
}

impl<'a> Mark<'a> {
    pub(crate) fn new(sent: &'a Sent, walk: &Walk) -> Self {
        let mut variants = vec![Variant::new(sent.bytes.clone())];
        for outcome in &walk.outcomes {
            let writes = match outcome {
                Outcome::Port(delivery) => {
                    // A tag whose TPID was written over counts as what it carries.
                    let hides = delivery.hwtag.is_some_and(|tag| !tag.tpid.is_vlan());
                    if let (true, Some(frame)) = (hides, Concrete::new(&sent.bytes)) {
                        variants.push(Variant::new(delivery.bytes(&frame)));
                    }
                    &delivery.rewritten
                }
                Outcome::Host(delivery) => &delivery.rewritten,
                _ => continue,
            };
            if let (false, Some(frame)) = (writes.is_empty(), Concrete::new(&sent.bytes)) {
                variants.push(Variant::new(Write::apply(writes, &frame)));
            }
        }
        Self { sent, variants }
    }

    /// Whether a frame is a copy of this one, its destination and tags aside.
    fn is_copy(&self, bytes: &[u8]) -> bool {
        let (from, found) = (source(bytes), body(bytes));
        let is = |variant: &Variant| {
            from == variant.source && (found == variant.body || Some(found) == variant.trimmed.as_deref())
        };
        self.variants.iter().any(is)
    }

    /// Whether a packet was inside this frame: of IPv6 what follows the header, which may be nothing.
    fn carried(&self, packet: &[u8]) -> bool {
        self.variants.iter().any(|variant| {
            if packet.is_empty() {
                return variant.trimmed.as_ref().is_some_and(|body| body.len() == 2 + 40);
            }
            variant.bytes.windows(packet.len()).any(|window| window == packet)
        })
    }

    /// Whether it is neighbour discovery, whose answers are evidence of their own, or has a wrong checksum: raw sockets
    /// get their copy before either is looked at.
    fn goes_to_ndisc(&self) -> bool {
        let Some((depth, _)) = inner(&self.sent.bytes) else { return false };
        let Some(frame) = Concrete::new(&self.sent.bytes) else { return false };
        let kind = frame.value(Field::Icmp6(depth, Icmp6Field::Type));
        (133..=137).contains(&kind) || frame.value(Field::Icmp6(depth, Icmp6Field::ChecksumRight)) == 0
    }
}

/// Many frames as they were sent, and what is needed to know copies of any of them again.
pub(crate) struct Marks(HashSet<(MacAddr, Vec<u8>)>);

impl Marks {
    pub(crate) fn new(frames: &[Vec<u8>]) -> Self {
        let bodies = |bytes: &Vec<u8>| {
            let trimmed = without_trailer(bytes).map(body);
            [Some(body(bytes)), trimmed].into_iter().flatten().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let marks =
            frames.iter().flat_map(|bytes| bodies(bytes).into_iter().map(|body| (source(bytes), body)));
        Self(marks.collect())
    }

    /// Whether a frame is a copy of one of these, its destination and tags aside.
    pub(crate) fn has_copy(&self, bytes: &[u8]) -> bool {
        self.0.contains(&(source(bytes), body(bytes).to_vec()))
    }
}

/// Where a frame's payload begins, behind its tags.
fn payload_of(bytes: &[u8]) -> usize {
    Concrete::HEADER + 4 * inner(bytes).map_or(0, |(depth, _)| usize::from(depth))
}

/// What follows a frame's tags, the protocol first.
fn body(bytes: &[u8]) -> &[u8] {
    bytes.get(payload_of(bytes).saturating_sub(2)..).unwrap_or_default()
}

/// A frame without what its IP packet's own length does not cover; `None` if there is no such packet.
fn without_trailer(bytes: &[u8]) -> Option<&[u8]> {
    let at = payload_of(bytes);
    let word = |offset: usize| {
        let word = bytes.get(at + offset..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*word)))
    };
    let length = match inner(bytes)?.1 {
        EtherType::IPV4 => word(2)?,
        EtherType::IPV6 => 40 + word(4)?,
        _ => return None,
    };
    bytes.get(..at + length).filter(|_| length > 20)
}

/// Gathers the facts from what was heard after a frame was sent.
pub(crate) fn gather(mark: &Mark<'_>, heard: &Heard, before: &Counters, after: &Counters) -> Facts {
    let copies = heard.guests.iter().filter(|(_, bytes)| mark.is_copy(bytes));
    let copies = copies.filter_map(|(name, bytes)| Some((names::wire(name)?, bytes.clone())));
    let delivered = heard.delivered.iter().filter(|(_, protocol, delivered)| {
        delivered.device != LOOPBACK
            && mark.carried(&delivered.bytes)
            && !(*protocol == ICMPV6 && mark.goes_to_ndisc())
    });
    let handled = heard.handlers.iter().filter(|(_, captured)| mark.is_copy(&captured.bytes));
    let ours =
        heard.host.iter().filter(|captured| captured.pkt_type == OUTGOING && !mark.is_copy(&captured.bytes));
    let prefix = heard.events.iter().any(|event| matches!(event, Event::Message { kind: RTM_NEWPREFIX, .. }));
    Facts {
        copies: copies.collect(),
        delivered: delivered
            .map(|(ethertype, protocol, packet)| (packet.device, *ethertype, *protocol))
            .collect(),
        tcp: after.since(before, "Tcp.InSegs") > 0,
        forwarded: [after.since(before, "Ip.ForwDatagrams"), after.since(before, "Ip6OutForwDatagrams")],
        arp_replies: ours
            .clone()
            .filter(|captured| is_arp_reply(captured))
            .map(|captured| captured.device)
            .collect(),
        advertisements: ours
            .clone()
            .filter(|captured| is_advertisement(captured))
            .map(|captured| captured.device)
            .collect(),
        answered: ours
            .filter(|captured| is_answer(captured))
            .map(|captured| destination(&captured.bytes))
            .collect(),
        handled: handled
            .filter_map(|(protocol, c)| Some((c.device, *protocol, pkt_type(c.pkt_type)?)))
            .collect(),
        neighbours: Vec::new(),
        prefix: Some(prefix),
    }
}

/// How far macvlans are with their copies: the kernel hands group frames to a thread of its own
/// (`macvlan_process_broadcast`), and what a copy brings about must not be taken for the next frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    /// No macvlan is involved.
    None,
    /// All have arrived, but what came of them may still be under way.
    Arrived,
    /// Some are still to come, if the macvlan wants them.
    Awaited,
}

/// Says how far macvlans are with a frame's copies.
pub(crate) fn macvlan_copies(mark: &Mark<'_>, heard: &Heard, netns: &Netns) -> Copies {
    let group = mark.sent.bytes.first().is_some_and(|first| first & 1 == 1);
    let arrived = |device| {
        let mut captured = heard.host.iter();
        captured.any(|one| one.device == device && one.pkt_type != OUTGOING && mark.is_copy(&one.bytes))
    };
    let macvlan = |link: &&Link| matches!(link.kind, LinkKind::Macvlan(_)) && link.is_up();
    let macvlans = netns.links.known().iter().filter(macvlan);
    let of = |link: &Link| match (group && link.link.is_some_and(arrived), arrived(link.index)) {
        (false, _) => Copies::None,
        (true, true) => Copies::Arrived,
        (true, false) => Copies::Awaited,
    };
    macvlans.map(of).max_by_key(|copies| *copies as u8).unwrap_or(Copies::None)
}

const fn pkt_type(number: u8) -> Option<PacketType> {
    match number {
        0 => Some(PacketType::Host),
        1 => Some(PacketType::Broadcast),
        2 => Some(PacketType::Multicast),
        3 => Some(PacketType::OtherHost),
        _ => None,
    }
}

/// Whether it is an ARP reply that speaks for the sender's own hardware address: not one that the bridge gives in the
/// name of a guest.
pub(crate) fn is_arp_reply(captured: &Captured) -> bool {
    let Some((depth, EtherType::ARP)) = inner(&captured.bytes) else { return false };
    let Some(frame) = Concrete::new(&captured.bytes) else { return false };
    let reply = frame.value(Field::Arp(depth, ArpField::Operation)) == 2;
    let own = names_mac(frame.value(Field::Arp(depth, ArpField::SenderMac)) as u64);
    reply && own
}

/// Whether a frame is an answer of the host's to ARP or neighbour discovery.
pub(crate) fn is_answer(captured: &Captured) -> bool {
    is_arp_reply(captured) || is_advertisement(captured)
}

/// Whether a hardware address is one that configurations give to the host's devices.
fn names_mac(address: u64) -> bool {
    address >> 8 == names::mac(names::BRIDGE).to_u64() >> 8
}

fn is_advertisement(captured: &Captured) -> bool {
    let Some((depth, EtherType::IPV6)) = inner(&captured.bytes) else { return false };
    let Some(frame) = Concrete::new(&captured.bytes) else { return false };
    frame.value(Field::Ip6(depth, Ip6Field::NextHeader)) == 58
        && frame.value(Field::Icmp6(depth, Icmp6Field::Type)) == 136
        && names_mac(frame.value(Field::Src) as u64)
}

/// Holds what was said against what was seen.
pub(crate) fn compare(expected: &Expectation, seen: &Facts, netns: &Netns) -> Vec<Difference> {
    let strictness = if expected.open { Strictness::OnlyMissing } else { Strictness::Exact };
    // An answer to an address of the host's own may come back to it (`macvlan_queue_xmit`), and be routed on until its hop limit
    // ends: that is no longer the frame's way, which is what the walk tells.
    let is_own = |address| netns.links.known().iter().any(|link| link.address == Some(address));
    let of_routed =
        if seen.answered.iter().copied().any(is_own) { Strictness::OnlyMissing } else { strictness };
    let (said, mut found) = (&expected.facts, Vec::new());
    let show_copy = |(wire, bytes): &(usize, Vec<u8>)| format!("a copy at wire {wire}: {}", hex(bytes));
    differences(&said.copies, &seen.copies, strictness, PartialEq::eq, show_copy, &mut found);
    let show_delivery = |(device, ethertype, protocol): &(IfIndex, EtherType, u8)| {
        format!("IP protocol {protocol} ({ethertype}) delivered on {}", show(*device))
    };
    differences(&said.delivered, &seen.delivered, strictness, PartialEq::eq, show_delivery, &mut found);
    let show_handled = |(device, protocol, pkt_type): &(IfIndex, EtherType, PacketType)| {
        format!("{protocol} handled on {} as {pkt_type:?}", show(*device))
    };
    let listened: Vec<_> =
        said.handled.iter().copied().filter(|(_, protocol, _)| heard_of(*protocol)).collect();
    // Being dropped by IP or ARP comes after being handled, so more may be seen.
    differences(&listened, &seen.handled, Strictness::OnlyMissing, PartialEq::eq, show_handled, &mut found);
    single("TCP took a segment", said.tcp, seen.tcp, strictness, &mut found);
    for (what, said, seen) in
        [("IPv4", said.forwarded[0], seen.forwarded[0]), ("IPv6", said.forwarded[1], seen.forwarded[1])]
    {
        // Some kernels count before FORWARD and POSTROUTING, whose rules may still drop it.
        let tables = ["nft_do_chain", "ipt_do_table", "ip6t_do_table"];
        let by_rule = expected.walk.drops.iter().any(|drop| tables.contains(&drop.function));
        let strictness = if by_rule { Strictness::OnlyMissing } else { of_routed };
        single(&format!("{what} routed on"), said > 0, seen > 0, strictness, &mut found);
    }
    for (what, said, seen) in [
        ("an ARP reply", &said.arp_replies, &seen.arp_replies),
        ("a neighbour advertisement", &said.advertisements, &seen.advertisements),
    ] {
        answers(what, said, seen, of_routed, netns, &mut found);
    }
    if said.prefix == Some(true) || (seen.prefix == Some(true) && said.prefix.is_none()) {
        single(
            "a prefix taken from an advertisement",
            said.prefix == Some(true),
            seen.prefix == Some(true),
            strictness,
            &mut found,
        );
    }
    found
}

fn heard_of(protocol: EtherType) -> bool {
    [EtherType::IPV4, EtherType::ARP, EtherType::IPV6, crate::generate::EXPERIMENT].contains(&protocol)
}

fn single(what: &str, said: bool, seen: bool, strictness: Strictness, found: &mut Vec<Difference>) {
    match (said, seen) {
        (true, false) => found.push(Difference::Missing(what.to_owned())),
        (false, true) if strictness == Strictness::Exact => {
            found.push(Difference::Unexpected(what.to_owned()))
        }
        _ => {}
    }
}

/// An answer that leaves by a device passes those below it too.
fn answers(
    what: &str,
    said: &[IfIndex],
    seen: &[IfIndex],
    strictness: Strictness,
    netns: &Netns,
    found: &mut Vec<Difference>,
) {
    for device in said.iter().filter(|device| !seen.contains(device)) {
        found.push(Difference::Missing(format!("{what} out of {}", show(*device))));
    }
    let passed: Vec<IfIndex> = said.iter().flat_map(|device| below(netns, *device)).collect();
    if strictness == Strictness::Exact {
        for device in seen.iter().filter(|device| !passed.contains(device)) {
            found.push(Difference::Unexpected(format!("{what} out of {}", show(*device))));
        }
    }
}
