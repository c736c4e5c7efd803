//! `cargo xtask test`: the order of a run. Host first, then the kernels, then the account.

use std::time::Instant;

use crate::Error;
use crate::arguments::TestOptions;
use crate::boot::{self, Manner};
use crate::cargo;
use crate::host;
use crate::initramfs;
use crate::kernels::{self, Cache, Kernel};
use crate::pace::Pace;
use crate::packages::LAB;
use crate::parallel;
use crate::process::say;
use crate::qemu::Tools;
use crate::results::{Outcome, Results, TestName, read_guest, read_host};
use crate::table::{Place, summarize};

/// How many of a kernel's tests are named with the time they took.
const TOLD: usize = 5;

/// Tests that take long and are about programs, ours and those that write rules: what they ask of the kernel, others ask of
/// every one. One kernel is enough for each, beside this machine's: which, goes by what they need, and by whose turn is short.
const OF_ONE_KERNEL: [(&str, &str); 15] = [
    ("remedies_leave_what_they_leave", "6.12"),
    ("who_only_watches_changes_nothing", "7"),
    ("a_port_that_comes_is_seen_to", "7"),
    ("an_address_that_the_policy_changes", "5.10"),
    ("every_frame_lies_in_one_way", "6.12"),
    ("vlan_filtering", "6.12"),
    ("damaged_anywhere", "6.12"),
    ("the_script_does_what_the_program_does", "6.12"),
    ("killed_at_any_boundary", "6.1"),
    ("what_nobody_confirms_the_watchdog_takes_back", "5.10"),
    ("what_somebody_confirms_stays", "5.10"),
    ("libvirt::clean_traffic_of", "6.12"),
    ("ip::of_iptables", "6.12"),
    ("ip6::of_ip6tables", "6.12"),
    ("a_table_that_changes_is_read_as_it_was_at_one_time", "6.1"),
];
/// The kernel that has most of them.
const LONGEST: &str = "6.12";

/// Runs the task; tells whether everything held.
///
/// # Errors
/// When not even the host's tests can be started.
pub fn run(options: &TestOptions) -> Result<bool, Error> {
    if options.list_kernels {
        return list().map(|()| true);
    }
    let mut places = Vec::new();
    if !options.no_host {
        say("== the tests on this machine");
        let run = host::test_host(&options.filters)?;
        places.push(Place { name: "host".to_owned(), results: Ok(read_host(&run.output, run.succeeded)) });
    }
    if !options.no_kernels {
        places.extend(inside_kernels(options));
    }
    // A single kernel may well lack a feature; only the whole lab can say that nothing has it.
    let complete = !options.no_host
        && !options.no_kernels
        && options.kernels.is_empty()
        && places.iter().all(|place| place.results.is_ok());
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
    say("== the tests inside stock kernels");
    let (tools, provided) = kernels::provide(&versions);
    let mut provided: Vec<_> = versions.iter().map(String::as_str).zip(provided).collect();
    if provided.iter().all(|(_, kernel)| kernel.is_err()) {
        let missing = |(version, kernel): (_, Result<_, _>)| Some(missing(version, &kernel.err()?));
        return provided.into_iter().filter_map(missing).collect();
    }
    let job = cargo::build_guest().and_then(|build| initramfs::job(&build, &tools));
    let job = match job {
        Ok(job) => job,
        Err(error) => return vec![broken("the build for the kernels", &error)],
    };
    let manner = Manner { kvm: options.kvm, limit: options.limit() };
    let run = provided.iter().filter(|(_, kernel)| kernel.is_ok()).map(|(version, _)| *version);
    let run: Vec<&str> = run.collect();
    // What takes longest begins first, lest the others wait for it alone at the end.
    provided.sort_by_key(|(version, _)| *version != LONGEST);
    let mut places = parallel::map(provided, |(version, kernel)| match kernel {
        Ok(kernel) => {
            let of_others = OF_ONE_KERNEL.iter().filter(|(_, one)| *one != version && run.contains(one));
            let left_out: Vec<_> = of_others.map(|(part, _)| *part).collect();
            let arguments = initramfs::arguments(&test_arguments(options, &left_out));
            boot_one(&tools, &kernel, [&job, &arguments], manner)
        }
        Err(error) => missing(version, &error),
    });
    places.sort_by_key(|place| versions.iter().position(|version| *version == place.name));
    tell_what_was_left_out(&mut places);
    places
}

/// Counts what was left to one kernel as skipped by the others.
fn tell_what_was_left_out(places: &mut [Place]) {
    for (part, one) in OF_ONE_KERNEL {
        let that = places.iter().find(|place| place.name == one);
        let tests = that.and_then(|place| place.results.as_ref().ok()).map(|results| &results.tests);
        let of_it = |name: &&TestName| name.test.contains(part);
        let left: Vec<_> = tests.into_iter().flat_map(|tests| tests.keys()).filter(of_it).cloned().collect();
        for results in places.iter_mut().filter_map(|place| place.results.as_mut().ok()) {
            for name in &left {
                let why = || Outcome::Skipped(format!("one kernel is enough for it: {one}"));
                results.tests.entry(name.clone()).or_insert_with(why);
            }
        }
    }
}

fn test_arguments(options: &TestOptions, left_out: &[&str]) -> Vec<String> {
    let fixed = ["--test-threads=1", "--show-output"].map(str::to_owned);
    let left_out = left_out.iter().flat_map(|part| ["--skip".to_owned(), (*part).to_owned()]);
    fixed.into_iter().chain(left_out).chain(options.filters.iter().cloned()).collect()
}

fn boot_one(tools: &Tools, kernel: &Kernel, job: [&[u8]; 2], manner: Manner) -> Place {
    let mut pace = Pace::from(Instant::now());
    let boot = match boot::boot(tools, kernel, job, manner, |line| pace.hear(line, Instant::now())) {
        Ok(boot) => boot,
        Err(error) => return broken(&kernel.version, &error),
    };
    let mut results = read_guest(&boot.results);
    if let Some(problem) = results.problems.last_mut() {
        if boot.hung {
            problem.push_str(&format!("; it was ended after {}", manner.limit));
        }
        problem.push_str("; the end of its console:");
        problem.push_str(&boot.console);
    }
    say(&format!(
        "kernel {}: {} tests in {:.1} s; the slowest: {}",
        kernel.release,
        results.tests.len(),
        boot.time.as_secs_f64(),
        pace.slowest(TOLD)
    ));
    Place { name: kernel.version.clone(), results: Ok(results) }
}

/// A kernel that could not be provided. What the world withholds is a skip; what went wrong here is a failure.
fn missing(version: &str, error: &Error) -> Place {
    if error.is_ours() {
        return broken(version, error);
    }
    Place { name: version.to_owned(), results: Err(error.to_string()) }
}

fn broken(name: &str, error: &Error) -> Place {
    let results = Results { problems: vec![error.to_string()], ..Results::default() };
    Place { name: name.to_owned(), results: Ok(results) }
}
