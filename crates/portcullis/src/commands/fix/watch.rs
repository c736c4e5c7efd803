//! `portcullis watch`: plans again when anything changes, and applies the plan if that was asked for.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_apply::{Live, StateDir};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::watch::Changes;
use portcullis_plan::{BehindBridges, Change};
use portcullis_report::json::{FixDocument, FixOutcome};

use super::{Asked, Tried, eprint, now, policy, read};
use crate::arguments::{FixArguments, Format, WatchArguments};
use crate::commands::undo::{in_namespace, say_recovery};
use crate::failure::Failure;
use crate::output::print;

/// What comes within this time of each other is one change: a guest that starts makes many.
const QUIET: Duration = Duration::from_millis(200);
/// After this time it is looked at even if it goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the kernel does not tell of is found after this time at the latest.
const EVERY: Duration = Duration::from_secs(60);
/// How long there is a rest after each look, in terms of how long that took: where something changes all the time, a fifth of one
/// processor is busy with it.
const REST: u32 = 4;
/// So long at most: a port that comes must not wait for ever.
const LONGEST_REST: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    in_namespace(arguments.planning.netns.as_deref(), || {
        let mut watch =
            Watch { fix: as_fix(arguments), apply: arguments.reapply, tried: Tried::default(), told: None };
        let state = StateDir::new(&arguments.planning.state.state_dir);
        let _watching = arguments.reapply.then(|| state.watch(&Live::new())).transpose()?;
        let mut changes = Changes::listen()?;
        let mut failed = 0;
        loop {
            let begun = Instant::now();
            let rest = match watch.look() {
                Ok(()) => {
                    failed = 0;
                    (begun.elapsed() * REST).min(LONGEST_REST)
                }
                Err(failure) if failure.interrupted => return Err(failure),
                Err(failure) => {
                    watch.complain(&failure);
                    failed += 1;
                    // Something may have come between, but what is undone changes something too: not for ever without a rest.
                    Duration::from_secs(1 << failed.min(5)).min(EVERY)
                }
            };
            thread::sleep(rest);
            if changes.wait(EVERY)? {
                let first = Instant::now();
                while first.elapsed() < PATIENCE && changes.wait(QUIET)? {}
            }
        }
    })
}

/// The same as arguments of `fix`.
fn as_fix(arguments: &WatchArguments) -> FixArguments {
    let (planning, confirm) = (arguments.planning.clone(), Some(Duration::ZERO));
    FixArguments {
        planning,
        dry_run: !arguments.reapply,
        yes: arguments.reapply,
        confirm,
        ..FixArguments::default()
    }
}

/// Says on standard error what is taken back; the document that follows says what is.
fn say_gone(changes: &[Change]) -> Result<(), Failure> {
    changes
        .iter()
        .try_for_each(|change| eprint(&format!("Taken back, as nobody is there any more: {change}\n")))
}

struct Watch {
    fix: FixArguments,
    apply: bool,
    tried: Tried,
    told: Option<Told>,
}

/// What was said last. The same is not said again.
enum Told {
    Document(Box<FixDocument>),
    Complaint(String),
}

impl Watch {
    /// Reads, plans, applies, and tells what is new.
    fn look(&mut self) -> Result<(), Failure> {
        // It may have been changed meanwhile.
        let (policy, _) = policy::read(&self.fix.planning.policy)?;
        let asked = Asked::new(&self.fix, policy)?;
        let state = StateDir::new(&self.fix.planning.state.state_dir);
        if self.apply {
            say_recovery(&portcullis_apply::recover(&mut Live::new(), &state)?)?;
        }
        let mut snapshot = read()?;
        let id = Namespace::current()?.id();
        if self.apply {
            let behind = BehindBridges::of(now(&snapshot, id)?, &asked.policy);
            let gone = portcullis_apply::let_go(&mut Live::new(), &state, |change| behind.outdates(change))?;
            if !gone.is_empty() {
                say_gone(&gone)?;
                snapshot = read()?;
            }
        }
        let plan = asked.rehearsed(&snapshot, id, &mut self.tried)?;
        let document = if plan.is_empty() {
            asked.document(&snapshot, &plan, FixOutcome::Nothing)?
        } else if self.apply {
            let document = asked.applied(&state, &snapshot, &plan, None)?;
            // With those before, lest each port that came and went be told of for ever.
            while portcullis_apply::join(&mut Live::new(), &state)? {}
            document
        } else {
            asked.document(&snapshot, &plan, FixOutcome::Planned)?
        };
        if self.is_new(&document) {
            if self.fix.planning.format == Format::Text {
                print(|out| writeln!(out, "{}", document.taken_at))?;
            }
            asked.print(&document)?;
        }
        self.told = Some(Told::Document(Box::new(document)));
        Ok(())
    }

    /// Whether a document says anything that was not said. That nothing is to do any more after something was done goes
    /// without saying.
    fn is_new(&self, document: &FixDocument) -> bool {
        let Some(Told::Document(told)) = &self.told else { return true };
        let after = told.outcome == FixOutcome::Applied && document.outcome == FixOutcome::Nothing;
        let at_the_same_time = FixDocument { taken_at: told.taken_at.clone(), ..document.clone() };
        document.outcome == FixOutcome::Applied || !(after || at_the_same_time == **told)
    }

    /// Says what went wrong, unless it was said last.
    fn complain(&mut self, failure: &Failure) {
        let message = failure.message();
        if !matches!(&self.told, Some(Told::Complaint(told)) if told == message) {
            failure.report();
            self.told = Some(Told::Complaint(message.to_owned()));
        }
    }
}
