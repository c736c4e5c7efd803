//! `portcullis map` for people: a tree of bridges and their ports.

use std::io::{self, Write};

use super::{Clean, wrapped};
use crate::json::{Holder, MapBridge, MapDocument, MapLower, MapPort, MapUpper};

/// Writes the map.
///
/// # Errors
/// Whatever writing gives.
pub fn map(out: &mut impl Write, document: &MapDocument) -> io::Result<()> {
    if document.bridges.is_empty() && document.lower_devices.is_empty() {
        writeln!(out, "There is no bridge here, and no macvlan.")?;
    }
    let bridges = document.bridges.iter().map(|bridge| &bridge.netns);
    let netns: Vec<_> = bridges.chain(document.lower_devices.iter().map(|lower| &lower.netns)).collect();
    let several = netns.iter().any(|name| Some(name) != netns.first());
    let mut first = true;
    for bridge in &document.bridges {
        separate(out, &mut first)?;
        write_bridge(out, bridge, several)?;
    }
    for lower in &document.lower_devices {
        separate(out, &mut first)?;
        write_lower(out, lower, several)?;
    }
    for entry in &document.unread {
        separate(out, &mut first)?;
        wrapped(out, 0, &format!("Not read: {}: {}", entry.what, entry.reason))?;
    }
    Ok(())
}

fn separate(out: &mut impl Write, first: &mut bool) -> io::Result<()> {
    if std::mem::take(first) { Ok(()) } else { writeln!(out) }
}

fn write_bridge(out: &mut impl Write, bridge: &MapBridge, several: bool) -> io::Result<()> {
    let mut words = vec![up(bridge.up).to_owned()];
    words.extend(bridge.stp.as_ref().map(|stp| format!("STP {stp}")));
    words.push(match bridge.vlan_filtering {
        Some(true) => "VLAN filtering on".to_owned(),
        Some(false) => "VLAN filtering off".to_owned(),
        None => "no VLAN filtering in this kernel".to_owned(),
    });
    words.extend(bridge.ageing_time.map(ageing));
    words.extend(bridge.promiscuity.map(promiscuity));
    write_head(out, &bridge.name, &bridge.netns, several, &words)?;
    let branch = if bridge.ports.is_empty() && bridge.uppers.is_empty() { ' ' } else { '│' };
    let addresses = if bridge.addresses.is_empty() { "none".to_owned() } else { bridge.addresses.join(", ") };
    let mac = bridge.mac.as_deref().unwrap_or("none");
    writeln!(out, "{branch}  addresses {}, MAC {}", Clean(&addresses), Clean(mac))?;
    if !bridge.vlans.is_empty() && bridge.vlan_filtering == Some(true) {
        writeln!(out, "{branch}  VLANs {}", Clean(&bridge.vlans.join(", ")))?;
    }
    write_holders(out, &format!("{branch}  "), &bridge.held_by)?;
    let upper_count = bridge.uppers.len();
    for (at, upper) in bridge.uppers.iter().enumerate() {
        write_upper(out, "", upper, at + 1 == upper_count && bridge.ports.is_empty())?;
    }
    write_ports(out, bridge)
}

fn write_head(
    out: &mut impl Write,
    name: &str,
    netns: &str,
    several: bool,
    words: &[String],
) -> io::Result<()> {
    let place = if several { format!(" in {}", Clean(netns)) } else { String::new() };
    writeln!(out, "{}{place} · {}", Clean(name), Clean(&words.join(" · ")))
}

fn write_ports(out: &mut impl Write, bridge: &MapBridge) -> io::Result<()> {
    let width = |text: fn(&MapPort) -> &str| {
        bridge.ports.iter().map(|port| Clean(text(port)).to_string().chars().count()).max().unwrap_or(0)
    };
    let name_width = width(|port| &port.name);
    let state_width = width(|port| state(port));
    for (at, port) in bridge.ports.iter().enumerate() {
        let last = at + 1 == bridge.ports.len();
        let (branch, trunk) = if last { ("└─", "   ") } else { ("├─", "│  ") };
        let mut line = format!(
            "{branch} {:name_width$}  {:6}  {:state_width$}  {}",
            Clean(&port.name),
            port.role.name(),
            Clean(state(port)),
            Clean(&port_words(port, bridge.vlan_filtering == Some(true)).join(" · "))
        );
        line.truncate(line.trim_end().len());
        writeln!(out, "{line}")?;
        write_holders(out, &format!("{trunk}   "), &port.held_by)?;
        for (at, upper) in port.uppers.iter().enumerate() {
            write_upper(out, trunk, upper, at + 1 == port.uppers.len())?;
        }
    }
    Ok(())
}

fn state(port: &MapPort) -> &str {
    if port.up { port.state.as_deref().unwrap_or("unknown") } else { "down" }
}

fn port_words(port: &MapPort, vlans: bool) -> Vec<String> {
    let mut words = Vec::new();
    let peer = port.peer_netns.as_ref().map(|netns| format!("other end in {netns}"));
    words.extend(port.guest.clone().or(peer));
    words.extend(port.options.iter().cloned());
    if vlans {
        words.push(if port.vlans.is_empty() {
            "no VLAN".to_owned()
        } else {
            format!("VLANs {}", port.vlans.join(", "))
        });
    }
    // Being a bridge port makes for one, usually; more, or none, is worth a word.
    words.extend(port.promiscuity.filter(|count| *count != 1).map(promiscuity));
    words
}

fn write_holders(out: &mut impl Write, margin: &str, holders: &[Holder]) -> io::Result<()> {
    for holder in holders {
        let times = if holder.count > 1 { format!(" ({} times)", holder.count) } else { String::new() };
        writeln!(out, "{margin}promiscuous by {}{times}", Clean(&holder.who))?;
    }
    Ok(())
}

fn write_upper(out: &mut impl Write, margin: &str, upper: &MapUpper, last: bool) -> io::Result<()> {
    let branch = if last { "└─" } else { "├─" };
    let mut words = vec![upper.kind.clone(), up(upper.up).to_owned()];
    words.extend(upper.netns.as_ref().map(|netns| format!("in {netns}")));
    words.extend(upper.guest.clone());
    writeln!(out, "{margin}{branch} {} · {}", Clean(&upper.name), Clean(&words.join(" · ")))
}

fn write_lower(out: &mut impl Write, lower: &MapLower, several: bool) -> io::Result<()> {
    let mut words = vec![up(lower.up).to_owned(), "no bridge, but carries others".to_owned()];
    words.extend(lower.promiscuity.map(promiscuity));
    write_head(out, &lower.name, &lower.netns, several, &words)?;
    write_holders(out, "│  ", &lower.held_by)?;
    for (at, upper) in lower.uppers.iter().enumerate() {
        write_upper(out, "", upper, at + 1 == lower.uppers.len())?;
    }
    Ok(())
}

const fn up(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn promiscuity(count: u32) -> String {
    format!("promiscuity {count}")
}

/// Says an ageing time, which is in hundredths of a second.
fn ageing(time: u32) -> String {
    match (time, time % 100) {
        (0, _) => "ageing 0: a hub".to_owned(),
        (time, 0) => format!("ageing {} s", time / 100),
        (time, rest) => format!("ageing {}.{rest:02} s", time / 100),
    }
}
