//! Asking cargo: which tests face the kernel, and static builds of them and of programs, which run in any guest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Error;
use crate::process::output_of;

/// Integration tests whose name starts so run inside the kernels of the lab as well.
pub const KERNEL_TEST: &str = "kernel_";

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Something that a guest runs: a test binary, or a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binary {
    /// The name of its target.
    pub name: String,
    /// Where it was built.
    pub path: PathBuf,
}

/// What goes into a guest, all statically linked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GuestBuild {
    /// The program that becomes the guest's first process.
    pub init: PathBuf,
    /// What it runs, one after the other.
    pub binaries: Vec<Binary>,
    /// Programs of the workspace that these may start.
    pub programs: Vec<PathBuf>,
}

/// Builds `guest-init` and the kernel-facing tests statically, in a target directory of their own.
///
/// # Errors
/// When cargo fails, with its message, or does not say what it built.
pub fn build_guest() -> Result<GuestBuild, Error> {
    let metadata = metadata()?;
    let directory = guest_directory(&metadata);
    let names = kernel_test_targets(&metadata);
    let init = build_init(&directory)?;
    if names.is_empty() {
        return Ok(GuestBuild { init, ..GuestBuild::default() });
    }
    let mut arguments = vec!["test", "--workspace", "--no-run"];
    arguments.extend(names.iter().flat_map(|name| ["--test", name.as_str()]));
    let mut built = executables(&build(&directory, "guest", &arguments)?);
    built.programs.retain(|program| *program != init);
    Ok(GuestBuild { init, ..built })
}

/// Builds `guest-init` and the program `name` of the package of that name statically, the program as for a release.
///
/// # Errors
/// As [`build_guest`].
pub fn build_program(name: &str) -> Result<GuestBuild, Error> {
    let directory = guest_directory(&metadata()?);
    let init = build_init(&directory)?;
    let path =
        only_program(&build(&directory, "release", &["build", "--package", name, "--bin", name])?, name)?;
    let binaries = vec![Binary { name: name.to_owned(), path }];
    Ok(GuestBuild { init, binaries, programs: Vec::new() })
}

fn build_init(directory: &Path) -> Result<PathBuf, Error> {
    only_program(
        &build(directory, "guest", &["build", "--package", "xtask", "--bin", "guest-init"])?,
        "guest-init",
    )
}

fn only_program(report: &str, name: &str) -> Result<PathBuf, Error> {
    let program = executables(report).programs.pop();
    program.ok_or_else(|| Error::damaged("cargo's report", format!("it names no {name}")))
}

fn metadata() -> Result<Value, Error> {
    let bytes = output_of(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::damaged("cargo's metadata", error.to_string()))
}

fn guest_directory(metadata: &Value) -> PathBuf {
    let directory = metadata.get("target_directory").and_then(Value::as_str).unwrap_or("target");
    Path::new(directory).join("guest")
}

fn build(directory: &Path, profile: &str, arguments: &[&str]) -> Result<String, Error> {
    let mut command = cargo();
    command.args(arguments).args(["--quiet", "--message-format", "json"]);
    statically(&mut command, directory, profile);
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

/// Has cargo build static programs for a guest, in their own directory.
fn statically(command: &mut Command, directory: &Path, profile: &str) {
    command.args(["--profile", profile, "--target", TARGET]);
    command.arg("--target-dir").arg(directory).env("RUSTFLAGS", "-C target-feature=+crt-static");
}

/// Returns a command that builds and runs every test of the workspace: what is built for it, the guests run as well.
///
/// # Errors
/// When cargo does not tell where it builds.
pub(crate) fn test_everything() -> Result<Command, Error> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    // The guests are of this architecture; elsewhere there is nothing to share.
    if cfg!(target_arch = "x86_64") {
        statically(&mut command, &guest_directory(&metadata()?), "guest");
    }
    Ok(command)
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
            Some("test") => build.binaries.push(Binary { name: name.to_owned(), path }),
            Some("bin") => build.programs.push(path),
            _ => {}
        }
    }
    build.binaries.sort_by(|left, right| left.name.cmp(&right.name));
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

/// Returns a command that runs the cargo that runs this.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
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
        assert_eq!(build.binaries, [Binary { name: "kernel_b".into(), path: "/t/kernel_b-1".into() }]);
        assert_eq!(build.programs, [PathBuf::from("/t/portcullis")]);
    }
}
