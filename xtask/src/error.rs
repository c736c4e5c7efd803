//! What can go wrong in a task. No recovery lives here.

use std::io;
use std::path::Path;

/// Why a task, or one kernel of the lab, could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed ({status}){message}")]
    Command {
        /// The program and its first arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said on standard error, led by a line break, or nothing.
        message: String,
    },
    /// Something that this machine cannot provide. The lab counts it as skipped.
    #[error("{0}")]
    Unavailable(String),
    /// A file that is not what it should be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// The file.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Wraps a system error with what was being done to `path`; for use in `map_err`.
    pub fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |source| Self::Io { doing, source }
    }

    /// Tells whether something went wrong here, rather than that the world withheld something.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Damaged { .. })
    }

    /// Says that `what` is damaged.
    pub fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }
}
