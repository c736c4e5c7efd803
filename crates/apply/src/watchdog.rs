//! The process that takes back what nobody confirms.
//!
//! It is started before the first step and holds the reading end of a pipe, whose other end only the process that applies
//! has. When that end closes before everything was applied, that process is gone, however it ended, and what it began is
//! taken back at once. Afterwards the watchdog waits for a confirmation until the time is over.
//!
//! It leaves the session and the terminal of whoever started it, and holds back `SIGHUP`, `SIGINT` and `SIGTERM`, so that it
//! outlives a closed terminal, a lost connection and a stopped service. It does not outlive `SIGKILL`, which a service manager
//! sends to what is left of a session if it is told to (systemd's `KillUserProcesses`); then the next command takes back what
//! is overdue ([`recover`](crate::recover)). Nor does it outlive the machine, but neither do the changes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_kernel::process;
use portcullis_kernel::signal::Held;
use portcullis_kernel::watch::Directory;

use crate::transaction::{RolledBack, take_back_unconfirmed};
use crate::{Confirm, Error, Host, Phase, StateDir};

/// The line that the watchdog says once nothing that happens to its session can end it.
const READY: &str = "ready";

/// The longest it waits at a time: the waits do not count the time that the machine sleeps, which the deadline does.
const NAP: Duration = Duration::from_secs(5);

/// How often it tries again what the kernel refuses.
const TRIES: u32 = 5;

/// The end of the pipe that tells the watchdog that somebody is at it.
#[derive(Debug)]
pub(crate) struct Leash {
    _watchdog: Child,
}

impl Leash {
    /// Starts the watchdog and waits until it is ready. It is not waited for when it ends: that is after this process, as a
    /// rule.
    pub(crate) fn spawn(confirm: &Confirm, id: &str) -> Result<Self, Error> {
        let failed =
            |error: std::io::Error| Error::Watchdog(format!("{}: {error}", confirm.program.display()));
        let mut command = Command::new(&confirm.program);
        command.args(&confirm.arguments).arg(OsStr::new(id));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut watchdog = command.spawn().map_err(failed)?;
        let mut lines = watchdog.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines());
        if !lines.any(|line| line.is_ok_and(|line| line == READY)) {
            drop(watchdog.stdin.take());
            let status = watchdog.wait().map_err(failed)?;
            return Err(Error::Watchdog(format!("{}: {status}", confirm.program.display())));
        }
        Ok(Self { _watchdog: watchdog })
    }
}

/// How a watchdog's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was confirmed, or did not have to be.
    Confirmed,
    /// Nothing of it is there: it was never begun, or was taken back by somebody else.
    Nothing,
    /// The watchdog took it back.
    TakenBack(Box<RolledBack>),
}

/// Watches over one apply: the whole work of the process that [`Confirm`] names, whose last argument `id` is. Its standard
/// input is the pipe. Call it while the process has one thread.
///
/// # Errors
/// If the journal cannot be read, or something cannot be taken back. The next command tries it again.
pub fn watchdog(host: &mut dyn Host, dir: &StateDir, id: &str) -> Result<Ended, Error> {
    // A process that leads a group already has left its session too.
    let _ = process::leave_session();
    let _held = Held::new()?;
    // No file system is kept from being unmounted. The state directory's path has to be found from there.
    let path = std::path::absolute(dir.path()).map_err(|error| Error::file(dir.path(), error))?;
    let dir = StateDir::new(path);
    std::env::set_current_dir("/").map_err(|error| Error::file("/".as_ref(), error))?;
    let mut output = std::io::stdout();
    let said = writeln!(output, "{READY}").and_then(|()| output.flush());
    said.map_err(|error| Error::Watchdog(error.to_string()))?;
    watch(host, &dir, id, std::io::stdin().as_fd())
}

/// Waits for what decides, and does what there is to be done.
pub(crate) fn watch(
    host: &mut dyn Host,
    dir: &StateDir,
    id: &str,
    pipe: BorrowedFd<'_>,
) -> Result<Ended, Error> {
    let place = host.place()?;
    let directory = Directory::open(dir.path())?;
    // `None` once its other end is closed.
    let mut pipe = Some(pipe);
    loop {
        let journals = dir.journals(&place, false)?;
        let phase = journals.iter().map(|journal| &journal.entries);
        let phase = phase.clone().find(|entries| entries.header.id == id).map(|entries| entries.phase);
        let nap = match phase {
            None | Some(Phase::Undone) if pipe.is_none() => return Ok(Ended::Nothing),
            Some(Phase::Working | Phase::Undoing) if pipe.is_none() => {
                return take_back(host, dir, id, &directory);
            }
            Some(Phase::InForce) => return Ok(Ended::Confirmed),
            Some(Phase::Awaiting(deadline)) => match deadline.checked_sub(host.now()?) {
                None | Some(Duration::ZERO) => return take_back(host, dir, id, &directory),
                // One more: the wait is told in milliseconds, rounded down.
                Some(left) => NAP.min(left + Duration::from_millis(1)),
            },
            None | Some(Phase::Working | Phase::Undoing | Phase::Undone) => NAP,
        };
        if directory.wait(pipe, nap)? {
            pipe = None;
        }
    }
}

fn take_back(host: &mut dyn Host, dir: &StateDir, id: &str, directory: &Directory) -> Result<Ended, Error> {
    let ended =
        |back: Option<RolledBack>| back.map_or(Ended::Nothing, |back| Ended::TakenBack(Box::new(back)));
    for _ in 1..TRIES {
        match take_back_unconfirmed(host, dir, id) {
            Ok(back) => return Ok(ended(back)),
            Err(_) => drop(directory.wait(None, Duration::from_secs(1))?),
        }
    }
    take_back_unconfirmed(host, dir, id).map(ended)
}
