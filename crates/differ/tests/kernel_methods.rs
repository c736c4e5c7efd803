//! The table of `docs/methods.md`: what each isolation method of the articles leaves open, proven from what this kernel
//! tells of the network, and asked of the kernel itself. Pairs beyond these: `portcullis-differ --methods --pairs`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_differ::methods::{COLUMNS, METHODS, Method, table};
use portcullis_differ::proofs::{Judge, Kernel, Search};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_prove::{Exposure, Goal, HostProtocol, Verdict};
use portcullis_testnet::{fresh, skip};

/// Frames of neighbouring networks are `kernel_prove`'s business.
const SEARCH: Search = Search { frames: 300, neighbours: 0, most_ways: 20_000 };
/// How often a row that is not as documented is taken again.
const PATIENCE: usize = 4;
const DOCUMENT: &str = include_str!("../../../docs/methods.md");
/// Which protocols have handlers beside ARP and IP differs from kernel to kernel.
const NOT_OF_THE_METHOD: &str = "host other";

fn method(name: &str) -> &'static Method {
    METHODS.iter().find(|method| method.name == name).unwrap()
}

/// The pairs that close the way to the host.
fn pairs() -> Vec<Vec<&'static Method>> {
    let with_drop = ["vlan filtering", "tc ingress", "bridge input", "netdev ingress"];
    let mut pairs: Vec<_> =
        with_drop.iter().map(|name| vec![method(name), method("link-local drop")]).collect();
    pairs.push(vec![method("arp_ignore"), method("rp_filter")]);
    pairs
}

/// The kernels that the document is of. Others differ where they lack an option: `portcullis-differ --methods` asks any.
const DOCUMENTED: [&str; 2] = ["6.12.", "6.18."];

fn is_documented() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    DOCUMENTED.iter().any(|known| release.starts_with(known))
}

/// The cells of a row of the document.
fn documented(name: &str) -> Option<Vec<&'static str>> {
    let start = format!("| {name} |");
    let tables = DOCUMENT.split_once("## The table").map_or(DOCUMENT, |(_, tables)| tables);
    let line = tables.lines().find(|line| line.starts_with(&start))?;
    Some(line.trim_matches('|').split('|').skip(1).map(str::trim).collect())
}

#[test]
fn each_method_leaves_open_what_the_document_says() {
    fresh(|| {
        if !is_documented() {
            skip!("docs/methods.md is of other kernels; portcullis-differ --methods asks this one");
        }
        pin_to_one_processor().unwrap();
        let mut judge = Judge::new(SEARCH);
        let singles = METHODS.iter().map(|method| vec![method]);
        println!("{}", table::head());
        for methods in std::iter::once(Vec::new()).chain(singles).chain(pairs()) {
            let name = table::name(&methods);
            let document = documented(&name).unwrap_or_default();
            let agrees = |row: &table::Row| {
                let cells = COLUMNS.iter().zip(&row.cells).zip(&document);
                cells.filter(|cell| *cell.0.0 != NOT_OF_THE_METHOD).all(|((_, cell), known)| cell == known)
            };
            let mut row = table::row(&mut judge, &methods).unwrap();
            // Addresses come up in the kernel's own time: on a busy machine some may not have been there yet.
            for _ in 0..PATIENCE {
                if agrees(&row) {
                    break;
                }
                row = table::row(&mut judge, &methods).unwrap();
            }
            println!("{}", row.line);
            let wrong: Vec<_> = row.wrong.iter().flat_map(|wrong| wrong.lines()).collect();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            let cells = COLUMNS.iter().zip(&row.cells).zip(&document).zip(&row.claims);
            for (((column, cell), document), claim) in cells.filter(|cell| *cell.0.0.0 != NOT_OF_THE_METHOD) {
                assert_eq!(cell, document, "{name}: {column}: {claim:?}");
            }
            // The first article's two commands.
            if name == "vlan filtering" && !row.cells.is_empty() {
                for goal in [HostProtocol::Arp, HostProtocol::Ipv4, HostProtocol::Ipv6].map(Goal::Host) {
                    let claim = row.claims.iter().find(|claim| claim.goal == goal).unwrap();
                    let Verdict::Exposed(Exposure { frame, .. }) = &claim.verdict else { unreachable!() };
                    assert_eq!(claim.kernel, Kernel::Confirmed, "{claim:?}");
                    assert!(frame.starts_with(&[0x01, 0x80, 0xc2, 0x00, 0x00]), "{claim:?}");
                }
            }
        }
    });
}
