//! A guest or a server as far as the wire is concerned: it sends frames and hears what arrives, nothing else.

use std::net::Ipv4Addr;
use std::time::Instant;

use portcullis_datapath::frame::{ArpField, Field, Ip4Field};
use portcullis_datapath::{Concrete, FrameBuilder, Payload, frame::ArpOperation};
use portcullis_kernel::Error;
use portcullis_kernel::packet::PacketSocket;
use portcullis_kernel::tap::Tap;
use portcullis_snapshot::{EtherType, MacAddr};

use super::world::LIMIT;

/// More hops than any frame of the lab takes.
const HOPS: u16 = 12;
/// An EtherType for local experiments (IEEE 802), which the markers carry.
const MARKER: EtherType = EtherType(0x88b5);

/// One end of a cable or tap.
#[derive(Debug)]
pub(super) struct Station {
    /// Its hardware address.
    pub(super) mac: MacAddr,
    /// Its IPv4 address.
    pub(super) ip: Ipv4Addr,
    wire: Wire,
    heard: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Wire {
    Socket(PacketSocket),
    Tap(Tap),
}

impl Station {
    /// A station at an interface, through a packet socket.
    #[must_use]
    pub(super) const fn at_socket(mac: MacAddr, ip: Ipv4Addr, socket: PacketSocket) -> Self {
        Self { mac, ip, wire: Wire::Socket(socket), heard: Vec::new() }
    }

    /// A station behind a tap, as a virtual machine is.
    #[must_use]
    pub(super) const fn behind_tap(mac: MacAddr, ip: Ipv4Addr, tap: Tap) -> Self {
        Self { mac, ip, wire: Wire::Tap(tap), heard: Vec::new() }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the cable is unplugged.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        match &mut self.wire {
            Wire::Socket(socket) => socket.send(frame),
            Wire::Tap(tap) => tap.send(frame),
        }
    }

    /// Sends a payload to an address, from its own.
    ///
    /// # Errors
    /// If the cable is unplugged.
    pub(super) fn send_to(&mut self, dst: MacAddr, payload: &Payload) -> Result<(), Error> {
        let frame = FrameBuilder::new(dst, self.mac).payload(payload);
        self.send(&frame)
    }

    /// Tells the bridge where it is, by a broadcast that nobody answers.
    ///
    /// # Errors
    /// If the cable is unplugged.
    pub(super) fn announce(&mut self) -> Result<(), Error> {
        let frame = self.announcement();
        self.send(&frame)
    }

    /// The broadcast that [`announce`](Self::announce) sends.
    #[must_use]
    pub(super) fn announcement(&self) -> Vec<u8> {
        let data = vec![0xff; 46];
        FrameBuilder::new(MacAddr::BROADCAST, self.mac).payload(&Payload::Raw { ethertype: MARKER, data })
    }

    /// Takes in what has arrived.
    fn listen(&mut self) -> Result<(), Error> {
        match &mut self.wire {
            Wire::Socket(socket) => {
                self.heard.extend(socket.drain()?.into_iter().map(|captured| captured.bytes))
            }
            Wire::Tap(tap) => self.heard.extend(tap.drain()?),
        }
        Ok(())
    }

    /// Forgets what was heard so far.
    ///
    /// # Errors
    /// If the interface went away.
    pub(super) fn forget(&mut self) -> Result<(), Error> {
        self.listen()?;
        self.heard.clear();
        Ok(())
    }

    /// Whether it has heard a frame like that since it last forgot.
    ///
    /// # Errors
    /// If the interface went away.
    pub(super) fn heard(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<bool, Error> {
        self.listen()?;
        Ok(self.heard.iter().any(|frame| wanted(frame)))
    }

    /// Asks who has an address, and returns the answer if one comes before every marker has made its way.
    ///
    /// # Errors
    /// If a cable is unplugged.
    pub(super) fn arp(&mut self, target: Ipv4Addr, other: &mut Self) -> Result<Option<MacAddr>, Error> {
        self.forget()?;
        let request = Payload::Arp {
            operation: ArpOperation::Request,
            sender_mac: self.mac,
            sender_ip: self.ip,
            target_ip: target,
        };
        self.send_to(MacAddr::BROADCAST, &request)?;
        settle(other, self)?;
        Ok(self.heard.iter().find_map(|frame| arp_reply(frame, target)))
    }

    /// Sends an echo request to a MAC address, and says whether a reply came.
    ///
    /// # Errors
    /// If a cable is unplugged.
    pub(super) fn ping(&mut self, dst: MacAddr, to: Ipv4Addr, other: &mut Self) -> Result<bool, Error> {
        self.forget()?;
        self.send_to(dst, &Payload::Ping4 { from: self.ip, to })?;
        settle(other, self)?;
        self.heard(|frame| is_echo_reply(frame, to))
    }
}

/// Waits until everything that was sent before has been dealt with: markers go from one station to another, as often as
/// there can be hops, and each that arrives proves that the kernel has emptied its queue once more.
///
/// # Errors
/// If a marker does not arrive: the way between the two is not open.
pub(super) fn settle(from: &mut Station, to: &mut Station) -> Result<(), Error> {
    for number in 0..HOPS {
        let mut data = vec![0; 46];
        data.splice(..2, number.to_be_bytes());
        let marker = FrameBuilder::new(to.mac, from.mac).payload(&Payload::Raw { ethertype: MARKER, data });
        from.send(&marker)?;
        to.wait_for(&marker)?;
    }
    Ok(())
}

impl Station {
    /// Waits for a frame that the kernel delivers in its own time; whether it came.
    ///
    /// # Errors
    /// If the interface went away.
    pub(super) fn hears(&mut self, frame: &[u8]) -> Result<bool, Error> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            self.listen()?;
            if self.heard.iter().any(|heard| heard == frame) {
                self.heard.retain(|heard| heard != frame);
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    fn wait_for(&mut self, frame: &[u8]) -> Result<(), Error> {
        if self.hears(frame)? {
            return Ok(());
        }
        let what = "waiting for a marker frame".to_owned();
        Err(Error::Malformed { what, detail: format!("none in {LIMIT:?}") })
    }
}

/// The MAC address in an ARP reply about an address.
pub(super) fn arp_reply(frame: &[u8], target: Ipv4Addr) -> Option<MacAddr> {
    let frame = Concrete::new(frame)?;
    let about = frame.value(Field::Arp(0, ArpField::SenderIp)) == u128::from(u32::from(target));
    let reply = frame.value(Field::Protocol(0)) == u128::from(EtherType::ARP.0)
        && frame.value(Field::Arp(0, ArpField::Operation)) == 2;
    (about && reply).then(|| MacAddr::from_u64(frame.value(Field::Arp(0, ArpField::SenderMac)) as u64))
}

/// Whether a frame is an echo reply from an address.
fn is_echo_reply(frame: &[u8], from: Ipv4Addr) -> bool {
    let Some(frame) = Concrete::new(frame) else { return false };
    frame.value(Field::Protocol(0)) == u128::from(EtherType::IPV4.0)
        && frame.value(Field::Ip4(0, Ip4Field::Source)) == u128::from(u32::from(from))
        && frame.value(Field::Ip4(0, Ip4Field::Protocol)) == 1
        && frame.value(Field::Ip4(0, Ip4Field::DestinationPort)) == 0
}
