//! `net/bridge/br_fdb.c`: looking addresses up, and learning them.

use super::outcome::LearnedChange;
use super::{Learned, OpenKind, Skb, Walker};
use crate::frame::{Field, Frame};
use crate::network::{Bridge, FdbDst, FdbRecord, Port, unread};

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_fdb_find_rcu`: the entry of the frame's source or destination. Age plays no part: an entry counts until the
    /// collector removes it.
    pub(super) fn br_fdb_find<'b>(
        &mut self,
        field: Field,
        bridge: &'b Bridge<'s>,
        vid: u16,
    ) -> Option<&'b FdbRecord> {
        let class = self.frame.which(field, bridge.fdb.vlan(vid)?)?;
        bridge.fdb.record(vid, class)
    }

    /// `br_fdb_update`: what the frame's source teaches.
    pub(super) fn br_fdb_update(&mut self, skb: Skb, bridge: &Bridge<'s>, port: &Port<'s>, vid: u16) {
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
        let change = match self.br_fdb_find(Field::Src, bridge, vid).map(|entry| (entry.dst, entry.sticky)) {
            None => LearnedChange::New,
            // "received packet with own address as source address": logged, not learned, and not stopped.
            Some((FdbDst::Local(_), _)) => return,
            Some((FdbDst::Port(at), _)) if at == here => LearnedChange::Refresh,
            Some((FdbDst::Port(_), true)) => {
                return self.step(function, skb.dev, format_args!("not moved"), format_args!("sticky"));
            }
            Some((FdbDst::Port(from), false)) => LearnedChange::Move { from },
        };
        let full = bridge.options.fdb_max_learned.is_some_and(|max| {
            max != 0 && bridge.options.fdb_n_learned.is_some_and(|learned| learned >= max)
        });
        if full && change == LearnedChange::New {
            return self.step(
                function,
                skb.dev,
                format_args!("not learned"),
                format_args!("fdb_max_learned reached"),
            );
        }
        if change != LearnedChange::Refresh {
            let what = format_args!("source learned on {} in VLAN {vid}", port.link.name);
            self.step(function, skb.dev, what, format_args!("learning on"));
        }
        self.walk.learned.push(Learned { bridge: bridge.link.index, port: here, vid, change });
    }

    /// Leaves a question open if the FDB was not read.
    pub(super) fn fdb_was_read(&mut self, skb: &mut Skb) {
        if let Some(OpenKind::Unread(what)) = unread("FDB entries", &self.network.netns().fdb) {
            self.assume(skb, "br_fdb_find_rcu", OpenKind::Unread(what));
        }
    }
}
