//! The job's half of a guest's memory file system: `guest-init`, the binaries it runs and the programs they may start; and
//! what they are called with. It follows the archive of modules, which is the kernel's. Paths that both sides must agree on live here too.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::cargo::GuestBuild;
use crate::cpio::Archive;
use crate::programs;
use crate::qemu::Tools;

/// The list of binaries inside the guest: a name and a path on each line.
pub const LIST_PATH: &str = "/job/list";
/// The arguments for each binary inside the guest, one a line.
pub const ARGUMENTS_PATH: &str = "/job/arguments";
/// The serial port that carries the results; the first one is the console.
pub const RESULTS_PORT: &str = "/dev/ttyS1";

/// Packs the job. Programs keep the paths they were built at, since tests hold such paths (`CARGO_BIN_EXE_…`).
///
/// # Errors
/// When a program cannot be read.
pub fn job(build: &GuestBuild, tools: &Tools) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
    archive.file(Path::new("/init"), &read(&build.init)?);
    archive.link(Path::new("/sbin/modprobe"), "/init");
    for directory in ["/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/usr/bin", "/usr/sbin"] {
        archive.directory(Path::new(directory));
    }
    programs::add(&mut archive, tools);
    let mut list = String::new();
    for binary in &build.binaries {
        archive.file(&binary.path, &read(&binary.path)?);
        list.push_str(&format!("{} {}\n", binary.name, binary.path.display()));
    }
    for program in &build.programs {
        archive.file(program, &read(program)?);
    }
    archive.file(Path::new(LIST_PATH), list.as_bytes());
    Ok(archive.finish())
}

/// Packs what the job's binaries are called with, which may differ from guest to guest.
#[must_use]
pub fn arguments(arguments: &[String]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file(Path::new(ARGUMENTS_PATH), arguments.join("\n").as_bytes());
    archive.finish()
}
