//! What a port is for, as far as its device tells; the policy overrides it.
//!
//! The guess is about who decides what comes in by the port. Where it is in doubt a port counts as a guest's if a
//! tap or another namespace is behind it, and as an uplink otherwise.

use std::collections::HashMap;

use portcullis_snapshot::{IfIndex, Link, LinkKind, Netns, PortKind};

use crate::finding::Role;

/// How many VLAN devices are followed down to what they sit on.
const MAX_HOPS: u8 = 4;

/// What the ports of a namespace are for.
///
/// A tap, and a veth pair that ends in another namespace, lead to a guest. A veth pair that ends at another bridge of
/// this namespace leads to what that bridge's own ports lead to: the network if one does, else guests, else the host.
/// NICs, bonds, tunnels and VLAN devices on them lead to the network; dummies and lone veth pairs to the host.
#[derive(Debug)]
pub struct Roles<'s> {
    netns: &'s Netns,
    bridges: HashMap<IfIndex, LeadsTo>,
}

/// What a bridge's ports lead to, pairs to further bridges left out.
#[derive(Debug, Clone, Copy, Default)]
struct LeadsTo {
    network: bool,
    guests: bool,
}

impl<'s> Roles<'s> {
    /// Looks at every port of a namespace once.
    #[must_use]
    pub fn new(netns: &'s Netns) -> Self {
        let mut roles = Self { netns, bridges: HashMap::new() };
        for port in netns.links.known() {
            let (Some(bridge), Some(_)) = (port.master, port.bridge_port()) else { continue };
            let role = roles.direct(port, MAX_HOPS);
            let leads_to = roles.bridges.entry(bridge).or_default();
            leads_to.network |= role == Some(Role::Uplink);
            leads_to.guests |= role == Some(Role::Guest);
        }
        roles
    }

    /// Returns what a bridge port is for, by what its device is.
    #[must_use]
    pub fn infer(&self, port: &Link) -> Role {
        if let Some(role) = self.direct(port, MAX_HOPS) {
            return role;
        }
        let beyond = peer(self.netns, port).and_then(|peer| peer.master);
        match beyond.and_then(|bridge| self.bridges.get(&bridge)) {
            Some(LeadsTo { network: true, .. }) => Role::Uplink,
            Some(LeadsTo { guests: true, .. }) => Role::Guest,
            _ => Role::Host,
        }
    }

    /// The role of a port; `None` if it is one end of a pair between bridges of this namespace.
    fn direct(&self, port: &Link, hops: u8) -> Option<Role> {
        let named_like_a_tap = port.name.starts_with("vnet") || port.name.starts_with("tap");
        if port.behind.as_ref().is_some_and(|behind| behind.guest.is_some()) || named_like_a_tap {
            return Some(Role::Guest);
        }
        match &port.kind {
            LinkKind::Tun(_) => Some(Role::Guest),
            LinkKind::Veth => self.pair(port),
            LinkKind::Other(kind) if kind == "netkit" => self.pair(port),
            LinkKind::Other(kind) if kind == "dummy" || kind == "ifb" => Some(Role::Host),
            LinkKind::Vlan(_) if hops > 0 => {
                let lower = peer(self.netns, port).and_then(|lower| self.direct(lower, hops - 1));
                Some(lower.unwrap_or(Role::Uplink))
            }
            _ => Some(Role::Uplink),
        }
    }

    fn pair(&self, port: &Link) -> Option<Role> {
        // A peer that nothing is known of may be anywhere: the cautious answer.
        let Some(peer) = peer(self.netns, port) else { return Some(Role::Guest) };
        let at_a_bridge = matches!((peer.master, &peer.port), (Some(_), Some(PortKind::Bridge(_))));
        (!at_a_bridge).then_some(Role::Host)
    }
}

/// The other end of a pair, or the lower device, if it is in the same namespace.
fn peer<'s>(netns: &'s Netns, port: &Link) -> Option<&'s Link> {
    port.link.filter(|_| port.link_netns.is_none()).and_then(|peer| netns.link(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;
    use portcullis_snapshot::{LinkNetns, TunOptions, VlanDevice};

    fn role(host: &Host, name: &str) -> Role {
        let netns = &host.snapshot.namespaces[0];
        Roles::new(netns).infer(netns.link_named(name).unwrap())
    }

    #[test]
    fn taps_and_pairs_into_namespaces_are_guests() {
        let mut host = Host::new();
        host.bridge("br0");
        host.device("tap0", LinkKind::Tun(TunOptions { tap: true, ..TunOptions::default() }));
        host.device("veth0", LinkKind::Veth);
        host.link("veth0").link = Some(IfIndex(2));
        host.link("veth0").link_netns = Some(LinkNetns { nsid: 0, netns: None });
        host.device("eth0", LinkKind::Plain);
        host.device("bond0", LinkKind::Bond(Default::default()));
        host.device("dummy0", LinkKind::Other("dummy".to_owned()));
        let roles = ["tap0", "veth0", "eth0", "bond0", "dummy0"].map(|name| role(&host, name));
        assert_eq!(roles, [Role::Guest, Role::Guest, Role::Uplink, Role::Uplink, Role::Host]);
    }

    #[test]
    fn a_pair_between_bridges_leads_where_the_other_bridge_leads() {
        let mut host = Host::new();
        host.bridge("vmbr0");
        host.bridge("fwbr100");
        host.device("eth0", LinkKind::Plain);
        host.enslave("eth0", "vmbr0");
        host.device("tap100", LinkKind::Tun(TunOptions::default()));
        host.enslave("tap100", "fwbr100");
        host.pair("fwpr100", "fwln100");
        host.enslave("fwpr100", "vmbr0");
        host.enslave("fwln100", "fwbr100");
        assert_eq!(role(&host, "fwpr100"), Role::Guest);
        assert_eq!(role(&host, "fwln100"), Role::Uplink);
    }

    #[test]
    fn a_pair_that_ends_here_is_the_hosts() {
        let mut host = Host::new();
        host.bridge("br0");
        host.pair("in", "out");
        host.enslave("in", "br0");
        assert_eq!(role(&host, "in"), Role::Host);
    }

    #[test]
    fn a_ring_of_bridges_ends() {
        let mut host = Host::new();
        host.bridge("br0");
        host.bridge("br1");
        for (one, other) in [("a0", "a1"), ("b0", "b1")] {
            host.pair(one, other);
            host.enslave(one, "br0");
            host.enslave(other, "br1");
        }
        assert_eq!(role(&host, "a0"), Role::Host);
    }

    #[test]
    fn a_vlan_device_leads_where_its_lower_device_leads() {
        let mut host = Host::new();
        host.device("eth0", LinkKind::Plain);
        let vlan = VlanDevice { id: 5, protocol: portcullis_snapshot::EtherType::VLAN, flags: 0 };
        host.device("eth0.5", LinkKind::Vlan(vlan));
        let lower = host.link("eth0").index;
        host.link("eth0.5").link = Some(lower);
        assert_eq!(role(&host, "eth0.5"), Role::Uplink);
    }
}
