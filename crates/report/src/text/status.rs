//! `portcullis status` for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Clean, field, plural, some};
use crate::json::{AppliedEntry, AppliedPhase, StatusDocument};

/// How many changes that hold are shown before the rest is only counted.
const CHANGES: usize = 12;
/// How many bridges of a remedy are named.
const NAMES: usize = 4;

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

/// Says remedies, each with the bridges that it is on: of those on several, the first few.
#[must_use]
pub fn remedies(all: &[String]) -> String {
    let mut grouped: Vec<(&str, Vec<&str>)> = Vec::new();
    for remedy in all {
        let (method, bridge) = remedy.split_once(" on ").unwrap_or((remedy, ""));
        match grouped.iter_mut().find(|(known, _)| *known == method) {
            Some((_, bridges)) => bridges.push(bridge),
            None => grouped.push((method, vec![bridge])),
        }
    }
    let several = grouped.iter().any(|(_, bridges)| bridges.len() > 1);
    let words = grouped.into_iter().map(|(method, bridges)| match bridges.as_slice() {
        [""] => Clean(method).to_string(),
        _ => format!("{} on {}", Clean(method), some(bridges, NAMES)),
    });
    words.collect::<Vec<_>>().join(if several { "; " } else { ", " })
}

fn write_applied(out: &mut impl Write, applied: &AppliedEntry) -> io::Result<()> {
    writeln!(out, "{}", remedies(&applied.remedies))?;
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

#[cfg(test)]
mod tests {
    use super::remedies;

    #[test]
    fn bridges_of_a_remedy_are_named_together() {
        let all = |words: &[&str]| remedies(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(all(&["isolated on br0", "drop-tags on br0"]), "isolated on br0, drop-tags on br0");
        let many: Vec<_> = (0..6).map(|bridge| format!("isolated on br{bridge}")).collect();
        assert_eq!(remedies(&many), "isolated on br0, br1, br2, br3 and 2 more");
        assert_eq!(all(&["a on br0", "b on br0", "a on br1"]), "a on br0, br1; b on br0");
    }
}
