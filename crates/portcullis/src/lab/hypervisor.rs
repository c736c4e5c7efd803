//! The first article's network: three guests on a bridge with the public network, and an infrastructure network that
//! they should not reach.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Instant;

use portcullis_datapath::Payload;
use portcullis_datapath::frame::ArpOperation;
use portcullis_kernel::Error;
use portcullis_kernel::link::{self, RuleChange};
use portcullis_kernel::packet::Promiscuous;
use portcullis_snapshot::{LinkFlags, MacAddr, VlanId};

use super::audited;
use super::station::{Station, arp_reply, settle};
use super::story::{Story, article};
use super::world::{LIMIT, Nic, Node, mac};

const NETWORK: &str = "\
guest1 guest2 guest3 (203.0.113.11-13)      infra (198.51.100.10)
   |      |      |                             |         \\
 vnet1  vnet2  vnet3   eth0 -- public       eth1          +-- also on the public network,
   +------+------+------+  (203.0.113.1)  (198.51.100.1)     as its router
          br0, no address                     host, forwarding";

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const INFRA: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const GUEST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11);
const BR0: MacAddr = mac(0, 1);

/// The network, built.
pub(super) struct Hypervisor {
    host: Node,
    public: Node,
    infra: Node,
    /// Where the bridge goes by one of the remedies.
    elsewhere: Node,
    guests: Vec<Node>,
    br0: Nic,
    /// The router's leg on the public network.
    pub0: Nic,
    ports: Vec<Nic>,
    nics: Vec<Nic>,
}

impl Hypervisor {
    /// Builds it.
    pub(super) fn build() -> Result<Self, Error> {
        let [host, public, infra, elsewhere] = [Node::new()?, Node::new()?, Node::new()?, Node::new()?];
        let br0 = host.bridge("br0", BR0)?;
        // The public network: a switch with its router's address on it, and a leg of the infrastructure's router.
        let lan = public.bridge("lan0", mac(1, 1))?;
        public.address(&lan, PUBLIC.into(), 24)?;
        let (eth0, ext) = host.cable("eth0", mac(0, 2), &public, "ext0", mac(1, 2))?;
        let (leg, pub0) = public.cable("leg0", mac(1, 3), &infra, "pub0", mac(2, 2))?;
        for port in [&ext, &leg] {
            public.plug(port, &lan)?;
        }
        infra.address(&pub0, ROUTER.into(), 24)?;
        // The infrastructure network.
        let (eth1, machine) = host.cable("eth1", mac(0, 3), &infra, "eth0", mac(2, 1))?;
        host.address(&eth1, HOST.into(), 24)?;
        host.address(&eth1, HOST6.into(), 64)?;
        infra.address(&machine, INFRA.into(), 24)?;
        host.plug(&eth0, &br0)?;
        host.apply(link::route(Ipv4Addr::UNSPECIFIED.into(), 0, Some(INFRA.into()), None))?;
        for node in [&host, &infra] {
            node.sysctl(&["ipv4", "conf", "all", "forwarding"], "1")?;
        }
        let (guests, ports, nics) = (Vec::new(), vec![eth0], Vec::new());
        let mut network = Self { host, public, infra, elsewhere, guests, br0, pub0, ports, nics };
        for number in 1..=3 {
            network.guest(number)?;
        }
        network.host.wait_forwarding()?;
        network.public.wait_forwarding()?;
        Ok(network)
    }

    fn guest(&mut self, number: u8) -> Result<(), Error> {
        let guest = Node::new()?;
        let name = format!("vnet{number}");
        let (port, nic) = self.host.cable(&name, mac(0, 0x10 + number), &guest, "eth0", mac(3, number))?;
        self.host.plug(&port, &self.br0)?;
        // The stations answer no ARP, so the router on the public side knows them already.
        let ip = Ipv4Addr::new(203, 0, 113, 10 + number);
        self.infra.apply(link::neighbour(self.pub0.index, ip.into(), nic.mac, link::NUD_PERMANENT))?;
        self.ports.push(port);
        self.nics.push(nic);
        self.guests.push(guest);
        Ok(())
    }

    /// A station in the place of a guest, numbered from 1.
    fn station(&self, number: u8) -> Result<Station, Error> {
        let missing =
            || Error::Malformed { what: format!("guest {number}"), detail: "there is none".to_owned() };
        let at = usize::from(number) - 1;
        let (guest, nic) = (self.guests.get(at).ok_or_else(missing)?, self.nics.get(at).ok_or_else(missing)?);
        let socket = guest.packet_socket(nic, Promiscuous::No)?;
        Ok(Station::at_socket(nic.mac, Ipv4Addr::new(203, 0, 113, 10 + number), socket))
    }

    /// Two stations that the bridge knows.
    fn stations(&self) -> Result<(Station, Station), Error> {
        let (mut one, mut two) = (self.station(1)?, self.station(2)?);
        one.announce()?;
        two.announce()?;
        settle(&mut two, &mut one)?;
        settle(&mut one, &mut two)?;
        Ok((one, two))
    }
}

/// What a guest gets through to the host, each shown by the host's own counters or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reached {
    arp: bool,
    ipv4: bool,
    ipv6: bool,
    link_local: bool,
    /// The router of the public network, which the guest is meant to reach.
    public: bool,
}

impl Reached {
    const ALL: Self = Self { arp: true, ipv4: true, ipv6: true, link_local: true, public: true };
    const NOTHING: Self = Self { arp: false, ipv4: false, ipv6: false, link_local: false, public: true };

    fn measure(network: &Hypervisor) -> Result<Self, Error> {
        let (mut guest, mut other) = network.stations()?;
        let arp = guest.arp(HOST, &mut other)?.is_some();
        let public = guest.arp(PUBLIC, &mut other)?.is_some();
        let mut counted = |counter: &str, dst: MacAddr, payload: &Payload| {
            let before = network.host.counters()?;
            guest.send_to(dst, payload)?;
            settle(&mut other, &mut guest)?;
            Ok::<_, Error>(network.host.counters()?.since(&before, counter) > 0)
        };
        let ping = Payload::Ping4 { from: Ipv4Addr::new(203, 0, 113, 11), to: HOST };
        let ping6 = Payload::Ping6 { from: GUEST6, to: HOST6 };
        Ok(Self {
            arp,
            public,
            ipv4: counted("Icmp.InEchos", BR0, &ping)?,
            ipv6: counted("Icmp6InEchos", BR0, &ping6)?,
            link_local: counted("Icmp.InEchos", MacAddr::link_local(0x0e), &ping)?,
        })
    }

    fn words(self) -> String {
        let all =
            [("ARP", self.arp), ("IPv4", self.ipv4), ("IPv6", self.ipv6), ("link-local", self.link_local)];
        let through: Vec<_> = all.into_iter().filter(|(_, yes)| *yes).map(|(name, _)| name).collect();
        let through = if through.is_empty() { "nothing".to_owned() } else { through.join(", ") };
        if self.public { through } else { through + "; the public network is cut off" }
    }
}

/// Runs the story.
pub(super) fn run() -> Result<Story, Error> {
    let network = Hypervisor::build()?;
    let snapshot = network.host.snapshot()?;
    let mut story = Story::new("hypervisor", NETWORK, snapshot.kernel.release);
    reach(&network, &mut story)?;
    without_arp(&network, &mut story)?;
    one_way(&network, &mut story)?;
    remedies(&mut story)?;
    // The audit judges the network as it was built, so a fresh one.
    let fresh = Hypervisor::build()?;
    audited::audit(&[&fresh.host], &mut story)?;
    confirm(&fresh, &mut story)?;
    Ok(story)
}

/// The nodes, for `lab up`: there the guests have addresses of their own, for people to try things with.
pub(super) fn nodes() -> Result<Vec<(String, Node)>, Error> {
    let network = Hypervisor::build()?;
    let mut nodes = vec![
        ("host".to_owned(), network.host),
        ("public".to_owned(), network.public),
        ("infra".to_owned(), network.infra),
    ];
    for (number, (guest, nic)) in (1u8..).zip(network.guests.into_iter().zip(network.nics)) {
        guest.address(&nic, Ipv4Addr::new(203, 0, 113, 10 + number).into(), 24)?;
        guest.apply(link::route(Ipv4Addr::UNSPECIFIED.into(), 0, Some(PUBLIC.into()), None))?;
        nodes.push((format!("guest{number}"), guest));
    }
    Ok(nodes)
}

const REACH: &str = "What a guest reaches";

fn reach(network: &Hypervisor, story: &mut Story) -> Result<(), Error> {
    let (mut guest, mut other) = network.stations()?;
    let router = guest.arp(PUBLIC, &mut other)?;
    story.step(REACH, "the public router answers ARP", true, router.is_some(), None);
    let pings = match router {
        Some(router) => guest.ping(router, PUBLIC, &mut other)?,
        None => false,
    };
    story.step(REACH, "and ping: this is what the bridge is for", true, pings, None);
    let neighbour = guest.arp(HOST, &mut other)?;
    let neighbour = neighbour.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
    let says = article(
        "the guest's neighbour entry for a host address has the bridge's MAC",
        neighbour == BR0.to_string(),
    );
    story.value(
        REACH,
        format!("neighbour entry for {HOST}, an address of eth1"),
        &BR0.to_string(),
        &neighbour,
        says,
    );
    let host = guest.ping(BR0, HOST, &mut other)?;
    let says = article("the guest pings an address of the infrastructure network", host);
    story.step(REACH, format!("the host answers ping at {HOST}"), true, host, says);
    let infra = guest.ping(BR0, INFRA, &mut other)?;
    let says = article("with the host forwarding, the reach is the whole infrastructure network", infra);
    story.step(REACH, format!("the machine behind it answers ping at {INFRA}"), true, infra, says);
    Ok(())
}

const NO_ARP: &str = "With ARP off on br0";

fn without_arp(network: &Hypervisor, story: &mut Story) -> Result<(), Error> {
    let (mut guest, mut other) = network.stations()?;
    network.host.apply(link::flags(network.br0.index, LinkFlags::NOARP, LinkFlags::NOARP))?;
    let answered = guest.arp(HOST, &mut other)?.is_some();
    story.step(
        NO_ARP,
        "the host answers ARP",
        false,
        answered,
        article("NOARP drops ARP as the first step", !answered),
    );
    let fixed = guest.ping(BR0, HOST, &mut other)?;
    let says = article("a static neighbour entry still works", fixed);
    story.step(NO_ARP, "ping with the bridge's MAC entered by hand", true, fixed, says);
    let broadcast = guest.ping(MacAddr::BROADCAST, HOST, &mut other)?;
    let says = article("ff:ff:ff:ff:ff:ff as the MAC works too: it need not even be guessed", broadcast);
    story.step(NO_ARP, "ping with the broadcast MAC", true, broadcast, says);
    let before = network.host.counters()?;
    guest.ping(MacAddr::BROADCAST, INFRA, &mut other)?;
    let routed = network.host.counters()?.since(&before, "Ip.ForwDatagrams") > 0;
    story.step(
        NO_ARP,
        "the host routes a broadcast frame on: only those to its own MAC",
        false,
        routed,
        None,
    );
    network.host.apply(link::flags(network.br0.index, 0, LinkFlags::NOARP))
}

const ONE_WAY: &str = "When no answer comes";

fn one_way(network: &Hypervisor, story: &mut Story) -> Result<(), Error> {
    let (mut guest, mut other) = network.stations()?;
    network.infra.sysctl(&["ipv4", "conf", "all", "forwarding"], "0")?;
    let before = network.host.counters()?;
    let answered = guest.ping(BR0, HOST, &mut other)?;
    let echos = network.host.counters()?.since(&before, "Icmp.InEchos");
    network.infra.sysctl(&["ipv4", "conf", "all", "forwarding"], "1")?;
    story.step(ONE_WAY, "the host's answer finds a way back", false, answered, None);
    let says = article("the host's ICMP counters show that it takes packets in all the same", echos == 1);
    story.value(ONE_WAY, "echo requests that the host counted", "1", &echos.to_string(), says);
    Ok(())
}

const REMEDIES: &str =
    "What gets through to the host, remedy by remedy (the public network stays within reach unless told)";

/// A remedy of the article: its name, how it is done, what still gets through, and what the article says of it.
struct Remedy {
    name: &'static str,
    apply: fn(&Hypervisor) -> Result<(), Error>,
    left: Reached,
    says: Option<&'static str>,
    holds: fn(Reached) -> bool,
}

const REMEDY_LIST: &[Remedy] = &[
    Remedy { name: "none", apply: |_| Ok(()), left: Reached::ALL, says: None, holds: |_| true },
    Remedy {
        name: "VLAN filtering, br0 in no VLAN",
        apply: vlan_filtering,
        left: Reached { link_local: true, ..Reached::NOTHING },
        says: Some("enforces isolation"),
        holds: |left| left == Reached::NOTHING,
    },
    Remedy {
        name: "ARP off",
        apply: |network| {
            network.host.apply(link::flags(network.br0.index, LinkFlags::NOARP, LinkFlags::NOARP))
        },
        left: Reached { arp: false, ..Reached::ALL },
        says: Some("stops ARP, not IPv4"),
        holds: |left| !left.arp && left.ipv4,
    },
    Remedy {
        name: "arp_ignore 2",
        apply: |network| network.host.sysctl(&["ipv4", "conf", "br0", "arp_ignore"], "2"),
        left: Reached { arp: false, ..Reached::ALL },
        says: Some("stops ARP, not IPv4"),
        holds: |left| !left.arp && left.ipv4,
    },
    Remedy {
        name: "rp_filter 1",
        apply: |network| network.host.sysctl(&["ipv4", "conf", "br0", "rp_filter"], "1"),
        left: Reached { ipv6: true, link_local: true, ..Reached::NOTHING },
        says: Some("stops IPv4: the packet is dropped during the route lookup"),
        holds: |left| !left.ipv4,
    },
    Remedy {
        name: "ip rule add iif br0 blackhole",
        apply: |network| network.host.apply(blackhole(32765).add()),
        left: Reached::ALL,
        says: Some("stops IPv4, a bit earlier than rp_filter"),
        holds: |left| !left.ipv4,
    },
    Remedy {
        name: "the same, in front of the local rule",
        apply: |network| {
            let local = |priority| RuleChange { ipv6: false, priority, action: 1, table: 255, iif: None };
            network.host.apply(local(100).add())?;
            network.host.apply(local(0).delete())?;
            network.host.apply(blackhole(50).add())
        },
        left: Reached { ipv6: true, link_local: true, ..Reached::NOTHING },
        says: None,
        holds: |_| true,
    },
    Remedy {
        name: "disable_ipv6 on br0",
        apply: |network| network.host.sysctl(&["ipv6", "conf", "br0", "disable_ipv6"], "1"),
        left: Reached { ipv6: false, ..Reached::ALL },
        says: Some("drops IPv6 as the first step"),
        holds: |left| !left.ipv6,
    },
    Remedy {
        name: "the bridge and its ports in a namespace of their own",
        apply: into_namespace,
        left: Reached::NOTHING,
        says: Some("ultimately, what a guest sends to the host is dropped"),
        holds: |left| left == Reached::NOTHING,
    },
    Remedy {
        name: "br0 down",
        apply: |network| network.host.apply(link::down(network.br0.index)),
        left: Reached { link_local: true, public: false, ..Reached::NOTHING },
        says: None,
        holds: |_| true,
    },
];

const fn blackhole(priority: u32) -> RuleChange<'static> {
    RuleChange { ipv6: false, priority, action: 6, table: 0, iif: Some("br0") }
}

fn vlan_filtering(network: &Hypervisor) -> Result<(), Error> {
    const IFLA_BR_VLAN_FILTERING: u16 = 7;
    network.host.apply(link::bridge_option(network.br0.index, IFLA_BR_VLAN_FILTERING, &[1]))?;
    VlanId::new(1).map_or(Ok(()), |one| network.host.apply(link::vlan_del(network.br0.index, one, true)))
}

fn into_namespace(network: &Hypervisor) -> Result<(), Error> {
    let elsewhere = &network.elsewhere;
    for port in &network.ports {
        network.host.apply(link::move_to(port.index, elsewhere.as_fd()))?;
    }
    network.host.apply(link::delete(network.br0.index))?;
    let br0 = elsewhere.bridge("br0", BR0)?;
    for port in &network.ports {
        let index = elsewhere.run(|socket| link::index_of(socket, &port.name))?;
        elsewhere.apply(link::master(index, Some(br0.index)))?;
        elsewhere.apply(link::up(index))?;
    }
    elsewhere.wait_forwarding()
}

fn remedies(story: &mut Story) -> Result<(), Error> {
    for remedy in REMEDY_LIST {
        let network = Hypervisor::build()?;
        if let Err(error) = (remedy.apply)(&network) {
            story.skip(REMEDIES, remedy.name, &error);
            continue;
        }
        // With the bridge down no marker passes it: the frame itself is seen by the host's counters.
        let left =
            if remedy.name == "br0 down" { bridge_down(&network)? } else { Reached::measure(&network)? };
        let says = remedy.says.and_then(|says| article(says, (remedy.holds)(left)));
        story.value(REMEDIES, remedy.name, &remedy.left.words(), &left.words(), says);
    }
    Ok(())
}

/// Measures where no marker passes: the link-local frame goes last and is the marker of those before it.
fn bridge_down(network: &Hypervisor) -> Result<Reached, Error> {
    let mut guest = network.station(1)?;
    let ping = Payload::Ping4 { from: guest.ip, to: HOST };
    let (sender_mac, sender_ip) = (guest.mac, guest.ip);
    let operation = ArpOperation::Request;
    let before = network.host.counters()?;
    for target_ip in [HOST, PUBLIC] {
        let arp = Payload::Arp { operation, sender_mac, sender_ip, target_ip };
        guest.send_to(MacAddr::BROADCAST, &arp)?;
    }
    guest.send_to(BR0, &Payload::Ping6 { from: GUEST6, to: HOST6 })?;
    guest.send_to(BR0, &ping)?;
    guest.send_to(MacAddr::link_local(0x0e), &ping)?;
    let start = Instant::now();
    let mut after = network.host.counters()?;
    while after.since(&before, "Icmp.InEchos") == 0 && start.elapsed() < LIMIT {
        after = network.host.counters()?;
    }
    let echos = after.since(&before, "Icmp.InEchos");
    let mut answered = |ip| guest.heard(|heard| arp_reply(heard, ip).is_some());
    Ok(Reached {
        arp: answered(HOST)?,
        public: answered(PUBLIC)?,
        ipv4: echos > 1,
        ipv6: after.since(&before, "Icmp6InEchos") > 0,
        link_local: echos > 0,
    })
}

/// Sends the audit's witness frames for the first guest's port, with a station behind every port.
fn confirm(network: &Hypervisor, story: &mut Story) -> Result<(), Error> {
    let Some(port) = network.ports.get(1) else { return Ok(()) };
    let (guest, other) = network.stations()?;
    let far = network.public.run(|socket| link::index_of(socket, "ext0"))?;
    let ext0 = Nic { index: far, name: "ext0".to_owned(), mac: mac(1, 2) };
    let uplink = network.public.packet_socket(&ext0, Promiscuous::No)?;
    let stations = [
        ("vnet1", guest),
        ("vnet2", other),
        ("vnet3", network.station(3)?),
        ("eth0", Station::at_socket(ext0.mac, PUBLIC, uplink)),
    ];
    let stations = stations.map(|(name, station)| (name.to_owned(), station)).into();
    audited::confirm(&network.host, port.index, stations, story)
}
