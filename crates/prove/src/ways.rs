//! Every way through the walk, for those who have claims of their own.

use std::ops::ControlFlow;

use portcullis_datapath::frame::symbolic::{Condition, explore};
use portcullis_datapath::{Manner, Network, Walk, walk};
use portcullis_snapshot::IfIndex;

/// Takes every way of the frames that `given` holds and that come in by a port, `most` at most, until `visit` has seen
/// enough. Returns whether that was all of them, or enough.
pub fn every_way(
    network: &Network<'_>,
    (port, manner): (IfIndex, Manner),
    given: &Condition,
    most: usize,
    visit: &mut dyn FnMut(&Condition, &Walk) -> ControlFlow<()>,
) -> bool {
    explore(
        given,
        most,
        |frame| walk(network, port, frame, manner),
        |condition, walked| visit(condition, &walked),
    )
}
