//! `portcullis audit` for people: findings that are alike in one block, the fix beside each.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

use super::claims::claims;
use super::layout::shell_word;
use super::{Clean, Severe, field, plural, wrapped};
use crate::json::{AuditDocument, EvidenceEntry, FindingEntry, Findings, RemedyEntry, Summary, UnreadEntry};

/// How many port names are listed before the rest is only counted.
const PORTS: usize = 4;
/// How many commands of a remedy are shown; a remedy is rarely longer.
const COMMANDS: usize = 6;
/// How many columns of evidence are shown.
const EVIDENCE: usize = 150;

/// Writes what was found, worst first, and a line that counts it.
///
/// # Errors
/// Whatever writing gives.
pub fn audit(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    let blocks = blocks(document.findings.entries());
    let place = Places::of(document, &blocks);
    let (waived, standing): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| block.first.waiver.is_some());
    let mut explained = HashSet::new();
    for block in &standing {
        let new = explained.insert(&block.first.why);
        write_block(out, block, place, new)?;
    }
    write_waived(out, &waived, place)?;
    claims(out, document, |netns, bridge| place.say(netns, Some(bridge)))?;
    write_summary(out, document)?;
    write_unread(out, &document.unread, place)
}

/// Findings that are alike but for their port.
struct Block<'d> {
    first: Cow<'d, FindingEntry<'d>>,
    ports: Vec<Cow<'d, str>>,
}

/// Whether places are said with their namespace.
#[derive(Clone, Copy)]
struct Places {
    several: bool,
}

impl Places {
    fn of<F>(document: &AuditDocument<F>, blocks: &[Block<'_>]) -> Self {
        let mut names: HashSet<&str> = blocks.iter().map(|block| block.first.netns.as_ref()).collect();
        names.extend(document.bridges.iter().map(|bridge| bridge.netns.as_str()));
        names.extend(document.lower_devices.iter().map(|lower| lower.netns.as_str()));
        Self { several: names.len() > 1 }
    }

    fn say(self, netns: &str, bridge: Option<&str>) -> String {
        match (bridge, self.several) {
            (Some(bridge), false) => Clean(bridge).to_string(),
            (Some(bridge), true) => format!("{} in {}", Clean(bridge), Clean(netns)),
            (None, false) => "the host".to_owned(),
            (None, true) => Clean(netns).to_string(),
        }
    }
}

/// Puts findings together that differ only in their port, in the order of the first of each.
///
/// Those of one rule about one bridge follow one another, so that only the latest blocks have to be looked at.
fn blocks<'d>(findings: impl Iterator<Item = Cow<'d, FindingEntry<'d>>>) -> Vec<Block<'d>> {
    fn place<'f>(finding: &'f FindingEntry<'_>) -> impl PartialEq + 'f {
        (finding.severity, &finding.rule, &finding.netns, &finding.bridge)
    }
    fn rest<'f>(finding: &'f FindingEntry<'_>) -> impl PartialEq + 'f {
        let FindingEntry { port, title, unproven, remedies, waiver, expired_waiver, .. } = finding;
        (port.is_some(), title, unproven, remedies, waiver, expired_waiver)
    }
    let mut blocks: Vec<Block<'d>> = Vec::new();
    for finding in findings {
        let port = finding.port.clone();
        let mut latest = blocks.iter_mut().rev().take_while(|block| place(&block.first) == place(&finding));
        match latest.find(|block| rest(&block.first) == rest(&finding)) {
            Some(block) if port.is_some() => block.ports.extend(port),
            _ => blocks.push(Block { first: finding, ports: port.into_iter().collect() }),
        }
    }
    blocks
}

fn write_block(out: &mut impl Write, block: &Block<'_>, place: Places, explain: bool) -> io::Result<()> {
    let finding = &block.first;
    let bridge = place.say(&finding.netns, finding.bridge.as_deref());
    writeln!(out, "{} · {} · {bridge}", Severe(finding.severity), Clean(&finding.rule))?;
    wrapped(out, 2, &finding.title)?;
    if !block.ports.is_empty() {
        let label = if block.ports.len() == 1 { "port" } else { "ports" };
        field(out, 4, label, &port_list(&block.ports))?;
    }
    if explain {
        field(out, 4, "because", &finding.why)?;
    }
    field(out, 4, "seen", &evidence(&finding.evidence))?;
    if !finding.unproven.is_empty() {
        field(out, 4, "unproven", &format!("because of {}", finding.unproven.join("; ")))?;
    }
    if let Some(waiver) = &finding.expired_waiver {
        field(out, 4, "waiver", &format!("expired on {}: {}", waiver.expires, waiver.reason))?;
    }
    if let Some(witness) = &finding.witness {
        // One line, however long: it is there to be pasted.
        let netns =
            if place.several { format!("--netns {} ", shell_word(&finding.netns)) } else { String::new() };
        let (port, frame) = (shell_word(&witness.port), &witness.frame);
        writeln!(out, "    witness   portcullis walk {netns}--from {port} --frame {frame}")?;
        field(out, 4, "", &format!("reaches {}", witness.reaches))?;
    }
    write_remedies(out, block)?;
    writeln!(out, "    more      portcullis explain {}", Clean(&finding.rule))?;
    writeln!(out)
}

fn port_list(ports: &[Cow<'_, str>]) -> String {
    let shown: Vec<_> = ports.iter().take(PORTS).map(|port| Clean(port).to_string()).collect();
    match ports.len().saturating_sub(PORTS) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Joins evidence as long as it is short, and counts the rest.
fn evidence(evidence: &[EvidenceEntry<'_>]) -> String {
    let mut text = String::new();
    for (at, entry) in evidence.iter().enumerate() {
        let mut next = format!("{}: {}", entry.source, entry.value);
        if next.chars().count() > EVIDENCE {
            next = next.chars().take(EVIDENCE).chain(['…']).collect();
        }
        if at > 0 && text.chars().count() + next.chars().count() > EVIDENCE {
            text.push_str(&format!(" (+{})", evidence.len() - at));
            break;
        }
        if at > 0 {
            text.push_str("; ");
        }
        text.push_str(&next);
    }
    text
}

fn write_remedies(out: &mut impl Write, block: &Block<'_>) -> io::Result<()> {
    let Some((first, others)) = block.first.commands.split_first() else { return Ok(()) };
    field(out, 4, "remedy", &format!("{}: {}", first.method, first.summary))?;
    write_commands(out, first)?;
    let mentions_port =
        block.ports.first().is_some_and(|port| first.commands.iter().any(|line| mentions(line, port)));
    if mentions_port && block.ports.len() > 1 {
        let others = match block.ports.len() - 1 {
            1 => "other port".to_owned(),
            more => format!("other {more} ports"),
        };
        field(out, 4, "", &format!("and the same for the {others}"))?;
    }
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|remedy| remedy.method.as_ref()).collect();
        field(out, 4, "or", &names.join(", "))?;
    }
    Ok(())
}

fn write_commands(out: &mut impl Write, remedy: &RemedyEntry<'_>) -> io::Result<()> {
    for line in remedy.commands.iter().take(COMMANDS) {
        writeln!(out, "                {}", Clean(line))?;
    }
    match remedy.commands.len().saturating_sub(COMMANDS) {
        0 => Ok(()),
        more => writeln!(out, "                (+{}, all with --format json)", plural(more, "line")),
    }
}

/// Whether a command line names a device, as a word or as a part of a sysctl's name.
fn mentions(line: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

fn write_waived(out: &mut impl Write, waived: &[Block<'_>], place: Places) -> io::Result<()> {
    for block in waived {
        let Some(waiver) = &block.first.waiver else { continue };
        let bridge = place.say(&block.first.netns, block.first.bridge.as_deref());
        let ports = match block.ports.len() {
            0 => String::new(),
            _ => format!(" ({})", port_list(&block.ports)),
        };
        writeln!(out, "waived · {} · {bridge}{ports}", Clean(&block.first.rule))?;
        wrapped(out, 2, &format!("until {}: {}", waiver.expires, waiver.reason))?;
    }
    if waived.is_empty() { Ok(()) } else { writeln!(out) }
}

fn write_summary(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    let looked_at = looked_at(document);
    let counts = counts(&document.summary);
    if document.bridges.is_empty() && document.lower_devices.is_empty() {
        return wrapped(out, 0, &format!("{looked_at}{}", if counts.is_empty() { "." } else { ":" }))
            .and_then(|()| if counts.is_empty() { Ok(()) } else { wrapped(out, 0, &format!("{counts}.")) });
    }
    let text = match (counts.is_empty(), document.unread.is_empty()) {
        (true, true) => format!("Nothing found on {looked_at}."),
        (true, false) => format!("Nothing found on {looked_at}, but not everything could be read."),
        (false, _) => format!("{counts} on {looked_at}."),
    };
    wrapped(out, 0, &text)
}

fn looked_at(document: &AuditDocument<impl Findings>) -> String {
    let mut parts = Vec::new();
    if !document.bridges.is_empty() {
        let ports = document.bridges.iter().map(|bridge| bridge.ports.len()).sum();
        let bridges = document.bridges.len();
        parts.push(format!("{} with {}", plural(bridges, "bridge"), plural(ports, "port")));
    }
    if !document.lower_devices.is_empty() {
        let uppers = document.lower_devices.iter().map(|lower| lower.macvlans.len()).sum();
        let lowers = document.lower_devices.len();
        parts.push(format!("{} with {}", plural(lowers, "lower device"), plural(uppers, "macvlan")));
    }
    if parts.is_empty() { "There is no bridge here, and no macvlan".to_owned() } else { parts.join(" and ") }
}

fn counts(summary: &Summary) -> String {
    let Summary { critical, high, medium, low, info, waived, unproven } = *summary;
    let severities =
        [(critical, "critical"), (high, "high"), (medium, "medium"), (low, "low"), (info, "info")];
    let mut parts: Vec<_> = severities
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if waived > 0 {
        parts.push(format!("{waived} waived"));
    }
    let mut text = parts.join(", ");
    if unproven > 0 {
        text.push_str(&format!(" ({unproven} of them unproven)"));
    }
    text
}

fn write_unread(out: &mut impl Write, unread: &[UnreadEntry], place: Places) -> io::Result<()> {
    if unread.is_empty() {
        return Ok(());
    }
    writeln!(out, "Not read, and could hide something:")?;
    let mut for_root: Vec<&str> = Vec::new();
    for entry in unread {
        if entry.needs_root {
            if !for_root.contains(&entry.what.as_str()) {
                for_root.push(&entry.what);
            }
            continue;
        }
        let netns = entry.netns.as_deref().filter(|_| place.several);
        let netns = netns.map_or_else(String::new, |netns| format!(" in {netns}"));
        wrapped(out, 2, &format!("{}{netns}: {}", entry.what, entry.reason))?;
    }
    if for_root.is_empty() {
        return Ok(());
    }
    wrapped(out, 2, &format!("{}: the kernel shows this to root only", for_root.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_a_word_or_in_a_sysctl() {
        assert!(mentions("tc qdisc add dev tap1 clsact", "tap1"));
        assert!(mentions("sysctl -w net.ipv6.conf.tap1.accept_ra=0", "tap1"));
        assert!(!mentions("tc qdisc add dev vtap1 clsact", "tap1"));
        assert!(!mentions("tc qdisc add dev tap12 clsact", "tap1"));
    }

    #[test]
    fn a_device_name_cannot_leave_its_word() {
        assert_eq!(shell_word("tap0"), "tap0");
        assert_eq!(shell_word("a;reboot"), "'a;reboot'");
        assert_eq!(shell_word("a'b"), r"'a'\''b'");
    }
}
