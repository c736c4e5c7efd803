//! Matches and targets of `x_tables`: what rules of the legacy tables have, and nftables rules of iptables-nft,
//! ip6tables-nft, arptables-nft and ebtables-nft ([`crate::NftExpr::Match`], [`crate::NftExpr::Target`]).
//!
//! Variants are named in documents as in the tools (`multiport`, `REJECT`). Numbers are as a person reads them: those
//! that the kernel holds in network byte order are turned. What is not known by name, by revision, by length or by a
//! flag is kept as it came.

mod bridge;
mod ip6;
mod matches;
mod parts;
mod targets;

pub use bridge::{
    XtAmong, XtAmongEntry, XtBridgeArp, XtBridgeIp, XtBridgePorts, XtBridgeVlan, XtIeee8023, XtStp,
};
pub use ip6::{XtFrag, XtIp6Header, XtIp6Options, XtMh, XtRt};
pub use matches::{
    XtAddrtype, XtBpf, XtConnlimit, XtConntrack, XtHashlimit, XtIcmp, XtIprange, XtMatch, XtMultiport,
    XtOwner, XtPhysdev, XtPortSide, XtRecent, XtSet, XtSetMatch, XtStatistic, XtString, XtTcp, XtTtlMode,
    XtU32, XtU32Op, XtU32Step, XtU32Test, XtUdp,
};
pub use parts::{
    XtAddress, XtBytes, XtDevice, XtFlags, XtInterface, XtMac, XtMasked, XtOther, XtRange, XtValue, XtVerdict,
};
pub use targets::{
    XtArpMangle, XtBridgeMark, XtBridgeMarkOp, XtBridgeNat, XtConnmarkMode, XtConnmarkTarget, XtCt,
    XtMarkTarget, XtNat, XtNfqueue, XtSetTarget, XtTarget, XtTtlChange, XtTtlTarget,
};
