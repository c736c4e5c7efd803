//! The command line: what was typed, what is called for it, how it ends.
//!
//! `arguments` is what was typed, one module of `commands` is one command: it reads the kernel or a file, calls the
//! pure crates and hands what comes out to `portcullis-report`. Nothing is judged or worded here.

mod arguments;
mod builder;
mod commands;
mod failure;
pub mod lab;
mod output;
mod pcap;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Audit(arguments) => commands::audit::run(&arguments),
        Command::Snapshot(arguments) => commands::snapshot::run(&arguments),
        Command::Walk(arguments) => commands::walk::run(&arguments),
        Command::Prove(arguments) => commands::prove::run(&arguments),
        Command::Fix(arguments) => commands::fix::run(&arguments),
        Command::Confirm(arguments) => commands::undo::confirm(&arguments),
        Command::Rollback(arguments) => commands::undo::rollback(&arguments),
        Command::Status(arguments) => commands::undo::status(&arguments),
        Command::Watchdog(arguments) => commands::undo::watch(&arguments),
        Command::Watch(arguments) => commands::fix::watch::run(&arguments),
        Command::Map(arguments) => commands::map::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Lab(arguments) => commands::lab::run(&arguments),
    };
    result.unwrap_or_else(|failure| failure.report())
}
