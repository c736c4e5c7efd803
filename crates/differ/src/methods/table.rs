//! The table of methods: a row for each, a cell for each claim.

use portcullis_prove::Verdict;

use super::{COLUMNS, Method, goals, network, with};
use crate::Error;
use crate::proofs::{Account, Judge, Judged, Kernel, Wrong};

/// A row, and what this kernel disagrees with.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row, as Markdown.
    pub line: String,
    /// Its cells, in the order of the columns; none if this kernel lacks something that the methods need.
    pub cells: Vec<&'static str>,
    /// The claims, each with what the kernel said to it.
    pub claims: Vec<Judged>,
    /// Cells that this kernel refutes.
    pub wrong: Vec<Wrong>,
}

/// Returns the table's head.
#[must_use]
pub fn head() -> String {
    let rule = COLUMNS.map(|_| "---").join(" | ");
    format!("| method | {} |\n| --- | {rule} |", COLUMNS.join(" | "))
}

/// Returns what a row is called.
#[must_use]
pub fn name(methods: &[&Method]) -> String {
    let names: Vec<_> = methods.iter().map(|method| method.name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" + ") }
}

/// Judges a row.
///
/// # Errors
/// If the kernel refuses what every configuration needs.
pub fn row(judge: &mut Judge, methods: &[&Method]) -> Result<Row, Error> {
    let steps = with(methods);
    let account = judge.claims(&steps, Some(goals()), 1)?;
    let own = steps.len().min(network().len());
    // What the network itself has and the kernel does not is no part of the method.
    let lacks = account.refused.iter().find(|(at, _)| *at >= own && !methods.is_empty());
    let name = name(methods);
    let Account { claims, wrong, .. } = account.clone();
    if let Some((_, why)) = lacks {
        let line = format!("| {name} | skipped, because {why} |");
        return Ok(Row { line, cells: Vec::new(), claims: Vec::new(), wrong });
    }
    let cells: Vec<_> = claims.iter().map(|claim| cell(&claim.verdict)).collect();
    let shown = claims.iter().map(|claim| format!("{}{}", cell(&claim.verdict), mark(claim.kernel)));
    let line = format!("| {name} | {} |", shown.collect::<Vec<_>>().join(" | "));
    Ok(Row { line, cells, claims, wrong })
}

/// A verdict, as the table has it.
#[must_use]
pub fn cell(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Exposed(exposure) if exposure.later => "exposed later",
        verdict => verdict.name(),
    }
}

/// What the kernel said, beside the verdict.
const fn mark(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Confirmed | Kernel::Unasked => "",
        Kernel::Untold | Kernel::Later => " (not asked)",
        Kernel::Refuted => " (REFUTED)",
    }
}
