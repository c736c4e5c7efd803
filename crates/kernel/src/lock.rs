//! A lock that one process holds at a time, and that the kernel lets go of when the process ends, however it ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Error;

/// A lock on a file, held until this is dropped. The file stays: whoever waits for it has it open.
#[derive(Debug)]
pub struct FileLock {
    _held: Flock<File>,
}

/// What came of trying to lock.
#[derive(Debug)]
pub enum Tried {
    /// It is held.
    Held(FileLock),
    /// Somebody else has it: the process of this id, if it is to be read already.
    Taken(Option<u32>),
}

impl FileLock {
    /// Locks a file, which is made if there is none, if nobody else has it locked.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn attempt(path: &Path) -> Result<Tried, Error> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Self::signed(path, held).map(Tried::Held),
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                Ok(Tried::Taken(read.ok().and_then(|_| text.trim().parse().ok())))
            }
            Err((_, errno)) => Err(refused(path, errno)),
        }
    }

    /// Locks a file as soon as nobody else has it locked.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn wait(path: &Path) -> Result<Self, Error> {
        let mut file = open(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(held) => return Self::signed(path, held),
                Err((back, Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(refused(path, errno)),
            }
        }
    }

    /// Writes in it whose it is: for people, so that a full disk is no hindrance.
    fn signed(path: &Path, mut held: Flock<File>) -> Result<Self, Error> {
        held.set_len(0).and_then(|()| held.rewind()).map_err(|error| Error::file(path, error))?;
        let _ = writeln!(&*held, "{}", std::process::id());
        Ok(Self { _held: held })
    }
}

fn refused(path: &Path, errno: Errno) -> Error {
    Error::refused(format!("locking {}", PathBuf::from(path).display()), errno)
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_other_is_told_who() {
        let name = format!("portcullis-lock-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let first = FileLock::wait(&path).unwrap();
        let Tried::Taken(holder) = FileLock::attempt(&path).unwrap() else { panic!("locked twice") };
        assert_eq!(holder, Some(std::process::id()));
        drop(first);
        assert!(matches!(FileLock::attempt(&path).unwrap(), Tried::Held(_)));
        std::fs::remove_file(&path).unwrap();
    }
}
