//! A bridge and its ports, with what roles and policy say about them.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use portcullis_datapath::network::{self, Bridge, FdbDst, FdbRecord};
use portcullis_snapshot::{
    BridgeOptions, EtherType, IfIndex, Link, MacAddr, PortOptions, VlanEntry, VlanFlags, VlanId, VlanTable,
};

use super::{Alike, Context, alike};
use crate::finding::{Device, Role};
use crate::policy::BridgePolicy;
use crate::roles::Roles;

/// A VLAN tag of a frame: its TPID and its VLAN id.
pub type Tag = (EtherType, u16);

/// A bridge.
#[derive(Debug)]
pub struct BridgeView<'s> {
    /// The bridge device.
    pub link: &'s Link,
    /// Its index and name, for findings.
    pub device: Device,
    /// Its options.
    pub options: &'s BridgeOptions,
    /// What the policy file says about it.
    pub policy: BridgePolicy,
    /// Its ports, by index.
    pub ports: Vec<PortView<'s>>,
    /// The VLANs of the bridge device, with those that it only knows of.
    pub vlans: Option<&'s VlanTable>,
    groups: Vec<Vec<usize>>,
}

/// A bridge port.
#[derive(Debug)]
pub struct PortView<'s> {
    /// The device.
    pub link: &'s Link,
    /// Its index and name, for findings.
    pub device: Device,
    /// Its options as a port.
    pub options: &'s PortOptions,
    /// What it is for.
    pub role: Role,
    /// Whether the policy says so.
    pub role_stated: bool,
    /// The name of the guest behind it, where it is known: untrusted text.
    pub guest: Option<&'s str>,
    /// Its VLANs.
    pub vlans: Option<&'s VlanTable>,
    /// The address that frames of its guest carry: the first that the policy states, one that the FDB has behind this port,
    /// the address of the veth peer, or else one made up for this port alone.
    pub source: MacAddr,
    /// Whether the FDB has an entry that sends `source` to this port.
    pub source_in_fdb: bool,
    /// The addresses that the policy says its guest sends from.
    pub stated_mac: Vec<MacAddr>,
    /// The addresses and networks that the policy says it speaks for, in ARP and IP; `None` if it says nothing of that.
    pub stated_ip: Option<Vec<IpNet>>,
    /// How a guest tags a frame so that the bridge lets it into one of the port's VLANs, one way for each sort of
    /// VLAN. Without VLAN filtering the only way is not to tag.
    pub tags: Vec<Vec<Tag>>,
    /// What is its own in rules: at the same place there stands what is another's that is alike
    /// ([`network::Alike::constants`]).
    pub own: Vec<Vec<u8>>,
}

/// What is known of the guest behind a port. Ports of which different things are known are not alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Knowledge {
    in_fdb: bool,
    stated_mac: bool,
    stated_ip: bool,
}

impl PortView<'_> {
    /// Returns what is known of its guest.
    #[must_use]
    pub const fn knowledge(&self) -> Knowledge {
        Knowledge {
            in_fdb: self.source_in_fdb,
            stated_mac: !self.stated_mac.is_empty(),
            stated_ip: self.stated_ip.is_some(),
        }
    }

    /// Returns the addresses that frames of its guest may carry, as far as anybody knows: those that the policy states, else
    /// the one that the FDB has.
    #[must_use]
    pub fn known_macs(&self) -> &[MacAddr] {
        match (self.stated_mac.as_slice(), self.source_in_fdb) {
            ([], true) => std::slice::from_ref(&self.source),
            (stated, _) => stated,
        }
    }
}

impl<'s> BridgeView<'s> {
    pub(super) fn new(
        context: &Context<'s>,
        roles: &Roles<'_>,
        classes: &network::Alike,
        link: &'s Link,
    ) -> Option<Self> {
        let bridge = context.network().bridge(link.index)?;
        let mut sources = sources(bridge);
        let port = |port: &network::Port<'s>| {
            let names = std::iter::once(&port.link.name).chain(&port.link.altnames).map(String::as_str);
            let stated = context.policy().port(context.label(), &link.name, names);
            let stated_mac = stated.mac.unwrap_or_default();
            let learned = sources.remove(&port.link.index);
            let source = stated_mac.first().copied().or(learned);
            // One that is stated may be another than the one that stands for all that was learned.
            let leads_here =
                |record: &FdbRecord| record.dst == FdbDst::Port(port.link.index) && !record.locked;
            let in_fdb =
                |address| bridge.fdb.of_address(address).into_iter().any(|(_, record)| leads_here(record));
            PortView {
                link: port.link,
                device: port.link.into(),
                options: port.options,
                role: stated.role.unwrap_or_else(|| roles.infer(port.link)),
                role_stated: stated.role.is_some(),
                guest: guest(port.link),
                vlans: port.vlans,
                source: source
                    .or_else(|| peer_address(context, port.link))
                    .unwrap_or_else(|| made_up(port.link.index)),
                source_in_fdb: source.is_some_and(in_fdb),
                stated_mac,
                stated_ip: stated.ip,
                tags: tags(context, bridge, port.vlans),
                own: classes.constants(port.link.index).to_vec(),
            }
        };
        let ports: Vec<_> = bridge.ports.iter().map(port).collect();
        let groups = alike::group(classes, &ports);
        let policy = context.policy().bridge(context.label(), &link.name);
        Some(Self {
            link,
            device: link.into(),
            options: bridge.options,
            policy,
            ports,
            vlans: bridge.vlans,
            groups,
        })
    }

    /// Returns the ports behind which somebody is who is not the host's administrator, in groups of ports that are
    /// alike.
    pub fn guests(&self) -> impl Iterator<Item = Alike<'_, 's>> {
        let groups = self.groups.iter().filter_map(|members| Alike::new(self, members));
        groups.filter(|alike| alike.first.role.is_untrusted())
    }

    /// Returns the ports by which frames can leave, one for each sort of port.
    pub fn groups(&self) -> impl Iterator<Item = Alike<'_, 's>> {
        self.groups.iter().filter_map(|members| Alike::new(self, members))
    }

    /// Returns a port.
    #[must_use]
    pub fn port(&self, device: IfIndex) -> Option<&PortView<'s>> {
        let found = self.ports.binary_search_by_key(&device, |port| port.link.index);
        found.ok().and_then(|at| self.ports.get(at))
    }

    /// Whether frames are filtered by VLAN.
    #[must_use]
    pub fn vlan_filtering(&self) -> bool {
        self.options.vlan_filtering == Some(true)
    }

    /// Returns the VLANs that the bridge device itself is a member of.
    pub fn own_vlans(&self) -> impl Iterator<Item = &'s VlanEntry> {
        let entries = self.vlans.into_iter().flat_map(|table| &table.vlans);
        entries.filter(|entry| entry.flags.has(VlanFlags::BRENTRY))
    }
}

fn guest(port: &Link) -> Option<&str> {
    port.behind.as_ref()?.guest.as_ref().map(|guest| guest.name.as_str())
}

/// An address behind each port: of the entries that someone put there the lowest, else of the learned ones.
fn sources(bridge: &Bridge<'_>) -> HashMap<IfIndex, MacAddr> {
    let mut best: HashMap<IfIndex, (bool, MacAddr)> = HashMap::new();
    for (_, record) in bridge.fdb.records() {
        let FdbDst::Port(port) = record.dst else { continue };
        if record.locked || record.address.is_multicast() {
            continue;
        }
        let candidate = (!record.is_static, record.address);
        let known = best.entry(port).or_insert(candidate);
        *known = candidate.min(*known);
    }
    best.into_iter().map(|(port, (_, address))| (port, address)).collect()
}

/// The address of a veth's other end, if its namespace was read too.
fn peer_address(context: &Context<'_>, port: &Link) -> Option<MacAddr> {
    let netns = port.link_netns?.netns?;
    let netns = context.snapshot().namespaces.iter().find(|candidate| candidate.id == netns)?;
    netns.link(port.link?)?.address
}

/// A locally administered address that is no other port's.
fn made_up(port: IfIndex) -> MacAddr {
    let [_, a, b, c] = port.0.to_be_bytes();
    MacAddr([0x02, 0x50, 0x43, a, b, c])
}

/// One way to tag for each sort of VLAN of a port. VLANs are of the same sort if port and bridge device have them with
/// the same flags and state and no VLAN device on the bridge device stands out.
fn tags(context: &Context<'_>, bridge: &Bridge<'_>, vlans: Option<&VlanTable>) -> Vec<Vec<Tag>> {
    if !bridge.vlan_filtering() {
        return vec![Vec::new()];
    }
    let Some(vlans) = vlans else { return Vec::new() };
    let tpid = bridge.options.vlan_protocol.unwrap_or(EtherType::VLAN);
    let mut ways = Vec::new();
    if vlans.pvid().is_some() {
        ways.push(Vec::new());
    }
    let uppers = context.network().uppers(bridge.link.index);
    let mut sorts: BTreeMap<_, u16> = BTreeMap::new();
    for entry in &vlans.vlans {
        for vid in
            (entry.from.get()..=entry.to.get()).filter(|vid| Some(*vid) != vlans.pvid().map(VlanId::get))
        {
            let own = bridge.vlans.and_then(|table| table.get(VlanId::new(vid)?));
            let stands_out = uppers.is_some_and(|uppers| uppers.vlans.contains_key(&(tpid, vid)));
            let state = |entry: &VlanEntry| format!("{:?}", entry.state);
            let sort = (
                entry.flags.0,
                state(entry),
                own.map(|own| (own.flags.0, state(own))),
                stands_out.then_some(vid),
            );
            sorts.entry(sort).or_insert(vid);
        }
    }
    let mut vids: Vec<_> = sorts.into_values().collect();
    vids.sort_unstable();
    ways.extend(vids.into_iter().map(|vid| vec![(tpid, vid)]));
    ways
}
