//! How things stand with a change that was begun: what of it is in the kernel, and whether it is ours to take back.

use portcullis_plan::{Change, ConfAt, Ruleset, State, local_rule};
use portcullis_snapshot::{LinkKind, Netns, Reading, TcHookKind, Unread, UnreadCause, VlanId};

use crate::live::on_devices_that_are;

/// How things stand with a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is made.
    Made,
    /// A part of it is made: whoever made it was stopped in the middle.
    Partly,
    /// It is not made.
    NotMade,
    /// What it was about is gone, and the change with it.
    Gone,
    /// Somebody else was there since. In words.
    Changed(String),
    /// It is not to be seen now. In words.
    Unseen(String),
}

impl Standing {
    /// Tells how things stand with a change.
    #[must_use]
    pub fn of(change: &Change, netns: &Netns) -> Self {
        if let Some(why) = unread(change, netns) {
            return Self::Unseen(why.reason.clone());
        }
        if change.device().is_some_and(|device| netns.link(device.index).is_none()) {
            return Self::Gone;
        }
        match change.state(netns) {
            State::Before => Self::NotMade,
            State::After => Self::Made,
            State::Other(found) => refine(change, netns, found),
        }
    }
}

/// Tells why what a change is about was not read, if it was not. What the kernel does not have at all is as good as read.
fn unread<'n>(change: &Change, netns: &'n Netns) -> Option<&'n Unread> {
    const fn of<T>(reading: &Reading<T>) -> Option<&Unread> {
        reading.unread()
    }
    let filters = &netns.filters;
    let why = of(&netns.links).or(match change {
        Change::LeaveVlans { .. } => of(&netns.vlans),
        Change::Ipv4 { at: ConfAt::Default, .. } => of(&netns.ipv4),
        Change::Ipv6 { at: ConfAt::Default, .. } => of(&netns.ipv6),
        Change::LocalEntry { .. } | Change::StaticEntry { .. } => of(&netns.fdb),
        Change::Table { .. } => of(&filters.nft_tables).or(of(&filters.nft_chains)),
        Change::Filter { .. } => of(&filters.tc),
        Change::Rule(_) | Change::LocalRule { .. } => of(&netns.rules),
        Change::Bridge { .. }
        | Change::Port { .. }
        | Change::Ipv4 { .. }
        | Change::Ipv6 { .. }
        | Change::ArpOff { .. } => None,
    });
    why.filter(|why| why.cause != UnreadCause::Unsupported)
}

/// Looks closer at a state that is neither the one before nor the one after.
fn refine(change: &Change, netns: &Netns, found: String) -> Standing {
    let link = change.device().and_then(|device| device.find(netns));
    if change.device().is_some() && link.is_none() {
        return Standing::Changed(found);
    }
    match change {
        // With the bridge it left its settings there, and its entries.
        Change::Port { .. } | Change::StaticEntry { .. }
            if link.is_some_and(|link| link.bridge_port().is_none()) =>
        {
            Standing::Gone
        }
        Change::LeaveVlans { bridge, from, to, flags } => {
            let is_bridge = link.is_some_and(|link| matches!(link.kind, LinkKind::Bridge(_)));
            let table = netns.vlans.known().iter().find(|table| table.device == bridge.index);
            let own = |id| table.and_then(|table| table.get(VlanId::new(id)?)).map(|entry| entry.flags);
            let ours = (from.get()..=to.get()).all(|id| own(id).is_none_or(|held| held == *flags));
            if is_bridge && ours { Standing::Partly } else { Standing::Changed(found) }
        }
        Change::Table { from, to } => table(from.as_ref(), to, netns, found),
        Change::Filter { device, clsact, filter } => {
            let hooks = || netns.filters.tc.known().iter().filter(|hook| hook.device == device.index);
            let Some(hook) = hooks().find(|hook| hook.hook == TcHookKind::Ingress) else {
                return Standing::NotMade;
            };
            let place = (filter.chain, filter.priority);
            if hook.filters.iter().any(|held| (held.chain, held.priority) == place) {
                Standing::Changed(found)
            } else if *clsact && hook.qdisc == "clsact" && hooks().all(|hook| hook.filters.is_empty()) {
                Standing::Partly
            } else {
                Standing::NotMade
            }
        }
        Change::LocalRule { ipv6, to } => {
            let at = |priority| netns.rules.known().contains(&local_rule(*ipv6, priority));
            if at(0) && at(*to) { Standing::Partly } else { Standing::Changed(found) }
        }
        _ => Standing::Changed(found),
    }
}

/// A table of that name is Portcullis's own, whatever has become of it.
fn table(from: Option<&Ruleset>, to: &Ruleset, netns: &Netns, found: String) -> Standing {
    let (family, name) = (to.table.family, &to.table.name);
    let mut tables = netns.filters.nft_tables.known().iter();
    if !tables.any(|table| table.family == family && table.name == *name) {
        return Standing::Changed(found);
    }
    // The kernel takes devices out of it that go, and what is put back is without them too.
    let from = from.map(|from| on_devices_that_are(from, netns));
    let to = on_devices_that_are(to, netns);
    if from.as_ref() == Some(&to) || (Change::Table { from, to }).state(netns) == State::Before {
        return Standing::NotMade;
    }
    Standing::Made
}
