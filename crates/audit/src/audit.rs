//! Runs every rule over every namespace and puts what they found in order.
//!
//! The order is fixed: severity, namespace, bridge, rule, port. Waivers are applied here, after the rules, so that no
//! rule knows about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::civil::Date;
use portcullis_snapshot::{IfIndex, Link, LinkKind, Netns, NetnsId, Snapshot, UnreadCause};

use crate::claims::{self, Claim, Claims, NotProven};
use crate::context::{BridgeView, Context};
use crate::finding::{AppliedWaiver, Device, Finding, Findings, Role, Severity};
use crate::policy::{Policy, Waiver};
use crate::registry::RULES;
use crate::rule::Rule;

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// What was found, worst first, waived findings included.
    pub findings: Vec<Finding>,
    /// What was proven of every frame of the guest ports, or refuted, by namespace and port.
    pub claims: Vec<Claim>,
    /// The guest ports that nothing was proven for.
    pub not_proven: Vec<NotProven>,
    /// The bridges that were looked at, by namespace and name.
    pub bridges: Vec<BridgeSummary>,
    /// The devices that macvlans sit on, by namespace and name.
    pub lower_devices: Vec<LowerDevice>,
    /// What could not be read.
    pub unread: Vec<UnreadNote>,
    /// How many findings there are of each sort.
    pub counts: Counts,
    /// The policy's threshold for the exit status.
    pub fail_on: Severity,
}

/// A bridge, as the audit saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSummary {
    /// The bridge device.
    pub device: Device,
    /// Its namespace.
    pub netns: NetnsId,
    /// The name of its namespace.
    pub netns_label: String,
    /// Its ports, by index.
    pub ports: Vec<PortSummary>,
}

/// A port, as the audit saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSummary {
    /// The device.
    pub device: Device,
    /// What it is for.
    pub role: Role,
    /// Whether the policy says so, rather than the look of the device.
    pub role_stated: bool,
    /// The guest behind it, where its name is known: untrusted text.
    pub guest: Option<String>,
}

/// A device that macvlans sit on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerDevice {
    /// The device.
    pub device: Device,
    /// Its namespace.
    pub netns: NetnsId,
    /// The name of its namespace.
    pub netns_label: String,
    /// The macvlans and macvtaps on it, with the namespace they are in, if another.
    pub uppers: Vec<(Device, Option<NetnsId>)>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadNote {
    /// The name of the namespace.
    pub netns_label: String,
    /// What: "tc filters".
    pub what: &'static str,
    /// The kind of obstacle.
    pub cause: UnreadCause,
    /// The kernel's message, or what was tried.
    pub reason: String,
}

/// How many findings there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By severity, waived ones left out.
    pub standing: BTreeMap<Severity, usize>,
    /// How many are waived.
    pub waived: usize,
    /// How many of those that stand are not proven.
    pub unproven: usize,
}

impl AuditReport {
    /// Returns the findings that are not waived.
    pub fn standing(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.stands())
    }

    /// Whether a finding of this severity or a worse one stands.
    #[must_use]
    pub fn fails(&self, threshold: Severity) -> bool {
        self.standing().any(|finding| finding.severity <= threshold)
    }
}

/// Runs every rule over every namespace of a snapshot. `today` decides which waivers still hold.
#[must_use]
pub fn audit(snapshot: &Snapshot, policy: &Policy, today: Date) -> AuditReport {
    let contexts: Vec<_> =
        snapshot.namespaces.iter().filter_map(|netns| Context::new(snapshot, netns, policy)).collect();
    prove_all(&contexts);
    let mut findings = in_order(check_all(&contexts));
    for finding in &mut findings {
        apply_waivers(finding, &policy.waivers, today);
    }
    AuditReport {
        counts: count(&findings),
        findings,
        claims: contexts.iter().flat_map(|context| context.claims().all().cloned()).collect(),
        not_proven: contexts.iter().flat_map(claims::not_proven).collect(),
        bridges: contexts.iter().flat_map(bridges).collect(),
        lower_devices: contexts.iter().flat_map(lower_devices).collect(),
        unread: snapshot.namespaces.iter().flat_map(unread).collect(),
        fail_on: policy.fail_on,
    }
}

/// From so many interfaces on, rules are checked by several threads at once.
const LARGE: usize = 256;

/// Where a namespace and a rule stand in the order of findings.
type Rank = (usize, usize);

/// Runs every rule over every namespace, by as many threads as are worth it. What each finds comes with its rank.
fn check_all(contexts: &[Context<'_>]) -> Vec<(Rank, Vec<Finding>)> {
    let mut contexts: Vec<_> = contexts.iter().collect();
    contexts.sort_by_key(|context| (context.label(), context.netns().id));
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.doc().id).collect();
    names.sort_unstable();
    // The rules that take longest come first among RULES, so that no thread is left alone with one at the end.
    let tasks: Vec<(Rank, &Context<'_>, &&dyn Rule)> = contexts
        .iter()
        .enumerate()
        .flat_map(|(at, context)| {
            let rank = |rule: &&dyn Rule| names.binary_search(&rule.doc().id).unwrap_or_default();
            RULES.iter().map(move |rule| ((at, rank(rule)), *context, rule))
        })
        .collect();
    let check = |(rank, context, rule): &(Rank, &Context<'_>, &&dyn Rule)| {
        let mut findings = Findings::default();
        rule.check(context, &mut findings);
        (*rank, findings.into_vec())
    };
    in_parallel(worth(contexts.iter().copied()), &tasks, check)
}

/// Proves what is to be proven of each namespace, by as many threads as are worth it: first for a group of each sort, then,
/// with what is known from it, for those that are like it.
fn prove_all(contexts: &[Context<'_>]) {
    let mut firsts: Vec<(usize, Option<claims::Sort>, Group)> = Vec::new();
    let mut others: Vec<(usize, Group, Group)> = Vec::new();
    for (at, context) in contexts.iter().enumerate() {
        for group in claims::proven(context) {
            let sort = claims::sort(context, group);
            match firsts.iter().find(|first| first.0 == at && first.1.is_some() && first.1 == sort) {
                Some((.., first)) => others.push((at, group, *first)),
                None => firsts.push((at, sort, group)),
            }
        }
    }
    let threads = worth(contexts);
    let of = |at: usize, group: Group, known: Option<(Group, &[Claim])>| {
        let context = contexts.get(at);
        (at, group, context.map_or_else(Vec::new, |context| claims::prove(context, group, known)))
    };
    let mut done = in_parallel(threads, &firsts, |(at, _, group)| of(*at, *group, None));
    let known = |at: usize, first: Group| {
        let found = done.iter().find(|one| (one.0, one.1) == (at, first));
        found.map(|(.., claims)| (first, claims.as_slice()))
    };
    let like = in_parallel(threads, &others, |(at, group, first)| of(*at, *group, known(*at, *first)));
    done.extend(like);
    done.sort_by_key(|(at, (_, port), _)| (*at, *port));
    let mut claims: Vec<Vec<Claim>> = contexts.iter().map(|_| Vec::new()).collect();
    for (at, _, found) in done {
        if let Some(of_context) = claims.get_mut(at) {
            of_context.extend(found);
        }
    }
    for (context, claims) in contexts.iter().zip(claims) {
        context.take_claims(Claims::of(claims));
    }
}

/// A group of ports that are alike: their bridge, and the first of them.
type Group = (IfIndex, IfIndex);

/// By how many threads namespaces are worth being looked at.
fn worth<'c, 's: 'c>(contexts: impl IntoIterator<Item = &'c Context<'s>>) -> usize {
    let interfaces: usize = contexts.into_iter().map(|context| context.netns().links.known().len()).sum();
    if interfaces < LARGE { 1 } else { thread::available_parallelism().map_or(1, usize::from) }
}

/// Does each of some tasks, in any order.
fn in_parallel<T: Sync, R: Send>(threads: usize, tasks: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) else { return done };
            done.push(each(task));
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(tasks.len())).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for other in others {
            match other.join() {
                Ok(done) => found.extend(done),
                // A rule's panic is this thread's own.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    })
}

/// Puts findings in order, however many threads found them. They are large and many: numbers that stand for what the
/// order goes by are sorted instead, and each finding is moved once.
fn in_order(found: Vec<(Rank, Vec<Finding>)>) -> Vec<Finding> {
    let mut order = Vec::with_capacity(found.iter().map(|(_, findings)| findings.len()).sum());
    for (at, (rank, findings)) in found.iter().enumerate() {
        order.extend(findings.iter().enumerate().map(|(place, finding)| (key(*rank, finding), at, place)));
    }
    order.sort_unstable();
    let places: Vec<_> = order.into_iter().map(|(_, at, place)| (at, place)).collect();
    let mut found: Vec<Vec<_>> =
        found.into_iter().map(|(_, findings)| findings.into_iter().map(Some).collect()).collect();
    places.into_iter().filter_map(|(at, place)| found.get_mut(at)?.get_mut(place)?.take()).collect()
}

/// What the order of findings goes by.
fn key((netns, rule): Rank, finding: &Finding) -> impl Ord {
    let index = |device: &Option<Device>| device.as_ref().map(|device| device.index);
    let (bridge, port) = (index(&finding.bridge), index(&finding.port));
    (finding.severity, netns, bridge, rule, port, &finding.title)
}

fn apply_waivers(finding: &mut Finding, waivers: &[Waiver], today: Date) {
    fn name(device: &Option<Device>) -> Option<&str> {
        device.as_ref().map(|device| &*device.name)
    }
    for waiver in waivers {
        let covers = waiver.rule == finding.rule
            && waiver.netns.matches(&finding.netns_label)
            && waiver.bridge.matches_optional(name(&finding.bridge))
            && waiver.port.matches_optional(name(&finding.port));
        if !covers {
            continue;
        }
        let applied =
            Arc::new(AppliedWaiver { reason: waiver.reason.clone(), expires: waiver.expires.to_string() });
        if waiver.expires >= today {
            finding.waiver = Some(applied);
            finding.expired_waiver = None;
            return;
        }
        finding.expired_waiver = Some(applied);
    }
}

fn count(findings: &[Finding]) -> Counts {
    let mut counts = Counts::default();
    for finding in findings {
        if finding.stands() {
            *counts.standing.entry(finding.severity).or_default() += 1;
            counts.unproven += usize::from(!finding.is_proven());
        } else {
            counts.waived += 1;
        }
    }
    counts
}

fn bridges(context: &Context<'_>) -> Vec<BridgeSummary> {
    let summary = |bridge: &BridgeView<'_>| BridgeSummary {
        device: bridge.link.into(),
        netns: context.netns().id,
        netns_label: context.label().to_owned(),
        ports: bridge
            .ports
            .iter()
            .map(|port| PortSummary {
                device: port.link.into(),
                role: port.role,
                role_stated: port.role_stated,
                guest: port.guest.map(str::to_owned),
            })
            .collect(),
    };
    context.bridges().iter().map(summary).collect()
}

fn lower_devices(context: &Context<'_>) -> Vec<LowerDevice> {
    let lower = |link: &Link| {
        let uppers = &context.network().uppers(link.index)?.macvlans;
        let on_top: Vec<_> = uppers
            .iter()
            .filter(|(upper, _)| matches!(upper.link.kind, LinkKind::Macvlan(_) | LinkKind::Macvtap(_)))
            .map(|(upper, _)| (Device::from(upper.link), upper.netns))
            .collect();
        (!on_top.is_empty()).then(|| LowerDevice {
            device: Device::from(link),
            netns: context.netns().id,
            netns_label: context.label().to_owned(),
            uppers: on_top,
        })
    };
    context.netns().links.known().iter().filter_map(lower).collect()
}

/// What of a namespace was not read, though this kernel has it.
pub(crate) fn unread(netns: &Netns) -> Vec<UnreadNote> {
    let matters = netns.unread().filter(|(_, why)| why.cause != UnreadCause::Unsupported);
    matters
        .map(|(what, why)| UnreadNote {
            netns_label: netns.label(),
            what,
            cause: why.cause,
            reason: why.reason.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    fn waiver(expires: &str) -> String {
        format!("[[waiver]]\nrule = \"host-arp\"\nport = \"vnet1\"\nreason = \"lab\"\nexpires = {expires}\n")
    }

    #[test]
    fn findings_come_worst_first_and_always_in_the_same_order() {
        let host = Host::hypervisor();
        let report = host.audit();
        let place = |finding: &Finding| {
            let index = |device: &Option<Device>| device.as_ref().map(|device| device.index);
            let (bridge, port) = (index(&finding.bridge), index(&finding.port));
            (finding.severity, bridge, finding.rule, port, finding.title.clone())
        };
        assert!(report.findings.is_sorted_by_key(place));
        assert_eq!(report, host.audit());
        assert!(report.fails(Severity::Critical));
    }

    #[test]
    fn a_waiver_covers_its_port_until_its_last_day() {
        let report = Host::hypervisor().audit_with(&waiver("2026-06-01"));
        let waived: Vec<_> = report.findings.iter().filter(|finding| !finding.stands()).collect();
        assert_eq!(waived.len(), 1);
        assert_eq!(waived[0].port.as_ref().map(|port| &*port.name), Some("vnet1"));
        assert_eq!((report.counts.waived, waived[0].waiver.as_ref().unwrap().reason.as_str()), (1, "lab"));
    }

    #[test]
    fn after_that_the_finding_stands_again_and_says_so() {
        let report = Host::hypervisor().audit_with(&waiver("2026-05-31"));
        assert_eq!(report.counts.waived, 0);
        let expired = report.findings.iter().filter(|finding| finding.expired_waiver.is_some());
        assert!(expired.clone().all(Finding::stands));
        assert_eq!(expired.count(), 1);
    }

    #[test]
    fn a_later_waiver_that_holds_counts_before_an_expired_one() {
        let report = Host::hypervisor().audit_with(&(waiver("2026-05-31") + &waiver("2026-12-31")));
        assert_eq!(report.counts.waived, 1);
        assert!(report.findings.iter().all(|finding| finding.expired_waiver.is_none()));
    }

    #[test]
    fn roles_can_be_stated() {
        let policy = "[[port]]\nname = \"vnet0\"\nrole = \"uplink\"";
        let report = Host::hypervisor().audit_with(policy);
        let port = report.bridges[0].ports.iter().find(|port| &*port.device.name == "vnet0").unwrap();
        assert_eq!((port.role, port.role_stated), (Role::Uplink, true));
        assert!(report.findings.iter().all(|f| f.port.as_ref().is_none_or(|port| &*port.name != "vnet0")));
    }

    #[test]
    fn a_bridge_without_guests_and_a_host_without_bridges_have_no_findings() {
        let mut host = Host::new();
        assert_eq!(host.audit().findings, []);
        host.bridge("br0");
        assert_eq!(host.audit().findings, []);
        assert_eq!(host.audit().bridges.len(), 1);
    }

    #[test]
    fn commands_name_the_namespace_that_they_are_for() {
        let mut host = Host::hypervisor();
        let mut first = host.snapshot.namespaces[0].clone();
        (first.id, first.links) = (NetnsId(7), portcullis_snapshot::Reading::Read(Vec::new()));
        host.netns().names = vec!["hv".to_owned()];
        host.snapshot.namespaces.insert(0, first);
        let report = host.audit();
        let commands = report.findings.iter().flat_map(|f| &f.remedies).flat_map(|remedy| &remedy.commands);
        let mut commands = commands.filter(|command| !command.starts_with("sudo")).peekable();
        assert!(commands.peek().is_some());
        assert!(commands.all(|command| command.starts_with("ip netns exec hv ")));
    }
}
