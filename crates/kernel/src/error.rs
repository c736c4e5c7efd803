//! What can go wrong between here and the kernel.

use nix::errno::Errno;
use portcullis_snapshot::{Unread, UnreadCause};

/// A request that the kernel refused or did not answer as its headers say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{what}: {}{}", errno_text(*errno), detail.as_ref().map_or_else(String::new, |text| format!(" ({text})")))]
    Refused {
        /// What was tried, with the object's name.
        what: String,
        /// The error number.
        errno: Errno,
        /// The kernel's own words, where it had any.
        detail: Option<String>,
    },
    /// The state kept changing while it was read.
    #[error("{what}: it kept changing while it was read ({tries} tries)")]
    Interrupted {
        /// What was read.
        what: String,
        /// How often.
        tries: u32,
    },
    /// What came back does not decode.
    #[error("{what}: the answer does not decode: {detail}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread that worked in another namespace ended without an answer.
    #[error("work in another namespace ended unexpectedly")]
    Thread,
}

/// `EPERM` as people know it, without nix's name in front.
fn errno_text(errno: Errno) -> &'static str {
    errno.desc()
}

impl Error {
    /// Wraps an error number of a system call.
    pub(crate) fn refused(what: impl Into<String>, errno: Errno) -> Self {
        Self::Refused { what: what.into(), errno, detail: None }
    }

    /// Wraps an error of reading or writing a file.
    pub(crate) fn file(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::File { path: path.as_ref().display().to_string(), source }
    }

    /// Returns the error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::File { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// Returns it as the reason why something was not read.
    #[must_use]
    pub fn unread(&self) -> Unread {
        let cause = match self.errno() {
            Some(Errno::EPERM | Errno::EACCES) => UnreadCause::Permission,
            Some(Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ENOPROTOOPT) => {
                UnreadCause::Unsupported
            }
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ESRCH) => UnreadCause::Vanished,
            _ => UnreadCause::Failed,
        };
        Unread { cause, reason: self.to_string() }
    }
}
