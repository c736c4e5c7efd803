//! The run of the whole test suite on this machine. What its output means is read in [`crate::results`].

use std::io::{self, BufRead, BufReader};
use std::process::Stdio;

use crate::Error;
use crate::cargo::test_everything;
use crate::process::say;

/// What the run on this machine gave.
#[derive(Clone, Debug)]
pub struct HostRun {
    /// Everything that cargo and the tests wrote, in order.
    pub output: String,
    /// Whether cargo ended well.
    pub succeeded: bool,
}

/// Runs every test of the workspace on this machine, showing the output as it comes.
///
/// # Errors
/// When cargo cannot be started, or does not tell where it builds.
pub fn test_host(filters: &[String]) -> Result<HostRun, Error> {
    let failed = |source| Error::Io { doing: "run `cargo test --workspace`".to_owned(), source };
    // One pipe for both streams: cargo names the test binary on one, the binary reports on the other.
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = test_everything()?;
    command.args(["--", "--show-output"]).args(filters);
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    drop(command); // and with it our ends of the pipe, or reading would not end
    let mut output = String::new();
    let mut hidden = false;
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
        // What successful tests print is read for skips, and not worth a screen.
        hidden =
            (hidden || line == "successes:") && line != "failures:" && !line.starts_with("test result: ");
        if !hidden {
            say(&line);
        }
        output.push_str(&line);
        output.push('\n');
    }
    let succeeded = child.wait().map_err(failed)?.success();
    Ok(HostRun { output, succeeded })
}
