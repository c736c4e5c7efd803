//! `net/bridge/netfilter/ebt_*.c`: the targets of ebtables.

use portcullis_snapshot::{EtherType, MacAddr, XtBridgeMark, XtBridgeMarkOp, XtBridgeNat, XtVerdict};

use super::x_tables::Xt;
use crate::frame::{ArpField, Field, Frame, Set, Sums, Written};
use crate::network::NfHook;
use crate::walk::{PacketType, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `ebt_mark_tg`.
    pub(super) const fn ebt_mark_tg(skb: &mut Skb, mark: &XtBridgeMark) -> XtVerdict {
        let value = mark.value as u32;
        skb.mark = match mark.op {
            XtBridgeMarkOp::Set => value,
            XtBridgeMarkOp::Or => skb.mark | value,
            XtBridgeMarkOp::And => skb.mark & value,
            XtBridgeMarkOp::Xor => skb.mark ^ value,
        };
        mark.verdict
    }

    /// `ebt_dnat_tg`.
    pub(super) fn ebt_dnat_tg(&mut self, skb: &mut Skb, xt: &Xt<'_>, nat: &XtBridgeNat) -> XtVerdict {
        self.ebt_write(skb, xt, Field::Dst, nat.mac);
        if nat.mac == MacAddr::BROADCAST {
            skb.pkt_type = PacketType::Broadcast;
        } else if nat.mac.is_multicast() {
            skb.pkt_type = PacketType::Multicast;
        } else {
            let network = self.network;
            let device = match (xt.brouting, xt.state.hook) {
                (true, _) => xt.state.iif,
                (false, NfHook::PreRouting) => {
                    let master = xt.state.iif.and_then(|iif| network.link(iif)?.master);
                    if master.is_none() {
                        return XtVerdict::Drop;
                    }
                    master
                }
                _ => return nat.verdict,
            };
            let own = device.and_then(|device| network.link(device)?.address) == Some(nat.mac);
            skb.pkt_type = if own { PacketType::Host } else { PacketType::OtherHost };
        }
        nat.verdict
    }

    /// `ebt_snat_tg`.
    pub(super) fn ebt_snat_tg(
        &mut self,
        skb: &mut Skb,
        xt: &Xt<'_>,
        nat: &XtBridgeNat,
        arp: bool,
    ) -> XtVerdict {
        self.ebt_write(skb, xt, Field::Src, nat.mac);
        let d = skb.depth;
        if arp && self.frame.is(Field::TypeOrLength(d), EtherType::ARP) {
            if !self.has_bytes(skb, 14) {
                return XtVerdict::Drop;
            }
            if self.frame.is(Field::Arp(d, ArpField::HardwareLength), 6u8) {
                self.ebt_write(skb, xt, Field::Arp(d, ArpField::SenderMac), nat.mac);
            }
        }
        nat.verdict
    }

    /// `ebt_redirect_tg`: to the port's own address in `broute`, else to the bridge's.
    pub(super) fn ebt_redirect_tg(&mut self, skb: &mut Skb, xt: &Xt<'_>, verdict: XtVerdict) -> XtVerdict {
        let network = self.network;
        let device =
            xt.state.iif.and_then(|iif| if xt.brouting { Some(iif) } else { network.link(iif)?.master });
        let Some(address) = device.and_then(|device| network.link(device)?.address) else {
            return XtVerdict::Drop;
        };
        self.ebt_write(skb, xt, Field::Dst, address);
        skb.pkt_type = PacketType::Host;
        verdict
    }

    /// `ebt_arpreply_tg`: the bridge answers for somebody else.
    pub(super) fn ebt_arpreply_tg(&mut self, skb: &mut Skb, xt: &Xt<'_>, nat: &XtBridgeNat) -> XtVerdict {
        let of = |field| Field::Arp(skb.depth, field);
        if !self.has_bytes(skb, 8) {
            return XtVerdict::Drop;
        }
        let request = self.frame.is(of(ArpField::Operation), 1u16)
            && self.frame.is(of(ArpField::HardwareLength), 6u8)
            && self.frame.is(of(ArpField::ProtocolType), EtherType::IPV4)
            && self.frame.is(of(ArpField::ProtocolLength), 4u8);
        if !request {
            return XtVerdict::Continue;
        }
        if !self.frame.is(Field::Length(skb.depth), Set::Range(28, u128::MAX)) {
            return XtVerdict::Drop;
        }
        let place = (xt.place)();
        self.step(
            "ebt_arpreply_tg",
            skb.dev,
            format_args!("answered with {}", nat.mac),
            format_args!("{place}"),
        );
        nat.verdict
    }

    fn ebt_write(&mut self, skb: &mut Skb, xt: &Xt<'_>, field: Field, mac: MacAddr) {
        let written = (field, Written::Value(mac.to_u64().into()), Sums::NONE);
        self.rewrite(skb, "ebt_do_table", written, &(xt.place)());
    }
}
