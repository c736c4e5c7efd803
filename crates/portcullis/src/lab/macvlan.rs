//! The first article's last section: guests on macvlan, whose isolation from the host is one-sided.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use portcullis_datapath::Payload;
use portcullis_kernel::Error;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::packet::Promiscuous;
use portcullis_snapshot::{IfIndex, MacAddr};

use super::audited;
use super::station::{Station, settle};
use super::story::{Story, article};
use super::world::{Nic, Node, mac};

const NETWORK: &str = "\
guest1 (192.0.2.11)  guest2 (192.0.2.12)
   |                    |
 macvlan (bridge mode) macvlan
   +--------+-----------+
          eth0, 192.0.2.1, the host
            |
          the wire: another machine";

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ETH0: MacAddr = mac(0, 1);
const MACVLAN_MODE_BRIDGE: u32 = 4;

struct Network {
    host: Node,
    wire: Node,
    guests: Vec<Node>,
    nics: Vec<Nic>,
    far: Nic,
}

impl Network {
    fn build() -> Result<Self, Error> {
        let (host, wire) = (Node::new()?, Node::new()?);
        let (eth0, far) = host.cable("eth0", ETH0, &wire, "eth0", mac(1, 1))?;
        host.address(&eth0, HOST.into(), 24)?;
        let mut network = Self { host, wire, guests: Vec::new(), nics: Vec::new(), far };
        for number in [1, 2] {
            network.guest(number, eth0.index)?;
        }
        Ok(network)
    }

    fn guest(&mut self, number: u8, lower: IfIndex) -> Result<(), Error> {
        let guest = Node::new()?;
        let (name, address) = (format!("mv{number}"), mac(3, number));
        self.host.run(|socket| {
            NewLink::new(&name, "macvlan")
                .address(address)
                .on(lower)
                .macvlan(MACVLAN_MODE_BRIDGE)
                .apply(socket)?;
            let index = link::index_of(socket, &name)?;
            link::move_to(index, guest.as_fd()).apply(socket)
        })?;
        let index = guest.run(|socket| {
            let index = link::index_of(socket, &name)?;
            link::up(index).apply(socket)?;
            Ok(index)
        })?;
        self.nics.push(Nic { index, name, mac: address });
        self.guests.push(guest);
        Ok(())
    }

    fn station(&self, number: u8) -> Result<Station, Error> {
        let at = usize::from(number) - 1;
        let missing =
            || Error::Malformed { what: format!("guest {number}"), detail: "there is none".to_owned() };
        let (guest, nic) = (self.guests.get(at).ok_or_else(missing)?, self.nics.get(at).ok_or_else(missing)?);
        let socket = guest.packet_socket(nic, Promiscuous::No)?;
        Ok(Station::at_socket(nic.mac, Ipv4Addr::new(192, 0, 2, 10 + number), socket))
    }
}

/// Runs the story.
pub(super) fn run() -> Result<Story, Error> {
    let network = match Network::build() {
        Ok(network) => network,
        Err(error) => {
            let mut story = Story::new("macvlan", NETWORK, String::new());
            story.skip("The network", "two macvlans on a veth", &error);
            return Ok(story);
        }
    };
    let mut story = Story::new("macvlan", NETWORK, network.host.snapshot()?.kernel.release);
    outwards(&network, &mut story)?;
    inwards(&network, &mut story)?;
    let nodes: Vec<_> = [&network.host].into_iter().chain(&network.guests).collect();
    audited::audit(&nodes, &mut story)?;
    Ok(story)
}

const OUTWARDS: &str = "From a guest";

fn outwards(network: &Network, story: &mut Story) -> Result<(), Error> {
    let (mut guest, mut sibling) = (network.station(1)?, network.station(2)?);
    let far = network.wire.packet_socket(&network.far, Promiscuous::Yes)?;
    let mut wire = Station::at_socket(network.far.mac, Ipv4Addr::new(192, 0, 2, 10), far);
    let ping = Payload::Ping4 { from: guest.ip, to: HOST };
    let frame = |dst| portcullis_datapath::FrameBuilder::new(dst, mac(3, 1)).payload(&ping);
    let before = network.host.counters()?;
    wire.forget()?;
    guest.send(&frame(ETH0))?;
    settle(&mut guest, &mut sibling)?;
    settle(&mut wire, &mut guest)?;
    let echos = network.host.counters()?.since(&before, "Icmp.InEchos");
    let says =
        article("a frame from a macvlan goes to the lower device; the host is not reached", echos == 0);
    story.step(OUTWARDS, "a frame to the host's own MAC reaches the host", false, echos > 0, says);
    let sent = frame(ETH0);
    let on_wire = wire.heard(|heard| heard == sent)?;
    story.step(OUTWARDS, "it goes out on the wire instead", true, on_wire, None);
    sibling.forget()?;
    let to_sibling = frame(sibling.mac);
    guest.send(&to_sibling)?;
    settle(&mut guest, &mut sibling)?;
    let arrived = sibling.heard(|heard| heard == to_sibling)?;
    story.step(OUTWARDS, "a frame to the other guest's MAC reaches it (bridge mode)", true, arrived, None);
    Ok(())
}

const INWARDS: &str = "From the wire";

fn inwards(network: &Network, story: &mut Story) -> Result<(), Error> {
    let mut guest = network.station(1)?;
    let far = network.wire.packet_socket(&network.far, Promiscuous::Yes)?;
    let mut wire = Station::at_socket(network.far.mac, Ipv4Addr::new(192, 0, 2, 10), far);
    let guest_mac = guest.mac;
    let says = "a frame to no macvlan's MAC is processed by the host";
    for (name, dst, host, article_says) in [
        ("a frame to the host's MAC is taken in by the host", ETH0, true, Some(says)),
        ("a frame to the guest's MAC is taken in by the host", guest_mac, false, None),
        ("a broadcast is taken in by the host", MacAddr::BROADCAST, true, None),
        ("a frame to an unknown MAC is taken in by the host", mac(8, 8), false, None),
    ] {
        let before = network.host.counters()?;
        wire.send_to(dst, &Payload::Ping4 { from: wire.ip, to: HOST })?;
        settle(&mut wire, &mut guest)?;
        let taken = network.host.counters()?.since(&before, "Icmp.InEchos") > 0;
        story.step(INWARDS, name, host, taken, article_says.and_then(|says| article(says, taken)));
    }
    guest.forget()?;
    wire.announce()?;
    // Macvlans get their copies of broadcasts from a work queue, in its own time.
    let heard = guest.hears(&wire.announcement())?;
    story.step(INWARDS, "a broadcast reaches the guest as well", true, heard, None);
    Ok(())
}

/// The nodes, for `lab up`.
pub(super) fn nodes() -> Result<Vec<(String, Node)>, Error> {
    let network = Network::build()?;
    let mut nodes = vec![("host".to_owned(), network.host), ("wire".to_owned(), network.wire)];
    for (number, (guest, nic)) in (1u8..).zip(network.guests.into_iter().zip(network.nics)) {
        guest.address(&nic, Ipv4Addr::new(192, 0, 2, 10 + number).into(), 24)?;
        nodes.push((format!("guest{number}"), guest));
    }
    Ok(nodes)
}
