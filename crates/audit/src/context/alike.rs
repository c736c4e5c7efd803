//! Groups of ports that are alike: what is found for a frame of one is found for the others', with their own addresses in
//! it.
//!
//! Which ports a walk treats alike the datapath tells ([`portcullis_datapath::network::Alike`]), under rules that are for
//! one port each, too. A group is of one bridge, and its ports are for the same.

use std::collections::HashMap;

use portcullis_datapath::network;

use super::{BridgeView, PortView};

/// Ports that are alike.
#[derive(Debug)]
pub struct Alike<'b, 's> {
    /// The one that stands for all.
    pub first: &'b PortView<'s>,
    bridge: &'b BridgeView<'s>,
    members: &'b [usize],
}

impl<'b, 's> Alike<'b, 's> {
    pub(super) fn new(bridge: &'b BridgeView<'s>, members: &'b [usize]) -> Option<Self> {
        let first = bridge.ports.get(*members.first()?)?;
        Some(Self { first, bridge, members })
    }

    /// Returns all of them, the one that stands for all included.
    pub fn members(&self) -> impl Iterator<Item = &'b PortView<'s>> + use<'b, 's> {
        let ports = &self.bridge.ports;
        self.members.iter().filter_map(move |at| ports.get(*at))
    }
}

/// Returns the groups, as indices into `ports`, in the order of their first members.
pub(super) fn group(alike: &network::Alike, ports: &[PortView<'_>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known = HashMap::new();
    for (at, port) in ports.iter().enumerate() {
        let next = groups.len();
        let sort = (alike.class(port.link.index), port.role, port.knowledge());
        let group = *known.entry(sort).or_insert(next);
        match groups.get_mut(group) {
            Some(members) => members.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use portcullis_snapshot::{MacAddr, UnknownAttribute};

    use crate::context::Context;
    use crate::policy::Policy;
    use crate::testing::Host;

    fn groups(host: &Host) -> Vec<Vec<String>> {
        let policy = Policy::default();
        let context = Context::new(&host.snapshot, &host.snapshot.namespaces[0], &policy).unwrap();
        let names =
            |alike: crate::Alike<'_, '_>| alike.members().map(|port| port.link.name.clone()).collect();
        context.bridges()[0].guests().map(names).collect()
    }

    #[test]
    fn an_address_that_is_stated_may_be_any_of_those_that_were_learned() {
        let mut host = Host::hypervisor();
        let (bridge, [first, second]) =
            (host.index("br0"), [1, 2].map(|last| MacAddr([0, 0, 0, 0, 1, last])));
        for address in [first, second] {
            host.fdb("vnet0", bridge, address, 2, None);
        }
        let stated = format!("[[port]]\nname = \"vnet0\"\nmac = [\"{second}\"]");
        for (policy, known) in [(Policy::default(), first), (Policy::parse(&stated).unwrap(), second)] {
            let context = Context::new(&host.snapshot, &host.snapshot.namespaces[0], &policy).unwrap();
            let port = context.bridges()[0].ports.iter().find(|port| port.link.name == "vnet0").unwrap();
            assert!(port.source_in_fdb);
            assert_eq!((port.source, port.known_macs()), (known, &[known][..]));
        }
    }

    #[test]
    fn ports_with_the_same_settings_are_alike() {
        let mut host = Host::hypervisor();
        host.port_options("vnet1").no = Some(7);
        // A timer that this program has no row for.
        let timer = UnknownAttribute { number: 21, bytes: "00".to_owned() };
        host.port_options("vnet2").unknown.push(timer);
        assert_eq!(groups(&host), [["vnet0", "vnet1", "vnet2"]]);
    }

    #[test]
    fn one_setting_sets_a_port_apart() {
        let changes: [fn(&mut Host); 7] = [
            |host| host.port_options("vnet1").isolated = Some(true),
            |host| {
                host.port_options("vnet1").unknown.push(UnknownAttribute { number: 99, bytes: String::new() })
            },
            |host| host.ipv6("vnet1").disable_ipv6 = Some(1),
            |host| host.vlan("vnet1", 5, 0),
            |host| host.address("vnet1", "192.0.2.7/24"),
            |host| host.rule(false, 100, 6, 0).iif = Some("vnet1".to_owned()),
            |host| {
                host.nft_chain(portcullis_snapshot::NftFamily::Netdev, 0, "ingress");
                if let portcullis_snapshot::Reading::Read(chains) = &mut host.netns().filters.nft_chains {
                    chains[0].devices = vec!["vnet1".to_owned()];
                }
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut host = Host::hypervisor();
            change(&mut host);
            assert_eq!(groups(&host), [vec!["vnet0", "vnet2"], vec!["vnet1"]], "change {at}");
        }
    }
}
