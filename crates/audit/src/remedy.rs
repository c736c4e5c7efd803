//! The ways to close findings that several rules share: what to type, and what each leaves open.
//!
//! Values only; nothing is run. Names of devices are put in as a shell and nft need them, whatever they contain.

use std::borrow::Cow;
use std::fmt;

use portcullis_snapshot::Link;

use crate::context::{BridgeView, Context, PortView};
use crate::finding::Remedy;
use crate::policy::LinkLocalProtocol;
use crate::rule::RemedyDoc;

/// The manual's words on each method here, for the manual pages of rules.
pub(crate) mod docs {
    use super::RemedyDoc;

    pub(crate) const VLAN_FILTERING: RemedyDoc = RemedyDoc {
        method: "vlan-filtering",
        trade_off: "Two commands, no cost per frame; guests keep talking to each other and to the uplink. Frames to \
                    01:80:c2:00:00:00–0f bypass VLAN filtering and still reach the port's own stack: combine it with \
                    drop-link-local. Any address on the bridge device stops working.",
    };
    pub(crate) const DROP_ON_BRIDGE: RemedyDoc = RemedyDoc {
        method: "drop-on-bridge",
        trade_off: "nftables drops whatever is passed up to the bridge device; bridging between ports is untouched. \
                    Kernel 4.2 or later. Link-local frames do not pass here: combine it with drop-link-local.",
    };
    pub(crate) const DROP_LINK_LOCAL: RemedyDoc = RemedyDoc {
        method: "drop-link-local",
        trade_off: "nftables drops 01:80:c2:00:00:00–0f at the ingress of each guest port, before the bridge. New ports \
                    have to be added. LACP, LLDP, 802.1X and BPDUs from guests stop too.",
    };
    pub(crate) const TC_LINK_LOCAL: RemedyDoc = RemedyDoc {
        method: "tc-link-local",
        trade_off: "The same by tc, for kernels without nftables; needs cls_flower and act_gact.",
    };
    pub(crate) const OWN_NETNS: RemedyDoc = RemedyDoc {
        method: "own-netns",
        trade_off: "The bridge and its ports move to a network namespace of their own, whose stack has no addresses, \
                    routes or services. The most thorough way; the software that creates guests has to follow.",
    };
    pub(crate) const DISABLE_IPV6: RemedyDoc = RemedyDoc {
        method: "disable-ipv6",
        trade_off: "Stops IPv6 on the device it is set on, and only there: ports and VLAN devices have their own switch.",
    };
    pub(crate) const ACCEPT_RA_OFF: RemedyDoc = RemedyDoc {
        method: "accept-ra-off",
        trade_off: "The kernel no longer believes router advertisements there. A daemon that handles them itself \
                    (NetworkManager, systemd-networkd) has to be told separately.",
    };
    pub(crate) const ACCEPT_RA_DEFAULT: RemedyDoc = RemedyDoc {
        method: "accept-ra-default",
        trade_off: "Devices that come later have to be told to believe router advertisements where they should.",
    };
    pub(crate) const ARP_OFF: RemedyDoc = RemedyDoc {
        method: "arp-off",
        trade_off: "One command. Stops ARP only: a guest that knows or guesses the bridge's MAC address, or uses \
                    broadcast, still reaches IPv4, and IPv6 is untouched.",
    };
    pub(crate) const FORWARDING_OFF: RemedyDoc = RemedyDoc {
        method: "forwarding-off",
        trade_off: "The host no longer routes what comes in there; guests that use the host as a router lose it.",
    };
    pub(crate) const ARP_INPUT: RemedyDoc = RemedyDoc {
        method: "arp-input",
        trade_off: "nftables drops ARP that comes in by the device. The host cannot speak IPv4 there unless by permanent \
                    neighbour entries.",
    };
    pub(crate) const RAW_PREROUTING: RemedyDoc = RemedyDoc {
        method: "raw-prerouting",
        trade_off: "nftables drops IPv4 that comes in by the device, before it is routed. The host's IPv4 addresses there stop \
                    working.",
    };
    pub(crate) const IP6_PREROUTING: RemedyDoc =
        RemedyDoc { method: "ip6-prerouting", trade_off: "The same for IPv6." };
    pub(crate) const NFT_FORWARD: RemedyDoc = RemedyDoc {
        method: "nft-forward",
        trade_off: "A rule in the forward hook; it acts on routed packets only and leaves the host itself reachable.",
    };
}

/// The table that suggested nftables rules go to.
const TABLE: &str = "netdev portcullis";

/// Closes the way up to the bridge device: by VLAN filtering where the kernel has it, or by nftables.
pub(crate) fn close_the_way_up(context: &Context<'_>, bridge: &BridgeView<'_>) -> Vec<Remedy> {
    vlan_filtering(context, bridge).into_iter().chain([drop_on_bridge(context, bridge.link)]).collect()
}

/// Takes the bridge device out of every VLAN, and turns VLAN filtering on; `None` where the kernel has no such thing.
pub(crate) fn vlan_filtering(context: &Context<'_>, bridge: &BridgeView<'_>) -> Option<Remedy> {
    // Without VLAN filtering the kernel still says that it is off, but has no TPID to tell of (br_fill_info).
    bridge.options.vlan_protocol?;
    let on = bridge.options.vlan_filtering?;
    let name = shell(&bridge.link.name);
    let mut commands: Vec<_> = bridge
        .own_vlans()
        .map(|entry| {
            let range = if entry.from == entry.to {
                entry.from.to_string()
            } else {
                format!("{}-{}", entry.from, entry.to)
            };
            context.command(format!("bridge vlan del dev {name} vid {range} self"))
        })
        .collect();
    if !on {
        commands.push(context.command(format!("ip link set dev {name} type bridge vlan_filtering 1")));
    }
    let summary = "The bridge device leaves every VLAN, so that nothing is passed up to it. \
                   Frames to 01:80:c2:00:00:00–0f stay open: see link-local-to-host.";
    Some(Remedy { method: docs::VLAN_FILTERING.method, summary: summary.into(), commands })
}

/// Drops, with nftables, whatever is passed up to a device.
pub(crate) fn drop_on_bridge(context: &Context<'_>, device: &Link) -> Remedy {
    Remedy {
        method: docs::DROP_ON_BRIDGE.method,
        summary: format!(
            "Whatever is passed up to {} is dropped there. Link-local frames stay open: see link-local-to-host.",
            device.name
        )
        .into(),
        commands: vec![
            context.command(format!("nft add table {TABLE}")),
            nft(
                context,
                format_args!(
                    "add chain {TABLE} {} {{ type filter hook ingress device \"{}\" priority -500; policy drop; }}",
                    ChainName("up", device),
                    device.name
                ),
            ),
        ],
    }
}

/// Drops, with nftables, what the host's stack takes in by a device, protocol by protocol: behind whatever else takes frames from
/// it.
pub(crate) fn drop_in_the_stack(context: &Context<'_>, device: &Link) -> [Remedy; 3] {
    let each = [
        (docs::ARP_INPUT, "arp", "input", -200, "ARP that comes in there is dropped."),
        (
            docs::RAW_PREROUTING,
            "ip",
            "prerouting",
            -300,
            "IPv4 that comes in there is dropped before it is routed.",
        ),
        (
            docs::IP6_PREROUTING,
            "ip6",
            "prerouting",
            -300,
            "IPv6 that comes in there is dropped before it is routed.",
        ),
    ];
    each.map(|(doc, family, hook, priority, summary)| {
        let (table, name) = (format!("{family} portcullis"), &device.name);
        let commands = vec![
            context.command(format!("nft add table {table}")),
            nft(
                context,
                format_args!("add chain {table} up {{ type filter hook {hook} priority {priority}; }}"),
            ),
            nft(context, format_args!("add rule {table} up iifname \"{name}\" drop")),
        ];
        Remedy { method: doc.method, summary: summary.into(), commands }
    })
}

/// Drops, with nftables, link-local group addresses at a port, except for protocols that the policy allows.
pub(crate) fn drop_link_local(context: &Context<'_>, bridge: &BridgeView<'_>, port: &PortView<'_>) -> Remedy {
    let allowed = bridge.policy.link_local.as_deref().unwrap_or_default();
    let rule = format!("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00{} drop", except(allowed));
    Remedy {
        method: docs::DROP_LINK_LOCAL.method,
        summary: "Frames to link-local group addresses are dropped at the port, before the bridge.".into(),
        commands: at_port(context, port, &rule),
    }
}

/// Returns the commands that put an nftables rule at the ingress of a port.
pub(crate) fn at_port(context: &Context<'_>, port: &PortView<'_>, rule: &str) -> Vec<String> {
    let (chain, device) = (ChainName("port", port.link), &port.link.name);
    let hook = "type filter hook ingress";
    vec![
        nft(context, format_args!("add table {TABLE}")),
        nft(
            context,
            format_args!("add chain {TABLE} {chain} {{ {hook} device \"{device}\" priority -500; }}"),
        ),
        nft(context, format_args!("add rule {TABLE} {chain} {rule}")),
    ]
}

/// The condition that leaves protocols out: by EtherType, and 802.2 by its being none.
fn except(allowed: &[LinkLocalProtocol]) -> String {
    let types: Vec<_> = allowed
        .iter()
        .filter_map(|protocol| match protocol {
            LinkLocalProtocol::Eapol => Some("0x888e"),
            LinkLocalProtocol::Lacp => Some("0x8809"),
            LinkLocalProtocol::Lldp => Some("0x88cc"),
            LinkLocalProtocol::Stp => None,
        })
        .collect();
    let mut except = String::new();
    if allowed.contains(&LinkLocalProtocol::Stp) {
        except.push_str(" ether type > 1500");
    }
    if !types.is_empty() {
        except.push_str(&format!(" ether type != {{ {} }}", types.join(", ")));
    }
    except
}

/// Drops, with tc, link-local group addresses at a port.
pub(crate) fn tc_link_local(context: &Context<'_>, port: &PortView<'_>) -> Remedy {
    let name = shell(&port.link.name);
    let filter = "protocol all flower dst_mac 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0 action drop";
    Remedy {
        method: docs::TC_LINK_LOCAL.method,
        summary: "The same with tc.".into(),
        commands: vec![
            context.command(format!("tc qdisc add dev {name} clsact")),
            context.command(format!("tc filter add dev {name} ingress {filter}")),
        ],
    }
}

/// Sets an interface's IPv4 or IPv6 setting.
pub(crate) fn sysctl(
    context: &Context<'_>,
    doc: &RemedyDoc,
    summary: impl Into<Cow<'static, str>>,
    settings: &[(&str, &str, &str, i32)],
) -> Remedy {
    let command = |(family, device, name, value): &(&str, &str, &str, i32)| {
        context.command(format!("sysctl -w {}={value}", shell(&sysctl_name(family, device, name))))
    };
    let commands = settings.iter().map(command).collect();
    Remedy { method: doc.method, summary: summary.into(), commands }
}

/// Returns the name of a setting; with slashes where the device's name has a dot, as sysctl(8) wants it.
#[must_use]
pub fn sysctl_name(family: &str, device: &str, name: &str) -> String {
    let separator = if device.contains('.') { '/' } else { '.' };
    ["net", family, "conf", device, name].join(&separator.to_string())
}

/// Returns a text as one word for a shell.
#[must_use]
pub fn shell(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@+=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.into();
    }
    if text.contains('\'') {
        return format!("'{}'", text.replace('\'', r"'\''")).into();
    }
    format!("'{text}'").into()
}

/// Returns nft commands as they have to be typed.
pub(crate) fn nft_commands(context: &Context<'_>, commands: &[&str]) -> Vec<String> {
    commands.iter().map(|command| nft(context, format_args!("{command}"))).collect()
}

/// Returns an nft command as it has to be typed: one quoted word behind `nft`, put together in one piece, since a host
/// with many guests has thousands of them.
fn nft(context: &Context<'_>, command: fmt::Arguments<'_>) -> String {
    struct Quoted(String);
    impl fmt::Write for Quoted {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for (at, part) in text.split('\'').enumerate() {
                self.0.push_str(if at > 0 { r"'\''" } else { "" });
                self.0.push_str(part);
            }
            Ok(())
        }
    }
    let mut line = String::with_capacity(160);
    line.push_str(context.command_prefix());
    line.push_str("nft '");
    let mut quoted = Quoted(line);
    // A String takes everything.
    let _ = fmt::write(&mut quoted, command);
    quoted.0.push('\'');
    quoted.0
}

/// A chain's name that nft can parse, whatever the device is called.
struct ChainName<'a>(&'a str, &'a Link);

impl fmt::Display for ChainName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(prefix, device) = self;
        write!(f, "{prefix}_")?;
        for (at, part) in device.name.split(|c: char| !c.is_ascii_alphanumeric()).enumerate() {
            f.write_str(if at > 0 { "_" } else { "" })?;
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_word() {
        assert_eq!(shell("br0"), "br0");
        assert_eq!(shell("a;reboot"), "'a;reboot'");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn allowed_protocols_are_left_out_by_type() {
        use LinkLocalProtocol::{Lldp, Stp};
        assert_eq!(except(&[]), "");
        assert_eq!(except(&[Stp, Lldp]), " ether type > 1500 ether type != { 0x88cc }");
    }

    #[test]
    fn vlan_filtering_is_offered_where_the_kernel_has_it() {
        let offered = |host: &crate::testing::Host| {
            let found = host.found("host-ipv4");
            found.iter().flat_map(|finding| &finding.remedies).any(|remedy| remedy.method == "vlan-filtering")
        };
        let mut host = crate::testing::Host::hypervisor();
        assert!(offered(&host));
        host.bridge_options("br0").vlan_protocol = None;
        assert!(!offered(&host));
    }

    #[test]
    fn dots_in_names_are_kept_apart() {
        assert_eq!(sysctl_name("ipv4", "br0", "forwarding"), "net.ipv4.conf.br0.forwarding");
        assert_eq!(sysctl_name("ipv4", "br0.10", "forwarding"), "net/ipv4/conf/br0.10/forwarding");
    }
}
