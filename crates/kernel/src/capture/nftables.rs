//! nftables: where its chains hook in, and every rule and set.

use std::collections::BTreeMap;

use nix::errno::Errno;
use portcullis_snapshot::{
    NftBaseChain, NftChain, NftElement, NftFamily, NftFlowtable, NftRule, NftSet, NftTable, Reading,
};
use portcullis_wire::nft::{self, Listing};

use super::filters::would_load;
use super::{reading, unsupported};
use crate::Error;
use crate::netlink::{Family, Socket};

/// How often everything is read again if it was changed meanwhile.
const TRIES: u32 = 8;

/// Everything that is read of nftables.
pub(super) struct Nftables {
    pub(super) chains: Reading<Vec<NftBaseChain>>,
    pub(super) tables: Reading<Vec<NftTable>>,
    pub(super) flowtables: Reading<Vec<NftFlowtable>>,
}

/// A table's family and its name.
type Key = (NftFamily, String);

/// Reads nftables. A module that is not loaded holds nothing, and is not loaded for the question.
pub(super) fn read() -> Nftables {
    if would_load("nf_tables") {
        let (chains, tables) = (Reading::Read(Vec::new()), Reading::Read(Vec::new()));
        return Nftables { chains, tables, flowtables: Reading::Read(Vec::new()) };
    }
    let mut socket = match Socket::open(Family::Netfilter) {
        Ok(socket) => socket,
        Err(error) => {
            let unread = error.unread();
            return Nftables {
                chains: Reading::Unread(unread.clone()),
                tables: Reading::Unread(unread.clone()),
                flowtables: Reading::Unread(unread),
            };
        }
    };
    let flowtables = nft_reading(flowtables(&mut socket));
    match consistent(&mut socket) {
        Ok((chains, tables)) => {
            Nftables { chains: Reading::Read(chains), tables: Reading::Read(tables), flowtables }
        }
        Err(error) => {
            let chains: Reading<Vec<NftBaseChain>> = nft_reading(Err(error));
            let tables = chains.unread().cloned().map_or_else(Reading::default, Reading::Unread);
            Nftables { chains, tables, flowtables }
        }
    }
}

/// A kernel without nftables answers `EINVAL` to what it takes for an unknown subsystem.
fn nft_reading<T>(result: Result<T, Error>) -> Reading<T> {
    match result {
        Err(error) if error.errno() == Some(Errno::EINVAL) => unsupported("this kernel has no nftables"),
        other => reading(other),
    }
}

/// Reads chains, rules and sets of one generation: several questions, between which somebody may change something.
fn consistent(socket: &mut Socket) -> Result<(Vec<NftBaseChain>, Vec<NftTable>), Error> {
    for _ in 0..TRIES {
        let before = generation(socket)?;
        let found = rulesets(socket);
        if generation(socket)? == before {
            return found;
        }
    }
    Err(Error::Interrupted { what: "reading nftables' rules".to_owned(), tries: TRIES })
}

/// The number that changes with every transaction.
fn generation(socket: &mut Socket) -> Result<Option<u32>, Error> {
    let mut found = None;
    socket.request("reading nftables' generation", nft::generation_request(), |reply| {
        found = nft::generation(reply.payload);
    })?;
    Ok(found)
}

fn rulesets(socket: &mut Socket) -> Result<(Vec<NftBaseChain>, Vec<NftTable>), Error> {
    let request = nft::listing_request(Listing::Tables);
    let mut tables: Vec<NftTable> =
        socket.dump("reading nftables", &request, Vec::new, |tables, reply| {
            tables.extend(nft::table(reply.payload).map(|(family, name, dormant)| NftTable {
                family,
                name,
                dormant,
                chains: Vec::new(),
                sets: Vec::new(),
            }));
        })?;
    if tables.is_empty() {
        return Ok((Vec::new(), tables));
    }
    let places: BTreeMap<Key, usize> =
        tables.iter().enumerate().map(|(at, table)| ((table.family, table.name.clone()), at)).collect();
    let bases = chains(socket, &places, &mut tables)?;
    rules(socket, &places, &mut tables)?;
    sets(socket, &places, &mut tables)?;
    Ok((bases, tables))
}

fn chains(
    socket: &mut Socket,
    places: &BTreeMap<Key, usize>,
    tables: &mut [NftTable],
) -> Result<Vec<NftBaseChain>, Error> {
    let request = nft::listing_request(Listing::Chains);
    let start = || (Vec::new(), Vec::new());
    let (mut bases, names) =
        socket.dump("reading nftables chains", &request, start, |(bases, names), reply| {
            bases.extend(nft::base_chain(reply.payload));
            names.extend(nft::chain(reply.payload));
        })?;
    for (family, table, name) in names {
        if let Some(table) = places.get(&(family, table)).and_then(|at| tables.get_mut(*at)) {
            table.chains.push(NftChain { name, rules: Vec::new() });
        }
    }
    for base in &mut bases {
        let table = places.get(&(base.family, base.table.clone())).and_then(|at| tables.get(*at));
        base.dormant = table.is_some_and(|table| table.dormant);
    }
    Ok(bases)
}

fn rules(socket: &mut Socket, places: &BTreeMap<Key, usize>, tables: &mut [NftTable]) -> Result<(), Error> {
    let request = nft::listing_request(Listing::Rules);
    let found: Vec<(NftFamily, String, String, NftRule)> =
        socket.dump("reading nftables rules", &request, Vec::new, |rules, reply| {
            let family = nft::family_of(reply.payload);
            let rule = nft::rule(reply.payload).zip(family);
            rules.extend(rule.map(|((table, chain, rule), family)| (family, table, chain, rule)));
        })?;
    // Looked up once for all rules: a table of iptables-nft may have thousands of chains.
    let chains: Vec<BTreeMap<String, usize>> = tables
        .iter()
        .map(|table| table.chains.iter().enumerate().map(|(at, chain)| (chain.name.clone(), at)).collect())
        .collect();
    for (family, table, chain, rule) in found {
        let Some(&at) = places.get(&(family, table)) else { continue };
        let place = chains.get(at).and_then(|chains| chains.get(&chain));
        let chain = tables.get_mut(at).zip(place).and_then(|(table, place)| table.chains.get_mut(*place));
        if let Some(chain) = chain {
            chain.rules.push(rule);
        }
    }
    Ok(())
}

fn sets(socket: &mut Socket, places: &BTreeMap<Key, usize>, tables: &mut [NftTable]) -> Result<(), Error> {
    let request = nft::listing_request(Listing::Sets);
    let found: Vec<(NftFamily, String, NftSet)> =
        socket.dump("reading nftables sets", &request, Vec::new, |sets, reply| {
            sets.extend(nft::set(reply.payload));
        })?;
    for (family, table, mut set) in found {
        let request = nft::elements_request(family, &table, &set.name);
        let what = format!("reading the elements of nftables set {table} {}", set.name);
        let start = || Some(Vec::new());
        let elements =
            socket.dump(&what, &request, start, |all: &mut Option<Vec<NftElement>>, reply| {
                match (all.as_mut(), nft::elements(reply.payload)) {
                    (Some(all), Some(more)) => all.extend(more),
                    _ => *all = None,
                }
            })?;
        let detail = "an element does not say which keys it stands for".to_owned();
        set.elements = elements.ok_or(Error::Malformed { what, detail })?;
        nft::sort(&mut set.elements);
        if let Some(table) = places.get(&(family, table)).and_then(|at| tables.get_mut(*at)) {
            table.sets.push(set);
        }
    }
    Ok(())
}

fn flowtables(socket: &mut Socket) -> Result<Vec<NftFlowtable>, Error> {
    let request = nft::listing_request(Listing::Flowtables);
    socket.dump("reading nftables flowtables", &request, Vec::new, |flowtables, reply| {
        flowtables.extend(nft::flowtable(reply.payload));
    })
}
