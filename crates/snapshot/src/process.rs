//! Processes and their sockets, as far as they matter to bridges: who holds what, who listens, who captures.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EtherType, IfIndex};

/// A process, as it was when the snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessRef {
    /// Its id in the namespace of whoever took the snapshot.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
}

/// A socket that takes what arrives for an address of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its protocol.
    pub protocol: ListenProtocol,
    /// The address it is bound to; `0.0.0.0` and `::` are any.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The interface it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<IfIndex>,
    /// Whether a socket on `::` takes IPv6 only (`INET_DIAG_SKV6ONLY`), where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6only: Option<bool>,
    /// The user that owns it.
    pub uid: u32,
    /// Its inode, which leads to its process.
    pub inode: u64,
    /// Its processes, where they could be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRef>,
}

/// Protocols that can be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenProtocol {
    /// TCP, in state LISTEN.
    Tcp,
    /// UDP, not connected.
    Udp,
}

/// A packet socket (`PACKET_DIAG_*`): it sees frames before the stack's filters do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketSocket {
    /// The interface it is bound to; `None` is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<IfIndex>,
    /// The protocol it takes; 3 is every one (`ETH_P_ALL`).
    pub protocol: EtherType,
    /// The interfaces it asked to be promiscuous (`PACKET_MR_PROMISC`), one for each membership; asking again for the
    /// same does not count again (`packet_mc_add`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promiscuous: Vec<IfIndex>,
    /// The interfaces it asked to receive all multicast (`PACKET_MR_ALLMULTI`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allmulti: Vec<IfIndex>,
    /// The user that owns it, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its inode, which leads to its process.
    pub inode: u64,
    /// Its processes, where they could be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRef>,
}

/// A protocol handler of the stack (`struct packet_type`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtocolHandler {
    /// The protocol it takes; 3 is every one, 4 is 802.2.
    pub protocol: EtherType,
    /// The interface it is confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The kernel's function, as `/proc/net/ptype` prints it.
    pub function: String,
}
