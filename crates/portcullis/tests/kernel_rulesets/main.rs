//! Rulesets as products write them (`tests/rulesets/`), loaded by the tools themselves into a host as such a product
//! builds it: no rule is lost, what the product promises is proven or refuted, and the kernel agrees, frame by frame.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

mod claims;
mod frames;
mod incus;
mod world;

use world::{Site, World};

/// Runs a test on a host in a namespace of its own.
fn on(site: Site, test: impl FnOnce(World) + Send) {
    portcullis_testnet::fresh(|| test(World::new(site)));
}
