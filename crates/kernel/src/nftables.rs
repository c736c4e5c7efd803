//! Changing nftables.

use portcullis_snapshot::{NftBaseChain, NftFamily, NftTable};
use portcullis_wire::{Message, nft};

use crate::Error;
use crate::netlink::{Family, Socket};

/// Makes a table with its sets, chains and rules, or nothing of it. `bases` says which of its chains hook in, and where.
///
/// # Errors
/// The kernel's refusal; then nothing was made.
pub fn add_table(table: &NftTable, bases: &[NftBaseChain]) -> Result<(), Error> {
    let what = format!("making nftables table {}", table.name);
    transaction(&what, nft::new_ruleset(table, bases))
}

/// Takes a table away, with everything in it.
///
/// # Errors
/// The kernel's refusal.
pub fn delete_table(family: NftFamily, name: &str) -> Result<(), Error> {
    transaction(&format!("taking nftables table {name} away"), vec![nft::delete_table(family, name)])
}

/// Sends messages as one transaction.
///
/// # Errors
/// The kernel's first refusal; then nothing was done.
pub fn transaction(what: &str, messages: Vec<Message>) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Netfilter)?;
    socket.transaction(messages.into_iter().map(|message| (what.to_owned(), message)).collect())
}
