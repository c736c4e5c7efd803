//! `net/bridge/br_fdb.c`: looking addresses up, and learning them.

use portcullis_snapshot::IfIndex;

use super::outcome::LearnedChange;
use super::{Aim, Learned, OpenKind, Skb, Walker};
use crate::frame::{Field, Frame};
use crate::network::{Bridge, Destination, Destinations, FdbDst, FdbRecord, Port, unread};

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_fdb_find_rcu`: the entry of the frame's source or destination. Age plays no part: an entry counts until the
    /// collector removes it.
    pub(super) fn br_fdb_find<'b>(
        &mut self,
        field: Field,
        bridge: &'b Bridge<'s>,
        vid: u16,
    ) -> Option<&'b FdbRecord> {
        let table = bridge.fdb.vlan(vid)?;
        let class = if self.ever() {
            self.frame.which(field, &table.lasting())?
        } else {
            self.frame.which(field, table)?
        };
        table.record(class)
    }

    /// Whether the frame's destination has an entry that leads to a port now, and may be gone at any time.
    pub(super) fn br_fdb_find_passing(&mut self, bridge: &Bridge<'s>, vid: u16, to: IfIndex) -> bool {
        let table = bridge.fdb.vlan(vid);
        table.is_some_and(|table| self.frame.which(Field::Dst, &table.passing(to)).is_some())
    }

    /// The entry of the frame's destination, as far as it matters.
    pub(super) fn br_fdb_find_dst(&mut self, bridge: &Bridge<'s>, vid: u16) -> Option<FdbDst> {
        let port = match self.manner.aim {
            Aim::Everywhere => return self.br_fdb_find(Field::Dst, bridge, vid).map(|entry| entry.dst),
            Aim::Host => None,
            Aim::Port(port) => Some(port),
        };
        let destinations = bridge.fdb.vlan(vid)?.destinations(port, self.ever());
        let class = self.frame.which(Field::Dst, &destinations)?;
        Some(match (Destinations::of(class), port) {
            (Destination::Up, _) => FdbDst::Local(bridge.link.index),
            (Destination::There, Some(port)) => FdbDst::Port(port),
            // No port of this bridge is aimed at.
            _ => FdbDst::Port(IfIndex(0)),
        })
    }

    /// `br_fdb_update`: what the frame's source teaches. Whoever wants to know only where the frame goes need not ask,
    /// but for what goes back to its own source ([`was_learned`](Self::was_learned)).
    pub(super) fn br_fdb_update(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>, vid: u16) {
        if self.manner.aim == Aim::Everywhere {
            self.br_fdb_learn(skb, bridge, port, vid);
        } else if bridge.hold_time() != Some(0) {
            let (bridge, change) = (bridge.link.index, LearnedChange::New);
            self.walk.learned.push(Learned {
                bridge,
                port: port.link.index,
                vid,
                change,
                rewritten: self.frame.find(Field::Src),
                assumes: skb.assumes,
            });
        }
    }

    /// Whether this frame's source was learned anew, of a frame to its own source.
    pub(super) fn was_learned(&mut self, skb: &Skb, bridge: &Bridge<'s>, vid: u16) -> bool {
        if self.manner.aim == Aim::Everywhere {
            return true;
        }
        if self.ever() {
            // That depends on what was learned before.
            return self.frame.choose(2) == 1;
        }
        let Some(port) = skb.port.and_then(|port| bridge.port(port)) else { return false };
        self.walk.learned.clear();
        self.br_fdb_learn(skb, bridge, port, vid);
        self.just_learned(bridge, vid)
    }

    fn br_fdb_learn(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>, vid: u16) {
        let function = "br_fdb_update";
        if bridge.hold_time() == Some(0) {
            return self.step(
                function,
                skb.dev,
                format_args!("nothing learned"),
                format_args!("ageing_time 0"),
            );
        }
        let here = port.link.index;
        let known = self.br_fdb_find(Field::Src, bridge, vid).map(|entry| (entry.dst, entry.sticky));
        let sticky = known.is_some_and(|(_, sticky)| sticky);
        let entry = self.learned_before(bridge, vid).map(|port| (FdbDst::Port(port), sticky)).or(known);
        let change = match entry {
            None => LearnedChange::New,
            // "received packet with own address as source address": logged, not learned, and not stopped.
            Some((FdbDst::Local(_), _)) => return,
            Some((FdbDst::Port(at), _)) if at == here => LearnedChange::Refresh,
            Some((FdbDst::Port(_), true)) => {
                return self.step(function, skb.dev, format_args!("not moved"), format_args!("sticky"));
            }
            Some((FdbDst::Port(from), false)) => LearnedChange::Move { from },
        };
        if change == LearnedChange::New && !self.may_learn_more(skb, bridge) {
            return;
        }
        if change != LearnedChange::Refresh {
            let what = format_args!("source learned on {} in VLAN {vid}", port.link.name);
            self.step(function, skb.dev, what, format_args!("learning on"));
        }
        self.walk.learned.push(Learned {
            bridge: bridge.link.index,
            port: here,
            vid,
            change,
            rewritten: self.frame.find(Field::Src),
            assumes: skb.assumes,
        });
    }

    /// The port that this frame's source was learned on when the frame came by earlier: it can come back by another.
    fn learned_before(&self, bridge: &Bridge<'s>, vid: u16) -> Option<IfIndex> {
        let source = self.frame.find(Field::Src);
        let here = |learned: &&Learned| learned.is_in(bridge.link.index, vid, source);
        self.walk.learned.iter().rev().find(here).map(|learned| learned.port)
    }

    /// Whether this frame's source was learned anew in a VLAN, which the FDB that was read does not show.
    pub(super) fn just_learned(&self, bridge: &Bridge<'s>, vid: u16) -> bool {
        let source = self.frame.find(Field::Src);
        let here = |learned: &&Learned| learned.is_in(bridge.link.index, vid, source);
        self.walk.learned.iter().filter(here).any(|learned| learned.change != LearnedChange::Refresh)
    }

    /// `br_fdb_update` with `BR_FDB_LOCKED`: MAC authentication bypass notes a source that a locked port refuses.
    pub(super) fn br_fdb_note_locked(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>, vid: u16) {
        if bridge.hold_time() == Some(0) || !self.may_learn_more(skb, bridge) {
            return;
        }
        let (bridge, port, change) = (bridge.link.index, port.link.index, LearnedChange::Locked);
        self.step("br_fdb_update", skb.dev, format_args!("source noted as locked"), format_args!("mab on"));
        let (rewritten, assumes) = (self.frame.find(Field::Src), skb.assumes);
        self.walk.learned.push(Learned { bridge, port, vid, change, rewritten, assumes });
    }

    /// `fdb_create`: whether the bridge may learn one more address.
    fn may_learn_more(&mut self, skb: &Skb, bridge: &Bridge<'s>) -> bool {
        let (max, count) = (bridge.options.fdb_max_learned, bridge.options.fdb_n_learned);
        let full = max.is_some_and(|max| max != 0 && count.is_some_and(|count| count >= max));
        if full {
            let why = format_args!("fdb_max_learned reached");
            self.step("fdb_create", skb.dev, format_args!("not learned"), why);
        }
        !full
    }

    /// Leaves a question open if the FDB was not read.
    pub(super) fn fdb_was_read(&mut self, skb: &mut Skb) {
        if let Some(OpenKind::Unread(what)) = unread("FDB entries", &self.network.netns().fdb) {
            self.assume(skb, "br_fdb_find_rcu", OpenKind::Unread(what));
        }
    }
}
