//! The options of bridges and ports that remedies turn: a number in netlink, a keyword, a field of the snapshot.

use portcullis_snapshot::{BoolOpt, BridgeOptions, McastRouter, PortOptions};
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
    /// Which of 01:80:c2:00:00:0X are forwarded instead of passed up: bit X.
    GroupFwdMask,
    /// How many FDB entries may be learned; 0 is without limit.
    FdbMaxLearned,
    /// Whether link-local frames teach the FDB nothing (`BR_BOOLOPT_NO_LL_LEARN`).
    NoLinkLocalLearn,
}

impl BridgeOption {
    /// Returns its number in netlink.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::AgeingTime => 4,
            Self::VlanFiltering => 7,
            Self::GroupFwdMask => 9,
            Self::NoLinkLocalLearn => 46,
            Self::FdbMaxLearned => 49,
        }
    }

    /// Returns its keyword in `ip link set … type bridge`.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::AgeingTime => "ageing_time",
            Self::VlanFiltering => "vlan_filtering",
            Self::GroupFwdMask => "group_fwd_mask",
            Self::FdbMaxLearned => "fdb_max_learned",
            Self::NoLinkLocalLearn => "no_linklocal_learn",
        }
    }

    /// Returns a value as netlink wants it.
    #[must_use]
    pub fn encode(self, value: u32) -> Vec<u8> {
        match self {
            Self::AgeingTime | Self::FdbMaxLearned => value.to_ne_bytes().to_vec(),
            Self::VlanFiltering => vec![u8::from(value != 0)],
            Self::GroupFwdMask => (value as u16).to_ne_bytes().to_vec(),
            // `struct br_boolopt_multi`: the value, and which bits of it count.
            Self::NoLinkLocalLearn => {
                let bit = 1u32 << BoolOpt::NoLinkLocalLearn as u32;
                let on = if value == 0 { 0 } else { bit };
                [on.to_ne_bytes(), bit.to_ne_bytes()].concat()
            }
        }
    }

    /// Returns its value; `None` if the kernel does not have it.
    #[must_use]
    pub fn get(self, options: &BridgeOptions) -> Option<u32> {
        match self {
            Self::AgeingTime => options.ageing_time,
            Self::GroupFwdMask => options.group_fwd_mask.map(u32::from),
            Self::FdbMaxLearned => options.fdb_max_learned,
            Self::NoLinkLocalLearn => options.multi_boolopt?.get(BoolOpt::NoLinkLocalLearn).map(u32::from),
            // Without VLAN filtering the kernel still says that it is off, but has no TPID to tell of (br_fill_info).
            Self::VlanFiltering => options.vlan_protocol.and(options.vlan_filtering).map(u32::from),
        }
    }

    pub(crate) fn set(self, options: &mut BridgeOptions, value: u32) {
        match self {
            Self::AgeingTime => options.ageing_time = Some(value),
            Self::GroupFwdMask => options.group_fwd_mask = Some(value as u16),
            Self::FdbMaxLearned => options.fdb_max_learned = Some(value),
            Self::NoLinkLocalLearn => {
                if let Some(held) = &mut options.multi_boolopt {
                    let bit = 1u32 << BoolOpt::NoLinkLocalLearn as u32;
                    held.value = if value == 0 { held.value & !bit } else { held.value | bit };
                }
            }
            Self::VlanFiltering => options.vlan_filtering = Some(value != 0),
        }
    }
}

/// An option of a bridge port (`IFLA_BRPORT_*`). Those that are not said to be numbers are off or on: 0 or 1.
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
    /// Which of its frames to 01:80:c2:00:00:0X are forwarded instead of passed up: a number, in which bit X stands for each.
    GroupFwdMask,
    /// Whether it exchanges frames with non-isolated ports only.
    Isolated,
    /// Whether only sources with an FDB entry on it are let in.
    Locked,
}

impl PortOption {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Guard,
        Self::RootBlock,
        Self::Learning,
        Self::Flood,
        Self::McastRouter,
        Self::GroupFwdMask,
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
            Self::GroupFwdMask => 31,
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
            Self::GroupFwdMask => "group_fwd_mask",
            Self::Isolated => "isolated",
            Self::Locked => "locked",
        }
    }

    /// Returns a value as netlink wants it.
    #[must_use]
    pub fn encode(self, value: u32) -> Vec<u8> {
        match self {
            Self::GroupFwdMask => (value as u16).to_ne_bytes().to_vec(),
            _ => vec![u8::try_from(value).unwrap_or(u8::MAX)],
        }
    }

    /// Whether it is a number, and not off or on.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::McastRouter | Self::GroupFwdMask)
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
            Self::GroupFwdMask => return options.group_fwd_mask.map(u32::from),
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
            Self::GroupFwdMask => options.group_fwd_mask = Some(value as u16),
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
