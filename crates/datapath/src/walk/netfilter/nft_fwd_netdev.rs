//! `net/netfilter/nft_fwd_netdev.c`, `nft_dup_netdev.c`, `nf_dup_netdev.c`: the packet, or a copy of it, leaves by another
//! device.

use portcullis_snapshot::{IfIndex, Register};

use super::nf_tables_core::Pktinfo;
use super::registers::{Registers, Value};
use crate::frame::Frame;
use crate::network::Verdict;
use crate::walk::{OpenKind, Skb, Walker};

impl<F: Frame> Walker<'_, '_, F> {
    /// `nft_fwd_netdev_eval`, `nft_dup_netdev_eval`.
    pub(super) fn nft_to_device<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, 's>,
        registers: &Registers,
        copy: bool,
        sreg: Register,
    ) -> Verdict<'s> {
        // NF_STOLEN ends it here as a drop would, but for a copy.
        let verdict = if copy { Verdict::Continue } else { Verdict::Stolen };
        let Value::Known(&[a, b, c, d]) = registers.load(sreg, 4) else {
            let what = format!("{}: by a device that is not known", pkt.place());
            self.assume(skb, "nft_fwd_netdev_eval", OpenKind::Filter(what));
            return verdict;
        };
        self.nf_do_netdev_egress(skb, pkt, IfIndex(u32::from_ne_bytes([a, b, c, d])));
        verdict
    }

    /// `nf_do_netdev_egress`.
    fn nf_do_netdev_egress(&mut self, skb: &mut Skb, pkt: &Pktinfo<'_, '_>, device: IfIndex) {
        let function = "nf_do_netdev_egress";
        let network = self.network;
        let place = pkt.place();
        let Some(link) = network.link(device) else {
            return self.step(
                function,
                skb.dev,
                format_args!("nowhere"),
                format_args!("{place}: no such device"),
            );
        };
        if skb.sent_on {
            // By rules of the device that it is sent to, until a kernel that counts has had enough.
            let what = format!("{place}: sent on once more");
            return self.assume(skb, function, OpenKind::Unmodelled(what));
        }
        self.step(function, skb.dev, format_args!("out of {}", link.name), format_args!("{place}"));
        let copy = Skb { sent_on: true, ..*skb };
        self.copy(|walker| walker.mirred_xmit(copy, link));
    }
}
