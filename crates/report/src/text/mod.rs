//! Text for people: calm, aligned, at most 100 columns where nothing has to be pasted.
//!
//! Colours are written always; whoever opens the output takes them out unless it is a terminal.

mod audit;
mod claims;
mod explain;
mod fix;
mod layout;
mod map;
mod prove;
mod snapshot;
mod status;
mod walk;

pub use audit::audit;
pub use explain::{explain, explain_list, explain_methods};
pub use fix::fix;
pub use map::map;
pub use prove::prove;
pub use snapshot::snapshot;
pub use status::{remedies, status};
pub use walk::walk;

pub(crate) use prove::{named, some, what};

pub(crate) use layout::{Clean, Severe, field, hanging, plural, table, wrapped};
