//! `portcullis explain` for people.

use std::io::{self, Write};

use super::{Clean, Severe, hanging, plural, table, wrapped};
use crate::json::{ExplainDocument, MethodPage, RulePage};

/// Writes the manual pages of rules.
///
/// # Errors
/// Whatever writing gives.
pub fn explain(out: &mut impl Write, document: &ExplainDocument) -> io::Result<()> {
    for (at, page) in document.rules.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write_page(out, page)?;
    }
    for (at, page) in document.methods.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        write_method(out, page)?;
    }
    Ok(())
}

/// Writes the names of remedies, a line each.
///
/// # Errors
/// Whatever writing gives.
pub fn explain_methods(out: &mut impl Write, document: &ExplainDocument) -> io::Result<()> {
    let (by_hand, of_fix): (Vec<_>, Vec<_>) = document.methods.iter().partition(|page| page.only_by_hand);
    let rows = |pages: &[&MethodPage]| -> Vec<_> {
        pages.iter().map(|page| [page.method.clone(), page.does.clone()]).collect()
    };
    table(out, 0, ["remedy", "what it does"], &rows(&of_fix))?;
    if !by_hand.is_empty() {
        writeln!(out)?;
        table(out, 0, ["yours to do", "what it does"], &rows(&by_hand))?;
    }
    writeln!(out, "\n{} of portcullis fix. More on each: portcullis explain REMEDY", remedies(of_fix.len()))
}

fn remedies(count: usize) -> String {
    if count == 1 { "1 remedy".to_owned() } else { format!("{count} remedies") }
}

fn write_method(out: &mut impl Write, page: &MethodPage) -> io::Result<()> {
    let whose = if page.only_by_hand { "that is yours to carry out" } else { "of portcullis fix" };
    writeln!(out, "{} · a remedy {whose}", Clean(&page.method))?;
    wrapped(out, 0, &page.does)?;
    writeln!(out, "\nWhat it costs")?;
    wrapped(out, 2, &page.costs)?;
    writeln!(out, "\nWhat it leaves open")?;
    wrapped(out, 2, &page.leaves)?;
    writeln!(out, "\nBy hand")?;
    // Not wrapped: they are there to be pasted.
    page.by_hand.iter().try_for_each(|command| writeln!(out, "  {command}"))
}

/// Writes the names of rules, a line each.
///
/// # Errors
/// Whatever writing gives.
pub fn explain_list(out: &mut impl Write, document: &ExplainDocument) -> io::Result<()> {
    let row = |page: &RulePage| [page.rule.clone(), page.severity.name().to_owned(), page.title.clone()];
    let rows: Vec<_> = document.rules.iter().map(row).collect();
    table(out, 0, ["rule", "usually", "what it looks for"], &rows)?;
    writeln!(out)?;
    writeln!(out, "{}. More on each: portcullis explain RULE", plural(rows.len(), "rule"))
}

fn write_page(out: &mut impl Write, page: &RulePage) -> io::Result<()> {
    writeln!(out, "{} · usually {}", Clean(&page.rule), Severe(page.severity))?;
    wrapped(out, 0, &page.title)?;
    writeln!(out, "\nThreat")?;
    wrapped(out, 2, &page.threat)?;
    writeln!(out, "\nThe kernel's path")?;
    for (at, line) in page.kernel_path.iter().enumerate() {
        hanging(out, 2, 4, &format!("{}.", at + 1), line)?;
    }
    writeln!(out, "\nHow it is found")?;
    wrapped(out, 2, &page.how_found)?;
    writeln!(out, "\nRemedies, cheapest first")?;
    for remedy in &page.remedies {
        writeln!(out, "  {}", Clean(&remedy.method))?;
        wrapped(out, 6, &remedy.trade_off)?;
    }
    writeln!(out, "\nReferences")?;
    for reference in &page.references {
        // Not wrapped: addresses stay whole.
        writeln!(out, "  {}", Clean(reference))?;
    }
    Ok(())
}
