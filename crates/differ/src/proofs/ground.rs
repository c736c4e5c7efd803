//! A configuration, built, to send frames into: one at a time with all the evidence, or many at once.

use std::time::Duration;

use portcullis_datapath::{Network, Walk};
use portcullis_prove::{Goal, HostProtocol};
use portcullis_snapshot::{IfIndex, Netns, Snapshot};

use super::arrival::{Arrived, Question, Seen, Tables};
use crate::Error;
use crate::evidence::{Mark, Marks, gather};
use crate::generate::Sent;
use crate::names::{Name, name};
use crate::run::wrap;
use crate::stand::{Heard, Stand};
use crate::step::Step;

/// How many frames are sent before what came of them is read: their copies must find room in the sockets' queues.
const LOT: usize = 256;
/// How many markers follow: one for each hop that a frame may take.
const ROUNDS: u32 = 2;
/// How long to wait for what the kernel hands to a thread of its own.
const PATIENCE: Duration = Duration::from_millis(60);

/// A configuration, and what was read of it before anything was sent.
pub(crate) struct Ground {
    pub(crate) stand: Stand,
    pub(crate) snapshot: Snapshot,
}

impl Ground {
    pub(crate) fn build(steps: &[Step]) -> Result<Self, Error> {
        let mut stand = Stand::build(steps)?;
        let snapshot = wrap(stand.snapshot()?);
        let handlers = snapshot.namespaces.iter().flat_map(|netns| netns.protocol_handlers.known());
        let mut protocols: Vec<_> =
            handlers.map(|handler| handler.protocol).filter(|protocol| protocol.0 != 3).collect();
        protocols.sort_unstable();
        protocols.dedup();
        for protocol in protocols.into_iter().filter(|one| HostProtocol::of(*one) == HostProtocol::Other) {
            stand.listen_for(protocol)?;
        }
        Ok(Self { stand, snapshot })
    }

    pub(crate) fn netns(&self) -> Result<&Netns, Error> {
        self.snapshot.namespaces.first().ok_or(Error::NoNamespace)
    }

    pub(crate) fn network(&self) -> Result<Network<'_>, Error> {
        Network::new(&self.snapshot, self.netns()?.id).ok_or(Error::NoNamespace)
    }

    fn tables(&mut self, fdb: bool) -> Result<Tables, Error> {
        let counters = self.stand.counters()?;
        let neighbours = self.stand.neighbours()?;
        let fdb = if fdb { self.stand.fdb()? } else { Vec::new() };
        Ok(Tables { counters, neighbours, fdb })
    }

    /// Sends one frame and says whether it arrived where a claim says that none does.
    pub(crate) fn one(
        &mut self,
        port: IfIndex,
        goal: Goal,
        (into, bytes): (Name, &[u8]),
    ) -> Result<Arrived, Error> {
        let before = self.tables(false)?;
        let sent = Sent { into, bytes: bytes.to_vec() };
        if !self.stand.send(into, bytes) {
            return Ok(Arrived::Untold);
        }
        let mut heard = Heard::default();
        loop {
            self.stand.settle(ROUNDS)?;
            heard.add(self.stand.listen()?);
            let after = self.tables(true)?;
            let facts =
                gather(&Mark::new(&sent, &Walk::default()), &heard, &before.counters, &after.counters);
            let seen = Seen { before: before.clone(), after, heard };
            let arrived = Question { netns: self.netns()?, port, goal }.one(bytes, &facts, &seen);
            heard = seen.heard;
            if arrived > Arrived::Untold || !self.stand.hears_more(PATIENCE)? {
                return Ok(arrived);
            }
        }
    }

    /// Sends many frames; returns, of each claim, those lots of them among which one may have arrived.
    pub(crate) fn many<'f>(
        &mut self,
        claims: &[(IfIndex, Goal)],
        into: Name,
        frames: &'f [Vec<u8>],
    ) -> Result<Vec<(usize, &'f [Vec<u8>])>, Error> {
        let fdb = claims.iter().any(|(_, goal)| matches!(goal, Goal::Spoof { .. }));
        let mut suspects = Vec::new();
        let mut before = self.tables(fdb)?;
        for lot in frames.chunks(LOT) {
            for frame in lot {
                // One that is too long for the wire is not sent, as no guest can send it either.
                let _ = self.stand.send(into, frame);
            }
            self.stand.settle(ROUNDS)?;
            let after = self.tables(fdb)?;
            let seen = Seen { before, after, heard: self.stand.listen()? };
            let marks = Marks::new(lot);
            for (at, (port, goal)) in claims.iter().enumerate() {
                if (Question { netns: self.netns()?, port: *port, goal: *goal }).many(lot, &marks, &seen) {
                    suspects.push((at, lot));
                }
            }
            before = seen.after;
        }
        Ok(suspects)
    }
}

impl Ground {
    /// Finds the one of many frames that arrives.
    pub(crate) fn narrow(
        &mut self,
        claim: (IfIndex, Goal),
        into: Name,
        frames: &[Vec<u8>],
    ) -> Result<Option<Vec<u8>>, Error> {
        if let [frame] = frames {
            let arrived = self.one(claim.0, claim.1, (into, frame))?;
            return Ok((arrived == Arrived::Yes).then(|| frame.clone()));
        }
        let (first, second) = frames.split_at(frames.len() / 2);
        for half in [first, second] {
            if !self.many(&[claim], into, half)?.is_empty()
                && let Some(frame) = self.narrow(claim, into, half)?
            {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

/// The wire that leads to a port, where what is sent into it is what comes in by the port.
pub(crate) fn wire_to(steps: &[Step], port: IfIndex) -> Option<Name> {
    let wanted = name(port)?;
    steps.iter().find_map(|step| match step {
        Step::Cable { near, .. } if *near == wanted => Some(*near),
        Step::Tap(near) if *near == wanted => Some(*near),
        _ => None,
    })
}
