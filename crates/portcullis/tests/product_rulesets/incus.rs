//! Incus and LXD: chains of the bridge family for each guest, at the hooks INPUT and FORWARD.

use portcullis_prove::HostProtocol;

use crate::claims::Ends::{Host, Learned, Port};
use crate::claims::Expect::{Exposed, Isolated};
use crate::claims::{Frames, Promise};
use crate::world::{Guest, Site, nft};
use crate::{hold, on};

const SITE: Site = Site {
    bridges: &[("incusbr0", Some(std::net::Ipv4Addr::new(10, 0, 3, 1)))],
    guests: &[
        Guest::new("vethc1", "incusbr0", 1, std::net::Ipv4Addr::new(10, 0, 3, 11)),
        Guest::new("vethc2", "incusbr0", 2, std::net::Ipv4Addr::new(10, 0, 3, 12)),
        Guest::new("vethc3", "incusbr0", 3, std::net::Ipv4Addr::new(10, 0, 3, 13)),
    ],
    routes: true,
};

/// What `security.mac_filtering` and the two others are there for, and what they leave.
const ALL_THREE: &[Promise] = &[
    ("vethc1", Frames::ForeignMac, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignArpMac, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignArpIp, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignIpv4, Port("vethc3"), Isolated),
    ("vethc1", Frames::InTheNameOf(std::net::Ipv4Addr::new(10, 0, 3, 12)), Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignIpv6, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignNa, Port("vethc3"), Isolated),
    ("vethc1", Frames::RouterAdvertisement, Port("vethc3"), Isolated),
    ("vethc1", Frames::HiddenNa, Port("vethc3"), Exposed),
    ("vethc1", Frames::Tagged, Port("vethc3"), Isolated),
    ("vethc1", Frames::Ethertype(0x8863), Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignMac, Host(HostProtocol::Arp), Exposed),
    ("vethc1", Frames::ForeignArpIp, Host(HostProtocol::Arp), Exposed),
    ("vethc1", Frames::ForeignIpv4, Host(HostProtocol::Ipv4), Exposed),
    ("vethc1", Frames::ForeignMac, Learned("vethc2"), Exposed),
    ("vethc3", Frames::ForeignMac, Port("vethc1"), Exposed),
];

/// What is left of that where only `security.mac_filtering` is on.
const MAC_ONLY: &[Promise] = &[
    ("vethc1", Frames::ForeignMac, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignArpMac, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignArpIp, Port("vethc3"), Exposed),
];

/// As LXD wrote the lists, a packet from an own address is accepted before its neighbour advertisement is looked at, and
/// an advertisement of an own address before its source is.
const LXD: &[Promise] = &[
    ("vethc1", Frames::ForeignMac, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignArpMac, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignArpIp, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignIpv4, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignIpv6, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignNa, Port("vethc3"), Exposed),
    ("vethc1", Frames::RouterAdvertisement, Port("vethc3"), Isolated),
    ("vethc1", Frames::HiddenNa, Port("vethc3"), Exposed),
];

/// With `security.acls`, before CVE-2025-52890: what local services need was accepted before it was looked at.
const ACL: &[Promise] = &[
    ("vethc1", Frames::ForeignMac, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignArpMac, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignArpIp, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignIpv4, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignIpv6, Port("vethc3"), Exposed),
    ("vethc1", Frames::ForeignNa, Port("vethc3"), Exposed),
];

fn holds(name: &str, ruleset: &str, promises: &[Promise]) {
    on(SITE, |mut world| hold(&mut world, name, promises, nft(ruleset)));
}

#[test]
fn all_three_filters() {
    holds("incus", include_str!("../rulesets/incus.nft"), ALL_THREE);
}

#[test]
fn all_three_filters_as_lxd_writes_them() {
    holds("lxd", include_str!("../rulesets/lxd.nft"), LXD);
}

#[test]
fn mac_filter_alone() {
    holds("incus-mac-only", include_str!("../rulesets/incus-mac-only.nft"), MAC_ONLY);
}

#[test]
fn filters_behind_what_local_services_need() {
    holds("incus-acl", include_str!("../rulesets/incus-acl.nft"), ACL);
}
