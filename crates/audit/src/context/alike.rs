//! Groups of ports that are alike: the same frame meets the same decisions at each of them.
//!
//! Everything that the walk reads of an ingress port is compared, except what is its own by nature: index, name,
//! addresses, STP port number, counters. A port with a device on top of it, or one that a rule singles out, is alike to
//! no other.

use std::collections::HashMap;

use portcullis_snapshot::{
    IfIndex, Ipv4Conf, Ipv6Conf, LinkFlags, PortOptions, TcFilter, TcHookKind, U32Table, VlanEntry,
    XdpProgram,
};

use super::singled_out::SingledOut;
use super::{BridgeView, Context, PortView, Tag};
use crate::finding::Role;

/// Attribute numbers up to here are known; those among them that have no row say nothing about where frames go.
const LAST_KNOWN_BRPORT: u16 = 44;

/// Ports that are alike.
#[derive(Debug)]
pub struct Alike<'b, 's> {
    /// The one that stands for all.
    pub first: &'b PortView<'s>,
    bridge: &'b BridgeView<'s>,
    members: &'b [usize],
}

impl<'b, 's> Alike<'b, 's> {
    pub(super) fn new(bridge: &'b BridgeView<'s>, members: &'b [usize]) -> Option<Self> {
        let first = bridge.ports.get(*members.first()?)?;
        Some(Self { first, bridge, members })
    }

    /// Returns all of them, the one that stands for all included.
    pub fn members(&self) -> impl Iterator<Item = &'b PortView<'s>> + use<'b, 's> {
        let ports = &self.bridge.ports;
        self.members.iter().filter_map(move |at| ports.get(*at))
    }
}

/// What is compared.
#[derive(PartialEq)]
struct Traits<'s> {
    role: Role,
    flags: LinkFlags,
    operstate: u8,
    carrier: Option<bool>,
    mtu: u32,
    options: PortOptions,
    ipv4: Option<&'s Ipv4Conf>,
    ipv6: Option<&'s Ipv6Conf>,
    vlans: &'s [VlanEntry],
    tags: Vec<Vec<Tag>>,
    source_in_fdb: bool,
    /// How many addresses, routes and groups it has: they are its own, but their number is not.
    counts: (usize, usize, usize),
    xdp: &'s [XdpProgram],
    filters: Vec<Filters<'s>>,
    programs: Vec<(TcHookKind, &'s [u32])>,
    chains: Vec<&'s str>,
    /// With which wildcards of rules its name agrees.
    wildcards: Vec<String>,
    /// Set if it is alike to no other.
    unique: Option<IfIndex>,
}

/// Returns the groups, as indices into `ports`, in the order of their first members.
pub(super) fn group<'s>(context: &Context<'s>, index: &Index<'s>, ports: &[PortView<'s>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Traits<'_>, Vec<usize>)> = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let traits = index.traits(context, port);
        // The latest groups first: neighbours in the list are usually alike.
        match groups.iter_mut().rev().find(|(known, _)| *known == traits) {
            Some((_, members)) => members.push(at),
            None => groups.push((traits, vec![at])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// The tc filters of a hook, and the tables that those of `u32` stand in.
type Filters<'s> = (TcHookKind, &'s [TcFilter], &'s [U32Table]);

/// What hangs on each device, gathered once for all bridges.
pub(super) struct Index<'s> {
    routes: HashMap<IfIndex, usize>,
    memberships: HashMap<IfIndex, usize>,
    filters: HashMap<IfIndex, Vec<Filters<'s>>>,
    programs: HashMap<IfIndex, Vec<(TcHookKind, &'s [u32])>>,
    chains: HashMap<&'s str, Vec<&'s str>>,
    singled_out: SingledOut,
}

impl<'s> Index<'s> {
    pub(super) fn new(context: &Context<'s>) -> Self {
        let netns = context.netns();
        let mut index = Self {
            routes: HashMap::new(),
            memberships: HashMap::new(),
            filters: HashMap::new(),
            programs: HashMap::new(),
            chains: HashMap::new(),
            singled_out: SingledOut::new(netns),
        };
        for device in
            netns.routes.known().iter().flat_map(|route| &route.nexthops).filter_map(|hop| hop.device)
        {
            *index.routes.entry(device).or_default() += 1;
        }
        for membership in netns.memberships.known() {
            *index.memberships.entry(membership.device).or_default() += 1;
        }
        for hook in netns.filters.tc.known() {
            index.filters.entry(hook.device).or_default().push((hook.hook, &hook.filters, &hook.u32_tables));
        }
        for programs in netns.filters.tcx.known() {
            index.programs.entry(programs.device).or_default().push((programs.hook, &programs.programs));
        }
        let chains = netns.filters.nft_chains.known().iter();
        let chains = chains.map(|chain| (chain.chain.as_str(), &chain.devices));
        let flowtables = netns.filters.nft_flowtables.known().iter();
        let flowtables = flowtables.map(|table| (table.name.as_str(), &table.devices));
        for (name, devices) in chains.chain(flowtables) {
            for device in devices {
                index.chains.entry(device).or_default().push(name);
            }
        }
        index
    }

    fn traits(&self, context: &Context<'s>, port: &PortView<'s>) -> Traits<'s> {
        let (link, device) = (port.link, port.link.index);
        let count = |of: &HashMap<IfIndex, usize>| of.get(&device).copied().unwrap_or(0);
        let addresses = link.address.into_iter().chain([port.source]);
        let unique =
            self.singled_out.has(&link.name, device, addresses) || context.network().uppers(device).is_some();
        Traits {
            role: port.role,
            flags: link.flags,
            operstate: link.operstate,
            carrier: link.carrier,
            mtu: link.mtu,
            options: comparable(port.options),
            ipv4: link.ipv4.as_ref(),
            ipv6: link.ipv6.as_ref(),
            vlans: port.vlans.map_or(&[], |table| &table.vlans),
            tags: port.tags.clone(),
            source_in_fdb: port.source_in_fdb,
            counts: (context.addresses(device).len(), count(&self.routes), count(&self.memberships)),
            xdp: &link.xdp,
            filters: self.filters.get(&device).cloned().unwrap_or_default(),
            programs: self.programs.get(&device).cloned().unwrap_or_default(),
            chains: self.chains.get(link.name.as_str()).cloned().unwrap_or_default(),
            wildcards: self.singled_out.beginnings_of(&link.name).into_iter().map(str::to_owned).collect(),
            unique: unique.then_some(device),
        }
    }
}

/// A port's options without what is its own by nature.
fn comparable(options: &PortOptions) -> PortOptions {
    let mut options =
        PortOptions { no: None, priority: None, cost: None, mcast_n_groups: None, ..options.clone() };
    options.unknown.retain(|attribute| attribute.number > LAST_KNOWN_BRPORT);
    options
}

#[cfg(test)]
mod tests {
    use portcullis_snapshot::UnknownAttribute;

    use crate::context::Context;
    use crate::policy::Policy;
    use crate::testing::Host;

    fn groups(host: &Host) -> Vec<Vec<String>> {
        let policy = Policy::default();
        let context = Context::new(&host.snapshot, &host.snapshot.namespaces[0], &policy).unwrap();
        let names =
            |alike: crate::Alike<'_, '_>| alike.members().map(|port| port.link.name.clone()).collect();
        context.bridges()[0].guests().map(names).collect()
    }

    #[test]
    fn ports_with_the_same_settings_are_alike() {
        let mut host = Host::hypervisor();
        host.port_options("vnet1").no = Some(7);
        // A timer that this program has no row for.
        let timer = UnknownAttribute { number: 21, bytes: "00".to_owned() };
        host.port_options("vnet2").unknown.push(timer);
        assert_eq!(groups(&host), [["vnet0", "vnet1", "vnet2"]]);
    }

    #[test]
    fn one_setting_sets_a_port_apart() {
        let changes: [fn(&mut Host); 10] = [
            |host| host.port_options("vnet1").isolated = Some(true),
            |host| {
                host.port_options("vnet1").unknown.push(UnknownAttribute { number: 99, bytes: String::new() })
            },
            |host| host.ipv6("vnet1").disable_ipv6 = Some(1),
            |host| host.vlan("vnet1", 5, 0),
            |host| host.address("vnet1", "192.0.2.7/24"),
            |host| host.rule(false, 100, 6, 0).iif = Some("vnet1".to_owned()),
            |host| {
                host.nft_chain(portcullis_snapshot::NftFamily::Netdev, 0, "ingress");
                if let portcullis_snapshot::Reading::Read(chains) = &mut host.netns().filters.nft_chains {
                    chains[0].devices = vec!["vnet1".to_owned()];
                }
            },
            |host| host.nft_constant(b"vnet1\0\0\0\0\0\0\0\0\0\0\0"),
            |host| host.nft_constant(b"vnet1"),
            |host| {
                let index = host.index("vnet1");
                host.nft_constant(&index.0.to_ne_bytes());
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut host = Host::hypervisor();
            change(&mut host);
            assert_eq!(groups(&host), [vec!["vnet0", "vnet2"], vec!["vnet1"]], "change {at}");
        }
    }
}
