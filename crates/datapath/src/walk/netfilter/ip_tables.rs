//! `net/ipv4/netfilter/ip_tables.c`, `net/ipv6/netfilter/ip6_tables.c`: what rules ask of the IP header, and the tables
//! that translate addresses.

use portcullis_snapshot::{Ip6tHeader, IptHeader};

use super::x_tables::{Matched, Xt};
use super::{NfState, NfVerdict};
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::network::XtTable;
use crate::walk::{OpenKind, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `ip_packet_match`.
    pub(super) fn ip_packet_match(&mut self, skb: &Skb, header: &IptHeader) -> bool {
        let d = skb.depth;
        self.xt_address(Field::Ip4(d, Ip4Field::Source), header.source.as_ref())
            && self.xt_address(Field::Ip4(d, Ip4Field::Destination), header.destination.as_ref())
            && header
                .protocol
                .as_ref()
                .is_none_or(|protocol| self.xt_value(Field::Ip4(d, Ip4Field::Protocol), Some(protocol)))
            && header.fragment.as_ref().is_none_or(|fragment| {
                // "! -f" is the flag, inverted; without the flag an inverted question never holds.
                let fails = fragment.value && !self.is_later_fragment(d);
                fails == fragment.inverted
            })
    }

    /// Whether this is a fragment other than the first.
    fn is_later_fragment(&mut self, d: u8) -> bool {
        let first = Set::Masked { value: 0, mask: 0x1fff };
        !self.frame.is(Field::Ip4(d, Ip4Field::FragmentBits), first)
    }

    /// `ip6_packet_match`. Extension headers are looked through only where a protocol is asked for.
    pub(super) fn ip6_packet_match(&mut self, skb: &Skb, xt: &mut Xt<'_>, header: &Ip6tHeader) -> Matched {
        let d = skb.depth;
        if !self.xt_address(Field::Ip6(d, Ip6Field::Source), header.source.as_ref())
            || !self.xt_address(Field::Ip6(d, Ip6Field::Destination), header.destination.as_ref())
        {
            return Matched::Not;
        }
        let Some(protocol) = &header.protocol else { return Matched::Holds };
        let Some(transport) = self.xt_transport(skb, xt) else { return Matched::HotDrop };
        if protocol.value == 0 {
            // "-p all" with the flag; 0 is hop-by-hop, which is none that is found.
            return Matched::Holds;
        }
        self.xt_value(transport.protocol, Some(protocol)).into()
    }

    /// `nf_nat_inet_fn` (net/netfilter/nf_nat_core.c): the first packet of a connection is shown to the rules, the others
    /// are translated as that was.
    pub(super) fn nf_nat_inet_fn(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: &XtTable<'_>,
        base: usize,
    ) -> NfVerdict {
        if table.translates() {
            let what = format!(
                "{} table {}: whether it belongs to a connection that was translated before",
                table.tool(),
                table.table.table
            );
            if self.undecided(skb, "nf_nat_inet_fn", OpenKind::Changing(what)) {
                let what = format!("to what {} table nat translates a connection", table.tool());
                self.assume(skb, "nf_nat_packet", OpenKind::Changing(what));
                return NfVerdict::Accept;
            }
        }
        self.xt_chain(skb, state, table, base)
    }
}
