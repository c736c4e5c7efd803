//! Stub.

use super::{Skb, Walker};
use crate::frame::Frame;

impl<F: Frame> Walker<'_, '_, F> {
    pub(super) fn arp_rcv(&mut self, skb: Skb) {
        self.drop_skb("arp_rcv", &skb, "not written yet", format_args!("stub"));
    }
}
