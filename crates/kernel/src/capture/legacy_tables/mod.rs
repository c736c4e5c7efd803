//! Legacy iptables, ip6tables, arptables and ebtables: their tables, chains and rules.
//!
//! Asking a kernel for a table can make it: so only tables that are there already are asked about. A table that holds
//! no rules and whose policies accept is left out.

mod ebtables;

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use portcullis_snapshot::{LegacyChain, LegacyFamily, LegacyTable, Reading, XtVerdict};
use portcullis_wire::xt::tables::{self, Layout, TableInfo};

use super::reading;
use crate::{Error, sys};

/// How often a table is read that somebody changes meanwhile.
const TRIES: u32 = 8;

/// Reads all four kinds.
pub(super) fn read() -> Reading<Vec<LegacyTable>> {
    let families = [LegacyFamily::Iptables, LegacyFamily::Ip6tables, LegacyFamily::Arptables];
    let mut all = Vec::new();
    for result in families.into_iter().filter_map(Xtables::of).map(|family| family.tables()) {
        match result {
            Ok(tables) => all.extend(tables),
            Err(error) => return reading(Err(error)),
        }
    }
    reading(ebtables::tables().map(|tables| {
        all.extend(tables);
        all
    }))
}

/// How one of the three that share a design (`x_tables`) is asked.
struct Xtables {
    family: LegacyFamily,
    layout: Layout,
    names: &'static str,
    address_family: i32,
    level: i32,
    /// `IPT_SO_GET_INFO` and its like; the request for the entries is the next number.
    get_info: i32,
}

impl Xtables {
    fn of(family: LegacyFamily) -> Option<Self> {
        let (names, address_family, level, get_info) = match family {
            LegacyFamily::Iptables => ("ip_tables_names", libc::AF_INET, libc::IPPROTO_IP, 64),
            LegacyFamily::Ip6tables => ("ip6_tables_names", libc::AF_INET6, libc::IPPROTO_IPV6, 64),
            LegacyFamily::Arptables => ("arp_tables_names", libc::AF_INET, libc::IPPROTO_IP, 96),
            LegacyFamily::Ebtables => return None,
        };
        Some(Self { family, layout: Layout::of(family)?, names, address_family, level, get_info })
    }

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
            let what = format!("reading the {:?} table {name}", self.family);
            let refused = |errno| Error::refused(what.clone(), errno);
            let socket = socket(self.address_family).map_err(refused)?;
            let (info, bytes) = settled(&what, || self.table(&socket, name))?;
            let chains = tables::chains(&self.layout, &info, &bytes);
            tables.extend(table(self.family, name, info.entries, &what, chains));
        }
        Ok(tables)
    }

    /// The table as it is now; `EAGAIN` if it was replaced meanwhile. One of the same length would not be noticed by
    /// the kernel: so it is asked before and after where its chains begin.
    fn table(&self, socket: &OwnedFd, name: &str) -> Result<(TableInfo, Vec<u8>), Errno> {
        let info = self.info(socket, name)?;
        let bytes = self.entries(socket, name, info.size)?;
        if self.info(socket, name)? == info { Ok((info, bytes)) } else { Err(Errno::EAGAIN) }
    }

    fn info(&self, socket: &OwnedFd, name: &str) -> Result<TableInfo, Errno> {
        let mut info = vec![0; self.layout.info_len()];
        put_name(&mut info, name);
        sys::get_option(socket.as_fd(), self.level, self.get_info, &mut info)?;
        tables::info(&self.layout, &info).ok_or(Errno::EBADMSG)
    }

    /// `struct ipt_get_entries` begins with the name and the length that the entries are expected to have.
    fn entries(&self, socket: &OwnedFd, name: &str, size: u32) -> Result<Vec<u8>, Errno> {
        let mut all = vec![0; tables::GET_ENTRIES + size as usize];
        put_name(&mut all, name);
        for (to, from) in all.iter_mut().skip(tables::NAME).zip(size.to_ne_bytes()) {
            *to = from;
        }
        sys::get_option(socket.as_fd(), self.level, self.get_info + 1, &mut all)?;
        all.drain(..tables::GET_ENTRIES);
        Ok(all)
    }
}

/// Reads a table until it holds still. What a length that is no longer true gives is `EAGAIN` of `x_tables`, and
/// `EINVAL` of ebtables.
fn settled<T>(what: &str, read: impl Fn() -> Result<T, Errno>) -> Result<T, Error> {
    for _ in 1..TRIES {
        match read() {
            Err(Errno::EAGAIN | Errno::EINVAL) => {}
            other => return other.map_err(|errno| Error::refused(what, errno)),
        }
    }
    match read() {
        Err(Errno::EAGAIN) => Err(Error::Interrupted { what: what.to_owned(), tries: TRIES }),
        other => other.map_err(|errno| Error::refused(what, errno)),
    }
}

/// The table for the snapshot, unless it lets everything pass.
fn table(
    family: LegacyFamily,
    name: &str,
    entries: u32,
    what: &str,
    chains: Result<Vec<LegacyChain>, tables::TableError>,
) -> Option<LegacyTable> {
    let malformed =
        |error: tables::TableError| Error::Malformed { what: what.to_owned(), detail: error.to_string() };
    let chains = reading(chains.map_err(malformed));
    let idle = chains.read().is_some_and(|chains| chains.iter().all(does_nothing));
    (!idle).then(|| LegacyTable { family, table: name.to_owned(), entries: Some(entries), chains })
}

/// Whether a chain of a table without other chains lets everything pass.
fn does_nothing(chain: &LegacyChain) -> bool {
    chain.rules.is_empty() && chain.hook.is_some() && chain.policy == XtVerdict::Accept
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
