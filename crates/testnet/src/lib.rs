//! Network namespaces for tests, for root and for ordinary users; and large hosts for benchmarks.
//!
//! A test that needs a namespace runs in one of its own, which goes away with it. Where the user may not make one, the
//! test runs again as the root of a user namespace, in a process of its own. Where that is not allowed either, it says
//! so and is counted as skipped.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is part of tests, which may fail"
)]

mod large_host;

use std::process::Command;

use portcullis_kernel::namespace::Netns;
use portcullis_kernel::{Error, capture};
use portcullis_snapshot::{Unread, UnreadCause};

pub use large_host::{AntiSpoofing, Guest, large_host};

/// Leaves a test that cannot go on here, saying why: `skip!("this kernel cannot filter VLANs")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        println!("skipped, because {}", format_args!($($reason)*));
        return;
    }};
}

/// Says so in the environment of a process that is the root of a user namespace already.
const INSIDE: &str = "PORTCULLIS_TEST_INSIDE";

/// Runs a test in a network namespace of its own.
///
/// To be called first in a `#[test]` function: as an ordinary user, the whole function runs again in another process.
///
/// # Panics
/// As the test does.
pub fn fresh(test: impl FnOnce() + Send) {
    match Netns::create() {
        Ok(netns) => {
            netns.run(|| as_is(test)).unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
        Err(error) if std::env::var_os(INSIDE).is_none() => again_as_root_of_a_user_namespace(&error),
        Err(error) => println!("skipped, because {error}"),
    }
}

/// The same where everything may be read that proofs depend on: what programs are attached by tcx, the kernel does not tell root
/// of a user namespace (`bpf_prog_query` in kernel/bpf/syscall.c), and behind them nothing is proven.
pub fn where_all_is_read(test: impl FnOnce() + Send) {
    fresh(|| match capture::here().unwrap().filters.tcx.unread() {
        Some(Unread { cause: UnreadCause::Permission, reason }) => {
            skip!("nothing can be proven here: {reason}")
        }
        _ => test(),
    });
}

/// Hands a panic over as a value, so that it ends the test under its own name.
fn as_is(test: impl FnOnce()) -> std::thread::Result<()> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(test))
}

/// Runs the test that this thread is named after in a process of its own, by `unshare`(1).
fn again_as_root_of_a_user_namespace(refusal: &Error) {
    let thread = std::thread::current();
    // With a single thread for all tests, nothing tells which one this is.
    let Some(test) = thread.name().filter(|name| *name != "main") else {
        return println!("skipped, because {refusal}; run the tests on several threads, or as root");
    };
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return println!("skipped, because {refusal}, and of unshare(1): {error}"),
    };
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() && !said.contains("running 1 test") {
        return println!("skipped, because {refusal}; {}", failed.trim());
    }
    for line in said.lines() {
        // The runner writes a test's name and its outcome around what the test says.
        if let Some(at) = line.find("skipped, because ") {
            println!("{}", line.get(at..).unwrap_or(line));
        }
    }
    assert!(output.status.success(), "in a user namespace:\n{said}{failed}");
}
