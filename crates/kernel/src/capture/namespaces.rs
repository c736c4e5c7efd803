//! Which namespaces there are: named ones, bound ones, and those that only a process holds.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

use portcullis_snapshot::{Netns as Captured, NetnsId, Reading};
use portcullis_wire::{Attributes, Message, NLM_F_ACK};

use super::Scope;
use super::processes::ProcessTable;
use crate::Error;
use crate::namespace::{self, Netns};
use crate::netlink::{Family, Socket};

/// A namespace that can be opened.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) netns: Netns,
    pub(super) names: Vec<String>,
}

impl Candidate {
    pub(super) fn label(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.netns.id().to_string())
    }
}

/// The first name of each namespace that has one.
pub(super) type Names = HashMap<NetnsId, String>;

/// Looks every name up.
pub(super) fn names_by_id() -> Names {
    let mut names = Names::new();
    for name in namespace::names() {
        if let Ok(netns) = Netns::named(&name) {
            names.entry(netns.id()).or_insert(name);
        }
    }
    names
}

/// Finds the namespaces of a scope; those that cannot be opened are left out. Only [`Scope::All`] has those of processes
/// in it.
pub(super) fn find(scope: &Scope, processes: Option<&ProcessTable>) -> Result<Vec<Candidate>, Error> {
    let first = match scope {
        Scope::Named(name) if name.contains('/') => Netns::open(name)?,
        Scope::Named(name) => Netns::named(name)?,
        Scope::Current | Scope::All => Netns::current()?,
        Scope::Paths(paths) => {
            let open = |path| Ok(Candidate { netns: Netns::open(path)?, names: Vec::new() });
            return paths.iter().map(open).collect();
        }
    };
    let mut found = vec![Candidate { netns: first, names: Vec::new() }];
    let mut add = |netns: Netns, name: Option<String>| match found
        .iter_mut()
        .find(|known| known.netns.id() == netns.id())
    {
        Some(known) => known.names.extend(name),
        None if *scope == Scope::All => found.push(Candidate { netns, names: name.into_iter().collect() }),
        None => {}
    };
    for name in namespace::names() {
        if let Ok(netns) = Netns::named(&name) {
            add(netns, Some(name));
        }
    }
    if *scope == Scope::All {
        let bound = namespace::bind_mounts().into_iter().filter_map(|path| Netns::open(path).ok());
        let held = processes.into_iter().flat_map(ProcessTable::namespaces);
        let held = held.filter_map(|(_, pid)| Netns::of_process(pid).ok());
        for netns in bound.chain(held) {
            add(netns, None);
        }
    }
    if let Some((_, others)) = found.split_first_mut() {
        others.sort_by_key(|candidate| (candidate.names.is_empty(), candidate.label()));
    }
    Ok(found)
}

/// Finds out which namespace each `IFLA_LINK_NETNSID` means, by asking each namespace for its ids of the others.
pub(super) fn resolve_nsids(found: &[Candidate], captured: &mut [Captured], processes: &ProcessTable) {
    let everywhere = everywhere(processes);
    let all: Vec<&Netns> = everywhere.iter().chain(found.iter().map(|candidate| &candidate.netns)).collect();
    for netns in captured {
        let Reading::Read(links) = &mut netns.links else { continue };
        if links.iter().all(|link| link.link_netns.is_none()) {
            continue;
        }
        let Some(home) = found.iter().find(|candidate| candidate.netns.id() == netns.id) else { continue };
        let ids = home.netns.run(|| nsids(&all)).and_then(|ids| ids).unwrap_or_default();
        for other in links.iter_mut().filter_map(|link| link.link_netns.as_mut()) {
            other.netns = ids.get(&other.nsid).copied();
        }
    }
}

/// Every namespace that can be opened, whether it is in scope or not: a veth's peer may be in any.
fn everywhere(processes: &ProcessTable) -> Vec<Netns> {
    let named = namespace::names().into_iter().filter_map(|name| Netns::named(&name).ok());
    let held = processes.namespaces().filter_map(|(_, pid)| Netns::of_process(pid).ok());
    let bound = namespace::bind_mounts().into_iter().filter_map(|path| Netns::open(path).ok());
    let mut all: Vec<Netns> = named.chain(held).chain(bound).collect();
    all.sort_by_key(Netns::id);
    all.dedup_by_key(|netns| netns.id());
    all
}

/// `RTM_GETNSID` for each namespace: the id that the calling thread's namespace has for it.
fn nsids(all: &[&Netns]) -> Result<HashMap<i32, NetnsId>, Error> {
    const RTM_GETNSID: u16 = 90;
    const NETNSA_NSID: u16 = 1;
    const NETNSA_FD: u16 = 3;
    let mut route = Socket::open(Family::Route)?;
    let mut ids = HashMap::new();
    for netns in all {
        let message = Message::new(RTM_GETNSID, NLM_F_ACK)
            .header(&[0; 4])
            .put_u32(NETNSA_FD, netns.as_fd().as_raw_fd().cast_unsigned());
        let asked = route.request("asking for a namespace's id", message, |reply| {
            let nsid = Attributes::after(reply.payload, 4).get(NETNSA_NSID).and_then(|nsid| nsid.u32());
            if let Some(nsid) = nsid.map(u32::cast_signed).filter(|nsid| *nsid >= 0) {
                ids.insert(nsid, netns.id());
            }
        });
        // One that went away meanwhile has no id; the others still have theirs.
        drop(asked);
    }
    Ok(ids)
}
