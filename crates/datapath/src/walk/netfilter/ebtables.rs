//! `net/bridge/netfilter/ebtables.c`, `ebtable_broute.c`: what rules ask of a frame, and the table that sends frames past
//! the bridge.

use portcullis_snapshot::{EbtHeader, EbtProtocol, EtherType, IfIndex, PortState};

use super::x_tables::Xt;
use super::{NfState, NfVerdict};
use crate::frame::{Field, Frame, Set};
use crate::network::{Devices, XtTable};
use crate::walk::{PacketType, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `ebt_broute`: a drop there means that the frame is the port's own stack's.
    pub(super) fn ebt_broute(
        &mut self,
        skb: &mut Skb,
        state: &NfState,
        table: &XtTable<'_>,
        base: usize,
    ) -> NfVerdict {
        let network = self.network;
        let bridge = network.link(skb.dev).and_then(|link| network.bridge(link.master?));
        let Some((bridge, port)) = bridge.and_then(|bridge| Some((bridge, bridge.port(skb.dev)?))) else {
            return NfVerdict::Accept;
        };
        if port.state() != Some(PortState::Forwarding) {
            return NfVerdict::Accept;
        }
        if self.xt_chain(skb, state, table, base) == NfVerdict::Accept {
            return NfVerdict::Accept;
        }
        skb.broute = true;
        // br_handle_frame took a frame to the bridge for one to the host.
        if skb.pkt_type == PacketType::Host
            && !self.dst_is(port.link.address)
            && self.dst_is(bridge.link.address)
        {
            skb.pkt_type = PacketType::OtherHost;
        }
        NfVerdict::Accept
    }

    /// `ebt_basic_match`, without the devices that it has been asked for already.
    pub(super) fn ebt_basic_match(
        &mut self,
        skb: &Skb,
        xt: &Xt<'_>,
        devices: &Devices,
        header: &EbtHeader,
    ) -> bool {
        let network = self.network;
        let bridge_of = |device: Option<IfIndex>| {
            let master = network.link(device?)?.master?;
            network.bridge(master).map(|bridge| bridge.link.index)
        };
        let logical_in = bridge_of(xt.state.iif);
        let logical_out = bridge_of(xt.state.oif);
        if (logical_in.is_some() && !devices.logical_input.holds(logical_in))
            || (logical_out.is_some() && !devices.logical_output.holds(logical_out))
        {
            return false;
        }
        if let Some(protocol) = &header.protocol {
            // A tag beside the bytes counts as 802.1Q, whichever it is.
            let found = match (skb.hwtag, protocol.value) {
                (Some(_), EbtProtocol::Type(wanted)) => wanted == EtherType::VLAN,
                (Some(_), EbtProtocol::Length) => false,
                (None, EbtProtocol::Type(wanted)) => self.frame.is(Field::TypeOrLength(skb.depth), wanted),
                (None, EbtProtocol::Length) => {
                    self.frame.is(Field::TypeOrLength(skb.depth), Set::Range(0, 0x05ff))
                }
            };
            if found == protocol.inverted {
                return false;
            }
        }
        self.xt_mac(Field::Src, header.source.as_ref())
            && self.xt_mac(Field::Dst, header.destination.as_ref())
    }
}
