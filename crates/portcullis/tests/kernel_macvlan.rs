//! The host on the lower device of a macvlan, before and after what `audit` says to type: the host no longer takes in what
//! comes by that protocol, and the guest still gets its own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_audit::{Policy, Remedy, audit};
use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{Concrete, FrameBuilder, Payload, Trace, walk};
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::{Netns, pin_to_one_processor};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{Captured, PacketSocket, Promiscuous};
use portcullis_kernel::sysctl;
use portcullis_snapshot::{Behind, EtherType, MacAddr, ProcessRef, Reading, Snapshot};
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

/// Everything, as where nothing is in the way.
const ALL: Taken = Taken { arp: true, ipv4: true, ipv6: true };

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
        let mut network = Self { wire, guest, remedies, _outside: outside };
        // The kernel looks at carriers, and lets addresses be used, when it gets to it.
        let start = Instant::now();
        while network.send() != ALL {
            assert!(start.elapsed() < PATIENCE, "the host never answers");
            std::thread::yield_now();
        }
        network
    }

    /// Waits until the kernel is done with what was sent: the guest gets what is sent after that.
    fn settle(&mut self) {
        let payload = Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0; 46] };
        let to_guest = FrameBuilder::new(GUEST, WIRE).payload(&payload);
        self.wire.send(&to_guest).unwrap();
        let is_it = |captured: &Captured| captured.bytes == to_guest;
        self.guest.wait_for(PATIENCE, is_it).unwrap().expect("the guest gets nothing any more");
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
        self.settle();
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

fn snapshot() -> Snapshot {
    capture(&Request { scope: Scope::Current, taken_at: String::new(), version: String::new() }).unwrap()
}

fn remedies() -> Vec<Arc<Remedy>> {
    let report = audit(&snapshot(), &Policy::default(), jiff::civil::date(2026, 6, 1));
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

/// The program, asked to close the device; then to open it again.
#[test]
fn fix_closes_the_device_as_a_whole_and_rollback_opens_it() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut network = Network::new();
        let files = tempfile::TempDir::new().unwrap();
        let run = |command: &str, arguments: &[&str]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
            program.arg(command).args(arguments).arg("--state-dir").arg(files.path());
            let done = program.output().unwrap();
            let said = [done.stdout, done.stderr].concat();
            (done.status.code(), String::from_utf8_lossy(&said).into_owned())
        };
        let (status, said) = run("fix", &["--bridge", "eth0", "--yes", "--confirm", "0"]);
        // Where the kernel knows 802.2, that stays open: no rule of these families sees it.
        assert!(matches!(status, Some(0 | 1)), "{said}");
        assert!(
            said.contains("the host's ARP, the host's IPv4, the host's IPv6, what is behind the host"),
            "{said}"
        );
        assert!(said.contains("the wire reaching the host by ARP, IPv4, IPv6"), "{said}");
        assert_eq!(network.send(), Taken { arp: false, ipv4: false, ipv6: false }, "{said}");
        let (status, said) = run("rollback", &["--yes"]);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(network.send(), ALL, "{said}");
        // What belongs to bridges is refused, and nothing is done.
        let (status, said) =
            run("fix", &["--bridge", "eth0", "--yes", "--confirm", "0", "--method", "drop-on-bridge"]);
        assert_ne!(status, Some(0), "{said}");
        assert!(said.contains("it is for bridges"), "{said}");
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

/// Opens a macvtap of the calling thread's namespace, whose sysfs alone tells its number.
fn open_macvtap(name: &str, directory: &Path) -> Result<File, String> {
    let read = format!("mount -t sysfs none /sys && cat /sys/class/net/{name}/macvtap/*/dev");
    let told = Command::new("unshare").args(["-m", "sh", "-c", &read]).output();
    let told = told.map_err(|error| format!("unshare cannot be run: {error}"))?;
    let number = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    let (major, minor) = number.split_once(':').ok_or_else(|| {
        format!("sysfs cannot be mounted: {}", String::from_utf8_lossy(&told.stderr).trim())
    })?;
    let node = directory.join("macvtap");
    let made = Command::new("mknod").arg(&node).args(["c", major, minor]).output();
    let made = made.map_err(|error| format!("mknod cannot be run: {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
    }
    OpenOptions::new().read(true).write(true).open(&node).map_err(|error| error.to_string())
}

/// Whose address the host has on the macvtap: it gets what is for that, until somebody opens the macvtap.
#[test]
fn who_opens_a_macvtap_takes_its_frames_from_the_host() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut network = Network::new();
        let mut route = Socket::open(Family::Route).unwrap();
        let eth0 = link::index_of(&mut route, "eth0").unwrap();
        let (tap, own) = (MacAddr([2, 0, 0, 0, 0, 4]), Ipv4Addr::new(198, 51, 100, 1));
        let made = NewLink::new("mt0", "macvtap").address(tap).on(eth0).macvlan(MACVLAN_MODE_BRIDGE);
        if let Err(error) = made.apply(&mut route) {
            skip!("{error}");
        }
        let mt0 = link::index_of(&mut route, "mt0").unwrap();
        link::ip_address(mt0, own.into(), 24).apply(&mut route).unwrap();
        link::up(mt0).apply(&mut route).unwrap();
        let ping = Payload::Ping4 { from: Ipv4Addr::new(198, 51, 100, 9), to: own };
        let frame = FrameBuilder::new(tap, WIRE).payload(&ping);
        // What the kernel does, and what the walk says: whether the host gets it, and whether that is open.
        let mut asked = |held: bool| {
            let before = Counters::read().unwrap();
            network.wire.send(&frame).unwrap();
            network.settle();
            let taken = Counters::read().unwrap().since(&before, "Icmp.InEchos") > 0;
            let mut snapshot = snapshot();
            if held {
                // Who has opened `/dev/tapN` is read from /proc, by that path; no test makes such files.
                let Reading::Read(links) = &mut snapshot.namespaces[0].links else { panic!() };
                let process = ProcessRef { pid: std::process::id(), name: "test".to_owned() };
                let behind = Behind { guest: None, processes: vec![process] };
                links.iter_mut().find(|link| link.index == mt0).unwrap().behind = Some(behind);
            }
            let walked = walk(
                &portcullis_datapath::Network::new(&snapshot, snapshot.namespaces[0].id).unwrap(),
                eth0,
                &mut Concrete::new(&frame).unwrap(),
                Trace::Off,
            );
            (taken, walked.host().map(|delivery| delivery.assumes.is_empty()).collect::<Vec<_>>())
        };
        assert_eq!(asked(false), (true, vec![false]));
        let files = tempfile::TempDir::new().unwrap();
        let held = match open_macvtap("mt0", files.path()) {
            Ok(held) => held,
            Err(why) => skip!("a macvtap cannot be opened here: {why}"),
        };
        assert_eq!(asked(true), (false, Vec::new()));
        drop(held);
        assert_eq!(asked(false), (true, vec![false]));
    });
}
