//! Random sets of ipset, and what a rule asks of them.

use fastrand::Rng;

use super::{guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::names::{BRIDGE, MOST_PORTS, Name};
use crate::step::Step;
use crate::tools::ToolRule;

/// A set: the steps that make it, and the words by which a rule asks for it.
pub(super) struct Asked {
    pub(super) steps: Vec<Step>,
    pub(super) words: String,
}

/// Makes a set of this name, and asks for it.
pub(super) fn asked(rng: &mut Rng, name: &str, ipv6: bool, ports: &[Name]) -> Asked {
    let kinds: &[&str] = if ipv6 {
        &["hash:ip", "hash:net", "hash:net", "hash:mac", "hash:ip,port"]
    } else {
        &[
            "hash:ip",
            "hash:ip",
            "hash:net",
            "hash:net",
            "hash:net",
            "hash:mac",
            "bitmap:ip",
            "bitmap:port",
            "bitmap:ip,mac",
            "hash:ip,port",
            "hash:net,iface",
        ]
    };
    let kind = pick(rng, kinds).unwrap_or("hash:ip");
    let mut head = vec!["create", name, kind];
    if kind.starts_with("hash") && kind != "hash:mac" {
        head.extend(["family", if ipv6 { "inet6" } else { "inet" }]);
    }
    match kind {
        "bitmap:ip" | "bitmap:ip,mac" => head.extend(["range", "10.0.0.0/24"]),
        "bitmap:port" => head.extend(["range", "0-3000"]),
        "hash:ip" if one_in(rng, 5) => head.extend(["netmask", if ipv6 { "120" } else { "30" }]),
        _ => {}
    }
    if one_in(rng, 12) {
        head.extend(["timeout", "3000"]);
    }
    let mut steps = vec![step(&head)];
    let mut nomatch = false;
    for _ in 0..rng.u32(..=3) {
        let member = member(rng, kind, ipv6, ports);
        let mut words = vec!["-exist", "add", name, member.as_str()];
        if kind.starts_with("hash:net") && one_in(rng, 3) {
            words.push("nomatch");
            nomatch = true;
        }
        steps.push(step(&words));
    }
    let not = if one_in(rng, 4) { "! " } else { "" };
    let mut direction = || if one_in(rng, 3) { "dst" } else { "src" };
    let mut directions = direction().to_owned();
    if kind.contains(',') {
        directions = format!("{directions},{}", direction());
    }
    let also = if nomatch && one_in(rng, 2) { " --return-nomatch" } else { "" };
    Asked { steps, words: format!("-m set {not}--match-set {name} {directions}{also}") }
}

fn step(words: &[&str]) -> Step {
    let arguments = words.iter().map(|word| (*word).to_owned()).collect();
    Step::ToolRule(ToolRule { tool: "ipset", arguments })
}

fn member(rng: &mut Rng, kind: &str, ipv6: bool, ports: &[Name]) -> String {
    let number = rng.usize(..MOST_PORTS);
    let host = if ipv6 { guest_ip6(number).to_string() } else { guest_ip4(number).to_string() };
    let port = pick(rng, &["22", "1000", "2000"]).unwrap_or("2000");
    match kind {
        "hash:mac" => guest_mac(number).to_string(),
        "bitmap:port" => port.to_owned(),
        "bitmap:ip,mac" => format!("{host},{}", guest_mac(rng.usize(..MOST_PORTS))),
        "hash:ip,port" => format!("{host},{}:{port}", pick(rng, &["udp", "tcp"]).unwrap_or("udp")),
        "hash:net" | "hash:net,iface" => {
            let lengths: &[u8] = if ipv6 { &[8, 64, 120, 126, 128] } else { &[1, 8, 16, 24, 28, 30, 32] };
            let net = if one_in(rng, 6) && !ipv6 { "224.0.0.0".to_owned() } else { host };
            let net = format!("{net}/{}", pick(rng, lengths).unwrap_or(24));
            if kind == "hash:net" { net } else { format!("{net},{}", a_device(rng, ports)) }
        }
        _ => host,
    }
}

fn a_device(rng: &mut Rng, ports: &[Name]) -> Name {
    if one_in(rng, 2) { BRIDGE } else { pick(rng, ports).unwrap_or(BRIDGE) }
}
