//! What was typed. A plain record; it may not touch the system.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// The command line of `cargo xtask`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks for Portcullis")]
pub struct Arguments {
    /// The task to run.
    #[command(subcommand)]
    pub task: Task,
}

/// One task.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Runs the test suite here, and its kernel-facing part inside stock Debian kernels
    ///
    /// Integration tests whose name starts with `kernel_` are the kernel-facing ones: they run on this machine and, as
    /// root, inside each kernel. Kernels and QEMU are fetched once with apt-get, without being installed, into
    /// $PORTCULLIS_KERNEL_CACHE (default: $XDG_CACHE_HOME/portcullis/kernels); remove that directory to fetch newer ones.
    Test(TestOptions),
}

/// Options of `cargo xtask test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// Run inside this kernel only, for example 6.12; may be repeated
    #[arg(long = "kernel", value_name = "VERSION", conflicts_with = "no_kernels")]
    pub kernels: Vec<String>,

    /// Run only tests whose name contains this; may be repeated
    #[arg(long = "filter", value_name = "NAME")]
    pub filters: Vec<String>,

    /// Run on this machine only
    #[arg(long)]
    pub no_kernels: bool,

    /// List the kernels and what is in the cache, then stop
    #[arg(long)]
    pub list_kernels: bool,

    /// Let QEMU use KVM (never chosen by itself: on some build machines its guests hang)
    #[arg(long)]
    pub kvm: bool,

    /// Seconds that one kernel may take for all its tests
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
}

impl TestOptions {
    /// Returns the time one kernel may take.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
