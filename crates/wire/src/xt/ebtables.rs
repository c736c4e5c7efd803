//! Legacy tables of ebtables: what `EBT_SO_GET_ENTRIES` gives.
//!
//! A table is a row of chains, each with a head and its rules. Those of hooks come first, in the hooks' order.

use portcullis_snapshot::{
    EbtHeader, EbtProtocol, EtherType, LegacyChain, LegacyFamily, LegacyHeader, LegacyRule, LegacyTarget,
    XtDevice, XtInterface, XtMac, XtTarget,
};

use super::Extension;
use super::bridge_targets::verdict;
use super::info::{Info, asked, device, value};
use super::tables::TableError;

/// Length of `struct ebt_entries`, the head of a chain.
const HEAD: usize = 48;
/// Length of `struct ebt_entry` without matches, watchers and target.
const ENTRY: usize = 112;

/// Decodes a table's entries: its base chains by their hooks (`valid_hooks` has a bit for each), then the others.
///
/// # Errors
/// [`TableError`], if the entries do not hang together.
pub fn chains(valid_hooks: u32, bytes: &[u8]) -> Result<Vec<LegacyChain>, TableError> {
    let heads = heads(bytes)?;
    let mut hooks = (0..6).filter(|hook| valid_hooks & 1 << hook != 0).peekable();
    let mut chains = Vec::with_capacity(heads.len());
    for head in &heads {
        let damaged = TableError::Entry(head.at);
        let info = Info::new(bytes.get(head.at..).unwrap_or_default());
        let hook = hooks.next_if(|hook| hook_name(*hook) == head.name);
        let name = head.name.to_owned();
        let policy = verdict(info.i32(40).ok_or(damaged)?);
        let rules = head.rules.iter().map(|at| rule(bytes, *at, &heads)).collect::<Result<_, _>>()?;
        chains.push(LegacyChain { name, hook, policy, rules });
    }
    // The kernel has them in this order (`translate_table`), and every tool names them so.
    hooks.peek().map_or(Ok(chains), |_| Err(TableError::Nothing(bytes.len())))
}

/// A chain: where its head stands, and where its rules do.
struct Head<'a> {
    at: usize,
    name: &'a str,
    rules: Vec<usize>,
}

fn heads(bytes: &[u8]) -> Result<Vec<Head<'_>>, TableError> {
    let (mut at, mut heads) = (0, Vec::<Head<'_>>::new());
    while at < bytes.len() {
        let damaged = TableError::Entry(at);
        let info = Info::new(bytes.get(at..).unwrap_or_default());
        // `EBT_ENTRY_OR_ENTRIES`: a rule has a bit in its first word, a head none at all.
        let len = if info.u32(0).ok_or(damaged)? == 0 {
            info.slice(0, HEAD).ok_or(damaged)?;
            heads.push(Head { at, name: info.text(4, 32).ok_or(damaged)?, rules: Vec::new() });
            HEAD
        } else {
            heads.last_mut().ok_or(damaged)?.rules.push(at);
            let len = info.u32(108).ok_or(damaged)? as usize;
            (len >= ENTRY).then_some(len).ok_or(damaged)?
        };
        at = at.checked_add(len).ok_or(damaged)?;
    }
    Ok(heads)
}

fn rule(bytes: &[u8], at: usize, heads: &[Head<'_>]) -> Result<LegacyRule, TableError> {
    let damaged = TableError::Entry(at);
    let entry = Info::new(bytes.get(at..).unwrap_or_default());
    let end = |of| entry.u32(of).map(|end| end as usize);
    let read = || {
        let (watchers, target, next) = (end(100)?, end(104)?, end(108)?);
        let entry = Info::new(entry.slice(0, next)?);
        let matches = extensions(entry, ENTRY, watchers)?;
        let watching = extensions(entry, watchers, target)?;
        Some((header(entry)?, matches, watching, extension(entry, target)?.0))
    };
    let (header, matches, watchers, target) = read().ok_or(damaged)?;
    let target = match target.name {
        "standard" => {
            let number = Info::new(target.info).i32(0).ok_or(damaged)?;
            match usize::try_from(number) {
                Ok(to) => {
                    let chain = heads.binary_search_by_key(&to, |head| head.at).ok();
                    let chain = chain.and_then(|chain| heads.get(chain)).ok_or(TableError::Jump(at))?;
                    LegacyTarget::Jump(chain.name.to_owned())
                }
                Err(_) => LegacyTarget::Verdict(verdict(number)),
            }
        }
        _ => LegacyTarget::Extension(target.decode_target()),
    };
    Ok(LegacyRule {
        header: LegacyHeader::Bridge(header),
        matches: matches.iter().map(Extension::decode_match).collect(),
        watchers: watchers.iter().map(Extension::decode_target).collect::<Vec<XtTarget>>(),
        target,
    })
}

/// All that stand in a part of an entry.
fn extensions(entry: Info<'_>, mut at: usize, end: usize) -> Option<Vec<Extension<'_>>> {
    let mut found = Vec::new();
    while at < end {
        let (extension, len) = extension(entry, at)?;
        found.push(extension);
        at = at.checked_add(len)?;
    }
    Some(found)
}

/// `struct ebt_entry_match` and its like: a name, a revision, a size, and from byte 40 on the data.
fn extension(entry: Info<'_>, at: usize) -> Option<(Extension<'_>, usize)> {
    const DATA: usize = 40;
    let head = Info::new(entry.slice(at, DATA)?);
    let (size, revision) = (head.u32(32)? as usize, head.u8(31)?);
    let info = entry.slice(at + DATA, size)?;
    let name = entry.text(at, 31)?;
    Some((Extension { family: LegacyFamily::Ebtables, name, revision, info }, DATA + size))
}

/// `struct ebt_entry`.
fn header(entry: Info<'_>) -> Option<EbtHeader> {
    const EBT_NOPROTO: u32 = 2;
    const EBT_802_3: u32 = 4;
    const EBT_SOURCEMAC: u32 = 8;
    const EBT_DESTMAC: u32 = 0x10;
    let (set, inverted) = (entry.u32(0)?, entry.u32(4)?);
    let not = |bit: u32| inverted & bit != 0;
    let mac = |is, at, bit| asked::<XtMac>(set & is != 0, || entry.masked_mac(at, not(bit)));
    let protocol = match set {
        set if set & EBT_NOPROTO != 0 => None,
        set if set & EBT_802_3 != 0 => Some(EbtProtocol::Length),
        _ => Some(EbtProtocol::Type(EtherType(entry.be16(8)?))),
    };
    Some(EbtHeader {
        protocol: protocol.map(|protocol| value(protocol, not(1))),
        source: mac(EBT_SOURCEMAC, 74, 8)?,
        destination: mac(EBT_DESTMAC, 86, 0x10)?,
        input: interface(entry, 10, not(2))?,
        output: interface(entry, 42, not(4))?,
        logical_input: interface(entry, 26, not(0x20))?,
        logical_output: interface(entry, 58, not(0x40))?,
    })
}

/// A name as `ebt_dev_check` compares it: byte 1 ends what must be the same.
fn interface(entry: Info<'_>, at: usize, inverted: bool) -> Option<Option<XtDevice>> {
    let name = entry.text(at, 16)?;
    let interface = match name.split_once('\u{1}') {
        None if name.is_empty() => XtInterface::Any,
        None => XtInterface::Name(name.to_owned()),
        Some((beginning, _)) => XtInterface::Prefix(beginning.to_owned()),
    };
    Some(device(interface, inverted))
}

/// The name of a base chain in the tools.
const fn hook_name(hook: u32) -> &'static str {
    match hook {
        0 => "PREROUTING",
        1 => "INPUT",
        2 => "FORWARD",
        3 => "OUTPUT",
        4 => "POSTROUTING",
        _ => "BROUTING",
    }
}
