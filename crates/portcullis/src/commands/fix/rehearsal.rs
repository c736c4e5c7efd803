//! Trying remedies where nobody is: in a network namespace of their own, with a bridge that has ports but no guests.
//!
//! Which remedies a kernel takes depends on how it was built and on what may be loaded. Nothing tells but trying.

use std::collections::BTreeMap;

use portcullis_apply::{Host, Live};
use portcullis_audit::Policy;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::{Error, capture};
use portcullis_plan::{Method, Request, plan};
use portcullis_snapshot::{FdbEntry, Kernel, MacAddr, Reading, SCHEMA, Snapshot};

/// Everybody is a guest here, and whatever a remedy is for is wanted.
const POLICY: &str = "[[port]]\nname = \"*\"\nrole = \"guest\"\n[[bridge]]\nguest-to-guest = \"deny\"\n";
const PORTS: [&str; 2] = ["port0", "port1"];

/// Tries remedies, and returns those that the kernel refuses, with its words.
///
/// # Errors
/// Without the right to make namespaces.
pub(super) fn refused(methods: &[Method]) -> Result<BTreeMap<Method, String>, Error> {
    Netns::create()?.run(|| {
        build()?;
        // Mostly all of them are taken; which are not is asked of each.
        if attempt(methods) == Some(Ok(())) {
            return Ok(BTreeMap::new());
        }
        let refusal = |method: &Method| Some((*method, attempt(&[*method])?.err()?));
        Ok(methods.iter().filter_map(refusal).collect())
    })?
}

/// A bridge with two ports.
fn build() -> Result<(), Error> {
    let mut route = Socket::open(Family::Route)?;
    NewLink::new("bridge0", "bridge").create(|data| data).apply(&mut route)?;
    let bridge = link::index_of(&mut route, "bridge0")?;
    link::up(bridge).apply(&mut route)?;
    for (name, number) in PORTS.into_iter().zip(1u8..) {
        let address = |of| MacAddr([2, 0, 0, 0, of, number]);
        NewLink::new(name, "veth")
            .address(address(1))
            .veth(&format!("{name}x"), address(2), None)
            .apply(&mut route)?;
        let port = link::index_of(&mut route, name)?;
        link::master(port, Some(bridge)).apply(&mut route)?;
        link::up(port).apply(&mut route)?;
    }
    Ok(())
}

/// Has the bridge know an address behind each port, for remedies that need to. Nobody is there to be heard: what is planned
/// by it is tried all the same.
fn hear(netns: &mut portcullis_snapshot::Netns) {
    const REACHABLE: u16 = 2;
    const MASTER: u8 = 4;
    let Reading::Read(entries) = &mut netns.fdb else { return };
    let ports = netns.links.known().iter().filter(|link| link.bridge_port().is_some());
    for (port, number) in ports.zip(1u8..) {
        let entry = FdbEntry::new(port.index, port.master, MacAddr([2, 0, 0, 0, 3, number]), REACHABLE);
        entries.push(FdbEntry { flags: MASTER, ..entry });
    }
}

/// Makes remedies and takes them back; `None` where there is no plan of them. One that has nothing to change here is not
/// refused: what it needs is there already.
fn attempt(methods: &[Method]) -> Option<Result<(), String>> {
    let policy = Policy::parse(POLICY).ok()?;
    let mut netns = match capture::here() {
        Ok(netns) => netns,
        // What cannot be tried is not taken for granted.
        Err(error) => return Some(Err(error.to_string())),
    };
    hear(&mut netns);
    let id = netns.id;
    let snapshot = Snapshot {
        schema: SCHEMA.to_owned(),
        version: String::new(),
        taken_at: String::new(),
        kernel: Kernel { release: String::new(), host: String::new() },
        namespaces: vec![netns],
        problems: Vec::new(),
    };
    let request = Request {
        methods,
        complete: false,
        bridges: &[],
        refused: &BTreeMap::new(),
        today: jiff::civil::Date::ZERO,
    };
    let plan = plan(&snapshot, id, &policy, &request).ok()?;
    let mut host = Live::new();
    let made = host.make(&plan.changes).map_err(|error| error.to_string());
    let seen = match capture::here() {
        Ok(seen) => seen,
        Err(error) => return Some(Err(error.to_string())),
    };
    // Of what was refused, a part may be there.
    let back: Vec<_> = plan.changes.iter().rev().cloned().collect();
    let _ = host.take_back(&back, &seen);
    Some(made)
}
