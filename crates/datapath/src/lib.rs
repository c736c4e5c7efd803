//! How one frame moves: the kernel's bridge path, function by function.
//!
//! [`walk`] takes a [`Network`] (a snapshot, indexed) and a [`Frame`], and answers where the frame ends and which
//! setting decided at each step. Its functions are named after the kernel's and stand in the kernel's order, so that
//! both can be read side by side. Pure: no I/O, no clock. What the snapshot does not tell, or what the walk does not
//! model, becomes an [`Open`] question on the outcome, never a guess.

pub mod frame;
pub mod network;
mod walk;

pub use frame::{Concrete, Field, Frame, FrameBuilder, Payload};
pub use network::Network;
pub use walk::{
    Aim, Assumes, Drop, Effect, Entered, Entry, HostDelivery, HwTag, Learned, LearnedChange, Manner, Open,
    OpenKind, Otherwise, Outcome, PacketType, PortDelivery, Segment, Step, TagVid, Trace, Walk, When, walk,
    walk_from, walk_into, walk_segment,
};
