//! A plan in the words of other programs: commands for a shell, or what fits a configuration file.
//!
//! Run by hand, the script has the same effect as the plan. What a format has no word for is kept as a comment, never left out.

use portcullis_audit::{shell, sysctl_name};
use portcullis_snapshot::{NftBaseChain, PolicyRule, TcAction, TcActionKind, TcClassifier, TcFilter, VlanId};

use crate::change::{Change, Ruleset, TABLE, family_word};
use crate::device::ConfAt;
use crate::option::{BridgeOption, PortOption};

/// The formats that a plan can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Commands of iproute2, nftables and procps for a shell.
    Script,
    /// A ruleset for `nft -f`.
    Nft,
    /// A file for `/etc/sysctl.d`.
    Sysctl,
    /// Stanzas for `/etc/network/interfaces.d`, whose commands run when the bridge comes up.
    Ifupdown,
    /// Files for `/etc/systemd/network`.
    Networkd,
    /// A desired state for `nmstatectl apply`.
    Nmstate,
}

/// Writes changes in the words of a format.
#[must_use]
pub fn write(words: Words, changes: &[Change]) -> String {
    match words {
        Words::Script => script(changes),
        Words::Nft => select(changes, nft),
        Words::Sysctl => select(changes, sysctl),
        Words::Ifupdown => ifupdown(changes),
        Words::Networkd => networkd(changes),
        Words::Nmstate => nmstate(changes),
    }
}

fn script(changes: &[Change]) -> String {
    let mut text = "#!/bin/sh\n# Written by portcullis fix.\nset -e\n".to_owned();
    for change in changes {
        for command in commands(change) {
            text.push_str(&command);
            text.push('\n');
        }
    }
    text
}

/// Writes what fits, and a comment for each change that does not.
fn select(changes: &[Change], line: impl Fn(&Change) -> Option<String>) -> String {
    let mut text = "# Written by portcullis fix.\n".to_owned();
    for change in changes {
        match line(change) {
            Some(line) => text.push_str(&line),
            None => text.push_str(&format!("# not in this file: {}", one_line(&change.to_string()))),
        }
        text.push('\n');
    }
    text
}

/// Keeps a comment a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn nft(change: &Change) -> Option<String> {
    match change {
        Change::Table { from, to } => Some(ruleset(from.as_ref(), to)),
        _ => None,
    }
}

/// A table for `nft -f`: chains that give way are taken away first.
fn ruleset(from: Option<&Ruleset>, to: &Ruleset) -> String {
    let family = family_word(to);
    let rules = |of: &Ruleset, name: &str| {
        let mut chains = of.table.chains.iter().filter(|chain| chain.name == name);
        chains.next().map(|chain| chain.rules.clone())
    };
    let stays = |from: &Ruleset, base: &NftBaseChain| {
        to.bases.contains(base) && rules(from, &base.chain) == rules(to, &base.chain)
    };
    let held = from.into_iter().flat_map(|from| from.bases.iter().map(move |base| (from, base)));
    let replaced = held.filter(|(from, base)| !stays(from, base)).map(|(_, base)| base);
    let mut lines: Vec<_> =
        replaced.map(|base| format!("delete chain {family} {TABLE} {}", base.chain)).collect();
    lines.push(format!("table {family} {TABLE} {{"));
    lines.extend(to.text.iter().map(|line| format!("\t{line}")));
    lines.push("}".to_owned());
    lines.join("\n")
}

fn sysctl(change: &Change) -> Option<String> {
    let (family, at, setting, to) = match change {
        Change::Ipv4 { at, setting, to, .. } => ("ipv4", at, setting, to),
        Change::Ipv6 { at, setting, to, .. } => ("ipv6", at, setting, to),
        _ => return None,
    };
    Some(format!("{} = {to}", sysctl_name(family, conf_name(at), setting)))
}

fn conf_name(at: &ConfAt) -> &str {
    match at {
        ConfAt::Device(device) => &device.name,
        ConfAt::Default => "default",
    }
}

/// The commands that make a change.
fn commands(change: &Change) -> Vec<String> {
    match change {
        Change::Bridge { bridge, option, to, .. } => {
            vec![format!("ip link set dev {} type bridge {} {to}", shell(&bridge.name), option.keyword())]
        }
        Change::Port { port, option, to, .. } => {
            let (port, keyword) = (shell(&port.name), option.keyword());
            // bridge(8) has no word for it.
            let set = match option {
                PortOption::GroupFwdMask => format!("ip link set dev {port} type bridge_slave {keyword}"),
                _ => format!("bridge link set dev {port} {keyword}"),
            };
            let value = match to {
                to if option.is_number() => to.to_string(),
                0 => "off".to_owned(),
                _ => "on".to_owned(),
            };
            vec![format!("{set} {value}")]
        }
        Change::LeaveVlans { bridge, from, to, .. } => {
            vec![format!("bridge vlan del dev {} vid {} self", shell(&bridge.name), range(*from, *to))]
        }
        Change::Ipv4 { at, setting, to, .. } => {
            vec![format!("sysctl -q -w {}={to}", shell(&sysctl_name("ipv4", conf_name(at), setting)))]
        }
        Change::Ipv6 { at, setting, to, .. } => {
            vec![format!("sysctl -q -w {}={to}", shell(&sysctl_name("ipv6", conf_name(at), setting)))]
        }
        Change::ArpOff { device } => vec![format!("ip link set dev {} arp off", shell(&device.name))],
        Change::LocalEntry { bridge, address } => {
            vec![format!("bridge fdb replace {address} dev {} self local", shell(&bridge.name))]
        }
        Change::StaticEntry { port, address, vlan, sticky } => {
            let vlan = vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
            let sticky = if *sticky { " sticky" } else { "" };
            vec![format!(
                "bridge fdb replace {address} dev {} master{vlan} static{sticky}",
                shell(&port.name)
            )]
        }
        Change::Table { from, to } => {
            vec![format!("nft -f - <<'RULES'\n{}\nRULES", ruleset(from.as_ref(), to))]
        }
        Change::Filter { device, clsact, filter } => {
            let device = shell(&device.name);
            let qdisc = clsact.then(|| format!("tc qdisc add dev {device} clsact"));
            qdisc.into_iter().chain([format!("tc filter add dev {device} ingress {}", tc(filter))]).collect()
        }
        Change::Rule(rule) => vec![format!("{} rule add {}", ip(rule.ipv6), selector(rule))],
        Change::LocalRule { ipv6, to } => {
            let ip = ip(*ipv6);
            vec![format!("{ip} rule add pref {to} lookup local"), format!("{ip} rule del pref 0")]
        }
    }
}

fn range(from: VlanId, to: VlanId) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

const fn ip(ipv6: bool) -> &'static str {
    if ipv6 { "ip -6" } else { "ip" }
}

/// A policy rule as remedies make them.
fn selector(rule: &PolicyRule) -> String {
    let iif = rule.iif.as_ref().map_or_else(String::new, |iif| format!(" iif {}", shell(iif)));
    format!("pref {}{iif} blackhole", rule.priority)
}

/// A filter as remedies make them.
fn tc(filter: &TcFilter) -> String {
    let matches = match &filter.classifier {
        TcClassifier::Flower(_) => "flower dst_mac 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0",
        TcClassifier::Bpf { .. } => "bpf da bytecode '1,6 0 0 2'",
        _ => "matchall",
    };
    let drops = |action: &TcAction| matches!(action.kind, TcActionKind::Gact { .. });
    let action = if filter.actions.iter().any(drops) { " action drop" } else { "" };
    format!("pref {} protocol all {matches}{action}", filter.priority)
}

fn ifupdown(changes: &[Change]) -> String {
    let mut text =
        "# Written by portcullis fix. Add these lines to the stanza of each interface.\n".to_owned();
    let mut last = None;
    for change in changes {
        let device = stanza(change);
        if last != Some(device) {
            text.push_str(&format!("\niface {} inet manual\n", one_line(device)));
            last = Some(device);
        }
        for command in commands(change) {
            match command.split_once("<<'RULES'\n") {
                // What ifupdown runs is one line.
                Some((_, ruleset)) => {
                    let ruleset = ruleset.trim_end_matches("\nRULES");
                    let words: Vec<_> = ruleset.lines().map(|line| nft_line(line.trim())).collect();
                    text.push_str(&format!("    post-up nft {}\n", shell(&words.join(" "))));
                }
                None => text.push_str(&format!("    post-up {command}\n")),
            }
        }
    }
    text
}

/// The interface whose coming up a change waits for.
fn stanza(change: &Change) -> &str {
    let hooked = match change {
        Change::Table { to, .. } => to.bases.iter().flat_map(|base| &base.devices).next().map(String::as_str),
        Change::Rule(rule) => rule.iif.as_deref(),
        _ => change.device().map(|device| device.name.as_str()),
    };
    hooked.unwrap_or("lo")
}

/// A line of a ruleset as part of one long line.
fn nft_line(line: &str) -> String {
    if line.ends_with(['{', ';']) { line.to_owned() } else { format!("{line};") }
}

fn networkd(changes: &[Change]) -> String {
    let mut text = "# Written by portcullis fix. Each part goes to the file that it names.\n".to_owned();
    for change in changes {
        let part = match change {
            Change::Bridge { bridge, option, to, .. } => {
                let line = match option {
                    BridgeOption::VlanFiltering => format!("VLANFiltering={}", yes(*to)),
                    BridgeOption::AgeingTime => format!("AgeingTimeSec={}", to / 100),
                    BridgeOption::GroupFwdMask => format!("GroupForwardMask={to}"),
                    BridgeOption::FdbMaxLearned => format!("FDBMaxLearned={to}"),
                    BridgeOption::NoLinkLocalLearn => {
                        format!("LinkLocalLearning={}", yes(u32::from(*to == 0)))
                    }
                };
                netdev(&bridge.name, &line)
            }
            Change::Port { port, option, to, .. } => match networkd_option(*option, *to) {
                Some(line) => network(&port.name, "Bridge", &line),
                None => comment(change),
            },
            Change::ArpOff { device } => network(&device.name, "Link", "ARP=no"),
            Change::Ipv4 { at: ConfAt::Device(device), setting, to, .. } if setting == "rp_filter" => {
                network(&device.name, "Network", &format!("IPv4ReversePathFilter={}", rp_filter(*to)))
            }
            Change::Ipv4 { at: ConfAt::Device(device), setting, to, .. } if setting == "forwarding" => {
                network(&device.name, "Network", &format!("IPv4Forwarding={}", yes((*to).cast_unsigned())))
            }
            Change::Ipv6 { at: ConfAt::Device(device), setting, to: 0, .. } if setting == "accept_ra" => {
                network(&device.name, "Network", "IPv6AcceptRA=no")
            }
            Change::StaticEntry { port, address, vlan, .. } => {
                let vlan = vlan.map_or_else(String::new, |vlan| format!("\nVLANId={vlan}"));
                network(
                    &port.name,
                    "BridgeFDB",
                    &format!("MACAddress={address}\nAssociatedWith=master{vlan}"),
                )
            }
            Change::LocalEntry { bridge, address } => {
                network(&bridge.name, "BridgeFDB", &format!("MACAddress={address}\nAssociatedWith=self"))
            }
            Change::Rule(rule) => {
                let iif = rule.iif.as_deref().unwrap_or_default();
                let family = if rule.ipv6 { "ipv6" } else { "ipv4" };
                let line = format!(
                    "Priority={}\nIncomingInterface={iif}\nType=blackhole\nFamily={family}",
                    rule.priority
                );
                network(iif, "RoutingPolicyRule", &line)
            }
            _ => comment(change),
        };
        text.push_str(&part);
    }
    text
}

fn comment(change: &Change) -> String {
    format!("\n# networkd has no word for: {}\n", one_line(&change.to_string()))
}

fn netdev(device: &str, line: &str) -> String {
    let device = one_line(device);
    format!("\n# {device}.netdev.d/portcullis.conf\n[Bridge]\n{line}\n")
}

fn network(device: &str, section: &str, line: &str) -> String {
    let device = one_line(device);
    format!("\n# {device}.network.d/portcullis.conf\n[{section}]\n{line}\n")
}

const fn yes(value: u32) -> &'static str {
    if value == 0 { "no" } else { "yes" }
}

const fn rp_filter(value: i32) -> &'static str {
    match value {
        0 => "no",
        1 => "strict",
        _ => "loose",
    }
}

/// systemd.network(5), section `[Bridge]`.
fn networkd_option(option: PortOption, to: u32) -> Option<String> {
    let yes = yes(to);
    Some(match option {
        PortOption::Guard => format!("UseBPDU={}", if to == 0 { "yes" } else { "no" }),
        PortOption::RootBlock => format!("AllowPortToBeRoot={}", if to == 0 { "yes" } else { "no" }),
        PortOption::Learning => format!("Learning={yes}"),
        PortOption::Flood => format!("UnicastFlood={yes}"),
        PortOption::Isolated => format!("Isolated={yes}"),
        PortOption::McastRouter => {
            let word = ["no", "query", "permanent", "temporary"].get(to as usize)?;
            format!("MulticastRouter={word}")
        }
        PortOption::Locked | PortOption::GroupFwdMask => return None,
    })
}

/// nmstate speaks of few of these: <https://nmstate.io/devel/yaml_api.html>.
fn nmstate(changes: &[Change]) -> String {
    let (mut comments, mut interfaces, mut rules) = (String::new(), String::new(), String::new());
    for change in changes {
        match change {
            Change::Bridge { bridge, option: BridgeOption::AgeingTime, to, .. } => {
                let (name, seconds) = (yaml(&bridge.name), to / 100);
                interfaces.push_str(&format!(
                    "- name: {name}\n  type: linux-bridge\n  bridge:\n    options:\n      mac-ageing-time: {seconds}\n"
                ));
            }
            Change::Ipv6 { at: ConfAt::Device(device), setting, to: 1, .. } if setting == "disable_ipv6" => {
                interfaces
                    .push_str(&format!("- name: {}\n  ipv6:\n    enabled: false\n", yaml(&device.name)));
            }
            Change::Rule(rule) => {
                let (priority, family) = (rule.priority, if rule.ipv6 { "ipv6" } else { "ipv4" });
                let iif = yaml(rule.iif.as_deref().unwrap_or_default());
                rules.push_str(&format!(
                    "  - priority: {priority}\n    family: {family}\n    iif: {iif}\n    action: blackhole\n"
                ));
            }
            _ => {
                comments.push_str(&format!("# nmstate has no word for: {}\n", one_line(&change.to_string())))
            }
        }
    }
    let mut text = format!("# Written by portcullis fix.\n{comments}");
    if !interfaces.is_empty() {
        text.push_str(&format!("interfaces:\n{interfaces}"));
    }
    if !rules.is_empty() {
        text.push_str(&format!("route-rules:\n  config:\n{rules}"));
    }
    text
}

/// A text in YAML's double quotes, which take JSON's escapes.
fn yaml(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| if c == '"' || c == '\\' { vec!['\\', c] } else { vec![c] }).collect();
    format!("\"{}\"", one_line(&escaped))
}
