//! Legacy iptables, ip6tables, arptables and ebtables: which tables exist, and whether they hold rules.
//!
//! Asking a kernel for a table can make it: so only tables that are there already are asked about.

use std::os::fd::AsFd;

use nix::errno::Errno;
use portcullis_snapshot::{LegacyFamily, LegacyTable, Reading};

use super::reading;
use crate::{Error, sys};

/// Reads all four kinds.
pub(super) fn read() -> Reading<Vec<LegacyTable>> {
    let mut tables = Vec::new();
    for kind in [&IPTABLES, &IP6TABLES, &ARPTABLES] {
        match kind.tables() {
            Ok(found) => tables.extend(found),
            Err(error) => return reading(Err(error)),
        }
    }
    match ebtables() {
        Ok(found) => tables.extend(found),
        Err(error) => return reading(Err(error)),
    }
    Reading::Read(tables)
}

/// How one of the three that share a design (`x_tables`) is asked.
struct Xtables {
    family: LegacyFamily,
    names: &'static str,
    address_family: i32,
    level: i32,
    get_info: i32,
}

const IPTABLES: Xtables = Xtables {
    family: LegacyFamily::Iptables,
    names: "ip_tables_names",
    address_family: libc::AF_INET,
    level: libc::IPPROTO_IP,
    get_info: 64,
};
const IP6TABLES: Xtables = Xtables {
    family: LegacyFamily::Ip6tables,
    names: "ip6_tables_names",
    address_family: libc::AF_INET6,
    level: libc::IPPROTO_IPV6,
    get_info: 64,
};
const ARPTABLES: Xtables = Xtables {
    family: LegacyFamily::Arptables,
    names: "arp_tables_names",
    address_family: libc::AF_INET,
    level: libc::IPPROTO_IP,
    get_info: 96,
};

impl Xtables {
    /// The tables of this namespace that hold more than their built-in chains.
    fn tables(&self) -> Result<Vec<LegacyTable>, Error> {
        let path = format!("/proc/thread-self/net/{}", self.names);
        let names = match std::fs::read_to_string(&path) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file(&path, error)),
        };
        let mut tables = Vec::new();
        for name in names.lines() {
            let (hooks, entries) = self.info(name)?;
            // A fresh table has a policy for each hook and one entry that ends it.
            if entries > hooks + 1 {
                let (family, table) = (self.family, name.to_owned());
                tables.push(LegacyTable { family, table, entries: Some(entries) });
            }
        }
        Ok(tables)
    }

    /// `struct ipt_getinfo`: how many hooks the table has, and how many entries.
    fn info(&self, name: &str) -> Result<(u32, u32), Error> {
        let refused = |errno| Error::refused(format!("reading the {:?} table {name}", self.family), errno);
        let socket = sys::socket(self.address_family, libc::SOCK_RAW, libc::IPPROTO_RAW).map_err(refused)?;
        let mut info = [0; 84];
        for (to, from) in info.iter_mut().take(31).zip(name.bytes()) {
            *to = from;
        }
        sys::get_option(socket.as_fd(), self.level, self.get_info, &mut info).map_err(refused)?;
        let word = |at: usize| portcullis_wire::u32_at(&info, at).unwrap_or_default();
        Ok((word(32).count_ones(), word(76)))
    }
}

/// ebtables' tables. A table that holds rules keeps its module in use (`do_replace_finish`), so a module that nobody
/// uses has nothing to tell, and is not asked.
fn ebtables() -> Result<Vec<LegacyTable>, Error> {
    const EBT_SO_GET_INFO: i32 = 128;
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let used = |name: &&str| {
        let module = format!("ebtable_{name} ");
        let line = modules.lines().find(|line| line.starts_with(&module));
        line.and_then(|line| line.split(' ').nth(2)?.parse::<u32>().ok()).is_some_and(|users| users > 0)
    };
    let mut tables = Vec::new();
    for name in ["filter", "nat", "broute"].iter().filter(|name| used(name)) {
        let refused = |errno| Error::refused(format!("reading the ebtables table {name}"), errno);
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW).map_err(refused)?;
        // struct ebt_replace: the name in 32 bytes, valid_hooks, nentries, and more that is not needed.
        let mut info = [0; 120];
        for (to, from) in info.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        match sys::get_option(socket.as_fd(), libc::IPPROTO_IP, EBT_SO_GET_INFO, &mut info) {
            Ok(_) => {}
            Err(Errno::ENOENT | Errno::ENOPROTOOPT) => continue,
            Err(errno) => return Err(refused(errno)),
        }
        let entries = portcullis_wire::u32_at(&info, 36).unwrap_or_default();
        if entries > 0 {
            let (family, table) = (LegacyFamily::Ebtables, (*name).to_owned());
            tables.push(LegacyTable { family, table, entries: Some(entries) });
        }
    }
    Ok(tables)
}
