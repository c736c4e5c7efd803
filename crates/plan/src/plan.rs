//! The plan: what is changed, in which order, what is proven of it, and what stops working.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use jiff::civil::Date;
use portcullis_audit::{BridgeView, Carry, Claim, Context, LinkLocalProtocol, Policy, RuleId, Severity};
use portcullis_prove::{Goal, HostProtocol, Prover, Verdict};
use portcullis_snapshot::{IfIndex, ListenProtocol, Netns, NetnsId, Snapshot, StpState};

use crate::change::Change;
use crate::claims::{Judged, Wanted, judge, wanted};
use crate::device::Device;
use crate::draft::{Draft, found};
use crate::lower::{self, Lower};
use crate::methods::Method;
use crate::sorts::{Sorted, sorted};
use crate::wants::{Want, unheard, wants};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Remedies that are wanted in any case, in this order. Without any, all is chosen.
    pub methods: &'a [Method],
    /// Whether what they leave open is closed too.
    pub complete: bool,
    /// The bridges that it is about, and lower devices of macvlans, by name. None is every bridge, and each lower device that
    /// the policy denies to guests.
    pub bridges: &'a [String],
    /// Remedies that this kernel refuses, and its words.
    pub refused: &'a BTreeMap<Method, String>,
    /// The day, for waivers that expire.
    pub today: Date,
}

impl Request<'_> {
    /// Whether remedies are looked for beside those that are asked for.
    pub(crate) const fn searches(&self) -> bool {
        self.methods.is_empty() || self.complete
    }
}

/// Findings of one rule on one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub rule: RuleId,
    /// How much the worst of them matters.
    pub severity: Severity,
    /// The bridge.
    pub bridge: Device,
    /// How many there are.
    pub count: usize,
    /// The methods that they name.
    pub remedies: Vec<Method>,
}

/// A remedy that is part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub method: Method,
    /// On which bridge.
    pub bridge: Device,
    /// Why: what gets through without it.
    pub because: String,
}

/// A remedy that is not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Which.
    pub method: Method,
    /// On which bridge.
    pub bridge: Device,
    /// Why.
    pub why: String,
}

impl Unfit {
    pub(crate) fn new(method: Method, bridge: &BridgeView<'_>, why: String) -> Self {
        Self { method, bridge: bridge.link.into(), why }
    }
}

/// A plan for one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The namespace.
    pub netns: NetnsId,
    /// Its name.
    pub label: String,
    /// The remedies, bridge by bridge.
    pub chosen: Vec<Chosen>,
    /// The changes they come to, in the order in which they are made: no state on the way is more open than the first.
    pub changes: Vec<Change>,
    /// What the policy wants, before and after.
    pub claims: Vec<Judged>,
    /// Findings that are gone once it is made, the worst first.
    pub found_closed: Vec<Found>,
    /// Findings that are there still.
    pub found_left: Vec<Found>,
    /// What worked and will not any more, in sentences.
    pub stops: Vec<String>,
    /// Which guests do not get through in their own names once it is made, and by which rules, in sentences.
    pub unheard: Vec<String>,
    /// Remedies that were not chosen because they do not fit.
    pub unfit: Vec<Unfit>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The namespace is not in the snapshot.
    #[error("the snapshot has no namespace {0}")]
    NoNamespace(NetnsId),
    /// There is no bridge of a name that was asked for, nor another device that macvlans may be on.
    #[error("there is no bridge {0:?}, nor another device of that name that macvlans may be on")]
    NoBridge(String),
    /// Whether the host is meant to be reached on a bridge goes by its addresses, unless the policy says it.
    #[error(
        "whether the host is meant to be reached on {bridge} is not known, as the addresses were not read: {why}"
    )]
    Unread {
        /// The bridge.
        bridge: String,
        /// Why they were not read.
        why: String,
    },
    /// What is asked for would stop what is wanted.
    #[error("it would cut off what is to go on working: {}", .0.join("; "))]
    CutsOff(Vec<String>),
    /// Changes that do not fit together.
    #[error("the remedies do not fit together: {0}")]
    Clash(#[from] crate::Clash),
}

impl Plan {
    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether everything that the policy wants is proven once the plan is made.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.left().next().is_none()
    }

    /// Returns what is not proven once the plan is made.
    pub fn left(&self) -> impl Iterator<Item = &Judged> {
        self.claims.iter().filter(|claim| claim.after != Verdict::Isolated)
    }

    /// Returns what the plan closes.
    pub fn closed(&self) -> impl Iterator<Item = &Judged> {
        self.claims
            .iter()
            .filter(|claim| claim.before != Verdict::Isolated && claim.after == Verdict::Isolated)
    }
}

/// Plans what makes a policy hold in a namespace of a snapshot. Nothing is changed but copies of it.
///
/// # Errors
/// [`PlanError`]; then there is nothing that should be made.
pub fn plan(
    snapshot: &Snapshot,
    netns: NetnsId,
    policy: &Policy,
    request: &Request<'_>,
) -> Result<Plan, PlanError> {
    let at =
        snapshot.namespaces.iter().position(|one| one.id == netns).ok_or(PlanError::NoNamespace(netns))?;
    let missing = || PlanError::NoNamespace(netns);
    let now = snapshot.namespaces.get(at).ok_or_else(missing)?;
    let context = Context::new(snapshot, now, policy).ok_or_else(missing)?;
    let bridges = sorted(&context, asked_for(&context, request));
    let unsaid = bridges.iter().find(|one| one.bridge.policy.host_access.is_none());
    if let (Some(why), Some(Sorted { bridge, .. })) = (now.addresses.unread(), unsaid) {
        return Err(PlanError::Unread { bridge: bridge.link.name.clone(), why: why.reason.clone() });
    }
    let lowers = lower::asked_for(&context, request)?;
    let devices: Vec<Device> = bridges.iter().map(|one| one.bridge.link.into()).collect();
    let devices: Vec<_> = devices.into_iter().chain(lowers.iter().map(Lower::device)).collect();
    // What is found now and what is chosen do not depend on each other.
    let ((found_before, known_before), mut draft) = thread::scope(|scope| {
        let found = scope.spawn(|| found(snapshot, netns, request, &devices, policy));
        let draft = Draft::new((&context, snapshot), &bridges, &lowers, request);
        (found.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), draft)
    });
    // What findings name beside: looked for until it helps no more.
    let mut rounds = if request.searches() { MOST_ROUNDS } else { 0 };
    let (changes, made, found_left, known_after) = loop {
        let (changes, made) = draft.made(&context, snapshot, at)?;
        let (left, known) = found(&made, netns, request, &devices, policy);
        if rounds > 0 && draft.for_findings(&context, &bridges, request, &left) {
            rounds -= 1;
        } else if !draft.drop_idle(&left) {
            break (changes, made, left, known);
        }
    };
    let Draft { chosen, unfit, .. } = draft;
    let then = made.namespaces.get(at).ok_or_else(missing)?;
    let after = Context::new(&made, then, policy).ok_or_else(missing)?;
    let looked =
        look((&context, &known_before), (&after, &known_after), &bridges, (&chosen, changes.is_empty()));
    let (mut stops, mut cut) = (Vec::new(), Vec::new());
    for (Sorted { bridge, .. }, (judged, lost)) in bridges.iter().zip(&looked) {
        cut.extend(lost.iter().filter(|want| want.firm).map(|want| format!("{}: {want}", bridge.link.name)));
        stops.extend(what_stops(now, bridge, judged, lost, &chosen));
    }
    let mut claims: Vec<_> = looked.into_iter().flat_map(|(judged, _)| judged).collect();
    for lower in &lowers {
        cut.extend(lower.lost(&context, &after));
        let judged = below((&context, &known_before), (&after, &known_after), lower, changes.is_empty());
        stops.extend(no_longer_reached(now, &judged, &format!("{}: the wire", lower.link.name)));
        claims.extend(judged);
    }
    if !cut.is_empty() {
        return Err(PlanError::CutsOff(cut));
    }
    let (found_closed, found_left) = told_apart(found_before, found_left, &chosen);
    let unheard = bridges.iter().flat_map(|one| unheard(&after, one.bridge)).collect();
    let label = now.label();
    Ok(Plan { netns, label, chosen, changes, claims, found_closed, found_left, stops, unheard, unfit })
}

/// How often it is looked for what else findings name.
const MOST_ROUNDS: usize = 4;

/// A state of the host, and what an audit proved of it.
type Known<'c, 's> = (&'c Context<'s>, &'c [Claim]);

/// Judges each bridge, as it is and as it will be, and tells what it loses. Of bridges that are alike, and have the same
/// remedies, the first stands for all as long as there is nothing to show.
fn look(
    before: Known<'_, '_>,
    after: Known<'_, '_>,
    bridges: &[Sorted<'_, '_>],
    (chosen, same): (&[Chosen], bool),
) -> Vec<(Vec<Judged>, Vec<Want>)> {
    let methods = |bridge: &BridgeView<'_>| {
        let here = chosen.iter().filter(|one| one.bridge.index == bridge.link.index);
        here.map(|one| one.method).collect::<Vec<_>>()
    };
    let mut looked: Vec<(Vec<Judged>, Vec<Want>)> = Vec::new();
    for Sorted { bridge, like } in bridges {
        let first = like.and_then(|like| Some((bridges.get(like)?.bridge, looked.get(like)?)));
        let carried = first
            .filter(|(first, (_, lost))| lost.is_empty() && methods(first) == methods(bridge))
            .and_then(|(first, (judged, _))| Some((carried(judged, before.0, first, bridge)?, Vec::new())));
        let own = || (judged(before, after, bridge, same), lost(before.0, after.0, bridge, same));
        looked.push(carried.unwrap_or_else(own));
    }
    looked
}

/// What was judged of a bridge, as claims of one that is like it; `None` unless all is proven once the plan is made.
fn carried(
    judged: &[Judged],
    context: &Context<'_>,
    first: &BridgeView<'_>,
    bridge: &BridgeView<'_>,
) -> Option<Vec<Judged>> {
    let carry = Carry::whole(first, bridge);
    let groups = groups(bridge);
    let claim = |claim: &Judged| {
        let port = claim.from.first()?.index;
        Some(Judged {
            bridge: bridge.link.into(),
            from: groups.get(&carry.port(port)?)?.clone(),
            goal: carry.goal(claim.goal)?,
            before: carry.verdict(context, port, claim.goal, &claim.before)?,
            after: (claim.after == Verdict::Isolated).then_some(Verdict::Isolated)?,
        })
    };
    judged.iter().map(claim).collect()
}

/// Tells what is closed from what is left; of what is left, which remedies are not part of the plan already.
fn told_apart(before: Vec<Found>, mut left: Vec<Found>, chosen: &[Chosen]) -> (Vec<Found>, Vec<Found>) {
    for found in &mut left {
        let is_made = |method: &Method| {
            chosen.iter().any(|one| (one.method, one.bridge.index) == (*method, found.bridge.index))
        };
        found.remedies.retain(|method| !is_made(method));
    }
    let is_left = |found: &Found| {
        left.iter().any(|left| (left.rule, left.bridge.index) == (found.rule, found.bridge.index))
    };
    (before.into_iter().filter(|found| !is_left(found)).collect(), left)
}

fn asked_for<'c, 's>(context: &'c Context<'s>, request: &Request<'_>) -> Vec<&'c BridgeView<'s>> {
    if request.bridges.is_empty() {
        return context.bridges().iter().collect();
    }
    // Of a name that is no bridge's, `lower` tells whether it is right.
    let named = |name: &String| context.bridges().iter().find(|bridge| bridge.link.name == *name);
    request.bridges.iter().filter_map(named).collect()
}

/// Judges what is wanted of a bridge, as it is and as it will be.
fn judged(before: Known<'_, '_>, after: Known<'_, '_>, bridge: &BridgeView<'_>, same: bool) -> Vec<Judged> {
    let wanted: Vec<Wanted> = wanted(before.0, bridge);
    let judge =
        |(context, known): Known<'_, '_>, is_result| judge(context.network(), known, &wanted, is_result);
    let now = judge(before, same);
    let then = if same { now.clone() } else { judge(after, true) };
    let groups = groups(bridge);
    let pairs = now.into_iter().zip(then);
    let judged = pairs.map(|((port, goal, before), (_, _, after))| Judged {
        bridge: bridge.link.into(),
        from: groups.get(&port).cloned().unwrap_or_default(),
        goal,
        before,
        after,
    });
    judged.collect()
}

/// Judges what is wanted of a lower device.
fn below(before: Known<'_, '_>, after: Known<'_, '_>, lower: &Lower<'_>, same: bool) -> Vec<Judged> {
    let wanted = [lower.wanted()];
    let judge = |(context, known): Known<'_, '_>| judge(context.network(), known, &wanted, true);
    let now = judge(before);
    let then = if same { now.clone() } else { judge(after) };
    let judged = now.into_iter().zip(then).map(|((_, goal, before), (_, _, after))| Judged {
        bridge: lower.device(),
        from: vec![lower.device()],
        goal,
        before,
        after,
    });
    judged.collect()
}

/// The guests' ports by the first of each sort.
fn groups(bridge: &BridgeView<'_>) -> BTreeMap<IfIndex, Vec<Device>> {
    let group = |alike: portcullis_audit::Alike<'_, '_>| {
        (alike.first.link.index, alike.members().map(|port| port.link.into()).collect())
    };
    bridge.guests().map(group).collect()
}

/// What is wanted, works now, and will not.
fn lost(before: &Context<'_>, after: &Context<'_>, bridge: &BridgeView<'_>, same: bool) -> Vec<Want> {
    if same {
        return Vec::new();
    }
    let prover = Prover::new(after.network()).now();
    wants(before, bridge).into_iter().filter(|want| !want.holds(&prover)).collect()
}

/// Says what stops working on a bridge.
fn what_stops(
    netns: &Netns,
    bridge: &BridgeView<'_>,
    judged: &[Judged],
    lost: &[Want],
    chosen: &[Chosen],
) -> Vec<String> {
    let name = &bridge.link.name;
    let reaching = no_longer_reached(netns, judged, &format!("{name}: guests"));
    let mut stops: Vec<_> = reaching.into_iter().collect();
    let sorts: BTreeSet<_> = lost.iter().map(|want| want.sort).collect();
    stops.extend(sorts.into_iter().map(|sort| format!("{name}: {sort} frames between its ports")));
    let here =
        |method| chosen.iter().any(|one| one.method == method && one.bridge.index == bridge.link.index);
    if here(Method::DropLinkLocal) || here(Method::TcLinkLocal) {
        stops.extend(link_local_that_stops(bridge));
    }
    stops
}

/// Says by which protocols somebody reached the host who will not any more.
fn no_longer_reached(netns: &Netns, judged: &[Judged], who: &str) -> Option<String> {
    let closed = |protocol| {
        judged.iter().any(|claim| {
            claim.goal == Goal::Host(protocol)
                && matches!(claim.before, Verdict::Exposed(_))
                && claim.after == Verdict::Isolated
        })
    };
    let protocols = [(HostProtocol::Arp, "ARP"), (HostProtocol::Ipv4, "IPv4"), (HostProtocol::Ipv6, "IPv6")];
    let reached: Vec<_> =
        protocols.into_iter().filter(|(protocol, _)| closed(*protocol)).map(|(_, word)| word).collect();
    let services = services(netns);
    let listening = if services.is_empty() { String::new() } else { format!(" ({})", services.join(", ")) };
    (!reached.is_empty()).then(|| format!("{who} reaching the host by {}{listening}", reached.join(", ")))
}

/// Says which protocols to link-local group addresses stop at a bridge's guest ports.
fn link_local_that_stops(bridge: &BridgeView<'_>) -> Option<String> {
    use LinkLocalProtocol::{Eapol, Lacp, Lldp, Stp};
    let allowed = bridge.policy.link_local.as_deref().unwrap_or_default();
    let all = [(Lacp, "LACP"), (Lldp, "LLDP"), (Eapol, "802.1X"), (Stp, "BPDUs")];
    let words: Vec<_> =
        all.into_iter().filter(|(protocol, _)| !allowed.contains(protocol)).map(|(_, word)| word).collect();
    let tree = match bridge.options.stp_state {
        Some(StpState::Kernel | StpState::User) if !allowed.contains(&Stp) => {
            "; its spanning tree no longer hears guests"
        }
        _ => "",
    };
    (!words.is_empty()).then(|| format!("{}: {} of guests{tree}", bridge.link.name, words.join(", ")))
}

/// What listens for the host, on any address or on one: at most a few, then how many more.
fn services(netns: &Netns) -> Vec<String> {
    const MOST: usize = 6;
    let word = |protocol| match protocol {
        ListenProtocol::Tcp => "tcp",
        ListenProtocol::Udp => "udp",
    };
    let listening = netns.listeners.known().iter().filter(|listener| !listener.address.is_loopback());
    let services: BTreeSet<_> = listening
        .map(|listener| {
            let process = listener.processes.first().map(|process| format!(" {}", process.name));
            (word(listener.protocol), listener.port, process.unwrap_or_default())
        })
        .collect();
    let more = services.len().saturating_sub(MOST);
    let shown =
        services.into_iter().take(MOST).map(|(word, port, process)| format!("{word} {port}{process}"));
    shown.chain((more > 0).then(|| format!("{more} more"))).collect()
}
