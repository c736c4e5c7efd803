//! Judges configurations, one after another.

use std::collections::BTreeSet;

use fastrand::Rng;
use portcullis_datapath::Network;
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_prove::{Exposure, Goal, HostProtocol, Proof, Prover, Verdict};
use portcullis_snapshot::{Bytes, FdbEntry, FdbKind, IfIndex, MacAddr, Netns};

use super::arrival::Arrived;
use super::frames::{Targets, battery, changes_the_host, mutants};
use super::ground::{Ground, wire_to};
use super::{Account, Judged, Kernel, Search, Wrong, explain, goals, sort};
use crate::Error;
use crate::facts::{hex, show};
use crate::generate::{self, guest_mac};
use crate::names::{BRIDGE, Name, PORTS, index};
use crate::run::{Leaving, wrap};
use crate::stand::Stand;
use crate::step::Step;

/// How many lots of a claim are looked at more closely.
const MOST_SUSPECTS: usize = 3;
/// How many mutants are made of a witness.
const MUTANTS: usize = 60;

/// Judges configurations, each in namespaces of its own.
#[derive(Debug)]
pub struct Judge {
    search: Search,
    leaving: Leaving,
}

impl Judge {
    /// One that searches so hard.
    #[must_use]
    pub fn new(search: Search) -> Self {
        Self { search, leaving: Leaving::default() }
    }

    /// Judges the configuration of a seed.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn seed(&mut self, seed: u64) -> Result<Account, Error> {
        self.configuration(&generate::near_isolated(seed), seed)
    }

    /// Judges a configuration; the frames that are sent come from a seed.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn configuration(&mut self, steps: &[Step], seed: u64) -> Result<Account, Error> {
        self.claims(steps, None, seed)
    }

    /// Judges certain claims about the first port of a configuration.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn claims(&mut self, steps: &[Step], goals: Option<Vec<Goal>>, seed: u64) -> Result<Account, Error> {
        let search = self.search;
        let course = Course { steps, goals, seed, search, account: Account::default(), leaving: Vec::new() };
        let (account, stands) = Namespace::create()?.run(|| course.run())??;
        stands.into_iter().try_for_each(|stand| self.leaving.let_go(stand))?;
        Ok(account)
    }

    /// Proves claims about the first port of a configuration, and sends nothing.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn verdicts(&mut self, steps: &[Step], goals: &[Goal]) -> Result<Vec<Verdict>, Error> {
        let search = self.search;
        let (proofs, stand) = Namespace::create()?.run(|| {
            let ground = Ground::build(steps)?;
            let proofs = prove(&ground.network()?, goals, search);
            Ok::<_, Error>((proofs, ground.stand))
        })??;
        self.leaving.let_go(stand)?;
        Ok(proofs.into_iter().map(|proof| proof.verdict).collect())
    }

    /// Leaves out every step without which the verdict is still wrong.
    ///
    /// # Errors
    /// If the kernel refuses what every configuration needs.
    pub fn shrink(&mut self, wrong: Wrong) -> Result<Wrong, Error> {
        let mut smaller = wrong;
        let mut at = smaller.steps.len();
        while at > 0 {
            at -= 1;
            let mut steps = smaller.steps.clone();
            steps.remove(at);
            let (again, stand) = Namespace::create()?.run(|| is_wrong(&steps, &smaller, self.search))??;
            self.leaving.let_go(stand)?;
            if let Some(again) = again {
                smaller = again;
                at = at.min(smaller.steps.len());
            }
        }
        Ok(smaller)
    }
}

/// Whether a verdict is wrong in a configuration as it was in another.
fn is_wrong(steps: &[Step], wrong: &Wrong, search: Search) -> Result<(Option<Wrong>, Stand), Error> {
    let mut ground = Ground::build(steps)?;
    let proof = prove(&ground.network()?, &[wrong.goal], search).pop();
    let frame = match proof.map(|proof| proof.verdict) {
        Some(Verdict::Exposed(Exposure { frame: Bytes(frame), later: false, .. })) if wrong.exposed => frame,
        Some(Verdict::Isolated) if !wrong.exposed => wrong.frame.clone(),
        _ => return Ok((None, ground.stand)),
    };
    let arrived = ground.one(wrong.port, wrong.goal, (wrong.into, &frame))?;
    let still = if wrong.exposed { arrived == Arrived::No } else { arrived == Arrived::Yes };
    let walk = explain(&ground.network()?, index(wrong.into), &frame);
    let again = still.then(|| Wrong { steps: steps.to_vec(), frame, walk, ..wrong.clone() });
    Ok((again, ground.stand))
}

fn prove(network: &Network<'_>, goals: &[Goal], search: Search) -> Vec<Proof> {
    let port = index(PORTS[0]);
    if network.link(port).is_none() {
        return Vec::new();
    }
    Prover::new(network).most_ways(search.most_ways).prove(port, goals)
}

/// The port that frames come in by, of which a claim speaks.
fn comes_in_by(proof: &Proof) -> IfIndex {
    match proof.goal {
        Goal::Sniff { from } => from,
        _ => proof.port,
    }
}

/// Whether a frame is for one other than who is behind a port: to see it there is sniffing.
fn is_for_others(netns: &Netns, port: IfIndex, frame: &[u8]) -> bool {
    let Some(dst) = frame.first_chunk::<6>().map(|dst| MacAddr(*dst)) else { return false };
    let behind =
        |entry: &FdbEntry| entry.device == port && entry.address == dst && entry.kind() != FdbKind::Local;
    !dst.is_multicast() && !netns.fdb.known().iter().any(behind)
}

/// A configuration under judgement.
struct Course<'s> {
    steps: &'s [Step],
    /// What is claimed, if not everything.
    goals: Option<Vec<Goal>>,
    seed: u64,
    search: Search,
    account: Account,
    /// Stands that are of no more use.
    leaving: Vec<Stand>,
}

impl Course<'_> {
    fn run(mut self) -> Result<(Account, Vec<Stand>), Error> {
        let mut ground = Ground::build(self.steps)?;
        self.account.configurations = 1;
        let refused = ground.stand.refused.iter().map(|(at, error)| (*at, error.to_string()));
        self.account.refused = refused.collect();
        let claimed = self.goals.take().unwrap_or(goals(&ground.network()?));
        let proofs = prove(&ground.network()?, &claimed, self.search);
        for proof in &proofs {
            self.account.count(proof);
            let (goal, verdict) = (proof.goal, proof.verdict.clone());
            let unasked = matches!(verdict, Verdict::Unproven(_));
            let kernel = if unasked { Kernel::Unasked } else { Kernel::Confirmed };
            self.account.claims.push(Judged { goal, verdict, kernel });
        }
        let isolated: Vec<_> = proofs.iter().filter(|proof| proof.verdict == Verdict::Isolated).collect();
        // Witnesses may be what changes routes and addresses; what is isolated is so as it was read.
        self.search(&mut ground, &isolated, &proofs)?;
        let exposed = proofs.iter().filter_map(|proof| match &proof.verdict {
            Verdict::Exposed(exposure) => Some((proof, exposure)),
            _ => None,
        });
        for (proof, exposure) in exposed {
            self.send_witness(&mut ground, proof, exposure)?;
        }
        self.leaving.push(ground.stand);
        Ok((self.account, self.leaving))
    }

    /// Sends a witness: where others were sent before, and if it does not arrive, where none was.
    fn send_witness(&mut self, ground: &mut Ground, proof: &Proof, exposure: &Exposure) -> Result<(), Error> {
        let Some(into) = wire_to(self.steps, exposure.into) else {
            self.untold(proof);
            return Ok(());
        };
        if exposure.later {
            *self.account.later.entry(sort(proof.goal)).or_default() += 1;
            self.note(proof, Kernel::Later);
            return Ok(());
        }
        let frame = exposure.frame.0.as_slice();
        self.account.sent += 1;
        let mut arrived = ground.one(proof.port, proof.goal, (into, frame))?;
        if arrived == Arrived::No {
            arrived = self.alone(proof, into, frame)?;
        }
        match arrived {
            Arrived::Yes | Arrived::Perhaps => self.account.arrived += 1,
            Arrived::Untold => self.untold(proof),
            Arrived::No => self.wrong(ground, proof, into, frame, true)?,
        }
        Ok(())
    }

    fn untold(&mut self, proof: &Proof) {
        *self.account.untold.entry(sort(proof.goal)).or_default() += 1;
        self.note(proof, Kernel::Untold);
    }

    fn note(&mut self, proof: &Proof, kernel: Kernel) {
        let mut claims = self.account.claims.iter_mut();
        if let Some(claim) = claims.find(|claim| claim.goal == proof.goal) {
            claim.kernel = kernel;
        }
    }

    /// Sends a frame into the configuration, built anew. Where it does not arrive, and by what there is then should not, something
    /// went by itself meanwhile: learned entries do, at once where they are kept for no time.
    fn alone(&mut self, proof: &Proof, into: Name, frame: &[u8]) -> Result<Arrived, Error> {
        let steps = self.steps;
        let sent = |mut ground: Ground| {
            let mut arrived = ground.one(proof.port, proof.goal, (into, frame))?;
            if arrived == Arrived::No {
                ground.snapshot = wrap(ground.stand.snapshot()?);
                let still = Prover::new(&ground.network()?).gets_there(proof.port, proof.goal, frame);
                arrived = if still { Arrived::No } else { Arrived::Untold };
            }
            Ok::<_, Error>((arrived, ground.stand))
        };
        let (arrived, stand) = Namespace::create()?.run(|| sent(Ground::build(steps)?))??;
        self.leaving.push(stand);
        Ok(arrived)
    }

    fn wrong(
        &mut self,
        ground: &Ground,
        proof: &Proof,
        into: Name,
        frame: &[u8],
        exposed: bool,
    ) -> Result<(), Error> {
        self.note(proof, Kernel::Refuted);
        let (port, goal, steps) = (proof.port, proof.goal, self.steps.to_vec());
        let walk = explain(&ground.network()?, index(into), frame);
        self.account.wrong.push(Wrong { steps, port, goal, frame: frame.to_vec(), into, exposed, walk });
        Ok(())
    }

    /// Sends many frames against what is said to be isolated.
    fn search(&mut self, ground: &mut Ground, isolated: &[&Proof], all: &[Proof]) -> Result<(), Error> {
        let mut ports: Vec<_> = isolated.iter().map(|proof| comes_in_by(proof)).collect();
        ports.sort_unstable();
        ports.dedup();
        let near = if isolated.is_empty() { BTreeSet::new() } else { self.witnesses_nearby(isolated)? };
        // Advertisements change more than proofs leave open, where they are taken in.
        let takes_ipv6 = |proof: &Proof| {
            proof.goal == Goal::Host(HostProtocol::Ipv6) && proof.verdict != Verdict::Isolated
        };
        let keeps = !all.iter().any(takes_ipv6);
        for port in ports {
            let claims: Vec<_> =
                isolated.iter().copied().filter(|proof| comes_in_by(proof) == port).collect();
            let Some(into) = wire_to(self.steps, port) else {
                self.account.unsearched += claims.len() as u64;
                claims.iter().for_each(|proof| self.note(proof, Kernel::Untold));
                continue;
            };
            let mut frames = self.frames(ground, into, &near)?;
            frames.retain(|frame| keeps || !changes_the_host(frame));
            self.account.searched += claims.len() as u64;
            self.send(ground, &claims, into, &frames)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        ground: &mut Ground,
        claims: &[&Proof],
        into: Name,
        frames: &[Vec<u8>],
    ) -> Result<(), Error> {
        let eyed: Vec<_> = claims.iter().map(|proof| (proof.port, proof.goal)).collect();
        let sniffs = claims.iter().any(|proof| matches!(proof.goal, Goal::Sniff { .. }));
        let frames: Vec<_> = if sniffs {
            let netns = ground.netns()?;
            let overheard =
                |frame: &&Vec<u8>| claims.iter().all(|proof| is_for_others(netns, proof.port, frame));
            frames.iter().filter(overheard).cloned().collect()
        } else {
            frames.to_vec()
        };
        self.account.sent += frames.len() as u64;
        let suspects = ground.many(&eyed, into, &frames)?;
        for (at, proof) in claims.iter().enumerate() {
            for (_, lot) in suspects.iter().filter(|(claim, _)| *claim == at).take(MOST_SUSPECTS) {
                self.look_closer(ground, proof, into, lot)?;
            }
        }
        Ok(())
    }

    /// Sends a lot of frames again, half by half, down to the one that arrives.
    fn look_closer(
        &mut self,
        ground: &mut Ground,
        proof: &Proof,
        into: Name,
        lot: &[Vec<u8>],
    ) -> Result<(), Error> {
        let claim = (proof.port, proof.goal);
        let Some(frame) = ground.narrow(claim, into, lot)? else { return Ok(()) };
        if self.alone(proof, into, &frame)? == Arrived::Yes {
            return self.wrong(ground, proof, into, &frame, false);
        }
        let what = super::text(proof.goal);
        let what = format!("seed {}, {what} of {}: {}", self.seed, show(proof.port), hex(&frame));
        self.account.transient.push(what);
        Ok(())
    }

    /// What is sent into a wire: what gets through nearby and its mutants, the battery, and random frames.
    fn frames(
        &mut self,
        ground: &Ground,
        into: Name,
        near: &BTreeSet<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut rng = Rng::with_seed(self.seed ^ 0x5eed);
        let targets = Targets::of(ground.netns()?);
        let mut frames: Vec<_> =
            near.iter().flat_map(|frame| mutants(&mut rng, &targets, frame, MUTANTS)).collect();
        self.account.mutants += frames.len() as u64;
        let number = PORTS.iter().position(|name| *name == into).unwrap_or_default();
        frames.extend(battery(&targets, guest_mac(number)));
        let left = self.search.frames.saturating_sub(frames.len());
        frames.extend(generate::frames_into(self.seed, self.steps, into, left));
        frames.truncate(self.search.frames.max(1));
        Ok(frames)
    }

    /// Frames that get where none is said to, where one step is not taken.
    fn witnesses_nearby(&mut self, isolated: &[&Proof]) -> Result<BTreeSet<Vec<u8>>, Error> {
        let mut rng = Rng::with_seed(self.seed ^ 0xbe51de);
        let goals: Vec<_> = isolated.iter().map(|proof| proof.goal).collect();
        let mut places: Vec<_> = (0..self.steps.len()).filter(|at| self.is_optional(*at)).collect();
        rng.shuffle(&mut places);
        // The remedies come last.
        places.sort_by_key(|at| *at + 6 < self.steps.len());
        let mut found = BTreeSet::new();
        for at in places.into_iter().take(self.search.neighbours) {
            let mut steps = self.steps.to_vec();
            steps.remove(at);
            let search = self.search;
            let (proofs, stand) = Namespace::create()?.run(|| {
                let ground = Ground::build(&steps)?;
                let proofs = prove(&ground.network()?, &goals, search);
                Ok::<_, Error>((proofs, ground.stand))
            })??;
            self.leaving.push(stand);
            for proof in proofs {
                if let Verdict::Exposed(exposure) = proof.verdict {
                    found.insert(exposure.frame.0);
                }
            }
        }
        Ok(found)
    }

    /// Whether a configuration without this step is still one of the same devices.
    fn is_optional(&self, at: usize) -> bool {
        !matches!(
            self.steps.get(at),
            None | Some(Step::Bridge(_) | Step::Cable { .. } | Step::Tap(_) | Step::Up(_))
                | Some(Step::Master { master: BRIDGE, .. })
        )
    }
}
