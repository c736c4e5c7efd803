//! Remedies, and the plan that makes a policy hold.
//!
//! A [`Change`] is one thing that is different afterwards: where it is, how it was, how it will be. It can be made in a copy
//! of a snapshot, so that what a plan comes to is proven before the kernel hears of it, and taken back. Pure: no I/O; making
//! changes for real is the business of `portcullis-apply`.

mod change;
mod device;
mod option;

pub use change::{Change, Clash, Ruleset, State, TABLE};
pub use device::{ConfAt, Device};
pub use option::{BridgeOption, PortOption};
