//! The host's routing: policy rules and tables.

use portcullis_snapshot::Netns;

/// The routing of one namespace.
#[derive(Debug)]
pub struct Fib<'s> {
    netns: &'s Netns,
}

impl<'s> Fib<'s> {
    pub(super) const fn new(netns: &'s Netns) -> Self {
        Self { netns }
    }
}
