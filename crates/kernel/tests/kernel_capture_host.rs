//! The host's own IP as a snapshot tells it, and the namespaces it is in.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod common;

use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::{Lab, fresh, mac, named, netns, snapshot};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use portcullis_kernel::capture::Scope;
use portcullis_kernel::link::{self, NUD_PERMANENT, NewLink, RuleChange};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::sysctl;
use portcullis_snapshot::{
    IfIndex, Ipv4Conf, Ipv6Conf, LinkFlags, NetnsId, NextHop, PolicyRule, Route, Snapshot, UnreadCause,
};
use portcullis_testnet::skip;
use portcullis_wire::{Message, NLM_F_CREATE};

const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWRULE: u16 = 32;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A veth pair with a carrier and an address of each family.
fn wired(lab: &mut Lab) -> IfIndex {
    let (v0, w0) = lab.veth("v0", "w0");
    lab.make(link::up(w0));
    lab.make(link::up(v0));
    lab.make(link::ip_address(v0, ip("192.0.2.1"), 24));
    lab.make(link::ip_address(v0, ip("2001:db8::1"), 64));
    v0
}

#[test]
fn addresses_of_both_families() {
    fresh(|lab| {
        let v0 = wired(lab);
        let mut header = vec![2, 32, 0, 0];
        header.extend(v0.0.to_ne_bytes());
        let peer =
            Message::new(20, NLM_F_CREATE).header(&header).put(2, &[10, 0, 0, 1]).put(1, &[10, 0, 0, 2]);
        lab.send(peer).unwrap();
        let netns = netns();
        let addresses = netns.addresses.read().unwrap();
        let of = |text: &str| addresses.iter().find(|found| found.address.to_string() == text).unwrap();
        for text in ["192.0.2.1/24", "2001:db8::1/64"] {
            let address = of(text);
            assert_eq!((address.device, address.peer, address.scope), (v0, None, 0), "{text}");
            assert_eq!(address.flags & 0x80, 0x80, "{text} is permanent");
        }
        assert_eq!(of("10.0.0.1/32").peer, Some(ip("10.0.0.2")));
    });
}

/// The route to a destination in a table.
fn route<'a>(routes: &'a [Route], to: &str, table: u32) -> &'a Route {
    let wanted = |route: &&Route| route.destination.to_string() == to && route.table == table;
    routes.iter().find(wanted).unwrap_or_else(|| panic!("no route to {to} in {table}"))
}

#[test]
fn routes_of_every_table() {
    fresh(|lab| {
        let v0 = wired(lab);
        lab.make(link::route(ip("0.0.0.0"), 0, Some(ip("192.0.2.254")), None));
        lab.make(link::route(ip("2001:db8:1::"), 48, Some(ip("2001:db8::2")), None));
        let blackhole = [2, 24, 0, 0, 100, 4, 0, 6, 0, 0, 0, 0];
        let message = Message::new(RTM_NEWROUTE, NLM_F_CREATE).header(&blackhole).put(1, &[198, 51, 100, 0]);
        lab.send(message.put_u32(6, 50)).unwrap();
        // struct rtnexthop: length, flags, hops, interface; then its router.
        let hop = |last| {
            let device = v0.0.to_ne_bytes();
            [&[16, 0, 0, 0][..], &device, &[8, 0, 5, 0, 192, 0, 2, last]].concat()
        };
        let many = Message::new(RTM_NEWROUTE, NLM_F_CREATE).header(&[2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        lab.send(many.put(1, &[203, 0, 113, 0]).put(9, &[hop(7), hop(8)].concat())).unwrap();
        let netns = netns();
        let routes = netns.routes.read().unwrap();
        let gateway = |router: &str| NextHop { device: Some(v0), gateway: Some(ip(router)), flags: 0 };
        assert_eq!(route(routes, "0.0.0.0/0", 254).nexthops, [gateway("192.0.2.254")]);
        assert_eq!(route(routes, "2001:db8:1::/48", 254).nexthops, [gateway("2001:db8::2")]);
        assert_eq!(
            route(routes, "203.0.113.0/24", 254).nexthops,
            [gateway("192.0.2.7"), gateway("192.0.2.8")]
        );
        let blackhole = route(routes, "198.51.100.0/24", 100);
        assert_eq!((blackhole.kind, blackhole.metric, blackhole.nexthops.len()), (6, Some(50), 0));
        let own = route(routes, "192.0.2.1/32", 255);
        assert_eq!((own.kind, own.nexthops.first().and_then(|hop| hop.device)), (2, Some(v0)));
        let linked = route(routes, "192.0.2.0/24", 254);
        assert_eq!((linked.prefsrc, linked.kind), (Some(ip("192.0.2.1")), 1));
    });
}

#[test]
fn policy_rules_with_what_they_select() {
    fresh(|lab| {
        lab.veth("v0", "w0");
        let rule = RuleChange { ipv6: false, priority: 10, action: 6, table: 0, iif: Some("v0") };
        lab.make(rule.add());
        lab.make(RuleChange { ipv6: true, priority: 20, action: 1, table: 77, iif: None }.add());
        let marked = Message::new(RTM_NEWRULE, NLM_F_CREATE).header(&[2, 0, 24, 0, 88, 0, 0, 1, 2, 0, 0, 0]);
        lab.send(marked.put_u32(6, 30).put(2, &[10, 1, 2, 0]).put_u32(10, 5)).unwrap();
        let by_tos =
            Message::new(RTM_NEWRULE, NLM_F_CREATE).header(&[2, 0, 0, 0x10, 88, 0, 0, 1, 0, 0, 0, 0]);
        lab.send(by_tos.put_u32(6, 40)).unwrap();
        let netns = netns();
        let rules = netns.rules.read().unwrap();
        let of = |priority, ipv6| -> &PolicyRule {
            rules.iter().find(|rule| rule.priority == priority && rule.ipv6 == ipv6).unwrap()
        };
        assert_eq!((of(10, false).action, of(10, false).iif.as_deref()), (6, Some("v0")));
        assert_eq!((of(20, true).action, of(20, true).table), (1, 77));
        let marked = of(30, false);
        assert_eq!(
            (marked.source.map(|net| net.to_string()).as_deref(), marked.not),
            (Some("10.1.2.0/24"), true)
        );
        assert!(marked.unknown.iter().any(|selector| selector.number == 10), "the mark is kept: {marked:?}");
        assert!(!of(40, false).unknown.is_empty(), "the type of service is kept");
        // What every kernel starts with: nothing about it is unknown.
        assert_eq!((of(0, false).table, of(32766, false).table), (255, 254));
        assert!([0, 32766, 32767].iter().all(|priority| of(*priority, false).unknown.is_empty()));
        assert!(rules.is_sorted_by_key(|rule| (rule.ipv6, rule.priority)));
    });
}

#[test]
fn neighbours_and_what_is_answered_for_others() {
    fresh(|lab| {
        let v0 = wired(lab);
        lab.make(link::neighbour(v0, ip("192.0.2.9"), mac("guest"), NUD_PERMANENT));
        lab.make(link::neighbour(v0, ip("2001:db8::9"), mac("guest"), NUD_PERMANENT));
        let mut header = vec![2, 0, 0, 0];
        header.extend(v0.0.to_ne_bytes());
        header.extend([0, 0, 8, 0]);
        lab.send(Message::new(RTM_NEWNEIGH, NLM_F_CREATE).header(&header).put(1, &[192, 0, 2, 77])).unwrap();
        let netns = netns();
        let neighbours = netns.neighbours.read().unwrap();
        let of = |text| neighbours.iter().find(|found| found.address == ip(text)).unwrap();
        for text in ["192.0.2.9", "2001:db8::9"] {
            let found = of(text);
            assert_eq!((found.device, found.mac, found.state), (v0, Some(mac("guest")), NUD_PERMANENT));
        }
        assert_eq!((of("192.0.2.77").flags & 8, of("192.0.2.77").mac), (8, None));
    });
}

/// Sets what can be set of an interface's settings to something else than it is; then each must be as `/proc/sys` says.
fn settings_are_those_of_proc(
    family: &str,
    rows: &[(&'static str, usize)],
    ours: impl Fn() -> serde_json::Value,
) {
    let mut changed = 0;
    for (name, _) in rows.iter().filter(|(name, _)| *name != "disable_ipv6") {
        let parts = [family, "conf", "v0", name];
        let Ok(before) = sysctl::read_number(&parts) else { continue };
        let other = if before == 0 { "1" } else { "0" };
        changed += usize::from(
            sysctl::write(&parts, other).is_ok() && sysctl::read_number(&parts).ok() != Some(before),
        );
    }
    let ours = ours();
    for (name, _) in rows {
        let theirs = sysctl::read_number(&[family, "conf", "v0", name]).ok();
        let found = ours.get(name).and_then(serde_json::Value::as_i64);
        // Old kernels have some in the array without a file; none is in a file alone.
        if theirs.is_some() {
            assert_eq!(found, theirs.map(i64::from), "{family} {name}");
        }
    }
    assert!(changed >= rows.len() / 2, "only {changed} settings of {family} could be changed");
}

#[test]
fn settings_of_an_interface_by_name_are_those_by_index() {
    fresh(|lab| {
        lab.veth("v0", "w0");
        settings_are_those_of_proc("ipv4", Ipv4Conf::ROWS, || {
            serde_json::to_value(named(&netns(), "v0").ipv4.clone().unwrap()).unwrap()
        });
        if named(&netns(), "v0").ipv6.is_some() {
            settings_are_those_of_proc("ipv6", Ipv6Conf::ROWS, || {
                serde_json::to_value(named(&netns(), "v0").ipv6.clone().unwrap()).unwrap()
            });
        }
    });
}

#[test]
fn settings_of_all_and_of_default() {
    fresh(|_| {
        sysctl::write(&["ipv4", "conf", "all", "rp_filter"], "2").unwrap();
        sysctl::write(&["ipv4", "conf", "default", "arp_ignore"], "3").unwrap();
        let netns = netns();
        let ipv4 = netns.ipv4.read().unwrap();
        assert_eq!((ipv4.all.rp_filter, ipv4.default.arp_ignore), (Some(2), Some(3)));
        let new = netns.ipv6.read().map(|settings| settings.default.accept_ra);
        assert!(matches!(new, None | Some(Some(_))));
    });
}

#[test]
fn a_setting_of_one_namespace_is_not_told_of_another() {
    fresh(|lab| {
        sysctl::write(&["ipv4", "conf", "all", "arp_ignore"], "5").unwrap();
        lab.veth("here", "herex");
        let elsewhere = Netns::create().unwrap().run(netns).unwrap();
        assert_ne!(elsewhere.ipv4.read().unwrap().all.arp_ignore, Some(5));
        assert!(elsewhere.link_named("here").is_none());
        assert_eq!(netns().ipv4.read().unwrap().all.arp_ignore, Some(5));
    });
}

/// Keeps what follows from the machine's own mounts, on this thread.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

#[test]
fn flags_of_sysfs_only_where_it_shows_this_namespace() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        lab.make(link::flags(bridge, LinkFlags::PROMISC, LinkFlags::PROMISC));
        assert_eq!(named(&netns(), "br0").sysfs_flags, None, "/sys is of the machine's own namespace");
        own_mounts();
        if let Err(errno) = mount(Some("s"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>) {
            skip!("a sysfs cannot be mounted here: {errno}");
        }
        let flags = named(&netns(), "br0").sysfs_flags.expect("/sys is of this namespace now");
        assert!(flags.has(LinkFlags::UP | LinkFlags::PROMISC));
    });
}

fn ids(snapshot: &Snapshot) -> Vec<NetnsId> {
    snapshot.namespaces.iter().map(|netns| netns.id).collect()
}

#[test]
fn namespaces_by_name_and_all_of_them() {
    fresh(|lab| {
        own_mounts();
        mount(Some("t"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let (guest, here) = (Netns::create().unwrap(), Netns::current().unwrap());
        guest.persist("guest").unwrap();
        lab.make(NewLink::new("v0", "veth").veth(
            "eth0",
            mac("eth0"),
            Some(std::os::fd::AsFd::as_fd(&guest)),
        ));
        let by_name = snapshot(Scope::Named("guest".to_owned())).unwrap();
        assert_eq!(ids(&by_name), [guest.id()]);
        assert_eq!(by_name.namespaces[0].names, ["guest"]);
        assert!(by_name.namespaces[0].link_named("eth0").is_some());
        let all = snapshot(Scope::All).unwrap();
        assert_eq!(ids(&all)[..2], [here.id(), guest.id()]);
        let (v0, eth0) = (named(&all.namespaces[0], "v0"), named(&all.namespaces[1], "eth0"));
        assert_eq!(v0.link_netns.and_then(|other| other.netns), Some(guest.id()));
        assert_eq!(eth0.link_netns.and_then(|other| other.netns), Some(here.id()));
        assert_eq!((v0.link, eth0.link), (Some(eth0.index), Some(v0.index)));
        assert!(snapshot(Scope::Named("nobody".to_owned())).is_err());
    });
}

/// What tells [`helper_that_reads`] that it was started on purpose.
const HELPER: &str = "PORTCULLIS_TEST_READER";

/// What an ordinary user gets in the next test.
#[test]
#[ignore = "a part of another test"]
fn helper_that_reads() {
    if std::env::var_os(HELPER).is_some() {
        let netns = netns();
        assert!(named(&netns, "br0").bridge().is_some());
        assert!(netns.fdb.read().is_some() && netns.routes.read().is_some() && netns.ipv4.read().is_some());
        let unread: Vec<_> = netns.unread().collect();
        assert!(unread.iter().all(|(_, why)| !why.reason.is_empty()), "{unread:?}");
        let refused = unread.iter().filter(|(_, why)| why.cause == UnreadCause::Permission).count();
        assert!(refused > 0, "{unread:?}");
        println!("read with less");
    }
}

#[test]
fn without_privileges_what_is_refused_is_told() {
    fresh(|lab| {
        lab.bridge("br0");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "helper_that_reads", "--ignored", "--nocapture"]).env(HELPER, "1");
        let output = match command.uid(65534).gid(65534).output() {
            Ok(output) => output,
            Err(error) => skip!("this program cannot be started as another user: {error}"),
        };
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("read with less"), "{text}");
    });
}
