//! `net/netfilter/core.c`: the hooks, and the rules that stand at them.
//!
//! One file for each of the kernel's. What a rule asks of a packet becomes a question to the frame; what it asks of the
//! rest of the world (limits, connections, other programs) stays open.

mod arp_tables;
mod br_netfilter_hooks;
mod ebt_match;
mod ebt_target;
mod ebtables;
mod ip_tables;
mod nf_tables_core;
mod nft_bitwise;
mod nft_compat;
mod nft_dynset;
mod nft_fib;
mod nft_fwd_netdev;
mod nft_lookup;
mod nft_meta;
mod nft_nat;
pub(super) mod nft_payload;
mod nft_payload_set;
mod nft_prepared;
#[cfg(test)]
mod nft_prepared_tests;
pub(crate) mod registers;
#[cfg(test)]
mod tests;
mod x_tables;
mod xt_match;
mod xt_set;
mod xt_target;
mod xt_transport;

use portcullis_snapshot::{IfIndex, NftFamily};

use super::entry::{Rules, RulesOf};
use super::{Skb, Walker};
use crate::frame::Frame;
use crate::network::{AtHook, HookFunction, NfHook};

/// Where a packet is while hooks are asked (`struct nf_hook_state`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct NfState {
    /// Whose hook it is. `netdev` for ingress and egress of a device.
    pub(crate) family: NftFamily,
    /// Which hook.
    pub(crate) hook: NfHook,
    /// The device that it comes in by, as the hook is told.
    pub(crate) iif: Option<IfIndex>,
    /// The device that it leaves by.
    pub(crate) oif: Option<IfIndex>,
}

/// What comes of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NfVerdict {
    Accept,
    Drop,
    /// The walk pauses here.
    Paused,
}

/// `NF_BR_PRI_BRNF`: where br_netfilter stands among the bridge's hooks.
pub(crate) const NF_BR_PRI_BRNF: i32 = 0;

/// Who asks the bridge's hooks that stand behind br_netfilter.
pub(crate) const BR_NF_HOOK_THRESH: &str = "br_nf_hook_thresh";

impl<F: Frame> Walker<'_, '_, F> {
    /// Does something at whose rules the walk can pause.
    #[inline]
    pub(in crate::walk) fn at_rules<T>(
        &mut self,
        of: impl FnOnce() -> RulesOf,
        with: impl FnOnce(&mut Self) -> T,
    ) -> T {
        if self.entered.is_none() {
            // It pauses nowhere.
            return with(self);
        }
        let rules = Rules { of: of(), hook: NfHook::Ingress, function: 0 };
        let before = self.rules.replace(rules);
        let result = with(self);
        self.rules = before;
        result
    }

    /// `nf_hook_slow`: asks whatever stands at a hook, in order. `None` if the packet ends here.
    #[inline(always)]
    pub(crate) fn nf_hook(&mut self, skb: &mut Skb, function: &'static str, state: NfState) -> Option<()> {
        self.nf_hook_between(skb, function, state, i32::MIN..=i32::MAX)
    }

    /// The same for functions of some priorities only (`br_nf_hook_thresh`).
    #[inline(always)]
    pub(crate) fn nf_hook_between(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        state: NfState,
        priorities: std::ops::RangeInclusive<i32>,
    ) -> Option<()> {
        let network = self.network;
        let functions = match (state.family, state.hook) {
            (NftFamily::Netdev, NfHook::Egress) => network.hooks().egress(state.oif?),
            (NftFamily::Netdev, _) => network.hooks().ingress(state.iif?),
            (family, hook) => network.hooks().netfilter(family, hook),
        };
        // At most hooks nothing stands.
        if functions.iter().all(|one| !priorities.contains(&one.priority)) {
            Some(())
        } else {
            self.nf_hook_slow(skb, function, state, priorities, functions)
        }
    }

    fn nf_hook_slow(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        state: NfState,
        priorities: std::ops::RangeInclusive<i32>,
        functions: &[AtHook],
    ) -> Option<()> {
        if self.entered.is_none() {
            return self.nf_hook_functions(skb, function, state, priorities, functions);
        }
        let outer = self.rules;
        // Hooks that rules of this one lead to are others.
        self.rules = outer.filter(|rules| rules.of.are_at(state.family, state.hook));
        let passed = self.nf_hook_functions(skb, function, state, priorities, functions);
        self.rules = outer;
        passed
    }

    fn nf_hook_functions(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        state: NfState,
        priorities: std::ops::RangeInclusive<i32>,
        functions: &[AtHook],
    ) -> Option<()> {
        if self.start_at.as_ref().is_some_and(|start| start.hook != state.hook) {
            return Some(());
        }
        let functions = functions.iter().enumerate();
        for (at, function_at_hook) in functions.filter(|(_, one)| priorities.contains(&one.priority)) {
            if self.start_at.as_ref().is_some_and(|start| at < start.function) {
                continue;
            }
            if let Some(rules) = &mut self.rules {
                (rules.hook, rules.function) = (state.hook, at);
            }
            let verdict = match &function_at_hook.function {
                HookFunction::Open(kind) => {
                    self.assume(skb, function, kind.clone());
                    NfVerdict::Accept
                }
                HookFunction::Nft { table, chain, nat: Some(_), .. }
                    if self.nft_is_passed_over(skb, *table, *chain) =>
                {
                    NfVerdict::Accept
                }
                HookFunction::Nft { table, chain, policy_drop, .. } => {
                    self.nft_do_chain(skb, &state, *table, *chain, *policy_drop)
                }
                HookFunction::Xt { table, chain } => self.xt_do_table(skb, &state, *table, *chain),
            };
            if verdict != NfVerdict::Accept {
                return None;
            }
            // nf_hook_bridge_pre asks after each.
            if skb.broute && function != BR_NF_HOOK_THRESH {
                break;
            }
        }
        Some(())
    }
}
