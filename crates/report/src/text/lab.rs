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
    for line in document.network.lines() {
        writeln!(out, "  {}", Clean(line))?;
    }
    let mut part = "";
    for (at, step) in document.steps.iter().enumerate() {
        if step.part != part {
            part = &step.part;
            writeln!(out, "\n{}", Clean(part))?;
        }
        write_step(out, at + 1, step)?;
    }
    if !document.audit.is_empty() {
        writeln!(out, "\nWhat portcullis audit says")?;
    }
    for line in &document.audit {
        writeln!(out, "  {}", Clean(line))?;
    }
    let count = |is: fn(&LabStep) -> bool| document.steps.iter().filter(|step| is(step)).count();
    let skipped = count(|step| step.skipped.is_some());
    let otherwise = count(|step| !step.agrees);
    let agree = document.steps.len() - skipped - otherwise;
    writeln!(out, "\n{} as expected, {otherwise} otherwise, {skipped} skipped.", plural(agree, "step"))
}

fn write_step(out: &mut impl Write, number: usize, step: &LabStep) -> io::Result<()> {
    wrapped(out, 1, &format!("{number}. {}", step.name))?;
    if let Some(reason) = &step.skipped {
        return field(out, 4, "", &format!("skipped, because {reason}"));
    }
    if let Some(observed) = &step.observed {
        field(out, 4, "observed", observed)?;
    }
    if !step.agrees {
        field(out, 4, "expected", &format!("{}: NOT AS EXPECTED", step.expected))?;
    }
    if let Some(article) = &step.article {
        let verdict = if article.holds { "so it is" } else { "differs here" };
        field(out, 4, "article", &format!("{}: {verdict}", article.says))?;
    }
    Ok(())
}
