//! `portcullis walk` for people: the steps as a table, then where the frame ended.

use std::io::{self, Write};

use super::{Clean, field, plural, table, wrapped};
use crate::json::{DropEntry, LearnedEntry, OutcomeEntry, StepEntry, WalkDocument};

/// Writes the way of a frame.
///
/// # Errors
/// Whatever writing gives.
pub fn walk(out: &mut impl Write, document: &WalkDocument) -> io::Result<()> {
    let bytes = plural(document.frame.len() / 2, "byte");
    writeln!(out, "A frame of {bytes} comes in by {}", Clean(&document.from))?;
    writeln!(out)?;
    let row = |step: &StepEntry| {
        [step.function.clone(), step.device.clone(), step.decision.clone(), step.because.clone()]
    };
    let rows: Vec<_> = document.steps.iter().map(row).collect();
    table(out, 0, ["function", "device", "decision", "because"], &rows)?;
    writeln!(out)?;
    for outcome in &document.outcomes {
        write_outcome(out, outcome)?;
    }
    if document.outcomes.is_empty() {
        writeln!(out, "It arrives nowhere.")?;
    }
    for drop in &document.drops {
        write_drop(out, drop)?;
    }
    for learned in &document.learned {
        wrapped(out, 0, &learned_text(learned))?;
    }
    Ok(())
}

fn write_outcome(out: &mut impl Write, outcome: &OutcomeEntry) -> io::Result<()> {
    let label = match outcome.to.as_str() {
        "host" => "to host",
        "port" => "to port",
        "netns" => "to netns",
        other => other,
    };
    field(out, 0, label, &format!("{}: {}", outcome.device, outcome.effect))?;
    write_unproven(out, &outcome.unproven)
}

fn write_drop(out: &mut impl Write, drop: &DropEntry) -> io::Result<()> {
    field(out, 0, "dropped", &format!("{}: {} ({})", drop.device, drop.reason, drop.function))?;
    write_unproven(out, &drop.unproven)
}

fn write_unproven(out: &mut impl Write, unproven: &[String]) -> io::Result<()> {
    if unproven.is_empty() {
        return Ok(());
    }
    field(out, 0, "", &format!("unproven, because of {}", unproven.join("; ")))
}

fn learned_text(learned: &LearnedEntry) -> String {
    let LearnedEntry { bridge, port, vlan, change, moved_from } = learned;
    let vlan = vlan.map_or_else(String::new, |vlan| format!(" in VLAN {vlan}"));
    match (change.as_str(), moved_from) {
        ("new", _) => format!("{bridge} learns its source behind {port}{vlan}."),
        (_, Some(from)) => format!("{bridge} moves its source from {from} to {port}{vlan}."),
        _ => format!("{bridge} knew its source behind {port}{vlan} already."),
    }
}
