//! The devices that a configuration may have: fixed names, indices and hardware addresses, so that a frame can be
//! aimed at them before they exist.

use portcullis_snapshot::{IfIndex, MacAddr};

/// A device's name.
pub type Name = &'static str;

/// The most ports a bridge has here.
pub const MOST_PORTS: usize = 5;
/// The bridge.
pub const BRIDGE: Name = "br0";
/// Bridge ports.
pub const PORTS: [Name; MOST_PORTS] = ["p0", "p1", "p2", "p3", "p4"];
/// What lies under those ports that are no cable themselves.
pub const LOWERS: [Name; MOST_PORTS] = ["l0", "l1", "l2", "l3", "l4"];
/// The guests' ends of the ports' cables.
pub const GUESTS: [Name; MOST_PORTS] = ["g0", "g1", "g2", "g3", "g4"];
/// An interface of the host beside the bridge, and the far end of its cable.
pub const UPLINK: Name = "e0";
/// The far end of the uplink's cable.
pub const OUTSIDE: Name = "o0";
/// VLAN devices on the bridge.
pub const BRIDGE_VLANS: [Name; 2] = ["bv0", "bv1"];
/// A VLAN device on a port.
pub const PORT_VLAN: Name = "pv0";
/// Macvlans on the bridge.
pub const BRIDGE_MACVLANS: [Name; 2] = ["bm0", "bm1"];
/// Macvlans on the uplink.
pub const UPLINK_MACVLANS: [Name; 2] = ["em0", "em1"];
/// A VRF.
pub const VRF: Name = "vrf0";
/// The host's end and the far end of the cable that markers take.
pub const MARKER: [Name; 2] = ["mark0", "mark1"];

const ALL: [Name; 28] = [
    "br0", "p0", "p1", "p2", "p3", "p4", "l0", "l1", "l2", "l3", "l4", "g0", "g1", "g2", "g3", "g4", "e0",
    "o0", "bv0", "bv1", "pv0", "bm0", "bm1", "em0", "em1", "vrf0", "mark0", "mark1",
];
const FIRST_INDEX: u32 = 100;

fn position(name: Name) -> usize {
    ALL.iter().position(|known| *known == name).unwrap_or(ALL.len())
}

/// Returns the index that a device is made with.
#[must_use]
pub fn index(name: Name) -> IfIndex {
    IfIndex(FIRST_INDEX + position(name) as u32)
}

/// Returns the name of a device by its index.
#[must_use]
pub fn name(index: IfIndex) -> Option<Name> {
    ALL.get(index.0.checked_sub(FIRST_INDEX)? as usize).copied()
}

/// Returns the hardware address that a device is made with.
#[must_use]
pub fn mac(name: Name) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 0x10, position(name) as u8])
}

/// Whether a device is the far end of a cable, in the guests' namespace.
#[must_use]
pub fn is_far(name: Name) -> bool {
    GUESTS.contains(&name) || name == OUTSIDE || name == MARKER[1]
}

/// Returns the guest's end of a port's cable, or the far end of another cable of the host's.
#[must_use]
pub fn far_end(near: Name) -> Option<Name> {
    let numbered = |names: [Name; MOST_PORTS]| names.iter().position(|name| *name == near);
    match numbered(PORTS).or_else(|| numbered(LOWERS)) {
        Some(at) => GUESTS.get(at).copied(),
        None => (near == UPLINK).then_some(OUTSIDE),
    }
}

/// Returns the number of the cable or tap that a device is an end of.
#[must_use]
pub fn wire(name: Name) -> Option<usize> {
    let numbered =
        [PORTS, LOWERS, GUESTS].iter().find_map(|names| names.iter().position(|known| *known == name));
    numbered.or_else(|| [UPLINK, OUTSIDE].contains(&name).then_some(MOST_PORTS))
}
