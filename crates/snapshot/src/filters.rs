//! What else can decide about a frame: tc, BPF, nftables, legacy tables, br_netfilter.
//!
//! The rules of nftables, of the legacy tables and of tc have their own types; of the rest only presence and place is
//! recorded, so that a verdict which they could change says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IpSet, LegacyTable, NftTable, Reading, TcHook, TcxPrograms};

/// Everything that can decide about a frame beside the bridge and the host's stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Queueing disciplines with filters, and the filters.
    pub tc: Reading<Vec<TcHook>>,
    /// tcx and netkit programs (`BPF_PROG_QUERY`).
    pub tcx: Reading<Vec<TcxPrograms>>,
    /// nftables base chains of every family.
    pub nft_chains: Reading<Vec<NftBaseChain>>,
    /// nftables' tables with every rule and set.
    #[serde(default)]
    pub nft_tables: Reading<Vec<NftTable>>,
    /// nftables flowtables, which take packets past the rest of the stack.
    pub nft_flowtables: Reading<Vec<NftFlowtable>>,
    /// Legacy tables that exist and are not empty.
    pub legacy_tables: Reading<Vec<LegacyTable>>,
    /// The sets of ipset that rules look into. Read only if a rule does.
    #[serde(default)]
    pub ipsets: Reading<Vec<IpSet>>,
    /// Whether bridged packets go through iptables, ip6tables and arptables.
    pub br_netfilter: Reading<BrNetfilter>,
}

/// One nftables base chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftBaseChain {
    /// The table's family.
    pub family: NftFamily,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The chain's type: `filter`, `nat`, `route`.
    pub kind: String,
    /// The hook's number in its family (`NF_*`; 0 is ingress in `netdev`).
    pub hook: u32,
    /// The hook's name in `nft`.
    pub hook_name: String,
    /// Priority; lower runs first.
    pub priority: i32,
    /// The devices it is bound to, in `netdev`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Whether a packet that no rule decides on is dropped.
    pub policy_drop: bool,
    /// How many rules it has.
    pub rules: u32,
    /// Whether the table is dormant: then the chain does nothing.
    #[serde(default)]
    pub dormant: bool,
}

/// Families of nftables (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NftFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// Bridged frames.
    Bridge,
    /// Frames of one device.
    Netdev,
    /// A value newer than this program.
    Other(u8),
}

impl NftFamily {
    /// Returns the number that the kernel has for it (`NFPROTO_*`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ip6 => 10,
            Self::Other(other) => other,
        }
    }
}

/// One nftables flowtable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NftFlowtable {
    /// The table's family.
    pub family: NftFamily,
    /// The table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The devices it takes packets from.
    pub devices: Vec<String>,
}

/// The sysctls `net.bridge.bridge-nf-*` of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrNetfilter {
    /// `bridge-nf-call-iptables`.
    pub call_iptables: bool,
    /// `bridge-nf-call-ip6tables`.
    pub call_ip6tables: bool,
    /// `bridge-nf-call-arptables`.
    pub call_arptables: bool,
    /// `bridge-nf-filter-vlan-tagged`.
    pub filter_vlan_tagged: bool,
    /// `bridge-nf-filter-pppoe-tagged`.
    pub filter_pppoe_tagged: bool,
    /// `bridge-nf-pass-vlan-input-dev`.
    pub pass_vlan_input_dev: bool,
}
