//! Lower devices of macvlans: what arrives there and is for no macvlan is taken in by the host, for whoever is on the wire.
//!
//! There is no one place to close. What drops at the device's ingress comes before the macvlans and cuts the guests off, so that
//! each protocol is closed for itself, in the host's stack. Such a device mostly carries the host's own addresses: nothing is
//! planned for it unless it is named, or the policy denies it to guests.

use portcullis_audit::{Access, Context};
use portcullis_datapath::network::Upper;
use portcullis_datapath::{Aim, FrameBuilder, Outcome, Payload};
use portcullis_prove::{Goal, HostProtocol, Prover, Verdict};
use portcullis_snapshot::{EtherType, Link, LinkKind, MacAddr, Snapshot};

use crate::choose::{Choice, Reason};
use crate::claims::Wanted;
use crate::device::Device;
use crate::methods::{Method, changes};
use crate::plan::{PlanError, Request, Unfit};

/// What closes a protocol, the cheapest first.
const WAYS: [(HostProtocol, &[Method]); 3] = [
    (HostProtocol::Arp, &[Method::ArpInput, Method::ArpOff]),
    (HostProtocol::Ipv4, &[Method::RawPrerouting, Method::IpRule]),
    (HostProtocol::Ipv6, &[Method::Ip6Prerouting, Method::DisableIpv6, Method::Ip6Rule]),
];

/// The lower device of macvlans.
#[derive(Debug, Clone)]
pub(crate) struct Lower<'s> {
    pub(crate) link: &'s Link,
    macvlans: Vec<Upper<'s>>,
}

/// Returns those that are asked for by name, or else those that the policy denies to guests. Macvlans that were moved to other
/// namespaces are not seen from here, so that any device that is neither a bridge nor a port of one may be named.
pub(crate) fn asked_for<'s>(
    context: &Context<'s>,
    request: &Request<'_>,
) -> Result<Vec<Lower<'s>>, PlanError> {
    let is_bridge = |name: &str| context.bridges().iter().any(|bridge| bridge.link.name == name);
    let lower = |link: &'s Link| {
        let uppers = context.network().uppers(link.index).into_iter();
        let macvlans = uppers.flat_map(|uppers| &uppers.macvlans).map(|(upper, _)| *upper).collect();
        Lower { link, macvlans }
    };
    let links = context.netns().links.known().iter();
    let links = links.filter(|link| link.bridge().is_none() && link.bridge_port().is_none());
    let named = |name: &String| {
        let found = links.clone().find(|link| link.name == *name).map(lower);
        found.ok_or_else(|| PlanError::NoBridge(name.clone()))
    };
    if request.bridges.is_empty() {
        let denied = |lower: &Lower<'_>| {
            !lower.macvlans.is_empty()
                && context.policy().bridge(context.label(), &lower.link.name).host_access
                    == Some(Access::Deny)
        };
        return Ok(links.map(lower).filter(denied).collect());
    }
    request.bridges.iter().filter(|name| !is_bridge(name)).map(named).collect()
}

impl Lower<'_> {
    pub(crate) fn device(&self) -> Device {
        self.link.into()
    }

    /// What is wanted of the frames that arrive there.
    pub(crate) fn wanted(&self) -> Wanted {
        let host = HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]);
        Wanted { port: self.link.index, goals: host.collect() }
    }

    /// Chooses remedies: those that are asked for, and what else it takes.
    pub(crate) fn choose(&self, context: &Context<'_>, snapshot: &Snapshot, request: &Request<'_>) -> Choice {
        let mut choice = Choice::default();
        for method in request.methods {
            self.take(context, &mut choice, *method, Reason::Asked);
        }
        if !request.searches() {
            return choice;
        }
        for (protocol, methods) in WAYS {
            let goal = Goal::Host(protocol);
            let why = match self.verdict(context, snapshot, &choice, goal) {
                Some(Verdict::Isolated) => continue,
                Some(Verdict::Exposed(exposure)) => Reason::Shown { goal, frame: exposure.frame },
                Some(Verdict::Unproven(_)) | None => Reason::Unproven,
            };
            for method in methods {
                if let Some(refusal) = request.refused.get(method) {
                    let why = format!("this kernel refuses it: {refusal}");
                    choice.unfit.push(Unfit { method: *method, bridge: self.device(), why });
                } else if self.take(context, &mut choice, *method, why.clone()) {
                    break;
                }
            }
        }
        choice
    }

    /// Takes a remedy, if it fits.
    fn take(&self, context: &Context<'_>, choice: &mut Choice, method: Method, why: Reason) -> bool {
        match method.pieces_in_stack(context, self.link) {
            Ok(_) => choice.methods.push((method, why)),
            Err(lacks) => {
                choice.unfit.push(Unfit { method, bridge: self.device(), why: lacks.to_string() });
                return false;
            }
        }
        true
    }

    /// Judges a claim as it is with what was chosen.
    fn verdict(
        &self,
        context: &Context<'_>,
        snapshot: &Snapshot,
        choice: &Choice,
        goal: Goal,
    ) -> Option<Verdict> {
        let mut made = snapshot.clone();
        let netns = made.namespaces.iter_mut().find(|netns| netns.id == context.netns().id)?;
        let pieces =
            choice.methods.iter().filter_map(|(method, _)| method.pieces_in_stack(context, self.link).ok());
        for change in changes(context, &pieces.flatten().collect::<Vec<_>>()) {
            change.make(netns).ok()?;
        }
        let network = portcullis_datapath::Network::new(&made, context.netns().id)?;
        Prover::new(&network).prove(self.link.index, &[goal]).pop().map(|proof| proof.verdict)
    }

    /// Says which macvlans no longer get what is for them.
    pub(crate) fn lost(&self, before: &Context<'_>, after: &Context<'_>) -> Vec<String> {
        let loses = |upper: &&Upper<'_>| self.reaches(before, upper) && !self.reaches(after, upper);
        let lost = self.macvlans.iter().filter(loses);
        lost.map(|upper| format!("frames from {} to {}", self.link.name, upper.link.name)).collect()
    }

    /// Whether a macvlan gets a frame that is for it.
    fn reaches(&self, context: &Context<'_>, upper: &Upper<'_>) -> bool {
        const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
        let Some(address) = upper.link.address else { return false };
        let payload = Payload::Raw { ethertype: EtherType::IPV4, data: vec![0; 46] };
        let frame = FrameBuilder::new(address, STRANGER).payload(&payload);
        let walk = context.probe_for(Aim::Everywhere, self.link.index, &frame);
        // What a macvtap's guest gets is nowhere in the host.
        let is_tap = matches!(upper.link.kind, LinkKind::Macvtap(_));
        let queued = is_tap && walk.outcomes.is_empty() && walk.drops.is_empty();
        queued
            || walk.outcomes.iter().any(|outcome| match outcome {
                Outcome::Host(host) => upper.netns.is_none() && host.device == upper.link.index,
                Outcome::Elsewhere { device, netns, .. } => {
                    upper.netns == Some(*netns) && *device == upper.link.index
                }
                Outcome::Port(_) | Outcome::Forwarded { .. } => false,
            })
    }
}
