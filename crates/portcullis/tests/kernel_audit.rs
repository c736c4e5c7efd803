//! The audit against the kernel it speaks of: a network is made and audited, and the witness of each finding is sent.
//! The kernel's own counters, its answers and its routes say whether it got where the finding says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use portcullis_audit::{AuditReport, Claim, Finding, Policy, audit};
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::{Netns, pin_to_one_processor};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{Captured, PacketSocket, Promiscuous};
use portcullis_kernel::{Change, sysctl};
use portcullis_prove::{Goal, HostProtocol, Verdict};
use portcullis_snapshot::{IfIndex, MacAddr, PortState, Snapshot, VlanId};

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 6, 1);
const PATIENCE: Duration = Duration::from_secs(60);

/// The first article's network: two guests on `br0`, which has no address, and a host that routes to `eth1`.
struct Network {
    route: Socket,
    /// The guests' ends of their cables, and the machine behind `eth1`.
    outside: Netns,
}

/// What came of sending a witness.
struct Sent {
    before: Counters,
    after: Counters,
    frame: Vec<u8>,
    /// What the sending guest and the other one received.
    received: [Vec<Captured>; 2],
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

impl Network {
    fn new() -> Self {
        // An address that is still being probed for duplicates does not answer; there is nobody else here.
        for of in ["all", "default"] {
            sysctl::write(&["ipv6", "conf", of, "accept_dad"], "0").unwrap();
        }
        let mut network =
            Self { route: Socket::open(Family::Route).unwrap(), outside: Netns::create().unwrap() };
        network.make(NewLink::new("br0", "bridge").address(mac(0x10)).create(|data| data));
        network.up("br0");
        for (at, name) in [(1, "g1"), (2, "g2"), (3, "eth1")] {
            let peer = format!("{name}x");
            let outside = network.outside.as_fd();
            NewLink::new(name, "veth")
                .address(mac(0x20 + at))
                .veth(&peer, mac(0x30 + at), Some(outside))
                .apply(&mut network.route)
                .unwrap();
            network
                .outside
                .run(|| {
                    let mut route = Socket::open(Family::Route).unwrap();
                    let index = link::index_of(&mut route, &peer).unwrap();
                    link::up(index).apply(&mut route).unwrap();
                })
                .unwrap();
        }
        let bridge = network.index("br0");
        for guest in ["g1", "g2"] {
            let index = network.index(guest);
            network.make(link::master(index, Some(bridge)));
            network.up(guest);
        }
        let eth1 = network.index("eth1");
        network.make(link::ip_address(eth1, [10, 1, 2, 3].into(), 24));
        network.up("eth1");
        for device in ["br0", "eth1"] {
            sysctl::write(&["ipv4", "conf", device, "forwarding"], "1").unwrap();
        }
        network.wait_until_the_ports_forward();
        network
    }

    fn make(&mut self, change: Change) {
        change.apply(&mut self.route).unwrap();
    }

    fn index(&mut self, name: &str) -> IfIndex {
        link::index_of(&mut self.route, name).unwrap()
    }

    fn up(&mut self, name: &str) {
        let index = self.index(name);
        self.make(link::up(index));
    }

    /// The kernel looks at carriers when it gets to it.
    fn wait_until_the_ports_forward(&self) {
        let start = std::time::Instant::now();
        let forwards = |snapshot: &Snapshot, name: &str| {
            let port = snapshot.namespaces[0].link_named(name).and_then(|link| link.bridge_port());
            port.unwrap().state == Some(PortState::Forwarding)
        };
        while !["g1", "g2"].iter().all(|name| forwards(&snapshot(), name)) {
            assert!(start.elapsed() < PATIENCE, "the ports never forward");
            std::thread::yield_now();
        }
    }

    /// Sends a frame as the guest behind `g1`, and waits until the kernel is done with it: a frame that is sent after it
    /// has arrived at the other guest.
    fn send(&self, frame: &[u8]) -> Sent {
        let before = Counters::read().unwrap();
        let received = self
            .outside
            .run(|| {
                let mut route = Socket::open(Family::Route).unwrap();
                let mut open = |name| {
                    let index = link::index_of(&mut route, name).unwrap();
                    PacketSocket::open(index, Promiscuous::Yes).unwrap()
                };
                let (mut one, mut other) = (open("g1x"), open("g2x"));
                // 0x88b5 is for local experiments.
                let marker = [&mac(0x32).0[..], &mac(0x31).0, &[0x88, 0xb5], &[0x50; 46]].concat();
                one.send(frame).unwrap();
                one.send(&marker).unwrap();
                let is_marker = |captured: &Captured| captured.bytes == marker;
                let arrived = other.wait_for(PATIENCE, is_marker).unwrap().expect("the marker never arrived");
                [one.drain().unwrap(), arrived]
            })
            .unwrap();
        Sent { before, after: Counters::read().unwrap(), frame: frame.to_vec(), received }
    }
}

impl Sent {
    fn counted(&self, counter: &str) -> bool {
        self.after.since(&self.before, counter) > 0
    }

    /// Whether the sender got an ARP reply.
    fn was_answered(&self) -> bool {
        self.received[0]
            .iter()
            .any(|got| got.bytes.get(12..14) == Some(&[8, 6]) && got.bytes.get(21) == Some(&2))
    }
}

fn snapshot() -> Snapshot {
    capture(&Request { scope: Scope::Current, taken_at: String::new(), version: String::new() }).unwrap()
}

fn run(policy: &str) -> AuditReport {
    audit(&snapshot(), &Policy::parse(policy).unwrap(), TODAY)
}

/// The finding of a rule on a port.
fn find<'r>(report: &'r AuditReport, rule: &str, port: &str) -> Option<&'r Finding> {
    let at = |finding: &&Finding| finding.port.as_ref().is_some_and(|device| &*device.name == port);
    report.findings.iter().filter(|finding| finding.rule.0 == rule).find(at)
}

/// Lets nothing in by `g1` but the frame that ends each sending, and what a rule accepts. Not every kernel has such chains.
fn let_into_g1(rule: &str) -> Result<(), String> {
    let (from, to) = (mac(0x31), mac(0x32));
    let marker = format!("ether saddr {from} ether daddr {to} @ll,96,16 0x88b5 accept");
    let chain = "type filter hook ingress device \"g1\" priority 0; policy drop;";
    let ruleset = format!("table netdev t {{\n chain in {{\n {chain}\n {rule}\n {marker}\n }}\n}}\n");
    let done = Command::new("nft").arg(&ruleset).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.success() {
        true => Ok(()),
        false if error.contains("not supported") || error.contains("No such file") => Err(error),
        false => panic!("{error}"),
    }
}

/// Runs a test in a namespace of its own.
fn fresh(test: impl FnOnce(Network) + Send) {
    portcullis_testnet::fresh(|| with_network(test));
}

/// The same where something can be proven.
fn where_all_is_read(test: impl FnOnce(Network) + Send) {
    portcullis_testnet::where_all_is_read(|| with_network(test));
}

fn with_network(test: impl FnOnce(Network)) {
    pin_to_one_processor().unwrap();
    test(Network::new());
}

#[test]
fn witnesses_get_where_findings_say() {
    fresh(|network| {
        type Evidence = fn(&Sent) -> bool;
        let report = run("[[bridge]]\nguest-to-guest = \"deny\"");
        let evidence: [(&str, Evidence); 8] = [
            ("host-arp", Sent::was_answered),
            ("arp-probe", Sent::was_answered),
            ("host-ipv4", |sent| sent.counted("Icmp.InEchos")),
            ("infra-address", |sent| sent.counted("Icmp.InEchos")),
            ("link-local-to-host", |sent| sent.counted("Icmp.InEchos")),
            ("host-ipv6", |sent| sent.counted("Icmp6InEchos")),
            ("host-forwards", |sent| sent.counted("Ip.ForwDatagrams")),
            ("guest-to-guest", |sent| sent.received[1].iter().any(|got| got.bytes == sent.frame)),
        ];
        for (rule, arrived) in evidence {
            let finding = find(&report, rule, "g1").unwrap_or_else(|| panic!("{rule} found nothing"));
            let witness = finding.witness.as_ref().unwrap();
            let sent = network.send(&witness.frame);
            assert!(arrived(&sent), "{rule}: {:02x?} did not get to {}", witness.frame, witness.reaches);
        }
    });
}

#[test]
fn a_believed_advertisement_leaves_a_default_route() {
    fresh(|network| {
        let report = run("");
        let believed: Vec<_> =
            report.findings.iter().filter(|f| f.rule.0 == "rogue-ra" && f.witness.is_some()).collect();
        assert!(!believed.is_empty());
        for device in ["br0", "g1"] {
            let on = |finding: &&&Finding| {
                finding.witness.as_ref().is_some_and(|witness| {
                    &*witness.port.name == "g1" && witness.reaches.ends_with(&format!("on {device}"))
                })
            };
            let finding = believed.iter().find(on).unwrap_or_else(|| panic!("nothing on {device}"));
            network.send(&finding.witness.as_ref().unwrap().frame);
            let netns = &snapshot().namespaces[0];
            let index = netns.link_named(device).unwrap().index;
            // 9 is RTPROT_RA.
            let learned = netns.routes.known().iter().any(|route| {
                route.destination.prefix_len() == 0
                    && route.protocol == 9
                    && route.nexthops.iter().any(|hop| hop.device == Some(index))
            });
            assert!(learned, "no default route on {device}");
        }
    });
}

#[test]
fn what_is_closed_is_found_closed_and_does_not_answer() {
    fresh(|network| {
        let before = run("");
        let witness = |rule| find(&before, rule, "g1").unwrap().witness.as_ref().unwrap().frame.clone();
        let (arp, probe) = (witness("host-arp"), witness("arp-probe"));
        // Closed first and open after: what the host answers leaves neighbour entries, which are a finding of their own.
        sysctl::write(&["ipv4", "conf", "br0", "arp_ignore"], "1").unwrap();
        let after = run("");
        for (rule, frame) in [("host-arp", &arp), ("arp-probe", &probe)] {
            assert!(find(&after, rule, "g1").is_none(), "{rule} is still found");
            assert!(!network.send(frame).was_answered(), "{rule}: the witness is still answered");
        }
        sysctl::write(&["ipv4", "conf", "br0", "arp_ignore"], "0").unwrap();
        assert!(network.send(&arp).was_answered() && network.send(&probe).was_answered());
        // And forwarding, by the setting that decides.
        let routed = witness("host-forwards");
        assert!(network.send(&routed).counted("Ip.ForwDatagrams"));
        sysctl::write(&["ipv4", "conf", "br0", "forwarding"], "0").unwrap();
        assert!(find(&run(""), "host-forwards", "g1").is_none());
        assert!(!network.send(&routed).counted("Ip.ForwDatagrams"));
    });
}

#[test]
fn the_well_known_recipe_leaves_link_local_frames() {
    fresh(|mut network| {
        let before = run("");
        let bridge = network.index("br0");
        // IFLA_BR_VLAN_FILTERING
        if let Err(error) = link::bridge_option(bridge, 7, &[1]).apply(&mut network.route) {
            println!("skipped, because {error}");
            return;
        }
        let witness = |report: &AuditReport, rule| {
            find(report, rule, "g1").map(|finding| finding.witness.as_ref().unwrap().frame.clone())
        };
        let unicast = witness(&before, "host-ipv4").unwrap();
        assert!(network.send(&unicast).counted("Icmp.InEchos"));
        network.make(link::vlan_del(bridge, VlanId::new(1).unwrap(), true));
        let after = run("");
        for rule in ["host-arp", "arp-probe", "host-ipv4", "host-ipv6", "infra-address", "host-forwards"] {
            assert!(find(&after, rule, "g1").is_none(), "{rule} is still found");
        }
        assert!(!network.send(&unicast).counted("Icmp.InEchos"));
        let link_local = witness(&after, "link-local-to-host").expect("link-local frames are not stopped");
        assert!(network.send(&link_local).counted("Icmp.InEchos"));
        assert!(after.findings.iter().any(|finding| finding.rule.0 == "ineffective-hardening"));
    });
}

#[test]
fn witnesses_of_proofs_get_through_where_no_probe_does() {
    where_all_is_read(|network| {
        let before = run("");
        let plain =
            find(&before, "link-local-to-host", "g1").unwrap().witness.as_ref().unwrap().frame.clone();
        assert!(network.send(&plain).counted("Icmp.InEchos"));
        // None of the probes carries a tag.
        if let Err(error) = let_into_g1("@ll,96,16 0x8100 accept") {
            println!("skipped, because {error}");
            return;
        }
        assert!(!network.send(&plain).counted("Icmp.InEchos"));
        let after = run("[[bridge]]\nguest-to-guest = \"deny\"");
        let witness = |rule| {
            let finding = find(&after, rule, "g1").unwrap_or_else(|| panic!("{rule} found nothing"));
            assert!(finding.is_proven(), "{rule}: {:?}", finding.unproven);
            finding.witness.as_ref().unwrap().frame.clone()
        };
        let sent = network.send(&witness("guest-to-guest"));
        assert!(
            sent.received[1].iter().any(|got| got.bytes == sent.frame),
            "{:02x?} did not leave by g2",
            sent.frame
        );
        let sent = network.send(&witness("link-local-to-host"));
        assert_eq!(sent.frame[12..14], [0x81, 0], "{:02x?}", sent.frame);
        let counters = ["Ip.InReceives", "Ip6InReceives"];
        assert!(
            sent.was_answered() || counters.iter().any(|counter| sent.counted(counter)),
            "{:02x?} did not get to the host",
            sent.frame
        );
    });
}

#[test]
fn witnesses_of_claims_get_through_and_what_is_isolated_does_not() {
    where_all_is_read(|network| {
        let report = run("");
        let of_g1 = |report: &AuditReport, goal| {
            let about = |claim: &&Claim| &*claim.from[0].name == "g1" && claim.proof.goal == goal;
            report.claims.iter().find(about).unwrap().proof.verdict.clone()
        };
        let of_host = |report: &AuditReport, protocol| of_g1(report, Goal::Host(protocol));
        let witness = |protocol| match of_host(&report, protocol) {
            Verdict::Exposed(exposure) => exposure.frame.to_vec(),
            other => panic!("{protocol:?}: {other:?}"),
        };
        let witnesses =
            [("Ip.InReceives", witness(HostProtocol::Ipv4)), ("Ip6InReceives", witness(HostProtocol::Ipv6))];
        for (counter, frame) in &witnesses {
            assert!(network.send(frame).counted(counter), "{counter}: {frame:02x?}");
        }
        if let Err(error) = let_into_g1("") {
            println!("skipped, because {error}");
            return;
        }
        let closed = run("");
        for protocol in HostProtocol::ALL {
            assert_eq!(of_host(&closed, protocol), Verdict::Isolated, "{protocol:?}");
        }
        // Not by what is counted of IPv6: the other guest sends some at any time.
        let [(counter, frame), _] = &witnesses;
        assert!(!network.send(frame).counted(counter), "{counter}: {frame:02x?}");
        assert!(find(&closed, "link-local-to-host", "g1").is_none());
    });
}
