//! Sets of ipset that rules look into.

use std::collections::BTreeSet;

use nix::errno::Errno;
use portcullis_snapshot::{
    IpSet, IpSetMember, LegacyTable, LegacyTarget, NftExpr, NftTable, Reading, XtMatch, XtSet, XtTarget,
};
use portcullis_wire::ipset;

use super::reading;
use crate::Error;
use crate::netlink::{Family, Socket};

/// How often everything is read again if a set goes or is swapped meanwhile.
const TRIES: u32 = 8;

/// Reads the sets that rules name, and those that are members of them. A kernel whose rules name a set has ipset, so
/// that asking loads nothing. Before Linux 4.20 it refuses, for it does not tell the numbers of its sets.
pub(super) fn read(legacy: &[LegacyTable], nft: &[NftTable]) -> Reading<Vec<IpSet>> {
    let used = used(legacy, nft);
    if used.is_empty() {
        return Reading::Read(Vec::new());
    }
    reading(settled(&used))
}

/// The numbers that rules name sets by.
fn used(legacy: &[LegacyTable], nft: &[NftTable]) -> BTreeSet<u16> {
    let rules = legacy.iter().flat_map(|table| table.chains.known()).flat_map(|chain| &chain.rules);
    let in_legacy = rules.flat_map(|rule| {
        let target = match &rule.target {
            LegacyTarget::Extension(target) => Some(target),
            _ => None,
        };
        rule.matches.iter().flat_map(of_match).chain(target.into_iter().flat_map(of_target))
    });
    let rules = nft.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let in_nft = rules.flat_map(|rule| &rule.expressions).flat_map(|expression| match expression {
        NftExpr::Match(found) => of_match(found).collect::<Vec<_>>(),
        NftExpr::Target(found) => of_target(found).collect(),
        _ => Vec::new(),
    });
    in_legacy.chain(in_nft).map(|set| set.index).collect()
}

fn of_match(found: &XtMatch) -> impl Iterator<Item = &XtSet> {
    let set = match found {
        XtMatch::Set(found) => Some(&found.set),
        _ => None,
    };
    set.into_iter()
}

fn of_target(found: &XtTarget) -> impl Iterator<Item = &XtSet> {
    let sets = match found {
        XtTarget::Set(found) => [found.add.as_ref(), found.delete.as_ref(), found.map.as_ref()],
        _ => [None; 3],
    };
    sets.into_iter().flatten()
}

fn settled(used: &BTreeSet<u16>) -> Result<Vec<IpSet>, Error> {
    let mut socket = Socket::open(Family::Netfilter)?;
    for _ in 1..TRIES {
        if let Some(sets) = sets(&mut socket, used)? {
            return Ok(sets);
        }
    }
    let what = "reading ipsets".to_owned();
    sets(&mut socket, used)?.ok_or(Error::Interrupted { what, tries: TRIES })
}

/// The sets, by their numbers; `None` if they changed meanwhile.
fn sets(socket: &mut Socket, used: &BTreeSet<u16>) -> Result<Option<Vec<IpSet>>, Error> {
    let heads: Vec<IpSet> =
        socket.dump("reading ipsets", &ipset::heads_request(), Vec::new, |heads, reply| {
            heads.extend(ipset::head(reply.payload));
        })?;
    let (mut wanted, mut found) = (Vec::new(), Vec::<IpSet>::new());
    for index in used {
        match heads.iter().find(|head| head.index == *index) {
            Some(head) => wanted.push(head),
            None => return Ok(None),
        }
    }
    while let Some(head) = wanted.pop() {
        if found.iter().any(|set| set.index == head.index) {
            continue;
        }
        let Some(set) = members(socket, head)? else { return Ok(None) };
        for name in set.members.iter().filter_map(|member| member.set.as_deref()) {
            match heads.iter().find(|head| head.name == name) {
                Some(head) => wanted.push(head),
                None => return Ok(None),
            }
        }
        found.push(set);
    }
    found.sort_by_key(|set| set.index);
    Ok(Some(found))
}

/// One set with its members; `None` if it has gone, or another has its name now (`ip_set_swap`).
fn members(socket: &mut Socket, head: &IpSet) -> Result<Option<IpSet>, Error> {
    let what = format!("reading the ipset {}", head.name);
    let start = || (None, Some(Vec::new()));
    let fold = |(set, members): &mut (Option<IpSet>, Option<Vec<IpSetMember>>), payload: &[u8]| {
        if set.is_none() {
            *set = ipset::head(payload);
        }
        match (members.as_mut(), ipset::members(payload)) {
            (Some(all), Some(more)) => all.extend(more),
            _ => *members = None,
        }
    };
    let request = ipset::set_request(&head.name);
    let (set, members) = match socket.dump(&what, &request, start, |all, reply| fold(all, reply.payload)) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    let detail = "a member that makes no sense".to_owned();
    let members = members.ok_or(Error::Malformed { what, detail })?;
    Ok(set.filter(|set| set.index == head.index).map(|set| IpSet { members, ..set }))
}
