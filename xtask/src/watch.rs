//! Waits for a program that writes to a file, hands its lines on as they come, and ends it when it hangs.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use crate::Error;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// When a program counts as hung.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// When it has run for so long.
    Whole(Duration),
    /// When it has written nothing for so long.
    Silence(Duration),
}

impl Limit {
    const fn duration(self) -> Duration {
        let (Self::Whole(duration) | Self::Silence(duration)) = self;
        duration
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if matches!(self, Self::Silence(_)) { " of silence" } else { "" };
        write!(f, "{} s{of}", self.duration().as_secs())
    }
}

/// Waits for the end of `child`, which writes to the file `output`; `None` if it had to be ended.
///
/// # Errors
/// When the system refuses to tell of the child or to end it; what cannot be read of the file is not heard.
pub fn watch(
    mut child: Child,
    output: &Path,
    limit: Limit,
    mut heard: impl FnMut(&str),
) -> Result<Option<ExitStatus>, Error> {
    let failed = |source| Error::Io { doing: "wait for a program".to_owned(), source };
    let mut follower = Follower::default();
    let mut since = Instant::now();
    loop {
        // Asked before the file is read, so that an end means that nothing more comes.
        let ended = child.try_wait().map_err(failed)?;
        let came = follower.follow(output);
        if !came.is_empty() && matches!(limit, Limit::Silence(_)) {
            since = Instant::now();
        }
        follower.lines.take(&came).iter().for_each(|line| heard(line));
        if ended.is_some() {
            return Ok(ended);
        }
        if since.elapsed() >= limit.duration() {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// A file that grows. It may not be there at first.
#[derive(Debug, Default)]
struct Follower {
    file: Option<File>,
    lines: Lines,
}

impl Follower {
    /// Returns what came since the last time.
    fn follow(&mut self, path: &Path) -> Vec<u8> {
        let mut came = Vec::new();
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut came);
        }
        came
    }
}

/// Makes lines of bytes that come in pieces.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Returns the lines that `bytes` complete. A last line without an end never comes out.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.begun.split_off(whole);
        let whole = std::mem::replace(&mut self.begun, rest);
        String::from_utf8_lossy(&whole).lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.take(b"o"), [""; 0]);
        assert_eq!(lines.take(b"\n\nthree\n"), ["two", "", "three"]);
    }

    /// Runs a script; returns what was heard, and the status of its end if it came by itself.
    fn run(script: &str, limit: Limit) -> (Vec<String>, Option<i32>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output");
        let output = Stdio::from(File::create(&path).unwrap());
        let child = Command::new("sh").args(["-c", script]).stdout(output).spawn().unwrap();
        let mut lines = Vec::new();
        let ended = watch(child, &path, limit, |line| lines.push(line.to_owned())).unwrap();
        (lines, ended.and_then(|status| status.code()))
    }

    #[test]
    fn an_end_comes_with_everything_that_was_written() {
        let long = Duration::from_secs(60);
        assert_eq!(
            run("echo a; echo b; exit 3", Limit::Whole(long)),
            (vec!["a".into(), "b".into()], Some(3))
        );
    }

    #[test]
    fn silence_ends_a_program_and_words_keep_it() {
        let silence = Limit::Silence(Duration::from_secs(1));
        let talks = "for i in 1 2 3 4; do echo $i; sleep 0.4; done";
        assert_eq!(run(talks, silence).1, Some(0));
        assert_eq!(run("echo a; exec sleep 60", silence), (vec!["a".into()], None));
        assert_eq!(run(talks, Limit::Whole(Duration::from_secs(1))).1, None);
        assert_eq!(silence.to_string(), "1 s of silence");
    }
}
