//! What a snapshot tells of nftables' rules and sets, against rulesets that the tests make by netlink and by `nft`.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::nftables::{add_table, delete_table};
use portcullis_snapshot::{
    BitwiseOp, Bytes, CmpOp, FibResult, Filters, MacAddr, MetaKey, NftBaseChain, NftChain, NftData,
    NftElement, NftExpr, NftFamily, NftRule, NftSet, NftTable, NftVerdict, PayloadBase, XtMarkTarget,
    XtMatch, XtMultiport, XtPortSide, XtRange, XtTarget,
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
    let address = |dreg| NftExpr::Payload { base: PayloadBase::Network, offset: 12, len: 4, dreg };
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
                        address(8),
                        NftExpr::Bitwise {
                            sreg: 8,
                            dreg: 8,
                            len: 4,
                            op: BitwiseOp::Mask { mask: bytes(&[255, 255, 255, 0]), xor: bytes(&[0; 4]) },
                        },
                        NftExpr::Verdict(NftVerdict::Accept),
                    ]),
                ],
            },
            NftChain {
                name: "more".to_owned(),
                rules: vec![rule(vec![
                    source,
                    // Parts of a concatenation follow each other; since 6.12 nothing may be loaded that was not stored.
                    address(6),
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

/// A table with one chain that hooks in and no rules. What a kernel refuses here it does not have; what it refuses
/// beyond is a test's mistake, which must not pass for a lack.
fn hollow() -> NftTable {
    let chains = vec![NftChain { name: "input".to_owned(), rules: Vec::new() }];
    NftTable { chains, sets: Vec::new(), ..guard() }
}

#[test]
fn what_was_made_is_read_back() {
    fresh(|| {
        if let Err(error) = add_table(&hollow(), &[base("input", 1, true)]) {
            skip!("{error}");
        }
        add_table(&guard(), &[base("input", 1, true)]).unwrap();
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
        if let Err(error) = add_table(&hollow(), &[base("input", 1, false)]) {
            skip!("{error}");
        }
        delete_table(NftFamily::Bridge, "guard").unwrap();
        let mut table = guard();
        let nowhere = NftExpr::Verdict(NftVerdict::Jump("nowhere".to_owned()));
        table.chains[0].rules.push(rule(vec![nowhere]));
        let refused = add_table(&table, &[base("input", 1, false)]);
        assert_eq!(refused.unwrap_err().errno(), Some(nix::errno::Errno::ENOENT));
        assert!(filters().nft_tables.is_surely(Vec::is_empty));
    });
}

/// Runs `nft -f -`; whether the kernel took the ruleset, else why not. What `nft` cannot read is a test's mistake.
fn nft(ruleset: &str) -> Result<(), String> {
    let mut command = Command::new("nft");
    let command = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft: {error}"))?;
    child.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    // "known keys": an expression that is newer than this `nft`.
    assert!(!said.contains("syntax error") || said.contains("known keys are"), "{said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Whether `nft` is here, and the kernel has the family; else why not. As with [`hollow`], what comes later must work.
fn has(family: &str, hook: &str) -> Result<(), String> {
    nft(&format!("table {family} probe {{ chain c {{ type filter hook {hook} priority 0; }}; }}"))?;
    nft(&format!("delete table {family} probe"))
}

fn table(family: NftFamily, name: &str) -> NftTable {
    let filters = filters();
    let mut found = filters.nft_tables.read().unwrap().iter();
    found.find(|table| table.family == family && table.name == name).unwrap().clone()
}

fn payload(base: PayloadBase, offset: u32, len: u32) -> NftExpr {
    NftExpr::Payload { base, offset, len, dreg: 4 }
}

fn equals(data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: bytes(data) }
}

/// That a rule has these expressions in this order. `nft` may put others between them, by its version.
fn assert_in_order(rule: &NftRule, wanted: &[NftExpr]) {
    let mut found = rule.expressions.iter();
    for expr in wanted {
        assert!(found.any(|other| other == expr), "no {expr:?} in its place: {:#?}", rule.expressions);
    }
}

#[test]
fn rules_that_nft_makes() {
    fresh(|| {
        if let Err(why) = has("bridge", "forward") {
            skip!("{why}");
        }
        let ruleset = "table bridge t {
            chain aside { arp operation 1 return; }
            chain beyond { counter; }
            chain c {
                type filter hook forward priority 0; policy accept;
                ether type arp arp saddr ip 192.0.2.1 jump aside
                ether type ip ip saddr 192.0.2.7 goto beyond
                vlan id 5 drop
                meta iifname \"tap0\" meta mark set 7
                ip daddr != { 192.0.2.1, 192.0.2.2 } accept
                ip daddr 192.0.2.1-192.0.2.9 log prefix \"x\" comment \"hello\"
            }
        }";
        nft(ruleset).unwrap();
        let table = table(NftFamily::Bridge, "t");
        let names: Vec<_> =
            table.chains.iter().map(|chain| (chain.name.as_str(), chain.rules.len())).collect();
        assert_eq!(names, [("aside", 1), ("beyond", 1), ("c", 6)]);
        let ethertype = payload(PayloadBase::Link, 12, 2);
        let [arp, ip, vlan, mark, outside, range] = table.chain("c").unwrap().rules.as_slice() else {
            unreachable!()
        };
        let to = |verdict: fn(String) -> NftVerdict, chain: &str| NftExpr::Verdict(verdict(chain.to_owned()));
        assert_in_order(
            arp,
            &[
                ethertype.clone(),
                equals(&[8, 6]),
                payload(PayloadBase::Network, 14, 4),
                equals(&[192, 0, 2, 1]),
                to(NftVerdict::Jump, "aside"),
            ],
        );
        assert_in_order(
            ip,
            &[
                ethertype.clone(),
                equals(&[8, 0]),
                payload(PayloadBase::Network, 12, 4),
                equals(&[192, 0, 2, 7]),
                to(NftVerdict::Goto, "beyond"),
            ],
        );
        let twelve_bits = BitwiseOp::Mask { mask: bytes(&[0x0f, 0xff]), xor: bytes(&[0, 0]) };
        assert_in_order(
            vlan,
            &[
                ethertype,
                equals(&[0x81, 0]),
                payload(PayloadBase::Link, 14, 2),
                NftExpr::Bitwise { sreg: 4, dreg: 4, len: 2, op: twelve_bits },
                equals(&[0, 5]),
                NftExpr::Verdict(NftVerdict::Drop),
            ],
        );
        assert_in_order(
            mark,
            &[
                NftExpr::Meta { key: MetaKey::IifName, dreg: 4 },
                equals(b"tap0\0\0\0\0\0\0\0\0\0\0\0\0"),
                NftExpr::Immediate { dreg: 4, data: bytes(&7u32.to_ne_bytes()) },
                NftExpr::MetaSet { key: MetaKey::Mark, sreg: 4 },
            ],
        );
        let [set] = table.sets.as_slice() else { unreachable!("{:#?}", table.sets) };
        let lookup = NftExpr::Lookup { set: set.name.clone(), sreg: 4, dreg: None, inverted: true };
        assert_in_order(outside, &[payload(PayloadBase::Network, 16, 4), lookup]);
        assert!(range.expressions.iter().any(|expr| match expr {
            NftExpr::Range { sreg: 4, negated: false, from, to } => from.0[3] == 1 && to.0[3] == 9,
            NftExpr::Cmp { sreg: 4, op: CmpOp::Gte, data } => data.0 == [192, 0, 2, 1],
            _ => false,
        }));
        assert_eq!(range.expressions.last(), Some(&NftExpr::NoEffect("log".to_owned())));
        let handles: Vec<_> = table.chain("c").unwrap().rules.iter().map(|rule| rule.handle).collect();
        assert!(handles.is_sorted() && handles[0] > 0, "{handles:?}");
    });
}

#[test]
fn what_meta_reads_and_sets() {
    fresh(|| {
        if let Err(why) = has("bridge", "prerouting") {
            skip!("{why}");
        }
        // Each on its own: a kernel may have some of them only, and `nft` may know less than the kernel.
        for (text, key) in [
            ("meta ibrname \"br0\"", MetaKey::BriIifName),
            ("meta obrname \"br0\"", MetaKey::BriOifName),
            ("meta ibrpvid 7", MetaKey::BriIifPvid),
            ("meta ibrvproto 0x88a8", MetaKey::BriIifVproto),
            ("meta protocol arp", MetaKey::Protocol),
            ("meta pkttype broadcast", MetaKey::PktType),
            ("meta length 60", MetaKey::Len),
            ("meta priority 0:7", MetaKey::Priority),
            ("meta l4proto 17", MetaKey::L4Proto),
            ("meta iiftype 1", MetaKey::IifType),
            ("meta iifkind \"tun\"", MetaKey::IifKind),
            ("meta skuid 7", MetaKey::Other(10)),
        ] {
            let chain = format!("chain c {{ type filter hook prerouting priority 0; {text} accept; }}");
            if let Err(why) = nft(&format!("table bridge t {{ {chain}; }}")) {
                println!("skipped ({text}), because {why}");
                continue;
            }
            let rule = table(NftFamily::Bridge, "t").chain("c").unwrap().rules[0].clone();
            assert_in_order(&rule, &[NftExpr::Meta { key, dreg: 4 }, NftExpr::Verdict(NftVerdict::Accept)]);
            nft("delete table bridge t").unwrap();
        }
        // Newer than many versions of `nft`; the kernel takes it at this hook alone, so it knows what is meant.
        let set = NftExpr::MetaSet { key: MetaKey::BriBroute, sreg: 4 };
        let mut table = hollow();
        table.chains[0].rules =
            vec![rule(vec![NftExpr::Immediate { dreg: 4, data: bytes(&[1]) }, set.clone()])];
        match add_table(&table, &[base("input", 0, false)]) {
            Ok(()) => assert_in_order(&self::table(NftFamily::Bridge, "guard").chains[0].rules[0], &[set]),
            Err(error) => println!("skipped (meta broute), because {error}"),
        }
    });
}

#[test]
fn sets_that_nft_makes() {
    fresh(|| {
        if let Err(why) = has("bridge", "forward") {
            skip!("{why}");
        }
        let ruleset = "table bridge t {
            chain aside { }
            set plain { type ipv4_addr; elements = { 192.0.2.9, 192.0.2.1 }; }
            set ranges { type ipv4_addr; flags interval; elements = { 10.0.1.0/24, 10.0.9.5, 10.0.0.0/24 }; }
            set pairs {
                type ether_addr . ipv4_addr; flags interval;
                elements = { 02:00:00:00:00:01 . 10.0.0.0/24 };
            }
            set timed { type ether_addr; flags timeout; elements = { 02:00:00:00:00:02 timeout 1h }; }
            map where {
                type ether_addr : verdict;
                elements = { 02:00:00:00:00:03 : drop, 02:00:00:00:00:04 : jump aside };
            }
            map marks { type inet_service : mark; elements = { 80 : 7 }; }
        }";
        nft(ruleset).unwrap();
        let table = table(NftFamily::Bridge, "t");
        let set = |name: &str| table.set(name).unwrap();
        let keys: Vec<_> =
            set("plain").elements.iter().map(|element| element.key.clone().unwrap().0[3]).collect();
        assert_eq!(keys, [1, 9]);
        // Some versions of nft begin with an end at 0.0.0.0: before the first interval there is nothing.
        let boundary = |element: &NftElement| (element.key.clone().unwrap().0, element.interval_end);
        let boundaries = set("ranges").elements.iter().map(boundary).filter(|(key, _)| *key != [0; 4]);
        let wanted = [
            ([10, 0, 0, 0], false),
            ([10, 0, 1, 0], true),
            ([10, 0, 1, 0], false),
            ([10, 0, 2, 0], true),
            ([10, 0, 9, 5], false),
            ([10, 0, 9, 6], true),
        ];
        assert_eq!(boundaries.collect::<Vec<_>>(), wanted.map(|(key, end)| (key.to_vec(), end)));
        let mac = |last: u8| [2, 0, 0, 0, 0, last];
        let pair = |host: u8| [&mac(1)[..], &[0, 0, 10, 0, 0, host]].concat();
        assert_eq!((set("pairs").key_len, set("pairs").concat.as_slice()), (12, &[6, 4][..]));
        assert_eq!(set("pairs").elements, [element(&pair(0), Some(&pair(255)), None)]);
        let leaving = NftElement { expires: true, ..element(&mac(2), None, None) };
        assert_eq!((set("timed").changes(), set("timed").elements.as_slice()), (true, &[leaving][..]));
        let verdict = |verdict| Some(NftData::Verdict(verdict));
        let wanted = [
            element(&mac(3), None, verdict(NftVerdict::Drop)),
            element(&mac(4), None, verdict(NftVerdict::Jump("aside".to_owned()))),
        ];
        assert_eq!(set("where").elements, wanted);
        let value = NftData::Value(bytes(&7u32.to_ne_bytes()));
        assert_eq!(set("marks").elements, [element(&80u16.to_be_bytes(), None, Some(value))]);
    });
}

#[test]
fn an_element_for_all_others() {
    fresh(|| {
        // Since 5.13.
        let ruleset = "table ip t { map m { type ipv4_addr : verdict; elements = { 192.0.2.1 : accept, * : drop }; }; }";
        if let Err(why) = nft(ruleset) {
            skip!("{why}");
        }
        let drop = NftElement { key: None, ..element(&[], None, Some(NftData::Verdict(NftVerdict::Drop))) };
        let accept = element(&[192, 0, 2, 1], None, Some(NftData::Verdict(NftVerdict::Accept)));
        assert_eq!(table(NftFamily::Ip, "t").set("m").unwrap().elements, [drop, accept]);
    });
}

#[test]
fn a_table_that_is_larger_than_a_sockets_buffers_is_made_and_deleted() {
    const RULES: u32 = 12_000;
    fresh(|| {
        let address = |n: u32| (0x0a00_0000 + n).to_be_bytes();
        let of = |n| vec![payload(PayloadBase::Network, 12, 4), equals(&address(n))];
        let rules = (0..RULES).map(|n| rule(of(n))).collect();
        let chains = vec![NftChain { name: "c".to_owned(), rules }];
        let large = NftTable {
            family: NftFamily::Ip,
            name: "large".to_owned(),
            dormant: false,
            chains,
            sets: Vec::new(),
        };
        match add_table(&large, &[]) {
            Err(error) if error.errno() == Some(nix::errno::Errno::EMSGSIZE) => {
                skip!("only root may send so much at once");
            }
            Err(error) if error.to_string().contains("not supported") => skip!("{error}"),
            made => made.unwrap(),
        }
        assert_eq!(table(NftFamily::Ip, "large").chain("c").unwrap().rules.len(), RULES as usize);
        delete_table(NftFamily::Ip, "large").unwrap();
        assert!(filters().nft_tables.known().is_empty());
    });
}

#[test]
fn more_than_one_message_holds() {
    fresh(|| {
        if let Err(why) = has("ip", "forward") {
            skip!("{why}");
        }
        let all: Vec<String> = (0..5000u32).map(|n| format!("10.1.{}.{}", n >> 8, n & 0xff)).collect();
        let rules: String =
            (0..600).map(|n| format!("ip saddr 10.2.{}.{} accept\n", n >> 8, n & 0xff)).collect();
        let (set, elements) = ("set s { type ipv4_addr; elements = {", all.join(","));
        nft(&format!("table ip t {{ {set} {elements} }}; }}; chain c {{ {rules} }}; }}")).unwrap();
        let table = table(NftFamily::Ip, "t");
        let found = table.set("s").unwrap().elements.iter().map(|element| element.key.clone().unwrap().0);
        let wanted = (0..5000u32).map(|n| (0x0a01_0000 + n).to_be_bytes().to_vec());
        assert!(found.eq(wanted));
        let rules = &table.chain("c").unwrap().rules;
        assert_eq!(rules.len(), 600);
        for (rule, n) in rules.iter().zip(0x0a02_0000u32..) {
            assert_in_order(rule, &[equals(&n.to_be_bytes())]);
        }
    });
}

#[test]
fn what_changes_by_itself_is_kept_as_it_came() {
    fresh(|| {
        if let Err(why) = has("ip", "forward") {
            skip!("{why}");
        }
        // Each on its own: a kernel may have some of them only.
        for (name, text) in [
            ("limit", "limit rate 5/second accept"),
            ("ct", "ct state established accept"),
            ("quota", "quota over 100 mbytes drop"),
            ("numgen", "meta mark set numgen inc mod 2"),
            ("rt", "rt classid 7 accept"),
        ] {
            let made =
                nft(&format!("table ip t {{ chain c {{ type filter hook forward priority 0; {text}; }}; }}"));
            if let Err(why) = made {
                println!("skipped ({name}), because {why}");
                continue;
            }
            let rule = table(NftFamily::Ip, "t").chain("c").unwrap().rules[0].clone();
            let kept = |expr: &NftExpr| matches!(expr, NftExpr::Other { name: found, data } if found == name && !data.0.is_empty());
            assert_eq!(rule.expressions.iter().filter(|expr| kept(expr)).count(), 1, "{rule:#?}");
            nft("delete table ip t").unwrap();
        }
        for (text, wanted) in [
            ("reject", NftExpr::Reject),
            (
                "meta mark set meta mark << 4",
                NftExpr::Bitwise { sreg: 4, dreg: 4, len: 4, op: BitwiseOp::Shift { left: true, bits: 4 } },
            ),
            (
                "fib daddr type local accept",
                NftExpr::Fib { dreg: 4, result: FibResult::AddressType, flags: 2 },
            ),
        ] {
            let made =
                nft(&format!("table ip t {{ chain c {{ type filter hook input priority 0; {text}; }}; }}"));
            if let Err(why) = made {
                println!("skipped ({text}), because {why}");
                continue;
            }
            assert_in_order(&table(NftFamily::Ip, "t").chain("c").unwrap().rules[0], &[wanted]);
            nft("delete table ip t").unwrap();
        }
    });
}

#[test]
fn rules_at_a_device() {
    fresh(|| {
        let mut route = Socket::open(Family::Route).unwrap();
        NewLink::new("v0", "veth").veth("w0", MacAddr([2, 0, 0, 0, 0, 2]), None).apply(&mut route).unwrap();
        let far = link::index_of(&mut route, "w0").unwrap().0.to_ne_bytes();
        if let Err(why) = has("netdev", "ingress device v0") {
            skip!("{why}");
        }
        let chain = |rule: &str| {
            nft(&format!(
                "table netdev t {{ chain c {{ type filter hook ingress device v0 priority 0; {rule}; }}; }}"
            ))
        };
        chain("ether type 0x88cc drop").unwrap();
        let mut wanted = vec![vec![
            payload(PayloadBase::Link, 12, 2),
            equals(&[0x88, 0xcc]),
            NftExpr::Verdict(NftVerdict::Drop),
        ]];
        let device = NftExpr::Immediate { dreg: 4, data: bytes(&far) };
        for (rule, copy) in [("dup to w0", true), ("fwd to w0", false)] {
            match chain(rule) {
                Ok(()) => wanted.push(vec![device.clone(), NftExpr::ToDevice { copy, sreg: 4 }]),
                Err(why) => println!("skipped ({rule}), because {why}"),
            }
        }
        let to_next_hop = chain("fwd ip to 192.0.2.1 device w0");
        let rules = table(NftFamily::Netdev, "t").chain("c").unwrap().rules.clone();
        assert_eq!(rules.len(), wanted.len() + usize::from(to_next_hop.is_ok()));
        for (rule, wanted) in rules.iter().zip(&wanted) {
            assert_in_order(rule, wanted);
        }
        match to_next_hop {
            Ok(()) => assert!(
                matches!(rules.last().unwrap().expressions.last(), Some(NftExpr::Other { name, .. }) if name == "fwd")
            ),
            Err(why) => println!("skipped (fwd to a next hop), because {why}"),
        }
    });
}

#[test]
fn rules_of_iptables_nft() {
    fresh(|| {
        for words in ["-p tcp -m multiport --dports 1,2 -j DROP", "-s 192.0.2.1 -j MARK --set-mark 3"] {
            let mut command = Command::new("iptables-nft");
            let output = match command.args(["-t", "mangle", "-A", "INPUT"]).args(words.split(' ')).output() {
                Ok(output) => output,
                Err(error) => skip!("iptables-nft: {error}"),
            };
            if !output.status.success() {
                skip!("{}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        let table = table(NftFamily::Ip, "mangle");
        let [ports, mark] = table.chain("INPUT").unwrap().rules.as_slice() else {
            unreachable!("{table:#?}")
        };
        assert_in_order(
            ports,
            &[NftExpr::NoEffect("counter".to_owned()), NftExpr::Verdict(NftVerdict::Drop)],
        );
        // Newer versions of iptables may write either as expressions.
        for expression in ports.expressions.iter().chain(&mark.expressions) {
            match expression {
                NftExpr::Match(found) => {
                    let port = |port| XtRange { from: port, to: port, inverted: false };
                    let ports = vec![port(1), port(2)];
                    let side = XtPortSide::Destination;
                    let wanted = XtMultiport { side, ports, inverted: false };
                    assert_eq!(*found, XtMatch::Multiport(wanted));
                }
                NftExpr::Target(found) => {
                    assert_eq!(*found, XtTarget::Mark(XtMarkTarget { value: 3, mask: u32::MAX }));
                }
                _ => {}
            }
        }
    });
}

/// Says that it is over when it goes away, also when an assertion fails: else the other thread would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_table_that_comes_and_goes_is_never_told_in_part() {
    fresh(|| {
        if let Err(error) = add_table(&hollow(), &[base("input", 1, true)]) {
            skip!("{error}");
        }
        delete_table(NftFamily::Bridge, "guard").unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = Over(&done);
            // A new thread is in the namespace of the one that makes it.
            let changing = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    add_table(&guard(), &[base("input", 1, true)]).unwrap();
                    thread::sleep(Duration::from_millis(10));
                    delete_table(NftFamily::Bridge, "guard").unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let (mut with, mut without, mut unread) = (0, 0, 0);
            for _ in 0..25 {
                let filters = filters();
                match filters.nft_tables.read().map(Vec::as_slice) {
                    Some([table]) => {
                        assert_eq!(unnumbered(table.clone()), unnumbered(guard()));
                        assert_eq!(filters.nft_chains.known().len(), 1);
                        with += 1;
                    }
                    Some(tables) => {
                        assert_eq!((tables.len(), filters.nft_chains.known().len()), (0, 0));
                        without += 1;
                    }
                    None => unread += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
            changing.join().unwrap();
            println!("with {with}, without {without}, unread {unread}");
        });
    });
}
