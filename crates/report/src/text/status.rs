//! `portcullis status` for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Clean, field, plural};
use crate::json::{AppliedEntry, AppliedPhase, StatusDocument};

/// How many changes that hold are shown before the rest is only counted.
const CHANGES: usize = 12;

/// Writes what is applied; of its changes all that do not hold any more.
///
/// # Errors
/// Whatever writing gives.
pub fn status(out: &mut impl Write, document: &StatusDocument) -> io::Result<()> {
    if document.applied.is_empty() {
        return writeln!(out, "Nothing is applied here.");
    }
    for (at, applied) in document.applied.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write_applied(out, applied)?;
    }
    Ok(())
}

fn write_applied(out: &mut impl Write, applied: &AppliedEntry) -> io::Result<()> {
    writeln!(out, "{}", Clean(&applied.remedies.join(", ")))?;
    let state = match (applied.phase, applied.seconds_left) {
        (AppliedPhase::Applied, _) => "applied".to_owned(),
        (AppliedPhase::AwaitsConfirmation, left) => {
            format!("undone in {} s unless you run: portcullis confirm", left.unwrap_or_default())
        }
        (AppliedPhase::Unfinished, _) => "unfinished; the next command undoes it".to_owned(),
        (AppliedPhase::BeingUndone, _) => "being undone".to_owned(),
    };
    field(out, 2, "state", &state)?;
    let AppliedEntry { since, user, pid, command, .. } = applied;
    field(out, 2, "by", &format!("{user}, {since}, process {pid}: {command}"))?;
    let (holding, lost): (Vec<_>, Vec<_>) = applied.changes.iter().partition(|change| change.holds);
    for change in holding.iter().take(CHANGES) {
        field(out, 2, "holds", &change.what)?;
    }
    if let more @ 1.. = holding.len().saturating_sub(CHANGES) {
        field(out, 2, "", &format!("and {} more", plural(more, "change")))?;
    }
    let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
    for change in lost {
        let found = change.found.as_deref().unwrap_or_default();
        let mut line = Vec::new();
        field(&mut line, 2, "lost", &format!("{}: {found}", change.what))?;
        write!(out, "{}", String::from_utf8_lossy(&line).replacen("lost", &format!("{red}lost{red:#}"), 1))?;
    }
    Ok(())
}
