//! The forwarding database and the multicast database (`RTM_GETNEIGH` of `AF_BRIDGE`, `RTM_GETMDB`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IfIndex, MacAddr, McastRouter, UnknownAttribute, VlanId};

/// One FDB entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbEntry {
    /// The device it points to: a port, the bridge itself, or any other device for an entry of its own (`self`).
    pub device: IfIndex,
    /// The bridge it belongs to; `None` for a `self` entry of a device that is no bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<IfIndex>,
    /// The address.
    pub address: MacAddr,
    /// The VLAN; `None` is the entry that counts without VLAN filtering (vid 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// `NUD_*`, which say what sort of entry it is (`fdb_to_nud`, `net/bridge/br_fdb.c`).
    pub state: u16,
    /// `NTF_*`: self, master, extern_learn, sticky.
    pub flags: u8,
    /// `NTF_EXT_*`: 2 is locked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags_ext: u32,
    /// Since the address was last a destination, in hundredths of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,
    /// Since the address was last a source, in hundredths of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<u32>,
    /// The remote end, for an entry of a tunnel (`NDA_DST`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// Attributes that nothing here decodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What sort of entry of a bridge's FDB this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdbKind {
    /// Frames to it are passed up to the bridge device and never forwarded (`BR_FDB_LOCAL`).
    Local,
    /// Put there by someone; does not age (`BR_FDB_STATIC`).
    Static,
    /// Learned.
    Dynamic,
}

impl FdbEntry {
    const NUD_NOARP: u16 = 0x40;
    const NUD_PERMANENT: u16 = 0x80;
    const NTF_SELF: u8 = 0x02;
    const NTF_EXT_LEARNED: u8 = 0x10;
    const NTF_STICKY: u8 = 0x40;
    const NTF_EXT_LOCKED: u32 = 0x02;

    /// An entry of a bridge in no VLAN that leads to a device, with a state (`NUD_*`) and nothing else that is known of it.
    #[must_use]
    pub const fn new(device: IfIndex, bridge: Option<IfIndex>, address: MacAddr, state: u16) -> Self {
        Self {
            device,
            bridge,
            address,
            vlan: None,
            state,
            flags: 0,
            flags_ext: 0,
            used: None,
            updated: None,
            remote: None,
            unknown: Vec::new(),
        }
    }

    /// Returns what sort of entry it is.
    #[must_use]
    pub const fn kind(&self) -> FdbKind {
        if self.state & Self::NUD_PERMANENT != 0 {
            FdbKind::Local
        } else if self.state & Self::NUD_NOARP != 0 {
            FdbKind::Static
        } else {
            FdbKind::Dynamic
        }
    }

    /// Whether it belongs to the device itself rather than to its bridge (`NTF_SELF`).
    #[must_use]
    pub const fn is_self(&self) -> bool {
        self.flags & Self::NTF_SELF != 0
    }

    /// Whether it stays on its port whatever arrives elsewhere (`NTF_STICKY`).
    #[must_use]
    pub const fn is_sticky(&self) -> bool {
        self.flags & Self::NTF_STICKY != 0
    }

    /// Whether a controller put it there (`NTF_EXT_LEARNED`).
    #[must_use]
    pub const fn is_extern_learn(&self) -> bool {
        self.flags & Self::NTF_EXT_LEARNED != 0
    }

    /// Whether it only notes a source that a locked port refused (`NTF_EXT_LOCKED`).
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.flags_ext & Self::NTF_EXT_LOCKED != 0
    }
}

/// The multicast database of all bridges of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mdb {
    /// Group entries.
    pub entries: Vec<MdbEntry>,
    /// Ports that lead to a multicast router.
    pub routers: Vec<MdbRouter>,
}

/// One group on one port, or on the bridge device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MdbEntry {
    /// The bridge.
    pub bridge: IfIndex,
    /// The port, or the bridge itself if the host joined.
    pub port: IfIndex,
    /// The group.
    pub group: MdbGroup,
    /// The source, for a source-specific entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The VLAN; `None` without VLAN filtering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// Whether it was put there by hand (`MDB_PERMANENT`).
    pub permanent: bool,
    /// `MDB_FLAGS_*`: 4 star_excl, 8 blocked.
    pub flags: u8,
    /// `MCAST_EXCLUDE` 0 or `MCAST_INCLUDE` 1, where the kernel tells (`MDBA_MDB_EATTR_GROUP_MODE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u8>,
}

/// What a group entry goes by (`struct br_mdb_entry`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MdbGroup {
    /// An IPv4 group.
    Ipv4(Ipv4Addr),
    /// An IPv6 group.
    Ipv6(Ipv6Addr),
    /// A group MAC, for frames that are neither.
    Mac(MacAddr),
}

/// A multicast router port (`MDBA_ROUTER_PORT`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MdbRouter {
    /// The bridge.
    pub bridge: IfIndex,
    /// The port.
    pub port: IfIndex,
    /// How it became one, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<McastRouter>,
    /// The VLAN it counts in, where snooping goes by VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}
