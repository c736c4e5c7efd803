//! A frame of which each field may have many values: every answer that one of them gives is followed.
//!
//! The walk runs once for each way of answering. Whatever was asked, and how it was answered, is remembered as what the
//! fields' values still can be: together the ways hold every frame, and no two hold the same one ([`explore`]).
//!
//! `condition` holds what is known of the frames of one way, `path` the answers on the way and the ones still to be
//! taken.

mod condition;
mod path;

pub use condition::{Condition, MOST_TAGS};

pub(super) use condition::LONGEST;
use path::Path;

use super::{Field, Frame, Partition};

/// A frame under exploration.
#[derive(Debug)]
pub struct Symbolic<'e>(&'e mut Path);

/// Whether to go on.
pub type Flow = std::ops::ControlFlow<()>;

/// Runs something with every kind of frame that `given` allows. `run` is called once for each way of answering its
/// questions, and told the condition afterwards by `visit`. Returns whether all ways were taken.
pub fn explore<T>(
    given: &Condition,
    most: usize,
    mut run: impl FnMut(&mut Symbolic<'_>) -> T,
    mut visit: impl FnMut(&Condition, T) -> Flow,
) -> bool {
    let mut path = Path::new(given.clone());
    for _ in 0..most {
        let result = run(&mut Symbolic(&mut path));
        if visit(path.condition(), result).is_break() || !path.next_way() {
            return true;
        }
    }
    false
}

impl Frame for Symbolic<'_> {
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        self.0.which(field, partition)
    }

    fn known(&self, field: Field) -> Option<u128> {
        self.0.known(field)
    }

    fn choose(&mut self, ways: usize) -> usize {
        self.0.choose(ways)
    }

    fn chosen(&self) -> usize {
        self.0.chosen()
    }

    fn forked(&self) -> usize {
        self.0.forked()
    }

    fn same(&mut self, one: Field, other: Field) -> bool {
        self.0.same(one, other)
    }
}
