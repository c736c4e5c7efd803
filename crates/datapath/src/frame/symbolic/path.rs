//! One way through a walk, and the answers that are still to be taken.
//!
//! The next way begins as the last one did: up to the last question that has another answer, what was answered is given
//! again without a look at any field. Conditions are narrowed in place, and a log tells how to take that back.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::condition::{Condition, Narrowing, Undo, base};
use crate::frame::domain::Domain;
use crate::frame::{Field, Partition, Set};

/// A way under exploration.
#[derive(Debug)]
pub(super) struct Path {
    condition: Condition,
    /// How to take the condition back.
    log: Vec<Undo>,
    /// What was answered so far, on the way that is being taken or, behind `next`, on the one before.
    answers: RefCell<Answers>,
    /// The questions that have answers left.
    forks: Vec<Fork>,
}

#[derive(Debug, Default)]
struct Answers {
    /// Each with how many questions up to it had several answers.
    given: Vec<(Answer, usize)>,
    /// How many of them this run has asked for again.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Class(Option<usize>),
    Known(Option<u128>),
    Same(bool),
    Choice(usize),
}

/// A question with answers left.
#[derive(Debug)]
struct Fork {
    /// Which question.
    at: usize,
    /// How long the log was before it was answered.
    mark: usize,
    /// The other answers, the next one last.
    left: Vec<Branch>,
}

/// An answer, and what it says of the frame.
#[derive(Debug)]
enum Branch {
    /// The field has one of these values, and lies in some scattered sets and not in others.
    Class { class: Option<usize>, cell: Field, values: Domain, scattered: Vec<(Set, bool)> },
    /// Two fields are equal, or not.
    Same { one: Field, other: Field, equal: bool },
    /// The world is so.
    Choice(usize),
}

impl Answers {
    /// Returns the answer of the last run, if this one has not come further.
    fn again(&mut self) -> Option<Answer> {
        let (answer, _) = self.given.get(self.next).copied()?;
        self.next += 1;
        Some(answer)
    }

    fn give(&mut self, answer: Answer) {
        self.push(answer, self.forked());
    }

    /// Gives one of several answers.
    fn give_one(&mut self, answer: Answer) {
        self.push(answer, self.forked() + 1);
    }

    fn push(&mut self, answer: Answer, forked: usize) {
        self.given.push((answer, forked));
        self.next = self.given.len();
    }

    fn forked(&self) -> usize {
        let last = self.next.checked_sub(1).and_then(|last| self.given.get(last));
        last.map_or(0, |(_, forked)| *forked)
    }
}

impl Path {
    pub(super) fn new(condition: Condition) -> Self {
        Self { condition, log: Vec::new(), answers: RefCell::default(), forks: Vec::new() }
    }

    pub(super) const fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Takes the next answer of the last question that has one left. Whether there is one.
    pub(super) fn next_way(&mut self) -> bool {
        while let Some(fork) = self.forks.last_mut() {
            let (at, mark) = (fork.at, fork.mark);
            let branch = fork.left.pop();
            if fork.left.is_empty() {
                self.forks.pop();
            }
            self.condition.undo(&mut self.log, mark);
            let Some(branch) = branch else { continue };
            if let Some(answer) = self.take(branch) {
                let answers = self.answers.get_mut();
                answers.given.truncate(at);
                answers.next = at;
                answers.give_one(answer);
                answers.next = 0;
                return true;
            }
        }
        false
    }

    /// Follows one answer, if there is a frame that gives it.
    fn take(&mut self, branch: Branch) -> Option<Answer> {
        let mark = self.log.len();
        let mut narrowing = Narrowing { condition: &mut self.condition, log: &mut self.log };
        let possible = match branch {
            Branch::Class { class, cell, values, scattered } => {
                let possible = narrowing.restrict(cell, values);
                for (set, inside) in scattered {
                    self.condition.scattered.push((cell, set, inside));
                    self.log.push(Undo::Scattered);
                }
                let possible = possible && self.condition.agrees(cell);
                possible.then_some(Answer::Class(class))
            }
            Branch::Same { one, other, equal } => {
                let possible = !equal || {
                    let both = narrowing.condition.domain(one).intersect(&narrowing.condition.domain(other));
                    narrowing.narrow(one, &both) && narrowing.narrow(other, &both)
                };
                self.condition.equal.push((one, other, equal));
                self.log.push(Undo::Equal);
                possible.then_some(Answer::Same(equal))
            }
            Branch::Choice(way) => {
                self.condition.choices.push(way);
                self.log.push(Undo::Choice);
                Some(Answer::Choice(way))
            }
        };
        if possible.is_none() {
            self.condition.undo(&mut self.log, mark);
        }
        possible
    }

    /// Takes the first answer that a frame gives, and keeps the others for later. The first stands last.
    fn fork(&mut self, mut branches: Vec<Branch>) -> Option<Answer> {
        let mark = self.log.len();
        while let Some(branch) = branches.pop() {
            if let Some(answer) = self.take(branch) {
                let answers = self.answers.get_mut();
                if branches.is_empty() {
                    answers.give(answer);
                } else {
                    self.forks.push(Fork { at: answers.given.len(), mark, left: branches });
                    answers.give_one(answer);
                }
                return Some(answer);
            }
        }
        None
    }

    pub(super) fn which(&mut self, field: Field, partition: &dyn Partition) -> Option<usize> {
        if let Some(answer) = self.answers.get_mut().again() {
            return if let Answer::Class(class) = answer { class } else { None };
        }
        let certain = self.value(field).map(|value| partition.class_of(value));
        if certain.is_none() {
            let branches = self.branches(field, partition);
            if let Some(Answer::Class(class)) = self.fork(branches) {
                return class;
            }
        }
        // Without any, no frame was left: no condition is so.
        let class = certain.flatten();
        self.answers.get_mut().give(Answer::Class(class));
        class
    }

    /// Returns the only value that a field can have.
    fn value(&self, field: Field) -> Option<u128> {
        let (cell, more) = base(field);
        self.condition.find(cell)?.only(cell)?.checked_sub(more)
    }

    /// Returns every answer that the values left may give, the first one last.
    fn branches(&self, field: Field, partition: &dyn Partition) -> Vec<Branch> {
        let (cell, more) = base(field);
        let mut rest = self.condition.domain(field);
        let mut sets: Vec<(usize, Domain)> = Vec::new();
        let mut scattered = Vec::new();
        partition.for_each_class(&mut |class, set| {
            // Most of many are not among what is left.
            if more == 0 && !rest.may_meet(field, set) {
                return;
            }
            match Domain::of(field, set) {
                Some(values) if more == 0 => sets.push((class, values)),
                Some(values) => sets.push((class, values.plus(more))),
                None => scattered.push((class, set)),
            }
        });
        let classes = if sets.len() > FEW { apart(&sets, &mut rest) } else { None };
        let classes = classes.unwrap_or_else(|| in_turn(sets, &mut rest));
        let plain = classes.into_iter().map(|(class, values)| Branch::Class {
            class: Some(class),
            cell,
            values,
            scattered: Vec::new(),
        });
        let mut branches: Vec<_> = plain.collect();
        if !rest.is_empty() {
            self.scattered_branches(cell, &rest, scattered, &mut branches);
        }
        branches.reverse();
        branches
    }

    /// What is too scattered to be kept as ranges: a value is in it, or not, and nothing more is known of it.
    fn scattered_branches(
        &self,
        cell: Field,
        rest: &Domain,
        sets: Vec<(usize, Set)>,
        branches: &mut Vec<Branch>,
    ) {
        let mut outside = Vec::new();
        let branch = |class, scattered| Branch::Class { class, cell, values: rest.clone(), scattered };
        for (class, set) in sets {
            let known = self.condition.scattered.iter().find(|(known, of, _)| *known == cell && *of == set);
            match known {
                Some((_, _, true)) => return branches.push(branch(Some(class), outside)),
                Some((_, _, false)) => {}
                None => {
                    let mut inside = outside.clone();
                    inside.push((set, true));
                    branches.push(branch(Some(class), inside));
                    outside.push((set, false));
                }
            }
        }
        branches.push(branch(None, outside));
    }

    pub(super) fn known(&self, field: Field) -> Option<u128> {
        let mut answers = self.answers.borrow_mut();
        if let Some(answer) = answers.again() {
            return if let Answer::Known(value) = answer { value } else { None };
        }
        let value = self.value(field);
        answers.give(Answer::Known(value));
        value
    }

    pub(super) fn choose(&mut self, ways: usize) -> usize {
        if let Some(answer) = self.answers.get_mut().again() {
            return if let Answer::Choice(way) = answer { way } else { 0 };
        }
        match self.fork((0..ways.max(1)).rev().map(Branch::Choice).collect()) {
            Some(Answer::Choice(way)) => way,
            _ => 0,
        }
    }

    pub(super) fn chosen(&self) -> usize {
        let answers = self.answers.borrow();
        let so_far = answers.given.iter().take(answers.next);
        so_far.filter(|(answer, _)| matches!(answer, Answer::Choice(_))).count()
    }

    pub(super) fn forked(&self) -> usize {
        self.answers.borrow().forked()
    }

    pub(super) fn same(&mut self, one: Field, other: Field) -> bool {
        if let Some(answer) = self.answers.get_mut().again() {
            return matches!(answer, Answer::Same(true));
        }
        let known = |(a, b, _): &&(Field, Field, bool)| (*a, *b) == (one, other) || (*a, *b) == (other, one);
        let mut certain = self.condition.equal.iter().find(known).map(|(_, _, equal)| *equal);
        if certain.is_none() {
            let (here, there) = (self.condition.domain(one), self.condition.domain(other));
            if here.intersect(&there).is_empty() {
                certain = Some(false);
            } else if here.count() == 1 && here == there {
                certain = Some(true);
            }
        }
        if let Some(equal) = certain {
            self.answers.get_mut().give(Answer::Same(equal));
            return equal;
        }
        let branch = |equal| Branch::Same { one, other, equal };
        matches!(self.fork(vec![branch(false), branch(true)]), Some(Answer::Same(true)))
    }
}

/// From how many sets on it pays to look whether they overlap.
const FEW: usize = 8;

/// What each class has of the values that are left: the first that has a value keeps it.
fn in_turn(sets: Vec<(usize, Domain)>, rest: &mut Domain) -> Vec<(usize, Domain)> {
    let mut classes: Vec<(usize, Domain)> = Vec::new();
    for (class, values) in sets {
        let here = rest.intersect(&values);
        if here.is_empty() {
            continue;
        }
        *rest = rest.without(&values);
        match classes.iter_mut().find(|(known, _)| *known == class) {
            Some((_, domain)) => *domain = domain.union(&here),
            None => classes.push((class, here)),
        }
    }
    classes
}

/// The same for many sets of which no two overlap; `None` if two do.
fn apart(sets: &[(usize, Domain)], rest: &mut Domain) -> Option<Vec<(usize, Domain)>> {
    let mut all: Vec<_> = sets
        .iter()
        .flat_map(|(class, values)| values.ranges().iter().map(|range| (*range, *class)))
        .collect();
    all.sort_unstable();
    if all.iter().zip(all.iter().skip(1)).any(|(((_, end), _), ((start, _), _))| start <= end) {
        return None;
    }
    let mut classes: BTreeMap<usize, Vec<(u128, u128)>> = BTreeMap::new();
    for (range, class) in &all {
        classes.entry(*class).or_default().push(*range);
    }
    let classes = classes.into_iter().map(|(class, ranges)| (class, Domain::of_ranges(ranges)));
    let here: Vec<_> = classes
        .map(|(class, values)| (class, rest.intersect(&values)))
        .filter(|(_, values)| !values.is_empty())
        .collect();
    *rest = rest.without(&Domain::of_ranges(all.into_iter().map(|(range, _)| range).collect()));
    Some(here)
}
