//! A bridge's FDB, keyed as the kernel's: by address and VLAN id.

use std::collections::HashMap;

use portcullis_snapshot::{FdbEntry, FdbKind, IfIndex, MacAddr, Netns};

use crate::frame::{Partition, Set};

/// The FDB of one bridge.
#[derive(Debug, Default)]
pub struct Fdb {
    by_vid: HashMap<u16, FdbTable>,
}

/// The entries of one VLAN; VLAN 0 holds those that count without VLAN filtering.
#[derive(Debug, Default)]
struct FdbTable {
    records: Vec<FdbRecord>,
    index: HashMap<u64, usize>,
}

/// One entry, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbRecord {
    /// The address.
    pub address: MacAddr,
    /// Where frames to it go.
    pub dst: FdbDst,
    /// Whether it was put there rather than learned (`BR_FDB_STATIC`).
    pub is_static: bool,
    /// Whether it stays on its port (`BR_FDB_STICKY`).
    pub sticky: bool,
    /// Whether it only notes a refused source (`BR_FDB_LOCKED`).
    pub locked: bool,
}

/// Where an FDB entry points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdbDst {
    /// Up to the bridge device (`BR_FDB_LOCAL`). The device is the one whose address it is.
    Local(IfIndex),
    /// Out of a port.
    Port(IfIndex),
}

impl Fdb {
    pub(super) fn of(netns: &Netns) -> HashMap<IfIndex, Self> {
        let mut fdbs: HashMap<IfIndex, Self> = HashMap::new();
        for entry in netns.fdb.known() {
            let Some(bridge) = entry.bridge else { continue };
            fdbs.entry(bridge).or_default().insert(entry);
        }
        fdbs
    }

    fn insert(&mut self, entry: &FdbEntry) {
        let record = FdbRecord {
            address: entry.address,
            dst: match entry.kind() {
                FdbKind::Local => FdbDst::Local(entry.device),
                FdbKind::Static | FdbKind::Dynamic => FdbDst::Port(entry.device),
            },
            is_static: entry.kind() == FdbKind::Static,
            sticky: entry.is_sticky(),
            locked: entry.is_locked(),
        };
        let table = self.by_vid.entry(entry.vlan.map_or(0, Into::into)).or_default();
        table.index.insert(entry.address.to_u64(), table.records.len());
        table.records.push(record);
    }

    /// Returns the partition of addresses by entry in a VLAN, to be asked of a frame (`br_fdb_find_rcu`).
    pub(crate) fn vlan(&self, vid: u16) -> Option<&impl Partition> {
        self.by_vid.get(&vid)
    }

    /// Returns the entry of a class of [`vlan`](Self::vlan).
    pub(crate) fn record(&self, vid: u16, class: usize) -> Option<&FdbRecord> {
        self.by_vid.get(&vid)?.records.get(class)
    }

    /// Returns the entry of an address.
    #[must_use]
    pub fn find(&self, address: MacAddr, vid: u16) -> Option<&FdbRecord> {
        let table = self.by_vid.get(&vid)?;
        table.records.get(*table.index.get(&address.to_u64())?)
    }

    /// Returns every entry with its VLAN id.
    pub fn records(&self) -> impl Iterator<Item = (u16, &FdbRecord)> {
        self.by_vid.iter().flat_map(|(vid, table)| table.records.iter().map(|record| (*vid, record)))
    }
}

impl Partition for FdbTable {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.index.get(&u64::try_from(value).ok()?).copied()
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, record) in self.records.iter().enumerate() {
            each(class, record.address.into());
        }
    }
}
