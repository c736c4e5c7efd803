//! The table of methods: a row for each, a cell for each claim.

use portcullis_prove::Verdict;

use super::{COLUMNS, GUEST_PORTS, Method, goals, network, with};
use crate::Error;
use crate::proofs::{Account, Judge, Judged, Kernel, Wrong};
use crate::remedies::link_local_dropped;

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
    /// What keeps claims unproven, each with its column.
    pub reasons: Vec<String>,
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
        return Ok(Row { line, cells: Vec::new(), claims: Vec::new(), wrong, reasons: Vec::new() });
    }
    let apart = judge.verdicts(&[steps, link_local_dropped(&GUEST_PORTS)].concat(), &goals())?;
    let cells: Vec<_> = claims.iter().zip(&apart).map(|(claim, apart)| cell(&claim.verdict, apart)).collect();
    let shown = claims.iter().zip(&cells).map(|(claim, cell)| format!("{cell}{}", mark(claim.kernel)));
    let line = format!("| {name} | {} |", shown.collect::<Vec<_>>().join(" | "));
    let reasons = COLUMNS.iter().zip(&claims).flat_map(|(column, claim)| reasons(column, &claim.verdict));
    Ok(Row { line, cells, reasons: reasons.collect(), claims, wrong })
}

fn reasons(column: &str, verdict: &Verdict) -> Vec<String> {
    let Verdict::Unproven(assumptions) = verdict else { return Vec::new() };
    assumptions.iter().map(|assumption| format!("{column}: {}", assumption.what)).collect()
}

/// A verdict, as the table has it; `apart` is what it would be without frames to link-local group addresses.
fn cell(verdict: &Verdict, apart: &Verdict) -> &'static str {
    match (verdict, apart) {
        (Verdict::Exposed(_), Verdict::Isolated) => "link-local",
        (Verdict::Exposed(exposure), _) if exposure.later => "later",
        (verdict, _) => verdict.name(),
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
