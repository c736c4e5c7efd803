//! `portcullis.map/1`: bridges, their ports, and what sits on them.
//!
//! The document is here; `place` finds its facts in a snapshot, `words` names them as `ip` and `bridge` do.

mod place;
mod words;

use portcullis_audit::Role;
use portcullis_snapshot::{IfIndex, NetnsId, Snapshot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RoleName, UnreadEntry};
use place::Place;

/// The picture of a host's bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapDocument {
    /// [`SCHEMA`](Self::SCHEMA).
    pub schema: String,
    /// The host.
    pub host: String,
    /// The release of its kernel.
    pub kernel: String,
    /// Its bridges, by namespace and index.
    pub bridges: Vec<MapBridge>,
    /// Devices that are no bridge and have macvlans or ipvlans on them.
    pub lower_devices: Vec<MapLower>,
    /// What was not read of what the map shows.
    pub unread: Vec<UnreadEntry>,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapBridge {
    /// Its name.
    pub name: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// Whether it is up.
    pub up: bool,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its own addresses, with prefix lengths.
    pub addresses: Vec<String>,
    /// Who runs its spanning tree: `off`, `kernel`, `user` or a number. Null if the kernel did not say.
    pub stp: Option<String>,
    /// Whether it filters by VLAN. Null if the kernel cannot.
    pub vlan_filtering: Option<bool>,
    /// How long learned entries live, in hundredths of a second.
    pub ageing_time: Option<u32>,
    /// The VLANs that the bridge device is in, as `bridge vlan` says it.
    pub vlans: Vec<String>,
    /// How many asked for promiscuous mode.
    pub promiscuity: Option<u32>,
    /// Who they are.
    pub held_by: Vec<Holder>,
    /// VLAN devices, macvlans and the like on the bridge device.
    pub uppers: Vec<MapUpper>,
    /// Its ports.
    pub ports: Vec<MapPort>,
}

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapPort {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[schemars(with = "RoleName")]
    pub role: Role,
    /// The guest behind it, where it is known.
    pub guest: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// Its STP state: `disabled`, `listening`, `learning`, `forwarding`, `blocking` or a number.
    pub state: Option<String>,
    /// The options that differ from a new port's, as `bridge link` says them: `isolated on`, `learning off`.
    pub options: Vec<String>,
    /// Its VLANs, as `bridge vlan` says them.
    pub vlans: Vec<String>,
    /// How many asked for promiscuous mode.
    pub promiscuity: Option<u32>,
    /// Who they are, the bridge aside.
    pub held_by: Vec<Holder>,
    /// The namespace of a veth's other end: its name, or `net:[INODE]`. Null if it is in the port's own.
    pub peer_netns: Option<String>,
    /// VLAN devices on the port: they take their VLAN's frames before the bridge does.
    pub uppers: Vec<MapUpper>,
}

/// A device with macvlans or ipvlans on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapLower {
    /// Its name.
    pub name: String,
    /// The namespace: its name, or `net:[INODE]`.
    pub netns: String,
    /// Whether it is up.
    pub up: bool,
    /// How many asked for promiscuous mode.
    pub promiscuity: Option<u32>,
    /// Who they are.
    pub held_by: Vec<Holder>,
    /// What is on it.
    pub uppers: Vec<MapUpper>,
}

/// A device on top of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapUpper {
    /// Its name.
    pub name: String,
    /// What it is: `vlan 5`, `macvlan bridge`, `ipvlan`.
    pub kind: String,
    /// Whether it is up.
    pub up: bool,
    /// The namespace that it was moved to; null if it is still beside its lower device.
    pub netns: Option<String>,
    /// The guest behind it, where it is known.
    pub guest: Option<String>,
}

/// Somebody who keeps a device promiscuous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Who.
    pub who: String,
    /// How many of the requests are theirs.
    pub count: u32,
}

impl MapDocument {
    /// Name and version of the document.
    pub const SCHEMA: &str = "portcullis.map/1";

    /// Draws the map of the namespaces that `shown` picks; `role_of` tells what a port is for.
    pub fn new(
        snapshot: &Snapshot,
        shown: impl Fn(NetnsId) -> bool,
        role_of: impl Fn(NetnsId, IfIndex) -> Role,
    ) -> Self {
        let mut bridges = Vec::new();
        let mut lower_devices = Vec::new();
        let namespaces = || snapshot.namespaces.iter().filter(|netns| shown(netns.id));
        for netns in namespaces() {
            let place = Place { snapshot, netns };
            bridges.extend(netns.bridges().map(|link| {
                let ports =
                    netns.ports(link.index).map(|port| place.port(port, role_of(netns.id, port.index)));
                place.bridge(link, ports.collect())
            }));
            let others = netns.links.known().iter().filter(|link| link.bridge().is_none());
            lower_devices.extend(others.filter_map(|link| place.lower(link)));
        }
        Self {
            schema: Self::SCHEMA.to_owned(),
            host: snapshot.kernel.host.clone(),
            kernel: snapshot.kernel.release.clone(),
            bridges,
            lower_devices,
            unread: namespaces().flat_map(place::unread).collect(),
        }
    }
}
