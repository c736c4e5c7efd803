//! tc filters: those of every device that has an `ingress` or `clsact` queueing discipline, and those of shared blocks.
//!
//! The hash tables of `u32` belong to a queueing discipline or a block as a whole (`tc_u_common_ptr`), and a list of
//! `u32` filters is told with all tables of its priority (`u32_walk`): also with those of other chains, and of the other
//! direction of `clsact`. What is told in the wrong place is sorted out here: each list is asked for its root table, and
//! the roots of others are left out.

use std::collections::{HashMap, HashSet};

use nix::errno::Errno;
use portcullis_snapshot::{TcFilter, TcHook, TcHookKind, U32Table};
use portcullis_wire::tc::{self, FilterEntry, FilterList, FilterParent, Qdisc};
use portcullis_wire::{Message, NLM_F_ACK};

use crate::Error;
use crate::netlink::Socket;

/// Reads the hooks of every device.
pub(super) fn hooks(route: &mut Socket) -> Result<Vec<TcHook>, Error> {
    let qdiscs =
        route.dump("reading queueing disciplines", &tc::qdiscs_request(), Vec::new, |qdiscs, reply| {
            qdiscs.extend(tc::qdisc(reply.payload).filter(|qdisc| qdisc.handle == tc::INGRESS_HANDLE));
        })?;
    let mut blocks = HashMap::new();
    let mut hooks = Vec::new();
    for qdisc in &qdiscs {
        hooks.extend(hooks_of(route, qdisc, &mut blocks)?);
    }
    Ok(hooks)
}

/// The hooks of one queueing discipline. A block is read when the first of its devices comes by.
fn hooks_of(
    route: &mut Socket,
    qdisc: &Qdisc,
    blocks: &mut HashMap<u32, Filters>,
) -> Result<Vec<TcHook>, Error> {
    let clsact = qdisc.kind == "clsact";
    let parent = if clsact { tc::CLSACT_INGRESS } else { tc::INGRESS_HANDLE };
    let egress = clsact.then_some((TcHookKind::Egress, tc::CLSACT_EGRESS, qdisc.egress_block));
    let places = std::iter::once((TcHookKind::Ingress, parent, qdisc.ingress_block)).chain(egress);
    let (mut hooks, mut own) = (Vec::new(), Vec::new());
    for (hook, parent, block) in places {
        match block {
            Some(block) => {
                let filters = match blocks.get(&block) {
                    Some(filters) => filters.clone(),
                    None => {
                        let place = Place::read(route, FilterParent::Block(block))?;
                        let roots = place.roots();
                        blocks.entry(block).or_insert(place.settle(&roots)).clone()
                    }
                };
                hooks.push((hook, Some(block), filters));
            }
            None => own.push((hook, Place::read(route, FilterParent::Device(qdisc.device, parent))?)),
        }
    }
    let roots: HashSet<u32> = own.iter().flat_map(|(_, place)| place.roots()).collect();
    hooks.extend(own.into_iter().map(|(hook, place)| (hook, None, place.settle(&roots))));
    hooks.sort_by_key(|(hook, ..)| *hook == TcHookKind::Egress);
    let hook = |(hook, block, (filters, u32_tables))| TcHook {
        device: qdisc.device,
        hook,
        qdisc: qdisc.kind.clone(),
        block,
        filters,
        u32_tables,
    };
    Ok(hooks.into_iter().map(hook).collect())
}

/// Filters, and the tables of `u32`.
type Filters = (Vec<TcFilter>, Vec<U32Table>);

/// What the kernel tells of one place.
#[derive(Default)]
struct Place {
    lists: Vec<FilterList>,
    filters: Vec<TcFilter>,
    tables: Vec<U32Table>,
    /// The root table of each list of `u32`, by chain and priority.
    root_of: HashMap<(u32, u16), u32>,
}

impl Place {
    fn read(route: &mut Socket, parent: FilterParent) -> Result<Self, Error> {
        let request = tc::filters_request(parent);
        let mut place =
            route.dump(
                "reading tc filters",
                &request,
                Self::default,
                |place, reply| match tc::filter_entry(reply.payload) {
                    Some(FilterEntry::List(list)) => place.lists.push(list),
                    Some(FilterEntry::Table(table)) => place.tables.push(table),
                    Some(FilterEntry::Filter(filter)) => place.filters.push(filter),
                    None => {}
                },
            )?;
        for list in place.lists.iter().filter(|list| list.kind == "u32") {
            if let Some(root) = root(route, &tc::u32_root_request(parent, list))? {
                place.root_of.insert((list.chain, list.priority), root);
            }
        }
        Ok(place)
    }

    fn roots(&self) -> HashSet<u32> {
        self.root_of.values().copied().collect()
    }

    /// Leaves out what belongs to other lists, of which `roots` are the roots; what several lists lead to is told once.
    fn settle(self, roots: &HashSet<u32>) -> Filters {
        let root_of = self.root_of;
        let is_root = |chain, priority, table| root_of.get(&(chain, priority)) == Some(&table);
        let belongs = |chain, priority, table| is_root(chain, priority, table) || !roots.contains(&table);
        let mut seen = HashSet::new();
        let mut filters = self.filters;
        filters.retain(|filter| {
            filter.kind() != "u32"
                || belongs(filter.chain, filter.priority, filter.u32_table()) && seen.insert(filter.handle)
        });
        filters.sort_by_cached_key(|filter| {
            let table = filter.u32_table();
            let within = (filter.kind() == "u32")
                .then(|| (!is_root(filter.chain, filter.priority, table), filter.handle));
            (filter.chain, filter.priority, within)
        });
        seen.clear();
        let mut tables = self.tables;
        tables
            .retain(|table| belongs(table.chain, table.priority, table.handle) && seen.insert(table.handle));
        for table in &mut tables {
            table.root = is_root(table.chain, table.priority, table.handle);
        }
        (filters, tables)
    }
}

/// The root table of a list; `None` if the list is gone by now.
fn root(route: &mut Socket, request: &Message) -> Result<Option<u32>, Error> {
    let mut root = None;
    let request = request.clone().flags(NLM_F_ACK);
    let asked = route.request("reading a root table of u32", request, |reply| {
        if let Some(FilterEntry::Table(table)) = tc::filter_entry(reply.payload) {
            root = Some(table.handle);
        }
    });
    match asked {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        other => other.map(|()| root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_snapshot::{TcClassifier, U32Node};

    fn node(chain: u32, priority: u16, handle: u32) -> TcFilter {
        let node = U32Node::new(U32Node::TERMINAL, Vec::new());
        TcFilter {
            chain,
            priority,
            protocol: 3,
            handle,
            classifier: TcClassifier::U32(node),
            classid: None,
            indev: None,
            flags: 0,
            actions: Vec::new(),
        }
    }

    fn table(chain: u32, priority: u16, handle: u32) -> U32Table {
        U32Table { chain, priority, handle, divisor: 1, root: false }
    }

    #[test]
    fn what_belongs_to_other_lists_is_left_out() {
        const OURS: u32 = 0x8000_0000;
        const OTHER_CHAIN: u32 = 0x8010_0000;
        const OTHER_DIRECTION: u32 = 0x8020_0000;
        const LINKED: u32 = 0x0050_0000;
        // The kernel tells all tables of a priority with every list of it, the latest first.
        let told = [LINKED, OTHER_DIRECTION, OTHER_CHAIN, OURS];
        let lists = || [0, 5].into_iter().flat_map(|chain| told.map(|table| (chain, table)));
        let place = Place {
            lists: Vec::new(),
            filters: lists().map(|(chain, table)| node(chain, 1, table | 0x800)).collect(),
            tables: lists().map(|(chain, handle)| table(chain, 1, handle)).collect(),
            root_of: HashMap::from([((0, 1), OURS), ((5, 1), OTHER_CHAIN)]),
        };
        let (filters, tables) = place.settle(&HashSet::from([OURS, OTHER_CHAIN, OTHER_DIRECTION]));
        let filters: Vec<_> = filters.iter().map(|filter| (filter.chain, filter.handle)).collect();
        assert_eq!(filters, [(0, OURS | 0x800), (0, LINKED | 0x800), (5, OTHER_CHAIN | 0x800)]);
        let root = |chain, handle| U32Table { root: true, ..table(chain, 1, handle) };
        assert_eq!(tables, [table(0, 1, LINKED), root(0, OURS), root(5, OTHER_CHAIN)]);
    }

    #[test]
    fn filters_stand_by_chain_and_priority() {
        let other = |chain, priority, handle| TcFilter {
            classifier: TcClassifier::Matchall,
            ..node(chain, priority, handle)
        };
        let filters = vec![other(7, 1, 1), other(0, 9, 2), other(0, 9, 1), other(0, 2, 1)];
        let place = Place { filters, ..Place::default() };
        let (filters, _) = place.settle(&HashSet::new());
        let found = filters.iter().map(|filter| (filter.chain, filter.priority, filter.handle));
        // Within a priority, the kernel's own order holds.
        assert_eq!(found.collect::<Vec<_>>(), [(0, 2, 1), (0, 9, 2), (0, 9, 1), (7, 1, 1)]);
    }
}
