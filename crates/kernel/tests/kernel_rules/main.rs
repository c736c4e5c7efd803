//! What a snapshot tells of rules that the tools make: every match and target that has a type, field by field, in legacy
//! tables and in nftables' compat expressions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod arp;
mod bridge;
mod chains;
mod ip;
mod ip6;
mod sets;

use std::net::IpAddr;
use std::process::Command;

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_snapshot::{
    Filters, LegacyFamily, LegacyHeader, LegacyRule, LegacyTable, LegacyTarget, NftExpr, NftFamily, NftTable,
    Reading, XtAddress, XtFlags, XtMasked, XtMatch, XtRange, XtTarget, XtValue, XtVerdict,
};

/// A rule as it is given to a tool, and as it must be read.
struct Case {
    /// `-t TABLE -A CHAIN …`; a tilde is a space within a word.
    words: &'static str,
    rule: LegacyRule,
}

/// A rule that goes on with the next one.
fn case(words: &'static str, header: LegacyHeader, matches: Vec<XtMatch>) -> Case {
    let target = LegacyTarget::Verdict(XtVerdict::Continue);
    Case { words, rule: LegacyRule { header, matches, watchers: Vec::new(), target } }
}

impl Case {
    fn target(mut self, target: XtTarget) -> Self {
        self.rule.target = LegacyTarget::Extension(target);
        self
    }

    fn verdict(mut self, verdict: XtVerdict) -> Self {
        self.rule.target = LegacyTarget::Verdict(verdict);
        self
    }

    /// Its table and its chain.
    fn place(&self) -> (&str, &str) {
        let words: Vec<_> = self.words.split(' ').collect();
        (words[1], words[3])
    }
}

fn filters() -> Filters {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    capture(&request).unwrap().namespaces.remove(0).filters
}

/// Runs a tool; what it said, if it could not.
fn run(program: &str, words: &str) -> Result<(), String> {
    let words = words.split(' ').map(|word| word.replace('~', " "));
    // A lock of the host's own is none of this namespace's business.
    let output = Command::new(program).env("XTABLES_LOCKFILE", "/dev/null").args(words).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Gives the rules to a tool, and returns those that it and the kernel take. The others are told in one line.
fn made(program: &str, cases: Vec<Case>) -> Vec<Case> {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for case in cases {
        match run(program, case.words) {
            Ok(()) => taken.push(case),
            Err(error) => refused.push((case.words, error)),
        }
    }
    if let Some((_, first)) = refused.first() {
        let rules: Vec<_> = refused.iter().map(|(words, _)| *words).collect();
        let first = first.lines().next().unwrap_or_default();
        // With some rules left the test is none that was skipped.
        let how = if taken.is_empty() { "skipped" } else { "in part" };
        println!("{how}, because {program} or the kernel refuses ({first}): {}", rules.join("; "));
    }
    taken
}

fn legacy_tables(family: LegacyFamily) -> Vec<LegacyTable> {
    let Reading::Read(tables) = filters().legacy_tables else { panic!("the legacy tables can be read") };
    tables.into_iter().filter(|table| table.family == family).collect()
}

/// Makes the rules with a legacy tool, and holds what is read against them.
fn reads_legacy(program: &str, family: LegacyFamily, cases: Vec<Case>) {
    let cases = made(program, cases);
    let tables = legacy_tables(family);
    if tables.iter().any(|table| table.entries.is_none()) {
        return println!("skipped, because this kernel does not list what stands at its hooks");
    }
    for table in &tables {
        for chain in table.chains.read().expect("the chains can be read") {
            let place = (table.table.as_str(), chain.name.as_str());
            let wanted: Vec<_> = cases.iter().filter(|case| case.place() == place).collect();
            assert_eq!(chain.rules.len(), wanted.len(), "{place:?}");
            for (found, wanted) in chain.rules.iter().zip(wanted) {
                assert_eq!(*found, wanted.rule, "{}", wanted.words);
            }
        }
    }
    let read: usize =
        tables.iter().flat_map(|table| table.chains.known()).map(|chain| chain.rules.len()).sum();
    assert_eq!(read, cases.len(), "every rule is somewhere");
}

/// Makes the rules with a tool that writes nftables, and holds the extensions that are read against them. What such a
/// tool writes as nftables' own expressions differs by its version.
fn reads_compat(program: &str, family: NftFamily, cases: Vec<Case>) {
    let cases = made(program, cases);
    let Reading::Read(tables) = filters().nft_tables else { panic!("nftables can be read") };
    let mut seen = 0;
    for case in &cases {
        let (table, chain) = case.place();
        let of = |found: &&NftTable| found.family == family && found.name == table;
        let table = tables.iter().find(of).unwrap();
        let at = cases.iter().filter(|other| other.place() == case.place());
        let at = at.take_while(|other| !std::ptr::eq(*other, case)).count();
        let rule = &table.chain(chain).unwrap().rules[at];
        for expression in &rule.expressions {
            match expression {
                NftExpr::Match(found) => {
                    assert!(case.rule.matches.contains(found), "{}: {found:?}", case.words)
                }
                NftExpr::Target(found) => {
                    let wanted = std::iter::once(&case.rule.target).filter_map(|target| match target {
                        LegacyTarget::Extension(target) => Some(target),
                        _ => None,
                    });
                    let mut wanted = wanted.chain(&case.rule.watchers);
                    assert!(wanted.any(|wanted| wanted == found), "{}: {found:?}", case.words);
                }
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(cases.is_empty() || seen > 0, "there are extensions among the rules");
    println!("{program}: {} rules, {seen} extensions", cases.len());
}

fn address(address: &str, mask: &str, inverted: bool) -> XtAddress {
    let parse = |text: &str| text.parse::<IpAddr>().unwrap();
    XtAddress { address: parse(address), mask: parse(mask), inverted }
}

const fn range<T>(from: T, to: T) -> XtRange<T> {
    XtRange { from, to, inverted: false }
}

const fn not_in<T>(from: T, to: T) -> XtRange<T> {
    XtRange { from, to, inverted: true }
}

const fn is<T>(value: T) -> XtValue<T> {
    XtValue { value, inverted: false }
}

const fn not<T>(value: T) -> XtValue<T> {
    XtValue { value, inverted: true }
}

const fn masked<T>(value: T, mask: T) -> XtMasked<T> {
    XtMasked { value, mask, inverted: false }
}

const fn not_masked<T>(value: T, mask: T) -> XtMasked<T> {
    XtMasked { value, mask, inverted: true }
}

const fn flags(flags: u32) -> XtFlags {
    XtFlags { flags, inverted: false }
}
