//! `cargo xtask`: reads the command line and starts the task. Nothing else lives here.

use std::process::ExitCode;

use clap::Parser;
use xtask::arguments::{Arguments, Task};

fn main() -> ExitCode {
    let Arguments { task: Task::Test(options) } = Arguments::parse();
    match xtask::test::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            xtask::process::complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
