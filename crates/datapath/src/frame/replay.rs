//! A concrete frame in a world that was chosen before: one way of an exploration, taken again.

use super::symbolic::Condition;
use super::{Concrete, Field, Frame, Partition};

/// A frame, and the choices that the walk is to make, in the order in which it asks.
#[derive(Debug)]
pub struct Replay<'f> {
    frame: Concrete<'f>,
    choices: std::vec::IntoIter<usize>,
}

impl Condition {
    /// Returns a frame that goes the way of this condition, if it is one that the condition holds.
    #[must_use]
    pub fn replay<'f>(&self, frame: Concrete<'f>) -> Replay<'f> {
        Replay { frame, choices: self.choices.clone().into_iter() }
    }
}

impl Frame for Replay<'_> {
    fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        self.frame.which(field, partition)
    }

    fn same(&mut self, one: Field, other: Field) -> bool {
        self.frame.same(one, other)
    }

    fn choose(&mut self, ways: usize) -> usize {
        self.choices.next().unwrap_or_default().min(ways.saturating_sub(1))
    }
}
