//! What bridges keep beside their options: VLANs, spanning tree instances, the FDB, the MDB (linux/if_bridge.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{
    FdbEntry, IfIndex, MacAddr, Mdb, MdbEntry, MdbGroup, MdbRouter, MstState, VlanEntry, VlanFlags,
    VlanGlobal, VlanId, VlanTable,
};

use crate::attribute::{u8_at, u16_at, u32_at};
use crate::{Attribute, Attributes};

/// `struct br_vlan_msg`.
const BR_VLAN_MSG: usize = 8;
/// `struct br_port_msg`.
const BR_PORT_MSG: usize = 8;
/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// `struct ndmsg`.
const NDMSG: usize = 12;
/// `struct br_mdb_entry`.
const BR_MDB_ENTRY: usize = 28;

/// Decodes `RTM_NEWVLAN`: the VLANs of one device.
#[must_use]
pub fn vlan_table(message: &[u8]) -> Option<VlanTable> {
    const BRIDGE_VLANDB_ENTRY: u16 = 1;
    let device = IfIndex(u32_at(message, 4)?);
    let entries = Attributes::after(message, BR_VLAN_MSG).filter(|entry| entry.number == BRIDGE_VLANDB_ENTRY);
    let mut vlans: Vec<_> = entries.filter_map(|entry| vlan_entry(entry.nested())).collect();
    vlans.sort_by_key(|entry| entry.from);
    Some(VlanTable { device, vlans })
}

fn vlan_entry(entry: Attributes<'_>) -> Option<VlanEntry> {
    let info = entry.get(1)?;
    let from = VlanId::new(u16_at(info.payload, 2)?)?;
    let mut vlan = VlanEntry {
        from,
        to: from,
        flags: VlanFlags(u16_at(info.payload, 0)?),
        state: None,
        mcast_router: None,
        neigh_suppress: None,
        tunnel_id: None,
        unknown: Vec::new(),
    };
    for attribute in entry {
        match attribute.number {
            2 => vlan.to = attribute.u16().and_then(VlanId::new).filter(|to| from <= *to).unwrap_or(from),
            3 => vlan.state = attribute.u8().map(Into::into),
            4 => vlan.tunnel_id = attribute.nested().get(1).and_then(|id| id.u32()),
            6 => vlan.mcast_router = attribute.u8().map(Into::into),
            9 => vlan.neigh_suppress = attribute.u8().map(|on| on != 0),
            1 | 5 | 7 | 8 => {}
            _ => vlan.unknown.push(attribute.unknown()),
        }
    }
    Some(vlan)
}

/// Decodes `RTM_NEWVLAN` of a dump of global options: the per-VLAN options of one bridge.
#[must_use]
pub fn vlan_globals(message: &[u8]) -> Option<Vec<VlanGlobal>> {
    const BRIDGE_VLANDB_GLOBAL_OPTIONS: u16 = 2;
    let bridge = IfIndex(u32_at(message, 4)?);
    let options =
        Attributes::after(message, BR_VLAN_MSG).filter(|o| o.number == BRIDGE_VLANDB_GLOBAL_OPTIONS);
    Some(options.filter_map(|options| vlan_global(bridge, options.nested())).collect())
}

fn vlan_global(bridge: IfIndex, options: Attributes<'_>) -> Option<VlanGlobal> {
    let from = VlanId::new(options.get(1)?.u16()?)?;
    let (mut to, mut msti, mut mcast_snooping, mut mcast_querier) = (from, None, None, None);
    let mut unknown = Vec::new();
    for attribute in options {
        match attribute.number {
            2 => to = attribute.u16().and_then(VlanId::new).unwrap_or(from),
            3 => mcast_snooping = attribute.u8().map(|on| on != 0),
            15 => mcast_querier = attribute.u8().map(|on| on != 0),
            18 => msti = attribute.u16(),
            // Versions, counts, intervals, router ports and querier of the VLAN's own snooping.
            1 | 4..=14 | 16 | 17 => {}
            _ => unknown.push(attribute.unknown()),
        }
    }
    Some(VlanGlobal { bridge, from, to, msti, mcast_snooping, mcast_querier, unknown })
}

/// Decodes the spanning tree instances of a port out of an `AF_BRIDGE` `RTM_NEWLINK` (`IFLA_BRIDGE_MST`).
#[must_use]
pub fn mst_states(message: &[u8]) -> Vec<MstState> {
    const IFLA_AF_SPEC: u16 = 26;
    const IFLA_BRIDGE_MST: u16 = 6;
    let Some(port) = u32_at(message, 4).map(IfIndex) else { return Vec::new() };
    let spec = Attributes::after(message, IFINFOMSG).get(IFLA_AF_SPEC);
    let mst = spec.and_then(|spec| spec.nested().get(IFLA_BRIDGE_MST));
    let state = |entry: Attribute<'_>| {
        let (msti, state) = (entry.nested().get(1)?.u16()?, entry.nested().get(2)?.u8()?);
        Some(MstState { port, msti, state: state.into() })
    };
    mst.into_iter().flat_map(|mst| mst.nested()).filter_map(state).collect()
}

/// Decodes the VLANs of one device out of an `AF_BRIDGE` `RTM_NEWLINK`, for kernels without `RTM_GETVLAN`.
#[must_use]
pub fn vlan_table_of_link(message: &[u8]) -> Option<VlanTable> {
    const IFLA_AF_SPEC: u16 = 26;
    const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
    const RANGE_BEGIN: u16 = 0x08;
    const RANGE_END: u16 = 0x10;
    let device = IfIndex(u32_at(message, 4)?);
    let spec = Attributes::after(message, IFINFOMSG).get(IFLA_AF_SPEC)?;
    let mut table = VlanTable { device, vlans: Vec::new() };
    let mut begin = None;
    for info in spec.nested().filter(|attribute| attribute.number == IFLA_BRIDGE_VLAN_INFO) {
        let flags = u16_at(info.payload, 0)?;
        let Some(id) = u16_at(info.payload, 2).and_then(VlanId::new) else { continue };
        if flags & RANGE_BEGIN != 0 {
            begin = Some(id);
            continue;
        }
        let from = begin.take().filter(|_| flags & RANGE_END != 0).unwrap_or(id);
        table.vlans.push(VlanEntry {
            from,
            to: id,
            flags: VlanFlags(flags & !(RANGE_BEGIN | RANGE_END)),
            state: None,
            mcast_router: None,
            neigh_suppress: None,
            tunnel_id: None,
            unknown: Vec::new(),
        });
    }
    table.vlans.sort_by_key(|entry| entry.from);
    (!table.vlans.is_empty()).then_some(table)
}

/// Decodes `RTM_NEWNEIGH` of `AF_BRIDGE`: one FDB entry.
#[must_use]
pub fn fdb_entry(message: &[u8]) -> Option<FdbEntry> {
    let (device, state) = (IfIndex(u32_at(message, 4)?), u16_at(message, 8)?);
    let flags = u8_at(message, 10)?;
    let attributes = Attributes::after(message, NDMSG);
    let mut entry = FdbEntry {
        device,
        bridge: None,
        address: attributes.get(2)?.mac()?,
        vlan: None,
        state,
        flags,
        flags_ext: 0,
        used: None,
        updated: None,
        remote: None,
        unknown: Vec::new(),
    };
    for attribute in attributes {
        match attribute.number {
            1 => entry.remote = attribute.ip(),
            // struct nda_cacheinfo: confirmed, used, updated, reference count.
            3 => {
                entry.used = u32_at(attribute.payload, 4);
                entry.updated = u32_at(attribute.payload, 8);
            }
            5 => entry.vlan = attribute.u16().and_then(VlanId::new),
            9 => entry.bridge = attribute.u32().map(IfIndex),
            15 => entry.flags_ext = attribute.u32().unwrap_or_default(),
            2 | 12 | 14 => {}
            _ => entry.unknown.push(attribute.unknown()),
        }
    }
    Some(entry)
}

/// Decodes `RTM_NEWMDB`: groups and router ports of one bridge, added to what others have.
pub fn mdb(message: &[u8], into: &mut Mdb) {
    const MDBA_MDB: u16 = 1;
    const MDBA_ROUTER: u16 = 2;
    let Some(bridge) = u32_at(message, 4).map(IfIndex) else { return };
    for attribute in Attributes::after(message, BR_PORT_MSG) {
        match attribute.number {
            MDBA_MDB => {
                let infos = attribute.nested().flat_map(|entry| entry.nested());
                into.entries.extend(infos.filter_map(|info| mdb_entry(bridge, &info)));
            }
            MDBA_ROUTER => {
                into.routers.extend(attribute.nested().filter_map(|port| mdb_router(bridge, &port)))
            }
            _ => {}
        }
    }
}

fn mdb_entry(bridge: IfIndex, info: &Attribute<'_>) -> Option<MdbEntry> {
    let bytes = info.payload;
    let address: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
    let protocol = u16::from_be_bytes(*bytes.get(24..)?.first_chunk()?);
    let [a, b, c, d, e, f, ..] = address;
    let group = match protocol {
        0x0800 => MdbGroup::Ipv4(Ipv4Addr::new(a, b, c, d)),
        0x86dd => MdbGroup::Ipv6(Ipv6Addr::from(address)),
        _ => MdbGroup::Mac(MacAddr([a, b, c, d, e, f])),
    };
    let extra = Attributes::after(bytes, BR_MDB_ENTRY);
    let source =
        extra.get(4).and_then(|source| source.ip()).filter(|source: &IpAddr| !source.is_unspecified());
    Some(MdbEntry {
        bridge,
        port: IfIndex(u32_at(bytes, 0)?),
        group,
        source,
        vlan: VlanId::new(u16_at(bytes, 6)?),
        permanent: u8_at(bytes, 4)? == 1,
        flags: u8_at(bytes, 5)?,
        mode: extra.get(3).and_then(|mode| mode.u8()),
    })
}

fn mdb_router(bridge: IfIndex, port: &Attribute<'_>) -> Option<MdbRouter> {
    let extra = Attributes::after(port.payload, 4);
    Some(MdbRouter {
        bridge,
        port: IfIndex(u32_at(port.payload, 0)?),
        kind: extra.get(2).and_then(|kind| kind.u8()).map(Into::into),
        vlan: extra.get(5).and_then(|vlan| vlan.u16()).and_then(VlanId::new),
    })
}
