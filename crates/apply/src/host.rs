//! The kernel, as far as making changes needs one.

use std::time::Duration;

use portcullis_plan::Change;
use portcullis_snapshot::{Netns, NetnsId};

use crate::Error;

/// Where changes are made.
pub trait Host {
    /// Tells which network namespace of which start of which machine this is.
    ///
    /// # Errors
    /// If the kernel does not tell.
    fn place(&self) -> Result<Place, Error>;

    /// Tells the time since the machine was started.
    ///
    /// # Errors
    /// If there is no clock.
    fn now(&self) -> Result<Duration, Error>;

    /// Reads the namespace as it is.
    ///
    /// # Errors
    /// If it cannot be read at all.
    fn read(&mut self) -> Result<Netns, Error>;

    /// Makes the changes of one step, in their order.
    ///
    /// # Errors
    /// The first refusal. Any of the changes may have been made then, also in part.
    fn make(&mut self, changes: &[Change]) -> Result<(), Error>;

    /// Takes changes back, in the order in which they are given. Of one that was made in part, the part is taken back.
    /// `seen` is how things are.
    ///
    /// # Errors
    /// The first refusal. Any of the changes may have been taken back then.
    fn take_back(&mut self, changes: &[Change], seen: &Netns) -> Result<(), Error>;
}

/// A network namespace of one start of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The id of the start.
    pub boot: String,
    /// The namespace. When it is gone, another may get the same id.
    pub netns: NetnsId,
    /// A number that no other namespace gets, where the kernel has one.
    pub cookie: Option<u64>,
}
