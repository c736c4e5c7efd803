//! One scenario from its first step to its last frame.

use std::collections::VecDeque;
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_datapath::{Learned, Step as Decision, Trace};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::netlink::Event;
use portcullis_kernel::packet::MOST_AT_ONCE;
use portcullis_snapshot::{Kernel, Netns, Reading, SCHEMA, Snapshot};

use crate::Error;
use crate::blind::Blind;
use crate::evidence::{Copies, Mark, compare, gather, macvlan_copies};
use crate::expect::expect;
use crate::facts::{Difference, Facts};
use crate::generate::{Scenario, Sent};
use crate::names::index;
use crate::neighbours::Sender;
use crate::readback::read_back;
use crate::stand::{Heard, Stand};
use crate::state::{Stale, fdb_differences, learn, stale};

/// How many markers follow each frame: one for each hop that it may take.
const ROUNDS: u32 = 2;
/// How long the kernel may take for what it hands to a thread of its own, such as a macvlan's broadcasts.
const PATIENCE: Duration = Duration::from_millis(500);

/// What came of a scenario.
#[derive(Debug, Default)]
pub struct Account {
    /// How many frames were sent and compared.
    pub cases: u64,
    /// How many of them left a question open, so that less could be compared.
    pub open: u64,
    /// How many frames nothing took: the interface was down, or the frame too long for it.
    pub unsent: u64,
    /// A difference that did not come again when the whole scenario was run again: something had changed by itself.
    pub transient: Option<Mismatch>,
    /// Which steps the kernel refused, with its reason.
    pub refused: Vec<(usize, String)>,
    /// A frame of which copies went round without end, as the walk left open too. What comes after it was not sent.
    pub endless: Option<usize>,
    /// Whether the knob that the walk was kept from seeing was ever turned.
    pub hidden: bool,
    /// The open questions, each as often as it came.
    pub questions: Vec<String>,
    /// The first point in which the kernel and the walk do not agree.
    pub mismatch: Option<Mismatch>,
}

/// A disagreement.
#[derive(Debug, Clone, Default)]
pub struct Mismatch {
    /// The frame that showed it; `None` if the state read back was not what was configured.
    pub frame: Option<usize>,
    /// In which points.
    pub differences: Vec<String>,
    /// What the kernel did, in all.
    pub seen: Vec<String>,
    /// The walk's steps.
    pub walk: Vec<String>,
}

/// Runs scenarios, each in namespaces of its own.
#[derive(Debug, Default)]
pub struct Runner {
    blind: Option<Blind>,
    leaving: Leaving,
}

/// Stands that are being taken down: each of their sockets takes an RCU grace period to close, for which nobody needs
/// to wait.
#[derive(Debug, Default)]
pub(crate) struct Leaving(VecDeque<JoinHandle<()>>);

/// How many may still be being taken down.
const MOST_LEAVING: usize = 64;

impl Leaving {
    pub(crate) fn let_go(&mut self, stand: Stand) -> Result<(), Error> {
        self.0.push_back(std::thread::spawn(move || drop(stand)));
        if self.0.len() > MOST_LEAVING
            && let Some(first) = self.0.pop_front()
        {
            first.join().map_err(|_| Error::Thread)?;
        }
        Ok(())
    }
}

impl Runner {
    /// A runner whose walk does not see a knob.
    #[must_use]
    pub fn new(blind: Option<Blind>) -> Self {
        Self { blind, leaving: Leaving::default() }
    }

    /// Runs a scenario; one that does not agree, a second and a third time before it counts.
    ///
    /// # Errors
    /// If the kernel refuses what every scenario needs.
    pub fn run(&mut self, scenario: &Scenario) -> Result<Account, Error> {
        let mut account = self.run_once(scenario)?;
        let Some(mismatch) = &account.mismatch else { return Ok(account) };
        let until = mismatch.frame.map_or(0, |frame| frame + 1);
        let frames = scenario.frames.iter().take(until).cloned().collect();
        let shorter = Scenario { steps: scenario.steps.clone(), frames };
        for _ in 0..2 {
            if self.run_once(&shorter)?.mismatch.is_some_and(|again| again.frame == mismatch.frame) {
                return Ok(account);
            }
        }
        account.transient = account.mismatch.take();
        Ok(account)
    }

    fn run_once(&mut self, scenario: &Scenario) -> Result<Account, Error> {
        let blind = self.blind;
        let (account, stand) = Namespace::create()?.run(|| Course::start(scenario, blind)?.finish())??;
        self.leaving.let_go(stand)?;
        Ok(account)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // A thread that panicked has nothing left to take down.
        self.0.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Builds a scenario's configuration and returns what a snapshot tells of it. Nothing is sent.
///
/// # Errors
/// If the kernel refuses what every scenario needs.
pub fn configured(scenario: &Scenario) -> Result<Snapshot, Error> {
    Namespace::create()?.run(|| Ok(wrap(Stand::build(&scenario.steps)?.snapshot()?)))?
}

/// What came of sending a frame once.
struct Attempt {
    differences: Vec<Difference>,
    learned: Vec<Learned>,
    /// Whether the source could have been learned or not, for an open question before.
    unsure: bool,
    events: Vec<Event>,
    seen: Facts,
}

/// A scenario under way.
struct Course<'a> {
    scenario: &'a Scenario,
    blind: Option<Blind>,
    stand: Stand,
    snapshot: Snapshot,
    account: Account,
    /// Whether the kernel is sending the last frame round and round, so that no other can be told from it.
    goes_round: bool,
}

impl<'a> Course<'a> {
    fn start(scenario: &'a Scenario, blind: Option<Blind>) -> Result<Self, Error> {
        let stand = Stand::build(&scenario.steps)?;
        let snapshot = wrap(stand.snapshot()?);
        let refused = stand.refused.iter().map(|(at, error)| (*at, error.to_string())).collect();
        let account = Account { refused, ..Account::default() };
        Ok(Self { scenario, blind, stand, snapshot, account, goes_round: false })
    }

    fn finish(mut self) -> Result<(Account, Stand), Error> {
        self.account.mismatch = self.first_mismatch()?;
        Ok((self.account, self.stand))
    }

    fn first_mismatch(&mut self) -> Result<Option<Mismatch>, Error> {
        let lost = self.read_back();
        if !lost.is_empty() {
            return Ok(Some(Mismatch { frame: None, differences: lost, ..Mismatch::default() }));
        }
        for (at, sent) in self.scenario.frames.iter().enumerate() {
            if let Some(mismatch) = self.frame(sent)? {
                return Ok(Some(Mismatch { frame: Some(at), ..mismatch }));
            }
            if self.goes_round {
                self.account.endless = Some(at);
                return Ok(None);
            }
        }
        let differences = self.renew(Stale::Tables)?;
        let last = self.scenario.frames.len().checked_sub(1);
        Ok((!differences.is_empty()).then(|| Mismatch { frame: last, ..Mismatch::of(&differences) }))
    }

    fn netns(&self) -> Result<&Netns, Error> {
        self.snapshot.namespaces.first().ok_or(Error::NoNamespace)
    }

    /// Whatever was configured must be found again.
    fn read_back(&self) -> Vec<String> {
        let refused = |at: usize| self.account.refused.iter().any(|(refused, _)| *refused == at);
        let steps =
            self.scenario.steps.iter().enumerate().filter(|(at, _)| !refused(*at)).map(|(_, step)| step);
        self.netns().map_or_else(|_| Vec::new(), |netns| read_back(steps, netns))
    }

    /// Sends one frame; what did not agree.
    fn frame(&mut self, sent: &Sent) -> Result<Option<Mismatch>, Error> {
        let Some(Attempt { mut differences, learned, unsure, events, seen }) = self.attempt(sent)? else {
            self.account.unsent += 1;
            return Ok(None);
        };
        self.account.cases += 1;
        let walk = if differences.is_empty() { Vec::new() } else { self.explain(sent) };
        let stale = if unsure { Stale::Links } else { stale(&events, &sent.bytes) };
        if let Some(netns) = self.snapshot.namespaces.first_mut() {
            learn(netns, &learned, &sent.bytes);
        }
        if stale > Stale::Nothing || !differences.is_empty() {
            differences.extend(self.renew(stale)?);
        }
        let seen = seen.lines();
        Ok((!differences.is_empty()).then(|| Mismatch { walk, seen, ..Mismatch::of(&differences) }))
    }

    /// Walks a frame, sends it, and compares. `None` if nothing takes it.
    fn attempt(&mut self, sent: &Sent) -> Result<Option<Attempt>, Error> {
        let sender = Sender::of(&sent.bytes);
        if sender.is_some()
            && let Some(netns) = self.snapshot.namespaces.first_mut()
        {
            // The kernel does not tell when it begins to look for a neighbour.
            netns.neighbours = Reading::Read(self.stand.neighbours()?);
        }
        let seen_by_walk = self.blind.map(|blind| blind.applied_to(&self.snapshot));
        self.account.hidden |= seen_by_walk.as_ref().is_some_and(|seen| *seen != self.snapshot);
        let snapshot = seen_by_walk.as_ref().unwrap_or(&self.snapshot);
        let Some(expected) = expect(snapshot, index(sent.into), &sent.bytes, Trace::Off) else {
            return Ok(None);
        };
        let before = self.stand.counters()?;
        if !self.stand.send(sent.into, &sent.bytes) {
            return Ok(None);
        }
        let mut heard = Heard::default();
        let netns = self.snapshot.namespaces.first().ok_or(Error::NoNamespace)?;
        let mark = Mark::new(sent, &expected.walk);
        loop {
            self.stand.settle(ROUNDS)?;
            heard.add(self.stand.listen()?);
            self.goes_round = heard.host.len() >= MOST_AT_ONCE;
            let seen = gather(&mark, &heard, &before, &self.stand.counters()?);
            let mut differences = compare(&expected, &seen, netns);
            if let Some(sender) = sender {
                let after = self.stand.neighbours()?;
                differences.extend(sender.differences(&expected, netns.neighbours.known(), &after));
            }
            let patience = match (differences.is_empty(), macvlan_copies(&mark, &heard, netns)) {
                (true, Copies::None) => Duration::ZERO,
                (true, Copies::Arrived) => Duration::from_millis(2),
                (true, Copies::Awaited) => Duration::from_millis(10),
                (false, _) => PATIENCE,
            };
            if self.goes_round && !expected.open {
                differences.push(Difference::Unexpected("copies that go round without end".to_owned()));
            }
            if self.goes_round || patience.is_zero() || !self.stand.hears_more(patience)? {
                if expected.open {
                    self.account.open += 1;
                    self.account
                        .questions
                        .extend(expected.walk.open.iter().map(|open| open.kind.to_string()));
                }
                let (learned, events) = (expected.walk.learned.clone(), heard.events);
                let unsure = learned.iter().any(|learned| !learned.assumes.is_empty())
                    || (learned.is_empty() && expected.open);
                return Ok(Some(Attempt { differences, learned, unsure, events, seen }));
            }
        }
    }

    /// The walk's steps, for people.
    fn explain(&self, sent: &Sent) -> Vec<String> {
        let expected = expect(&self.snapshot, index(sent.into), &sent.bytes, Trace::Steps);
        let show = |step: &Decision| {
            let device = crate::facts::show(step.device);
            format!("{device}: {}: {} ({})", step.function, step.decision, step.because)
        };
        expected.map_or_else(Vec::new, |expected| expected.walk.steps.iter().map(show).collect())
    }

    /// Reads the kernel's state again; what the walk had made of the FDB must be found there.
    fn renew(&mut self, stale: Stale) -> Result<Vec<Difference>, Error> {
        let fresh = self.stand.snapshot()?;
        let differences =
            if stale == Stale::Links { Vec::new() } else { fdb_differences(self.netns()?, &fresh) };
        self.snapshot = wrap(fresh);
        Ok(differences)
    }
}

impl Mismatch {
    fn of(differences: &[Difference]) -> Self {
        Self { differences: differences.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

pub(crate) fn wrap(netns: Netns) -> Snapshot {
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: String::new(),
        taken_at: String::new(),
        kernel: Kernel { release: String::new(), host: String::new() },
        namespaces: vec![netns],
        problems: Vec::new(),
    }
}
