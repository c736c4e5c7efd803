//! What a snapshot tells of nftables, legacy tables and br_netfilter, against state that the tests make.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::sysctl;
use portcullis_snapshot::{
    Filters, IfIndex, LegacyFamily, LegacyTable, MacAddr, NftFamily, Reading, UnreadCause,
};
use portcullis_wire::{Message, Messages, NLM_F_ACK, NLM_F_CREATE};

fn fresh(test: impl FnOnce() + Send) {
    portcullis_testnet::fresh(test);
}

fn filters() -> Filters {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    capture(&request).unwrap().namespaces.remove(0).filters
}

fn veth() -> (IfIndex, IfIndex) {
    let mut route = Socket::open(Family::Route).unwrap();
    NewLink::new("v0", "veth").veth("w0", MacAddr([2, 0, 0, 0, 0, 2]), None).apply(&mut route).unwrap();
    ["v0", "w0"].map(|name| link::index_of(&mut route, name).unwrap()).into()
}

#[test]
fn a_namespace_without_filters() {
    fresh(|| {
        veth();
        let filters = filters();
        assert_eq!(filters.tc, Reading::Read(Vec::new()));
        assert!(filters.nft_chains.is_surely(Vec::is_empty), "{:?}", filters.nft_chains);
        assert!(filters.nft_flowtables.is_surely(Vec::is_empty), "{:?}", filters.nft_flowtables);
        assert!(filters.legacy_tables.is_surely(Vec::is_empty), "{:?}", filters.legacy_tables);
        // Only root outside of user namespaces may ask for BPF programs.
        let tcx = filters.tcx;
        let refused = tcx.unread().is_some_and(|why| why.cause == UnreadCause::Permission);
        assert!(refused || tcx.is_surely(Vec::is_empty), "{tcx:?}");
    });
}

const TABLE: u16 = 0;
const CHAIN: u16 = 3;
const RULE: u16 = 6;
const FLOWTABLE: u16 = 22;

/// One object of nftables: its sort, its family, its attributes.
fn object(kind: u16, family: u8, fill: impl FnOnce(Message) -> Message) -> Message {
    let append = if kind == RULE { portcullis_wire::NLM_F_APPEND } else { 0 };
    let flags = NLM_F_CREATE | NLM_F_ACK | append;
    fill(Message::new(10 << 8 | kind, flags).header(&[family, 0, 0, 0]))
}

/// A base chain with a rule for each of `rules`.
fn chain(
    family: u8,
    table: &str,
    hook: u32,
    priority: i32,
    policy: u32,
    rules: usize,
    device: Option<&str>,
) -> Vec<Message> {
    let be = |m: Message, number, value: u32| m.put(number, &value.to_be_bytes());
    let mut all = vec![object(CHAIN, family, |m| {
        let m = m.put_str(1, table).put_str(3, "c").nest(4, |spec| {
            let spec = be(be(spec, 1, hook), 2, priority.cast_unsigned());
            device.map_or(spec.clone(), |device| spec.put_str(3, device))
        });
        be(m, 5, policy).put_str(7, "filter")
    })];
    all.extend((0..rules).map(|_| object(RULE, family, |m| m.put_str(1, table).put_str(2, "c"))));
    all
}

/// Makes objects of nftables in one transaction.
fn nft(objects: Vec<Message>) -> Result<(), String> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .map_err(|errno| errno.to_string())?;
    let edge = |kind| Message::new(kind, 0).header(&[0, 0, 0, 10]).finish(0);
    let mut bytes = edge(16);
    let wanted = objects.len();
    for (at, object) in objects.into_iter().enumerate() {
        bytes.extend(object.finish(u32::try_from(at).unwrap() + 1));
    }
    bytes.extend(edge(17));
    send(fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(|errno| errno.to_string())?;
    let (mut answered, mut buffer) = (0, vec![0; 65536]);
    while answered < wanted {
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        for message in Messages::new(&buffer[..length]) {
            let ack = message.ack().unwrap();
            if ack.errno != 0 {
                return Err(format!("nftables refused object {}: error {}", message.sequence, ack.errno));
            }
            answered += 1;
        }
    }
    Ok(())
}

fn table(family: u8, name: &str, dormant: bool) -> Message {
    object(TABLE, family, |m| m.put_str(1, name).put(2, &u32::from(dormant).to_be_bytes()))
}

#[test]
fn base_chains_of_every_family() {
    fresh(|| {
        veth();
        // Each family on its own: a kernel may have some of them only.
        for (number, family, hook, hook_name, device) in [
            (1, NftFamily::Inet, 2, "forward", None),
            (2, NftFamily::Ip, 0, "prerouting", None),
            (3, NftFamily::Arp, 0, "input", None),
            (5, NftFamily::Netdev, 0, "ingress", Some("v0")),
            (7, NftFamily::Bridge, 4, "postrouting", None),
            (10, NftFamily::Ip6, 1, "input", None),
        ] {
            let mut objects = vec![table(number, "t", false)];
            objects.extend(chain(number, "t", hook, -7, 0, 2, device));
            if let Err(error) = nft(objects) {
                println!("skipped ({family:?}), because {error}");
                continue;
            }
            let filters = filters();
            let chains = filters.nft_chains.read().unwrap();
            let found = chains.iter().find(|chain| chain.family == family).unwrap();
            assert_eq!(
                (found.table.as_str(), found.chain.as_str(), found.kind.as_str()),
                ("t", "c", "filter")
            );
            assert_eq!((found.hook, found.hook_name.as_str(), found.priority), (hook, hook_name, -7));
            assert_eq!(found.devices, device.into_iter().collect::<Vec<_>>());
            assert_eq!((found.policy_drop, found.rules, found.dormant), (true, 2, false));
        }
    });
}

#[test]
fn chains_that_do_nothing_or_accept() {
    fresh(|| {
        let mut objects = vec![table(7, "asleep", true), table(7, "open", false)];
        objects.extend(chain(7, "asleep", 0, 0, 0, 1, None));
        objects.extend(chain(7, "open", 0, 0, 1, 0, None));
        // No base chain: nothing but a jump leads there.
        objects.push(object(CHAIN, 7, |m| m.put_str(1, "open").put_str(3, "aside")));
        if let Err(error) = nft(objects) {
            return println!("skipped, because {error}");
        }
        let filters = filters();
        let mut found: Vec<_> = filters.nft_chains.known().iter().collect();
        found.sort_by_key(|chain| &chain.table);
        let [asleep, open] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!((asleep.dormant, asleep.policy_drop, asleep.rules), (true, true, 1));
        assert_eq!((open.dormant, open.policy_drop, open.rules), (false, false, 0));
    });
}

#[test]
fn flowtables_with_their_devices() {
    fresh(|| {
        veth();
        let flowtable = object(FLOWTABLE, 1, |m| {
            m.put_str(1, "t").put_str(2, "fast").nest(3, |hook| {
                let hook = hook.put(1, &0u32.to_be_bytes()).put(2, &0u32.to_be_bytes());
                hook.nest(3, |devices| devices.put_str(1, "v0").put_str(1, "w0"))
            })
        });
        if let Err(error) = nft(vec![table(1, "t", false), flowtable]) {
            return println!("skipped, because {error}");
        }
        let filters = filters();
        let [found] = filters.nft_flowtables.known() else { panic!("{:#?}", filters.nft_flowtables) };
        assert_eq!((found.family, found.table.as_str(), found.name.as_str()), (NftFamily::Inet, "t", "fast"));
        let mut devices = found.devices.clone();
        devices.sort();
        assert_eq!(devices, ["v0", "w0"]);
    });
}

#[test]
fn settings_of_br_netfilter() {
    fresh(|| {
        let before = filters().br_netfilter;
        if let Some(why) = before.unread() {
            assert_eq!(why.cause, UnreadCause::Unsupported);
            return println!("skipped, because {}", why.reason);
        }
        for value in [false, true] {
            let text = if value { "1" } else { "0" };
            for name in ["bridge-nf-call-arptables", "bridge-nf-filter-vlan-tagged"] {
                sysctl::write(&["bridge", name], text).unwrap();
            }
            let now = *filters().br_netfilter.read().unwrap();
            assert_eq!((now.call_arptables, now.filter_vlan_tagged), (value, value));
            assert_eq!(Some(now.call_iptables), before.read().map(|before| before.call_iptables));
        }
    });
}

/// Runs one of the legacy tools; why it could not, if it could not.
fn tool(line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap();
    // A lock of the host's own is none of this namespace's business.
    let mut command = Command::new(program);
    command.env("XTABLES_LOCKFILE", "/dev/null").args(words);
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The legacy tables, without their rules.
fn legacy() -> Vec<LegacyTable> {
    let tables = filters().legacy_tables.read().expect("the legacy tables can be read").clone();
    tables.into_iter().map(|table| LegacyTable { chains: Reading::default(), ..table }).collect()
}

/// That a table is told exactly while it has a rule, or a policy that drops.
fn is_told(family: LegacyFamily, program: &str, rule: &str, policy: &str, fresh_entries: u32) {
    fresh(|| {
        // Looking at a table makes it, on kernels that can.
        if let Err(error) = tool(&format!("{program} -t filter -L")) {
            return println!("skipped, because {error}");
        }
        assert_eq!(legacy(), [], "a table that lets everything pass");
        let told = |entries| {
            [LegacyTable {
                family,
                table: "filter".to_owned(),
                entries: Some(entries),
                chains: Reading::default(),
            }]
        };
        tool(&format!("{program} -A {rule}")).unwrap();
        if legacy().iter().any(|table| table.entries.is_none()) {
            return println!("skipped, because this kernel does not list what stands at its hooks");
        }
        assert_eq!(legacy(), told(fresh_entries + 1), "a rule");
        tool(&format!("{program} -D {rule}")).unwrap();
        assert_eq!(legacy(), []);
        tool(&format!("{program} -P {policy} DROP")).unwrap();
        assert_eq!(legacy(), told(fresh_entries), "a policy");
        tool(&format!("{program} -P {policy} ACCEPT")).unwrap();
        assert_eq!(legacy(), []);
    });
}

#[test]
fn iptables_with_rules_or_policies() {
    is_told(LegacyFamily::Iptables, "iptables-legacy", "INPUT -s 192.0.2.1 -j DROP", "FORWARD", 4);
}

#[test]
fn ip6tables_with_rules_or_policies() {
    is_told(LegacyFamily::Ip6tables, "ip6tables-legacy", "INPUT -s 2001:db8::1 -j DROP", "FORWARD", 4);
}

#[test]
fn arptables_with_rules_or_policies() {
    is_told(LegacyFamily::Arptables, "arptables-legacy", "INPUT -s 192.0.2.1 -j DROP", "INPUT", 4);
}

#[test]
fn ebtables_with_rules_or_policies() {
    is_told(LegacyFamily::Ebtables, "ebtables-legacy", "FORWARD -p IPv4 -j DROP", "FORWARD", 0);
}

#[test]
fn looking_does_not_make_ebtables_tables() {
    fresh(|| {
        if let Err(error) = tool("ebtables-legacy -t filter -A FORWARD -p IPv4 -j DROP") {
            return println!("skipped, because {error}");
        }
        let [LegacyTable { entries: Some(_), .. }] = legacy().as_slice() else {
            return println!("skipped, because this kernel does not list what stands at its hooks");
        };
        let elsewhere = Netns::create().unwrap();
        elsewhere.run(|| assert_eq!(legacy(), [], "a table of another namespace")).unwrap();
    });
}
