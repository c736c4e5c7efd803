//! Bridge and bridge-port options, one row for each netlink attribute.
//!
//! A row is: documentation, field, type, the attribute's number in `linux/if_link.h`, its keyword in `ip`(8) and
//! `bridge`(8). The structs are expanded from the rows here; the codec in `portcullis-wire` is expanded from the same
//! rows. A field is `None` where the kernel did not send the attribute: that kernel has no such knob.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EtherType, IfIndex, MacAddr, UnknownAttribute};

/// Calls a macro with the rows of a bridge's own options (`IFLA_BR_*` in `IFLA_INFO_DATA`).
#[macro_export]
macro_rules! bridge_attributes {
    ($expand:path) => {
        $expand! {
            BridgeOptions, "IFLA_BR";
            /// STP forward delay, in hundredths of a second.
            forward_delay: u32 = 1, "forward_delay";
            /// STP hello time, in hundredths of a second.
            hello_time: u32 = 2, "hello_time";
            /// STP maximum age, in hundredths of a second.
            max_age: u32 = 3, "max_age";
            /// How long a learned FDB entry lives, in hundredths of a second; 0 learns nothing: a hub.
            ageing_time: u32 = 4, "ageing_time";
            /// Who runs the spanning tree.
            stp_state: StpState = 5, "stp_state";
            /// STP bridge priority.
            priority: u16 = 6, "priority";
            /// Whether frames are filtered by VLAN; off where the kernel cannot, which then sends no `vlan_protocol`.
            vlan_filtering: bool = 7, "vlan_filtering";
            /// The TPID that VLAN filtering goes by.
            vlan_protocol: EtherType = 8, "vlan_protocol";
            /// Which of 01:80:c2:00:00:0X are forwarded instead of passed up: bit X.
            group_fwd_mask: u16 = 9, "group_fwd_mask";
            /// STP: the port towards the root, 0 if this bridge is it.
            root_port: u16 = 12, "root_port";
            /// STP: what the way to the root costs.
            root_path_cost: u32 = 13, "root_path_cost";
            /// STP: whether a topology change is under way.
            topology_change: bool = 14, "topology_change";
            /// The group address that BPDUs go to.
            group_addr: MacAddr = 20, "group_address";
            /// Whether the bridge device itself is a multicast router port.
            mcast_router: McastRouter = 22, "mcast_router";
            /// Whether IGMP and MLD are snooped.
            mcast_snooping: bool = 23, "mcast_snooping";
            /// Whether queries carry the bridge device's own address.
            mcast_query_use_ifaddr: bool = 24, "mcast_query_use_ifaddr";
            /// Whether the bridge sends IGMP and MLD queries itself.
            mcast_querier: bool = 25, "mcast_querier";
            /// How many multicast groups the MDB may hold.
            mcast_hash_max: u32 = 27, "mcast_hash_max";
            /// Whether bridged IPv4 goes through iptables, whatever the sysctl says.
            nf_call_iptables: bool = 36, "nf_call_iptables";
            /// Whether bridged IPv6 goes through ip6tables, whatever the sysctl says.
            nf_call_ip6tables: bool = 37, "nf_call_ip6tables";
            /// Whether bridged ARP goes through arptables, whatever the sysctl says.
            nf_call_arptables: bool = 38, "nf_call_arptables";
            /// The PVID that the bridge device and every new port get; 0 is none.
            vlan_default_pvid: u16 = 39, "vlan_default_pvid";
            /// IGMP version spoken as a querier.
            mcast_igmp_version: u8 = 43, "mcast_igmp_version";
            /// MLD version spoken as a querier.
            mcast_mld_version: u8 = 44, "mcast_mld_version";
            /// Boolean options (`enum br_boolopt_id`), and which of them this kernel knows.
            multi_boolopt: BoolOpts = 46, "multi_boolopt";
            /// Which IGMP and MLD queriers were heard lately.
            mcast_querier_state: QuerierState = 47, "mcast_querier_state";
            /// How many FDB entries were learned.
            fdb_n_learned: u32 = 48, "fdb_n_learned";
            /// How many FDB entries may be learned; 0 is without limit.
            fdb_max_learned: u32 = 49, "fdb_max_learned";
        }
    };
}

/// Calls a macro with the rows of a bridge port's options (`IFLA_BRPORT_*` in `IFLA_INFO_SLAVE_DATA`).
#[macro_export]
macro_rules! bridge_port_attributes {
    ($expand:path) => {
        $expand! {
            PortOptions, "IFLA_BRPORT";
            /// STP state of the port.
            state: PortState = 1, "state";
            /// STP port priority.
            priority: u16 = 2, "priority";
            /// STP path cost.
            cost: u32 = 3, "cost";
            /// Whether a frame may leave by the port that it came in by (`IFLA_BRPORT_MODE`).
            hairpin: bool = 4, "hairpin";
            /// Whether a BPDU disables the port.
            guard: bool = 5, "guard";
            /// Whether the port may not become the root port (`IFLA_BRPORT_PROTECT`).
            root_block: bool = 6, "root_block";
            /// Whether a leave ends a group at once.
            fastleave: bool = 7, "fastleave";
            /// Whether source addresses are learned.
            learning: bool = 8, "learning";
            /// Whether unknown unicast is flooded to this port.
            flood: bool = 9, "flood";
            /// Whether ARP is answered for hosts behind other ports.
            proxy_arp: bool = 10, "proxy_arp";
            /// The 802.11 variant of `proxy_arp`.
            proxy_arp_wifi: bool = 12, "proxy_arp_wifi";
            /// STP: the port's number.
            no: u16 = 18, "no";
            /// Whether the port is a multicast router port.
            mcast_router: McastRouter = 25, "mcast_router";
            /// Whether unregistered multicast is flooded to this port.
            mcast_flood: bool = 27, "mcast_flood";
            /// Whether each member gets its own unicast copy.
            mcast_to_unicast: bool = 28, "mcast_to_unicast";
            /// Whether VLANs are mapped to tunnel ids.
            vlan_tunnel: bool = 29, "vlan_tunnel";
            /// Whether broadcast is flooded to this port.
            bcast_flood: bool = 30, "bcast_flood";
            /// As the bridge's `group_fwd_mask`, for frames from this port.
            group_fwd_mask: u16 = 31, "group_fwd_mask";
            /// Whether ARP and neighbour discovery towards this port are answered by the bridge.
            neigh_suppress: bool = 32, "neigh_suppress";
            /// Whether the port exchanges frames with non-isolated ports only.
            isolated: bool = 33, "isolated";
            /// The port that takes over while this one has no carrier.
            backup_port: IfIndex = 34, "backup_port";
            /// Whether only sources with an FDB entry on this port are let in.
            locked: bool = 39, "locked";
            /// Whether a locked port notes unknown sources (MAC authentication bypass).
            mab: bool = 40, "mab";
            /// How many multicast groups the port is in.
            mcast_n_groups: u32 = 41, "mcast_n_groups";
            /// How many it may be in; 0 is without limit.
            mcast_max_groups: u32 = 42, "mcast_max_groups";
            /// Whether neighbour suppression goes by VLAN.
            neigh_vlan_suppress: bool = 43, "neigh_vlan_suppress";
            /// The nexthop group used while the port has no carrier.
            backup_nhid: u32 = 44, "backup_nhid";
        }
    };
}

macro_rules! options {
    ($name:ident, $prefix:literal; $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $number:literal, $keyword:literal; )*) => {
        #[doc = concat!("The options of `", $prefix, "_*`, each as the kernel reported it.")]
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>, )*
            /// Attributes that have no row here, as they came.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub unknown: Vec<UnknownAttribute>,
        }
    };
}

bridge_attributes!(options);
bridge_port_attributes!(options);

/// Who runs the spanning tree of a bridge (`enum` in `net/bridge/br_private.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StpState {
    /// Nobody: `BR_NO_STP`. BPDUs are forwarded like other multicast.
    Off,
    /// The kernel: `BR_KERNEL_STP`.
    Kernel,
    /// A daemon: `BR_USER_STP`.
    User,
    /// A value newer than this program.
    Other(u32),
}

/// State of a bridge port or of a VLAN on it (`BR_STATE_*`, `linux/if_bridge.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Nothing passes, except link-local group addresses.
    Disabled,
    /// Like blocking, on the way to learning.
    Listening,
    /// Sources are learned; nothing is forwarded.
    Learning,
    /// Everything passes.
    Forwarding,
    /// Kept out of the tree by STP.
    Blocking,
    /// A value newer than this program.
    Other(u8),
}

/// When a port, or the bridge device, counts as leading to a multicast router (`MDB_RTR_TYPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum McastRouter {
    /// Never.
    Disabled,
    /// When a query was heard lately.
    TempQuery,
    /// Always.
    Permanent,
    /// Until a timer runs out.
    Temp,
    /// A value newer than this program.
    Other(u8),
}

/// The boolean options of a bridge (`struct br_boolopt_multi`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoolOpts {
    /// Which are on: bit n is option n of `enum br_boolopt_id`.
    pub value: u32,
    /// Which this kernel knows.
    pub mask: u32,
}

/// The queriers that a bridge knows of (`BRIDGE_QUERIER_*`). A timer that is not there is not running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuerierState {
    /// The IGMP querier's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<std::net::Ipv4Addr>,
    /// The port it is behind; none if it is the bridge itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_port: Option<IfIndex>,
    /// How long a foreign IGMP querier still counts, in hundredths of a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_other_timer: Option<u64>,
    /// The MLD querier's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<std::net::Ipv6Addr>,
    /// The port it is behind; none if it is the bridge itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_port: Option<IfIndex>,
    /// How long a foreign MLD querier still counts, in hundredths of a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_other_timer: Option<u64>,
}

/// The options of `enum br_boolopt_id`, by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoolOpt {
    /// Link-local frames do not teach the FDB (`BR_BOOLOPT_NO_LL_LEARN`).
    NoLinkLocalLearn = 0,
    /// Multicast snooping goes by VLAN (`BR_BOOLOPT_MCAST_VLAN_SNOOPING`).
    McastVlanSnooping = 1,
    /// Spanning trees go by groups of VLANs (`BR_BOOLOPT_MST_ENABLE`).
    MstEnable = 2,
    /// Failed MDB offloads are announced (`BR_BOOLOPT_MDB_OFFLOAD_FAIL_NOTIFICATION`).
    MdbOffloadFailNotification = 3,
    /// Local FDB entries are kept at VLAN 0 only (`BR_BOOLOPT_FDB_LOCAL_VLAN_0`).
    FdbLocalVlan0 = 4,
}

impl BoolOpts {
    /// Whether an option is on; `None` if this kernel does not know it.
    #[must_use]
    pub const fn get(self, option: BoolOpt) -> Option<bool> {
        let bit = 1 << option as u32;
        if self.mask & bit == 0 { None } else { Some(self.value & bit != 0) }
    }
}

impl From<u32> for StpState {
    fn from(value: u32) -> Self {
        match value {
            0 => Self::Off,
            1 => Self::Kernel,
            2 => Self::User,
            other => Self::Other(other),
        }
    }
}

impl From<u8> for PortState {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Disabled,
            1 => Self::Listening,
            2 => Self::Learning,
            3 => Self::Forwarding,
            4 => Self::Blocking,
            other => Self::Other(other),
        }
    }
}

impl From<u8> for McastRouter {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Disabled,
            1 => Self::TempQuery,
            2 => Self::Permanent,
            3 => Self::Temp,
            other => Self::Other(other),
        }
    }
}
