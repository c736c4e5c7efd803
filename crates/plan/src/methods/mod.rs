//! The remedies, each under its name: what it does about a bridge, what it costs, what it leaves open.
//!
//! What a remedy closes is not said here but proven, over the network that it is for.

mod bridge;
mod by_hand;
mod guests;
mod host;

use std::fmt;

use portcullis_audit::{BridgeView, Context, PortView, RuleId};
use portcullis_snapshot::{Link, NftFamily};

use crate::change::{Change, Ruleset};
use crate::device::{ConfAt, Device};
use crate::rules::Chain;

pub use by_hand::BY_HAND;

/// A remedy's manual page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodDoc {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it does, in a line.
    pub does: &'static str,
    /// What it costs, and what stops working.
    pub costs: &'static str,
    /// What it leaves open.
    pub leaves: &'static str,
    /// How it is done by hand, for a bridge `br0` with a guest port `vnet0`.
    pub by_hand: &'static [&'static str],
}

/// A remedy. The order is that of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The bridge device leaves every VLAN, and the bridge filters by VLAN.
    VlanFiltering,
    /// nftables drops what is passed up to the bridge device.
    DropOnBridge,
    /// tc does.
    TcOnBridge,
    /// A program of one instruction does, at tc's hook.
    BpfOnBridge,
    /// nftables drops at the bridge family's input hook.
    BridgeInput,
    /// nftables drops link-local group addresses at guest ports.
    DropLinkLocal,
    /// tc does.
    TcLinkLocal,
    /// The bridge device speaks no ARP.
    ArpOff,
    /// nftables drops the bridge device's ARP.
    ArpInput,
    /// ARP is answered only for addresses of the device, and in its own subnet.
    ArpIgnore,
    /// nftables drops the bridge device's IPv4 before it is routed.
    RawPrerouting,
    /// Sources have to be reachable by the device that they come in by.
    RpFilter,
    /// Policy rules send the bridge device's IPv4 nowhere, local addresses included.
    IpRule,
    /// IPv6 is off on the bridge device.
    DisableIpv6,
    /// nftables drops the bridge device's IPv6 before it is routed.
    Ip6Prerouting,
    /// Policy rules send the bridge device's IPv6 nowhere, local addresses included.
    Ip6Rule,
    /// nftables drops IPv6 with a source that no route leads back to.
    Ip6Fib,
    /// Packets for one host in frames for many are dropped.
    DropUnicastInL2Multicast,
    /// Router advertisements are not believed, on the bridge device, its ports and the next device.
    AcceptRaOff,
    /// Router advertisements are not believed by the next device.
    AcceptRaDefault,
    /// Nothing that comes in by the bridge device is routed on.
    ForwardingOff,
    /// Guest ports exchange frames with other ports only.
    Isolate,
    /// Unknown unicast is not flooded to guest ports; guests that are known get static entries.
    FloodOff,
    /// Guest ports take frames only from the addresses that are known behind them.
    LockPorts,
    /// Guest ports learn nothing; guests that are known get static, sticky entries.
    LearningOff,
    /// nftables drops frames of guests with a source address that is not known behind their port.
    AntiSpoof,
    /// nftables drops what DHCP servers and routers send, at guest ports.
    DhcpRaGuard,
    /// nftables drops tagged frames at guest ports.
    DropTags,
    /// BPDUs from guests disable their port.
    BpduGuard,
    /// Guest ports never lead to the root bridge.
    RootBlock,
    /// Guest ports never count as leading to a multicast router.
    McastRouterOff,
    /// What is learned is kept for five minutes, as is usual.
    AgeingTime,
    /// The bridge device gets a local entry for each address behind it.
    ForeignEntries,
    /// The bridge forwards no link-local frames.
    GroupFwdMaskOff,
    /// Link-local frames of guests take the way of all others, as far as a bridge allows.
    ForwardLinkLocal,
    /// The bridge learns a limited number of addresses.
    FdbMaxLearned,
    /// Link-local frames teach the bridge nothing.
    NoLinkLocalLearn,
}

impl Method {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 37] = [
        Self::VlanFiltering,
        Self::DropOnBridge,
        Self::TcOnBridge,
        Self::BpfOnBridge,
        Self::BridgeInput,
        Self::DropLinkLocal,
        Self::TcLinkLocal,
        Self::ArpOff,
        Self::ArpInput,
        Self::ArpIgnore,
        Self::RawPrerouting,
        Self::RpFilter,
        Self::IpRule,
        Self::DisableIpv6,
        Self::Ip6Prerouting,
        Self::Ip6Rule,
        Self::Ip6Fib,
        Self::DropUnicastInL2Multicast,
        Self::AcceptRaOff,
        Self::AcceptRaDefault,
        Self::ForwardingOff,
        Self::Isolate,
        Self::FloodOff,
        Self::LockPorts,
        Self::LearningOff,
        Self::AntiSpoof,
        Self::DhcpRaGuard,
        Self::DropTags,
        Self::BpduGuard,
        Self::RootBlock,
        Self::McastRouterOff,
        Self::AgeingTime,
        Self::ForeignEntries,
        Self::GroupFwdMaskOff,
        Self::ForwardLinkLocal,
        Self::FdbMaxLearned,
        Self::NoLinkLocalLearn,
    ];

    /// Returns its name, in kebab case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.doc().name
    }

    /// Returns the method of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Returns the remedies that are for the findings of a rule, beside those that the findings name.
    pub(crate) fn for_rule(rule: RuleId) -> &'static [Self] {
        match rule.0 {
            "mac-spoofing" => &[Self::LearningOff, Self::LockPorts, Self::AntiSpoof],
            "ip-spoofing" => &[Self::AntiSpoof],
            "rogue-ra" => &[Self::AcceptRaOff, Self::DhcpRaGuard],
            "foreign-guest-flood" | "foreign-bridge" => &[Self::ForeignEntries, Self::FloodOff],
            "stp-from-guest" => &[Self::RootBlock],
            _ => &[],
        }
    }

    /// What it costs, where several would do: `None` if it is not chosen unless asked for, because it costs guests
    /// something or depends on what only the administrator knows. What costs nothing per frame is cheapest; of the rest, what
    /// sees the fewest frames, and sees them first.
    pub(crate) const fn cost(self) -> Option<u32> {
        Some(match self {
            Self::VlanFiltering | Self::Isolate => 10,
            Self::DropOnBridge => 20,
            Self::TcOnBridge => 21,
            Self::BpfOnBridge => 22,
            Self::BridgeInput => 24,
            Self::DropLinkLocal => 30,
            Self::TcLinkLocal => 32,
            _ => return None,
        })
    }

    /// Whether it is chosen for a finding that names it: it costs guests nothing that they are meant to have, and depends on
    /// nothing that only the administrator knows.
    pub(crate) const fn is_harmless(self) -> bool {
        let settings = matches!(
            self,
            Self::AcceptRaOff
                | Self::AcceptRaDefault
                | Self::McastRouterOff
                | Self::RootBlock
                | Self::AgeingTime
                | Self::ForeignEntries
        );
        settings || matches!(self, Self::DropLinkLocal | Self::TcLinkLocal)
    }

    /// Whether the policy states what it depends on: then it is what the policy asks for.
    pub(crate) fn is_stated(self, bridge: &BridgeView<'_>) -> bool {
        self == Self::AntiSpoof && guests(bridge).all(|port| port.stated_ip.is_some())
    }

    /// Returns the changes that it alone comes to on a bridge, whatever they stop.
    ///
    /// # Errors
    /// If it does not fit, what it lacks.
    pub fn changes(self, context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Change>, Lacks> {
        Ok(changes(context, &self.pieces(context, bridge)?))
    }

    /// Returns what it would do about a bridge.
    pub(crate) fn pieces(self, context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
        let pieces = match self {
            Self::VlanFiltering => bridge::vlan_filtering(bridge)?,
            Self::DropOnBridge => bridge::drop_on_bridge(bridge),
            Self::TcOnBridge => bridge::tc_on_bridge(context, bridge)?,
            Self::BpfOnBridge => bridge::bpf_on_bridge(context, bridge)?,
            Self::BridgeInput => bridge::bridge_input(bridge),
            Self::DropLinkLocal => guests::drop_link_local(bridge),
            Self::TcLinkLocal => guests::tc_link_local(context, bridge)?,
            Self::ArpOff
            | Self::ArpInput
            | Self::ArpIgnore
            | Self::RawPrerouting
            | Self::RpFilter
            | Self::IpRule
            | Self::DisableIpv6
            | Self::Ip6Prerouting
            | Self::Ip6Rule
            | Self::Ip6Fib
            | Self::ForwardingOff => return self.pieces_in_stack(context, bridge.link),
            Self::DropUnicastInL2Multicast => host::drop_unicast(context, bridge)?,
            Self::AcceptRaOff => host::accept_ra_off(context, bridge)?,
            Self::AcceptRaDefault => host::accept_ra_default(context)?,
            Self::Isolate => guests::isolate(bridge)?,
            Self::FloodOff => guests::flood_off(bridge)?,
            Self::LockPorts => guests::lock(bridge)?,
            Self::LearningOff => guests::learning_off(bridge)?,
            Self::AntiSpoof => guests::anti_spoof(bridge)?,
            Self::DhcpRaGuard => guests::dhcp_ra_guard(bridge),
            Self::DropTags => guests::drop_tags(bridge),
            Self::BpduGuard => guests::bpdu_guard(bridge)?,
            Self::RootBlock => guests::root_block(bridge)?,
            Self::McastRouterOff => guests::mcast_router_off(bridge)?,
            Self::AgeingTime => bridge::ageing_time(bridge)?,
            Self::ForeignEntries => bridge::foreign_entries(context, bridge)?,
            Self::GroupFwdMaskOff => bridge::group_fwd_mask_off(bridge)?,
            Self::ForwardLinkLocal => guests::forward_link_local(bridge)?,
            Self::FdbMaxLearned => bridge::fdb_max_learned(bridge)?,
            Self::NoLinkLocalLearn => bridge::no_linklocal_learn(bridge)?,
        };
        if pieces.is_empty() { Err(Lacks::nothing_to_do()) } else { Ok(pieces) }
    }

    /// Returns what it would do in the host's stack about what comes in by a device: a bridge, or the lower device of macvlans,
    /// which come before the stack.
    pub(crate) fn pieces_in_stack(self, context: &Context<'_>, device: &Link) -> Result<Vec<Piece>, Lacks> {
        let pieces = match self {
            Self::ArpOff => host::arp_off(device),
            Self::ArpInput => host::arp_input(device),
            Self::ArpIgnore => host::ipv4(device, "arp_ignore", 2)?,
            Self::RawPrerouting => host::raw_prerouting(device),
            Self::RpFilter => host::ipv4(device, "rp_filter", 1)?,
            Self::IpRule => host::blackhole(context, device, false)?,
            Self::DisableIpv6 => host::disable_ipv6(context, device)?,
            Self::Ip6Prerouting => host::ip6_prerouting(device),
            Self::Ip6Rule => host::blackhole(context, device, true)?,
            Self::Ip6Fib => host::ip6_fib(device),
            Self::ForwardingOff => host::ipv4(device, "forwarding", 0)?,
            _ => return Err(Lacks("it is for bridges".to_owned())),
        };
        if pieces.is_empty() { Err(Lacks::nothing_to_do()) } else { Ok(pieces) }
    }

    /// Returns its manual page.
    #[must_use]
    pub const fn doc(self) -> &'static MethodDoc {
        match self {
            Self::VlanFiltering => &bridge::VLAN_FILTERING,
            Self::DropOnBridge => &bridge::DROP_ON_BRIDGE,
            Self::TcOnBridge => &bridge::TC_ON_BRIDGE,
            Self::BpfOnBridge => &bridge::BPF_ON_BRIDGE,
            Self::BridgeInput => &bridge::BRIDGE_INPUT,
            Self::DropLinkLocal => &guests::DROP_LINK_LOCAL,
            Self::TcLinkLocal => &guests::TC_LINK_LOCAL,
            Self::ArpOff => &host::ARP_OFF,
            Self::ArpInput => &host::ARP_INPUT,
            Self::ArpIgnore => &host::ARP_IGNORE,
            Self::RawPrerouting => &host::RAW_PREROUTING,
            Self::RpFilter => &host::RP_FILTER,
            Self::IpRule => &host::IP_RULE,
            Self::DisableIpv6 => &host::DISABLE_IPV6,
            Self::Ip6Prerouting => &host::IP6_PREROUTING,
            Self::Ip6Rule => &host::IP6_RULE,
            Self::Ip6Fib => &host::IP6_FIB,
            Self::DropUnicastInL2Multicast => &host::DROP_UNICAST,
            Self::AcceptRaOff => &host::ACCEPT_RA_OFF,
            Self::AcceptRaDefault => &host::ACCEPT_RA_DEFAULT,
            Self::ForwardingOff => &host::FORWARDING_OFF,
            Self::Isolate => &guests::ISOLATE,
            Self::FloodOff => &guests::FLOOD_OFF,
            Self::LockPorts => &guests::LOCK_PORTS,
            Self::LearningOff => &guests::LEARNING_OFF,
            Self::AntiSpoof => &guests::ANTI_SPOOF,
            Self::DhcpRaGuard => &guests::DHCP_RA_GUARD,
            Self::DropTags => &guests::DROP_TAGS,
            Self::BpduGuard => &guests::BPDU_GUARD,
            Self::RootBlock => &guests::ROOT_BLOCK,
            Self::McastRouterOff => &guests::MCAST_ROUTER_OFF,
            Self::AgeingTime => &bridge::AGEING_TIME,
            Self::ForeignEntries => &bridge::FOREIGN_ENTRIES,
            Self::GroupFwdMaskOff => &bridge::GROUP_FWD_MASK_OFF,
            Self::ForwardLinkLocal => &guests::FORWARD_LINK_LOCAL,
            Self::FdbMaxLearned => &bridge::FDB_MAX_LEARNED,
            Self::NoLinkLocalLearn => &bridge::NO_LINKLOCAL_LEARN,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a remedy does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lacks(pub String);

impl Lacks {
    fn nothing_to_do() -> Self {
        Self("there is nothing for it to change".to_owned())
    }

    fn knob(what: impl fmt::Display) -> Self {
        Self(format!("this kernel has no {what}"))
    }
}

/// What a remedy consists of. Chains of one family make one table together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Change(Change),
    Chain(Chain),
}

/// Returns the changes that pieces come to, tables first: they take effect as a whole, and only ever drop. Pieces that two
/// methods have in common come once.
pub(crate) fn changes(context: &Context<'_>, pieces: &[Piece]) -> Vec<Change> {
    let mut chains: Vec<(NftFamily, Vec<Chain>)> = Vec::new();
    let mut others: Vec<Change> = Vec::new();
    for piece in pieces {
        match piece {
            // What is about a device is its bridge's alone.
            Piece::Change(change) if change.device().is_none() && others.contains(change) => {}
            Piece::Change(change) => others.push(change.clone()),
            Piece::Chain(chain) => match chains.iter_mut().find(|(family, _)| *family == chain.base.family) {
                Some((_, held)) => held.push(chain.clone()),
                None => chains.push((chain.base.family, vec![chain.clone()])),
            },
        }
    }
    chains.sort_by_key(|(family, _)| family.number());
    let table = |(family, chains): &(NftFamily, Vec<Chain>)| {
        let from = Ruleset::own(context.netns(), *family);
        let to = crate::rules::with_chains(from.as_ref(), *family, chains);
        (from.as_ref() != Some(&to)).then_some(Change::Table { from, to })
    };
    chains.iter().filter_map(table).chain(others).collect()
}

/// The ports behind which somebody is who is not the host's administrator.
fn guests<'b, 's>(bridge: &'b BridgeView<'s>) -> impl Iterator<Item = &'b PortView<'s>> {
    bridge.ports.iter().filter(|port| port.role.is_untrusted())
}

/// Turns an option of every guest port.
fn on_guests(
    bridge: &BridgeView<'_>,
    option: crate::option::PortOption,
    to: u32,
) -> Result<Vec<Piece>, Lacks> {
    let mut pieces = Vec::new();
    for port in guests(bridge) {
        let from = option.get(port.options).ok_or_else(|| Lacks::knob(option.keyword()))?;
        if from != to {
            let port = Device::from(port.link);
            pieces.push(Piece::Change(Change::Port { port, option, from, to }));
        }
    }
    Ok(pieces)
}

fn conf(at: ConfAt, ipv6: bool, setting: &str, from: Option<i32>, to: i32) -> Result<Option<Piece>, Lacks> {
    let from = from.ok_or_else(|| Lacks::knob(setting))?;
    let setting = setting.to_owned();
    let change =
        if ipv6 { Change::Ipv6 { at, setting, from, to } } else { Change::Ipv4 { at, setting, from, to } };
    Ok((from != to).then_some(Piece::Change(change)))
}
