//! Netlink bytes to and from typed messages. Pure: no sockets, no interpretation.
//!
//! The codec is ours because the state that decides about bridges (VLAN database, MDB, FDB flags, settings arrays,
//! nftables, socket diagnostics) is what general netlink crates leave out, and because what a kernel newer than this
//! program sends has to be kept and shown rather than refused.

mod attribute;
pub mod bridge;
pub mod diag;
pub mod inet;
pub mod ipset;
pub mod link;
mod message;
pub mod nft;
mod payload;
pub mod tc;
pub mod xt;

pub use attribute::{Attribute, Attributes, DecodeError, u8_at, u16_at, u32_at};
pub use message::{
    Ack, Message, Messages, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL,
    NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, Received,
};
