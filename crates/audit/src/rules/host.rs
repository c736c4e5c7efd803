//! What the rules about reaching the host share: addresses to aim at, the frames that carry them, and how a
//! reached host is reported.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{Aim, HostDelivery, Outcome, Payload};
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{EtherType, IfIndex, LinkFlags, MacAddr};

use crate::context::{BridgeView, Context, PortView, is_link_local};
use crate::finding::{Finding, Findings, Severity};
use crate::policy::Access;
use crate::probe::{Destination, Hit, Probe, Reach};
use crate::rule::RuleDoc;

/// A source that belongs to nobody here (RFC 5737, TEST-NET-2).
pub(crate) const STRANGER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
/// Likewise (RFC 3849).
pub(crate) const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5043, 0, 0, 0, 0, 0x77);
/// All nodes on the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// How many of the host's addresses are aimed at.
const MAX_TARGETS: usize = 64;

/// Returns the host's addresses that somebody chose and that are not loopback ones, with their devices, in a fixed
/// order.
pub(crate) fn host_addresses(context: &Context<'_>) -> Vec<(IfIndex, IpNet)> {
    let addresses = context.netns().addresses.known().iter().map(|address| (address.device, address.address));
    let mut found: Vec<_> =
        addresses.filter(|(_, net)| !net.addr().is_loopback() && !is_link_local(net)).collect();
    found.sort();
    found.dedup();
    found.truncate(MAX_TARGETS);
    found
}

/// Returns IPv4 addresses of the host, one for each device.
pub(crate) fn ipv4_targets(context: &Context<'_>) -> Vec<Ipv4Addr> {
    let v4 = |net: &IpNet| if let IpNet::V4(net) = net { Some(net.addr()) } else { None };
    one_per_device(context, v4)
}

/// Returns IPv6 addresses of the host, one for each device.
pub(crate) fn ipv6_targets(context: &Context<'_>) -> Vec<Ipv6Addr> {
    let v6 = |net: &IpNet| if let IpNet::V6(net) = net { Some(net.addr()) } else { None };
    one_per_device(context, v6)
}

fn one_per_device<T>(context: &Context<'_>, of: impl Fn(&IpNet) -> Option<T>) -> Vec<T> {
    let mut last = None;
    let mut targets = Vec::new();
    for (device, net) in host_addresses(context) {
        let Some(target) = of(&net) else { continue };
        if last.replace(device) != Some(device) {
            targets.push(target);
        }
    }
    targets
}

/// Returns an address that a neighbour of this one may have: the next, or the one before.
pub(crate) fn neighbour_of(address: Ipv4Addr) -> Ipv4Addr {
    let bits = u32::from(address);
    Ipv4Addr::from(if bits & 0xff >= 0xfd { bits.wrapping_sub(1) } else { bits.wrapping_add(1) })
}

/// Likewise.
pub(crate) fn neighbour_of6(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address) ^ 0x10)
}

/// Returns the IPv6 link-local address that a guest with this MAC address gives itself (RFC 4291, appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Returns the group address that solicitations for an address go to (RFC 4291, section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(
        u128::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0)) | u128::from(address) & 0xff_ffff,
    )
}

/// Returns the MAC address of an IPv6 group (RFC 2464, section 7).
pub(crate) fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// An ARP request of the guest behind a port.
pub(crate) fn arp_request(port: &PortView<'_>, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Payload {
    Payload::Arp { operation: ArpOperation::Request, sender_mac: port.source, sender_ip, target_ip }
}

/// A ping to every IPv6 node on the link.
pub(crate) fn ping_all_nodes(port: &PortView<'_>) -> Payload {
    Payload::Ping6 { from: link_local(port.source), to: ALL_NODES }
}

/// Returns the delivery, if the host's stack took the frame in on a device above the bridge, not on the port.
pub(crate) fn above_bridge(outcome: &Outcome, port: IfIndex) -> Option<&HostDelivery> {
    match outcome {
        Outcome::Host(delivery) if delivery.device != port => Some(delivery),
        _ => None,
    }
}

/// A rule about one protocol of the host that guests must not reach.
pub(crate) struct Case<'c> {
    pub(crate) doc: &'c RuleDoc,
    /// The protocol.
    pub(crate) protocol: EtherType,
    /// What the host does, as the beginning of a title: "the host processes guests' IPv4".
    pub(crate) title: &'c str,
    /// What a guest gains.
    pub(crate) why: &'c str,
}

impl Case<'_> {
    /// Sends the probes in by every sort of guest port, and reports every port from which one reaches the host where
    /// it is not meant to be reached.
    pub(crate) fn check(
        &self,
        context: &Context<'_>,
        findings: &mut Findings,
        probes: impl Fn(&BridgeView<'_>) -> Vec<Probe<'static>>,
        remedies: impl Fn(&BridgeView<'_>) -> Vec<crate::Remedy>,
    ) {
        for bridge in context.bridges() {
            let probes = probes(bridge);
            let mut open = Vec::new();
            for alike in bridge.guests() {
                let denied = |outcome: &Outcome| {
                    above_bridge(outcome, alike.first.link.index).is_some_and(|delivery| {
                        delivery.protocol == self.protocol
                            && context.access_at(bridge, delivery.device) == Access::Deny
                    })
                };
                let goal = Goal::Host(HostProtocol::of(self.protocol));
                let reach = context.reach_proven(bridge, &alike, (Aim::Host, &probes), &[goal], denied);
                if let Some((finding, best, device)) = self.finding(context, bridge, &reach) {
                    let finding = finding.remedies(remedies(bridge));
                    let reaches: Arc<str> = format!("the host's {} on {device}", self.protocol).into();
                    findings.extend(alike.members().map(|port| {
                        let shown = context.shown(bridge, (alike.first, port), best);
                        finding.at(port).witness(shown.port, shown.frame, reaches.clone())
                    }));
                }
                if reach.hits.is_empty() {
                    open.extend(reach.undecided);
                    // What is proven or not of the host as a whole matters where it is not meant to be reached at all.
                    if context.access_at(bridge, bridge.link.index) == Access::Deny {
                        open.extend(context.assumed(&alike, goal));
                    }
                }
            }
            findings.extend(undecided(context, self.doc, bridge, self.title, open));
        }
    }

    /// Returns the finding as it is for every port that is alike, the hit that its witnesses are made of, and the name
    /// of the device that is reached.
    fn finding<'r, 'p>(
        &self,
        context: &Context<'_>,
        bridge: &BridgeView<'_>,
        reach: &'r Reach<'p>,
    ) -> Option<(Finding, &'r Hit<'p>, String)> {
        let best = reach.best()?;
        let device = context.name(best.host()?.device);
        let addresses: Vec<_> =
            context.chosen_addresses(best.host()?.device).map(|net| net.to_string()).collect();
        let stated = bridge.policy.host_access.is_some();
        let title = if stated {
            format!("{} on {device}, where the policy denies access to the host", self.title)
        } else {
            format!("{} on {device}, which has no address", self.title)
        };
        let listed = if addresses.is_empty() { "none".to_owned() } else { addresses.join(" ") };
        let connections = if reach.hits.iter().any(|hit| hit.is_for_host()) {
            "yes: the host takes the frame to be its own, TCP included"
        } else {
            "no: only by broadcast or multicast, which TCP and routing refuse"
        };
        let finding = context
            .finding(self.doc, bridge, None, title, self.why.replace("{device}", &device))
            .evidence("reached by", reach.ways())
            .evidence(format!("addresses of {device}"), listed);
        let finding = match self.protocol {
            EtherType::ARP => finding,
            _ => finding.evidence("connections possible", connections),
        };
        Some((finding.unproven(best.questions.iter().cloned()), best, device))
    }
}

/// Says that nothing was found to arrive, yet something that was met could have let it through.
pub(crate) fn undecided(
    context: &Context<'_>,
    doc: &RuleDoc,
    bridge: &BridgeView<'_>,
    whether: &str,
    because: Vec<String>,
) -> Option<Finding> {
    if because.is_empty() {
        return None;
    }
    let why = "Every frame that was tried is dropped, but on its way it met something that was not read or is not \
               modelled, and that could decide otherwise.";
    let title = format!("whether {whether} here is not decided");
    let finding = context.finding(doc, bridge, None, title, why).severity(Severity::Info);
    Some(finding.unproven(because))
}

/// Returns probes with a payload to each of several destinations.
pub(crate) fn to_each(
    destinations: &[Destination],
    payload: impl Fn(&PortView<'_>) -> Payload + Clone + 'static,
) -> Vec<Probe<'static>> {
    destinations.iter().map(|to| Probe::new(*to, payload.clone())).collect()
}

/// Whether a device is a loopback device.
pub(crate) fn is_loopback(context: &Context<'_>, device: IfIndex) -> bool {
    context.network().link(device).is_some_and(|link| link.flags.has(LinkFlags::LOOPBACK))
}

/// Whether an address is IPv4.
pub(crate) const fn is_v4(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(_))
}
