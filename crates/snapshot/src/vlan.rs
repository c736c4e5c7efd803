//! VLAN tables of bridges and their ports (`RTM_GETVLAN`), with each VLAN's own options.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IfIndex, McastRouter, PortState, UnknownAttribute, VlanId};

/// The VLANs of one port, or of the bridge device itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanTable {
    /// The port, or the bridge.
    pub device: IfIndex,
    /// Its VLANs, in ascending order. Ranges of equal VLANs stay one entry.
    pub vlans: Vec<VlanEntry>,
}

/// One VLAN, or a range of VLANs that are alike, of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanEntry {
    /// First VLAN id.
    pub from: VlanId,
    /// Last VLAN id; equal to `from` for a single VLAN.
    pub to: VlanId,
    /// `BRIDGE_VLAN_INFO_*`.
    pub flags: VlanFlags,
    /// State of the port in this VLAN (`BRIDGE_VLANDB_ENTRY_STATE`, since 5.6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PortState>,
    /// Multicast router state in this VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcast_router: Option<McastRouter>,
    /// Neighbour suppression in this VLAN (since 6.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neigh_suppress: Option<bool>,
    /// The tunnel id that the VLAN maps to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<u32>,
    /// Attributes that nothing here decodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}

/// Flags of a VLAN entry (`BRIDGE_VLAN_INFO_*`); all bits are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VlanFlags(pub u16);

impl VlanFlags {
    /// The port's PVID.
    pub const PVID: u16 = 0x02;
    /// Leaves untagged.
    pub const UNTAGGED: u16 = 0x04;
    /// On the bridge: the bridge device is a member. The kernel tells of no other entries, and does not send the flag
    /// (`br_vlan_should_use`, `br_vlan_fill_vids`): the reader adds it.
    pub const BRENTRY: u16 = 0x20;

    /// Whether all bits of `flag` are set.
    #[must_use]
    pub const fn has(self, flag: u16) -> bool {
        self.0 & flag == flag
    }
}

impl VlanTable {
    /// Returns the entry that holds `id`.
    #[must_use]
    pub fn get(&self, id: VlanId) -> Option<&VlanEntry> {
        let after = self.vlans.partition_point(|entry| entry.from <= id);
        self.vlans.get(after.checked_sub(1)?).filter(|entry| id <= entry.to)
    }

    /// Returns the PVID, if the device has one.
    #[must_use]
    pub fn pvid(&self) -> Option<VlanId> {
        self.vlans.iter().find(|entry| entry.flags.has(VlanFlags::PVID)).map(|entry| entry.from)
    }
}

/// Options of one VLAN on a whole bridge (`BRIDGE_VLANDB_GLOBAL_OPTIONS`, since 5.15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanGlobal {
    /// The bridge.
    pub bridge: IfIndex,
    /// First VLAN id.
    pub from: VlanId,
    /// Last VLAN id.
    pub to: VlanId,
    /// The spanning tree instance the VLAN belongs to (`BRIDGE_VLANDB_GOPTS_MSTI`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msti: Option<u16>,
    /// Whether multicast is snooped in this VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcast_snooping: Option<bool>,
    /// Whether the bridge sends queries in this VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcast_querier: Option<bool>,
    /// Attributes that nothing here decodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}

/// The state of one port in one spanning tree instance (`IFLA_BRIDGE_MST`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MstState {
    /// The port.
    pub port: IfIndex,
    /// The instance.
    pub msti: u16,
    /// The state there.
    pub state: PortState,
}
