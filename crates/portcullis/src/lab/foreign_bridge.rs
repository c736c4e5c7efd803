//! The second article's network: two guests on a bridge, and another product's bridge that has taken the bridge device
//! as its uplink, with a guest of its own behind.

use std::net::Ipv4Addr;

use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_kernel::Error;
use portcullis_kernel::link::{self, FdbChange};
use portcullis_kernel::namespace::read_sysfs;
use portcullis_kernel::packet::{PacketSocket, Promiscuous};
use portcullis_snapshot::{EtherType, FdbEntry, FdbKind, LinkFlags, MacAddr};

use super::audited;
use super::station::{Station, settle};
use super::story::{Story, article};
use super::world::{Nic, Node, mac};

const NETWORK: &str = "\
kali2    kali3               foreign guest
  |        |                     |
tap2     tap3                foreign bridge, in user space
  +---+----+                     | (promiscuous packet socket)
      +------------ br0 ---------+
                     |
                   eth0 -- lan: a server";

const IFLA_BR_AGEING_TIME: u16 = 4;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const BR0: MacAddr = mac(0, 1);
/// The foreign guest, which lives in no namespace: only the foreign bridge knows it.
const FOREIGN: MacAddr = mac(9, 1);

struct Network {
    host: Node,
    /// The namespaces of the server and of guests that have no taps: they live as long as this holds them.
    _others: Vec<Node>,
    br0: Nic,
    taps: Vec<Nic>,
    server: Station,
    kali2: Station,
    kali3: Station,
    /// Why the guests have veth instead of taps, if they do.
    no_taps: Option<Error>,
}

impl Network {
    fn build() -> Result<Self, Error> {
        let (host, lan) = (Node::new()?, Node::new()?);
        let br0 = host.bridge("br0", BR0)?;
        host.address(&br0, Ipv4Addr::new(192, 0, 2, 1).into(), 24)?;
        let (eth0, nic) = host.cable("eth0", mac(0, 2), &lan, "eth0", mac(1, 1))?;
        host.plug(&eth0, &br0)?;
        let server = Station::at_socket(
            nic.mac,
            Ipv4Addr::new(192, 0, 2, 10),
            lan.packet_socket(&nic, Promiscuous::Yes)?,
        );
        let (mut others, mut taps, mut stations, mut no_taps) = (vec![lan], Vec::new(), Vec::new(), None);
        for number in [2, 3] {
            let ip = Ipv4Addr::new(192, 0, 2, 20 + number);
            let (name, address) = (format!("tap{number}"), mac(0, 0x10 + number));
            let (port, station) = match host.tap(&name, address)? {
                Ok((port, tap)) => (port, Station::behind_tap(mac(3, number), ip, tap)),
                Err(why) => {
                    no_taps = Some(why);
                    let guest = Node::new()?;
                    let (port, nic) = host.cable(&name, address, &guest, "eth0", mac(3, number))?;
                    let socket = guest.packet_socket(&nic, Promiscuous::Yes)?;
                    others.push(guest);
                    (port, Station::at_socket(nic.mac, ip, socket))
                }
            };
            host.plug(&port, &br0)?;
            taps.push(port);
            stations.push(station);
        }
        let missing =
            || Error::Malformed { what: "the guests".to_owned(), detail: "there are not two".to_owned() };
        let kali3 = stations.pop().ok_or_else(missing)?;
        let kali2 = stations.pop().ok_or_else(missing)?;
        host.wait_forwarding()?;
        Ok(Self { host, _others: others, br0, taps, server, kali2, kali3, no_taps })
    }

    /// The guests and the server tell the bridge where they are.
    fn announce(&mut self) -> Result<(), Error> {
        for station in [&mut self.server, &mut self.kali2, &mut self.kali3] {
            station.announce()?;
        }
        settle(&mut self.kali2, &mut self.kali3)?;
        settle(&mut self.kali3, &mut self.kali2)?;
        settle(&mut self.server, &mut self.kali2)
    }

    fn ageing(&self, hundredths: u32) -> Result<(), Error> {
        self.host.apply(link::bridge_option(
            self.br0.index,
            IFLA_BR_AGEING_TIME,
            &hundredths.to_ne_bytes(),
        ))?;
        if hundredths > 0 {
            return Ok(());
        }
        // What was learned before goes when the collector has run, in the background.
        self.host.wait_until("nothing is learned", |_, fdb| {
            let learned = |entry: &FdbEntry| entry.bridge.is_some() && entry.kind() == FdbKind::Dynamic;
            !fdb.iter().any(learned)
        })
    }

    /// Sends a unicast frame from the server to a guest, and says whether the third party sees it.
    fn leaks(&mut self, to: MacAddr) -> Result<Seen, Error> {
        for station in [&mut self.kali2, &mut self.kali3] {
            station.forget()?;
        }
        let frame = secret(to, self.server.mac);
        self.server.send(&frame)?;
        settle(&mut self.server, &mut self.kali3)?;
        settle(&mut self.server, &mut self.kali2)?;
        Ok(Seen {
            kali2: self.kali2.heard(|heard| heard == frame)?,
            kali3: self.kali3.heard(|heard| heard == frame)?,
        })
    }

    /// br0's flags as `ip link` has them, and its promiscuity.
    fn flags(&self) -> Result<String, Error> {
        let snapshot = self.host.snapshot()?;
        let link = snapshot.namespaces.first().and_then(|netns| netns.link(self.br0.index));
        let Some(link) = link else { return Ok("gone".to_owned()) };
        let promiscuity = link.promiscuity.unwrap_or_default();
        let shown = if link.flags.has(LinkFlags::PROMISC) { "PROMISC" } else { "nothing" };
        Ok(format!("ip link shows {shown}, IFLA_PROMISCUITY {promiscuity}"))
    }

    /// Whether `/sys/class/net/br0/flags` has `IFF_PROMISC`.
    fn sysfs_promiscuous(&self) -> Result<bool, Error> {
        let text = self.host.run(|_| read_sysfs("class/net/br0/flags"))?;
        let digits = text.trim_start_matches("0x");
        Ok(u32::from_str_radix(digits, 16).is_ok_and(|flags| LinkFlags(flags).has(LinkFlags::PROMISC)))
    }

    /// The ports that are promiscuous.
    fn promiscuous_ports(&self) -> Result<String, Error> {
        let snapshot = self.host.snapshot()?;
        let links = snapshot.namespaces.iter().flat_map(|netns| netns.links.known());
        let ports = links.filter(|link| link.bridge_port().is_some() && link.is_promiscuous() == Some(true));
        let mut names: Vec<_> = ports.map(|link| link.name.as_str()).collect();
        names.sort_unstable();
        Ok(names.join(", "))
    }
}

/// Who saw a frame that was meant for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    kali2: bool,
    kali3: bool,
}

fn secret(to: MacAddr, from: MacAddr) -> Vec<u8> {
    let payload = Payload::Udp4 {
        from: Ipv4Addr::new(192, 0, 2, 10),
        to: Ipv4Addr::new(192, 0, 2, 99),
        ports: (80, 40000),
        data: b"not for everybody".to_vec(),
    };
    FrameBuilder::new(to, from).payload(&payload)
}

/// The other product's switch: it takes whatever br0 is passed, and sends by br0.
struct ForeignBridge {
    uplink: PacketSocket,
    guest_heard: Vec<Vec<u8>>,
}

impl ForeignBridge {
    fn start(network: &Network) -> Result<Self, Error> {
        let uplink = network.host.packet_socket(&network.br0, Promiscuous::Yes)?;
        Ok(Self { uplink, guest_heard: Vec::new() })
    }

    /// Hands its guest what is addressed to it.
    fn switch(&mut self) -> Result<(), Error> {
        let frames = self.uplink.drain()?.into_iter().map(|captured| captured.bytes);
        let for_guest = |frame: &Vec<u8>| {
            let to = frame.first_chunk::<6>();
            to == Some(&FOREIGN.0) || to == Some(&MacAddr::BROADCAST.0)
        };
        self.guest_heard.extend(frames.filter(for_guest));
        Ok(())
    }

    /// Its guest sends a frame.
    fn send(&self, frame: &[u8]) -> Result<(), Error> {
        self.uplink.send(frame)
    }

    fn guest_heard(&mut self, frame: &[u8]) -> Result<bool, Error> {
        self.switch()?;
        Ok(self.guest_heard.iter().any(|heard| heard == frame))
    }
}

/// Runs the story.
pub(super) fn run() -> Result<Story, Error> {
    let mut network = Network::build()?;
    let release = network.host.snapshot()?.kernel.release;
    let mut story = Story::new("foreign-bridge", NETWORK, release);
    if let Some(why) = &network.no_taps {
        story.skip(
            "Guests",
            "guests behind taps, as virtual machines are; veth pairs stand in for them",
            why,
        );
    }
    ageing(&mut network, &mut story)?;
    let ports = network.promiscuous_ports()?;
    let says = article("all interfaces attached to the bridge are promiscuous", ports == "eth0, tap2, tap3");
    story.value(FLAGS, "ports that are promiscuous, all the time", "eth0, tap2, tap3", &ports, says);
    flags(&network, "before the foreign bridge", false, &mut story)?;
    let mut foreign = ForeignBridge::start(&network)?;
    with_foreign_bridge(&mut network, &mut foreign, &mut story)?;
    audited::audit(&[&network.host], &mut story)?;
    drop(foreign);
    without_promiscuity(&mut network, &mut story)?;
    cures(&mut network, &mut story)?;
    Ok(story)
}

const AGEING: &str = "Two guests, no foreign bridge";

fn ageing(network: &mut Network, story: &mut Story) -> Result<(), Error> {
    let kali2 = network.kali2.mac;
    network.ageing(3000)?;
    network.announce()?;
    let seen = network.leaks(kali2)?;
    story.step(AGEING, "ageing 30: kali2 gets what the server sends it", true, seen.kali2, None);
    let says = article("with ageing above 0 the bridge works like a switch", !seen.kali3);
    story.step(AGEING, "ageing 30: kali3 sees it too", false, seen.kali3, says);
    network.ageing(0)?;
    network.announce()?;
    let seen = network.leaks(kali2)?;
    story.step(AGEING, "ageing 0: kali2 gets what the server sends it", true, seen.kali2, None);
    let says = article("ageing 0 turns the bridge into a hub", seen.kali3);
    story.step(AGEING, "ageing 0: kali3 sees it too", true, seen.kali3, says);
    network.ageing(3000)?;
    network.announce()
}

const FLAGS: &str = "What shows that br0 is promiscuous";

/// Tells br0's flags at a point of the story; `on` is whether the foreign bridge runs.
fn flags(network: &Network, when: &str, on: bool, story: &mut Story) -> Result<(), Error> {
    let expected = format!("ip link shows nothing, IFLA_PROMISCUITY {}", u8::from(on));
    let seen = network.flags()?;
    let hidden = seen.starts_with("ip link shows nothing");
    let says = if on { article("ip and ifconfig fail to show it", hidden) } else { None };
    story.value(FLAGS, when, &expected, &seen, says);
    let name = format!("{when}: IFF_PROMISC in /sys/class/net/br0/flags");
    match network.sysfs_promiscuous() {
        Ok(seen) => {
            let says = if on { article("/sys/class/net/br0/flags shows it", seen) } else { None };
            story.step(FLAGS, name, on, seen, says);
        }
        Err(why) => story.skip(FLAGS, name, &why),
    }
    Ok(())
}

const FOREIGN_ON: &str = "The foreign bridge is on, ageing 30";

fn with_foreign_bridge(
    network: &mut Network,
    foreign: &mut ForeignBridge,
    story: &mut Story,
) -> Result<(), Error> {
    flags(network, "while it runs", true, story)?;
    // The foreign guest talks first, so that a bridge that could learn it would have.
    let hello = FrameBuilder::new(MacAddr::BROADCAST, FOREIGN);
    foreign.send(&hello.payload(&Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0xfe; 46] }))?;
    let outbound = secret(network.server.mac, FOREIGN);
    for station in [&mut network.server, &mut network.kali3] {
        station.forget()?;
    }
    foreign.send(&outbound)?;
    settle(&mut network.kali2, &mut network.kali3)?;
    settle(&mut network.kali2, &mut network.server)?;
    let arrived = network.server.heard(|heard| heard == outbound)?;
    story.step(FOREIGN_ON, "outbound: the server gets what the foreign guest sends", true, arrived, None);
    let overheard = network.kali3.heard(|heard| heard == outbound)?;
    let says = article("packets from the foreign guest to the server are not seen", !overheard);
    story.step(FOREIGN_ON, "outbound: kali3 sees it too", false, overheard, says);
    let seen = network.leaks(FOREIGN)?;
    let got = foreign.guest_heard(&secret(FOREIGN, network.server.mac))?;
    story.step(FOREIGN_ON, "inbound: the foreign guest gets what the server sends it", true, got, None);
    let says = article("all packets towards the foreign guest are seen on a KVM guest", seen.kali3);
    story.step(FOREIGN_ON, "inbound: kali3 sees it too", true, seen.kali3, says);
    Ok(())
}

const PROMISC_OFF: &str = "The foreign bridge is off again";

fn without_promiscuity(network: &mut Network, story: &mut Story) -> Result<(), Error> {
    flags(network, "after it stopped", false, story)?;
    let seen = network.leaks(FOREIGN)?;
    let says = article("it is the promiscuous mode of br0 that makes it flood", !seen.kali3);
    story.step(
        PROMISC_OFF,
        "promiscuity 0: kali3 still sees what goes to the foreign guest",
        true,
        seen.kali3,
        says,
    );
    Ok(())
}

const CURES: &str = "What stops the flood";

fn cures(network: &mut Network, story: &mut Story) -> Result<(), Error> {
    let foreign = ForeignBridge::start(network)?;
    let entry = FdbChange {
        device: network.br0.index,
        address: FOREIGN,
        vlan: None,
        state: link::NUD_PERMANENT,
        flags: link::NTF_SELF,
    };
    network.host.apply(entry.add())?;
    let mut foreign = foreign;
    let seen = network.leaks(FOREIGN)?;
    let got = foreign.guest_heard(&secret(FOREIGN, network.server.mac))?;
    story.step(
        CURES,
        "a local FDB entry for its MAC on br0: the foreign guest still gets its frames",
        true,
        got,
        None,
    );
    story.step(CURES, "a local FDB entry for its MAC on br0: kali3 sees them", false, seen.kali3, None);
    network.host.apply(entry.delete())?;
    let seen = network.leaks(FOREIGN)?;
    story.step(CURES, "without it again: kali3 sees them", true, seen.kali3, None);
    for tap in &network.taps {
        network.host.apply(link::port_option(tap.index, IFLA_BRPORT_UNICAST_FLOOD, &[0]))?;
    }
    let seen = network.leaks(FOREIGN)?;
    let says = article("unicast_flood 0 on the taps may be a solution", !seen.kali3);
    story.step(CURES, "unicast flood off on the guest ports: kali3 sees them", false, seen.kali3, says);
    let kali2 = network.kali2.mac;
    let seen = network.leaks(kali2)?;
    story.step(CURES, "unicast flood off: kali2 still gets its own frames", true, seen.kali2, None);
    Ok(())
}

/// The nodes, for `lab up`: taps would go away with the process, so these guests have veth pairs.
pub(super) fn nodes() -> Result<Vec<(String, Node)>, Error> {
    let (host, lan) = (Node::new()?, Node::new()?);
    let br0 = host.bridge("br0", BR0)?;
    let (eth0, nic) = host.cable("eth0", mac(0, 2), &lan, "eth0", mac(1, 1))?;
    lan.address(&nic, Ipv4Addr::new(192, 0, 2, 10).into(), 24)?;
    host.address(&br0, Ipv4Addr::new(192, 0, 2, 1).into(), 24)?;
    host.plug(&eth0, &br0)?;
    let mut nodes = Vec::new();
    for number in [2, 3] {
        let guest = Node::new()?;
        let (port, nic) =
            host.cable(&format!("vnet{number}"), mac(0, 0x10 + number), &guest, "eth0", mac(3, number))?;
        guest.address(&nic, Ipv4Addr::new(192, 0, 2, 20 + number).into(), 24)?;
        host.plug(&port, &br0)?;
        nodes.push((format!("kali{number}"), guest));
    }
    nodes.extend([("host".to_owned(), host), ("lan".to_owned(), lan)]);
    Ok(nodes)
}
