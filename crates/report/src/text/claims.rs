//! What an audit proved, for people: for each sort of guest port what no frame reaches, and what could not be decided.
//!
//! What is exposed is not said again: where it matters there is a finding, with its frame.

use std::io::{self, Write};

use super::{field, hanging, named, what, wrapped};
use crate::json::{AuditDocument, ClaimEntry, Findings, NotProvenEntry, VerdictName};

/// How many reasons are named before the rest is only counted.
const REASONS: usize = 3;
/// Columns that a verdict takes.
const VERDICT: usize = 10;

/// Writes what was proven of each bridge and sort of port.
pub(super) fn claims(
    out: &mut impl Write,
    document: &AuditDocument<impl Findings>,
    say: impl Fn(&str, &str) -> String,
) -> io::Result<()> {
    let place = |claim: &ClaimEntry| (claim.netns.clone(), claim.bridge.clone());
    let left = document.not_proven.iter().map(|left| (left.netns.clone(), left.bridge.clone()));
    let mut places: Vec<_> = document.claims.iter().map(place).chain(left).collect();
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    for at in &places {
        let of_bridge: Vec<_> = document.claims.iter().filter(|claim| place(claim) == *at).collect();
        let is_here = |left: &&NotProvenEntry| (&left.netns, &left.bridge) == (&at.0, &at.1);
        let left = document.not_proven.iter().find(is_here);
        let decided = of_bridge.iter().any(|claim| claim.verdict != VerdictName::Exposed);
        if !decided && left.is_none() {
            continue;
        }
        let place = say(&at.0, &at.1);
        for of_port in of_bridge.chunk_by(|one, other| one.from == other.from) {
            write_port(out, &place, of_port)?;
        }
        if let Some((first, others)) = left.and_then(|left| left.ports.split_first()) {
            writeln!(out, "nothing proven · {place} · {}", named(first, others))?;
            wrapped(
                out,
                2,
                "Too many ports here are unlike each other; portcullis prove --from PORT judges one.",
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_port(out: &mut impl Write, place: &str, claims: &[&ClaimEntry]) -> io::Result<()> {
    let Some(first) = claims.first() else { return Ok(()) };
    let of = |verdict| claims.iter().filter(move |claim| claim.verdict == verdict);
    let isolated: Vec<_> = of(VerdictName::Isolated).map(|claim| what(claim)).collect();
    let unproven = by_reasons(of(VerdictName::Unproven).copied());
    if isolated.is_empty() && unproven.is_empty() {
        return Ok(());
    }
    writeln!(out, "proven · {place} · {}", named(&first.from, &first.from_alike))?;
    if !isolated.is_empty() {
        hanging(out, 2, VERDICT, "isolated", &format!("from {}", isolated.join(" · ")))?;
    }
    for (because, all) in unproven {
        hanging(out, 2, VERDICT, "unproven", &format!("from {}", all.join(" · ")))?;
        let shown: Vec<_> = because.iter().take(REASONS).copied().collect();
        let more = match because.len().saturating_sub(REASONS) {
            0 => String::new(),
            more => format!(" (+{more})"),
        };
        field(out, 2 + VERDICT, "because", &format!("{}{more}", shown.join("; ")))?;
    }
    Ok(())
}

/// Puts claims together that depend on the same, in the order of the first of each.
fn by_reasons<'c>(claims: impl Iterator<Item = &'c ClaimEntry>) -> Vec<(Vec<&'c str>, Vec<String>)> {
    let mut reasons: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for claim in claims {
        let mut because: Vec<_> = claim.assumptions.iter().map(|one| one.what.as_str()).collect();
        because.dedup();
        match reasons.iter_mut().find(|(known, _)| *known == because) {
            Some((_, all)) => all.push(what(claim)),
            None => reasons.push((because, vec![what(claim)])),
        }
    }
    reasons
}
