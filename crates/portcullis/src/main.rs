//! Shows, proves and enforces the isolation of Linux bridges on virtualization hosts.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis::main()
}
