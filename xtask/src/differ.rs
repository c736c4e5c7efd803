//! `cargo xtask differ`: one long program on this machine and inside stock kernels, watched while it runs.
//! What it does and finds is its own affair; here it holds or it does not.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::account::{Account, Verdict, closing_line};
use crate::arguments::DifferOptions;
use crate::boot::{self, Manner};
use crate::cargo;
use crate::frames::{Mark, Transcript};
use crate::initramfs;
use crate::kernels::{self, Kernel};
use crate::parallel;
use crate::process::say;
use crate::qemu::Tools;
use crate::watch::{Limit, watch};

/// The program, and its package.
const PROGRAM: &str = "portcullis-differ";

/// The name of this machine among the places.
const HOST: &str = "host";

/// A place to run in.
#[derive(Debug)]
enum Place {
    Host,
    Kernel(Kernel),
    /// A kernel that could not be had.
    Missing(String, Error),
}

/// Runs the task; tells whether no place failed.
///
/// # Errors
/// When the program cannot be built.
pub fn run(options: &DifferOptions) -> Result<bool, Error> {
    let versions = options.kernels();
    let (tools, provided) = kernels::provide(&versions);
    let kernels = versions.into_iter().zip(provided).map(|(version, kernel)| match kernel {
        Ok(kernel) => Place::Kernel(kernel),
        Err(error) => Place::Missing(version, error),
    });
    let places: Vec<Place> = options.host().then_some(Place::Host).into_iter().chain(kernels).collect();

    say(&format!("== building {PROGRAM}"));
    let build = cargo::build_program(PROGRAM)?;
    let arguments = options.program_arguments();
    let (job, called) = (initramfs::job(&build, &tools)?, initramfs::arguments(&arguments));
    let program = build.binaries.first().map(|binary| binary.path.clone()).unwrap_or_default();
    let manner = Manner { kvm: options.kvm, limit: options.limit() };

    say(&format!("== {PROGRAM} {}", arguments.join(" ")));
    let accounts = parallel::map(places, |place| match place {
        Place::Host => on_this_machine(&program, &arguments, manner.limit),
        Place::Kernel(kernel) => inside(&tools, &kernel, [&job, &called], manner),
        Place::Missing(version, error) => Account::without(version, &error),
    });
    accounts.iter().for_each(|account| say(&account.to_string()));
    say(&closing_line(&accounts));
    Ok(!accounts.iter().any(|account| matches!(account.verdict, Verdict::Failed(_))))
}

/// Shows a line of a place as it comes.
fn show(place: &str, line: &str) {
    if !line.is_empty() && Mark::read(line).is_none() {
        say(&format!("{place:5} {line}"));
    }
}

fn on_this_machine(program: &Path, arguments: &[String], limit: Limit) -> Account {
    let run = || -> Result<_, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("make", &std::env::temp_dir()))?;
        let path = directory.path().join("output");
        let output = File::create(&path).map_err(Error::io("make", &path))?;
        let errors = output.try_clone().map_err(Error::io("share", &path))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Error::io("run", program))?;
        let ended = watch(child, &path, limit, |line| show(HOST, line))?;
        Ok((ended, fs::read(&path).map_err(Error::io("read", &path))?))
    };
    match run() {
        Ok((ended, output)) => {
            let verdict = match ended {
                Some(status) if status.success() => Verdict::Held,
                Some(status) => Verdict::Failed(status.to_string()),
                None => Verdict::Failed(format!("it was ended after {limit}")),
            };
            Account::of(HOST, verdict, &String::from_utf8_lossy(&output))
        }
        Err(error) => Account::of(HOST, Verdict::Failed(error.to_string()), ""),
    }
}

fn inside(tools: &Tools, kernel: &Kernel, job: [&[u8]; 2], manner: Manner) -> Account {
    let place = &kernel.version;
    let boot = match boot::boot(tools, kernel, job, manner, |line| show(place, line)) {
        Ok(boot) => boot,
        Err(error) => return Account::of(place, Verdict::Failed(error.to_string()), ""),
    };
    let section = Transcript::read(&boot.results).sections.pop().unwrap_or_default();
    let verdict = match section.status {
        Some(0) => Verdict::Held,
        Some(status) => Verdict::Failed(format!("exit status: {status}")),
        None if boot.hung => {
            Verdict::Failed(format!("it was ended after {}; its console:{}", manner.limit, boot.console))
        }
        None => Verdict::Failed(format!("the guest did not come to its end; its console:{}", boot.console)),
    };
    Account::of(place, verdict, &section.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_run_it_fails() {
        let limit = Limit::Silence(std::time::Duration::from_secs(9));
        let account = on_this_machine(Path::new("/no/such/program"), &[], limit);
        assert!(matches!(account.verdict, Verdict::Failed(_)), "{account}");
        let account =
            on_this_machine(Path::new("/bin/sh"), &["-c".into(), "echo; echo x >&2; exit 4".into()], limit);
        assert_eq!(account.verdict, Verdict::Failed("exit status: 4".into()));
        assert_eq!(account.summary, ["x"]);
    }
}
