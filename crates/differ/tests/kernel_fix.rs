//! What `portcullis fix` plans for the first article's network, put to the kernel: frames of every sort that got through
//! before are sent, and must not get through after; guests still reach what they are to reach; what is undone is as it was.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

#[path = "fix/shots.rs"]
mod shots;

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::fixes::Bench;
use portcullis_differ::generate::guest_mac;
use portcullis_differ::methods::{GUEST_PORTS, PUBLIC, network};
use portcullis_differ::names::index;
use portcullis_differ::proofs::{Judge, Kernel, Search};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_prove::{Goal, Verdict};
use portcullis_snapshot::{EtherType, MacAddr};
use portcullis_testnet::{fresh, skip};

use shots::*;

#[test]
fn what_is_chosen_keeps_every_frame_from_the_host() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let tried = Bench::new(network()).unwrap().tried(true, &[]).unwrap().unwrap();
        let names: Vec<_> = tried.plan.chosen.iter().map(|chosen| chosen.method.name()).collect();
        println!("chosen: {}; refused: {:?}", names.join(", "), tried.refused);
        assert!(tried.plan.is_proven() && !tried.plan.claims.is_empty());
        let mut judge = Judge::new(Search { frames: 2_000, ..SEARCH });
        let account = judge.claims(&tried.steps, Some(host()), 1).unwrap();
        agreed(&account);
        for claim in &account.claims {
            assert_eq!(
                (&claim.verdict, claim.kernel),
                (&Verdict::Isolated, Kernel::Confirmed),
                "{:?}",
                claim.goal
            );
        }
        // The guests still have each other, and the network.
        let kept = [index(GUEST_PORTS[1]), index(PUBLIC)].map(Goal::Port);
        let account = judge.claims(&tried.steps, Some(kept.to_vec()), 1).unwrap();
        agreed(&account);
        for claim in &account.claims {
            assert!(matches!(claim.verdict, Verdict::Exposed(_)), "{:?}", claim.goal);
            assert_eq!(claim.kernel, Kernel::Confirmed, "{:?}", claim.goal);
        }
    });
}

#[test]
fn guests_are_kept_apart_where_that_is_wanted() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let tried = Bench::new(network()).unwrap().tried(false, &[]).unwrap().unwrap();
        let other = Goal::Port(index(GUEST_PORTS[1]));
        let account = Judge::new(SEARCH).claims(&tried.steps, Some(vec![other]), 1).unwrap();
        agreed(&account);
        assert_eq!(account.claims[0].verdict, Verdict::Isolated);
    });
}

#[test]
fn each_remedy_stops_a_frame_that_got_through() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let asked = each_stops_its_frame(&network(), Method::ALL);
        assert!(asked > 0, "this kernel takes no remedy at all");
    });
}

/// Where another product's bridge hears everything: `remedies` asks the same of all the others on one kernel.
#[test]
fn remedies_of_some_kernels_do_so_beside_a_foreign_bridge() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let of_some = [Method::VlanFiltering, Method::TcOnBridge, Method::TcLinkLocal, Method::BridgeInput];
        if each_stops_its_frame(&with_foreign_bridge(), of_some) == 0 {
            skip!("this kernel takes none of them");
        }
    });
}

/// Frames of the first guest, under the rules that go by what the policy states of it and of the other.
#[test]
fn guests_speak_in_their_own_names_only() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let bench = Bench::new(network()).unwrap();
        let guest = |number: usize| {
            let (port, mac, last) = (GUEST_PORTS[number], guest_mac(number), 7 + number);
            format!(
                "[[port]]\nname = \"{port}\"\nmac = [\"{mac}\"]\nip = [\"198.51.100.{last}\", \"2001:db8:1::{last}\"]\n"
            )
        };
        let mut bench = bench.stating(guest(0) + &guest(1));
        let with = match bench.with(Method::AntiSpoof).unwrap() {
            Ok(with) => with,
            Err(why) => skip!("{why}"),
        };
        let goal = Goal::Port(index(GUEST_PORTS[1]));
        let (own, others) = names();
        let frames: Vec<_> = own.iter().chain(&others).collect();
        let bytes = || frames.iter().map(|(_, frame)| frame.as_slice());
        let before = bench.network().to_vec();
        let arrived = bench.each_gets_there(&before, goal, bytes()).unwrap().unwrap();
        let lost: Vec<_> = frames.iter().zip(&arrived).filter(|(_, arrived)| !**arrived).collect();
        assert!(lost.is_empty(), "without rules: {lost:?}");
        let arrived = match bench.each_gets_there(&with, goal, bytes()).unwrap() {
            Ok(arrived) => arrived,
            Err(why) => skip!("{why}"),
        };
        for (at, ((what, _), arrived)) in frames.iter().zip(arrived).enumerate() {
            assert_eq!(arrived, at < own.len(), "{what}");
        }
    });
}

type Named = (&'static str, Vec<u8>);

/// Frames of the first guest to everybody: in its own name or nobody's, and in the other's.
fn names() -> (Vec<Named>, Vec<Named>) {
    let [guest, other] = [guest_mac(0), guest_mac(1)];
    let ip = |last| Ipv4Addr::new(198, 51, 100, last);
    let ip6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last);
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let ports = (68, 67);
    let arp = |sender_mac, sender_ip| Payload::Arp {
        operation: ArpOperation::Reply,
        sender_mac,
        sender_ip,
        target_ip: ip(99),
    };
    let ipv4 = |from| Payload::Udp4 { from, to: Ipv4Addr::BROADCAST, ports, data: Vec::new() };
    let ipv6 = |from| Payload::Udp6 { from, to: all_nodes, ports, data: Vec::new() };
    let neighbour = |from, target| Payload::NeighbourSolicitation { from, to: all_nodes, target };
    let from = |mac| FrameBuilder::new(MacAddr::BROADCAST, mac);
    let plain = |payload: &Payload| from(guest).payload(payload);
    let tagged = |payload: &Payload| from(guest).tag(EtherType::VLAN, 5).payload(payload);
    let stacked =
        |payload: &Payload| from(guest).tag(EtherType::SVLAN, 5).tag(EtherType::VLAN, 6).payload(payload);
    let advertised = |target| {
        let mut frame = plain(&neighbour(link_local, target));
        // The type of the message: an advertisement has its target at the same place.
        frame[14 + 40] = 136;
        frame
    };
    let own = vec![
        ("ARP", plain(&arp(guest, ip(7)))),
        ("an ARP probe", plain(&arp(guest, Ipv4Addr::UNSPECIFIED))),
        ("IPv4", plain(&ipv4(ip(7)))),
        ("IPv4 without an address, as to DHCP servers", plain(&ipv4(Ipv4Addr::UNSPECIFIED))),
        ("IPv6", plain(&ipv6(ip6(7)))),
        ("link-local IPv6", plain(&ipv6(link_local))),
        ("duplicate address detection", plain(&neighbour(Ipv6Addr::UNSPECIFIED, ip6(7)))),
        ("a solicitation for another", plain(&neighbour(ip6(7), ip6(8)))),
        ("an advertisement", advertised(ip6(7))),
        ("tagged ARP", tagged(&arp(guest, ip(7)))),
    ];
    let others = vec![
        ("from another MAC address", from(other).payload(&ipv4(ip(7)))),
        ("ARP of another MAC address", plain(&arp(other, ip(7)))),
        ("ARP of another", plain(&arp(guest, ip(8)))),
        ("IPv4 of another", plain(&ipv4(ip(8)))),
        ("IPv4 of nobody known", plain(&ipv4(ip(200)))),
        ("IPv6 of another", plain(&ipv6(ip6(8)))),
        ("an advertisement for another", advertised(ip6(8))),
        ("tagged ARP of another", tagged(&arp(guest, ip(8)))),
        ("tagged IPv6 of another", tagged(&ipv6(ip6(8)))),
        ("ARP of another behind two tags", stacked(&arp(guest, ip(8)))),
    ];
    (own, others)
}
