//! What was typed. A plain record; it may not touch the system.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::watch::Limit;

/// Where `cargo xtask differ` goes by itself, beside this machine.
const DIFFER_KERNELS: [&str; 2] = ["6.12", "6.1"];

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

    /// Holds the walk against real kernels with random configurations: here, and inside stock Debian kernels
    ///
    /// Runs `portcullis-differ`, built for release, on this machine and as root inside each kernel, shows what each says as
    /// it comes, and at the end the last paragraph of each again. Fails if any of them does.
    Differ(DifferOptions),
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

    /// Run inside the kernels only
    #[arg(long, conflicts_with = "no_kernels")]
    pub no_host: bool,

    /// List the kernels and what is in the cache, then stop
    #[arg(long)]
    pub list_kernels: bool,

    /// Let QEMU use KVM (never chosen by itself: on some build machines its guests hang)
    #[arg(long)]
    pub kvm: bool,

    /// Seconds that one kernel may take for all its tests
    #[arg(long, value_name = "SECONDS", default_value_t = 1500)]
    pub timeout: u64,
}

impl TestOptions {
    /// Returns the time one kernel may take.
    #[must_use]
    pub const fn limit(&self) -> Limit {
        Limit::Whole(Duration::from_secs(self.timeout))
    }
}

/// Options of `cargo xtask differ`.
#[derive(Debug, Args)]
pub struct DifferOptions {
    /// Run inside this kernel, for example 6.12; may be repeated [default: this machine, 6.12 and 6.1]
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,

    /// Run on this machine
    #[arg(long)]
    host: bool,

    /// Cases in each place [default: 100000, or 1000 configurations of proofs]
    #[arg(long, value_name = "N")]
    cases: Option<u64>,

    /// Hold proofs against the kernels: witnesses are sent, and many frames against what is said to be isolated
    #[arg(long)]
    proofs: bool,

    /// The seed of the first case [default: the program's own]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Let QEMU use KVM (never chosen by itself: on some build machines its guests hang)
    #[arg(long)]
    pub kvm: bool,

    /// Seconds without a word after which a place counts as hung
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,

    /// Handed on to the program
    #[arg(last = true, value_name = "ARGUMENTS")]
    rest: Vec<String>,
}

impl DifferOptions {
    /// Tells whether this machine is a place.
    #[must_use]
    pub const fn host(&self) -> bool {
        self.host || self.kernels.is_empty()
    }

    /// Returns the kernels that are places.
    #[must_use]
    pub fn kernels(&self) -> Vec<String> {
        match self.kernels.as_slice() {
            [] if !self.host => DIFFER_KERNELS.map(str::to_owned).to_vec(),
            chosen => chosen.to_vec(),
        }
    }

    /// Returns what the program is called with.
    #[must_use]
    pub fn program_arguments(&self) -> Vec<String> {
        let usual = if self.proofs { 1_000 } else { 100_000 };
        let mut arguments = vec!["--cases".to_owned(), self.cases.unwrap_or(usual).to_string()];
        arguments.extend(self.proofs.then(|| "--proofs".to_owned()));
        arguments.extend(self.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        arguments.extend(self.rest.iter().cloned());
        arguments
    }

    /// Returns how long a place may be silent.
    #[must_use]
    pub const fn limit(&self) -> Limit {
        Limit::Silence(Duration::from_secs(self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(words: &str) -> DifferOptions {
        let Task::Differ(options) =
            Arguments::parse_from(["xtask", "differ"].into_iter().chain(words.split_whitespace())).task
        else {
            unreachable!()
        };
        options
    }

    #[test]
    fn the_differ_goes_where_it_is_sent() {
        let places = |words| {
            let options = differ(words);
            (options.host(), options.kernels().join(" "))
        };
        assert_eq!(places(""), (true, "6.12 6.1".to_owned()));
        assert_eq!(places("--host"), (true, String::new()));
        assert_eq!(places("--kernel 5.10 --kernel 7"), (false, "5.10 7".to_owned()));
        assert_eq!(places("--host --kernel 7"), (true, "7".to_owned()));
    }

    #[test]
    fn the_differ_gets_its_arguments() {
        let arguments = |words| differ(words).program_arguments().join(" ");
        assert_eq!(arguments(""), "--cases 100000");
        let all = "--seed 7 --cases 9 -- --ignore mcast --ignore stp";
        assert_eq!(arguments(all), "--cases 9 --seed 7 --ignore mcast --ignore stp");
        assert_eq!(arguments("--proofs"), "--cases 1000 --proofs");
    }
}
