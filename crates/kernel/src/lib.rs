//! Every system call that Portcullis makes, and all of its unsafe code.
//!
//! Sockets, namespaces, `/proc` and `/sys` live here: what reads the kernel ([`capture`], [`drops`]), what changes it
//! ([`link`], [`bridge`], [`route`], [`sysctl`]), what sends and receives frames ([`packet`], [`raw`], [`tap`]), what
//! holds signals back ([`signal`]), what processes need to agree with one another ([`clock`], [`lock`], [`process`],
//! [`watch`]). No rule, no default, no text for users.

pub mod bridge;
pub mod capture;
mod change;
pub mod clock;
pub mod counters;
pub mod drops;
mod error;
pub mod link;
pub mod lock;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod packet;
pub mod process;
pub mod raw;
pub mod route;
pub mod signal;
mod sys;
pub mod sysctl;
pub mod tap;
pub mod traffic;
pub mod watch;

pub use change::{Change, apply_all};
pub use error::Error;
