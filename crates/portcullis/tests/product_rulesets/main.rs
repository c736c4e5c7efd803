//! Rulesets as products write them (`tests/rulesets/`), loaded by the tools themselves into a host as such a product
//! builds it: no rule is lost, what the product promises is proven or refuted, and the kernel agrees, frame by frame.
//! On this machine's kernel alone: emulated it would take longer than all other tests together.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

mod claims;
mod docker;
mod firewalld;
mod frames;
mod incus;
mod libvirt;
mod proxmox;
mod world;

use claims::{Promise, check, inventory};
use world::{Site, World, snapshot};

/// Runs a test on a host in a namespace of its own.
fn on(site: Site, test: impl FnOnce(World) + Send) {
    portcullis_testnet::fresh(|| test(World::new(site)));
}

/// Puts what a product promises to the proof and to the kernel, once its rules are loaded; `Err` is why they are not.
fn hold(world: &mut World, name: &str, promises: &[Promise], loaded: Result<(), String>) {
    match loaded {
        Ok(()) => {
            let text = inventory(&snapshot()) + &check(world, name, promises);
            println!("{name}:\n{text}");
        }
        Err(why) => println!("skipped, because {why}"),
    }
}
