//! Stub.

use super::{Skb, Walker};
use crate::frame::Frame;

impl<F: Frame> Walker<'_, '_, F> {
    pub(super) fn ip_rcv(&mut self, skb: Skb) {
        self.drop_skb("ip_rcv", &skb, "not written yet", format_args!("stub"));
    }
}
