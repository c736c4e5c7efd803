//! The host's routing: policy rules and tables, for both families.
//!
//! A table is a partition of addresses by longest prefix, so that a lookup is one question to the frame.

use std::collections::HashMap;

use ipnet::IpNet;
use portcullis_snapshot::{IfIndex, Netns, PolicyRule, Reading, Route};

use crate::frame::{Partition, Set};

/// Table 255, the host's own addresses.
pub const RT_TABLE_LOCAL: u32 = 255;
/// Table 254.
pub const RT_TABLE_MAIN: u32 = 254;
/// Table 253.
pub const RT_TABLE_DEFAULT: u32 = 253;

/// The routing of one namespace.
#[derive(Debug)]
pub struct Fib<'s> {
    ipv4: FamilyFib<'s>,
    ipv6: FamilyFib<'s>,
    /// Why routes or rules are missing, if they are.
    unread: Option<String>,
}

/// The routing of one family.
#[derive(Debug, Default)]
pub struct FamilyFib<'s> {
    rules: Vec<&'s PolicyRule>,
    tables: HashMap<u32, FibTable<'s>>,
}

/// One routing table.
#[derive(Debug, Default)]
pub struct FibTable<'s> {
    /// Entries for one prefix each, longest first.
    entries: Vec<FibEntry<'s>>,
    /// For each length, longest first, where a network's entry is.
    lengths: Vec<(u8, HashMap<u128, usize>)>,
    /// The first of an entry's routes by each device. Every interface has a route of its own for the same few IPv6
    /// prefixes.
    by_device: HashMap<(usize, IfIndex), usize>,
    /// The entries that have a route by a device, and those that have one by none.
    of_device: HashMap<Option<IfIndex>, Vec<usize>>,
}

/// A table as a lookup sees it: as a whole, or only what goes by a device, or by none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'t, 's> {
    table: &'t FibTable<'s>,
    by: Option<IfIndex>,
}

#[derive(Debug)]
struct FibEntry<'s> {
    net: IpNet,
    /// The routes for it, best first.
    routes: Vec<&'s Route>,
    /// The first of them that goes by no device.
    by_none: Option<usize>,
}

impl<'s> Fib<'s> {
    pub(super) fn new(netns: &'s Netns) -> Self {
        let mut fib = Self { ipv4: FamilyFib::default(), ipv6: FamilyFib::default(), unread: None };
        match &netns.routes {
            Reading::Read(routes) => fib.take_routes(routes),
            Reading::Unread(why) => fib.unread = Some(format!("routes were not read: {}", why.reason)),
        }
        match &netns.rules {
            Reading::Read(rules) => {
                for rule in rules {
                    let family = if rule.ipv6 { &mut fib.ipv6 } else { &mut fib.ipv4 };
                    family.rules.push(rule);
                }
            }
            Reading::Unread(why) => fib.unread = Some(format!("policy rules were not read: {}", why.reason)),
        }
        fib
    }

    fn take_routes(&mut self, routes: &'s [Route]) {
        let mut sorted: Vec<_> = routes.iter().collect();
        // Longest prefix first, then the lowest metric.
        sorted.sort_by_key(|route| {
            (std::cmp::Reverse(route.destination.prefix_len()), route.metric.unwrap_or(0))
        });
        for route in sorted {
            let family = if route.destination.addr().is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 };
            family.tables.entry(route.table).or_default().push(route);
        }
    }

    /// Returns the routing of a family.
    #[must_use]
    pub const fn family(&self, ipv6: bool) -> &FamilyFib<'s> {
        if ipv6 { &self.ipv6 } else { &self.ipv4 }
    }

    /// Whether looking for own addresses is not enough to judge a source: there are custom rules, or local routes that
    /// the kernel did not put there (`fib_has_custom_local_routes`).
    #[must_use]
    pub fn ipv4_needs_full_check(&self) -> bool {
        const RTPROT_KERNEL: u8 = 2;
        let local = self.ipv4.table(RT_TABLE_LOCAL);
        let custom = local.is_some_and(|table| {
            let mut routes = table.entries.iter().flat_map(|entry| &entry.routes);
            routes.any(|route| route.kind == 2 && route.protocol != RTPROT_KERNEL)
        });
        custom || self.ipv4.has_custom_rules()
    }

    /// Returns why routes or rules are missing, if they are.
    #[must_use]
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }
}

impl<'s> FamilyFib<'s> {
    /// Returns the policy rules, in the order of priority.
    #[must_use]
    pub fn rules(&self) -> &[&'s PolicyRule] {
        &self.rules
    }

    /// Returns a table, if it has any routes.
    #[must_use]
    pub fn table(&self, id: u32) -> Option<&FibTable<'s>> {
        self.tables.get(&id)
    }

    /// Whether there is any rule beside the three that every namespace has (`fib4_has_custom_rules`).
    #[must_use]
    pub fn has_custom_rules(&self) -> bool {
        let standard = |rule: &&PolicyRule| {
            let table = matches!(rule.table, RT_TABLE_LOCAL | RT_TABLE_MAIN | RT_TABLE_DEFAULT);
            rule.action == 1 && table && rule.iif.is_none() && rule.oif.is_none() && rule.source.is_none()
        };
        self.rules.len() > 3 || !self.rules.iter().all(standard)
    }
}

impl<'s> FibTable<'s> {
    fn push(&mut self, route: &'s Route) {
        let net = route.destination;
        let length = net.prefix_len();
        if self.lengths.last().is_none_or(|(last, _)| *last != length) {
            self.lengths.push((length, HashMap::new()));
        }
        let Some((_, networks)) = self.lengths.last_mut() else { return };
        let at = *networks.entry(network(net)).or_insert_with(|| {
            self.entries.push(FibEntry { net, routes: Vec::new(), by_none: None });
            self.entries.len() - 1
        });
        let Some(entry) = self.entries.get_mut(at) else { return };
        let place = entry.routes.len();
        for device in route.nexthops.iter().filter_map(|hop| hop.device) {
            self.by_device.entry((at, device)).or_insert_with(|| {
                self.of_device.entry(Some(device)).or_default().push(at);
                place
            });
        }
        if route.nexthops.is_empty() && entry.by_none.is_none() {
            entry.by_none = Some(place);
            self.of_device.entry(None).or_default().push(at);
        }
        entry.routes.push(route);
    }

    /// Returns the table as it is to a lookup that may ask for a device.
    pub(crate) const fn seen(&self, by: Option<IfIndex>) -> Seen<'_, 's> {
        Seen { table: self, by }
    }
}

fn network(net: IpNet) -> u128 {
    match net {
        IpNet::V4(net) => u32::from(net.network()).into(),
        IpNet::V6(net) => net.network().into(),
    }
}

fn mask(length: u8, bits: u8) -> u128 {
    let ones = if bits == 32 { u128::from(u32::MAX) } else { u128::MAX };
    ones & !ones.checked_shr(length.into()).unwrap_or(0)
}

impl<'s> Seen<'_, 's> {
    /// Returns the best route of a class.
    pub(crate) fn best(&self, class: usize) -> Option<&'s Route> {
        let entry = self.table.entries.get(class)?;
        entry.routes.get(self.place(class, entry)?).copied()
    }

    fn place(&self, class: usize, entry: &FibEntry<'_>) -> Option<usize> {
        let Some(device) = self.by else { return Some(0) };
        self.table.by_device.get(&(class, device)).copied().into_iter().chain(entry.by_none).min()
    }

    /// The classes, longer prefixes first.
    fn classes(&self) -> Vec<usize> {
        let Some(device) = self.by else { return (0..self.table.entries.len()).collect() };
        let of = |by| self.table.of_device.get(&by).into_iter().flatten().copied();
        let mut classes: Vec<_> = of(Some(device)).chain(of(None)).collect();
        // Networks of one length have nothing in common.
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

/// A class is a network and what lies in it. Where the longest has no route by the device, a shorter one may (`fib6_backtrack`,
/// and label `backtrace` of `fib_table_lookup`).
impl Partition for Seen<'_, '_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        let entries = &self.table.entries;
        let bits = if entries.first()?.net.addr().is_ipv4() { 32 } else { 128 };
        self.table.lengths.iter().find_map(|(length, networks)| {
            let class = networks.get(&(value & mask(*length, bits))).copied()?;
            self.place(class, entries.get(class)?).map(|_| class)
        })
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for class in self.classes() {
            let set = match self.table.entries.get(class).map(|entry| entry.net) {
                Some(IpNet::V4(net)) => net.into(),
                Some(IpNet::V6(net)) => net.into(),
                None => continue,
            };
            each(class, set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_both_families() {
        assert_eq!(mask(24, 32), 0xffff_ff00);
        assert_eq!(mask(0, 32), 0);
        assert_eq!(mask(32, 32), 0xffff_ffff);
        assert_eq!(mask(64, 128), u128::MAX << 64);
        assert_eq!(mask(128, 128), u128::MAX);
        assert_eq!(mask(0, 128), 0);
    }
}
