//! `net/sched`: tc filters, and where `net/core/dev.c` asks them.
//!
//! One file for each of the kernel's. What a filter asks of a packet becomes a question to the frame; programs, rates
//! and chance stay open.

mod act_api;
mod act_mirred;
mod act_pedit;
mod act_vlan;
mod cls_api;
mod cls_bpf;
mod cls_flower;
mod cls_u32;
mod flow_dissector;
#[cfg(test)]
mod tests;

use portcullis_snapshot::{IfIndex, TcFilter, TcHookKind, TcVerdict};

use super::netfilter::nft_payload::{address_byte, part};
use super::netfilter::registers::{Piece, join};
use super::{OpenKind, Skb, Walker};
use crate::frame::{Field, Frame};
use crate::network::Block;

/// Where packets are while filters are asked, and which filter decides.
pub(super) struct Tc<'r, 's> {
    block: &'r Block<'s>,
    /// The device whose filters they are.
    device: IfIndex,
    hook: TcHookKind,
    /// The filter that is asked, or that decided.
    filter: Option<&'s TcFilter>,
}

/// What comes of filters and actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// A verdict of the kernel's.
    Of(TcVerdict),
    /// The packet itself went elsewhere (`TC_ACT_CONSUMED`).
    Consumed,
}

/// What filters read of a packet.
enum Read {
    /// It has these bytes.
    Bytes(Vec<Piece>),
    /// It ends before.
    Short,
    /// They stand before the Ethernet header: whatever was in memory there.
    Unknown,
}

const ETH_HLEN: i64 = 14;

impl Tc<'_, '_> {
    /// The function that asks.
    const fn function(&self) -> &'static str {
        match self.hook {
            TcHookKind::Ingress => "sch_handle_ingress",
            TcHookKind::Egress => "sch_handle_egress",
        }
    }

    /// Names the filter that is asked.
    fn name(&self) -> String {
        let Some(filter) = self.filter else { return self.block.place.clone() };
        let chain = if filter.chain == 0 { String::new() } else { format!(" chain {}", filter.chain) };
        let handle = match filter.kind() {
            "u32" => {
                format!("{:x}:{:x}:{:x}", filter.u32_table() >> 20, filter.u32_bucket(), filter.u32_node())
            }
            _ => format!("{:#x}", filter.handle),
        };
        format!("{}{chain} priority {} {} {handle}", self.block.place, filter.priority, filter.kind())
    }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// `sch_handle_ingress` (net/core/dev.c): tcx programs, then tc filters.
    #[inline]
    pub(super) fn sch_handle_ingress(&mut self, skb: &mut Skb) -> Option<()> {
        self.sch_handle(skb, skb.dev, TcHookKind::Ingress, "sch_handle_ingress")
    }

    /// `sch_handle_egress` (net/core/dev.c) of the device that a packet leaves by.
    #[inline]
    pub(super) fn sch_handle_egress(&mut self, skb: &mut Skb, device: IfIndex) -> Option<()> {
        self.sch_handle(skb, device, TcHookKind::Egress, "sch_handle_egress")
    }

    #[inline]
    fn sch_handle(
        &mut self,
        skb: &mut Skb,
        device: IfIndex,
        hook: TcHookKind,
        function: &'static str,
    ) -> Option<()> {
        if self.network.hooks().has_any_tc() { self.tc_run(skb, device, hook, function) } else { Some(()) }
    }

    /// `tcx_run`, `tc_run`.
    fn tc_run(
        &mut self,
        skb: &mut Skb,
        device: IfIndex,
        hook: TcHookKind,
        function: &'static str,
    ) -> Option<()> {
        let network = self.network;
        for kind in network.hooks().tcx(device, hook) {
            self.assume(skb, function, kind.clone());
        }
        let Some(block) = network.hooks().tc(device, hook) else { return Some(()) };
        let mut tc = Tc { block, device, hook, filter: None };
        let reason = match self.tcf_classify(skb, &mut tc) {
            Act::Consumed => return None,
            Act::Of(TcVerdict::Shot) => "a tc filter drops it",
            Act::Of(TcVerdict::Stolen | TcVerdict::Queued | TcVerdict::Trap) => "a tc filter takes it",
            Act::Of(TcVerdict::Redirect) => {
                let what = format!("{}: where a program sends it", tc.name());
                self.assume(skb, function, OpenKind::Filter(what));
                "a tc filter sends it elsewhere"
            }
            Act::Of(_) => return Some(()),
        };
        self.drop_skb(function, skb, reason, format_args!("{}", tc.name()));
        None
    }

    /// How far the network header is behind the Ethernet header's end: on the way out, a tag that was put back into the
    /// bytes stands between them ([`Skb::behind_tag`]).
    fn network_offset(skb: &Skb, tc: &Tc<'_, '_>) -> i64 {
        if skb.behind_tag && tc.hook == TcHookKind::Egress { 4 } else { 0 }
    }

    /// `skb_header_pointer` of bytes that count from the network header.
    fn tc_read(&mut self, skb: &Skb, tc: &Tc<'_, '_>, at: i64, len: i64) -> Read {
        let at = at + Self::network_offset(skb, tc);
        let Ok(end) = usize::try_from((at + len).max(0)) else { return Read::Short };
        if end > 0xffff || !self.has_bytes(skb, end) {
            return Read::Short;
        }
        if at < -ETH_HLEN {
            return Read::Unknown;
        }
        if self.frame.raw().is_some() {
            let pieces = (at..at + len).map(|at| Piece::known(8, self.raw_byte(skb, at).into())).collect();
            return Read::Bytes(join(pieces));
        }
        Read::Bytes(join((at..at + len).flat_map(|at| self.tc_byte(skb, at)).collect()))
    }

    fn raw_byte(&self, skb: &Skb, at: i64) -> u8 {
        let tags = 4 * i64::from(skb.depth);
        let at = if at < -2 { at + ETH_HLEN } else { at + ETH_HLEN + tags };
        let bytes = self.frame.raw().map_or(&[][..], |frame| frame.bytes());
        usize::try_from(at).ok().and_then(|at| bytes.get(at).copied()).unwrap_or(0)
    }

    fn tc_byte(&mut self, skb: &Skb, at: i64) -> Vec<Piece> {
        match usize::try_from(at) {
            Ok(at) => self.network_byte(skb.depth, at),
            Err(_) => match usize::try_from(at + ETH_HLEN) {
                Ok(at @ 0..12) => vec![address_byte(at)],
                Ok(at) => vec![part(Field::TypeOrLength(skb.depth), at.saturating_sub(12))],
                Err(_) => Vec::new(),
            },
        }
    }

    /// `tcf_match_indev`: the device that it came in by last (`skb->skb_iif`).
    fn tcf_match_indev(&self, skb: &Skb, filter: &TcFilter) -> bool {
        let Some(indev) = &filter.indev else { return true };
        self.link(skb.iif()).is_some_and(|link| link.name == *indev)
    }

    /// Whether a filter that nothing here tells of matches.
    fn tc_undecided(&mut self, skb: &mut Skb, tc: &Tc<'_, '_>, function: &'static str, what: &str) -> bool {
        let what = format!("{}: {what}", tc.name());
        self.undecided(skb, function, OpenKind::Filter(what))
    }
}
