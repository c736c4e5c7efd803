//! What a walk reads of a device beside rules.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use portcullis_snapshot::{
    BridgeOptions, FdbKind, IfIndex, Ipv4Conf, Ipv6Conf, Link, LinkFlags, LinkKind, PortOptions, TcFilter,
    TcHookKind, U32Table, VlanEntry, XdpProgram,
};

use super::owners::Owners;
use crate::network::Network;

/// Attribute numbers up to here are known; those among them that have no row say nothing about where frames go.
const LAST_KNOWN: u16 = 49;

/// The sort of an FDB entry that was learned and may be learned anew.
const LEARNED: [bool; 4] = [false; 4];

/// The tc filters of a hook, and the tables that those of `u32` stand in.
type Filters<'s> = (TcHookKind, &'s [TcFilter], &'s [U32Table]);

/// The solicited-node groups (RFC 4291, 2.7.1).
pub(super) const SOLICITED: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0), 104);

/// What is compared.
#[derive(PartialEq)]
struct Traits<'s> {
    flags: LinkFlags,
    promiscuity: Option<u32>,
    operstate: u8,
    carrier: Option<bool>,
    mtu: u32,
    kind: Discriminant<LinkKind>,
    port: Option<PortOptions>,
    bridge: Option<BridgeOptions>,
    ipv4: Option<&'s Ipv4Conf>,
    ipv6: Option<&'s Ipv6Conf>,
    vlans: &'s [VlanEntry],
    /// Of each FDB entry that leads there: its VLAN, and whether it is local, static, sticky, locked.
    fdb: Vec<(u16, [bool; 4])>,
    xdp: &'s [XdpProgram],
    tc: Vec<Filters<'s>>,
    tcx: Vec<(TcHookKind, &'s [u32])>,
    /// How many addresses it has: they are its own, but their number is not.
    addresses: usize,
    /// The groups that it joined, but for those that come with its own addresses; and how many these are.
    groups: (Vec<IpAddr>, usize),
    /// Whether it leads to a multicast router.
    router: bool,
    /// The VRF that a bridge is in.
    vrf: Option<IfIndex>,
    /// With which wildcards of rules its name agrees.
    wildcards: Vec<&'s str>,
    /// Set if it is alike to no other.
    unique: Option<IfIndex>,
}

/// The sorts of devices that were met so far.
pub(super) struct TraitClasses<'n, 's> {
    network: &'n Network<'s>,
    owners: &'n Owners<'n, 's>,
    about: HashMap<IfIndex, About<'s>>,
    known: Vec<Traits<'s>>,
}

/// What hangs on a device, gathered once for all.
#[derive(Default)]
struct About<'s> {
    fdb: Vec<(u16, [bool; 4])>,
    vlans: &'s [VlanEntry],
    tc: Vec<Filters<'s>>,
    tcx: Vec<(TcHookKind, &'s [u32])>,
    addresses: usize,
    groups: (Vec<IpAddr>, usize),
    /// Whether it leads to a multicast router.
    router: bool,
    /// Whether something of the host's depends on this very device.
    singled_out: bool,
}

impl<'n, 's> TraitClasses<'n, 's> {
    pub(super) fn new(network: &'n Network<'s>, owners: &'n Owners<'n, 's>) -> Self {
        Self { network, owners, about: about(network), known: Vec::new() }
    }

    /// Returns the number of a device's sort.
    pub(super) fn class(&mut self, device: IfIndex) -> usize {
        let Some(link) = self.network.link(device) else { return usize::MAX };
        let traits = self.traits(link);
        // The latest first: neighbours are usually alike.
        self.known.iter().rposition(|known| *known == traits).unwrap_or_else(|| {
            self.known.push(traits);
            self.known.len() - 1
        })
    }

    fn traits(&self, link: &'s Link) -> Traits<'s> {
        let device = link.index;
        let nothing = About::default();
        let about = self.about.get(&device).unwrap_or(&nothing);
        let unique = self.owners.unclear()
            || about.singled_out
            || self.owners.singles_out(device)
            || self.network.uppers(device).is_some()
            // What is below another device depends on that one.
            || !matches!(link.kind, LinkKind::Plain | LinkKind::Tun(_) | LinkKind::Veth | LinkKind::Bridge(_))
            // What leaves by it comes in again here.
            || (matches!(link.kind, LinkKind::Veth) && link.link.is_some() && link.link_netns.is_none())
            || link.phys_switch_id.is_some();
        Traits {
            flags: link.flags,
            promiscuity: link.bridge().and(link.promiscuity),
            operstate: link.operstate,
            carrier: link.carrier,
            mtu: link.mtu,
            kind: discriminant(&link.kind),
            port: link.bridge_port().map(of_port),
            bridge: link.bridge().map(of_bridge),
            ipv4: link.ipv4.as_ref(),
            ipv6: link.ipv6.as_ref(),
            vlans: about.vlans,
            fdb: about.fdb.clone(),
            xdp: &link.xdp,
            tc: about.tc.clone(),
            tcx: about.tcx.clone(),
            addresses: about.addresses,
            groups: about.groups.clone(),
            router: about.router,
            vrf: link.bridge().and(link.master),
            wildcards: self.owners.wildcards(&link.name),
            unique: unique.then_some(device),
        }
    }
}

/// A port's options without what is its own by nature.
fn of_port(options: &PortOptions) -> PortOptions {
    let mut options =
        PortOptions { no: None, priority: None, cost: None, mcast_n_groups: None, ..options.clone() };
    options.unknown.retain(|attribute| attribute.number > LAST_KNOWN);
    options
}

/// A bridge's options without what is its own by nature.
fn of_bridge(options: &BridgeOptions) -> BridgeOptions {
    let mut options = BridgeOptions {
        root_port: None,
        root_path_cost: None,
        fdb_n_learned: options.fdb_max_learned.filter(|max| *max != 0).and(options.fdb_n_learned),
        ..options.clone()
    };
    options.unknown.retain(|attribute| attribute.number > LAST_KNOWN);
    options
}

fn about<'s>(network: &Network<'s>) -> HashMap<IfIndex, About<'s>> {
    let netns = network.netns();
    let mut all: HashMap<IfIndex, About<'s>> = HashMap::new();
    for table in netns.vlans.known() {
        all.entry(table.device).or_default().vlans = &table.vlans;
    }
    for entry in netns.fdb.known() {
        let kind = entry.kind();
        let sort = [kind == FdbKind::Local, kind == FdbKind::Static, entry.is_sticky(), entry.is_locked()];
        all.entry(entry.device).or_default().fdb.push((entry.vlan.map_or(0, Into::into), sort));
    }
    for hook in netns.filters.tc.known() {
        all.entry(hook.device).or_default().tc.push((hook.hook, &hook.filters, &hook.u32_tables));
    }
    for programs in netns.filters.tcx.known() {
        all.entry(programs.device).or_default().tcx.push((programs.hook, &programs.programs));
    }
    for address in netns.addresses.known() {
        let about = all.entry(address.device).or_default();
        about.addresses += 1;
        about.singled_out |= !is_link_local(&address.address);
    }
    for membership in netns.memberships.known() {
        let groups = &mut all.entry(membership.device).or_default().groups;
        match membership.group {
            IpAddr::V6(group) if SOLICITED.contains(&group) => groups.1 += 1,
            group => groups.0.push(group),
        }
    }
    // Groups that a device sent to have entries of the kernel's own, by which nothing goes (ndisc_recv_na).
    for neighbour in netns.neighbours.known().iter().filter(|one| !one.address.is_multicast()) {
        all.entry(neighbour.device).or_default().singled_out = true;
    }
    for route in netns.routes.known() {
        let of_every_device = is_link_local(&route.destination) && route.source.is_none();
        for device in route.nexthops.iter().filter_map(|hop| hop.device) {
            all.entry(device).or_default().singled_out |= !of_every_device;
        }
    }
    for rule in netns.rules.known() {
        for link in [&rule.iif, &rule.oif].into_iter().flatten().filter_map(|name| netns.link_named(name)) {
            all.entry(link.index).or_default().singled_out = true;
        }
    }
    for router in network.bridges().iter().flat_map(|bridge| &bridge.routers) {
        all.entry(router.port).or_default().router = true;
    }
    let handlers = netns.protocol_handlers.known().iter().filter_map(|handler| handler.device.as_ref());
    let handlers = handlers.filter_map(|name| Some(netns.link_named(name)?.index));
    let states = netns.mst.known().iter().map(|state| state.port);
    let globals = netns.vlan_globals.known().iter().map(|global| global.bridge);
    for device in handlers.chain(states).chain(globals) {
        all.entry(device).or_default().singled_out = true;
    }
    for about in all.values_mut() {
        about.fdb.sort_unstable();
        // How many addresses were learned alike does not matter, see the digest.
        about.fdb.dedup_by(|one, other| one == other && one.1 == LEARNED);
        about.groups.0.sort_unstable();
    }
    all
}

/// Whether an address or a route is one that every device has of its own: link-local, or its multicast.
fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V6(net) => net.addr().is_unicast_link_local() || net.addr().is_multicast(),
        IpNet::V4(_) => false,
    }
}
