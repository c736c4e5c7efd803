//! A kernel in memory that refuses, or a process that stops, at a place of choice.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use portcullis_plan::{BridgeOption, Change, ConfAt, Device, PortOption, State};
use portcullis_snapshot::{
    BridgeOptions, EtherType, Filters, IfIndex, Ipv4Conf, Ipv6Conf, Link, LinkFlags, LinkKind, MacAddr, Mdb,
    Netns, NetnsId, PortKind, PortOptions, Reading, Settings, TcAction, TcActionKind, TcClassifier, TcFilter,
    TcHook, TcHookKind, TcVerdict, VlanEntry, VlanFlags, VlanId, VlanTable,
};

use crate::{Error, Host, Place, Standing};
use portcullis_plan::local_rule;

/// What happens at the place of choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The kernel refuses, or the disk is full, for good.
    Refuse,
    /// The process stops before it.
    StopBefore,
    /// The process stops in the middle of it.
    StopWithin,
    /// The process stops after it.
    StopAfter,
}

/// The process stopped.
pub(crate) struct Stopped;

fn stop() -> ! {
    // Not by panic!, whose message would fill the output.
    resume_unwind(Box::new(Stopped))
}

/// Does something in a process that may stop: then `None`, and nothing but the kernel and the disk is left.
pub(crate) fn process<T>(work: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    Fault::none();
    match result {
        Ok(value) => Some(value),
        Err(cause) if cause.is::<Stopped>() => None,
        Err(cause) => resume_unwind(cause),
    }
}

/// The write is under way after which the process stops.
const STRUCK: usize = usize::MAX;

thread_local! {
    static FAULT: Cell<Option<(usize, Blow)>> = const { Cell::new(None) };
}

/// What happens when journals are written, in this thread.
pub(crate) struct Fault;

impl Fault {
    /// At the write of this number, from 0.
    pub(crate) fn at(number: usize, blow: Blow) {
        FAULT.set(Some((number, blow)));
    }

    pub(crate) fn none() {
        FAULT.set(None);
    }

    /// Whether it has not come yet.
    pub(crate) fn is_pending() -> bool {
        FAULT.get().is_some()
    }

    pub(crate) fn strike(file: &mut File, line: &[u8]) -> std::io::Result<()> {
        let half = &line[..line.len() / 2];
        match FAULT.get() {
            Some((0, Blow::Refuse)) => {
                file.write_all(half)?;
                Err(std::io::Error::from_raw_os_error(28))
            }
            Some((0, Blow::StopBefore)) => stop(),
            Some((0, Blow::StopWithin)) => {
                file.write_all(half)?;
                stop()
            }
            Some((0, Blow::StopAfter)) => {
                FAULT.set(Some((STRUCK, Blow::StopAfter)));
                Ok(())
            }
            Some((number, blow)) if number > 0 => {
                FAULT.set(Some((number - 1, blow)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn after_write() {
        if let Some((STRUCK, _)) = FAULT.get() {
            stop();
        }
    }
}

/// A kernel in memory.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) netns: Netns,
    pub(crate) place: Place,
    pub(crate) now: Duration,
    /// At the change of this number, made or taken back.
    pub(crate) blow: Option<(usize, Blow)>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let place = Place { boot: "b".to_owned(), netns: NetnsId(1), cookie: Some(7) };
        Self { netns: world(), place, now: Duration::from_millis(1500), blow: None }
    }

    pub(crate) fn link(&mut self, index: u32) -> &mut Link {
        let Reading::Read(links) = &mut self.netns.links else { unreachable!() };
        links.iter_mut().find(|link| link.index.0 == index).unwrap()
    }

    pub(crate) fn without_link(&mut self, index: u32) {
        let Reading::Read(links) = &mut self.netns.links else { unreachable!() };
        links.retain(|link| link.index.0 != index);
        let Reading::Read(entries) = &mut self.netns.fdb else { unreachable!() };
        entries.retain(|entry| entry.device.0 != index);
        let Reading::Read(hooks) = &mut self.netns.filters.tc else { unreachable!() };
        hooks.retain(|hook| hook.device.0 != index);
    }

    fn deed(&mut self, change: &Change, new: bool) -> Result<(), Error> {
        let blow = match &mut self.blow {
            Some((0, blow)) => Some(*blow),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match blow {
            Some(Blow::Refuse) => {
                if new {
                    self.partly(change);
                }
                // Only once: what is taken back goes.
                self.blow = None;
                return Err(Error::Watchdog("refused".to_owned()));
            }
            Some(Blow::StopBefore) => stop(),
            Some(Blow::StopWithin) => {
                self.partly(change);
                stop()
            }
            _ => {}
        }
        self.whole(change, new);
        if blow.is_some() {
            stop();
        }
        Ok(())
    }

    fn whole(&mut self, change: &Change, new: bool) {
        if new {
            change.make(&mut self.netns).unwrap();
            return;
        }
        if Standing::of(change, &self.netns) == Standing::Partly {
            match change {
                Change::Filter { device, .. } => {
                    let Reading::Read(hooks) = &mut self.netns.filters.tc else { unreachable!() };
                    hooks.retain(|hook| hook.device != device.index);
                }
                Change::LocalRule { ipv6, to } => {
                    let Reading::Read(rules) = &mut self.netns.rules else { unreachable!() };
                    rules.retain(|rule| *rule != local_rule(*ipv6, *to));
                }
                other => panic!("{other} is made at once"),
            }
            return;
        }
        let _ = change.take_back(&mut self.netns);
    }

    /// What is made, and taken back, in two pieces.
    fn partly(&mut self, change: &Change) {
        match change {
            Change::Filter { device, clsact: true, .. } => {
                let Reading::Read(hooks) = &mut self.netns.filters.tc else { unreachable!() };
                hooks.retain(|hook| hook.device != device.index);
                hooks.push(TcHook {
                    device: device.index,
                    hook: TcHookKind::Ingress,
                    qdisc: "clsact".to_owned(),
                    block: None,
                    filters: Vec::new(),
                    u32_tables: Vec::new(),
                });
            }
            Change::LocalRule { ipv6, to } => {
                let Reading::Read(rules) = &mut self.netns.rules else { unreachable!() };
                for rule in [local_rule(*ipv6, 0), local_rule(*ipv6, *to)] {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
                rules.sort_by_key(|rule| (rule.ipv6, rule.priority));
            }
            _ => {}
        }
    }
}

impl Host for Fake {
    fn place(&self) -> Result<Place, Error> {
        Ok(self.place.clone())
    }

    fn now(&self) -> Result<Duration, Error> {
        Ok(self.now)
    }

    fn read(&mut self) -> Result<Netns, Error> {
        Ok(self.netns.clone())
    }

    fn make(&mut self, changes: &[Change]) -> Result<(), Error> {
        changes.iter().try_for_each(|change| self.deed(change, true))
    }

    fn take_back(&mut self, changes: &[Change], _: &Netns) -> Result<(), Error> {
        let mut first = Ok(());
        for change in changes {
            let done = self.deed(change, false);
            first = first.and(done);
        }
        first
    }
}

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        index: IfIndex(index),
        name: name.to_owned(),
        altnames: Vec::new(),
        arp_type: 1,
        flags: LinkFlags(LinkFlags::UP),
        sysfs_flags: None,
        promiscuity: Some(0),
        allmulti: Some(0),
        operstate: 6,
        carrier: Some(true),
        mtu: 1500,
        address: Some(MacAddr([2, 0, 0, 0, 0, index as u8])),
        broadcast: Some(MacAddr::BROADCAST),
        master: None,
        link: None,
        link_netns: None,
        kind,
        port: None,
        xdp: Vec::new(),
        phys_switch_id: None,
        ipv4: Some(Ipv4Conf::gather(|_, _| Some(0))),
        ipv6: Some(Ipv6Conf::gather(|_, _| Some(0))),
        behind: None,
        unknown: Vec::new(),
    }
}

/// A bridge with two ports.
fn world() -> Netns {
    let options = BridgeOptions {
        ageing_time: Some(30000),
        vlan_filtering: Some(false),
        vlan_protocol: Some(EtherType::VLAN),
        ..BridgeOptions::default()
    };
    let mut links = vec![link(1, "lo", LinkKind::Plain), link(2, "br0", LinkKind::Bridge(Box::new(options)))];
    for (index, name) in [(3, "p0"), (4, "p1")] {
        let options = PortOptions { flood: Some(true), learning: Some(true), ..PortOptions::default() };
        let mut port = link(index, name, LinkKind::Veth);
        port.master = Some(IfIndex(2));
        port.port = Some(PortKind::Bridge(Box::new(options)));
        links.push(port);
    }
    let own = VlanEntry {
        from: VlanId::new(1).unwrap(),
        to: VlanId::new(1).unwrap(),
        flags: VlanFlags(VlanFlags::PVID | VlanFlags::UNTAGGED | VlanFlags::BRENTRY),
        state: None,
        mcast_router: None,
        neigh_suppress: None,
        tunnel_id: None,
        unknown: Vec::new(),
    };
    let filters = Filters {
        tc: Reading::Read(Vec::new()),
        nft_chains: Reading::Read(Vec::new()),
        nft_tables: Reading::Read(Vec::new()),
        ..Filters::default()
    };
    let conf4 = || Ipv4Conf::gather(|_, _| Some(0));
    let conf6 = || Ipv6Conf::gather(|_, _| Some(0));
    Netns {
        id: NetnsId(1),
        names: Vec::new(),
        processes: Vec::new(),
        links: Reading::Read(links),
        vlans: Reading::Read(vec![VlanTable { device: IfIndex(2), vlans: vec![own] }]),
        vlan_globals: Reading::Read(Vec::new()),
        mst: Reading::Read(Vec::new()),
        fdb: Reading::Read(Vec::new()),
        mdb: Reading::Read(Mdb::default()),
        addresses: Reading::Read(Vec::new()),
        routes: Reading::Read(Vec::new()),
        rules: Reading::Read(vec![local_rule(false, 0), local_rule(true, 0)]),
        neighbours: Reading::Read(Vec::new()),
        ipv4: Reading::Read(Settings { all: conf4(), default: conf4() }),
        ipv6: Reading::Read(Settings { all: conf6(), default: conf6() }),
        filters,
        listeners: Reading::Read(Vec::new()),
        packet_sockets: Reading::Read(Vec::new()),
        protocol_handlers: Reading::Read(Vec::new()),
        memberships: Reading::Read(Vec::new()),
    }
}

pub(crate) fn device(index: u32, name: &str) -> Device {
    Device { index: IfIndex(index), name: name.to_owned() }
}

fn drop_all(priority: u16) -> TcFilter {
    let kind = TcActionKind::Gact { random: None };
    TcFilter {
        chain: 0,
        priority,
        protocol: 3,
        handle: 0,
        classifier: TcClassifier::Matchall,
        classid: None,
        indev: None,
        flags: 0,
        actions: vec![TcAction { kind, verdict: Some(TcVerdict::Shot), skip_sw: false }],
    }
}

/// Three steps, some of whose changes rest on others.
pub(crate) fn steps() -> Vec<Vec<Change>> {
    let (br0, p0, p1) = (device(2, "br0"), device(3, "p0"), device(4, "p1"));
    let vlan = VlanId::new(1).unwrap();
    let flags = VlanFlags(VlanFlags::PVID | VlanFlags::UNTAGGED | VlanFlags::BRENTRY);
    let mut blackhole = local_rule(false, 10);
    (blackhole.action, blackhole.table) = (6, 0);
    let address = MacAddr([2, 0, 0, 0, 1, 1]);
    let port = |port: &Device, option| Change::Port { port: port.clone(), option, from: 1, to: 0 };
    vec![
        vec![
            Change::StaticEntry { port: p0.clone(), address, vlan: None, sticky: true },
            port(&p0, PortOption::Flood),
            port(&p1, PortOption::Learning),
        ],
        vec![
            Change::Filter { device: br0.clone(), clsact: true, filter: drop_all(1) },
            Change::Filter { device: br0.clone(), clsact: false, filter: drop_all(2) },
            Change::LocalRule { ipv6: false, to: 100 },
            Change::Rule(blackhole),
        ],
        vec![
            Change::Ipv4 {
                at: ConfAt::Device(br0.clone()),
                setting: "arp_ignore".to_owned(),
                from: 0,
                to: 2,
            },
            Change::ArpOff { device: br0.clone() },
            Change::LeaveVlans { bridge: br0.clone(), from: vlan, to: vlan, flags },
            Change::Bridge { bridge: br0, option: BridgeOption::VlanFiltering, from: 0, to: 1 },
        ],
    ]
}

/// What the steps make of a state.
pub(crate) fn made(mut netns: Netns) -> Netns {
    for change in steps().iter().flatten() {
        assert_eq!(change.state(&netns), State::Before, "{change}");
        change.make(&mut netns).unwrap();
    }
    netns
}
