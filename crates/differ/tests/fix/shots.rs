//! The network that remedies are tried in, and a frame for each.

#![allow(dead_code, reason = "not each of the tests that share this uses all of it")]

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::fixes::Bench;
use portcullis_differ::generate::guest_mac;
use portcullis_differ::knobs::BRIDGE_KNOBS;
use portcullis_differ::methods::{GUEST_PORTS, network};
use portcullis_differ::names::{BRIDGE, BRIDGE_MACVLANS, index, mac};
use portcullis_differ::proofs::{Account, Search};
use portcullis_differ::step::Step;
use portcullis_plan::Method;
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{EtherType, LinkFlags, MacAddr};

pub(crate) const SEARCH: Search = Search { frames: 300, neighbours: 1, most_ways: 20_000 };

/// What nobody may reach on a bridge that is only a switch.
pub(crate) fn host() -> Vec<Goal> {
    HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]).collect()
}

/// Fails if the kernel does otherwise than a verdict says.
pub(crate) fn agreed(account: &Account) {
    let wrong: Vec<_> = account.wrong.iter().flat_map(|wrong| wrong.lines()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refused(account), None);
}

/// What the kernel refused first. Without br_netfilter, what of the network turns that off is no matter.
pub(crate) fn refused(account: &Account) -> Option<&str> {
    let network = network();
    let no_matter =
        |at: usize| matches!(network.get(at), Some(Step::Sysctl { family: "bridge", device: None, .. }));
    account.refused.iter().find(|(at, _)| !no_matter(*at)).map(|(_, why)| why.as_str())
}

/// The second article's network: another product's bridge has taken the bridge device as its uplink, and hears everything.
pub(crate) fn with_foreign_bridge() -> Vec<Step> {
    let hears = Step::Flag { device: BRIDGE, flag: LinkFlags::PROMISC };
    network().into_iter().chain([hears]).collect()
}

/// Sends, for each of some remedies, a frame that got through before: it must not with the remedy.
pub(crate) fn each_stops_its_frame(network: &[Step], methods: impl IntoIterator<Item = Method>) -> usize {
    let mut usual = Bench::new(network.to_vec()).unwrap();
    let mut asked = 0;
    for method in methods {
        let Some(Shot { setup, goal, frame }) = shot(method) else { continue };
        let mut own = None;
        let bench = match setup.is_empty() {
            true => &mut usual,
            false => own.insert(Bench::new([network, &setup].concat()).unwrap()),
        };
        let with = match bench.with(method).unwrap() {
            Ok(with) => with,
            Err(why) => {
                println!("{method}: not here: {why}");
                continue;
            }
        };
        let before = bench.network().to_vec();
        match bench.gets_there(&with, goal, &frame).unwrap() {
            Ok(arrives) => assert!(!arrives, "{method}: it gets through still"),
            Err(why) => {
                println!("{method}: not here: {why}");
                continue;
            }
        }
        let arrived = bench.gets_there(&before, goal, &frame).unwrap();
        assert_eq!(arrived, Ok(true), "{method}: it did not get through before");
        asked += 1;
    }
    asked
}

/// A frame that gets somewhere, and what has to be there for it.
pub(crate) struct Shot {
    pub(crate) setup: Vec<Step>,
    pub(crate) goal: Goal,
    pub(crate) frame: Vec<u8>,
}

/// A frame that a remedy is to stop; `None` for those whose effect is not on one frame's way, but on what it leaves behind:
/// those are in `kernel_effects`.
pub(crate) fn shot(method: Method) -> Option<Shot> {
    use Method::{
        AcceptRaDefault, AcceptRaOff, AgeingTime, AntiSpoof, ArpIgnore, ArpInput, ArpOff, BpduGuard,
        BpfOnBridge, BridgeInput, DhcpRaGuard, DisableIpv6, DropLinkLocal, DropOnBridge, DropTags,
        DropUnicastInL2Multicast, FdbMaxLearned, FloodOff, ForeignEntries, ForwardLinkLocal, ForwardingOff,
        GroupFwdMaskOff, Ip6Fib, Ip6Prerouting, Ip6Rule, IpRule, Isolate, LearningOff, LockPorts,
        McastRouterOff, NoLinkLocalLearn, RawPrerouting, RootBlock, RpFilter, TcLinkLocal, TcOnBridge,
        VlanFiltering,
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
        ForwardLinkLocal => {
            // Where it gets to then, ARP is off.
            let setup = vec![Step::Flag { device: BRIDGE, flag: LinkFlags::NOARP }];
            return Some(Shot { setup, goal: host_arp, frame: to(MacAddr::link_local(0x0e), &arp) });
        }
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
        GroupFwdMaskOff => {
            let knob = BRIDGE_KNOBS.iter().find(|knob| knob.keyword == "group_fwd_mask").unwrap();
            let setup = vec![Step::BridgeOption { bridge: BRIDGE, knob, value: 1 << 0x0e }];
            return Some(Shot {
                setup,
                goal: Goal::Port(other_port),
                frame: to(MacAddr::link_local(0x0e), &arp),
            });
        }
        AcceptRaDefault | AcceptRaOff | AgeingTime | BpduGuard | FdbMaxLearned | McastRouterOff
        | NoLinkLocalLearn | RootBlock => {
            return None;
        }
    };
    Some(Shot { setup: Vec::new(), goal, frame })
}
