//! The marks that `guest-init` puts around each binary's output, so that the results of one boot can be told apart.
//! What is between the marks is read elsewhere.

use std::fmt;

const LEAD: &str = "@portcullis ";

/// One mark, on a line of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mark {
    /// The named binary starts.
    Begin(String),
    /// The named binary ended with this status; a signal is 128 plus its number.
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

/// What one binary of a boot wrote.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Section {
    /// The binary's name.
    pub name: String,
    /// Its words.
    pub output: String,
    /// The status it ended with; `None` if it did not.
    pub status: Option<i32>,
}

/// What a whole boot wrote to the results port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Transcript {
    /// Each binary that was started, in order.
    pub sections: Vec<Section>,
    /// Whether the guest came to its end.
    pub done: bool,
}

impl Transcript {
    /// Takes the port's text apart at its marks; what is outside of them is no binary's.
    #[must_use]
    pub fn read(port: &str) -> Self {
        let mut transcript = Self::default();
        for line in port.lines() {
            let running = transcript.sections.last_mut().filter(|section| section.status.is_none());
            match (Mark::read(line), running) {
                (Some(Mark::Begin(name)), _) => {
                    transcript.sections.push(Section { name, ..Section::default() });
                }
                (Some(Mark::End(_, status)), Some(section)) => section.status = Some(status),
                (Some(Mark::Done), _) => transcript.done = true,
                (None, Some(section)) => {
                    section.output.push_str(line);
                    section.output.push('\n');
                }
                (Some(Mark::End(name, status)), None) => {
                    let (output, status) = (String::new(), Some(status));
                    transcript.sections.push(Section { name, output, status });
                }
                (None, None) => {}
            }
        }
        transcript
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

    #[test]
    fn a_port_is_taken_apart_at_its_marks() {
        let port =
            "boot\n@portcullis begin a\none\n\n@portcullis end a 3\nbetween\n@portcullis begin b\ntwo\n";
        let section = |name: &str, output: &str, status| Section {
            name: name.to_owned(),
            output: output.to_owned(),
            status,
        };
        let sections = vec![section("a", "one\n\n", Some(3)), section("b", "two\n", None)];
        assert_eq!(Transcript::read(port), Transcript { sections, done: false });
        let torn = Transcript::read("@portcullis end a 1\n@portcullis done\r\n");
        assert_eq!(torn, Transcript { sections: vec![section("a", "", Some(1))], done: true });
    }
}
