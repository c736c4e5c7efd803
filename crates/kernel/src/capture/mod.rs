//! Taking a snapshot: one namespace after another, each read by threads that live in it.
//!
//! Every table is read as a whole or recorded as unread with the kernel's reason. What changes while it is read is
//! read again; if it will not hold still, the snapshot says so.

mod behind;
mod bpf;
mod filters;
mod inet;
mod ipsets;
mod legacy_tables;
mod links;
mod namespaces;
mod nftables;
mod processes;
mod sockets;
mod tc;

use std::thread;

use nix::sys::utsname::uname;
use portcullis_snapshot::{
    Address, FdbEntry, Filters, Ipv4Conf, Ipv6Conf, Kernel, Link, Listener, Mdb, Membership, MstState,
    Neighbour, Netns, NetnsId, PacketSocket, PolicyRule, Problem, ProtocolHandler, Reading, Route, SCHEMA,
    Settings, Snapshot, Unread, UnreadCause, VlanGlobal, VlanTable,
};

use namespaces::Candidate;
use processes::ProcessTable;

use crate::Error;
use crate::netlink::{Events, Family, Socket};

pub use behind::container_of_cgroup;

/// Which namespaces to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The one this thread is in.
    Current,
    /// One that has a name under `/run/netns`, or a path.
    Named(String),
    /// Several by their paths, in this order; `/proc/self/fd/N` is one that is held open.
    Paths(Vec<String>),
    /// Every one that can be found, the current one first.
    All,
}

/// What to read, and what to write on it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which namespaces.
    pub scope: Scope,
    /// The time, in RFC 3339: there is no clock here.
    pub taken_at: String,
    /// The version of the program.
    pub version: String,
}

/// Reads the interfaces and the FDB of the calling thread's namespace, and nothing else: for those who wait for the
/// kernel to do something in the background.
///
/// # Errors
/// If they cannot be read.
pub fn links_and_fdb(route: &mut Socket) -> Result<(Vec<Link>, Vec<FdbEntry>), Error> {
    Ok((links::links(route)?, links::fdb(route)?))
}

/// Reads the calling thread's namespace as it is now, and nothing about processes. Interfaces that change meanwhile are read
/// again, as far as they hold still.
///
/// # Errors
/// If not even its links can be asked for.
pub fn here() -> Result<Netns, Error> {
    Ok(read_settled(crate::namespace::Netns::current()?.id())?.0)
}

/// Reads the neighbour entries of the namespace that a socket was opened in, and nothing else.
///
/// # Errors
/// If they cannot be read.
pub fn neighbours(route: &mut Socket) -> Result<Vec<Neighbour>, Error> {
    inet::neighbours(route)
}

/// How often a namespace that changes under the reader is read.
const TRIES: u32 = 3;

/// Takes a snapshot.
///
/// # Errors
/// If not even the first namespace's links can be asked for. Whatever else cannot be read is recorded in the snapshot.
pub fn capture(request: &Request) -> Result<Snapshot, Error> {
    let mut problems = Vec::new();
    // Processes are looked through while the namespaces are read, unless it takes them to find the namespaces.
    let early = (request.scope == Scope::All).then(ProcessTable::scan);
    let found = namespaces::find(&request.scope, early.as_ref())?;
    let read_each = || -> Vec<_> {
        let read = |candidate: &Candidate| {
            candidate.netns.run(|| read_settled(candidate.netns.id())).and_then(|done| done)
        };
        found.iter().map(|candidate| (candidate, read(candidate))).collect()
    };
    let (results, processes) = thread::scope(|scope| {
        let results = scope.spawn(read_each);
        let processes = early.unwrap_or_else(ProcessTable::scan);
        (results.join().map_err(|_| Error::Thread), processes)
    });
    let mut captured = Vec::new();
    let mut obstacle = None;
    for (candidate, result) in results? {
        match result {
            Ok((netns, unsettled)) => {
                problems.extend(unsettled);
                captured.push(netns);
            }
            Err(error) => {
                problems.push(Problem {
                    netns: Some(candidate.netns.id()),
                    what: format!("network namespace {}", candidate.label()),
                    message: error.to_string(),
                });
                obstacle.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (captured.is_empty(), obstacle) {
        return Err(error);
    }
    for (netns, candidate) in captured.iter_mut().filter_map(|netns| {
        let candidate = found.iter().find(|candidate| candidate.netns.id() == netns.id)?;
        Some((netns, candidate))
    }) {
        netns.names.clone_from(&candidate.names);
        netns.processes = processes.living_in(netns.id);
    }
    namespaces::resolve_nsids(&found, &mut captured, &processes);
    behind::attribute(&mut captured, &processes);
    let (release, host) = identity();
    Ok(Snapshot {
        schema: SCHEMA.to_owned(),
        version: request.version.clone(),
        taken_at: request.taken_at.clone(),
        kernel: Kernel { release, host },
        namespaces: captured,
        problems,
    })
}

fn identity() -> (String, String) {
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    uname().map_or_else(|_| Default::default(), |name| (text(name.release()), text(name.nodename())))
}

/// Reads the calling thread's namespace until no interface changes meanwhile.
fn read_settled(id: NetnsId) -> Result<(Netns, Option<Problem>), Error> {
    let mut route = Socket::open(Family::Route)?;
    let mut events = Events::of_links()?;
    for _ in 1..TRIES {
        let netns = read(id, &mut route)?;
        if events.drain()?.is_empty() {
            return Ok((netns, None));
        }
    }
    let netns = read(id, &mut route)?;
    let message = format!("interfaces changed each time it was read ({TRIES} tries)");
    let problem = Problem { netns: Some(id), what: "consistency".to_owned(), message };
    Ok((netns, (!events.drain()?.is_empty()).then_some(problem)))
}

/// Reads the calling thread's namespace once: its interfaces and bridges here, its own stack on a second thread
/// meanwhile, which starts in the namespace of the one that starts it.
fn read(id: NetnsId, route: &mut Socket) -> Result<Netns, Error> {
    let (bridging, stack) = thread::scope(|scope| {
        let stack = scope.spawn(Stack::read);
        (Bridging::read(route), stack.join().map_err(|_| Error::Thread))
    });
    let (bridging, stack) = (bridging?, stack??);
    Ok(Netns {
        id,
        names: Vec::new(),
        processes: Vec::new(),
        vlans: bridging.vlans,
        vlan_globals: bridging.vlan_globals,
        mst: bridging.mst,
        fdb: bridging.fdb,
        mdb: bridging.mdb,
        addresses: stack.addresses,
        routes: stack.routes,
        rules: stack.rules,
        neighbours: stack.neighbours,
        ipv4: stack.ipv4,
        ipv6: stack.ipv6,
        filters: bridging.filters,
        listeners: stack.listeners,
        packet_sockets: stack.packet_sockets,
        protocol_handlers: stack.protocol_handlers,
        memberships: stack.memberships.map(|all| sockets::of_links(all, &bridging.links)),
        links: Reading::Read(bridging.links),
    })
}

/// The interfaces of a namespace, and what decides about frames between them.
struct Bridging {
    links: Vec<Link>,
    vlans: Reading<Vec<VlanTable>>,
    vlan_globals: Reading<Vec<VlanGlobal>>,
    mst: Reading<Vec<MstState>>,
    fdb: Reading<Vec<FdbEntry>>,
    mdb: Reading<Mdb>,
    filters: Filters,
}

impl Bridging {
    fn read(route: &mut Socket) -> Result<Self, Error> {
        let links = links::links(route)?;
        let has_bridges = links.iter().any(|link| link.bridge().is_some());
        Ok(Self {
            filters: filters::read(route, &links),
            vlans: if has_bridges { reading(links::vlans(route, &links)) } else { Reading::Read(Vec::new()) },
            vlan_globals: if has_bridges {
                reading(links::vlan_globals(route))
            } else {
                Reading::Read(Vec::new())
            },
            mst: reading(links::mst(route, &links)),
            // Devices that are no bridges have entries too: their second addresses.
            fdb: reading(links::fdb(route)),
            mdb: if has_bridges { reading(links::mdb(route)) } else { Reading::Read(Mdb::default()) },
            links,
        })
    }
}

/// What a namespace's own stack goes by.
struct Stack {
    addresses: Reading<Vec<Address>>,
    routes: Reading<Vec<Route>>,
    rules: Reading<Vec<PolicyRule>>,
    neighbours: Reading<Vec<Neighbour>>,
    ipv4: Reading<Settings<Ipv4Conf>>,
    ipv6: Reading<Settings<Ipv6Conf>>,
    listeners: Reading<Vec<Listener>>,
    packet_sockets: Reading<Vec<PacketSocket>>,
    protocol_handlers: Reading<Vec<ProtocolHandler>>,
    memberships: Reading<Vec<Membership>>,
}

impl Stack {
    fn read() -> Result<Self, Error> {
        let mut route = Socket::open(Family::Route)?;
        Ok(Self {
            addresses: reading(inet::addresses(&mut route)),
            routes: reading(inet::routes(&mut route)),
            rules: reading(inet::rules(&mut route)),
            neighbours: reading(inet::neighbours(&mut route)),
            ipv4: reading(inet::ipv4_settings()),
            ipv6: reading(inet::ipv6_settings()),
            listeners: sockets::listeners(),
            packet_sockets: sockets::packet_sockets(),
            protocol_handlers: reading(sockets::protocol_handlers()),
            memberships: reading(sockets::memberships(&mut route)),
        })
    }
}

/// Turns a result into what was read or why not.
fn reading<T>(result: Result<T, Error>) -> Reading<T> {
    match result {
        Ok(value) => Reading::Read(value),
        Err(error) => Reading::Unread(error.unread()),
    }
}

/// Something that this kernel does not have.
fn unsupported<T>(reason: &str) -> Reading<T> {
    Reading::Unread(Unread { cause: UnreadCause::Unsupported, reason: reason.to_owned() })
}
