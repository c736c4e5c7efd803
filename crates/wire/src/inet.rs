//! The host's IP: addresses, routes, policy rules, neighbours (linux/rtnetlink.h, linux/fib_rules.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_snapshot::{Address, IfIndex, Membership, Neighbour, NextHop, PolicyRule, Route};

use crate::attribute::{u8_at, u16_at, u32_at};
use crate::{Attribute, Attributes, Message, NLM_F_CREATE, NLM_F_EXCL};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;
/// `struct rtmsg`, and as long: `struct ndmsg`, `struct fib_rule_hdr`.
const RTMSG: usize = 12;

/// Decodes `RTM_NEWADDR`.
#[must_use]
pub fn address(message: &[u8]) -> Option<Address> {
    let (prefix, scope) = (u8_at(message, 1)?, u8_at(message, 3)?);
    let attributes = Attributes::after(message, IFADDRMSG);
    let (far, local) = (attributes.get(1).and_then(|a| a.ip()), attributes.get(2).and_then(|a| a.ip()));
    let address = local.or(far)?;
    let flags = attributes.get(8).and_then(|flags| flags.u32());
    Some(Address {
        device: IfIndex(u32_at(message, 4)?),
        address: IpNet::new(address, prefix).ok()?,
        peer: far.filter(|far| *far != address),
        scope,
        flags: flags.or_else(|| u8_at(message, 2).map(u32::from))?,
    })
}

/// Decodes `RTM_NEWROUTE`. Routes of other families and cached ones are `None`.
#[must_use]
pub fn route(message: &[u8]) -> Option<Route> {
    const RTM_F_CLONED: u32 = 0x200;
    let family = u8_at(message, 0)?;
    let flags = u32_at(message, 8)?;
    if flags & RTM_F_CLONED != 0 {
        return None;
    }
    let attributes = Attributes::after(message, RTMSG);
    let prefix = |number, length: u8| net(family, attributes.get(number), length);
    let source_length = u8_at(message, 2)?;
    let mut route = Route {
        table: attributes.get(15).and_then(|table| table.u32()).unwrap_or(u8_at(message, 4)?.into()),
        destination: prefix(1, u8_at(message, 1)?)?,
        source: if source_length > 0 { prefix(2, source_length) } else { None },
        kind: u8_at(message, 7)?,
        scope: u8_at(message, 6)?,
        protocol: u8_at(message, 5)?,
        tos: u8_at(message, 3)?,
        flags: (flags != 0).then_some(flags),
        metric: attributes.get(6).and_then(|metric| metric.u32()),
        prefsrc: attributes.get(7).and_then(|source| source.ip()),
        nexthops: Vec::new(),
        nexthop_id: attributes.get(30).and_then(|id| id.u32()),
    };
    let single = nexthop(&attributes, flags as u8);
    if single.device.is_some() || single.gateway.is_some() {
        route.nexthops.push(single);
    }
    if let Some(multipath) = attributes.get(9) {
        route.nexthops.extend(multipath_nexthops(multipath.payload));
    }
    Some(route)
}

fn nexthop(attributes: &Attributes<'_>, flags: u8) -> NextHop {
    let gateway = attributes.get(5).and_then(|gateway| gateway.ip());
    let device = attributes.get(4).and_then(|device| device.u32()).map(IfIndex);
    NextHop {
        device,
        gateway: gateway.or_else(|| attributes.get(18).and_then(|via| via_address(&via))),
        flags,
    }
}

/// `struct rtvia`: a router of another family.
fn via_address(via: &Attribute<'_>) -> Option<IpAddr> {
    Attribute { number: 0, payload: via.payload.get(2..)? }.ip()
}

/// `RTA_MULTIPATH`: a row of `struct rtnexthop`, each with attributes.
fn multipath_nexthops(mut bytes: &[u8]) -> Vec<NextHop> {
    let mut nexthops = Vec::new();
    while let (Some(length), Some(flags), Some(device)) =
        (u16_at(bytes, 0), u8_at(bytes, 2), u32_at(bytes, 4))
    {
        let length = usize::from(length);
        let Some(attributes) = bytes.get(8..length) else { break };
        let mut found = nexthop(&Attributes::new(attributes), flags);
        found.device = Some(IfIndex(device));
        nexthops.push(found);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    nexthops
}

/// A prefix out of its address and length; no address is the default route.
fn net(family: u8, address: Option<Attribute<'_>>, length: u8) -> Option<IpNet> {
    let any = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    IpNet::new(address.and_then(|address| address.ip()).unwrap_or(any), length).ok()
}

/// Decodes `RTM_NEWRULE`. Rules of other families are `None`.
#[must_use]
pub fn rule(message: &[u8]) -> Option<PolicyRule> {
    const FIB_RULE_INVERT: u32 = 2;
    let family = u8_at(message, 0)?;
    let (to, from) = (u8_at(message, 1)?, u8_at(message, 2)?);
    let attributes = Attributes::after(message, RTMSG);
    let mut rule = PolicyRule {
        ipv6: match family {
            AF_INET => false,
            AF_INET6 => true,
            _ => return None,
        },
        priority: 0,
        action: u8_at(message, 7)?,
        table: u8_at(message, 4)?.into(),
        not: u32_at(message, 8)? & FIB_RULE_INVERT != 0,
        source: if from > 0 { net(family, attributes.get(2), from) } else { None },
        destination: if to > 0 { net(family, attributes.get(1), to) } else { None },
        iif: None,
        oif: None,
        l3mdev: false,
        goto: None,
        suppress_prefixlen: None,
        unknown: Vec::new(),
    };
    // A selector that is in the header only.
    if let Some(tos) = u8_at(message, 3).filter(|tos| *tos != 0) {
        rule.unknown.push(Attribute { number: 0, payload: &[tos] }.unknown());
    }
    for attribute in attributes {
        match attribute.number {
            3 => rule.iif = Some(attribute.string()),
            4 => rule.goto = attribute.u32(),
            6 => rule.priority = attribute.u32().unwrap_or_default(),
            // The kernel always tells; all ones is "nothing is suppressed".
            14 => rule.suppress_prefixlen = attribute.u32().filter(|length| *length != u32::MAX),
            15 => rule.table = attribute.u32().unwrap_or_default(),
            17 => rule.oif = Some(attribute.string()),
            19 => rule.l3mdev = attribute.u8() == Some(1),
            // Destination and source are above; flow, padding and originator select nothing.
            1 | 2 | 11 | 18 | 21 => {}
            _ => rule.unknown.push(attribute.unknown()),
        }
    }
    Some(rule)
}

/// Makes a policy rule (`RTM_NEWRULE`) in the name of a routing daemon (`RTPROT_*`). Selectors that nothing here decodes
/// are left out.
#[must_use]
pub fn new_rule(rule: &PolicyRule, protocol: u8) -> Message {
    const RTM_NEWRULE: u16 = 32;
    const FRA_PROTOCOL: u16 = 21;
    put_rule(Message::new(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL), rule).put_u8(FRA_PROTOCOL, protocol)
}

/// Takes a policy rule away (`RTM_DELRULE`), whoever made it.
#[must_use]
pub fn delete_rule(rule: &PolicyRule) -> Message {
    const RTM_DELRULE: u16 = 33;
    put_rule(Message::new(RTM_DELRULE, 0), rule)
}

fn put_rule(message: Message, rule: &PolicyRule) -> Message {
    const FIB_RULE_INVERT: u32 = 2;
    let length = |net: Option<IpNet>| net.map_or(0, |net| net.prefix_len());
    let family = if rule.ipv6 { AF_INET6 } else { AF_INET };
    // Tables above 255 are told by the attribute alone.
    let table = u8::try_from(rule.table).unwrap_or(0);
    let mut header = vec![family, length(rule.destination), length(rule.source), 0, table, 0, 0, rule.action];
    header.extend(if rule.not { FIB_RULE_INVERT } else { 0 }.to_ne_bytes());
    let mut message = message.header(&header).put_u32(6, rule.priority);
    for (number, net) in [(1, rule.destination), (2, rule.source)] {
        message = match net.map(|net| net.addr()) {
            Some(IpAddr::V4(address)) => message.put(number, &address.octets()),
            Some(IpAddr::V6(address)) => message.put(number, &address.octets()),
            None => message,
        };
    }
    for (number, name) in [(3, &rule.iif), (17, &rule.oif)] {
        if let Some(name) = name {
            message = message.put_str(number, name);
        }
    }
    let table = (rule.table != 0).then_some(rule.table);
    for (number, value) in [(4, rule.goto), (14, rule.suppress_prefixlen), (15, table)] {
        if let Some(value) = value {
            message = message.put_u32(number, value);
        }
    }
    if rule.l3mdev { message.put_u8(19, 1) } else { message }
}

/// Decodes `RTM_NEWNEIGH` of IPv4 or IPv6.
#[must_use]
pub fn neighbour(message: &[u8]) -> Option<Neighbour> {
    let attributes = Attributes::after(message, RTMSG);
    Some(Neighbour {
        device: IfIndex(u32_at(message, 4)?),
        address: attributes.get(1)?.ip()?,
        mac: attributes.get(2).and_then(|address| address.mac()),
        state: u16_at(message, 8)?,
        flags: u8_at(message, 10)?,
    })
}

/// Decodes `RTM_GETMULTICAST`, as answers are called too: a group that the host joined.
#[must_use]
pub fn membership(message: &[u8]) -> Option<Membership> {
    const IFA_MULTICAST: u16 = 7;
    let group = Attributes::after(message, IFADDRMSG).get(IFA_MULTICAST)?.ip()?;
    Some(Membership { device: IfIndex(u32_at(message, 4)?), group })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rule_that_is_asked_for_reads_as_itself() {
        let plain = PolicyRule::new(false, 10, 6, 0);
        let full = PolicyRule {
            ipv6: true,
            action: 1,
            table: 5000,
            not: true,
            source: "2001:db8::/32".parse().ok(),
            destination: "2001:db8::1/128".parse().ok(),
            iif: Some("br0".to_owned()),
            oif: Some("eth0".to_owned()),
            goto: Some(20),
            suppress_prefixlen: Some(0),
            ..plain.clone()
        };
        let slave = PolicyRule { l3mdev: true, action: 1, ..plain.clone() };
        for wanted in [plain, full, slave] {
            for message in [new_rule(&wanted, 4), delete_rule(&wanted)] {
                let bytes = message.finish(1);
                let message = crate::Messages::new(&bytes).next().unwrap();
                assert_eq!(rule(message.payload), Some(wanted.clone()));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut all = portcullis_snapshot::Mdb::default();
            crate::bridge::mdb(&bytes, &mut all);
            let _ = (address(&bytes), route(&bytes), rule(&bytes), neighbour(&bytes), crate::link::link(&bytes));
            let _ = (crate::bridge::vlan_table(&bytes), crate::bridge::vlan_globals(&bytes));
            let _ = (crate::bridge::fdb_entry(&bytes), crate::bridge::mst_states(&bytes));
            let _ = (crate::bridge::vlan_table_of_link(&bytes), membership(&bytes));
        }
    }
}
