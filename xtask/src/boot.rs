//! Boots one kernel in QEMU with one job and brings back what it wrote. What that means is read in [`crate::results`].

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::kernels::Kernel;
use crate::process::tail;
use crate::qemu::{EMULATOR, Tools};
use crate::watch::{Limit, watch};

/// Guest memory in MiB; the archive of modules and the tests lie in it too.
const MEMORY: u32 = 3072;

/// How a guest is run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Ask for KVM instead of QEMU's own translation.
    pub kvm: bool,
    /// When a guest counts as hung.
    pub limit: Limit,
}

/// What came back from a boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// What the results port carried.
    pub results: String,
    /// The last lines of the console, led by a line break, or that it has none.
    pub console: String,
    /// Whether the guest had to be ended.
    pub hung: bool,
    /// How long it ran.
    pub time: Duration,
}

/// Boots `kernel` with the archives of a job and waits for its end; `heard` gets each line of the results port as it comes.
///
/// # Errors
/// When QEMU cannot be started; a guest that hangs or panics is not an error here but told in the answer.
pub fn boot(
    tools: &Tools,
    kernel: &Kernel,
    job: [&[u8]; 2],
    manner: Manner,
    heard: impl FnMut(&str),
) -> Result<Boot, Error> {
    let directory = tempfile::tempdir().map_err(Error::io("make", &std::env::temp_dir()))?;
    let directory = directory.path();
    let initramfs = directory.join("initramfs");
    join(&initramfs, &kernel.modules, job)?;
    let mut command = command(tools, kernel, directory, &initramfs, manner);
    let started = Instant::now();
    let child = command.spawn().map_err(|source| Error::Io { doing: format!("run {EMULATOR}"), source })?;
    let hung = watch(child, &directory.join("results"), manner.limit, heard)?.is_none();
    let time = started.elapsed();
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
    let mut console = tail(&read("console"), 60);
    console.push_str(&tail(&read("messages"), 10));
    if console.is_empty() {
        console.push_str("\n  (nothing)");
    }
    let results = String::from_utf8_lossy(&read("results")).replace('\r', "");
    Ok(Boot { results, console, hung, time })
}

fn command(tools: &Tools, kernel: &Kernel, directory: &Path, initramfs: &Path, manner: Manner) -> Command {
    let port = |name: &str| format!("file:{}", directory.join(name).display());
    let mut command = tools.command(EMULATOR);
    command.args(["-M", "pc", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    if manner.kvm {
        command.args(["-accel", "kvm", "-cpu", "host"]);
    } else {
        // Without a bound the translation cache grows to 750 MB.
        command.args(["-accel", "tcg,tb-size=256", "-cpu", "qemu64"]);
    }
    command.args(["-m", &MEMORY.to_string(), "-serial", &port("console"), "-serial", &port("results")]);
    command.arg("-kernel").arg(&kernel.vmlinux).arg("-initrd").arg(initramfs);
    command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests"]);
    let messages = fs::File::create(directory.join("messages")).map_or_else(|_| Stdio::null(), Stdio::from);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
    command
}

/// Writes the archives one after the other; the kernel unpacks them in turn.
fn join(target: &Path, modules: &Path, job: [&[u8]; 2]) -> Result<(), Error> {
    fs::copy(modules, target).map_err(Error::io("copy", modules))?;
    let mut file = fs::OpenOptions::new().append(true).open(target).map_err(Error::io("open", target))?;
    job.iter().try_for_each(|part| file.write_all(part)).map_err(Error::io("write", target))
}
