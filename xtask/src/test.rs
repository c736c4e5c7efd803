//! `cargo xtask test`: the order of a run. Host first, then the kernels, then the account.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use crate::Error;
use crate::arguments::TestOptions;
use crate::boot::{self, Manner};
use crate::cargo;
use crate::initramfs;
use crate::kernels::{Cache, Kernel};
use crate::packages::LAB;
use crate::process::say;
use crate::qemu::Tools;
use crate::results::{Results, read_guest, read_host};
use crate::table::{Place, summarize};

/// Runs the task; tells whether everything held.
///
/// # Errors
/// When not even the host's tests can be started.
pub fn run(options: &TestOptions) -> Result<bool, Error> {
    if options.list_kernels {
        return list().map(|()| true);
    }
    say("== the tests on this machine");
    let host = cargo::test_host(&options.filters)?;
    let mut places =
        vec![Place { name: "host".to_owned(), results: Ok(read_host(&host.output, host.succeeded)) }];
    if !options.no_kernels {
        places.extend(inside_kernels(options));
    }
    // A single kernel may well lack a feature; only the whole lab can say that nothing has it.
    let complete =
        !options.no_kernels && options.kernels.is_empty() && places.iter().all(|place| place.results.is_ok());
    let summary = summarize(&places, complete);
    say(summary.text.trim_end());
    say(&summary.closing_line());
    Ok(summary.failed == 0)
}

fn list() -> Result<(), Error> {
    let cache = Cache::open()?;
    say(&format!("cache: {}", cache.root().display()));
    for version in LAB {
        let state =
            cache.cached(version).map_or_else(|| "not fetched yet".to_owned(), |kernel| kernel.release);
        say(&format!("{version:6} {state}"));
    }
    Ok(())
}

/// Provides the kernels, builds the tests for them and boots each; a place for every kernel asked for.
fn inside_kernels(options: &TestOptions) -> Vec<Place> {
    let versions: Vec<String> = match options.kernels.as_slice() {
        [] => LAB.iter().map(|version| (*version).to_owned()).collect(),
        chosen => chosen.to_vec(),
    };
    let cache = match Cache::open() {
        Ok(cache) => cache,
        Err(error) => return versions.iter().map(|version| missing(version, &error)).collect(),
    };
    say("== the tests inside stock kernels");
    let provided = cache.provide(&versions);
    if provided.iter().all(Result::is_err) {
        return versions
            .iter()
            .zip(&provided)
            .filter_map(|(v, kernel)| Some(missing(v, kernel.as_ref().err()?)))
            .collect();
    }
    let job = cargo::build_guest()
        .and_then(|build| initramfs::job(&build, &cache.tools(), &test_arguments(options)));
    let job = match job {
        Ok(job) => job,
        Err(error) => return vec![broken("the build for the kernels", &error)],
    };
    let manner = Manner { kvm: options.kvm, time_limit: options.time_limit() };
    boot_all(&cache.tools(), &versions, provided, &job, manner)
}

fn test_arguments(options: &TestOptions) -> Vec<String> {
    let fixed = ["--test-threads=1", "--show-output"].map(str::to_owned);
    fixed.into_iter().chain(options.filters.iter().cloned()).collect()
}

/// Boots as many kernels at once as there are processors.
fn boot_all(
    tools: &Tools,
    versions: &[String],
    provided: Vec<Result<Kernel, Error>>,
    job: &[u8],
    manner: Manner,
) -> Vec<Place> {
    let waiting: Mutex<VecDeque<_>> = Mutex::new(versions.iter().zip(provided).enumerate().collect());
    let next = || waiting.lock().ok().and_then(|mut queue| queue.pop_front());
    let work = || {
        let mut places = Vec::new();
        while let Some((order, (version, kernel))) = next() {
            places.push((
                order,
                kernel.map_or_else(
                    |error| missing(version, &error),
                    |kernel| boot_one(tools, &kernel, job, manner),
                ),
            ));
        }
        places
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(versions.len());
    let mut places: Vec<(usize, Place)> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    places.sort_by_key(|(order, _)| *order);
    places.into_iter().map(|(_, place)| place).collect()
}

fn boot_one(tools: &Tools, kernel: &Kernel, job: &[u8], manner: Manner) -> Place {
    let boot = match boot::boot(tools, kernel, job, manner) {
        Ok(boot) => boot,
        Err(error) => return broken(&kernel.version, &error),
    };
    let mut results = read_guest(&boot.results);
    if let Some(problem) = results.problems.last_mut() {
        if boot.hung {
            problem.push_str(&format!("; it was ended after {} s", manner.time_limit.as_secs()));
        }
        problem.push_str("; the end of its console:");
        problem.push_str(if boot.console.is_empty() { "\n  (nothing)" } else { &boot.console });
    }
    say(&format!(
        "kernel {}: {} tests in {:.1} s",
        kernel.release,
        results.tests.len(),
        boot.time.as_secs_f64()
    ));
    Place { name: kernel.version.clone(), results: Ok(results) }
}

/// A kernel that could not be provided. What the world withholds is a skip; what went wrong here is a failure.
fn missing(version: &str, error: &Error) -> Place {
    if matches!(error, Error::Io { .. } | Error::Damaged { .. }) {
        return broken(version, error);
    }
    Place { name: version.to_owned(), results: Err(error.to_string()) }
}

fn broken(name: &str, error: &Error) -> Place {
    let results = Results { problems: vec![error.to_string()], ..Results::default() };
    Place { name: name.to_owned(), results: Ok(results) }
}
