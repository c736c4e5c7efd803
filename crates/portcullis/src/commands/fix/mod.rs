//! `portcullis fix`: plan, ask, apply, prove again.

mod persist;
mod rehearsal;
mod session;
pub(crate) mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use portcullis_apply::{Live, Order, StateDir};
use portcullis_audit::Policy;
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_plan::{BY_HAND, Change, Method, Plan, PlanError, Request, Unfit, broken, plan, write};
use portcullis_report::json::{self, FixDocument, FixOutcome};
use portcullis_report::text;
use portcullis_snapshot::{Netns, NetnsId, Snapshot};

use super::policy;
use super::source::State;
use super::undo::{in_namespace, say_recovery, watchdog};
use crate::arguments::{FixArguments, Format, RollbackArguments, Source, StateArguments, Words};
use crate::failure::{Failure, one_line};
use crate::output::print;
use crate::progress::Progress;

/// How many changes are one step of the journal: enough that writing it down takes no time, few enough to say where it was.
const STEP: usize = 256;

pub(crate) fn run(arguments: &FixArguments) -> Result<ExitCode, Failure> {
    let (policy, _) = policy::read(&arguments.planning.policy)?;
    let asked = Asked::new(arguments, policy)?;
    if arguments.snapshot.is_some() {
        let source = Source { snapshot: arguments.snapshot.clone(), ..Source::default() };
        let snapshot = State::read(&source)?.snapshot;
        let id = snapshot.namespaces.first().map(|netns| netns.id);
        let id = id.ok_or_else(|| Failure::new("the snapshot has no namespace"))?;
        let plan = asked.plan(&snapshot, id, &BTreeMap::new())?;
        asked.say_unfit(&plan)?;
        return asked.show(&snapshot, &plan);
    }
    in_namespace(arguments.planning.netns.as_deref(), || {
        if arguments.remove { remove(arguments) } else { asked.here() }
    })
}

/// Undoes what is applied here, and what would apply it again.
fn remove(arguments: &FixArguments) -> Result<ExitCode, Failure> {
    let at = StateArguments { netns: None, state: arguments.planning.state.clone() };
    let status = super::undo::rollback(&RollbackArguments { at, yes: arguments.yes })?;
    if status == ExitCode::SUCCESS {
        say_files("Removed", &persist::remove(&arguments.root)?)?;
    }
    Ok(status)
}

fn say_files(what: &str, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    Ok(paths.iter().try_for_each(|path| writeln!(stderr, "{what} {}", path.display()))?)
}

/// Which remedies were tried on this kernel, and which of them it refuses, with its words.
#[derive(Default)]
struct Tried {
    all: BTreeSet<Method>,
    refused: BTreeMap<Method, String>,
}

/// What was asked for.
struct Asked<'a> {
    arguments: &'a FixArguments,
    policy: Policy,
    methods: Vec<Method>,
    today: Date,
}

impl<'a> Asked<'a> {
    fn new(arguments: &'a FixArguments, policy: Policy) -> Result<Self, Failure> {
        let named = |name: &String| {
            Method::named(name).ok_or_else(|| {
                if BY_HAND.iter().any(|doc| doc.name == name) {
                    let failure = Failure::new(format!("{name} is a remedy that is yours to carry out"));
                    return failure.hint(format!("portcullis explain {name} shows how, and why"));
                }
                Failure::new(format!("there is no remedy {name:?}"))
                    .hint("portcullis explain methods lists them")
                    .nearest(name, Method::ALL.map(Method::name))
            })
        };
        let methods = arguments.planning.method.iter().map(named).collect::<Result<_, _>>()?;
        Ok(Self { arguments, policy, methods, today: Timestamp::now().to_zoned(TimeZone::UTC).date() })
    }

    /// Plans and applies in the namespace of the calling thread.
    fn here(&self) -> Result<ExitCode, Failure> {
        let arguments = self.arguments;
        let dry = arguments.dry_run || arguments.words.is_some();
        let state = StateDir::new(&arguments.planning.state.state_dir);
        if !dry {
            say_recovery(&portcullis_apply::recover(&mut Live::new(), &state)?)?;
        }
        let snapshot = read()?;
        let id = Namespace::current()?.id();
        let plan = self.rehearsed(&snapshot, id, &mut Tried::default())?;
        self.say_unfit(&plan)?;
        if dry || plan.is_empty() {
            let status = self.show(&snapshot, &plan)?;
            self.persist(None)?;
            return Ok(status);
        }
        let confirm = self.confirm_within(now(&snapshot, id)?, &plan);
        if !arguments.yes && !self.agreed(&snapshot, &plan, confirm)? {
            return Ok(ExitCode::from(1));
        }
        self.apply(&state, &snapshot, &plan, confirm)
    }

    fn plan(
        &self,
        snapshot: &Snapshot,
        id: NetnsId,
        refused: &BTreeMap<Method, String>,
    ) -> Result<Plan, Failure> {
        let _progress = Progress::of("planning");
        let (methods, bridges) = (&self.methods[..], &self.arguments.planning.bridge[..]);
        let request = Request {
            methods,
            complete: self.arguments.planning.complete,
            bridges,
            refused,
            today: self.today,
        };
        Ok(plan(snapshot, id, &self.policy, &request)?)
    }

    /// A plan that this kernel takes: what it refuses of one is left out of the next.
    fn rehearsed(&self, snapshot: &Snapshot, id: NetnsId, tried: &mut Tried) -> Result<Plan, Failure> {
        loop {
            let plan = self.plan(snapshot, id, &tried.refused)?;
            let chosen: BTreeSet<_> = plan.chosen.iter().map(|chosen| chosen.method).collect();
            let new: Vec<_> = chosen.difference(&tried.all).copied().collect();
            if new.is_empty() {
                return Ok(plan);
            }
            let refusals = match rehearsal::refused(&new) {
                Ok(refusals) => refusals,
                // Who only looks need not be allowed to try.
                Err(_) if self.arguments.dry_run || self.arguments.words.is_some() => return Ok(plan),
                Err(error) => return Err(error.into()),
            };
            if let Some((method, why)) = refusals.iter().find(|(method, _)| self.methods.contains(*method)) {
                let failure = Failure::new(format!("this kernel refuses {method}: {why}"));
                return Err(failure.hint("without --method, one that it takes is chosen"));
            }
            tried.all.extend(new);
            if refusals.is_empty() {
                return Ok(plan);
            }
            tried.refused.extend(refusals);
        }
    }

    /// Says which of the remedies that were asked for are not part of a plan, and why.
    fn say_unfit(&self, plan: &Plan) -> Result<(), Failure> {
        let asked = plan.unfit.iter().filter(|unfit| self.methods.contains(&unfit.method));
        let lines =
            asked.map(|Unfit { method, bridge, why }| one_line(&format!("no {method} on {bridge}: {why}")));
        let mut stderr = io::stderr().lock();
        Ok(lines.into_iter().try_for_each(|line| writeln!(stderr, "{line}"))?)
    }

    /// Prints a plan; nothing is changed.
    fn show(&self, snapshot: &Snapshot, plan: &Plan) -> Result<ExitCode, Failure> {
        if let Some(words) = self.arguments.words {
            print(|out| out.write_all(write(words.into(), &plan.changes).as_bytes()))?;
        } else {
            let outcome = if plan.is_empty() { FixOutcome::Nothing } else { FixOutcome::Planned };
            self.print(&self.document(snapshot, plan, outcome)?)?;
        }
        Ok(status(plan))
    }

    fn document(
        &self,
        snapshot: &Snapshot,
        plan: &Plan,
        outcome: FixOutcome,
    ) -> Result<FixDocument, Failure> {
        Ok(FixDocument::new(snapshot, now(snapshot, plan.netns)?, plan, outcome))
    }

    fn print(&self, document: &FixDocument) -> Result<(), Failure> {
        print(|mut out| match self.arguments.planning.format {
            Format::Text => text::fix(&mut out, document),
            Format::Json => json::write(&mut out, document),
        })
    }

    /// Within which time it has to be confirmed.
    fn confirm_within(&self, netns: &Netns, plan: &Plan) -> Option<Duration> {
        const USUAL: Duration = Duration::from_secs(60);
        let by_itself = || session::passes_through(netns, plan).then_some(USUAL);
        self.arguments.confirm.map_or_else(by_itself, |said| (!said.is_zero()).then_some(said))
    }

    /// Asks whoever sits at the terminal.
    fn agreed(&self, snapshot: &Snapshot, plan: &Plan, confirm: Option<Duration>) -> Result<bool, Failure> {
        if !io::stdin().is_terminal() {
            return Err(Failure::new("there is nobody to ask whether the plan is to be applied")
                .hint("--yes applies it, --dry-run shows it"));
        }
        let mut document = self.document(snapshot, plan, FixOutcome::Planned)?;
        document.confirm_within = confirm.map(|within| within.as_secs());
        print(|mut out| text::fix(&mut out, &document))?;
        let within = confirm.map_or_else(String::new, |within| {
            format!(" It is undone after {} s unless you then run portcullis confirm.", within.as_secs())
        });
        eprint(&format!("Apply it?{within} [y/N] "))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    fn apply(
        &self,
        state: &StateDir,
        snapshot: &Snapshot,
        plan: &Plan,
        confirm: Option<Duration>,
    ) -> Result<ExitCode, Failure> {
        self.print(&self.applied(state, snapshot, plan, confirm)?)?;
        self.persist(confirm)?;
        Ok(status(plan))
    }

    /// Applies a plan, and tells what became of it.
    fn applied(
        &self,
        state: &StateDir,
        snapshot: &Snapshot,
        plan: &Plan,
        confirm: Option<Duration>,
    ) -> Result<FixDocument, Failure> {
        let order = Order {
            steps: plan.changes.chunks(STEP).map(<[Change]>::to_vec).collect(),
            methods: plan
                .chosen
                .iter()
                .map(|chosen| format!("{} on {}", chosen.method, chosen.bridge))
                .collect(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            since: snapshot.taken_at.clone(),
            confirm: confirm.map(|within| watchdog(state, within)).transpose()?,
        };
        // Without a word of progress, which would be a second thread: signals are held back meanwhile.
        let applied = portcullis_apply::apply(&mut Live::new(), state, order)?;
        if let Err(failure) = proven_again(plan, snapshot, applied.seen) {
            // What was applied before, and confirmed, is none of this.
            let back = applied.id.map(|id| portcullis_apply::take_back(&mut Live::new(), state, &id));
            back.transpose()?;
            return Err(failure);
        }
        let outcome = if confirm.is_some() { FixOutcome::AwaitsConfirmation } else { FixOutcome::Applied };
        let mut document = self.document(snapshot, plan, outcome)?;
        document.confirm_within = confirm.map(|within| within.as_secs());
        Ok(document)
    }

    /// Has it applied at every start, if that was asked for. What nobody has confirmed yet must not come again.
    fn persist(&self, confirm: Option<Duration>) -> Result<(), Failure> {
        match (self.arguments.persist, confirm) {
            (false, _) => Ok(()),
            (true, Some(_)) => {
                eprint("Not kept for the next start yet: confirm it, then run fix --persist again.\n")
            }
            (true, None) => say_files("Wrote", &persist::write(self.arguments)?),
        }
    }
}

/// Proves what the plan promised of what the kernel told after it was applied.
fn proven_again(plan: &Plan, before: &Snapshot, seen: Option<Netns>) -> Result<(), Failure> {
    let then = Snapshot {
        schema: before.schema.clone(),
        version: before.version.clone(),
        taken_at: before.taken_at.clone(),
        kernel: before.kernel.clone(),
        namespaces: seen.into_iter().collect(),
        problems: Vec::new(),
    };
    match broken(&then, plan.netns, &plan.claims) {
        None => Ok(()),
        Some(claim) => {
            let from = claim.from.first().map_or_else(|| claim.bridge.to_string(), ToString::to_string);
            let what = format!(
                "{}: what was planned does not isolate {from}, as the kernel tells it now; it is undone",
                claim.bridge
            );
            Err(Failure::new(what)
                .hint("interfaces that came up meanwhile are planned for when it is run again"))
        }
    }
}

fn status(plan: &Plan) -> ExitCode {
    if plan.is_proven() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn read() -> Result<Snapshot, Failure> {
    Ok(State::read(&Source::default())?.snapshot)
}

fn now(snapshot: &Snapshot, id: NetnsId) -> Result<&Netns, Failure> {
    let found = snapshot.namespaces.iter().find(|netns| netns.id == id);
    found.ok_or_else(|| Failure::new(PlanError::NoNamespace(id)))
}

fn eprint(text: &str) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    Ok(stderr.flush()?)
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(error)
    }
}

impl From<Words> for portcullis_plan::Words {
    fn from(words: Words) -> Self {
        match words {
            Words::Script => Self::Script,
            Words::Nft => Self::Nft,
            Words::Sysctl => Self::Sysctl,
            Words::Ifupdown => Self::Ifupdown,
            Words::Networkd => Self::Networkd,
            Words::Nmstate => Self::Nmstate,
        }
    }
}
