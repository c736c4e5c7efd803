//! tc filters as packets meet them: by chain and priority, `u32` by table and bucket, `flower` by mask.

use std::collections::HashMap;

use portcullis_snapshot::{
    FlowerKey, IfIndex, Netns, TcActionKind, TcBpf, TcClassifier, TcFilter, TcHook, TcHookKind, U32Node,
};

/// The filters of a hook of a device (`struct tcf_block`).
#[derive(Debug)]
pub(crate) struct Block<'s> {
    /// For people: `tc ingress of p0`.
    pub(crate) place: String,
    chains: HashMap<u32, Vec<Proto<'s>>>,
    tables: HashMap<u32, Table<'s>>,
}

/// All filters of a chain and a priority (`struct tcf_proto`).
#[derive(Debug)]
pub(crate) struct Proto<'s> {
    /// The EtherType that it is for; 3 is all.
    pub(crate) protocol: u16,
    pub(crate) classifier: Classifier<'s>,
}

/// How filters of one priority are asked.
#[derive(Debug)]
pub(crate) enum Classifier<'s> {
    /// Nodes of tables, from this one on.
    U32(u32),
    /// Those of each mask, in the order in which the masks came to be, as far as it can be told.
    Flower(Vec<Vec<&'s TcFilter>>),
    /// One after the other.
    Each(Vec<&'s TcFilter>),
}

/// A hash table of `u32`: its nodes by bucket.
#[derive(Debug, Default)]
pub(crate) struct Table<'s> {
    /// How many buckets it has; a power of two.
    pub(crate) divisor: u32,
    pub(crate) buckets: HashMap<u32, Vec<(&'s TcFilter, &'s U32Node)>>,
}

impl<'s> Block<'s> {
    /// Indexes a hook; `None` if it has nothing that packets begin with.
    pub(super) fn new(hook: &'s TcHook, device: &str) -> Option<Self> {
        let kind = match hook.hook {
            TcHookKind::Ingress => "ingress",
            TcHookKind::Egress => "egress",
        };
        let block = hook.block.map_or_else(String::new, |block| format!(" (block {block})"));
        let mut this = Self {
            place: format!("tc {kind} of {device}{block}"),
            chains: HashMap::new(),
            tables: u32_tables(hook),
        };
        let root = |chain, priority| {
            let own = |table: &&portcullis_snapshot::U32Table| {
                table.root && (table.chain, table.priority) == (chain, priority)
            };
            hook.u32_tables.iter().find(own).map(|table| table.handle)
        };
        let mut rest = hook.filters.as_slice();
        while let Some(first) = rest.first() {
            let of = (first.chain, first.priority);
            let count = rest.iter().take_while(|filter| (filter.chain, filter.priority) == of).count();
            let (filters, others) = rest.split_at(count);
            rest = others;
            let classifier = match &first.classifier {
                TcClassifier::U32(_) => {
                    Classifier::U32(root(first.chain, first.priority).unwrap_or(first.u32_table()))
                }
                TcClassifier::Flower(_) => Classifier::Flower(by_mask(filters)),
                _ => Classifier::Each(filters.iter().collect()),
            };
            this.chains.entry(first.chain).or_default().push(Proto { protocol: first.protocol, classifier });
        }
        this.chains.contains_key(&0).then_some(this)
    }

    /// Returns the priorities of a chain, in the order in which they are asked.
    pub(crate) fn chain(&self, chain: u32) -> &[Proto<'s>] {
        self.chains.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// Returns a table of `u32`.
    pub(crate) fn table(&self, handle: u32) -> Option<&Table<'s>> {
        self.tables.get(&handle)
    }
}

fn u32_tables(hook: &TcHook) -> HashMap<u32, Table<'_>> {
    let mut tables: HashMap<u32, Table<'_>> = HashMap::new();
    for table in &hook.u32_tables {
        tables.entry(table.handle).or_default().divisor = table.divisor;
    }
    for filter in &hook.filters {
        if let TcClassifier::U32(node) = &filter.classifier {
            let table = tables.entry(filter.u32_table()).or_default();
            table.buckets.entry(filter.u32_bucket()).or_default().push((filter, node));
        }
    }
    for bucket in tables.values_mut().flat_map(|table| table.buckets.values_mut()) {
        bucket.sort_by_key(|(filter, _)| filter.u32_node());
    }
    tables
}

/// What of a `flower` key is its mask.
#[derive(PartialEq, Eq)]
enum MaskOf<'s> {
    Field(portcullis_snapshot::FlowerField, &'s [u8]),
    Range(bool),
    Other(u16),
}

/// `fl_check_assign_mask`.
fn by_mask(filters: &[TcFilter]) -> Vec<Vec<&TcFilter>> {
    let mut masks: Vec<(Vec<MaskOf<'_>>, bool, Vec<&TcFilter>)> = Vec::new();
    for filter in filters {
        let TcClassifier::Flower(keys) = &filter.classifier else { continue };
        let mask: Vec<_> = keys.iter().map(mask_of).collect();
        let indev = filter.indev.is_some();
        match masks.iter_mut().find(|(known, with, _)| *known == mask && *with == indev) {
            Some((.., filters)) => filters.push(filter),
            None => masks.push((mask, indev, vec![filter])),
        }
    }
    masks.into_iter().map(|(.., filters)| filters).collect()
}

fn mask_of(key: &FlowerKey) -> MaskOf<'_> {
    match key {
        FlowerKey::Field { field, mask, .. } => MaskOf::Field(*field, &mask.0),
        FlowerKey::PortRange { source, .. } => MaskOf::Range(*source),
        FlowerKey::Other(other) => MaskOf::Other(other.number),
    }
}

/// Whether filters on a device's way out can send a packet on to elsewhere.
pub(super) fn sends_elsewhere(hook: &TcHook) -> bool {
    let known = |kind: &TcActionKind| {
        !matches!(kind, TcActionKind::Mirred { .. } | TcActionKind::Bpf(TcBpf { classic: None, .. }))
    };
    let program = |filter: &TcFilter| matches!(&filter.classifier, TcClassifier::Bpf { program, .. } if program.classic.is_none());
    hook.filters
        .iter()
        .any(|filter| program(filter) || filter.actions.iter().any(|action| !known(&action.kind)))
}

/// Names a program: `BPF program 42 on tap3`.
pub(crate) fn program_name(id: Option<u32>, device: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!(" {id}"));
    format!("BPF program{id} on {device}")
}

/// Returns a device's name, or its number.
pub(super) fn name(netns: &Netns, device: IfIndex) -> String {
    netns.link(device).map_or_else(|| format!("if{device}"), |link| link.name.clone())
}
