//! What the kernel said, as one typed, versioned document: the [`Snapshot`].
//!
//! Facts live here, with what could not be read and why; conclusions do not. No I/O beyond reading and writing the
//! document itself, no clock, no defaults for what was not read. Everything later in the flow (walk, rules, plans)
//! reads a snapshot and nothing else.

mod bridge;
mod bytes;
mod document;
mod fdb;
mod filters;
mod ident;
mod inet;
mod ipset;
mod legacy;
mod link;
mod nft;
mod process;
pub mod promiscuity;
mod reading;
mod tc;
mod vlan;
mod xt;

pub use bridge::{
    BoolOpt, BoolOpts, BridgeOptions, McastRouter, PortOptions, PortState, QuerierState, StpState,
};
pub use bytes::{Bytes, Hex};
pub use document::{Kernel, LoadError, Netns, Problem, SCHEMA, Snapshot};
pub use fdb::{FdbEntry, FdbKind, Mdb, MdbEntry, MdbGroup, MdbRouter};
pub use filters::{BrNetfilter, Filters, NftBaseChain, NftFamily, NftFlowtable};
pub use ident::{EtherType, IfIndex, MacAddr, NetnsId, ParseIdentError, VlanId};
pub use inet::{Address, Ipv4Conf, Ipv6Conf, Membership, Neighbour, NextHop, PolicyRule, Route, Settings};
pub use ipset::{IpSet, IpSetMember};
pub use legacy::{
    ArptHeader, EbtHeader, EbtProtocol, Ip6tHeader, IptHeader, LegacyChain, LegacyFamily, LegacyHeader,
    LegacyRule, LegacyTable, LegacyTarget,
};
pub use link::{
    Behind, BondOptions, Guest, GuestKind, IpvlanOptions, Link, LinkFlags, LinkKind, LinkNetns, MacvlanMode,
    MacvlanOptions, PortKind, TunOptions, UnknownAttribute, VlanDevice, VxlanOptions, XdpMode, XdpProgram,
};
pub use nft::{
    BitwiseOp, CmpOp, FibResult, MetaKey, NftChain, NftData, NftElement, NftExpr, NftNat, NftNatKind,
    NftRule, NftSet, NftTable, NftVerdict, PayloadBase, PayloadSum, Register, RegisterOp,
};
pub use process::{ListenProtocol, Listener, PacketSocket, ProcessRef, ProtocolHandler};
pub use reading::{Reading, Unread, UnreadCause};
pub use tc::{
    FlowerField, FlowerKey, GactRandom, PeditHeader, PeditKey, Skbedit, TcAction, TcActionKind, TcBpf,
    TcClassifier, TcFilter, TcHook, TcHookKind, TcVerdict, TcxPrograms, U32Key, U32Mark, U32Node, U32Table,
    VlanAction, VlanTag,
};
pub use vlan::{MstState, VlanEntry, VlanFlags, VlanGlobal, VlanTable};
pub use xt::{
    XtAddress, XtAddrtype, XtAmong, XtAmongEntry, XtArpMangle, XtBpf, XtBridgeArp, XtBridgeIp, XtBridgeMark,
    XtBridgeMarkOp, XtBridgeNat, XtBridgePorts, XtBridgeVlan, XtBytes, XtConnlimit, XtConnmarkMode,
    XtConnmarkTarget, XtConntrack, XtCt, XtDevice, XtFlags, XtFrag, XtHashlimit, XtIcmp, XtIeee8023,
    XtInterface, XtIp6Header, XtIp6Options, XtIprange, XtMac, XtMarkTarget, XtMasked, XtMatch, XtMh,
    XtMultiport, XtNat, XtNfqueue, XtOther, XtOwner, XtPhysdev, XtPortSide, XtRange, XtRecent, XtRt, XtSet,
    XtSetMatch, XtSetTarget, XtStatistic, XtStp, XtString, XtTarget, XtTcp, XtTtlChange, XtTtlMode,
    XtTtlTarget, XtU32, XtU32Op, XtU32Step, XtU32Test, XtUdp, XtValue, XtVerdict,
};
