//! Network interfaces: what `RTM_GETLINK` tells of each, and who is behind it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BridgeOptions, EtherType, IfIndex, Ipv4Conf, Ipv6Conf, MacAddr, NetnsId, PortOptions, ProcessRef, VlanId,
};

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its index in this namespace.
    pub index: IfIndex,
    /// Its name (`IFLA_IFNAME`).
    pub name: String,
    /// Its other names (`IFLA_ALT_IFNAME`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altnames: Vec<String>,
    /// `ARPHRD_*`: 1 is Ethernet, 772 loopback.
    pub arp_type: u16,
    /// `IFF_*` as netlink reports them. Promiscuity that the kernel or a packet socket asked for is not in them.
    pub flags: LinkFlags,
    /// The device's real flags as `/sys/class/net/NAME/flags` shows them, where they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysfs_flags: Option<LinkFlags>,
    /// How many asked for promiscuous mode (`IFLA_PROMISCUITY`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promiscuity: Option<u32>,
    /// How many asked for all multicast (`IFLA_ALLMULTI`, since 6.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allmulti: Option<u32>,
    /// RFC 2863 state (`IF_OPER_*`): 6 is up.
    pub operstate: u8,
    /// Whether there is a carrier (`IFLA_CARRIER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<bool>,
    /// Largest payload in bytes.
    pub mtu: u32,
    /// Hardware address, where it is an Ethernet one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<MacAddr>,
    /// Broadcast address, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<MacAddr>,
    /// The bridge, bond, VRF or other device that this one is enslaved to (`IFLA_MASTER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<IfIndex>,
    /// The lower device or the veth peer (`IFLA_LINK`); in `link_netns` if that is given, else in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfIndex>,
    /// The namespace that `link` counts in, where it is another one (`IFLA_LINK_NETNSID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_netns: Option<LinkNetns>,
    /// What sort of device it is, with the options of its sort.
    pub kind: LinkKind,
    /// What it is to its master, with the options of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortKind>,
    /// XDP programs attached (`IFLA_XDP`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xdp: Vec<XdpProgram>,
    /// Whether a switch chip forwards for this device (`IFLA_PHYS_SWITCH_ID`, in hex).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phys_switch_id: Option<String>,
    /// IPv4 settings of the interface; `None` if the kernel runs no IPv4 on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Conf>,
    /// IPv6 settings of the interface; `None` if the kernel runs no IPv6 on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Conf>,
    /// Who is behind it: the process that holds a tap, the guest that this process is, the container behind a veth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// Attributes that nothing here decodes, as they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}

/// Interface flags (`IFF_*`, `linux/if.h`); all bits are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LinkFlags(pub u32);

impl LinkFlags {
    /// `IFF_UP`.
    pub const UP: u32 = 0x1;
    /// `IFF_LOOPBACK`.
    pub const LOOPBACK: u32 = 0x8;
    /// `IFF_RUNNING`.
    pub const RUNNING: u32 = 0x40;
    /// `IFF_NOARP`.
    pub const NOARP: u32 = 0x80;
    /// `IFF_PROMISC`.
    pub const PROMISC: u32 = 0x100;
    /// `IFF_ALLMULTI`.
    pub const ALLMULTI: u32 = 0x200;
    /// `IFF_LOWER_UP`.
    pub const LOWER_UP: u32 = 0x1_0000;

    /// Whether all bits of `flag` are set.
    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// Another namespace, as a link points to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkNetns {
    /// The id that this namespace has for the other (`IFLA_LINK_NETNSID`).
    pub nsid: i32,
    /// Which one it is, where that could be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsId>,
}

/// What sort of device a link is (`IFLA_INFO_KIND`), with the options that decide where frames go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LinkKind {
    /// Nothing said: a physical or paravirtual NIC, or loopback.
    Plain,
    /// A bridge.
    Bridge(Box<BridgeOptions>),
    /// One end of a pair; the other is `link` in `link_netns`.
    Veth,
    /// A TUN or TAP device.
    Tun(TunOptions),
    /// A VLAN device on `link`.
    Vlan(VlanDevice),
    /// A macvlan on `link`.
    Macvlan(MacvlanOptions),
    /// A macvtap on `link`.
    Macvtap(MacvlanOptions),
    /// An ipvlan on `link`.
    Ipvlan(IpvlanOptions),
    /// A VXLAN tunnel.
    Vxlan(VxlanOptions),
    /// A bond.
    Bond(BondOptions),
    /// A VRF.
    Vrf {
        /// The routing table its ports are confined to.
        table: u32,
    },
    /// Any other kind, by its name.
    Other(String),
}

/// Options of a TUN or TAP device (`IFLA_TUN_*`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TunOptions {
    /// Whether it carries Ethernet frames (a tap) rather than IP packets (a tun).
    pub tap: bool,
    /// The user that may attach to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The group that may attach to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Whether it outlives its process.
    pub persist: bool,
    /// Whether it has several queues.
    pub multi_queue: bool,
    /// Whether frames carry a virtio header.
    pub vnet_hdr: bool,
}

/// Options of a VLAN device (`IFLA_VLAN_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VlanDevice {
    /// Its VLAN id; 0 to 4095 are possible here.
    pub id: u16,
    /// Its TPID.
    pub protocol: EtherType,
    /// `VLAN_FLAG_*`.
    pub flags: u32,
}

/// Options of a macvlan or macvtap (`IFLA_MACVLAN_*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MacvlanOptions {
    /// How it treats its siblings and its lower device.
    pub mode: MacvlanMode,
    /// `MACVLAN_FLAG_*`: 1 is NOPROMISC, 2 is NODST.
    pub flags: u16,
    /// Source addresses, in source mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<MacAddr>,
}

/// Modes of a macvlan (`enum macvlan_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MacvlanMode {
    /// Siblings do not hear each other.
    Private,
    /// Siblings hear each other through the next switch.
    Vepa,
    /// Siblings hear each other directly.
    Bridge,
    /// The only one on its lower device, which it takes over.
    Passthru,
    /// Takes frames from listed sources.
    Source,
    /// A value newer than this program.
    Other(u32),
}

/// Options of an ipvlan (`IFLA_IPVLAN_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpvlanOptions {
    /// 0 is L2, 1 L3, 2 L3S.
    pub mode: u16,
    /// 1 is private, 2 is VEPA.
    pub flags: u16,
}

/// Options of a VXLAN tunnel (`IFLA_VXLAN_*`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VxlanOptions {
    /// Its VNI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The device it sends by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<IfIndex>,
    /// Its UDP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the tunnel id comes with each frame.
    pub collect_metadata: bool,
}

/// Options of a bond (`IFLA_BOND_*`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BondOptions {
    /// `BOND_MODE_*`: 1 is active-backup, 4 is 802.3ad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u8>,
    /// The active port, where the mode has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_slave: Option<IfIndex>,
}

/// What a link is to its master (`IFLA_INFO_SLAVE_KIND`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PortKind {
    /// A bridge port.
    Bridge(Box<PortOptions>),
    /// Another kind of port, by its name: `bond`, `vrf`, `openvswitch`, `team`.
    Other(String),
}

/// An XDP program on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XdpProgram {
    /// Where it runs: in the driver, in the kernel's generic path, on the card.
    pub mode: XdpMode,
    /// Its program id, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// Where an XDP program runs (`XDP_ATTACHED_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// In the driver.
    Driver,
    /// In the kernel's generic path.
    Generic,
    /// On the card.
    Hardware,
    /// A value newer than this program.
    Other(u8),
}

/// Who is behind an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// The guest, by the best name that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// The processes that hold the tap or live in the peer's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRef>,
}

/// A guest: a virtual machine or a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Where the name comes from.
    pub kind: GuestKind,
    /// Its name, or the short form of its id.
    pub name: String,
}

/// What sort of guest it is, and so where its name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuestKind {
    /// A libvirt domain.
    Libvirt,
    /// A QEMU without libvirt, by its `-name` or `-id`.
    Qemu,
    /// A container, by the control group of its processes.
    Container,
    /// A named network namespace.
    Namespace,
    /// Any other process, by its name.
    Process,
}

/// A netlink attribute that nothing here decodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnknownAttribute {
    /// Its number in its attribute space.
    pub number: u16,
    /// Its payload, in hex.
    pub bytes: String,
}

impl Link {
    /// Whether the device is administratively up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.flags.has(LinkFlags::UP)
    }

    /// Whether the kernel's own `IFF_PROMISC` is set; `None` if nothing that was read tells.
    ///
    /// `ifi_flags` do not tell: they only show what a user asked for (`dev_get_flags`).
    #[must_use]
    pub fn is_promiscuous(&self) -> Option<bool> {
        let counted = self.promiscuity.map(|count| count > 0);
        counted.or_else(|| self.sysfs_flags.map(|flags| flags.has(LinkFlags::PROMISC)))
    }

    /// Whether the kernel's own `IFF_ALLMULTI` is set; `None` if nothing that was read tells.
    #[must_use]
    pub fn is_allmulti(&self) -> Option<bool> {
        let counted = self.allmulti.map(|count| count > 0);
        counted.or_else(|| self.sysfs_flags.map(|flags| flags.has(LinkFlags::ALLMULTI)))
    }

    /// Returns the bridge options, if this is a bridge.
    #[must_use]
    pub const fn bridge(&self) -> Option<&BridgeOptions> {
        match &self.kind {
            LinkKind::Bridge(options) => Some(options),
            _ => None,
        }
    }

    /// Returns the port options, if this is a bridge port.
    #[must_use]
    pub const fn bridge_port(&self) -> Option<&PortOptions> {
        match &self.port {
            Some(PortKind::Bridge(options)) => Some(options),
            _ => None,
        }
    }

    /// Returns the VLAN id, if this is a VLAN device with an ordinary id.
    #[must_use]
    pub const fn vlan_id(&self) -> Option<VlanId> {
        match &self.kind {
            LinkKind::Vlan(vlan) => VlanId::new(vlan.id),
            _ => None,
        }
    }
}
