//! `net/sched/cls_bpf.c`: programs.

use portcullis_snapshot::{TcBpf, TcFilter, TcVerdict};

use super::{Act, Tc};
use crate::frame::Frame;
use crate::network::program_name;
use crate::walk::{OpenKind, Skb, Walker};

/// `struct sock_filter`.
const INSTRUCTION: usize = 8;

impl<F: Frame> Walker<'_, '_, F> {
    /// `cls_bpf_classify` for one program.
    pub(super) fn cls_bpf_classify<'s>(
        &mut self,
        skb: &mut Skb,
        tc: &mut Tc<'_, 's>,
        filter: &'s TcFilter,
        program: &TcBpf,
        direct_action: bool,
    ) -> Act {
        let result = constant(program);
        if direct_action {
            // cls_bpf_exec_opcode
            return Act::Of(match result {
                Some(0) => TcVerdict::Ok,
                Some(2) => TcVerdict::Shot,
                Some(4) => TcVerdict::Stolen,
                Some(7) => TcVerdict::Redirect,
                Some(8) => TcVerdict::Trap,
                Some(_) => TcVerdict::Unspec,
                None if program.classic.is_some() => return self.some_verdict(skb, tc),
                None => {
                    self.program(skb, tc, program);
                    TcVerdict::Unspec
                }
            });
        }
        let matches = match result {
            Some(result) => result != 0,
            // A classic program reads the packet and changes nothing.
            None if program.classic.is_some() => {
                self.tc_undecided(skb, tc, "cls_bpf_classify", "a classic BPF program")
            }
            None => {
                self.program(skb, tc, program);
                false
            }
        };
        if matches { self.tcf_exts_exec(skb, tc, filter) } else { Act::Of(TcVerdict::Unspec) }
    }

    /// What a classic program decides by itself: to pass, to drop, or nothing.
    fn some_verdict(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>) -> Act {
        let what = "a classic BPF program";
        if self.tc_undecided(skb, tc, "cls_bpf_classify", &format!("{what}, which may pass it")) {
            return Act::Of(TcVerdict::Ok);
        }
        let drops = self.tc_undecided(skb, tc, "cls_bpf_classify", &format!("{what}, which may drop it"));
        Act::Of(if drops { TcVerdict::Shot } else { TcVerdict::Unspec })
    }

    fn program(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, program: &TcBpf) {
        let what = program_name(program.id, &self.network.name(tc.device));
        self.assume(skb, "cls_bpf_classify", OpenKind::Filter(what));
    }
}

/// What a program returns, if it is a classic one that begins with its end (`BPF_RET | BPF_K`).
pub(super) fn constant(program: &TcBpf) -> Option<u32> {
    const BPF_RET_K: u16 = 0x06;
    let first = program.classic.as_ref()?.0.get(..INSTRUCTION)?;
    let (code, value) = (first.get(..2)?, first.get(4..)?);
    let returns = u16::from_ne_bytes(code.try_into().ok()?) == BPF_RET_K;
    returns.then_some(u32::from_ne_bytes(value.try_into().ok()?))
}
