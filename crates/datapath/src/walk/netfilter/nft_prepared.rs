//! Rules that a packet passes without being evaluated, because one of the tests that they begin with fails.
//!
//! What is loaded for the tests is what the expressions' own code loads of a frame that is known in full
//! (`nft_prepared_tests` holds both against each other).

use portcullis_snapshot::{MetaKey, PayloadBase, Register};

use super::nf_tables_core::Pktinfo;
use super::nft_payload::{ETH_HLEN, Transport, raw_bytes};
use super::registers::{Registers, Value};
use crate::frame::{Field, Frame};
use crate::network::{Load, Prepared, Rules, Verdict, rules_from, take_first};
use crate::walk::{Skb, Walker};

/// `NFT_REG32_00`.
const REGISTER: Register = 4;

/// The rules of a chain that are left for a packet.
pub(super) struct Loaded {
    /// How many bytes the packet has from its network header on.
    length: usize,
    /// How far behind that its transport header is, once it was looked for; nothing if it has none.
    transport: Option<Option<usize>>,
    /// The chain, and the rule that is next.
    place: (usize, usize),
    /// Those from there on whose tests all hold.
    left: Rules,
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
    /// Forgets what was found: a rule may have changed it.
    pub(super) const fn forget(&mut self) {
        (self.place, self.transport) = (NOWHERE, None);
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
        Some(Loaded { length, transport: None, place: NOWHERE, left: Rules::new() })
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
        let Some(at) = take_first(&mut loaded.left) else { return none };
        loaded.place = (place.0, at + 1);
        Candidate { at, verdict: prepared.verdicts.get(at).copied().flatten() }
    }

    /// Finds the rules of a chain from one on whose tests all hold.
    fn nft_find(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        place: (usize, usize),
    ) {
        let mut rules = match place.1 {
            0 => Rules::from_slice(&prepared.all),
            next => rules_from(next, prepared.verdicts.len()),
        };
        let mut value = |this: &mut Self, slot: u8| match prepared.loads.get(usize::from(slot)) {
            Some(&Load::Payload { base, offset, len }) => {
                this.nft_load_payload(skb, pkt, loaded, (base, offset, len))
            }
            Some(&Load::Meta { key, len }) => this.nft_load_meta(skb, pkt, key, len),
            None => None,
        };
        // What the packet does not have ends the rule.
        if let [word] = rules.as_mut_slice() {
            // Most chains: what is left stays in registers.
            let mut left = *word;
            for dimension in prepared.dimensions.iter() {
                if dimension.matters_to_word(left) {
                    left &= dimension.word(value(self, dimension.slot));
                }
            }
            *word = left;
        } else {
            for dimension in &prepared.dimensions {
                if dimension.matters_to(&rules) {
                    dimension.narrow(&mut rules, value(self, dimension.slot));
                }
            }
        }
        (loaded.left, loaded.place) = (rules, place);
    }

    /// `nft_meta_get_eval` of a frame that is known in full; the first byte is the number's first.
    fn nft_load_meta(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        key: MetaKey,
        len: usize,
    ) -> Option<u128> {
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

    /// `nft_payload_eval` of a frame that is known in full; the first byte is the number's first.
    #[inline]
    fn nft_load_payload(
        &mut self,
        skb: &Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        (base, offset, len): (PayloadBase, usize, usize),
    ) -> Option<u128> {
        let tags = 4 * usize::from(skb.depth);
        let (start, end) = match base {
            PayloadBase::Network => (Some(ETH_HLEN + tags + offset), offset + len),
            PayloadBase::Link => {
                let start = match skb.hwtag {
                    _ if offset + len <= 12 => Some(offset),
                    None if offset >= 12 => Some(offset + tags),
                    _ => None,
                };
                (start, (offset + len).saturating_sub(self.link_header(skb)))
            }
            _ => {
                let found = loaded.transport.unwrap_or_else(|| self.nft_transport(skb, pkt));
                loaded.transport = Some(found);
                let at = found? + offset;
                (Some(ETH_HLEN + tags + at), at + len)
            }
        };
        if end > loaded.length {
            return None;
        }
        let frame = self.frame.raw()?;
        // Most frames have sixteen bytes there, which are one load.
        if let Some(sixteen) = start.and_then(|start| frame.bytes().get(start..)?.first_chunk()) {
            return Some(u128::from_be_bytes(*sixteen) & ones(len));
        }
        let mut bytes = [0; 16];
        raw_bytes(frame, skb, base, offset, bytes.get_mut(..len)?);
        Some(u128::from_be_bytes(bytes))
    }

    /// How far behind the network header the transport header is, if there is one that a rule may read.
    fn nft_transport(&mut self, skb: &Skb, pkt: &mut Pktinfo<'_, '_>) -> Option<usize> {
        let Some(Transport { later_fragment: false, .. }) = self.nft_pktinfo(skb, pkt) else { return None };
        let at = self.frame.raw()?.transport(skb.depth).unwrap_or(0);
        Some(at.saturating_sub(ETH_HLEN + 4 * usize::from(skb.depth)))
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
