//! What can go wrong, said in one line: what, where, and a hint where there is something to try.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command could not be carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    /// Whether somebody wants the process to end.
    pub(crate) interrupted: bool,
}

/// The exit status of a command that could not be carried out.
const STATUS: u8 = 2;

impl Failure {
    pub(crate) fn new(message: impl ToString) -> Self {
        Self { message: message.to_string(), hint: None, interrupted: false }
    }

    /// Returns it with something that the user could try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns it with the nearest of the names that there are.
    pub(crate) fn nearest<'n>(self, name: &str, names: impl IntoIterator<Item = &'n str>) -> Self {
        let scored = names.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
        let best = scored.filter(|(score, _)| *score > 0.7).max_by(|one, other| one.0.total_cmp(&other.0));
        match best {
            Some((_, known)) => self.hint(format!("did you mean {known:?}?")),
            None => self,
        }
    }

    /// What it says, for comparing.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells people, and returns the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = anstream::stderr().lock();
        let bold = anstyle::Style::new().bold();
        // Where not even this can be written, the status has to do.
        let _ = writeln!(stderr, "{bold}error:{bold:#} {}", one_line(&self.message));
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "{bold}hint:{bold:#} {}", one_line(hint));
        }
        ExitCode::from(STATUS)
    }
}

impl From<portcullis_kernel::Error> for Failure {
    fn from(error: portcullis_kernel::Error) -> Self {
        let unread = error.unread();
        let failure = Self::new(&error);
        match unread.cause {
            portcullis_snapshot::UnreadCause::Permission => failure.hint("root may do this"),
            _ => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(format!("cannot write: {error}"))
    }
}

/// Messages can carry text of files and of the kernel: nothing in it may steer the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let failure = Failure::new("no").nearest("host-apr", ["host-arp", "hub-mode"]);
        assert_eq!(failure.hint.as_deref(), Some("did you mean \"host-arp\"?"));
        assert!(Failure::new("no").nearest("zzz", ["host-arp"]).hint.is_none());
    }

    #[test]
    fn messages_stay_on_their_line() {
        assert_eq!(one_line("a\n\u{1b}[2Jb"), "a\\n\\u{1b}[2Jb");
    }
}
