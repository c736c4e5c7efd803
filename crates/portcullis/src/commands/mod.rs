//! The commands. Each reads, calls, and hands on: what it means is decided in the pure crates, how it is said in
//! `portcullis-report`.

pub(crate) mod audit;
pub(crate) mod explain;
pub(crate) mod fix;
pub(crate) mod lab;
pub(crate) mod map;
mod policy;
pub(crate) mod prove;
pub(crate) mod snapshot;
mod source;
pub(crate) mod undo;
pub(crate) mod walk;
