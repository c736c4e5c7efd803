//! Bridges that are alike: what is chosen for one, and proven of it, holds for the others.

use portcullis_audit::{Access, BridgePolicy, BridgeView, Context, Knowledge, Role};

/// A bridge.
pub(crate) struct Sorted<'c, 's> {
    /// The bridge.
    pub(crate) bridge: &'c BridgeView<'s>,
    /// The first that it is like, by its place among those looked at; `None` if it is the first of its sort.
    pub(crate) like: Option<usize>,
}

/// What makes bridges alike: their ports are of the same sorts, in the same order, and the same is wanted of them.
#[derive(PartialEq)]
struct Sort {
    /// Which ports are alike, on whichever bridge, the datapath tells ([`portcullis_datapath::network::Alike`]).
    ports: Vec<(usize, Role, Knowledge)>,
    policy: BridgePolicy,
    access: Access,
}

/// Tells which bridges are alike.
pub(crate) fn sorted<'c, 's>(context: &Context<'s>, bridges: Vec<&'c BridgeView<'s>>) -> Vec<Sorted<'c, 's>> {
    let classes = context.classes();
    let sort = |bridge: &BridgeView<'_>| Sort {
        ports: bridge
            .groups()
            .filter_map(|alike| {
                let port = alike.first;
                Some((classes.class(port.link.index)?, port.role, port.knowledge()))
            })
            .collect(),
        policy: BridgePolicy { name: Default::default(), netns: Default::default(), ..bridge.policy.clone() },
        access: context.access_at(bridge, bridge.link.index),
    };
    let mut sorts: Vec<Sort> = Vec::new();
    let mut sorted = Vec::new();
    for bridge in bridges {
        let sort = sort(bridge);
        let like = sorts.iter().position(|known| *known == sort);
        sorts.push(sort);
        sorted.push(Sorted { bridge, like });
    }
    sorted
}
