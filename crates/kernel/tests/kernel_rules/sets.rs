//! Sets of ipset, and rules that look into them.

use portcullis_snapshot::{
    IpSet, IpSetMember, LegacyFamily, LegacyTarget, MacAddr, Reading, XtMatch, XtSet, XtTarget,
};
use portcullis_testnet::{fresh, skip};

use super::{filters, legacy_tables, run};

const MEMBER: IpSetMember = IpSetMember {
    ip: None,
    ip_to: None,
    prefix: None,
    ip2: None,
    ip2_to: None,
    prefix2: None,
    mac: None,
    protocol: None,
    port: None,
    port_to: None,
    mark: None,
    interface: None,
    physdev: false,
    set: None,
    nomatch: false,
    wildcard: false,
    timeout: None,
    unknown: Vec::new(),
};

fn ip(ip: &str) -> IpSetMember {
    IpSetMember { ip: ip.parse().ok(), ..MEMBER }
}

/// Makes a set and a rule that looks into it, and returns the set as it is read.
fn set(create: &str, members: &[&str], rule: &str) -> Option<IpSet> {
    let name = "s";
    let mut words = vec![format!("create {name} {create}")];
    words.extend(members.iter().map(|member| format!("add {name} {member}")));
    for words in words {
        if let Err(error) = run("ipset", &words) {
            println!("skipped, because {error}");
            return None;
        }
    }
    let program = if create.contains("inet6") { "ip6tables-legacy" } else { "iptables-legacy" };
    let rule = format!("-t filter -A FORWARD -m set --match-set {name} {rule}");
    if let Err(error) = run(program, &rule) {
        println!("skipped, because {error}");
        return None;
    }
    let filters = filters();
    let Reading::Read(sets) = filters.ipsets else { panic!("{:?}", filters.ipsets) };
    sets.into_iter().find(|set| set.name == name)
}

fn holds(create: &str, members: &[&str], rule: &str, wanted: &[IpSetMember]) {
    fresh(|| {
        let Some(set) = set(create, members, rule) else { return };
        assert_eq!(set.kind, create.split(' ').next().unwrap());
        assert_eq!(set.unknown, [], "{create}");
        let mut found: Vec<_> = set.members.iter().map(|member| format!("{member:?}")).collect();
        let mut wanted: Vec<_> = wanted.iter().map(|member| format!("{member:?}")).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{create}");
    });
}

#[test]
fn hashes_of_addresses() {
    holds("hash:ip", &["192.0.2.5", "192.0.2.9"], "src", &[ip("192.0.2.5"), ip("192.0.2.9")]);
    holds("hash:ip family inet6", &["2001:db8::5"], "src", &[ip("2001:db8::5")]);
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 5]));
    holds("hash:mac", &["02:00:00:00:00:05"], "src", &[IpSetMember { mac, ..MEMBER }]);
    holds(
        "hash:ip,mac",
        &["192.0.2.5,02:00:00:00:00:05"],
        "src,src",
        &[IpSetMember { mac, ..ip("192.0.2.5") }],
    );
}

#[test]
fn hashes_of_networks() {
    let net = IpSetMember { prefix: Some(24), ..ip("192.0.2.0") };
    let except = IpSetMember { prefix: Some(28), nomatch: true, ..ip("192.0.2.16") };
    holds("hash:net", &["192.0.2.0/24", "192.0.2.16/28 nomatch"], "src", &[net.clone(), except]);
    let guest = IpSetMember { interface: Some("tap0".to_owned()), physdev: true, ..net.clone() };
    holds("hash:net,iface", &["192.0.2.0/24,physdev:tap0"], "src,src", &[guest]);
    let second = IpSetMember { ip2: "198.51.100.0".parse().ok(), prefix2: Some(25), ..net };
    holds("hash:net,net", &["192.0.2.0/24,198.51.100.0/25"], "src,dst", &[second]);
}

#[test]
fn hashes_with_ports() {
    let web = IpSetMember { protocol: Some(6), port: Some(80), ..ip("192.0.2.5") };
    holds("hash:ip,port", &["192.0.2.5,tcp:80"], "src,dst", std::slice::from_ref(&web));
    let from = IpSetMember { ip2: "198.51.100.1".parse().ok(), ..web };
    holds("hash:ip,port,ip", &["192.0.2.5,tcp:80,198.51.100.1"], "src,dst,dst", &[from]);
    let marked = IpSetMember { mark: Some(7), ..ip("192.0.2.5") };
    holds("hash:ip,mark", &["192.0.2.5,7"], "src,src", &[marked]);
}

#[test]
fn bitmaps() {
    fresh(|| {
        let Some(set) = set("bitmap:ip range 192.0.2.0/24", &["192.0.2.5"], "src") else { return };
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(set.range, Some((address("192.0.2.0"), address("192.0.2.255"))));
        assert_eq!(set.members, [ip("192.0.2.5")]);
    });
    fresh(|| {
        let Some(set) = set("bitmap:port range 1000-2000", &["1005"], "src") else { return };
        assert_eq!(set.port_range, Some((1000, 2000)));
        assert_eq!(set.members, [IpSetMember { port: Some(1005), ..MEMBER }]);
    });
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 5]));
    holds(
        "bitmap:ip,mac range 192.0.2.0/24",
        &["192.0.2.5,02:00:00:00:00:05", "192.0.2.6"],
        "src,src",
        &[IpSetMember { mac, ..ip("192.0.2.5") }, ip("192.0.2.6")],
    );
}

#[test]
fn members_that_go_with_time() {
    fresh(|| {
        let Some(set) = set("hash:ip timeout 300 counters", &["192.0.2.5", "192.0.2.6 timeout 0"], "src")
        else {
            return;
        };
        assert_eq!((set.timeout, set.counters), (Some(300), true));
        let timeout = |last: &str| {
            set.members.iter().find(|member| member.ip == last.parse().ok()).unwrap().timeout.unwrap()
        };
        assert!((295..=300).contains(&timeout("192.0.2.5")));
        assert_eq!(timeout("192.0.2.6"), 0, "0 is for ever");
    });
}

#[test]
fn sets_of_sets_with_those_in_them_and_no_others() {
    fresh(|| {
        for words in
            ["create inner hash:ip", "add inner 192.0.2.5", "create unused hash:ip", "create other hash:ip"]
        {
            if let Err(error) = run("ipset", words) {
                skip!("{error}");
            }
        }
        let Some(list) = set("list:set", &["inner"], "src") else { return };
        let inner = IpSetMember { set: Some("inner".to_owned()), ..MEMBER };
        assert_eq!((list.kind.as_str(), list.members.as_slice()), ("list:set", &[inner][..]));
        run(
            "iptables-legacy",
            "-t filter -A INPUT -m set ! --match-set s src,dst -j SET --add-set other dst",
        )
        .unwrap();
        let Reading::Read(sets) = filters().ipsets else { unreachable!() };
        let names: Vec<_> = sets.iter().map(|set| set.name.as_str()).collect();
        assert_eq!(names, ["inner", "other", "s"]);
        let index = |name: &str| sets.iter().find(|set| set.name == name).unwrap().index;
        let tables = legacy_tables(LegacyFamily::Iptables);
        let input = tables[0].chains.known().iter().find(|chain| chain.name == "INPUT").unwrap();
        let XtMatch::Set(found) = &input.rules[0].matches[0] else { panic!("{input:#?}") };
        assert_eq!(found.set, XtSet { index: index("s"), from_source: vec![true, false] });
        assert!(found.inverted && !found.counters);
        let LegacyTarget::Extension(XtTarget::Set(target)) = &input.rules[0].target else {
            panic!("{input:#?}")
        };
        let add = target.add.as_ref().unwrap();
        assert_eq!((add.index, add.from_source.as_slice()), (index("other"), &[false][..]));
        assert!(target.delete.is_none() && target.map.is_none());
    });
}

#[test]
fn without_rules_no_set_is_read() {
    fresh(|| {
        if let Err(error) = run("ipset", "create unused hash:ip") {
            skip!("{error}");
        }
        assert_eq!(filters().ipsets, Reading::Read(Vec::new()));
    });
}
