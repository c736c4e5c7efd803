//! What `portcullis fix` plans for the first article's network, put to the kernel: frames of every sort that got through
//! before are sent, and must not get through after; guests still reach what they are to reach; what is undone is as it was.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::fixes::Bench;
use portcullis_differ::generate::guest_mac;
use portcullis_differ::methods::{GUEST_PORTS, PUBLIC, network};
use portcullis_differ::names::{BRIDGE, BRIDGE_MACVLANS, index, mac};
use portcullis_differ::proofs::{Account, Judge, Kernel, Search};
use portcullis_differ::step::Step;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_plan::Method;
use portcullis_prove::{Goal, HostProtocol, Verdict};
use portcullis_snapshot::{EtherType, FdbKind, LinkFlags, MacAddr, Netns, Reading};
use portcullis_testnet::{fresh, skip};

const SEARCH: Search = Search { frames: 300, neighbours: 1, most_ways: 20_000 };

/// What nobody may reach on a bridge that is only a switch.
fn host() -> Vec<Goal> {
    HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]).collect()
}

/// Fails if the kernel does otherwise than a verdict says.
fn agreed(account: &Account) {
    let wrong: Vec<_> = account.wrong.iter().flat_map(|wrong| wrong.lines()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refused(account), None);
}

/// What the kernel refused first. Without br_netfilter, what of the network turns that off is no matter.
fn refused(account: &Account) -> Option<&str> {
    let network = network();
    let no_matter =
        |at: usize| matches!(network.get(at), Some(Step::Sysctl { family: "bridge", device: None, .. }));
    account.refused.iter().find(|(at, _)| !no_matter(*at)).map(|(_, why)| why.as_str())
}

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
fn each_remedy_does_what_is_proven_of_it() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let bench = Bench::new(network()).unwrap();
        let mut judge = Judge::new(Search { frames: 100, neighbours: 0, ..SEARCH });
        for method in Method::ALL {
            let tried = match bench.planned(false, &[method]).unwrap() {
                Ok(tried) => tried,
                Err(why) => {
                    println!("{method}: not here: {why}");
                    continue;
                }
            };
            // What it is for, and that the network is reached still; a few claims, for proofs take their time where a processor
            // is emulated.
            let aim = shot(method).map_or(Goal::Infrastructure, |shot| shot.goal);
            let account = judge.claims(&tried.steps, Some(vec![aim, Goal::Port(index(PUBLIC))]), 1).unwrap();
            if let Some(why) = refused(&account) {
                println!("{method}: not here: {why}");
                continue;
            }
            agreed(&account);
            let verdicts: Vec<_> = account.claims.iter().map(|claim| claim.verdict.name()).collect();
            println!("{method}: {}", verdicts.join(" "));
        }
    });
}

/// A frame that gets somewhere, and what has to be there for it.
struct Shot {
    setup: Vec<Step>,
    goal: Goal,
    frame: Vec<u8>,
}

/// A frame that a remedy is to stop; `None` for those whose effect is not on one frame's way: whether advertisements are
/// believed (`kernel_audit` sends one), spanning trees, where a router is thought to be, how long an address is known.
fn shot(method: Method) -> Option<Shot> {
    use Method::{
        AcceptRaOff, AgeingTime, AntiSpoof, ArpIgnore, ArpInput, ArpOff, BpduGuard, BpfOnBridge, BridgeInput,
        DhcpRaGuard, DisableIpv6, DropLinkLocal, DropOnBridge, DropTags, DropUnicastInL2Multicast,
        FdbMaxLearned, FloodOff, ForeignEntries, ForwardingOff, GroupFwdMaskOff, Ip6Fib, Ip6Prerouting,
        Ip6Rule, IpRule, Isolate, LearningOff, LockPorts, McastRouterOff, NoLinkLocalLearn, RawPrerouting,
        RootBlock, RpFilter, TcLinkLocal, TcOnBridge, VlanFiltering,
    };
    let (guest, other) = (guest_mac(0), guest_mac(1));
    let bridge = mac(BRIDGE);
    let (own, stranger, behind) =
        (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(198, 51, 100, 10));
    let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last);
    let (operation, data, ports) = (ArpOperation::Request, Vec::new(), (40_000, 9));
    let arp = Payload::Arp { operation, sender_mac: guest, sender_ip: stranger, target_ip: own };
    let ipv4 = |to| Payload::Udp4 { from: stranger, to, ports, data: data.clone() };
    let ipv6 = Payload::Udp6 { from: v6(0x77), to: v6(1), ports, data: data.clone() };
    let to = |dst, payload: &Payload| FrameBuilder::new(dst, guest).payload(payload);
    let [host_arp, host_ipv4, host_ipv6] =
        [HostProtocol::Arp, HostProtocol::Ipv4, HostProtocol::Ipv6].map(Goal::Host);
    let other_port = index(GUEST_PORTS[1]);
    let (goal, frame) = match method {
        VlanFiltering | DropOnBridge | TcOnBridge | BpfOnBridge | BridgeInput | ArpOff | ArpInput
        | ArpIgnore => (host_arp, to(MacAddr::BROADCAST, &arp)),
        DropLinkLocal | TcLinkLocal => (host_arp, to(MacAddr::link_local(0x0e), &arp)),
        RawPrerouting | IpRule | RpFilter => (host_ipv4, to(bridge, &ipv4(own))),
        DropUnicastInL2Multicast => (host_ipv4, to(MacAddr::BROADCAST, &ipv4(own))),
        DisableIpv6 | Ip6Prerouting | Ip6Rule | Ip6Fib => (host_ipv6, to(bridge, &ipv6)),
        ForwardingOff => (Goal::Infrastructure, to(bridge, &ipv4(behind))),
        Isolate => (Goal::Port(other_port), to(MacAddr::BROADCAST, &arp)),
        DropTags => {
            let tagged = FrameBuilder::new(MacAddr::BROADCAST, guest).tag(EtherType::VLAN, 5);
            (Goal::Port(other_port), tagged.payload(&arp))
        }
        DhcpRaGuard => {
            let to_client = (67, 68);
            let offer = Payload::Udp4 { from: stranger, to: Ipv4Addr::BROADCAST, ports: to_client, data };
            (Goal::Port(other_port), to(MacAddr::BROADCAST, &offer))
        }
        LockPorts | LearningOff | AntiSpoof => {
            (Goal::Spoof { of: other_port }, FrameBuilder::new(MacAddr::BROADCAST, other).payload(&arp))
        }
        FloodOff => {
            let nobody = MacAddr([2, 0, 0, 0, 0x20, 0x7f]);
            (Goal::Sniff { from: other_port }, FrameBuilder::new(nobody, other).payload(&ipv4(behind)))
        }
        ForeignEntries => {
            // Another product's guest, above the bridge device.
            let name = BRIDGE_MACVLANS[0];
            let setup = vec![Step::Macvlan { name, lower: BRIDGE, mode: 4 }, Step::Up(name)];
            let frame = FrameBuilder::new(mac(name), other).payload(&ipv4(behind));
            return Some(Shot { setup, goal: Goal::Sniff { from: other_port }, frame });
        }
        AcceptRaOff | AgeingTime | BpduGuard | FdbMaxLearned | GroupFwdMaskOff | McastRouterOff
        | NoLinkLocalLearn | RootBlock => return None,
    };
    Some(Shot { setup: Vec::new(), goal, frame })
}

#[test]
fn each_remedy_stops_a_frame_that_got_through() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut usual = Bench::new(network()).unwrap();
        for method in Method::ALL {
            let Some(Shot { setup, goal, frame }) = shot(method) else { continue };
            let mut own = None;
            let bench = match setup.is_empty() {
                true => &mut usual,
                false => own.insert(Bench::new([network(), setup].concat()).unwrap()),
            };
            let tried = match bench.tried(false, &[method]).unwrap() {
                Ok(tried) => tried,
                Err(why) => {
                    println!("{method}: not here: {why}");
                    continue;
                }
            };
            let before = bench.network().to_vec();
            let mut gets_there = |steps: &[Step]| bench.gets_there(steps, goal, &frame).unwrap();
            assert!(gets_there(&before), "{method}: it did not get through before");
            assert!(!gets_there(&tried.steps), "{method}: it gets through still");
        }
    });
}

/// What is compared: everything that a change can be about. What the kernel learns, counts and numbers by itself is not.
fn settled(mut netns: Netns) -> Netns {
    if let Reading::Read(entries) = &mut netns.fdb {
        entries.retain(|entry| entry.kind() != FdbKind::Dynamic);
        for entry in entries.iter_mut() {
            (entry.used, entry.updated) = (None, None);
        }
        entries.sort_by_key(|entry| (entry.device, entry.address, entry.vlan, entry.flags));
    }
    if let Reading::Read(links) = &mut netns.links {
        for link in links {
            link.unknown.clear();
            if let Some(flags) = &mut link.sysfs_flags {
                flags.0 &= !LinkFlags::RUNNING;
            }
            match (&mut link.kind, &mut link.port) {
                (portcullis_snapshot::LinkKind::Bridge(options), _) => {
                    options.unknown.clear();
                    options.fdb_n_learned = None;
                }
                (_, Some(portcullis_snapshot::PortKind::Bridge(options))) => options.unknown.clear(),
                _ => {}
            }
        }
    }
    netns.neighbours = Reading::default();
    netns.listeners = Reading::default();
    netns.packet_sockets = Reading::default();
    netns
}

#[test]
fn each_remedy_is_undone_without_a_trace() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut bench = Bench::new(network()).unwrap();
        let planned = |method| Some((method, bench.planned(false, &[method]).unwrap().ok()?.plan.changes));
        let (methods, changes): (Vec<_>, Vec<_>) = Method::ALL.into_iter().filter_map(planned).unzip();
        let mut done = 0;
        for (method, passed) in methods.into_iter().zip(bench.made_and_taken_back(&changes).unwrap()) {
            let [before, with, after] = [passed.before, passed.with, passed.after].map(settled);
            if before != after {
                let (one, other) = (format!("{before:#?}"), format!("{after:#?}"));
                let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
                panic!("{method} left something: {differing:?}");
            }
            match passed.refused {
                Some(why) => println!("{method}: not here: {why}"),
                None => {
                    assert_ne!(before, with, "{method} changed nothing");
                    done += 1;
                }
            }
        }
        if done == 0 {
            skip!("this kernel takes no remedy at all");
        }
        println!("{done} remedies made and undone");
    });
}
