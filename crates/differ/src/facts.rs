//! What can be said of one frame, by the walk beforehand and by the kernel afterwards, in the same words.

use std::fmt;

use portcullis_datapath::frame::Field;
use portcullis_datapath::{Concrete, PacketType};
use portcullis_snapshot::{EtherType, IfIndex, LinkKind, MacAddr, Netns};

use crate::names;

/// What became of a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Copies at the far ends of cables and taps, by the wire's number.
    pub(crate) copies: Vec<(usize, Vec<u8>)>,
    /// What the transport layer got: the device that the IP layer saw, IPv4 or IPv6, the IP protocol.
    pub(crate) delivered: Vec<(IfIndex, EtherType, u8)>,
    /// Whether TCP took a segment.
    pub(crate) tcp: bool,
    /// How many packets were routed on, IPv4 and IPv6.
    pub(crate) forwarded: [u64; 2],
    /// Devices that an ARP reply of the host's left by.
    pub(crate) arp_replies: Vec<IfIndex>,
    /// Devices on which ARP took the sender into the neighbour table, or found it there.
    pub(crate) neighbours: Vec<IfIndex>,
    /// Devices that a neighbour advertisement of the host's left by.
    pub(crate) advertisements: Vec<IfIndex>,
    /// The hardware addresses that answers of the host's went to.
    pub(crate) answered: Vec<MacAddr>,
    /// What reached protocol handlers: the device, the protocol, what the frame was taken for.
    pub(crate) handled: Vec<(IfIndex, EtherType, PacketType)>,
    /// Whether a prefix was taken from a router advertisement; `None` if nothing would show it.
    pub(crate) prefix: Option<bool>,
}

impl Facts {
    /// Returns them for people, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let copies = self.copies.iter().map(|(wire, bytes)| format!("a copy at wire {wire}: {}", hex(bytes)));
        let delivered = self.delivered.iter().map(|(device, ethertype, protocol)| {
            format!("IP protocol {protocol} ({ethertype}) delivered on {}", show(*device))
        });
        let handled = self.handled.iter().map(|(device, protocol, pkt_type)| {
            format!("{protocol} handled on {} as {pkt_type:?}", show(*device))
        });
        let out = |what: &'static str, devices: &[IfIndex]| -> Vec<String> {
            devices.iter().map(|device| format!("{what} out of {}", show(*device))).collect()
        };
        let answers =
            [out("an ARP reply", &self.arp_replies), out("a neighbour advertisement", &self.advertisements)];
        let routed = format!("TCP {}, routed on {:?}, prefix {:?}", self.tcp, self.forwarded, self.prefix);
        copies.chain(delivered).chain(handled).chain(answers.concat()).chain([routed]).collect()
    }
}

/// A point in which the kernel did otherwise than the walk said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The walk said so, and it was not seen.
    Missing(String),
    /// It was seen, and the walk had not said so.
    Unexpected(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "the walk says, but the kernel did not: {what}"),
            Self::Unexpected(what) => write!(f, "the kernel did, but the walk does not say: {what}"),
        }
    }
}

/// How strictly two lists are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Nothing may be missing, nothing more may be there.
    Exact,
    /// Only what is missing counts: there were open questions.
    OnlyMissing,
}

/// Compares two lists as sets with counts. `same` says whether a seen thing is what was expected.
pub(crate) fn differences<T>(
    expected: &[T],
    seen: &[T],
    strictness: Strictness,
    same: impl Fn(&T, &T) -> bool,
    show: impl Fn(&T) -> String,
    found: &mut Vec<Difference>,
) {
    let mut left: Vec<&T> = seen.iter().collect();
    for one in expected {
        match left.iter().position(|other| same(one, other)) {
            Some(at) => drop(left.swap_remove(at)),
            None => found.push(Difference::Missing(show(one))),
        }
    }
    if strictness == Strictness::Exact {
        found.extend(left.into_iter().map(|one| Difference::Unexpected(show(one))));
    }
}

/// Returns how many tags a frame has, and the protocol behind them.
pub(crate) fn inner(bytes: &[u8]) -> Option<(u8, EtherType)> {
    let frame = Concrete::new(bytes)?;
    let protocol = |depth| EtherType(frame.value(Field::Protocol(depth)) as u16);
    let mut depth = 0;
    while depth < 8 && protocol(depth).is_vlan() {
        depth += 1;
    }
    Some((depth, protocol(depth)))
}

/// Returns a frame's source.
pub(crate) fn source(bytes: &[u8]) -> MacAddr {
    address(bytes, Field::Src)
}

/// Returns a frame's destination.
pub(crate) fn destination(bytes: &[u8]) -> MacAddr {
    address(bytes, Field::Dst)
}

fn address(bytes: &[u8], field: Field) -> MacAddr {
    Concrete::new(bytes).map_or(MacAddr::ZERO, |frame| MacAddr::from_u64(frame.value(field) as u64))
}

/// Returns the devices that something sent by `device` passes on its way to the cables.
pub(crate) fn below(netns: &Netns, device: IfIndex) -> Vec<IfIndex> {
    let mut all = vec![device];
    let mut at = 0;
    while let Some(link) = all.get(at).and_then(|index| netns.link(*index)) {
        at += 1;
        if link.bridge().is_some() || matches!(link.kind, LinkKind::Bond(_)) {
            let ports = netns.links.known().iter().filter(|port| port.master == Some(link.index));
            let new: Vec<_> = ports.map(|port| port.index).filter(|port| !all.contains(port)).collect();
            all.extend(new);
        }
        if matches!(link.kind, LinkKind::Vlan(_) | LinkKind::Macvlan(_)) {
            all.extend(link.link.filter(|lower| !all.contains(lower)));
        }
    }
    all
}

/// Returns a device's name, for people.
pub(crate) fn show(device: IfIndex) -> String {
    names::name(device).map_or_else(|| format!("interface {device}"), str::to_owned)
}

/// Returns bytes in hexadecimal.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
