//! `cargo xtask`: reads the command line and starts the task. Nothing else lives here.

use std::process::ExitCode;

use clap::Parser;
use xtask::arguments::{Arguments, Task};

fn main() -> ExitCode {
    let held = match Arguments::parse().task {
        Task::Test(options) => xtask::test::run(&options),
        Task::Differ(options) => xtask::differ::run(&options),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            xtask::process::complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
