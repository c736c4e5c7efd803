//! Rules that a packet passes without being evaluated, because one of the tests that they begin with fails.
//!
//! What is loaded for the tests is what the expressions' own code loads of a frame that is known in full
//! (`nft_prepared_tests` holds both against each other).

use portcullis_snapshot::{MetaKey, PayloadBase, Register};
use smallvec::SmallVec;

use super::nf_tables_core::Pktinfo;
use super::nft_payload::{ETH_HLEN, Transport, raw_bytes};
use super::registers::{Registers, Value};
use crate::frame::{Field, Frame};
use crate::network::{Load, Prepared, SLOTS, Test, Verdict};
use crate::walk::{Skb, Walker};

/// `NFT_REG32_00`.
const REGISTER: Register = 4;

/// What was loaded of a packet for the tests of a chain, and the rules of it that are left.
pub(super) struct Loaded {
    values: [u128; SLOTS],
    /// Slots that were loaded, and those of which the packet has none.
    known: u32,
    missing: u32,
    /// How many bytes the packet has from its network header on.
    length: usize,
    /// The chain, and the rule that is next.
    place: (usize, usize),
    /// The rules of groups whose value the packet has, in order, and how many of them were looked at.
    found: (SmallVec<[u32; 16]>, usize),
    /// How many of the other rules were looked at.
    others: usize,
}

/// The next rule that has to be looked at.
pub(super) struct Candidate<'s> {
    /// Where it stands; behind the last rule if there is none.
    pub(super) at: usize,
    /// Its verdict, if it need not be evaluated.
    pub(super) verdict: Option<Verdict<'s>>,
}

const NOWHERE: (usize, usize) = (usize::MAX, usize::MAX);

impl Loaded {
    /// Forgets what was loaded: a rule may have changed it.
    pub(super) const fn forget(&mut self) {
        (self.known, self.missing, self.place) = (0, 0, NOWHERE);
    }

    /// The next rule that need be looked at.
    fn next(&mut self, prepared: &Prepared<'_>) -> Option<usize> {
        let (found, other) = (self.found.0.get(self.found.1), prepared.every.get(self.others));
        let at = match (found, other) {
            (Some(found), Some(other)) if found > other => other,
            (None, other) => other?,
            (Some(found), _) => {
                self.found.1 += 1;
                return Some(*found as usize);
            }
        };
        self.others += 1;
        Some(*at as usize)
    }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// Where rules may be passed over: a frame that is known in full, of which nothing is left open before.
    pub(super) fn nft_prepares(&mut self, skb: &Skb, pkt: &Pktinfo<'_, '_>) -> Option<Loaded> {
        let whole = self.entered.is_none() && pkt.ruleset.self_contained && self.frame.raw().is_some();
        if !whole || self.may_look_behind_tags(skb) {
            return None;
        }
        let length = self.length_field(skb);
        let length = self.frame.known(length)? as usize;
        let (values, found) = ([0; SLOTS], (SmallVec::new(), 0));
        Some(Loaded { values, known: 0, missing: 0, length, place: NOWHERE, found, others: 0 })
    }

    /// The first rule of a chain from one on whose tests all hold.
    pub(super) fn nft_candidate<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        loaded: &mut Loaded,
        place: (usize, usize),
    ) -> Candidate<'s> {
        let ruleset = pkt.ruleset;
        let none = Candidate { at: usize::MAX, verdict: None };
        let devices = self.network.hooks().device_names(self.network.netns());
        let Some(prepared) = ruleset.prepared(place.0, devices) else { return none };
        if loaded.place != place {
            self.nft_find(skb, pkt, loaded, prepared, place);
        }
        while let Some(at) = loaded.next(prepared) {
            let Some(guard) = prepared.guards.get(at) else { break };
            let tests = prepared.tests.get(guard.tests.0 as usize..guard.tests.1 as usize);
            let mut tests = tests.unwrap_or_default().iter();
            if tests.all(|test| self.nft_test(skb, pkt, loaded, prepared, test)) {
                loaded.place = (place.0, at + 1);
                return Candidate { at, verdict: guard.verdict };
            }
        }
        none
    }

    /// Finds the rules of a chain from one on that need be looked at.
    fn nft_find(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        (chain, next): (usize, usize),
    ) {
        if loaded.place.0 != chain {
            loaded.forget();
        }
        loaded.found.0.clear();
        loaded.found.1 = 0;
        for group in &prepared.groups {
            if let Some(value) = self.nft_value(skb, pkt, loaded, prepared, group.slot) {
                let rules = group.rules(value).iter();
                loaded.found.0.extend(rules.copied().filter(|at| *at as usize >= next));
            }
        }
        if loaded.found.0.len() > 1 {
            loaded.found.0.sort_unstable();
        }
        loaded.others =
            if next == 0 { 0 } else { prepared.every.partition_point(|at| (*at as usize) < next) };
    }

    #[inline]
    fn nft_test(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        test: &Test,
    ) -> bool {
        // What the packet does not have ends the rule.
        self.nft_value(skb, pkt, loaded, prepared, test.slot).is_some_and(|value| test.holds(value))
    }

    #[inline]
    fn nft_value(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        slot: u8,
    ) -> Option<u128> {
        let bit = 1 << (slot % 32);
        if loaded.known & bit == 0 {
            let load = prepared.loads.get(usize::from(slot)).copied();
            let value = load.and_then(|load| self.nft_load(skb, pkt, loaded.length, load));
            loaded.known |= bit;
            match (value, loaded.values.get_mut(usize::from(slot))) {
                (Some(value), Some(place)) => *place = value,
                _ => loaded.missing |= bit,
            }
        }
        if loaded.missing & bit == 0 { loaded.values.get(usize::from(slot)).copied() } else { None }
    }

    /// What is loaded of a packet with so many bytes from its network header on; its first byte is the number's first.
    #[inline(never)]
    fn nft_load(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        length: usize,
        load: Load,
    ) -> Option<u128> {
        let (key, len) = match load {
            Load::Payload { base, offset, len } => {
                return self.nft_load_payload(skb, pkt, length, (base, offset, len));
            }
            Load::Meta { key, len } => (key, len),
        };
        match key {
            MetaKey::Iif => return Some(first_bytes(&pkt.state.iif.map_or(0, |iif| iif.0).to_ne_bytes())),
            MetaKey::Oif => return Some(first_bytes(&pkt.state.oif.map_or(0, |oif| oif.0).to_ne_bytes())),
            MetaKey::Protocol => {
                return self.frame.known(Field::Protocol(skb.depth)).map(|protocol| protocol << 112);
            }
            MetaKey::L4Proto => {
                let transport = self.nft_pktinfo(skb, pkt)?;
                return self.frame.known(transport.protocol).map(|protocol| protocol << 120);
            }
            _ => {}
        }
        let mut registers = Registers::default();
        let verdict = self.nft_meta_get_eval(skb, pkt, key, &mut registers, REGISTER);
        match registers.load(REGISTER, len) {
            Value::Known(bytes) if verdict == Verdict::Continue => Some(first_bytes(bytes)),
            _ => None,
        }
    }

    /// `nft_payload_eval` of a frame that is known in full.
    fn nft_load_payload(
        &mut self,
        skb: &Skb,
        pkt: &mut Pktinfo<'_, '_>,
        length: usize,
        (base, offset, len): (PayloadBase, usize, usize),
    ) -> Option<u128> {
        let end = offset + len;
        let end = match base {
            PayloadBase::Link => end.saturating_sub(self.link_header(skb)),
            PayloadBase::Network => end,
            _ => {
                let Some(Transport { later_fragment: false, .. }) = self.nft_pktinfo(skb, pkt) else {
                    return None;
                };
                let at = self.frame.raw()?.transport(skb.depth).unwrap_or(0);
                at.saturating_sub(ETH_HLEN + 4 * usize::from(skb.depth)) + end
            }
        };
        if end > length {
            return None;
        }
        let frame = self.frame.raw()?;
        let tags = 4 * usize::from(skb.depth);
        let start = match (base, skb.hwtag) {
            (PayloadBase::Network, _) => Some(ETH_HLEN + tags + offset),
            (PayloadBase::Link, _) if offset + len <= 12 => Some(offset),
            (PayloadBase::Link, None) if offset >= 12 => Some(offset + tags),
            _ => None,
        };
        // Most frames have sixteen bytes there, which are one load.
        if let Some(sixteen) = start.and_then(|start| frame.bytes().get(start..)?.first_chunk()) {
            return Some(u128::from_be_bytes(*sixteen) & ones(len));
        }
        let mut bytes = [0; 16];
        raw_bytes(frame, skb, base, offset, bytes.get_mut(..len)?);
        Some(u128::from_be_bytes(bytes))
    }
}

/// Ones in the first bytes, of which there is one at least.
const fn ones(len: usize) -> u128 {
    if len >= 16 { u128::MAX } else { u128::MAX << (8 * (16 - len)) }
}

/// Bytes as a number whose first byte is the first of the bytes.
fn first_bytes(bytes: &[u8]) -> u128 {
    let mut number = [0; 16];
    number.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    u128::from_be_bytes(number)
}
