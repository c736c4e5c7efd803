//! Docker: rules of the IP family, between bridges that the host routes for.

use portcullis_kernel::sysctl;

use crate::claims::Ends::{Port, Routed};
use crate::claims::Expect::{Exposed, Lets, Unless};
use crate::claims::{Frames, Promise};
use crate::world::{Guest, Site, feed, nft};
use crate::{hold, on};

const fn ip(net: u8, last: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(172, net, 0, last)
}

const SITE: Site = Site {
    bridges: &[("docker0", Some(ip(17, 1))), ("bridge1", Some(ip(18, 1)))],
    guests: &[
        Guest::new("veth1", "docker0", 1, ip(17, 2)),
        Guest::new("veth2", "docker0", 2, ip(17, 3)),
        Guest::new("veth3", "bridge1", 3, ip(18, 2)),
        Guest::new("veth4", "bridge1", 4, ip(18, 3)),
    ],
    routes: true,
};

/// Between bridges only what is established gets through, and by a published port of the host's; within one, `enable_icc=false` is for IPv4 without tags, and
/// that only where bridged packets pass iptables' hooks.
const PROMISES: &[Promise] = &[
    ("veth1", Frames::Ipv4Of(17), Routed("bridge1"), Unless("ct")),
    ("veth1", Frames::Ipv4Port(6, 8080), Routed("bridge1"), Lets("ct")),
    ("veth1", Frames::UntaggedIpv4, Routed("eth1"), Lets("ct")),
    ("veth1", Frames::UntaggedIpv4, Port("veth2"), Lets("ct")),
    ("veth3", Frames::UntaggedIpv4, Port("veth4"), Unless("ct")),
    ("veth3", Frames::Ethertype(0x0800), Port("veth4"), Exposed),
    ("veth3", Frames::Ethertype(0x0806), Port("veth4"), Exposed),
    ("veth3", Frames::Ethertype(0x86dd), Port("veth4"), Exposed),
];

/// With iptables, what was published is kept from other bridges, too: packets are routed after their destination changed.
const IPTABLES: &[Promise] = &[
    ("veth1", Frames::Ipv4Of(17), Routed("bridge1"), Unless("conntrack")),
    ("veth1", Frames::Ipv4Port(6, 8080), Routed("bridge1"), Unless("conntrack")),
    ("veth1", Frames::UntaggedIpv4, Port("veth2"), Lets("conntrack")),
    ("veth3", Frames::UntaggedIpv4, Port("veth4"), Unless("conntrack")),
    ("veth3", Frames::Ethertype(0x0800), Port("veth4"), Exposed),
    ("veth3", Frames::Ethertype(0x0806), Port("veth4"), Exposed),
    ("veth3", Frames::Ethertype(0x86dd), Port("veth4"), Exposed),
];

/// Without br_netfilter, containers of one bridge reach each other whatever the rules are.
const UNBRIDGED: &[Promise] = &[("veth3", Frames::UntaggedIpv4, Port("veth4"), Exposed)];

#[test]
fn bridges_of_nftables() {
    let rules = include_str!("../rulesets/docker.nft");
    on(SITE, |mut world| {
        if let Err(error) = sysctl::write(&["bridge", "bridge-nf-call-iptables"], "1") {
            println!("skipped, because {error}");
            return;
        }
        hold(&mut world, "docker", PROMISES, nft(rules));
    });
}

#[test]
fn bridges_of_nftables_without_br_netfilter() {
    let rules = include_str!("../rulesets/docker.nft");
    on(SITE, |mut world| hold(&mut world, "docker-unbridged", UNBRIDGED, nft(rules)));
}

#[test]
fn bridges_of_iptables() {
    let rules = include_str!("../rulesets/docker.iptables");
    for tool in ["iptables-nft-restore", "iptables-legacy-restore"] {
        on(SITE, |mut world| {
            if let Err(error) = sysctl::write(&["bridge", "bridge-nf-call-iptables"], "1") {
                println!("skipped, because {error}");
                return;
            }
            hold(&mut world, &format!("docker-{tool}"), IPTABLES, feed(tool, &[], rules));
        });
    }
}
