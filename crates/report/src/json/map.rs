//! `portcullis.map/1`: bridges, their ports, and what sits on them.

use portcullis_audit::Role;
use portcullis_snapshot::promiscuity::{self, HeldBy, Unaccounted};
use portcullis_snapshot::{
    BridgeOptions, GuestKind, IfIndex, Link, LinkKind, MacvlanMode, Netns, NetnsId, PortOptions, PortState,
    Snapshot, StpState, UnreadCause, VlanEntry, VlanFlags,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RoleName, UnreadEntry};

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
            unread: namespaces().flat_map(unread).collect(),
        }
    }
}

/// Lists what was not read of what a map shows.
fn unread(netns: &Netns) -> Vec<UnreadEntry> {
    let shown = ["links", "VLAN tables", "addresses", "packet sockets"];
    let missing = netns.unread().filter(|(what, _)| shown.contains(what));
    let missing = missing.filter(|(_, why)| why.cause != UnreadCause::Unsupported);
    missing
        .map(|(what, why)| UnreadEntry {
            netns: Some(netns.label()),
            what: what.to_owned(),
            reason: why.reason.clone(),
            needs_root: why.cause == UnreadCause::Permission,
        })
        .collect()
}

/// A namespace within its snapshot.
struct Place<'s> {
    snapshot: &'s Snapshot,
    netns: &'s Netns,
}

impl Place<'_> {
    fn bridge(&self, link: &Link, ports: Vec<MapPort>) -> MapBridge {
        let none = BridgeOptions::default();
        let options = link.bridge().unwrap_or(&none);
        let addresses = self.netns.addresses.known().iter().filter(|address| address.device == link.index);
        MapBridge {
            name: link.name.clone(),
            netns: self.netns.label(),
            up: link.is_up(),
            mac: link.address.map(|mac| mac.to_string()),
            addresses: addresses.map(|address| address.address.to_string()).collect(),
            stp: options.stp_state.map(stp),
            vlan_filtering: options.vlan_filtering,
            ageing_time: options.ageing_time,
            vlans: self.vlans(link),
            promiscuity: link.promiscuity,
            held_by: self.holders(link),
            uppers: self.uppers(link),
            ports,
        }
    }

    fn port(&self, link: &Link, role: Role) -> MapPort {
        let none = PortOptions::default();
        let options = link.bridge_port().unwrap_or(&none);
        let peer = link.link_netns.filter(|_| matches!(link.kind, LinkKind::Veth));
        MapPort {
            name: link.name.clone(),
            role,
            guest: guest(link),
            up: link.is_up(),
            state: options.state.map(state),
            options: unusual(options),
            vlans: self.vlans(link),
            promiscuity: link.promiscuity,
            held_by: self.holders(link),
            peer_netns: peer.map(|peer| self.label(peer.netns, peer.nsid)),
            uppers: self.uppers(link),
        }
    }

    fn lower(&self, link: &Link) -> Option<MapLower> {
        let uppers: Vec<_> = self.uppers(link);
        // VLAN devices alone do not take frames from anybody but the host itself.
        if !uppers.iter().any(|upper| !upper.kind.starts_with("vlan")) {
            return None;
        }
        Some(MapLower {
            name: link.name.clone(),
            netns: self.netns.label(),
            up: link.is_up(),
            promiscuity: link.promiscuity,
            held_by: self.holders(link),
            uppers,
        })
    }

    /// Lists what is on top of a device, in whichever namespace it is by now.
    fn uppers(&self, lower: &Link) -> Vec<MapUpper> {
        let mut uppers = Vec::new();
        for home in &self.snapshot.namespaces {
            for link in home.links.known().iter().filter(|link| link.link == Some(lower.index)) {
                let lower_netns = link.link_netns.map_or(Some(home.id), |other| other.netns);
                let Some(kind) = upper_kind(&link.kind).filter(|_| lower_netns == Some(self.netns.id)) else {
                    continue;
                };
                let netns = (home.id != self.netns.id).then(|| home.label());
                uppers.push(MapUpper {
                    name: link.name.clone(),
                    kind,
                    up: link.is_up(),
                    netns,
                    guest: guest(link),
                });
            }
        }
        uppers
    }

    fn vlans(&self, link: &Link) -> Vec<String> {
        let table = self.netns.vlans.known().iter().find(|table| table.device == link.index);
        table.map_or_else(Vec::new, |table| table.vlans.iter().map(vlan).collect())
    }

    /// Lists who keeps a device promiscuous, and how many requests nobody accounts for. A port's own bridge, which
    /// keeps nearly every port so, is not worth a line.
    fn holders(&self, link: &Link) -> Vec<Holder> {
        let account = promiscuity::account_among(&self.snapshot.namespaces, self.netns, link);
        let mut holders: Vec<Holder> = Vec::new();
        for holder in account.holders.iter().filter(|holder| !matches!(holder.who, HeldBy::Bridge(_))) {
            let perhaps = if holder.certain { "" } else { "perhaps " };
            let who = format!("{perhaps}{}", self.held_by(&holder.who));
            match holders.iter_mut().find(|known| known.who == who) {
                Some(known) => known.count += 1,
                None => holders.push(Holder { who, count: 1 }),
            }
        }
        match account.unaccounted {
            Unaccounted::Between { min: 1.., max } => {
                let suspects: Vec<_> =
                    account.suspects.iter().map(|handler| handler.function.as_str()).collect();
                let who = match suspects.as_slice() {
                    [] => "nothing that is visible from here".to_owned(),
                    some => format!(
                        "nothing that is visible from here, but {} receives every frame",
                        some.join(", ")
                    ),
                };
                holders.push(Holder { who, count: max });
            }
            Unaccounted::Between { .. } => {}
            Unaccounted::Unknown(_) if link.promiscuity == Some(0) || link.promiscuity.is_none() => {}
            Unaccounted::Unknown(why) => {
                holders.push(Holder { who: format!("somebody unknown: {why}"), count: 1 })
            }
        }
        holders
    }

    fn held_by(&self, who: &HeldBy) -> String {
        let place = |device: &promiscuity::Device| {
            let elsewhere = device.netns != self.netns.id;
            let netns =
                if elsewhere { format!(" in {}", self.label(Some(device.netns), 0)) } else { String::new() };
            format!("{}{netns}", device.name)
        };
        match who {
            HeldBy::Administrator => "ip link set promisc on".to_owned(),
            HeldBy::PacketSocket { processes, inode, .. } => match processes.first() {
                Some(process) => format!("a packet socket of {} ({})", process.name, process.pid),
                None => format!("a packet socket (inode {inode}) whose process is not visible"),
            },
            HeldBy::Bridge(bridge) => format!("the bridge {}", place(bridge)),
            HeldBy::OpenVswitch => "Open vSwitch".to_owned(),
            HeldBy::Master(master) => format!("{}, its master", place(master)),
            HeldBy::Passthru(upper) => format!("{}, a macvlan in passthru mode on it", place(upper)),
            HeldBy::PromiscuousUpper(upper) => format!("{} on it, which is promiscuous", place(upper)),
            HeldBy::SecondAddresses(addresses) => {
                let name = |second: &promiscuity::SecondAddress| match &second.upper {
                    Some(upper) => format!("{} of {}", second.address, place(upper)),
                    None => second.address.to_string(),
                };
                let names: Vec<_> = addresses.iter().map(name).collect();
                let list =
                    if names.is_empty() { "some that were not seen".to_owned() } else { names.join(", ") };
                format!("second addresses that it cannot filter by: {list}")
            }
        }
    }

    fn label(&self, id: Option<NetnsId>, nsid: i32) -> String {
        let Some(id) = id else { return format!("nsid {nsid}") };
        let known = self.snapshot.namespaces.iter().find(|netns| netns.id == id);
        known.map_or_else(|| id.to_string(), Netns::label)
    }
}

fn guest(link: &Link) -> Option<String> {
    let guest = link.behind.as_ref()?.guest.as_ref()?;
    let kind = match guest.kind {
        GuestKind::Libvirt => "libvirt domain",
        GuestKind::Qemu => "QEMU",
        GuestKind::Container => "container",
        GuestKind::Namespace => "namespace",
        GuestKind::Process => "process",
    };
    Some(format!("{kind} {}", guest.name))
}

fn stp(state: StpState) -> String {
    match state {
        StpState::Off => "off".to_owned(),
        StpState::Kernel => "kernel".to_owned(),
        StpState::User => "user".to_owned(),
        StpState::Other(number) => number.to_string(),
    }
}

fn state(state: PortState) -> String {
    match state {
        PortState::Disabled => "disabled".to_owned(),
        PortState::Listening => "listening".to_owned(),
        PortState::Learning => "learning".to_owned(),
        PortState::Forwarding => "forwarding".to_owned(),
        PortState::Blocking => "blocking".to_owned(),
        PortState::Other(number) => number.to_string(),
    }
}

/// Lists the options that decide where frames go and are not as `br_add_if` leaves them.
fn unusual(options: &PortOptions) -> Vec<String> {
    let on = [
        (options.isolated, "isolated on"),
        (options.locked, "locked on"),
        (options.mab, "mab on"),
        (options.hairpin, "hairpin on"),
        (options.guard, "guard on"),
        (options.root_block, "root_block on"),
        (options.proxy_arp, "proxy_arp on"),
        (options.proxy_arp_wifi, "proxy_arp_wifi on"),
        (options.neigh_suppress, "neigh_suppress on"),
        (options.neigh_vlan_suppress, "neigh_vlan_suppress on"),
        (options.mcast_to_unicast, "mcast_to_unicast on"),
        (options.vlan_tunnel, "vlan_tunnel on"),
    ];
    let off = [
        (options.learning, "learning off"),
        (options.flood, "flood off"),
        (options.mcast_flood, "mcast_flood off"),
        (options.bcast_flood, "bcast_flood off"),
    ];
    let on = on.into_iter().filter(|(value, _)| *value == Some(true));
    let off = off.into_iter().filter(|(value, _)| *value == Some(false));
    let mut words: Vec<_> = on.chain(off).map(|(_, word)| word.to_owned()).collect();
    if let Some(mask) = options.group_fwd_mask.filter(|mask| *mask != 0) {
        words.push(format!("group_fwd_mask {mask:#x}"));
    }
    if options.backup_port.is_some_and(|port| port != IfIndex(0)) {
        words.push("backup_port".to_owned());
    }
    words
}

fn vlan(entry: &VlanEntry) -> String {
    let mut text =
        if entry.from == entry.to { entry.from.to_string() } else { format!("{}-{}", entry.from, entry.to) };
    for (flag, word) in [(VlanFlags::PVID, " PVID"), (VlanFlags::UNTAGGED, " untagged")] {
        if entry.flags.has(flag) {
            text.push_str(word);
        }
    }
    text
}

/// Says what a device on top of another is; `None` if it is not one that takes the other's frames.
fn upper_kind(kind: &LinkKind) -> Option<String> {
    match kind {
        LinkKind::Vlan(vlan) => Some(format!("vlan {}", vlan.id)),
        LinkKind::Macvlan(options) => Some(format!("macvlan {}", mode(options.mode))),
        LinkKind::Macvtap(options) => Some(format!("macvtap {}", mode(options.mode))),
        LinkKind::Ipvlan(_) => Some("ipvlan".to_owned()),
        _ => None,
    }
}

fn mode(mode: MacvlanMode) -> String {
    match mode {
        MacvlanMode::Private => "private".to_owned(),
        MacvlanMode::Vepa => "vepa".to_owned(),
        MacvlanMode::Bridge => "bridge".to_owned(),
        MacvlanMode::Passthru => "passthru".to_owned(),
        MacvlanMode::Source => "source".to_owned(),
        MacvlanMode::Other(number) => format!("mode {number}"),
    }
}
