//! The options of bridges and ports that remedies turn: a number in netlink, a keyword, a field of the snapshot.

use portcullis_snapshot::{BridgeOptions, McastRouter, PortOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An option of a bridge (`IFLA_BR_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BridgeOption {
    /// Whether frames are filtered by VLAN.
    VlanFiltering,
    /// How long a learned FDB entry lives, in hundredths of a second.
    AgeingTime,
}

impl BridgeOption {
    /// Returns its number in netlink.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::AgeingTime => 4,
            Self::VlanFiltering => 7,
        }
    }

    /// Returns its keyword in `ip link set … type bridge`.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::AgeingTime => "ageing_time",
            Self::VlanFiltering => "vlan_filtering",
        }
    }

    /// Returns a value as netlink wants it.
    #[must_use]
    pub fn encode(self, value: u32) -> Vec<u8> {
        match self {
            Self::AgeingTime => value.to_ne_bytes().to_vec(),
            Self::VlanFiltering => vec![u8::from(value != 0)],
        }
    }

    /// Returns its value; `None` if the kernel does not have it.
    #[must_use]
    pub fn get(self, options: &BridgeOptions) -> Option<u32> {
        match self {
            Self::AgeingTime => options.ageing_time,
            // Without VLAN filtering the kernel still says that it is off, but has no TPID to tell of (br_fill_info).
            Self::VlanFiltering => options.vlan_protocol.and(options.vlan_filtering).map(u32::from),
        }
    }

    pub(crate) fn set(self, options: &mut BridgeOptions, value: u32) {
        match self {
            Self::AgeingTime => options.ageing_time = Some(value),
            Self::VlanFiltering => options.vlan_filtering = Some(value != 0),
        }
    }
}

/// An option of a bridge port (`IFLA_BRPORT_*`). All but the multicast router's are off or on: 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortOption {
    /// Whether a BPDU disables the port.
    Guard,
    /// Whether the port may not become the root port.
    RootBlock,
    /// Whether source addresses are learned.
    Learning,
    /// Whether unknown unicast is flooded to it.
    Flood,
    /// Whether it is a multicast router port: 0 never, 1 when a query was heard, 2 always.
    McastRouter,
    /// Whether it exchanges frames with non-isolated ports only.
    Isolated,
    /// Whether only sources with an FDB entry on it are let in.
    Locked,
}

impl PortOption {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Guard,
        Self::RootBlock,
        Self::Learning,
        Self::Flood,
        Self::McastRouter,
        Self::Isolated,
        Self::Locked,
    ];

    /// Returns its number in netlink.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Guard => 5,
            Self::RootBlock => 6,
            Self::Learning => 8,
            Self::Flood => 9,
            Self::McastRouter => 25,
            Self::Isolated => 33,
            Self::Locked => 39,
        }
    }

    /// Returns its keyword in `ip link set … type bridge_slave`.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::RootBlock => "root_block",
            Self::Learning => "learning",
            Self::Flood => "flood",
            Self::McastRouter => "mcast_router",
            Self::Isolated => "isolated",
            Self::Locked => "locked",
        }
    }

    /// Returns its value; `None` if the kernel does not have it, or one that is newer than this program.
    #[must_use]
    pub fn get(self, options: &PortOptions) -> Option<u32> {
        let flag = match self {
            Self::Guard => options.guard,
            Self::RootBlock => options.root_block,
            Self::Learning => options.learning,
            Self::Flood => options.flood,
            Self::Isolated => options.isolated,
            Self::Locked => options.locked,
            Self::McastRouter => {
                return match options.mcast_router? {
                    McastRouter::Disabled => Some(0),
                    McastRouter::TempQuery => Some(1),
                    McastRouter::Permanent => Some(2),
                    McastRouter::Temp => Some(3),
                    McastRouter::Other(_) => None,
                };
            }
        };
        flag.map(u32::from)
    }

    pub(crate) fn set(self, options: &mut PortOptions, value: u32) {
        let on = Some(value != 0);
        match self {
            Self::Guard => options.guard = on,
            Self::RootBlock => options.root_block = on,
            Self::Learning => options.learning = on,
            Self::Flood => options.flood = on,
            Self::Isolated => options.isolated = on,
            Self::Locked => options.locked = on,
            Self::McastRouter => {
                options.mcast_router = Some(match value {
                    0 => McastRouter::Disabled,
                    1 => McastRouter::TempQuery,
                    2 => McastRouter::Permanent,
                    _ => McastRouter::Temp,
                });
            }
        }
    }
}
