//! How long each test of a guest took, told by when its line came. Worth knowing, since emulation makes a test ten times
//! slower than the machine that it was written on.

use std::time::{Duration, Instant};

/// Listens to the lines that libtest writes with one thread, each at its test's end.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    took: Vec<(Duration, String)>,
}

impl Pace {
    /// Starts at `now`.
    #[must_use]
    pub fn from(now: Instant) -> Self {
        Self { since: now, took: Vec::new() }
    }

    /// Hears a line that came at `now`. What a binary writes before and after its tests counts for none of them.
    pub fn hear(&mut self, line: &str, now: Instant) {
        let ended = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        if let Some((name, _)) = ended {
            self.took.push((now.saturating_duration_since(self.since), name.to_owned()));
        }
        if ended.is_some() || line.starts_with("running ") {
            self.since = now;
        }
    }

    /// Names the `count` slowest tests and their seconds, the slowest first.
    #[must_use]
    pub fn slowest(mut self, count: usize) -> String {
        self.took.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
        let told =
            self.took.iter().take(count).map(|(took, name)| format!("{name} {:.0} s", took.as_secs_f64()));
        told.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_between_two_lines_is_the_later_tests() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::from(start);
        pace.hear("@portcullis begin kernel_walk", at(1));
        pace.hear("running 3 tests", at(5));
        pace.hear("test short ... ok", at(6));
        pace.hear("test long ... ok", at(16));
        pace.hear("something that a program said", at(17));
        pace.hear("test fair ... FAILED", at(20));
        assert_eq!(pace.slowest(2), "long 10 s, fair 4 s");
    }
}
