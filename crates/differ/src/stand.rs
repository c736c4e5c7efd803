//! A configuration, built: two namespaces with cables between them, and everything that listens there.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_kernel::counters::Counters;
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Event, Events, Family, Socket};
use portcullis_kernel::packet::{self, Captured, EVERY_PROTOCOL, PacketSocket, Promiscuous};
use portcullis_kernel::raw::{Delivered, RawSocket};
use portcullis_kernel::tap::Tap;
use portcullis_kernel::{Change, Error, capture, link, nftables, sysctl};
use portcullis_snapshot::{EtherType, FdbEntry, IfIndex, Neighbour, Netns as Seen, Reading};

use crate::fixes;
use crate::generate::EXPERIMENT;
use crate::names::{self, MARKER, Name, far_end, index, mac};
use crate::step::{Means, Step};

/// How long the kernel may take for what it does in the background.
const LIMIT: Duration = Duration::from_secs(10);
/// RFC 2863: the device can pass packets.
const IF_OPER_UP: u8 = 6;
/// `IFA_F_TENTATIVE` (`include/uapi/linux/if_addr.h`): the address waits for duplicate address detection.
const TENTATIVE: u32 = 0x40;
/// The IP protocols that raw sockets listen for: ICMP, IGMP, UDP, GRE; and UDP, ICMPv6.
const IPV4_PROTOCOLS: [u8; 4] = [1, 2, 17, 47];
const IPV6_PROTOCOLS: [u8; 2] = [17, 58];

/// A built configuration. Lives and dies on a thread in the host's namespace.
#[derive(Debug)]
pub(crate) struct Stand {
    guests: Netns,
    route: Socket,
    taps: HashMap<Name, Tap>,
    sender: PacketSocket,
    marker: PacketSocket,
    guest_side: PacketSocket,
    host_side: PacketSocket,
    handlers: Vec<(EtherType, PacketSocket)>,
    raw: Vec<(EtherType, u8, RawSocket)>,
    events: Events,
    /// Which steps the kernel refused, and why.
    pub(crate) refused: Vec<(usize, Error)>,
}

/// Everything that was heard since the last time.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What arrived at the guests' ends, by the host's end of the cable.
    pub(crate) guests: Vec<(Name, Vec<u8>)>,
    /// What passed on any device of the host's, in order.
    pub(crate) host: Vec<Captured>,
    /// What reached the protocol handlers.
    pub(crate) handlers: Vec<(EtherType, Captured)>,
    /// What reached the transport layer.
    pub(crate) delivered: Vec<(EtherType, u8, Delivered)>,
    /// What the kernel told of changes.
    pub(crate) events: Vec<Event>,
}

impl Heard {
    /// Adds what was heard later.
    pub(crate) fn add(&mut self, later: Self) {
        self.guests.extend(later.guests);
        self.host.extend(later.host);
        self.handlers.extend(later.handlers);
        self.delivered.extend(later.delivered);
        self.events.extend(later.events);
    }
}

impl Stand {
    /// Builds a configuration. Steps that the kernel refuses are left out and noted.
    pub(crate) fn build(steps: &[Step]) -> Result<Self, Error> {
        let guests = Netns::create()?;
        prepare_host()?;
        let (guest_side, sender) = guests.run(|| {
            sysctl::write(&["ipv6", "conf", "default", "disable_ipv6"], "1").ok();
            Ok::<_, Error>((
                PacketSocket::open_everywhere(EVERY_PROTOCOL)?,
                PacketSocket::open_everywhere(EtherType(0))?,
            ))
        })??;
        let listen = |protocol| Ok::<_, Error>((protocol, PacketSocket::open_everywhere(protocol)?));
        let inet = [EtherType::IPV4, EtherType::ARP, EtherType::IPV6, EXPERIMENT];
        let raw4 = IPV4_PROTOCOLS.map(|protocol| (EtherType::IPV4, protocol));
        let raw6 = IPV6_PROTOCOLS.map(|protocol| (EtherType::IPV6, protocol));
        let raw = raw4.into_iter().chain(raw6).map(|(ethertype, protocol)| {
            Ok((ethertype, protocol, RawSocket::open(ethertype == EtherType::IPV6, protocol)?))
        });
        let mut route = Socket::open(Family::Route)?;
        let marker = lay_marker_cable(&mut route, &guests)?;
        let mut stand = Self {
            route,
            taps: HashMap::new(),
            sender,
            guest_side,
            marker,
            host_side: PacketSocket::open_everywhere(EVERY_PROTOCOL)?,
            handlers: inet.into_iter().map(listen).collect::<Result<_, _>>()?,
            raw: raw.collect::<Result<_, Error>>()?,
            // Links, neighbours and FDB, IPv4 and IPv6 addresses and routes, IPv6 prefixes, MDB.
            events: Events::subscribe(Family::Route, &[1, 3, 5, 7, 9, 11, 18, 26])?,
            refused: Vec::new(),
            guests,
        };
        stand.take(steps, false)?;
        answer_at_once(steps);
        stand.wait_for_links()?;
        stand.take(steps, true)?;
        stand.settle(4)?;
        stand.listen()?;
        Ok(stand)
    }

    fn take(&mut self, steps: &[Step], late: bool) -> Result<(), Error> {
        let mut waiting: Vec<(usize, Change)> = Vec::new();
        let mut there: Vec<(usize, Change)> = Vec::new();
        for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.is_late() == late) {
            if let Step::Up(name) = step {
                if names::is_far(name) {
                    there.push((at, link::up(index(name))));
                    continue;
                }
                // The far ends first, so that no cable comes up twice.
                self.turn_on_far_ends(&mut waiting, &mut there)?;
            }
            match step.means(&self.guests) {
                Means::Netlink(changes) => waiting.extend(changes.into_iter().map(|change| (at, change))),
                Means::Tap(name) => {
                    self.flush(&mut waiting)?;
                    self.tap(at, name)?;
                }
                Means::Nftables(messages) => {
                    self.flush(&mut waiting)?;
                    self.refused
                        .extend(nftables::transaction(step.sort(), messages).err().map(|error| (at, error)));
                }
                Means::Tool(rule) => {
                    self.flush(&mut waiting)?;
                    self.refused.extend(rule.apply().err().map(|error| (at, error)));
                }
                Means::Apply(change) => {
                    self.flush(&mut waiting)?;
                    self.refused.extend(fixes::make(&change).err().map(|error| (at, error)));
                }
                Means::Sysctl(path, value) => {
                    self.flush(&mut waiting)?;
                    let written = sysctl::write(&path, &value.to_string());
                    self.refused.extend(written.err().map(|error| (at, error)));
                }
            }
        }
        self.turn_on_far_ends(&mut waiting, &mut there)?;
        self.flush(&mut waiting)
    }

    /// Turns on what waits for it in the guests' namespace, once its cables are there.
    fn turn_on_far_ends(
        &mut self,
        waiting: &mut Vec<(usize, Change)>,
        there: &mut Vec<(usize, Change)>,
    ) -> Result<(), Error> {
        if there.is_empty() {
            return Ok(());
        }
        self.flush(waiting)?;
        let refused = self.guests.run(|| batch(&mut Socket::open(Family::Route)?, there))??;
        self.refused.extend(refused);
        Ok(())
    }

    fn flush(&mut self, waiting: &mut Vec<(usize, Change)>) -> Result<(), Error> {
        let refused = batch(&mut self.route, waiting)?;
        self.refused.extend(refused);
        Ok(())
    }

    fn tap(&mut self, at: usize, name: Name) -> Result<(), Error> {
        match Tap::create_at(name, index(name)) {
            Ok(tap) => {
                link::address(index(name), mac(name)).apply(&mut self.route)?;
                self.taps.insert(name, tap);
            }
            Err(error) => self.refused.push((at, error)),
        }
        Ok(())
    }

    /// Waits until the kernel's link watch has seen to every device.
    ///
    /// It works through its list in order, so the marker cable is plugged in last: once that is up, all are.
    fn wait_for_links(&mut self) -> Result<(), Error> {
        let [near, far] = MARKER.map(index);
        self.guests.run(|| link::up(far).apply(&mut Socket::open(Family::Route)?))??;
        self.wait_until_up(near)
    }

    /// Waits until a device of the host's can pass packets, and the kernel says so.
    pub(crate) fn wait_until_up(&mut self, device: IfIndex) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let (links, _) = capture::links_and_fdb(&mut self.route)?;
            if links.iter().any(|link| link.index == device && link.operstate == IF_OPER_UP) {
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                let what = format!("waiting for interface {device} to come up");
                return Err(Error::Malformed { what, detail: format!("not in {LIMIT:?}") });
            }
            std::thread::yield_now();
        }
    }

    /// Hears what reaches the handlers of one more protocol.
    pub(crate) fn listen_for(&mut self, protocol: EtherType) -> Result<(), Error> {
        self.handlers.push((protocol, PacketSocket::open_everywhere(protocol)?));
        Ok(())
    }

    /// Reads the host's namespace.
    pub(crate) fn snapshot(&self) -> Result<Seen, Error> {
        capture::here()
    }

    /// Reads the host's namespace once no address waits for duplicate address detection.
    ///
    /// An interface that may use IPv6 again makes its link-local address anew, and the kernel asks a moment later whether another
    /// has it (`addrconf_dad_work`), be it with no question at all; the route to it comes only then.
    pub(crate) fn snapshot_with_addresses_in_use(&self) -> Result<Seen, Error> {
        let start = Instant::now();
        loop {
            let seen = capture::here()?;
            let Reading::Read(addresses) = &seen.addresses else { return Ok(seen) };
            let Some(waiting) = addresses.iter().find(|address| address.flags & TENTATIVE != 0) else {
                // It was so before the routes were read, but they may have been read while the kernel was at it.
                return capture::here();
            };
            if start.elapsed() > LIMIT {
                let what =
                    format!("waiting until {} of interface {} may be used", waiting.address, waiting.device);
                return Err(Error::Malformed { what, detail: format!("not in {LIMIT:?}") });
            }
            std::thread::yield_now();
        }
    }

    /// Reads the neighbour table.
    pub(crate) fn neighbours(&mut self) -> Result<Vec<Neighbour>, Error> {
        capture::neighbours(&mut self.route)
    }

    /// Reads the FDBs.
    pub(crate) fn fdb(&mut self) -> Result<Vec<FdbEntry>, Error> {
        Ok(capture::links_and_fdb(&mut self.route)?.1)
    }

    /// Reads the stack's counters.
    pub(crate) fn counters(&self) -> Result<Counters, Error> {
        Counters::read()
    }

    /// Sends a frame as the guest at a cable's or tap's other end. Whether there is one that takes it.
    pub(crate) fn send(&mut self, into: Name, frame: &[u8]) -> bool {
        match (self.taps.get_mut(into), far_end(into)) {
            (Some(tap), _) => tap.send(frame).is_ok(),
            (None, Some(far)) => self.sender.send_by(index(far), frame).is_ok(),
            (None, None) => false,
        }
    }

    /// Waits until everything sent before has been dealt with: each marker that made its way proves that the kernel
    /// has emptied its queue once more.
    pub(crate) fn settle(&mut self, rounds: u32) -> Result<(), Error> {
        let [near, far] = MARKER;
        let frame = FrameBuilder::new(mac(near), mac(far));
        let frame = frame.payload(&Payload::Raw { ethertype: EXPERIMENT, data: b"marker".to_vec() });
        for _ in 0..rounds {
            self.sender.send_by(index(far), &frame)?;
            if self.marker.wait_for(LIMIT, |_| true)?.is_none() {
                let what = "waiting for a marker frame".to_owned();
                return Err(Error::Malformed { what, detail: format!("none in {LIMIT:?}") });
            }
        }
        Ok(())
    }

    /// Waits until there is more to be heard; whether there is.
    pub(crate) fn hears_more(&self, limit: Duration) -> Result<bool, Error> {
        let sockets = [self.guest_side.as_fd(), self.host_side.as_fd()];
        let taps = self.taps.values().map(AsFd::as_fd);
        packet::wait_readable(sockets.into_iter().chain(taps), limit)
    }

    /// Returns what was heard since the last time, markers aside.
    pub(crate) fn listen(&mut self) -> Result<Heard, Error> {
        let [near, far] = MARKER.map(index);
        let mut heard = Heard::default();
        for captured in self.guest_side.drain()? {
            if let Some(name) = names::name(captured.device).filter(|_| captured.device != far) {
                heard.guests.push((name, captured.bytes));
            }
        }
        for (name, tap) in &mut self.taps {
            // A tap that is down has nothing to tell.
            heard.guests.extend(tap.drain().unwrap_or_default().into_iter().map(|bytes| (*name, bytes)));
        }
        heard.host = self.host_side.drain_both_ways()?;
        heard.host.retain(|captured| captured.device != near);
        for (protocol, socket) in &mut self.handlers {
            let captured = socket.drain()?.into_iter().filter(|captured| captured.device != near);
            heard.handlers.extend(captured.map(|captured| (*protocol, captured)));
        }
        for (ethertype, protocol, socket) in &mut self.raw {
            let delivered = socket.drain()?.into_iter();
            heard.delivered.extend(delivered.map(|delivered| (*ethertype, *protocol, delivered)));
        }
        heard.events = self.events.drain()?;
        Ok(heard)
    }
}

/// Makes a chunk of changes; the steps whose changes were refused, once each.
fn batch(socket: &mut Socket, waiting: &mut Vec<(usize, Change)>) -> Result<Vec<(usize, Error)>, Error> {
    let (steps, changes): (Vec<usize>, Vec<_>) =
        waiting.drain(..).map(|(at, change)| (at, (change.what, change.message))).unzip();
    let results = socket.batch_each(changes)?;
    let refused = steps.into_iter().zip(results).filter_map(|(at, result)| Some((at, result.err()?)));
    Ok(refused.collect())
}

/// A cable beside all others, for markers. Returns a socket at its end in the host.
fn lay_marker_cable(route: &mut Socket, guests: &Netns) -> Result<PacketSocket, Error> {
    let [near, far] = MARKER;
    Step::Cable { near, far }
        .means(guests)
        .netlink()
        .into_iter()
        .try_for_each(|change| change.apply(route))?;
    // It speaks no IPv6 of its own; where the kernel runs none there is no such setting.
    let _ = sysctl::write(&["ipv6", "conf", near, "disable_ipv6"], "1");
    link::up(index(near)).apply(route)?;
    PacketSocket::open(index(near), Promiscuous::No)
}

/// Answers in another's stead are not held back, as they else are for a random time.
fn answer_at_once(steps: &[Step]) {
    for device in steps.iter().filter_map(|step| if let Step::Up(name) = step { Some(*name) } else { None }) {
        for family in ["ipv4", "ipv6"] {
            // The other ends are not here.
            let _ = sysctl::write(&[family, "neigh", device, "proxy_delay"], "0");
        }
    }
}

/// Nothing that the host does by itself may take its time: no duplicate address detection, no solicitations.
fn prepare_host() -> Result<(), Error> {
    for (setting, value) in [("accept_dad", "0"), ("dad_transmits", "0"), ("router_solicitations", "0")] {
        // A kernel without IPv6 has none of them.
        let _ = sysctl::write(&["ipv6", "conf", "default", setting], value);
    }
    Ok(())
}
