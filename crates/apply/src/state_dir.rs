//! The directory where it is kept what was applied: for each network namespace a lock, and a journal for each apply that is
//! in force or under way; and the lock of whoever watches over it.
//!
//! Journals are named after their namespace and numbered: `4026531840.0`, `4026531840.1`. All but the last are in force,
//! for an apply on top of another is refused until that is confirmed; so what is taken back last was applied first.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use portcullis_kernel::lock::{FileLock, Tried};
use portcullis_snapshot::NetnsId;

use crate::journal::{Header, Journal};
use crate::{Error, Host, Place};

/// A state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl Default for StateDir {
    /// `/run/portcullis`, which goes away with the kernel's state when the machine stops.
    fn default() -> Self {
        Self::new("/run/portcullis")
    }
}

impl StateDir {
    /// Names a state directory. It is made when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory, for its owner only.
    pub(crate) fn create(&self) -> Result<(), Error> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.0).map_err(|error| Error::file(&self.0, error))
    }

    /// Locks a namespace, unless another process has it.
    pub(crate) fn try_lock(&self, netns: NetnsId) -> Result<FileLock, Error> {
        match FileLock::attempt(&self.lock_path(netns))? {
            Tried::Held(lock) => Ok(lock),
            Tried::Taken(pid) => Err(Error::Busy { pid }),
        }
    }

    /// Locks a namespace as soon as no other process has it.
    pub(crate) fn lock(&self, netns: NetnsId) -> Result<FileLock, Error> {
        Ok(FileLock::wait(&self.lock_path(netns))?)
    }

    /// Says that this process applies again whatever goes missing in the namespace, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::Watched`] if another process does so.
    pub fn watch(&self, host: &dyn Host) -> Result<FileLock, Error> {
        let place = host.place()?;
        self.create()?;
        match FileLock::attempt(&self.watch_path(place.netns))? {
            Tried::Held(lock) => Ok(lock),
            Tried::Taken(pid) => Err(Error::Watched { pid }),
        }
    }

    /// Refuses where a process would apply again what is undone.
    pub(crate) fn must_not_be_watched(&self, netns: NetnsId) -> Result<(), Error> {
        let path = self.watch_path(netns);
        match path.exists().then(|| FileLock::attempt(&path)).transpose()? {
            Some(Tried::Taken(pid)) => Err(Error::Watched { pid }),
            Some(Tried::Held(_)) | None => Ok(()),
        }
    }

    fn watch_path(&self, netns: NetnsId) -> PathBuf {
        self.0.join(format!("{}.watch", netns.0))
    }

    fn lock_path(&self, netns: NetnsId) -> PathBuf {
        self.0.join(format!("{}.lock", netns.0))
    }

    /// Reads the journals of a namespace, the first first. Those that say nothing about this kernel are left out, and with
    /// `tidy` set aside.
    pub(crate) fn journals(&self, place: &Place, tidy: bool) -> Result<Vec<Journal>, Error> {
        let mut numbers = self.numbers(place.netns)?;
        numbers.sort_unstable();
        let mut journals = Vec::new();
        for number in numbers {
            let Some(journal) = Journal::open(&self.journal_path(place.netns, number))? else { continue };
            match (journal.is_stale(place), tidy) {
                (true, true) => journal.set_aside()?,
                (true, false) => {}
                (false, _) => journals.push(journal),
            }
        }
        Ok(journals)
    }

    /// Begins a journal on top of the others. To be called with the lock.
    pub(crate) fn begin(&self, header: Header) -> Result<Journal, Error> {
        let next = self.numbers(header.netns)?.into_iter().max().map_or(0, |last| last + 1);
        Journal::create(&self.journal_path(header.netns, next), header)
    }

    fn numbers(&self, netns: NetnsId) -> Result<Vec<u32>, Error> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file(&self.0, error)),
        };
        let prefix = format!("{}.", netns.0);
        let number = |name: &str| name.strip_prefix(&prefix)?.parse::<u32>().ok();
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| Error::file(&self.0, error))?.file_name();
            numbers.extend(name.to_str().and_then(number));
        }
        Ok(numbers)
    }

    fn journal_path(&self, netns: NetnsId, number: u32) -> PathBuf {
        self.0.join(format!("{}.{number}", netns.0))
    }
}
