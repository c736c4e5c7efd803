//! A namespace of a snapshot, indexed for walking: which device has which receive handler, what sits on top of it,
//! which filters stand at its hooks. Built once, asked often. Holds facts in another order, no decisions.

mod alike;
mod bridge;
mod classify;
mod fdb;
mod fib;
mod hooks;
mod legacy;
mod prepared;
mod quick;
mod ruleset;
mod self_contained;
mod traffic_control;

use std::collections::HashMap;
use std::net::IpAddr;

use portcullis_snapshot::{
    BoolOpt, EtherType, IfIndex, Link, LinkKind, MacvlanOptions, Membership, Netns, NetnsId, PortKind,
    Reading, Snapshot,
};

pub use alike::Alike;
pub use bridge::{Bridge, Port};
pub(crate) use bridge::{Members, membership};
pub(crate) use fdb::{Destination, Destinations};
pub use fdb::{Fdb, FdbDst, FdbRecord};
pub use fib::{FamilyFib, Fib, FibTable, RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};
pub(crate) use hooks::{AtHook, HookFunction, Hooks, NfHook, unread};
pub(crate) use legacy::{Device, Devices, Match, Target, XtRule, XtTable};
use quick::QuickMap;

pub(crate) use classify::{Dimensions, Number, Rules};
pub(crate) use prepared::{Header, Load, Meta, Prepared};
pub(crate) use ruleset::{Datum, Elements, Expr, PayloadSet, Range, Rule, Ruleset, Verdict};
pub(crate) use traffic_control::{Block, Classifier, Proto, program_name};

/// One namespace, ready to be walked.
pub struct Network<'s> {
    netns: &'s Netns,
    links: QuickMap<IfIndex, &'s Link>,
    uppers: QuickMap<IfIndex, Uppers<'s>>,
    bridges: QuickMap<IfIndex, Bridge<'s>>,
    /// Whether a bridge says that its kernel is 6.18 or later, which brought the option `fdb_local_vlan_0`.
    recent: bool,
    fib: Fib<'s>,
    hooks: Hooks<'s>,
    /// In the order of their devices.
    memberships: Vec<&'s Membership>,
}

/// A device, shown as [`Network::name`] names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming<'s>(&'s Netns, IfIndex);

impl std::fmt::Display for Naming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.link(self.1) {
            Some(link) => f.write_str(&link.name),
            None => write!(f, "if{}", self.1),
        }
    }
}

/// The devices on top of a device that its receive path looks at.
#[derive(Debug, Default)]
pub struct Uppers<'s> {
    /// VLAN devices, by TPID and VLAN id.
    pub vlans: HashMap<(EtherType, u16), Upper<'s>>,
    /// Macvlans and macvtaps.
    pub macvlans: Vec<(Upper<'s>, &'s MacvlanOptions)>,
    /// Ipvlans.
    pub ipvlans: Vec<Upper<'s>>,
}

/// A device on top of another, perhaps in another namespace.
#[derive(Debug, Clone, Copy)]
pub struct Upper<'s> {
    /// The device.
    pub link: &'s Link,
    /// The namespace that it was moved to; `None` if it is still in its lower device's.
    pub netns: Option<NetnsId>,
}

/// Who takes a device's frames before the protocol handlers do (`dev->rx_handler`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxHandler<'s> {
    /// Nobody.
    None,
    /// `br_handle_frame` of this bridge.
    Bridge(IfIndex),
    /// `macvlan_handle_frame`.
    Macvlan,
    /// `bond_handle_frame` of this bond.
    Bond(IfIndex),
    /// `tap_handle_frame` of a macvtap.
    Tap {
        /// Whether a process was seen that has opened it.
        held: bool,
    },
    /// Another kind of master or upper, which is not modelled.
    Other(&'s str),
}

impl<'s> Network<'s> {
    /// Indexes a namespace of a snapshot; `None` if it is not in there.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, netns: NetnsId) -> Option<Self> {
        let netns = snapshot.namespaces.iter().find(|candidate| candidate.id == netns)?;
        let mut bridges: QuickMap<_, _> =
            netns.bridges().filter_map(|link| Some((link.index, Bridge::new(netns, link)?))).collect();
        bridge::fill(netns, &mut bridges);
        let mut memberships: Vec<_> = netns.memberships.known().iter().collect();
        memberships.sort_by_key(|membership| membership.device);
        let recent = bridges.values().any(|bridge| bridge.knows(BoolOpt::FdbLocalVlan0));
        Some(Self {
            netns,
            links: netns.links.known().iter().map(|link| (link.index, link)).collect(),
            recent,
            uppers: uppers(snapshot, netns),
            bridges,
            fib: Fib::new(netns),
            hooks: Hooks::new(netns),
            memberships,
        })
    }

    /// Returns the namespace.
    #[must_use]
    pub const fn netns(&self) -> &'s Netns {
        self.netns
    }

    /// Returns a device.
    #[must_use]
    pub fn link(&self, device: IfIndex) -> Option<&'s Link> {
        self.links.get(&device).copied()
    }

    /// Returns a device's name, or its number if there is no such device.
    #[must_use]
    pub fn name(&self, device: IfIndex) -> String {
        self.link(device).map_or_else(|| format!("if{device}"), |link| link.name.clone())
    }

    /// The same as something that can be shown, for texts that are seldom made.
    pub(crate) const fn naming(&self, device: IfIndex) -> Naming<'s> {
        Naming(self.netns, device)
    }

    /// Returns the bridges, by index.
    #[must_use]
    pub fn bridges(&self) -> Vec<&Bridge<'s>> {
        let mut bridges: Vec<_> = self.bridges.values().collect();
        bridges.sort_by_key(|bridge| bridge.link.index);
        bridges
    }

    /// Whether a bridge says that its kernel is 6.18 or later.
    pub(crate) const fn is_recent(&self) -> bool {
        self.recent
    }

    /// Returns a bridge.
    #[must_use]
    pub fn bridge(&self, device: IfIndex) -> Option<&Bridge<'s>> {
        self.bridges.get(&device)
    }

    /// Returns what sits on top of a device.
    #[must_use]
    pub fn uppers(&self, device: IfIndex) -> Option<&Uppers<'s>> {
        self.uppers.get(&device)
    }

    /// Returns the host's routing.
    #[must_use]
    pub const fn fib(&self) -> &Fib<'s> {
        &self.fib
    }

    /// Returns the groups that the host joined on a device, as far as they were read.
    pub(crate) fn groups(&self, device: IfIndex) -> impl Iterator<Item = IpAddr> {
        let start = self.memberships.partition_point(|membership| membership.device < device);
        let here =
            self.memberships.iter().skip(start).take_while(move |membership| membership.device == device);
        here.map(|membership| membership.group)
    }

    /// Whether a frame may be sent on to another device by filters or programs (tc's mirred, nftables' fwd, BPF), or something
    /// is present of which nobody knows what it does.
    #[must_use]
    pub fn may_go_anywhere(&self) -> bool {
        self.hooks.may_go_anywhere()
    }

    /// Has every rule evaluated, expression by expression.
    #[cfg(test)]
    pub(crate) fn evaluate_every_rule(&mut self) {
        self.hooks.evaluate_every_rule();
    }

    pub(crate) const fn hooks(&self) -> &Hooks<'s> {
        &self.hooks
    }

    /// Returns who takes a device's frames.
    #[must_use]
    pub fn rx_handler(&self, link: &'s Link) -> RxHandler<'s> {
        match (&link.port, link.master) {
            (Some(PortKind::Bridge(_)), Some(bridge)) => return RxHandler::Bridge(bridge),
            (Some(PortKind::Other(kind)), Some(bond)) if kind == "bond" => return RxHandler::Bond(bond),
            // A VRF works by routing, not by a receive handler.
            (Some(PortKind::Other(kind)), _) if kind == "vrf" => {}
            (Some(PortKind::Other(kind)), _) => return RxHandler::Other(kind),
            (None, _) | (_, None) => {}
        }
        if let LinkKind::Macvtap(_) = link.kind {
            let held = link.behind.as_ref().is_some_and(|behind| !behind.processes.is_empty());
            return RxHandler::Tap { held };
        }
        match self.uppers(link.index) {
            Some(uppers) if !uppers.macvlans.is_empty() => RxHandler::Macvlan,
            Some(uppers) if !uppers.ipvlans.is_empty() => RxHandler::Other("ipvlan"),
            _ => RxHandler::None,
        }
    }
}

/// Finds what sits on top of the devices of a namespace, wherever it was moved to.
fn uppers<'s>(snapshot: &'s Snapshot, netns: &'s Netns) -> QuickMap<IfIndex, Uppers<'s>> {
    let mut uppers: QuickMap<IfIndex, Uppers<'s>> = QuickMap::default();
    for home in &snapshot.namespaces {
        let Reading::Read(links) = &home.links else { continue };
        for link in links {
            let Some(lower) = link.link else { continue };
            let lower_netns = match link.link_netns {
                None => Some(home.id),
                Some(other) => other.netns,
            };
            if lower_netns != Some(netns.id) || matches!(link.kind, LinkKind::Veth) {
                continue;
            }
            let upper = Upper { link, netns: (home.id != netns.id).then_some(home.id) };
            let entry = uppers.entry(lower).or_default();
            match &link.kind {
                LinkKind::Vlan(vlan) => drop(entry.vlans.insert((vlan.protocol, vlan.id), upper)),
                LinkKind::Macvlan(options) | LinkKind::Macvtap(options) => {
                    entry.macvlans.push((upper, options))
                }
                LinkKind::Ipvlan(_) => entry.ipvlans.push(upper),
                _ => {}
            }
        }
    }
    uppers
}
