//! Changing interfaces, bridges, FDB, VLANs, addresses and routes: each function makes one [`Change`].

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use portcullis_snapshot::{EtherType, IfIndex, LinkFlags, MacAddr, VlanId};
use portcullis_wire::{Attributes, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, u32_at};

use crate::netlink::Socket;
use crate::route::RouteChange;
use crate::{Change, Error};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_NEWQDISC: u16 = 36;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;

/// `NUD_PERMANENT`: for the FDB, a local entry.
pub const NUD_PERMANENT: u16 = 0x80;
/// `NUD_NOARP`: for the FDB, a static entry.
pub const NUD_NOARP: u16 = 0x40;
/// `NUD_REACHABLE`: for the FDB, a dynamic entry.
pub const NUD_REACHABLE: u16 = 0x02;
/// `NTF_SELF`.
pub const NTF_SELF: u8 = 0x02;
/// `NTF_MASTER`.
pub const NTF_MASTER: u8 = 0x04;
/// `NTF_EXT_LEARNED`.
pub const NTF_EXT_LEARNED: u8 = 0x10;
/// `NTF_STICKY`.
pub const NTF_STICKY: u8 = 0x40;

/// A new interface, to be given its particulars.
#[derive(Debug, Clone)]
pub struct NewLink<'a> {
    name: &'a str,
    kind: &'a str,
    address: Option<MacAddr>,
    lower: Option<IfIndex>,
    index: u32,
    peer_index: u32,
}

fn ifinfo(index: u32, flags: u32, mask: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let words = [index, flags, mask];
    for (at, byte) in words.iter().flat_map(|word| word.to_ne_bytes()).enumerate() {
        if let Some(place) = bytes.get_mut(4 + at) {
            *place = byte;
        }
    }
    bytes
}

fn set_link(index: IfIndex) -> Message {
    Message::new(RTM_NEWLINK, 0).header(&ifinfo(index.0, 0, 0))
}

/// Returns the index of an interface.
///
/// # Errors
/// If there is none of that name.
pub fn index_of(socket: &mut Socket, name: &str) -> Result<IfIndex, Error> {
    let message = Message::new(RTM_GETLINK, NLM_F_ACK).header(&ifinfo(0, 0, 0)).put_str(IFLA_IFNAME, name);
    let mut index = None;
    let what = format!("looking {name} up");
    socket.request(&what, message, |reply| index = index.or_else(|| u32_at(reply.payload, 4)))?;
    index.map(IfIndex).ok_or_else(|| Error::Malformed { what, detail: "no link in the answer".to_owned() })
}

/// Returns an interface's hardware address, where it has an Ethernet one.
///
/// # Errors
/// If there is no such interface.
pub fn address_of(socket: &mut Socket, index: IfIndex) -> Result<Option<MacAddr>, Error> {
    let message = Message::new(RTM_GETLINK, NLM_F_ACK).header(&ifinfo(index.0, 0, 0));
    let mut address = None;
    socket.request(&format!("looking interface {index} up"), message, |reply| {
        address =
            Attributes::after(reply.payload, 16).get(IFLA_ADDRESS).and_then(|attribute| attribute.mac());
    })?;
    Ok(address)
}

impl<'a> NewLink<'a> {
    /// Starts a new interface of a kind: `bridge`, `dummy`, `veth` …
    #[must_use]
    pub const fn new(name: &'a str, kind: &'a str) -> Self {
        Self { name, kind, address: None, lower: None, index: 0, peer_index: 0 }
    }

    /// Gives it a hardware address.
    #[must_use]
    pub const fn address(mut self, address: MacAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Puts it on a lower device.
    #[must_use]
    pub const fn on(mut self, lower: IfIndex) -> Self {
        self.lower = Some(lower);
        self
    }

    /// Makes the interface; `data` appends the attributes of its kind.
    #[must_use]
    pub fn create(self, data: impl FnOnce(Message) -> Message) -> Change {
        let what = format!("creating {} ({})", self.name, self.kind);
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
            .header(&ifinfo(self.index, 0, 0))
            .put_str(IFLA_IFNAME, self.name);
        if let Some(address) = self.address {
            message = message.put(IFLA_ADDRESS, &address.0);
        }
        if let Some(lower) = self.lower {
            message = message.put_u32(IFLA_LINK, lower.0);
        }
        let message = message
            .nest(IFLA_LINKINFO, |info| info.put_str(IFLA_INFO_KIND, self.kind).nest(IFLA_INFO_DATA, data));
        Change::new(what, message)
    }

    /// Asks for an index, and for one for the peer of a veth pair; the kernel heeds the second only with the first.
    ///
    /// A pair whose ends have the same index in their namespaces is slow to come up: the kernel takes such a device for
    /// one without a lower device, whose changes of carrier can wait (`linkwatch_urgent_event`).
    #[must_use]
    pub const fn indices(mut self, index: u32, peer: u32) -> Self {
        self.index = index;
        self.peer_index = peer;
        self
    }

    /// Makes a veth pair; the peer goes into another namespace if one is given.
    #[must_use]
    pub fn veth(self, peer: &str, peer_address: MacAddr, netns: Option<BorrowedFd<'_>>) -> Change {
        const VETH_INFO_PEER: u16 = 1;
        let index = self.peer_index;
        self.create(|data| {
            data.nest(VETH_INFO_PEER, |info| {
                let info = info
                    .header(&ifinfo(index, 0, 0))
                    .put_str(IFLA_IFNAME, peer)
                    .put(IFLA_ADDRESS, &peer_address.0);
                match netns {
                    Some(fd) => info.put_u32(IFLA_NET_NS_FD, fd.as_raw_fd().cast_unsigned()),
                    None => info,
                }
            })
        })
    }

    /// Makes a VLAN device.
    #[must_use]
    pub fn vlan(self, tpid: EtherType, id: u16) -> Change {
        self.create(|data| data.put_u16(1, id).put(5, &tpid.0.to_be_bytes()))
    }

    /// Makes a macvlan of a mode: 1 private, 2 VEPA, 4 bridge, 8 passthru, 16 source.
    #[must_use]
    pub fn macvlan(self, mode: u32) -> Change {
        self.create(|data| data.put_u32(1, mode))
    }

    /// Makes a VRF.
    #[must_use]
    pub fn vrf(self, table: u32) -> Change {
        self.create(|data| data.put_u32(1, table))
    }
}

/// Takes an interface away.
#[must_use]
pub fn delete(index: IfIndex) -> Change {
    let message = Message::new(RTM_DELLINK, 0).header(&ifinfo(index.0, 0, 0));
    Change::new(format!("deleting interface {index}"), message)
}

/// Sets and clears interface flags (`IFF_*`): those in `mask` become as in `flags`.
#[must_use]
pub fn flags(index: IfIndex, flags: u32, mask: u32) -> Change {
    let message = Message::new(RTM_NEWLINK, 0).header(&ifinfo(index.0, flags, mask));
    Change::new(format!("setting flags of interface {index}"), message)
}

/// Turns an interface on.
#[must_use]
pub fn up(index: IfIndex) -> Change {
    flags(index, LinkFlags::UP, LinkFlags::UP)
}

/// Turns an interface off.
#[must_use]
pub fn down(index: IfIndex) -> Change {
    flags(index, 0, LinkFlags::UP)
}

/// Makes an interface a port of another; `None` frees it.
#[must_use]
pub fn master(index: IfIndex, master: Option<IfIndex>) -> Change {
    let message = set_link(index).put_u32(IFLA_MASTER, master.map_or(0, |master| master.0));
    Change::new(format!("setting the master of interface {index}"), message)
}

/// Changes an interface's hardware address.
#[must_use]
pub fn address(index: IfIndex, address: MacAddr) -> Change {
    Change::new(
        format!("setting the address of interface {index}"),
        set_link(index).put(IFLA_ADDRESS, &address.0),
    )
}

/// Changes an interface's MTU.
#[must_use]
pub fn mtu(index: IfIndex, mtu: u32) -> Change {
    Change::new(format!("setting the MTU of interface {index}"), set_link(index).put_u32(IFLA_MTU, mtu))
}

/// Moves an interface to another namespace.
#[must_use]
pub fn move_to(index: IfIndex, netns: BorrowedFd<'_>) -> Change {
    let message = set_link(index).put_u32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
    Change::new(format!("moving interface {index}"), message)
}

/// Sets an option of a bridge, by its number in `IFLA_BR_*`.
#[must_use]
pub fn bridge_option(bridge: IfIndex, number: u16, value: &[u8]) -> Change {
    let message = set_link(bridge).nest(IFLA_LINKINFO, |info| {
        info.put_str(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |data| data.put(number, value))
    });
    Change::new(format!("setting IFLA_BR option {number} of interface {bridge}"), message)
}

/// Sets an option of a bridge port, by its number in `IFLA_BRPORT_*`.
#[must_use]
pub fn port_option(port: IfIndex, number: u16, value: &[u8]) -> Change {
    let message = set_link(port).nest(IFLA_LINKINFO, |info| {
        info.put_str(IFLA_INFO_SLAVE_KIND, "bridge")
            .nest(IFLA_INFO_SLAVE_DATA, |data| data.put(number, value))
    });
    Change::new(format!("setting IFLA_BRPORT option {number} of interface {port}"), message)
}

/// Puts a port, or with `on_bridge` the bridge device itself, into a VLAN; `flags` are `BRIDGE_VLAN_INFO_*`.
#[must_use]
pub fn vlan_add(device: IfIndex, id: VlanId, flags: u16, on_bridge: bool) -> Change {
    vlan(RTM_SETLINK, "joining", device, id, flags, on_bridge)
}

/// Takes a port, or the bridge device itself, out of a VLAN.
#[must_use]
pub fn vlan_del(device: IfIndex, id: VlanId, on_bridge: bool) -> Change {
    vlan(RTM_DELLINK, "leaving", device, id, 0, on_bridge)
}

/// Puts a bridge device itself into every VLAN from one to another, which is one change; `flags` are
/// `BRIDGE_VLAN_INFO_*`. More than one cannot be the PVID.
#[must_use]
pub fn vlan_range_add(bridge: IfIndex, range: (VlanId, VlanId), flags: u16) -> Change {
    vlans(RTM_SETLINK, "joining", bridge, range, flags, true)
}

/// Takes a bridge device itself out of every VLAN from one to another.
#[must_use]
pub fn vlan_range_del(bridge: IfIndex, range: (VlanId, VlanId)) -> Change {
    vlans(RTM_DELLINK, "leaving", bridge, range, 0, true)
}

fn vlan(kind: u16, verb: &str, device: IfIndex, id: VlanId, flags: u16, on_bridge: bool) -> Change {
    vlans(kind, verb, device, (id, id), flags, on_bridge)
}

fn vlans(
    kind: u16,
    verb: &str,
    device: IfIndex,
    (from, to): (VlanId, VlanId),
    flags: u16,
    on_bridge: bool,
) -> Change {
    const BRIDGE_VLAN_INFO_RANGE_BEGIN: u16 = 8;
    const BRIDGE_VLAN_INFO_RANGE_END: u16 = 16;
    const IFLA_AF_SPEC: u16 = 26;
    const IFLA_BRIDGE_FLAGS: u16 = 0;
    const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
    const BRIDGE_FLAGS_SELF: u16 = 2;
    let mut header = ifinfo(device.0, 0, 0);
    if let Some(family) = header.first_mut() {
        *family = libc::AF_BRIDGE as u8;
    }
    let info = |flags: u16, id: VlanId| [flags.to_ne_bytes(), id.get().to_ne_bytes()].concat();
    let message = Message::new(kind, 0).header(&header).nest(IFLA_AF_SPEC, |spec| {
        let spec = if on_bridge { spec.put_u16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF) } else { spec };
        if from == to {
            return spec.put(IFLA_BRIDGE_VLAN_INFO, &info(flags, from));
        }
        spec.put(IFLA_BRIDGE_VLAN_INFO, &info(flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, from))
            .put(IFLA_BRIDGE_VLAN_INFO, &info(flags | BRIDGE_VLAN_INFO_RANGE_END, to))
    });
    let what = if from == to {
        format!("{verb} VLAN {from} with interface {device}")
    } else {
        format!("{verb} VLANs {from}-{to} with interface {device}")
    };
    Change::new(what, message)
}

/// An FDB entry to be put in or taken out.
#[derive(Debug, Clone, Copy)]
pub struct FdbChange {
    /// The port, or the bridge for an entry of its own.
    pub device: IfIndex,
    /// The address.
    pub address: MacAddr,
    /// The VLAN; `None` for vid 0.
    pub vlan: Option<VlanId>,
    /// [`NUD_PERMANENT`] is local, [`NUD_NOARP`] static, [`NUD_REACHABLE`] dynamic.
    pub state: u16,
    /// [`NTF_MASTER`] on a port, [`NTF_SELF`] on the bridge, [`NTF_STICKY`].
    pub flags: u8,
}

impl FdbChange {
    /// Puts the entry in, in place of one that may be there.
    #[must_use]
    pub fn add(&self) -> Change {
        let what = format!("adding the FDB entry {} on interface {}", self.address, self.device);
        Change::new(what, self.message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE))
    }

    /// Takes the entry out.
    #[must_use]
    pub fn delete(&self) -> Change {
        let what = format!("deleting the FDB entry {} on interface {}", self.address, self.device);
        Change::new(what, self.message(RTM_DELNEIGH, 0))
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        const NDA_LLADDR: u16 = 2;
        const NDA_VLAN: u16 = 5;
        let header = neighbour_header(libc::AF_BRIDGE, self.device, self.state, self.flags);
        let message = Message::new(kind, flags).header(&header).put(NDA_LLADDR, &self.address.0);
        match self.vlan {
            Some(vlan) => message.put_u16(NDA_VLAN, vlan.get()),
            None => message,
        }
    }
}

fn neighbour_header(family: i32, device: IfIndex, state: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![family as u8, 0, 0, 0];
    header.extend(device.0.to_ne_bytes());
    header.extend(state.to_ne_bytes());
    header.extend([flags, 0]);
    header
}

/// Puts a neighbour entry in, in place of one that may be there.
#[must_use]
pub fn neighbour(device: IfIndex, address: IpAddr, mac: MacAddr, state: u16) -> Change {
    let (family, bytes) = family_and_bytes(address);
    let header = neighbour_header(family, device, state, 0);
    let message = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE)
        .header(&header)
        .put(1, &bytes)
        .put(2, &mac.0);
    Change::new(format!("adding the neighbour {address}"), message)
}

fn family_and_bytes(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    }
}

/// Gives an interface an IP address; an IPv6 one is used at once (`IFA_F_NODAD`).
#[must_use]
pub fn ip_address(device: IfIndex, address: IpAddr, prefix: u8) -> Change {
    const IFA_F_NODAD: u8 = 2;
    let (family, bytes) = family_and_bytes(address);
    let mut header = vec![family as u8, prefix, IFA_F_NODAD, 0];
    header.extend(device.0.to_ne_bytes());
    let message =
        Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL).header(&header).put(2, &bytes).put(1, &bytes);
    Change::new(format!("adding {address}/{prefix} to interface {device}"), message)
}

/// Adds a route by a router or by an interface to the main table.
#[must_use]
pub fn route(to: IpAddr, prefix: u8, via: Option<IpAddr>, device: Option<IfIndex>) -> Change {
    RouteChange { to, prefix, kind: 1, via, device, table: 254 }.add()
}

/// A policy rule, as far as tests and the lab need one.
#[derive(Debug, Clone, Copy)]
pub struct RuleChange<'a> {
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// Its priority.
    pub priority: u32,
    /// `FR_ACT_*`: 1 lookup, 6 blackhole.
    pub action: u8,
    /// The table that a lookup consults.
    pub table: u8,
    /// The ingress interface it is for.
    pub iif: Option<&'a str>,
}

impl RuleChange<'_> {
    /// Puts the rule in.
    #[must_use]
    pub fn add(&self) -> Change {
        Change::new("adding a policy rule", self.message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Takes the rule out.
    #[must_use]
    pub fn delete(&self) -> Change {
        Change::new("deleting a policy rule", self.message(RTM_DELRULE, 0))
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let family = if self.ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        let header = [family as u8, 0, 0, 0, self.table, 0, 0, self.action, 0, 0, 0, 0];
        let message = Message::new(kind, flags).header(&header).put_u32(6, self.priority);
        match self.iif {
            Some(name) => message.put_str(3, name),
            None => message,
        }
    }
}

/// Gives an interface the `clsact` or `ingress` queueing discipline, which filters attach to.
#[must_use]
pub fn ingress_qdisc(device: IfIndex, kind: &str) -> Change {
    const TC_H_INGRESS: u32 = 0xffff_fff1;
    let mut header = vec![0; 4];
    header.extend(device.0.to_ne_bytes());
    header.extend(0xffff_0000u32.to_ne_bytes());
    header.extend(TC_H_INGRESS.to_ne_bytes());
    header.extend([0; 4]);
    let message = Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL).header(&header).put_str(1, kind);
    Change::new(format!("adding {kind} to interface {device}"), message)
}
