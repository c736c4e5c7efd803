//! One thing that is configured. A configuration is a list of them: each can be left out without the others changing
//! their meaning, which is what makes a mismatch shrink.

use std::net::IpAddr;

use portcullis_kernel::bridge::{MdbChange, bool_option, port_state, vlan_state};
use portcullis_kernel::link::{self, FdbChange, NewLink, RuleChange};
use portcullis_kernel::route::RouteChange;
use portcullis_kernel::{Change, namespace::Netns};
use portcullis_snapshot::{
    BoolOpt, BridgeOptions, EtherType, LinkFlags, MacAddr, MdbGroup, PortOptions, VlanId,
};
use portcullis_wire::Message;

use crate::firewall::{self, Chain};
use crate::knobs::Knob;
use crate::names::{Name, index, mac};
use crate::tools::ToolRule;
use crate::traffic::{Filter, Qdisc, Table};

/// One thing that is configured.
#[derive(Debug, Clone)]
pub enum Step {
    /// A cable: the near end is the host's, the far end a guest's, or the outside's.
    Cable {
        /// The host's end.
        near: Name,
        /// The other end.
        far: Name,
    },
    /// A tap, with the guest at its descriptor.
    Tap(Name),
    /// A bridge.
    Bridge(Name),
    /// A VLAN device.
    Vlan {
        /// Its name.
        name: Name,
        /// The device below it.
        lower: Name,
        /// Its TPID.
        tpid: EtherType,
        /// Its VLAN id.
        id: u16,
    },
    /// A macvlan.
    Macvlan {
        /// Its name.
        name: Name,
        /// The device below it.
        lower: Name,
        /// `MACVLAN_MODE_*`.
        mode: u32,
    },
    /// A bond, active-backup.
    Bond(Name),
    /// A VRF.
    Vrf {
        /// Its name.
        name: Name,
        /// Its table.
        table: u32,
    },
    /// A device becomes a port of another.
    Master {
        /// The device.
        device: Name,
        /// Its master.
        master: Name,
    },
    /// A device is turned on.
    Up(Name),
    /// A flag of a device: `IFF_PROMISC`, `IFF_ALLMULTI`, `IFF_NOARP`.
    Flag {
        /// The device.
        device: Name,
        /// The flag.
        flag: u32,
    },
    /// A device's MTU.
    Mtu {
        /// The device.
        device: Name,
        /// Bytes.
        mtu: u32,
    },
    /// An option of the bridge.
    BridgeOption {
        /// The bridge.
        bridge: Name,
        /// Which.
        knob: &'static Knob<BridgeOptions>,
        /// What it is set to.
        value: u32,
    },
    /// A boolean option of the bridge, turned on.
    BoolOption {
        /// The bridge.
        bridge: Name,
        /// Which.
        option: BoolOpt,
    },
    /// An option of a port.
    PortOption {
        /// The port.
        port: Name,
        /// Which.
        knob: &'static Knob<PortOptions>,
        /// What it is set to.
        value: u32,
    },
    /// The port that takes over.
    BackupPort {
        /// The port.
        port: Name,
        /// Its backup.
        backup: Name,
    },
    /// Membership in a VLAN.
    Member {
        /// A port, or the bridge.
        device: Name,
        /// The VLAN.
        id: VlanId,
        /// `BRIDGE_VLAN_INFO_*`; `None` takes it out.
        flags: Option<u16>,
    },
    /// The state of a port in a VLAN.
    VlanState {
        /// A port, or the bridge.
        device: Name,
        /// The VLAN.
        id: VlanId,
        /// `BR_STATE_*`.
        state: u8,
    },
    /// An FDB entry.
    Fdb {
        /// A port, or the bridge.
        device: Name,
        /// The address.
        address: MacAddr,
        /// The VLAN.
        vlan: Option<VlanId>,
        /// `NUD_*`.
        state: u16,
        /// `NTF_*`, master or self aside.
        flags: u8,
    },
    /// A multicast group.
    Mdb {
        /// The bridge.
        bridge: Name,
        /// A port, or the bridge.
        port: Name,
        /// The group.
        group: MdbGroup,
        /// The VLAN.
        vlan: Option<VlanId>,
    },
    /// An address.
    Address {
        /// The device.
        device: Name,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix: u8,
    },
    /// A route.
    Route(Route),
    /// A policy rule.
    Rule(Rule),
    /// The rule for the table of local addresses goes from the first place to behind all others.
    LocalRuleLast {
        /// For IPv6.
        ipv6: bool,
    },
    /// A setting under `/proc/sys/net`.
    Sysctl {
        /// `ipv4` or `ipv6`, for a setting of a device; another directory for one that is of none.
        family: &'static str,
        /// A device, or `all`; `None` for a setting that is of none.
        device: Option<Name>,
        /// Its name.
        setting: &'static str,
        /// What it is set to.
        value: u32,
    },
    /// A permanent neighbour entry.
    Neighbour {
        /// The device.
        device: Name,
        /// The address.
        address: IpAddr,
        /// Its hardware address.
        mac: MacAddr,
    },
    /// A chain of nftables.
    Chain(Chain),
    /// A rule of nftables.
    FirewallRule(firewall::Rule),
    /// A rule, or a chain, of iptables, ip6tables, arptables or ebtables.
    ToolRule(ToolRule),
    /// A device gets tc filters.
    Qdisc(Qdisc),
    /// A table of tc's `u32`.
    TcTable(Table),
    /// A filter of tc.
    TcFilter(Box<Filter>),
    /// A change of a plan.
    Change(Box<portcullis_plan::Change>),
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Where to.
    pub to: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// `RTN_*`.
    pub kind: u8,
    /// By which router.
    pub via: Option<IpAddr>,
    /// By which device.
    pub device: Option<Name>,
    /// In which table.
    pub table: u8,
}

/// A policy rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// For IPv6.
    pub ipv6: bool,
    /// Its priority.
    pub priority: u32,
    /// `FR_ACT_*`.
    pub action: u8,
    /// The table of a lookup.
    pub table: u8,
    /// The ingress device it is for.
    pub iif: Option<Name>,
}

impl Rule {
    /// Returns it as the kernel crate has it.
    #[must_use]
    pub fn change(&self) -> RuleChange<'static> {
        let Self { ipv6, priority, action, table, iif } = *self;
        RuleChange { ipv6, priority, action, table, iif }
    }
}

/// How a step is taken.
#[derive(Debug)]
pub enum Means {
    /// By these messages, one after another.
    Netlink(Vec<Change>),
    /// By making a tap.
    Tap(Name),
    /// By these messages to nftables, all of them or none.
    Nftables(Vec<Message>),
    /// By running a tool.
    Tool(ToolRule),
    /// By writing to a file of `/proc/sys/net`.
    Sysctl(Vec<&'static str>, u32),
    /// As plans are applied.
    Apply(Box<portcullis_plan::Change>),
}

impl Means {
    /// Returns the messages, if it is done by messages.
    #[must_use]
    pub fn netlink(self) -> Vec<Change> {
        if let Self::Netlink(changes) = self { changes } else { Vec::new() }
    }
}

impl Step {
    /// Returns how the step is taken; far ends of cables go to `guests`.
    #[must_use]
    pub fn means(&self, guests: &Netns) -> Means {
        use std::os::fd::AsFd;
        let one = |change| Means::Netlink(vec![change]);
        match *self {
            Self::Cable { near, far } => one(NewLink::new(near, "veth")
                .address(mac(near))
                .indices(index(near).0, index(far).0)
                .veth(far, mac(far), Some(guests.as_fd()))),
            Self::Tap(name) => Means::Tap(name),
            Self::Bridge(name) => one(new(name, "bridge").create(|data| data)),
            Self::Vlan { name, lower, tpid, id } => one(new(name, "vlan").on(index(lower)).vlan(tpid, id)),
            Self::Macvlan { name, lower, mode } => one(new(name, "macvlan").on(index(lower)).macvlan(mode)),
            Self::Bond(name) => one(new(name, "bond").create(|data| data.put(1, &[1]))),
            Self::Vrf { name, table } => one(new(name, "vrf").vrf(table)),
            Self::Master { device, master } => one(link::master(index(device), Some(index(master)))),
            Self::Up(device) => one(link::up(index(device))),
            Self::Flag { device, flag } => one(link::flags(index(device), flag, flag)),
            Self::Mtu { device, mtu } => one(link::mtu(index(device), mtu)),
            Self::BridgeOption { bridge, knob, value } => {
                one(link::bridge_option(index(bridge), knob.number, &knob.encode(value)))
            }
            Self::BoolOption { bridge, option } => one(bool_option(index(bridge), option, true)),
            Self::PortOption { port, knob, value } if knob.is_state() => {
                one(port_state(index(port), value as u8))
            }
            Self::PortOption { port, knob, value } => {
                one(link::port_option(index(port), knob.number, &knob.encode(value)))
            }
            Self::BackupPort { port, backup } => {
                const IFLA_BRPORT_BACKUP_PORT: u16 = 34;
                let value = index(backup).0.to_ne_bytes();
                one(link::port_option(index(port), IFLA_BRPORT_BACKUP_PORT, &value))
            }
            Self::Member { device, id, flags } => {
                let on_bridge = device == crate::names::BRIDGE;
                one(match flags {
                    Some(flags) => link::vlan_add(index(device), id, flags, on_bridge),
                    None => link::vlan_del(index(device), id, on_bridge),
                })
            }
            Self::VlanState { device, id, state } => {
                one(vlan_state(index(device), id, state, device == crate::names::BRIDGE))
            }
            Self::Fdb { device, address, vlan, state, flags } => {
                let home = if device == crate::names::BRIDGE { link::NTF_SELF } else { link::NTF_MASTER };
                let device = index(device);
                one(FdbChange { device, address, vlan, state, flags: flags | home }.add())
            }
            Self::Mdb { bridge, port, group, vlan } => {
                one(MdbChange { bridge: index(bridge), port: index(port), group, vlan }.add())
            }
            Self::Address { device, address, prefix } => {
                one(link::ip_address(index(device), address, prefix))
            }
            Self::Route(Route { to, prefix, kind, via, device, table }) => {
                let device = device.map(index);
                one(RouteChange { to, prefix, kind, via, device, table }.add())
            }
            Self::Rule(rule) => one(rule.change().add()),
            Self::LocalRuleLast { ipv6 } => {
                let rule = |priority| RuleChange { ipv6, priority, action: 1, table: 255, iif: None };
                Means::Netlink(vec![rule(32_765).add(), rule(0).delete()])
            }
            Self::Sysctl { family, device, setting, value } => {
                Means::Sysctl(sysctl(family, device, setting), value)
            }
            Self::Chain(ref chain) => Means::Nftables(chain.messages()),
            Self::FirewallRule(ref rule) => Means::Nftables(rule.messages()),
            Self::ToolRule(ref rule) => Means::Tool(rule.clone()),
            Self::Change(ref change) => Means::Apply(change.clone()),
            Self::Qdisc(ref qdisc) => one(qdisc.change()),
            Self::TcTable(ref table) => one(table.change()),
            Self::TcFilter(ref filter) => one(filter.change()),
            Self::Neighbour { device, address, mac } => {
                one(link::neighbour(index(device), address, mac, link::NUD_PERMANENT))
            }
        }
    }

    /// Returns what sort of step it is, in a few words.
    #[must_use]
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Cable { .. } => "veth",
            Self::Tap(_) => "tap",
            Self::Bridge(_) => "bridge",
            Self::Vlan { .. } => "VLAN device",
            Self::Macvlan { .. } => "macvlan",
            Self::Bond(_) => "bond",
            Self::Vrf { .. } => "VRF",
            Self::Master { .. } => "master",
            Self::Up(_) => "up",
            Self::Flag { .. } => "flag",
            Self::Mtu { .. } => "mtu",
            Self::BridgeOption { knob, .. } => knob.keyword,
            Self::BoolOption { .. } => "boolean option",
            Self::PortOption { knob, .. } => knob.keyword,
            Self::BackupPort { .. } => "backup_port",
            Self::Member { .. } => "VLAN member",
            Self::VlanState { .. } => "VLAN state",
            Self::Fdb { .. } => "FDB entry",
            Self::Mdb { .. } => "MDB entry",
            Self::Address { .. } => "address",
            Self::Route(_) => "route",
            Self::Rule(_) => "rule",
            Self::LocalRuleLast { .. } => "local rule last",
            Self::Sysctl { setting, .. } => setting,
            Self::Neighbour { .. } => "neighbour",
            Self::Chain(_) => "chain",
            Self::FirewallRule(_) => "firewall rule",
            Self::ToolRule(rule) => rule.tool,
            Self::Change(_) => "change of a plan",
            Self::Qdisc(_) => "tc queueing discipline",
            Self::TcTable(_) => "tc table of u32",
            Self::TcFilter(filter) => match filter.filter.kind() {
                "u32" => "tc u32 filter",
                "flower" => "tc flower filter",
                "matchall" => "tc matchall filter",
                "bpf" => "tc bpf filter",
                "fw" => "tc fw filter",
                _ => "tc filter",
            },
        }
    }

    /// Whether it can only be taken when the ports are up.
    #[must_use]
    pub fn is_late(&self) -> bool {
        match self {
            Self::PortOption { knob, .. } => knob.is_state(),
            Self::Fdb { .. } | Self::Mdb { .. } | Self::Neighbour { .. } => true,
            // Rules would see what the kernel sends while ports come up.
            Self::Chain(_) | Self::FirewallRule(_) | Self::ToolRule(_) | Self::Change(_) => true,
            Self::Qdisc(_) | Self::TcTable(_) | Self::TcFilter(_) => true,
            _ => false,
        }
    }
}

fn new(name: Name, kind: &'static str) -> NewLink<'static> {
    NewLink::new(name, kind).address(mac(name)).indices(index(name).0, 0)
}

/// Returns the parts of a setting's path below `/proc/sys/net`.
#[must_use]
pub fn sysctl(family: &'static str, device: Option<Name>, setting: &'static str) -> Vec<&'static str> {
    match device {
        Some(device) => vec![family, "conf", device, setting],
        None => vec![family, setting],
    }
}

/// `IFF_PROMISC`, `IFF_ALLMULTI`, `IFF_NOARP`, with their words in `ip link set`.
pub const FLAGS: [(u32, &str); 3] = [
    (LinkFlags::PROMISC, "promisc on"),
    (LinkFlags::ALLMULTI, "allmulticast on"),
    (LinkFlags::NOARP, "arp off"),
];
