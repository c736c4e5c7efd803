//! A host as a product leaves it: bridges, guests' ports, an uplink; and what can be seen of frames that guests send.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_kernel::capture::{self, Request, Scope};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::{Netns, pin_to_one_processor};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::packet::{Captured, EVERY_PROTOCOL, PacketSocket};
use portcullis_kernel::{Change, sysctl};
use portcullis_snapshot::{EtherType, IfIndex, MacAddr, PortState, Snapshot};

const PATIENCE: Duration = Duration::from_secs(60);
/// For local experiments; followed by bytes that no other frame of these tests has.
const MARKER: EtherType = EtherType(0x88b5);

/// A guest, or whoever else is at the other end of a port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    /// Its port on the host.
    pub(crate) port: &'static str,
    /// The bridge that the port belongs to.
    pub(crate) bridge: &'static str,
    /// Its MAC address.
    pub(crate) mac: MacAddr,
    /// Its IPv4 address.
    pub(crate) ip: Ipv4Addr,
}

impl Guest {
    pub(crate) const fn new(port: &'static str, bridge: &'static str, last: u8, ip: Ipv4Addr) -> Self {
        Self { port, bridge, mac: MacAddr([0x52, 0x54, 0, 0, 0, last]), ip }
    }

    /// Its global IPv6 address, where it has one.
    pub(crate) const fn global(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd42, 1, 0, 0, 0, 0, 0, 0x10 + self.mac.0[5] as u16)
    }

    /// Its link-local address, which is made from the MAC address.
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

/// What a host looks like before its rules are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    /// Bridges, with the host's address on each.
    pub(crate) bridges: &'static [(&'static str, Option<Ipv4Addr>)],
    /// Ports of bridges.
    pub(crate) guests: &'static [Guest],
    /// Whether the host routes.
    pub(crate) routes: bool,
}

/// The host's address on its infrastructure network, which is behind `eth1`.
pub(crate) const INFRA: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 3);

pub(crate) struct World {
    pub(crate) site: Site,
    route: Socket,
    outside: Netns,
    /// Sends by any cable's far end, and hears at all of them.
    far: PacketSocket,
    ends: BTreeMap<&'static str, IfIndex>,
    markers: [IfIndex; 2],
    /// Hears what the host's ARP gets; only once a snapshot was taken, which would tell of it.
    arp: Option<PacketSocket>,
}

/// What became of one frame.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What arrived at the far end of each port.
    pub(crate) at: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// Whether the host's ARP took it in.
    pub(crate) arp: bool,
    /// Whether a transport protocol of the host's did.
    pub(crate) ipv4: bool,
    /// Likewise over IPv6.
    pub(crate) ipv6: bool,
    /// Whether the host routed it on.
    pub(crate) routed: bool,
}

impl World {
    pub(crate) fn new(site: Site) -> Self {
        pin_to_one_processor().unwrap();
        for of in ["all", "default"] {
            sysctl::write(&["ipv6", "conf", of, "accept_dad"], "0").unwrap();
            sysctl::write(&["ipv6", "conf", of, "router_solicitations"], "0").unwrap();
        }
        for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
            let _ = sysctl::write(&["bridge", setting], "0");
        }
        let outside = Netns::create().unwrap();
        let (markers, far) = outside.run(|| (marker_path(), everywhere())).unwrap();
        let route = Socket::open(Family::Route).unwrap();
        let mut world = Self { site, route, outside, far, ends: BTreeMap::new(), markers, arp: None };
        world.build();
        world
    }

    fn build(&mut self) {
        for (number, (name, address)) in (0x10..).zip(self.site.bridges) {
            let mac = MacAddr([0x52, 0x54, 0, 0xff, 0, number]);
            self.make(NewLink::new(name, "bridge").address(mac).create(|data| data));
            let index = self.index(name);
            if let Some(address) = address {
                self.make(link::ip_address(index, (*address).into(), 24));
            }
            // MLD queries and reports of the bridge's own would be in the way.
            let _ = sysctl::write(&["ipv6", "conf", name, "addr_gen_mode"], "0");
            self.make(link::up(index));
        }
        for guest in self.site.guests {
            let end = self.cable(guest.port, MacAddr([0xfe, 0x54, 0, 0, 0, guest.mac.0[5]]), guest.mac);
            self.ends.insert(guest.port, end);
            let (port, bridge) = (self.index(guest.port), self.index(guest.bridge));
            self.make(link::master(port, Some(bridge)));
        }
        let end = self.cable("eth1", MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 1, 2]));
        self.ends.insert("eth1", end);
        let eth1 = self.index("eth1");
        self.make(link::ip_address(eth1, INFRA.into(), 24));
        // Somebody is there, so that what is routed leaves at once.
        self.make(link::neighbour(eth1, "10.99.2.9".parse().unwrap(), MacAddr([2, 0, 0, 0, 1, 2]), 0x80));
        let on = if self.site.routes { "1" } else { "0" };
        for family in ["ipv4", "ipv6"] {
            sysctl::write(&[family, "conf", "all", "forwarding"], on).unwrap();
        }
        for guest in self.site.guests {
            let bridge = self.index(guest.bridge);
            let on_bridge = self.site.bridges.iter().any(|(name, ip)| *name == guest.bridge && ip.is_some());
            if on_bridge {
                self.make(link::neighbour(bridge, IpAddr::V4(guest.ip), guest.mac, 0x80));
            }
        }
        self.wait_until_the_ports_forward();
    }

    /// Lays a cable, both ends on. Returns its far end.
    fn cable(&mut self, name: &str, mac: MacAddr, far_mac: MacAddr) -> IfIndex {
        let peer = format!("{name}x");
        let cable = NewLink::new(name, "veth").address(mac).veth(&peer, far_mac, Some(self.outside.as_fd()));
        self.make(cable);
        let up = || {
            sysctl::write(&["ipv6", "conf", &peer, "disable_ipv6"], "1").unwrap();
            let mut route = Socket::open(Family::Route).unwrap();
            let index = link::index_of(&mut route, &peer).unwrap();
            link::up(index).apply(&mut route).unwrap();
            index
        };
        let end = self.outside.run(up).unwrap();
        let near = self.index(name);
        self.make(link::up(near));
        end
    }

    pub(crate) fn make(&mut self, change: Change) {
        change.apply(&mut self.route).unwrap();
    }

    pub(crate) fn index(&mut self, name: &str) -> IfIndex {
        link::index_of(&mut self.route, name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn wait_until_the_ports_forward(&self) {
        let start = Instant::now();
        let forwards = |snapshot: &Snapshot, name: &str| {
            let port = snapshot.namespaces[0].link_named(name).and_then(|link| link.bridge_port());
            port.unwrap().state == Some(PortState::Forwarding)
        };
        while !self.site.guests.iter().all(|guest| forwards(&snapshot(), guest.port)) {
            assert!(start.elapsed() < PATIENCE, "the ports never forward");
            std::thread::yield_now();
        }
    }

    pub(crate) fn guest(&self, port: &str) -> &'static Guest {
        self.site.guests.iter().find(|guest| guest.port == port).unwrap_or_else(|| panic!("no {port}"))
    }

    /// The MAC address of a bridge device.
    pub(crate) fn bridge_mac(&mut self, bridge: &str) -> MacAddr {
        let index = self.index(bridge);
        link::address_of(&mut self.route, index).unwrap().unwrap()
    }

    /// Every guest says who it is, as it would sooner or later.
    pub(crate) fn introduce_all(&mut self) {
        for guest in self.site.guests {
            let announcement = Payload::Arp {
                operation: ArpOperation::Request,
                sender_mac: guest.mac,
                sender_ip: guest.ip,
                target_ip: guest.ip,
            };
            let frame = FrameBuilder::new(MacAddr::BROADCAST, guest.mac).payload(&announcement);
            self.far.send_by(self.ends[guest.port], &frame).unwrap();
        }
        self.settle();
        self.far.drain().unwrap();
    }

    /// Sends a frame as whoever is behind a port, and waits until the kernel is done with it.
    pub(crate) fn send(&mut self, port: &str, frame: &[u8]) -> Seen {
        let before = Counters::read().unwrap();
        self.far.drain().unwrap();
        self.arp
            .get_or_insert_with(|| PacketSocket::open_everywhere(EtherType::ARP).unwrap())
            .drain()
            .unwrap();
        if self.far.send_by(self.ends[port], frame).is_err() {
            // Nothing takes a frame that is cut off within a tag.
            return Seen::default();
        }
        let heard = self.settle();
        let after = Counters::read().unwrap();
        let grew = |names: [&str; 2]| names.iter().any(|name| after.since(&before, name) > 0);
        let mut seen = Seen {
            ipv4: grew(["Ip.InDelivers", "Ip.InUnknownProtos"]),
            ipv6: grew(["Ip6InDelivers", "Ip6InUnknownProtos"]),
            routed: grew(["Ip.ForwDatagrams", "Ip6OutForwDatagrams"]),
            ..Seen::default()
        };
        for (device, bytes) in heard {
            let Some((name, _)) = self.ends.iter().find(|(_, end)| **end == device) else { continue };
            seen.at.entry(*name).or_default().push(bytes);
        }
        // `arp_rcv` takes nothing that is for another host (PACKET_OTHERHOST).
        let taken = |got: &Captured| got.pkt_type < 3 && got.bytes.get(6..12) == frame.get(6..12);
        seen.arp = self.arp.iter_mut().any(|arp| arp.drain().unwrap().iter().any(taken));
        seen
    }

    /// Waits until what was sent before has got where it goes: through two bridges' worth of hops, twice.
    fn settle(&mut self) -> Vec<(IfIndex, Vec<u8>)> {
        let mut heard = Vec::new();
        for round in 0..2 {
            let mac = MacAddr([2, 0, 0, 0, 0xee, 1]);
            let marker = FrameBuilder::new(MacAddr::BROADCAST, mac)
                .payload(&Payload::Raw { ethertype: MARKER, data: vec![0xab, round] });
            let [into, out] = self.markers;
            self.far.send_by(into, &marker).unwrap();
            let arrived = self.far.wait_for(PATIENCE, |got| got.device == out && got.bytes == marker);
            let arrived = arrived.unwrap().expect("the marker never arrived");
            heard.extend(arrived.into_iter().map(|got| (got.device, got.bytes)));
        }
        heard
    }

    /// The port that an address is learned behind.
    pub(crate) fn learned_behind(&mut self, address: MacAddr) -> Vec<IfIndex> {
        let (_, fdb) = capture::links_and_fdb(&mut self.route).unwrap();
        fdb.iter().filter(|entry| entry.address == address).map(|entry| entry.device).collect()
    }
}

fn everywhere() -> PacketSocket {
    PacketSocket::open_everywhere(EVERY_PROTOCOL).unwrap()
}

/// A bridge that a frame passes from one cable to another, as long a way as any that is measured.
fn marker_path() -> [IfIndex; 2] {
    let mut route = Socket::open(Family::Route).unwrap();
    let mut make = |change: Change| change.apply(&mut route).unwrap();
    sysctl::write(&["ipv6", "conf", "default", "disable_ipv6"], "1").unwrap();
    for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
        let _ = sysctl::write(&["bridge", setting], "0");
    }
    make(NewLink::new("brm", "bridge").create(|data| data));
    for (name, peer, last) in [("m1", "m1x", 1), ("m2", "m2x", 2)] {
        let (mac, far) = (MacAddr([2, 0, 0, 0, 0xed, last]), MacAddr([2, 0, 0, 0, 0xee, last]));
        make(NewLink::new(name, "veth").address(mac).veth(peer, far, None));
    }
    let mut index = |name: &str| link::index_of(&mut route, name).unwrap();
    let [bridge, m1, m2, m1x, m2x] = ["brm", "m1", "m2", "m1x", "m2x"].map(&mut index);
    let mut make = |change: Change| change.apply(&mut route).unwrap();
    for port in [m1, m2] {
        make(link::master(port, Some(bridge)));
    }
    for device in [bridge, m1, m2, m1x, m2x] {
        make(link::up(device));
    }
    [m1x, m2x]
}

/// Takes a snapshot of the host.
pub(crate) fn snapshot() -> Snapshot {
    let request = Request {
        scope: Scope::Current,
        taken_at: "2026-06-01T00:00:00Z".to_owned(),
        version: String::new(),
    };
    capture::capture(&request).unwrap()
}

/// Gives a tool something to read; else why it did not take it.
pub(crate) fn feed(tool: &str, arguments: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new(tool);
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{tool}: {error}"))?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    assert!(!said.contains("syntax error"), "{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Loads a script of nftables.
pub(crate) fn nft(text: &str) -> Result<(), String> {
    feed("nft", &["-f", "-"], text)
}
