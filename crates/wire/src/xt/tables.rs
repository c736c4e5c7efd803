//! Legacy tables of iptables, ip6tables and arptables: `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES` and their like.
//!
//! A table is a row of entries. Base chains begin where the kernel's hooks do, and end with their policy; other chains
//! begin behind an entry with the target `ERROR`, which holds their name, and end with a rule that returns.

use std::collections::HashMap;

use portcullis_snapshot::{
    LegacyChain, LegacyFamily, LegacyHeader, LegacyRule, LegacyTarget, XtMatch, XtVerdict,
};

use super::info::Info;
use super::{Extension, arp, ip, ip6};

/// Length of the name that requests begin with (`XT_TABLE_MAXNAMELEN`).
pub const NAME: usize = 32;

/// Where `struct ipt_get_entries` has its entries: behind a name and a size, padded to 8 bytes.
pub const GET_ENTRIES: usize = 40;

/// How a family's entries are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Which family's.
    pub family: LegacyFamily,
    /// How many hooks its structures have room for (`NF_INET_NUMHOOKS`, `NF_ARP_NUMHOOKS`).
    pub hooks: usize,
    /// Where an entry has its `target_offset`; `next_offset` follows.
    pub(super) target_offset: usize,
    /// How long an entry is without matches and target.
    pub(super) len: usize,
}

impl Layout {
    /// Returns the layout of a family; ebtables has another design.
    #[must_use]
    pub const fn of(family: LegacyFamily) -> Option<Self> {
        match family {
            LegacyFamily::Iptables => Some(ip::LAYOUT),
            LegacyFamily::Ip6tables => Some(ip6::LAYOUT),
            LegacyFamily::Arptables => Some(arp::LAYOUT),
            LegacyFamily::Ebtables => None,
        }
    }

    /// Length of `struct ipt_getinfo`.
    #[must_use]
    pub const fn info_len(&self) -> usize {
        NAME + 4 + 8 * self.hooks + 8
    }
}

/// `struct ipt_getinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// For each hook that the table has: its number, where its chain begins, and where its policy stands.
    pub hooks: Vec<(u32, usize, usize)>,
    /// How many entries it has.
    pub entries: u32,
    /// How many bytes those have.
    pub size: u32,
}

/// Decodes what a request for a table's info answers.
#[must_use]
pub fn info(layout: &Layout, bytes: &[u8]) -> Option<TableInfo> {
    let info = Info::new(bytes);
    let valid = info.u32(NAME)?;
    let hook = |hook: usize| {
        let begins = info.u32(NAME + 4 + 4 * hook)? as usize;
        let policy = info.u32(NAME + 4 + 4 * (layout.hooks + hook))? as usize;
        Some((hook as u32, begins, policy))
    };
    let present = (0..layout.hooks).filter(|hook| valid & 1 << hook != 0);
    let numbers = NAME + 4 + 8 * layout.hooks;
    Some(TableInfo {
        hooks: present.map(hook).collect::<Option<_>>()?,
        entries: info.u32(numbers)?,
        size: info.u32(numbers + 4)?,
    })
}

/// What makes a table's entries impossible to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An entry does not lie within the table, or its parts not within it.
    #[error("the entry at byte {0} is damaged")]
    Entry(usize),
    /// A chain or a policy is said to stand where no entry begins.
    #[error("nothing begins at byte {0}")]
    Nothing(usize),
    /// A rule goes to where no chain begins.
    #[error("the rule at byte {0} goes to where no chain begins")]
    Jump(usize),
}

/// A family's header with what its flags tell of the target.
pub(super) struct Entry<H> {
    pub(super) header: H,
    /// Whether a jump is a goto.
    pub(super) goto: bool,
}

/// One entry, of which the target is not yet understood.
struct Raw<'a> {
    at: usize,
    bytes: &'a [u8],
    target_at: usize,
    target: Extension<'a>,
}

/// Decodes a table's entries: its base chains by their hooks, then the others in the order in which they stand.
///
/// # Errors
/// [`TableError`], if the entries do not hang together.
pub fn chains(layout: &Layout, table: &TableInfo, bytes: &[u8]) -> Result<Vec<LegacyChain>, TableError> {
    let entries = entries(layout, bytes)?;
    let position = |at| {
        entries.binary_search_by_key(&at, |entry: &Raw<'_>| entry.at).map_err(|_| TableError::Nothing(at))
    };
    let mut chains = Vec::new();
    for (hook, begins, policy) in &table.hooks {
        let (from, to) = (position(*begins)?, position(*policy)?);
        let name = hook_name(layout.family, *hook).to_owned();
        chains.push(Span { name, hook: Some(*hook), begins: *begins, from, to });
    }
    let heads: Vec<_> = (0..entries.len()).filter(|at| entries.get(*at).is_some_and(Raw::is_head)).collect();
    for (head, next) in heads.iter().zip(heads.iter().skip(1)) {
        let Some(entry) = entries.get(*head) else { continue };
        let name = Info::new(entry.target.info).name(0, 30).unwrap_or_default();
        let (begins, from) = (entry.at + entry.bytes.len(), head + 1);
        // The last entry returns; it is no rule of anybody's.
        chains.push(Span { name, hook: None, begins, from, to: next.saturating_sub(1).max(from) });
    }
    let names = chains.iter().map(|chain| (chain.begins, chain.name.as_str())).collect();
    chains.iter().map(|span| span.read(layout, &entries, &names)).collect()
}

/// The entries of one chain: its rules, and the one that ends it.
struct Span {
    name: String,
    hook: Option<u32>,
    /// Where the first entry stands, in bytes.
    begins: usize,
    /// The first entry.
    from: usize,
    /// The one that ends it.
    to: usize,
}

impl Span {
    fn read(
        &self,
        layout: &Layout,
        entries: &[Raw<'_>],
        names: &HashMap<usize, &str>,
    ) -> Result<LegacyChain, TableError> {
        let rules = entries.get(self.from..self.to).unwrap_or_default();
        let mut rules: Vec<_> =
            rules.iter().map(|entry| entry.rule(layout, names)).collect::<Result<_, _>>()?;
        let end = entries.get(self.to).ok_or(TableError::Nothing(self.begins))?.rule(layout, names)?;
        let policy = match end {
            LegacyRule { header, matches, target: LegacyTarget::Verdict(verdict), .. }
                if asks_nothing(&header) && matches.is_empty() =>
            {
                verdict
            }
            // No tool writes that: behind such a rule stands the next chain's head, which drops (`ipt_error`).
            rule => {
                rules.push(rule);
                XtVerdict::Drop
            }
        };
        Ok(LegacyChain { name: self.name.clone(), hook: self.hook, policy, rules })
    }
}

/// Whether a header lets every packet pass.
fn asks_nothing(header: &LegacyHeader) -> bool {
    match header {
        LegacyHeader::Ip(header) => *header == Default::default(),
        LegacyHeader::Ip6(header) => *header == Default::default(),
        LegacyHeader::Arp(header) => *header == Default::default(),
        LegacyHeader::Bridge(header) => *header == Default::default(),
    }
}

fn entries<'a>(layout: &Layout, bytes: &'a [u8]) -> Result<Vec<Raw<'a>>, TableError> {
    let (mut at, mut entries) = (0, Vec::new());
    while at < bytes.len() {
        let entry = Raw::new(layout, bytes, at).ok_or(TableError::Entry(at))?;
        at += entry.bytes.len();
        entries.push(entry);
    }
    Ok(entries)
}

impl<'a> Raw<'a> {
    fn new(layout: &Layout, table: &'a [u8], at: usize) -> Option<Self> {
        let head = Info::new(table.get(at..)?);
        let target_at = usize::from(head.u16(layout.target_offset)?);
        let len = usize::from(head.u16(layout.target_offset + 2)?);
        let bytes = head.slice(0, len)?;
        let target = extension(layout.family, Info::new(bytes), target_at)?.0;
        (target_at >= layout.len).then_some(Self { at, bytes, target_at, target })
    }

    /// Whether it is the head of a chain, or the table's end (`XT_ERROR_TARGET`).
    fn is_head(&self) -> bool {
        self.target.name == "ERROR"
    }

    fn rule(&self, layout: &Layout, names: &HashMap<usize, &str>) -> Result<LegacyRule, TableError> {
        let damaged = TableError::Entry(self.at);
        let entry = Info::new(self.bytes);
        let (header, goto) = header(layout.family, entry).ok_or(damaged)?;
        let target = match self.target.name {
            "" => self.standard(goto, names)?,
            // Reached only where a chain does not end (`ipt_error`).
            "ERROR" => LegacyTarget::Verdict(XtVerdict::Drop),
            _ => LegacyTarget::Extension(self.target.decode_target()),
        };
        let matches = self.matches(layout).ok_or(damaged)?;
        Ok(LegacyRule { header, matches, watchers: Vec::new(), target })
    }

    fn matches(&self, layout: &Layout) -> Option<Vec<XtMatch>> {
        let (mut at, mut matches) = (layout.len, Vec::new());
        while at < self.target_at {
            let (found, len) = extension(layout.family, Info::new(self.bytes.get(..self.target_at)?), at)?;
            matches.push(found.decode_match());
            at += len;
        }
        Some(matches)
    }

    /// The target without a name: a verdict, or where to go (`ipt_do_table`).
    fn standard(&self, goto: bool, names: &HashMap<usize, &str>) -> Result<LegacyTarget, TableError> {
        let verdict = Info::new(self.target.info).i32(0).ok_or(TableError::Entry(self.at))?;
        let Ok(to) = usize::try_from(verdict) else { return Ok(LegacyTarget::Verdict(decided(verdict))) };
        if to == self.at + self.bytes.len() && !goto {
            return Ok(LegacyTarget::Verdict(XtVerdict::Continue));
        }
        let name = (*names.get(&to).ok_or(TableError::Jump(self.at))?).to_owned();
        Ok(if goto { LegacyTarget::Goto(name) } else { LegacyTarget::Jump(name) })
    }
}

/// `-verdict - 1` is the kernel's number (`NF_*`).
const fn decided(verdict: i32) -> XtVerdict {
    match verdict {
        -1 => XtVerdict::Drop,
        -2 => XtVerdict::Accept,
        -4 => XtVerdict::Queue,
        -5 => XtVerdict::Return,
        other => XtVerdict::Other(other),
    }
}

/// `struct xt_entry_match`, `struct xt_entry_target`: itself and its length.
fn extension<'a>(family: LegacyFamily, entry: Info<'a>, at: usize) -> Option<(Extension<'a>, usize)> {
    const HEAD: usize = 32;
    let len = usize::from(entry.u16(at)?);
    let info = entry.slice(at, len)?.get(HEAD..)?;
    let (name, revision) = (entry.text(at + 2, 29)?, entry.u8(at + 31)?);
    Some((Extension { family, name, revision, info }, len))
}

fn header(family: LegacyFamily, entry: Info<'_>) -> Option<(LegacyHeader, bool)> {
    Some(match family {
        LegacyFamily::Iptables => {
            let Entry { header, goto } = ip::header(entry)?;
            (LegacyHeader::Ip(header), goto)
        }
        LegacyFamily::Ip6tables => {
            let Entry { header, goto } = ip6::header(entry)?;
            (LegacyHeader::Ip6(header), goto)
        }
        LegacyFamily::Arptables => {
            let Entry { header, goto } = arp::header(entry)?;
            (LegacyHeader::Arp(header), goto)
        }
        LegacyFamily::Ebtables => return None,
    })
}

/// The name of a base chain in the tools.
fn hook_name(family: LegacyFamily, hook: u32) -> &'static str {
    match (family, hook) {
        (LegacyFamily::Arptables, 0) => "INPUT",
        (LegacyFamily::Arptables, 1) => "OUTPUT",
        (LegacyFamily::Arptables, 2) => "FORWARD",
        (_, 0) => "PREROUTING",
        (_, 1) => "INPUT",
        (_, 2) => "FORWARD",
        (_, 3) => "OUTPUT",
        (_, 4) => "POSTROUTING",
        (LegacyFamily::Ebtables, 5) => "BROUTING",
        _ => "",
    }
}
