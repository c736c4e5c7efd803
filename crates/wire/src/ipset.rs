//! ipset (linux/netfilter/ipset/ip_set.h): sets and their members. Numbers are in network byte order.

use std::net::IpAddr;

use portcullis_snapshot::{IpSet, IpSetMember};

use crate::{Attribute, Attributes, Message};

/// `struct nfgenmsg`.
const NFGENMSG: usize = 4;
const IPSET_CMD_LIST: u16 = 6 << 8 | 7;
/// The protocol since 4.20, which tells a set's number.
const PROTOCOL: u8 = 7;
const IPSET_ATTR_TIMEOUT: u16 = 6;
const IPSET_ATTR_CADT_FLAGS: u16 = 8;

/// Asks for the heads of all sets, without members.
#[must_use]
pub fn heads_request() -> Message {
    const IPSET_FLAG_LIST_HEADER: u32 = 4;
    request().put(6, &IPSET_FLAG_LIST_HEADER.to_be_bytes())
}

/// Asks for one set.
#[must_use]
pub fn set_request(name: &str) -> Message {
    request().put_str(2, name)
}

fn request() -> Message {
    const AF_INET: u8 = 2;
    Message::new(IPSET_CMD_LIST, 0).header(&[AF_INET, 0, 0, 0]).put_u8(1, PROTOCOL)
}

/// Decodes a set's head; `None` if a message goes on with the members of a set that was begun.
#[must_use]
pub fn head(message: &[u8]) -> Option<IpSet> {
    let attributes = Attributes::after(message, NFGENMSG);
    let mut set = IpSet {
        index: attributes.get(11)?.be16()?,
        name: attributes.get(2)?.string(),
        kind: attributes.get(3)?.string(),
        revision: attributes.get(4)?.u8()?,
        family: attributes.get(5)?.u8()?,
        netmask: None,
        mark_mask: None,
        range: None,
        port_range: None,
        timeout: None,
        counters: false,
        unknown: Vec::new(),
        members: Vec::new(),
    };
    options(&mut set, attributes.get(7)?.nested());
    Some(set)
}

/// What a set was made with (`IPSET_ATTR_DATA`).
fn options(set: &mut IpSet, data: Attributes<'_>) {
    const IPSET_FLAG_WITH_COUNTERS: u32 = 8;
    let (mut from, mut to, mut port_from, mut port_to) = (None, None, None, None);
    for option in data {
        match option.number {
            1 => from = address(option),
            2 => to = address(option),
            4 => port_from = option.be16(),
            5 => port_to = option.be16(),
            IPSET_ATTR_TIMEOUT => set.timeout = option.be32(),
            IPSET_ATTR_CADT_FLAGS => {
                set.counters = option.be32().is_some_and(|flags| flags & IPSET_FLAG_WITH_COUNTERS != 0);
            }
            11 => set.mark_mask = option.be32(),
            20 => set.netmask = option.u8(),
            // Seed, sizes, numbers of members and of rules: none of them decides.
            17..=19 | 21..=26 => {}
            _ => set.unknown.push(option.unknown()),
        }
    }
    set.range = from.zip(to);
    set.port_range = port_from.zip(port_to);
}

/// Decodes the members in a message about a set; `None` if one of them cannot be made sense of.
#[must_use]
pub fn members(message: &[u8]) -> Option<Vec<IpSetMember>> {
    let list = Attributes::after(message, NFGENMSG).get(8);
    list.map_or_else(|| Some(Vec::new()), |list| list.nested().map(|item| member(item.nested())).collect())
}

fn member(data: Attributes<'_>) -> Option<IpSetMember> {
    let mut member = IpSetMember::default();
    for part in data {
        match part.number {
            1 => member.ip = Some(address(part)?),
            2 => member.ip_to = Some(address(part)?),
            3 => member.prefix = Some(part.u8()?),
            4 => member.port = Some(part.be16()?),
            5 => member.port_to = Some(part.be16()?),
            IPSET_ATTR_TIMEOUT => member.timeout = Some(part.be32()?),
            7 => member.protocol = Some(part.u8()?),
            IPSET_ATTR_CADT_FLAGS => member_flags(&mut member, part.be32()?),
            10 => member.mark = Some(part.be32()?),
            17 => member.mac = Some(part.mac()?),
            18 => member.set = Some(part.string()),
            20 => member.ip2 = Some(address(part)?),
            21 => member.prefix2 = Some(part.u8()?),
            22 => member.ip2_to = Some(address(part)?),
            23 => member.interface = Some(part.string()),
            // A line number, counters, a comment, what a target takes from it, padding.
            9 | 24..=30 => {}
            _ => member.unknown.push(part.unknown()),
        }
    }
    Some(member)
}

fn member_flags(member: &mut IpSetMember, flags: u32) {
    const IPSET_FLAG_PHYSDEV: u32 = 2;
    const IPSET_FLAG_NOMATCH: u32 = 4;
    const IPSET_FLAG_IFACE_WILDCARD: u32 = 128;
    member.physdev = flags & IPSET_FLAG_PHYSDEV != 0;
    member.nomatch = flags & IPSET_FLAG_NOMATCH != 0;
    member.wildcard = flags & IPSET_FLAG_IFACE_WILDCARD != 0;
}

/// `IPSET_ATTR_IPADDR_*` in a nest.
fn address(attribute: Attribute<'_>) -> Option<IpAddr> {
    attribute.nested().next()?.ip()
}

#[cfg(test)]
mod tests {
    use portcullis_snapshot::UnknownAttribute;
    use proptest::prelude::*;

    use super::*;
    use crate::Messages;

    fn payload(fill: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let bytes = fill(Message::new(IPSET_CMD_LIST, 0).header(&[2, 0, 0, 0]).put_u8(1, 7)).finish(1);
        Messages::new(&bytes).next().unwrap().payload.to_vec()
    }

    fn ip(message: Message, number: u16, address: &[u8]) -> Message {
        let kind = if address.len() == 4 { 1 } else { 2 };
        message.nest(number, |nest| nest.put(kind, address))
    }

    #[test]
    fn a_set_with_members() {
        let bytes = payload(|m| {
            let m = m.put_str(2, "guests").put_str(3, "hash:net,iface").put_u8(4, 7).put_u8(5, 2);
            let m = m.put(11, &5u16.to_be_bytes());
            let m = m.nest(7, |data| {
                let data = data.put(6, &300u32.to_be_bytes()).put(8, &8u32.to_be_bytes());
                data.put(18, &64u32.to_be_bytes()).put(40, &[1, 2])
            });
            m.nest(8, |list| {
                list.nest(7, |item| {
                    let item = ip(item, 1, &[192, 0, 2, 0]).put_u8(3, 24).put_str(23, "tap0");
                    item.put(8, &6u32.to_be_bytes()).put(6, &7u32.to_be_bytes()).put(41, &[9])
                })
            })
        });
        let set = head(&bytes).unwrap();
        assert_eq!((set.index, set.name.as_str(), set.kind.as_str()), (5, "guests", "hash:net,iface"));
        assert_eq!((set.timeout, set.counters, set.family), (Some(300), true, 2));
        assert_eq!(set.unknown, [UnknownAttribute { number: 40, bytes: "0102".to_owned() }]);
        let wanted = IpSetMember {
            ip: "192.0.2.0".parse().ok(),
            prefix: Some(24),
            interface: Some("tap0".to_owned()),
            physdev: true,
            nomatch: true,
            timeout: Some(7),
            unknown: vec![UnknownAttribute { number: 41, bytes: "09".to_owned() }],
            ..IpSetMember::default()
        };
        assert_eq!(members(&bytes), Some(vec![wanted]));
    }

    #[test]
    fn a_member_that_makes_no_sense_is_not_left_out() {
        let bytes = payload(|m| m.put_str(2, "s").nest(8, |list| list.nest(7, |item| item.put(4, &[1]))));
        assert_eq!(members(&bytes), None);
        assert_eq!(head(&bytes), None, "the rest of a set");
        assert_eq!(members(&payload(|m| m.put_str(2, "s"))), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (head(&bytes), members(&bytes));
        }
    }
}
