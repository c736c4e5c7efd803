//! Making tables and chains, in one transaction (`NFNL_MSG_BATCH_BEGIN`).

use portcullis_snapshot::{NftBaseChain, NftExpr, NftFamily, NftTable};

use super::expr::{put_be32, put_expr};
use super::set::{new_elements, new_set};
use super::{NFNL_SUBSYS_NFTABLES, message};
use crate::{Message, NLM_F_APPEND, NLM_F_CREATE};

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

/// The message that begins a transaction.
#[must_use]
pub fn batch_begin() -> Message {
    const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
    Message::new(NFNL_MSG_BATCH_BEGIN, 0).header(&[0, 0, 0, NFNL_SUBSYS_NFTABLES as u8])
}

/// The message that ends it: only now is anything done.
#[must_use]
pub fn batch_end() -> Message {
    const NFNL_MSG_BATCH_END: u16 = 0x11;
    Message::new(NFNL_MSG_BATCH_END, 0).header(&[0, 0, 0, NFNL_SUBSYS_NFTABLES as u8])
}

/// Makes a table, if there is none.
#[must_use]
pub fn new_table(of: NftFamily, name: &str) -> Message {
    put_be32(message(NFT_MSG_NEWTABLE, of).flags(NLM_F_CREATE).put_str(1, name), 2, 0)
}

/// Takes a table away, with everything in it.
#[must_use]
pub fn delete_table(of: NftFamily, name: &str) -> Message {
    message(NFT_MSG_DELTABLE, of).put_str(1, name)
}

/// Makes a chain; one that hooks in if `base` says where.
#[must_use]
pub fn new_chain(of: NftFamily, table: &str, name: &str, base: Option<&NftBaseChain>) -> Message {
    let m = message(NFT_MSG_NEWCHAIN, of).flags(NLM_F_CREATE).put_str(1, table).put_str(3, name);
    let Some(base) = base else { return m };
    let m = m.nest(4, |hook| {
        let hook = put_be32(put_be32(hook, 1, base.hook), 2, base.priority.cast_unsigned());
        match base.devices.as_slice() {
            [] => hook,
            [one] => hook.put_str(3, one),
            several => hook.nest(4, |list| several.iter().fold(list, |list, device| list.put_str(1, device))),
        }
    });
    put_be32(m, 5, u32::from(!base.policy_drop)).put_str(7, &base.kind)
}

/// Adds a rule to the end of a chain.
#[must_use]
pub fn new_rule(of: NftFamily, table: &str, chain: &str, expressions: &[NftExpr]) -> Message {
    let m =
        message(NFT_MSG_NEWRULE, of).flags(NLM_F_CREATE | NLM_F_APPEND).put_str(1, table).put_str(2, chain);
    m.nest(4, |list| expressions.iter().fold(list, put_expr))
}

/// Returns the messages that make a table with its sets, chains and rules, in an order in which each finds what it
/// names. `bases` says which of its chains hook in, and where.
#[must_use]
pub fn new_ruleset(table: &NftTable, bases: &[NftBaseChain]) -> Vec<Message> {
    let (of, name) = (table.family, table.name.as_str());
    let mut messages = vec![new_table(of, name)];
    let base_of = |chain: &str| bases.iter().find(|base| base.chain == chain);
    for chain in &table.chains {
        messages.push(new_chain(of, name, &chain.name, base_of(&chain.name)));
    }
    for (id, set) in (1..).zip(&table.sets) {
        messages.push(new_set(of, name, set, id));
        if !set.elements.is_empty() {
            messages.push(new_elements(of, name, set));
        }
    }
    for chain in &table.chains {
        messages.extend(chain.rules.iter().map(|rule| new_rule(of, name, &chain.name, &rule.expressions)));
    }
    messages
}
