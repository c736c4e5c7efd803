//! What the rules of a namespace single out by name, by number or by address: a port that they do is alike to no other.
//!
//! Rules are not read for their meaning here. Any constant in them that could be meant for a port counts, so that two
//! ports may be told apart in vain, and never the other way round.

use std::collections::HashSet;

use portcullis_snapshot::{Bytes, IfIndex, MacAddr, Netns, NftExpr};

/// `IFNAMSIZ`: how long a name is in a register.
const NAME: usize = 16;
/// Values in a register begin at multiples of this.
const UNIT: usize = 4;

/// The constants of all rules.
#[derive(Debug, Default)]
pub(super) struct SingledOut {
    names: HashSet<String>,
    /// The beginnings of names that rules with a wildcard go by (`vnet*`).
    beginnings: Vec<String>,
    numbers: HashSet<u32>,
    addresses: HashSet<MacAddr>,
}

impl SingledOut {
    pub(super) fn new(netns: &Netns) -> Self {
        let mut all = Self::default();
        all.names
            .extend(netns.rules.known().iter().flat_map(|rule| [&rule.iif, &rule.oif]).flatten().cloned());
        for table in netns.filters.nft_tables.known() {
            let rules = table.chains.iter().flat_map(|chain| &chain.rules);
            rules.flat_map(|rule| &rule.expressions).for_each(|expression| all.expression(expression));
            let elements = table.sets.iter().flat_map(|set| &set.elements);
            elements
                .flat_map(|element| [&element.key, &element.key_end])
                .flatten()
                .for_each(|key| all.constant(key));
        }
        all.beginnings.sort_unstable();
        all.beginnings.dedup();
        all
    }

    fn expression(&mut self, expression: &NftExpr) {
        match expression {
            NftExpr::Cmp { data, .. } => {
                // Compared over less than its whole length, a name is one with a wildcard.
                if let Ok(text) = str::from_utf8(data)
                    && data.len() < NAME
                {
                    self.beginnings.push(text.to_owned());
                }
                self.constant(data);
            }
            NftExpr::Range { from, to, .. } => {
                self.constant(from);
                self.constant(to);
            }
            NftExpr::Immediate { data, .. } => self.constant(data),
            _ => {}
        }
    }

    fn constant(&mut self, data: &Bytes) {
        for at in (0..data.len()).step_by(UNIT) {
            let rest = data.get(at..).unwrap_or_default();
            if let Some(number) = rest.first_chunk() {
                self.numbers.insert(u32::from_ne_bytes(*number));
            }
            if let Some(address) = rest.first_chunk() {
                self.addresses.insert(MacAddr(*address));
            }
            let name = rest.get(..NAME).and_then(|name| name.split(|byte| *byte == 0).next());
            if let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) {
                self.names.insert(name.to_owned());
            }
        }
    }

    /// Whether a port is singled out, by what it is called, its number or the addresses that stand for it.
    pub(super) fn has(
        &self,
        name: &str,
        device: IfIndex,
        addresses: impl IntoIterator<Item = MacAddr>,
    ) -> bool {
        self.names.contains(name)
            || self.numbers.contains(&device.0)
            || addresses.into_iter().any(|address| self.addresses.contains(&address))
    }

    /// Returns those beginnings of names that a name has.
    pub(super) fn beginnings_of(&self, name: &str) -> Vec<&str> {
        self.beginnings.iter().map(String::as_str).filter(|beginning| name.starts_with(beginning)).collect()
    }
}
