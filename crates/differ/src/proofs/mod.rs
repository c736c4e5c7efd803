//! Proofs, held against the kernel. Of a configuration that it made, every claim is judged: a frame that is said to get
//! through is sent and must; where nothing is said to get, thousands are sent and none may arrive.
//!
//! Which frames ([`frames`]) and what counts as having arrived ([`arrival`]) is decided without the kernel; [`ground`]
//! builds and sends.

mod arrival;
mod frames;
mod ground;
mod judge;

use std::collections::BTreeMap;

use portcullis_datapath::{Concrete, Network, Trace, walk};
use portcullis_prove::{Goal, HostProtocol, Proof, Receiver, Verdict};
use portcullis_snapshot::IfIndex;

pub(crate) use arrival::Arrived;
pub(crate) use ground::Ground;
pub use judge::Judge;

use crate::facts::{hex, show};
use crate::generate::{Scenario, Sent, guest_ip4, guest_ip6};
use crate::names::{PORTS, index};
use crate::script::script;
use crate::step::Step;

/// How hard is searched for frames that get where none is said to.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// How many frames are sent, for each port that claims are about.
    pub frames: usize,
    /// How many configurations that differ in one step are proven, too, for witnesses to start from.
    pub neighbours: usize,
    /// How many ways a proof may take.
    pub most_ways: usize,
}

/// What came of a configuration, or of many.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// How many configurations were built.
    pub configurations: u64,
    /// Claims, by what they are about and what the verdict was.
    pub verdicts: BTreeMap<(&'static str, &'static str), u64>,
    /// What kept claims unproven.
    pub assumptions: BTreeMap<String, u64>,
    /// Witnesses that were sent and seen to arrive.
    pub arrived: u64,
    /// Witnesses of which nothing would show that they arrived, by what the claim is about.
    pub untold: BTreeMap<&'static str, u64>,
    /// Witnesses that need a state that is not there, by what the claim is about.
    pub later: BTreeMap<&'static str, u64>,
    /// Isolated claims that frames were sent against.
    pub searched: u64,
    /// Isolated claims about ports into which nothing can be sent directly.
    pub unsearched: u64,
    /// Frames that were sent.
    pub sent: u64,
    /// Frames of neighbouring configurations' witnesses, and their mutants, among them.
    pub mutants: u64,
    /// Frames that arrived once, and did not when sent alone into the same configuration.
    pub transient: Vec<String>,
    /// Verdicts that the kernel does not agree with.
    pub wrong: Vec<Wrong>,
    /// Of one configuration: each claim, and what the kernel said to it.
    pub claims: Vec<Judged>,
    /// Of one configuration: which steps the kernel refused, with its reason.
    pub refused: Vec<(usize, String)>,
}

/// A claim that was judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The claim.
    pub goal: Goal,
    /// Its verdict, with the witness if there is one.
    pub verdict: Verdict,
    /// What the kernel said to it.
    pub kernel: Kernel,
}

/// What the kernel said to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// The witness arrived; or none of the frames that were sent did, where none should.
    Confirmed,
    /// Nothing would show it, or there is no wire to send into.
    Untold,
    /// The witness needs a state that is not there.
    Later,
    /// It was not asked: the claim is unproven.
    Unasked,
    /// It does otherwise.
    Refuted,
}

/// A verdict that the kernel does not agree with.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// The steps of the configuration.
    pub steps: Vec<Step>,
    /// The port that the claim is about.
    pub port: IfIndex,
    /// The claim.
    pub goal: Goal,
    /// The frame that shows it.
    pub frame: Vec<u8>,
    /// Where it is sent.
    pub into: &'static str,
    /// Whether the verdict was *exposed*; else it was *isolated*.
    pub exposed: bool,
    /// The walk's steps for the frame, and where it ends.
    pub walk: Vec<String>,
}

impl Wrong {
    /// Returns it for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let said = if self.exposed {
            "exposed, but the witness does not arrive"
        } else {
            "isolated, but a frame arrives"
        };
        let mut lines = vec![
            format!("{} of {}: {said}", text(self.goal), show(self.port)),
            format!("  the frame, into {}: {}", self.into, hex(&self.frame)),
            "the walk:".to_owned(),
        ];
        lines.extend(self.walk.iter().map(|step| format!("  {step}")));
        let frames = vec![Sent { into: self.into, bytes: self.frame.clone() }];
        lines.push(format!("to repeat it:\n{}", script(&Scenario { steps: self.steps.clone(), frames })));
        lines
    }
}

impl Account {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.configurations += other.configurations;
        for (key, count) in other.verdicts {
            *self.verdicts.entry(key).or_default() += count;
        }
        for (key, count) in other.assumptions {
            *self.assumptions.entry(key).or_default() += count;
        }
        self.arrived += other.arrived;
        for (key, count) in other.untold {
            *self.untold.entry(key).or_default() += count;
        }
        for (key, count) in other.later {
            *self.later.entry(key).or_default() += count;
        }
        self.searched += other.searched;
        self.unsearched += other.unsearched;
        self.sent += other.sent;
        self.mutants += other.mutants;
        self.transient.extend(other.transient);
        self.wrong.extend(other.wrong);
    }

    /// How many claims had a verdict.
    #[must_use]
    pub fn with_verdict(&self, verdict: &str) -> u64 {
        self.verdicts.iter().filter(|((_, one), _)| *one == verdict).map(|(_, count)| count).sum()
    }

    fn count(&mut self, proof: &Proof) {
        *self.verdicts.entry((sort(proof.goal), proof.verdict.name())).or_default() += 1;
        if let Verdict::Unproven(assumptions) = &proof.verdict {
            for assumption in assumptions {
                *self.assumptions.entry(assumption.what.clone()).or_default() += 1;
            }
        }
    }
}

/// A sort of claim.
#[must_use]
pub fn sort(goal: Goal) -> &'static str {
    match goal {
        Goal::Host(HostProtocol::Arp) => "host arp",
        Goal::Host(HostProtocol::Ipv4) => "host ipv4",
        Goal::Host(HostProtocol::Ipv6) => "host ipv6",
        Goal::Host(HostProtocol::Other) => "host other",
        Goal::Infrastructure => "infrastructure",
        Goal::Port(_) => "port",
        Goal::Sniff { .. } => "sniff",
        Goal::Spoof { .. } => "spoof",
        Goal::SpoofIp { .. } => "spoof ip",
    }
}

/// A claim, for people.
#[must_use]
pub fn text(goal: Goal) -> String {
    match goal {
        Goal::Port(other) | Goal::Sniff { from: other } | Goal::Spoof { of: other } => {
            format!("{} {}", sort(goal), show(other))
        }
        _ => sort(goal).to_owned(),
    }
}

/// What is claimed of the first port: everything about the host, every other port, and sniffing and spoofing one, its addresses
/// of either sort.
#[must_use]
pub fn goals(network: &Network<'_>) -> Vec<Goal> {
    let mut goals: Vec<_> = HostProtocol::ALL.map(Goal::Host).into();
    goals.push(Goal::Infrastructure);
    let others = PORTS.iter().skip(1).map(|name| index(name));
    let others: Vec<_> = others.filter(|port| network.link(*port).is_some()).collect();
    goals.extend(others.iter().map(|port| Goal::Port(*port)));
    if let Some(other) = others.first() {
        goals.extend([Goal::Sniff { from: *other }, Goal::Spoof { of: *other }]);
        let to = Receiver::Port(*other);
        let named = [guest_ip4(1).into(), guest_ip6(1).into()];
        goals.extend(named.map(|address| Goal::SpoofIp { address, to }));
    }
    goals
}

/// Walks a frame, for people.
fn explain(network: &Network<'_>, into: IfIndex, bytes: &[u8]) -> Vec<String> {
    let Some(mut frame) = Concrete::new(bytes) else { return Vec::new() };
    let walked = walk(network, into, &mut frame, Trace::Steps);
    let mut lines: Vec<_> = walked
        .steps
        .iter()
        .map(|step| format!("{}: {}: {} ({})", show(step.device), step.function, step.decision, step.because))
        .collect();
    lines.extend(walked.outcomes.iter().map(|outcome| format!("ends: {outcome:?}")));
    lines
}
