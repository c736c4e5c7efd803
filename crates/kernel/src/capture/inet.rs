//! The host's IP state: by rtnetlink, and `all` and `default` settings from `/proc/sys/net`.

use portcullis_snapshot::{Address, Ipv4Conf, Ipv6Conf, Neighbour, PolicyRule, Route, Settings};
use portcullis_wire::{Message, inet};

use crate::netlink::Socket;
use crate::{Error, sysctl};

const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETRULE: u16 = 34;

pub(super) fn addresses(route: &mut Socket) -> Result<Vec<Address>, Error> {
    let message = Message::new(RTM_GETADDR, 0).header(&[0; 8]);
    route.dump("reading addresses", &message, Vec::new, |addresses, reply| {
        addresses.extend(inet::address(reply.payload));
    })
}

/// Routes of every table, of both families.
pub(super) fn routes(route: &mut Socket) -> Result<Vec<Route>, Error> {
    dump_both(route, RTM_GETROUTE, "reading routes", inet::route)
}

/// Policy rules of both families, each family in the order of priority.
pub(super) fn rules(route: &mut Socket) -> Result<Vec<PolicyRule>, Error> {
    let mut rules = dump_both(route, RTM_GETRULE, "reading policy rules", inet::rule)?;
    rules.sort_by_key(|rule| (rule.ipv6, rule.priority));
    Ok(rules)
}

/// Neighbours of both families, and the addresses that the host answers for as a proxy.
pub(super) fn neighbours(route: &mut Socket) -> Result<Vec<Neighbour>, Error> {
    const NTF_PROXY: u8 = 8;
    let mut all = dump_both(route, RTM_GETNEIGH, "reading neighbours", inet::neighbour)?;
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut header = [0; 12];
        header[0] = family;
        header[10] = NTF_PROXY;
        let message = Message::new(RTM_GETNEIGH, 0).header(&header);
        let proxies = route.dump("reading proxy neighbours", &message, Vec::new, |proxies, reply| {
            proxies.extend(inet::neighbour(reply.payload));
        })?;
        all.extend(proxies);
    }
    Ok(all)
}

fn dump_both<T>(
    route: &mut Socket,
    kind: u16,
    what: &str,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut header = [0; 12];
        header[0] = family;
        let message = Message::new(kind, 0).header(&header);
        let some = route.dump(what, &message, Vec::new, |some, reply| some.extend(decode(reply.payload)));
        match some {
            Ok(some) => all.extend(some),
            // A kernel without IPv6 has none of its state.
            Err(error)
                if family == libc::AF_INET6 as u8 && error.errno() == Some(nix::errno::Errno::EOPNOTSUPP) => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

pub(super) fn ipv4_settings() -> Result<Settings<Ipv4Conf>, Error> {
    let of = |conf: &'static str| {
        sysctl::read_number(&["ipv4", "conf", conf, "forwarding"])?;
        Ok(Ipv4Conf::gather(|name, _| sysctl::read_number(&["ipv4", "conf", conf, name]).ok()))
    };
    Ok(Settings { all: of("all")?, default: of("default")? })
}

pub(super) fn ipv6_settings() -> Result<Settings<Ipv6Conf>, Error> {
    let of = |conf: &'static str| {
        sysctl::read_number(&["ipv6", "conf", conf, "forwarding"])?;
        Ok(Ipv6Conf::gather(|name, _| sysctl::read_number(&["ipv6", "conf", conf, name]).ok()))
    };
    Ok(Settings { all: of("all")?, default: of("default")? })
}
