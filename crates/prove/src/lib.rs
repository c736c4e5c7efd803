//! What holds for every frame that can come in by a port.
//!
//! The walk is taken with a symbolic frame: each way through it is looked at once, with the frames that go it. What none
//! of them reaches is *isolated*. What one reaches is *exposed*, and a frame of that way is made, walked for itself, and
//! shown. Where something that the walk does not see into could decide, it is *unproven*, and what that is gets named.
//!
//! Pure: a [`Network`](portcullis_datapath::Network) goes in, verdicts come out. Which claims are of interest, and how
//! they are said, is the business of others.

mod claim;
mod host;
mod knobs;
mod matrix;
mod prover;
mod reach;
mod sender;
mod tally;
mod verdict;
mod ways;

pub use claim::{Goal, HostProtocol, Receiver};
pub use knobs::{Knob, rests_on};
pub use matrix::ClassProof;
pub use prover::{MOST_WAYS, Prover};
pub use sender::in_the_name_of;
pub use verdict::{Assumption, Exposure, Proof, Verdict};
pub use ways::every_way;
