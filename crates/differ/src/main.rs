//! `portcullis-differ`: many scenarios, one after another, until their number is reached or one does not agree.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_differ::Error;
use portcullis_differ::blind::Blind;
use portcullis_differ::generate::{self, Scenario};
use portcullis_differ::methods::{METHODS, table};
use portcullis_differ::proofs::{self, Judge, Search};
use portcullis_differ::run::{Account, Mismatch, Runner};
use portcullis_differ::script::script;
use portcullis_differ::shrink::shrink;
use portcullis_kernel::drops::DropTrace;
use portcullis_kernel::namespace;

/// Holds the walk against this kernel, with random configurations and frames.
#[derive(Debug, Parser)]
struct Options {
    /// The first scenario; the others follow it by number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many frames to send in all; of proofs, how many configurations to judge
    #[arg(long, default_value_t = 10_000)]
    cases: u64,
    /// How many frames to send through each configuration
    #[arg(long, default_value_t = 50)]
    frames: usize,
    /// Run this scenario only; may be repeated
    #[arg(long = "scenario", value_name = "SEED")]
    scenarios: Vec<u64>,
    /// Load a kernel module first, such as br_netfilter; may be repeated
    #[arg(long, value_name = "MODULE")]
    load: Vec<String>,
    /// Keep the walk from seeing a knob: a mismatch is then what is wanted
    #[arg(long)]
    ignore: Option<Blind>,
    /// Go on until so many scenarios did not agree
    #[arg(long, default_value_t = 1)]
    mismatches: u64,
    /// Hold proofs against the kernel instead: every witness is sent, and many frames against what is isolated
    #[arg(long, conflicts_with_all = ["ignore", "load"])]
    proofs: bool,
    /// Print the table of the isolation methods and what each leaves open, proven and asked of this kernel
    #[arg(long, conflicts_with_all = ["ignore", "load", "proofs"])]
    methods: bool,
    /// Of methods: in pairs, too
    #[arg(long, requires = "methods")]
    pairs: bool,
    /// Of proofs: how many frames to send against what is isolated, in each configuration
    #[arg(long, default_value_t = 10_000)]
    search: usize,
    /// Of proofs: how many configurations that lack one step give witnesses to start from
    #[arg(long, default_value_t = 4)]
    neighbours: usize,
    /// Of proofs: how many sorts of frames may be told apart before one is given up
    #[arg(long, default_value_t = 20_000)]
    most_ways: usize,
    /// Run only scenarios of which a command has this word in it, such as pedit
    #[arg(long, value_name = "WORD", conflicts_with_all = ["proofs", "methods"])]
    having: Option<String>,
    /// Print the commands of the scenarios, and run nothing
    #[arg(long, requires = "scenarios")]
    show: bool,
    /// Print what does not agree as it is, without making the scenario smaller
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let held = match (options.proofs, options.methods) {
        (true, _) => proofs(&options),
        (_, true) => methods(&options),
        _ => all(&options),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Total {
    scenarios: u64,
    cases: u64,
    open: u64,
    unsent: u64,
    endless: u64,
    transient: u64,
    mismatches: u64,
    refused: BTreeMap<String, u64>,
    questions: BTreeMap<String, u64>,
}

/// Runs until enough frames were sent; whether everything agreed.
fn all(options: &Options) -> Result<bool, Error> {
    for module in &options.load {
        let loaded = Command::new("modprobe").arg(module).status();
        if !loaded.is_ok_and(|status| status.success()) {
            println!("module {module} could not be loaded; going on without it");
        }
    }
    namespace::enter_user_namespace()?;
    namespace::pin_to_one_processor()?;
    let (start, mut told, mut total) = (Instant::now(), Instant::now(), Total::default());
    let mut runner = Runner::new(options.ignore);
    let listed = !options.scenarios.is_empty();
    let mut seeds: Box<dyn Iterator<Item = u64>> =
        if listed { Box::new(options.scenarios.iter().copied()) } else { Box::new(options.seed..) };
    while let Some(seed) = seeds.next().filter(|_| listed || total.cases < options.cases) {
        let scenario = generate::scenario(seed, options.frames);
        let has = |word: &String| scenario.steps.iter().any(|step| step.command().contains(word));
        if !options.having.as_ref().is_none_or(has) {
            continue;
        }
        if options.show {
            println!("{}", script(&scenario));
            continue;
        }
        let account = runner.run(&scenario)?;
        total.add(&scenario, &account);
        if let Some(transient) = &account.transient {
            println!(
                "transient: scenario {seed}, frame {:?}: {}",
                transient.frame,
                transient.differences.join("; ")
            );
        }
        if let Some(mismatch) = account.mismatch {
            total.mismatches += 1;
            if options.no_shrink {
                println!("scenario {seed}: {}", mismatch.differences.join("; "));
            } else {
                println!("scenario {seed} does not agree; shrinking it");
                let (scenario, mismatch) = shrink(&mut runner, &scenario, mismatch)?;
                print_mismatch(&scenario, &mismatch);
                print_drops(&mut runner, &scenario)?;
            }
            if total.mismatches >= options.mismatches {
                break;
            }
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            println!("{} of {} cases, scenario {seed}", total.cases, options.cases);
        }
    }
    if options.show {
        return Ok(true);
    }
    // The last paragraph is what is repeated where several kernels run.
    println!();
    total.print(options.seed, start.elapsed());
    Ok(total.mismatches == 0)
}

/// Judges configurations; whether the kernel agreed with every verdict.
fn proofs(options: &Options) -> Result<bool, Error> {
    let Options { search: frames, neighbours, most_ways, .. } = *options;
    if options.show {
        for seed in &options.scenarios {
            println!("{}", script(&Scenario { steps: generate::near_isolated(*seed), frames: Vec::new() }));
        }
        return Ok(true);
    }
    namespace::enter_user_namespace()?;
    namespace::pin_to_one_processor()?;
    let (start, mut told) = (Instant::now(), Instant::now());
    let mut judge = Judge::new(Search { frames, neighbours, most_ways });
    let mut total = proofs::Account::default();
    let listed = !options.scenarios.is_empty();
    let seeds: Vec<u64> = if listed {
        options.scenarios.clone()
    } else {
        (options.seed..options.seed + options.cases).collect()
    };
    for seed in seeds {
        let begun = Instant::now();
        let mut account = judge.seed(seed)?;
        for wrong in std::mem::take(&mut account.wrong) {
            println!("the verdict on configuration {seed} does not hold");
            let wrong = if options.no_shrink { wrong } else { judge.shrink(wrong)? };
            wrong.lines().iter().for_each(|line| println!("{line}"));
            account.wrong.push(wrong);
        }
        if begun.elapsed() > Duration::from_secs(10) {
            println!("configuration {seed} took {:.1} s", begun.elapsed().as_secs_f64());
        }
        total.add(account);
        if total.wrong.len() as u64 >= options.mismatches {
            break;
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            println!("{} configurations, seed {seed}, {} frames", total.configurations, total.sent);
        }
    }
    // The last paragraph is what is repeated where several kernels run.
    println!();
    print_account(&total, options.seed, start.elapsed());
    Ok(total.wrong.is_empty())
}

/// Prints the table of methods, a line for each or each pair; whether the kernel agreed with every cell.
fn methods(options: &Options) -> Result<bool, Error> {
    namespace::enter_user_namespace()?;
    namespace::pin_to_one_processor()?;
    let Options { search: frames, most_ways, .. } = *options;
    let mut judge = Judge::new(Search { frames, neighbours: 2, most_ways });
    let mut holds = true;
    let single = || METHODS.iter().map(|method| vec![method]);
    let pairs = METHODS
        .iter()
        .enumerate()
        .flat_map(|(at, one)| METHODS.iter().skip(at + 1).map(move |other| vec![one, other]));
    let all = std::iter::once(Vec::new()).chain(single()).chain(pairs.filter(|_| options.pairs));
    println!("{}", table::head());
    for methods in all {
        let row = table::row(&mut judge, &methods)?;
        holds &= row.wrong.is_empty();
        println!("{}", row.line);
        row.reasons.iter().for_each(|reason| println!("  unproven: {reason}"));
        for wrong in row.wrong {
            println!("{}", wrong.lines().join("\n"));
        }
    }
    Ok(holds)
}

fn print_account(total: &proofs::Account, seed: u64, time: Duration) {
    for transient in &total.transient {
        println!("arrived once, and not when sent alone: {transient}");
    }
    let mut assumptions: Vec<_> = total.assumptions.iter().collect();
    assumptions.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (what, count) in assumptions.into_iter().take(20) {
        println!("unproven, {count} times: {what}");
    }
    for (sort, count) in &total.untold {
        println!("nothing tells, {count} times: {sort}");
    }
    for (sort, count) in &total.later {
        println!("in another state only, {count} times: {sort}");
    }
    for ((sort, verdict), count) in &total.verdicts {
        println!("{sort}: {verdict} {count}");
    }
    println!(
        "seed {seed}: {} configurations in {:.0} s: {} exposed ({} witnesses arrived, {} of which nothing tells, {} in another state), {} isolated ({} searched, {} not), {} unproven; {} frames sent, {} of them mutants; {} transient; {} wrong",
        total.configurations,
        time.as_secs_f64(),
        total.with_verdict("exposed"),
        total.arrived,
        total.untold.values().sum::<u64>(),
        total.later.values().sum::<u64>(),
        total.with_verdict("isolated"),
        total.searched,
        total.unsearched,
        total.with_verdict("unproven"),
        total.sent,
        total.mutants,
        total.transient.len(),
        total.wrong.len(),
    );
}

fn print_mismatch(scenario: &Scenario, mismatch: &Mismatch) {
    for difference in &mismatch.differences {
        println!("  {difference}");
    }
    for seen in &mismatch.seen {
        println!("  seen: {seen}");
    }
    println!("the walk:");
    for step in &mismatch.walk {
        println!("  {step}");
    }
    println!("to repeat it:\n{}", script(scenario));
}

/// Runs a scenario once more and prints where the kernel dropped anything meanwhile, and why.
fn print_drops(runner: &mut Runner, scenario: &Scenario) -> Result<(), Error> {
    let mut trace = match DropTrace::start() {
        Ok(trace) => trace,
        Err(error) => {
            println!("where the kernel dropped it is not known: {error}");
            return Ok(());
        }
    };
    runner.run(scenario)?;
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    for dropped in trace.drain()? {
        let reason = dropped.reason.as_deref().unwrap_or("no reason given");
        *places.entry(format!("{}: {reason} ({})", dropped.location, dropped.protocol)).or_default() += 1;
    }
    println!("dropped meanwhile, on the whole machine:");
    for (place, count) in places {
        println!("  {count} times at {place}");
    }
    Ok(())
}

impl Total {
    fn add(&mut self, scenario: &Scenario, account: &Account) {
        self.scenarios += 1;
        self.cases += account.cases;
        self.open += account.open;
        self.unsent += account.unsent;
        self.endless += u64::from(account.endless.is_some());
        self.transient += u64::from(account.transient.is_some());
        for (at, reason) in &account.refused {
            let what = scenario.steps.get(*at).map_or("?", |step| step.sort());
            *self
                .refused
                .entry(format!("{what}: {}", reason.rsplit(": ").next().unwrap_or_default()))
                .or_default() += 1;
        }
        for question in &account.questions {
            *self.questions.entry(question.clone()).or_default() += 1;
        }
    }

    fn print(&self, seed: u64, time: Duration) {
        for (what, count) in &self.questions {
            println!("open question, {count} times: {what}");
        }
        for (what, count) in &self.refused {
            println!("refused, {count} times: {what}");
        }
        let minutes = time.as_secs_f64() / 60.0;
        println!(
            "seed {seed}: {} cases in {} scenarios, {:.0} a minute; {} with open questions, {} not sent, {} without end, {} transient; {} mismatches",
            self.cases,
            self.scenarios,
            self.cases as f64 / minutes,
            self.open,
            self.unsent,
            self.endless,
            self.transient,
            self.mismatches,
        );
    }
}
