//! What a snapshot tells of nftables' rules and sets, against rulesets that the tests make by netlink and by `nft`.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::nftables::{add_table, delete_table};
use portcullis_snapshot::{
    Bytes, CmpOp, Filters, MetaKey, NftBaseChain, NftChain, NftData, NftElement, NftExpr, NftFamily, NftRule,
    NftSet, NftTable, NftVerdict, PayloadBase,
};
use portcullis_testnet::{fresh, skip};

fn filters() -> Filters {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    capture(&request).unwrap().namespaces.remove(0).filters
}

fn rule(expressions: Vec<NftExpr>) -> NftRule {
    NftRule { handle: 0, expressions }
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::from(bytes)
}

fn element(key: &[u8], key_end: Option<&[u8]>, data: Option<NftData>) -> NftElement {
    NftElement {
        key: Some(bytes(key)),
        key_end: key_end.map(bytes),
        interval_end: false,
        data,
        expires: false,
        expressions: Vec::new(),
    }
}

fn base(chain: &str, hook: u32, policy_drop: bool) -> NftBaseChain {
    NftBaseChain {
        family: NftFamily::Bridge,
        table: "guard".to_owned(),
        chain: chain.to_owned(),
        kind: "filter".to_owned(),
        hook,
        hook_name: String::new(),
        priority: -200,
        devices: Vec::new(),
        policy_drop,
        rules: 0,
        dormant: false,
    }
}

fn guard() -> NftTable {
    let ethertype = NftExpr::Payload { base: PayloadBase::Link, offset: 12, len: 2, dreg: 4 };
    let is = |op, data: &[u8]| NftExpr::Cmp { sreg: 4, op, data: bytes(data) };
    let lookup = |set: &str, dreg| NftExpr::Lookup { set: set.to_owned(), sreg: 4, dreg, inverted: false };
    let source = NftExpr::Payload { base: PayloadBase::Link, offset: 6, len: 6, dreg: 4 };
    let address = NftExpr::Payload { base: PayloadBase::Network, offset: 12, len: 4, dreg: 8 };
    let drop = Some(NftData::Verdict(NftVerdict::Drop));
    let set = |name: &str, flags, key_len, concat: &[u32], elements| NftSet {
        name: name.to_owned(),
        flags,
        key_len,
        concat: concat.to_vec(),
        elements,
    };
    let mut end = element(&[10, 0, 0, 9], None, None);
    end.interval_end = true;
    NftTable {
        family: NftFamily::Bridge,
        name: "guard".to_owned(),
        dormant: false,
        chains: vec![
            NftChain {
                name: "input".to_owned(),
                rules: vec![
                    rule(vec![
                        NftExpr::Meta { key: MetaKey::IifName, dreg: 4 },
                        is(CmpOp::Eq, b"tap0\0\0\0\0\0\0\0\0\0\0\0\0"),
                        NftExpr::Verdict(NftVerdict::Jump("more".to_owned())),
                    ]),
                    rule(vec![ethertype, lookup("kinds", Some(0))]),
                    rule(vec![
                        address.clone(),
                        NftExpr::Bitwise {
                            sreg: 8,
                            dreg: 8,
                            len: 4,
                            op: portcullis_snapshot::BitwiseOp::Mask {
                                mask: bytes(&[255, 255, 255, 0]),
                                xor: bytes(&[0; 4]),
                            },
                        },
                        NftExpr::Verdict(NftVerdict::Accept),
                    ]),
                ],
            },
            NftChain {
                name: "more".to_owned(),
                rules: vec![rule(vec![
                    source,
                    address,
                    lookup("pairs", None),
                    NftExpr::Verdict(NftVerdict::Return),
                ])],
            },
        ],
        sets: vec![
            set("kinds", NftSet::MAP, 2, &[], vec![element(&[8, 6], None, drop)]),
            set("range", NftSet::INTERVAL, 4, &[], vec![element(&[10, 0, 0, 1], None, None), end]),
            set("pairs", 0, 12, &[], vec![element(&[2, 0, 0, 0, 0, 1, 0, 0, 10, 0, 0, 1], None, None)]),
        ],
    }
}

/// A table without what the kernel numbers by itself.
fn unnumbered(mut table: NftTable) -> NftTable {
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        rule.handle = 0;
    }
    // The order of a set's name is the kernel's own.
    table.sets.sort_by(|one, other| one.name.cmp(&other.name));
    table
}

#[test]
fn what_was_made_is_read_back() {
    fresh(|| {
        if let Err(error) = add_table(&guard(), &[base("input", 1, true)]) {
            skip!("{error}");
        }
        let filters = filters();
        let found = filters.nft_tables.known().to_vec();
        assert_eq!(found.len(), 1);
        assert_eq!(unnumbered(found[0].clone()), unnumbered(guard()));
        let chains = filters.nft_chains.known();
        assert_eq!(chains.len(), 1);
        assert!(chains[0].policy_drop && chains[0].hook_name == "input" && chains[0].rules == 3);
        delete_table(NftFamily::Bridge, "guard").unwrap();
        assert_eq!(self::filters().nft_tables.known(), []);
    });
}

#[test]
fn a_refused_rule_leaves_nothing() {
    fresh(|| {
        let mut table = guard();
        let nowhere = NftExpr::Verdict(NftVerdict::Jump("nowhere".to_owned()));
        table.chains[0].rules.push(rule(vec![nowhere]));
        let refused = add_table(&table, &[base("input", 1, false)]);
        let filters = filters();
        if !filters.nft_tables.is_surely(|_| false) && filters.nft_tables.read().is_none() {
            skip!("{:?}", filters.nft_tables);
        }
        assert!(refused.is_err());
        assert_eq!(filters.nft_tables.known(), []);
    });
}

/// Runs `nft -f -`; whether it took the ruleset, else why not.
fn nft(ruleset: &str) -> Result<(), String> {
    let mut command = Command::new("nft");
    let command = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft: {error}"))?;
    child.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn what_nft_makes() {
    fresh(|| {
        let ruleset = "table bridge t {
            set macs { type ether_addr . ipv4_addr; flags interval; elements = { 02:00:00:00:00:01 . 10.0.0.0/24 }; }
            chain c {
                type filter hook forward priority 0; policy accept;
                ether saddr . ip saddr @macs counter accept
                ip daddr 192.0.2.1-192.0.2.9 drop
                udp dport { 67, 68 } limit rate 5/second reject
                meta mark set 7
                vlan id 5 drop
            }
        }";
        if let Err(why) = nft(ruleset) {
            skip!("{why}");
        }
        let filters = filters();
        let table = filters.nft_tables.known()[0].clone();
        let macs = table.set("macs").unwrap();
        assert_eq!((macs.key_len, macs.concat.as_slice()), (12, &[6, 4][..]));
        let end = [2, 0, 0, 0, 0, 1, 0, 0, 10, 0, 0, 255];
        assert_eq!(macs.elements[0].key_end, Some(bytes(&end)));
        let rules = &table.chain("c").unwrap().rules;
        assert_eq!(rules.len(), 5);
        assert!(rules[0].expressions.contains(&NftExpr::NoEffect("counter".to_owned())));
        assert!(rules[1].expressions.iter().any(|expr| matches!(
            expr,
            NftExpr::Range { negated: false, .. }
        ) || matches!(
            expr,
            NftExpr::Cmp { op: CmpOp::Gte, .. }
        )));
        let limit = |expr: &NftExpr| matches!(expr, NftExpr::Other { name, .. } if name == "limit");
        assert!(rules[2].expressions.iter().any(limit));
        assert!(rules[2].expressions.contains(&NftExpr::Reject));
        assert!(matches!(rules[3].expressions[1], NftExpr::MetaSet { key: MetaKey::Mark, .. }));
        let unknown = |expr: &&NftExpr| matches!(expr, NftExpr::Other { name, .. } if name != "limit");
        assert_eq!(rules.iter().flat_map(|rule| &rule.expressions).find(unknown), None);
        let anonymous = table.sets.iter().find(|set| set.name.starts_with("__set")).unwrap();
        assert_eq!(anonymous.elements.len(), 2);
    });
}
