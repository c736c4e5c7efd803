//! One thing that is different afterwards, and what it comes to in a snapshot.

use std::fmt;

use portcullis_snapshot::{
    BridgeOptions, FdbEntry, IfIndex, Ipv4Conf, Ipv6Conf, Link, LinkFlags, LinkKind, MacAddr, Netns,
    NftBaseChain, NftFamily, NftTable, PolicyRule, PortKind, PortOptions, PortState, Reading, TcFilter,
    TcHook, TcHookKind, UnreadCause, VlanEntry, VlanFlags, VlanId, VlanTable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::{ConfAt, Device};
use crate::option::{BridgeOption, PortOption};

/// The name of the tables of nftables that are Portcullis's own, one in each family. No other is touched.
pub const TABLE: &str = "portcullis";

/// A change: where it is, how that was, how it will be. Made only where the old state still is, taken back only where the
/// new one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// An option of a bridge.
    Bridge {
        /// The bridge.
        bridge: Device,
        /// Which.
        option: BridgeOption,
        /// As it was.
        from: u32,
        /// As it will be.
        to: u32,
    },
    /// An option of a bridge port.
    Port {
        /// The port.
        port: Device,
        /// Which.
        option: PortOption,
        /// As it was.
        from: u32,
        /// As it will be.
        to: u32,
    },
    /// The bridge device leaves VLANs.
    LeaveVlans {
        /// The bridge.
        bridge: Device,
        /// The first of them.
        from: VlanId,
        /// The last.
        to: VlanId,
        /// What it was there (`BRIDGE_VLAN_INFO_*`).
        flags: VlanFlags,
    },
    /// An IPv4 setting of an interface (`/proc/sys/net/ipv4/conf`).
    Ipv4 {
        /// Whose.
        at: ConfAt,
        /// Its sysctl's name.
        setting: String,
        /// As it was.
        from: i32,
        /// As it will be.
        to: i32,
    },
    /// An IPv6 setting of an interface (`/proc/sys/net/ipv6/conf`).
    Ipv6 {
        /// Whose.
        at: ConfAt,
        /// Its sysctl's name.
        setting: String,
        /// As it was.
        from: i32,
        /// As it will be.
        to: i32,
    },
    /// A device speaks no ARP from now on (`IFF_NOARP`).
    ArpOff {
        /// The device.
        device: Device,
    },
    /// A local FDB entry of the bridge device: what is for the address is passed up and goes nowhere else.
    LocalEntry {
        /// The bridge.
        bridge: Device,
        /// The address.
        address: MacAddr,
    },
    /// A static FDB entry: the address is behind this port and nowhere else.
    StaticEntry {
        /// The port.
        port: Device,
        /// The address.
        address: MacAddr,
        /// Its VLAN; `None` for vid 0.
        vlan: Option<VlanId>,
        /// Whether no other port may take it over by a frame (`NTF_STICKY`).
        sticky: bool,
    },
    /// A table of nftables, in one transaction. Its name is [`TABLE`].
    Table {
        /// What is in the table's place now.
        from: Option<Ruleset>,
        /// What will be.
        to: Ruleset,
    },
    /// A filter of tc on the way in of a device, with the queueing discipline that holds it.
    Filter {
        /// The device.
        device: Device,
        /// Whether `clsact` has to be made first, and goes away with the filter.
        clsact: bool,
        /// The filter.
        filter: TcFilter,
    },
    /// A policy rule.
    Rule(PolicyRule),
    /// The rule that looks local addresses up moves from the front (priority 0) to this priority, so that others can
    /// stand before it.
    LocalRule {
        /// Whether it is the one of IPv6.
        ipv6: bool,
        /// Where to.
        to: u32,
    },
}

/// A table of nftables, and where its chains hook in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// The table.
    pub table: NftTable,
    /// Its base chains.
    pub bases: Vec<NftBaseChain>,
    /// The same in `nft`'s words, for people; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
}

/// How things are, as far as a change is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As before it.
    Before,
    /// As after it.
    After,
    /// Neither: somebody else was there. In words.
    Other(String),
}

/// Why a change cannot be made, or taken back, in the state that there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{change}: {found}")]
pub struct Clash {
    /// The change, in words.
    pub change: String,
    /// What was found instead.
    pub found: String,
}

impl Change {
    /// Tells how things are.
    #[must_use]
    pub fn state(&self, netns: &Netns) -> State {
        self.look(netns).unwrap_or_else(State::Other)
    }

    /// Makes the change in a copy of the kernel's state.
    ///
    /// # Errors
    /// If the old state is not there.
    pub fn make(&self, netns: &mut Netns) -> Result<(), Clash> {
        match self.state(netns) {
            State::Before => {
                self.put(netns, true);
                Ok(())
            }
            State::After => Err(self.clash("it is so already".to_owned())),
            State::Other(found) => Err(self.clash(found)),
        }
    }

    /// Takes the change back in a copy of the kernel's state.
    ///
    /// # Errors
    /// If the new state is not there.
    pub fn take_back(&self, netns: &mut Netns) -> Result<(), Clash> {
        match self.state(netns) {
            State::After => {
                self.put(netns, false);
                Ok(())
            }
            State::Before => Err(self.clash("it was never made".to_owned())),
            State::Other(found) => Err(self.clash(found)),
        }
    }

    fn clash(&self, found: String) -> Clash {
        Clash { change: self.to_string(), found }
    }

    /// Returns the device that it is about, if it is about one.
    #[must_use]
    pub const fn device(&self) -> Option<&Device> {
        match self {
            Self::Bridge { bridge: device, .. }
            | Self::Port { port: device, .. }
            | Self::LeaveVlans { bridge: device, .. }
            | Self::Ipv4 { at: ConfAt::Device(device), .. }
            | Self::Ipv6 { at: ConfAt::Device(device), .. }
            | Self::ArpOff { device }
            | Self::LocalEntry { bridge: device, .. }
            | Self::StaticEntry { port: device, .. }
            | Self::Filter { device, .. } => Some(device),
            Self::Ipv4 { .. }
            | Self::Ipv6 { .. }
            | Self::Table { .. }
            | Self::Rule(_)
            | Self::LocalRule { .. } => None,
        }
    }

    fn look(&self, netns: &Netns) -> Result<State, String> {
        match self {
            Self::Bridge { bridge, option, from, to } => {
                let options = the(bridge, netns)?.bridge().ok_or("it is no bridge any more")?;
                number(option.get(options), *from, *to)
            }
            Self::Port { port, option, from, to } => {
                let options = the(port, netns)?.bridge_port().ok_or("it is no bridge port any more")?;
                number(option.get(options), *from, *to)
            }
            Self::LeaveVlans { bridge, from, to, flags } => {
                the(bridge, netns)?;
                vlans(netns, bridge.index, (*from, *to), *flags)
            }
            Self::Ipv4 { at, setting, from, to } => {
                let held = match at {
                    ConfAt::Device(device) => the(device, netns)?.ipv4.as_ref(),
                    ConfAt::Default => netns.ipv4.read().map(|conf| &conf.default),
                };
                number(held.and_then(|conf: &Ipv4Conf| conf.get(setting)), *from, *to)
            }
            Self::Ipv6 { at, setting, from, to } => {
                let held = match at {
                    ConfAt::Device(device) => the(device, netns)?.ipv6.as_ref(),
                    ConfAt::Default => netns.ipv6.read().map(|conf| &conf.default),
                };
                number(held.and_then(|conf: &Ipv6Conf| conf.get(setting)), *from, *to)
            }
            Self::ArpOff { device } => Ok(after_if(the(device, netns)?.flags.has(LinkFlags::NOARP))),
            Self::LocalEntry { bridge, .. } => {
                the(bridge, netns)?;
                self.entry(netns, bridge.index)
            }
            Self::StaticEntry { port, .. } => {
                the(port, netns)?;
                self.entry(netns, port.index)
            }
            Self::Table { from, to } => {
                let held = ruleset(netns, to)?;
                Ok(match held {
                    held if alike(held.as_ref(), Some(to)) => State::After,
                    held if alike(held.as_ref(), from.as_ref()) => State::Before,
                    Some(_) => State::Other(format!("the table {TABLE} is another")),
                    None => State::Other(format!("the table {TABLE} is gone")),
                })
            }
            Self::Filter { device, clsact, filter } => {
                the(device, netns)?;
                tc(netns, device.index, *clsact, filter)
            }
            Self::Rule(rule) => Ok(after_if(read(&netns.rules)?.contains(rule))),
            Self::LocalRule { ipv6, to } => {
                let at = |priority| is_local_rule(*ipv6, priority);
                let rules = read(&netns.rules)?;
                // What the kernel is told to take away may be more than is named, never less (rule_find).
                let plain = |priority| local_rule(*ipv6, priority);
                let narrower = |rule: &PolicyRule| {
                    let wide = plain(rule.priority);
                    *rule != wide
                        && [0, *to].contains(&rule.priority)
                        && (rule.ipv6, rule.action, rule.table) == (wide.ipv6, wide.action, wide.table)
                };
                if rules.iter().any(narrower) {
                    return Err("there is a rule like it, for some packets only".to_owned());
                }
                match (rules.iter().any(at(0)), rules.iter().any(at(*to))) {
                    (true, false) => Ok(State::Before),
                    (false, true) => Ok(State::After),
                    (true, true) => Err("there are two rules that look local addresses up".to_owned()),
                    (false, false) => Err("the rule that looks local addresses up is elsewhere".to_owned()),
                }
            }
        }
    }

    /// Whether the entry of an FDB change is there.
    fn entry(&self, netns: &Netns, device: IfIndex) -> Result<State, String> {
        let Some(wanted) = self.fdb_entry(netns) else { return Err("the bridge is gone".to_owned()) };
        let entries = read(&netns.fdb)?.iter();
        let held: Vec<_> = entries
            .filter(|entry| entry.bridge == wanted.bridge && entry.vlan == wanted.vlan)
            .filter(|entry| entry.address == wanted.address)
            .collect();
        let same = |entry: &&FdbEntry| {
            entry.device == device && (entry.state, entry.flags) == (wanted.state, wanted.flags)
        };
        match held.iter().find(|entry| entry.state & (FdbState::NOARP | FdbState::PERMANENT) != 0) {
            // What was learned gives way.
            None => Ok(State::Before),
            Some(entry) if same(entry) => Ok(State::After),
            Some(entry) => {
                Err(format!("there is an entry for {} on interface {}", entry.address, entry.device))
            }
        }
    }

    /// Returns the FDB entry that the change makes, as the kernel tells it: without the flag that says whose table it is in
    /// (`fdb_fill_info`).
    fn fdb_entry(&self, netns: &Netns) -> Option<FdbEntry> {
        let (device, bridge, address, vlan, state, flags) = match self {
            Self::LocalEntry { bridge, address } => {
                (bridge.index, bridge.index, *address, None, FdbState::PERMANENT, 0)
            }
            Self::StaticEntry { port, address, vlan, sticky } => {
                let sticky = if *sticky { FdbState::STICKY } else { 0 };
                let bridge = netns.link(port.index)?.master?;
                (port.index, bridge, *address, *vlan, FdbState::NOARP, sticky)
            }
            _ => return None,
        };
        Some(FdbEntry {
            device,
            bridge: Some(bridge),
            address,
            vlan,
            state,
            flags,
            flags_ext: 0,
            used: Some(0),
            updated: Some(0),
            remote: None,
            unknown: Vec::new(),
        })
    }

    /// Writes the new state, or the old one.
    fn put(&self, netns: &mut Netns, new: bool) {
        match self {
            Self::Bridge { bridge, option, from, to } => {
                if let Some(options) = link_mut(netns, bridge.index).and_then(bridge_options) {
                    option.set(options, if new { *to } else { *from });
                }
            }
            Self::Port { port, option, from, to } => {
                if let Some(options) = link_mut(netns, port.index).and_then(port_options) {
                    option.set(options, if new { *to } else { *from });
                }
            }
            Self::LeaveVlans { bridge, from, to, flags } => {
                put_vlans(netns, bridge.index, (*from, *to), (!new).then_some(*flags));
            }
            Self::Ipv4 { at, setting, from, to } => {
                let held = match at {
                    ConfAt::Device(device) => {
                        link_mut(netns, device.index).and_then(|link| link.ipv4.as_mut())
                    }
                    ConfAt::Default => read_mut(&mut netns.ipv4).map(|conf| &mut conf.default),
                };
                held.map(|conf| conf.set(setting, if new { *to } else { *from }));
            }
            Self::Ipv6 { at, setting, from, to } => {
                let held = match at {
                    ConfAt::Device(device) => {
                        link_mut(netns, device.index).and_then(|link| link.ipv6.as_mut())
                    }
                    ConfAt::Default => read_mut(&mut netns.ipv6).map(|conf| &mut conf.default),
                };
                held.map(|conf| conf.set(setting, if new { *to } else { *from }));
            }
            Self::ArpOff { device } => {
                if let Some(link) = link_mut(netns, device.index) {
                    link.flags.0 =
                        if new { link.flags.0 | LinkFlags::NOARP } else { link.flags.0 & !LinkFlags::NOARP };
                }
            }
            Self::LocalEntry { .. } | Self::StaticEntry { .. } => {
                let Some(entry) = self.fdb_entry(netns) else { return };
                let Some(entries) = read_mut(&mut netns.fdb) else { return };
                let key = |entry: &FdbEntry| (entry.bridge, entry.vlan, entry.address);
                entries.retain(|held| key(held) != key(&entry));
                if new {
                    entries.push(entry);
                }
            }
            Self::Table { from, to } => {
                put_ruleset(netns, to, if new { Some(to) } else { from.as_ref() });
            }
            Self::Filter { device, clsact, filter } => put_filter(netns, device.index, *clsact, filter, new),
            Self::Rule(rule) => {
                let Some(rules) = read_mut(&mut netns.rules) else { return };
                rules.retain(|held| held != rule);
                if new {
                    let at = rules
                        .partition_point(|held| (held.ipv6, held.priority) <= (rule.ipv6, rule.priority));
                    rules.insert(at, rule.clone());
                }
            }
            Self::LocalRule { ipv6, to } => {
                let Some(rules) = read_mut(&mut netns.rules) else { return };
                let (was, is) = if new { (0, *to) } else { (*to, 0) };
                if let Some(rule) = rules.iter_mut().find(|rule| is_local_rule(*ipv6, was)(rule)) {
                    rule.priority = is;
                }
                rules.sort_by_key(|rule| (rule.ipv6, rule.priority));
            }
        }
    }
}

/// `NUD_*` and `NTF_*` of FDB entries.
struct FdbState;

impl FdbState {
    const NOARP: u16 = 0x40;
    const PERMANENT: u16 = 0x80;
    const STICKY: u8 = 0x40;
}

fn the<'n>(device: &Device, netns: &'n Netns) -> Result<&'n Link, String> {
    device.find(netns).ok_or_else(|| format!("{device} is gone, or another device"))
}

const fn after_if(is: bool) -> State {
    if is { State::After } else { State::Before }
}

fn number<T: PartialEq + fmt::Display>(held: Option<T>, from: T, to: T) -> Result<State, String> {
    match held {
        Some(held) if held == to => Ok(State::After),
        Some(held) if held == from => Ok(State::Before),
        Some(held) => Err(format!("it is {held} now")),
        None => Err("this kernel does not have it".to_owned()),
    }
}

fn read<T>(reading: &Reading<Vec<T>>) -> Result<&[T], String> {
    match reading {
        Reading::Read(all) => Ok(all),
        Reading::Unread(why) if why.cause == UnreadCause::Unsupported => Ok(&[]),
        Reading::Unread(why) => Err(why.reason.clone()),
    }
}

/// What of a reading can be changed. What the kernel does not have yet begins empty: a change may bring it.
fn read_mut<T: Default>(reading: &mut Reading<T>) -> Option<&mut T> {
    if let Reading::Unread(why) = reading
        && why.cause == UnreadCause::Unsupported
    {
        *reading = Reading::Read(T::default());
    }
    match reading {
        Reading::Read(value) => Some(value),
        Reading::Unread(_) => None,
    }
}

fn link_mut(netns: &mut Netns, device: IfIndex) -> Option<&mut Link> {
    match &mut netns.links {
        Reading::Read(links) => {
            let at = links.binary_search_by_key(&device, |link| link.index).ok()?;
            links.get_mut(at)
        }
        Reading::Unread(_) => None,
    }
}

fn bridge_options(link: &mut Link) -> Option<&mut BridgeOptions> {
    match &mut link.kind {
        LinkKind::Bridge(options) => Some(options),
        _ => None,
    }
}

fn port_options(link: &mut Link) -> Option<&mut PortOptions> {
    match &mut link.port {
        Some(PortKind::Bridge(options)) => Some(options),
        _ => None,
    }
}

/// The rule that looks local addresses up, as the kernel has it from the start, at a priority.
#[must_use]
pub const fn local_rule(ipv6: bool, priority: u32) -> PolicyRule {
    const LOOKUP: u8 = 1;
    const LOCAL: u32 = 255;
    PolicyRule {
        ipv6,
        priority,
        action: LOOKUP,
        table: LOCAL,
        not: false,
        source: None,
        destination: None,
        iif: None,
        oif: None,
        l3mdev: false,
        goto: None,
        suppress_prefixlen: None,
        unknown: Vec::new(),
    }
}

/// Whether a rule is that one. One that is for some packets only is another.
fn is_local_rule(ipv6: bool, priority: u32) -> impl Fn(&PolicyRule) -> bool {
    let wanted = local_rule(ipv6, priority);
    move |rule| *rule == wanted
}

/// Tells whether the bridge device is in all of some VLANs (before), in none of them (after), or in some.
fn vlans(
    netns: &Netns,
    bridge: IfIndex,
    (from, to): (VlanId, VlanId),
    flags: VlanFlags,
) -> Result<State, String> {
    // A device that is in no VLAN has no table.
    let table = read(&netns.vlans)?.iter().find(|table| table.device == bridge);
    let own = |id: u16| table.and_then(|table| table.get(VlanId::new(id)?)).map(|entry| entry.flags);
    let held: Vec<_> = (from.get()..=to.get()).map(own).collect();
    if held.iter().all(Option::is_none) {
        Ok(State::After)
    } else if held.iter().all(|held| *held == Some(flags)) {
        Ok(State::Before)
    } else {
        Err("the bridge device is in some of these VLANs only, or otherwise".to_owned())
    }
}

fn put_vlans(netns: &mut Netns, bridge: IfIndex, range: (VlanId, VlanId), flags: Option<VlanFlags>) {
    let Some(tables) = read_mut(&mut netns.vlans) else { return };
    match flags {
        None => leave_vlans(tables, bridge, range),
        Some(flags) => join_vlans(tables, bridge, range, flags),
    }
}

/// Takes a device out of VLANs. Of an entry for more of them the rest stays.
fn leave_vlans(tables: &mut Vec<VlanTable>, device: IfIndex, (from, to): (VlanId, VlanId)) {
    let below = from.get().checked_sub(1).and_then(VlanId::new);
    let above = to.get().checked_add(1).and_then(VlanId::new);
    let rest = |held: VlanEntry| {
        let lower = below.filter(|below| held.from <= *below).map(|below| (held.from, below.min(held.to)));
        let upper = above.filter(|above| *above <= held.to).map(|above| (above.max(held.from), held.to));
        let part = move |(from, to)| VlanEntry { from, to, ..held.clone() };
        [lower, upper].into_iter().flatten().map(part)
    };
    for table in tables.iter_mut().filter(|table| table.device == device) {
        table.vlans = std::mem::take(&mut table.vlans).into_iter().flat_map(rest).collect();
    }
    // The kernel does not tell of a device that is in no VLAN.
    tables.retain(|table| table.device != device || !table.vlans.is_empty());
}

/// Puts a device into VLANs in which it is not.
fn join_vlans(tables: &mut Vec<VlanTable>, device: IfIndex, (from, to): (VlanId, VlanId), flags: VlanFlags) {
    // What this kernel tells of an entry, any other shows: best one that is alike.
    let mine = tables.iter().filter(|table| table.device == device).flat_map(|table| &table.vlans);
    let others = tables.iter().flat_map(|table| &table.vlans);
    let like = mine.clone().find(|held| held.flags == flags).or(mine.chain(others).next());
    let entry = VlanEntry {
        from,
        to,
        flags,
        state: like.and_then(|like| like.state).map(|_| PortState::Forwarding),
        mcast_router: like.and_then(|like| like.mcast_router),
        neigh_suppress: like.and_then(|like| like.neigh_suppress).map(|_| false),
        tunnel_id: None,
        unknown: Vec::new(),
    };
    let at = tables.partition_point(|table| table.device < device);
    if tables.get(at).is_none_or(|table| table.device != device) {
        tables.insert(at, VlanTable { device, vlans: Vec::new() });
    }
    let Some(table) = tables.get_mut(at) else { return };
    let at = table.vlans.partition_point(|held| held.from < from);
    table.vlans.insert(at, entry);
    // Neighbours that are alike are one entry (br_vlan_can_enter_range).
    table.vlans.dedup_by(|next, held| {
        let (from, to) = (held.from, next.to);
        let one = VlanEntry { from, to, ..next.clone() } == VlanEntry { from, to, ..held.clone() };
        let joins = one && held.to.get() + 1 == next.from.get();
        if joins {
            held.to = to;
        }
        joins
    });
}

/// Returns what is in a ruleset's place.
fn ruleset(netns: &Netns, like: &Ruleset) -> Result<Option<Ruleset>, String> {
    let (family, name) = (like.table.family, like.table.name.as_str());
    let tables = read(&netns.filters.nft_tables)?;
    let Some(table) = tables.iter().find(|table| table.family == family && table.name == name) else {
        return Ok(None);
    };
    let bases = read(&netns.filters.nft_chains)?.iter();
    let bases = bases.filter(|base| base.family == family && base.table == name).cloned().collect();
    Ok(Some(Ruleset { table: table.clone(), bases, text: Vec::new() }))
}

/// Whether two rulesets are the same but for what the kernel numbers itself, and for the order of what has none.
fn alike(held: Option<&Ruleset>, wanted: Option<&Ruleset>) -> bool {
    let (Some(held), Some(wanted)) = (held, wanted) else { return held.is_none() && wanted.is_none() };
    held.without_numbers() == wanted.without_numbers()
}

/// The number that the kernel has for a family (`NFPROTO_*`), for an order.
pub(crate) const fn family_number(family: NftFamily) -> u8 {
    match family {
        NftFamily::Inet => 1,
        NftFamily::Ip => 2,
        NftFamily::Arp => 3,
        NftFamily::Netdev => 5,
        NftFamily::Bridge => 7,
        NftFamily::Ip6 => 10,
        NftFamily::Other(other) => other,
    }
}

impl Ruleset {
    /// Portcullis's own table of a family with nothing in it.
    pub(crate) fn empty(family: NftFamily) -> Self {
        let (name, dormant) = (TABLE.to_owned(), false);
        let table = NftTable { family, name, dormant, chains: Vec::new(), sets: Vec::new() };
        Self { table, bases: Vec::new(), text: Vec::new() }
    }

    /// Returns Portcullis's own table of a family, if it is there.
    #[must_use]
    pub fn own(netns: &Netns, family: NftFamily) -> Option<Self> {
        let is_own = |table: &&NftTable| table.family == family && table.name == TABLE;
        let table = netns.filters.nft_tables.known().iter().find(is_own)?.clone();
        let bases = netns.filters.nft_chains.known().iter();
        let bases = bases.filter(|base| base.family == family && base.table == TABLE).cloned().collect();
        Some(Self { table, bases, text: Vec::new() })
    }

    /// The same without handles, counts and orders that are the kernel's.
    fn without_numbers(&self) -> Self {
        let mut plain = Self { text: Vec::new(), ..self.clone() };
        for rule in plain.table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            rule.handle = 0;
        }
        plain.table.chains.sort_by(|one, other| one.name.cmp(&other.name));
        plain.bases.sort_by(|one, other| one.chain.cmp(&other.chain));
        for base in &mut plain.bases {
            base.devices.sort();
            base.rules = 0;
        }
        plain
    }
}

fn put_ruleset(netns: &mut Netns, place: &Ruleset, ruleset: Option<&Ruleset>) {
    let (family, name) = (place.table.family, place.table.name.as_str());
    if let Some(tables) = read_mut(&mut netns.filters.nft_tables) {
        tables.retain(|table| table.family != family || table.name != name);
        tables.extend(ruleset.map(|ruleset| ruleset.table.clone()));
    }
    if let Some(bases) = read_mut(&mut netns.filters.nft_chains) {
        bases.retain(|base| base.family != family || base.table != name);
        bases.extend(ruleset.iter().flat_map(|ruleset| ruleset.bases.iter().cloned()));
    }
}

/// The hook on the way in of a device, if it has one.
fn hook(hooks: &[TcHook], device: IfIndex) -> Option<&TcHook> {
    hooks.iter().find(|hook| hook.device == device && hook.hook == TcHookKind::Ingress)
}

fn tc(netns: &Netns, device: IfIndex, clsact: bool, filter: &TcFilter) -> Result<State, String> {
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

fn put_filter(netns: &mut Netns, device: IfIndex, clsact: bool, filter: &TcFilter, new: bool) {
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

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge { bridge, option, from, to } => {
                write!(f, "{} of bridge {bridge}: {from} → {to}", option.keyword())
            }
            Self::Port { port, option, from, to } => {
                write!(f, "{} of port {port}: {from} → {to}", option.keyword())
            }
            Self::LeaveVlans { bridge, from, to, .. } if from == to => {
                write!(f, "bridge device {bridge} leaves VLAN {from}")
            }
            Self::LeaveVlans { bridge, from, to, .. } => {
                write!(f, "bridge device {bridge} leaves VLANs {from}-{to}")
            }
            Self::Ipv4 { at, setting, from, to } => write!(f, "net.ipv4.conf.{at}.{setting}: {from} → {to}"),
            Self::Ipv6 { at, setting, from, to } => write!(f, "net.ipv6.conf.{at}.{setting}: {from} → {to}"),
            Self::ArpOff { device } => write!(f, "ARP of {device}: on → off"),
            Self::LocalEntry { bridge, address } => write!(f, "local FDB entry {address} on {bridge}"),
            Self::StaticEntry { port, address, .. } => write!(f, "static FDB entry {address} on {port}"),
            Self::Table { from: None, to } => write!(f, "nftables table {}", Name(to)),
            Self::Table { from: Some(_), to } => {
                write!(f, "nftables table {}, in place of what it is", Name(to))
            }
            Self::Filter { device, filter, .. } => {
                write!(
                    f,
                    "tc ingress of {device}: a {} filter at priority {}",
                    filter.kind(),
                    filter.priority
                )
            }
            Self::Rule(rule) => {
                write!(f, "policy rule at priority {} of {}", rule.priority, family(rule.ipv6))
            }
            Self::LocalRule { ipv6, to } => {
                write!(f, "rule for local addresses of {}: priority 0 → {to}", family(*ipv6))
            }
        }
    }
}

struct Name<'a>(&'a Ruleset);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.0.table;
        let (chains, rules) =
            (table.chains.len(), table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>());
        let counted = |count, noun| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
        let (chains, rules) = (counted(chains, "chain"), counted(rules, "rule"));
        write!(f, "{} {} ({chains}, {rules})", family_word(self.0), table.name)
    }
}

pub(crate) fn family_word(ruleset: &Ruleset) -> &'static str {
    use portcullis_snapshot::NftFamily::{Arp, Bridge, Inet, Ip, Ip6, Netdev, Other};
    match ruleset.table.family {
        Inet => "inet",
        Ip => "ip",
        Ip6 => "ip6",
        Arp => "arp",
        Bridge => "bridge",
        Netdev => "netdev",
        Other(_) => "?",
    }
}

const fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}
