//! Filters of tc on the way in of a device, in a snapshot.

use super::*;

/// The hook on the way in of a device, if it has one.
fn hook(hooks: &[TcHook], device: IfIndex) -> Option<&TcHook> {
    hooks.iter().find(|hook| hook.device == device && hook.hook == TcHookKind::Ingress)
}

pub(super) fn tc(netns: &Netns, device: IfIndex, clsact: bool, filter: &TcFilter) -> Result<State, String> {
    let place = |filter: &TcFilter| (filter.chain, filter.priority);
    let hook = hook(read(&netns.filters.tc)?, device);
    let held = hook.and_then(|hook| hook.filters.iter().find(|held| place(held) == place(filter)));
    match (hook, held) {
        (_, Some(held)) if same_filter(held, filter) => Ok(State::After),
        (_, Some(_)) => Err(format!("another filter has priority {}", filter.priority)),
        (None, None) if clsact => Ok(State::Before),
        (Some(_), None) if !clsact => Ok(State::Before),
        (Some(_), None) => Err("it has got a queueing discipline for ingress meanwhile".to_owned()),
        (None, None) => Err("its queueing discipline for ingress is gone".to_owned()),
    }
}

/// Whether two filters do the same, whatever numbers the kernel gave them.
fn same_filter(held: &TcFilter, wanted: &TcFilter) -> bool {
    (held.protocol, &held.actions) == (wanted.protocol, &wanted.actions)
        && same_classifier(held, wanted)
        && held.flags & TcFilter::SKIP_SW == 0
}

fn same_classifier(held: &TcFilter, wanted: &TcFilter) -> bool {
    use portcullis_snapshot::TcClassifier::Bpf;
    match (&held.classifier, &wanted.classifier) {
        (Bpf { program: held, .. }, Bpf { program: wanted, .. }) => held.classic == wanted.classic,
        (held, wanted) => held == wanted,
    }
}

pub(super) fn put_filter(netns: &mut Netns, device: IfIndex, clsact: bool, filter: &TcFilter, new: bool) {
    let Some(hooks) = read_mut(&mut netns.filters.tc) else { return };
    let at = |hook: &TcHook| hook.device == device && hook.hook == TcHookKind::Ingress;
    if new && clsact {
        let (qdisc, block) = ("clsact".to_owned(), None);
        let (filters, u32_tables) = (Vec::new(), Vec::new());
        hooks.push(TcHook { device, hook: TcHookKind::Ingress, qdisc, block, filters, u32_tables });
    }
    let place = |filter: &TcFilter| (filter.chain, filter.priority);
    if let Some(hook) = hooks.iter_mut().find(|hook| at(hook)) {
        hook.filters.retain(|held| place(held) != place(filter));
        if new {
            let at = hook.filters.partition_point(|held| place(held) < place(filter));
            hook.filters.insert(at, filter.clone());
        }
    }
    if !new && clsact {
        hooks.retain(|hook| !at(hook));
    }
}
