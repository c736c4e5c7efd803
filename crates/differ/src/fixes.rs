//! Plans of `portcullis fix`, made in the first article's network as steps like any other: what they claim is put to the
//! kernel, and what they undo is held against what there was before.

use std::collections::BTreeMap;

use portcullis_apply::{Host as _, Live};
use portcullis_audit::Policy;
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_plan::{Change, Method, Plan, Request, plan};
use portcullis_prove::Goal;
use portcullis_snapshot::Netns;

use crate::Error;
use crate::generate::Scenario;
use crate::methods::{GUEST_PORTS, PUBLIC};
use crate::names::index;
use crate::proofs::{Arrived, Ground};
use crate::run::configured;
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

/// Plans for a network; without methods, what this kernel takes, as `portcullis fix` does. `None` if nothing fits, or the
/// kernel refuses what was asked for: then `refused` says why.
///
/// # Errors
/// If the kernel refuses what every configuration needs.
pub fn tried(
    network: &[Step],
    guest_to_guest: bool,
    methods: &[Method],
) -> Result<Result<Tried, String>, Error> {
    let deny = if guest_to_guest { "" } else { "[[bridge]]\nguest-to-guest = \"deny\"\n" };
    let text = format!("{deny}[[port]]\nname = \"{PUBLIC}\"\nrole = \"uplink\"\n");
    let Ok(policy) = Policy::parse(&text) else { return Ok(Err("the policy is wrong".to_owned())) };
    let snapshot = configured(&Scenario { steps: network.to_vec(), frames: Vec::new() })?;
    let id = snapshot.namespaces.first().ok_or(Error::NoNamespace)?.id;
    let mut refused = BTreeMap::new();
    loop {
        let request = Request {
            methods,
            complete: false,
            bridges: &[],
            refused: &refused,
            today: jiff::civil::date(2026, 6, 1),
        };
        let plan = match plan(&snapshot, id, &policy, &request) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if plan.is_empty() {
            let why = plan.unfit.first().map_or("there is nothing to do", |unfit| &unfit.why);
            return Ok(Err(why.to_owned()));
        }
        let Some((method, why)) = refusal(network, &plan)? else {
            let changes = plan.changes.iter().cloned().map(|change| Step::Change(Box::new(change)));
            let steps = network.iter().cloned().chain(changes).collect();
            return Ok(Ok(Tried { plan, steps, refused }));
        };
        if !methods.is_empty() {
            return Ok(Err(why));
        }
        refused.insert(method, why);
    }
}

/// The first remedy of a plan that this kernel refuses.
fn refusal(network: &[Step], plan: &Plan) -> Result<Option<(Method, String)>, Error> {
    for chosen in &plan.chosen {
        let alone = |change: &&Change| plan.chosen.len() == 1 || belongs(change, chosen.method);
        let changes: Vec<_> = plan.changes.iter().filter(alone).cloned().collect();
        let (made, stand) = Namespace::create()?.run(|| {
            let stand = Stand::build(network)?;
            Ok::<_, Error>((kernel(Live::new().make(&changes)), stand))
        })??;
        drop(stand);
        if let Err(error) = made {
            return Ok(Some((chosen.method, error.to_string())));
        }
    }
    Ok(None)
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
        _ => false,
    }
}

/// Whether a frame that comes in by the first guest's port of a network gets where a claim says that none does.
///
/// # Errors
/// If the kernel refuses what every configuration needs.
pub fn gets_there(steps: &[Step], goal: Goal, frame: &[u8]) -> Result<bool, Error> {
    let port = GUEST_PORTS[0];
    // What a port is kept from hearing comes in by the other.
    let (into, of) = match goal {
        Goal::Sniff { .. } => (GUEST_PORTS[1], port),
        _ => (port, port),
    };
    let (arrived, stand) = Namespace::create()?.run(|| {
        let mut ground = Ground::build(steps)?;
        let arrived = ground.one(index(of), goal, (into, frame))?;
        Ok::<_, Error>((arrived == Arrived::Yes, ground.stand))
    })??;
    drop(stand);
    Ok(arrived)
}

/// Makes changes in a network and takes them back. Returns the namespace before, with them, and afterwards.
///
/// # Errors
/// If the kernel refuses the network, or a change.
pub fn made_and_taken_back(network: &[Step], changes: &[Change]) -> Result<[Netns; 3], Error> {
    let (seen, stand) = Namespace::create()?.run(|| {
        let stand = Stand::build(network)?;
        let before = stand.snapshot()?;
        let mut host = Live::new();
        kernel(host.make(changes))?;
        let with = stand.snapshot()?;
        let back: Vec<_> = changes.iter().rev().cloned().collect();
        kernel(host.take_back(&back, &with))?;
        let after = stand.snapshot()?;
        Ok::<_, Error>(([before, with, after], stand))
    })??;
    drop(stand);
    Ok(seen)
}
