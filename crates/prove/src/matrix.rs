//! All claims of all ports: one of each class of alike ports stands for the others.

use std::thread;

use portcullis_datapath::network::Alike;
use portcullis_snapshot::IfIndex;

use crate::claim::{Goal, HostProtocol};
use crate::prover::Prover;
use crate::verdict::Proof;

/// A claim about a port, which holds for every port of its class; and if it is about another port as well, for every other
/// one of that port's class that is as near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassProof {
    /// The class of the port that the claim is about ([`Alike::classes`]).
    pub class: usize,
    /// The other port's class, and whether both are on one bridge.
    pub other: Option<(usize, bool)>,
    /// The claim about one port of the class, judged.
    pub proof: Proof,
}

/// Something to be claimed.
#[derive(Debug, Clone, Copy)]
struct About {
    port: IfIndex,
    other: Option<(usize, bool)>,
    goal: Goal,
}

impl Prover<'_, '_> {
    /// Judges every claim about the ports of some classes: about the host, and about each other port, near or far.
    #[must_use]
    pub fn every_claim(&self, alike: &Alike, classes: &[usize]) -> Vec<ClassProof> {
        let of_class = |class: &usize| {
            let (host, others) = self.about(alike, *class);
            [self.judged(*class, &host), self.judged(*class, &others)].concat()
        };
        classes.iter().flat_map(of_class).collect()
    }

    /// Judges every claim about the ports of one class, as is wanted soon after an event: those about the host beside the
    /// others, which are as much work.
    #[must_use]
    pub fn claims_of(&self, alike: &Alike, class: usize) -> Vec<ClassProof> {
        let (host, others) = self.about(alike, class);
        thread::scope(|scope| {
            let host = scope.spawn(|| self.judged(class, &host));
            let others = self.judged(class, &others);
            // A panic there is one here.
            let host = host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            [host, others].concat()
        })
    }

    /// What there is to claim about the ports of a class: about the host, and about others.
    fn about(&self, alike: &Alike, class: usize) -> (Vec<About>, Vec<About>) {
        let Some(&port) = alike.classes().get(class).and_then(|members| members.first()) else {
            return (Vec::new(), Vec::new());
        };
        let about = |other| move |goal| About { port, other, goal };
        let host = HostProtocol::ALL.map(Goal::Host).into_iter().chain([Goal::Infrastructure]);
        let mut others = Vec::new();
        for (other, members) in alike.classes().iter().enumerate() {
            for near in [true, false] {
                let partner = members
                    .iter()
                    .copied()
                    .find(|member| *member != port && (self.bridge(*member) == self.bridge(port)) == near);
                let of_pair = |to| [Goal::Port(to), Goal::Sniff { from: to }, Goal::Spoof { of: to }];
                others.extend(partner.into_iter().flat_map(of_pair).map(about(Some((other, near)))));
            }
        }
        (host.map(about(None)).collect(), others)
    }

    fn judged(&self, class: usize, about: &[About]) -> Vec<ClassProof> {
        let Some(port) = about.first().map(|about| about.port) else { return Vec::new() };
        let goals: Vec<_> = about.iter().map(|about| about.goal).collect();
        let proofs = about.iter().zip(self.prove(port, &goals));
        proofs.map(|(about, proof)| ClassProof { class, other: about.other, proof }).collect()
    }

    fn bridge(&self, port: IfIndex) -> Option<IfIndex> {
        self.network.link(port)?.master
    }
}
