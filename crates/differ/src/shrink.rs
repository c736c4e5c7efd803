//! Making a scenario that does not agree as small as can be: frames first, then steps, by halves and then one by one.

use crate::Error;
use crate::generate::Scenario;
use crate::run::{Mismatch, Runner};

/// Returns the smallest scenario found that still does not agree, with its mismatch.
///
/// # Errors
/// If the kernel refuses what every scenario needs.
pub fn shrink(
    runner: &mut Runner,
    scenario: &Scenario,
    mismatch: Mismatch,
) -> Result<(Scenario, Mismatch), Error> {
    let mut best = Best { runner, scenario: scenario.clone(), mismatch };
    if let Some(last) = best.mismatch.frame {
        best.scenario.frames.truncate(last + 1);
    }
    best.reduce(|scenario| &mut scenario.frames)?;
    best.reduce(|scenario| &mut scenario.steps)?;
    Ok((best.scenario, best.mismatch))
}

struct Best<'r> {
    runner: &'r mut Runner,
    scenario: Scenario,
    mismatch: Mismatch,
}

impl Best<'_> {
    /// Leaves out ever smaller runs of a list, as long as something still does not agree.
    fn reduce<T: Clone>(&mut self, list: fn(&mut Scenario) -> &mut Vec<T>) -> Result<(), Error> {
        let mut chunk = list(&mut self.scenario).len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < list(&mut self.scenario).len() {
                let mut smaller = self.scenario.clone();
                let length = list(&mut smaller).len();
                list(&mut smaller).drain(from..(from + chunk).min(length));
                match self.runner.run(&smaller)?.mismatch {
                    Some(mismatch) if mismatch.frame.is_some() == self.mismatch.frame.is_some() => {
                        self.scenario = smaller;
                        self.mismatch = mismatch;
                    }
                    _ => from += chunk,
                }
            }
            if chunk == 1 {
                return Ok(());
            }
            chunk = chunk.div_ceil(2);
        }
    }
}
