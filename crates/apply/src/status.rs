//! What is applied, and whether the kernel still agrees.

use std::time::Duration;

use portcullis_plan::Change;

use crate::{Error, Header, Host, Phase, Standing, StateDir};

/// Something that was applied, or is being applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What, by whom, since when.
    pub header: Header,
    /// How far it got.
    pub phase: Phase,
    /// How much time is left to confirm it, if it has to be confirmed.
    pub left: Option<Duration>,
    /// Each change that was begun, and how things stand with it.
    pub changes: Vec<(Change, Standing)>,
}

impl Status {
    /// Whether the kernel is as the changes made it.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.changes.iter().all(|(_, standing)| *standing == Standing::Made)
    }
}

/// Tells what is applied in the namespace, the first first.
///
/// # Errors
/// If the journals or the kernel cannot be read.
pub fn status(host: &mut dyn Host, dir: &StateDir) -> Result<Vec<Status>, Error> {
    let journals = dir.journals(&host.place()?, false)?;
    if journals.is_empty() {
        return Ok(Vec::new());
    }
    let now = host.now()?;
    let mut rest = host.read()?;
    let mut all = Vec::new();
    // From the last to the first: a later change may hide an earlier one.
    for journal in journals.into_iter().rev() {
        let mut changes = Vec::new();
        for change in journal.entries.begun_steps().iter().flatten().rev() {
            changes.push((change.clone(), Standing::of(change, &rest)));
            let _ = change.take_back(&mut rest);
        }
        changes.reverse();
        let (header, phase) = (journal.entries.header, journal.entries.phase);
        let left = match phase {
            Phase::Awaiting(deadline) => Some(deadline.saturating_sub(now)),
            _ => None,
        };
        all.push(Status { header, phase, left, changes });
    }
    all.reverse();
    Ok(all)
}
