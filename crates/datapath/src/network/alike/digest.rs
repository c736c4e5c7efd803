//! The rules that are for one device, with its own constants left open.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use portcullis_snapshot::{IfIndex, MacAddr, Neighbour};

use super::owners::{Masked, Owner, Owners, Place, group_octets, parts, without_name};
use super::xt::octets;
use crate::network::{AtHook, Datum, Expr, FdbDst, HookFunction, Network, Verdict};

/// `NUD_*`, `NTF_*`, as far as a walk goes by them: an entry is valid, or not to be changed by what is heard, or a proxy.
const NUD_VALID: u16 = 0xde;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 8;

/// No sane ruleset jumps deeper (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// An FDB entry that is neither static nor sticky nor locked.
const LEARNED: [bool; 3] = [false; 3];

/// What devices' own rules come to.
pub(super) struct Digests<'n, 's> {
    network: &'n Network<'s>,
    owners: &'n Owners<'n, 's>,
    /// Addresses that the host has, or has a route to: no constant that is one of them is left open.
    macs: HashSet<MacAddr>,
    ips: HashSet<IpAddr>,
    /// What the host knows of its neighbours, by their addresses of either kind.
    by_ip: HashMap<IpAddr, Vec<&'n Neighbour>>,
    by_mac: HashMap<MacAddr, Vec<&'n Neighbour>>,
    /// The networks that routes and policy rules tell apart.
    nets: Vec<IpNet>,
    /// What stands out among addresses, by length: constants of rules, what the host has or knows, where networks begin. Empty
    /// if no device has a network of its own.
    points: HashMap<usize, BTreeSet<Vec<u8>>>,
    /// The chains of several devices, with the numbers of what they come to: one chain takes so many devices only.
    shared: RefCell<HashMap<(usize, usize), usize>>,
    contents: RefCell<HashMap<Vec<u8>, usize>>,
}

impl<'n, 's> Digests<'n, 's> {
    pub(super) fn new(network: &'n Network<'s>, owners: &'n Owners<'n, 's>) -> Self {
        let netns = network.netns();
        let macs = netns.links.known().iter().filter_map(|link| link.address).collect();
        let mut ips: HashSet<_> =
            netns.addresses.known().iter().map(|address| address.address.addr()).collect();
        let mut by_ip: HashMap<_, Vec<_>> = HashMap::new();
        let mut by_mac: HashMap<_, Vec<_>> = HashMap::new();
        for neighbour in netns.neighbours.known() {
            by_ip.entry(neighbour.address).or_default().push(neighbour);
            if let Some(mac) = neighbour.mac {
                by_mac.entry(mac).or_default().push(neighbour);
            }
        }
        by_mac.values_mut().for_each(|of| of.sort_by_key(|neighbour| (neighbour.device, neighbour.address)));
        let routes = netns.routes.known().iter().flat_map(|route| [Some(route.destination), route.source]);
        let rules = netns.rules.known().iter().flat_map(|rule| [rule.source, rule.destination]);
        let several = |net: &IpNet| net.prefix_len() < net.max_prefix_len();
        let (mut nets, single): (Vec<_>, Vec<_>) = routes.chain(rules).flatten().partition(several);
        ips.extend(single.iter().map(IpNet::addr));
        nets.sort_unstable();
        nets.dedup();
        let (shared, contents) = Default::default();
        let mut this = Self {
            network,
            owners,
            macs,
            ips,
            by_ip,
            by_mac,
            nets,
            points: HashMap::new(),
            shared,
            contents,
        };
        if owners.masked.iter().any(|masked| masked.of != Owner::Shared) {
            this.points = this.points();
        }
        this
    }

    fn points(&self) -> HashMap<usize, BTreeSet<Vec<u8>>> {
        let known = self.ips.iter().chain(self.by_ip.keys()).map(|ip| octets(*ip));
        let nets = self.nets.iter().map(|net| octets(net.network()));
        let rules = self.owners.constants().cloned();
        let masked = self.owners.masked.iter().map(|masked| masked.left.clone());
        let bounds = self.owners.bounds.iter().flat_map(|(from, to)| [from.clone(), to.clone()]);
        let mut points: HashMap<usize, BTreeSet<Vec<u8>>> = HashMap::new();
        for point in known.chain(nets).chain(rules).chain(masked).chain(bounds) {
            points.entry(point.len()).or_default().insert(point);
        }
        points
    }

    /// Whether all addresses of a device's own network are like each other, and like those of other such networks: it is an
    /// ordinary one, and nothing in it stands out but what is the device's own.
    fn is_plain(&self, masked: &Masked, device: IfIndex) -> bool {
        let Masked { mask, left, .. } = masked;
        let ordinary = match (left.as_slice(), mask.as_slice()) {
            ([first, ..], [0xff, _, _, _]) => (1..224).contains(first) && *first != 127,
            ([first, ..], [0xff, 0xff, rest @ ..]) if rest.len() == 14 => {
                (0x20..0x40).contains(first) || first & 0xfe == 0xfc
            }
            _ => false,
        };
        let ones = mask.iter().map(|byte| byte.leading_ones()).take_while(|ones| *ones > 0).sum::<u32>();
        let is_prefix = ones == mask.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let last: Vec<u8> = left.iter().zip(mask).map(|(left, mask)| left | !mask).collect();
        let Some(points) = self.points.get(&left.len()) else { return false };
        let mut inside = points.range(left.clone()..=last);
        ordinary && is_prefix && inside.all(|point| self.owners.is_own(point, device))
    }

    /// Returns what a device's own rules come to; the same for two devices if one's are the other's but for constants that
    /// nothing else tells apart. These come with it, in the order in which they were met.
    pub(super) fn of(&self, device: IfIndex) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut digest = Digest { of: self, device, out: Vec::new(), open: HashMap::new() };
        let hooks = self.network.hooks();
        digest.at_device(hooks.ingress(device));
        digest.at_device(hooks.egress(device));
        self.owners.places(device).iter().for_each(|place| digest.place(place));
        digest.addresses();
        let mut constants: Vec<_> = digest.open.into_iter().collect();
        constants.sort_unstable_by_key(|(_, number)| *number);
        (digest.out, constants.into_iter().map(|(constant, _)| constant).collect())
    }
}

impl<'n> Digests<'n, '_> {
    /// Returns the number of what a chain of several devices comes to.
    fn shared(&self, table: usize, chain: usize, depth: usize) -> usize {
        if let Some(known) = self.shared.borrow().get(&(table, chain)) {
            return *known;
        }
        // Chains that lead back to themselves, which no kernel has, are not gone round.
        self.shared.borrow_mut().insert((table, chain), usize::MAX);
        // Of no device: nothing in it is left open.
        let mut digest = Digest { of: self, device: IfIndex(0), out: Vec::new(), open: HashMap::new() };
        digest.rules(table, chain, depth);
        let mut contents = self.contents.borrow_mut();
        let next = contents.len();
        let number = *contents.entry(digest.out).or_insert(next);
        self.shared.borrow_mut().insert((table, chain), number);
        number
    }
}

struct Digest<'d, 'n, 's> {
    of: &'d Digests<'n, 's>,
    device: IfIndex,
    out: Vec<u8>,
    /// The constants that were left open, in the order in which they came.
    open: HashMap<Vec<u8>, usize>,
}

impl<'n> Digest<'_, 'n, '_> {
    fn number(&mut self, number: usize) {
        self.out.extend((number as u32).to_ne_bytes());
    }

    fn text(&mut self, text: &dyn std::fmt::Debug) {
        self.out.extend(format!("{text:?}").into_bytes());
        self.out.push(0);
    }

    fn at_device(&mut self, functions: &[AtHook]) {
        for AtHook { priority, function } in functions {
            self.out.extend(priority.to_ne_bytes());
            match function {
                HookFunction::Open(kind) => self.text(kind),
                HookFunction::Nft { table, chain, policy_drop, .. } => {
                    self.out.push((*policy_drop).into());
                    self.chain(*table, *chain, 0);
                }
                HookFunction::Xt { table, chain } => {
                    self.number(*table);
                    self.number(*chain);
                }
            }
        }
        self.out.push(b'|');
    }

    /// The device's own address and those behind it, where rules of others name them or tell them apart.
    fn addresses(&mut self) {
        let of = self.of;
        if let Some(link) = of.network.link(self.device) {
            let owner =
                of.owners.bridge_of(link).filter(|bridge| bridge.address == link.address).unwrap_or(link);
            let named = link.address.filter(|address| !of.owners.is_own(&address.0, owner.index));
            self.out.extend(named.iter().flat_map(|address| address.0));
        }
        // How many addresses were learned alike does not matter: what holds for one holds for each.
        let mut learned = HashSet::new();
        for (vid, sort, address) in of.owners.behind(self.device) {
            let met = self.open.contains_key(&address.0[..]);
            if *sort == LEARNED && !met && !learned.insert((*vid, self.alone(&address.0))) {
                continue;
            }
            self.number((*vid).into());
            self.out.extend(sort.map(u8::from));
            self.constant(&address.0);
        }
        for (vid, group) in of.owners.groups(self.device) {
            self.number((*vid).into());
            self.text(&discriminant(group));
            group_octets(*group).iter().for_each(|part| self.constant(part));
        }
    }

    fn place(&mut self, place: &Place) {
        match *place {
            Place::Rule { table, chain, at, before, out } => {
                let ruleset = self.of.network.hooks().ruleset(table);
                let rule = ruleset.and_then(|ruleset| ruleset.chains.get(chain)?.rules.get(at));
                [table, chain, before, out.into()].into_iter().for_each(|number| self.number(number));
                // The first two are its guard.
                for expression in rule.into_iter().flat_map(|rule| rule.expressions.iter().skip(2)) {
                    self.expression(table, expression, 0);
                }
            }
            Place::Element { table, set, at } => {
                let ruleset = self.of.network.hooks().ruleset(table);
                let element = ruleset.and_then(|ruleset| ruleset.sets.get(set)?.ranges.get(at));
                self.number(table);
                self.number(set);
                if let Some(element) = element {
                    let key = without_name(&element.from, Some(self.device));
                    self.constant(key);
                    self.datum(table, element.data, 0);
                }
            }
        }
        self.out.push(b';');
    }

    fn chain(&mut self, table: usize, chain: usize, depth: usize) {
        if depth > DEEPEST {
            self.out.push(b'!');
            self.number(table);
            return self.number(chain);
        }
        if self.of.owners.chain(table, chain) != Owner::One(self.device) {
            self.out.push(b'#');
            return self.number(self.of.shared(table, chain, depth));
        }
        self.rules(table, chain, depth);
    }

    fn rules(&mut self, table: usize, chain: usize, depth: usize) {
        let ruleset = self.of.network.hooks().ruleset(table);
        self.out.push(b'{');
        for rule in ruleset.and_then(|ruleset| ruleset.chains.get(chain)).into_iter().flat_map(|c| &c.rules) {
            rule.expressions.iter().for_each(|expression| self.expression(table, expression, depth));
            self.out.push(b'.');
        }
        self.out.push(b'}');
    }

    fn expression(&mut self, table: usize, expression: &'n Expr<'_>, depth: usize) {
        match *expression {
            Expr::Payload { base, offset, len, dreg } => {
                self.out.push(b'p');
                self.text(&base);
                [offset, len, dreg.into()].into_iter().for_each(|number| self.number(number));
            }
            Expr::Meta { key, dreg } => {
                self.out.push(b'm');
                self.text(&key);
                self.number(dreg.into());
            }
            Expr::Cmp { sreg, op, data } => {
                self.out.push(b'c');
                self.out.push(op as u8);
                self.number(sreg.into());
                self.constant(data);
            }
            Expr::Immediate { dreg, data } => {
                self.out.push(b'i');
                self.number(dreg.into());
                self.constant(data);
            }
            Expr::Verdict(verdict) => self.verdict(table, verdict, depth),
            Expr::Lookup { set, sreg, dreg, inverted } => {
                self.out.push(b'l');
                [sreg.into(), dreg.map_or(255, usize::from), inverted.into()]
                    .into_iter()
                    .for_each(|number| self.number(number));
                self.set(table, set, depth);
            }
            ref other => self.text(other),
        }
    }

    fn verdict(&mut self, table: usize, verdict: Verdict<'_>, depth: usize) {
        match verdict {
            Verdict::Jump(to) => {
                self.out.push(b'J');
                self.chain(table, to, depth + 1);
            }
            Verdict::Goto(to) => {
                self.out.push(b'G');
                self.chain(table, to, depth + 1);
            }
            other => self.text(&other),
        }
    }

    fn datum(&mut self, table: usize, datum: Datum<'n>, depth: usize) {
        match datum {
            Datum::Nothing => self.out.push(b'n'),
            Datum::Open => self.out.push(b'o'),
            Datum::Value(value) => self.constant(value),
            Datum::Verdict(verdict) => self.verdict(table, verdict, depth),
        }
    }

    fn set(&mut self, table: usize, set: usize, depth: usize) {
        let elements = self.of.network.hooks().ruleset(table).and_then(|ruleset| ruleset.sets.get(set));
        let (Owner::One(_), Some(elements)) = (self.of.owners.set(table, set), elements) else {
            self.out.push(b'#');
            self.number(table);
            return self.number(set);
        };
        self.text(&(elements.set.flags, elements.set.key_len, &elements.set.concat));
        for range in &elements.ranges {
            let named = self.of.owners.named(&range.from);
            if range.from == range.to {
                self.out.push(if named == Some(self.device) { b'N' } else { b'-' });
                self.constant(without_name(&range.from, named.filter(|named| *named == self.device)));
            } else {
                self.out.extend(&range.from);
                self.out.extend(&range.to);
            }
            self.datum(table, range.data, depth);
        }
        match elements.catchall {
            Some(datum) => self.datum(table, datum, depth),
            None => self.out.push(b'-'),
        }
    }

    /// What a constant would come to if it were the first.
    fn alone(&self, constant: &[u8]) -> Vec<u8> {
        let mut digest = Digest { of: self.of, device: self.device, out: Vec::new(), open: HashMap::new() };
        digest.constant(constant);
        digest.out
    }

    /// A constant: left open if it is the device's own, and nothing tells it apart from another.
    fn constant(&mut self, constant: &[u8]) {
        self.number(constant.len());
        if self.of.owners.named(constant) == Some(self.device) {
            return self.out.push(b'S');
        }
        if !self.of.owners.is_own(constant, self.device) || self.is_known(constant) {
            return self.out.extend(constant);
        }
        let next = self.open.len();
        let number = *self.open.entry(constant.to_vec()).or_insert(next);
        self.out.push(b'?');
        self.number(number);
        if number == next {
            self.profile(constant);
        }
    }

    /// Whether the host has it, or knows it as that of a neighbour who is not known to be behind this device.
    fn is_known(&self, constant: &[u8]) -> bool {
        let of = self.of;
        let elsewhere =
            |neighbour: &&Neighbour| neighbour.mac.is_none_or(|mac| !of.owners.is_own(&mac.0, self.device));
        let others = |ip| of.by_ip.get(&ip).is_some_and(|all| all.iter().any(elsewhere));
        mac(constant).is_some_and(|mac| of.macs.contains(&mac))
            || ip(constant).is_some_and(|ip| of.ips.contains(&ip) || others(ip))
    }

    /// What the host knows of neighbours.
    fn neighbours(&mut self, all: &[&Neighbour]) {
        let master = self.of.network.link(self.device).and_then(|link| link.master);
        self.number(all.len());
        for neighbour in all {
            let Neighbour { device, address, mac, state, flags } = neighbour;
            let device = Some(*device).filter(|device| Some(*device) != master);
            self.text(&(
                device,
                state & NUD_VALID != 0,
                state & (NUD_NOARP | NUD_PERMANENT),
                flags & NTF_PROXY,
            ));
            self.constant(&octets(*address));
            self.constant(mac.as_ref().map_or(&[], |mac| &mac.0));
        }
    }

    /// What others tell of it: in which of their networks, masks and bounds it lies, and who their neighbours are. Where it
    /// is several things one behind the other, the same of each.
    fn profile(&mut self, constant: &[u8]) {
        let of = self.of;
        if mac(constant).is_none() && ip(constant).is_none() {
            parts(constant).for_each(|part| self.constant(part));
        }
        if let Some(mac) = mac(constant) {
            self.neighbours(of.by_mac.get(&mac).map_or(&[], Vec::as_slice));
            self.out.push(mac.is_multicast().into());
            let master = of.network.link(self.device).and_then(|link| link.master);
            for bridge in of.network.bridges() {
                for (vid, record) in bridge.fdb.of_address(mac) {
                    let own = record.dst == FdbDst::Port(self.device) && Some(bridge.link.index) == master;
                    if own {
                        self.text(&(vid, record.is_static, record.sticky, record.locked));
                    } else {
                        self.text(&(bridge.link.index, record));
                    }
                }
            }
        }
        if let Some(ip) = ip(constant) {
            self.neighbours(of.by_ip.get(&ip).map_or(&[], Vec::as_slice));
            let sort = match ip {
                IpAddr::V4(ip) => {
                    [ip.is_loopback(), ip.is_multicast(), ip.is_broadcast(), ip.octets()[0] == 0]
                }
                IpAddr::V6(ip) => {
                    [ip.is_loopback(), ip.is_multicast(), ip.is_unicast_link_local(), ip.is_unspecified()]
                }
            };
            self.out.extend(sort.map(u8::from));
            let within: Vec<_> = of.nets.iter().map(|net| u8::from(net.contains(&ip))).collect();
            self.out.extend(within);
        }
        for masked in &of.owners.masked {
            let Some(holds) = masked.holds(constant) else { continue };
            match masked.of {
                Owner::Shared => self.out.push(holds.into()),
                // Rules that are one device's are about nobody else, as a rule.
                Owner::One(_) if !holds => {}
                Owner::One(device) => {
                    self.out.extend(&masked.mask);
                    let is_its_own =
                        device == self.device && masked.left == constant && of.is_plain(masked, device);
                    self.out.extend(if is_its_own { b"=" } else { masked.left.as_slice() });
                }
            }
        }
        for mask in of.owners.masks.iter().filter(|mask| mask.len() == constant.len()) {
            self.out.extend(constant.iter().zip(mask).map(|(byte, mask)| byte & mask));
        }
        for (from, to) in of.owners.bounds.iter().filter(|(from, _)| from.len() == constant.len()) {
            self.out.push(u8::from(from.as_slice() <= constant) << 1 | u8::from(constant <= to.as_slice()));
        }
    }
}

fn mac(constant: &[u8]) -> Option<MacAddr> {
    // A register's last word is filled up with zeros.
    let bytes = match constant {
        [bytes @ .., 0, 0] if bytes.len() == 6 => bytes,
        bytes => bytes,
    };
    Some(MacAddr(<[u8; 6]>::try_from(bytes).ok()?))
}

fn ip(constant: &[u8]) -> Option<IpAddr> {
    match constant.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(constant).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(constant).ok()?).into()),
        _ => None,
    }
}
