//! One change to the kernel's state: the message, and what to call it when it fails.

use portcullis_wire::Message;

use crate::Error;
use crate::netlink::Socket;

/// A change that can be made on its own or with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it does, with the object's name.
    pub what: String,
    /// The netlink message that does it.
    pub message: Message,
}

impl Change {
    pub(crate) fn new(what: impl Into<String>, message: Message) -> Self {
        Self { what: what.into(), message }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn apply(self, socket: &mut Socket) -> Result<(), Error> {
        socket.change(&self.what, self.message)
    }
}

/// Makes many changes with few system calls, in their order. All are tried; the first refusal is reported.
///
/// # Errors
/// The kernel's first refusal.
pub fn apply_all(socket: &mut Socket, changes: impl IntoIterator<Item = Change>) -> Result<(), Error> {
    socket.batch(changes.into_iter().map(|change| (change.what, change.message)).collect())
}
