//! `net/netfilter/nft_compat.c`: matches and targets of x_tables in rules of nftables.

use portcullis_snapshot::{XtTarget, XtVerdict};

use super::nf_tables_core::Pktinfo;
use super::x_tables::{Matched, Xt};
use crate::frame::Frame;
use crate::network::{Match, Verdict};
use crate::walk::{Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_match_eval`.
    pub(super) fn nft_match_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        one: &Match<'_>,
    ) -> Verdict<'s> {
        self.nft_pktinfo(skb, pkt);
        let place = || pkt.place();
        let mut xt = Xt { state: pkt.state, brouting: false, transport: pkt.transport, place: &place };
        match self.xt_match(skb, &mut xt, one) {
            Matched::Holds => Verdict::Continue,
            Matched::Not => Verdict::Break,
            Matched::HotDrop => Verdict::Drop,
        }
    }

    /// `nft_target_eval_xt`, `nft_target_eval_bridge`.
    pub(super) fn nft_target_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        target: &XtTarget,
    ) -> Verdict<'s> {
        self.nft_pktinfo(skb, pkt);
        let place = || pkt.place();
        let mut xt = Xt { state: pkt.state, brouting: false, transport: pkt.transport, place: &place };
        match self.xt_target(skb, &mut xt, target) {
            XtVerdict::Accept => Verdict::Accept,
            XtVerdict::Drop => Verdict::Drop,
            XtVerdict::Continue => Verdict::Continue,
            XtVerdict::Return => Verdict::Return,
            XtVerdict::Queue | XtVerdict::Other(_) => {
                Verdict::Open("a queue, or a verdict that is not known")
            }
        }
    }
}
