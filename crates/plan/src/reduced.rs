//! A namespace with one bridge, and of its ports that are alike a few: enough to choose remedies by. What is chosen is proven
//! over the whole namespace afterwards.

use std::collections::HashSet;

use ipnet::IpNet;
use portcullis_audit::{BridgeView, Context};
use portcullis_snapshot::{IfIndex, Netns, Reading, Route, Snapshot};

/// How many ports of each sort are kept: one that sends, one that it reaches.
const OF_EACH_SORT: usize = 2;

/// Returns the namespace with nothing of other bridges' ports, and few of this one's.
pub(crate) fn reduced(context: &Context<'_>, bridge: &BridgeView<'_>) -> Snapshot {
    let whole = context.netns();
    let kept: HashSet<IfIndex> = bridge
        .groups()
        .flat_map(|alike| alike.members().take(OF_EACH_SORT).map(|port| port.link.index).collect::<Vec<_>>())
        .collect();
    let is_left_out =
        |link: &portcullis_snapshot::Link| link.bridge_port().is_some() && !kept.contains(&link.index);
    let gone: HashSet<IfIndex> =
        whole.links.known().iter().filter(|link| is_left_out(link)).map(|link| link.index).collect();
    let stays = |device: IfIndex| !gone.contains(&device);
    let netns = Netns {
        id: whole.id,
        names: whole.names.clone(),
        processes: whole.processes.clone(),
        links: only(&whole.links, |link| stays(link.index)),
        vlans: only(&whole.vlans, |table| stays(table.device)),
        vlan_globals: whole.vlan_globals.clone(),
        mst: only(&whole.mst, |state| stays(state.port)),
        fdb: only(&whole.fdb, |entry| stays(entry.device)),
        mdb: whole.mdb.clone(),
        addresses: only(&whole.addresses, |address| stays(address.device)),
        routes: only(&whole.routes, |route| !leads_only_to(route, &gone)),
        rules: whole.rules.clone(),
        neighbours: only(&whole.neighbours, |neighbour| stays(neighbour.device)),
        ipv4: whole.ipv4.clone(),
        ipv6: whole.ipv6.clone(),
        filters: whole.filters.clone(),
        listeners: whole.listeners.clone(),
        packet_sockets: whole.packet_sockets.clone(),
        protocol_handlers: whole.protocol_handlers.clone(),
        memberships: only(&whole.memberships, |membership| stays(membership.device)),
    };
    let snapshot = context.snapshot();
    Snapshot {
        schema: snapshot.schema.clone(),
        version: snapshot.version.clone(),
        taken_at: snapshot.taken_at.clone(),
        kernel: snapshot.kernel.clone(),
        namespaces: vec![netns],
        problems: Vec::new(),
    }
}

/// Whether a route is one that every device has of its own, of those that are left out only.
fn leads_only_to(route: &Route, gone: &HashSet<IfIndex>) -> bool {
    let link_local = matches!(route.destination, IpNet::V6(net) if net.addr().is_unicast_link_local() || net.addr().is_multicast());
    let mut devices = route.nexthops.iter().map(|hop| hop.device).peekable();
    link_local
        && devices.peek().is_some()
        && devices.all(|device| device.is_some_and(|device| gone.contains(&device)))
}

fn only<T: Clone>(all: &Reading<Vec<T>>, keep: impl Fn(&T) -> bool) -> Reading<Vec<T>> {
    match all {
        Reading::Read(all) => Reading::Read(all.iter().filter(|one| keep(one)).cloned().collect()),
        Reading::Unread(why) => Reading::Unread(why.clone()),
    }
}
