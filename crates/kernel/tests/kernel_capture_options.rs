//! Every option of bridges and of bridge ports: set by its number, read back by its name, and nothing else changed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{fresh, named, netns};
use nix::errno::Errno;
use portcullis_kernel::link::{self, NewLink};
use portcullis_snapshot::{
    BridgeOptions, IfIndex, PortOptions, UnknownAttribute, bridge_attributes, bridge_port_attributes,
};
use portcullis_testnet::skip;
use serde::Serialize;
use serde_json::{Value, json};

/// A table of options, as field and number.
trait Rows {
    const ROWS: &'static [(&'static str, u16)];
}

macro_rules! rows {
    ($name:ident, $prefix:literal; $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $number:literal, $keyword:literal; )*) => {
        impl Rows for $name {
            const ROWS: &'static [(&'static str, u16)] = &[ $( (stringify!($field), $number), )* ];
        }
    };
}

bridge_attributes!(rows);
bridge_port_attributes!(rows);

const BRIDGE_ROWS: &[(&str, u16)] = BridgeOptions::ROWS;
const PORT_ROWS: &[(&str, u16)] = PortOptions::ROWS;

/// An option, the bytes that set it to what it is not by default, and what must then be read.
struct Knob {
    field: &'static str,
    bytes: Vec<u8>,
    read: Value,
}

fn on(field: &'static str) -> Knob {
    Knob { field, bytes: vec![1], read: json!(true) }
}

fn off(field: &'static str) -> Knob {
    Knob { field, bytes: vec![0], read: json!(false) }
}

fn byte(field: &'static str, byte: u8, read: impl Into<Value>) -> Knob {
    Knob { field, bytes: vec![byte], read: read.into() }
}

fn short(field: &'static str, value: u16) -> Knob {
    Knob { field, bytes: value.to_ne_bytes().to_vec(), read: json!(value) }
}

fn word(field: &'static str, value: u32) -> Knob {
    Knob { field, bytes: value.to_ne_bytes().to_vec(), read: json!(value) }
}

fn bridge_knobs() -> Vec<Knob> {
    let group_addr = vec![0x01, 0x80, 0xc2, 0, 0, 0x0a];
    let boolopt = [1u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat();
    vec![
        word("forward_delay", 400),
        word("hello_time", 100),
        word("max_age", 1000),
        word("ageing_time", 6000),
        Knob { field: "stp_state", bytes: vec![1, 0, 0, 0], read: json!("kernel") },
        short("priority", 0x4000),
        on("vlan_filtering"),
        Knob { field: "vlan_protocol", bytes: vec![0x88, 0xa8], read: json!(0x88a8) },
        short("group_fwd_mask", 0xfff8),
        Knob { field: "group_addr", bytes: group_addr, read: json!("01:80:c2:00:00:0a") },
        byte("mcast_router", 2, "permanent"),
        off("mcast_snooping"),
        on("mcast_query_use_ifaddr"),
        on("mcast_querier"),
        word("mcast_hash_max", 512),
        on("nf_call_iptables"),
        on("nf_call_ip6tables"),
        on("nf_call_arptables"),
        short("vlan_default_pvid", 7),
        byte("mcast_igmp_version", 3, 3),
        byte("mcast_mld_version", 2, 2),
        Knob { field: "multi_boolopt", bytes: boolopt, read: json!({"value": 1}) },
        word("fdb_max_learned", 100),
    ]
}

/// What a bridge tells and nobody sets.
const BRIDGE_FACTS: &[&str] =
    &["root_port", "root_path_cost", "topology_change", "mcast_querier_state", "fdb_n_learned"];

fn port_knobs(backup: IfIndex) -> Vec<Knob> {
    vec![
        // Without STP the kernel turns "blocking" into "forwarding" at once (`br_port_state_selection`).
        byte("state", 2, "learning"),
        short("priority", 16),
        word("cost", 100),
        on("hairpin"),
        on("guard"),
        on("root_block"),
        on("fastleave"),
        off("learning"),
        off("flood"),
        on("proxy_arp"),
        on("proxy_arp_wifi"),
        byte("mcast_router", 2, "permanent"),
        off("mcast_flood"),
        on("mcast_to_unicast"),
        on("vlan_tunnel"),
        off("bcast_flood"),
        short("group_fwd_mask", 0x4000),
        on("neigh_suppress"),
        on("isolated"),
        word("backup_port", backup.0),
        on("locked"),
        on("mab"),
        word("mcast_max_groups", 10),
        on("neigh_vlan_suppress"),
        word("backup_nhid", 7),
    ]
}

/// What a port tells and nobody sets.
const PORT_FACTS: &[&str] = &["no", "mcast_n_groups"];

fn number(rows: &[(&str, u16)], field: &str) -> u16 {
    rows.iter().find(|row| row.0 == field).unwrap_or_else(|| panic!("no row {field}")).1
}

/// The fields in which two sets of options differ, each with its second value.
fn differences(plain: &impl Serialize, set: &impl Serialize) -> Vec<(String, Value)> {
    let (plain, set) = (serde_json::to_value(plain).unwrap(), serde_json::to_value(set).unwrap());
    let (plain, set) = (plain.as_object().unwrap(), set.as_object().unwrap());
    let fields: BTreeSet<_> = plain.keys().chain(set.keys()).collect();
    let differing = fields.into_iter().filter(|name| plain.get(*name) != set.get(*name));
    differing.map(|name| (name.clone(), set.get(name).cloned().unwrap_or_default())).collect()
}

fn covers(wanted: &Value, found: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields.iter().all(|(name, value)| found.get(name) == Some(value)),
        value => value == found,
    }
}

/// Checks one option; whether the kernel has it.
fn check(knob: &Knob, number: u16, differing: &[(String, Value)], unknown: &[UnknownAttribute]) -> bool {
    let field = knob.field;
    assert!(
        unknown.iter().all(|attribute| attribute.number != number),
        "{field} does not decode: {unknown:?}"
    );
    let Some((_, found)) = differing.iter().find(|(name, _)| name == field) else { return false };
    assert!(covers(&knob.read, found), "{field}: {found}");
    // Only a locked port can have it.
    let others = differing.iter().filter(|(name, _)| name != field && !(field == "mab" && name == "locked"));
    assert_eq!(others.count(), 0, "{field} changed more than itself: {differing:?}");
    true
}

fn every_row_is_here(rows: &[(&str, u16)], knobs: &[Knob], facts: &[&str]) {
    let here: BTreeSet<_> = knobs.iter().map(|knob| knob.field).chain(facts.iter().copied()).collect();
    assert_eq!(here, rows.iter().map(|row| row.0).collect());
}

fn tell_lacking(lacking: &[&str], of: usize) {
    assert!(lacking.len() * 2 < of, "most options did not change: {lacking:?}");
    if !lacking.is_empty() {
        println!("this kernel lacks {}", lacking.join(", "));
    }
}

#[test]
fn each_option_of_a_bridge_is_read_back_alone() {
    fresh(|lab| {
        let knobs = bridge_knobs();
        every_row_is_here(BRIDGE_ROWS, &knobs, BRIDGE_FACTS);
        lab.make(NewLink::new("plain", "bridge").create(|data| data));
        let mut lacking = Vec::new();
        for (at, knob) in knobs.iter().enumerate() {
            let name = format!("br{at}");
            lab.make(NewLink::new(&name, "bridge").create(|data| data));
            let bridge = lab.index(&name);
            let change = link::bridge_option(bridge, number(BRIDGE_ROWS, knob.field), &knob.bytes);
            match lab.try_to(change) {
                Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => lacking.push(knob.field),
                result => result.unwrap(),
            }
        }
        let netns = netns();
        let plain = named(&netns, "plain").bridge().unwrap();
        for (at, knob) in knobs.iter().enumerate() {
            let options = named(&netns, &format!("br{at}")).bridge().unwrap();
            let mut differing = differences(plain, options);
            differing.retain(|(field, _)| !BRIDGE_FACTS.contains(&field.as_str()));
            let known = check(knob, number(BRIDGE_ROWS, knob.field), &differing, &options.unknown);
            if !known && !lacking.contains(&knob.field) {
                lacking.push(knob.field);
            }
        }
        tell_lacking(&lacking, knobs.len());
    });
}

#[test]
fn each_option_of_a_port_is_read_back_alone() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let backup = lab.port(bridge, "plain");
        let knobs = port_knobs(backup);
        every_row_is_here(PORT_ROWS, &knobs, PORT_FACTS);
        let mut lacking = Vec::new();
        for (at, knob) in knobs.iter().enumerate() {
            let name = format!("p{at}");
            let port = lab.port(bridge, &name);
            let set = |field, bytes: &[u8]| link::port_option(port, number(PORT_ROWS, field), bytes);
            let change = set(knob.field, &knob.bytes);
            let result = match knob.field {
                // It can be set only while there is a carrier.
                "state" => {
                    lab.forward(&name);
                    lab.try_to(change)
                }
                "mab" => lab.try_to(set("locked", &[1])).and_then(|()| lab.try_to(change)),
                _ => lab.try_to(change),
            };
            match result {
                Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => lacking.push(knob.field),
                result => result.unwrap(),
            }
        }
        let netns = netns();
        let plain = named(&netns, "plain").bridge_port().unwrap();
        for (at, knob) in knobs.iter().enumerate() {
            let options = named(&netns, &format!("p{at}")).bridge_port().unwrap();
            let mut differing = differences(plain, options);
            differing.retain(|(field, _)| !PORT_FACTS.contains(&field.as_str()));
            let known = check(knob, number(PORT_ROWS, knob.field), &differing, &options.unknown);
            if !known && !lacking.contains(&knob.field) {
                lacking.push(knob.field);
            }
        }
        tell_lacking(&lacking, knobs.len());
    });
}

/// What `ip -d -j link` says of an interface, if there is such a program.
fn told_by_ip(name: &str) -> Option<Value> {
    let output = Command::new("ip").args(["-d", "-j", "link", "show", "dev", name]).output().ok()?;
    let links: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(links.get(0)?.get("linkinfo")?.clone())
}

/// A value as a number, whether it is told as one, as a word of C, or as a truth.
fn as_number(value: &Value) -> Option<u64> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    value.as_u64().or(value.as_bool().map(u64::from)).or_else(|| hex(value.as_str()?))
}

/// How many options `ip` tells as numbers too; each must be the same.
fn compare(ours: &impl Serialize, theirs: &Value) -> usize {
    let ours = serde_json::to_value(ours).unwrap();
    let both = theirs.as_object().unwrap().iter().filter_map(|(name, value)| {
        let name = if name == "multicast_router" { "mcast_router" } else { name };
        Some((name, as_number(ours.get(name)?)?, as_number(value)?))
    });
    both.map(|(name, ours, theirs)| assert_eq!(ours, theirs, "{name}")).count()
}

#[test]
fn ip_says_the_same() {
    fresh(|lab| {
        let bridge = lab.bridge("br0");
        let port = lab.port(bridge, "p0");
        let (Some(of_bridge), Some(of_port)) = (told_by_ip("br0"), told_by_ip("p0")) else {
            skip!("there is no ip(8) that tells JSON");
        };
        let before = netns();
        assert!(compare(named(&before, "br0").bridge().unwrap(), &of_bridge["info_data"]) >= 15);
        assert!(compare(named(&before, "p0").bridge_port().unwrap(), &of_port["info_slave_data"]) >= 15);
        for knob in bridge_knobs() {
            let _ = lab.try_to(link::bridge_option(bridge, number(BRIDGE_ROWS, knob.field), &knob.bytes));
        }
        for knob in port_knobs(port).iter().filter(|knob| knob.field != "backup_port") {
            let _ = lab.try_to(link::port_option(port, number(PORT_ROWS, knob.field), &knob.bytes));
        }
        let after = netns();
        let (of_bridge, of_port) = (told_by_ip("br0").unwrap(), told_by_ip("p0").unwrap());
        assert!(compare(named(&after, "br0").bridge().unwrap(), &of_bridge["info_data"]) >= 15);
        assert!(compare(named(&after, "p0").bridge_port().unwrap(), &of_port["info_slave_data"]) >= 15);
        assert_ne!(named(&before, "p0").bridge_port(), named(&after, "p0").bridge_port());
    });
}
