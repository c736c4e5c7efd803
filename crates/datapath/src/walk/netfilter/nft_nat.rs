//! `net/netfilter/nft_nat.c`, `nft_redir.c`, `nft_masq.c`: translation of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_snapshot::{NftNat, NftNatKind, Register, XtNat, XtTarget, XtVerdict};

use super::nf_tables_core::Pktinfo;
use super::registers::{Registers, Value};
use super::x_tables::Xt;
use crate::frame::Frame;
use crate::network::Verdict;
use crate::walk::{OpenKind, Skb, Walker};

const NFPROTO_IPV4: u8 = 2;
const NF_NAT_RANGE_MAP_IPS: u32 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;

impl<F: Frame> Walker<'_, '_, F> {
    /// Whether a chain of the type `nat` is not asked (`nf_nat_inet_fn`): only the first packet of a connection is shown to
    /// it, and where nothing tracks connections, none.
    pub(super) fn nft_is_passed_over(&mut self, skb: &mut Skb, table: usize, chain: usize) -> bool {
        let network = self.network;
        let Some(ruleset) = network.hooks().ruleset(table) else { return false };
        // Where the walk goes on from a pause within it, it was shown.
        if self.start_at.is_some() {
            return false;
        }
        let name = ruleset.chains.get(chain).map_or("", |chain| chain.name);
        let what =
            format!("nftables {} {name}: whether it is the first packet of a connection", ruleset.table.name);
        let passed_over = self.undecided(skb, "nf_nat_inet_fn", OpenKind::Changing(what));
        if passed_over && ruleset.translates() {
            let what = format!("to what nftables {} translates a connection", ruleset.table.name);
            self.assume(skb, "nf_nat_packet", OpenKind::Changing(what));
        }
        passed_over
    }

    /// `nft_nat_eval`, `nft_redir_eval`, `nft_masq_eval`: as the targets of iptables that do the same.
    pub(super) fn nft_nat_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        registers: &Registers,
        nat: &NftNat,
    ) -> Verdict<'s> {
        let ports = nat.ports.map(|(first, last)| {
            let port = |register| known(registers, register, 2).map(|bytes| be(&bytes) as u16);
            port(first).zip(port(last))
        });
        let addresses = nat.addresses.map(|(first, last)| {
            let address = |register| address(registers, register, nat.family);
            address(first).zip(address(last))
        });
        if ports == Some(None) || addresses == Some(None) {
            let what = format!("{}: translated to what is not known", pkt.place());
            self.assume(skb, "nft_nat_eval", OpenKind::Filter(what));
            return Verdict::Accept;
        }
        let (ports, addresses) = (ports.flatten(), addresses.flatten());
        let mut flags = nat.flags & !(NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
        flags |= if addresses.is_some() { NF_NAT_RANGE_MAP_IPS } else { 0 };
        flags |= if ports.is_some() { NF_NAT_RANGE_PROTO_SPECIFIED } else { 0 };
        let range = XtNat { flags, addresses, ports, base_port: None };
        let target = match nat.kind {
            NftNatKind::Snat => XtTarget::Snat(range),
            NftNatKind::Dnat => XtTarget::Dnat(range),
            NftNatKind::Masquerade => XtTarget::Masquerade(range),
            NftNatKind::Redirect => XtTarget::Redirect(range),
        };
        self.nft_pktinfo(skb, pkt);
        let place = || pkt.place();
        let mut xt = Xt { state: pkt.state, brouting: false, transport: pkt.transport, place: &place };
        match self.xt_target(skb, &mut xt, &target) {
            XtVerdict::Drop => Verdict::Drop,
            _ => Verdict::Accept,
        }
    }
}

fn known(registers: &Registers, register: Register, len: usize) -> Option<Vec<u8>> {
    match registers.load(register, len) {
        Value::Known(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}

fn be(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn address(registers: &Registers, register: Register, family: u8) -> Option<IpAddr> {
    if family == NFPROTO_IPV4 {
        let bytes = known(registers, register, 4)?;
        return Some(IpAddr::V4(Ipv4Addr::from(be(&bytes) as u32)));
    }
    let bytes = known(registers, register, 16)?;
    Some(IpAddr::V6(Ipv6Addr::from(be(&bytes))))
}
