//! The facts of a map, found in one namespace of a snapshot.

use portcullis_audit::Role;
use portcullis_snapshot::promiscuity::{self, HeldBy, Unaccounted};
use portcullis_snapshot::{
    BridgeOptions, Link, LinkKind, Netns, NetnsId, PortOptions, Snapshot, UnreadCause,
};

use super::words::{guest, state, stp, unusual, upper_kind, vlan};
use super::{Holder, MapBridge, MapLower, MapPort, MapUpper};
use crate::json::UnreadEntry;

/// Lists what was not read of what a map shows.
pub(super) fn unread(netns: &Netns) -> Vec<UnreadEntry> {
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
pub(super) struct Place<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) netns: &'s Netns,
}

impl Place<'_> {
    pub(super) fn bridge(&self, link: &Link, ports: Vec<MapPort>) -> MapBridge {
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

    pub(super) fn port(&self, link: &Link, role: Role) -> MapPort {
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

    pub(super) fn lower(&self, link: &Link) -> Option<MapLower> {
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
