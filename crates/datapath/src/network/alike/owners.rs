//! Which rules, chains and sets are for one device only, and which constants stand in no others.

use std::collections::HashMap;
use std::net::IpAddr;

use portcullis_snapshot::{CmpOp, FdbKind, IfIndex, Link, MacAddr, MdbGroup, Membership, MetaKey};

use super::traits::SOLICITED;
use super::xt::Named;
use crate::network::{Datum, Expr, HookFunction, Network, Rule, Ruleset, Verdict};

/// `IFNAMSIZ`: how long a name is in a register.
const NAME: usize = 16;

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    One(IfIndex),
    /// Of several, or of all.
    Shared,
}

impl Owner {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Shared }
    }

    /// Of what is one device's in something of this owner's.
    fn of(self, device: IfIndex) -> Self {
        if self == Self::Shared { Self::One(device) } else { self }
    }
}

/// A set that a rule looks the device up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ByDevice {
    set: usize,
    /// Whether by its number, and nothing else; else by its name, and what may follow.
    number: bool,
}

/// A mask, and what is to be left by it.
#[derive(Debug, Clone)]
pub(super) struct Masked {
    pub(super) mask: Vec<u8>,
    pub(super) left: Vec<u8>,
    /// Whose rules do so.
    pub(super) of: Owner,
}

/// Something that is one device's among what all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A rule: its table, chain and number, and how many shared ones stand before it.
    Rule { table: usize, chain: usize, at: usize, before: usize, out: bool },
    /// An element of a set: its table, set and number.
    Element { table: usize, set: usize, at: usize },
}

/// Who owns what.
pub(super) struct Owners<'n, 's> {
    network: &'n Network<'s>,
    names: HashMap<[u8; NAME], IfIndex>,
    chains: HashMap<(usize, usize), Owner>,
    sets: HashMap<(usize, usize), Owner>,
    constants: HashMap<Vec<u8>, Owner>,
    /// Of each device the addresses that the FDB has behind it: VLAN, whether static, sticky, locked.
    behind: HashMap<IfIndex, Vec<(u16, [bool; 3], MacAddr)>>,
    /// Of each device the multicast groups that it is a member of, by VLAN.
    groups: HashMap<IfIndex, Vec<(u16, MdbGroup)>>,
    places: HashMap<IfIndex, Vec<Place>>,
    singled_out: Vec<IfIndex>,
    wildcards: Vec<&'s str>,
    /// What rules compare with: what is masked first; masks after which something else is done; bounds.
    pub(super) masked: Vec<Masked>,
    pub(super) masks: Vec<Vec<u8>>,
    pub(super) bounds: Vec<(Vec<u8>, Vec<u8>)>,
    unclear: bool,
}

impl<'n, 's> Owners<'n, 's> {
    pub(super) fn new(network: &'n Network<'s>) -> Self {
        let links = network.netns().links.known().iter();
        let names = links.map(|link| (name_bytes(&link.name), link.index)).collect();
        let mut owners = Self {
            network,
            names,
            chains: HashMap::new(),
            sets: HashMap::new(),
            constants: HashMap::new(),
            behind: HashMap::new(),
            groups: HashMap::new(),
            places: HashMap::new(),
            singled_out: Vec::new(),
            wildcards: Vec::new(),
            masked: Vec::new(),
            masks: Vec::new(),
            bounds: Vec::new(),
            unclear: false,
        };
        owners.find_chains();
        owners.find_sets();
        owners.find_constants();
        owners
    }

    pub(super) fn chain(&self, table: usize, chain: usize) -> Owner {
        self.chains.get(&(table, chain)).copied().unwrap_or(Owner::Shared)
    }

    pub(super) fn set(&self, table: usize, set: usize) -> Owner {
        self.sets.get(&(table, set)).copied().unwrap_or(Owner::Shared)
    }

    /// Whether a constant is this device's only, and in no longer one of others.
    pub(super) fn is_own(&self, constant: &[u8], device: IfIndex) -> bool {
        self.constants.get(constant) == Some(&Owner::One(device))
    }

    /// Returns every constant of every rule.
    pub(super) fn constants(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.constants.keys()
    }

    /// Returns the addresses that are known behind a device, each with where: those of its FDB entries.
    pub(super) fn behind(&self, device: IfIndex) -> &[(u16, [bool; 3], MacAddr)] {
        self.behind.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Returns the multicast groups that a device is a member of, by VLAN.
    pub(super) fn groups(&self, device: IfIndex) -> &[(u16, MdbGroup)] {
        self.groups.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Returns what is a device's own among what all share.
    pub(super) fn places(&self, device: IfIndex) -> &[Place] {
        self.places.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Whether a rule that is for all names this device.
    pub(super) fn singles_out(&self, device: IfIndex) -> bool {
        self.singled_out.contains(&device)
    }

    /// Returns the beginnings of names that rules go by and this name has.
    pub(super) fn wildcards(&self, name: &str) -> Vec<&'s str> {
        self.wildcards.iter().filter(|beginning| name.starts_with(**beginning)).copied().collect()
    }

    /// Whether there are rules of which nobody can tell whose they are.
    pub(super) const fn unclear(&self) -> bool {
        self.unclear
    }

    /// Returns the device that a constant begins with the name of.
    pub(super) fn named(&self, constant: &[u8]) -> Option<IfIndex> {
        self.names.get(constant.first_chunk::<NAME>()?).copied()
    }

    fn rulesets(&self) -> impl Iterator<Item = (usize, &'n Ruleset<'s>)> + use<'n, 's> {
        let hooks = self.network.hooks();
        (0..).map_while(|table| Some((table, hooks.ruleset(table)?)))
    }

    /// The device that alone a rule is for, and whether by the way out: if it asks that first.
    fn guard(&self, rule: &Rule<'_>) -> Option<(IfIndex, bool)> {
        let [Expr::Meta { key, dreg }, Expr::Cmp { sreg, op: CmpOp::Eq, data }, ..] =
            rule.expressions.as_slice()
        else {
            return None;
        };
        let out = is_out(*key)?;
        let device = if is_name(*key) {
            self.names.get(<&[u8; NAME]>::try_from(*data).ok()?).copied()?
        } else {
            IfIndex(u32::from_ne_bytes(<[u8; 4]>::try_from(*data).ok()?))
        };
        (sreg == dreg).then_some((device, out))
    }

    /// The set that a rule looks the device up in.
    fn by_device(rule: &Rule<'_>) -> Option<ByDevice> {
        let mut loaded = None;
        for expression in &rule.expressions {
            match *expression {
                Expr::Meta { key, dreg } if is_name(key) && is_out(key).is_some() => loaded = Some(dreg),
                Expr::Lookup { set, sreg, .. } if loaded == Some(sreg) => {
                    return Some(ByDevice { set, number: false });
                }
                Expr::Payload { .. } => {}
                _ => loaded = None,
            }
        }
        let two = rule.expressions.windows(2);
        let mut sets = two.filter_map(|two| match two {
            [Expr::Meta { key, dreg }, Expr::Lookup { set, sreg, .. }] if is_index(*key) && dreg == sreg => {
                Some(ByDevice { set: *set, number: true })
            }
            _ => None,
        });
        sets.next()
    }

    /// Returns the device that an element of a set is for, whose key is, or begins with, what the rule says.
    fn device_of(&self, key: &[u8], by: ByDevice) -> Option<IfIndex> {
        if !by.number {
            return self.named(key);
        }
        let index = IfIndex(u32::from_ne_bytes(<[u8; 4]>::try_from(key).ok()?));
        self.network.link(index).map(|link| link.index)
    }

    fn find_chains(&mut self) {
        let of_devices = self.bound().into_iter().map(|(chain, devices)| match devices.as_slice() {
            [device] => (chain, Owner::One(*device)),
            _ => (chain, Owner::Shared),
        });
        let mut queue: Vec<_> = of_devices.collect();
        for (table, ruleset) in self.rulesets() {
            let base = self.network.netns().filters.nft_chains.known().iter();
            let ours =
                base.filter(|base| base.family == ruleset.family() && base.table == ruleset.table.name);
            let shared = ours.filter(|base| base.devices.is_empty());
            queue.extend(
                shared.filter_map(|base| Some(((table, ruleset.chain(&base.chain)?), Owner::Shared))),
            );
        }
        while let Some((chain, owner)) = queue.pop() {
            let known = self.chains.get(&chain).copied();
            let now = known.map_or(owner, |known| known.and(owner));
            if known != Some(now) {
                self.chains.insert(chain, now);
                self.leads_to(chain, now, &mut queue);
            }
        }
    }

    /// The devices that base chains of the netdev family are bound to.
    fn bound(&self) -> HashMap<(usize, usize), Vec<IfIndex>> {
        let hooks = self.network.hooks();
        let mut bound: HashMap<(usize, usize), Vec<IfIndex>> = HashMap::new();
        for device in self.network.netns().links.known().iter().map(|link| link.index) {
            for at_hook in hooks.ingress(device).iter().chain(hooks.egress(device)) {
                if let HookFunction::Nft { table, chain, .. } = at_hook.function {
                    bound.entry((table, chain)).or_default().push(device);
                }
            }
        }
        bound
    }

    fn leads_to(
        &self,
        (table, chain): (usize, usize),
        owner: Owner,
        queue: &mut Vec<((usize, usize), Owner)>,
    ) {
        let Some(ruleset) = self.network.hooks().ruleset(table) else { return };
        for rule in ruleset.chains.get(chain).into_iter().flat_map(|chain| &chain.rules) {
            let owner = self.of_rule(owner, rule);
            let by_device = Self::by_device(rule);
            for expression in &rule.expressions {
                match expression {
                    Expr::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => queue.push(((table, *to), owner)),
                    Expr::Lookup { set, .. } => {
                        for range in ruleset.sets.get(*set).into_iter().flat_map(|set| &set.ranges) {
                            if let Datum::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) = range.data {
                                let by = by_device.filter(|by| by.set == *set);
                                let named = by.and_then(|by| self.device_of(&range.from, by));
                                queue.push(((table, to), named.map_or(owner, Owner::One)));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn of_rule(&self, chain: Owner, rule: &Rule<'_>) -> Owner {
        match (chain, self.guard(rule)) {
            (Owner::Shared, Some((device, _))) => Owner::One(device),
            (owner, _) => owner,
        }
    }

    /// Calls `each` with every rule that can be reached, and whose it is.
    fn each_rule(&self, each: &mut dyn FnMut(usize, &'n Ruleset<'s>, &'n Rule<'s>, Owner)) {
        for (table, ruleset) in self.rulesets() {
            for (at, chain) in ruleset.chains.iter().enumerate() {
                let Some(&owner) = self.chains.get(&(table, at)) else { continue };
                chain.rules.iter().for_each(|rule| each(table, ruleset, rule, self.of_rule(owner, rule)));
            }
        }
    }

    fn find_sets(&mut self) {
        let mut sets: HashMap<(usize, usize), Owner> = HashMap::new();
        let mut by_device = Vec::new();
        self.each_rule(&mut |table, _, rule, owner| {
            by_device.extend(Self::by_device(rule).map(|by| (table, by)));
            for expression in &rule.expressions {
                if let Expr::Lookup { set, .. } = expression {
                    let known = sets.entry((table, *set)).or_insert(owner);
                    *known = known.and(owner);
                }
            }
        });
        self.sets = sets;
        by_device.sort_unstable();
        by_device.dedup();
        for (table, by) in by_device {
            let set = by.set;
            let Some(ruleset) = self.network.hooks().ruleset(table) else { continue };
            let ranges = ruleset.sets.get(set).map_or(&[][..], |set| &set.ranges);
            for (at, range) in ranges.iter().enumerate().filter(|(_, range)| range.from == range.to) {
                if let (Some(device), Owner::Shared) = (self.device_of(&range.from, by), self.set(table, set))
                {
                    self.places.entry(device).or_default().push(Place::Element { table, set, at });
                }
            }
        }
        self.find_rules();
    }

    /// The rules of one device in chains of all. Where ways in and ways out are mixed, their order would matter.
    fn find_rules(&mut self) {
        for (table, ruleset) in self.rulesets() {
            for (number, chain) in ruleset.chains.iter().enumerate() {
                if self.chains.get(&(table, number)) != Some(&Owner::Shared) {
                    continue;
                }
                let mut before = 0;
                let mut guards = Vec::new();
                for (at, rule) in chain.rules.iter().enumerate() {
                    match self.guard(rule) {
                        Some((device, out)) => {
                            guards.push((device, Place::Rule { table, chain: number, at, before, out }, out));
                        }
                        None => before += 1,
                    }
                }
                let mixed = guards.iter().any(|guard| guard.2) && guards.iter().any(|guard| !guard.2);
                for (device, place, _) in guards {
                    if mixed {
                        self.singled_out.push(device);
                    }
                    self.places.entry(device).or_default().push(place);
                }
            }
        }
    }

    /// Notes whose a constant is.
    fn note(&mut self, constant: &[u8], owner: Owner) {
        match self.constants.get_mut(constant) {
            Some(known) => *known = known.and(owner),
            None => drop(self.constants.insert(constant.to_vec(), owner)),
        }
    }

    /// The addresses of devices and of what is behind them are theirs: a rule of others that names one tells them apart.
    fn find_addresses(&mut self) {
        let netns = self.network.netns();
        for link in netns.links.known() {
            if let Some(address) = link.address {
                // A bridge takes the address of one of its ports unless it was given another: then it is the bridge's, and
                // frames to it are taken in alike whichever port they come in by (br_stp_recalculate_bridge_id).
                let lent_to = self.bridge_of(link).filter(|bridge| bridge.address == Some(address));
                self.note(&address.0, Owner::One(lent_to.unwrap_or(link).index));
            }
        }
        for address in netns.addresses.known() {
            let owner = Owner::One(address.device);
            match address.address.addr() {
                IpAddr::V4(ip) => self.note(&ip.octets(), owner),
                IpAddr::V6(ip) => self.note(&ip.octets(), owner),
            }
        }
        for entry in netns.fdb.known().iter().filter(|entry| entry.kind() != FdbKind::Local) {
            self.note(&entry.address.0, Owner::One(entry.device));
            let sort = [entry.kind() == FdbKind::Static, entry.is_sticky(), entry.is_locked()];
            let behind = (entry.vlan.map_or(0, Into::into), sort, entry.address);
            self.behind.entry(entry.device).or_default().push(behind);
        }
        self.behind.values_mut().for_each(|behind| behind.sort_unstable());
        for neighbour in netns.neighbours.known() {
            let of_mac = neighbour.mac.and_then(|mac| self.constants.get(&mac.0[..]));
            let owner = of_mac.copied().unwrap_or(Owner::Shared);
            match neighbour.address {
                IpAddr::V4(ip) => self.note(&ip.octets(), owner),
                IpAddr::V6(ip) => self.note(&ip.octets(), owner),
            }
        }
    }

    /// The bridge that a link is a port of.
    pub(super) fn bridge_of(&self, link: &Link) -> Option<&'s Link> {
        link.bridge_port()?;
        self.network.link(link.master?)
    }

    /// A group that one port alone is a member of, and that is made from an address, is what that address is.
    fn find_groups(&mut self) {
        let network = self.network;
        for bridge in network.bridges() {
            for entry in &bridge.groups {
                let owner = Owner::One(entry.port);
                let vid = entry.vlan.map_or(0, Into::into);
                let groups = self.groups.entry(entry.port).or_default();
                if !groups.contains(&(vid, entry.group)) {
                    groups.push((vid, entry.group));
                }
                let [address, mac] = group_octets(entry.group);
                let owner =
                    if self.is_of_one_address(entry.group, entry.port) { owner } else { Owner::Shared };
                self.note(&address, owner);
                self.note(&mac, owner);
            }
        }
        self.groups.values_mut().for_each(|groups| groups.sort_unstable());
    }

    /// Whether a group is a solicited-node one, and none that the host listens to on another device: a bridge is a member of
    /// its own addresses' groups itself.
    fn is_of_one_address(&self, group: MdbGroup, of: IfIndex) -> bool {
        let MdbGroup::Ipv6(group) = group else { return false };
        let listens = |one: &Membership| one.group == IpAddr::V6(group) && one.device != of;
        SOLICITED.contains(&group) && !self.network.netns().memberships.known().iter().any(listens)
    }

    /// The devices whose names stand in a constant behind something else.
    fn names_within(&self, constant: &[u8]) -> impl Iterator<Item = IfIndex> {
        let places = (WORD..constant.len()).step_by(WORD);
        places.filter_map(|at| self.named(constant.get(at..)?))
    }

    fn find_constants(&mut self) {
        let mut found: Vec<(&'n [u8], Owner)> = Vec::new();
        let (mut masked, mut masks) = (Vec::new(), Vec::new());
        let (mut bounds, mut wildcards) = (Vec::new(), Vec::new());
        let mut unclear = false;
        let mut names: Vec<(IfIndex, Owner)> = Vec::new();
        let mut named = Named::default();
        self.each_rule(&mut |table, ruleset, rule, owner| {
            let mut loaded = None;
            let guarded = self.guard(rule).is_some();
            let by_device = Self::by_device(rule);
            for (at, expression) in rule.expressions.iter().enumerate() {
                match expression {
                    Expr::Meta { key, .. } => {
                        // A number of a device within a longer key is not looked for.
                        let looked_up =
                            || matches!(rule.expressions.get(at + 1), Some(Expr::Lookup { set, .. }) if by_device == Some(ByDevice { set: *set, number: true }));
                        unclear |= is_index(*key) && !(guarded && at == 0) && !looked_up();
                        loaded = Some(*key);
                    }
                    Expr::Cmp { data, op, .. } => {
                        match loaded.take() {
                            Some(key) if is_name(key) && data.len() < NAME => {
                                wildcards.extend(str::from_utf8(data).ok());
                            }
                            _ if guarded && at == 1 => {}
                            _ => match self.named(data) {
                                Some(device) => names.push((device, owner)),
                                None => found.push((data, owner)),
                            },
                        }
                        if !matches!(op, CmpOp::Eq | CmpOp::Neq) {
                            bounds.push((data.to_vec(), data.to_vec()));
                        }
                    }
                    Expr::Range { from, to, .. } => bounds.push((from.to_vec(), to.to_vec())),
                    Expr::Bitwise { mask, .. } => match left_by_mask(&rule.expressions, at) {
                        Some(values) => {
                            masked.extend(values.into_iter().map(|left| Masked::new(mask, left, owner)));
                        }
                        None => masks.push(mask.to_vec()),
                    },
                    Expr::Immediate { data, .. } => found.push((data, owner)),
                    Expr::Lookup { set, .. } => {
                        loaded = None;
                        let owner = self.set(table, *set);
                        for range in ruleset.sets.get(*set).into_iter().flat_map(|set| &set.ranges) {
                            let by = by_device.filter(|by| by.set == *set);
                            if by.is_some_and(|by| by.number) {
                                unclear |= range.from != range.to;
                                if let (Datum::Value(value), Some(device)) =
                                    (range.data, by.and_then(|by| self.device_of(&range.from, by)))
                                {
                                    found.push((value, owner.of(device)));
                                }
                                continue;
                            }
                            let named = self.named(&range.from);
                            let owner = match (named, owner) {
                                (Some(device), Owner::Shared) if by.is_some() => Owner::One(device),
                                (Some(device), owner) => {
                                    names.push((device, owner));
                                    owner
                                }
                                (None, owner) => owner,
                            };
                            names
                                .extend(self.names_within(&range.from).map(|device| (device, Owner::Shared)));
                            if range.from == range.to {
                                found.push((without_name(&range.from, named), owner));
                            } else {
                                bounds.push((range.from.to_vec(), range.to.to_vec()));
                            }
                            if let Datum::Value(value) = range.data {
                                found.push((value, owner));
                            }
                        }
                    }
                    Expr::XtMatch(xt) => named.resolved(xt),
                    Expr::XtTarget(target) => named.target(target),
                    _ => {}
                }
            }
        });
        self.network.netns().filters.legacy_tables.known().iter().for_each(|table| named.table(table));
        unclear |= named.unclear;
        let shared = named.masked.iter().map(|(mask, left)| Masked::new(mask, left, Owner::Shared));
        masked.extend(shared);
        bounds.append(&mut named.bounds);
        wildcards.append(&mut named.beginnings);
        // Of a longer bound nobody tells what is in it.
        unclear |= bounds.iter().any(|(from, _)| !matches!(from.len(), 1 | 2 | 4 | 6 | 8 | 16));
        self.find_addresses();
        self.find_groups();
        named.addresses.iter().for_each(|address| self.note(address, Owner::Shared));
        let named = named.devices.into_iter().filter_map(|name| self.names.get(&name_bytes(name)).copied());
        let named: Vec<_> = named.collect();
        self.singled_out.extend(named);
        for (constant, owner) in found {
            self.note(constant, owner);
            // What stands in a longer one is named there, too.
            parts(constant).for_each(|part| self.note(part, owner));
        }
        self.singled_out.extend(
            names.iter().filter(|(device, owner)| *owner != Owner::One(*device)).map(|(device, _)| *device),
        );
        masked.sort_unstable_by(|one, other| one.what().cmp(&other.what()));
        masked.dedup_by(|later, kept| {
            let same = later.what() == kept.what();
            kept.of = if same { kept.of.and(later.of) } else { kept.of };
            same
        });
        masks.sort_unstable();
        masks.dedup();
        bounds.sort_unstable();
        bounds.dedup();
        wildcards.sort_unstable();
        wildcards.dedup();
        (self.masked, self.masks) = (masked, masks);
        (self.bounds, self.wildcards, self.unclear) = (bounds, wildcards, unclear);
    }
}

impl Masked {
    fn new(mask: &[u8], left: &[u8], of: Owner) -> Self {
        Self { mask: mask.to_vec(), left: left.to_vec(), of }
    }

    fn what(&self) -> (&[u8], &[u8]) {
        (&self.mask, &self.left)
    }

    /// Whether a constant is one that the rules are about; `None` if it is of another length.
    pub(super) fn holds(&self, constant: &[u8]) -> Option<bool> {
        let mut of_each = constant.iter().zip(&self.mask).zip(&self.left);
        let same_length = self.mask.len() == constant.len();
        same_length.then(|| of_each.all(|((byte, mask), left)| byte & mask == *left))
    }
}

/// What the result of a mask is compared with, if nothing else is done with it before it is written over.
fn left_by_mask<'s>(expressions: &[Expr<'s>], at: usize) -> Option<Vec<&'s [u8]>> {
    let Expr::Bitwise { dreg: result, mask, xor, .. } = expressions.get(at)? else { return None };
    if xor.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut values = Vec::new();
    for expression in expressions.iter().skip(at + 1) {
        match expression {
            Expr::Cmp { sreg, op: CmpOp::Eq | CmpOp::Neq, data } if sreg == result => {
                values.push((data.len() == mask.len()).then_some(*data)?);
            }
            Expr::Payload { dreg, .. } | Expr::Meta { dreg, .. } if dreg == result => break,
            Expr::Verdict(_) | Expr::Immediate { .. } => {}
            _ => return None,
        }
    }
    Some(values)
}

/// Values in a register begin at multiples of this (`NFT_REG32_SIZE`).
const WORD: usize = 4;
/// How long addresses are: IPv4, MAC, IPv6.
const LENGTHS: [usize; 3] = [4, 6, 16];

/// The addresses that can stand in a longer constant.
pub(super) fn parts(constant: &[u8]) -> impl Iterator<Item = &[u8]> {
    let places = (0..constant.len()).step_by(WORD).filter(|_| constant.len() > 6);
    places.flat_map(move |at| {
        let lengths = LENGTHS.into_iter().filter(|len| *len < constant.len());
        lengths.filter_map(move |len| constant.get(at..at + len))
    })
}

/// What follows a device's name in a constant.
pub(super) fn without_name(constant: &[u8], named: Option<IfIndex>) -> &[u8] {
    if named.is_some() { constant.get(NAME..).unwrap_or_default() } else { constant }
}

/// The address of a multicast group, and the MAC address that frames to it have (`ip_eth_mc_map`, `ipv6_eth_mc_map`).
pub(super) fn group_octets(group: MdbGroup) -> [Vec<u8>; 2] {
    match group {
        MdbGroup::Ipv4(group) => {
            let [_, b, c, d] = group.octets();
            [group.octets().to_vec(), vec![1, 0, 0x5e, b & 0x7f, c, d]]
        }
        MdbGroup::Ipv6(group) => {
            let [.., a, b, c, d] = group.octets();
            [group.octets().to_vec(), vec![0x33, 0x33, a, b, c, d]]
        }
        MdbGroup::Mac(group) => [group.0.to_vec(), group.0.to_vec()],
    }
}

fn name_bytes(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

const fn is_name(key: MetaKey) -> bool {
    matches!(key, MetaKey::IifName | MetaKey::OifName | MetaKey::BriIifName | MetaKey::BriOifName)
}

const fn is_index(key: MetaKey) -> bool {
    matches!(key, MetaKey::Iif | MetaKey::Oif)
}

/// Whether a key is of the device that a packet leaves by; `None` if it is of no device.
const fn is_out(key: MetaKey) -> Option<bool> {
    match key {
        MetaKey::IifName | MetaKey::Iif | MetaKey::BriIifName => Some(false),
        MetaKey::OifName | MetaKey::Oif | MetaKey::BriOifName => Some(true),
        _ => None,
    }
}
