//! libvirt's network filters: a chain for each guest and protocol, before the bridge learns.

use portcullis_prove::HostProtocol;

use crate::claims::Ends::{Host, Learned, Port};
use crate::claims::Expect::{Exposed, Isolated};
use crate::claims::{Frames, Promise};
use crate::world::{Guest, Site, feed, nft};
use crate::{hold, on};

const fn ip(net: u8, last: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, net, 0, last)
}

const SITE: Site = Site {
    bridges: &[("virbr0", Some(ip(0, 1)))],
    guests: &[
        Guest::new("vnet0", "virbr0", 1, ip(0, 11)),
        Guest::new("vnet1", "virbr0", 2, ip(0, 12)),
        Guest::new("vnet2", "virbr0", 3, ip(0, 13)),
    ],
    routes: true,
};

/// What `clean-traffic` is there for; and link-local group addresses, which pass no hook on their way to the host, and
/// from which the bridge learns.
const CLEAN_TRAFFIC: &[Promise] = &[
    ("vnet0", Frames::ForeignMac, Port("vnet2"), Isolated),
    ("vnet0", Frames::ForeignArpMac, Port("vnet2"), Isolated),
    ("vnet0", Frames::ForeignArpIp, Port("vnet2"), Isolated),
    ("vnet0", Frames::ForeignIpv4, Port("vnet2"), Isolated),
    ("vnet0", Frames::InTheNameOf(ip(0, 12)), Port("vnet2"), Isolated),
    ("vnet0", Frames::InTheNameOf(ip(0, 11)), Port("vnet2"), Exposed),
    ("vnet2", Frames::InTheNameOf(ip(0, 12)), Port("vnet0"), Exposed),
    ("vnet0", Frames::Ethertype(0x86dd), Port("vnet2"), Isolated),
    ("vnet0", Frames::Tagged, Port("vnet2"), Isolated),
    ("vnet0", Frames::UnspecifiedIpv4, Port("vnet2"), Exposed),
    ("vnet0", Frames::Ethertype(0x0835), Port("vnet2"), Exposed),
    ("vnet0", Frames::ForeignMac, Host(HostProtocol::Arp), Exposed),
    ("vnet0", Frames::ForeignArpIp, Host(HostProtocol::Arp), Exposed),
    ("vnet0", Frames::ForeignIpv4, Host(HostProtocol::Ipv4), Exposed),
    ("vnet0", Frames::Ipv6Of(17), Host(HostProtocol::Ipv6), Exposed),
    ("vnet0", Frames::Every, Learned("vnet1"), Exposed),
    ("vnet2", Frames::Ethertype(0x86dd), Port("vnet0"), Isolated),
];

#[test]
fn clean_traffic_of_nftables() {
    let rules = include_str!("../rulesets/libvirt-nwfilter.nft");
    on(SITE, |mut world| hold(&mut world, "libvirt-nwfilter", CLEAN_TRAFFIC, nft(rules)));
}

/// The same filter in ebtables' table nat, by either of its tools.
#[test]
fn clean_traffic_of_ebtables() {
    let rules = include_str!("../rulesets/libvirt-nwfilter.ebtables");
    for tool in ["ebtables-nft-restore", "ebtables-legacy-restore"] {
        let name = format!("libvirt-{tool}");
        on(SITE, |mut world| hold(&mut world, &name, CLEAN_TRAFFIC, feed(tool, &[], rules)));
    }
}
