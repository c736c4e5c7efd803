//! What becomes of applies as ports come and go: two are made one, and what has become wrong is let go.

use portcullis_plan::Change;
use portcullis_snapshot::Netns;

use crate::journal::Journal;
use crate::{Error, Header, Host, Phase, Standing, StateDir};

/// Makes the last apply a part of the one before it, if both are in force and the same user gave the same command for both.
/// Whether it was so.
///
/// What is about devices that are gone is left out then. The kernel is only looked at. If it is stopped in the middle, some
/// changes are told of twice, and taken back once.
///
/// # Errors
/// If a journal is damaged or cannot be written, or the kernel cannot be read; each apply is then as it was.
pub fn join(host: &mut dyn Host, dir: &StateDir) -> Result<bool, Error> {
    let place = host.place()?;
    if dir.journals(&place, false)?.len() < 2 {
        return Ok(false);
    }
    let _lock = dir.lock(place.netns)?;
    let mut journals = dir.journals(&place, true)?;
    let (Some(last), Some(before)) = (journals.pop(), journals.pop()) else { return Ok(false) };
    if !belong_together(&before, &last) {
        return Ok(false);
    }
    let header = joined(before.entries.header.clone(), last.entries.header.clone(), &host.read()?);
    if header.steps.is_empty() {
        before.remove()?
    } else {
        before.replace(header)?
    }
    last.remove()?;
    Ok(true)
}

/// Takes back what has become wrong of what is in force, change by change, and leaves the rest. Returns what was taken back.
///
/// If it is stopped in the middle, the status tells what is as before, and an undo leaves it so.
///
/// # Errors
/// If a journal is damaged or cannot be written, or something cannot be taken back.
pub fn let_go(
    host: &mut dyn Host,
    dir: &StateDir,
    mut is_outdated: impl FnMut(&Change) -> bool,
) -> Result<Vec<Change>, Error> {
    let place = host.place()?;
    let mut any = |journals: &[Journal]| {
        let journals = journals.iter().filter(|journal| in_force(journal));
        journals.flat_map(|journal| journal.entries.header.steps.iter().flatten()).any(&mut is_outdated)
    };
    if !any(&dir.journals(&place, false)?) {
        return Ok(Vec::new());
    }
    let _lock = dir.lock(place.netns)?;
    let (seen, mut gone) = (host.read()?, Vec::new());
    // What is not to be seen now is not given up.
    let mut goes =
        |change: &Change| is_outdated(change) && !matches!(Standing::of(change, &seen), Standing::Unseen(_));
    for journal in dir.journals(&place, true)?.into_iter().rev().filter(in_force) {
        let mut header = journal.entries.header.clone();
        let mut outdated = Vec::new();
        for step in &mut header.steps {
            outdated.extend(step.extract_if(.., |change| goes(change)));
        }
        if outdated.is_empty() {
            continue;
        }
        let made = outdated.into_iter().rev().filter(|change| Standing::of(change, &seen) == Standing::Made);
        let made: Vec<_> = made.collect();
        host.take_back(&made, &seen)?;
        gone.extend(made);
        header.steps.retain(|step| !step.is_empty());
        if header.steps.is_empty() { journal.remove()? } else { journal.replace(header)? }
    }
    Ok(gone)
}

fn in_force(journal: &Journal) -> bool {
    journal.entries.phase == Phase::InForce
}

fn belong_together(before: &Journal, last: &Journal) -> bool {
    let [one, other] = [before, last].map(|journal| &journal.entries.header.who);
    in_force(before) && in_force(last) && (one.uid, &one.command) == (other.uid, &other.command)
}

fn joined(mut before: Header, last: Header, netns: &Netns) -> Header {
    let held = before.steps.iter_mut().flatten();
    let mut held: Vec<&mut Change> = held.collect();
    let mut more: Vec<Vec<Change>> = last.steps;
    for step in &mut more {
        step.retain(|change| {
            let table = held.iter_mut().find_map(|held| follows(held, change));
            match (table, change) {
                // Between the two states of a table nobody needs a third.
                (Some(to), Change::Table { to: now, .. }) => {
                    to.clone_from(now);
                    false
                }
                _ => !held.iter().any(|held| **held == *change),
            }
        });
    }
    before.steps.append(&mut more);
    for step in &mut before.steps {
        step.retain(|change| Standing::of(change, netns) != Standing::Gone);
    }
    before.steps.retain(|step| !step.is_empty());
    before.methods.extend(last.methods);
    before.methods.sort();
    before.methods.dedup();
    Header { who: last.who, ..before }
}

/// Where a change of a table is the next one of the same table, what the first makes of it.
fn follows<'c>(held: &'c mut Change, change: &Change) -> Option<&'c mut portcullis_plan::Ruleset> {
    let Change::Table { to: of, .. } = change else { return None };
    let Change::Table { to, .. } = held else { return None };
    let is_same = (to.table.family, &to.table.name) == (of.table.family, &of.table.name);
    is_same.then_some(to)
}
