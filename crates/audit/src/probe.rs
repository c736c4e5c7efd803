//! Frames that rules send on a walk, and what came of them.
//!
//! A [`Probe`] is a frame with blanks: the port fills in addresses and tags. So one probe serves every port that is
//! alike, and each finding gets a witness with its own port's addresses.

use portcullis_datapath::{Aim, FrameBuilder, HostDelivery, Outcome, PacketType, Payload, Walk};
use portcullis_snapshot::{IfIndex, MacAddr};

use crate::context::{BridgeView, Context, PortView, Tag};
use crate::proven::Sent;

/// Whom a probe is addressed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The bridge device's address.
    Bridge,
    /// The address of the port that it comes in by.
    Port,
    /// `ff:ff:ff:ff:ff:ff`.
    Broadcast,
    /// A group address.
    Multicast(MacAddr),
    /// `01:80:c2:00:00:0X`.
    LinkLocal(u8),
    /// Any other address.
    Mac(MacAddr),
}

impl Destination {
    /// The group of all IPv4 hosts, `01:00:5e:00:00:01`.
    pub const ALL_HOSTS: Self = Self::Multicast(MacAddr([0x01, 0, 0x5e, 0, 0, 1]));
    /// The group of all IPv6 nodes, `33:33:00:00:00:01`.
    pub const ALL_NODES: Self = Self::Multicast(MacAddr([0x33, 0x33, 0, 0, 0, 1]));

    /// Returns every link-local group address; first the two that meet no hook of the bridge.
    pub fn all_link_local() -> impl Iterator<Item = Self> {
        [0x0e, 0].into_iter().chain((1..16).filter(|x| *x != 0x0e)).map(Self::LinkLocal)
    }

    /// Returns the address; `None` if the device has none.
    #[must_use]
    pub fn mac(self, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Option<MacAddr> {
        match self {
            Self::Bridge => bridge.link.address,
            Self::Port => port.link.address,
            Self::Broadcast => Some(MacAddr::BROADCAST),
            Self::LinkLocal(x) => Some(MacAddr::link_local(x)),
            Self::Multicast(mac) | Self::Mac(mac) => Some(mac),
        }
    }

    /// Returns what an address of a frame is.
    #[must_use]
    pub fn of(mac: MacAddr) -> Self {
        match mac {
            MacAddr::BROADCAST => Self::Broadcast,
            MacAddr([1, 0x80, 0xc2, 0, 0, x]) if x < 16 => Self::LinkLocal(x),
            _ if mac.is_multicast() => Self::Multicast(mac),
            _ => Self::Mac(mac),
        }
    }

    /// Returns what it is, in words that fit every port: "the bridge's address".
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Bridge => "the bridge's address".to_owned(),
            Self::Port => "the port's own address".to_owned(),
            Self::Broadcast => "broadcast".to_owned(),
            Self::Multicast(mac) => format!("multicast ({mac})"),
            Self::LinkLocal(x) => format!("link-local {}", MacAddr::link_local(x)),
            Self::Mac(mac) => mac.to_string(),
        }
    }
}

/// A frame with blanks.
pub struct Probe<'p> {
    /// Whom it is addressed to.
    pub to: Destination,
    /// What it carries, given the port.
    pub payload: Box<dyn Fn(&PortView<'_>) -> Payload + 'p>,
}

impl<'p> Probe<'p> {
    /// Returns a probe.
    #[must_use]
    pub fn new(to: Destination, payload: impl Fn(&PortView<'_>) -> Payload + 'p) -> Self {
        Self { to, payload: Box::new(payload) }
    }

    /// Returns the frame for a port; `None` if the destination has no address.
    #[must_use]
    pub fn frame(&self, bridge: &BridgeView<'_>, port: &PortView<'_>, tags: &[Tag]) -> Option<Vec<u8>> {
        let start = FrameBuilder::new(self.to.mac(bridge, port)?, port.source);
        let builder = tags.iter().fold(start, |builder, (tpid, vid)| builder.tag(*tpid, *vid));
        Some(builder.payload(&(self.payload)(port)))
    }
}

/// A frame that got where it should not.
pub struct Hit<'p> {
    /// The frame.
    pub sent: Sent<'p>,
    /// Where it arrived.
    pub outcome: Outcome,
    /// What could still have stopped it.
    pub questions: Vec<String>,
}

impl Hit<'_> {
    /// Returns the frame for the port that it was found for.
    #[must_use]
    pub fn frame(&self, bridge: &BridgeView<'_>, first: &PortView<'_>) -> Vec<u8> {
        self.sent.frame(bridge, first)
    }

    /// Returns how the host's stack took it in, if it did.
    #[must_use]
    pub const fn host(&self) -> Option<&HostDelivery> {
        match &self.outcome {
            Outcome::Host(delivery) => Some(delivery),
            _ => None,
        }
    }

    /// Whether the host took the frame to be its own, so that connections can be made this way (TCP, routing).
    #[must_use]
    pub fn is_for_host(&self) -> bool {
        self.host().is_some_and(|delivery| delivery.pkt_type == PacketType::Host)
    }
}

/// What came of a set of probes at a port.
#[derive(Default)]
pub struct Reach<'p> {
    /// Those that arrived, in order; a proven one before all others.
    pub hits: Vec<Hit<'p>>,
    /// What left open whether the others are really stopped. Empty if they are.
    pub undecided: Vec<String>,
}

impl<'p> Reach<'p> {
    /// Returns the hit that makes the best witness: a proven one, if there is one.
    #[must_use]
    pub fn best(&self) -> Option<&Hit<'p>> {
        self.hits.first()
    }

    /// Whether a probe arrived.
    #[must_use]
    pub fn has(&self, probe: &Probe<'_>) -> bool {
        self.hits.iter().any(|hit| hit.sent.is(probe))
    }

    /// Returns by which destinations the host is reached, each once, link-local ones in one phrase.
    #[must_use]
    pub fn ways(&self) -> String {
        let mut ways = Vec::new();
        let mut link_local = std::collections::BTreeSet::new();
        for hit in &self.hits {
            let to = hit.sent.to();
            if let Destination::LinkLocal(x) = to {
                link_local.insert(x);
            } else if !ways.contains(&to.words()) {
                ways.push(to.words());
            }
        }
        if !link_local.is_empty() {
            let last: Vec<_> = link_local.iter().map(|x| format!(":{x:02x}")).collect();
            ways.push(format!("01:80:c2:00:00 {}", last.join(" ")));
        }
        ways.join(", ")
    }

    /// Takes in what came of a probe.
    fn take_in(
        &mut self,
        walk: &Walk,
        (probe, tags): (&'p Probe<'p>, &[Tag]),
        wanted: impl Fn(&Outcome) -> bool,
    ) {
        let questions = |assumes| walk.questions(assumes).map(|open| open.kind.to_string()).collect();
        match walk.outcomes.iter().find(|outcome| wanted(outcome)) {
            Some(outcome) => self.hits.push(Hit {
                sent: Sent::Probe(probe, tags.to_vec()),
                outcome: outcome.clone(),
                questions: questions(outcome.assumes()),
            }),
            None => {
                let open: Vec<Vec<String>> = walk.drops.iter().map(|drop| questions(drop.assumes)).collect();
                for question in open.into_iter().flatten() {
                    if !self.undecided.contains(&question) {
                        self.undecided.push(question);
                    }
                }
            }
        }
    }
}

impl Context<'_> {
    /// Sends probes in by a port, in every way that it lets in, and keeps what arrives at a `wanted` outcome, which is
    /// among those that are aimed at.
    pub fn reach<'p>(
        &self,
        bridge: &BridgeView<'_>,
        port: &PortView<'_>,
        (aim, probes): (Aim, &'p [Probe<'p>]),
        wanted: impl Fn(&Outcome) -> bool,
    ) -> Reach<'p> {
        let [reach] = self.reaches(bridge, port, (aim, probes), [wanted]);
        reach
    }

    /// Likewise for several sorts of wanted outcomes, by one walk of each frame.
    pub fn reaches<'p, const N: usize>(
        &self,
        bridge: &BridgeView<'_>,
        port: &PortView<'_>,
        (aim, probes): (Aim, &'p [Probe<'p>]),
        wanted: [impl Fn(&Outcome) -> bool; N],
    ) -> [Reach<'p>; N] {
        let mut reaches = [(); N].map(|()| Reach::default());
        for probe in probes {
            // Link-local frames meet no VLAN filter, so that it does not matter how the port lets others in.
            let untagged = [Vec::new()];
            let past_the_filter = matches!(probe.to, Destination::LinkLocal(_));
            for tags in if past_the_filter { &untagged[..] } else { &port.tags } {
                let Some(frame) = probe.frame(bridge, port, tags) else { continue };
                let walk = self.probe_for(aim, port.link.index, &frame);
                for (reach, wanted) in reaches.iter_mut().zip(&wanted) {
                    reach.take_in(&walk, (probe, tags), wanted);
                }
            }
        }
        for reach in &mut reaches {
            reach.hits.sort_by_key(|hit| !hit.questions.is_empty());
        }
        reaches
    }

    /// Returns the ports by which a probe leaves.
    #[must_use]
    pub fn ports_reached(
        &self,
        bridge: &BridgeView<'_>,
        port: &PortView<'_>,
        (probe, tags): (&Probe<'_>, &[Tag]),
    ) -> Vec<IfIndex> {
        let Some(frame) = probe.frame(bridge, port, tags) else { return Vec::new() };
        self.probe(port.link.index, &frame).ports().map(|delivery| delivery.device).collect()
    }
}
