//! Making one apply of two: what is applied again and again, as ports come and go, is told and taken back as one.

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
    before.replace(header)?;
    last.remove()?;
    Ok(true)
}

fn belong_together(before: &Journal, last: &Journal) -> bool {
    let in_force = |journal: &Journal| journal.entries.phase == Phase::InForce;
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
