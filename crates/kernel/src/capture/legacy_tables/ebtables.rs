//! Legacy ebtables. Since Linux 5.15 a namespace has a table only once somebody asked for it (`find_inlist_lock_noload`),
//! so that the hooks have to tell which there are.

use std::os::fd::AsFd;

use nix::errno::Errno;
use portcullis_snapshot::{LegacyFamily, LegacyTable, Reading, Unread, UnreadCause};
use portcullis_wire::{nft, xt};

use super::{settled, socket, table};
use crate::netlink::{Family, Socket};
use crate::{Error, sys};

/// The tables of this namespace that do anything.
pub(super) fn tables() -> Result<Vec<LegacyTable>, Error> {
    let modules = std::fs::read_to_string("/proc/modules");
    if modules.as_ref().is_ok_and(|modules| !modules.lines().any(|line| line.starts_with("ebtables "))) {
        return Ok(Vec::new());
    }
    let Some(present) = at_hooks()? else {
        return Ok(in_use(&modules.unwrap_or_default()));
    };
    let mut tables = Vec::new();
    for name in present {
        let what = format!("reading the ebtables table {name}");
        let socket = socket(libc::AF_INET).map_err(|errno| Error::refused(what.clone(), errno))?;
        let (info, bytes) = settled(&what, || {
            let info = sys::ebt_get_info(socket.as_fd(), name)?;
            let bytes = sys::ebt_get_entries(socket.as_fd(), &info)?;
            Ok((info, bytes))
        })?;
        let chains = xt::ebtables::chains(info.valid_hooks, &bytes);
        tables.extend(table(LegacyFamily::Ebtables, name, info.nentries, &what, chains));
    }
    Ok(tables)
}

/// The tables that stand at hooks of this namespace, each by a hook that no other is at; `None` if the kernel cannot
/// list what stands at its hooks.
fn at_hooks() -> Result<Option<Vec<&'static str>>, Error> {
    const NF_BR_PRE_ROUTING: u32 = 0;
    const NF_BR_FORWARD: u32 = 2;
    const NF_BR_POST_ROUTING: u32 = 4;
    const NFPROTO_BRIDGE: u8 = 7;
    let mut socket = Socket::open(Family::Netfilter)?;
    let mut present = Vec::new();
    for (table, hook, function) in [
        ("broute", NF_BR_PRE_ROUTING, "ebt_broute"),
        ("filter", NF_BR_FORWARD, "ebt_"),
        ("nat", NF_BR_POST_ROUTING, "ebt_"),
    ] {
        let request = nft::hook_functions_request(NFPROTO_BRIDGE, hook);
        let functions = socket.dump("reading bridge hooks", &request, Vec::new, |all, reply| {
            all.push(nft::hook_function(reply.payload));
        });
        match functions.map(|functions| functions.into_iter().collect::<Option<Vec<_>>>()) {
            Ok(Some(functions)) => {
                present.extend(functions.iter().any(|at| at.function.starts_with(function)).then_some(table));
            }
            // Functions without names.
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(present))
}

/// The tables that hold rules in any namespace: those keep their module in use (`do_replace_finish`). Which
/// namespace, and how many rules, stays open; a policy alone does not show.
fn in_use(modules: &str) -> Vec<LegacyTable> {
    let used = |name: &&str| {
        let module = format!("ebtable_{name} ");
        let line = modules.lines().find(|line| line.starts_with(&module));
        line.and_then(|line| line.split(' ').nth(2)?.parse::<u32>().ok()).is_some_and(|users| users > 0)
    };
    let chains = || {
        let reason =
            "this kernel does not list what stands at its hooks, and asking for a table could make it";
        Reading::Unread(Unread { cause: UnreadCause::Failed, reason: reason.to_owned() })
    };
    let table = |name: &str| LegacyTable {
        family: LegacyFamily::Ebtables,
        table: name.to_owned(),
        entries: None,
        chains: chains(),
    };
    ["filter", "nat", "broute"].into_iter().filter(used).map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_in_use_are_told_without_a_number() {
        let modules = "ebtable_filter 16384 1 - Live 0x0\nebtable_nat 16384 0 - Live 0x0\nebtables 45056 2 ebtable_nat,";
        let found = in_use(modules);
        assert_eq!(
            found.iter().map(|table| (table.table.as_str(), table.entries)).collect::<Vec<_>>(),
            [("filter", None)]
        );
    }
}
