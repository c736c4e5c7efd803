//! What has to go on working: frames that get somewhere now, and must still get there when a plan is made.
//!
//! Guests reach the uplink, the uplink reaches guests, and guests each other where the policy lets them; the host is reached
//! where it is meant to be. For each, some frames of the usual sorts stand for all. Untagged ones are wanted in any case. A
//! tagged one may be somebody's VLAN or nobody's: which, a snapshot does not tell. A plan that would stop it is not chosen, but
//! made if it is asked for, and says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_audit::{Access, Alike, BridgeView, Context, PortView, Role};
use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{Concrete, FrameBuilder, Payload, Trace, walk};
use portcullis_prove::{Goal, HostProtocol, Prover};
use portcullis_snapshot::{Bytes, EtherType, MacAddr};

use crate::change::TABLE;
use crate::device::Device;

/// A frame that gets somewhere, and is wanted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// The port that it comes in by.
    pub(crate) from: Device,
    /// Where it gets.
    pub(crate) to: Destination,
    /// The frame.
    pub(crate) frame: Bytes,
    /// What sort of frame it is, in words.
    pub(crate) sort: &'static str,
    /// Whether nothing may stop it.
    pub(crate) firm: bool,
}

/// Where a wanted frame gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Host(HostProtocol),
    Port(Device),
}

impl Want {
    fn goal(&self) -> Goal {
        match &self.to {
            Destination::Host(protocol) => Goal::Host(*protocol),
            Destination::Port(port) => Goal::Port(port.index),
        }
    }

    /// Whether it gets there.
    pub(crate) fn holds(&self, prover: &Prover<'_, '_>) -> bool {
        prover.gets_there(self.from.index, self.goal(), &self.frame)
    }
}

/// Returns what works on a bridge now and is wanted to.
pub(crate) fn wants(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Want> {
    let mut wants = Vec::new();
    let groups: Vec<_> = bridge.groups().collect();
    for from in &groups {
        for to in groups.iter().filter_map(|to| another(to, from)) {
            if is_wanted(bridge, from.first, to) {
                wants.extend(between(from.first, to));
            }
        }
        if context.access_at(bridge, bridge.link.index) == Access::Allow {
            wants.extend(to_host(context, bridge, from.first));
        }
    }
    let prover = Prover::new(context.network()).now();
    wants.retain(|want| want.holds(&prover));
    wants
}

/// Says which guests do not get through in their own names, as the policy states them: rules drop what they send, which were
/// made for other addresses, perhaps by a plan before the policy changed.
pub(crate) fn unheard(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<String> {
    let name = &bridge.link.name;
    let said = |Unheard { port, sort, own, rule }| {
        format!("{name}: {sort} of {port} in its own name, {own}: {rule} drops it")
    };
    dropped(context, bridge).into_iter().map(said).collect()
}

/// A guest that does not get through in its own name because of rules of Portcullis's own, which were made when the policy stated
/// another.
pub(crate) fn outdated(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<String> {
    let own = format!("nftables netdev {TABLE} ");
    let mut guests = dropped(context, bridge).into_iter();
    guests.find(|guest| guest.rule.starts_with(&own)).map(|guest| guest.port)
}

/// A guest that does not get through in its own name.
struct Unheard {
    port: String,
    /// By what sort of frame.
    sort: &'static str,
    own: IpAddr,
    /// What drops it, in words.
    rule: String,
}

fn dropped(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Unheard> {
    let stated = |port: &&PortView<'_>| port.stated_ip.as_ref().is_some_and(|nets| !nets.is_empty());
    let guests = bridge.guests().flat_map(|group| group.members().filter(stated).collect::<Vec<_>>());
    let dropped = |from: &PortView<'_>| {
        let wanted = |to: &&PortView<'_>| to.link.index != from.link.index && is_wanted(bridge, from, to);
        let to = bridge.ports.iter().find(wanted)?;
        let (sender4, sender6) = senders(from);
        let [four, six] = [IpAddr::from(sender4), IpAddr::from(sender6)];
        let states = |own: &IpAddr| from.stated_ip.iter().flatten().any(|net| net.contains(own));
        let sorts = [("ARP", four), ("IPv4", four), ("IPv6", six)].into_iter().filter(|(_, own)| states(own));
        let wants = between(from, to);
        sorts.into_iter().find_map(|(sort, own)| {
            let want = wants.iter().find(|want| want.sort == sort)?;
            let rule = dropped_by(context, want)?;
            Some(Unheard { port: from.link.name.clone(), sort, own, rule })
        })
    };
    guests.filter_map(dropped).collect()
}

/// The rule that drops a frame on each of its ways, if it is rules that do.
fn dropped_by(context: &Context<'_>, want: &Want) -> Option<String> {
    let mut frame = Concrete::new(&want.frame.0)?;
    let walked = walk(context.network(), want.from.index, &mut frame, Trace::Steps);
    let is_rule = |function: &str| function == "nft_do_chain";
    if !walked.outcomes.is_empty() || walked.drops.is_empty() {
        return None;
    }
    let step = walked.steps.iter().rev().find(|step| is_rule(step.function))?;
    walked.drops.iter().all(|drop| is_rule(drop.function)).then(|| step.because.clone())
}

/// The first port of a group that is not the one that frames come from.
fn another<'b, 's>(group: &Alike<'b, 's>, from: &Alike<'_, '_>) -> Option<&'b PortView<'s>> {
    group.members().find(|port| port.link.index != from.first.link.index)
}

fn is_wanted(bridge: &BridgeView<'_>, from: &PortView<'_>, to: &PortView<'_>) -> bool {
    let guest_to_guest = from.role.is_untrusted() && to.role.is_untrusted();
    match (guest_to_guest, from.role, to.role) {
        (true, ..) => bridge.policy.guest_to_guest != Some(Access::Deny),
        // From one uplink to another a host is no transit.
        (false, Role::Uplink, Role::Uplink) => false,
        (false, ..) => true,
    }
}

/// Addresses that nobody has (RFC 5737, RFC 3849).
const SENDER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const TARGET4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const SENDER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10);
const TARGET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 11);

/// The addresses that a guest speaks as: the first that the policy states. One that is to have none speaks as nobody, or
/// link-locally.
fn senders(guest: &PortView<'_>) -> (Ipv4Addr, Ipv6Addr) {
    const NONE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 10);
    let Some(stated) = &guest.stated_ip else { return (SENDER4, SENDER6) };
    let first = |net: &IpNet| net.hosts().next();
    let ipv4 = stated.iter().filter_map(first).find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let ipv6 = stated.iter().filter_map(first).find_map(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    (ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED), ipv6.unwrap_or(NONE6))
}

fn between(from: &PortView<'_>, to: &PortView<'_>) -> Vec<Want> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let builder = |dst| FrameBuilder::new(dst, from.source);
    let want = |sort, firm, frame: Vec<u8>| Want {
        from: from.link.into(),
        to: Destination::Port(to.link.into()),
        frame: Bytes(frame),
        sort,
        firm,
    };
    let (sender4, sender6) = senders(from);
    let ipv4 = udp((sender4.into(), TARGET4.into()));
    let tagged = |tpid, vid| builder(to.source).tag(tpid, vid).payload(&ipv4);
    vec![
        want("ARP", true, builder(MacAddr::BROADCAST).payload(&request(from.source, sender4, TARGET4))),
        want("IPv4", true, builder(to.source).payload(&ipv4)),
        want("IPv6", true, builder(to.source).payload(&udp((sender6.into(), TARGET6.into())))),
        want(
            "IPv6 multicast",
            true,
            builder(ALL_NODES_MAC).payload(&udp((sender6.into(), ALL_NODES.into()))),
        ),
        want("tagged (802.1Q)", false, tagged(EtherType::VLAN, 5)),
        want("tagged (802.1ad)", false, tagged(EtherType(0x88a8), 5)),
        want("priority-tagged", false, tagged(EtherType::VLAN, 0)),
    ]
}

fn to_host(context: &Context<'_>, bridge: &BridgeView<'_>, from: &PortView<'_>) -> Vec<Want> {
    let Some(mac) = bridge.link.address else { return Vec::new() };
    let builder = |dst| FrameBuilder::new(dst, from.source);
    let want = |protocol, sort, frame| Want {
        from: from.link.into(),
        to: Destination::Host(protocol),
        frame: Bytes(frame),
        sort,
        firm: true,
    };
    let mut wants = Vec::new();
    for net in context.chosen_addresses(bridge.link.index) {
        // Somebody else of the same subnet.
        let Some(neighbour) = net.hosts().find(|host| *host != net.addr()) else { continue };
        let ip = builder(mac).payload(&udp((neighbour, net.addr())));
        match (neighbour, net.addr()) {
            (IpAddr::V4(neighbour), IpAddr::V4(own)) => {
                let arp = builder(MacAddr::BROADCAST).payload(&request(from.source, neighbour, own));
                wants.push(want(HostProtocol::Ipv4, "IPv4", ip));
                wants.push(want(HostProtocol::Arp, "ARP", arp));
            }
            _ => wants.push(want(HostProtocol::Ipv6, "IPv6", ip)),
        }
    }
    wants
}

fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Payload {
    Payload::Arp { operation: ArpOperation::Request, sender_mac, sender_ip, target_ip }
}

/// An empty datagram to the discard port.
fn udp(between: (IpAddr, IpAddr)) -> Payload {
    let (ports, data) = ((40_000, 9), Vec::new());
    match between {
        (IpAddr::V4(from), IpAddr::V4(to)) => Payload::Udp4 { from, to, ports, data },
        (IpAddr::V6(from), IpAddr::V6(to)) => Payload::Udp6 { from, to, ports, data },
        (IpAddr::V4(from), IpAddr::V6(to)) => Payload::Udp6 { from: from.to_ipv6_mapped(), to, ports, data },
        (IpAddr::V6(from), IpAddr::V4(to)) => Payload::Udp6 { from, to: to.to_ipv6_mapped(), ports, data },
    }
}

impl std::fmt::Display for Want {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, sort, .. } = self;
        match to {
            Destination::Host(_) => write!(f, "{sort} frames from {from} to the host"),
            Destination::Port(port) => write!(f, "{sort} frames from {from} to {port}"),
        }
    }
}
