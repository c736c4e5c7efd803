//! A bridge's FDB, keyed as the kernel's: by address and VLAN id.

use std::collections::HashMap;

use portcullis_snapshot::{FdbEntry, FdbKind, IfIndex, MacAddr, Netns};

use super::quick::QuickMap;
use crate::frame::{Partition, Set};

/// The FDB of one bridge.
#[derive(Debug, Default)]
pub struct Fdb {
    /// By VLAN id, in order; VLAN 0 holds the entries that count without VLAN filtering.
    by_vid: Vec<(u16, FdbTable)>,
}

/// The entries of one VLAN, and the partition of addresses by entry: class n is the n-th.
#[derive(Debug, Default)]
pub(crate) struct FdbTable {
    records: Vec<FdbRecord>,
    /// Where each address stands among them, in the order of the addresses. Not a hash map: guests choose these.
    index: Vec<(u64, usize)>,
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
        let mut fdbs: HashMap<IfIndex, QuickMap<u16, FdbTable>> = HashMap::new();
        for entry in netns.fdb.known() {
            let Some(bridge) = entry.bridge else { continue };
            let by_vid = fdbs.entry(bridge).or_default();
            by_vid.entry(entry.vlan.map_or(0, Into::into)).or_default().records.push(FdbRecord::new(entry));
        }
        let ready = |by_vid: QuickMap<u16, FdbTable>| {
            let mut by_vid: Vec<_> = by_vid.into_iter().collect();
            by_vid.sort_unstable_by_key(|(vid, _)| *vid);
            by_vid.iter_mut().for_each(|(_, table)| table.put_in_order());
            Self { by_vid }
        };
        fdbs.into_iter().map(|(bridge, by_vid)| (bridge, ready(by_vid))).collect()
    }

    /// Returns the entries of a VLAN.
    #[inline]
    pub(crate) fn vlan(&self, vid: u16) -> Option<&FdbTable> {
        let at = self.by_vid.binary_search_by_key(&vid, |(vid, _)| *vid).ok()?;
        self.by_vid.get(at).map(|(_, table)| table)
    }

    /// Returns the entry of an address.
    #[must_use]
    pub fn find(&self, address: MacAddr, vid: u16) -> Option<&FdbRecord> {
        self.vlan(vid)?.find(address.to_u64())
    }

    /// Returns the entries of an address, with their VLAN ids in ascending order.
    #[must_use]
    pub fn of_address(&self, address: MacAddr) -> Vec<(u16, &FdbRecord)> {
        let tables = self.by_vid.iter();
        tables.filter_map(|(vid, table)| Some((*vid, table.find(address.to_u64())?))).collect()
    }

    /// Returns every entry with its VLAN id.
    pub fn records(&self) -> impl Iterator<Item = (u16, &FdbRecord)> {
        self.by_vid.iter().flat_map(|(vid, table)| table.records.iter().map(|record| (*vid, record)))
    }
}

impl FdbTable {
    fn put_in_order(&mut self) {
        let addresses = self.records.iter().map(|record| record.address.to_u64());
        self.index = addresses.enumerate().map(|(at, address)| (address, at)).collect();
        // Of two with the same address the later one counts.
        self.index.sort_unstable_by_key(|(address, at)| (*address, usize::MAX - at));
        self.index.dedup_by_key(|(address, _)| *address);
    }

    fn at(&self, address: u64) -> Option<usize> {
        let found = self.index.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        self.index.get(found).map(|(_, at)| *at)
    }

    fn find(&self, address: u64) -> Option<&FdbRecord> {
        self.records.get(self.at(address)?)
    }

    /// Returns the entry of a class.
    pub(crate) fn record(&self, class: usize) -> Option<&FdbRecord> {
        self.records.get(class)
    }

    /// Returns the partition of addresses by where their entries lead, of those that last or of all.
    pub(crate) const fn destinations(&self, port: Option<IfIndex>, lasting: bool) -> Destinations<'_> {
        Destinations { table: self, port, lasting }
    }

    /// Returns the partition of addresses by those entries that neither time nor guests take away.
    pub(crate) const fn lasting(&self) -> Lasting<'_> {
        Lasting(self)
    }
}

impl FdbTable {
    /// Returns the partition of addresses by those entries that lead to a port now, and may be gone: only those, as one class.
    pub(crate) const fn passing(&self, port: IfIndex) -> Passing<'_> {
        Passing { table: self, port }
    }
}

impl FdbRecord {
    fn new(entry: &FdbEntry) -> Self {
        Self {
            address: entry.address,
            dst: match entry.kind() {
                FdbKind::Local => FdbDst::Local(entry.device),
                FdbKind::Static | FdbKind::Dynamic => FdbDst::Port(entry.device),
            },
            is_static: entry.kind() == FdbKind::Static,
            sticky: entry.is_sticky(),
            locked: entry.is_locked(),
        }
    }

    /// Whether it stays until somebody takes it away.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        self.is_static || matches!(self.dst, FdbDst::Local(_))
    }
}

/// The entries of one VLAN by where they lead: up, to one port, or to another. As much as matters to whoever looks at that
/// port only, or at the host.
pub(crate) struct Destinations<'f> {
    table: &'f FdbTable,
    port: Option<IfIndex>,
    lasting: bool,
}

/// A class of [`Destinations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Up,
    There,
    Elsewhere,
}

impl Destinations<'_> {
    fn class(&self, record: &FdbRecord) -> Option<usize> {
        if self.lasting && !record.lasts() {
            return None;
        }
        Some(match record.dst {
            FdbDst::Local(_) => 0,
            FdbDst::Port(port) if Some(port) == self.port => 1,
            FdbDst::Port(_) => 2,
        })
    }

    /// Returns what a class stands for.
    pub(crate) const fn of(class: usize) -> Destination {
        match class {
            0 => Destination::Up,
            1 => Destination::There,
            _ => Destination::Elsewhere,
        }
    }
}

impl Partition for Destinations<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.class(self.table.records.get(self.table.class_of(value)?)?)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for record in &self.table.records {
            if let Some(class) = self.class(record) {
                each(class, record.address.into());
            }
        }
    }
}

/// The entries of one VLAN that last.
pub(crate) struct Lasting<'f>(&'f FdbTable);

impl Partition for Lasting<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        let class = self.0.class_of(value)?;
        self.0.records.get(class).filter(|record| record.lasts()).map(|_| class)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, record) in self.0.records.iter().enumerate().filter(|(_, record)| record.lasts()) {
            each(class, record.address.into());
        }
    }
}

/// The entries of one VLAN that lead to a port, unless time or a guest has taken them away.
pub(crate) struct Passing<'f> {
    table: &'f FdbTable,
    port: IfIndex,
}

impl Passing<'_> {
    fn has(&self, record: &FdbRecord) -> bool {
        !record.lasts() && !record.locked && record.dst == FdbDst::Port(self.port)
    }
}

impl Partition for Passing<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        let record = self.table.records.get(self.table.class_of(value)?)?;
        self.has(record).then_some(0)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        self.table
            .records
            .iter()
            .filter(|record| self.has(record))
            .for_each(|one| each(0, one.address.into()));
    }
}

impl Partition for FdbTable {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.at(u64::try_from(value).ok()?)
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, record) in self.records.iter().enumerate() {
            each(class, record.address.into());
        }
    }
}
