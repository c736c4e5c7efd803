//! Random rulesets of nftables: few rules that ask for what the generated frames have.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use portcullis_snapshot::{
    CmpOp, MacAddr, MetaKey, NftBaseChain, NftExpr, NftFamily, NftSet, NftVerdict, PayloadBase, PayloadSum,
};

use super::{guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::firewall::{
    Chain, Match, REGISTER, Rule, SIDE_CHAIN, TABLE, element, family, masked, meta, name, payload,
    verdict_text,
};
use crate::names::{BRIDGE, MOST_PORTS, Name, UPLINK, mac};
use crate::step::Step;

/// What rules are made with.
struct Writing<'r> {
    rng: &'r mut Rng,
    ports: &'r [Name],
    family: NftFamily,
    /// Whether there is a device that it comes in by, and one that it leaves by.
    iif: bool,
    oif: bool,
    /// Whether its rules may translate addresses.
    nat: bool,
    sets: u32,
}

/// Adds a firewall to a configuration: one chain, or two.
pub(super) fn steps(rng: &mut Rng, ports: &[Name]) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..rng.u32(1..=2) {
        let (family, hook, hook_name) = place(rng);
        let devices = if family == NftFamily::Netdev { devices(rng, ports) } else { Vec::new() };
        let mut base = NftBaseChain {
            family,
            table: TABLE.to_owned(),
            chain: format!("chain{number}"),
            kind: "filter".to_owned(),
            hook,
            hook_name: hook_name.to_owned(),
            priority: pick(rng, &[-300, -200, 0, 10, 300]).unwrap_or(0),
            devices,
            policy_drop: one_in(rng, 6),
            rules: 0,
            dormant: false,
        };
        let nat = one_in(rng, 8);
        if nat {
            base = super::nat::chain(rng, base);
        }
        let NftBaseChain { family, chain, hook_name, .. } = base.clone();
        let jumps = one_in(rng, 3);
        if jumps {
            steps.push(Step::Chain(Chain { family, name: SIDE_CHAIN.to_owned(), base: None }));
        }
        steps.push(Step::Chain(Chain { family, name: chain.clone(), base: Some(base) }));
        let egress = matches!(hook_name.as_str(), "egress" | "postrouting");
        let both = hook_name == "forward";
        let (iif, oif) = (!egress || both, egress || both);
        let mut writing = Writing { rng, ports, family, iif, oif, nat, sets: number * 100 };
        for chain in [Some(chain), jumps.then(|| SIDE_CHAIN.to_owned())].into_iter().flatten() {
            let side = chain == SIDE_CHAIN;
            for _ in 0..writing.rng.u32(1..=4) {
                let rule = writing.rule(&chain, jumps && !side);
                steps.push(Step::FirewallRule(rule));
            }
        }
    }
    steps
}

fn place(rng: &mut Rng) -> (NftFamily, u32, &'static str) {
    let inet = [(0, "prerouting"), (1, "input"), (2, "forward"), (4, "postrouting")];
    let family = pick(
        rng,
        &[
            NftFamily::Bridge,
            NftFamily::Bridge,
            NftFamily::Bridge,
            NftFamily::Netdev,
            NftFamily::Netdev,
            NftFamily::Inet,
            NftFamily::Ip,
            NftFamily::Ip6,
            NftFamily::Arp,
        ],
    )
    .unwrap_or(NftFamily::Bridge);
    let (hook, hook_name) = match family {
        NftFamily::Netdev if one_in(rng, 4) => (1, "egress"),
        NftFamily::Netdev => (0, "ingress"),
        NftFamily::Arp => (0, "input"),
        _ => pick(rng, &inet).unwrap_or((1, "input")),
    };
    (family, hook, hook_name)
}

fn devices(rng: &mut Rng, ports: &[Name]) -> Vec<String> {
    let mut devices: Vec<_> =
        ports.iter().filter(|_| one_in(rng, 2)).map(|name| (*name).to_owned()).collect();
    if devices.is_empty() || one_in(rng, 3) {
        devices.push(BRIDGE.to_owned());
    }
    devices
}

impl Writing<'_> {
    fn one_in(&mut self, count: u32) -> bool {
        one_in(self.rng, count)
    }

    fn rule(&mut self, chain: &str, jumps: bool) -> Rule {
        let mut matches = Vec::new();
        for _ in 0..pick(self.rng, &[0, 1, 1, 1, 2, 2, 3]).unwrap_or(1) {
            matches.extend(self.any_match());
        }
        let verdict = match self.rng.u32(..10) {
            _ if self.nat && one_in(self.rng, 2) => {
                matches.extend(super::nat::statement(self.rng, self.family));
                None
            }
            0..=4 => Some(NftVerdict::Drop),
            5 | 6 => Some(NftVerdict::Accept),
            7 if jumps => Some(NftVerdict::Jump(SIDE_CHAIN.to_owned())),
            8 if jumps => Some(NftVerdict::Goto(SIDE_CHAIN.to_owned())),
            7 => Some(NftVerdict::Return),
            8 => Some(NftVerdict::Continue),
            _ => {
                matches.extend(self.statement());
                None
            }
        };
        // A map has the verdict itself.
        let maps = matches.last().is_some_and(|last| last.expressions.last().is_some_and(is_verdict_map));
        let verdict = if maps { None } else { verdict };
        // Without a question most would end everything.
        if matches.is_empty() && verdict == Some(NftVerdict::Drop) && !self.one_in(5) {
            matches.extend(self.any_match());
        }
        Rule { family: self.family, chain: chain.to_owned(), matches, verdict }
    }

    /// Something that a rule does beside deciding: it writes into the packet, or beside it.
    fn statement(&mut self) -> Vec<Match> {
        let layer2 = matches!(self.family, NftFamily::Bridge | NftFamily::Netdev);
        if self.family == NftFamily::Netdev && self.one_in(4) {
            return vec![self.sent_on()];
        }
        if self.one_in(3) {
            return super::writes::other(self.rng, self.family);
        }
        match self.rng.u32(..8) {
            0 | 1 if layer2 => {
                let address = self.a_mac();
                let (word, offset) = if self.one_in(3) { ("saddr", 6) } else { ("daddr", 0) };
                let text = format!("ether {word} set {address}");
                vec![write(text, PayloadBase::Link, offset, &address.0, PayloadSum::default())]
            }
            2 | 3 => {
                let (word, offset) = if self.one_in(2) { ("saddr", 12) } else { ("daddr", 16) };
                let address = self.an_ip4();
                let sum = PayloadSum { kind: 1, offset: 10, flags: 1 };
                let text = format!("ip {word} set {address}");
                let mut matches = self.needs(0x0800);
                matches.push(write(text, PayloadBase::Network, offset, &address.octets(), sum));
                matches
            }
            4 => {
                let (word, offset) = if self.one_in(2) { ("saddr", 8) } else { ("daddr", 24) };
                let address = guest_ip6(self.rng.usize(..MOST_PORTS));
                let sum = PayloadSum { kind: 0, offset: 0, flags: 1 };
                let text = format!("ip6 {word} set {address}");
                let mut matches = self.needs(0x86dd);
                matches.push(write(text, PayloadBase::Network, offset, &address.octets(), sum));
                matches
            }
            5 if self.one_in(2) => {
                let port = pick(self.rng, &[53u16, 1000, 2000, 4000]).unwrap_or(53);
                let sum = PayloadSum { kind: 1, offset: 6, flags: 0 };
                let udp = meta("meta l4proto udp".to_owned(), MetaKey::L4Proto, CmpOp::Eq, &[17]);
                let text = format!("udp dport set {port}");
                vec![udp, write(text, PayloadBase::Transport, 2, &port.to_be_bytes(), sum)]
            }
            5 if layer2 => {
                let id = pick(self.rng, &[0u16, 1, 5, 6]).unwrap_or(1);
                let tag =
                    payload("ether type 8021q".to_owned(), PayloadBase::Link, 12, CmpOp::Eq, &[0x81, 0]);
                let text = format!("@ll,112,16 set {id}");
                vec![tag, write(text, PayloadBase::Link, 14, &id.to_be_bytes(), PayloadSum::default())]
            }
            6 => {
                let (number, word) =
                    pick(self.rng, &[(0u8, "host"), (2, "multicast"), (3, "other")]).unwrap_or((0, "host"));
                vec![set_meta(format!("meta pkttype set {word}"), MetaKey::PktType, &[number])]
            }
            7 if self.family == NftFamily::Bridge => {
                vec![set_meta("meta broute set 1".to_owned(), MetaKey::BriBroute, &[1])]
            }
            _ => {
                let mark = self.rng.u32(1..3);
                vec![set_meta(format!("meta mark set {mark}"), MetaKey::Mark, &mark.to_ne_bytes())]
            }
        }
    }

    /// The packet, or a copy, leaves by another device.
    fn sent_on(&mut self) -> Match {
        let mut devices = self.ports.to_vec();
        devices.push(UPLINK);
        let device = pick(self.rng, &devices).unwrap_or(UPLINK);
        let copy = self.one_in(2);
        let data = crate::names::index(device).0.to_ne_bytes().as_slice().into();
        let expressions =
            vec![NftExpr::Immediate { dreg: REGISTER, data }, NftExpr::ToDevice { copy, sreg: REGISTER }];
        let word = if copy { "dup" } else { "fwd" };
        Match { text: format!("{word} to {device}"), expressions, set: None }
    }

    fn op(&mut self) -> (CmpOp, &'static str) {
        if self.one_in(4) { (CmpOp::Neq, "!= ") } else { (CmpOp::Eq, "") }
    }

    /// What matches ask together: a header only where it is one.
    fn any_match(&mut self) -> Vec<Match> {
        let layer2 = matches!(self.family, NftFamily::Bridge | NftFamily::Netdev);
        match self.rng.u32(..22) {
            0 | 1 if layer2 => vec![self.ether_type()],
            2 | 3 => vec![self.meta_protocol()],
            4 | 5 if layer2 => vec![self.ether_address()],
            6 if layer2 => self.vlan_id(),
            7 => self.arp(),
            8 | 9 => self.ip(),
            10 | 11 => self.ip6(),
            12 => vec![self.l4proto()],
            13 => self.ports(),
            14 => vec![self.device()],
            15 => vec![self.beside()],
            16 => vec![self.raw()],
            17 => self.looked_up(),
            18 => self.verdict_map(),
            19 | 20 => vec![super::registers::reckoned(self.rng, layer2)],
            _ => self.icmp(),
        }
    }

    fn ether_type(&mut self) -> Match {
        let (op, not) = self.op();
        let value =
            pick(self.rng, &[0x0800u16, 0x0806, 0x86dd, 0x8100, 0x8100, 0x88a8, 0x88b5]).unwrap_or(0x0800);
        payload(format!("ether type {not}{value:#06x}"), PayloadBase::Link, 12, op, &value.to_be_bytes())
    }

    fn meta_protocol(&mut self) -> Match {
        let (op, not) = self.op();
        let value = pick(self.rng, &[0x0800u16, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x0004]).unwrap_or(0x0800);
        meta(format!("meta protocol {not}{value:#06x}"), MetaKey::Protocol, op, &value.to_be_bytes())
    }

    fn needs(&self, protocol: u16) -> Vec<Match> {
        needs(self.family, protocol)
    }

    fn a_mac(&mut self) -> MacAddr {
        match self.rng.u32(..4) {
            0 => mac(pick(self.rng, self.ports).unwrap_or(BRIDGE)),
            1 => pick(self.rng, &[mac(BRIDGE), MacAddr::BROADCAST, MacAddr::link_local(14)])
                .unwrap_or(MacAddr::ZERO),
            _ => guest_mac(self.rng.usize(..MOST_PORTS)),
        }
    }

    fn ether_address(&mut self) -> Match {
        let (op, not) = self.op();
        let (word, offset) = if self.one_in(2) { ("saddr", 6) } else { ("daddr", 0) };
        let address = self.a_mac();
        let mask = match self.rng.u32(..6) {
            0 => Some(MacAddr([1, 0, 0, 0, 0, 0])),
            1 => Some(MacAddr([255, 255, 255, 0, 0, 0])),
            2 => Some(MacAddr([255, 255, 255, 255, 255, 0xf0])),
            _ => None,
        };
        match mask {
            None => {
                payload(format!("ether {word} {not}{address}"), PayloadBase::Link, offset, op, &address.0)
            }
            Some(mask) => {
                let value: Vec<u8> = address.0.iter().zip(mask.0).map(|(byte, mask)| byte & mask).collect();
                let shown = MacAddr(<[u8; 6]>::try_from(value.as_slice()).unwrap_or_default());
                let text =
                    format!("ether {word} & {mask} {}{shown}", if not.is_empty() { "== " } else { not });
                masked(text, PayloadBase::Link, offset, &mask.0, op, &value)
            }
        }
    }

    fn vlan_id(&mut self) -> Vec<Match> {
        let id = pick(self.rng, &[0u16, 1, 5, 6, 100]).unwrap_or(0);
        let tag = payload("ether type 8021q".to_owned(), PayloadBase::Link, 12, CmpOp::Eq, &[0x81, 0]);
        let id = masked(
            format!("@ll,112,16 & 0x0fff == {id}"),
            PayloadBase::Link,
            14,
            &[0x0f, 0xff],
            CmpOp::Eq,
            &id.to_be_bytes(),
        );
        if self.one_in(4) {
            let inner = pick(self.rng, &[0x0800u16, 0x0806, 0x8100]).unwrap_or(0x0806);
            let inner = payload(
                format!("@ll,128,16 {inner:#06x}"),
                PayloadBase::Link,
                16,
                CmpOp::Eq,
                &inner.to_be_bytes(),
            );
            return vec![tag, inner];
        }
        vec![tag, id]
    }

    fn arp(&mut self) -> Vec<Match> {
        let (op, not) = self.op();
        let mut matches = self.needs(0x0806);
        matches.push(match self.rng.u32(..4) {
            0 => payload(format!("@nh,0,16 {not}1"), PayloadBase::Network, 0, op, &[0, 1]),
            1 => {
                let address = guest_ip4(self.rng.usize(..MOST_PORTS));
                payload(
                    format!("@nh,112,32 {not}{:#x}", u32::from(address)),
                    PayloadBase::Network,
                    14,
                    op,
                    &address.octets(),
                )
            }
            2 => {
                let address = self.a_mac();
                payload(
                    format!("@nh,64,48 {not}{:#x}", address.to_u64()),
                    PayloadBase::Network,
                    8,
                    op,
                    &address.0,
                )
            }
            _ => payload(format!("@nh,48,16 {not}1"), PayloadBase::Network, 6, op, &[0, 1]),
        });
        matches
    }

    fn an_ip4(&mut self) -> Ipv4Addr {
        match self.rng.u32(..5) {
            0 => Ipv4Addr::new(10, 0, 0, 1),
            1 => Ipv4Addr::BROADCAST,
            2 => Ipv4Addr::new(224, 0, 0, 1),
            _ => guest_ip4(self.rng.usize(..MOST_PORTS)),
        }
    }

    fn ip(&mut self) -> Vec<Match> {
        let (op, not) = self.op();
        let mut matches = self.needs(0x0800);
        let (word, offset) = if self.one_in(2) { ("saddr", 12) } else { ("daddr", 16) };
        let address = self.an_ip4();
        matches.push(match self.rng.u32(..6) {
            0 => {
                let [a, b, ..] = address.octets();
                let text = format!("ip {word} {not}{a}.{b}.0.0/16");
                masked(text, PayloadBase::Network, offset, &[255, 255, 0, 0], op, &[a, b, 0, 0])
            }
            1 => {
                let (from, to) = (guest_ip4(1), guest_ip4(3));
                let load = NftExpr::Payload { base: PayloadBase::Network, offset, len: 4, dreg: REGISTER };
                let range = NftExpr::Range {
                    sreg: REGISTER,
                    negated: op == CmpOp::Neq,
                    from: from.octets().as_slice().into(),
                    to: to.octets().as_slice().into(),
                };
                Match {
                    text: format!("ip {word} {not}{from}-{to}"),
                    expressions: vec![load, range],
                    set: None,
                }
            }
            2 => payload("ip ttl < 64".to_owned(), PayloadBase::Network, 8, CmpOp::Lt, &[64]),
            3 => payload("ip length > 40".to_owned(), PayloadBase::Network, 2, CmpOp::Gt, &[0, 40]),
            _ => payload(
                format!("ip {word} {not}{address}"),
                PayloadBase::Network,
                offset,
                op,
                &address.octets(),
            ),
        });
        matches
    }

    fn ip6(&mut self) -> Vec<Match> {
        let (op, not) = self.op();
        let mut matches = self.needs(0x86dd);
        let (word, offset) = if self.one_in(2) { ("saddr", 8) } else { ("daddr", 24) };
        let address = match self.rng.u32(..4) {
            0 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            1 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
            _ => guest_ip6(self.rng.usize(..MOST_PORTS)),
        };
        matches.push(if self.one_in(3) {
            let [first, ..] = address.octets();
            payload(
                format!("@nh,{},8 {not}{first:#x}", offset * 8),
                PayloadBase::Network,
                offset,
                op,
                &[first],
            )
        } else {
            payload(format!("ip6 {word} {not}{address}"), PayloadBase::Network, offset, op, &address.octets())
        });
        matches
    }

    fn l4proto(&mut self) -> Match {
        let (op, not) = self.op();
        let protocol = pick(self.rng, &[1u8, 2, 6, 17, 58, 44]).unwrap_or(17);
        meta(format!("meta l4proto {not}{protocol}"), MetaKey::L4Proto, op, &[protocol])
    }

    fn ports(&mut self) -> Vec<Match> {
        let (op, not) = self.op();
        let mut matches = Vec::new();
        if !self.one_in(4) {
            matches.push(meta("meta l4proto udp".to_owned(), MetaKey::L4Proto, CmpOp::Eq, &[17]));
        }
        let (word, offset, port) = if self.one_in(2) { ("sport", 0, 1000u16) } else { ("dport", 2, 2000) };
        matches.push(if self.one_in(3) {
            payload(
                format!("th {word} >= 1500"),
                PayloadBase::Transport,
                offset,
                CmpOp::Gte,
                &1500u16.to_be_bytes(),
            )
        } else {
            payload(format!("th {word} {not}{port}"), PayloadBase::Transport, offset, op, &port.to_be_bytes())
        });
        matches
    }

    fn icmp(&mut self) -> Vec<Match> {
        let (protocol, kind, text) = if self.one_in(2) {
            (1, 8, "icmp type 8")
        } else {
            (58, pick(self.rng, &[135, 134, 128]).unwrap_or(135), "icmpv6 type")
        };
        let text = if protocol == 58 { format!("{text} {kind}") } else { text.to_owned() };
        vec![
            meta(format!("meta l4proto {protocol}"), MetaKey::L4Proto, CmpOp::Eq, &[protocol]),
            payload(text, PayloadBase::Transport, 0, CmpOp::Eq, &[kind]),
        ]
    }

    fn device(&mut self) -> Match {
        let (op, not) = self.op();
        let mut devices = self.ports.to_vec();
        devices.extend([BRIDGE, UPLINK]);
        let device = pick(self.rng, &devices).unwrap_or(BRIDGE);
        let out = self.oif && (!self.iif || self.one_in(2));
        let (word, key) = if out { ("oifname", MetaKey::OifName) } else { ("iifname", MetaKey::IifName) };
        if self.family == NftFamily::Bridge && self.one_in(4) {
            let (word, key) =
                if out { ("obrname", MetaKey::BriOifName) } else { ("ibrname", MetaKey::BriIifName) };
            return meta(format!("{word} {not}{BRIDGE}"), key, op, &name(BRIDGE));
        }
        if self.one_in(4) {
            let number = crate::names::index(device).0;
            let (word, key) = if out { ("oif", MetaKey::Oif) } else { ("iif", MetaKey::Iif) };
            return meta(format!("{word} {not}{number}"), key, op, &number.to_ne_bytes());
        }
        meta(format!("{word} {not}{device}"), key, op, &name(device))
    }

    /// What is known beside the bytes.
    fn beside(&mut self) -> Match {
        let (op, not) = self.op();
        match self.rng.u32(..4) {
            0 => {
                let mark = self.rng.u32(..3);
                meta(format!("meta mark {not}{mark}"), MetaKey::Mark, op, &mark.to_ne_bytes())
            }
            1 => {
                let length = pick(self.rng, &[28u32, 46, 60, 100, 600]).unwrap_or(60);
                let mut one =
                    meta(format!("meta length > {length}"), MetaKey::Len, CmpOp::Gt, &length.to_be_bytes());
                let turn =
                    NftExpr::Byteorder { sreg: REGISTER, dreg: REGISTER, to_network: true, len: 4, size: 4 };
                one.expressions.insert(1, turn);
                one
            }
            _ => {
                let (number, word) =
                    pick(self.rng, &[(0, "host"), (1, "broadcast"), (2, "multicast"), (3, "other")])
                        .unwrap_or((0, "host"));
                meta(format!("meta pkttype {not}{word}"), MetaKey::PktType, op, &[number])
            }
        }
    }

    /// Bytes anywhere, tags in between and ends of short frames included.
    fn raw(&mut self) -> Match {
        let (op, not) = self.op();
        let layer2 = matches!(self.family, NftFamily::Bridge | NftFamily::Netdev);
        let (base, word) = match self.rng.u32(..3) {
            0 if layer2 => (PayloadBase::Link, "ll"),
            1 => (PayloadBase::Transport, "th"),
            _ => (PayloadBase::Network, "nh"),
        };
        let offset = self.rng.u32(..48);
        let len = self.rng.u32(1..=3);
        let value = pick(self.rng, &[0u8, 0, 1, 2, 6, 8, 0x45, 0x81]).unwrap_or(0);
        let mut data = vec![0; len as usize];
        if let Some(last) = data.last_mut() {
            *last = value;
        }
        let number = u32::from(value);
        payload(format!("@{word},{},{} {not}{number:#x}", offset * 8, len * 8), base, offset, op, &data)
    }

    fn named(&mut self) -> String {
        self.sets += 1;
        format!("set{}_{}", family(self.family), self.sets)
    }

    /// A key in a set.
    fn looked_up(&mut self) -> Vec<Match> {
        let inverted = self.one_in(4);
        let set_name = self.named();
        let lookup = NftExpr::Lookup { set: set_name.clone(), sreg: REGISTER, dreg: None, inverted };
        let not = if inverted { "!= " } else { "" };
        let layer2 = matches!(self.family, NftFamily::Bridge | NftFamily::Netdev);
        let set = |flags, key_len, concat: &[u32], elements| NftSet {
            name: set_name.clone(),
            flags,
            key_len,
            concat: concat.to_vec(),
            elements,
        };
        let load = |base, offset, len, dreg| NftExpr::Payload { base, offset, len, dreg };
        if layer2 && self.one_in(2) {
            let (one, other) = (self.a_mac(), self.a_mac());
            let mut elements = vec![element(&one.0, None, None)];
            if other != one {
                elements.push(element(&other.0, None, None));
            }
            let text = format!("ether saddr {not}{{ {one}, {other} }}");
            let expressions = vec![load(PayloadBase::Link, 6, 6, REGISTER), lookup];
            return vec![Match { text, expressions, set: Some(set(0, 6, &[], elements)) }];
        }
        let mut matches = self.needs(0x0800);
        if layer2 && self.one_in(2) {
            // An address of each sort: with a range of the second, or exactly.
            let number = self.rng.usize(..MOST_PORTS);
            let interval = self.one_in(2);
            let (one, from) = (guest_mac(number), guest_ip4(number));
            let to = if interval { guest_ip4(number + 2) } else { from };
            let key = |address: Ipv4Addr| [&one.0[..], &[0, 0], &address.octets()].concat();
            let end = key(to);
            let elements = vec![element(&key(from), interval.then_some(&end), None)];
            let text = format!("ether saddr . ip saddr {not}{{ {one} . {from}-{to} }}");
            let expressions =
                vec![load(PayloadBase::Link, 6, 6, 4), load(PayloadBase::Network, 12, 4, 6), lookup];
            // NFT_SET_CONCAT
            let (flags, concat): (_, &[u32]) =
                if interval { (NftSet::INTERVAL | 128, &[6, 4]) } else { (0, &[]) };
            matches.push(Match { text, expressions, set: Some(set(flags, 12, concat, elements)) });
            return matches;
        }
        let (from, to) = (guest_ip4(1), guest_ip4(3));
        let mut end = element(&Ipv4Addr::from(u32::from(to) + 1).octets(), None, None);
        end.interval_end = true;
        let elements = vec![element(&from.octets(), None, None), end];
        let text = format!("ip saddr {not}{{ {from}-{to} }}");
        let expressions = vec![load(PayloadBase::Network, 12, 4, REGISTER), lookup];
        matches.push(Match { text, expressions, set: Some(set(NftSet::INTERVAL, 4, &[], elements)) });
        matches
    }

    /// A map from what is inside to a verdict.
    fn verdict_map(&mut self) -> Vec<Match> {
        let set_name = self.named();
        let verdicts = [NftVerdict::Drop, NftVerdict::Accept, NftVerdict::Continue];
        let mut of = |key: u16| {
            let verdict = verdicts.get(self.rng.usize(..3)).cloned().unwrap_or(NftVerdict::Drop);
            let text = format!("{key:#06x} : {}", verdict_text(&verdict));
            (text, element(&key.to_be_bytes(), None, Some(verdict)))
        };
        let (texts, elements): (Vec<_>, Vec<_>) = [of(0x0806), of(0x0800)].into_iter().unzip();
        let set =
            NftSet { name: set_name.clone(), flags: NftSet::MAP, key_len: 2, concat: Vec::new(), elements };
        let expressions = vec![
            NftExpr::Meta { key: MetaKey::Protocol, dreg: REGISTER },
            NftExpr::Lookup { set: set_name, sreg: REGISTER, dreg: Some(0), inverted: false },
        ];
        vec![Match {
            text: format!("meta protocol vmap {{ {} }}", texts.join(", ")),
            expressions,
            set: Some(set),
        }]
    }
}

/// What `nft` puts before a question about a header of this protocol.
pub(super) fn needs(family: NftFamily, protocol: u16) -> Vec<Match> {
    let needed = match family {
        NftFamily::Ip | NftFamily::Ip6 | NftFamily::Arp => None,
        NftFamily::Inet => {
            let (word, number) = if protocol == 0x86dd { ("ipv6", 10) } else { ("ipv4", 2) };
            Some(meta(format!("meta nfproto {word}"), MetaKey::NfProto, CmpOp::Eq, &[number]))
        }
        _ => Some(meta(
            format!("meta protocol {protocol:#06x}"),
            MetaKey::Protocol,
            CmpOp::Eq,
            &protocol.to_be_bytes(),
        )),
    };
    needed.into_iter().collect()
}

fn is_verdict_map(expr: &NftExpr) -> bool {
    matches!(expr, NftExpr::Lookup { dreg: Some(_), .. })
}

fn set_meta(text: String, key: MetaKey, value: &[u8]) -> Match {
    let expressions = vec![
        NftExpr::Immediate { dreg: REGISTER, data: value.into() },
        NftExpr::MetaSet { key, sreg: REGISTER },
    ];
    Match { text, expressions, set: None }
}

/// Writes these bytes into the packet.
pub(super) fn write(text: String, base: PayloadBase, offset: u32, value: &[u8], sum: PayloadSum) -> Match {
    let len = value.len() as u32;
    let expressions = vec![
        NftExpr::Immediate { dreg: REGISTER, data: value.into() },
        NftExpr::PayloadSet { base, offset, len, sreg: REGISTER, sum },
    ];
    Match { text, expressions, set: None }
}
