//! What no tool writes any more, what is damaged, and that no bytes make anything panic. What the tools write is held
//! against kernels in `crates/kernel/tests/kernel_rules`.

use portcullis_snapshot::{
    LegacyChain, LegacyFamily, LegacyTarget, XtBpf, XtBridgeMarkOp, XtInterface, XtMatch, XtTarget, XtVerdict,
};
use proptest::prelude::*;

use super::info::interface;
use super::tables::{Layout, TableError, TableInfo, chains, info};
use super::{Extension, ebtables};

const FAMILIES: [LegacyFamily; 4] =
    [LegacyFamily::Iptables, LegacyFamily::Ip6tables, LegacyFamily::Arptables, LegacyFamily::Ebtables];

/// Every name and revision that is known, with the length of its structure.
const KNOWN: &[(LegacyFamily, &str, u8, usize)] = &{
    use LegacyFamily::{Arptables as A, Ebtables as E, Ip6tables as S, Iptables as I};
    [
        (I, "addrtype", 0, 12),
        (I, "addrtype", 1, 8),
        (I, "bpf", 0, 528),
        (I, "bpf", 1, 528),
        (I, "comment", 0, 256),
        (I, "connlimit", 1, 32),
        (I, "connmark", 1, 12),
        (I, "conntrack", 1, 152),
        (I, "conntrack", 2, 156),
        (S, "conntrack", 3, 164),
        (I, "dscp", 0, 2),
        (I, "hashlimit", 1, 56),
        (I, "hashlimit", 2, 304),
        (I, "hashlimit", 3, 312),
        (S, "hl", 0, 2),
        (I, "icmp", 0, 4),
        (S, "icmp6", 0, 4),
        (I, "iprange", 1, 68),
        (I, "length", 0, 6),
        (I, "limit", 0, 40),
        (I, "mac", 0, 12),
        (I, "mark", 1, 12),
        (I, "multiport", 1, 48),
        (I, "owner", 1, 20),
        (I, "physdev", 0, 66),
        (I, "pkttype", 0, 8),
        (I, "recent", 0, 212),
        (I, "recent", 1, 228),
        (I, "rpfilter", 0, 1),
        (I, "set", 1, 4),
        (I, "set", 3, 48),
        (I, "set", 4, 48),
        (I, "socket", 1, 1),
        (I, "state", 0, 4),
        (I, "statistic", 0, 24),
        (I, "string", 0, 160),
        (I, "string", 1, 160),
        (I, "tcp", 0, 12),
        (I, "tos", 1, 3),
        (I, "ttl", 0, 2),
        (I, "u32", 0, 1984),
        (I, "udp", 0, 10),
        (I, "udplite", 0, 10),
        (S, "dst", 0, 40),
        (S, "frag", 0, 16),
        (S, "hbh", 0, 40),
        (S, "ipv6header", 0, 3),
        (S, "mh", 0, 3),
        (S, "rt", 0, 280),
        (E, "802_3", 0, 6),
        (E, "among", 0, 12),
        (E, "arp", 0, 52),
        (E, "ip", 0, 28),
        (E, "ip6", 0, 76),
        (E, "limit", 0, 28),
        (E, "mark_m", 0, 24),
        (E, "pkttype", 0, 2),
        (E, "stp", 0, 72),
        (E, "vlan", 0, 8),
        (I, "AUDIT", 0, 1),
        (I, "CHECKSUM", 0, 1),
        (I, "CLASSIFY", 0, 4),
        (I, "CONNMARK", 1, 16),
        (I, "CONNMARK", 2, 16),
        (I, "CT", 0, 40),
        (I, "CT", 2, 72),
        (I, "DNAT", 0, 20),
        (S, "DNAT", 1, 40),
        (I, "DNAT", 2, 44),
        (I, "DSCP", 0, 1),
        (S, "HL", 0, 2),
        (I, "LOG", 0, 32),
        (I, "MARK", 2, 8),
        (I, "MASQUERADE", 0, 20),
        (S, "MASQUERADE", 0, 40),
        (I, "NETMAP", 0, 20),
        (I, "NFLOG", 0, 80),
        (I, "NFQUEUE", 3, 6),
        (I, "REDIRECT", 0, 20),
        (I, "REJECT", 0, 4),
        (I, "SET", 1, 8),
        (I, "SET", 3, 20),
        (S, "SNAT", 2, 44),
        (I, "TCPMSS", 0, 2),
        (I, "TEE", 1, 40),
        (I, "TOS", 1, 2),
        (I, "TPROXY", 0, 16),
        (S, "TPROXY", 1, 28),
        (I, "TTL", 0, 2),
        (A, "mangle", 0, 48),
        (E, "arpreply", 0, 12),
        (E, "dnat", 0, 12),
        (E, "log", 0, 36),
        (E, "mark", 0, 16),
        (E, "nflog", 0, 80),
        (E, "redirect", 0, 4),
        (E, "snat", 0, 12),
    ]
};

fn decode_match(family: LegacyFamily, name: &str, revision: u8, info: &[u8]) -> XtMatch {
    Extension { family, name, revision, info }.decode_match()
}

fn decode_target(family: LegacyFamily, name: &str, revision: u8, info: &[u8]) -> XtTarget {
    Extension { family, name, revision, info }.decode_target()
}

fn is_known(family: LegacyFamily, name: &str, revision: u8, info: &[u8]) -> bool {
    let as_match = !matches!(decode_match(family, name, revision, info), XtMatch::Other(_));
    let as_target = !matches!(decode_target(family, name, revision, info), XtTarget::Other(_));
    as_match || as_target
}

#[test]
fn each_is_known_in_its_own_length_only() {
    for (family, name, revision, size) in KNOWN {
        let aligned = size.next_multiple_of(8);
        for length in (0..aligned + 17).filter(|length| *length != *size && *length != aligned) {
            // A list of addresses is as long as it is; another structure of ebtables is longer.
            if !matches!((*name, family), ("among", _) | ("limit", LegacyFamily::Ebtables)) {
                assert!(!is_known(*family, name, *revision, &vec![0; length]), "{name} {revision} {length}");
            }
        }
        assert!(!is_known(*family, name, 99, &vec![0; aligned]) || *name == "AUDIT", "{name}");
    }
}

/// All zeroes are a value of most structures.
#[test]
fn each_is_known() {
    let needs_more = ["u32", "mark_m", "mark", "bpf", "DNAT", "MASQUERADE", "NETMAP", "REDIRECT"];
    for (family, name, revision, size) in KNOWN.iter().filter(|(_, name, ..)| !needs_more.contains(name)) {
        assert!(is_known(*family, name, *revision, &vec![0; size.next_multiple_of(8)]), "{name} {revision}");
        assert!(is_known(*family, name, *revision, &vec![0; *size]), "{name} {revision}");
    }
}

#[test]
fn names_are_those_of_the_tools() {
    for (family, name, revision, size) in KNOWN {
        let info = vec![0; *size];
        let name_of = |name: &str| match name {
            "LOG" => "log".to_owned(),
            "NFLOG" => "nflog".to_owned(),
            other => other.to_owned(),
        };
        let found = decode_match(*family, name, *revision, &info);
        assert_eq!(found.name(), *name);
        let found = decode_target(*family, name, *revision, &info);
        assert!(found.name() == *name || name_of(found.name()) == *name, "{name}");
        // In documents the name is the key, but of those that are kept as they came.
        let key = serde_json::to_value(&found).unwrap();
        let key = match &key {
            serde_json::Value::Object(map) => map.keys().next().unwrap(),
            other => other.as_str().unwrap(),
        };
        assert!(key == found.name() || key == "other", "{key}");
    }
}

#[test]
fn what_is_not_known_is_kept() {
    let XtMatch::Other(other) = decode_match(LegacyFamily::Iptables, "time", 0, &[1, 2, 3]) else { panic!() };
    assert_eq!((other.name.as_str(), other.revision, &*other.info), ("time", 0, &[1, 2, 3][..]));
    // A flag that is newer than this program.
    let mut tcp = vec![0; 16];
    tcp[11] = 0x10;
    assert!(matches!(decode_match(LegacyFamily::Iptables, "tcp", 0, &tcp), XtMatch::Other(_)));
    // A bridge's own match of the same name as iptables' is none.
    assert!(matches!(decode_match(LegacyFamily::Iptables, "vlan", 0, &[0; 8]), XtMatch::Other(_)));
    assert!(matches!(decode_target(LegacyFamily::Iptables, "mark", 0, &[0; 16]), XtTarget::Other(_)));
}

#[test]
fn programs_that_are_pinned() {
    let mut info = vec![0; 528];
    info[0] = 1;
    info[8..12].copy_from_slice(b"/a/b");
    let wanted = XtMatch::Bpf(XtBpf::Pinned("/a/b".to_owned()));
    assert_eq!(decode_match(LegacyFamily::Iptables, "bpf", 1, &info), wanted);
    info[0] = 9;
    assert!(matches!(decode_match(LegacyFamily::Iptables, "bpf", 1, &info), XtMatch::Other(_)));
}

#[test]
fn marks_of_ebtables_with_each_operation() {
    for (bits, wanted) in [
        (0xffff_fff0_u32, XtBridgeMarkOp::Set),
        (0xffff_ffe0, XtBridgeMarkOp::Or),
        (0xffff_ffd0, XtBridgeMarkOp::And),
        (0xffff_ffc0, XtBridgeMarkOp::Xor),
    ] {
        let mut info = vec![0; 16];
        info[0] = 7;
        info[8..12].copy_from_slice(&(bits | 0xd).to_ne_bytes());
        let XtTarget::BridgeMark(found) = decode_target(LegacyFamily::Ebtables, "mark", 0, &info) else {
            panic!()
        };
        assert_eq!((found.op, found.value, found.verdict), (wanted, 7, XtVerdict::Continue));
    }
}

#[test]
fn names_of_devices_under_masks() {
    let name = |text: &str| {
        let mut name = [0; 16];
        name[..text.len()].copy_from_slice(text.as_bytes());
        name
    };
    let mask = |length: usize| {
        let mut mask = [0; 16];
        mask[..length].fill(0xff);
        mask
    };
    assert_eq!(interface(name("eth"), mask(3)), XtInterface::Prefix("eth".to_owned()));
    assert_eq!(interface(name("eth0"), mask(5)), XtInterface::Name("eth0".to_owned()));
    assert_eq!(interface(name("eth0"), mask(16)), XtInterface::Name("eth0".to_owned()));
    assert_eq!(interface(name("eth0"), mask(0)), XtInterface::Any);
    assert!(matches!(interface(name(""), mask(1)), XtInterface::Masked { .. }), "none at all");
    assert!(matches!(interface(name("a\0b"), mask(4)), XtInterface::Masked { .. }));
    let mut odd = mask(3);
    odd[5] = 1;
    assert!(matches!(interface(name("eth"), odd), XtInterface::Masked { .. }));
}

/// An entry of iptables: its matches and its target by name, revision and data.
fn entry(matches: &[(&str, u8, &[u8])], target: (&str, u8, &[u8])) -> Vec<u8> {
    let extension = |(name, revision, info): (&str, u8, &[u8])| {
        let mut bytes = vec![0; 32];
        bytes[0..2].copy_from_slice(&u16::try_from(32 + info.len()).unwrap().to_ne_bytes());
        bytes[2..2 + name.len()].copy_from_slice(name.as_bytes());
        bytes[31] = revision;
        bytes.extend(info);
        bytes
    };
    let mut entry = vec![0; 112];
    entry.extend(matches.iter().flat_map(|found| extension(*found)));
    let target_at = u16::try_from(entry.len()).unwrap();
    entry.extend(extension(target));
    let next = u16::try_from(entry.len()).unwrap();
    entry[88..90].copy_from_slice(&target_at.to_ne_bytes());
    entry[90..92].copy_from_slice(&next.to_ne_bytes());
    entry
}

fn standard(verdict: i32) -> Vec<u8> {
    let mut info = verdict.to_ne_bytes().to_vec();
    info.extend([0; 4]);
    entry(&[], ("", 0, &info))
}

fn head(name: &str) -> Vec<u8> {
    let mut info = name.as_bytes().to_vec();
    info.resize(32, 0);
    entry(&[], ("ERROR", 0, &info))
}

const ACCEPT: i32 = -2;
const DROP: i32 = -1;
const RETURN: i32 = -5;

fn read(entries: &[Vec<u8>], hooks: Vec<(u32, usize, usize)>) -> Result<Vec<LegacyChain>, TableError> {
    let bytes = entries.concat();
    let (count, size) = (u32::try_from(entries.len()).unwrap(), u32::try_from(bytes.len()).unwrap());
    let layout = Layout::of(LegacyFamily::Iptables).unwrap();
    chains(&layout, &TableInfo { hooks, entries: count, size }, &bytes)
}

#[test]
fn chains_with_jumps_and_falls() {
    const LEN: i32 = 152;
    // Two rules of FORWARD with its policy, a chain with one rule, the end.
    let to_chain = 3 * LEN + 176;
    let entries = [
        standard(to_chain),
        standard(2 * LEN),
        standard(DROP),
        head("aside"),
        standard(ACCEPT),
        standard(RETURN),
        head("ERROR"),
    ];
    let found = read(&entries, vec![(2, 0, 304)]).unwrap();
    let [forward, aside] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((forward.name.as_str(), forward.hook, forward.policy), ("FORWARD", Some(2), XtVerdict::Drop));
    let targets =
        |chain: &LegacyChain| chain.rules.iter().map(|rule| rule.target.clone()).collect::<Vec<_>>();
    let wanted = [LegacyTarget::Jump("aside".to_owned()), LegacyTarget::Verdict(XtVerdict::Continue)];
    assert_eq!(targets(forward), wanted);
    assert_eq!((aside.name.as_str(), aside.hook, aside.policy), ("aside", None, XtVerdict::Return));
    assert_eq!(targets(aside), [LegacyTarget::Verdict(XtVerdict::Accept)]);
}

#[test]
fn a_chain_that_no_tool_ends_drops() {
    let mark = entry(&[("mark", 1, &[0; 16])], ("MARK", 2, &[0; 8]));
    let entries = [standard(ACCEPT), head("aside"), mark, head("ERROR")];
    let found = read(&entries, vec![(2, 0, 0)]).unwrap();
    assert_eq!((found[1].rules.len(), found[1].policy), (1, XtVerdict::Drop));
    assert!(matches!(found[1].rules[0].target, LegacyTarget::Extension(XtTarget::Mark(_))));
}

#[test]
fn damaged_tables_are_told() {
    let end = || head("ERROR");
    assert_eq!(read(&[standard(77), standard(ACCEPT), end()], vec![(2, 0, 152)]), Err(TableError::Jump(0)));
    assert_eq!(read(&[standard(ACCEPT), end()], vec![(2, 8, 152)]), Err(TableError::Nothing(8)));
    assert_eq!(read(&[standard(ACCEPT), vec![0; 5]], vec![(2, 0, 0)]), Err(TableError::Entry(152)));
    let layout = Layout::of(LegacyFamily::Iptables).unwrap();
    assert_eq!(info(&layout, &[0; 80]), None, "cut off");
    assert_eq!(Layout::of(LegacyFamily::Ebtables), None);
}

fn ebt_head(name: &str, policy: i32) -> Vec<u8> {
    let mut head = vec![0; 48];
    head[4..4 + name.len()].copy_from_slice(name.as_bytes());
    head[40..44].copy_from_slice(&policy.to_ne_bytes());
    head
}

fn ebt_standard(verdict: i32) -> Vec<u8> {
    let mut entry = vec![0; 112 + 48];
    entry[0] = 3;
    for (at, offset) in [(100, 112_u32), (104, 112), (108, 160)] {
        entry[at..at + 4].copy_from_slice(&offset.to_ne_bytes());
    }
    entry[112..120].copy_from_slice(b"standard");
    entry[112 + 32] = 8;
    entry[112 + 40..112 + 44].copy_from_slice(&verdict.to_ne_bytes());
    entry
}

#[test]
fn chains_of_ebtables() {
    let bytes = [
        ebt_head("INPUT", -1),
        ebt_head("FORWARD", -2),
        ebt_standard(48 + 48 + 160),
        ebt_head("aside", -4),
        ebt_standard(-3),
    ];
    let found = ebtables::chains(0b110, &bytes.concat()).unwrap();
    let told: Vec<_> = found.iter().map(|chain| (chain.name.as_str(), chain.hook, chain.policy)).collect();
    assert_eq!(
        told,
        [
            ("INPUT", Some(1), XtVerdict::Accept),
            ("FORWARD", Some(2), XtVerdict::Drop),
            ("aside", None, XtVerdict::Return)
        ]
    );
    assert_eq!(found[1].rules[0].target, LegacyTarget::Jump("aside".to_owned()));
    assert_eq!(found[2].rules[0].target, LegacyTarget::Verdict(XtVerdict::Continue));
    let without = ebtables::chains(0b1110, &bytes.concat());
    assert!(matches!(without, Err(TableError::Nothing(_))), "no chain of OUTPUT");
    let jump = [ebt_head("INPUT", -1), ebt_standard(5)].concat();
    assert_eq!(ebtables::chains(2, &jump), Err(TableError::Jump(48)));
    assert!(ebtables::chains(2, &jump[..100]).is_err(), "cut off");
}

proptest! {
    #[test]
    fn no_data_makes_an_extension_panic(
        at in 0..KNOWN.len(),
        family in 0..5usize,
        revision in 0..5u8,
        length in 0..2000usize,
        exact in any::<bool>(),
        mut bytes in proptest::collection::vec(any::<u8>(), 2000),
    ) {
        let (own, name, known, size) = KNOWN[at];
        let (family, revision) = (FAMILIES.get(family).copied().unwrap_or(own), if exact { known } else { revision });
        bytes.truncate(if exact { size.next_multiple_of(8) } else { length });
        let (found, target) = (
            decode_match(family, name, revision, &bytes),
            decode_target(family, name, revision, &bytes),
        );
        // Documents hold whatever was decoded.
        let text = serde_json::to_string(&found).unwrap();
        prop_assert_eq!(serde_json::from_str::<XtMatch>(&text).unwrap(), found);
        let text = serde_json::to_string(&target).unwrap();
        prop_assert_eq!(serde_json::from_str::<XtTarget>(&text).unwrap(), target);
    }

    #[test]
    fn no_bytes_make_a_table_panic(
        family in 0..3usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        head in proptest::collection::vec(any::<u8>(), 0..100),
        hooks in proptest::collection::vec((0..6u32, 0..700usize, 0..700usize), 0..5),
    ) {
        let layout = Layout::of(FAMILIES[family]).unwrap();
        let _ = info(&layout, &head);
        let _ = chains(&layout, &TableInfo { hooks, entries: 0, size: 0 }, &bytes);
        let _ = ebtables::chains(u32::from(head.first().copied().unwrap_or_default()), &bytes);
    }

    #[test]
    fn a_table_with_a_few_bytes_changed_does_not_panic(
        changes in proptest::collection::vec((0..1000usize, any::<u8>()), 0..6),
        cut in 0..1200usize,
    ) {
        let udp = [0; 16];
        let mut bytes = [
            entry(&[("udp", 0, &udp), ("mark", 1, &udp)], ("MARK", 2, &[0; 8])),
            standard(ACCEPT),
            head("aside"),
            standard(RETURN),
            head("ERROR"),
        ]
        .concat();
        let mut other = [ebt_head("INPUT", -1), ebt_standard(208), ebt_head("aside", -4), ebt_standard(-3)].concat();
        for (at, byte) in changes {
            for bytes in [&mut bytes, &mut other] {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
        bytes.truncate(cut);
        other.truncate(cut);
        let layout = Layout::of(LegacyFamily::Iptables).unwrap();
        let table = TableInfo { hooks: vec![(2, 0, 0)], entries: 0, size: 0 };
        let _ = (chains(&layout, &table, &bytes), ebtables::chains(2, &other));
    }
}
