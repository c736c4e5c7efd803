//! What several matches and targets are made of.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, MacAddr};

/// An extension that is not known, or not in this revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtOther {
    /// Its name, as the tools have it.
    pub name: String,
    /// Its revision.
    pub revision: u8,
    /// Its data, as it came.
    pub info: Bytes,
}

/// A number that must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtValue<T> {
    /// The number.
    pub value: T,
    /// Whether it must be another one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// A number that must lie in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtRange<T> {
    /// The first in it.
    pub from: T,
    /// The last in it.
    pub to: T,
    /// Whether the number must lie outside.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// A number that must be `value` where `mask` has ones: `(number & mask) == value`, so that one bit of `value` outside
/// of `mask` makes it impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtMasked<T> {
    /// What it must be.
    pub value: T,
    /// The bits that count.
    pub mask: T,
    /// Whether it must be anything else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// Flags of which one at least must be set: `number & flags != 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtFlags {
    /// The flags.
    pub flags: u32,
    /// Whether none of them may be.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// An IP address under a mask: `(address & mask) == self.address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtAddress {
    /// The address.
    pub address: IpAddr,
    /// The bits that count. They need not be a prefix.
    pub mask: IpAddr,
    /// Whether it must be any other.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// A MAC address under a mask (`ether_addr_equal_masked`: only bits of the mask are compared).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtMac {
    /// The address.
    pub address: MacAddr,
    /// The bits that count.
    pub mask: MacAddr,
    /// Whether it must be any other.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// Bytes under a mask of the same length: `(bytes ^ value) & mask == 0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtBytes {
    /// What they must be.
    pub value: Bytes,
    /// The bits that count.
    pub mask: Bytes,
    /// Whether they must be anything else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// A device that a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XtDevice {
    /// Which.
    pub interface: XtInterface,
    /// Whether it must be any other.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
}

/// A device by its name (`ifname_compare_aligned`, `ebt_dev_check`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum XtInterface {
    /// Any, and none too.
    Any,
    /// The one of this name.
    Name(String),
    /// Those whose names begin so (`eth+`). Of the iptables family, not one that there is none.
    Prefix(String),
    /// A name of 16 bytes under a mask that is no beginning of it: no tool writes that.
    Masked {
        /// The name.
        name: Bytes,
        /// The bits that count.
        mask: Bytes,
    },
}

/// What a rule decides, other than to go to a chain. ebtables and the others number them differently; here they are
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XtVerdict {
    /// `NF_ACCEPT`, `EBT_ACCEPT`. In the table `broute` of ebtables it means that the frame is bridged.
    Accept,
    /// `NF_DROP`, `EBT_DROP`. In the table `broute` of ebtables it means that the frame is routed.
    Drop,
    /// On with the next rule (`XT_CONTINUE`, `EBT_CONTINUE`).
    Continue,
    /// Back to where the chain was jumped to from; at the end of a base chain, its policy (`XT_RETURN`, `EBT_RETURN`).
    Return,
    /// `NF_QUEUE`, to a program.
    Queue,
    /// A number newer than this program, as the kernel holds it.
    Other(i32),
}

/// For fields that are left out while they are false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}
