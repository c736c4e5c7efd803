//! A small network with a policy, the program, and what the kernel has: for tests of `portcullis fix` as a program.

#![allow(dead_code, reason = "not each of the tests that share this uses all of it")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portcullis_apply::{Live, StateDir};
use portcullis_kernel::link::{self, FdbChange, NewLink};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::watch::Directory;
use portcullis_kernel::{capture, sysctl};
use portcullis_plan::{BridgeOption, Method};
use portcullis_snapshot::{
    FdbEntry, FdbKind, LinkKind, MacAddr, MetaKey, Netns, NftExpr, PortKind, PortState, Reading,
};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PORTS: [&str; 3] = ["up0", "g1", "g2"];
/// Guests are to be kept from the host, and not from each other.
pub(crate) const POLICY: &str = "[[port]]\nname = \"up0\"\nrole = \"uplink\"\n";
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A bridge with an uplink and two guests that it has heard, and another product's guest above it; and where the program
/// keeps its files.
pub(crate) struct Lab {
    pub(crate) files: TempDir,
    /// Where the cables' other ends are.
    outside: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let mut route = Socket::open(Family::Route).unwrap();
        let outside = Namespace::create().unwrap();
        NewLink::new("br0", "bridge").create(|data| data).apply(&mut route).unwrap();
        let bridge = link::index_of(&mut route, "br0").unwrap();
        let macvlan = NewLink::new("mv0", "macvlan").on(bridge).address(MacAddr([0, 0x0c, 0x29, 0, 0, 1]));
        macvlan.macvlan(4).apply(&mut route).unwrap();
        for (name, number) in PORTS.into_iter().zip(1u8..) {
            lay_cable(name, number, &outside);
        }
        let up = |name: &str| {
            let mut route = Socket::open(Family::Route).unwrap();
            // No address is being tried out while states are compared.
            let _ = sysctl::write(&["ipv6", "conf", name, "addr_gen_mode"], "1");
            let index = link::index_of(&mut route, name).unwrap();
            link::up(index).apply(&mut route).unwrap();
        };
        // So that every remedy has something to do, and what bridges pass on is not routed.
        let ageing_time = BridgeOption::AgeingTime;
        link::bridge_option(bridge, ageing_time.number(), &ageing_time.encode(60_000))
            .apply(&mut route)
            .unwrap();
        sysctl::write(&["ipv4", "conf", "br0", "forwarding"], "1").unwrap();
        for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
            let _ = sysctl::write(&["bridge", setting], "0");
        }
        outside.run(|| PORTS.iter().for_each(|name| up(&format!("{name}x")))).unwrap();
        ["br0", "mv0"].into_iter().chain(PORTS).for_each(up);
        let lab = Self { files: TempDir::new().unwrap(), outside };
        lab.wait_until_the_ports_forward();
        for (name, number) in PORTS.into_iter().zip(1u8..) {
            let heard = FdbChange {
                device: link::index_of(&mut route, name).unwrap(),
                address: MacAddr([2, 0, 0, 0, 3, number]),
                vlan: None,
                state: link::NUD_REACHABLE,
                flags: link::NTF_MASTER,
            };
            heard.add().apply(&mut route).unwrap();
        }
        fs::write(lab.file("policy.toml"), POLICY).unwrap();
        fs::create_dir(lab.file("state")).unwrap();
        lab
    }

    /// The same with a policy that keeps guests from each other.
    pub(crate) fn with_guests_apart() -> Self {
        let lab = Self::new();
        let policy = format!("[[bridge]]\nguest-to-guest = \"deny\"\n{POLICY}");
        fs::write(lab.file("policy.toml"), policy).unwrap();
        lab
    }

    /// Has the policy state who is behind the guests' ports, too.
    pub(crate) fn state_addresses(&self) {
        let mut policy = fs::read_to_string(self.file("policy.toml")).unwrap();
        for (name, number) in PORTS.into_iter().zip(1u8..).skip(1) {
            policy += &format!(
                "[[port]]\nname = \"{name}\"\nmac = [\"02:00:00:00:03:{number:02}\"]\n\
                 ip = [\"192.0.2.{number}\", \"198.51.100.{number}0/28\", \"2001:db8::{number}\", \"2001:db8:{number}::/64\"]\n"
            );
        }
        fs::write(self.file("policy.toml"), policy).unwrap();
    }

    /// The kernel looks at carriers when it gets to it.
    pub(crate) fn wait_until_the_ports_forward(&self) {
        let start = Instant::now();
        loop {
            let netns = capture::here().unwrap();
            let port = |name: &&str| netns.link_named(name).unwrap().bridge_port().unwrap().state;
            let forward = PORTS.iter().all(|name| port(name) == Some(PortState::Forwarding));
            let up = ["br0", "mv0"].iter().all(|name| netns.link_named(name).unwrap().operstate == 6);
            if forward && up {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the ports never forward");
            std::thread::yield_now();
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::new(self.file("state"))
    }

    /// The program, with nobody at its terminal.
    pub(crate) fn program(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        program.arg(command).args(arguments).arg("--state-dir").arg(self.file("state"));
        if matches!(command, "fix" | "watch") {
            program.arg("--policy").arg(self.file("policy.toml"));
        }
        program.stdin(Stdio::null()).env_remove("SSH_CONNECTION");
        program
    }

    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Ran {
        Ran::of(self.program(command, arguments).output().unwrap())
    }

    pub(crate) fn fix(&self, arguments: &[&str]) -> Ran {
        self.run("fix", arguments)
    }

    /// Plugs in one more guest, of which nobody has spoken.
    pub(crate) fn one_more_guest(&self, name: &str) {
        lay_cable(name, 9, &self.outside);
        let up = |name: &str| {
            let mut route = Socket::open(Family::Route).unwrap();
            link::up(link::index_of(&mut route, name).unwrap()).apply(&mut route).unwrap();
        };
        self.outside.run(|| up(&format!("{name}x"))).unwrap();
        up(name);
    }

    /// What is applied, as the program tells it.
    pub(crate) fn applied(&self) -> Vec<Value> {
        let told = self.run("status", &["--format", "json"]);
        let document: Value = serde_json::from_str(&told.said).unwrap();
        document["applied"].as_array().unwrap().clone()
    }

    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.file("state")).unwrap().map(|entry| entry.unwrap().path());
        let is_number =
            |extension: &OsStr| extension.to_str().is_some_and(|text| text.parse::<u32>().is_ok());
        files.filter(|path| path.extension().is_some_and(is_number)).collect()
    }

    /// Whether a journal says that a step was begun, by a line beyond the first.
    pub(crate) fn has_begun(&self) -> bool {
        let lines = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default().lines().count();
        self.journals().iter().any(|path| lines(path) > 1)
    }

    /// Waits until nothing is applied, or on its way, any more.
    pub(crate) fn wait_until_undone(&self, directory: &Directory) {
        let start = Instant::now();
        while !portcullis_apply::status(&mut Live::new(), &self.state()).unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE, "it is never undone");
            directory.wait(None, Duration::from_secs(1)).unwrap();
        }
    }
}

/// A cable from a port of the bridge to outside, where its end has an `x` more in its name.
fn lay_cable(name: &str, number: u8, outside: &Namespace) {
    let mut route = Socket::open(Family::Route).unwrap();
    let address = |of| MacAddr([2, 0, 0, 0, of, number]);
    let cable = NewLink::new(name, "veth").address(address(1));
    cable.veth(&format!("{name}x"), address(2), Some(outside.as_fd())).apply(&mut route).unwrap();
    let bridge = link::index_of(&mut route, "br0").unwrap();
    let port = link::index_of(&mut route, name).unwrap();
    link::master(port, Some(bridge)).apply(&mut route).unwrap();
}

/// A program that stays, until this is dropped.
pub(crate) struct Staying {
    program: Child,
    lines: Receiver<String>,
}

impl Staying {
    pub(crate) fn start(mut program: Command) -> Self {
        let mut program = program.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let (sender, receiver) = channel();
        // It ends with the program.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { program, lines: receiver }
    }

    /// Waits until it says something, and returns everything up to that line.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it never says {what:?}, only: {said}"));
            said = said + &line + "\n";
            if line.contains(what) {
                return said;
            }
        }
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) said: String,
    pub(crate) complained: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (said, complained) = (text(output.stdout), text(output.stderr));
        Self { status: output.status.code(), said, complained }
    }

    #[track_caller]
    pub(crate) fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}{}", self.said, self.complained);
        self
    }
}

/// What of a namespace has to be the same again: all that a change is about, but for what the kernel counts, learns or
/// numbers.
pub(crate) fn here() -> Netns {
    let mut netns = capture::here().unwrap();
    if let Reading::Read(entries) = &mut netns.fdb {
        entries.retain(|entry| entry.kind() != FdbKind::Dynamic);
        for entry in entries.iter_mut() {
            (entry.used, entry.updated) = (None, None);
        }
        entries.sort_by_key(|entry: &FdbEntry| (entry.device, entry.vlan, entry.address, entry.flags));
    }
    for link in links(&mut netns) {
        link.unknown.clear();
        match (&mut link.kind, &mut link.port) {
            (LinkKind::Bridge(options), _) => {
                options.unknown.clear();
                options.fdb_n_learned = None;
            }
            (_, Some(PortKind::Bridge(options))) => options.unknown.clear(),
            _ => {}
        }
    }
    if let Reading::Read(routes) = &mut netns.routes {
        routes.sort_by_key(|route| format!("{route:?}"));
    }
    if let Reading::Read(bases) = &mut netns.filters.nft_chains {
        bases.iter_mut().for_each(|base| base.devices.sort());
    }
    if let Reading::Read(tables) = &mut netns.filters.nft_tables {
        for rule in tables.iter_mut().flat_map(|table| &mut table.chains).flat_map(|chain| &mut chain.rules) {
            rule.handle = 0;
            rule.expressions = in_few_words(std::mem::take(&mut rule.expressions));
        }
    }
    netns.processes.clear();
    netns.neighbours = Reading::default();
    netns.listeners = Reading::default();
    netns.packet_sockets = Reading::default();
    netns.protocol_handlers = Reading::default();
    netns.mdb = Reading::default();
    netns.memberships = Reading::default();
    netns
}

/// A rule without what nft says in other words than the program does.
pub(crate) fn in_few_words(expressions: Vec<NftExpr>) -> Vec<NftExpr> {
    /// `NFTA_FIB_F_PRESENT`.
    const PRESENT: u32 = 32;
    let mut rest = Vec::new();
    let mut expressions = expressions.into_iter().peekable();
    while let Some(expression) = expressions.next() {
        match expression {
            // Before nft looks at an Ethernet header it asks whether the device has such. A bridge's port always has.
            NftExpr::Meta { key: MetaKey::IifType, .. }
                if expressions.next_if(|next| matches!(next, NftExpr::Cmp { .. })).is_some() => {}
            // Whether there is a device is as good as its number where that is held against 0.
            NftExpr::Fib { dreg, result, flags } => {
                rest.push(NftExpr::Fib { dreg, result, flags: flags & !PRESENT });
            }
            other => rest.push(other),
        }
    }
    rest
}

pub(crate) fn links(netns: &mut Netns) -> &mut [portcullis_snapshot::Link] {
    match &mut netns.links {
        Reading::Read(links) => links,
        Reading::Unread(why) => panic!("{why:?}"),
    }
}

/// Fails with the first lines that differ.
#[track_caller]
pub(crate) fn same(one: &Netns, other: &Netns, what: &str) {
    if one != other {
        let [one, other] = [one, other].map(|netns| format!("{netns:#?}"));
        let differing: Vec<_> = one.lines().zip(other.lines()).filter(|(one, other)| one != other).collect();
        panic!("{what}: {:#?} and so on", &differing[..differing.len().min(6)]);
    }
}

/// The programs that scripts call.
pub(crate) const TOOLS: [&str; 6] = ["sh", "ip", "bridge", "tc", "nft", "sysctl"];

pub(crate) fn lacks() -> Option<&'static str> {
    missing(&TOOLS)
}

/// The first of some programs that is not here.
pub(crate) fn missing(tools: &[&'static str]) -> Option<&'static str> {
    let is_there = |tool: &str| Command::new(tool).arg("--help").output().is_ok();
    tools.iter().copied().find(|tool| !is_there(tool))
}

/// Into how many groups remedies are put, one by one: neighbours in the manual, which may be in each other's way, are apart.
pub(crate) const GROUPS: usize = 4;

pub(crate) fn asked(methods: &[Method]) -> String {
    methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(",")
}

/// Has remedies put into words: those that this kernel takes, of which there is one at least.
pub(crate) fn script(lab: &Lab, methods: &mut Vec<Method>) -> String {
    loop {
        let script = lab.fix(&["--method", &asked(methods), "--as", "script"]);
        if script.status != Some(2) {
            assert!(matches!(script.status, Some(0 | 1)), "{script:?}");
            return script.said;
        }
        let refused =
            methods.iter().position(|method| script.complained.contains(&format!("refuses {method}:")));
        let refused = methods.remove(refused.unwrap_or_else(|| panic!("{script:?}")));
        println!("{refused}: not here: {}", script.complained.trim());
    }
}

/// Applies remedies, takes them back, and runs their script.
pub(crate) fn script_and_program(mut methods: Vec<Method>) {
    let lab = Lab::with_guests_apart();
    lab.state_addresses();
    let before = here();
    let script = script(&lab, &mut methods);
    let asked = asked(&methods);
    println!("{asked}");
    if !script.lines().any(|line| !line.starts_with('#') && line != "set -e") {
        println!("skipped, because this kernel takes none of them");
        return;
    }
    let applied = lab.fix(&["--method", &asked, "--yes", "--confirm", "0"]);
    assert!(matches!(applied.status, Some(0 | 1)), "{applied:?}");
    let by_program = here();
    assert_ne!(before, by_program, "{asked}");
    lab.run("rollback", &["--yes"]).ends(0);
    same(&before, &here(), &asked);
    let mut shell = Command::new("sh");
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let ran = Ran::of(shell.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(0), "{}{}\n{script}", ran.said, ran.complained);
    same(&by_program, &here(), &asked);
}
