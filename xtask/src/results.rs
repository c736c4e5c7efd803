//! Reads what test binaries write: outcomes, skips with their reasons, and what is missing. Pure: text in, [`Results`] out.

use std::collections::BTreeMap;

use crate::frames::{Section, Transcript};
use crate::process::tail;

/// How a test says that it could not run; the reason follows on the same line.
pub const SKIPPED: &str = "skipped, because ";

/// What became of one test in one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It ran and held.
    Passed,
    /// It failed, or began and never ended; what it wrote.
    Failed(String),
    /// It said that it could not run here, and why.
    Skipped(String),
    /// It is marked `#[ignore]`.
    Ignored,
}

/// A test's binary and its name within.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TestName {
    /// The test binary, for example `kernel_walk`.
    pub binary: String,
    /// The test's path in it.
    pub test: String,
}

/// All that one place gave.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Results {
    /// The outcome of each test.
    pub tests: BTreeMap<TestName, Outcome>,
    /// What went wrong outside any single test.
    pub problems: Vec<String>,
}

impl Results {
    fn add(&mut self, binary: &str, output: &str) {
        for (test, outcome) in read_binary(output) {
            self.tests.insert(TestName { binary: binary.to_owned(), test }, outcome);
        }
    }

    fn has_failure_in(&self, wanted: &str) -> bool {
        self.tests
            .iter()
            .any(|(name, outcome)| name.binary == wanted && matches!(outcome, Outcome::Failed(_)))
    }
}

/// Reads the output of `cargo test … -- --show-output`, both streams in one.
#[must_use]
pub fn read_host(output: &str, succeeded: bool) -> Results {
    let mut results = Results::default();
    let mut binary = String::new();
    let mut part = String::new();
    for line in output.lines() {
        if let Some(next) = section_start(line) {
            results.add(&binary, &part);
            part.clear();
            binary = next;
        } else {
            part.push_str(line);
            part.push('\n');
        }
    }
    results.add(&binary, &part);
    let failed = results.tests.values().any(|outcome| matches!(outcome, Outcome::Failed(_)));
    if !succeeded && !failed {
        results.problems.push("cargo test failed, though no test did; its output is above".to_owned());
    }
    results
}

/// Reads the results port of a guest.
#[must_use]
pub fn read_guest(output: &str) -> Results {
    let mut results = Results::default();
    let Transcript { sections, done } = Transcript::read(output);
    for Section { name, output, status } in &sections {
        results.add(name, output);
        if let Some(status) = status.filter(|status| *status != 0)
            && !results.has_failure_in(name)
        {
            let said = tail(output.as_bytes(), 5);
            let problem = format!("{name} ended with status {status}, though no test in it failed{said}");
            results.problems.push(problem);
        }
    }
    if !done {
        let running = sections.last().filter(|section| section.status.is_none());
        let within = running.map(|section| format!(", inside {}", section.name)).unwrap_or_default();
        results.problems.push(format!("the guest did not come to its end{within}"));
    }
    results
}

/// Recognises the lines by which cargo names the binary it starts.
fn section_start(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (documentation)"));
    }
    let path = line.strip_prefix("Running ")?.rsplit_once('(')?.1.strip_suffix(')')?;
    let file = path.rsplit('/').next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned())
}

/// Reads one binary's output, as libtest writes it with `--show-output`.
fn read_binary(output: &str) -> BTreeMap<String, Outcome> {
    let mut reader = Reader::default();
    for line in output.lines() {
        reader.read(line);
    }
    reader.finish()
}

/// Which part of a binary's output the next line belongs to.
#[derive(Default)]
enum Part<'a> {
    /// The lines `test NAME … ok`.
    #[default]
    Progress,
    /// What the named test wrote.
    Written(&'a str),
    /// The names of tests with one outcome.
    Names(Outcome),
}

/// The lines `test NAME … ok` can be torn by what a test's child processes write; the lists of names at the end cannot.
/// Hence the lists overrule the lines, and the lines stand where a binary died before its lists.
#[derive(Default)]
struct Reader<'a> {
    part: Part<'a>,
    outcomes: BTreeMap<String, Outcome>,
    written: BTreeMap<&'a str, String>,
    /// The test that began last, while its outcome is not known, and the words that came since.
    pending: Option<(String, String)>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: &'a str) {
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        match (line, heading, &self.part) {
            ("successes:", ..) => self.part = Part::Names(Outcome::Passed),
            ("failures:", ..) => self.part = Part::Names(Outcome::Failed(String::new())),
            (_, Some(name), _) => self.part = Part::Written(name),
            _ if line.starts_with("test result: ") => self.part = Part::Progress,
            (.., Part::Written(name)) => add_line(self.written.entry(name).or_default(), line),
            (.., Part::Names(outcome)) => {
                if let Some(name) = line.strip_prefix("    ") {
                    self.outcomes.insert(name.to_owned(), outcome.clone());
                    self.pending.take_if(|(waiting, _)| waiting == name);
                }
            }
            (.., Part::Progress) => self.read_progress(line),
        }
    }

    fn read_progress(&mut self, line: &str) {
        if let Some((name, rest)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            self.pending = Some((plain_name(name).to_owned(), String::new()));
            self.settle(rest);
        } else {
            self.settle(line);
        }
    }

    /// Takes `text` as the pending test's outcome if it is one, or else as words that came between.
    fn settle(&mut self, text: &str) {
        if let Some((name, mut words)) = self.pending.take() {
            if let Some(outcome) = verdict(text) {
                self.outcomes.insert(name, outcome);
            } else {
                add_line(&mut words, text);
                self.pending = Some((name, words));
            }
        }
    }

    fn finish(mut self) -> BTreeMap<String, Outcome> {
        if let Some((name, words)) = self.pending {
            self.outcomes.insert(name, Outcome::Failed(format!("{words}it began and never ended")));
        }
        for (name, outcome) in &mut self.outcomes {
            let text = self.written.get(name.as_str()).map_or("", String::as_str);
            match outcome {
                Outcome::Passed => *outcome = skip_reason(text).map_or(Outcome::Passed, Outcome::Skipped),
                Outcome::Failed(said) if said.is_empty() => text.clone_into(said),
                _ => {}
            }
        }
        self.outcomes
    }
}

fn add_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn verdict(text: &str) -> Option<Outcome> {
    match text {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed(String::new())),
        _ if text.starts_with("ignored") => Some(Outcome::Ignored),
        _ => None,
    }
}

/// Takes off what libtest adds to a name while it runs.
fn plain_name(name: &str) -> &str {
    [" - should panic", " - compile fail", " - compile"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
}

fn skip_reason(text: &str) -> Option<String> {
    let reasons: Vec<&str> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix(SKIPPED)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BINARY: &str = "
running 5 tests
test holds ... ok
test lacks::ebtables ... ok
test long ... ignored, takes an hour
test torn ... a child's words
ok
test wrong - should panic ... FAILED

successes:

---- lacks::ebtables stdout ----
looking
skipped, because ebtables-legacy is not here


successes:
    holds
    lacks::ebtables
    torn

failures:

---- wrong stdout ----
    expected a panic

failures:
    wrong

test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    fn of<'a>(results: &'a Results, binary: &str, test: &str) -> Option<&'a Outcome> {
        results.tests.get(&TestName { binary: binary.into(), test: test.into() })
    }

    fn check_binary(results: &Results, binary: &str) {
        assert_eq!(of(results, binary, "holds"), Some(&Outcome::Passed));
        let reason = Outcome::Skipped("ebtables-legacy is not here".into());
        assert_eq!(of(results, binary, "lacks::ebtables"), Some(&reason));
        assert_eq!(of(results, binary, "long"), Some(&Outcome::Ignored));
        assert_eq!(of(results, binary, "torn"), Some(&Outcome::Passed));
        assert_eq!(of(results, binary, "wrong"), Some(&Outcome::Failed("    expected a panic\n\n".into())));
    }

    #[test]
    fn a_host_run_is_split_by_binary() {
        let output = format!(
            "   Compiling x v0.1.0\n     Running unittests src/lib.rs (target/debug/deps/x-01ab)\ntest a ... ok\n\
             \x20    Running tests/kernel_walk.rs (target/debug/deps/kernel_walk-77)\n{BINARY}\
             \x20  Doc-tests x\ntest src/lib.rs - f (line 3) ... ok\n"
        );
        let results = read_host(&output, false);
        assert_eq!(of(&results, "x", "a"), Some(&Outcome::Passed));
        check_binary(&results, "kernel_walk");
        assert_eq!(of(&results, "x (documentation)", "src/lib.rs - f (line 3)"), Some(&Outcome::Passed));
        assert_eq!((results.tests.len(), results.problems.len()), (7, 0));
    }

    #[test]
    fn a_build_that_fails_is_a_problem() {
        assert_eq!(read_host("error: could not compile\n", false).problems.len(), 1);
        assert_eq!(read_host("", true), Results::default());
    }

    #[test]
    fn a_guest_that_ends_well_has_no_problems() {
        let output =
            format!("@portcullis begin kernel_a\n{BINARY}\n@portcullis end kernel_a 101\n@portcullis done\n");
        let results = read_guest(&output);
        check_binary(&results, "kernel_a");
        assert!(results.problems.is_empty());
    }

    #[test]
    fn a_guest_that_dies_is_told_apart_from_its_tests() {
        let died = read_guest("@portcullis begin kernel_a\ntest one ... ok\ntest two ... BUG: oops\n");
        assert_eq!(of(&died, "kernel_a", "one"), Some(&Outcome::Passed));
        assert!(matches!(of(&died, "kernel_a", "two"), Some(Outcome::Failed(_))));
        assert_eq!(died.problems, ["the guest did not come to its end, inside kernel_a"]);
        assert_eq!(read_guest("").problems, ["the guest did not come to its end"]);
        let killed = read_guest(
            "@portcullis begin kernel_a\ntest one ... ok\n@portcullis end kernel_a 139\n@portcullis done",
        );
        let expected = "kernel_a ended with status 139, though no test in it failed\n  test one ... ok";
        assert_eq!(killed.problems, [expected]);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(\n|test |ok|FAILED|successes:|failures:|---- | stdout ----| \\.\\.\\. |@portcullis |begin x|end x 1|[a ]){0,40}") {
            let _ = read_guest(&text);
            let _ = read_host(&text, true);
        }
    }
}
