//! Which ports are alike: whatever a walk answers for a frame of one, it answers for a frame of the other, with the one's
//! own names and addresses in place of the other's.
//!
//! Of each port everything is compared that a walk reads of it, but for what is its own by nature: index, name, addresses,
//! counters. Rules that are for one port only ([`owners`]) are compared with the port's own constants left open
//! ([`digest`]): two guests whose rules let nothing but their own addresses pass are alike. Bridges are alike if they are
//! and have ports of the same sorts. In doubt ports are told apart: that costs time, and no truth.

mod digest;
mod owners;
mod traits;
mod xt;

use std::collections::HashMap;

use portcullis_snapshot::IfIndex;

use super::Network;
use digest::Digests;
use owners::Owners;
use traits::TraitClasses;

/// The ports of a namespace in classes of those that are alike.
#[derive(Debug, Clone, Default)]
pub struct Alike {
    classes: Vec<Vec<IfIndex>>,
    class_of: HashMap<IfIndex, usize>,
    constants: HashMap<IfIndex, Vec<Vec<u8>>>,
}

impl Alike {
    /// Returns the classes, each in the order of its ports.
    #[must_use]
    pub fn classes(&self) -> &[Vec<IfIndex>] {
        &self.classes
    }

    /// Returns the class of a port.
    #[must_use]
    pub fn class(&self, port: IfIndex) -> Option<usize> {
        self.class_of.get(&port).copied()
    }

    /// Returns the constants of rules that are this port's alone, and the addresses that are known behind it: what stands
    /// for it where, at the same place, others stand for the other ports of its class. They are as registers hold them: an
    /// IPv4 address in four bytes, a MAC address in six, perhaps filled up with zeros, others one behind the other.
    #[must_use]
    pub fn constants(&self, port: IfIndex) -> &[Vec<u8>] {
        self.constants.get(&port).map_or(&[], Vec::as_slice)
    }
}

/// What tells ports, or bridges, apart.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
struct Key {
    traits: usize,
    digest: Vec<u8>,
}

/// Of which sorts a bridge has a port, and another one beside it: what becomes of a frame at one port does not depend on how
/// many others there are.
fn sorts(ports: &[(IfIndex, usize)]) -> Vec<(usize, bool)> {
    let mut sorts: Vec<_> = ports.iter().map(|(_, sort)| *sort).collect();
    sorts.sort_unstable();
    sorts
        .chunk_by(|one, other| one == other)
        .filter_map(|same| Some((*same.first()?, same.len() > 1)))
        .collect()
}

impl Network<'_> {
    /// Returns the bridge ports of the namespace in classes.
    #[must_use]
    pub fn alike(&self) -> Alike {
        let owners = Owners::new(self);
        let mut traits = TraitClasses::new(self, &owners);
        let digests = Digests::new(self, &owners);
        let mut numbers: HashMap<Key, usize> = HashMap::new();
        let mut constants = HashMap::new();
        let mut number = |device| {
            let (digest, own) = digests.of(device);
            constants.insert(device, own);
            let key = Key { traits: traits.class(device), digest };
            let next = numbers.len();
            *numbers.entry(key).or_insert(next)
        };
        let mut bridges: HashMap<(usize, Vec<(usize, bool)>), usize> = HashMap::new();
        let mut classes: HashMap<(usize, usize), usize> = HashMap::new();
        let mut alike = Alike::default();
        for bridge in self.bridges() {
            let ports = bridge.ports.iter().map(|port| port.link.index);
            let ports: Vec<_> = ports.map(|port| (port, number(port))).collect();
            let next = bridges.len();
            let bridge = *bridges.entry((number(bridge.link.index), sorts(&ports))).or_insert(next);
            for (port, sort) in ports {
                let next = classes.len();
                let class = *classes.entry((bridge, sort)).or_insert(next);
                match alike.classes.get_mut(class) {
                    Some(members) => members.push(port),
                    None => alike.classes.push(vec![port]),
                }
                alike.class_of.insert(port, class);
            }
        }
        alike.constants = constants;
        alike
    }
}
