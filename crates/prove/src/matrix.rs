//! All claims of all ports: one of each class of alike ports stands for the others.

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

impl Prover<'_, '_> {
    /// Judges every claim about the ports of some classes: about the host, and about each other port, near or far.
    #[must_use]
    pub fn every_claim(&self, alike: &Alike, classes: &[usize]) -> Vec<ClassProof> {
        classes.iter().flat_map(|class| self.claims_of(alike, *class)).collect()
    }

    /// Judges every claim about the ports of one class.
    #[must_use]
    pub fn claims_of(&self, alike: &Alike, class: usize) -> Vec<ClassProof> {
        let Some(&port) = alike.classes().get(class).and_then(|members| members.first()) else {
            return Vec::new();
        };
        let mut goals: Vec<_> = HostProtocol::ALL.map(|protocol| (None, Goal::Host(protocol))).into();
        goals.push((None, Goal::Infrastructure));
        for (other, members) in alike.classes().iter().enumerate() {
            for near in [true, false] {
                let partner = members
                    .iter()
                    .copied()
                    .find(|member| *member != port && (self.bridge(*member) == self.bridge(port)) == near);
                let of_pair = |to| [Goal::Port(to), Goal::Sniff { from: to }, Goal::Spoof { of: to }];
                let pair = partner.into_iter().flat_map(of_pair);
                goals.extend(pair.map(|goal| (Some((other, near)), goal)));
            }
        }
        let judged = self.prove(port, &goals.iter().map(|(_, goal)| *goal).collect::<Vec<_>>());
        let others = goals.into_iter().map(|(other, _)| other);
        others.zip(judged).map(|(other, proof)| ClassProof { class, other, proof }).collect()
    }

    fn bridge(&self, port: IfIndex) -> Option<IfIndex> {
        self.network.link(port)?.master
    }
}
