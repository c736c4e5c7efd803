//! Rules that a packet passes without being evaluated, because one of the tests that they begin with fails.
//!
//! What is loaded for the tests is what the expressions' own code loads of a frame that is known in full
//! (`nft_prepared_tests` holds both against each other).

use portcullis_snapshot::{IfIndex, PayloadBase, Register};

use super::nf_tables_core::Pktinfo;
use super::nft_payload::{ETH_HLEN, Transport, VLAN_ETH_HLEN, raw_bytes};
use super::registers::{Registers, Value};
use crate::frame::{Concrete, Field, Frame};
use crate::network::{Dimensions, Header, Load, Meta, Number, Prepared, Rules, Verdict};
use crate::walk::{Skb, Walker};

/// `NFT_REG32_00`.
const REGISTER: Register = 4;

/// The rules of a chain that are left for a packet.
pub(super) struct Loaded {
    /// What the tests are of, once it was looked for.
    sight: Option<Sight>,
    /// The chain, and the rule that is next.
    place: (usize, usize),
    /// Those from there on whose tests all hold.
    left: Rules,
}

/// What rules can load of a frame that is known in full, but for its bytes.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// Of each header: where it begins in the frame, [`APART`] if its bytes are not in a row there; and how many bytes the
    /// packet has from there on.
    headers: [(usize, usize); 3],
    /// Of what is known of every packet: its bytes as the first of a number.
    meta: [Option<u64>; Meta::COUNT],
}

/// The next rule that has to be looked at.
pub(super) struct Candidate<'s> {
    /// Where it stands; behind the last rule if there is none.
    pub(super) at: usize,
    /// Its verdict, if it need not be evaluated.
    pub(super) verdict: Option<Verdict<'s>>,
}

/// Where no frame has any bytes.
const APART: usize = usize::MAX / 2;
const NOWHERE: (usize, usize) = (usize::MAX, usize::MAX);

impl Loaded {
    /// Forgets what was found: a rule may have changed it.
    pub(super) const fn forget(&mut self) {
        (self.place, self.sight) = (NOWHERE, None);
    }
}

impl<F: Frame> Walker<'_, '_, F> {
    /// Where rules may be passed over: a frame that is known in full, of which nothing is left open before.
    pub(super) fn nft_prepares(&mut self, skb: &Skb, pkt: &Pktinfo<'_, '_>) -> Option<Loaded> {
        let whole = self.entered.is_none() && pkt.ruleset.self_contained && self.frame.raw().is_some();
        let prepares = whole && !self.may_look_behind_tags(skb);
        prepares.then_some(Loaded { sight: None, place: NOWHERE, left: Rules::Word(0) })
    }

    /// The first rule of a chain from one on whose tests all hold; `None` if tests do not tell, so that the next rule is to be
    /// evaluated.
    pub(super) fn nft_candidate<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        loaded: &mut Loaded,
        place: (usize, usize),
    ) -> Option<Candidate<'s>> {
        let ruleset = pkt.ruleset;
        let devices = self.network.hooks().device_names(self.network.netns());
        let prepared = ruleset.prepared(place.0, devices)?;
        if loaded.place != place {
            self.nft_find(skb, pkt, loaded, prepared, place)?;
        }
        let Some(at) = loaded.left.take_first() else {
            return Some(Candidate { at: usize::MAX, verdict: None });
        };
        loaded.place = (place.0, at + 1);
        Some(Candidate { at, verdict: prepared.verdicts.get(at).copied().flatten() })
    }

    /// Finds the rules of a chain from one on whose tests all hold.
    fn nft_find(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, '_>,
        loaded: &mut Loaded,
        prepared: &Prepared<'_>,
        place: (usize, usize),
    ) -> Option<()> {
        if loaded.sight.is_none() {
            loaded.sight = self.nft_sight(skb, pkt);
        }
        let (sight, frame) = (loaded.sight.as_ref()?, self.frame.raw()?);
        let mut left = Rules::from(place.1, prepared.verdicts.len());
        let Dimensions { short, long, evaluated } = &prepared.dimensions;
        left.narrow(short, |load| sight.load(frame, skb, load));
        left.narrow(long, |load| sight.load(frame, skb, load));
        left.narrow(evaluated, |load| self.nft_evaluate_meta(skb, pkt, load));
        (loaded.left, loaded.place) = (left, place);
        Some(())
    }

    fn nft_sight(&mut self, skb: &Skb, pkt: &mut Pktinfo<'_, '_>) -> Option<Sight> {
        let length = self.length_field(skb);
        let transport = self.nft_pktinfo(skb, pkt);
        let frame = self.frame.raw()?;
        let length = frame.known(length)? as usize;
        let network = ETH_HLEN + 4 * usize::from(skb.depth);
        let protocol = transport.map(|transport| (frame.value(transport.protocol) as u64) << 56);
        // Nothing of it, of a packet that has none.
        let header = match transport {
            Some(Transport { later_fragment: false, .. }) => {
                let start = frame.transport(skb.depth).unwrap_or(0).max(network);
                (start, (network + length).saturating_sub(start))
            }
            _ => (0, 0),
        };
        // A tag is between the addresses and what rules see next to them, or has to be put there.
        let link = match skb.hwtag {
            Some(_) => (APART, VLAN_ETH_HLEN + length),
            None if skb.depth > 0 => (APART, ETH_HLEN + length),
            None => (0, ETH_HLEN + length),
        };
        let of_device = |device: Option<IfIndex>| {
            Some(u64::from(u32::from_be_bytes(device.map_or(0, |device| device.0).to_ne_bytes())) << 32)
        };
        let ethertype = (frame.known(Field::Protocol(skb.depth))? as u64) << 48;
        Some(Sight {
            headers: [link, (network, length), header],
            meta: [of_device(pkt.state.iif), of_device(pkt.state.oif), Some(ethertype), protocol],
        })
    }

    /// `nft_meta_get_eval`; the first byte is the number's first.
    fn nft_evaluate_meta(&mut self, skb: &mut Skb, pkt: &mut Pktinfo<'_, '_>, load: &Load) -> Option<u128> {
        let Load::Evaluated { key, len } = *load else { return None };
        let mut registers = Registers::default();
        let verdict = self.nft_meta_get_eval(skb, pkt, key, &mut registers, REGISTER);
        match registers.load(REGISTER, len) {
            Value::Known(bytes) if verdict == Verdict::Continue => Some(first_bytes(bytes)),
            _ => None,
        }
    }
}

impl Sight {
    /// What a rule loads; the first byte is the number's first.
    #[inline(always)]
    fn load<N: Number>(&self, frame: Concrete<'_>, skb: &Skb, load: &Load) -> Option<N> {
        match *load {
            Load::Payload { header, offset, len } => {
                let (start, bytes) = *self.headers.get(header as usize)?;
                if offset + len > bytes {
                    return None;
                }
                // Most frames have as many bytes there as a number, which are one load.
                let number = frame.bytes().get(start + offset..).and_then(N::of_bytes);
                Some(number.unwrap_or_else(|| N::first(bytes_around(frame, skb, load))))
            }
            Load::Meta(meta) => self.meta.get(meta as usize)?.map(N::of_short),
            Load::Evaluated { .. } => None,
        }
    }
}

/// `nft_payload_eval` where the frame ends, or where tags are.
#[cold]
fn bytes_around(frame: Concrete<'_>, skb: &Skb, load: &Load) -> u128 {
    let Load::Payload { header, offset, len } = *load else { return 0 };
    let base = match header {
        Header::Link => PayloadBase::Link,
        Header::Network => PayloadBase::Network,
        Header::Transport => PayloadBase::Transport,
    };
    let mut bytes = [0; 16];
    if let Some(bytes) = bytes.get_mut(..len) {
        raw_bytes(frame, skb, base, offset, bytes);
    }
    u128::from_be_bytes(bytes)
}

/// Bytes as a number whose first byte is the first of the bytes.
fn first_bytes(bytes: &[u8]) -> u128 {
    let mut number = [0; 16];
    number.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    u128::from_be_bytes(number)
}
