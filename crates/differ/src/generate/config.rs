//! Random configurations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use portcullis_kernel::link::{NTF_EXT_LEARNED, NTF_STICKY, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE};
use portcullis_snapshot::{BoolOpt, EtherType, MacAddr, MdbGroup, VlanFlags, VlanId};

use super::{ROUTER4, ROUTER6, VLANS, guest_ip4, guest_ip6, guest_mac, one_in, pick};
use crate::knobs::{BRIDGE_KNOBS, PORT_KNOBS, STATE};
use crate::names::{
    BRIDGE, BRIDGE_MACVLANS, BRIDGE_VLANS, GUESTS, LOWERS, MOST_PORTS, Name, OUTSIDE, PORT_VLAN, PORTS,
    UPLINK, UPLINK_MACVLANS, VRF, mac,
};
use crate::step::{FLAGS, Route, Rule, Step};

/// The table of the VRF.
const VRF_TABLE: u32 = 10;
/// A table that only rules lead to.
const SIDE_TABLE: u8 = 100;

/// What a configuration is made of, while it is made.
struct Making<'r> {
    rng: &'r mut Rng,
    steps: Vec<Step>,
    ports: Vec<Name>,
    /// Every device of the host's that has a stack of its own.
    devices: Vec<Name>,
    /// How much of it is as it is by default.
    sort: Sort,
}

/// How much of a configuration is as it is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Whatever there is may be turned.
    Anything,
    /// The same, but no random rules; the first port is a plain cable or tap.
    NoRules,
    /// What is rare is rarer still, too.
    Calm,
}

/// Makes the steps of a configuration.
pub(super) fn steps(rng: &mut Rng, sort: Sort) -> Vec<Step> {
    let mut making = Making { rng, steps: Vec::new(), ports: Vec::new(), devices: vec![BRIDGE], sort };
    making.steps.push(Step::Bridge(BRIDGE));
    making.ports();
    making.beside_the_bridge();
    making.upper_devices();
    making.bridge_options();
    making.port_options();
    making.vlans();
    making.turn_on();
    making.databases();
    making.addresses();
    making.routing();
    making.settings();
    making.firewall();
    making.steps
}

impl Making<'_> {
    fn one_in(&mut self, count: u32) -> bool {
        let rarer = if self.sort == Sort::Calm && count > 2 { 4 * count } else { count };
        one_in(self.rng, rarer)
    }

    fn a_port(&mut self) -> Name {
        pick(self.rng, &self.ports).unwrap_or(BRIDGE)
    }

    fn a_device(&mut self) -> Name {
        pick(self.rng, &self.devices).unwrap_or(BRIDGE)
    }

    fn a_vlan(&mut self) -> Option<VlanId> {
        pick(self.rng, &VLANS).and_then(VlanId::new)
    }

    /// After everything that it may name.
    fn firewall(&mut self) {
        if self.sort == Sort::Anything && self.one_in(2) {
            let rules = super::firewall::steps(self.rng, &self.ports);
            self.steps.extend(rules);
        }
        if self.sort == Sort::Anything && self.one_in(2) {
            let rules = super::tools::steps(self.rng, &self.ports);
            self.steps.extend(rules);
        }
        if self.sort == Sort::Anything && self.one_in(3) {
            let filters = super::traffic::steps(self.rng, &self.ports, &self.devices);
            self.steps.extend(filters);
        }
    }

    fn ports(&mut self) {
        let count = self.rng.usize(2..=MOST_PORTS);
        for ((port, lower), far) in PORTS.into_iter().zip(LOWERS).zip(GUESTS).take(count) {
            let plain = self.sort != Sort::Anything && port == PORTS[0];
            match self.rng.u32(..if plain { 14 } else { 20 }) {
                0..=10 => self.steps.push(Step::Cable { near: port, far }),
                11..=13 => self.steps.push(Step::Tap(port)),
                14..=15 => {
                    self.steps.push(Step::Cable { near: lower, far });
                    let mode = pick(self.rng, &[1, 2, 4, 8]).unwrap_or(4);
                    self.steps.push(Step::Macvlan { name: port, lower, mode });
                }
                16..=17 => {
                    self.steps.push(Step::Cable { near: lower, far });
                    let tpid = if self.one_in(4) { EtherType::SVLAN } else { EtherType::VLAN };
                    self.steps.push(Step::Vlan { name: port, lower, tpid, id: 5 });
                }
                _ => {
                    self.steps.push(Step::Cable { near: lower, far });
                    self.steps.push(Step::Bond(port));
                    self.steps.push(Step::Master { device: lower, master: port });
                }
            }
            self.steps.push(Step::Master { device: port, master: BRIDGE });
            self.ports.push(port);
            self.devices.push(port);
        }
    }

    fn beside_the_bridge(&mut self) {
        if !self.one_in(3) {
            self.steps.push(Step::Cable { near: UPLINK, far: OUTSIDE });
            self.devices.push(UPLINK);
        }
        if self.one_in(8) {
            self.steps.push(Step::Vrf { name: VRF, table: VRF_TABLE });
            let device = if self.one_in(3) { UPLINK } else { BRIDGE };
            self.steps.push(Step::Master { device, master: VRF });
        }
    }

    fn upper_devices(&mut self) {
        for name in BRIDGE_VLANS {
            if self.one_in(4) {
                let tpid = if self.one_in(4) { EtherType::SVLAN } else { EtherType::VLAN };
                let id = pick(self.rng, &VLANS).unwrap_or(5);
                self.steps.push(Step::Vlan { name, lower: BRIDGE, tpid, id });
                self.devices.push(name);
            }
        }
        if self.one_in(8) {
            let (lower, id) = (self.a_port(), pick(self.rng, &VLANS).unwrap_or(5));
            self.steps.push(Step::Vlan { name: PORT_VLAN, lower, tpid: EtherType::VLAN, id });
            self.devices.push(PORT_VLAN);
        }
        for (names, lower, rarity) in [(BRIDGE_MACVLANS, BRIDGE, 10), (UPLINK_MACVLANS, UPLINK, 12)] {
            for name in names {
                if self.one_in(rarity) {
                    let mode = pick(self.rng, &[1, 2, 4, 8]).unwrap_or(4);
                    self.steps.push(Step::Macvlan { name, lower, mode });
                    self.devices.push(name);
                }
            }
        }
    }

    fn bridge_options(&mut self) {
        let bridge = BRIDGE;
        for knob in BRIDGE_KNOBS {
            if self.one_in(knob.rarity) {
                let value = pick(self.rng, knob.values).unwrap_or(0);
                self.steps.push(Step::BridgeOption { bridge, knob, value });
            }
        }
        let options = [
            (BoolOpt::NoLinkLocalLearn, 6),
            (BoolOpt::McastVlanSnooping, 40),
            (BoolOpt::MstEnable, 12),
            (BoolOpt::FdbLocalVlan0, 8),
        ];
        for (option, rarity) in options {
            if self.one_in(rarity) {
                self.steps.push(Step::BoolOption { bridge, option });
            }
        }
        for (device, rarity) in [(BRIDGE, 8), (UPLINK, 20)] {
            if self.one_in(rarity) {
                let flag = pick(self.rng, &FLAGS).map_or(0, |(flag, _)| flag);
                self.steps.push(Step::Flag { device, flag });
            }
        }
    }

    fn port_options(&mut self) {
        for port in self.ports.clone() {
            // What is sent to such a port's own address comes straight back in by it: with hairpin, for ever.
            let comes_back = self
                .steps
                .iter()
                .any(|step| matches!(step, Step::Macvlan { name, mode: 4, .. } if *name == port));
            for knob in PORT_KNOBS {
                if self.one_in(knob.rarity) {
                    let value = pick(self.rng, knob.values).unwrap_or(0);
                    if comes_back && knob.keyword == "hairpin" {
                        continue;
                    }
                    self.steps.push(Step::PortOption { port, knob, value });
                }
            }
            if self.one_in(STATE.rarity) {
                // A tap's carrier is seen to a second later, which would turn a disabled one on again.
                let tap = self.steps.iter().any(|step| matches!(step, Step::Tap(name) if *name == port));
                let value = pick(self.rng, STATE.values).filter(|value| *value != 0 || !tap).unwrap_or(2);
                self.steps.push(Step::PortOption { port, knob: &STATE, value });
            }
            if self.one_in(16) {
                let backup = self.a_port();
                self.steps.push(Step::BackupPort { port, backup });
            }
            if self.one_in(20) {
                self.steps.push(Step::Flag { device: port, flag: FLAGS[2].0 });
            }
            if self.one_in(16) {
                self.steps.push(Step::Mtu { device: port, mtu: 600 });
            }
        }
    }

    fn vlans(&mut self) {
        let devices: Vec<Name> = self.ports.iter().copied().chain([BRIDGE]).collect();
        for device in devices {
            for id in VLANS.into_iter().filter_map(VlanId::new) {
                let flags = match self.rng.u32(..8) {
                    0 => Some(0),
                    1 => Some(VlanFlags::UNTAGGED),
                    2 => Some(VlanFlags::PVID),
                    3 => Some(VlanFlags::PVID | VlanFlags::UNTAGGED),
                    4 if id.get() == 1 => None,
                    _ => continue,
                };
                self.steps.push(Step::Member { device, id, flags });
                if self.one_in(8) {
                    let state = pick(self.rng, &[0, 1, 2, 4]).unwrap_or(0);
                    self.steps.push(Step::VlanState { device, id, state });
                }
            }
        }
    }

    fn turn_on(&mut self) {
        let made: Vec<Name> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Cable { near, .. } => Some(*near),
                Step::Tap(name) | Step::Bridge(name) | Step::Bond(name) => Some(*name),
                Step::Vlan { name, .. } | Step::Macvlan { name, .. } | Step::Vrf { name, .. } => Some(*name),
                _ => None,
            })
            .collect();
        let far: Vec<Name> = self
            .steps
            .iter()
            .filter_map(|step| if let Step::Cable { far, .. } = step { Some(*far) } else { None })
            .collect();
        for name in far {
            // Now and then a cable whose other end is off: no carrier.
            if !self.one_in(30) {
                self.steps.push(Step::Up(name));
            }
        }
        for name in made {
            if !self.one_in(30) {
                self.steps.push(Step::Up(name));
            }
        }
    }

    fn databases(&mut self) {
        // A bridge that keeps nothing clears its table every now and then, whenever it gets to it (br_fdb_cleanup).
        let forgetful = self.steps.iter().any(
            |step| matches!(step, Step::BridgeOption { knob, value: 0, .. } if knob.keyword == "ageing_time"),
        );
        for _ in 0..self.rng.usize(..5) {
            let device = if self.one_in(5) { BRIDGE } else { self.a_port() };
            let address = self.an_entry_address();
            let vlan = if self.one_in(2) { None } else { self.a_vlan() };
            let (state, flags) = match self.rng.u32(..8) {
                0 | 1 => (NUD_PERMANENT, 0),
                2 | 3 => (NUD_NOARP, 0),
                4 => (NUD_NOARP, NTF_STICKY),
                5 => (NUD_REACHABLE, NTF_EXT_LEARNED),
                _ if forgetful => (NUD_NOARP, 0),
                _ => (NUD_REACHABLE, 0),
            };
            self.steps.push(Step::Fdb { device, address, vlan, state, flags });
        }
        for _ in 0..self.rng.usize(..3) {
            let port = if self.one_in(4) { BRIDGE } else { self.a_port() };
            let group = match self.rng.u32(..4) {
                0 => MdbGroup::Ipv4(Ipv4Addr::new(239, 1, 1, 1)),
                1 => MdbGroup::Ipv6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 1)),
                _ => MdbGroup::Mac(MacAddr([0x01, 0, 0x5e, 0x7f, 1, 1])),
            };
            let vlan = if self.one_in(2) { None } else { self.a_vlan() };
            self.steps.push(Step::Mdb { bridge: BRIDGE, port, group, vlan });
        }
        for number in 0..self.ports.len() {
            if self.one_in(3) {
                let (address, mac) = (guest_ip4(number).into(), guest_mac(number));
                self.steps.push(Step::Neighbour { device: BRIDGE, address, mac });
            }
            if self.one_in(6) {
                let (address, mac) = (guest_ip6(number).into(), guest_mac(number));
                self.steps.push(Step::Neighbour { device: BRIDGE, address, mac });
            }
        }
    }

    /// An address that an FDB entry may be about.
    fn an_entry_address(&mut self) -> MacAddr {
        match self.rng.u32(..6) {
            0 => mac(self.a_device()),
            1 => MacAddr([0x02, 0, 0, 0, 0x30, 1]),
            _ => guest_mac(self.rng.usize(..MOST_PORTS)),
        }
    }

    fn addresses(&mut self) {
        let v4 = |third| IpAddr::from(Ipv4Addr::new(10, third, 0, 1));
        let v6 = |fourth| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, fourth, 0, 0, 0, 1));
        let give = |this: &mut Self, device, address: IpAddr, rarity| {
            if this.devices.contains(&device) && this.one_in(rarity) {
                let prefix = if address.is_ipv4() { 24 } else { 64 };
                this.steps.push(Step::Address { device, address, prefix });
            }
        };
        give(self, BRIDGE, v4(0), 2);
        give(self, BRIDGE, v6(0), 2);
        give(self, UPLINK, Ipv4Addr::new(192, 0, 2, 1).into(), 1);
        give(self, UPLINK, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 1);
        for (at, device) in BRIDGE_VLANS.into_iter().chain([PORT_VLAN]).enumerate() {
            give(self, device, v4(5 + at as u8), 2);
            give(self, device, v6(5 + at as u16), 2);
        }
        for (at, device) in BRIDGE_MACVLANS.into_iter().chain(UPLINK_MACVLANS).enumerate() {
            give(self, device, v4(20 + at as u8), 2);
        }
        let port = self.a_port();
        give(self, port, v4(40), 10);
        give(self, port, v6(40), 10);
    }

    fn routing(&mut self) {
        let main = 254;
        let route = |to: IpAddr, prefix, kind, via: Option<IpAddr>, device| {
            Step::Route(Route { to, prefix, kind, via, device, table: main })
        };
        let any4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let any6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        if self.one_in(2) {
            self.steps.push(route(any4, 0, 1, Some(ROUTER4.into()), Some(UPLINK)));
            self.steps.push(route(any6, 0, 1, Some(ROUTER6.into()), Some(UPLINK)));
            self.steps.push(Step::Neighbour { device: UPLINK, address: ROUTER4.into(), mac: mac(OUTSIDE) });
            self.steps.push(Step::Neighbour { device: UPLINK, address: ROUTER6.into(), mac: mac(OUTSIDE) });
        }
        for _ in 0..self.rng.usize(..3) {
            // Blackhole, unreachable, prohibit, throw; or a route by a device.
            let kind = pick(self.rng, &[6, 7, 8, 9, 1]).unwrap_or(6);
            let (to, prefix) = match self.rng.u32(..4) {
                0 => (Ipv4Addr::new(10, 0, 0, 12).into(), 32),
                1 => (Ipv4Addr::new(198, 51, 100, 0).into(), 24),
                2 => (guest_ip6(1).into(), 128),
                _ => (Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0).into(), 48),
            };
            let device = (kind == 1).then(|| self.a_device());
            self.steps.push(route(to, prefix, kind, None, device));
        }
        for _ in 0..self.rng.usize(..3) {
            let ipv6 = self.one_in(2);
            let iif = if self.one_in(4) { None } else { Some(self.a_device()) };
            let action = pick(self.rng, &[1, 1, 6, 7, 8]).unwrap_or(1);
            let table = if action == 1 { SIDE_TABLE } else { 0 };
            let priority = self.rng.u32(50..60);
            if self.one_in(2) {
                self.steps.push(Step::LocalRuleLast { ipv6 });
            }
            if action == 1 {
                let to = if ipv6 { any6 } else { any4 };
                let kind = pick(self.rng, &[6, 7, 8, 9]).unwrap_or(6);
                self.steps.push(Step::Route(Route { to, prefix: 0, kind, via: None, device: None, table }));
            }
            self.steps.push(Step::Rule(Rule { ipv6, priority, action, table, iif }));
        }
    }

    fn settings(&mut self) {
        // `all` writes through to every device for some, so it comes first.
        let everywhere = ["all"].into_iter().chain(self.devices.clone());
        for device in everywhere {
            for (family, setting, values, rarity) in SETTINGS {
                if self.one_in(*rarity) {
                    let value = pick(self.rng, values).unwrap_or(0);
                    self.steps.push(Step::Sysctl { family, device: Some(device), setting, value });
                }
            }
        }
        for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-filter-vlan-tagged"]
        {
            if self.one_in(3) {
                let value = self.rng.u32(..2);
                self.steps.push(Step::Sysctl { family: "bridge", device: None, setting, value });
            }
        }
    }
}

/// Settings of devices: family, name, values, one device in so many.
type Setting = (&'static str, &'static str, &'static [u32], u32);
const SETTINGS: &[Setting] = &[
    ("ipv4", "forwarding", &[0, 1], 3),
    ("ipv4", "rp_filter", &[0, 1, 2], 4),
    ("ipv4", "arp_ignore", &[1, 2, 3, 8], 10),
    ("ipv4", "arp_filter", &[1], 12),
    ("ipv4", "arp_accept", &[1], 12),
    ("ipv4", "accept_local", &[1], 12),
    ("ipv4", "route_localnet", &[1], 12),
    ("ipv4", "proxy_arp", &[1], 10),
    ("ipv4", "proxy_arp_pvlan", &[1], 12),
    ("ipv4", "send_redirects", &[0], 6),
    ("ipv4", "drop_unicast_in_l2_multicast", &[1], 8),
    ("ipv4", "drop_gratuitous_arp", &[1], 12),
    ("ipv6", "forwarding", &[0, 1], 4),
    ("ipv6", "disable_ipv6", &[1], 12),
    ("ipv6", "accept_ra", &[0, 2], 5),
    ("ipv6", "accept_ra_defrtr", &[0], 10),
    ("ipv6", "accept_ra_pinfo", &[0], 10),
    ("ipv6", "accept_redirects", &[0], 10),
    ("ipv6", "drop_unicast_in_l2_multicast", &[1], 8),
];
