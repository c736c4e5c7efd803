//! The kernel's file system for tracing, and instances in it: sets of buffers and enabled events of one's own.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Error;

/// Where tracefs is mounted; the second place is that of old systems, and of those who mount debugfs alone.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// How many instances of ours there may be at a time; processes of different pid namespaces can share a number.
const MOST_INSTANCES: u32 = 64;

/// The file system.
#[derive(Debug)]
pub(super) struct Tracefs {
    root: PathBuf,
    /// Holds a mount that has no place.
    _mount: Option<File>,
}

impl Tracefs {
    /// Finds it where it is mounted, or else mounts it where nobody sees it.
    pub(super) fn find() -> Result<Self, Error> {
        let mounted = PLACES.into_iter().find(|place| Path::new(place).join("instances").exists());
        match mounted {
            Some(root) => Ok(Self { root: root.into(), _mount: None }),
            None => Self::mount_unseen(),
        }
    }

    /// Mounts it in a mount namespace that ends with the thread in it; what is held open of a mount lives on.
    fn mount_unseen() -> Result<Self, Error> {
        let [place, _] = PLACES;
        let refused = |errno| Error::refused(format!("mounting tracefs, which is not at {place}"), errno);
        let mounted = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).map_err(refused)?;
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(refused)?;
                mount(Some("tracefs"), place, Some("tracefs"), MsFlags::empty(), None::<&str>)
                    .map_err(refused)?;
                File::open(place).map_err(|error| Error::file(place, error))
            });
            thread.join().map_err(|_| Error::Thread)
        })??;
        let root = format!("/proc/self/fd/{}", mounted.as_raw_fd()).into();
        Ok(Self { root, _mount: Some(mounted) })
    }

    /// Makes an instance.
    pub(super) fn instance(self) -> Result<Instance, Error> {
        let number = |count: u32| if count == 0 { String::new() } else { format!("-{count}") };
        let mut tries = (0..MOST_INSTANCES).map(|count| {
            let name = format!("portcullis-{}{}", std::process::id(), number(count));
            let path = self.root.join("instances").join(name);
            fs::create_dir(&path).map(|()| path.clone()).map_err(|error| Error::file(&path, error))
        });
        let taken = |made: &Result<PathBuf, Error>| {
            made.as_ref().is_err_and(|error| error.errno() == Some(Errno::EEXIST))
        };
        let made = tries.find(|made| !taken(made));
        let path = made.unwrap_or_else(|| Err(Error::refused("making a tracing instance", Errno::EEXIST)))?;
        drop(tries);
        Ok(Instance { path, _tracefs: self })
    }
}

/// An instance; it goes away with this.
#[derive(Debug)]
pub(super) struct Instance {
    path: PathBuf,
    _tracefs: Tracefs,
}

impl Instance {
    /// Reads one of its files.
    pub(super) fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        fs::read_to_string(&path).map_err(|error| Error::file(&path, error))
    }

    /// Writes one of its files.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(|error| Error::file(&path, error))
    }

    /// Opens the events, to be read once each and without waiting.
    pub(super) fn pipe(&self) -> Result<File, Error> {
        let path = self.path.join("trace_pipe");
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        opened.map_err(|error| Error::file(&path, error))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Its events end with it. Nothing can be done here if somebody has it open.
        let _ = fs::remove_dir(&self.path);
    }
}
