//! `net/sched/act_api.c`, and the actions that are a few lines: `act_gact.c`, `act_skbedit.c`, `act_police.c`,
//! `act_bpf.c`.

use portcullis_snapshot::{Skbedit, TcAction, TcActionKind, TcBpf, TcFilter, TcVerdict};

use super::cls_bpf::constant;
use super::{Act, Tc};
use crate::frame::Frame;
use crate::network::program_name;
use crate::walk::{OpenKind, PacketType, Skb, Walker};

/// `TCA_ACT_MAX_PRIO`.
const TCA_ACT_MAX_PRIO: u32 = 32;
/// `TCA_ACT_MAX_PRIO_MASK`.
const TCA_ACT_MAX_PRIO_MASK: u32 = 0x1ff;

impl<F: Frame> Walker<'_, '_, F> {
    /// `tcf_exts_exec`, `tcf_action_exec`: the actions of a filter that matches.
    pub(super) fn tcf_exts_exec<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        filter: &'s TcFilter,
    ) -> Act {
        tc.filter = Some(filter);
        self.step(tc.function(), skb.dev, format_args!("matches"), format_args!("{}", tc.name()));
        let actions = &filter.actions;
        let (mut act, mut jump, mut ttl) = (Act::Of(TcVerdict::Ok), 0, TCA_ACT_MAX_PRIO);
        'restart: loop {
            for action in actions {
                if jump > 0 {
                    jump -= 1;
                    continue;
                }
                if action.skip_sw {
                    continue;
                }
                act = self.tcf_act(skb, tc, action);
                match act {
                    Act::Of(TcVerdict::Pipe) => {}
                    Act::Of(TcVerdict::Repeat) => return self.repeats(skb, tc, action),
                    Act::Of(TcVerdict::Jump(to)) => {
                        jump = to & TCA_ACT_MAX_PRIO_MASK;
                        ttl -= 1;
                        if jump == 0 || jump as usize > actions.len() || ttl == 0 {
                            return Act::Of(TcVerdict::Ok);
                        }
                        continue 'restart;
                    }
                    decided => return decided,
                }
            }
            return act;
        }
    }

    /// An action that is to be taken again, which ends after 32 times.
    fn repeats(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, action: &TcAction) -> Act {
        if !matches!(action.kind, TcActionKind::Gact { random: None }) {
            self.act_open(skb, tc, &format!("the action {} over and over", action.kind.kind()));
        }
        Act::Of(TcVerdict::Ok)
    }

    /// `tc_act`: one action.
    fn tcf_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, action: &TcAction) -> Act {
        let Some(verdict) = action.verdict else {
            self.act_open(skb, tc, &format!("the action {}", action.kind.kind()));
            return Act::Of(TcVerdict::Pipe);
        };
        match &action.kind {
            TcActionKind::Gact { random } => {
                let random = random.filter(|random| random.kind != 0);
                return Act::Of(match random {
                    Some(random) if self.tc_undecided(skb, tc, "tcf_gact_act", "a random verdict") => {
                        random.verdict
                    }
                    _ => verdict,
                });
            }
            TcActionKind::Mirred { redirect, ingress, device, block } => {
                if block.is_some() {
                    self.act_open(skb, tc, "the action mirred to every device of a block");
                    return Act::Of(verdict);
                }
                return self.tcf_mirred_act(skb, tc, (*redirect, *ingress, *device), verdict);
            }
            TcActionKind::Vlan(vlan) => {
                if self.tcf_vlan_act(skb, tc, vlan).is_none() {
                    return Act::Of(TcVerdict::Shot);
                }
            }
            TcActionKind::Skbedit(edit) => self.tcf_skbedit_act(skb, tc, edit),
            TcActionKind::Police { conform, .. } => {
                let over = self.tc_undecided(skb, tc, "tcf_police_act", "a rate");
                return Act::Of(if over { verdict } else { *conform });
            }
            TcActionKind::Bpf(program) => return self.tcf_bpf_act(skb, tc, program, verdict),
            // They tell somebody, and change nothing.
            TcActionKind::Other { kind, .. } if matches!(kind.as_str(), "simple" | "sample") => {}
            TcActionKind::Pedit { keys } => self.tcf_pedit_act(skb, tc, keys),
            TcActionKind::Other { .. } => {
                self.act_open(skb, tc, &format!("the action {}", action.kind.kind()));
            }
        }
        Act::Of(verdict)
    }

    /// Something that an action does is not evaluated.
    pub(super) fn act_open(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, what: &str) {
        let what = format!("{}: {what}", tc.name());
        self.assume(skb, "tcf_action_exec", OpenKind::Filter(what));
    }

    /// `tcf_skbedit_act`.
    fn tcf_skbedit_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, edit: &Skbedit) {
        const SKBEDIT_F_INHERITDSFIELD: u64 = 0x20;
        if let Some(priority) = edit.priority {
            skb.priority = priority;
        }
        if edit.flags & SKBEDIT_F_INHERITDSFIELD != 0 {
            self.act_open(skb, tc, "a priority from the packet's header");
        }
        if let Some(mark) = edit.mark {
            let mask = edit.mark_mask.unwrap_or(u32::MAX);
            skb.mark = skb.mark & !mask | mark & mask;
        }
        skb.pkt_type = match edit.ptype {
            Some(0) => PacketType::Host,
            Some(1) => PacketType::Broadcast,
            Some(2) => PacketType::Multicast,
            Some(3) => PacketType::OtherHost,
            _ => skb.pkt_type,
        };
    }

    /// `tcf_bpf_act`: a program that always returns the same decides for certain.
    fn tcf_bpf_act(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, program: &TcBpf, verdict: TcVerdict) -> Act {
        match constant(program) {
            Some(0) => Act::Of(TcVerdict::Ok),
            Some(1) => Act::Of(TcVerdict::Reclassify),
            Some(2) => Act::Of(TcVerdict::Shot),
            Some(3) => Act::Of(TcVerdict::Pipe),
            Some(7) => Act::Of(TcVerdict::Redirect),
            Some(u32::MAX) => Act::Of(verdict),
            Some(_) => Act::Of(TcVerdict::Unspec),
            None => {
                let what = program_name(program.id, &self.network.name(tc.device));
                self.assume(skb, "tcf_bpf_act", OpenKind::Filter(what));
                Act::Of(TcVerdict::Pipe)
            }
        }
    }
}
