//! `x_tables`: legacy tables as their sockopts give them, and the data of matches and targets, which stand in nftables'
//! compat expressions too.
//!
//! Layouts are those of 64-bit kernels, in the host's byte order. Data that is not as long as the kernel has it, or that
//! holds a flag or a value which is not known, is kept as it came. No bytes make anything here panic.

mod arp;
mod bridge;
mod bridge_targets;
pub mod ebtables;
mod inet;
mod info;
mod ip;
mod ip6;
mod nat;
mod rates;
pub mod tables;
mod targets;
mod track;
mod transport;

use portcullis_snapshot::{Bytes, LegacyFamily, XtMatch, XtOther, XtTarget};

/// A match or a target, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The family of the rule that it belongs to.
    pub family: LegacyFamily,
    /// Its name.
    pub name: &'a str,
    /// Its revision.
    pub revision: u8,
    /// Its data.
    pub info: &'a [u8],
}

impl Extension<'_> {
    /// Decodes a match. The kernel takes one of the rule's own family before one for all (`xt_find_match`).
    #[must_use]
    pub fn decode_match(&self) -> XtMatch {
        let known = match self.family {
            LegacyFamily::Ebtables => bridge::decode(self),
            LegacyFamily::Ip6tables => ip6::decode(self),
            LegacyFamily::Iptables | LegacyFamily::Arptables => None,
        };
        let known = known.or_else(|| self.decode_shared());
        known.unwrap_or_else(|| XtMatch::Other(self.other()))
    }

    fn decode_shared(&self) -> Option<XtMatch> {
        inet::decode(self)
            .or_else(|| transport::decode(self))
            .or_else(|| track::decode(self))
            .or_else(|| rates::decode(self))
    }

    /// Decodes a target.
    #[must_use]
    pub fn decode_target(&self) -> XtTarget {
        let known = match self.family {
            LegacyFamily::Ebtables => bridge_targets::decode(self),
            LegacyFamily::Arptables => arp::decode_target(self),
            LegacyFamily::Iptables | LegacyFamily::Ip6tables => nat::decode(self),
        };
        let known = known.or_else(|| targets::decode(self));
        known.unwrap_or_else(|| XtTarget::Other(self.other()))
    }

    fn other(&self) -> XtOther {
        XtOther { name: self.name.to_owned(), revision: self.revision, info: Bytes::from(self.info) }
    }
}

#[cfg(test)]
mod tests;
