//! Running other programs, and talking to whoever started this one. No knowledge of any particular program.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::Error;

/// Writes one line to standard output. A closed output is not an error of the task.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes one line to standard error.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Runs `command` to its end and returns what it wrote to standard output.
///
/// # Errors
/// When the program cannot be started, or ends with a failure; the error carries its standard error.
pub fn output_of(command: &mut Command) -> Result<Vec<u8>, Error> {
    let shown = describe(command);
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Io { doing: format!("run `{shown}`"), source })?;
    if status.success() {
        return Ok(stdout);
    }
    Err(Error::Command { command: shown, status: status.to_string(), message: tail(&stderr, 6) })
}

/// Like [`output_of`], as text; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// As [`output_of`].
pub fn text_of(command: &mut Command) -> Result<String, Error> {
    output_of(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Looks for an executable called `name` in `$PATH` and in the administrator's directories.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Returns the last `lines` lines of `bytes`, led by a line break, or nothing if there is no text.
#[must_use]
pub fn tail(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let kept: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    kept.iter().skip(kept.len().saturating_sub(lines)).map(|line| format!("\n  {line}")).collect()
}

/// Names the program and its first arguments; whole command lines can run to a screenful.
fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).take(6).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_that_say_something() {
        assert_eq!(tail(b"a\nb\n\nc\r\n\n", 2), "\n  b\n  c");
        assert_eq!(tail(b"\n", 2), "");
    }

    #[test]
    fn a_failing_program_is_an_error_with_its_words() {
        let error = output_of(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("exit status: 3") && said.contains("no such thing"), "{said}");
    }
}
