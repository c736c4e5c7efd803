//! What can go wrong when changes are made or taken back.

use std::path::{Path, PathBuf};

use portcullis_plan::Clash;

use crate::Undone;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] portcullis_kernel::Error),
    /// The state that the plan was made for is not there any more. Nothing was done.
    #[error("nothing was done: {}", list(.0))]
    Clashes(Vec<Clash>),
    /// Another process is at it.
    #[error("another process{} is applying or undoing changes in this network namespace", pid_text(*.pid))]
    Busy {
        /// Which.
        pid: Option<u32>,
    },
    /// A process applies again whatever goes missing. Nothing was done.
    #[error("another process{} watches over this network namespace, and applies again what is undone", pid_text(*.pid))]
    Watched {
        /// Which.
        pid: Option<u32>,
    },
    /// Something was applied that nobody has confirmed yet.
    #[error("the changes that process {pid} applied ({command}) wait to be confirmed")]
    Unconfirmed {
        /// The process that applied it.
        pid: u32,
        /// Its command.
        command: String,
    },
    /// A file of the state directory is damaged.
    #[error("{}, line {line}: {message}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A file of the state directory could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process that is to undo the changes if nobody confirms them did not start. Nothing was done.
    #[error("nothing was done, as the watchdog did not start: {0}")]
    Watchdog(String),
    /// Making the changes did not come to its end.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// Afterwards the kernel was not as the changes make it.
    #[error("the kernel did not do what it was told: {}", list(.0))]
    NotAsPlanned(Vec<Clash>),
    /// A signal came that ends a process.
    #[error("interrupted")]
    Interrupted,
    /// Some changes could not be taken back. The journal stays, so that it is tried again.
    #[error("not taken back: {}{}", list(.left), cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})")))]
    Stuck {
        /// Which, and what is there instead.
        left: Vec<Clash>,
        /// The kernel's refusal, where it had one.
        cause: Option<Box<Self>>,
    },
}

/// An apply that did not come to its end, and what became of what it had done.
#[derive(Debug, thiserror::Error)]
#[error("{cause}; {}", after(.undone))]
pub struct Failure {
    /// Why.
    pub cause: Error,
    /// What was taken back, or why not.
    pub undone: Result<Undone, Error>,
}

fn after(undone: &Result<Undone, Error>) -> String {
    match undone {
        Ok(undone) if undone.left.is_empty() => "everything is as before".to_owned(),
        Ok(undone) => format!("undone, but for what others changed meanwhile: {}", list(&undone.left)),
        Err(error) => format!("undoing failed too: {error}"),
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" ({pid})"))
}

fn list(clashes: &[Clash]) -> String {
    clashes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}
