//! `portcullis lab run` for people.

use std::io::{self, Write};

use super::{Clean, field, plural, wrapped};
use crate::json::{LabDocument, LabStep};

/// Writes what a run of a lab did, step by step.
///
/// # Errors
/// Whatever writing gives.
pub fn lab(out: &mut impl Write, document: &LabDocument) -> io::Result<()> {
    writeln!(out, "{} on Linux {}", Clean(&document.lab), Clean(&document.kernel))?;
    for (at, step) in document.steps.iter().enumerate() {
        writeln!(out)?;
        write_step(out, at + 1, step)?;
    }
    writeln!(out)?;
    let count = |agrees: Option<bool>| document.steps.iter().filter(|step| step.agrees == agrees).count();
    let (agree, differ, skipped) = (count(Some(true)), count(Some(false)), count(None));
    writeln!(out, "{} as expected, {differ} not, {skipped} skipped.", plural(agree, "step"))
}

fn write_step(out: &mut impl Write, number: usize, step: &LabStep) -> io::Result<()> {
    wrapped(out, 0, &format!("{number}. {}", step.tried))?;
    field(out, 3, "expected", &step.expected)?;
    if let Some(observed) = &step.observed {
        field(out, 3, "observed", observed)?;
    }
    for detail in &step.details {
        field(out, 3, "", detail)?;
    }
    if let Some(article) = &step.article {
        field(out, 3, "article", article)?;
    }
    if let Some(differs) = &step.differs {
        field(out, 3, "", &format!("differs: {differs}"))?;
    }
    if let Some(reason) = &step.skipped {
        field(out, 3, "", &format!("skipped, because {reason}"))?;
    }
    if step.agrees == Some(false) {
        field(out, 3, "", "NOT AS EXPECTED")?;
    }
    Ok(())
}
