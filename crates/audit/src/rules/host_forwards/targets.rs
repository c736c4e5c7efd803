//! Packets for a router: an address behind each of the host's routes, from sources that belong to the bridge's
//! networks and from one that belongs to nobody.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_datapath::Payload;
use portcullis_snapshot::IfIndex;

use crate::context::{BridgeView, Context, is_link_local};
use crate::probe::{Destination, Probe};
use crate::rules::host::{self, STRANGER4, STRANGER6, neighbour_of, neighbour_of6};

/// How many devices are aimed at. Whether the host routes at all does not depend on which.
const MAX_DEVICES: usize = 128;

/// Returns the probes, each with whether its source is nobody's.
pub(crate) fn probes(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<(bool, Probe<'static>)> {
    targets(context, bridge).into_iter().flat_map(pings).collect()
}

/// An address behind each route, and sources for packets to it: those that the bridge's own networks could have.
fn targets(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<(IpAddr, Vec<(bool, IpAddr)>)> {
    let own: Vec<IpNet> = context.chosen_addresses(bridge.link.index).collect();
    let mut by_device: BTreeMap<(bool, Option<IfIndex>), Vec<IpAddr>> = BTreeMap::new();
    // 1 is RTN_UNICAST.
    for route in context.netns().routes.known().iter().filter(|route| route.kind == 1) {
        let device = route.nexthops.first().and_then(|hop| hop.device);
        if device.is_some_and(|device| host::is_loopback(context, device))
            || route.destination.addr().is_multicast()
            || is_link_local(&route.destination)
        {
            // Such destinations are never routed on.
            continue;
        }
        if by_device.len() >= MAX_DEVICES {
            break;
        }
        let targets = by_device.entry((matches!(route.destination, IpNet::V4(_)), device)).or_default();
        // A few for each device are enough: routing goes by device, not by destination.
        if targets.len() < 3 {
            targets.push(behind(context, &route.destination));
        }
    }
    let sources = |target: &IpAddr| -> Vec<(bool, IpAddr)> {
        let same_family = own.iter().filter(|net| host::is_v4(net.addr()) == host::is_v4(*target));
        let near = |address: IpAddr| match address {
            IpAddr::V4(address) => IpAddr::V4(neighbour_of(neighbour_of(address))),
            IpAddr::V6(address) => IpAddr::V6(neighbour_of6(address)),
        };
        let stranger = if host::is_v4(*target) { IpAddr::V4(STRANGER4) } else { IpAddr::V6(STRANGER6) };
        let sources = same_family.map(|net| (false, near(net.addr())));
        sources.chain([(true, stranger)]).collect()
    };
    by_device.into_values().flatten().map(|target| (target, sources(&target))).collect()
}

/// An address in a network that is not the host's own; for a default route one of nobody.
fn behind(context: &Context<'_>, net: &IpNet) -> IpAddr {
    const NOBODY4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 123);
    const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5043, 1, 0, 0, 0, 0x123);
    if net.prefix_len() == 0 {
        return if host::is_v4(net.addr()) { NOBODY4.into() } else { NOBODY6.into() };
    }
    let own =
        |address: &IpAddr| context.netns().addresses.known().iter().any(|a| a.address.addr() == *address);
    net.hosts().skip(1).take(16).find(|address| !own(address)).unwrap_or_else(|| net.addr())
}

fn pings((to, sources): (IpAddr, Vec<(bool, IpAddr)>)) -> Vec<(bool, Probe<'static>)> {
    let payload = move |from: IpAddr| match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(Payload::Ping4 { from, to }),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(Payload::Ping6 { from, to }),
        _ => None,
    };
    let payloads = sources.into_iter().filter_map(move |(spoofed, from)| Some((spoofed, payload(from)?)));
    let each = |(spoofed, payload): (bool, Payload)| {
        let probes = host::to_each(&[Destination::Bridge, Destination::Port], move |_| payload.clone());
        probes.into_iter().map(move |probe| (spoofed, probe))
    };
    payloads.flat_map(each).collect()
}
