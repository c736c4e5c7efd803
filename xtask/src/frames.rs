//! The marks that `guest-init` puts around each test binary's output, so that the results of one boot can be told apart.
//! Only the words live here; what is between the marks is read by [`crate::results`].

use std::fmt;

const LEAD: &str = "@portcullis ";

/// One mark, on a line of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mark {
    /// The named test binary starts.
    Begin(String),
    /// The named test binary ended with this status; a signal is 128 plus its number.
    End(String, i32),
    /// Everything ran. A boot without this mark did not finish.
    Done,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(name) => write!(f, "{LEAD}begin {name}"),
            Self::End(name, status) => write!(f, "{LEAD}end {name} {status}"),
            Self::Done => write!(f, "{LEAD}done"),
        }
    }
}

impl Mark {
    /// Reads a line as a mark; `None` for any other line.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.trim_end().strip_prefix(LEAD)?.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("begin"), Some(name), None) => Some(Self::Begin(name.to_owned())),
            (Some("end"), Some(name), Some(status)) => Some(Self::End(name.to_owned(), status.parse().ok()?)),
            (Some("done"), None, None) => Some(Self::Done),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_serial_line() {
        for mark in [Mark::Begin("kernel_walk".into()), Mark::End("kernel_walk".into(), 101), Mark::Done] {
            assert_eq!(Mark::read(&format!("{mark}\r")), Some(mark));
        }
    }

    #[test]
    fn other_lines_are_not_marks() {
        for line in [
            "",
            "test a ... ok",
            "@portcullis",
            "@portcullis end x",
            "@portcullis end x y",
            "@portcullis fin",
        ] {
            assert_eq!(Mark::read(line), None, "{line}");
        }
    }
}
