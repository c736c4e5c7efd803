//! Legacy iptables, ip6tables, arptables and ebtables: which tables exist, and whether they hold anything.
//!
//! Asking a kernel for a table can make it: so only tables that are there already are asked about. A table that holds
//! no rules and whose policies accept is left out.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use portcullis_snapshot::{LegacyFamily, LegacyTable, Reading};
use portcullis_wire::{nft, u16_at, u32_at};

use super::reading;
use crate::netlink::{Family, Socket};
use crate::{Error, sys};

/// Reads all four kinds.
pub(super) fn read() -> Reading<Vec<LegacyTable>> {
    let all = [IPTABLES.tables(), IP6TABLES.tables(), ARPTABLES.tables(), ebtables()];
    reading(all.into_iter().collect::<Result<Vec<_>, _>>().map(|tables| tables.concat()))
}

/// How one of the three that share a design (`x_tables`) is asked.
struct Xtables {
    family: LegacyFamily,
    names: &'static str,
    address_family: i32,
    level: i32,
    /// `IPT_SO_GET_INFO` and its like; the request for the entries is the next number.
    get_info: i32,
    /// How many hooks its structures have room for.
    hooks: usize,
    /// Where an entry has its `target_offset`; `next_offset` follows (`struct ipt_entry`).
    target_offset: usize,
}

const IPTABLES: Xtables = Xtables {
    family: LegacyFamily::Iptables,
    names: "ip_tables_names",
    address_family: libc::AF_INET,
    level: libc::IPPROTO_IP,
    get_info: 64,
    hooks: 5,
    target_offset: 88,
};
const IP6TABLES: Xtables = Xtables {
    family: LegacyFamily::Ip6tables,
    names: "ip6_tables_names",
    address_family: libc::AF_INET6,
    level: libc::IPPROTO_IPV6,
    get_info: 64,
    hooks: 5,
    target_offset: 140,
};
const ARPTABLES: Xtables = Xtables {
    family: LegacyFamily::Arptables,
    names: "arp_tables_names",
    address_family: libc::AF_INET,
    level: libc::IPPROTO_IP,
    get_info: 96,
    hooks: 3,
    target_offset: 164,
};

/// What `struct ipt_getinfo` tells.
struct Info {
    hooks: u32,
    entries: u32,
    size: u32,
}

impl Xtables {
    /// The tables of this namespace that do anything. A listed table exists, so that asking for it makes nothing.
    fn tables(&self) -> Result<Vec<LegacyTable>, Error> {
        let path = format!("/proc/thread-self/net/{}", self.names);
        let names = match std::fs::read_to_string(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file(&path, error)),
        };
        let mut tables = Vec::new();
        for name in names.lines() {
            let refused =
                |errno| Error::refused(format!("reading the {:?} table {name}", self.family), errno);
            let socket = socket(self.address_family).map_err(refused)?;
            let info = self.info(&socket, name).map_err(refused)?;
            // A fresh table has a policy for each hook and one entry that ends it.
            let rules = info.entries > info.hooks + 1;
            if rules || !self.accepts_all(&socket, name, info.size).map_err(refused)? {
                let (family, table) = (self.family, name.to_owned());
                tables.push(LegacyTable {
                    family,
                    table,
                    entries: Some(info.entries),
                    chains: Reading::default(),
                });
            }
        }
        Ok(tables)
    }

    fn info(&self, socket: &OwnedFd, name: &str) -> Result<Info, Errno> {
        // A name and a mask of hooks; for each hook where it begins and where its policy is; two numbers.
        let numbers = 36 + 8 * self.hooks;
        let mut info = vec![0; numbers + 8];
        put_name(&mut info, name);
        sys::get_option(socket.as_fd(), self.level, self.get_info, &mut info)?;
        let word = |at: usize| u32_at(&info, at).unwrap_or_default();
        Ok(Info { hooks: word(32).count_ones(), entries: word(numbers), size: word(numbers + 4) })
    }

    /// Whether the policies of a table without rules let everything pass.
    fn accepts_all(&self, socket: &OwnedFd, name: &str, size: u32) -> Result<bool, Errno> {
        /// `struct ipt_get_entries`: a name, a size, and padding before the entries.
        const HEADER: usize = 40;
        let mut all = vec![0; HEADER + size as usize];
        put_name(&mut all, name);
        for (to, from) in all.iter_mut().skip(32).zip(size.to_ne_bytes()) {
            *to = from;
        }
        sys::get_option(socket.as_fd(), self.level, self.get_info + 1, &mut all)?;
        Ok(policies_accept(all.get(HEADER..).unwrap_or_default(), self.target_offset))
    }
}

/// Whether each standard target (`struct xt_standard_target`, which has no name) among the entries is ACCEPT.
fn policies_accept(mut entries: &[u8], target_offset: usize) -> bool {
    /// `-NF_ACCEPT - 1`, as verdicts are kept there.
    const ACCEPT: u32 = (-2_i32).cast_unsigned();
    /// `struct xt_entry_target`: a size, a name, a revision.
    const TARGET: usize = 32;
    while let (Some(target), Some(next)) =
        (u16_at(entries, target_offset), u16_at(entries, target_offset + 2))
    {
        let target = entries.get(usize::from(target)..).unwrap_or_default();
        let standard = target.get(2) == Some(&0);
        if standard && u32_at(target, TARGET) != Some(ACCEPT) {
            return false;
        }
        entries = entries.get(usize::from(next).max(1)..).unwrap_or_default();
    }
    true
}

/// ebtables' tables. Since Linux 5.15 a namespace has a table only once somebody asked for it
/// (`find_inlist_lock_noload`), so that the hooks have to tell which there are.
fn ebtables() -> Result<Vec<LegacyTable>, Error> {
    let modules = std::fs::read_to_string("/proc/modules");
    if modules.as_ref().is_ok_and(|modules| !modules.lines().any(|line| line.starts_with("ebtables "))) {
        return Ok(Vec::new());
    }
    let Some(present) = ebtables_at_hooks()? else {
        return Ok(ebtables_in_use(&modules.unwrap_or_default()));
    };
    let mut tables = Vec::new();
    for name in present {
        let refused = |errno| Error::refused(format!("reading the ebtables table {name}"), errno);
        let socket = socket(libc::AF_INET).map_err(refused)?;
        let info = sys::ebt_get_info(socket.as_fd(), name).map_err(refused)?;
        let chains = sys::ebt_get_entries(socket.as_fd(), &info).map_err(refused)?;
        if info.nentries > 0 || !chains_accept(&chains) {
            let (family, table) = (LegacyFamily::Ebtables, name.to_owned());
            tables.push(LegacyTable {
                family,
                table,
                entries: Some(info.nentries),
                chains: Reading::default(),
            });
        }
    }
    Ok(tables)
}

/// The tables that stand at hooks of this namespace, each by a hook that no other is at; `None` if the kernel cannot
/// list what stands at its hooks.
fn ebtables_at_hooks() -> Result<Option<Vec<&'static str>>, Error> {
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
fn ebtables_in_use(modules: &str) -> Vec<LegacyTable> {
    let used = |name: &&str| {
        let module = format!("ebtable_{name} ");
        let line = modules.lines().find(|line| line.starts_with(&module));
        line.and_then(|line| line.split(' ').nth(2)?.parse::<u32>().ok()).is_some_and(|users| users > 0)
    };
    let table = |name: &str| LegacyTable {
        family: LegacyFamily::Ebtables,
        table: name.to_owned(),
        entries: None,
        chains: Reading::default(),
    };
    ["filter", "nat", "broute"].into_iter().filter(used).map(table).collect()
}

/// Whether each chain of a table without rules accepts: such a table is chain heads only (`struct ebt_entries`).
fn chains_accept(chains: &[u8]) -> bool {
    const HEAD: usize = 48;
    const POLICY: usize = 40;
    const EBT_ACCEPT: u32 = (-1_i32).cast_unsigned();
    chains.chunks_exact(HEAD).all(|head| u32_at(head, POLICY) == Some(EBT_ACCEPT))
}

/// Any socket of the family takes these options.
fn socket(address_family: i32) -> Result<OwnedFd, Errno> {
    sys::socket(address_family, libc::SOCK_DGRAM, 0)
}

fn put_name(to: &mut [u8], name: &str) {
    for (to, from) in to.iter_mut().take(31).zip(name.bytes()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as iptables has it, with a target of a name (empty: the standard one) and its verdict.
    fn entry(name: &str, verdict: i32) -> Vec<u8> {
        let mut entry = vec![0; 112 + 40];
        entry[88..90].copy_from_slice(&112u16.to_ne_bytes());
        entry[90..92].copy_from_slice(&152u16.to_ne_bytes());
        entry[114..114 + name.len()].copy_from_slice(name.as_bytes());
        entry[144..148].copy_from_slice(&verdict.to_ne_bytes());
        entry
    }

    #[test]
    fn a_policy_that_drops_is_seen() {
        let (accept, drop, end) = (entry("", -2), entry("", -1), entry("ERROR", 0));
        assert!(policies_accept(&[accept.clone(), accept.clone(), end.clone()].concat(), 88));
        assert!(!policies_accept(&[accept, drop, end].concat(), 88));
    }

    #[test]
    fn entries_that_lead_nowhere_end_the_search() {
        assert!(!policies_accept(&[0; 200], 88), "whatever this is, it is not ACCEPT");
        assert!(policies_accept(&[], 88));
        assert!(policies_accept(&[0xff; 200], 88));
    }

    #[test]
    fn chains_of_ebtables_by_their_policies() {
        let head = |policy: i32| {
            let mut head = [0; 48];
            head[40..44].copy_from_slice(&policy.to_ne_bytes());
            head
        };
        assert!(chains_accept(&[head(-1), head(-1)].concat()));
        assert!(!chains_accept(&[head(-1), head(-2)].concat()));
    }

    #[test]
    fn modules_in_use_are_told_without_a_number() {
        let modules = "ebtable_filter 16384 1 - Live 0x0\nebtable_nat 16384 0 - Live 0x0\nebtables 45056 2 ebtable_nat,";
        let found = ebtables_in_use(modules);
        assert_eq!(
            found.iter().map(|table| (table.table.as_str(), table.entries)).collect::<Vec<_>>(),
            [("filter", None)]
        );
    }
}
