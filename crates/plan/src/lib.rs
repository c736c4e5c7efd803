//! Remedies, and the plan that makes a policy hold.
//!
//! A [`Change`] is one thing that is different afterwards: where it is, how it was, how it will be. It can be made in a copy
//! of a snapshot, so that what a plan comes to is proven before the kernel hears of it, and taken back. Pure: no I/O; making
//! changes for real is the business of `portcullis-apply`.

mod behind;
mod change;
mod choose;
mod claims;
mod device;
mod draft;
mod lower;
mod methods;
mod option;
mod plan;
mod reduced;
mod rules;
mod script;
mod sorts;
mod wants;

pub use behind::BehindBridges;
pub use change::{Change, Clash, Ruleset, State, TABLE, local_rule};
pub use claims::{Judged, broken};
pub use device::{ConfAt, Device};
pub use methods::{BY_HAND, Lacks, Method, MethodDoc};
pub use option::{BridgeOption, PortOption};
pub use plan::{Chosen, Found, Plan, PlanError, Request, Unfit, plan};
pub use script::{Words, write};
