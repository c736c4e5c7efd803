//! Whether the snapshot tells what was configured: a knob that does not survive the round trip would be lost on every
//! user.

use std::collections::BTreeMap;

use portcullis_snapshot::{LinkKind, MacvlanMode, Netns, VlanFlags, VlanTable};

use crate::names::index;
use crate::step::Step;

/// Holds steps that the kernel took against a snapshot; what is not found there, in words.
pub(crate) fn read_back<'a>(steps: impl Iterator<Item = &'a Step>, netns: &Netns) -> Vec<String> {
    // Of two steps that set the same thing, the later one counts.
    let mut last: BTreeMap<String, &Step> = BTreeMap::new();
    for step in steps {
        last.insert(step.key(), step);
    }
    last.values().filter_map(|step| lost(step, netns)).collect()
}

fn lost(step: &Step, netns: &Netns) -> Option<String> {
    let told = |what: &str, set: u32, read: u32| {
        (set != read).then(|| format!("{}: {what} was set to {set}, and reads {read}", step.key()))
    };
    let absent = |there: bool| (!there).then(|| format!("{}: not in the snapshot", step.key()));
    let link = |name| netns.link(index(name));
    match step {
        Step::Cable { near, .. } => absent(link(near).is_some_and(|link| link.kind == LinkKind::Veth)),
        Step::Tap(name) => absent(link(name).is_some_and(|link| matches!(link.kind, LinkKind::Tun(_)))),
        Step::Bridge(name) => absent(link(name).is_some_and(|link| link.bridge().is_some())),
        Step::Bond(name) => absent(link(name).is_some_and(|link| matches!(link.kind, LinkKind::Bond(_)))),
        Step::Vrf { name, table } => absent(link(name)?.kind == LinkKind::Vrf { table: *table }),
        Step::Vlan { name, tpid, id, .. } => match &link(name)?.kind {
            LinkKind::Vlan(vlan) => absent(vlan.protocol == *tpid && vlan.id == *id),
            _ => absent(false),
        },
        Step::Macvlan { name, mode, .. } => match &link(name)?.kind {
            LinkKind::Macvlan(options) => absent(macvlan_mode(options.mode) == *mode),
            _ => absent(false),
        },
        Step::Master { device, master } => absent(link(device)?.master == Some(index(master))),
        Step::Up(name) => absent(link(name).is_none_or(|link| link.is_up())),
        Step::Mtu { device, mtu } => told("mtu", *mtu, link(device)?.mtu),
        Step::BridgeOption { bridge, knob, value } => {
            told(knob.keyword, *value, (knob.read)(link(bridge)?.bridge()?)?)
        }
        Step::PortOption { port, knob, value } => {
            told(knob.keyword, *value, (knob.read)(link(port)?.bridge_port()?)?)
        }
        Step::BoolOption { bridge, option } => absent(link(bridge)?.bridge()?.multi_boolopt?.get(*option)?),
        Step::BackupPort { port, backup } => {
            absent(link(port)?.bridge_port()?.backup_port.is_none_or(|port| port == index(backup)))
        }
        Step::Member { device, id, flags } => {
            let table = netns.vlans.known().iter().find(|table| table.device == index(device));
            let entry = table.and_then(|table: &VlanTable| table.get(*id));
            match (flags, entry) {
                (None, entry) => absent(entry.is_none()),
                // A later PVID takes the mark from an earlier one.
                (Some(flags), Some(entry)) => {
                    let untagged = flags & VlanFlags::UNTAGGED != 0;
                    absent(entry.flags.has(VlanFlags::UNTAGGED) == untagged)
                }
                (Some(_), None) => absent(false),
            }
        }
        Step::Sysctl { family, device: Some(device), setting, value } if *device != "all" => {
            let link = link(device)?;
            let read = match *family {
                "ipv4" => link.ipv4.as_ref()?.get(setting)?,
                _ => link.ipv6.as_ref()?.get(setting)?,
            };
            told(setting, *value, read.cast_unsigned())
        }
        // Turning IPv6 off takes the addresses away.
        Step::Address { device, address, .. }
            if address.is_ipv6() && link(device)?.ipv6.as_ref()?.disable_ipv6 == Some(1) =>
        {
            None
        }
        Step::Address { device, address, .. } => {
            let mut addresses = netns.addresses.known().iter();
            absent(addresses.any(|known| known.device == index(device) && known.address.addr() == *address))
        }
        Step::Rule(rule) => {
            let mut rules = netns.rules.known().iter();
            absent(rules.any(|known| {
                known.ipv6 == rule.ipv6 && known.priority == rule.priority && known.action == rule.action
            }))
        }
        Step::Neighbour { device, address, mac } => {
            let mut neighbours = netns.neighbours.known().iter();
            absent(neighbours.any(|known| {
                known.device == index(device) && known.address == *address && known.mac == Some(*mac)
            }))
        }
        Step::Chain(chain) => {
            let table = crate::firewall::table(netns, chain.family);
            absent(table.is_some_and(|table| table.chain(&chain.name).is_some()))
        }
        Step::FirewallRule(rule) => {
            let table = crate::firewall::table(netns, rule.family)?;
            let mut rules = table.chain(&rule.chain)?.rules.iter();
            let mut sets = rule.matches.iter().filter_map(|one| one.set.as_ref());
            let whole = sets.all(|set| {
                let mut set = set.clone();
                portcullis_wire::nft::sort(&mut set.elements);
                table.set(&set.name) == Some(&set)
            });
            absent(whole && rules.any(|found| found.expressions == rule.expressions()))
        }
        Step::Change(change) => absent(change.state(netns) == portcullis_plan::State::After),
        Step::Qdisc(qdisc) => {
            let mut hooks = netns.filters.tc.known().iter();
            absent(hooks.any(|hook| hook.device == index(qdisc.device) && hook.qdisc == "clsact"))
        }
        Step::TcTable(table) => absent(table.is_in(netns)),
        Step::TcFilter(filter) => absent(filter.is_in(netns)),
        _ => None,
    }
}

/// `MACVLAN_MODE_*`.
const fn macvlan_mode(mode: MacvlanMode) -> u32 {
    match mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
        MacvlanMode::Source => 16,
        MacvlanMode::Other(other) => other,
    }
}
