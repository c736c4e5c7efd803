//! Bridges and their ports, with their VLAN tables.

use std::collections::HashMap;

use portcullis_snapshot::{
    BoolOpt, BridgeOptions, IfIndex, Link, MdbEntry, MdbRouter, Netns, PortOptions, PortState, StpState,
    VlanEntry, VlanFlags, VlanId, VlanTable,
};

use super::Fdb;
use super::quick::QuickMap;
use crate::frame::{Partition, Set};

/// A bridge.
#[derive(Debug)]
pub struct Bridge<'s> {
    /// The bridge device.
    pub link: &'s Link,
    /// Its options.
    pub options: &'s BridgeOptions,
    /// Its ports, by index.
    pub ports: Vec<Port<'s>>,
    /// Its FDB.
    pub fdb: Fdb,
    /// The VLANs that it knows, those of the bridge device marked by [`VlanFlags::BRENTRY`].
    pub vlans: Option<&'s VlanTable>,
    /// Multicast groups.
    pub groups: Vec<&'s MdbEntry>,
    /// Multicast router ports.
    pub routers: Vec<&'s MdbRouter>,
}

/// A bridge port.
#[derive(Debug, Clone, Copy)]
pub struct Port<'s> {
    /// The device.
    pub link: &'s Link,
    /// Its options as a port.
    pub options: &'s PortOptions,
    /// Its VLANs.
    pub vlans: Option<&'s VlanTable>,
}

impl<'s> Bridge<'s> {
    pub(super) fn new(netns: &'s Netns, link: &'s Link) -> Option<Self> {
        let options = link.bridge()?;
        let port = |port: &'s Link| Some(Port { link: port, options: port.bridge_port()?, vlans: None });
        let ports = netns.ports(link.index).filter_map(port).collect();
        let (groups, routers) = (Vec::new(), Vec::new());
        Some(Self { link, options, ports, fdb: Fdb::default(), vlans: None, groups, routers })
    }

    /// Returns a port.
    #[must_use]
    pub fn port(&self, device: IfIndex) -> Option<&Port<'s>> {
        let found = self.ports.binary_search_by_key(&device, |port| port.link.index);
        found.ok().and_then(|at| self.ports.get(at))
    }

    /// Whether frames are filtered by VLAN (`BROPT_VLAN_ENABLED`).
    #[must_use]
    pub fn vlan_filtering(&self) -> bool {
        self.options.vlan_filtering == Some(true)
    }

    /// Whether nobody runs a spanning tree (`br->stp_enabled == BR_NO_STP`).
    #[must_use]
    pub fn stp_off(&self) -> bool {
        matches!(self.options.stp_state, None | Some(StpState::Off))
    }

    /// Whether a boolean option is on; an option that the kernel does not know is off.
    #[must_use]
    pub fn bool_opt(&self, option: BoolOpt) -> bool {
        self.options.multi_boolopt.and_then(|options| options.get(option)) == Some(true)
    }

    /// Whether the kernel has a boolean option at all.
    #[must_use]
    pub fn knows(&self, option: BoolOpt) -> bool {
        self.options.multi_boolopt.and_then(|options| options.get(option)).is_some()
    }

    /// Whether the FDB learns nothing at all (`hold_time`, net/bridge/br_fdb.c).
    #[must_use]
    pub fn hold_time(&self) -> Option<u32> {
        let during_change = self.options.topology_change == Some(true);
        if during_change { self.options.forward_delay } else { self.options.ageing_time }
    }
}

impl Port<'_> {
    /// Whether a switch is on; one that the kernel does not know is off.
    #[must_use]
    pub fn has(&self, switch: fn(&PortOptions) -> Option<bool>) -> bool {
        switch(self.options) == Some(true)
    }

    /// Returns the port's STP state; `None` if it was not told.
    #[must_use]
    pub const fn state(&self) -> Option<PortState> {
        self.options.state
    }
}

/// Returns the entry by which a device is a member of a VLAN (`br_vlan_find`, `br_vlan_should_use`).
///
/// On a bridge's own table only entries of the bridge device itself count.
#[must_use]
pub(crate) fn membership(table: Option<&VlanTable>, vid: u16, is_bridge: bool) -> Option<&VlanEntry> {
    let entry = table?.get(VlanId::new(vid)?)?;
    (!is_bridge || entry.flags.has(VlanFlags::BRENTRY)).then_some(entry)
}

/// The partition of VLAN ids by membership: each VLAN is a class of its own, numbered by its id.
pub(crate) struct Members<'s>(pub(crate) Option<&'s VlanTable>);

impl Partition for Members<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        let vid = VlanId::new(u16::try_from(value).ok()?)?;
        self.0?.get(vid).map(|_| usize::from(vid.get()))
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for entry in self.0.iter().flat_map(|table| &table.vlans) {
            for vid in entry.from.get()..=entry.to.get() {
                each(vid.into(), vid.into());
            }
        }
    }
}

/// Hands FDB entries, VLAN tables and multicast groups to their bridges.
pub(super) fn fill<'s>(netns: &'s Netns, bridges: &mut QuickMap<IfIndex, Bridge<'s>>) {
    let mut fdbs = Fdb::of(netns);
    let tables: HashMap<_, _> = netns.vlans.known().iter().map(|table| (table.device, table)).collect();
    for (index, bridge) in bridges.iter_mut() {
        bridge.fdb = fdbs.remove(index).unwrap_or_default();
        bridge.vlans = tables.get(index).copied();
        for port in &mut bridge.ports {
            port.vlans = tables.get(&port.link.index).copied();
        }
    }
    let Some(mdb) = netns.mdb.read() else { return };
    for entry in &mdb.entries {
        if let Some(bridge) = bridges.get_mut(&entry.bridge) {
            bridge.groups.push(entry);
        }
    }
    for router in &mdb.routers {
        if let Some(bridge) = bridges.get_mut(&router.bridge) {
            bridge.routers.push(router);
        }
    }
}
