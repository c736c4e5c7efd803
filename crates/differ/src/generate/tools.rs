//! Random rules of iptables, ip6tables, arptables and ebtables, in their legacy tables and in those of nftables.

use fastrand::Rng;
use portcullis_snapshot::MacAddr;

use super::{guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::names::{BRIDGE, MOST_PORTS, Name, UPLINK, mac};
use crate::step::Step;
use crate::tools::ToolRule;

/// The chain that others jump to.
const SIDE_CHAIN: &str = "side";

struct Writing<'r> {
    rng: &'r mut Rng,
    ports: &'r [Name],
    tool: &'static str,
    table: &'static str,
    chain: &'static str,
    /// How many sets there are, and the steps that make those of the rule that is being written.
    sets: u32,
    made: Vec<Step>,
}

/// Adds rules of one tool to a configuration.
pub(super) fn steps(rng: &mut Rng, ports: &[Name]) -> Vec<Step> {
    let legacy = !one_in(rng, 3);
    let bridge: &[(&str, &str)] = &[
        ("filter", "FORWARD"),
        ("filter", "INPUT"),
        ("nat", "PREROUTING"),
        ("nat", "POSTROUTING"),
        ("broute", "BROUTING"),
    ];
    let inet: &[(&str, &str)] = &[
        ("filter", "FORWARD"),
        ("filter", "INPUT"),
        ("mangle", "PREROUTING"),
        ("raw", "PREROUTING"),
        ("mangle", "POSTROUTING"),
    ];
    let arp: &[(&str, &str)] = &[("filter", "INPUT"), ("filter", "FORWARD")];
    let (names, places) = match rng.u32(..6) {
        0..=2 => (["ebtables-nft", "ebtables-legacy"], bridge),
        3 => (["ip6tables-nft", "ip6tables-legacy"], inet),
        4 => (["arptables-nft", "arptables-legacy"], arp),
        _ => (["iptables-nft", "iptables-legacy"], inet),
    };
    let Some((table, chain)) = pick(rng, places) else { return Vec::new() };
    let tool = if legacy { names[1] } else { names[0] };
    let mut writing = Writing { rng, ports, tool, table, chain, sets: 0, made: Vec::new() };
    let mut steps = Vec::new();
    let jumps = writing.one_in(3);
    if jumps {
        steps.push(writing.say(vec!["-N".to_owned(), SIDE_CHAIN.to_owned()]));
        if writing.is_bridge() {
            steps.push(writing.say(["-P", SIDE_CHAIN, "RETURN"].map(str::to_owned).to_vec()));
        }
    }
    if writing.one_in(6) {
        steps.push(writing.say(["-P", chain, "DROP"].map(str::to_owned).to_vec()));
    }
    for chain in [Some(chain), jumps.then_some(SIDE_CHAIN)].into_iter().flatten() {
        for _ in 0..writing.rng.u32(1..=4) {
            let side = chain == SIDE_CHAIN;
            let mut words = vec!["-A".to_owned(), chain.to_owned()];
            words.extend(writing.rule(jumps && !side, side));
            steps.append(&mut writing.made);
            steps.push(writing.say(words));
        }
    }
    steps
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Writing<'_> {
    fn one_in(&mut self, count: u32) -> bool {
        one_in(self.rng, count)
    }

    fn is_bridge(&self) -> bool {
        self.tool.starts_with("ebtables")
    }

    fn say(&self, words: Vec<String>) -> Step {
        let mut arguments = vec!["-t".to_owned(), self.table.to_owned()];
        if self.tool.starts_with("arptables") {
            arguments.clear();
        }
        if self.tool.starts_with("ip") {
            arguments.push("-w".to_owned());
        }
        arguments.extend(words);
        Step::ToolRule(ToolRule { tool: self.tool, arguments })
    }

    fn not(&mut self) -> &'static str {
        if self.one_in(4) { "!" } else { "" }
    }

    fn port(&mut self) -> Name {
        let mut devices = self.ports.to_vec();
        devices.extend([BRIDGE, UPLINK]);
        pick(self.rng, &devices).unwrap_or(BRIDGE)
    }

    fn a_mac(&mut self) -> MacAddr {
        match self.rng.u32(..4) {
            0 => mac(pick(self.rng, self.ports).unwrap_or(BRIDGE)),
            1 => pick(self.rng, &[mac(BRIDGE), MacAddr::BROADCAST]).unwrap_or(MacAddr::ZERO),
            _ => guest_mac(self.rng.usize(..MOST_PORTS)),
        }
    }

    fn an_ip4(&mut self) -> String {
        match self.rng.u32(..5) {
            0 => "10.0.0.1".to_owned(),
            1 => "10.0.0.0/24".to_owned(),
            2 => "224.0.0.0/4".to_owned(),
            _ => guest_ip4(self.rng.usize(..MOST_PORTS)).to_string(),
        }
    }

    fn rule(&mut self, jumps: bool, side: bool) -> Vec<String> {
        let mut words = match self.tool.get(..3) {
            Some("ebt") => self.bridge_matches(),
            Some("arp") => self.arp_matches(),
            _ => self.inet_matches(),
        };
        words.extend(self.target(jumps, side));
        words
    }

    fn target(&mut self, jumps: bool, side: bool) -> Vec<String> {
        let text = match self.rng.u32(..10) {
            0..=4 => "-j DROP".to_owned(),
            5 => "-j ACCEPT".to_owned(),
            6 if side => "-j RETURN".to_owned(),
            7 if jumps => format!("-j {SIDE_CHAIN}"),
            8 if jumps && self.tool.starts_with("ip") => format!("-g {SIDE_CHAIN}"),
            _ => self.changes(),
        };
        words(&text)
    }

    fn changes(&mut self) -> String {
        let mark = self.rng.u32(1..3);
        match (self.tool.get(..3), self.table) {
            (Some("ebt"), "nat") if self.chain == "PREROUTING" => match self.rng.u32(..3) {
                0 => "-j redirect".to_owned(),
                1 => format!("-j dnat --to-destination {} --dnat-target ACCEPT", self.a_mac()),
                _ => format!("-j mark --mark-set {mark} --mark-target CONTINUE"),
            },
            (Some("ebt"), "nat") => format!("-j snat --to-source {} --snat-arp", self.a_mac()),
            (Some("ebt"), "broute") if self.one_in(2) => "-j redirect --redirect-target DROP".to_owned(),
            (Some("ebt"), _) => format!("-j mark --mark-or {mark} --mark-target CONTINUE"),
            (Some("arp"), _) if self.tool == "arptables-legacy" && self.one_in(2) => {
                format!("-j mangle --mangle-ip-s {}", guest_ip4(self.rng.usize(..MOST_PORTS)))
            }
            (Some("arp"), _) => "-j ACCEPT".to_owned(),
            (_, "mangle") if self.tool.starts_with("iptables") && self.one_in(2) => {
                format!("-j TTL --ttl-set {}", pick(self.rng, &[1, 5, 64]).unwrap_or(1))
            }
            (_, "mangle") => format!("-j MARK --set-mark {mark}"),
            _ => "-j ACCEPT".to_owned(),
        }
    }

    fn bridge_matches(&mut self) -> Vec<String> {
        let mut text = String::new();
        for _ in 0..self.rng.u32(0..=2) {
            let not = self.not();
            let part = match self.rng.u32(..6) {
                0 if !text.contains("-s") => format!("-s {not} {}", self.a_mac()),
                1 if !text.contains("-d") => {
                    let masked =
                        ["01:00:00:00:00:00/01:00:00:00:00:00", "02:00:00:00:20:00/ff:ff:ff:ff:ff:00"];
                    match self.rng.u32(..3) {
                        0 => format!("-d {not} {}", pick(self.rng, &masked).unwrap_or_default()),
                        _ => format!("-d {not} {}", self.a_mac()),
                    }
                }
                2 if !text.contains("-i") && self.chain != "POSTROUTING" => {
                    format!("-i {not} {}", self.port())
                }
                3 if !text.contains("-o") && matches!(self.chain, "POSTROUTING" | "FORWARD") => {
                    format!("-o {not} {}", self.port())
                }
                4 if !text.contains("--logical-in") && self.chain != "POSTROUTING" => {
                    format!("--logical-in {not} {BRIDGE}")
                }
                5 if !text.contains("--pkttype") => {
                    let kind = pick(self.rng, &["host", "broadcast", "multicast", "otherhost"]);
                    format!("--pkttype-type {not} {}", kind.unwrap_or("host"))
                }
                _ => String::new(),
            };
            text = format!("{text} {part}");
        }
        if self.one_in(2) {
            let part = self.bridge_protocol();
            text = format!("{text} {part}");
        }
        words(&text)
    }

    fn bridge_protocol(&mut self) -> String {
        let not = self.not();
        match self.rng.u32(..12) {
            0 => format!("-p {not} ARP"),
            1 => format!("-p {not} IPv4"),
            2 => format!("-p {not} LENGTH"),
            3 => format!("-p {not} {}", pick(self.rng, &["0x88a8", "0x8100", "0x88b5"]).unwrap_or("0x88b5")),
            4 => format!("-p IPv4 --ip-src {not} {}", self.an_ip4()),
            5 => format!("-p IPv4 --ip-proto udp --ip-dport {not} {}", self.some_ports()),
            6 => format!("-p IPv6 --ip6-src {not} {}", guest_ip6(self.rng.usize(..MOST_PORTS))),
            7 => format!("-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type {not} 135"),
            8 => format!("-p ARP --arp-op {not} {}", self.rng.u32(1..=2)),
            9 => format!("-p ARP --arp-ip-src {not} {}", self.an_ip4()),
            10 => format!("-p ARP --arp-mac-src {not} {}", self.a_mac()),
            _ => {
                let id = pick(self.rng, &[0, 1, 5, 6]).unwrap_or(0);
                match self.rng.u32(..3) {
                    0 => format!("-p 802_1Q --vlan-encap {not} 0800"),
                    _ => format!("-p 802_1Q --vlan-id {not} {id}"),
                }
            }
        }
    }

    fn some_ports(&mut self) -> &'static str {
        pick(self.rng, &["2000", "1000:3000", "53", "0:1999"]).unwrap_or("2000")
    }

    fn arp_matches(&mut self) -> Vec<String> {
        let mut text = String::new();
        let not = self.not();
        let part = match self.rng.u32(..6) {
            0 => format!("{not} -s {}", self.an_ip4()),
            1 => format!("{not} -d {}", self.an_ip4()),
            2 => format!("{not} --source-mac {}", self.a_mac()),
            3 => format!("{not} --opcode {}", self.rng.u32(1..=2)),
            4 => format!("{not} -i {}", self.port()),
            _ => String::new(),
        };
        text.push_str(&part);
        words(&text)
    }

    fn inet_matches(&mut self) -> Vec<String> {
        let ipv6 = self.tool.starts_with("ip6");
        let mut text = String::new();
        for _ in 0..pick(self.rng, &[0, 1, 1, 2]).unwrap_or(1) {
            let not = self.not();
            let address =
                if ipv6 { guest_ip6(self.rng.usize(..MOST_PORTS)).to_string() } else { self.an_ip4() };
            let part = match self.rng.u32(..15) {
                0 if !text.contains("-s") => format!("{not} -s {address}"),
                1 if !text.contains("-d") => format!("{not} -d {address}"),
                2 if !text.contains("-i") && self.chain != "POSTROUTING" => {
                    format!("{not} -i {}", self.port())
                }
                3 if !text.contains("-m mac") && self.chain != "POSTROUTING" => {
                    format!("-m mac {not} --mac-source {}", self.a_mac())
                }
                4 if !text.contains("physdev") => self.physdev(),
                5 if !text.contains("pkttype") => {
                    let kind = pick(self.rng, &["unicast", "broadcast", "multicast"]).unwrap_or("unicast");
                    format!("-m pkttype {not} --pkt-type {kind}")
                }
                6 if !text.contains("addrtype") && !ipv6 => {
                    let kind =
                        pick(self.rng, &["LOCAL", "BROADCAST", "MULTICAST", "UNICAST"]).unwrap_or("LOCAL");
                    format!("-m addrtype {not} --dst-type {kind}")
                }
                7 if !text.contains("iprange") && !ipv6 => {
                    format!("-m iprange {not} --src-range {}-{}", guest_ip4(1), guest_ip4(3))
                }
                8 if !text.contains("ttl") && !ipv6 => "-m ttl --ttl-lt 64".to_owned(),
                9 if !text.contains("-m mark") => format!("-m mark {not} --mark {}", self.rng.u32(..3)),
                10 if !text.contains("length") && !ipv6 => format!("-m length {not} --length 20:60"),
                11 | 12 => self.in_a_set(ipv6),
                _ if !text.contains("-p") => self.protocol(ipv6),
                _ => String::new(),
            };
            text = format!("{text} {part}");
        }
        words(&text)
    }

    fn in_a_set(&mut self, ipv6: bool) -> String {
        self.sets += 1;
        // Families and tables share one space of names.
        let name = format!("{}_{}", self.tool, self.sets);
        let asked = super::ipset::asked(self.rng, &name, ipv6, self.ports);
        self.made.extend(asked.steps);
        asked.words
    }

    fn physdev(&mut self) -> String {
        let not = self.not();
        let out = matches!(self.chain, "FORWARD" | "POSTROUTING");
        match self.rng.u32(..4) {
            0 if out => format!("-m physdev {not} --physdev-is-bridged"),
            1 if out => format!("-m physdev {not} --physdev-out {} --physdev-is-bridged", self.port()),
            2 => format!("-m physdev {not} --physdev-is-in"),
            _ => format!("-m physdev {not} --physdev-in {}", self.port()),
        }
    }

    fn protocol(&mut self, ipv6: bool) -> String {
        let not = self.not();
        match self.rng.u32(..7) {
            0 => format!("{not} -p udp"),
            1 => format!("-p udp {not} --dport {}", self.some_ports()),
            2 => format!("-p udp -m multiport {not} --ports 53,1000:1500,2000"),
            3 => format!("-p tcp {not} --syn"),
            4 => format!("-p tcp {not} --sport {}", self.some_ports()),
            5 if ipv6 => format!("-p icmpv6 --icmpv6-type {}", self.rng.u32(133..=136)),
            5 => format!("-p icmp {not} --icmp-type 8"),
            _ if ipv6 => format!("{not} -p icmpv6"),
            _ => format!("{not} -p icmp"),
        }
    }
}
