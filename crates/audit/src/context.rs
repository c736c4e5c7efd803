//! What a rule sees: one namespace, its bridges with roles and policy, and the means to walk frames.
//!
//! Ports that are alike (same role, same settings, filters that differ in their own addresses only) are grouped, so that a rule walks its frames once for
//! each group and still reports every port. No rule's knowledge lives here.

mod alike;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use portcullis_datapath::{Aim, Concrete, Manner, Network, Trace, Walk, network, walk};
use portcullis_prove::{Goal, Verdict};
use portcullis_snapshot::{Address, IfIndex, Netns, Snapshot};

use crate::claims::{self, Claim, Claims};
use crate::finding::{self, Device, Finding};
use crate::policy::{Access, Policy};
use crate::roles::Roles;
use crate::rule::RuleDoc;

pub use alike::Alike;
pub use view::{BridgeView, Knowledge, PortView, Tag};

/// One namespace, ready for rules.
pub struct Context<'s> {
    snapshot: &'s Snapshot,
    netns: &'s Netns,
    label: Arc<str>,
    command_prefix: String,
    network: Network<'s>,
    policy: &'s Policy,
    addresses: HashMap<IfIndex, Vec<&'s Address>>,
    classes: network::Alike,
    bridges: Vec<BridgeView<'s>>,
    claims: OnceLock<Claims>,
}

impl<'s> Context<'s> {
    /// Prepares a namespace of a snapshot; `None` if it is not in there.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, netns: &'s Netns, policy: &'s Policy) -> Option<Self> {
        let network = Network::new(snapshot, netns.id)?;
        let mut addresses: HashMap<IfIndex, Vec<&Address>> = HashMap::new();
        for address in netns.addresses.known() {
            addresses.entry(address.device).or_default().push(address);
        }
        let roles = Roles::new(netns);
        let classes = network.alike();
        let mut context = Self {
            snapshot,
            netns,
            label: netns.label().into(),
            command_prefix: command_prefix(snapshot, netns),
            network,
            policy,
            addresses,
            classes,
            bridges: Vec::new(),
            claims: OnceLock::new(),
        };
        let bridge = |link| BridgeView::new(&context, &roles, &context.classes, link);
        let bridges = netns.bridges().filter_map(bridge).collect();
        context.bridges = bridges;
        Some(context)
    }

    /// Returns the whole snapshot, for what lies in other namespaces.
    #[must_use]
    pub const fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// Returns the namespace.
    #[must_use]
    pub const fn netns(&self) -> &'s Netns {
        self.netns
    }

    /// Returns the name of the namespace.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the namespace, indexed for walking.
    #[must_use]
    pub const fn network(&self) -> &Network<'s> {
        &self.network
    }

    /// Returns which ports are alike, on whichever bridge.
    #[must_use]
    pub const fn classes(&self) -> &network::Alike {
        &self.classes
    }

    /// Returns the policy.
    #[must_use]
    pub const fn policy(&self) -> &'s Policy {
        self.policy
    }

    /// Returns the bridges, by index.
    #[must_use]
    pub fn bridges(&self) -> &[BridgeView<'s>] {
        &self.bridges
    }

    /// Returns what was proven of every frame of the guest ports, which is done now if it was not yet.
    pub(crate) fn claims(&self) -> &Claims {
        self.claims.get_or_init(|| {
            let groups = claims::proven(self);
            Claims::of(groups.into_iter().flat_map(|group| claims::prove(self, group, None)))
        })
    }

    /// Takes what was proven elsewhere.
    pub(crate) fn take_claims(&self, claims: Claims) {
        // What is there already is the same.
        let _ = self.claims.set(claims);
    }

    /// Returns what was proven of the frames of ports that are alike; nothing if it was left out.
    #[must_use]
    pub fn proofs(&self, alike: &Alike<'_, '_>) -> &[Claim] {
        self.claims().of_port(alike.first.link.index)
    }

    /// Returns whether a claim about ports that are alike holds; `None` if it was not tried.
    #[must_use]
    pub fn verdict(&self, alike: &Alike<'_, '_>, goal: Goal) -> Option<&Verdict> {
        let claim = self.proofs(alike).iter().find(|claim| claim.proof.goal == goal)?;
        Some(&claim.proof.verdict)
    }

    /// Returns a device's name, or its number if there is no such device.
    #[must_use]
    pub fn name(&self, device: IfIndex) -> String {
        self.network.name(device)
    }

    /// Returns the addresses of a device.
    #[must_use]
    pub fn addresses(&self, device: IfIndex) -> &[&'s Address] {
        self.addresses.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Returns the addresses of a device that somebody chose: all but IPv6 link-local ones.
    pub fn chosen_addresses(&self, device: IfIndex) -> impl Iterator<Item = IpNet> {
        self.addresses(device).iter().map(|address| address.address).filter(|address| !is_link_local(address))
    }

    /// Returns whether guests are meant to reach the host at a device that stands above a bridge.
    ///
    /// The policy's word counts; without one, a device with an address of its own is meant to be reached.
    #[must_use]
    pub fn access_at(&self, bridge: &BridgeView<'_>, device: IfIndex) -> Access {
        let by_address =
            || if self.chosen_addresses(device).next().is_some() { Access::Allow } else { Access::Deny };
        bridge.policy.host_access.unwrap_or_else(by_address)
    }

    /// Walks a frame that comes in by a port, wherever it goes.
    #[must_use]
    pub fn probe(&self, port: IfIndex, frame: &[u8]) -> Walk {
        self.probe_for(Aim::Everywhere, port, frame)
    }

    /// Walks a frame that comes in by a port, as far as what is aimed at is concerned.
    #[must_use]
    pub fn probe_for(&self, aim: Aim, port: IfIndex, frame: &[u8]) -> Walk {
        let Some(mut frame) = Concrete::new(frame) else { return Walk::default() };
        walk(&self.network, port, &mut frame, Manner { aim, ..Trace::Off.into() })
    }

    /// Returns a finding of a rule about a bridge, or about one of its ports, to be completed.
    #[must_use]
    pub fn finding(
        &self,
        doc: &RuleDoc,
        bridge: &BridgeView<'_>,
        port: Option<&PortView<'_>>,
        title: impl Into<Arc<str>>,
        why: impl Into<Arc<str>>,
    ) -> Finding {
        let places = (Some(bridge.device.clone()), port.map(Device::from));
        finding::start(doc, (self.netns.id, self.label.clone()), places, (title.into(), why.into()))
    }

    /// Returns a finding of a rule about a device that is no bridge, or about the whole namespace.
    #[must_use]
    pub fn finding_elsewhere(
        &self,
        doc: &RuleDoc,
        device: Option<&portcullis_snapshot::Link>,
        title: impl Into<Arc<str>>,
        why: impl Into<Arc<str>>,
    ) -> Finding {
        let id = (self.netns.id, self.label.clone());
        finding::start(doc, id, (device.map(Device::from), None), (title.into(), why.into()))
    }

    /// Returns what to put in front of a command so that it runs in this namespace.
    pub(crate) fn command_prefix(&self) -> &str {
        &self.command_prefix
    }

    /// Returns a command as it has to be typed, so that it runs in this namespace.
    #[must_use]
    pub fn command(&self, command: impl Into<String>) -> String {
        let mut command = command.into();
        command.insert_str(0, &self.command_prefix);
        command
    }
}

/// Whether an address is an IPv6 link-local one, which the kernel gives by itself.
pub(crate) fn is_link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// What to put in front of a command so that it runs in a namespace; nothing for the one that was asked for.
fn command_prefix(snapshot: &Snapshot, netns: &Netns) -> String {
    let first = snapshot.namespaces.first().is_none_or(|first| first.id == netns.id);
    match (netns.names.first(), netns.processes.first()) {
        _ if first => String::new(),
        (Some(name), _) => format!("ip netns exec {} ", crate::remedy::shell(name)),
        (None, Some(process)) => format!("nsenter -t {} -n ", process.pid),
        (None, None) => String::new(),
    }
}
