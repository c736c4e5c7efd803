//! `net/ipv4/netfilter/nft_fib_ipv4.c`: what the routing tables say of a packet's addresses.

use portcullis_snapshot::{EtherType, FibResult, IfIndex, Register};

use super::nf_tables_core::Pktinfo;
use super::registers::Registers;
use crate::frame::{Field, Frame, Ip4Field, Set};
use crate::network::Verdict;
use crate::walk::route::{FibResult as Found, Flow, MULTICAST, RTN_BROADCAST, RTN_UNICAST, ZERONET};
use crate::walk::{Skb, Walker};

/// `NFTA_FIB_F_SADDR`.
const SADDR: u32 = 1;
/// `NFTA_FIB_F_MARK`.
const MARK: u32 = 4;
/// `NFTA_FIB_F_IIF`.
const IIF: u32 = 8;
/// `NFTA_FIB_F_OIF`.
const OIF: u32 = 16;
/// `NFTA_FIB_F_PRESENT`.
const PRESENT: u32 = 32;
const RTN_MULTICAST: u8 = 5;
/// 224.0.0.0/24.
const LOCAL_MULTICAST: Set = Set::Masked { value: 0xe000_0000, mask: 0xffff_ff00 };
const LIMITED_BROADCAST: Set = Set::Exactly(0xffff_ffff);

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_fib4_eval`, `nft_fib4_eval_type`. IPv6's stay open.
    pub(super) fn nft_fib_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        registers: &mut Registers,
        dreg: Register,
        result: FibResult,
        flags: u32,
    ) -> Verdict<'s> {
        let d = skb.depth;
        if !self.frame.is(Field::Protocol(d), EtherType::IPV4) || flags & MARK != 0 {
            registers.forget_all();
            return self.nft_unknown(skb, pkt, "fib of IPv6, or by mark");
        }
        let (saddr, daddr) = (Field::Ip4(d, Ip4Field::Source), Field::Ip4(d, Ip4Field::Destination));
        let device = match flags {
            _ if flags & IIF != 0 => pkt.state.iif,
            _ if flags & OIF != 0 => pkt.state.oif,
            _ => None,
        };
        let asked = if flags & SADDR != 0 { saddr } else { daddr };
        match result {
            FibResult::AddressType => {
                let kind = self.inet_dev_addr_type(device, asked);
                registers.store(dreg, &u32::from(kind).to_ne_bytes());
            }
            FibResult::Oif | FibResult::OifName => {
                let other = if flags & SADDR != 0 { daddr } else { saddr };
                let found = self.nft_fib4_eval(skb, pkt, (saddr, daddr), (asked, other), device);
                let present = flags & PRESENT != 0;
                match (found, result) {
                    (found, _) if present => registers.store(dreg, &u32::from(found.is_some()).to_ne_bytes()),
                    (found, FibResult::Oif) => {
                        registers.store(dreg, &found.map_or(0, |device| device.0).to_ne_bytes());
                    }
                    (found, _) => {
                        let mut name =
                            found.map_or_else(String::new, |device| self.network.name(device)).into_bytes();
                        name.resize(16, 0);
                        registers.store(dreg, &name);
                    }
                }
            }
            FibResult::Other(_) => {
                registers.forget_all();
                return self.nft_unknown(skb, pkt, "a kind of fib question that is not known");
            }
        }
        Verdict::Continue
    }

    fn nft_fib4_eval(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, '_>,
        (saddr, daddr): (Field, Field),
        (asked, other): (Field, Field),
        device: Option<IfIndex>,
    ) -> Option<IfIndex> {
        if self.frame.is(saddr, ZERONET) && self.frame.is_any(daddr, &[LIMITED_BROADCAST, LOCAL_MULTICAST]) {
            return Some(skb.dev);
        }
        let flow = Flow { ipv6: false, daddr: asked, saddr: other, iif: None, oif: device };
        let Found::Route(route) = self.fib_lookup(skb, &flow) else { return None };
        if route.kind != RTN_UNICAST {
            return None;
        }
        match device {
            Some(device) => route.nexthops.iter().any(|hop| hop.device == Some(device)).then_some(device),
            None => route.nexthops.first().and_then(|hop| hop.device).or(pkt.state.iif),
        }
    }

    /// `inet_dev_addr_type` (net/ipv4/fib_frontend.c): whose address it is, by the table of local ones.
    pub(super) fn inet_dev_addr_type(&mut self, device: Option<IfIndex>, field: Field) -> u8 {
        if self.frame.is_any(field, &[ZERONET, LIMITED_BROADCAST]) {
            return RTN_BROADCAST;
        }
        if self.frame.is(field, MULTICAST) {
            return RTN_MULTICAST;
        }
        let kind =
            |walker: &mut Self, at: IfIndex, on: Option<IfIndex>| walker.local_table_type(at, field, on);
        kind(self, device.unwrap_or(IfIndex(0)), device).unwrap_or(RTN_UNICAST)
    }
}
