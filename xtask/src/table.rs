//! The account at the end of a run: which test held on which kernel, what was skipped and why, and the three numbers.
//! Pure: [`Results`] in, text out. It never leaves anything out without counting it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::cargo::KERNEL_TEST;
use crate::results::{Outcome, Results, TestName};

/// Where tests ran, or would have.
#[derive(Clone, Debug)]
pub struct Place {
    /// The column's heading: `host`, or a kernel's version.
    pub name: String,
    /// What it gave, or why it could not be had.
    pub results: Result<Results, String>,
}

/// The account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Everything to print before the closing line.
    pub text: String,
    /// Tests that held, counted once for each place.
    pub passed: usize,
    /// Tests that failed, problems outside tests, and claims that were tested nowhere.
    pub failed: usize,
    /// Tests that were skipped or ignored, counted once for each place, and kernels that could not be had.
    pub skipped: usize,
}

impl Summary {
    /// The closing line.
    #[must_use]
    pub fn closing_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Makes the account. A test that was skipped in every place fails the run if `complete`: if every kernel of the lab ran.
#[must_use]
pub fn summarize(places: &[Place], complete: bool) -> Summary {
    let mut summary = Summary { text: String::new(), passed: 0, failed: 0, skipped: 0 };
    let ran: Vec<(&str, &Results)> =
        places.iter().filter_map(|place| Some((place.name.as_str(), place.results.as_ref().ok()?))).collect();
    table(&mut summary.text, &ran);
    failures(&mut summary, &ran);
    skips(&mut summary, &ran);
    for place in places {
        if let Err(reason) = &place.results {
            summary.skipped += 1;
            let _ = writeln!(summary.text, "kernel {}: skipped, because {reason}", place.name);
        }
    }
    let unproven = unproven(&ran);
    for name in &unproven {
        let judgement =
            if complete { "FAILED: no kernel tested it" } else { "not tested by any kernel of this run" };
        let _ = writeln!(summary.text, "{}: {judgement}", shown(name));
    }
    summary.failed += if complete { unproven.len() } else { 0 };
    summary.passed = outcomes(&ran).filter(|(_, _, outcome)| **outcome == Outcome::Passed).count();
    summary
}

/// One row for each kernel-facing test, one column for each place.
fn table(text: &mut String, ran: &[(&str, &Results)]) {
    let rows: BTreeSet<&TestName> =
        outcomes(ran).map(|(_, name, _)| name).filter(|name| name.binary.starts_with(KERNEL_TEST)).collect();
    let Some(width) = rows.iter().map(|name| shown(name).chars().count()).max() else { return };
    let cell_width = ran.iter().map(|(place, _)| place.len()).max().unwrap_or(0).max("skipped".len());
    let mut line = format!("\n{:width$}", "test");
    for (place, _) in ran {
        let _ = write!(line, "  {place:cell_width$}");
    }
    let _ = writeln!(text, "{}", line.trim_end_matches(' '));
    for name in rows {
        let mut line = format!("{:width$}", shown(name));
        for (_, results) in ran {
            let _ = write!(line, "  {:cell_width$}", cell(results.tests.get(name)));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
}

fn cell(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Passed) => "ok",
        Some(Outcome::Failed(_)) => "FAILED",
        Some(Outcome::Skipped(_)) => "skipped",
        Some(Outcome::Ignored) => "ignored",
        None => "-",
    }
}

/// Each failure with what it wrote, then what went wrong outside any test.
fn failures(summary: &mut Summary, ran: &[(&str, &Results)]) {
    for (place, name, outcome) in outcomes(ran) {
        if let Outcome::Failed(said) = outcome {
            summary.failed += 1;
            let _ = writeln!(summary.text, "FAILED on {place}: {}", shown(name));
            for line in said.trim().lines() {
                let _ = writeln!(summary.text, "    {line}");
            }
        }
    }
    for (place, results) in ran {
        for problem in &results.problems {
            summary.failed += 1;
            let _ = writeln!(summary.text, "FAILED on {place}: {problem}");
        }
    }
}

/// The reasons of all skips, each with the tests and places it stopped.
fn skips(summary: &mut Summary, ran: &[(&str, &Results)]) {
    let mut reasons: BTreeMap<&str, BTreeMap<&TestName, Vec<&str>>> = BTreeMap::new();
    for (place, name, outcome) in outcomes(ran) {
        let reason = match outcome {
            Outcome::Skipped(reason) => reason,
            Outcome::Ignored => "it is marked to be left out of ordinary runs",
            Outcome::Passed | Outcome::Failed(_) => continue,
        };
        summary.skipped += 1;
        reasons.entry(reason).or_default().entry(name).or_default().push(place);
    }
    for (reason, tests) in reasons {
        let _ = writeln!(summary.text, "skipped, because {reason}");
        for (name, places) in tests {
            let _ = writeln!(summary.text, "    {} ({})", shown(name), places.join(", "));
        }
    }
}

/// Tests that were skipped in every place where they were to run.
fn unproven<'a>(ran: &[(&'a str, &'a Results)]) -> Vec<&'a TestName> {
    let mut skipped_only: BTreeMap<&TestName, bool> = BTreeMap::new();
    for (_, name, outcome) in outcomes(ran) {
        *skipped_only.entry(name).or_insert(true) &= matches!(outcome, Outcome::Skipped(_));
    }
    skipped_only.into_iter().filter_map(|(name, only)| only.then_some(name)).collect()
}

fn outcomes<'a>(
    ran: &[(&'a str, &'a Results)],
) -> impl Iterator<Item = (&'a str, &'a TestName, &'a Outcome)> {
    ran.iter()
        .flat_map(|(place, results)| results.tests.iter().map(|(name, outcome)| (*place, name, outcome)))
}

fn shown(name: &TestName) -> String {
    format!("{}::{}", name.binary, name.test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, tests: &[(&str, &str, Outcome)]) -> Place {
        let key = |binary: &str, test: &str| TestName { binary: binary.into(), test: test.into() };
        let tests =
            tests.iter().map(|(binary, test, outcome)| (key(binary, test), outcome.clone())).collect();
        Place { name: name.into(), results: Ok(Results { tests, problems: Vec::new() }) }
    }

    fn skipped() -> Outcome {
        Outcome::Skipped("vlan filtering is not here".into())
    }

    #[test]
    fn the_table_has_a_row_for_each_claim_and_a_column_for_each_kernel() {
        let places = [
            place("host", &[("kernel_a", "x", skipped()), ("wire", "unit", Outcome::Passed)]),
            place(
                "6.1",
                &[("kernel_a", "x", Outcome::Passed), ("kernel_a", "y", Outcome::Failed("left: 1\n".into()))],
            ),
            Place { name: "7".into(), results: Err("no network".into()) },
        ];
        let summary = summarize(&places, true);
        assert_eq!(
            summary.text,
            "\ntest         host     6.1\nkernel_a::x  skipped  ok\nkernel_a::y  -        FAILED\n\n\
             FAILED on 6.1: kernel_a::y\n    left: 1\nskipped, because vlan filtering is not here\n\
             \x20   kernel_a::x (host)\nkernel 7: skipped, because no network\n"
        );
        assert_eq!(summary.closing_line(), "2 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn a_claim_that_no_kernel_tested_fails_a_complete_run_only() {
        let places =
            [place("host", &[("kernel_a", "x", skipped())]), place("6.1", &[("kernel_a", "x", skipped())])];
        assert_eq!(summarize(&places, true).closing_line(), "0 passed, 1 failed, 2 skipped");
        let partial = summarize(&places, false);
        assert_eq!(partial.closing_line(), "0 passed, 0 failed, 2 skipped");
        assert!(partial.text.contains("kernel_a::x: not tested by any kernel of this run"));
    }

    #[test]
    fn what_is_marked_ignored_is_counted_but_no_claim() {
        let places = [place("host", &[("kernel_a", "x", Outcome::Ignored)])];
        assert_eq!(summarize(&places, true).closing_line(), "0 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn problems_outside_tests_count_as_failures() {
        let mut broken = place("6.1", &[]);
        broken.results = Ok(Results { problems: vec!["it hung".into()], ..Results::default() });
        let summary = summarize(&[broken], true);
        assert_eq!((summary.failed, summary.text.as_str()), (1, "FAILED on 6.1: it hung\n"));
    }
}
