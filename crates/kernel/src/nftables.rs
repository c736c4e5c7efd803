//! Changing nftables.

use portcullis_snapshot::{NftBaseChain, NftFamily, NftTable};
use portcullis_wire::{Message, NLM_F_EXCL, nft};

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

/// Puts a table with its base chains into the place of another, in one transaction: at no time is there neither. The old one
/// goes by its family and name. Without an old one, it is refused if there is a table of that name.
///
/// # Errors
/// The kernel's refusal; then everything is as before.
pub fn replace_table(
    old: Option<(NftFamily, &str)>,
    new: Option<(&NftTable, &[NftBaseChain])>,
) -> Result<(), Error> {
    let mut messages: Vec<_> =
        old.map(|(family, name)| nft::delete_table(family, name)).into_iter().collect();
    if let Some((table, bases)) = new {
        let made = nft::new_ruleset(table, bases).into_iter().enumerate();
        messages.extend(made.map(|(at, message)| match (at, old) {
            (0, None) => message.flags(NLM_F_EXCL),
            _ => message,
        }));
    }
    let name = old.map(|(_, name)| name).or(new.map(|(table, _)| table.name.as_str())).unwrap_or_default();
    transaction(&format!("replacing nftables table {name}"), messages)
}

/// Sends messages as one transaction.
///
/// # Errors
/// The kernel's first refusal; then nothing was done.
pub fn transaction(what: &str, messages: Vec<Message>) -> Result<(), Error> {
    let mut socket = Socket::open(Family::Netfilter)?;
    socket.transaction(messages.into_iter().map(|message| (what.to_owned(), message)).collect())
}
