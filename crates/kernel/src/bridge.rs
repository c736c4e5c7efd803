//! Changing what bridges keep beside their options: multicast groups, the state of a port in a VLAN, boolean options.

use portcullis_snapshot::{BoolOpt, IfIndex, MdbGroup, VlanId};
use portcullis_wire::{Message, NLM_F_CREATE};

use crate::{Change, link};

/// A multicast group on a port, or with the bridge as its port on the host.
#[derive(Debug, Clone, Copy)]
pub struct MdbChange {
    /// The bridge.
    pub bridge: IfIndex,
    /// The port, or the bridge.
    pub port: IfIndex,
    /// The group.
    pub group: MdbGroup,
    /// The VLAN; `None` for vid 0.
    pub vlan: Option<VlanId>,
}

impl MdbChange {
    /// Puts the group in, for good (`MDB_PERMANENT`).
    #[must_use]
    pub fn add(&self) -> Change {
        const RTM_NEWMDB: u16 = 84;
        const MDBA_SET_ENTRY: u16 = 1;
        let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
        header.extend(self.bridge.0.to_ne_bytes());
        let message =
            Message::new(RTM_NEWMDB, NLM_F_CREATE).header(&header).put(MDBA_SET_ENTRY, &self.entry());
        Change::new(format!("adding a multicast group to interface {}", self.port), message)
    }

    /// `struct br_mdb_entry`.
    fn entry(&self) -> Vec<u8> {
        const MDB_PERMANENT: u8 = 1;
        let (address, ethertype) = match self.group {
            MdbGroup::Ipv4(group) => (group.octets().to_vec(), 0x0800u16),
            MdbGroup::Ipv6(group) => (group.octets().to_vec(), 0x86dd),
            MdbGroup::Mac(group) => (group.0.to_vec(), 0),
        };
        let mut entry = self.port.0.to_ne_bytes().to_vec();
        // A permanent entry of the host's is refused: it lives as long as the host is a member.
        entry.extend([if self.port == self.bridge && ethertype != 0 { 0 } else { MDB_PERMANENT }, 0]);
        entry.extend(self.vlan.map_or(0, u16::from).to_ne_bytes());
        entry.extend(&address);
        entry.resize(24, 0);
        entry.extend(ethertype.to_be_bytes());
        entry.resize(28, 0);
        entry
    }
}

/// Sets the state (`BR_STATE_*`) of a port in one of its VLANs, or with `on_bridge` that of the bridge device.
#[must_use]
pub fn vlan_state(device: IfIndex, id: VlanId, state: u8, on_bridge: bool) -> Change {
    const RTM_NEWVLAN: u16 = 112;
    const BRIDGE_VLANDB_ENTRY: u16 = 1;
    const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
    const BRIDGE_VLANDB_ENTRY_STATE: u16 = 3;
    const BRENTRY: u16 = 0x20;
    // BRIDGE_VLAN_INFO_ONLY_OPTS: the membership and its flags stay as they are.
    const ONLY_OPTS: u16 = 0x40;
    let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    header.extend(device.0.to_ne_bytes());
    let flags = ONLY_OPTS | if on_bridge { BRENTRY } else { 0 };
    let info = [flags.to_ne_bytes(), id.get().to_ne_bytes()].concat();
    let message = Message::new(RTM_NEWVLAN, 0).header(&header).nest(BRIDGE_VLANDB_ENTRY, |entry| {
        entry.put(BRIDGE_VLANDB_ENTRY_INFO, &info).put(BRIDGE_VLANDB_ENTRY_STATE, &[state])
    });
    Change::new(format!("setting the state of interface {device} in VLAN {id}"), message)
}

/// Sets the STP state (`BR_STATE_*`) of a port, as `bridge link set` does.
///
/// As a port option of `ip link set` it would not last: that ends with a notification (`netdev_state_change`) upon which
/// the bridge turns a disabled port with a carrier on again (`br_port_carrier_check`).
#[must_use]
pub fn port_state(port: IfIndex, state: u8) -> Change {
    const RTM_SETLINK: u16 = 19;
    const IFLA_PROTINFO: u16 = 12;
    let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    header.extend(port.0.to_ne_bytes());
    header.extend([0; 8]);
    let message = Message::new(RTM_SETLINK, 0).header(&header).put(IFLA_PROTINFO, &[state]);
    Change::new(format!("setting the state of interface {port}"), message)
}

/// Sets an option of a port by its number in `IFLA_BRPORT_*`, as `bridge link set` does: unlike
/// [`link::port_option`] it leaves a disabled port disabled (see [`port_state`]).
#[must_use]
pub fn port_option(port: IfIndex, number: u16, value: &[u8]) -> Change {
    const RTM_SETLINK: u16 = 19;
    const IFLA_PROTINFO: u16 = 12;
    let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    header.extend(port.0.to_ne_bytes());
    header.extend([0; 8]);
    let message =
        Message::new(RTM_SETLINK, 0).header(&header).nest(IFLA_PROTINFO, |nest| nest.put(number, value));
    Change::new(format!("setting IFLA_BRPORT option {number} of interface {port}"), message)
}

/// Turns a boolean option of a bridge on or off.
#[must_use]
pub fn bool_option(bridge: IfIndex, option: BoolOpt, on: bool) -> Change {
    const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
    let bit = 1u32 << option as u32;
    let value = if on { bit } else { 0 };
    link::bridge_option(bridge, IFLA_BR_MULTI_BOOLOPT, &[value.to_ne_bytes(), bit.to_ne_bytes()].concat())
}
