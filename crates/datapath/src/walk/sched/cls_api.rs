//! `net/sched/cls_api.c`: chains and priorities.

use portcullis_snapshot::{EtherType, TcClassifier, TcFilter, TcVerdict};

use super::{Act, Tc};
use crate::frame::{Field, Frame};
use crate::network::{Classifier, Proto};
use crate::walk::{OpenKind, Skb, Walker};

/// `ETH_P_ALL`.
const ETH_P_ALL: u16 = 3;
/// `max_reclassify_loop` of `__tcf_classify`.
const MAX_RECLASSIFY_LOOP: u32 = 16;

impl<F: Frame> Walker<'_, '_, F> {
    /// `__tcf_classify`: from the first priority of chain 0 on.
    pub(super) fn tcf_classify<'s>(&mut self, skb: &mut Skb, tc: &mut Tc<'_, 's>) -> Act {
        let (mut chain, mut resets) = (0, 0);
        'reclassify: loop {
            let block = tc.block;
            for proto in block.chain(chain) {
                if proto.protocol != ETH_P_ALL && !self.skb_protocol_is(skb, proto.protocol) {
                    continue;
                }
                chain = match self.tc_classify(skb, tc, proto) {
                    Act::Of(TcVerdict::Unspec) => continue,
                    Act::Of(TcVerdict::Reclassify) => 0,
                    Act::Of(TcVerdict::GotoChain(to)) => to,
                    decided => return decided,
                };
                resets += 1;
                if resets > MAX_RECLASSIFY_LOOP {
                    return Act::Of(TcVerdict::Shot);
                }
                continue 'reclassify;
            }
            return Act::Of(TcVerdict::Unspec);
        }
    }

    /// `skb_protocol(skb, false)`: of a packet with a tag beside its bytes, the TPID.
    fn skb_protocol_is(&mut self, skb: &Skb, protocol: u16) -> bool {
        match skb.hwtag {
            Some(tag) => tag.tpid.0 == protocol,
            None => self.frame.is(Field::Protocol(skb.depth), EtherType(protocol)),
        }
    }

    /// `tc_classify`: the filters of one priority.
    fn tc_classify<'s>(&mut self, skb: &mut Skb, tc: &mut Tc<'_, 's>, proto: &Proto<'s>) -> Act {
        match &proto.classifier {
            Classifier::U32(root) => self.u32_classify(skb, tc, *root),
            Classifier::Flower(masks) => self.fl_classify(skb, tc, masks),
            Classifier::Each(filters) => {
                for filter in filters {
                    let act = self.tc_classify_one(skb, tc, filter);
                    if act != Act::Of(TcVerdict::Unspec) {
                        return act;
                    }
                }
                Act::Of(TcVerdict::Unspec)
            }
        }
    }

    /// One filter of a classifier that asks them in turn.
    fn tc_classify_one<'s>(&mut self, skb: &mut Skb, tc: &mut Tc<'_, 's>, filter: &'s TcFilter) -> Act {
        tc.filter = Some(filter);
        if filter.flags & TcFilter::SKIP_SW != 0 {
            return Act::Of(TcVerdict::Unspec);
        }
        let matches = match &filter.classifier {
            TcClassifier::Matchall => true,
            TcClassifier::Bpf { program, direct_action } => {
                return self.cls_bpf_classify(skb, tc, filter, program, *direct_action);
            }
            // fw_classify
            TcClassifier::Fw { mask: Some(mask) } => skb.mark & mask != 0 && skb.mark & mask == filter.handle,
            // Whatever the mask, it can only take bits away.
            TcClassifier::Fw { mask: None } => {
                filter.handle & !skb.mark == 0
                    && self.tc_undecided(skb, tc, "fw_classify", "the mask of a classifier fw is not told")
            }
            TcClassifier::Other { kind, .. } => match kind.as_str() {
                "basic" | "cgroup" | "flow" | "route" | "rsvp" | "rsvp6" | "tcindex" => {
                    self.tc_undecided(skb, tc, "tc_classify", &format!("the classifier {kind}"))
                }
                kind => {
                    let what = format!("{}: the classifier {kind}", tc.name());
                    self.assume(skb, "tc_classify", OpenKind::Filter(what));
                    false
                }
            },
            // These have their own order.
            TcClassifier::U32(_) | TcClassifier::Flower(_) => false,
        };
        if matches && self.tcf_match_indev(skb, filter) {
            self.tcf_exts_exec(skb, tc, filter)
        } else {
            Act::Of(TcVerdict::Unspec)
        }
    }
}
