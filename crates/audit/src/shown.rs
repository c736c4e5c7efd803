//! The frame that is shown for each port of a group: the first's, with the other's own addresses in it.
//!
//! That it arrives from the other port as well is not taken for granted: rules may ask for something of the guest's own that
//! has no place among the blanks. The frame is walked from there, and where it does not arrive, the first port's is shown.

use portcullis_datapath::{Aim, Outcome};
use portcullis_snapshot::IfIndex;

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
