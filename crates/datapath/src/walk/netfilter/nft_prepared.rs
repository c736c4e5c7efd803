//! Rules that a packet passes without being evaluated, because one of the tests that they begin with fails.
//!
//! What the tests compare is loaded by the code that evaluates the expressions, so that both see the same.

use portcullis_snapshot::Register;

use super::nf_tables_core::Pktinfo;
use super::registers::{Registers, Value};
use crate::frame::Frame;
use crate::network::{Load, Prepared, SLOTS, Test, Verdict};
use crate::walk::{Skb, Walker};

/// `NFT_REG32_00`.
const REGISTER: Register = 4;

/// What was loaded of a packet for the tests of a chain.
pub(super) struct Loaded {
    chain: usize,
    values: [u128; SLOTS],
    /// Slots that were loaded, and those of which the packet has none.
    known: u32,
    missing: u32,
}

/// The next rule that has to be looked at.
pub(super) struct Candidate<'s> {
    /// Where it stands; behind the last rule if there is none.
    pub(super) at: usize,
    /// Its verdict, if it need not be evaluated.
    pub(super) verdict: Option<Verdict<'s>>,
}

impl Loaded {
    /// Forgets what was loaded: a rule may have changed it.
    pub(super) const fn forget(&mut self) {
        (self.known, self.missing) = (0, 0);
    }
}

impl<'w, F: Frame> Walker<'_, 'w, F> {
    /// Where rules may be passed over: a frame that is known in full, of which nothing is left open before.
    pub(super) fn nft_prepares(&mut self, skb: &Skb, pkt: &Pktinfo<'_, '_>) -> Option<Loaded> {
        let whole = self.entered.is_none() && self.frame.raw().is_some() && pkt.ruleset.self_contained;
        if !whole || self.may_look_behind_tags(skb) {
            return None;
        }
        Some(Loaded { chain: usize::MAX, values: [0; SLOTS], known: 0, missing: 0 })
    }

    /// The first rule of a chain from one on whose tests all hold.
    pub(super) fn nft_candidate<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        loaded: &mut Loaded,
        (chain, next): (usize, usize),
    ) -> Candidate<'s> {
        let ruleset = pkt.ruleset;
        let none = Candidate { at: usize::MAX, verdict: None };
        let devices = self.network.hooks().device_names(self.network.netns());
        let Some(prepared) = ruleset.prepared(chain, devices) else { return none };
        if loaded.chain != chain {
            loaded.forget();
            loaded.chain = chain;
        }
        for at in prepared.order(next, pkt.state.iif, pkt.state.oif) {
            let at = at as usize;
            let Some(guard) = prepared.guards.get(at) else { break };
            let tests = prepared.tests.get(guard.tests.0 as usize..guard.tests.1 as usize);
            let mut tests = tests.unwrap_or_default().iter();
            if tests.all(|test| self.nft_test(skb, pkt, loaded, prepared, test)) {
                return Candidate { at, verdict: guard.verdict };
            }
        }
        none
    }

    fn nft_test(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        test: &Test,
    ) -> bool {
        let bit = 1 << (test.slot % 32);
        if loaded.known & bit == 0 {
            self.nft_load(skb, pkt, loaded, prepared, test.slot);
        }
        // What the packet does not have ends the rule.
        loaded.missing & bit == 0
            && loaded.values.get(usize::from(test.slot)).is_some_and(|value| test.holds(*value))
    }

    #[cold]
    #[inline(never)]
    fn nft_load(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        slot: u8,
    ) {
        let bit = 1 << (slot % 32);
        loaded.known |= bit;
        loaded.missing |= bit;
        let Some(load) = prepared.loads.get(usize::from(slot)).copied() else { return };
        let mut registers = Registers::default();
        let (verdict, len) = match load {
            Load::Payload { base, offset, len } => {
                (self.nft_payload_eval(skb, pkt, &mut registers, (base, offset, len), REGISTER), len)
            }
            Load::Meta { key, len } => (self.nft_meta_get_eval(skb, pkt, key, &mut registers, REGISTER), len),
        };
        let Value::Known(bytes) = registers.load(REGISTER, len) else { return };
        let mut number = [0; 16];
        number.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        if verdict == Verdict::Continue
            && let Some(value) = loaded.values.get_mut(usize::from(slot))
        {
            *value = u128::from_be_bytes(number);
            loaded.missing &= !bit;
        }
    }
}
