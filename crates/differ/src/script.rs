//! A scenario as plain commands, so that anybody can repeat by hand what did not agree.

use std::fmt::Write as _;

use portcullis_kernel::link::{NTF_EXT_LEARNED, NTF_STICKY, NUD_NOARP, NUD_PERMANENT};
use portcullis_snapshot::{BoolOpt, MdbGroup, VlanFlags};

use crate::facts::hex;
use crate::generate::Scenario;
use crate::names::{BRIDGE, Name, far_end, is_far, mac};
use crate::step::{FLAGS, Route, Rule, Step};

/// Returns the commands that build a scenario in the namespaces `host` and `guests` and send its frames.
#[must_use]
pub fn script(scenario: &Scenario) -> String {
    let mut text = String::from("ip netns add host; ip netns add guests\n");
    let (early, late): (Vec<_>, Vec<_>) = scenario.steps.iter().partition(|step| !step.is_late());
    for step in early.into_iter().chain(late) {
        text.push_str(&step.command());
        text.push('\n');
    }
    for sent in &scenario.frames {
        let far = far_end(sent.into).unwrap_or(sent.into);
        let _ = writeln!(
            text,
            "ip netns exec guests python3 -c 'import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); \
             s.bind((\"{far}\", 0)); s.send(bytes.fromhex(\"{}\"))'",
            hex(&sent.bytes)
        );
    }
    text
}

impl Step {
    /// Returns what the step is about, without what it is set to: a later step with the same key replaces it.
    #[must_use]
    pub(crate) fn key(&self) -> String {
        match self {
            Self::BridgeOption { bridge, knob, .. } => format!("{bridge} {}", knob.keyword),
            Self::PortOption { port, knob, .. } => format!("{port} {}", knob.keyword),
            Self::BackupPort { port, .. } => format!("{port} backup_port"),
            Self::Member { device, id, .. } => format!("{device} VLAN {id}"),
            Self::Sysctl { family, device, setting, .. } => {
                format!("net.{family}.conf.{}.{setting}", device.unwrap_or_default())
            }
            Self::Master { device, .. } => format!("{device} master"),
            Self::Neighbour { device, address, .. } => format!("{device} neighbour {address}"),
            other => other.command(),
        }
    }

    /// Returns the command that does the same.
    #[must_use]
    pub fn command(&self) -> String {
        let host = "ip -n host";
        match self {
            Self::Cable { near, far } => format!(
                "{host} link add {near} address {} type veth peer name {far} address {} netns guests",
                mac(near),
                mac(far)
            ),
            Self::Tap(name) => {
                format!("{host} tuntap add {name} mode tap; {host} link set {name} address {}", mac(name))
            }
            Self::Bridge(name) => format!("{host} link add {name} address {} type bridge", mac(name)),
            Self::Vlan { name, lower, tpid, id } => format!(
                "{host} link add {name} link {lower} address {} type vlan protocol {} id {id}",
                mac(name),
                if tpid.0 == 0x88a8 { "802.1ad" } else { "802.1Q" }
            ),
            Self::Macvlan { name, lower, mode } => format!(
                "{host} link add {name} link {lower} address {} type macvlan mode {}",
                mac(name),
                match mode {
                    1 => "private",
                    2 => "vepa",
                    4 => "bridge",
                    8 => "passthru",
                    _ => "source",
                }
            ),
            Self::Bond(name) => {
                format!("{host} link add {name} address {} type bond mode active-backup", mac(name))
            }
            Self::Vrf { name, table } => format!("{host} link add {name} type vrf table {table}"),
            Self::Master { device, master } => format!("{host} link set {device} master {master}"),
            Self::Up(name) if is_far(name) => format!("ip -n guests link set {name} up"),
            Self::Up(name) => format!("{host} link set {name} up"),
            Self::Flag { device, flag } => {
                let words = FLAGS.iter().find(|(known, _)| known == flag).map_or("", |(_, words)| words);
                format!("{host} link set {device} {words}")
            }
            Self::Mtu { device, mtu } => format!("{host} link set {device} mtu {mtu}"),
            Self::BridgeOption { bridge, knob, value } => {
                format!(
                    "{host} link set {bridge} type bridge {} {}",
                    knob.keyword,
                    value_word(knob.keyword, *value)
                )
            }
            Self::BoolOption { bridge, option } => {
                format!("{host} link set {bridge} type bridge {} 1", bool_option(*option))
            }
            Self::PortOption { port, knob, value } if knob.is_state() => {
                format!("bridge -n host link set dev {port} state {value}")
            }
            Self::PortOption { port, knob, value } => {
                format!("{host} link set {port} type bridge_slave {} {value}", knob.keyword)
            }
            Self::BackupPort { port, backup } => {
                format!("{host} link set {port} type bridge_slave backup_port {backup}")
            }
            Self::Member { device, id, flags } => {
                let own = own(device);
                match flags {
                    Some(flags) => {
                        let pvid = if flags & VlanFlags::PVID != 0 { " pvid" } else { "" };
                        let untagged = if flags & VlanFlags::UNTAGGED != 0 { " untagged" } else { "" };
                        format!("bridge -n host vlan add dev {device} vid {id}{pvid}{untagged}{own}")
                    }
                    None => format!("bridge -n host vlan del dev {device} vid {id}{own}"),
                }
            }
            Self::VlanState { device, id, state } => {
                format!("bridge -n host vlan set dev {device} vid {id} state {state}{}", own(device))
            }
            Self::Fdb { device, address, vlan, state, flags } => {
                let kind = match *state {
                    NUD_PERMANENT => "local",
                    NUD_NOARP => "static",
                    _ => "dynamic",
                };
                let vlan = vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
                let sticky = if flags & NTF_STICKY != 0 { " sticky" } else { "" };
                let external = if flags & NTF_EXT_LEARNED != 0 { " extern_learn" } else { "" };
                let home = if *device == BRIDGE { "self" } else { "master" };
                format!(
                    "bridge -n host fdb replace {address} dev {device} {home} {kind}{vlan}{sticky}{external}"
                )
            }
            Self::Mdb { bridge, port, group, vlan } => {
                let group = match group {
                    MdbGroup::Ipv4(group) => group.to_string(),
                    MdbGroup::Ipv6(group) => group.to_string(),
                    MdbGroup::Mac(group) => group.to_string(),
                };
                let vlan = vlan.map_or_else(String::new, |vlan| format!(" vid {vlan}"));
                format!("bridge -n host mdb add dev {bridge} port {port} grp {group}{vlan} permanent")
            }
            Self::Address { device, address, prefix } => {
                format!("{host} address add {address}/{prefix} dev {device} nodad")
            }
            Self::Route(route) => format!("{host} route add {}", route_words(route)),
            Self::Rule(rule) => format!("{host} {}", rule_words(rule)),
            Self::LocalRuleLast { ipv6 } => {
                let family = if *ipv6 { "-6 " } else { "" };
                format!("{host} {family}rule add pref 32765 lookup local; {host} {family}rule del pref 0")
            }
            Self::Sysctl { family, device, setting, value } => {
                let path = crate::step::sysctl(family, *device, setting).join("/");
                format!("ip netns exec host sysctl -w net/{path}={value}")
            }
            Self::Neighbour { device, address, mac } => {
                format!("{host} neighbour replace {address} lladdr {mac} dev {device} nud permanent")
            }
            Self::Chain(chain) => chain.command(),
            Self::FirewallRule(rule) => rule.command(),
            Self::ToolRule(rule) => rule.command(),
            Self::Change(change) => {
                portcullis_plan::write(portcullis_plan::Words::Script, std::slice::from_ref(change))
            }
            Self::Qdisc(qdisc) => qdisc.command(),
            Self::TcTable(table) => table.command(),
            Self::TcFilter(filter) => filter.command(),
        }
    }
}

fn own(device: &Name) -> &'static str {
    if *device == BRIDGE { " self" } else { "" }
}

/// Options whose values `ip` knows by name.
fn value_word(keyword: &str, value: u32) -> String {
    match (keyword, value) {
        ("vlan_protocol", 0x88a8) => "802.1ad".to_owned(),
        ("vlan_protocol", _) => "802.1Q".to_owned(),
        _ => value.to_string(),
    }
}

const fn bool_option(option: BoolOpt) -> &'static str {
    match option {
        BoolOpt::NoLinkLocalLearn => "no_linklocal_learn",
        BoolOpt::McastVlanSnooping => "mcast_vlan_snooping",
        BoolOpt::MstEnable => "mst_enabled",
        BoolOpt::MdbOffloadFailNotification => "mdb_offload_fail_notification",
        BoolOpt::FdbLocalVlan0 => "fdb_local_vlan_0",
    }
}

fn route_words(route: &Route) -> String {
    let kind = match route.kind {
        6 => "blackhole ",
        7 => "unreachable ",
        8 => "prohibit ",
        9 => "throw ",
        _ => "",
    };
    let mut words = format!("{kind}{}/{}", route.to, route.prefix);
    if let Some(via) = route.via {
        let _ = write!(words, " via {via}");
    }
    if let Some(device) = route.device {
        let _ = write!(words, " dev {device}");
    }
    let _ = write!(words, " table {}", route.table);
    words
}

fn rule_words(rule: &Rule) -> String {
    let family = if rule.ipv6 { "-6 " } else { "" };
    let iif = rule.iif.map_or_else(String::new, |iif| format!(" iif {iif}"));
    let action = match rule.action {
        6 => "blackhole".to_owned(),
        7 => "unreachable".to_owned(),
        8 => "prohibit".to_owned(),
        _ => format!("lookup {}", rule.table),
    };
    format!("{family}rule add pref {}{iif} {action}", rule.priority)
}
