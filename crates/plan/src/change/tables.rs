//! Portcullis's own tables of nftables in a snapshot.

use super::*;

/// Returns what is in a ruleset's place.
pub(super) fn ruleset(netns: &Netns, like: &Ruleset) -> Result<Option<Ruleset>, String> {
    let (family, name) = (like.table.family, like.table.name.as_str());
    let tables = read(&netns.filters.nft_tables)?;
    let Some(table) = tables.iter().find(|table| table.family == family && table.name == name) else {
        return Ok(None);
    };
    let bases = read(&netns.filters.nft_chains)?.iter();
    let bases = bases.filter(|base| base.family == family && base.table == name).cloned().collect();
    Ok(Some(Ruleset { table: table.clone(), bases, text: Vec::new() }))
}

/// Whether two rulesets are the same but for what the kernel numbers itself, and for the order of what has none.
pub(super) fn alike(held: Option<&Ruleset>, wanted: Option<&Ruleset>) -> bool {
    let (Some(held), Some(wanted)) = (held, wanted) else { return held.is_none() && wanted.is_none() };
    held.without_numbers() == wanted.without_numbers()
}

impl Ruleset {
    /// Portcullis's own table of a family with nothing in it.
    pub(crate) fn empty(family: NftFamily) -> Self {
        let (name, dormant) = (TABLE.to_owned(), false);
        let table = NftTable { family, name, dormant, chains: Vec::new(), sets: Vec::new() };
        Self { table, bases: Vec::new(), text: Vec::new() }
    }

    /// Returns Portcullis's own table of a family, if it is there.
    #[must_use]
    pub fn own(netns: &Netns, family: NftFamily) -> Option<Self> {
        let is_own = |table: &&NftTable| table.family == family && table.name == TABLE;
        let table = netns.filters.nft_tables.known().iter().find(is_own)?.clone();
        let bases = netns.filters.nft_chains.known().iter();
        let bases = bases.filter(|base| base.family == family && base.table == TABLE).cloned().collect();
        Some(Self { table, bases, text: Vec::new() })
    }

    /// The same without handles, counts and orders that are the kernel's.
    fn without_numbers(&self) -> Self {
        let mut plain = Self { text: Vec::new(), ..self.clone() };
        for rule in plain.table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            rule.handle = 0;
        }
        plain.table.chains.sort_by(|one, other| one.name.cmp(&other.name));
        plain.bases.sort_by(|one, other| one.chain.cmp(&other.chain));
        for base in &mut plain.bases {
            base.devices.sort();
            base.rules = 0;
        }
        plain
    }
}

pub(super) fn put_ruleset(netns: &mut Netns, place: &Ruleset, ruleset: Option<&Ruleset>) {
    let (family, name) = (place.table.family, place.table.name.as_str());
    if let Some(tables) = read_mut(&mut netns.filters.nft_tables) {
        tables.retain(|table| table.family != family || table.name != name);
        tables.extend(ruleset.map(|ruleset| ruleset.table.clone()));
    }
    if let Some(bases) = read_mut(&mut netns.filters.nft_chains) {
        bases.retain(|base| base.family != family || base.table != name);
        bases.extend(ruleset.iter().flat_map(|ruleset| ruleset.bases.iter().cloned()));
    }
}
