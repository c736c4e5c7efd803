//! Adding tc filters, and taking them away.

use portcullis_snapshot::{IfIndex, TcFilter, U32Table};
use portcullis_wire::tc::{self, FilterParent};

use crate::Change;

/// An `ingress` or `clsact` queueing discipline of a device, whose filters are shared in these blocks.
#[must_use]
pub fn qdisc(device: IfIndex, kind: &str, ingress_block: Option<u32>, egress_block: Option<u32>) -> Change {
    let what = format!("adding {kind} to interface {device}");
    Change::new(what, tc::new_qdisc(device, kind, ingress_block, egress_block))
}

/// A filter.
#[must_use]
pub fn filter(parent: FilterParent, filter: &TcFilter) -> Change {
    Change::new(format!("adding a {} filter", filter.kind()), tc::new_filter(parent, filter))
}

/// A hash table of `u32`, for a priority with this protocol.
#[must_use]
pub fn u32_table(parent: FilterParent, table: &U32Table, protocol: u16) -> Change {
    Change::new("adding a table of u32", tc::new_u32_table(parent, table, protocol))
}

/// Takes an `ingress` or `clsact` queueing discipline away, with all of its filters.
#[must_use]
pub fn qdisc_delete(device: IfIndex, kind: &str) -> Change {
    Change::new(format!("taking {kind} from interface {device}"), tc::delete_qdisc(device, kind))
}

/// Takes a filter away; without a handle, all that have its chain, priority, protocol and classifier.
#[must_use]
pub fn filter_delete(parent: FilterParent, filter: &TcFilter, handle: Option<u32>) -> Change {
    let what = format!("taking a {} filter of priority {} away", filter.kind(), filter.priority);
    Change::new(what, tc::delete_filter(parent, filter, handle))
}
