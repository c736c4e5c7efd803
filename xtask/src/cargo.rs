//! Asking cargo: which tests face the kernel, static builds of them for the guests, and the run on this machine.
//! What the output means is read in [`crate::results`].

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Error;
use crate::process::{output_of, say};

/// Integration tests whose name starts so run inside the kernels of the lab as well.
pub const KERNEL_TEST: &str = "kernel_";

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One test binary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TestBinary {
    /// The name of its test target.
    pub name: String,
    /// Where it was built.
    pub path: PathBuf,
}

/// What goes into a guest, all statically linked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GuestBuild {
    /// The program that becomes the guest's first process.
    pub init: PathBuf,
    /// The kernel-facing tests.
    pub tests: Vec<TestBinary>,
    /// Programs of the workspace that tests may start.
    pub programs: Vec<PathBuf>,
}

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
/// When cargo cannot be started.
pub fn test_host(filters: &[String]) -> Result<HostRun, Error> {
    let failed = |source| Error::Io { doing: "run `cargo test --workspace`".to_owned(), source };
    // One pipe for both streams: cargo names the test binary on one, the binary reports on the other.
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]).args(filters);
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

/// Builds `guest-init` and the kernel-facing tests statically, in a target directory of their own.
///
/// # Errors
/// When cargo fails, with its message, or does not say what it built.
pub fn build_guest() -> Result<GuestBuild, Error> {
    let metadata = output_of(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = parse("cargo's metadata", &metadata)?;
    let directory = metadata.get("target_directory").and_then(Value::as_str).unwrap_or("target");
    let directory = Path::new(directory).join("guest");
    let names = kernel_test_targets(&metadata);

    let init = build(&directory, &["build", "--package", "xtask", "--bin", "guest-init"])?;
    let mut found = executables(&init);
    let init =
        found.programs.pop().ok_or_else(|| Error::damaged("cargo's report", "it names no guest-init"))?;
    if names.is_empty() {
        return Ok(GuestBuild { init, ..GuestBuild::default() });
    }
    let mut arguments = vec!["test", "--workspace", "--no-run"];
    arguments.extend(names.iter().flat_map(|name| ["--test", name.as_str()]));
    let mut built = executables(&build(&directory, &arguments)?);
    built.programs.retain(|program| *program != init);
    Ok(GuestBuild { init, ..built })
}

fn build(directory: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = cargo();
    command.args(arguments).args([
        "--quiet",
        "--profile",
        "guest",
        "--target",
        TARGET,
        "--message-format",
        "json",
    ]);
    command.arg("--target-dir").arg(directory).env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Diagnostics go to the terminal; standard output carries the report.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| Error::Io { doing: "run `cargo`".to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = rendered_errors(&String::from_utf8_lossy(&output.stdout));
    Err(Error::Command {
        command: "cargo, for the guests,".to_owned(),
        status: output.status.to_string(),
        message,
    })
}

/// Returns the names of all kernel-facing test targets, sorted, each once.
fn kernel_test_targets(metadata: &Value) -> Vec<String> {
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let targets = list(metadata, "packages").into_iter().flat_map(|package| list(&package, "targets"));
    let mut names: Vec<String> = targets
        .filter(|target| list(target, "kind").iter().any(|kind| kind == "test"))
        .filter_map(|target| target.get("name").and_then(Value::as_str).map(str::to_owned))
        .filter(|name| name.starts_with(KERNEL_TEST))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Reads the executables out of cargo's report, a JSON message on each line.
fn executables(report: &str) -> GuestBuild {
    let mut build = GuestBuild::default();
    for message in report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(path) = message.get("executable").and_then(Value::as_str).map(PathBuf::from) else {
            continue;
        };
        let name = message.pointer("/target/name").and_then(Value::as_str).unwrap_or_default();
        match message.pointer("/target/kind/0").and_then(Value::as_str) {
            Some("test") => build.tests.push(TestBinary { name: name.to_owned(), path }),
            Some("bin") => build.programs.push(path),
            _ => {}
        }
    }
    build.tests.sort_by(|left, right| left.name.cmp(&right.name));
    build
}

/// Returns what the compiler objected to, led by a line break.
fn rendered_errors(report: &str) -> String {
    let messages = report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors =
        messages.filter(|message| message.pointer("/message/level").is_some_and(|level| level == "error"));
    errors
        .filter_map(|message| Some(format!("\n{}", message.pointer("/message/rendered")?.as_str()?)))
        .collect()
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn parse(what: &str, bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::damaged(what, error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kernel_facing_tests_are_known_by_their_name() {
        let target = |kind: &str, name: &str| json!({"kind": [kind], "name": name});
        let packages = json!([
            {"targets": [target("lib", "kernel_x"), target("test", "kernel_walk"), target("test", "format")]},
            {"targets": [target("test", "kernel_capture"), target("test", "kernel_walk")]},
        ]);
        assert_eq!(kernel_test_targets(&json!({"packages": packages})), ["kernel_capture", "kernel_walk"]);
    }

    #[test]
    fn the_report_names_tests_and_programs() {
        let line = |kind: &str, name: &str, path: Option<&str>| json!({"reason": "compiler-artifact", "target": {"kind": [kind], "name": name}, "executable": path});
        let report = format!(
            "{}\n{}\n{}\nnot json\n",
            line("test", "kernel_b", Some("/t/kernel_b-1")),
            line("lib", "portcullis", None),
            line("bin", "portcullis", Some("/t/portcullis")),
        );
        let build = executables(&report);
        assert_eq!(build.tests, [TestBinary { name: "kernel_b".into(), path: "/t/kernel_b-1".into() }]);
        assert_eq!(build.programs, [PathBuf::from("/t/portcullis")]);
    }
}
