//! VLANs that the bridge device leaves and joins, in its table of a snapshot.

use super::*;

/// Tells whether the bridge device is in all of some VLANs (before), in none of them (after), or in some.
pub(super) fn vlans(
    netns: &Netns,
    bridge: IfIndex,
    (from, to): (VlanId, VlanId),
    flags: VlanFlags,
) -> Result<State, String> {
    // A device that is in no VLAN has no table.
    let table = read(&netns.vlans)?.iter().find(|table| table.device == bridge);
    let own = |id: u16| table.and_then(|table| table.get(VlanId::new(id)?)).map(|entry| entry.flags);
    let held: Vec<_> = (from.get()..=to.get()).map(own).collect();
    if held.iter().all(Option::is_none) {
        Ok(State::After)
    } else if held.iter().all(|held| *held == Some(flags)) {
        Ok(State::Before)
    } else {
        Err("the bridge device is in some of these VLANs only, or otherwise".to_owned())
    }
}

pub(super) fn put_vlans(
    netns: &mut Netns,
    bridge: IfIndex,
    range: (VlanId, VlanId),
    flags: Option<VlanFlags>,
) {
    let Some(tables) = read_mut(&mut netns.vlans) else { return };
    match flags {
        None => leave_vlans(tables, bridge, range),
        Some(flags) => join_vlans(tables, bridge, range, flags),
    }
}

/// Takes a device out of VLANs. Of an entry for more of them the rest stays.
fn leave_vlans(tables: &mut Vec<VlanTable>, device: IfIndex, (from, to): (VlanId, VlanId)) {
    let below = from.get().checked_sub(1).and_then(VlanId::new);
    let above = to.get().checked_add(1).and_then(VlanId::new);
    let rest = |held: VlanEntry| {
        let lower = below.filter(|below| held.from <= *below).map(|below| (held.from, below.min(held.to)));
        let upper = above.filter(|above| *above <= held.to).map(|above| (above.max(held.from), held.to));
        let part = move |(from, to)| VlanEntry { from, to, ..held.clone() };
        [lower, upper].into_iter().flatten().map(part)
    };
    for table in tables.iter_mut().filter(|table| table.device == device) {
        table.vlans = std::mem::take(&mut table.vlans).into_iter().flat_map(rest).collect();
    }
    // The kernel does not tell of a device that is in no VLAN.
    tables.retain(|table| table.device != device || !table.vlans.is_empty());
}

/// Puts a device into VLANs in which it is not.
fn join_vlans(tables: &mut Vec<VlanTable>, device: IfIndex, (from, to): (VlanId, VlanId), flags: VlanFlags) {
    // What this kernel tells of an entry, any other shows: best one that is alike.
    let mine = tables.iter().filter(|table| table.device == device).flat_map(|table| &table.vlans);
    let others = tables.iter().flat_map(|table| &table.vlans);
    let like = mine.clone().find(|held| held.flags == flags).or(mine.chain(others).next());
    let entry = VlanEntry {
        from,
        to,
        flags,
        state: like.and_then(|like| like.state).map(|_| PortState::Forwarding),
        mcast_router: like.and_then(|like| like.mcast_router),
        neigh_suppress: like.and_then(|like| like.neigh_suppress).map(|_| false),
        tunnel_id: None,
        unknown: Vec::new(),
    };
    let at = tables.partition_point(|table| table.device < device);
    if tables.get(at).is_none_or(|table| table.device != device) {
        tables.insert(at, VlanTable { device, vlans: Vec::new() });
    }
    let Some(table) = tables.get_mut(at) else { return };
    let at = table.vlans.partition_point(|held| held.from < from);
    table.vlans.insert(at, entry);
    // Neighbours that are alike are one entry (br_vlan_can_enter_range).
    table.vlans.dedup_by(|next, held| {
        let (from, to) = (held.from, next.to);
        let one = VlanEntry { from, to, ..next.clone() } == VlanEntry { from, to, ..held.clone() };
        let joins = one && held.to.get() + 1 == next.from.get();
        if joins {
            held.to = to;
        }
        joins
    });
}
