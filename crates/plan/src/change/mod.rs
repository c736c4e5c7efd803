//! One thing that is different afterwards, and what it comes to in a snapshot.

mod filters;
mod tables;
mod vlans;
mod words;

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
use filters::{put_filter, tc};
use tables::{alike, put_ruleset, ruleset};
use vlans::{put_vlans, vlans};

pub(crate) use words::family_word;

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
        let entry = FdbEntry::new(device, Some(bridge), address, state);
        Some(FdbEntry { vlan, flags, used: Some(0), updated: Some(0), ..entry })
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
    PolicyRule::new(ipv6, priority, LOOKUP, LOCAL)
}

/// Whether a rule is that one. One that is for some packets only is another.
fn is_local_rule(ipv6: bool, priority: u32) -> impl Fn(&PolicyRule) -> bool {
    let wanted = local_rule(ipv6, priority);
    move |rule| *rule == wanted
}
