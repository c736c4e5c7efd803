//! One test: a host, a ruleset, and what is promised of it.

use portcullis_snapshot::Snapshot;

use crate::claims::{Promise, check, inventory};
use crate::world::{Site, World, snapshot};

/// Runs a test on a host in a namespace of its own.
pub(crate) fn on(site: Site, test: impl FnOnce(World) + Send) {
    portcullis_testnet::fresh(|| test(World::new(site)));
}

/// Puts what a product promises to the proof and to the kernel, once its rules are loaded; `Err` is why they are not.
pub(crate) fn hold(world: &mut World, name: &str, promises: &[Promise], loaded: Result<(), String>) {
    match loaded {
        Ok(()) => {
            if let Some(why) = unread(&snapshot()) {
                println!("skipped, because {why}");
                return;
            }
            let text = inventory(&snapshot()) + &check(world, name, promises);
            println!("{name}:\n{text}");
        }
        Err(why) => println!("skipped, because {why}"),
    }
}

/// Why legacy tables were not read, of which a kernel shows that they are there. What is claimed is unproven then.
fn unread(snapshot: &Snapshot) -> Option<String> {
    let tables = snapshot.namespaces.iter().flat_map(|netns| netns.filters.legacy_tables.known());
    tables.filter_map(|table| table.chains.unread()).map(|why| why.reason.clone()).next()
}
