//! Proxmox VE's firewall for nftables: verdict maps from ports to the chains of guests.

use portcullis_prove::HostProtocol;

use crate::claims::Ends::{Host, Learned, Port};
use crate::claims::Expect::{Exposed, Isolated, Unless};
use crate::claims::{Frames, Promise};
use crate::world::{Guest, Site, nft};
use crate::{hold, on};

const fn ip(net: u8, last: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, net, 0, last)
}

const SITE: Site = Site {
    bridges: &[("vmbr0", Some(ip(0, 1)))],
    guests: &[
        Guest::new("tap100i0", "vmbr0", 1, ip(0, 11)),
        Guest::new("tap101i0", "vmbr0", 2, ip(0, 12)),
        Guest::new("tap102i0", "vmbr0", 3, ip(0, 13)),
    ],
    routes: false,
};

/// Without the rules that let established connections through, which come first of all. ARP without a tag is what the
/// filters say; behind one they do not look, and the rule for the protocol does. An ICMP error is let through before them,
/// whoever it is from, and neighbour advertisements name whom they like.
const WITHOUT_CONNECTIONS: &[Promise] = &[
    ("tap100i0", Frames::UntaggedArp(false), Port("tap102i0"), Isolated),
    ("tap100i0", Frames::UntaggedArp(true), Port("tap102i0"), Isolated),
    ("tap100i0", Frames::ForeignArpMac, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignArpIp, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignMac, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignIpv4, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignIpv6, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignNa, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::RouterAdvertisement, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::Every, Learned("tap101i0"), Exposed),
    ("tap100i0", Frames::ForeignArpIp, Host(HostProtocol::Arp), Exposed),
    ("tap102i0", Frames::Ipv4PortsBut(17, &[68, 546]), Port("tap100i0"), Isolated),
    ("tap102i0", Frames::Ipv4Port(6, 22), Port("tap100i0"), Exposed),
];

/// With them, what is no ARP depends on what is established.
const WITH_CONNECTIONS: &[Promise] = &[
    ("tap100i0", Frames::UntaggedArp(false), Port("tap102i0"), Isolated),
    ("tap100i0", Frames::UntaggedArp(true), Port("tap102i0"), Isolated),
    ("tap100i0", Frames::ForeignArpMac, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignArpIp, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignMac, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::ForeignIpv4, Port("tap102i0"), Exposed),
    ("tap100i0", Frames::Every, Learned("tap101i0"), Exposed),
    ("tap102i0", Frames::Ipv4PortsBut(17, &[68, 546]), Port("tap100i0"), Unless("ct")),
];

/// Leaves out what needs `nf_conntrack_bridge` and `nft_meta_bridge`.
fn without_connections(rules: &str) -> String {
    let needs = |line: &&str| {
        let line = line.trim_start();
        !["meta protocol != arp ct", "ct mark set", "meta ibrname"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    rules.lines().filter(needs).map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn mac_and_ip_filter() {
    let rules = include_str!("../rulesets/proxmox-firewall.nft");
    on(SITE, |mut world| match nft(rules) {
        Ok(()) => hold(&mut world, "proxmox-firewall", WITH_CONNECTIONS, Ok(())),
        Err(why) => {
            println!("without connections, because {why}");
            let loaded = nft(&without_connections(rules));
            hold(&mut world, "proxmox-firewall", WITHOUT_CONNECTIONS, loaded);
        }
    });
}
