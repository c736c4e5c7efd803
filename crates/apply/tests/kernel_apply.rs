//! Each change is made and taken back on the machine's kernel, and what makes changes is killed at each boundary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_apply::{
    Confirm, Confirmation, Error, Host, Live, Order, Phase, Place, Recovery, Standing, StateDir, apply,
    confirm, recover, rollback, status, watchdog,
};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::watch::Directory;
use portcullis_kernel::{Change as Message, capture, sysctl};
use portcullis_plan::{BridgeOption, Change, ConfAt, Device, PortOption, Ruleset, State, TABLE};
use portcullis_snapshot::{
    Bytes, FdbEntry, FdbKind, IfIndex, LinkFlags, MacAddr, Netns, NftBaseChain, NftChain, NftExpr, NftFamily,
    NftRule, NftTable, NftVerdict, PolicyRule, Reading, TcAction, TcActionKind, TcBpf, TcClassifier,
    TcFilter, TcVerdict, VlanFlags, VlanId,
};
use portcullis_testnet::{fresh, skip};
use tempfile::TempDir;

/// A bridge with two ports, all of them up.
struct Lab {
    route: Socket,
    br0: Device,
    p0: Device,
    p1: Device,
}

impl Lab {
    fn new() -> Self {
        let mut route = Socket::open(Family::Route).unwrap();
        let mut lab = Self {
            br0: device(0, "br0"),
            p0: device(0, "p0"),
            p1: device(0, "p1"),
            route: Socket::open(Family::Route).unwrap(),
        };
        NewLink::new("br0", "bridge").create(|data| data).apply(&mut route).unwrap();
        for name in ["p0", "p1"] {
            let peer = format!("{name}x");
            NewLink::new(name, "veth")
                .veth(&peer, MacAddr([2, 0, 0, 0, 9, name.as_bytes()[1]]), None)
                .apply(&mut route)
                .unwrap();
        }
        for device in [&mut lab.br0, &mut lab.p0, &mut lab.p1] {
            device.index = link::index_of(&mut route, &device.name).unwrap();
        }
        for port in [&lab.p0, &lab.p1] {
            link::master(port.index, Some(lab.br0.index)).apply(&mut route).unwrap();
        }
        // No address is being tried out and no carrier comes while states are compared.
        for name in ["br0", "p0", "p1", "p0x", "p1x"] {
            let _ = sysctl::write(&["ipv6", "conf", name, "addr_gen_mode"], "1");
            let index = link::index_of(&mut route, name).unwrap();
            link::up(index).apply(&mut route).unwrap();
        }
        lab.settle();
        lab
    }

    fn make(&mut self, message: Message) {
        message.apply(&mut self.route).unwrap();
    }

    /// Waits until the ports forward: the kernel looks at carriers when it gets to it.
    fn settle(&self) {
        use portcullis_snapshot::PortState;
        let forwards = |netns: &Netns, port: &Device| {
            port.find(netns).unwrap().bridge_port().unwrap().state == Some(PortState::Forwarding)
        };
        for _ in 0..100_000 {
            let netns = capture::here().unwrap();
            let is_up = self.br0.find(&netns).unwrap().operstate == 6;
            if is_up && forwards(&netns, &self.p0) && forwards(&netns, &self.p1) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the ports never forward");
    }
}

fn device(index: u32, name: &str) -> Device {
    Device { index: IfIndex(index), name: name.to_owned() }
}

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

/// What of a namespace has to be the same again: all that a change is about, but for what the kernel counts or learns.
fn fixed(mut netns: Netns) -> Netns {
    if let Reading::Read(entries) = &mut netns.fdb {
        entries.retain(|entry| entry.kind() != FdbKind::Dynamic);
        for entry in entries.iter_mut() {
            (entry.used, entry.updated) = (None, None);
        }
        entries.sort_by_key(|entry: &FdbEntry| (entry.device, entry.vlan, entry.address, entry.flags));
    }
    if let Reading::Read(links) = &mut netns.links {
        for link in links {
            link.unknown.clear();
        }
    }
    if let Reading::Read(routes) = &mut netns.routes {
        // Those that are alike but for their device are told in the order in which they came.
        routes.sort_by_key(|route| format!("{route:?}"));
    }
    netns.neighbours = Reading::default();
    netns.listeners = Reading::default();
    netns.packet_sockets = Reading::default();
    netns.protocol_handlers = Reading::default();
    netns.mdb = Reading::default();
    netns.memberships = Reading::default();
    netns
}

fn here() -> Netns {
    fixed(capture::here().unwrap())
}

fn same(before: &Netns, after: &Netns, what: &dyn std::fmt::Display) {
    let (links, were) = (after.links.known(), before.links.known());
    for (link, was) in links.iter().zip(were) {
        assert_eq!(link, was, "{what}");
    }
    assert_eq!(after.fdb, before.fdb, "{what}");
    assert_eq!(after.vlans, before.vlans, "{what}");
    assert_eq!(after.rules, before.rules, "{what}");
    assert_eq!(after.filters, before.filters, "{what}");
    assert_eq!((&after.ipv4, &after.ipv6), (&before.ipv4, &before.ipv6), "{what}");
    assert_eq!(after.routes, before.routes, "{what}");
    assert!(after == before, "{what}");
}

fn order(steps: Vec<Vec<Change>>) -> Order {
    let since = "2026-01-01T00:00:00Z".to_owned();
    Order { steps, methods: Vec::new(), command: "a test".to_owned(), since, confirm: None }
}

fn state_dir() -> (TempDir, StateDir) {
    let temporary = TempDir::new().unwrap();
    let dir = StateDir::new(temporary.path());
    (temporary, dir)
}

/// Makes a change, looks, and takes it back. Tells why not, if the kernel does not have what it takes.
fn there_and_back(change: &Change) -> Result<(), String> {
    let (_temporary, dir) = state_dir();
    let before = here();
    let order = order(vec![vec![change.clone()]]);
    match apply(&mut Live::new(), &dir, order) {
        Ok(_) => {}
        Err(Error::Failed(failure)) => {
            assert!(failure.undone.unwrap().left.is_empty());
            same(&before, &here(), change);
            let Error::Kernel(cause) = failure.cause else { panic!("{change}: {}", failure.cause) };
            return Err(format!("{change}: {cause}"));
        }
        Err(Error::Clashes(clashes)) if clashes[0].found.contains("does not have it") => {
            return Err(clashes[0].to_string());
        }
        Err(error) => panic!("{change}: {error}"),
    }
    assert_eq!(change.state(&capture::here().unwrap()), State::After);
    let [told] = status(&mut Live::new(), &dir).unwrap().try_into().unwrap();
    assert!(told.agrees(), "{change}");
    let [back] = rollback(&mut Live::new(), &dir).unwrap().try_into().unwrap();
    assert!(back.undone.left.is_empty(), "{change}");
    same(&before, &here(), change);
    Ok(())
}

/// Makes each change and takes it back; says what this kernel does not have.
fn all(changes: &[Change]) {
    let refused: Vec<_> = changes.iter().filter_map(|change| there_and_back(change).err()).collect();
    if !refused.is_empty() {
        skip!("{}", refused.join("; "));
    }
}

#[test]
fn options_of_bridges_and_ports() {
    fresh(|| {
        let Lab { br0, p0, .. } = Lab::new();
        let now = capture::here().unwrap();
        let bridge = br0.find(&now).unwrap().bridge().unwrap();
        let port = p0.find(&now).unwrap().bridge_port().unwrap();
        let mut changes = Vec::new();
        for (option, to) in [(BridgeOption::AgeingTime, 100), (BridgeOption::VlanFiltering, 1)] {
            let from = option.get(bridge).unwrap_or(0);
            changes.push(Change::Bridge { bridge: br0.clone(), option, from, to });
        }
        for option in PortOption::ALL {
            let from = option.get(port).unwrap_or(0);
            let to = u32::from(from == 0);
            let to = if option == PortOption::McastRouter { 0 } else { to };
            changes.push(Change::Port { port: p0.clone(), option, from, to });
        }
        all(&changes);
    });
}

#[test]
fn vlans_of_the_bridge_device() {
    fresh(|| {
        let mut lab = Lab::new();
        let br0 = lab.br0.clone();
        if capture::here().unwrap().vlans.known().is_empty() {
            skip!("this kernel cannot filter VLANs");
        }
        lab.make(link::vlan_range_add(br0.index, (vlan(10), vlan(300)), 0));
        let leave = |from, to, flags| Change::LeaveVlans {
            bridge: br0.clone(),
            from: vlan(from),
            to: vlan(to),
            flags: VlanFlags(flags | VlanFlags::BRENTRY),
        };
        all(&[leave(1, 1, VlanFlags::PVID | VlanFlags::UNTAGGED), leave(10, 300, 0)]);
    });
}

#[test]
fn settings_of_the_stack() {
    fresh(|| {
        let Lab { br0, .. } = Lab::new();
        let now = capture::here().unwrap();
        let link = br0.find(&now).unwrap();
        let (at, mut changes) = (ConfAt::Device(br0.clone()), Vec::new());
        for (setting, to) in [("arp_ignore", 2), ("rp_filter", 1), ("drop_unicast_in_l2_multicast", 1)] {
            let from = link.ipv4.as_ref().unwrap().get(setting).unwrap();
            let to = if from == to { 0 } else { to };
            changes.push(Change::Ipv4 { at: at.clone(), setting: setting.to_owned(), from, to });
        }
        let from = now.ipv4.read().unwrap().default.get("arp_ignore").unwrap();
        changes.push(Change::Ipv4 { at: ConfAt::Default, setting: "arp_ignore".to_owned(), from, to: 2 });
        if let (Some(own), Some(all)) = (link.ipv6.as_ref(), now.ipv6.read()) {
            for (at, conf) in [(at, own), (ConfAt::Default, &all.default)] {
                for setting in ["accept_ra", "disable_ipv6"] {
                    let from = conf.get(setting).unwrap();
                    changes.push(Change::Ipv6 {
                        at: at.clone(),
                        setting: setting.to_owned(),
                        from,
                        to: 1 - from,
                    });
                }
            }
        }
        changes.push(Change::ArpOff { device: br0 });
        all(&changes);
    });
}

#[test]
fn entries_of_the_fdb() {
    fresh(|| {
        let Lab { br0, p0, .. } = Lab::new();
        let address = MacAddr([2, 0, 0, 0, 1, 1]);
        let entry = |vlan, sticky| Change::StaticEntry { port: p0.clone(), address, vlan, sticky };
        let filters = !capture::here().unwrap().vlans.known().is_empty();
        let mut changes =
            vec![Change::LocalEntry { bridge: br0, address }, entry(None, false), entry(None, true)];
        if filters {
            changes.push(entry(Some(vlan(1)), true));
        }
        all(&changes);
    });
}

fn ruleset(family: NftFamily, hook: (u32, &str), devices: &[&str], rules: usize) -> Ruleset {
    let rule = NftRule { handle: 0, expressions: vec![NftExpr::Verdict(NftVerdict::Drop)] };
    let chain = NftChain { name: "in".to_owned(), rules: vec![rule; rules] };
    let table =
        NftTable { family, name: TABLE.to_owned(), dormant: false, chains: vec![chain], sets: Vec::new() };
    let base = NftBaseChain {
        family,
        table: TABLE.to_owned(),
        chain: "in".to_owned(),
        kind: "filter".to_owned(),
        hook: hook.0,
        hook_name: hook.1.to_owned(),
        priority: -300,
        devices: devices.iter().map(|&device| device.to_owned()).collect(),
        policy_drop: false,
        rules: u32::try_from(rules).unwrap(),
        dormant: false,
    };
    Ruleset { table, bases: vec![base], text: Vec::new() }
}

#[test]
fn tables_of_nftables() {
    fresh(|| {
        let _lab = Lab::new();
        let (prerouting, ingress) = ((0, "prerouting"), (0, "ingress"));
        let made = |to| Change::Table { from: None, to };
        all(&[
            made(ruleset(NftFamily::Inet, prerouting, &[], 1)),
            made(ruleset(NftFamily::Bridge, prerouting, &[], 2)),
            made(ruleset(NftFamily::Netdev, ingress, &["br0"], 1)),
            made(ruleset(NftFamily::Netdev, ingress, &["p0", "p1"], 1)),
        ]);
    });
}

#[test]
fn a_table_in_place_of_another_also_when_a_device_is_gone() {
    fresh(|| {
        let mut lab = Lab::new();
        let (_temporary, dir) = state_dir();
        let before = here();
        let ingress = (0, "ingress");
        let first = ruleset(NftFamily::Netdev, ingress, &["p0", "p1"], 1);
        let second = ruleset(NftFamily::Netdev, ingress, &["p0", "p1"], 2);
        let change = Change::Table { from: None, to: first.clone() };
        match apply(&mut Live::new(), &dir, order(vec![vec![change]])) {
            Ok(_) => {}
            Err(error) => skip!("{error}"),
        }
        let between = here();
        let change = Change::Table { from: Some(first), to: second };
        apply(&mut Live::new(), &dir, order(vec![vec![change.clone()]])).unwrap();
        let tables = here().filters.nft_tables.known().to_vec();
        assert_eq!(tables[0].chains[0].rules.len(), 2);
        lab.make(link::delete(lab.p1.index));
        let told = status(&mut Live::new(), &dir).unwrap();
        assert_eq!(told[1].changes, [(change, Standing::Made)]);
        let back = rollback(&mut Live::new(), &dir).unwrap();
        assert!(back.iter().all(|back| back.undone.left.is_empty() && back.undone.taken_back.len() == 1));
        assert_eq!(between.filters.nft_tables.known().len(), 1);
        assert_eq!(here().filters, before.filters);
    });
}

fn filter(priority: u16, classifier: TcClassifier, kind: TcActionKind) -> TcFilter {
    let actions = vec![TcAction { kind, verdict: Some(TcVerdict::Shot), skip_sw: false }];
    TcFilter {
        chain: 0,
        priority,
        protocol: 3,
        handle: 0,
        classifier,
        classid: None,
        indev: None,
        flags: 0,
        actions,
    }
}

fn gact(priority: u16) -> TcFilter {
    filter(priority, TcClassifier::Matchall, TcActionKind::Gact { random: None })
}

/// One instruction: `ret TC_ACT_SHOT`.
fn bpf(priority: u16) -> TcFilter {
    let instruction = [6u16.to_ne_bytes().as_slice(), &[0, 0], &2u32.to_ne_bytes()].concat();
    let program = TcBpf { name: None, id: None, tag: None, classic: Some(Bytes(instruction)) };
    let classifier = TcClassifier::Bpf { program, direct_action: true };
    TcFilter { actions: Vec::new(), ..filter(priority, classifier, TcActionKind::Gact { random: None }) }
}

#[test]
fn filters_of_tc() {
    fresh(|| {
        let Lab { br0, p0, .. } = Lab::new();
        let on = |device: &Device, filter| Change::Filter { device: device.clone(), clsact: true, filter };
        all(&[on(&br0, gact(1)), on(&p0, gact(49_000)), on(&br0, bpf(7))]);
    });
}

#[test]
fn filters_beside_those_of_others() {
    fresh(|| {
        let Lab { br0, mut route, .. } = Lab::new();
        let (_temporary, dir) = state_dir();
        let change = |clsact, filter| Change::Filter { device: br0.clone(), clsact, filter };
        let mine = vec![vec![change(true, bpf(1)), change(false, bpf(2))]];
        if let Err(error) = apply(&mut Live::new(), &dir, order(mine)) {
            skip!("{error}");
        }
        // Somebody uses what was made here.
        use portcullis_kernel::traffic;
        use portcullis_wire::tc::{CLSACT_INGRESS, FilterParent};
        let parent = FilterParent::Device(br0.index, CLSACT_INGRESS);
        traffic::filter(parent, &bpf(3)).apply(&mut route).unwrap();
        let before = here();
        rollback(&mut Live::new(), &dir).unwrap();
        let hooks = here().filters.tc.known().to_vec();
        let priorities: Vec<_> =
            hooks.iter().flat_map(|hook| &hook.filters).map(|filter| filter.priority).collect();
        assert_eq!(priorities, [3]);
        // And so for one on top of theirs.
        all(&[change(false, bpf(4))]);
        assert_eq!(before.filters.tc.known()[0].filters.len(), 3);
    });
}

#[test]
fn policy_rules() {
    fresh(|| {
        let _lab = Lab::new();
        let rule = |ipv6, action, iif: Option<&str>| PolicyRule {
            iif: iif.map(ToOwned::to_owned),
            ..PolicyRule::new(ipv6, 10, action, if action == 1 { 5000 } else { 0 })
        };
        let rules = here().rules.known().to_vec();
        let full = PolicyRule {
            not: true,
            source: "10.1.0.0/16".parse().ok(),
            destination: "10.2.3.4/32".parse().ok(),
            oif: Some("p0".to_owned()),
            suppress_prefixlen: Some(0),
            ..rule(false, 1, Some("br0"))
        };
        let mut changes = vec![
            Change::Rule(rule(false, 6, Some("br0"))),
            Change::Rule(rule(false, 8, None)),
            Change::Rule(full),
            Change::LocalRule { ipv6: false, to: 100 },
        ];
        if rules.iter().any(|rule| rule.ipv6) {
            changes.push(Change::Rule(rule(true, 6, Some("br0"))));
            changes.push(Change::LocalRule { ipv6: true, to: 100 });
        }
        all(&changes);
    });
}

/// A few steps that every kernel can take.
fn steps(lab: &Lab) -> Vec<Vec<Change>> {
    let port = |port: &Device, option| Change::Port { port: port.clone(), option, from: 1, to: 0 };
    let address = MacAddr([2, 0, 0, 0, 1, 1]);
    let at = ConfAt::Device(lab.br0.clone());
    let entry = Change::StaticEntry { port: lab.p0.clone(), address, vlan: None, sticky: false };
    let old = capture::here().unwrap();
    let arp_ignore = lab.br0.find(&old).unwrap().ipv4.as_ref().unwrap().get("arp_ignore").unwrap();
    vec![
        vec![entry, port(&lab.p0, PortOption::Flood)],
        vec![
            Change::Ipv4 { at, setting: "arp_ignore".to_owned(), from: arp_ignore, to: 2 },
            Change::LocalRule { ipv6: false, to: 100 },
        ],
        vec![Change::ArpOff { device: lab.br0.clone() }, port(&lab.p1, PortOption::Learning)],
    ]
}

/// Where the process that applies is killed.
const VICTIM: &str = "PORTCULLIS_APPLY_VICTIM";
/// Its state directory, and that of its watchdog.
const DIRECTORY: &str = "PORTCULLIS_APPLY_DIRECTORY";
/// Within how many seconds what it applies has to be confirmed, if it has to be.
const SECONDS: &str = "PORTCULLIS_APPLY_SECONDS";

/// The kernel, which kills the process at the call of some number.
struct Deadly {
    live: Live,
    left: u32,
}

impl Deadly {
    fn boundary(&mut self) {
        if self.left == 0 {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        self.left -= 1;
    }
}

impl Host for Deadly {
    fn place(&self) -> Result<Place, Error> {
        self.live.place()
    }

    fn now(&self) -> Result<Duration, Error> {
        self.live.now()
    }

    fn read(&mut self) -> Result<Netns, Error> {
        let read = self.live.read();
        self.boundary();
        read
    }

    fn make(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.boundary();
        let made = self.live.make(changes);
        self.boundary();
        made
    }

    fn take_back(&mut self, changes: &[Change], seen: &Netns) -> Result<(), Error> {
        self.boundary();
        self.live.take_back(changes, seen)
    }
}

/// Runs a test of this program in a process of its own, in this thread's namespace.
fn program(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(test));
    command
}

fn arguments(test: &str) -> [&str; 4] {
    // Of several threads none says a test's name before the test says something.
    ["--exact", test, "--nocapture", "--test-threads=2"]
}

/// The process that applies. As a test of its own it does nothing.
#[test]
fn victim() {
    let Some(left) = std::env::var(VICTIM).ok().and_then(|left| left.parse().ok()) else { return };
    let dir = StateDir::new(std::env::var_os(DIRECTORY).unwrap());
    let netns = capture::here().unwrap();
    let found = |name: &str| Device::from(netns.link_named(name).unwrap());
    let lab = Lab {
        route: Socket::open(Family::Route).unwrap(),
        br0: found("br0"),
        p0: found("p0"),
        p1: found("p1"),
    };
    let mut order = order(steps(&lab));
    order.confirm = std::env::var(SECONDS).ok().map(|seconds| watched(seconds.parse().unwrap()));
    apply(&mut Deadly { live: Live::new(), left }, &dir, order).unwrap();
}

fn watched(seconds: u32) -> Confirm {
    let program: PathBuf = std::env::current_exe().unwrap();
    Confirm { seconds, program, arguments: arguments("watch").map(Into::into).into() }
}

/// The watchdog. As a test of its own it does nothing.
#[test]
fn watch() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let id = std::env::args().next_back().unwrap();
    watchdog(&mut Live::new(), &StateDir::new(dir), &id).unwrap();
}

fn kill_after(calls: u32, dir: &Path, seconds: Option<u32>) -> ExitStatus {
    let mut command = program("victim");
    command.env(VICTIM, calls.to_string()).env(DIRECTORY, dir);
    if let Some(seconds) = seconds {
        command.env(SECONDS, seconds.to_string());
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success() || output.status.signal() == Some(9),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.status
}

/// Reads that and steps, twice each: before the first step, at both sides of each, and before and after the last look.
const BOUNDARIES: u32 = 1 + 3 * 2 + 1;

#[test]
fn killed_at_any_boundary_the_next_command_takes_it_back() {
    fresh(|| {
        let _lab = Lab::new();
        let before = here();
        for calls in 0..=BOUNDARIES {
            let (_temporary, dir) = state_dir();
            let status = kill_after(calls, dir.path(), None);
            assert_eq!(status.success(), calls == BOUNDARIES);
            let recovery = recover(&mut Live::new(), &dir).unwrap();
            match calls {
                // Nothing was begun.
                0 => assert_eq!(recovery, Recovery::Nothing),
                BOUNDARIES => {
                    assert_eq!(recovery, Recovery::Nothing);
                    assert_eq!(rollback(&mut Live::new(), &dir).unwrap().len(), 1);
                }
                _ => assert!(matches!(recovery, Recovery::Undone(_)), "{calls}: {recovery:?}"),
            }
            same(&before, &here(), &calls);
        }
    });
}

/// Waits until nothing is applied, or on its way, any more.
fn until_undone(dir: &StateDir, directory: &Directory) {
    while !status(&mut Live::new(), dir).unwrap().is_empty() {
        assert!(!directory.wait(None, Duration::from_secs(60)).unwrap());
    }
}

#[test]
fn killed_at_any_boundary_the_watchdog_takes_it_back() {
    fresh(|| {
        let _lab = Lab::new();
        let before = here();
        for calls in 1..BOUNDARIES {
            let (_temporary, dir) = state_dir();
            let directory = Directory::open(dir.path()).unwrap();
            assert_eq!(kill_after(calls, dir.path(), Some(3600)).signal(), Some(9));
            until_undone(&dir, &directory);
            same(&before, &here(), &calls);
        }
    });
}

#[test]
fn what_nobody_confirms_the_watchdog_takes_back() {
    fresh(|| {
        let _lab = Lab::new();
        let before = here();
        let (_temporary, dir) = state_dir();
        let directory = Directory::open(dir.path()).unwrap();
        assert!(kill_after(u32::MAX, dir.path(), Some(1)).success());
        until_undone(&dir, &directory);
        same(&before, &here(), &"not confirmed");
        assert_eq!(confirm(&mut Live::new(), &dir).unwrap(), Confirmation::Nothing);
    });
}

#[test]
fn what_somebody_confirms_stays() {
    fresh(|| {
        let lab = Lab::new();
        let (_temporary, dir) = state_dir();
        assert!(kill_after(u32::MAX, dir.path(), Some(3600)).success());
        let [told] = status(&mut Live::new(), &dir).unwrap().try_into().unwrap();
        assert!(matches!(told.phase, Phase::Awaiting(_)) && told.agrees());
        assert!(told.left.unwrap() <= Duration::from_secs(3601));
        let again = apply(&mut Live::new(), &dir, order(steps(&lab))).unwrap_err();
        assert!(matches!(again, Error::Unconfirmed { .. }), "{again}");
        assert!(matches!(confirm(&mut Live::new(), &dir).unwrap(), Confirmation::Confirmed(_)));
        let [told] = status(&mut Live::new(), &dir).unwrap().try_into().unwrap();
        assert!(told.phase == Phase::InForce && told.agrees());
        assert!(lab.br0.find(&capture::here().unwrap()).unwrap().flags.has(LinkFlags::NOARP));
    });
}

#[test]
fn a_refusal_of_the_kernel_leaves_everything_as_before() {
    fresh(|| {
        let lab = Lab::new();
        let (_temporary, dir) = state_dir();
        let before = here();
        let mut steps = steps(&lab);
        // No device has this for an action, and the queueing discipline has been made by then.
        let kind = TcActionKind::Other { kind: "nonsense".to_owned(), options: Vec::new() };
        let refused = filter(1, TcClassifier::Matchall, kind);
        steps.push(vec![Change::Filter { device: lab.p0.clone(), clsact: true, filter: refused }]);
        let error = apply(&mut Live::new(), &dir, order(steps)).unwrap_err();
        let Error::Failed(failure) = error else { panic!("{error}") };
        assert!(matches!(failure.cause, Error::Kernel(_)), "{}", failure.cause);
        assert!(failure.undone.unwrap().left.is_empty());
        same(&before, &here(), &"refused");
    });
}
