//! firewalld: zones for the host and its router.

use portcullis_prove::HostProtocol;

use crate::claims::Ends::{Host, Port, Routed};
use crate::claims::Expect::{Exposed, Lets, Unless};
use crate::claims::{Frames, Promise};
use crate::world::{Guest, Site, nft};
use crate::{hold, on};

const fn ip(net: u8, last: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, net, 0, last)
}

const SITE: Site = Site {
    bridges: &[("br0", Some(ip(0, 1)))],
    guests: &[Guest::new("vnet0", "br0", 1, ip(0, 11)), Guest::new("vnet1", "br0", 2, ip(0, 12))],
    routes: true,
};

/// Of the host, the zone's services and ICMP; ARP and what is between guests is no matter of zones.
const PUBLIC: &[Promise] = &[
    ("vnet0", Frames::Ipv4Port(6, 22), Host(HostProtocol::Ipv4), Lets("ct")),
    ("vnet0", Frames::Ipv4Of(1), Host(HostProtocol::Ipv4), Lets("ct")),
    ("vnet0", Frames::Ipv4PortsBut(6, &[22]), Host(HostProtocol::Ipv4), Unless("ct")),
    ("vnet0", Frames::Ipv4Of(17), Host(HostProtocol::Ipv4), Unless("ct")),
    ("vnet0", Frames::Ethertype(0x0806), Host(HostProtocol::Arp), Exposed),
    ("vnet0", Frames::UntaggedIpv4, Routed("eth1"), Unless("ct")),
    ("vnet0", Frames::Every, Port("vnet1"), Exposed),
];

#[test]
fn the_zone_public() {
    let rules = include_str!("../rulesets/firewalld.nft");
    on(SITE, |mut world| hold(&mut world, "firewalld", PUBLIC, nft(rules)));
}
