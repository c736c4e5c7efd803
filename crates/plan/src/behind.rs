//! Who is behind a bridge device without being the host: another product's guests.

use portcullis_audit::Policy;
use portcullis_snapshot::{IfIndex, Link, LinkKind, MacAddr, Netns};

use crate::Change;

/// The addresses behind a bridge device that are not its own: those of macvlans of this namespace, and those that the policy
/// states for a port of the bridge device's name. Bridges learn nothing of what comes by their own device.
pub(crate) fn behind(netns: &Netns, policy: &Policy, bridge: &Link) -> Vec<MacAddr> {
    let links = netns.links.known().iter();
    let above = links.filter(|link| link.link == Some(bridge.index) && link.link_netns.is_none());
    let macvlans = above.filter(|link| matches!(link.kind, LinkKind::Macvlan(_)));
    let names = std::iter::once(&bridge.name).chain(&bridge.altnames).map(String::as_str);
    let stated = policy.port(&netns.label(), &bridge.name, names).mac.unwrap_or_default();
    let mut all: Vec<_> = macvlans.filter_map(|link| link.address).chain(stated).collect();
    all.sort();
    all.dedup();
    all.retain(|address| Some(*address) != bridge.address);
    all
}

/// The entries that `local-fdb` would make today, bridge by bridge.
///
/// One for an address that is somewhere else now keeps everybody from it: the host takes what is for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BehindBridges(Vec<(IfIndex, Vec<MacAddr>)>);

impl BehindBridges {
    /// Looks at every bridge of a namespace.
    #[must_use]
    pub fn of(netns: &Netns, policy: &Policy) -> Self {
        let bridge = |link: &Link| (link.index, behind(netns, policy, link));
        Self(netns.bridges().map(bridge).collect())
    }

    /// Whether a change is an entry for an address that is there no more.
    #[must_use]
    pub fn outdates(&self, change: &Change) -> bool {
        let Change::LocalEntry { bridge, address } = change else { return false };
        let known = self.0.iter().find(|(index, _)| *index == bridge.index);
        known.is_some_and(|(_, known)| !known.contains(address))
    }
}
