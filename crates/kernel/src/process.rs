//! What a process is to others: whose it is, and which terminal it hangs on.

use nix::unistd::{User, getuid, setsid};

use crate::Error;

/// Returns the user whose process this is, by number and by name if it has one.
#[must_use]
pub fn user() -> (u32, Option<String>) {
    let uid = getuid();
    (uid.as_raw(), User::from_uid(uid).ok().flatten().map(|user| user.name))
}

/// Leaves the session and the terminal of whoever started this process: it does not end with them.
///
/// # Errors
/// If it leads a process group already.
pub fn leave_session() -> Result<(), Error> {
    setsid().map(drop).map_err(|errno| Error::refused("leaving the session", errno))
}
