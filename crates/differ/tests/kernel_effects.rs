//! Remedies whose effect is not on one frame's way: what frames of a guest leave behind in the bridge and in the host, without
//! the remedy and with it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::RouterAdvertisement;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::fixes::{After, Bench};
use portcullis_differ::generate::guest_mac;
use portcullis_differ::knobs::BRIDGE_KNOBS;
use portcullis_differ::methods::{GUEST_PORTS, network};
use portcullis_differ::names::{BRIDGE, GUESTS, Name, PORTS, index, wire};
use portcullis_differ::step::Step;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_snapshot::{EtherType, MacAddr, PortState};
use portcullis_testnet::{fresh, skip};

/// The port of the guest that misbehaves.
const FROM: Name = GUEST_PORTS[0];

/// Sends frames without a remedy and with it, and tells what is left behind of both; `None` if it is not to be had here.
fn without_and_with<T>(
    method: Method,
    setup: &[Step],
    frames: &[(Name, Vec<u8>)],
    left: impl Fn(&After) -> T,
) -> Result<[T; 2], String> {
    pin_to_one_processor().unwrap();
    let mut bench = Bench::new([network().as_slice(), setup].concat()).unwrap();
    let with = bench.with(method).unwrap()?;
    let without = bench.network().to_vec();
    let after_with = bench.after(&with, frames).unwrap()?;
    let after_without = bench.after(&without, frames).unwrap()?;
    Ok([left(&after_without), left(&after_with)])
}

/// The same as a test: what is left must be so without the remedy, and so with it.
fn leaves<T: PartialEq + std::fmt::Debug + Send + Sync>(
    method: Method,
    setup: Vec<Step>,
    frames: Vec<(Name, Vec<u8>)>,
    left: impl Fn(&After) -> T + Send,
    wanted: [T; 2],
) {
    fresh(|| match without_and_with(method, &setup, &frames, left) {
        Ok(found) => assert_eq!(found, wanted),
        Err(why) => skip!("{why}"),
    });
}

fn bridge_option(keyword: &str, value: u32) -> Vec<Step> {
    let knob = BRIDGE_KNOBS.iter().find(|knob| knob.keyword == keyword).unwrap();
    vec![Step::BridgeOption { bridge: BRIDGE, knob, value }]
}

/// A frame to nobody's protocol.
fn plain(to: MacAddr, from: MacAddr) -> Vec<u8> {
    let payload = Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0; 46] };
    FrameBuilder::new(to, from).payload(&payload)
}

/// A guest's router advertisement in a frame for some group, and whether the host believes it on a device.
fn advertised(group: MacAddr, on: Name) -> (Vec<u8>, impl Fn(&After) -> bool) {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let advertisement = RouterAdvertisement { from: router, to: all_nodes, lifetime: 1800, prefix };
    let frame = FrameBuilder::new(group, guest_mac(0)).payload(&Payload::RouterAdvertisement(advertisement));
    let believed = move |after: &After| {
        let routes = after.netns.routes.known();
        let by_it = routes.iter().filter(|route| route.destination.addr() == prefix);
        by_it.flat_map(|route| &route.nexthops).any(|hop| hop.device == Some(index(on)))
    };
    (frame, believed)
}

#[test]
fn router_advertisements_are_not_believed() {
    let (frame, believed) = advertised(MacAddr([0x33, 0x33, 0, 0, 0, 1]), BRIDGE);
    leaves(Method::AcceptRaOff, Vec::new(), vec![(FROM, frame)], believed, [true, false]);
}

#[test]
fn the_next_port_believes_no_router_advertisements() {
    const NEXT: Name = PORTS[4];
    let next = [
        Step::Cable { near: NEXT, far: GUESTS[4] },
        Step::Master { device: NEXT, master: BRIDGE },
        Step::Up(GUESTS[4]),
        Step::Up(NEXT),
    ];
    let (frame, believed) = advertised(MacAddr::link_local(0x0e), NEXT);
    // Changes are made once everything is there, which is too late here: what it changes is there from the start.
    let told = Step::Sysctl { family: "ipv6", device: Some("default"), setting: "accept_ra", value: 0 };
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut bench = Bench::new(network()).unwrap();
        match bench.with(Method::AcceptRaDefault).unwrap() {
            Ok(with) => {
                let Some(Step::Change(change)) = with.last() else { panic!("no change at the end") };
                assert_eq!(change.to_string(), "net.ipv6.conf.default.accept_ra: 1 → 0");
            }
            Err(why) => skip!("{why}"),
        }
        let mut believes = |first: &[Step]| {
            let after = bench.after(&[first, &network(), &next].concat(), &[(NEXT, frame.clone())]);
            after.unwrap().map(|after| believed(&after))
        };
        assert_eq!([believes(&[]), believes(&[told])], [Ok(true), Ok(false)]);
    });
}

#[test]
fn link_local_frames_teach_nothing() {
    let frame = plain(MacAddr::link_local(0x0e), MacAddr([2, 0, 0, 0, 0x66, 1]));
    let learned = |after: &After| {
        after.netns.fdb.known().iter().any(|entry| entry.address == MacAddr([2, 0, 0, 0, 0x66, 1]))
    };
    leaves(Method::NoLinkLocalLearn, Vec::new(), vec![(FROM, frame)], learned, [true, false]);
}

#[test]
fn a_guest_does_not_fill_the_table() {
    const SOURCES: u16 = 1_200;
    let source = |number: u16| {
        let [high, low] = number.to_be_bytes();
        MacAddr([2, 0, 0, 0x66, high, low])
    };
    let frames = (0..SOURCES).map(|number| (FROM, plain(guest_mac(1), source(number)))).collect();
    let is_one = |address: MacAddr| address.0[..4] == source(0).0[..4];
    // 1,024 for all, and 16 for each of three guests.
    let is_over = move |after: &After| {
        let entries = after.netns.fdb.known().iter();
        entries.filter(|entry| is_one(entry.address)).count() > 1_024 + 3 * 16
    };
    leaves(Method::FdbMaxLearned, Vec::new(), frames, is_over, [true, false]);
}

fn bpdu() -> Vec<(Name, Vec<u8>)> {
    let builder = FrameBuilder::new(MacAddr::link_local(0), MacAddr([0, 0, 0, 0, 0, 1]));
    vec![(FROM, builder.payload(&Payload::Bpdu { priority: 0 }))]
}

#[test]
fn a_bpdu_costs_a_guest_its_port() {
    let is_off = |after: &After| {
        let port = after.netns.link(index(FROM)).and_then(|link| link.bridge_port()).unwrap();
        port.state == Some(PortState::Disabled)
    };
    leaves(Method::BpduGuard, bridge_option("stp_state", 1), bpdu(), is_off, [false, true]);
}

#[test]
fn a_guest_does_not_become_the_root() {
    let leads_to_root = |after: &After| {
        let link = after.netns.link(index(BRIDGE)).unwrap();
        link.bridge().unwrap().root_port != Some(0)
    };
    leaves(Method::RootBlock, bridge_option("stp_state", 1), bpdu(), leads_to_root, [true, false]);
}

#[test]
fn a_guest_does_not_pass_for_a_multicast_router() {
    let query = FrameBuilder::new(MacAddr([0x01, 0, 0x5e, 0, 0, 1]), guest_mac(0))
        .payload(&Payload::IgmpQuery { from: Ipv4Addr::new(198, 51, 100, 77) });
    let passes = |after: &After| {
        let mdb = after.netns.mdb.read().expect("this kernel tells of multicast groups");
        mdb.routers.iter().any(|router| router.port == index(FROM))
    };
    leaves(Method::McastRouterOff, Vec::new(), vec![(FROM, query)], passes, [true, false]);
}

#[test]
fn what_a_bridge_was_taught_it_does_not_flood() {
    let (one, other) = (MacAddr([2, 0, 0, 0, 0x66, 1]), MacAddr([2, 0, 0, 0, 0x66, 2]));
    let taught = plain(guest_mac(2), other);
    let to_it = plain(other, one);
    let frames = vec![(GUEST_PORTS[1], taught), (FROM, to_it.clone())];
    let overheard = move |after: &After| {
        let third = wire(GUEST_PORTS[2]);
        after.heard.iter().any(|(at, frame)| wire(at) == third && *frame == to_it)
    };
    leaves(Method::AgeingTime, bridge_option("ageing_time", 0), frames, overheard, [true, false]);
}
