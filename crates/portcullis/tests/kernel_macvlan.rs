//! The host on the lower device of a macvlan, before and after what `audit` says to type: the host no longer takes in what
//! comes by that protocol, and the guest still gets its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use portcullis_audit::{Policy, Remedy, audit};
use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::{Netns, pin_to_one_processor};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{Captured, PacketSocket, Promiscuous};
use portcullis_kernel::sysctl;
use portcullis_snapshot::{EtherType, MacAddr};
use portcullis_testnet::{fresh, skip};

const PATIENCE: Duration = Duration::from_secs(60);
const MACVLAN_MODE_BRIDGE: u32 = 4;
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ETH0: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const WIRE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// `eth0` of the host, a machine at its other end, and a guest on a macvlan.
struct Network {
    wire: PacketSocket,
    guest: PacketSocket,
    /// What `audit` says to type.
    remedies: Vec<Arc<Remedy>>,
    /// Where both are.
    _outside: Netns,
}

/// What the host took in.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    arp: bool,
    ipv4: bool,
    ipv6: bool,
}

impl Network {
    fn new() -> Self {
        sysctl::write(&["ipv6", "conf", "default", "accept_dad"], "0").unwrap();
        let mut route = Socket::open(Family::Route).unwrap();
        let outside = Netns::create().unwrap();
        let cable = NewLink::new("eth0", "veth").address(ETH0).veth("wire", WIRE, Some(outside.as_fd()));
        cable.apply(&mut route).unwrap();
        let eth0 = link::index_of(&mut route, "eth0").unwrap();
        let macvlan = NewLink::new("mv0", "macvlan").address(GUEST).on(eth0).macvlan(MACVLAN_MODE_BRIDGE);
        macvlan.apply(&mut route).unwrap();
        let addresses = [link::ip_address(eth0, HOST.into(), 24), link::ip_address(eth0, HOST6.into(), 64)];
        for change in addresses.into_iter().chain([link::up(eth0)]) {
            change.apply(&mut route).unwrap();
        }
        // The audit of one namespace sees no macvlan that is elsewhere.
        let remedies = remedies();
        let mv0 = link::index_of(&mut route, "mv0").unwrap();
        link::move_to(mv0, outside.as_fd()).apply(&mut route).unwrap();
        let [wire, guest] = outside
            .run(|| {
                let mut route = Socket::open(Family::Route).unwrap();
                ["wire", "mv0"].map(|name| {
                    // Neither speaks for itself.
                    sysctl::write(&["ipv6", "conf", name, "disable_ipv6"], "1").unwrap();
                    let index = link::index_of(&mut route, name).unwrap();
                    link::up(index).apply(&mut route).unwrap();
                    PacketSocket::open(index, Promiscuous::No).unwrap()
                })
            })
            .unwrap();
        Self { wire, guest, remedies, _outside: outside }
    }

    /// Sends from the wire what the host takes in, unless something is in the way. The guest must get what is sent after that,
    /// which shows that the kernel is done with all of it.
    fn send(&mut self) -> Taken {
        let before = Counters::read().unwrap();
        let from = Ipv4Addr::new(192, 0, 2, 9);
        let (operation, target_ip) = (ArpOperation::Request, HOST);
        let arp = Payload::Arp { operation, sender_mac: WIRE, sender_ip: from, target_ip };
        let ping6 = Payload::Ping6 { from: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9), to: HOST6 };
        self.wire.drain().unwrap();
        self.wire.send(&FrameBuilder::new(MacAddr::BROADCAST, WIRE).payload(&arp)).unwrap();
        self.wire.send(&FrameBuilder::new(ETH0, WIRE).payload(&Payload::Ping4 { from, to: HOST })).unwrap();
        self.wire.send(&FrameBuilder::new(ETH0, WIRE).payload(&ping6)).unwrap();
        let to_guest = FrameBuilder::new(GUEST, WIRE).payload(&arp);
        self.wire.send(&to_guest).unwrap();
        let is_it = |captured: &Captured| captured.bytes == to_guest;
        self.guest.wait_for(PATIENCE, is_it).unwrap().expect("the guest gets nothing any more");
        let after = Counters::read().unwrap();
        let is_reply =
            |got: &Captured| got.bytes.get(12..14) == Some(&[8, 6]) && got.bytes.get(21) == Some(&2);
        Taken {
            arp: self.wire.drain().unwrap().iter().any(is_reply),
            ipv4: after.since(&before, "Icmp.InEchos") > 0,
            ipv6: after.since(&before, "Icmp6InEchos") > 0,
        }
    }
}

fn remedies() -> Vec<Arc<Remedy>> {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    let report = audit(&capture(&request).unwrap(), &Policy::default(), jiff::civil::date(2026, 6, 1));
    let about = |rule: &str| rule == "macvlan-host-exposure";
    let finding =
        report.findings.into_iter().find(|finding| about(finding.rule.0)).expect("nothing is found");
    finding.remedies.to_vec()
}

/// Types what a remedy says, which is all for `nft`.
fn typed(remedy: &Remedy) -> Result<(), String> {
    for command in &remedy.commands {
        let words = command.strip_prefix("nft ").unwrap().trim_matches('\'');
        nft(words)?;
    }
    Ok(())
}

fn nft(words: &str) -> Result<(), String> {
    let done =
        Command::new("nft").arg(words).output().map_err(|error| format!("nft cannot be run: {error}"))?;
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.success() {
        true => Ok(()),
        false if error.contains("not supported") || error.contains("No such file") => Err(error),
        false => panic!("{words}: {error}"),
    }
}

#[test]
fn each_protocol_is_closed_for_itself_and_the_guest_keeps_its_frames() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut network = Network::new();
        assert_eq!(network.send(), Taken { arp: true, ipv4: true, ipv6: true });
        let mut closed = Taken { arp: false, ipv4: false, ipv6: false };
        for remedy in network.remedies.clone().iter().filter(|remedy| !remedy.commands.is_empty()) {
            if let Err(why) = typed(remedy) {
                println!("{}: not here: {}", remedy.method, why.trim());
                continue;
            }
            match remedy.method {
                "arp-input" => closed.arp = true,
                "raw-prerouting" => closed.ipv4 = true,
                "ip6-prerouting" => closed.ipv6 = true,
                other => panic!("{other} is not known here"),
            }
            let left = Taken { arp: !closed.arp, ipv4: !closed.ipv4, ipv6: !closed.ipv6 };
            assert_eq!(network.send(), left, "{}", remedy.method);
        }
        if !(closed.arp || closed.ipv4 || closed.ipv6) {
            skip!("this kernel takes none of them");
        }
    });
}

/// Why nothing at the device's ingress is said to be a remedy.
#[test]
fn what_drops_at_the_lower_device_cuts_the_guest_off() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut network = Network::new();
        let chain = "type filter hook ingress device \"eth0\" priority -500; policy drop;";
        if let Err(why) = nft(&format!("table netdev portcullis {{\n chain up {{\n {chain}\n }}\n}}\n")) {
            skip!("this kernel has no such chains: {why}");
        }
        let to_guest = |number: u8| {
            let payload = Payload::Raw { ethertype: EtherType(0x88b5), data: vec![number; 46] };
            FrameBuilder::new(GUEST, WIRE).payload(&payload)
        };
        network.wire.send(&to_guest(1)).unwrap();
        nft("delete table netdev portcullis").unwrap();
        network.wire.send(&to_guest(2)).unwrap();
        let second = to_guest(2);
        let heard = network.guest.wait_for(PATIENCE, |captured| captured.bytes == second).unwrap();
        let heard = heard.expect("it is not cut off by the chain alone");
        assert!(heard.iter().all(|captured| captured.bytes != to_guest(1)));
    });
}
