//! QEMU, and the decompressors a kernel needs: those of the machine, or else unpacked into the cache.
//! How a guest is set up lives in [`crate::boot`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::apt::Apt;
use crate::packages::packages_to_install;
use crate::process::find_program;

/// The emulator's program name.
pub const EMULATOR: &str = "qemu-system-x86_64";

const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Programs the lab uses: the machine's own, or those unpacked below a directory of the cache.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Names the directory that holds, or will hold, the unpacked programs.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Tells whether everything is here that booting takes.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        [EMULATOR, "xz", "zstd", "lz4", "gzip"].into_iter().all(|program| self.find(program).is_some())
    }

    /// Unpacks QEMU and the decompressors, with those of their libraries that the machine lacks, into `target`.
    ///
    /// # Errors
    /// When they cannot be had.
    pub fn fetch(apt: &Apt, target: &Path) -> Result<(), Error> {
        let lists = apt.own_lists()?;
        let simulation = lists.simulate(&["qemu-system-x86", "xz-utils", "zstd", "lz4"])?;
        lists.unpack(&packages_to_install(&simulation), target)
    }

    /// Returns a command that runs `program`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let Some(found) = self.find(program) else { return Command::new(program) };
        let unpacked = found.starts_with(&self.root);
        let mut command = Command::new(found);
        if unpacked {
            let paths: Vec<PathBuf> = LIBRARIES.iter().map(|path| self.root.join(path)).collect();
            command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).unwrap_or_else(|_| OsString::new()));
            if program == EMULATOR {
                command.arg("-L").arg(self.root.join("usr/share/qemu"));
                command.arg("-L").arg(self.root.join("usr/share/seabios"));
            }
        }
        command
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let unpacked = ["usr/bin", "bin"].map(|directory| self.root.join(directory).join(program));
        unpacked.into_iter().find(|path| path.is_file()).or_else(|| find_program(program))
    }
}
