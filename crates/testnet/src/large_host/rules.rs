//! The rules of a large host, as `nft` writes them.

use std::net::Ipv4Addr;

use portcullis_snapshot::{
    Bytes, CmpOp, MetaKey, NftBaseChain, NftChain, NftData, NftElement, NftExpr, NftFamily, NftRule, NftSet,
    NftTable, NftVerdict, PayloadBase, Reading,
};

use super::Guest;

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT`.
const ANONYMOUS: u32 = 3;

/// A table of the bridge family under construction.
pub(super) struct Rules {
    table: NftTable,
    base: Vec<NftBaseChain>,
    /// Handles, which tables give to chains, sets and rules in turn.
    handle: u64,
    /// How many anonymous sets there are, and how many maps: each have their numbers.
    anonymous: (usize, usize),
}

impl Rules {
    fn new(name: &str) -> Self {
        let table = NftTable {
            family: NftFamily::Bridge,
            name: name.to_owned(),
            dormant: false,
            chains: Vec::new(),
            sets: Vec::new(),
        };
        Self { table, base: Vec::new(), handle: 0, anonymous: (0, 0) }
    }

    /// The readings that it makes.
    pub(super) fn read(mut self) -> (Reading<Vec<NftTable>>, Reading<Vec<NftBaseChain>>) {
        for base in &mut self.base {
            base.rules =
                self.table.chain(&base.chain).map_or(0, |chain| u32::try_from(chain.rules.len()).unwrap());
        }
        (Reading::Read(vec![self.table]), Reading::Read(self.base))
    }

    /// Adds a base chain that accepts what no rule decides on.
    fn base(&mut self, name: &str, (hook, hook_name): (u32, &str), priority: i32) {
        self.base.push(NftBaseChain {
            family: NftFamily::Bridge,
            table: self.table.name.clone(),
            chain: name.to_owned(),
            kind: "filter".to_owned(),
            hook,
            hook_name: hook_name.to_owned(),
            priority,
            devices: Vec::new(),
            policy_drop: false,
            rules: 0,
            dormant: false,
        });
        self.chain(name, Vec::new());
    }

    fn chain(&mut self, name: &str, rules: Vec<Vec<NftExpr>>) {
        self.handle += 1;
        let mut made = Vec::new();
        for expressions in rules {
            self.handle += 1;
            made.push(NftRule { handle: self.handle, expressions });
        }
        match self.table.chains.iter_mut().find(|chain| chain.name == name) {
            Some(chain) => chain.rules.extend(made),
            None => self.table.chains.push(NftChain { name: name.to_owned(), rules: made }),
        }
    }

    fn set(&mut self, name: &str, flags: u32, key_len: u32, mut elements: Vec<NftElement>) {
        elements.sort_by(|one, other| (&one.key, other.interval_end).cmp(&(&other.key, one.interval_end)));
        let name = name.to_owned();
        self.table.sets.push(NftSet { name, flags, key_len, concat: Vec::new(), elements });
    }

    /// Adds an anonymous set, and returns what looks the key in the first register up.
    fn within(&mut self, key_len: u32, keys: &[&[u8]], inverted: bool) -> NftExpr {
        let name = format!("__set{}", self.anonymous.0);
        self.anonymous.0 += 1;
        self.set(&name, ANONYMOUS, key_len, keys.iter().map(|key| element(key, None)).collect());
        lookup(&name, None, inverted)
    }

    /// Adds `ct state vmap { established : accept, related : accept, invalid : jump invalid-conntrack }`.
    fn by_connection(&mut self) -> Vec<NftExpr> {
        let name = format!("__map{}", self.anonymous.1);
        self.anonymous.1 += 1;
        let invalid = NftVerdict::Jump("invalid-conntrack".to_owned());
        let states = [(1u32, invalid), (2, NftVerdict::Accept), (4, NftVerdict::Accept)];
        let elements = states.map(|(state, verdict)| element(&state.to_ne_bytes(), Some(verdict)));
        self.set(&name, ANONYMOUS | NftSet::MAP, 4, elements.to_vec());
        vec![meta(MetaKey::Protocol), neq(&ARP), ct(CT_STATE), lookup(&name, Some(0), false)]
    }

    /// `icmpv6 type { … }`, or `icmp type { … }`.
    fn icmp(&mut self, ipv6: bool, types: &[u8], verdict: NftVerdict) -> Vec<NftExpr> {
        let keys: Vec<&[u8]> = types.chunks(1).collect();
        let (ethertype, protocol) = if ipv6 { (IPV6, 58) } else { (IPV4, 1) };
        let [kind, is_kind] = ethertype_is(ethertype);
        let [l4, is_l4] = l4proto(protocol);
        let within = self.within(1, &keys, false);
        vec![kind, is_kind, l4, is_l4, payload(PayloadBase::Transport, 0, 1), within, decide(verdict)]
    }

    /// `udp sport . udp dport { … } accept`.
    fn udp_ports(&mut self, pairs: [(u16, u16); 2]) -> Vec<NftExpr> {
        let key = |(from, to): (u16, u16)| {
            let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
            [a, b, 0, 0, c, d, 0, 0]
        };
        let [first, second] = pairs.map(key);
        let within = self.within(8, &[&first, &second], false);
        let [l4, is_l4] = l4proto(17);
        let to = NftExpr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg: 5 };
        vec![l4, is_l4, payload(PayloadBase::Transport, 0, 2), to, within, decide(NftVerdict::Accept)]
    }
}

/// `clean-traffic`, with an address that is known: own MAC address, own IPv4 address in ARP and IPv4, DHCP requests,
/// nothing else.
pub(super) fn libvirt(guests: &[Guest]) -> Rules {
    let mut rules = Rules::new("libvirt");
    rules.base("prerouting", (0, "prerouting"), -300);
    let jump = |guest: &Guest| with(named(MetaKey::IifName, &guest.port), jump(&format!("I-{}", guest.port)));
    rules.chain("prerouting", guests.iter().map(jump).collect());
    for guest in guests {
        let own = guest.ip.octets();
        let drop = || decide(NftVerdict::Drop);
        let accept = || decide(NftVerdict::Accept);
        let [arp, is_arp] = ethertype_is(ARP);
        let [ipv4, is_ipv4] = [meta(MetaKey::Protocol), eq(&IPV4)];
        let [udp, is_udp] = l4proto(17);
        let source = payload(PayloadBase::Network, 12, 4);
        let (from, to) = (Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets());
        let mac = guest.mac.0;
        let dhcp = vec![
            ipv4.clone(),
            is_ipv4.clone(),
            source.clone(),
            eq(&from),
            payload(PayloadBase::Network, 16, 4),
            eq(&to),
            udp,
            is_udp,
            payload(PayloadBase::Transport, 0, 4),
            eq(&[0, 68, 0, 67]),
            accept(),
        ];
        let chain = vec![
            vec![payload(PayloadBase::Link, 6, 6), neq(&mac), drop()],
            vec![arp.clone(), is_arp.clone(), payload(PayloadBase::Network, 8, 6), neq(&mac), drop()],
            vec![arp.clone(), is_arp.clone(), payload(PayloadBase::Network, 14, 4), neq(&own), drop()],
            vec![arp, is_arp, accept()],
            dhcp,
            vec![ipv4, is_ipv4, source, eq(&own), accept()],
            vec![drop()],
        ];
        rules.chain(&format!("I-{}", guest.port), chain);
    }
    rules
}

/// Guests with MAC and IP filter, DHCP and neighbour discovery, everything else let out and in.
pub(super) fn proxmox(guests: &[Guest]) -> Rules {
    let mut rules = Rules::new("proxmox-firewall-guests");
    for (map, way) in [("vm-map-in", "in"), ("vm-map-out", "out")] {
        let to = |guest: &Guest| {
            element(&name_bytes(&guest.port), Some(NftVerdict::Goto(format!("guest-{}-{way}", guest.vmid))))
        };
        rules.set(map, NftSet::MAP, 16, guests.iter().map(to).collect());
    }
    common_chains(&mut rules);
    for guest in guests {
        let [v4, v6] = [4, 6].map(|version| format!("v{version}-guest-{}/ipfilter-net0", guest.vmid));
        let ip = u32::from(guest.ip);
        let [own, next] = [ip, ip + 1].map(u32::to_be_bytes);
        one_address(&mut rules, &v4, &[0; 4], &own, &next);
        let ip = u128::from(guest.link_local);
        let [own, next] = [ip, ip + 1].map(u128::to_be_bytes);
        one_address(&mut rules, &v6, &[0; 16], &own, &next);
        guest_in(&mut rules, guest, &v4);
        guest_out(&mut rules, guest, &v4, &v6);
    }
    rules
}

/// What all guests share.
fn common_chains(rules: &mut Rules) {
    let unreachable = rules.icmp(false, &[3, 4, 11], NftVerdict::Accept);
    let unreachable6 = rules.icmp(true, &[1, 2, 3, 4], NftVerdict::Accept);
    rules.chain("allow-icmp", vec![unreachable, unreachable6]);
    rules.chain("invalid-conntrack", Vec::new());
    let by_connection = rules.by_connection();
    let arp = vec![meta(MetaKey::Protocol), eq(&ARP), decide(NftVerdict::Accept)];
    rules.chain("pre-vm-in", vec![by_connection, arp]);
    let by_connection = rules.by_connection();
    rules.chain("pre-vm-out", vec![by_connection]);
    let dhcp = rules.udp_ports([(67, 68), (547, 546)]);
    rules.chain("allow-dhcp-in", vec![dhcp]);
    let dhcp = rules.udp_ports([(68, 67), (546, 547)]);
    rules.chain("allow-dhcp-out", vec![dhcp]);
    let ndp = rules.icmp(true, &[133, 134, 135, 136, 137], NftVerdict::Accept);
    rules.chain("allow-ndp-in", vec![ndp]);
    let ndp = rules.icmp(true, &[133, 135, 136], NftVerdict::Accept);
    rules.chain("allow-ndp-out", vec![ndp]);
    let advertisements = rules.icmp(true, &[134, 137], NftVerdict::Drop);
    rules.chain("block-ra-out", vec![advertisements]);
    rules.base("vm-out", (0, "prerouting"), 0);
    let by_port = vec![meta(MetaKey::IifName), lookup("vm-map-out", Some(0), false)];
    rules.chain("vm-out", vec![vec![jump("allow-icmp")], by_port]);
    rules.base("vm-in", (4, "postrouting"), 0);
    let by_port = vec![meta(MetaKey::OifName), lookup("vm-map-in", Some(0), false)];
    rules.chain("vm-in", vec![vec![jump("allow-icmp")], by_port]);
}

/// An interval set of one address, and an empty one of what it does not hold for.
fn one_address(rules: &mut Rules, name: &str, first: &[u8], own: &[u8], next: &[u8]) {
    let end = |key| NftElement { interval_end: true, ..element(key, None) };
    let key_len = u32::try_from(own.len()).unwrap();
    rules.set(name, NftSet::INTERVAL, key_len, vec![end(first), element(own, None), end(next)]);
    rules.set(&format!("{name}-nomatch"), NftSet::INTERVAL, key_len, Vec::new());
}

fn guest_in(rules: &mut Rules, guest: &Guest, v4: &str) {
    let [arp, is_arp] = ethertype_is(ARP);
    let asked = vec![arp, is_arp, payload(PayloadBase::Network, 24, 4), lookup(v4, None, true)];
    let not_asked = [named(MetaKey::OifName, &guest.port), asked].concat();
    let chain = vec![
        vec![jump("pre-vm-in")],
        with(not_asked, decide(NftVerdict::Drop)),
        vec![jump("allow-dhcp-in")],
        vec![jump("allow-ndp-in")],
        mark_connection(guest),
        vec![decide(NftVerdict::Accept)],
    ];
    rules.chain(&format!("guest-{}-in", guest.vmid), chain);
}

fn guest_out(rules: &mut Rules, guest: &Guest, v4: &str, v6: &str) {
    let port = || named(MetaKey::IifName, &guest.port);
    let drop = || decide(NftVerdict::Drop);
    let source4 = || vec![meta(MetaKey::Protocol), eq(&IPV4), payload(PayloadBase::Network, 12, 4)];
    let source6 = || vec![meta(MetaKey::Protocol), eq(&IPV6), payload(PayloadBase::Network, 8, 16)];
    let [arp, is_arp] = ethertype_is(ARP);
    let sender = vec![arp.clone(), is_arp.clone(), payload(PayloadBase::Network, 14, 4)];
    let not_in =
        |set: &str, load: Vec<NftExpr>| [port(), load, vec![lookup(set, None, true), drop()]].concat();
    let in_nomatch = |set: &str, load: Vec<NftExpr>| {
        [port(), load, vec![lookup(&format!("{set}-nomatch"), None, false), drop()]].concat()
    };
    let key = [&name_bytes(&guest.port)[..], &guest.mac.0, &[0; 2]].concat();
    let mac = |base, offset| NftExpr::Payload { base, offset, len: 6, dreg: 8 };
    let not_own = rules.within(24, &[&key], true);
    let source = vec![meta(MetaKey::IifName), mac(PayloadBase::Link, 6), not_own, drop()];
    let not_own = rules.within(24, &[&key], true);
    let sender_mac = vec![arp, is_arp, meta(MetaKey::IifName), mac(PayloadBase::Network, 8), not_own, drop()];
    let chain = vec![
        vec![jump("pre-vm-out")],
        not_in(v4, source4()),
        in_nomatch(v4, source4()),
        not_in(v6, source6()),
        in_nomatch(v6, source6()),
        not_in(v4, sender),
        source,
        sender_mac,
        vec![jump("allow-dhcp-out")],
        vec![jump("allow-ndp-out")],
        vec![jump("block-ra-out")],
        vec![meta(MetaKey::Protocol), eq(&ARP), decide(NftVerdict::Accept)],
        mark_connection(guest),
        vec![decide(NftVerdict::Accept)],
    ];
    rules.chain(&format!("guest-{}-out", guest.vmid), chain);
}

const CT_STATE: u32 = 0;

/// `ct` of a key into the first register (`NFTA_CT_KEY`, `NFTA_CT_DREG`).
fn ct(key: u32) -> NftExpr {
    let number = |attribute: u16, value: u32| {
        [&8u16.to_ne_bytes()[..], &attribute.to_ne_bytes(), &value.to_be_bytes()].concat()
    };
    NftExpr::Other { name: "ct".to_owned(), data: Bytes([number(1, 1), number(2, key)].concat()) }
}

/// `ct mark set` the guest's number.
fn mark_connection(guest: &Guest) -> Vec<NftExpr> {
    let number = u32::try_from(guest.vmid).unwrap();
    let number = NftExpr::Immediate { dreg: 4, data: Bytes::from(&number.to_ne_bytes()[..]) };
    vec![number, NftExpr::NoEffect("ct".to_owned())]
}

fn with(mut expressions: Vec<NftExpr>, last: NftExpr) -> Vec<NftExpr> {
    expressions.push(last);
    expressions
}

fn payload(base: PayloadBase, offset: u32, len: u32) -> NftExpr {
    NftExpr::Payload { base, offset, len, dreg: 4 }
}

fn meta(key: MetaKey) -> NftExpr {
    NftExpr::Meta { key, dreg: 4 }
}

fn eq(data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: data.into() }
}

fn neq(data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: 4, op: CmpOp::Neq, data: data.into() }
}

fn ethertype_is(ethertype: [u8; 2]) -> [NftExpr; 2] {
    [payload(PayloadBase::Link, 12, 2), eq(&ethertype)]
}

fn l4proto(protocol: u8) -> [NftExpr; 2] {
    [meta(MetaKey::L4Proto), eq(&[protocol])]
}

fn named(key: MetaKey, name: &str) -> Vec<NftExpr> {
    vec![meta(key), eq(&name_bytes(name))]
}

fn name_bytes(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

fn lookup(set: &str, dreg: Option<u8>, inverted: bool) -> NftExpr {
    NftExpr::Lookup { set: set.to_owned(), sreg: 4, dreg, inverted }
}

fn decide(verdict: NftVerdict) -> NftExpr {
    NftExpr::Verdict(verdict)
}

fn jump(chain: &str) -> NftExpr {
    decide(NftVerdict::Jump(chain.to_owned()))
}

fn element(key: &[u8], verdict: Option<NftVerdict>) -> NftElement {
    NftElement {
        key: Some(key.into()),
        key_end: None,
        interval_end: false,
        data: verdict.map(NftData::Verdict),
        expires: false,
        expressions: Vec::new(),
    }
}
