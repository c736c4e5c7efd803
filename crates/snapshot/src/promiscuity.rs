//! Who made an interface promiscuous, as far as the snapshot shows.
//!
//! The kernel keeps one count for each device (`dev->promiscuity`, `__dev_set_promiscuity` in `net/core/dev.c`) and
//! no list of who raised it. This module knows what each visible user of a device adds and compares the sum with the
//! count. What remains was asked for by something that shows itself nowhere: that is the result which matters. Facts
//! and their sum live here; whether a promiscuous bridge is wrong does not.

use crate::{
    FdbEntry, IfIndex, Link, LinkFlags, LinkKind, MacAddr, MacvlanMode, Netns, NetnsId, PortKind, ProcessRef,
    ProtocolHandler, Reading, UnreadCause,
};

/// Who holds the promiscuity of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promiscuity {
    /// The kernel's count; `None` if nothing that was read tells it.
    pub count: Option<u32>,
    /// Whether a user set `IFF_PROMISC` (`ip link set DEV promisc on`).
    pub user: bool,
    /// Everyone who is seen to hold it. Each adds one to the count.
    pub holders: Vec<Holder>,
    /// How much of the count nobody in `holders` explains.
    pub unaccounted: Unaccounted,
    /// Functions of the kernel that receive every frame of this device (`/proc/net/ptype`) and are no packet sockets.
    /// Where something is unaccounted for, they are the likely owners.
    pub suspects: Vec<ProtocolHandler>,
}

/// One who holds the promiscuity of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub who: HeldBy,
    /// Whether the count surely includes it. `false` where that depends on what netlink does not tell, such as
    /// whether a network card filters by several addresses (`IFF_UNICAST_FLT`).
    pub certain: bool,
}

/// The kinds of holders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldBy {
    /// A user, by the interface flag (`__dev_change_flags`).
    Administrator,
    /// A packet socket that asked for it (`PACKET_MR_PROMISC`, `packet_dev_mc`).
    PacketSocket {
        /// The user that owns the socket, where the kernel told.
        uid: Option<u32>,
        /// The socket's inode.
        inode: u64,
        /// Its processes, where they were found.
        processes: Vec<ProcessRef>,
    },
    /// The bridge that the device is a port of (`br_manage_promisc`, `net/bridge/br_if.c`).
    Bridge(Device),
    /// Open vSwitch's datapath, for its ports and its internal devices (`net/openvswitch/vport-*.c`).
    OpenVswitch,
    /// A master that is itself promiscuous, such as a bond (`bond_set_promiscuity`).
    Master(Device),
    /// A macvlan or macvtap in passthru mode on the device (`macvlan_open`).
    Passthru(Device),
    /// A promiscuous VLAN, macvlan or MACsec device on the device (`vlan_dev_change_rx_flags` and its like).
    PromiscuousUpper(Device),
    /// Second unicast addresses on a device that cannot filter by them (`__dev_set_rx_mode`). However many there are,
    /// they count once. The list is empty where there may be some that were not seen.
    SecondAddresses(Vec<SecondAddress>),
}

/// A device that is named as a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The namespace it is in.
    pub netns: NetnsId,
    /// Its index there.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
}

/// A unicast address that a device receives beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondAddress {
    /// The address.
    pub address: MacAddr,
    /// The device on top whose address it is, where one was seen.
    pub upper: Option<Device>,
}

/// How much of a count nobody explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unaccounted {
    /// At least `min` and at most `max`; they differ where a holder is not certain.
    Between {
        /// The least that it can be.
        min: u32,
        /// The most that it can be.
        max: u32,
    },
    /// It cannot be told, and why.
    Unknown(String),
}

impl Unaccounted {
    /// Returns how much is surely unaccounted for.
    #[must_use]
    pub const fn at_least(&self) -> u32 {
        match self {
            Self::Between { min, .. } => *min,
            Self::Unknown(_) => 0,
        }
    }
}

/// Accounts for the promiscuity of a device, by what its own namespace shows.
///
/// A device on top that was moved to another namespace is not seen this way; see [`account_among`].
#[must_use]
pub fn account(netns: &Netns, link: &Link) -> Promiscuity {
    account_among(std::slice::from_ref(netns), netns, link)
}

/// Accounts for the promiscuity of a device of `netns`, with the devices on top of it looked for in all `namespaces`
/// (which hold `netns` too).
#[must_use]
pub fn account_among(namespaces: &[Netns], netns: &Netns, link: &Link) -> Promiscuity {
    let place = Place { namespaces, netns, link };
    let (count, user) = (place.count(), place.user());
    let mut holders: Vec<_> = place.nearby().collect();
    holders.extend(place.uppers().filter_map(|(home, upper)| by_upper(home, upper)));
    if count != Some(0) {
        let explained =
            u32::try_from(holders.iter().filter(|holder| holder.certain).count()).unwrap_or(u32::MAX);
        let rest = count.is_none_or(|count| count > explained);
        holders.extend(place.second_addresses(rest));
    }
    let unaccounted = unaccounted(count, &holders, netns);
    Promiscuity { count, user, holders, unaccounted, suspects: place.suspects() }
}

/// Whether what the device itself, its master and packet sockets tell explains its whole count, so that
/// [`account_among`] finds nothing unaccounted for. It looks at no other device, which counts where there are thousands.
#[must_use]
pub fn is_plainly_accounted(netns: &Netns, link: &Link) -> bool {
    let place = Place { namespaces: std::slice::from_ref(netns), netns, link };
    let explained = place.nearby().filter(|holder| holder.certain).count();
    place.count().is_some_and(|count| u32::try_from(explained).is_ok_and(|explained| count <= explained))
}

const fn certain(who: HeldBy) -> Holder {
    Holder { who, certain: true }
}

/// What is known about whether something holds; `None` is "perhaps".
fn held(who: HeldBy, holds: Option<bool>) -> Option<Holder> {
    (holds != Some(false)).then(|| Holder { who, certain: holds.is_some() })
}

fn unaccounted(count: Option<u32>, holders: &[Holder], netns: &Netns) -> Unaccounted {
    let Some(count) = count else {
        return Unaccounted::Unknown("how many asked for promiscuous mode was not read".to_owned());
    };
    let number = |wanted| {
        let of_sort = holders.iter().filter(|holder| holder.certain == wanted).count();
        u32::try_from(of_sort).unwrap_or(u32::MAX)
    };
    let max = count.saturating_sub(number(true));
    let sockets = netns.packet_sockets.unread().filter(|why| why.cause != UnreadCause::Unsupported);
    match sockets {
        Some(why) if max > 0 => Unaccounted::Unknown(format!("packet sockets were not read: {}", why.reason)),
        _ => Unaccounted::Between { min: max.saturating_sub(number(false)), max },
    }
}

/// A device with everything around it.
struct Place<'s> {
    namespaces: &'s [Netns],
    netns: &'s Netns,
    link: &'s Link,
}

impl<'s> Place<'s> {
    fn count(&self) -> Option<u32> {
        self.link.promiscuity.or_else(|| (self.link.is_promiscuous() == Some(false)).then_some(0))
    }

    fn user(&self) -> bool {
        self.link.flags.has(LinkFlags::PROMISC)
    }

    /// The holders that are found without a look at every other device.
    fn nearby(&self) -> impl Iterator<Item = Holder> {
        let administrator = self.user().then(|| certain(HeldBy::Administrator));
        administrator.into_iter().chain(self.packet_sockets()).chain(self.master())
    }

    /// Each membership counts once for its device, however often its socket asked (`packet_mc_add`).
    fn packet_sockets(&self) -> impl Iterator<Item = Holder> {
        self.netns.packet_sockets.known().iter().flat_map(|socket| {
            let times = socket.promiscuous.iter().filter(|device| **device == self.link.index).count();
            let (uid, inode, processes) = (socket.uid, socket.inode, socket.processes.clone());
            std::iter::repeat_n(certain(HeldBy::PacketSocket { uid, inode, processes }), times)
        })
    }

    fn master(&self) -> Option<Holder> {
        let internal = matches!(&self.link.kind, LinkKind::Other(kind) if kind == "openvswitch");
        let master = self.link.master.and_then(|master| self.netns.link(master));
        match &self.link.port {
            Some(PortKind::Bridge(_)) => {
                let bridge = master?;
                held(HeldBy::Bridge(device(self.netns, bridge)), self.bridge_holds(bridge))
            }
            Some(PortKind::Other(kind)) if kind == "openvswitch" => Some(certain(HeldBy::OpenVswitch)),
            Some(PortKind::Other(kind)) => {
                let master = master?;
                held(HeldBy::Master(device(self.netns, master)), self.master_holds(kind, master))
            }
            None => internal.then(|| certain(HeldBy::OpenVswitch)),
        }
    }

    /// `br_manage_promisc`: every port, unless the bridge filters VLANs, is not promiscuous itself, this port can
    /// filter by unicast addresses, and no other port learns or is flooded to.
    fn bridge_holds(&self, bridge: &Link) -> Option<bool> {
        if bridge.bridge().and_then(|options| options.vlan_filtering) != Some(true) {
            return Some(true);
        }
        let automatic = |port: &&Link| {
            port.bridge_port().is_some_and(|port| port.flood.unwrap_or(true) || port.learning.unwrap_or(true))
        };
        let mut others = self.netns.ports(bridge.index).filter(|port| port.index != self.link.index);
        if others.any(|port| automatic(&port)) {
            return Some(true);
        }
        match (bridge.is_promiscuous(), filters_unicast(&self.link.kind)) {
            (Some(true), _) | (_, Some(false)) => Some(true),
            (Some(false), Some(true)) => Some(false),
            _ => None,
        }
    }

    /// Bonds pass their own promiscuity on, to the active port alone in the modes that have one
    /// (`bond_uses_primary`); teams to every port; a VRF to none.
    fn master_holds(&self, kind: &str, master: &Link) -> Option<bool> {
        let promiscuous = master.is_promiscuous();
        match (kind, &master.kind) {
            ("bond", LinkKind::Bond(bond)) if matches!(bond.mode, Some(1 | 5 | 6)) => {
                if bond.active_slave == Some(self.link.index) { promiscuous } else { Some(false) }
            }
            ("bond" | "team", _) => promiscuous,
            ("vrf", _) => Some(false),
            _ if promiscuous == Some(false) => Some(false),
            _ => None,
        }
    }

    /// The devices whose lower device this is, each with the namespace it is in by now.
    fn uppers(&self) -> impl Iterator<Item = (&'s Netns, &'s Link)> {
        let (lower, home_of_lower) = (self.link.index, self.netns.id);
        self.namespaces.iter().flat_map(move |home| {
            let on_it = move |upper: &&Link| {
                let netns = upper.link_netns.map_or(Some(home.id), |other| other.netns);
                upper.link == Some(lower) && netns == Some(home_of_lower)
            };
            home.links.known().iter().filter(on_it).map(move |upper| (home, upper))
        })
    }

    /// `__dev_set_rx_mode`: a device that is up, has second unicast addresses and cannot filter by them counts one.
    /// The addresses show as its own FDB entries (`ndo_dflt_fdb_dump`). `rest` is whether any count is left to explain.
    fn second_addresses(&self, rest: bool) -> Option<Holder> {
        let filters = filters_unicast(&self.link.kind);
        if filters == Some(true) {
            return None;
        }
        let addresses = self.unicast_list();
        let unseen = !matches!(self.netns.fdb, Reading::Read(_)) && self.link.promiscuity.is_some();
        // A device that is down keeps what it had, and notices a change only when it comes up.
        let stale = !self.link.is_up();
        if addresses.is_empty() {
            let perhaps = rest && (unseen || stale);
            return perhaps.then_some(Holder { who: HeldBy::SecondAddresses(addresses), certain: false });
        }
        // The kernel takes link-local group addresses that a user adds for unicast ones, others not.
        let unicast = addresses.iter().any(|second| !second.address.is_multicast());
        let certain = unicast && !stale && filters == Some(false);
        Some(Holder { who: HeldBy::SecondAddresses(addresses), certain })
    }

    fn unicast_list(&self) -> Vec<SecondAddress> {
        // A tunnel's own entries are where it sends, not what it receives.
        let lists = !matches!(self.link.kind, LinkKind::Vxlan(_));
        let own = |entry: &&FdbEntry| {
            let address = entry.address;
            let of_the_list = !address.is_multicast() || address.is_link_local();
            lists
                && entry.device == self.link.index
                && entry.is_self()
                && entry.remote.is_none()
                && of_the_list
        };
        let upper_of = |address| self.listed_uppers().find(|(_, upper)| upper.address == Some(address));
        let mut list: Vec<_> = self.netns.fdb.known().iter().filter(own).map(|entry| entry.address).collect();
        list.extend(self.listed_uppers().filter_map(|(_, upper)| upper.address));
        list.sort_unstable();
        list.dedup();
        let second = |address| SecondAddress {
            address,
            upper: upper_of(address).map(|(home, upper)| device(home, upper)),
        };
        list.into_iter().map(second).collect()
    }

    /// The uppers that put their address on the list: macvlans that are not passthru (`macvlan_open`), VLAN devices
    /// with an address of their own (`vlan_dev_open`), both while they are up.
    fn listed_uppers(&self) -> impl Iterator<Item = (&'s Netns, &'s Link)> {
        self.uppers().filter(|(_, upper)| upper.is_up()).filter(|(_, upper)| match &upper.kind {
            LinkKind::Macvlan(macvlan) | LinkKind::Macvtap(macvlan) => macvlan.mode != MacvlanMode::Passthru,
            LinkKind::Vlan(_) => upper.address != self.link.address,
            _ => false,
        })
    }

    fn suspects(&self) -> Vec<ProtocolHandler> {
        const ETH_P_ALL: u16 = 3;
        let here = |handler: &&ProtocolHandler| {
            handler.protocol.0 == ETH_P_ALL && handler.device.as_ref() == Some(&self.link.name)
        };
        self.netns.protocol_handlers.known().iter().filter(here).cloned().collect()
    }
}

/// What a device on top adds by itself, beside its address.
fn by_upper(home: &Netns, upper: &Link) -> Option<Holder> {
    const MACVLAN_FLAG_NOPROMISC: u16 = 1;
    match &upper.kind {
        LinkKind::Macvlan(macvlan) | LinkKind::Macvtap(macvlan) => {
            if !upper.is_up() {
                return None;
            }
            if macvlan.mode == MacvlanMode::Passthru {
                let asks = macvlan.flags & MACVLAN_FLAG_NOPROMISC == 0;
                return asks.then(|| certain(HeldBy::Passthru(device(home, upper))));
            }
            held(HeldBy::PromiscuousUpper(device(home, upper)), upper.is_promiscuous())
        }
        // Kernels differ in whether a VLAN device passes this on while it is down.
        LinkKind::Vlan(_) => {
            let holds = upper.is_promiscuous().filter(|promiscuous| upper.is_up() || !promiscuous);
            held(HeldBy::PromiscuousUpper(device(home, upper)), holds)
        }
        LinkKind::Other(kind) if kind == "macsec" && upper.is_up() => {
            held(HeldBy::PromiscuousUpper(device(home, upper)), upper.is_promiscuous())
        }
        _ => None,
    }
}

/// Whether devices of a kind set `IFF_UNICAST_FLT`; `None` where it depends on the driver. Nothing shows it to users.
fn filters_unicast(kind: &LinkKind) -> Option<bool> {
    match kind {
        LinkKind::Bridge(_)
        | LinkKind::Veth
        | LinkKind::Tun(_)
        | LinkKind::Vxlan(_)
        | LinkKind::Vrf { .. } => Some(false),
        LinkKind::Vlan(_)
        | LinkKind::Macvlan(_)
        | LinkKind::Macvtap(_)
        | LinkKind::Ipvlan(_)
        | LinkKind::Bond(_) => Some(true),
        LinkKind::Other(kind) => match kind.as_str() {
            "team" => Some(true),
            "dummy" | "openvswitch" => Some(false),
            _ => None,
        },
        LinkKind::Plain => None,
    }
}

fn device(netns: &Netns, link: &Link) -> Device {
    Device { netns: netns.id, index: link.index, name: link.name.clone() }
}

#[cfg(test)]
mod tests;
