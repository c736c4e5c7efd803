//! The account of one program that ran in several places: what became of it, and what it said last. Pure: its words in,
//! text out.

use std::fmt;

use crate::Error;
use crate::results::SKIPPED;

/// How much of the end is told again where the program sets no paragraph apart.
const MOST_LINES: usize = 30;

/// What became of the program in one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It ended well.
    Held,
    /// It did not, and how.
    Failed(String),
    /// It could not run there, and why.
    Skipped(String),
}

/// The end of one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The name of the place.
    pub place: String,
    /// What became of the program.
    pub verdict: Verdict,
    /// What it said last.
    pub summary: Vec<String>,
}

impl Account {
    /// Makes an account of everything the program said.
    #[must_use]
    pub fn of(place: &str, verdict: Verdict, output: &str) -> Self {
        Self { place: place.to_owned(), verdict, summary: last_paragraph(output) }
    }

    /// Makes the account of a place that could not be had: what the world withholds is a skip, what went wrong here a
    /// failure.
    #[must_use]
    pub fn without(place: String, error: &Error) -> Self {
        let why = error.to_string();
        let verdict = if error.is_ours() { Verdict::Failed(why) } else { Verdict::Skipped(why) };
        Self { place, verdict, summary: Vec::new() }
    }
}

/// Returns the lines after the last blank one, or the last lines if these are too many.
fn last_paragraph(output: &str) -> Vec<String> {
    let mut lines: Vec<String> = output.trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
    let blank = lines.iter().rposition(String::is_empty).map_or(0, |at| at + 1);
    lines.split_off(blank.max(lines.len().saturating_sub(MOST_LINES)))
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}: ", self.place)?;
        match &self.verdict {
            Verdict::Held => write!(f, "ok")?,
            Verdict::Failed(why) => write!(f, "FAILED: {why}")?,
            Verdict::Skipped(why) => write!(f, "{SKIPPED}{why}")?,
        }
        self.summary.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// The last line of all.
#[must_use]
pub fn closing_line(accounts: &[Account]) -> String {
    let count = |of: fn(&Verdict) -> bool| accounts.iter().filter(|account| of(&account.verdict)).count();
    let held = count(|verdict| matches!(verdict, Verdict::Held));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    format!("\nplaces: {held} ok, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_last_paragraph() {
        assert_eq!(
            last_paragraph("10 cases\n20 cases\n\n20 cases, \r\nno mismatch\n\n"),
            ["20 cases,", "no mismatch"]
        );
        assert_eq!(last_paragraph("one\ntwo\n"), ["one", "two"]);
        let many: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!((last_paragraph(&many).len(), last_paragraph(&many).pop()), (30, Some("99".to_owned())));
        assert_eq!(last_paragraph("\n"), [""; 0]);
    }

    #[test]
    fn every_place_is_told_and_counted() {
        let accounts = [
            Account::of("host", Verdict::Held, "a\n\n9 cases\n"),
            Account::of("6.1", Verdict::Failed("exit status: 1".into()), ""),
            Account::without("6.12".into(), &Error::Unavailable("no network".into())),
            Account::without("7".into(), &Error::damaged("it", "short")),
        ];
        let shown: String = accounts.iter().map(Account::to_string).collect();
        assert_eq!(
            shown,
            "\nhost: ok\n    9 cases\n6.1: FAILED: exit status: 1\n6.12: skipped, because no network\n\
             7: FAILED: it is damaged: short"
        );
        assert_eq!(closing_line(&accounts), "\nplaces: 1 ok, 2 failed, 1 skipped");
    }
}
