//! Making changes as a whole, keeping them, taking them back.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_kernel::process;
use portcullis_kernel::signal::Held;
use portcullis_plan::{Change, Clash, State};
use portcullis_snapshot::{FdbKind, Netns};

use crate::journal::{Journal, Record, SCHEMA};
use crate::undo::undo;
use crate::watchdog::Leash;
use crate::{Error, Failure, Header, Host, Phase, Place, StateDir, Undone, Who};

/// What is to be applied, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The changes, step by step. The changes of a step are made together.
    pub steps: Vec<Vec<Change>>,
    /// By which methods, for the status.
    pub methods: Vec<String>,
    /// The command line, for the status.
    pub command: String,
    /// The time, in RFC 3339.
    pub since: String,
    /// Whether it has to be confirmed.
    pub confirm: Option<Confirm>,
}

/// That an apply has to be confirmed, and who takes it back otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Within how many seconds after the last step.
    pub seconds: u32,
    /// The program that calls [`watchdog`](crate::watchdog()), in the same network namespace.
    pub program: PathBuf,
    /// Its arguments. The id of the apply is added as the last.
    pub arguments: Vec<OsString>,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its id; `None` if there was nothing to do.
    pub id: Option<String>,
    /// What was taken back before, since an earlier process did not come to its end.
    pub recovered: Vec<RolledBack>,
    /// The namespace as it was read afterwards; `None` if there was nothing to do.
    pub seen: Option<Netns>,
}

/// An apply that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// What it was.
    pub header: Header,
    /// How far it had got.
    pub phase: Phase,
    /// What came of it.
    pub undone: Undone,
}

/// Makes all changes of an order, or none of them.
///
/// What an earlier process left is taken back first. The changes are made only if everything that they change is as they
/// say; when anything fails, or the kernel is not as they make it afterwards, or a signal comes that ends a process, what
/// was done is taken back. Call it while the process has one thread.
///
/// # Errors
/// [`Error::Failed`] if something was done; with any other nothing was done.
pub fn apply(host: &mut dyn Host, dir: &StateDir, order: Order) -> Result<Applied, Error> {
    let place = host.place()?;
    dir.create()?;
    let _lock = dir.try_lock(place.netns)?;
    let recovered = settle(host, dir, &place)?;
    if order.steps.iter().all(Vec::is_empty) {
        return Ok(Applied { id: None, recovered, seen: None });
    }
    if let Some(Journal { entries, .. }) = dir.journals(&place, true)?.pop()
        && matches!(entries.phase, Phase::Awaiting(_))
    {
        let Who { pid, command, .. } = entries.header.who;
        return Err(Error::Unconfirmed { pid, command });
    }
    let clashes = rehearse(&order.steps, host.read()?);
    if !clashes.is_empty() {
        return Err(Error::Clashes(clashes));
    }
    let (pid, (uid, user)) = (std::process::id(), process::user());
    let id = format!("{pid}-{}", host.now()?.as_nanos());
    let header = Header {
        schema: SCHEMA.to_owned(),
        id: id.clone(),
        boot: place.boot,
        netns: place.netns,
        cookie: place.cookie,
        who: Who { uid, user, pid, command: order.command },
        methods: order.methods,
        since: order.since,
        steps: order.steps,
        confirm: order.confirm.as_ref().map(|confirm| confirm.seconds),
    };
    // Until this goes out of scope the watchdog knows that somebody is at it.
    let _leash = order.confirm.as_ref().map(|confirm| Leash::spawn(confirm, &id)).transpose()?;
    let signals = Held::new()?;
    let mut journal = dir.begin(header)?;
    match carry_out(host, &mut journal, &signals) {
        Ok(seen) => Ok(Applied { id: Some(id), recovered, seen: Some(seen) }),
        Err(cause) => Err(Error::Failed(Box::new(Failure { cause, undone: undo(host, journal) }))),
    }
}

fn carry_out(host: &mut dyn Host, journal: &mut Journal, signals: &Held) -> Result<Netns, Error> {
    let Header { steps, confirm, .. } = journal.entries.header.clone();
    for (number, step) in steps.iter().enumerate() {
        if signals.came()? {
            return Err(Error::Interrupted);
        }
        journal.add(Record::Begin(number))?;
        host.make(step)?;
        journal.add(Record::Done(number))?;
    }
    let seen = host.read()?;
    let amiss = verify(&steps, seen.clone());
    if !amiss.is_empty() {
        return Err(Error::NotAsPlanned(amiss));
    }
    if signals.came()? {
        return Err(Error::Interrupted);
    }
    let now = host.now()?;
    // Rounded up: nobody gets less time than was promised.
    let deadline =
        confirm.map(|seconds| now.as_secs() + u64::from(seconds) + u64::from(now.subsec_nanos() > 0));
    journal.add(Record::Applied { deadline })?;
    Ok(seen)
}

/// Makes the changes in a copy of the kernel's state, and tells which cannot be made.
fn rehearse(steps: &[Vec<Change>], mut netns: Netns) -> Vec<Clash> {
    let mut clashes = Vec::new();
    for change in steps.iter().flatten() {
        let beside = beside(change, &netns);
        match change.make(&mut netns) {
            Ok(()) => clashes.extend(beside),
            Err(clash) => clashes.push(clash),
        }
    }
    clashes
}

/// Tells whether a change would do more than it says. An FDB entry of no VLAN is put in for each VLAN of its device as well,
/// and taken away with those (`br_fdb_add`, `br_fdb_delete`): others' entries would go.
fn beside(change: &Change, netns: &Netns) -> Option<Clash> {
    let (device, address) = match change {
        Change::LocalEntry { bridge, address } => (bridge, address),
        Change::StaticEntry { port, address, vlan: None, .. } => (port, address),
        _ => return None,
    };
    let bridge = netns.link(device.index)?.master.unwrap_or(device.index);
    let held = netns.fdb.known().iter().find(|entry| {
        (entry.bridge, entry.address) == (Some(bridge), *address)
            && entry.vlan.is_some()
            && entry.kind() != FdbKind::Dynamic
    })?;
    let found = format!("there is an entry for {address} in VLAN {}", held.vlan?);
    Some(Clash { change: change.to_string(), found })
}

/// Tells which changes are not there, from the last to the first: a later one may hide an earlier one.
fn verify(steps: &[Vec<Change>], mut netns: Netns) -> Vec<Clash> {
    let mut amiss = Vec::new();
    for change in steps.iter().flatten().rev() {
        let found = match change.state(&netns) {
            State::After => None,
            State::Before => Some("it is as before".to_owned()),
            State::Other(found) => Some(found),
        };
        amiss.extend(found.map(|found| Clash { change: change.to_string(), found }));
        let _ = change.take_back(&mut netns);
    }
    amiss.reverse();
    amiss
}

/// Takes back what an earlier process began and did not finish, and what was not confirmed in time. To be called with the
/// lock.
fn settle(host: &mut dyn Host, dir: &StateDir, place: &Place) -> Result<Vec<RolledBack>, Error> {
    let now = host.now()?;
    let mut settled = Vec::new();
    for journal in dir.journals(place, true)?.into_iter().rev() {
        if is_unfinished(journal.entries.phase, now) {
            settled.push(roll_back(host, journal)?);
        }
    }
    Ok(settled)
}

fn is_unfinished(phase: Phase, now: Duration) -> bool {
    match phase {
        Phase::Working | Phase::Undoing | Phase::Undone => true,
        Phase::Awaiting(deadline) => deadline <= now,
        Phase::InForce => false,
    }
}

fn roll_back(host: &mut dyn Host, journal: Journal) -> Result<RolledBack, Error> {
    let (header, phase) = (journal.entries.header.clone(), journal.entries.phase);
    if phase == Phase::Undone {
        journal.remove()?;
        return Ok(RolledBack { header, phase, undone: Undone::default() });
    }
    Ok(RolledBack { header, phase, undone: undo(host, journal)? })
}

/// What there was to be finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing.
    Nothing,
    /// A process is at it.
    Busy {
        /// Which.
        pid: Option<u32>,
    },
    /// These were taken back.
    Undone(Vec<RolledBack>),
}

/// Takes back what an earlier process began and did not finish, and what was not confirmed in time. To be called at the
/// start of every command; it costs nothing where there is nothing to do.
///
/// # Errors
/// If a journal is damaged, or something cannot be taken back.
pub fn recover(host: &mut dyn Host, dir: &StateDir) -> Result<Recovery, Error> {
    let place = host.place()?;
    let now = host.now()?;
    let journals = dir.journals(&place, false)?;
    if !journals.iter().any(|journal| is_unfinished(journal.entries.phase, now)) {
        return Ok(Recovery::Nothing);
    }
    let _lock = match dir.try_lock(place.netns) {
        Err(Error::Busy { pid }) => return Ok(Recovery::Busy { pid }),
        lock => lock?,
    };
    let settled = settle(host, dir, &place)?;
    Ok(if settled.is_empty() { Recovery::Nothing } else { Recovery::Undone(settled) })
}

/// What came of confirming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It stays.
    Confirmed(Box<Header>),
    /// It was confirmed before, or did not have to be.
    Already,
    /// Nothing is applied.
    Nothing,
    /// It was too late, or it never came to its end: this was taken back.
    TooLate(Vec<RolledBack>),
}

/// Confirms what waits for it. Waits for another process that is at it.
///
/// # Errors
/// If the journal cannot be read or written.
pub fn confirm(host: &mut dyn Host, dir: &StateDir) -> Result<Confirmation, Error> {
    let place = host.place()?;
    if dir.journals(&place, false)?.is_empty() {
        return Ok(Confirmation::Nothing);
    }
    let _lock = dir.lock(place.netns)?;
    let settled = settle(host, dir, &place)?;
    if !settled.is_empty() {
        return Ok(Confirmation::TooLate(settled));
    }
    let Some(mut journal) = dir.journals(&place, true)?.pop() else { return Ok(Confirmation::Nothing) };
    if !matches!(journal.entries.phase, Phase::Awaiting(_)) {
        return Ok(Confirmation::Already);
    }
    journal.add(Record::Confirmed)?;
    Ok(Confirmation::Confirmed(Box::new(journal.entries.header)))
}

/// Takes everything back that was applied in the namespace, the last first. Waits for another process that is at it.
///
/// # Errors
/// [`Error::Watched`] if a process would apply it again. If a journal is damaged, or something cannot be taken back; what was
/// taken back before stays so.
pub fn rollback(host: &mut dyn Host, dir: &StateDir) -> Result<Vec<RolledBack>, Error> {
    let place = host.place()?;
    if dir.journals(&place, false)?.is_empty() {
        return Ok(Vec::new());
    }
    dir.must_not_be_watched(place.netns)?;
    let _lock = dir.lock(place.netns)?;
    let journals = dir.journals(&place, true)?;
    journals.into_iter().rev().map(|journal| roll_back(host, journal)).collect()
}

/// Takes one apply back, and leaves those before it. `None` if it is not there any more. Waits for another process that is at
/// it.
///
/// # Errors
/// If a journal is damaged, or something cannot be taken back.
pub fn take_back(host: &mut dyn Host, dir: &StateDir, id: &str) -> Result<Option<RolledBack>, Error> {
    let place = host.place()?;
    let _lock = dir.lock(place.netns)?;
    let found = dir.journals(&place, true)?.into_iter().find(|journal| journal.entries.header.id == id);
    found.map(|journal| roll_back(host, journal)).transpose()
}

/// Takes one apply back if nobody confirmed it: for the watchdog. Whether somebody did is looked at with the lock held.
pub(crate) fn take_back_unconfirmed(
    host: &mut dyn Host,
    dir: &StateDir,
    id: &str,
) -> Result<Option<RolledBack>, Error> {
    let place = host.place()?;
    let _lock = dir.lock(place.netns)?;
    let now = host.now()?;
    let found = dir.journals(&place, false)?.into_iter().find(|journal| journal.entries.header.id == id);
    let unfinished = found.filter(|journal| is_unfinished(journal.entries.phase, now));
    unfinished.map(|journal| roll_back(host, journal)).transpose()
}
