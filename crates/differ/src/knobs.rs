//! The numbered options of bridges and ports that configurations turn: how to set each, and how to read it back.

use portcullis_snapshot::{BridgeOptions, EtherType, McastRouter, PortOptions, PortState, StpState};

/// An option with a number in netlink.
#[derive(Debug)]
pub struct Knob<T: 'static> {
    /// Its keyword in `ip link set … type bridge` or `bridge_slave`.
    pub keyword: &'static str,
    /// Its number in `IFLA_BR_*` or `IFLA_BRPORT_*`.
    pub number: u16,
    /// How many bytes its value has.
    pub width: usize,
    /// Whether its value is in network byte order.
    pub big_endian: bool,
    /// What it may be set to.
    pub values: &'static [u32],
    /// One in so many configurations turns it.
    pub rarity: u32,
    /// Reads it from a snapshot; `None` where this kernel does not have it.
    pub read: fn(&T) -> Option<u32>,
}

impl Knob<PortOptions> {
    /// Whether it is the port's state, which is set in a way of its own.
    #[must_use]
    pub fn is_state(&self) -> bool {
        std::ptr::eq(self, &raw const STATE)
    }
}

impl<T> Knob<T> {
    /// Returns a value as the kernel wants it.
    #[must_use]
    pub fn encode(&self, value: u32) -> Vec<u8> {
        match (self.width, self.big_endian) {
            (1, _) => vec![value as u8],
            (2, false) => (value as u16).to_ne_bytes().to_vec(),
            (2, true) => (value as u16).to_be_bytes().to_vec(),
            _ => value.to_ne_bytes().to_vec(),
        }
    }
}

const fn knob<T>(
    keyword: &'static str,
    number: u16,
    width: usize,
    values: &'static [u32],
    rarity: u32,
    read: fn(&T) -> Option<u32>,
) -> Knob<T> {
    Knob { keyword, number, width, big_endian: false, values, rarity, read }
}

const ON: &[u32] = &[1];
const OFF: &[u32] = &[0];
/// What a group_fwd_mask may be; the bridge's refuses the lowest three bits, a port's only the second.
const MASKS: &[u32] = &[0x0008, 0x4000, 0x8000, 0xfff8, 0x0020];
const PORT_MASKS: &[u32] = &[0x0001, 0x0004, 0x4000, 0xfffd, 0x0008];

/// The bridge's options.
pub static BRIDGE_KNOBS: &[Knob<BridgeOptions>] = &[
    // Before vlan_filtering, which forbids to change it.
    knob("vlan_default_pvid", 39, 2, &[0, 5], 8, |o| {
        o.vlan_protocol.and(o.vlan_default_pvid).map(Into::into)
    }),
    knob("ageing_time", 4, 4, &[0, 10_000], 8, |o| o.ageing_time),
    knob("stp_state", 5, 4, ON, 12, |o| o.stp_state.map(|state| u32::from(state != StpState::Off))),
    knob("vlan_filtering", 7, 1, ON, 2, |o| o.vlan_protocol.and(o.vlan_filtering).map(u32::from)),
    Knob {
        big_endian: true,
        ..knob("vlan_protocol", 8, 2, &[EtherType::SVLAN.0 as u32], 5, |o| {
            o.vlan_protocol.map(|p| p.0.into())
        })
    },
    knob("group_fwd_mask", 9, 2, MASKS, 6, |o| o.group_fwd_mask.map(Into::into)),
    knob("mcast_router", 22, 1, &[0, 2], 8, |o| o.mcast_router.map(router)),
    knob("mcast_snooping", 23, 1, OFF, 4, |o| o.mcast_snooping.map(Into::into)),
    knob("mcast_querier", 25, 1, ON, 24, |o| o.mcast_querier.map(Into::into)),
    knob("nf_call_iptables", 36, 1, ON, 10, |o| o.nf_call_iptables.map(Into::into)),
    knob("nf_call_ip6tables", 37, 1, ON, 10, |o| o.nf_call_ip6tables.map(Into::into)),
    knob("nf_call_arptables", 38, 1, ON, 10, |o| o.nf_call_arptables.map(Into::into)),
    knob("fdb_max_learned", 49, 4, &[1, 2], 10, |o| o.fdb_max_learned),
];

/// A port's options.
pub static PORT_KNOBS: &[Knob<PortOptions>] = &[
    knob("hairpin", 4, 1, ON, 6, |o| o.hairpin.map(Into::into)),
    knob("guard", 5, 1, ON, 12, |o| o.guard.map(Into::into)),
    knob("root_block", 6, 1, ON, 12, |o| o.root_block.map(Into::into)),
    knob("learning", 8, 1, OFF, 6, |o| o.learning.map(Into::into)),
    knob("flood", 9, 1, OFF, 5, |o| o.flood.map(Into::into)),
    knob("proxy_arp", 10, 1, ON, 16, |o| o.proxy_arp.map(Into::into)),
    knob("proxy_arp_wifi", 12, 1, ON, 16, |o| o.proxy_arp_wifi.map(Into::into)),
    knob("mcast_router", 25, 1, &[0, 2], 8, |o| o.mcast_router.map(router)),
    knob("mcast_flood", 27, 1, OFF, 5, |o| o.mcast_flood.map(Into::into)),
    knob("mcast_to_unicast", 28, 1, ON, 20, |o| o.mcast_to_unicast.map(Into::into)),
    knob("vlan_tunnel", 29, 1, ON, 60, |o| o.vlan_tunnel.map(Into::into)),
    knob("bcast_flood", 30, 1, OFF, 5, |o| o.bcast_flood.map(Into::into)),
    knob("group_fwd_mask", 31, 2, PORT_MASKS, 8, |o| o.group_fwd_mask.map(Into::into)),
    knob("neigh_suppress", 32, 1, ON, 16, |o| o.neigh_suppress.map(Into::into)),
    knob("isolated", 33, 1, ON, 4, |o| o.isolated.map(Into::into)),
    knob("locked", 39, 1, ON, 8, |o| o.locked.map(Into::into)),
    knob("mab", 40, 1, ON, 16, |o| o.mab.map(Into::into)),
    knob("neigh_vlan_suppress", 43, 1, ON, 30, |o| o.neigh_vlan_suppress.map(Into::into)),
];

/// A port's state, which can only be set once the port is up.
pub static STATE: Knob<PortOptions> = knob("state", 1, 1, &[0, 1, 2], 10, |o| {
    o.state.map(|state| match state {
        PortState::Disabled => 0,
        PortState::Listening => 1,
        PortState::Learning => 2,
        PortState::Forwarding => 3,
        PortState::Blocking => 4,
        PortState::Other(other) => other.into(),
    })
});

/// `MDB_RTR_TYPE_*`.
const fn router(kind: McastRouter) -> u32 {
    match kind {
        McastRouter::Disabled => 0,
        McastRouter::TempQuery => 1,
        McastRouter::Permanent => 2,
        McastRouter::Temp => 3,
        McastRouter::Other(other) => other as u32,
    }
}
