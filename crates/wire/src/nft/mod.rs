//! nftables (linux/netfilter/nf_tables.h): tables, base chains and flowtables here, rules and sets beside. Numbers are in
//! network byte order.

mod expr;
mod set;
mod write;

use portcullis_snapshot::{NftBaseChain, NftFamily, NftFlowtable};

use crate::{Attribute, Attributes, Message, u8_at};

/// `struct nfgenmsg`.
const NFGENMSG: usize = 4;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_SUBSYS_HOOK: u16 = 12;

pub use expr::{expr, put_expr, rule};
pub use set::{elements, elements_request, new_elements, new_set, set, sort};
pub use write::{batch_begin, batch_end, delete_table, new_chain, new_rule, new_ruleset, new_table};

/// What can be listed (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `NFT_MSG_GETTABLE`.
    Tables,
    /// `NFT_MSG_GETCHAIN`.
    Chains,
    /// `NFT_MSG_GETFLOWTABLE`.
    Flowtables,
    /// `NFT_MSG_GETRULE`.
    Rules,
    /// `NFT_MSG_GETSET`.
    Sets,
}

/// Asks for everything of a sort, in every family.
#[must_use]
pub fn listing_request(listing: Listing) -> Message {
    let kind = match listing {
        Listing::Tables => 1,
        Listing::Chains => 4,
        Listing::Flowtables => 23,
        Listing::Rules => 7,
        Listing::Sets => 10,
    };
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, 0).header(&[0; NFGENMSG])
}

/// Asks which functions stand at a hook of a family (`NFNL_MSG_HOOK_GET`, since 5.14).
#[must_use]
pub fn hook_functions_request(family: u8, hook: u32) -> Message {
    Message::new(NFNL_SUBSYS_HOOK << 8, 0).header(&[family, 0, 0, 0]).put(1, &hook.to_be_bytes())
}

/// A function at a hook, and what it was registered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFunction {
    /// The kernel's function.
    pub function: String,
    /// The module that it is in, where it is in one.
    pub module: Option<String>,
    /// Its priority; lower runs first.
    pub priority: i32,
}

/// Decodes one answer to [`hook_functions_request`].
#[must_use]
pub fn hook_function(message: &[u8]) -> Option<HookFunction> {
    let attributes = Attributes::after(message, NFGENMSG);
    Some(HookFunction {
        function: attributes.get(4)?.string(),
        module: attributes.get(5).map(|module| module.string()),
        priority: attributes.get(2)?.be32()?.cast_signed(),
    })
}

/// A table: its family, its name, and whether it is dormant.
#[must_use]
pub fn table(message: &[u8]) -> Option<(NftFamily, String, bool)> {
    const NFT_TABLE_F_DORMANT: u32 = 1;
    let attributes = Attributes::after(message, NFGENMSG);
    let flags = attributes.get(2).and_then(|flags| flags.be32()).unwrap_or_default();
    Some((family(message)?, attributes.get(1)?.string(), flags & NFT_TABLE_F_DORMANT != 0))
}

/// Asks for the number that every transaction changes (`NFT_MSG_GETGEN`).
#[must_use]
pub fn generation_request() -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | 16, 0).header(&[0; NFGENMSG]).flags(crate::NLM_F_ACK)
}

/// Decodes its answer.
#[must_use]
pub fn generation(message: &[u8]) -> Option<u32> {
    Attributes::after(message, NFGENMSG).get(1)?.be32()
}

/// A chain, base chain or not: its table's family and name, and its own name.
#[must_use]
pub fn chain(message: &[u8]) -> Option<(NftFamily, String, String)> {
    let attributes = Attributes::after(message, NFGENMSG);
    Some((family(message)?, attributes.get(1)?.string(), attributes.get(3)?.string()))
}

/// A base chain; `None` for other chains. Whether its table is dormant has to be filled in.
#[must_use]
pub fn base_chain(message: &[u8]) -> Option<NftBaseChain> {
    let attributes = Attributes::after(message, NFGENMSG);
    let hook = attributes.get(4)?.nested();
    let (family, number) = (family(message)?, hook.get(1)?.be32()?);
    Some(NftBaseChain {
        family,
        table: attributes.get(1)?.string(),
        chain: attributes.get(3)?.string(),
        kind: attributes.get(7).map(|kind| kind.string()).unwrap_or_default(),
        hook: number,
        hook_name: hook_name(family, number).to_owned(),
        priority: hook.get(2)?.be32()?.cast_signed(),
        devices: hook_devices(&hook, 3, 4),
        policy_drop: attributes.get(5).and_then(|policy| policy.be32()) == Some(0),
        // Nothing can jump to a base chain (nft_verdict_init), so what uses it are its rules (nf_tables_newrule).
        rules: attributes.get(6).and_then(|uses| uses.be32()).unwrap_or_default(),
        dormant: false,
    })
}

/// A flowtable.
#[must_use]
pub fn flowtable(message: &[u8]) -> Option<NftFlowtable> {
    let attributes = Attributes::after(message, NFGENMSG);
    let devices = attributes.get(3).map(|hook| hook_devices(&hook.nested(), 0, 3)).unwrap_or_default();
    let (table, name) = (attributes.get(1)?.string(), attributes.get(2)?.string());
    Some(NftFlowtable { family: family(message)?, table, name, devices })
}

fn hook_devices(hook: &Attributes<'_>, single: u16, several: u16) -> Vec<String> {
    let several = hook.get(several).into_iter().flat_map(|devices| devices.nested());
    let mut devices: Vec<_> = several.map(|device| device_name(&device)).collect();
    // The kernel tells a single device twice, in the old place and in the new.
    if let (true, Some(device)) = (devices.is_empty() && single != 0, hook.get(single)) {
        devices.push(device.string());
    }
    devices
}

/// A device's name, or with an asterisk at its end what names begin with (`NFTA_DEVICE_PREFIX`, since 6.17).
fn device_name(device: &Attribute<'_>) -> String {
    const NFTA_DEVICE_PREFIX: u16 = 2;
    let name = device.string();
    if device.number == NFTA_DEVICE_PREFIX { name + "*" } else { name }
}

fn family(message: &[u8]) -> Option<NftFamily> {
    Some(match u8_at(message, 0)? {
        1 => NftFamily::Inet,
        2 => NftFamily::Ip,
        3 => NftFamily::Arp,
        5 => NftFamily::Netdev,
        7 => NftFamily::Bridge,
        10 => NftFamily::Ip6,
        other => NftFamily::Other(other),
    })
}

/// Starts a message about something of a family.
fn message(kind: u16, of: NftFamily) -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, 0).header(&[of.number(), 0, 0, 0])
}

/// Returns the family that a message speaks of.
#[must_use]
pub fn family_of(message: &[u8]) -> Option<NftFamily> {
    family(message)
}

/// The hook's name in `nft`(8).
fn hook_name(family: NftFamily, number: u32) -> &'static str {
    match (family, number) {
        (NftFamily::Netdev, 0) => "ingress",
        (NftFamily::Netdev, 1) => "egress",
        (NftFamily::Arp, 0) => "input",
        (NftFamily::Arp, 1) => "output",
        (NftFamily::Arp, 2) => "forward",
        (_, 0) => "prerouting",
        (_, 1) => "input",
        (_, 2) => "forward",
        (_, 3) => "output",
        (_, 4) => "postrouting",
        (NftFamily::Inet, 5) => "ingress",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Messages;

    fn payload(family: u8, fill: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let bytes = fill(Message::new(NFNL_SUBSYS_NFTABLES << 8 | 3, 0).header(&[family, 0, 0, 7])).finish(1);
        Messages::new(&bytes).next().unwrap().payload.to_vec()
    }

    fn be(message: Message, number: u16, value: i32) -> Message {
        message.put(number, &value.to_be_bytes())
    }

    #[test]
    fn a_netdev_chain_on_two_devices() {
        let bytes = payload(5, |m| {
            let m = m.put_str(1, "guard").put_str(3, "in").nest(4, |hook| {
                let devices = |d: Message| d.put_str(1, "tap0").put_str(2, "vnet");
                be(be(hook, 1, 0), 2, -500).nest(4, devices)
            });
            be(be(m, 5, 0), 6, 3).put_str(7, "filter")
        });
        let chain = base_chain(&bytes).unwrap();
        assert_eq!(
            (chain.family, chain.table.as_str(), chain.chain.as_str()),
            (NftFamily::Netdev, "guard", "in")
        );
        assert_eq!((chain.hook, chain.hook_name.as_str(), chain.priority), (0, "ingress", -500));
        assert_eq!(chain.devices, ["tap0", "vnet*"]);
        assert_eq!((chain.policy_drop, chain.rules, chain.kind.as_str()), (true, 3, "filter"));
    }

    #[test]
    fn a_chain_without_a_hook_is_no_base_chain() {
        assert_eq!(base_chain(&payload(7, |m| m.put_str(1, "t").put_str(3, "c"))), None);
    }

    #[test]
    fn one_device_is_told_in_the_old_place() {
        let bytes = payload(5, |m| {
            let hook = |hook: Message| be(be(hook, 1, 1), 2, 0).put_str(3, "eth0");
            m.put_str(1, "t").put_str(3, "c").nest(4, hook)
        });
        let chain = base_chain(&bytes).unwrap();
        assert_eq!((chain.devices, chain.hook_name.as_str()), (vec!["eth0".to_owned()], "egress"));
    }

    #[test]
    fn tables_and_flowtables() {
        let bytes = payload(1, |m| be(m.put_str(1, "main"), 2, 1));
        assert_eq!(table(&bytes), Some((NftFamily::Inet, "main".to_owned(), true)));
        let bytes = payload(10, |m| {
            m.put_str(1, "main").put_str(2, "fast").nest(3, |hook| hook.nest(3, |d| d.put_str(1, "eth0")))
        });
        let found = flowtable(&bytes).unwrap();
        assert_eq!((found.family, found.name.as_str()), (NftFamily::Ip6, "fast"));
        assert_eq!(found.devices, ["eth0"]);
    }

    #[test]
    fn a_function_at_a_hook() {
        let bytes = payload(7, |m| be(m.put_str(5, "ebtables").put_str(4, "ebt_do_table"), 2, -200));
        let expected = HookFunction {
            function: "ebt_do_table".to_owned(),
            module: Some("ebtables".to_owned()),
            priority: -200,
        };
        assert_eq!(hook_function(&bytes), Some(expected));
    }
}
