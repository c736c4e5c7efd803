//! Rules and actions that write into a frame on its way.

use super::{OpenKind, Skb, Walker};
use crate::frame::{Field, Frame, Sums, Written, is_writable};

impl<F: Frame> Walker<'_, '_, F> {
    /// Writes into a field of the frame, which answers from then on with what was written. What depends on a field that
    /// is written in other ways than by checksums becomes an open question, named by `place`.
    pub(crate) fn rewrite(
        &mut self,
        skb: &mut Skb,
        function: &'static str,
        (field, value, sums): (Field, Written, Sums),
        place: &str,
    ) {
        if !is_writable(field) {
            let what = format!("{place}: writes {field:?}");
            return self.assume(skb, function, OpenKind::Filter(what));
        }
        self.step(function, skb.dev, format_args!("{field:?} is now {value}"), format_args!("{place}"));
        self.frame.write(field, value, sums);
    }
}
