//! Interfaces, VLANs, FDB and MDB, by rtnetlink.

use std::collections::HashSet;

use nix::errno::Errno;
use portcullis_snapshot::{
    BoolOpt, BridgeOptions, FdbEntry, Link, LinkFlags, Mdb, MstState, VlanFlags, VlanGlobal, VlanTable,
};
use portcullis_wire::{Message, bridge, link};

use crate::Error;
use crate::netlink::Socket;

const RTM_GETLINK: u16 = 18;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETMDB: u16 = 86;
const RTM_GETVLAN: u16 = 114;
const AF_BRIDGE: u8 = 7;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_BRVLAN_COMPRESSED: u32 = 1 << 2;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const RTEXT_FILTER_MST: u32 = 1 << 7;

/// `struct ifinfomsg` of a family, for every interface.
fn ifinfomsg(family: u8) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header
}

fn get_links(family: u8, mask: u32) -> Message {
    Message::new(RTM_GETLINK, 0).header(&ifinfomsg(family)).put_u32(IFLA_EXT_MASK, mask)
}

/// Reads every interface, in the order of their indices.
pub(super) fn links(route: &mut Socket) -> Result<Vec<Link>, Error> {
    let message = get_links(0, RTEXT_FILTER_SKIP_STATS);
    let mut links = route.dump("reading interfaces", &message, Vec::new, |links, reply| {
        if let Ok((link, _)) = link::link(reply.payload) {
            links.push(link);
        }
    })?;
    links.sort_by_key(|link| link.index);
    let sysfs = Sysfs::of_this_namespace(&links);
    for link in &mut links {
        // Only where it tells more than netlink did, and for bridge devices, whose flags people compare.
        if link.promiscuity.is_none() || link.allmulti.is_none() || link.bridge().is_some() {
            link.sysfs_flags = sysfs.flags(&link.name);
        }
    }
    Ok(links)
}

/// `/sys/class/net`, if it is of this namespace: a sysfs shows the one that it was mounted in, whoever looks.
struct Sysfs(bool);

impl Sysfs {
    fn of_this_namespace(links: &[Link]) -> Self {
        let shown = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let shown = shown.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())).count();
        let index = |link: &Link| {
            let path = format!("/sys/class/net/{}/ifindex", link.name);
            std::fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        // The same number of interfaces, and the newest of them there under its index.
        let newest = links.last().is_some_and(|link| index(link) == Some(link.index.0));
        Self(shown == links.len() && newest)
    }

    fn flags(&self, name: &str) -> Option<LinkFlags> {
        if !self.0 {
            return None;
        }
        let text = std::fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok()?;
        u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok().map(LinkFlags)
    }
}

/// Reads the VLANs of every port and bridge; on kernels without `RTM_GETVLAN` by the older dump.
///
/// Both dumps leave out what is a bridge's without its device being in it (`br_vlan_should_use`), and neither says so by
/// a flag: [`VlanFlags::BRENTRY`] is put back here.
pub(super) fn vlans(route: &mut Socket, links: &[Link]) -> Result<Vec<VlanTable>, Error> {
    let message = Message::new(RTM_GETVLAN, 0).header(&[AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0]);
    let start = Vec::new;
    let tables = route.dump("reading VLANs", &message, start, |tables: &mut Vec<VlanTable>, reply| {
        if let Some(table) = bridge::vlan_table(reply.payload) {
            merge(tables, table);
        }
    });
    let tables = match tables {
        // The older dump tells every port's options once more, which is for nothing where there are no VLANs.
        Err(Error::Refused { errno: Errno::EOPNOTSUPP, .. }) if !links.iter().any(can_filter_vlans) => {
            return Ok(Vec::new());
        }
        Err(Error::Refused { errno: Errno::EOPNOTSUPP, .. }) => {
            let message = get_links(AF_BRIDGE, RTEXT_FILTER_BRVLAN_COMPRESSED);
            route.dump("reading VLANs", &message, Vec::new, |tables, reply| {
                tables.extend(bridge::vlan_table_of_link(reply.payload));
            })
        }
        other => other,
    };
    let mut tables = tables?;
    tables.retain(|table| !table.vlans.is_empty());
    if links.iter().filter_map(Link::bridge).any(is_before_vlan_options) {
        complete_vlans(route, &mut tables)?;
    }
    tables.sort_by_key(|table| table.device);
    let bridges: HashSet<_> =
        links.iter().filter(|link| link.bridge().is_some()).map(|link| link.index).collect();
    for table in tables.iter_mut().filter(|table| bridges.contains(&table.device)) {
        table.vlans.iter_mut().for_each(|entry| entry.flags.0 |= VlanFlags::BRENTRY);
    }
    Ok(tables)
}

/// Whether this is a bridge of a kernel that can filter VLANs: only such a kernel has a TPID to tell of.
fn can_filter_vlans(link: &Link) -> bool {
    link.bridge().is_some_and(|bridge| bridge.vlan_protocol.is_some())
}

/// Adds the VLANs that only the older dump tells: kernels before 5.15 leave ranges out of the newer one.
fn complete_vlans(route: &mut Socket, tables: &mut Vec<VlanTable>) -> Result<(), Error> {
    let message = get_links(AF_BRIDGE, RTEXT_FILTER_BRVLAN_COMPRESSED);
    let older: Vec<VlanTable> = route.dump("reading VLANs", &message, Vec::new, |older, reply| {
        older.extend(bridge::vlan_table_of_link(reply.payload));
    })?;
    for mut table in older {
        let known = tables.iter().find(|known| known.device == table.device);
        table.vlans.retain(|entry| known.is_none_or(|known| known.get(entry.from).is_none()));
        if !table.vlans.is_empty() {
            merge(tables, table);
        }
    }
    Ok(())
}

/// Whether the kernel is older than options of VLANs on a whole bridge, which came with snooping by VLAN.
fn is_before_vlan_options(bridge: &BridgeOptions) -> bool {
    let knows = bridge.multi_boolopt.and_then(|options| options.get(BoolOpt::McastVlanSnooping));
    bridge.vlan_protocol.is_some() && knows.is_none()
}

/// A long table comes in several messages.
fn merge(tables: &mut Vec<VlanTable>, table: VlanTable) {
    match tables.iter_mut().rev().find(|known| known.device == table.device) {
        Some(known) => {
            known.vlans.extend(table.vlans);
            known.vlans.sort_by_key(|entry| entry.from);
        }
        None => tables.push(table),
    }
}

/// Reads the options that VLANs have on a whole bridge.
pub(super) fn vlan_globals(route: &mut Socket) -> Result<Vec<VlanGlobal>, Error> {
    const BRIDGE_VLANDB_DUMP_FLAGS: u16 = 1;
    const BRIDGE_VLANDB_DUMPF_GLOBAL: u32 = 2;
    let message = Message::new(RTM_GETVLAN, 0)
        .header(&[AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0])
        .put_u32(BRIDGE_VLANDB_DUMP_FLAGS, BRIDGE_VLANDB_DUMPF_GLOBAL);
    route.dump("reading global VLAN options", &message, Vec::new, |globals, reply| {
        globals.extend(bridge::vlan_globals(reply.payload).into_iter().flatten());
    })
}

/// Reads the ports' states in spanning tree instances, if any bridge goes by them.
pub(super) fn mst(route: &mut Socket, links: &[Link]) -> Result<Vec<MstState>, Error> {
    let options = |link: &Link| link.bridge().and_then(|bridge| bridge.multi_boolopt);
    if !links.iter().filter_map(options).any(|options| options.get(BoolOpt::MstEnable) == Some(true)) {
        return Ok(Vec::new());
    }
    let message = get_links(AF_BRIDGE, RTEXT_FILTER_MST);
    route.dump("reading spanning tree instances", &message, Vec::new, |states, reply| {
        states.extend(bridge::mst_states(reply.payload));
    })
}

/// Reads the FDB of every bridge and device.
pub(super) fn fdb(route: &mut Socket) -> Result<Vec<FdbEntry>, Error> {
    let mut header = [0; 12];
    header[0] = AF_BRIDGE;
    let message = Message::new(RTM_GETNEIGH, 0).header(&header);
    let mut entries = route.dump("reading the FDB", &message, Vec::new, |entries, reply| {
        entries.extend(bridge::fdb_entry(reply.payload));
    })?;
    let per_second = ticks_per_second();
    for entry in &mut entries {
        for age in [&mut entry.used, &mut entry.updated].into_iter().flatten() {
            *age = (u64::from(*age) * 100 / per_second) as u32;
        }
    }
    Ok(entries)
}

/// `USER_HZ`, the unit of times that the kernel tells user space in `clock_t`.
fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Reads the multicast groups and router ports of every bridge.
pub(super) fn mdb(route: &mut Socket) -> Result<Mdb, Error> {
    let message = Message::new(RTM_GETMDB, 0).header(&[AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0]);
    route.dump("reading the MDB", &message, Mdb::default, |mdb, reply| bridge::mdb(reply.payload, mdb))
}
