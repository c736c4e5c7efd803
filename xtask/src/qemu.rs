//! QEMU and the other programs the lab uses: those of the machine, or else unpacked into the cache.
//! How a guest is set up lives in [`crate::boot`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::apt::Apt;
use crate::packages::packages_to_install;
use crate::process::find_program;
use crate::programs::PROGRAMS;

/// The emulator's program name.
pub const EMULATOR: &str = "qemu-system-x86_64";

const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "xz-utils",
    "zstd",
    "lz4",
    "iproute2",
    "nftables",
    "ebtables",
    "iptables",
    "arptables",
];

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

    /// Tells whether everything is here that can be had.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        let needed = [EMULATOR, "xz", "zstd", "lz4", "gzip"];
        self.root.is_dir() || needed.iter().chain(PROGRAMS).all(|program| self.find(program).is_some())
    }

    /// Unpacks QEMU, the decompressors and the tests' programs, as far as the machine lacks them and their libraries,
    /// into `target`.
    ///
    /// # Errors
    /// When they cannot be had.
    pub fn fetch(apt: &Apt, target: &Path) -> Result<(), Error> {
        let lists = apt.own_lists()?;
        lists.unpack(&packages_to_install(&lists.simulate(PACKAGES)?), target)
    }

    /// Returns a command that runs `program`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let Some(found) = self.find(program) else { return Command::new(program) };
        let unpacked = found.starts_with(&self.root);
        let mut command = Command::new(found);
        if unpacked {
            self.with_libraries(&mut command);
            if program == EMULATOR {
                command.arg("-L").arg(self.root.join("usr/share/qemu"));
                command.arg("-L").arg(self.root.join("usr/share/seabios"));
            }
        }
        command
    }

    /// Lets `command` find the unpacked libraries.
    pub fn with_libraries(&self, command: &mut Command) {
        let paths: Vec<PathBuf> = LIBRARIES.iter().map(|path| self.root.join(path)).collect();
        command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).unwrap_or_else(|_| OsString::new()));
    }

    /// Looks for `program` among the unpacked ones, then on the machine.
    #[must_use]
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let directories = ["usr/bin", "bin", "usr/sbin", "sbin"];
        let unpacked = directories.map(|directory| self.root.join(directory).join(program));
        unpacked.into_iter().find(|path| path.is_file()).or_else(|| find_program(program))
    }

    /// Returns where the file or directory at the absolute `path` lies, unpacked or on the machine.
    #[must_use]
    pub fn data(&self, path: &str) -> Option<PathBuf> {
        let unpacked = self.root.join(path.trim_start_matches('/'));
        [unpacked, PathBuf::from(path)].into_iter().find(|path| path.exists())
    }

    /// Returns where a file would lie if it were installed: an unpacked one loses the cache's directory.
    #[must_use]
    pub fn installed_path(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).map_or_else(|_| path.to_path_buf(), |below| Path::new("/").join(below))
    }
}
