//! Random rules and random frames: a walk that passes over rules by their tests comes to what one does that evaluates
//! every rule.

use fastrand::Rng;
use portcullis_snapshot::{
    BitwiseOp, BoolOpts, BrNetfilter, Bytes, CmpOp, EtherType, MacAddr, MetaKey, NftBaseChain, NftChain,
    NftData, NftElement, NftExpr, NftFamily, NftRule, NftSet, NftTable, NftVerdict, PayloadBase, PayloadSum,
    Reading, VlanFlags,
};

use crate::frame::{ArpOperation, FrameBuilder};
use crate::walk::tests::{A, B, BR0, C, Lab};
use crate::walk::{Trace, walk};
use crate::{Concrete, Payload};

/// Rules under construction.
struct Random {
    rng: Rng,
    frame: Vec<u8>,
    sets: Vec<NftSet>,
    chains: usize,
}

#[test]
fn passing_over_rules_changes_nothing() {
    let (mut dropped, mut arrived) = (0, 0);
    for seed in 0..30_000 {
        let mut rng = Rng::with_seed(seed);
        let frame = frame(&mut rng);
        let lab = lab(rng, frame.clone());
        let prepared = lab.network();
        let mut evaluated = lab.network();
        evaluated.evaluate_every_rule();
        // Twice: the first walk makes the rules ready.
        for from in [A, B, A] {
            let walk = |network| walk(network, from, &mut Concrete::new(&frame).unwrap(), Trace::Steps);
            let (one, other) = (walk(&prepared), walk(&evaluated));
            assert_eq!(one, other, "seed {seed}");
            dropped += usize::from(one.steps.iter().any(|step| step.function == "nft_do_chain"));
            arrived += usize::from(!one.outcomes.is_empty());
        }
    }
    // It is about something: rules decide, and not about everything.
    assert!(dropped > 20_000 && arrived > 20_000, "{dropped} dropped, {arrived} arrived");
}

/// A bridge with random rules at some hooks.
fn lab(mut rng: Rng, frame: Vec<u8>) -> Lab {
    let mut lab = Lab::new();
    if rng.bool() {
        const MEMBER: u16 = VlanFlags::PVID | VlanFlags::UNTAGGED;
        let ports: [(_, &[(u16, u16)]); 3] =
            [(A, &[(1, MEMBER), (5, 0)]), (B, &[(1, 0), (5, 0)]), (C, &[(1, MEMBER)])];
        lab = lab.vlans(&[(1, MEMBER | VlanFlags::BRENTRY)], &ports);
    }
    if rng.u8(..8) == 0 {
        // A kernel of which it is open what rules see behind a second tag.
        lab = lab.bridge(|options| options.multi_boolopt = Some(BoolOpts { value: 0, mask: 0xff }));
    }
    if rng.u8(..4) == 0 {
        let on = rng.bool();
        lab.netns().filters.br_netfilter = Reading::Read(BrNetfilter {
            call_iptables: true,
            call_ip6tables: true,
            call_arptables: true,
            filter_vlan_tagged: on,
            filter_pppoe_tagged: false,
            pass_vlan_input_dev: false,
        });
    }
    let hooks: &[(NftFamily, u32)] = &[
        (NftFamily::Bridge, 0),
        (NftFamily::Bridge, 1),
        (NftFamily::Bridge, 2),
        (NftFamily::Bridge, 4),
        (NftFamily::Netdev, 0),
        (NftFamily::Netdev, 1),
        (NftFamily::Ip, 0),
        (NftFamily::Inet, 2),
    ];
    let (mut tables, mut bases) = (Vec::new(), Vec::new());
    let mut random = Random { rng, frame, sets: Vec::new(), chains: 0 };
    for at in 0..random.rng.usize(1..4) {
        let (family, hook) = random.rng.choice(hooks).copied().unwrap();
        let table = random.table(family, format!("t{at}"));
        bases.push(NftBaseChain {
            family,
            table: table.name.clone(),
            chain: "c0".to_owned(),
            kind: "filter".to_owned(),
            hook,
            hook_name: String::new(),
            priority: random.rng.i32(-2..3),
            devices: if family == NftFamily::Netdev {
                vec!["a".to_owned(), "b".to_owned()]
            } else {
                Vec::new()
            },
            policy_drop: random.rng.u8(..8) == 0,
            rules: 1,
            dormant: false,
        });
        tables.push(table);
    }
    lab.netns().filters.nft_tables = Reading::Read(tables);
    lab.netns().filters.nft_chains = Reading::Read(bases);
    lab
}

impl Random {
    fn one_of(&mut self, times: u32) -> bool {
        self.rng.u32(..times) == 0
    }

    fn table(&mut self, family: NftFamily, name: String) -> NftTable {
        self.sets.clear();
        self.chains = self.rng.usize(1..4);
        let mut handle = 0;
        let chains = (0..self.chains)
            .map(|chain| NftChain {
                name: format!("c{chain}"),
                rules: (0..self.rng.usize(..14))
                    .map(|_| {
                        handle += 1;
                        NftRule { handle, expressions: self.rule(chain) }
                    })
                    .collect(),
            })
            .collect();
        NftTable { family, name, dormant: false, chains, sets: std::mem::take(&mut self.sets) }
    }

    fn rule(&mut self, chain: usize) -> Vec<NftExpr> {
        let mut rule = Vec::new();
        for _ in 0..self.rng.usize(..4) {
            let (load, value) = self.load();
            rule.push(load);
            self.compare(&mut rule, value);
            if self.one_of(12) {
                let other = self.other();
                rule.push(other);
            }
        }
        if !self.one_of(4) {
            let verdict = self.verdict(chain);
            rule.push(NftExpr::Verdict(verdict));
        }
        if self.one_of(100) && !rule.is_empty() {
            // A rule that reads what others left.
            rule.remove(0);
        }
        rule
    }

    /// Something that is loaded, and what it could be, to compare with.
    fn load(&mut self) -> (NftExpr, Vec<u8>) {
        let dreg = *self.rng.choice(&[4, 4, 4, 4, 8, 5, 20 - 4]).unwrap();
        if self.one_of(3) {
            let name = |name: &str| {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(16, 0);
                bytes
            };
            let device = *self.rng.choice(&["a", "b", "c", "br0", "none", ""]).unwrap();
            let index = *self.rng.choice(&[A.0, B.0, C.0, BR0.0, 0]).unwrap();
            let (key, value) = match self.rng.u8(..14) {
                0 | 1 => (MetaKey::IifName, name(device)),
                2 | 3 => (MetaKey::OifName, name(device)),
                4 => (MetaKey::Iif, index.to_ne_bytes().to_vec()),
                5 => (MetaKey::Oif, index.to_ne_bytes().to_vec()),
                6 | 7 => (MetaKey::Protocol, self.ethertype()),
                8 => (MetaKey::L4Proto, vec![*self.rng.choice(&[6, 17, 58, 1]).unwrap()]),
                9 => (MetaKey::PktType, vec![self.rng.u8(..4)]),
                10 => (MetaKey::Mark, self.rng.u32(..3).to_ne_bytes().to_vec()),
                11 => (MetaKey::NfProto, vec![7]),
                12 => (MetaKey::BriIifName, name("br0")),
                _ => (
                    *self.rng.choice(&[MetaKey::Len, MetaKey::Priority, MetaKey::Other(99)]).unwrap(),
                    vec![0; 4],
                ),
            };
            return (NftExpr::Meta { key, dreg }, value);
        }
        let bases = [PayloadBase::Link, PayloadBase::Network, PayloadBase::Transport, PayloadBase::Inner];
        let base = bases[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3][self.rng.usize(..12)]];
        let usual: &[(u32, u32)] = match base {
            PayloadBase::Link => &[(0, 6), (6, 6), (12, 2), (14, 2), (16, 2), (0, 12), (18, 4), (4, 9)],
            PayloadBase::Network => {
                &[(12, 4), (16, 4), (12, 2), (9, 1), (6, 2), (8, 16), (24, 16), (14, 4), (0, 20)]
            }
            _ => &[(0, 2), (2, 2), (0, 4), (0, 1), (13, 1)],
        };
        let (offset, len) = match self.rng.u8(..8) {
            0 => (self.rng.u32(..70), self.rng.u32(1..18)),
            _ => *self.rng.choice(usual).unwrap(),
        };
        let start = match base {
            PayloadBase::Link => 0,
            PayloadBase::Network => 14 + 4 * self.rng.usize(..2),
            _ => 34,
        };
        let bytes = self.frame.iter().skip(start + offset as usize).copied().chain(std::iter::repeat(0));
        let value = bytes.take(len as usize).collect();
        (NftExpr::Payload { base, offset, len, dreg }, value)
    }

    fn ethertype(&mut self) -> Vec<u8> {
        let types = [EtherType::ARP, EtherType::IPV4, EtherType::IPV6, EtherType::VLAN, EtherType::SVLAN];
        self.rng.choice(types).unwrap().0.to_be_bytes().to_vec()
    }

    fn compare(&mut self, rule: &mut Vec<NftExpr>, mut value: Vec<u8>) {
        let Some(&(NftExpr::Payload { dreg, .. } | NftExpr::Meta { dreg, .. })) = rule.last() else { return };
        let mut sreg = dreg;
        if self.one_of(4) {
            let mask: Vec<u8> =
                value.iter().map(|_| *self.rng.choice(&[0xff, 0xff, 0, 0xf0, 0x0f]).unwrap()).collect();
            let xor: Vec<u8> =
                value.iter().map(|_| if self.one_of(8) { self.rng.u8(..) } else { 0 }).collect();
            value =
                value.iter().zip(&mask).zip(&xor).map(|((value, mask), xor)| value & mask ^ xor).collect();
            let to = *self.rng.choice(&[sreg, sreg, 8]).unwrap();
            let op = BitwiseOp::Mask { mask: Bytes(mask), xor: Bytes(xor) };
            rule.push(NftExpr::Bitwise { sreg, dreg: to, len: value.len() as u32, op });
            sreg = to;
        } else if self.one_of(20) && matches!(value.len(), 2 | 4) {
            let len = value.len() as u32;
            rule.push(NftExpr::Byteorder { sreg, dreg: sreg, to_network: false, len, size: len });
            value.reverse();
        }
        if self.one_of(3) {
            // Close by, or anything.
            let at = self.rng.usize(..value.len());
            value[at] = if self.one_of(3) { self.rng.u8(..) } else { value[at].wrapping_add(1) };
        }
        match self.rng.u8(..12) {
            0 => {
                let to = value.iter().map(|byte| byte.saturating_add(1)).collect();
                let negated = self.rng.bool();
                rule.push(NftExpr::Range { sreg, negated, from: Bytes(value), to: Bytes(to) });
            }
            1 | 2 => {
                let lookup = self.lookup(sreg, value);
                rule.push(lookup);
            }
            3 => {}
            _ => {
                if self.one_of(6) {
                    value.truncate(self.rng.usize(1..=value.len()));
                }
                let ops = [
                    CmpOp::Eq,
                    CmpOp::Eq,
                    CmpOp::Eq,
                    CmpOp::Neq,
                    CmpOp::Lt,
                    CmpOp::Lte,
                    CmpOp::Gt,
                    CmpOp::Gte,
                ];
                rule.push(NftExpr::Cmp { sreg, op: *self.rng.choice(&ops).unwrap(), data: Bytes(value) });
            }
        }
    }

    /// A set or a map that may have a key.
    fn lookup(&mut self, sreg: u8, key: Vec<u8>) -> NftExpr {
        let name = format!("s{}", self.sets.len());
        let key_len = key.len() as u32;
        let kind = self.rng.u8(..4);
        let element = |key: Option<Vec<u8>>, data: Option<NftData>, interval_end| NftElement {
            key: key.map(Bytes),
            key_end: None,
            interval_end,
            data,
            expires: false,
            expressions: Vec::new(),
        };
        let data = match kind {
            0 => Some(NftData::Verdict(if self.rng.bool() { NftVerdict::Drop } else { NftVerdict::Accept })),
            1 => Some(NftData::Value(Bytes(vec![0, 0, 0, 1]))),
            _ => None,
        };
        let mut others: Vec<_> = (0..self.rng.usize(..4))
            .map(|_| {
                let mut other = key.clone();
                let at = self.rng.usize(..other.len());
                other[at] = self.rng.u8(..);
                other
            })
            .collect();
        if !self.one_of(3) {
            others.push(key);
        }
        others.sort();
        others.dedup();
        let interval = self.one_of(3);
        let mut elements: Vec<_> = others
            .into_iter()
            .enumerate()
            .map(|(at, key)| element(Some(key), data.clone(), interval && at % 2 == 1))
            .collect();
        if self.one_of(10) {
            elements.push(element(None, data, false));
        }
        if self.one_of(10) {
            elements.iter_mut().for_each(|element| element.expressions.push("limit".to_owned()));
        }
        let mut flags = 0;
        flags |= if kind < 2 { NftSet::MAP } else { 0 };
        flags |= if interval { NftSet::INTERVAL } else { 0 };
        flags |= if self.one_of(12) { NftSet::TIMEOUT } else { 0 };
        self.sets.push(NftSet { name: name.clone(), flags, key_len, concat: Vec::new(), elements });
        let dreg = [Some(0), Some(9), None, None][usize::from(kind)];
        NftExpr::Lookup { set: name, sreg, dreg, inverted: kind >= 2 && self.one_of(3) }
    }

    /// What has an effect, or is not known.
    fn other(&mut self) -> NftExpr {
        match self.rng.u8(..7) {
            0 => NftExpr::NoEffect("counter".to_owned()),
            1 => NftExpr::Immediate { dreg: 4, data: Bytes(1u32.to_ne_bytes().to_vec()) },
            2 => NftExpr::MetaSet { key: MetaKey::Mark, sreg: 4 },
            3 => NftExpr::MetaSet { key: MetaKey::PktType, sreg: 4 },
            4 => {
                let (base, offset, len) = *self
                    .rng
                    .choice(&[
                        (PayloadBase::Link, 0, 6),
                        (PayloadBase::Link, 6, 6),
                        (PayloadBase::Network, 16, 4),
                        (PayloadBase::Transport, 2, 2),
                    ])
                    .unwrap();
                NftExpr::PayloadSet { base, offset, len, sreg: 4, sum: PayloadSum::default() }
            }
            5 => NftExpr::Other { name: "limit".to_owned(), data: Bytes(Vec::new()) },
            _ => NftExpr::Reject,
        }
    }

    fn verdict(&mut self, chain: usize) -> NftVerdict {
        let later = chain + 1;
        match self.rng.u8(..9) {
            0 if later < self.chains => NftVerdict::Goto(format!("c{later}")),
            1 | 2 if later < self.chains => NftVerdict::Jump(format!("c{later}")),
            3 => NftVerdict::Accept,
            4 => NftVerdict::Return,
            5 => NftVerdict::Continue,
            6 => NftVerdict::Break,
            7 => NftVerdict::Other(3),
            _ => NftVerdict::Drop,
        }
    }
}

/// A frame with up to three tags, some cut short or with a byte changed.
fn frame(rng: &mut Rng) -> Vec<u8> {
    let source = MacAddr([2, 0, 0, 0, 1, 1]);
    let to = [
        MacAddr([2, 0, 0, 0, 0, 12]),
        MacAddr([2, 0, 0, 0, 0, 2]),
        MacAddr([2, 0, 0, 0, 9, 9]),
        MacAddr::BROADCAST,
        MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::link_local(14),
    ];
    let mut builder = FrameBuilder::new(*rng.choice(&to).unwrap(), source);
    for _ in 0..[0, 0, 0, 0, 1, 1, 2, 3][rng.usize(..8)] {
        let tpid = if rng.bool() { EtherType::VLAN } else { EtherType::SVLAN };
        builder = builder.tag(tpid, *rng.choice(&[0, 1, 5]).unwrap());
    }
    let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let (from6, to6) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
    let payload = match rng.u8(..7) {
        0 => Payload::Arp {
            operation: ArpOperation::Request,
            sender_mac: source,
            sender_ip: from,
            target_ip: to,
        },
        1 => Payload::Arp {
            operation: ArpOperation::Reply,
            sender_mac: source,
            sender_ip: from,
            target_ip: to,
        },
        2 => Payload::Udp4 { from, to, ports: (1000, 53), data: vec![7; 20] },
        3 => Payload::TcpSyn4 { from, to, ports: (1000, 22) },
        4 => Payload::Udp6 { from: from6, to: to6, ports: (1000, 53), data: vec![7; 20] },
        5 => Payload::Ping6 { from: from6, to: to6 },
        _ => Payload::Raw { ethertype: EtherType(rng.u16(..)), data: (0..46).map(|_| rng.u8(..)).collect() },
    };
    let mut bytes = builder.payload(&payload);
    if rng.u8(..4) == 0 {
        let at = rng.usize(12..bytes.len());
        bytes[at] = rng.u8(..);
    }
    if rng.u8(..5) == 0 {
        bytes.truncate(rng.usize(14..=bytes.len()));
    }
    bytes
}
