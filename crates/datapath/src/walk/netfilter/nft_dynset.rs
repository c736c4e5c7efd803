//! `net/netfilter/nft_dynset.c`: a rule that puts something into a set.

use super::nf_tables_core::Pktinfo;
use crate::frame::Frame;
use crate::network::Verdict;
use crate::walk::{OpenKind, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_dynset_eval`: the rule goes on, unless the set is full, or a limit of the element's own says no.
    pub(super) fn nft_dynset_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        set: &str,
    ) -> Verdict<'s> {
        let what = format!("{}: whether set {set} is full, or limits what is added", pkt.place());
        if self.undecided(skb, "nft_dynset_eval", OpenKind::Changing(what)) {
            Verdict::Break
        } else {
            Verdict::Continue
        }
    }
}
