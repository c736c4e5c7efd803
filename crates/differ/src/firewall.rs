//! Rules of nftables as steps: a chain, and each rule of it on its own, so that each can be left out.

use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, MetaKey, Netns, NftBaseChain, NftChain, NftData, NftElement, NftExpr, NftFamily,
    NftSet, NftTable, NftVerdict, PayloadBase, Register,
};
use portcullis_wire::{Message, nft};

/// The table that holds everything, one in each family.
pub const TABLE: &str = "fw";
/// The chain that others jump to.
pub const SIDE_CHAIN: &str = "side";

/// A chain. One that hooks in has a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table's family.
    pub family: NftFamily,
    /// Its name.
    pub name: String,
    /// Where it hooks in.
    pub base: Option<NftBaseChain>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its table's family.
    pub family: NftFamily,
    /// Its chain.
    pub chain: String,
    /// What it asks, in order.
    pub matches: Vec<Match>,
    /// What it does then.
    pub verdict: Option<NftVerdict>,
}

/// One thing that a rule asks or does: as `nft` has it, and as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// In `nft`'s words.
    pub text: String,
    /// In the kernel's.
    pub expressions: Vec<NftExpr>,
    /// The set that it looks into.
    pub set: Option<NftSet>,
}

impl Chain {
    /// Returns the messages that make it, and its table if need be.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let table = NftTable {
            family: self.family,
            name: TABLE.to_owned(),
            dormant: false,
            chains: vec![NftChain { name: self.name.clone(), rules: Vec::new() }],
            sets: Vec::new(),
        };
        nft::new_ruleset(&table, self.base.as_slice())
    }

    /// Returns the command that makes it.
    #[must_use]
    pub fn command(&self) -> String {
        let (family, name) = (family(self.family), &self.name);
        let chain = self.base.as_ref().map_or_else(String::new, |base| {
            let devices = match base.devices.as_slice() {
                [] => String::new(),
                devices => format!(" devices = {{ {} }}", devices.join(", ")),
            };
            let policy = if base.policy_drop { "drop" } else { "accept" };
            let (kind, hook, priority) = (&base.kind, &base.hook_name, base.priority);
            format!(" {{ type {kind} hook {hook}{devices} priority {priority}; policy {policy}; }}")
        });
        format!(
            "ip netns exec host nft 'add table {family} {TABLE}; add chain {family} {TABLE} {name}{chain}'"
        )
    }
}

impl Rule {
    /// Returns its expressions.
    #[must_use]
    pub fn expressions(&self) -> Vec<NftExpr> {
        let matches = self.matches.iter().flat_map(|one| one.expressions.iter().cloned());
        matches.chain(self.verdict.iter().cloned().map(NftExpr::Verdict)).collect()
    }

    /// Returns the messages that add it, with the sets that it looks into.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let sets = self.matches.iter().filter_map(|one| one.set.as_ref());
        let mut messages: Vec<_> = (1..)
            .zip(sets)
            .flat_map(|(id, set)| {
                [nft::new_set(self.family, TABLE, set, id), nft::new_elements(self.family, TABLE, set)]
            })
            .collect();
        messages.push(nft::new_rule(self.family, TABLE, &self.chain, &self.expressions()));
        messages
    }

    /// Returns the command that adds it.
    #[must_use]
    pub fn command(&self) -> String {
        let matches: Vec<_> = self.matches.iter().map(|one| one.text.as_str()).collect();
        let verdict = self.verdict.as_ref().map_or_else(String::new, verdict_text);
        let (family, chain) = (family(self.family), &self.chain);
        format!("ip netns exec host nft 'add rule {family} {TABLE} {chain} {} {verdict}'", matches.join(" "))
    }
}

/// Returns the table of a family in a snapshot.
#[must_use]
pub fn table(netns: &Netns, family: NftFamily) -> Option<&NftTable> {
    netns.filters.nft_tables.known().iter().find(|table| table.family == family && table.name == TABLE)
}

/// The register that matches load into.
pub const REGISTER: Register = 4;

/// Loads bytes and compares them.
#[must_use]
pub fn payload(text: String, base: PayloadBase, offset: u32, op: CmpOp, data: &[u8]) -> Match {
    let load = NftExpr::Payload { base, offset, len: data.len() as u32, dreg: REGISTER };
    Match { text, expressions: vec![load, compare(op, data)], set: None }
}

/// Loads bytes, masks them, and compares.
#[must_use]
pub fn masked(text: String, base: PayloadBase, offset: u32, mask: &[u8], op: CmpOp, data: &[u8]) -> Match {
    let load = NftExpr::Payload { base, offset, len: data.len() as u32, dreg: REGISTER };
    Match { text, expressions: vec![load, mask_with(mask), compare(op, data)], set: None }
}

/// Loads something beside the bytes and compares it.
#[must_use]
pub fn meta(text: String, key: MetaKey, op: CmpOp, data: &[u8]) -> Match {
    let load = NftExpr::Meta { key, dreg: REGISTER };
    Match { text, expressions: vec![load, compare(op, data)], set: None }
}

/// A comparison of [`REGISTER`].
#[must_use]
pub fn compare(op: CmpOp, data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: REGISTER, op, data: Bytes::from(data) }
}

fn mask_with(mask: &[u8]) -> NftExpr {
    let op = BitwiseOp::Mask { mask: Bytes::from(mask), xor: Bytes(vec![0; mask.len()]) };
    NftExpr::Bitwise { sreg: REGISTER, dreg: REGISTER, len: mask.len() as u32, op }
}

/// A name as a register holds it.
#[must_use]
pub fn name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// An element of a set or map.
#[must_use]
pub fn element(key: &[u8], key_end: Option<&[u8]>, verdict: Option<NftVerdict>) -> NftElement {
    NftElement {
        key: Some(Bytes::from(key)),
        key_end: key_end.map(Bytes::from),
        interval_end: false,
        data: verdict.map(NftData::Verdict),
        expires: false,
        expressions: Vec::new(),
    }
}

/// A family's keyword.
#[must_use]
pub const fn family(family: NftFamily) -> &'static str {
    match family {
        NftFamily::Inet => "inet",
        NftFamily::Ip => "ip",
        NftFamily::Ip6 => "ip6",
        NftFamily::Arp => "arp",
        NftFamily::Bridge => "bridge",
        NftFamily::Netdev => "netdev",
        NftFamily::Other(_) => "unknown",
    }
}

/// A verdict's keyword.
#[must_use]
pub fn verdict_text(verdict: &NftVerdict) -> String {
    match verdict {
        NftVerdict::Accept => "accept".to_owned(),
        NftVerdict::Drop => "drop".to_owned(),
        NftVerdict::Continue | NftVerdict::Break | NftVerdict::Other(_) => "continue".to_owned(),
        NftVerdict::Return => "return".to_owned(),
        NftVerdict::Jump(chain) => format!("jump {chain}"),
        NftVerdict::Goto(chain) => format!("goto {chain}"),
    }
}
