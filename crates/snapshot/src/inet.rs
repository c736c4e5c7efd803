//! The host's own IPv4 and IPv6: addresses, routes, policy rules, neighbours and the settings of each interface.
//!
//! Settings come as rows, like bridge options: field, the index in the kernel's array that netlink sends
//! (`IPV4_DEVCONF_*` counts from 1, `DEVCONF_*` from 0), and the sysctl's name is the field's name.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IfIndex, MacAddr, UnknownAttribute};

/// Calls a macro with the rows of IPv4 interface settings (`/proc/sys/net/ipv4/conf/*`).
#[macro_export]
macro_rules! ipv4_settings {
    ($expand:path) => {
        $expand! {
            Ipv4Conf, "IPV4_DEVCONF";
            /// Whether packets received here are routed on.
            forwarding = 1;
            /// Whether multicast received here is routed on.
            mc_forwarding = 2;
            /// Whether ARP is answered for addresses that are routed elsewhere.
            proxy_arp = 3;
            /// Whether ICMP redirects are believed.
            accept_redirects = 4;
            /// Whether ICMP redirects are sent.
            send_redirects = 6;
            /// Reverse path filter: 0 off, 1 strict, 2 loose; the larger of this and `all` counts.
            rp_filter = 8;
            /// Whether source-routed packets are accepted; both this and `all` must agree.
            accept_source_route = 9;
            /// Whether packets with a multicast, loopback or broadcast address out of place are logged.
            log_martians = 11;
            /// Whether ARP is answered only if the route back leaves by this interface.
            arp_filter = 13;
            /// Which own address ARP requests carry; the larger of this and `all` counts.
            arp_announce = 18;
            /// Which ARP requests are answered; the larger of this and `all` counts.
            arp_ignore = 19;
            /// Whether unsolicited ARP makes neighbour entries.
            arp_accept = 21;
            /// Whether a packet with one of the host's own addresses as source is let in.
            accept_local = 23;
            /// Whether the reverse path lookup uses the packet's mark.
            src_valid_mark = 24;
            /// Proxy ARP back out of the interface that asked.
            proxy_arp_pvlan = 25;
            /// Whether 127/8 is routed like any other address.
            route_localnet = 26;
            /// Whether a unicast packet in a broadcast or multicast frame is dropped; this or `all`.
            drop_unicast_in_l2_multicast = 30;
            /// Whether gratuitous ARP is dropped; this or `all`.
            drop_gratuitous_arp = 31;
            /// Whether directed broadcasts are routed on.
            bc_forwarding = 32;
        }
    };
}

/// Calls a macro with the rows of IPv6 interface settings (`/proc/sys/net/ipv6/conf/*`).
#[macro_export]
macro_rules! ipv6_settings {
    ($expand:path) => {
        $expand! {
            Ipv6Conf, "DEVCONF";
            /// On `all`: whether the host routes. On an interface: whether it behaves as a router's.
            forwarding = 0;
            /// Router advertisements: 0 never, 1 unless forwarding, 2 always.
            accept_ra = 3;
            /// Whether ICMPv6 redirects are believed.
            accept_redirects = 4;
            /// Whether advertised prefixes give addresses.
            autoconf = 5;
            /// Whether advertisements give a default route.
            accept_ra_defrtr = 17;
            /// Whether advertised prefixes are taken up.
            accept_ra_pinfo = 18;
            /// Whether neighbour solicitations are answered for others.
            proxy_ndp = 22;
            /// Source routing: negative never, 0 only type 2 routing headers, positive always.
            accept_source_route = 24;
            /// Whether multicast received here is routed on.
            mc_forwarding = 25;
            /// Whether IPv6 is off here.
            disable_ipv6 = 26;
            /// Whether advertisements with one of the host's own addresses as source are accepted.
            accept_ra_from_local = 33;
            /// Smallest hop limit an advertisement may set.
            accept_ra_min_hop_limit = 38;
            /// Whether a unicast packet in a multicast frame is dropped. `all` does not count.
            drop_unicast_in_l2_multicast = 40;
            /// Whether unsolicited neighbour advertisements are dropped.
            drop_unsolicited_na = 41;
        }
    };
}

macro_rules! settings {
    ($name:ident, $prefix:literal; $( $(#[doc = $doc:literal])+ $field:ident = $index:literal; )*) => {
        #[doc = concat!("Settings of one interface, of `all` or of `default` (`", $prefix, "_*`).")]
        ///
        /// A field is `None` where the kernel does not have the setting.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<i32>, )*
        }

        impl $name {
            /// Every setting here: its sysctl's name, and its index in the kernel's array.
            pub const ROWS: &'static [(&'static str, usize)] = &[ $( (stringify!($field), $index), )* ];

            /// Returns the settings that `value_of` gives for each name and index.
            pub fn gather(mut value_of: impl FnMut(&'static str, usize) -> Option<i32>) -> Self {
                Self { $( $field: value_of(stringify!($field), $index), )* }
            }

            /// Returns a setting by its sysctl's name; `None` if this kernel does not have it.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<i32> {
                match name {
                    $( stringify!($field) => self.$field, )*
                    _ => None,
                }
            }

            /// Changes a setting by its sysctl's name; returns whether this kernel has it.
            pub fn set(&mut self, name: &str, value: i32) -> bool {
                let field = match name {
                    $( stringify!($field) => &mut self.$field, )*
                    _ => return false,
                };
                field.as_mut().map(|held| *held = value).is_some()
            }
        }
    };
}

ipv4_settings!(settings);
ipv6_settings!(settings);

/// The settings that are not of one interface: `all`, which combines with each interface's own, and `default`, which
/// the next interface will start with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings<T> {
    /// `conf/all`.
    pub all: T,
    /// `conf/default`.
    pub default: T,
}

/// One address of an interface (`RTM_GETADDR`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The interface.
    pub device: IfIndex,
    /// The address with its prefix length (`IFA_LOCAL`, else `IFA_ADDRESS`).
    #[schemars(with = "String")]
    pub address: IpNet,
    /// The other end, on a point-to-point link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_F_*`: 0x40 tentative, 0x80 permanent.
    pub flags: u32,
}

/// One route (`RTM_GETROUTE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The table it is in; 254 is main, 255 local.
    pub table: u32,
    /// Destination; the default route is `0.0.0.0/0` or `::/0`.
    #[schemars(with = "String")]
    pub destination: IpNet,
    /// Source it is confined to, for source-specific routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source: Option<IpNet>,
    /// `RTN_*`: 1 unicast, 2 local, 3 broadcast, 6 blackhole, 7 unreachable, 8 prohibit, 9 throw.
    pub kind: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTPROT_*`: who put it there.
    pub protocol: u8,
    /// `RT_TOS`; 0 for any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tos: u8,
    /// `RTM_F_*` and `RTNH_F_*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
    /// Metric; the lowest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Preferred source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefsrc: Option<IpAddr>,
    /// Where it leads; several for multipath, none for blackholes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nexthops: Vec<NextHop>,
    /// The nexthop object it uses (`RTA_NH_ID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop_id: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// One way that a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextHop {
    /// The interface it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<IfIndex>,
    /// The router it goes to; `None` if the destination is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// `RTNH_F_*`: 1 dead, 4 onlink, 16 linkdown.
    pub flags: u8,
}

/// One policy routing rule (`RTM_GETRULE`), in the order of priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// Lower is consulted first.
    pub priority: u32,
    /// `FR_ACT_*`: 1 lookup, 2 goto, 3 nop, 6 blackhole, 7 unreachable, 8 prohibit.
    pub action: u8,
    /// The table a lookup consults.
    pub table: u32,
    /// Whether the rule is inverted (`FIB_RULE_INVERT`).
    #[serde(default)]
    pub not: bool,
    /// Source prefix it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source: Option<IpNet>,
    /// Destination prefix it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub destination: Option<IpNet>,
    /// Ingress interface it is for, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// Egress interface it is for, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oif: Option<String>,
    /// Whether it is the rule that sends VRF traffic to its table (`FRA_L3MDEV`).
    #[serde(default)]
    pub l3mdev: bool,
    /// The priority a goto jumps to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goto: Option<u32>,
    /// Routes of this prefix length or shorter are passed over (`FRA_SUPPRESS_PREFIXLEN`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_prefixlen: Option<u32>,
    /// Selectors that nothing here decodes (marks, ports, users): the rule may or may not match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownAttribute>,
}

impl PolicyRule {
    /// A rule for every packet of a family, with an action (`FR_ACT_*`); a table matters to a lookup only.
    #[must_use]
    pub const fn new(ipv6: bool, priority: u32, action: u8, table: u32) -> Self {
        Self {
            ipv6,
            priority,
            action,
            table,
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
}

/// One neighbour entry (`RTM_GETNEIGH` of `AF_INET` and `AF_INET6`, proxies included).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The interface.
    pub device: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// Its MAC address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`: 8 is a proxy entry, 0x80 a router.
    pub flags: u8,
}

/// A multicast group that the host is a member of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The interface.
    pub device: IfIndex,
    /// The group.
    pub group: IpAddr,
}
