//! Extensions of `x_tables`: the data of matches and targets, as it stands in legacy tables and in nftables' compat
//! expressions alike.
//!
//! Layouts are those of 64-bit kernels in the host's byte order. Data that is not as long as the kernel has it, or holds
//! a flag that is not known, is kept as it came.

pub mod matches;
pub mod targets;

use portcullis_snapshot::{Bytes, LegacyFamily, XtOther};

/// A match or target, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The family of the rule that it belongs to.
    pub family: LegacyFamily,
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u8,
    /// Its data.
    pub info: &'a [u8],
}

impl Extension<'_> {
    fn other(&self) -> XtOther {
        XtOther { name: self.name.clone(), revision: self.revision, info: Bytes::from(self.info) }
    }
}
