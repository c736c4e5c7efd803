//! Plans of `portcullis fix`, made in the first article's network as steps like any other: what they claim is put to the
//! kernel, and what they undo is held against what there was before.

use std::collections::BTreeMap;

use portcullis_apply::{Host as _, Live};
use portcullis_audit::{Context, Policy};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_plan::{Change, Method, Plan, Request, plan};
use portcullis_prove::Goal;
use portcullis_snapshot::{Netns, Snapshot, StpState};

use crate::Error;
use crate::generate::Scenario;
use crate::methods::{GUEST_PORTS, PUBLIC};
use crate::names::{BRIDGE, Name, index};
use crate::proofs::{Arrived, Ground};
use crate::run::{Leaving, configured};
use crate::stand::Stand;
use crate::step::Step;

/// Makes a change as plans are applied.
pub(crate) fn make(change: &Change) -> Result<(), portcullis_kernel::Error> {
    kernel(Live::new().make(std::slice::from_ref(change)))
}

fn kernel<T>(done: Result<T, portcullis_apply::Error>) -> Result<T, portcullis_kernel::Error> {
    done.map_err(|error| match error {
        portcullis_apply::Error::Kernel(error) => error,
        error => {
            portcullis_kernel::Error::Malformed { what: "a change".to_owned(), detail: error.to_string() }
        }
    })
}

/// A plan for a network, and what came of asking the kernel to make it.
pub struct Tried {
    /// The plan.
    pub plan: Plan,
    /// The network with it.
    pub steps: Vec<Step>,
    /// Remedies that the kernel refused on the way to it, with its words.
    pub refused: BTreeMap<Method, String>,
}

/// A network, in which plans are tried.
pub struct Bench {
    network: Vec<Step>,
    snapshot: Snapshot,
    stated: String,
    leaving: Leaving,
}

impl Bench {
    fn policy(&self, guest_to_guest: bool) -> Option<Policy> {
        let deny = if guest_to_guest { "" } else { "[[bridge]]\nguest-to-guest = \"deny\"\n" };
        let stated = &self.stated;
        Policy::parse(&format!("{deny}[[port]]\nname = \"{PUBLIC}\"\nrole = \"uplink\"\n{stated}")).ok()
    }

    /// Builds a network once, to be read.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn new(network: Vec<Step>) -> Result<Self, Error> {
        let scenario = Scenario { steps: network, frames: Vec::new() };
        let snapshot = configured(&scenario)?;
        Ok(Self { network: scenario.steps, snapshot, stated: String::new(), leaving: Leaving::default() })
    }

    /// The same with a policy that says more.
    #[must_use]
    pub fn stating(self, policy: String) -> Self {
        Self { stated: policy, ..self }
    }

    /// Returns the network.
    #[must_use]
    pub fn network(&self) -> &[Step] {
        &self.network
    }

    /// Plans for the network what is asked for, whatever the kernel says to it. If it does not fit, says why.
    ///
    /// # Errors
    /// If there is no network.
    pub fn planned(&self, guest_to_guest: bool, methods: &[Method]) -> Result<Result<Tried, String>, Error> {
        self.plan(guest_to_guest, methods, &BTreeMap::new())
    }

    fn plan(
        &self,
        guest_to_guest: bool,
        methods: &[Method],
        refused: &BTreeMap<Method, String>,
    ) -> Result<Result<Tried, String>, Error> {
        let Some(policy) = self.policy(guest_to_guest) else { return Ok(Err(POLICY.to_owned())) };
        let id = self.snapshot.namespaces.first().ok_or(Error::NoNamespace)?.id;
        let today = jiff::civil::date(2026, 6, 1);
        let request = Request { methods, complete: false, bridges: &[], refused, today };
        let plan = match plan(&self.snapshot, id, &policy, &request) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if plan.is_empty() {
            let why = plan.unfit.first().map_or("there is nothing to do", |unfit| &unfit.why);
            return Ok(Err(why.to_owned()));
        }
        let changes = plan.changes.iter().cloned().map(|change| Step::Change(Box::new(change)));
        let steps = self.network.iter().cloned().chain(changes).collect();
        Ok(Ok(Tried { plan, steps, refused: refused.clone() }))
    }

    /// Returns the network with one remedy, as it is made when somebody asks for it, without a plan. If it does not fit, says
    /// why.
    ///
    /// # Errors
    /// If there is no network.
    pub fn with(&self, method: Method) -> Result<Result<Vec<Step>, String>, Error> {
        let Some(policy) = self.policy(false) else { return Ok(Err(POLICY.to_owned())) };
        let netns = self.snapshot.namespaces.first().ok_or(Error::NoNamespace)?;
        let context = Context::new(&self.snapshot, netns, &policy).ok_or(Error::NoNamespace)?;
        let bridge = context.bridges().iter().find(|bridge| bridge.link.index == index(BRIDGE));
        let changes = match method.changes(&context, bridge.ok_or(Error::NoNamespace)?) {
            Ok(changes) => changes,
            Err(lacks) => return Ok(Err(lacks.to_string())),
        };
        let changes = changes.into_iter().map(|change| Step::Change(Box::new(change)));
        Ok(Ok(self.network.iter().cloned().chain(changes).collect()))
    }

    /// Plans for the network; without methods, what this kernel takes, as `portcullis fix` does. If nothing fits, or the
    /// kernel refuses what was asked for, says why.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn tried(
        &mut self,
        guest_to_guest: bool,
        methods: &[Method],
    ) -> Result<Result<Tried, String>, Error> {
        let mut refused = BTreeMap::new();
        loop {
            let tried = match self.plan(guest_to_guest, methods, &refused)? {
                Ok(tried) => tried,
                Err(why) => return Ok(Err(why)),
            };
            match self.refusal(&tried.plan)? {
                None => return Ok(Ok(tried)),
                Some((_, why)) if !methods.is_empty() => return Ok(Err(why)),
                Some((method, why)) => drop(refused.insert(method, why)),
            }
        }
    }

    /// The first remedy of a plan that this kernel refuses.
    fn refusal(&mut self, plan: &Plan) -> Result<Option<(Method, String)>, Error> {
        for chosen in &plan.chosen {
            let alone = |change: &&Change| plan.chosen.len() == 1 || belongs(change, chosen.method);
            let changes: Vec<_> = plan.changes.iter().filter(alone).cloned().collect();
            let network = &self.network;
            let (made, stand) = Namespace::create()?.run(|| {
                let stand = Stand::build(network)?;
                Ok::<_, Error>((kernel(Live::new().make(&changes)), stand))
            })??;
            self.leaving.let_go(stand)?;
            if let Err(error) = made {
                return Ok(Some((chosen.method, error.to_string())));
            }
        }
        Ok(None)
    }

    /// Whether a frame that comes in by the first guest's port, in the network or one like it, gets where a claim says that
    /// none does. If the kernel refuses a change, its words.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn gets_there(
        &mut self,
        steps: &[Step],
        goal: Goal,
        frame: &[u8],
    ) -> Result<Result<bool, String>, Error> {
        let each = self.each_gets_there(steps, goal, [frame])?;
        Ok(each.map(|arrived| arrived.contains(&true)))
    }

    /// The same of several frames, sent one after the other.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn each_gets_there<'f>(
        &mut self,
        steps: &[Step],
        goal: Goal,
        frames: impl IntoIterator<Item = &'f [u8]> + Send,
    ) -> Result<Result<Vec<bool>, String>, Error> {
        let port = GUEST_PORTS[0];
        // What a port is kept from hearing comes in by the other.
        let (into, of) = match goal {
            Goal::Sniff { .. } => (GUEST_PORTS[1], port),
            _ => (port, port),
        };
        let (arrived, stand) = Namespace::create()?.run(|| {
            let mut ground = Ground::build(steps)?;
            let is_change = |at: usize| matches!(steps.get(at), Some(Step::Change(_)));
            let refused = ground.stand.refused.iter().find(|(at, _)| is_change(*at));
            if let Some((_, why)) = refused {
                return Ok((Err(why.to_string()), ground.stand));
            }
            let arrived = frames.into_iter().map(|frame| {
                let arrived = ground.one(index(of), goal, (into, frame))?;
                Ok::<_, Error>(arrived == Arrived::Yes)
            });
            let arrived = arrived.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Error>((Ok(arrived), ground.stand))
        })??;
        self.leaving.let_go(stand)?;
        Ok(arrived)
    }

    /// Sends frames in the network or one like it, each by a port, and returns what there is then. If the kernel refuses a change,
    /// its words.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn after(
        &mut self,
        steps: &[Step],
        frames: &[(Name, Vec<u8>)],
    ) -> Result<Result<After, String>, Error> {
        /// So many find room in the sockets' queues.
        const LOT: usize = 128;
        let (after, stand) = Namespace::create()?.run(|| {
            let mut stand = Stand::build(steps)?;
            let is_change = |at: usize| matches!(steps.get(at), Some(Step::Change(_)));
            if let Some((_, why)) = stand.refused.iter().find(|(at, _)| is_change(*at)) {
                return Ok((Err(why.to_string()), stand));
            }
            // The stack is on the bridge device once that is up; a spanning tree keeps it waiting.
            let netns = stand.snapshot()?;
            let bridge = netns.link(index(BRIDGE)).and_then(|link| link.bridge());
            if bridge.is_some_and(|options| options.stp_state == Some(StpState::Off)) {
                stand.wait_until_up(index(BRIDGE))?;
            }
            let mut heard = Vec::new();
            for lot in frames.chunks(LOT) {
                for (into, frame) in lot {
                    stand.send(into, frame);
                }
                stand.settle(2)?;
                heard.extend(stand.listen()?.guests);
            }
            Ok::<_, Error>((Ok(After { netns: stand.snapshot()?, heard }), stand))
        })??;
        self.leaving.let_go(stand)?;
        Ok(after)
    }

    /// Makes some changes in the network and takes them back, then others.
    ///
    /// # Errors
    /// If the kernel refuses the network.
    pub fn made_and_taken_back(&mut self, sets: &[Vec<Change>]) -> Result<Vec<Passed>, Error> {
        let network = &self.network;
        let (passed, stand) = Namespace::create()?.run(|| {
            let mut stand = Stand::build(network)?;
            // A bridge comes up after its ports, when the kernel gets to it: that is no trace of a change.
            stand.wait_until_up(index(BRIDGE))?;
            let passed = sets.iter().map(|changes| make_and_take_back(&stand, changes));
            Ok::<_, Error>((passed.collect::<Result<Vec<_>, _>>()?, stand))
        })??;
        self.leaving.let_go(stand)?;
        Ok(passed)
    }
}

/// What there is after some frames.
pub struct After {
    /// The host's namespace.
    pub netns: Netns,
    /// What arrived at the guests' ends, by the host's end of the cable.
    pub heard: Vec<(Name, Vec<u8>)>,
}

const POLICY: &str = "the policy is wrong";

/// How a namespace was before some changes, with them, and after they were taken back.
pub struct Passed {
    /// Before.
    pub before: Netns,
    /// With them.
    pub with: Netns,
    /// Afterwards.
    pub after: Netns,
    /// What the kernel refused of them: then the rest was taken back.
    pub refused: Option<String>,
}

fn make_and_take_back(stand: &Stand, changes: &[Change]) -> Result<Passed, Error> {
    let before = stand.snapshot()?;
    let mut host = Live::new();
    let refused = kernel(host.make(changes)).err().map(|error| error.to_string());
    let with = stand.snapshot()?;
    let back: Vec<_> = changes.iter().rev().cloned().collect();
    let taken_back = kernel(host.take_back(&back, &with));
    if refused.is_none() {
        taken_back?;
    }
    Ok(Passed { before, with, after: stand.snapshot_with_addresses_in_use()?, refused })
}

/// Whether a change is part of a remedy of those that are chosen without being asked for.
fn belongs(change: &Change, method: Method) -> bool {
    match change {
        Change::Table { .. } => {
            matches!(method, Method::DropOnBridge | Method::DropLinkLocal | Method::BridgeInput)
        }
        Change::Filter { filter, .. } => match filter.kind() {
            "flower" => method == Method::TcLinkLocal,
            "bpf" => method == Method::BpfOnBridge,
            _ => method == Method::TcOnBridge,
        },
        Change::LeaveVlans { .. } | Change::Bridge { .. } => method == Method::VlanFiltering,
        Change::Port { .. } => method == Method::Isolate,
        Change::Ipv6 { .. } => matches!(method, Method::AcceptRaOff | Method::AcceptRaDefault),
        _ => false,
    }
}
