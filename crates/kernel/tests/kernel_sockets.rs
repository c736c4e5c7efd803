//! Sockets, processes and who is behind an interface, as a snapshot tells them, against sockets and processes of this
//! test's own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::socket::sockopt::{BindToDevice, Ipv6V6Only};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket,
};
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{PacketSocket, Promiscuous};
use portcullis_kernel::tap::Tap;
use portcullis_snapshot::{
    EtherType, GuestKind, IfIndex, ListenProtocol, Listener, MacAddr, Netns as Captured, ProcessRef, Snapshot,
};

fn fresh(test: impl FnOnce() + Send) {
    portcullis_testnet::fresh(test);
}

fn snapshot() -> Snapshot {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    capture(&request).unwrap()
}

fn netns() -> Captured {
    snapshot().namespaces.remove(0)
}

/// A veth pair that is up; the first end has an address, so that IPv4 works there.
fn veth() -> (IfIndex, IfIndex) {
    let mut route = Socket::open(Family::Route).unwrap();
    let new = NewLink::new("v0", "veth").address(MacAddr([2, 0, 0, 0, 0, 1]));
    new.veth("w0", MacAddr([2, 0, 0, 0, 0, 2]), None).apply(&mut route).unwrap();
    let ends = ["v0", "w0"].map(|name| link::index_of(&mut route, name).unwrap());
    for end in ends {
        link::up(end).apply(&mut route).unwrap();
    }
    link::ip_address(ends[0], "192.0.2.1".parse().unwrap(), 24).apply(&mut route).unwrap();
    (ends[0], ends[1])
}

fn is_ours(processes: &[ProcessRef]) -> bool {
    processes.iter().any(|process| process.pid == std::process::id() && !process.name.is_empty())
}

/// What matters of the listeners of a port.
fn on_port(netns: &Captured, port: u16) -> Vec<(ListenProtocol, String, Option<bool>)> {
    let listeners = netns.listeners.read().expect("listeners need no privilege");
    let here: Vec<&Listener> = listeners.iter().filter(|listener| listener.port == port).collect();
    assert!(here.iter().all(|listener| is_ours(&listener.processes)), "{here:#?}");
    here.iter().map(|l| (l.protocol, l.address.to_string(), l.v6only)).collect()
}

#[test]
fn listeners_of_every_sort_are_found_with_their_process() {
    fresh(|| {
        veth();
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let one_address = TcpListener::bind(("192.0.2.1", 0)).unwrap();
        let other_port = one_address.local_addr().unwrap().port();
        let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let udp_port = udp.local_addr().unwrap().port();
        let netns = netns();
        assert_eq!(on_port(&netns, port), [(ListenProtocol::Tcp, "0.0.0.0".to_owned(), None)]);
        assert_eq!(on_port(&netns, other_port), [(ListenProtocol::Tcp, "192.0.2.1".to_owned(), None)]);
        assert_eq!(on_port(&netns, udp_port), [(ListenProtocol::Udp, "::".to_owned(), Some(false))]);
    });
}

#[test]
fn a_socket_for_ipv6_only_says_so() {
    fresh(|| {
        veth();
        let fd = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&fd, Ipv6V6Only, &true).unwrap();
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 4711));
        let SocketAddr::V6(any) = any else { unreachable!() };
        bind(fd.as_raw_fd(), &SockaddrIn6::from(any)).unwrap();
        listen(&fd, Backlog::new(1).unwrap()).unwrap();
        assert_eq!(on_port(&netns(), 4711), [(ListenProtocol::Tcp, "::".to_owned(), Some(true))]);
    });
}

#[test]
fn a_connected_socket_takes_from_one_peer_and_is_no_listener() {
    fresh(|| {
        veth();
        let udp = UdpSocket::bind(("192.0.2.1", 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        assert_eq!(on_port(&netns(), port).len(), 1);
        udp.connect(("192.0.2.9", 53)).unwrap();
        assert_eq!(on_port(&netns(), port).len(), 0);
    });
}

#[test]
fn a_socket_bound_to_a_device_is_told_with_it() {
    fresh(|| {
        let (v0, _) = veth();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
        setsockopt(&udp, BindToDevice, &"v0".into()).unwrap();
        let netns = netns();
        let listener = netns.listeners.known().iter().find(|listener| listener.port == 5353).unwrap();
        assert_eq!(listener.device, Some(v0));
    });
}

#[test]
fn packet_sockets_are_told_with_what_they_asked_for() {
    fresh(|| {
        let (v0, w0) = veth();
        let _quiet = PacketSocket::open(v0, Promiscuous::No).unwrap();
        let _nosy = PacketSocket::open(w0, Promiscuous::Yes).unwrap();
        let netns = netns();
        let sockets = netns.packet_sockets.read().expect("packet sockets need no privilege");
        assert!(sockets.iter().all(|socket| is_ours(&socket.processes)), "{sockets:#?}");
        let mut found: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.device, socket.protocol, socket.promiscuous.clone()))
            .collect();
        found.sort();
        let mut expected = [(Some(v0), EtherType(3), Vec::new()), (Some(w0), EtherType(3), Vec::from([w0]))];
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn packet_sockets_of_another_namespace_are_not_ours() {
    fresh(|| {
        let (v0, _) = veth();
        let _here = PacketSocket::open(v0, Promiscuous::Yes).unwrap();
        let elsewhere = Netns::create().unwrap().run(netns).unwrap();
        assert_eq!(elsewhere.packet_sockets.read().map(Vec::len), Some(0));
        assert_eq!(netns().packet_sockets.read().map(Vec::len), Some(1));
    });
}

#[test]
fn the_stacks_own_handlers_are_told_and_packet_sockets_are_not() {
    fresh(|| {
        let (v0, _) = veth();
        let _socket = PacketSocket::open(v0, Promiscuous::No).unwrap();
        let netns = netns();
        let handlers = netns.protocol_handlers.read().unwrap();
        let of = |protocol| handlers.iter().find(|handler| handler.protocol == protocol);
        assert_eq!(of(EtherType::IPV4).map(|handler| handler.function.as_str()), Some("ip_rcv"));
        assert_eq!(of(EtherType::ARP).map(|handler| handler.function.as_str()), Some("arp_rcv"));
        assert!(of(EtherType(3)).is_none(), "{handlers:#?}");
    });
}

#[test]
fn groups_are_told_by_interface() {
    fresh(|| {
        let (v0, w0) = veth();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let (group, group6) = ("239.1.2.3".parse().unwrap(), "ff15::1234".parse().unwrap());
        udp.join_multicast_v4(&group, &"192.0.2.1".parse().unwrap()).unwrap();
        let udp6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        udp6.join_multicast_v6(&group6, w0.0).unwrap();
        let netns = netns();
        let joined = |group: std::net::IpAddr| {
            let groups = netns.memberships.read().unwrap().iter();
            groups.filter(move |joined| joined.group == group).map(|joined| joined.device).collect::<Vec<_>>()
        };
        assert_eq!((joined(group.into()), joined(group6.into())), (vec![v0], vec![w0]));
    });
}

/// Until a program that is started has taken the place of its parent's copy, there are two that hold what the parent holds, and
/// they may live in different namespaces.
fn alone() -> MutexGuard<'static, ()> {
    static STARTING: Mutex<()> = Mutex::new(());
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_process_that_holds_a_tap_is_behind_it() {
    let _nobody_starts = alone();
    fresh(|| {
        let tap = match Tap::create("tap0") {
            Ok(tap) => tap,
            Err(error) => return println!("skipped, because {error}"),
        };
        let behind = |netns: &Captured| netns.link_named("tap0").and_then(|link| link.behind.clone());
        let found = behind(&netns()).unwrap();
        assert!(is_ours(&found.processes), "{found:#?}");
        assert_eq!(found.guest.map(|guest| guest.kind), Some(GuestKind::Process));
        drop(tap);
    });
}

/// What tells [`helper_that_waits`] that it was started on purpose.
const HELPER: &str = "PORTCULLIS_TEST_HELPER";

/// What the child process of the next test runs: it says that it is there, and waits for its input to end.
#[test]
#[ignore = "a part of another test"]
fn helper_that_waits() {
    if std::env::var_os(HELPER).is_some() {
        println!("here");
        let _ = std::io::stdin().lines().count();
        // Nobody listens any more to what the test runner would say.
        std::process::exit(0);
    }
}

/// A process in the calling thread's namespace, for as long as its input is held open.
fn inhabitant() -> Child {
    let _starting = alone();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_waits", "--ignored", "--nocapture"])
        .env(HELPER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("here")));
    child
}

#[test]
fn the_process_in_the_peers_namespace_is_behind_a_veth() {
    fresh(|| {
        let away = Netns::create().unwrap();
        let mut route = Socket::open(Family::Route).unwrap();
        let new = NewLink::new("v0", "veth");
        new.veth("eth0", MacAddr([2, 0, 0, 0, 0, 2]), Some(away.as_fd())).apply(&mut route).unwrap();
        let mut child = away.run(inhabitant).unwrap();
        let netns = netns();
        drop(child.stdin.take());
        child.wait().unwrap();
        let v0 = netns.link_named("v0").unwrap();
        assert_eq!(v0.link_netns.and_then(|other| other.netns), Some(away.id()));
        let behind = v0.behind.as_ref().unwrap();
        assert!(behind.processes.iter().any(|process| process.pid == child.id()), "{behind:#?}");
        assert!(behind.guest.is_some());
        assert!(netns.processes.is_empty(), "no process lives here: only a thread of this one looks in");
    });
}

#[test]
fn a_veth_within_a_namespace_has_nobody_behind_it() {
    fresh(|| {
        veth();
        assert_eq!(netns().link_named("v0").unwrap().behind, None);
    });
}
