//! `portcullis snapshot --format text`: what a snapshot holds, in a few lines.

use std::io::{self, Write};

use portcullis_snapshot::{Netns, Snapshot, UnreadCause};

use super::{Clean, plural, wrapped};

/// Writes what a snapshot holds, and what it does not.
///
/// # Errors
/// Whatever writing gives.
pub fn snapshot(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let (host, kernel) = (Clean(&snapshot.kernel.host), Clean(&snapshot.kernel.release));
    writeln!(out, "{host}, Linux {kernel}, as of {}", Clean(&snapshot.taken_at))?;
    for netns in &snapshot.namespaces {
        write_netns(out, netns)?;
    }
    for problem in &snapshot.problems {
        wrapped(out, 0, &format!("Not as it should be: {}: {}", problem.what, problem.message))?;
    }
    Ok(())
}

fn write_netns(out: &mut impl Write, netns: &Netns) -> io::Result<()> {
    let links = netns.links.known();
    let ports = links.iter().filter(|link| link.bridge_port().is_some()).count();
    let bridges = netns.bridges().count();
    let mut parts = vec![plural(links.len(), "link"), plural(bridges, "bridge"), plural(ports, "port")];
    parts.push(format!("{} FDB entries", netns.fdb.known().len()));
    parts.push(plural(netns.addresses.known().len(), "address").replace("addresss", "addresses"));
    parts.push(plural(netns.routes.known().len(), "route"));
    wrapped(out, 0, &format!("{}: {}", netns.label(), parts.join(", ")))?;
    // What the kernel does not have cannot be missing.
    let mut missing = netns.unread().filter(|(_, why)| why.cause != UnreadCause::Unsupported);
    missing.try_for_each(|(what, why)| wrapped(out, 2, &format!("not read: {what}: {}", why.reason)))
}
