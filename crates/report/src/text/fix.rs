//! `portcullis fix` for people: what is closed, by what, what stops working, what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use portcullis_audit::Severity;

use super::layout::shell_word;
use super::{Clean, field, named, plural, some, what};
use crate::json::{ClaimEntry, FixClaim, FixDocument, FixFound, FixOutcome, VerdictName};

/// How many changes are shown before the rest is only counted.
const CHANGES: usize = 12;
/// How many bridges that are alike are named.
const NAMES: usize = 8;

/// Writes the plan, bridge by bridge, then its changes.
///
/// # Errors
/// Whatever writing gives.
pub fn fix(out: &mut impl Write, document: &FixDocument) -> io::Result<()> {
    let mut bridges: Vec<&str> = Vec::new();
    let named = document.remedies.iter().map(|remedy| &remedy.bridge);
    let left = document.findings_left.iter().map(|found| &found.bridge);
    for bridge in named.chain(document.claims.iter().map(|claim| &claim.after.bridge)).chain(left) {
        if !bridges.contains(&bridge.as_str()) {
            bridges.push(bridge);
        }
    }
    for (first, like) in by_sort(document, &bridges) {
        write_bridge(out, document, first)?;
        if !like.is_empty() {
            field(out, 2, "likewise", &some(like, NAMES))?;
        }
        writeln!(out)?;
    }
    if document.changes.is_empty() {
        if !document.unheard.is_empty() {
            let why = "Nothing more is applied while rules drop what the policy lets guests send.";
            return writeln!(out, "{why}");
        }
        let left = document.claims.iter().any(|claim| claim.after.verdict != VerdictName::Isolated);
        let why = match (bridges.is_empty(), left) {
            (true, _) => "Nothing to do: nothing is found on any bridge here.",
            (false, false) => "Nothing to do: what the policy wants is proven already.",
            (false, true) => "Nothing that is left can be closed by a remedy that fits.",
        };
        return writeln!(out, "{why}");
    }
    writeln!(out, "changes")?;
    for (at, change) in document.changes.iter().take(CHANGES).enumerate() {
        field(out, 2, &(at + 1).to_string(), &change.what)?;
    }
    if let more @ 1.. = document.changes.len().saturating_sub(CHANGES) {
        field(out, 2, "", &format!("and {more} more; --format json has them all"))?;
    }
    writeln!(out)?;
    write_outcome(out, document)
}

fn write_bridge(out: &mut impl Write, document: &FixDocument, bridge: &str) -> io::Result<()> {
    writeln!(out, "{}", Clean(bridge))?;
    let claims = || document.claims.iter().filter(|claim| claim.after.bridge == bridge);
    let closes = |claim: &&FixClaim| {
        claim.before != VerdictName::Isolated && claim.after.verdict == VerdictName::Isolated
    };
    write_claims(out, "closes", AnsiColor::Green, claims().filter(closes))?;
    let keeps = |claim: &&FixClaim| claim.before == VerdictName::Isolated;
    write_claims(out, "isolated", AnsiColor::Green, claims().filter(keeps))?;
    for remedy in document.remedies.iter().filter(|remedy| remedy.bridge == bridge) {
        field(out, 2, "by", &format!("{}: {}", remedy.method, remedy.does))?;
        field(out, 2, "", &format!("({})", remedy.because))?;
    }
    let closed = document.findings_closed.iter().filter(|found| found.bridge == bridge);
    let rules: Vec<_> = closed.map(|found| found.rule.as_str()).collect();
    if !rules.is_empty() {
        field(out, 2, "findings", &format!("closed: {}", rules.join(", ")))?;
    }
    let prefix = format!("{bridge}: ");
    for stops in document.stops.iter().filter_map(|stops| stops.strip_prefix(&prefix)) {
        field(out, 2, "stops", stops)?;
    }
    let unheard = document.unheard.iter().filter_map(|unheard| unheard.strip_prefix(&prefix));
    for (at, unheard) in unheard.enumerate() {
        if at == UNHEARD {
            field(out, 2, "", "and more; --format json has them all")?;
            break;
        }
        field(out, 2, "drops", unheard)?;
    }
    for claim in claims().filter(|claim| claim.after.verdict != VerdictName::Isolated) {
        write_left(out, claim)?;
    }
    for found in document.findings_left.iter().filter(|found| found.bridge == bridge) {
        write_found(out, found)?;
    }
    Ok(())
}

/// What is said of a bridge, but for names and numbers.
#[derive(PartialEq)]
struct Sort<'d> {
    remedies: Vec<&'d str>,
    /// Of each claim what it is about, and what became of it.
    claims: BTreeSet<(String, &'static str, &'static str)>,
    closed: BTreeSet<&'d str>,
    left: BTreeSet<(&'d str, Severity)>,
    stops: Vec<&'d str>,
    /// One of which something is left is like no other: what gets through has its names.
    own: Option<&'d str>,
}

/// So many guests that are not heard are named for a bridge.
const UNHEARD: usize = 5;

impl<'d> Sort<'d> {
    fn of(document: &'d FixDocument, bridge: &'d str) -> Self {
        let claims = || document.claims.iter().filter(|claim| claim.after.bridge == bridge);
        let about = |claim: &ClaimEntry| match claim.to.as_str() {
            host if claim.host_protocol().is_some() || host == "infra" => what(claim),
            _ => "another port".to_owned(),
        };
        let prefix = format!("{bridge}: ");
        let of_bridge = |found: &&FixFound| found.bridge == bridge;
        let remedies = document.remedies.iter().filter(|remedy| remedy.bridge == bridge);
        let is_left = claims().any(|claim| claim.after.verdict != VerdictName::Isolated);
        Self {
            remedies: remedies.map(|remedy| remedy.method.as_str()).collect(),
            claims: claims()
                .map(|claim| (about(&claim.after), claim.before.name(), claim.after.verdict.name()))
                .collect(),
            closed: document.findings_closed.iter().filter(of_bridge).map(|found| &*found.rule).collect(),
            left: document
                .findings_left
                .iter()
                .filter(of_bridge)
                .map(|found| (&*found.rule, found.severity))
                .collect(),
            stops: document.stops.iter().filter_map(|stops| stops.strip_prefix(&prefix)).collect(),
            own: (is_left || document.unheard.iter().any(|unheard| unheard.starts_with(&prefix)))
                .then_some(bridge),
        }
    }
}

/// Returns the first bridge of each sort with those of which the same is to be said.
fn by_sort<'b>(document: &'b FixDocument, bridges: &[&'b str]) -> Vec<(&'b str, Vec<&'b str>)> {
    let mut sorts: Vec<(Sort<'_>, &str, Vec<&str>)> = Vec::new();
    for bridge in bridges {
        let sort = Sort::of(document, bridge);
        match sorts.iter_mut().find(|(known, ..)| *known == sort) {
            Some((.., like)) => like.push(bridge),
            None => sorts.push((sort, bridge, Vec::new())),
        }
    }
    sorts.into_iter().map(|(_, first, like)| (first, like)).collect()
}

/// Writes a finding that is left, with what can be asked for.
fn write_found(out: &mut impl Write, found: &FixFound) -> io::Result<()> {
    let times = if found.count > 1 { format!(" ×{}", found.count) } else { String::new() };
    let try_it = if found.remedies.is_empty() {
        String::new()
    } else {
        format!("; fix --method {}", found.remedies.join(" or "))
    };
    field(out, 2, "leaves", &format!("{} {}{times}{try_it}", found.severity.name(), found.rule))
}

/// Writes claims with the same ports as one line.
fn write_claims<'c>(
    out: &mut impl Write,
    label: &str,
    colour: AnsiColor,
    claims: impl Iterator<Item = &'c FixClaim>,
) -> io::Result<()> {
    let mut by_ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for claim in claims {
        by_ports
            .entry(named(&claim.after.from, &claim.after.from_alike))
            .or_default()
            .push(what(&claim.after));
    }
    let style = Style::new().fg_color(Some(colour.into()));
    for (ports, what) in by_ports {
        // The label is coloured, and counts as long as it is without.
        let text = format!("{} · from {ports}", what.join(", "));
        let mut line = Vec::new();
        field(&mut line, 2, label, &text)?;
        let plain = String::from_utf8_lossy(&line).into_owned();
        write!(out, "{}", plain.replacen(label, &format!("{style}{label}{style:#}"), 1))?;
    }
    Ok(())
}

/// Writes what is not proven once the plan is made.
fn write_left(out: &mut impl Write, claim: &FixClaim) -> io::Result<()> {
    let ports = named(&claim.after.from, &claim.after.from_alike);
    let verdict = claim.after.verdict.name();
    field(out, 2, "leaves", &format!("{verdict}: {} · from {ports}", what(&claim.after)))?;
    if let Some(witness) = &claim.after.witness {
        let port = shell_word(&witness.port);
        writeln!(out, "            portcullis walk --from {port} --frame {}", witness.frame)?;
    }
    for assumption in &claim.after.assumptions {
        field(out, 2, "", &assumption.what)?;
    }
    Ok(())
}

fn write_outcome(out: &mut impl Write, document: &FixDocument) -> io::Result<()> {
    let left = document.claims.iter().filter(|claim| claim.after.verdict != VerdictName::Isolated).count();
    let proven = match (document.claims.len(), left) {
        (0, _) => "The policy wants nothing proven here".to_owned(),
        (all, 0) => format!("Proven with it: {}", plural(all, "claim")),
        (all, left) => format!("Proven with it: {} of {}", all - left, plural(all, "claim")),
    };
    match (document.outcome, document.confirm_within) {
        (FixOutcome::Planned | FixOutcome::Nothing, _) => writeln!(out, "{proven}. Nothing was changed."),
        (FixOutcome::Applied, _) => writeln!(out, "{proven}. Applied; portcullis rollback undoes it."),
        (FixOutcome::AwaitsConfirmation, within) => writeln!(
            out,
            "{proven}. Applied, and undone in {} s unless you run: portcullis confirm",
            within.unwrap_or_default()
        ),
    }
}
