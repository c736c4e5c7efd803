//! Makes the changes of a plan in the kernel, whole or not at all, and takes them back.
//!
//! [`apply`] writes down what it is about to do before each step ([`journal`]), so that whatever happens to it, what it did is
//! known: the next command finishes the undo ([`recover`]), and a process of its own does so at once, or when nobody
//! confirms in time ([`watchdog`](mod@watchdog)). What is undone is decided by what the kernel says then, change by change
//! ([`Standing`]): what is as it was made is taken back, what was never made or is gone is left, what somebody else changed
//! since is left and reported. So an undo can be begun again at any time.
//!
//! The kernel is behind [`Host`]; [`Live`] is the real one. Which changes to make is not decided here.

mod error;
mod host;
mod join;
pub mod journal;
mod live;
mod standing;
mod state_dir;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
mod undo;
pub mod watchdog;

pub use error::{Error, Failure};
pub use host::{Host, Place};
pub use join::{join, let_go};
pub use journal::{Header, Phase, Who};
pub use live::Live;
pub use standing::Standing;
pub use state_dir::StateDir;
pub use status::{Status, status};
pub use transaction::{
    Applied, Confirm, Confirmation, Order, Recovery, RolledBack, apply, confirm, recover, rollback, take_back,
};
pub use undo::Undone;
pub use watchdog::{Ended, watchdog};
