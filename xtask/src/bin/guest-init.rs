//! The first process of a booted guest: mounts what a system needs, runs the job's binaries as root with their
//! output on the second serial port, and switches the machine off. The same program answers as `/sbin/modprobe`,
//! the kernel's way to ask for a module. It decides nothing about them.

use std::error::Error;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::tcdrain;
use xtask::frames::Mark;
use xtask::initramfs::{ARGUMENTS_PATH, LIST_PATH, RESULTS_PORT};
use xtask::modules::{BUILT_IN, INDEX_PATH, Index};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let own_name = words.next().unwrap_or_default();
    if own_name.ends_with("modprobe") {
        return modprobe(words);
    }
    if std::process::id() != 1 {
        xtask::process::complain(
            "guest-init is the first process of a test guest; run `cargo xtask test` instead",
        );
        return ExitCode::FAILURE;
    }
    if let Err(error) = run_job() {
        xtask::process::complain(&format!("guest-init: {error}"));
    }
    // Without the mark of the end on the results port, the machine outside counts the boot as failed.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}

/// Brings the guest up and runs every binary of the job.
fn run_job() -> Outcome<()> {
    mount_all()?;
    // tun's device node appears with the module, which no test can ask the kernel for by a netlink message.
    modprobe(["tun".to_owned()].into_iter());
    let _ = fs::write("/sys/class/net/lo/flags", "0x9"); // IFF_UP | IFF_LOOPBACK
    let mut results = OpenOptions::new().write(true).open(RESULTS_PORT)?;
    let arguments = fs::read_to_string(ARGUMENTS_PATH)?;
    for line in fs::read_to_string(LIST_PATH)?.lines() {
        let Some((name, path)) = line.split_once(' ') else { continue };
        writeln!(results, "\n{}", Mark::Begin(name.to_owned()))?;
        let status = run_binary(path, arguments.lines(), &results).unwrap_or_else(|error| {
            let _ = writeln!(results, "cannot run {path}: {error}");
            127
        });
        writeln!(results, "\n{}", Mark::End(name.to_owned(), status))?;
    }
    writeln!(results, "{}", Mark::Done)?;
    tcdrain(&results)?;
    Ok(())
}

fn run_binary<'a>(path: &str, arguments: impl Iterator<Item = &'a str>, results: &File) -> Outcome<i32> {
    let status = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("TMPDIR", "/tmp")
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(results.try_clone()?)
        .stderr(results.try_clone()?)
        .status()?;
    Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255))
}

fn mount_all() -> Outcome<()> {
    // Nothing on /tmp: the root lies in memory already, and programs of the job may have been built below it.
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        fs::create_dir_all(target)?;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
            .map_err(|errno| format!("cannot mount {target}: {errno}"))?;
    }
    fs::set_permissions("/tmp", Permissions::from_mode(0o1777))?;
    // Not every kernel has tracing; a test that needs it says so.
    let _ = mount(Some("tracefs"), "/sys/kernel/tracing", Some("tracefs"), MsFlags::empty(), None::<&str>);
    Ok(())
}

/// Loads what answers to each name; options are passed over. Fails, like modprobe(8), if a name is unknown.
fn modprobe(words: impl Iterator<Item = String>) -> ExitCode {
    let index = Index::from_text(&fs::read_to_string(INDEX_PATH).unwrap_or_default());
    let mut complete = true;
    for name in words.filter(|word| !word.starts_with('-')) {
        let paths = index.resolve(&name);
        complete &= !paths.is_empty();
        for path in paths.into_iter().filter(|path| *path != BUILT_IN) {
            complete &= load(Path::new(path)).is_ok();
        }
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load(path: &Path) -> Outcome<()> {
    match finit_module(File::open(path)?, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(format!("cannot load {}: {errno}", path.display()).into()),
    }
}
