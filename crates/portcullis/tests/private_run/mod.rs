//! A `/run` that is a test's own.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread a `/run` of its own, so that a test touches no names of the machine.
pub(crate) fn private_run() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)
}
