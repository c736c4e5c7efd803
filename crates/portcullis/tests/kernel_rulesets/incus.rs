//! Incus and LXD: chains of the bridge family for each guest, at the hooks INPUT and FORWARD.

use portcullis_prove::HostProtocol;
use portcullis_testnet::skip;

use crate::claims::Ends::{Host, Learned, Port};
use crate::claims::Expect::{Exposed, Isolated};
use crate::claims::{Frames, Promise, check, inventory};
use crate::on;
use crate::world::{Guest, Site, nft, snapshot};

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
    ("vethc1", Frames::ForeignIpv6, Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignNa, Port("vethc3"), Isolated),
    ("vethc1", Frames::RouterAdvertisement, Port("vethc3"), Isolated),
    ("vethc1", Frames::HiddenNa, Port("vethc3"), Exposed),
    ("vethc1", Frames::Ethertype(0x8863), Port("vethc3"), Isolated),
    ("vethc1", Frames::ForeignMac, Host(HostProtocol::Arp), Exposed),
    ("vethc1", Frames::ForeignArpIp, Host(HostProtocol::Arp), Exposed),
    ("vethc1", Frames::ForeignIpv4, Host(HostProtocol::Ipv4), Exposed),
    ("vethc1", Frames::ForeignMac, Learned("vethc2"), Exposed),
    ("vethc3", Frames::ForeignMac, Port("vethc1"), Exposed),
];

fn golden(name: &str, ruleset: &str, promises: &[Promise]) {
    on(SITE, |mut world| {
        if let Err(why) = nft(ruleset) {
            skip!("{why}");
        }
        let text = inventory(&snapshot()) + &check(&mut world, name, promises);
        println!("{name}:\n{text}");
    });
}

#[test]
fn all_three_filters() {
    golden("incus", include_str!("../rulesets/incus.nft"), ALL_THREE);
}

#[test]
fn all_three_filters_as_lxd_writes_them() {
    golden("lxd", include_str!("../rulesets/lxd.nft"), ALL_THREE);
}
