//! Taking back what was begun, by what the kernel says is there.

use std::collections::HashSet;

use portcullis_plan::{Change, Clash};

use crate::journal::{Journal, Record};
use crate::{Error, Host, Standing};

/// How often what is there is looked at and taken back: what is refused once may go the second time.
const TRIES: u32 = 3;

/// What came of taking changes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// What was taken back, the last first.
    pub taken_back: Vec<Change>,
    /// What was left alone, since somebody else changed it meanwhile, and what is there instead.
    pub left: Vec<Clash>,
}

/// Takes back what a journal says was begun, and takes the journal away.
///
/// When something could not be taken back the journal stays, and says so.
pub(crate) fn undo(host: &mut dyn Host, mut journal: Journal) -> Result<Undone, Error> {
    // A full disk must not keep anybody from taking back. Of a journal that says the steps are under way it would be known
    // without this record; where it says that they are in force, what is missing then is told by the status.
    let _ = journal.add(Record::Undoing);
    let undone = take_back(host, journal.entries.begun_steps())?;
    let _ = journal.add(Record::Undone);
    journal.remove()?;
    Ok(undone)
}

fn take_back(host: &mut dyn Host, steps: &[Vec<Change>]) -> Result<Undone, Error> {
    let mut undone = Undone::default();
    let mut known = HashSet::new();
    let mut cause = None;
    for _ in 0..TRIES {
        let seen = host.read()?;
        let mut rest = seen.clone();
        let (mut left, mut unseen, mut done) = (Vec::new(), Vec::new(), true);
        for (step, changes) in steps.iter().enumerate().rev() {
            let before = rest.clone();
            let mut back = Vec::new();
            for (at, change) in changes.iter().enumerate().rev() {
                let clash = |found| Clash { change: change.to_string(), found };
                match Standing::of(change, &rest) {
                    Standing::Made | Standing::Partly => {
                        // In the copy, so that an earlier change which this one hides is seen. What is there in part only
                        // is no matter for it.
                        let _ = change.take_back(&mut rest);
                        back.push(change.clone());
                        if known.insert((step, at)) {
                            undone.taken_back.push(change.clone());
                        }
                    }
                    Standing::NotMade | Standing::Gone => {}
                    Standing::Changed(found) => left.push(clash(found)),
                    Standing::Unseen(why) => unseen.push(clash(why)),
                }
            }
            if !back.is_empty() {
                done = false;
                // Whether it worked is seen when everything is read again.
                cause = host.take_back(&back, &before).err();
            }
        }
        undone.left = left;
        if done && unseen.is_empty() {
            return Ok(undone);
        }
        if done {
            return Err(Error::Stuck { left: unseen, cause: None });
        }
    }
    stuck(host, steps, undone, cause)
}

/// Looks a last time.
fn stuck(
    host: &mut dyn Host,
    steps: &[Vec<Change>],
    undone: Undone,
    cause: Option<Error>,
) -> Result<Undone, Error> {
    let seen = host.read()?;
    let still = |change: &&Change| {
        matches!(Standing::of(change, &seen), Standing::Made | Standing::Partly | Standing::Unseen(_))
    };
    let clash = |change: &Change| Clash { change: change.to_string(), found: "it is there still".to_owned() };
    let left: Vec<_> = steps.iter().flatten().filter(still).map(clash).collect();
    if left.is_empty() {
        return Ok(undone);
    }
    Err(Error::Stuck { left, cause: cause.map(Box::new) })
}
