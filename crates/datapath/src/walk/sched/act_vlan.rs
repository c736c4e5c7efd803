//! `net/sched/act_vlan.c`: tags.

use portcullis_snapshot::{EtherType, VlanAction, VlanTag};

use super::Tc;
use crate::frame::{Field, Frame, Set};
use crate::walk::{HwTag, Skb, TagVid, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `tcf_vlan_act`; `None` if the packet is dropped for what it lacks.
    pub(super) fn tcf_vlan_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, action: &VlanAction) -> Option<()> {
        match action {
            VlanAction::Pop => self.skb_vlan_pop(skb)?,
            VlanAction::Push(tag) => self.skb_vlan_push(skb, tc, tag),
            VlanAction::Modify(tag) => self.vlan_modify(skb, tag)?,
            VlanAction::PopEth | VlanAction::PushEth { .. } | VlanAction::Other(_) => {
                self.act_open(skb, tc, "the action vlan with Ethernet headers");
            }
        }
        let tag = skb.hwtag.map_or_else(|| "no tag".to_owned(), |tag| format!("{} tag", tag.tpid));
        self.step(
            "tcf_vlan_act",
            skb.dev,
            format_args!("{tag} beside the bytes"),
            format_args!("{}", tc.name()),
        );
        Some(())
    }

    /// `skb_vlan_pop` (net/core/skbuff.c): the outermost tag goes; the next moves beside the bytes.
    fn skb_vlan_pop(&mut self, skb: &mut Skb) -> Option<()> {
        if skb.hwtag.take().is_none() && self.pop_from_bytes(skb)?.is_none() {
            return Some(());
        }
        skb.hwtag = self.pop_from_bytes(skb)?;
        Some(())
    }

    /// `__skb_vlan_pop`: the tag in the bytes, if there is one. `None` if it is cut off.
    fn pop_from_bytes(&mut self, skb: &mut Skb) -> Option<Option<HwTag>> {
        let Some(tpid) = self.frame.which(Field::Protocol(skb.depth), &Set::VLAN_TPIDS) else {
            return Some(None);
        };
        if !self.has_bytes(skb, 4) {
            return None;
        }
        let tpid = if tpid == 0 { EtherType::VLAN } else { EtherType::SVLAN };
        let vid = TagVid::Frame(skb.depth);
        (skb.depth, skb.behind_tag) = (skb.depth + 1, false);
        Some(Some(HwTag { tpid, vid }))
    }

    /// `skb_vlan_push`: a tag that is beside the bytes goes into them first.
    fn skb_vlan_push(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, tag: &VlanTag) {
        if skb.hwtag.is_some() {
            // Before 6.12, the network header stays where it was, and what comes behind is off by a tag.
            self.act_open(skb, tc, "the action vlan, which pushes a second tag");
        }
        let priority = Some(tag.priority.unwrap_or(0));
        let vid = TagVid::Fixed { vid: tag.id & 0x0fff, over: None, priority };
        skb.hwtag = Some(HwTag { tpid: tag.protocol, vid });
    }

    /// `TCA_VLAN_ACT_MODIFY`: what is not given stays, of a packet that has a tag.
    fn vlan_modify(&mut self, skb: &mut Skb, tag: &VlanTag) -> Option<()> {
        let Some(old) = skb.hwtag.map_or_else(|| self.pop_from_bytes(skb), |tag| Some(Some(tag)))? else {
            return Some(());
        };
        let (over, kept) = match old.vid {
            TagVid::Frame(depth) => (Some(depth), None),
            TagVid::Fixed { over, priority, .. } => (over, priority),
        };
        let vid = TagVid::Fixed { vid: tag.id & 0x0fff, over, priority: tag.priority.or(kept) };
        skb.hwtag = Some(HwTag { tpid: tag.protocol, vid });
        Some(())
    }
}
