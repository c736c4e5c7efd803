//! `portcullis confirm`, `rollback` and `status`, and the watchdog: what becomes of what fix applied.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use portcullis_apply::{
    Confirm, Confirmation, Error, Live, Phase, Recovery, RolledBack, Standing, StateDir, Status,
};
use portcullis_kernel::namespace::{self, Netns};
use portcullis_report::json::{self, AppliedChange, AppliedEntry, AppliedPhase, StatusDocument};
use portcullis_report::text;

use crate::arguments::{Format, RollbackArguments, StateArguments, StatusArguments, WatchdogArguments};
use crate::failure::Failure;
use crate::output::print;

/// Does something in a network namespace. The thread stays there: what it starts has to be there too.
pub(super) fn in_namespace<T>(
    name: Option<&str>,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(name) = name else { return work() };
    let opened = if name.contains('/') { Netns::open(name) } else { Netns::named(name) };
    let netns = opened.map_err(|error| {
        let names = namespace::names();
        if name.contains('/') || names.iter().any(|known| known == name) {
            return Failure::from(error);
        }
        Failure::new(format!("there is no network namespace {name:?}"))
            .hint("ip netns lists those that have names")
            .nearest(name, names.iter().map(String::as_str))
    })?;
    netns.enter()?;
    work()
}

pub(crate) fn confirm(arguments: &StateArguments) -> Result<ExitCode, Failure> {
    in_namespace(arguments.netns.as_deref(), || {
        let state = StateDir::new(&arguments.state.state_dir);
        match portcullis_apply::confirm(&mut Live::new(), &state)? {
            Confirmation::Confirmed(header) => {
                say(&format!("Confirmed: {} stay.", text::remedies(&header.methods)))?;
                Ok(ExitCode::SUCCESS)
            }
            Confirmation::Already => {
                say("There is nothing to confirm: what is applied stays.")?;
                Ok(ExitCode::SUCCESS)
            }
            Confirmation::Nothing => Err(Failure::new("nothing is applied here")),
            Confirmation::TooLate(back) => {
                say_back(&back)?;
                Err(Failure::new("it was too late to confirm").hint("portcullis fix applies it again"))
            }
        }
    })
}

pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    in_namespace(arguments.at.netns.as_deref(), || {
        let state = StateDir::new(&arguments.at.state.state_dir);
        if !arguments.yes && !agreed(&state)? {
            return Ok(ExitCode::from(1));
        }
        let back = portcullis_apply::rollback(&mut Live::new(), &state)?;
        if back.is_empty() {
            say("Nothing is applied here.")?;
        }
        say_back(&back)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Asks whoever sits at the terminal.
fn agreed(state: &StateDir) -> Result<bool, Failure> {
    let applied = portcullis_apply::status(&mut Live::new(), state)?;
    if applied.is_empty() {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new("there is nobody to ask whether it is to be undone").hint("--yes undoes it"));
    }
    print(|mut out| text::status(&mut out, &document(&applied)))?;
    let mut stderr = io::stderr().lock();
    write!(stderr, "Undo it? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    in_namespace(arguments.at.netns.as_deref(), || {
        let state = StateDir::new(&arguments.at.state.state_dir);
        let applied = portcullis_apply::status(&mut Live::new(), &state)?;
        let document = document(&applied);
        print(|mut out| match arguments.format {
            Format::Text => text::status(&mut out, &document),
            Format::Json => json::write(&mut out, &document),
        })?;
        Ok(if applied.iter().all(Status::agrees) { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

fn document(applied: &[Status]) -> StatusDocument {
    let entry = |status: &Status| {
        let (header, who) = (&status.header, &status.header.who);
        let changes = status.changes.iter().map(|(change, standing)| AppliedChange {
            what: change.to_string(),
            holds: *standing == Standing::Made,
            found: found(standing),
        });
        AppliedEntry {
            remedies: header.methods.clone(),
            since: header.since.clone(),
            user: who.user.clone().unwrap_or_else(|| who.uid.to_string()),
            pid: who.pid,
            command: who.command.clone(),
            phase: match status.phase {
                Phase::Working => AppliedPhase::Unfinished,
                Phase::Awaiting(_) => AppliedPhase::AwaitsConfirmation,
                Phase::InForce => AppliedPhase::Applied,
                Phase::Undoing | Phase::Undone => AppliedPhase::BeingUndone,
            },
            seconds_left: status.left.map(|left| left.as_secs()),
            changes: changes.collect(),
        }
    };
    StatusDocument::new(applied.iter().map(entry).collect())
}

/// What there is instead of a change.
fn found(standing: &Standing) -> Option<String> {
    Some(match standing {
        Standing::Made => return None,
        Standing::NotMade => "it is as before".to_owned(),
        Standing::Partly => "only a part of it is there".to_owned(),
        Standing::Gone => "the device is gone".to_owned(),
        Standing::Changed(found) | Standing::Unseen(found) => found.clone(),
    })
}

/// The process that undoes what is not confirmed: this program once more.
pub(super) fn watchdog(state: &StateDir, within: Duration) -> Result<Confirm, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell where this program is: {error}")))?;
    let state = std::path::absolute(state.path())?;
    let arguments = vec!["watchdog".into(), "--state-dir".into(), state.into_os_string()];
    let seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
    Ok(Confirm { seconds, program, arguments })
}

pub(crate) fn watch(arguments: &WatchdogArguments) -> Result<ExitCode, Failure> {
    let state = StateDir::new(&arguments.state.state_dir);
    portcullis_apply::watchdog(&mut Live::new(), &state, &arguments.id)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what an earlier process had left, on standard error: it is not what was asked for.
pub(super) fn say_recovery(recovery: &Recovery) -> Result<(), Failure> {
    match recovery {
        Recovery::Nothing | Recovery::Busy { .. } => Ok(()),
        Recovery::Undone(back) => {
            let mut stderr = io::stderr().lock();
            for one in back {
                writeln!(
                    stderr,
                    "An earlier {} did not come to its end: it is undone.",
                    one.header.who.command
                )?;
            }
            Ok(())
        }
    }
}

fn say_back(back: &[RolledBack]) -> Result<(), Failure> {
    for one in back {
        say(&format!("Undone: {}.", text::remedies(&one.header.methods)))?;
        for left in &one.undone.left {
            say(&format!("  left alone, since somebody else changed it: {left}"))?;
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Failure> {
    print(|out| writeln!(out, "{line}"))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(&error);
        let cause = if let Error::Failed(failed) = &error { &failed.cause } else { &error };
        failure.interrupted = matches!(cause, Error::Interrupted);
        match &error {
            Error::Clashes(_) => failure.hint("something changed meanwhile: run it again"),
            Error::Watched { .. } => failure.hint("end it first, as systemctl stop portcullis-watch does"),
            Error::Busy { .. } => failure.hint("wait for it to end"),
            Error::Unconfirmed { .. } => {
                failure.hint("portcullis confirm keeps them, portcullis rollback undoes them")
            }
            Error::Damaged { path, .. } => {
                let hint = format!(
                    "what it says is applied is not known any more; move {} away to go on",
                    show(path)
                );
                failure.hint(hint)
            }
            Error::Stuck { .. } => failure.hint("portcullis rollback tries it again"),
            Error::Kernel(error) if error.unread().cause == portcullis_snapshot::UnreadCause::Permission => {
                failure.hint("root may do this")
            }
            _ => failure,
        }
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
