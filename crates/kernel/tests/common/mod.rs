//! A namespace for each test, and short ways to change it and to read it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::time::{Duration, Instant};

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::{Change, Error};
use portcullis_snapshot::{IfIndex, Link, MacAddr, Netns as Captured, PortState, Snapshot};
use portcullis_wire::Message;

/// Runs a test in a namespace of its own, which goes away with it.
pub(crate) fn fresh(test: impl FnOnce(&mut Lab) + Send) {
    portcullis_testnet::fresh(|| test(&mut Lab::new()));
}

/// Reads the calling thread's namespace, or others.
pub(crate) fn snapshot(scope: Scope) -> Result<Snapshot, Error> {
    capture(&Request { scope, taken_at: String::new(), version: String::new() })
}

/// Reads the calling thread's namespace.
pub(crate) fn netns() -> Captured {
    let snapshot = snapshot(Scope::Current).unwrap();
    snapshot.namespaces.into_iter().next().unwrap()
}

/// The calling thread's namespace, to be changed.
pub(crate) struct Lab {
    pub(crate) route: Socket,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { route: Socket::open(Family::Route).unwrap() }
    }

    pub(crate) fn make(&mut self, change: Change) {
        change.apply(&mut self.route).unwrap();
    }

    pub(crate) fn try_to(&mut self, change: Change) -> Result<(), Error> {
        change.apply(&mut self.route)
    }

    /// Makes a change that has no function of its own.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), Error> {
        self.route.change("a change of a test", message)
    }

    pub(crate) fn index(&mut self, name: &str) -> IfIndex {
        link::index_of(&mut self.route, name).unwrap()
    }

    /// A bridge that is up.
    pub(crate) fn bridge(&mut self, name: &str) -> IfIndex {
        self.make(NewLink::new(name, "bridge").create(|data| data));
        let bridge = self.index(name);
        self.make(link::up(bridge));
        bridge
    }

    /// A veth pair, both ends down.
    pub(crate) fn veth(&mut self, name: &str, peer: &str) -> (IfIndex, IfIndex) {
        let new = NewLink::new(name, "veth").address(mac(name));
        self.make(new.veth(peer, mac(peer), None));
        (self.index(name), self.index(peer))
    }

    /// A port of a bridge, down, with a peer that is named after it.
    pub(crate) fn port(&mut self, bridge: IfIndex, name: &str) -> IfIndex {
        let (port, _) = self.veth(name, &format!("{name}x"));
        self.make(link::master(port, Some(bridge)));
        port
    }

    /// Turns a port on, and its peer if it has one, and waits until the bridge knows: the kernel looks at carriers when
    /// it gets to it.
    pub(crate) fn forward(&mut self, name: &str) {
        let port = self.index(name);
        self.make(link::up(port));
        if let Ok(peer) = link::index_of(&mut self.route, &format!("{name}x")) {
            self.make(link::up(peer));
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while named(&netns(), name).bridge_port().unwrap().state != Some(PortState::Forwarding) {
            assert!(Instant::now() < patience, "{name} never forwards");
            std::thread::yield_now();
        }
    }
}

/// An address that is always the same for a name.
pub(crate) fn mac(name: &str) -> MacAddr {
    let sum = name.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [high, low] = sum.to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

/// An interface that must be there.
pub(crate) fn named<'a>(netns: &'a Captured, name: &str) -> &'a Link {
    netns.link_named(name).unwrap_or_else(|| panic!("no {name}"))
}
