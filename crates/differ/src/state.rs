//! The state that frames change: what the walk says was learned is kept in the snapshot, and held against the kernel's.

use std::collections::BTreeMap;

use portcullis_datapath::frame::{Field, Ip4Field, Ip6Field};
use portcullis_datapath::{Concrete, Learned, LearnedChange};
use portcullis_kernel::netlink::Event;
use portcullis_snapshot::{FdbEntry, FdbKind, IfIndex, LinkKind, MacAddr, Netns, Reading, VlanId};

use crate::facts::{Difference, inner, show, source};

const NUD_REACHABLE: u16 = 2;
const NTF_MASTER: u8 = 4;
const NTF_EXT_LEARNED: u8 = 0x10;
const NTF_EXT_LOCKED: u32 = 2;
const AF_BRIDGE: u8 = 7;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// Puts what the walk says was learned into the FDB.
pub(crate) fn learn(netns: &mut Netns, learned: &[Learned], bytes: &[u8]) {
    for learned in learned {
        let Learned { bridge, port, vid, change, .. } = *learned;
        let address = Concrete::new(bytes).map_or_else(|| source(bytes), |frame| learned.source(&frame));
        let vlan = VlanId::new(vid);
        let locked = netns.link(port).and_then(|link| link.bridge_port()?.locked) == Some(true);
        let Reading::Read(fdb) = &mut netns.fdb else { continue };
        let known = fdb
            .iter_mut()
            .find(|entry| entry.bridge == Some(bridge) && entry.address == address && entry.vlan == vlan);
        match (change, known) {
            (LearnedChange::New | LearnedChange::Locked, None) => {
                let noted = if change == LearnedChange::Locked { NTF_EXT_LOCKED } else { 0 };
                fdb.push(FdbEntry { flags_ext: noted, ..entry(port, bridge, address, vlan) });
                count_learned(netns, bridge);
            }
            (LearnedChange::Move { .. }, Some(entry)) => {
                entry.device = port;
                entry.flags &= !NTF_EXT_LEARNED;
                if !locked {
                    entry.flags_ext = 0;
                }
            }
            _ => {}
        }
    }
}

fn entry(device: IfIndex, bridge: IfIndex, address: MacAddr, vlan: Option<VlanId>) -> FdbEntry {
    FdbEntry { vlan, flags: NTF_MASTER, ..FdbEntry::new(device, Some(bridge), address, NUD_REACHABLE) }
}

fn count_learned(netns: &mut Netns, bridge: IfIndex) {
    let Reading::Read(links) = &mut netns.links else { return };
    let link = links.iter_mut().find(|link| link.index == bridge);
    if let Some(LinkKind::Bridge(options)) = link.map(|link| &mut link.kind)
        && let Some(count) = &mut options.fdb_n_learned
    {
        *count += 1;
    }
}

/// What must be read anew after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// Nothing: what the walk says was learned is all.
    Nothing,
    /// Everything; the FDB should still be as the walk says.
    Tables,
    /// Everything: an interface changed, and with it perhaps the FDB.
    Links,
}

/// Says what must be read anew, from what the kernel told and from what was sent.
pub(crate) fn stale(events: &[Event], bytes: &[u8]) -> Stale {
    let of = |event: &Event| match event {
        Event::Lost | Event::Message { kind: RTM_NEWLINK | RTM_DELLINK, .. } => Stale::Links,
        // No frame takes an entry away: that is age, or a port that went down.
        Event::Message { kind: RTM_DELNEIGH, family: AF_BRIDGE } => Stale::Links,
        Event::Message { kind: RTM_NEWNEIGH, family: AF_BRIDGE } => Stale::Nothing,
        Event::Message { .. } => Stale::Tables,
    };
    let told = events.iter().map(of).max().unwrap_or(Stale::Nothing);
    // The kernel does not tell when it hears a querier.
    told.max(if is_group_management(bytes) { Stale::Tables } else { Stale::Nothing })
}

/// IGMP, or ICMPv6 behind a hop-by-hop header, which may be MLD.
fn is_group_management(bytes: &[u8]) -> bool {
    let (Some(frame), Some((depth, _))) = (Concrete::new(bytes), inner(bytes)) else { return false };
    (0..=depth).any(|depth| match frame.value(Field::Protocol(depth)) {
        0x0800 => frame.value(Field::Ip4(depth, Ip4Field::Protocol)) == 2,
        0x86dd => frame.value(Field::Ip6(depth, Ip6Field::NextHeader)) == 0,
        _ => false,
    })
}

type Key = (IfIndex, Option<VlanId>, MacAddr);

fn table(netns: &Netns) -> BTreeMap<Key, String> {
    let of_bridge = |entry: &FdbEntry| Some((entry.bridge?, entry.vlan, entry.address));
    let describe = |entry: &FdbEntry| {
        let kind = match entry.kind() {
            FdbKind::Local => "local",
            FdbKind::Static => "static",
            FdbKind::Dynamic => "dynamic",
        };
        let sticky = if entry.is_sticky() { " sticky" } else { "" };
        let locked = if entry.is_locked() { " locked" } else { "" };
        let external = if entry.is_extern_learn() { " extern_learn" } else { "" };
        format!("{kind}{sticky}{locked}{external} on {}", show(entry.device))
    };
    netns.fdb.known().iter().filter_map(|entry| Some((of_bridge(entry)?, describe(entry)))).collect()
}

/// Holds the FDB that the walk made up against the kernel's.
pub(crate) fn fdb_differences(said: &Netns, seen: &Netns) -> Vec<Difference> {
    let (said, seen) = (table(said), table(seen));
    let show = |(_, vlan, address): &Key, what: &str| {
        let vlan = vlan.map_or_else(String::new, |vlan| format!(" in VLAN {vlan}"));
        format!("FDB entry {address}{vlan}: {what}")
    };
    let missing = said.iter().filter(|(key, what)| seen.get(*key) != Some(*what));
    let missing = missing.map(|(key, what)| Difference::Missing(show(key, what)));
    let unexpected = seen.iter().filter(|(key, what)| said.get(*key) != Some(*what));
    missing.chain(unexpected.map(|(key, what)| Difference::Unexpected(show(key, what)))).collect()
}
