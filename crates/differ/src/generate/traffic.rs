//! Random tc filters: few, that ask for what the generated frames have.

use fastrand::Rng;
use portcullis_snapshot::{
    Bytes, EtherType, FlowerField, FlowerKey, MacAddr, Skbedit, TcAction, TcActionKind, TcBpf, TcClassifier,
    TcFilter, TcHookKind, TcVerdict, U32Key, U32Mark, U32Node, U32Table, VlanAction, VlanTag,
};

use super::{VLANS, guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::names::{BRIDGE, MOST_PORTS, Name, UPLINK, index, mac};
use crate::step::Step;
use crate::traffic::{Filter, Place, Qdisc, Table};

/// The chain that others go to.
const SIDE_CHAIN: u32 = 7;
/// The block that devices share.
const BLOCK: u32 = 22;
/// Adds a key of `flower`: the field, the value, and the mask if not all of it counts.
type Add<'a> = &'a mut dyn FnMut(FlowerField, &[u8], Option<&[u8]>);
/// A linked table of `u32`.
const LINKED: u32 = 0x0050_0000;

/// What filters are made with.
struct Writing<'r> {
    rng: &'r mut Rng,
    /// Every device of the host's.
    devices: &'r [Name],
    /// Those that packets may be sent into: none that has filters itself, so that nothing goes round and round.
    quiet: Vec<Name>,
    steps: Vec<Step>,
    place: Place,
    node: u32,
}

/// Adds filters to a configuration: to one device, or a few.
pub(super) fn steps(rng: &mut Rng, ports: &[Name], devices: &[Name]) -> Vec<Step> {
    let mut chosen: Vec<Name> = Vec::new();
    for _ in 0..rng.u32(1..=3) {
        let from = if one_in(rng, 3) { devices } else { ports };
        chosen.extend(pick(rng, from).filter(|device| !chosen.contains(device)));
    }
    let shared = one_in(rng, 4);
    let quiet = devices.iter().copied().filter(|device| !chosen.contains(device)).collect();
    let mut writing = Writing { rng, devices, quiet, steps: Vec::new(), place: Place::Block(BLOCK), node: 0 };
    for device in &chosen {
        let ingress_block = shared.then_some(BLOCK);
        writing.steps.push(Step::Qdisc(Qdisc { device, ingress_block, egress_block: None }));
    }
    if shared && !chosen.is_empty() {
        writing.filters();
    }
    for device in chosen {
        if !shared && !one_in(writing.rng, 4) {
            writing.place = Place::Device(device, TcHookKind::Ingress);
            writing.filters();
        }
        if one_in(writing.rng, 2) {
            writing.place = Place::Device(device, TcHookKind::Egress);
            writing.filters();
        }
    }
    writing.steps
}

impl Writing<'_> {
    fn one_in(&mut self, count: u32) -> bool {
        one_in(self.rng, count)
    }

    /// Two or three priorities of chain 0, and perhaps another chain.
    fn filters(&mut self) {
        let side = self.one_in(3);
        if side {
            self.priority(SIDE_CHAIN, 40, false);
        }
        for priority in 1..=self.rng.u16(1..=3) {
            self.priority(0, priority, side);
        }
    }

    fn priority(&mut self, chain: u32, priority: u16, side: bool) {
        let protocol =
            pick(self.rng, &[3, 3, 3, 0x0800, 0x0806, 0x86dd, 0x8100, 0x8100, 0x88a8]).unwrap_or(3);
        match self.rng.u32(..12) {
            0..=4 => self.u32_list(chain, priority, protocol, side),
            5..=7 => {
                for handle in 1..=self.rng.u32(1..=3) {
                    let keys = self.flower_keys(protocol);
                    self.add(chain, priority, protocol, handle, TcClassifier::Flower(keys), side);
                }
            }
            8 => self.add(chain, priority, protocol, 1, TcClassifier::Matchall, side),
            9 | 10 => {
                for handle in 1..=self.rng.u32(1..=2) {
                    let direct_action = self.one_in(2);
                    let classifier = TcClassifier::Bpf { program: self.program(), direct_action };
                    self.add(chain, priority, protocol, handle, classifier, side);
                }
            }
            _ => {
                let handle = self.rng.u32(1..4);
                self.add(chain, priority, protocol, handle, TcClassifier::Fw { mask: Some(u32::MAX) }, side);
            }
        }
    }

    fn add(
        &mut self,
        chain: u32,
        priority: u16,
        protocol: u16,
        handle: u32,
        classifier: TcClassifier,
        side: bool,
    ) {
        let direct = matches!(classifier, TcClassifier::Bpf { direct_action: true, .. });
        let links = matches!(&classifier, TcClassifier::U32(node) if node.link.is_some());
        let actions = if direct || links { Vec::new() } else { self.actions(side) };
        let has_indev =
            matches!(classifier, TcClassifier::U32(_) | TcClassifier::Flower(_) | TcClassifier::Fw { .. });
        let indev = if has_indev && self.one_in(12) { pick(self.rng, self.devices) } else { None };
        // Only these are not taken into hardware by what has none.
        let can_skip = !matches!(classifier, TcClassifier::Fw { .. });
        let flags = if can_skip && self.one_in(30) { TcFilter::SKIP_SW } else { 0 };
        let filter = TcFilter {
            chain,
            priority,
            protocol,
            handle,
            classifier,
            classid: None,
            indev: indev.map(str::to_owned),
            flags,
            actions,
        };
        self.steps.push(Step::TcFilter(Box::new(Filter { place: self.place, filter })));
    }

    fn actions(&mut self, side: bool) -> Vec<TcAction> {
        let count = pick(self.rng, &[0, 1, 1, 1, 2, 2, 3]).unwrap_or(1);
        (0..count).map(|_| self.action(side)).collect()
    }

    fn action(&mut self, side: bool) -> TcAction {
        let act = |kind, verdict| TcAction { kind, verdict: Some(verdict), skip_sw: false };
        match self.rng.u32(..20) {
            0..=4 => {
                let verdict = match self.rng.u32(..12) {
                    0..=3 => TcVerdict::Shot,
                    4 | 5 => TcVerdict::Ok,
                    6 => TcVerdict::Pipe,
                    7 => TcVerdict::Unspec,
                    8 if side => TcVerdict::GotoChain(SIDE_CHAIN),
                    8 => TcVerdict::Stolen,
                    9 if side => TcVerdict::GotoChain(SIDE_CHAIN),
                    9 => TcVerdict::Trap,
                    10 => TcVerdict::Jump(self.rng.u32(1..3)),
                    _ => pick(self.rng, &[TcVerdict::Reclassify, TcVerdict::Queued, TcVerdict::Repeat])
                        .unwrap_or(TcVerdict::Ok),
                };
                act(TcActionKind::Gact { random: None }, verdict)
            }
            5..=8 => self.mirred(),
            9 | 10 => act(TcActionKind::Vlan(self.vlan()), TcVerdict::Pipe),
            11 | 12 => {
                let mark = self.one_in(2).then(|| self.rng.u32(1..4));
                let ptype = (mark.is_none() || self.one_in(3)).then(|| self.rng.u16(..4));
                act(TcActionKind::Skbedit(Skbedit { mark, ptype, ..Skbedit::default() }), TcVerdict::Pipe)
            }
            13..=16 => act(TcActionKind::Pedit { keys: super::pedit::keys(self.rng) }, TcVerdict::Pipe),
            _ => {
                let program = self.program();
                act(TcActionKind::Bpf(program), TcVerdict::Pipe)
            }
        }
    }

    fn mirred(&mut self) -> TcAction {
        let redirect = self.one_in(2);
        let ingress = self.one_in(2);
        // What leaves by a port and comes in by another may be flooded, and leave by the port again.
        let returns = matches!(self.place, Place::Device(from, TcHookKind::Egress) if from != UPLINK);
        // What a bridge sends by itself is not walked.
        let devices: Vec<Name> = if ingress {
            self.quiet.iter().copied().filter(|device| !returns || *device == UPLINK).collect()
        } else {
            self.devices.iter().copied().filter(|device| *device != BRIDGE).collect()
        };
        let device = pick(self.rng, &devices).map(index);
        let verdict = if redirect { TcVerdict::Stolen } else { TcVerdict::Pipe };
        TcAction {
            kind: TcActionKind::Mirred { redirect, ingress, device, block: None },
            verdict: Some(verdict),
            skip_sw: false,
        }
    }

    fn vlan(&mut self) -> VlanAction {
        let protocol = if self.one_in(4) { EtherType::SVLAN } else { EtherType::VLAN };
        let priority = Some(if self.one_in(2) { 0 } else { self.rng.u8(..8) });
        let tag = VlanTag { id: pick(self.rng, &VLANS).unwrap_or(5), protocol, priority };
        match self.rng.u32(..3) {
            0 => VlanAction::Pop,
            1 => VlanAction::Push(tag),
            _ => VlanAction::Modify(tag),
        }
    }

    /// A program that returns a constant.
    fn program(&mut self) -> TcBpf {
        let value: u32 = pick(self.rng, &[0, 0, 1, 2, 2, 2, 3, 4, 8, u32::MAX]).unwrap_or(0);
        let mut bytes = vec![6, 0, 0, 0];
        if cfg!(target_endian = "big") {
            bytes.swap(0, 1);
        }
        bytes.extend(value.to_ne_bytes());
        TcBpf { classic: Some(Bytes(bytes)), ..TcBpf::default() }
    }

    /// A list of `u32`: nodes of the root table, and now and then one that leads to another table.
    fn u32_list(&mut self, chain: u32, priority: u16, protocol: u16, side: bool) {
        let linked =
            self.one_in(3) && matches!(self.place, Place::Device(_, TcHookKind::Ingress) | Place::Block(_));
        if linked {
            let divisor = pick(self.rng, &[1, 4, 256]).unwrap_or(1);
            let table = U32Table { chain, priority, handle: LINKED, divisor, root: false };
            self.steps.push(Step::TcTable(Table { place: self.place, table, protocol }));
            for _ in 0..self.rng.u32(1..=3) {
                self.node += 1;
                let bucket = pick(self.rng, &[0, 1, 6, 17, 58]).unwrap_or(0) % divisor;
                let node = self.u32_node(true);
                let handle = LINKED | bucket << 12 | self.node;
                self.add(chain, priority, protocol, handle, TcClassifier::U32(node), side);
            }
            self.node += 1;
            let node = self.link();
            self.add(chain, priority, protocol, self.node, TcClassifier::U32(node), side);
        }
        for _ in 0..self.rng.u32(1..=3) {
            self.node += 1;
            let node = self.u32_node(false);
            self.add(chain, priority, protocol, self.node, TcClassifier::U32(node), side);
        }
    }

    fn u32_node(&mut self, linked: bool) -> U32Node {
        let count = pick(self.rng, &[0, 1, 1, 1, 1, 2]).unwrap_or(1);
        let keys = (0..count).map(|_| self.u32_key(linked)).collect();
        let mark = self.one_in(10).then(|| U32Mark { value: self.rng.u32(..4), mask: 3 });
        U32Node { mark, ..U32Node::new(if self.one_in(20) { 0 } else { U32Node::TERMINAL }, keys) }
    }

    fn link(&mut self) -> U32Node {
        let mut node = U32Node { link: Some(LINKED), ..U32Node::new(0, Vec::new()) };
        if self.one_in(2) {
            node.keys.push(self.u32_key(false));
        }
        match self.rng.u32(..4) {
            0 => {}
            1 => (node.flags, node.offset) = (U32Node::OFFSET | U32Node::EAT, 20),
            2 => (node.flags, node.offset) = (U32Node::OFFSET, 20),
            _ => {
                let eat = if self.one_in(2) { U32Node::EAT } else { 0 };
                node.flags = U32Node::VAROFFSET | eat;
                (node.offset_mask, node.offset_shift) = (0x0f00, 6);
            }
        }
        // The protocol of IPv4, or of IPv6.
        (node.hash_at, node.hash_mask) = if self.one_in(4) { (4, 0x0000_ff00) } else { (8, 0x00ff_0000) };
        if self.one_in(5) {
            node.flags |= U32Node::TERMINAL;
        }
        node
    }

    fn u32_key(&mut self, linked: bool) -> U32Key {
        let key = |offset, mask, value| U32Key { mask, value: value & mask, offset, offset_mask: 0 };
        let last = |mac: MacAddr| mac.to_u64() as u32;
        if linked && self.one_in(2) {
            // A port, wherever the offset has led.
            let offset_mask = if self.one_in(2) { -1 } else { 0 };
            let (offset, value) = if self.one_in(2) { (0, 1000 << 16) } else { (0, 2000) };
            let mask = if value == 2000 { 0x0000_ffff } else { 0xffff_0000 };
            return U32Key { offset_mask, ..key(offset, mask, value) };
        }
        match self.rng.u32(..16) {
            0..=2 => key(-12, u32::MAX, last(self.a_mac())),
            3..=4 => key(-6, u32::MAX, last(self.a_mac())),
            5 => key(-14, 0xffff_ffff, 0x0180_c200),
            6 => {
                let protocol = pick(self.rng, &[0x0800, 0x0806, 0x86dd, 0x8100]).unwrap_or(0x0800);
                key(-2, 0xffff_0000, protocol << 16)
            }
            7 => key(16, u32::MAX, u32::from(guest_ip4(self.rng.usize(..MOST_PORTS)))),
            8 => key(12, u32::MAX, u32::from(guest_ip4(self.rng.usize(..MOST_PORTS)))),
            9 => key(16, 0xffff_ff00, 0x0a00_0000),
            10 => key(8, 0x00ff_0000, pick(self.rng, &[1, 2, 6, 17]).unwrap_or(17) << 16),
            11 => key(4, 0x0000_ffff, self.rng.u32(1..3)),
            12 => key(24, u32::MAX, u32::from(guest_ip4(self.rng.usize(..MOST_PORTS)))),
            13 => key(4, 0x0000_ff00, pick(self.rng, &[17, 58]).unwrap_or(17) << 8),
            14 => key(0, 0x0fff_0000, u32::from(pick(self.rng, &VLANS).unwrap_or(5)) << 16),
            _ => {
                let offset = pick(self.rng, &[-16, 20, 36, 44, 60, 600, 2]).unwrap_or(20);
                key(
                    offset,
                    self.rng.u32(..) & self.rng.u32(..) & self.rng.u32(..),
                    self.rng.u32(..) & self.rng.u32(..),
                )
            }
        }
    }

    fn a_mac(&mut self) -> MacAddr {
        match self.rng.u32(..5) {
            0 => pick(self.rng, self.devices).map_or(MacAddr::ZERO, mac),
            1 => MacAddr::BROADCAST,
            2 => MacAddr::link_local(14),
            _ => guest_mac(self.rng.usize(..MOST_PORTS)),
        }
    }

    fn flower_keys(&mut self, protocol: u16) -> Vec<FlowerKey> {
        let mut keys = Vec::new();
        let mut add = |field, value: &[u8], mask: Option<&[u8]>| {
            let mask = mask.map_or_else(|| vec![0xff; value.len()], <[u8]>::to_vec);
            keys.push(FlowerKey::Field { field, value: Bytes(value.to_vec()), mask: Bytes(mask) });
        };
        if one_in(self.rng, 3) {
            let field = if one_in(self.rng, 2) { FlowerField::EthDst } else { FlowerField::EthSrc };
            let address = self.a_mac();
            let short: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0];
            add(field, &address.0, one_in(self.rng, 3).then_some(short));
        }
        let mut inner = protocol;
        if matches!(protocol, 0x8100 | 0x88a8) {
            if one_in(self.rng, 2) {
                let id = pick(self.rng, &VLANS).unwrap_or(5);
                add(FlowerField::VlanId, &id.to_be_bytes(), Some(&[0x0f, 0xff]));
            }
            if one_in(self.rng, 5) {
                add(FlowerField::VlanPriority, &[self.rng.u8(..8)], Some(&[7]));
            }
            inner = 0;
            if one_in(self.rng, 2) {
                inner = pick(self.rng, &[0x0800, 0x0806, 0x86dd, 0x8100]).unwrap_or(0x0800);
                add(FlowerField::VlanEthType, &inner.to_be_bytes(), None);
            }
            if inner == 0x8100 {
                let id = pick(self.rng, &VLANS).unwrap_or(5);
                if one_in(self.rng, 2) {
                    add(FlowerField::CvlanId, &id.to_be_bytes(), Some(&[0x0f, 0xff]));
                }
                inner = 0;
                if one_in(self.rng, 2) {
                    inner = pick(self.rng, &[0x0800, 0x0806, 0x86dd]).unwrap_or(0x0800);
                    add(FlowerField::CvlanEthType, &inner.to_be_bytes(), None);
                }
            }
        }
        if inner > 0x0600 {
            add(FlowerField::EthType, &inner.to_be_bytes(), None);
        }
        match inner {
            0x0800 => {
                if one_in(self.rng, 4) {
                    let field = if one_in(self.rng, 2) { FlowerField::Ipv4Src } else { FlowerField::Ipv4Dst };
                    let address = guest_ip4(self.rng.usize(..MOST_PORTS)).octets();
                    let short: &[u8] = &[0xff, 0xff, 0xff, 0];
                    add(field, &address, one_in(self.rng, 3).then_some(short));
                }
                self.flower_transport(&mut add, &[1, 6, 17]);
                if one_in(self.rng, 6) {
                    add(FlowerField::IpTtl, &[64], None);
                }
                if one_in(self.rng, 6) {
                    let value = [0, 0, 0, self.rng.u8(..4)];
                    add(FlowerField::Flags, &value, Some(&[0, 0, 0, 3]));
                }
            }
            0x86dd => {
                if one_in(self.rng, 4) {
                    let field = if one_in(self.rng, 2) { FlowerField::Ipv6Src } else { FlowerField::Ipv6Dst };
                    add(field, &guest_ip6(self.rng.usize(..MOST_PORTS)).octets(), None);
                }
                self.flower_transport(&mut add, &[6, 17, 58]);
            }
            0x0806 => {
                if one_in(self.rng, 2) {
                    add(FlowerField::ArpOp, &[self.rng.u8(1..3)], None);
                }
                if one_in(self.rng, 3) {
                    add(FlowerField::ArpSip, &guest_ip4(self.rng.usize(..MOST_PORTS)).octets(), None);
                }
                if one_in(self.rng, 4) {
                    add(FlowerField::ArpSha, &guest_mac(self.rng.usize(..MOST_PORTS)).0, None);
                }
            }
            _ => {}
        }
        if matches!(protocol, 3 | 0x8100) && inner == protocol && one_in(self.rng, 4) {
            add(FlowerField::NumOfVlans, &[self.rng.u8(1..3)], None);
        }
        let ports = keys.iter().any(|key| {
            matches!(key, FlowerKey::Field { field: FlowerField::IpProto, value, .. } if matches!(value.0.first(), Some(6 | 17)))
        });
        if ports && self.one_in(4) {
            keys.push(FlowerKey::PortRange { source: self.one_in(2), from: 900, to: 1500 });
        }
        keys
    }

    fn flower_transport(&mut self, add: Add<'_>, protocols: &[u8]) {
        if one_in(self.rng, 2) {
            return;
        }
        let protocol = pick(self.rng, protocols).unwrap_or(17);
        add(FlowerField::IpProto, &[protocol], None);
        match protocol {
            1 | 58 if one_in(self.rng, 2) => {
                let kind = pick(self.rng, &[8, 128, 135, 134, 0]).unwrap_or(8);
                add(FlowerField::IcmpType, &[kind], None);
            }
            6 if one_in(self.rng, 3) => add(FlowerField::TcpFlags, &[0, 2], Some(&[0, 0x12])),
            6 | 17 if one_in(self.rng, 2) => {
                let (field, port): (_, u16) = if one_in(self.rng, 2) {
                    (FlowerField::PortSrc, 1000)
                } else {
                    (FlowerField::PortDst, pick(self.rng, &[2000, 22]).unwrap_or(22))
                };
                add(field, &port.to_be_bytes(), None);
            }
            _ => {}
        }
    }
}
