//! `portcullis fix` and what follows it, as programs: what they print, how they end, and what the kernel has afterwards.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail, in its helpers too"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use portcullis_apply::{Live, StateDir};
use portcullis_kernel::link::{self, FdbChange, NewLink};
use portcullis_kernel::lock::{FileLock, Tried};
use portcullis_kernel::namespace::Netns as Namespace;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::watch::Directory;
use portcullis_kernel::{capture, sysctl};
use portcullis_plan::{BridgeOption, Method};
use portcullis_snapshot::{
    FdbEntry, FdbKind, LinkKind, MacAddr, MetaKey, Netns, NftExpr, PortKind, PortState, Reading,
};
use portcullis_testnet::{fresh, skip};
use serde_json::Value;
use tempfile::TempDir;

const PORTS: [&str; 3] = ["up0", "g1", "g2"];
/// Guests are to be kept from the host, and not from each other.
const POLICY: &str = "[[port]]\nname = \"up0\"\nrole = \"uplink\"\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// A bridge with an uplink and two guests that it has heard, and another product's guest above it; and where the program
/// keeps its files.
struct Lab {
    files: TempDir,
    /// Where the cables' other ends are.
    _outside: Namespace,
}

impl Lab {
    fn new() -> Self {
        let mut route = Socket::open(Family::Route).unwrap();
        let outside = Namespace::create().unwrap();
        NewLink::new("br0", "bridge").create(|data| data).apply(&mut route).unwrap();
        let bridge = link::index_of(&mut route, "br0").unwrap();
        let macvlan = NewLink::new("mv0", "macvlan").on(bridge).address(MacAddr([0, 0x0c, 0x29, 0, 0, 1]));
        macvlan.macvlan(4).apply(&mut route).unwrap();
        for (name, number) in PORTS.into_iter().zip(1u8..) {
            let address = |of| MacAddr([2, 0, 0, 0, of, number]);
            let peer = format!("{name}x");
            NewLink::new(name, "veth")
                .address(address(1))
                .veth(&peer, address(2), Some(outside.as_fd()))
                .apply(&mut route)
                .unwrap();
            let port = link::index_of(&mut route, name).unwrap();
            link::master(port, Some(bridge)).apply(&mut route).unwrap();
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
        let lab = Self { files: TempDir::new().unwrap(), _outside: outside };
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
    fn with_guests_apart() -> Self {
        let lab = Self::new();
        let policy = format!("[[bridge]]\nguest-to-guest = \"deny\"\n{POLICY}");
        fs::write(lab.file("policy.toml"), policy).unwrap();
        lab
    }

    /// The kernel looks at carriers when it gets to it.
    fn wait_until_the_ports_forward(&self) {
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

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn state(&self) -> StateDir {
        StateDir::new(self.file("state"))
    }

    /// The program, with nobody at its terminal.
    fn program(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        program.arg(command).args(arguments).arg("--state-dir").arg(self.file("state"));
        if command == "fix" {
            program.arg("--policy").arg(self.file("policy.toml"));
        }
        program.stdin(Stdio::null()).env_remove("SSH_CONNECTION");
        program
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Ran {
        Ran::of(self.program(command, arguments).output().unwrap())
    }

    fn fix(&self, arguments: &[&str]) -> Ran {
        self.run("fix", arguments)
    }

    /// What is applied, as the program tells it.
    fn applied(&self) -> Vec<Value> {
        let told = self.run("status", &["--format", "json"]);
        let document: Value = serde_json::from_str(&told.said).unwrap();
        document["applied"].as_array().unwrap().clone()
    }

    fn journals(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.file("state")).unwrap().map(|entry| entry.unwrap().path());
        let is_number =
            |extension: &OsStr| extension.to_str().is_some_and(|text| text.parse::<u32>().is_ok());
        files.filter(|path| path.extension().is_some_and(is_number)).collect()
    }

    /// Whether a journal says that a step was begun, by a line beyond the first.
    fn has_begun(&self) -> bool {
        let lines = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default().lines().count();
        self.journals().iter().any(|path| lines(path) > 1)
    }

    /// Waits until nothing is applied, or on its way, any more.
    fn wait_until_undone(&self, directory: &Directory) {
        let start = Instant::now();
        while !portcullis_apply::status(&mut Live::new(), &self.state()).unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE, "it is never undone");
            directory.wait(None, Duration::from_secs(1)).unwrap();
        }
    }
}

/// What came of a program.
#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    said: String,
    complained: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (said, complained) = (text(output.stdout), text(output.stderr));
        Self { status: output.status.code(), said, complained }
    }

    #[track_caller]
    fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}{}", self.said, self.complained);
        self
    }
}

/// What of a namespace has to be the same again: all that a change is about, but for what the kernel counts, learns or
/// numbers.
fn here() -> Netns {
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
fn in_few_words(expressions: Vec<NftExpr>) -> Vec<NftExpr> {
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

fn links(netns: &mut Netns) -> &mut [portcullis_snapshot::Link] {
    match &mut netns.links {
        Reading::Read(links) => links,
        Reading::Unread(why) => panic!("{why:?}"),
    }
}

/// Fails with the first lines that differ.
#[track_caller]
fn same(one: &Netns, other: &Netns, what: &str) {
    if one != other {
        let [one, other] = [one, other].map(|netns| format!("{netns:#?}"));
        let differing: Vec<_> = one.lines().zip(other.lines()).filter(|(one, other)| one != other).collect();
        panic!("{what}: {:#?} and so on", &differing[..differing.len().min(6)]);
    }
}

#[test]
fn what_is_applied_holds_is_enough_and_goes_away_again() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let applied = lab.fix(&["--yes"]).ends(0);
        println!("{}", applied.said);
        let with = here();
        assert_ne!(before, with);
        lab.run("status", &[]).ends(0);
        let [told] = <[Value; 1]>::try_from(lab.applied()).unwrap();
        assert_eq!(told["phase"], "applied");
        assert!(told["changes"].as_array().unwrap().iter().all(|change| change["holds"] == true), "{told}");
        // Once more is nothing.
        let again = lab.fix(&["--yes"]).ends(0);
        assert!(again.said.contains("othing"), "{}", again.said);
        same(&with, &here(), "a second time");
        assert_eq!(lab.applied().len(), 1);
        let back = lab.run("rollback", &["--yes"]).ends(0);
        assert!(back.said.contains("Undone"), "{}", back.said);
        same(&before, &here(), "taken back");
        assert_eq!(lab.journals(), <[PathBuf; 0]>::default());
        lab.run("status", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
    });
}

#[test]
fn without_somebody_to_ask_nothing_is_changed() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let refused = lab.fix(&[]).ends(2);
        assert!(refused.complained.contains("--yes"), "{}", refused.complained);
        let shown = lab.fix(&["--dry-run"]).ends(0);
        assert!(shown.said.contains("br0"), "{}", shown.said);
        lab.fix(&["--dry-run", "--yes"]).ends(0);
        lab.fix(&["--as", "script"]).ends(0);
        same(&before, &here(), "nobody was asked");
        assert!(lab.applied().is_empty() && lab.journals().is_empty());
        // What is applied is not taken back unasked either.
        lab.fix(&["--yes"]).ends(0);
        let with = here();
        lab.run("rollback", &[]).ends(2);
        same(&with, &here(), "nobody was asked to take it back");
    });
}

#[test]
fn what_nobody_confirms_is_undone_when_whoever_applied_it_is_gone() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let directory = Directory::open(&lab.file("state")).unwrap();
        let applied = lab.fix(&["--yes", "--confirm", "1s"]).ends(0);
        assert!(applied.said.contains("portcullis confirm"), "{}", applied.said);
        lab.wait_until_undone(&directory);
        same(&before, &here(), "nobody confirmed");
        lab.run("confirm", &[]).ends(2);
        same(&before, &here(), "too late");
    });
}

#[test]
fn what_is_confirmed_stays() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        lab.fix(&["--yes", "--confirm", "1h"]).ends(0);
        let with = here();
        let [told] = <[Value; 1]>::try_from(lab.applied()).unwrap();
        assert_eq!(told["phase"], "awaits_confirmation");
        assert!(told["seconds_left"].as_u64().unwrap() <= 3601);
        // Nothing is put on top of it.
        let refused = lab.fix(&["--yes", "--method", "arp-ignore"]).ends(2);
        assert!(refused.complained.contains("confirm"), "{}", refused.complained);
        lab.run("confirm", &[]).ends(0);
        assert_eq!(lab.applied()[0]["phase"], "applied");
        same(&with, &here(), "confirmed");
        lab.run("confirm", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "taken back");
    });
}

/// Starts the program and kills it as soon as it has begun. Tells whether it was still at it.
fn killed_in_the_middle(lab: &Lab) -> bool {
    let directory = Directory::open(&lab.file("state")).unwrap();
    let mut fix: Child =
        lab.program("fix", &["--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !lab.has_begun() {
        assert!(start.elapsed() < PATIENCE, "it never begins");
        directory.wait(None, Duration::from_millis(100)).unwrap();
    }
    fix.kill().unwrap();
    fix.wait().unwrap();
    match lab.applied().first().map(|told| told["phase"].clone()) {
        Some(phase) => phase == "unfinished",
        None => false,
    }
}

#[test]
fn what_was_killed_in_the_middle_the_next_command_undoes() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let mut kills = 0;
        // It may have come to its end before it is killed.
        for _ in 0..30 {
            if killed_in_the_middle(&lab) {
                kills += 1;
                if kills == 2 {
                    break;
                }
            }
            lab.run("rollback", &["--yes"]).ends(0);
            same(&before, &here(), "killed, and taken back");
        }
        assert_eq!(kills, 2, "it is never killed in the middle");
        // What only looks, leaves it; fix itself finishes the undo, and then does what it was asked for.
        assert_eq!(lab.applied()[0]["phase"], "unfinished");
        let again = lab.fix(&["--yes"]).ends(0);
        assert!(again.complained.contains("did not come to its end"), "{}", again.complained);
        assert_eq!(lab.applied().len(), 1);
        lab.run("status", &[]).ends(0);
        lab.run("rollback", &["--yes"]).ends(0);
        same(&before, &here(), "killed, undone, applied, taken back");
    });
}

#[test]
fn of_two_at_once_one_is_refused() {
    fresh(|| {
        let lab = Lab::new();
        let before = here();
        let lock = lab.file("state").join(format!("{}.lock", Namespace::current().unwrap().id().0));
        let Tried::Held(held) = FileLock::attempt(&lock).unwrap() else { panic!("it is taken") };
        let refused = lab.fix(&["--yes"]).ends(2);
        let told = format!("another process ({}) is applying or undoing", std::process::id());
        assert!(refused.complained.contains(&told), "{}", refused.complained);
        same(&before, &here(), "refused");
        assert!(lab.journals().is_empty());
        drop(held);
        lab.fix(&["--yes"]).ends(0);
    });
}

#[test]
fn what_others_changed_since_is_left_alone() {
    fresh(|| {
        let lab = Lab::new();
        let conf = |setting| sysctl::read(&["ipv4", "conf", "br0", setting]).unwrap().trim().to_owned();
        let set = |setting, value| sysctl::write(&["ipv4", "conf", "br0", setting], value).unwrap();
        // Whatever this machine starts with.
        set("arp_ignore", "0");
        set("rp_filter", "0");
        let applied = lab.fix(&["--yes", "--method", "arp-ignore,rp-filter"]);
        assert!(matches!(applied.status, Some(0 | 1)), "{applied:?}");
        assert_eq!((conf("arp_ignore"), conf("rp_filter")), ("2".to_owned(), "1".to_owned()));
        set("arp_ignore", "1");
        let told = lab.run("status", &[]).ends(1);
        assert!(told.said.contains("it is 1 now"), "{}", told.said);
        let back = lab.run("rollback", &["--yes"]).ends(0);
        assert!(back.said.contains("left alone") && back.said.contains("arp_ignore"), "{}", back.said);
        assert_eq!((conf("arp_ignore"), conf("rp_filter")), ("1".to_owned(), "0".to_owned()));
        assert!(lab.applied().is_empty());
    });
}

/// The programs that scripts call.
const TOOLS: [&str; 6] = ["sh", "ip", "bridge", "tc", "nft", "sysctl"];

fn lacks() -> Option<&'static str> {
    let is_there = |tool: &str| Command::new(tool).arg("--help").output().is_ok();
    TOOLS.into_iter().find(|tool| !is_there(tool))
}

/// Into how many groups remedies are put, one by one: neighbours in the manual, which may be in each other's way, are apart.
const GROUPS: usize = 4;

#[test]
fn the_script_does_what_the_program_does() {
    fresh(|| {
        if let Some(tool) = lacks() {
            skip!("{tool} is not here");
        }
        for first in 0..GROUPS {
            let group: Vec<_> = Method::ALL.into_iter().skip(first).step_by(GROUPS).collect();
            Namespace::create().unwrap().run(|| script_and_program(group)).unwrap();
        }
    });
}

fn asked(methods: &[Method]) -> String {
    methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(",")
}

/// Has remedies put into words; those that this kernel refuses are left out, and that is said.
fn script(lab: &Lab, methods: &mut Vec<Method>) -> String {
    loop {
        let script = lab.fix(&["--method", &asked(methods), "--as", "script"]);
        if script.status != Some(2) {
            assert!(matches!(script.status, Some(0 | 1)), "{script:?}");
            return script.said;
        }
        let is_refused = |method: &Method| script.complained.contains(&format!("refuses {method}: "));
        let Some(at) = methods.iter().position(is_refused) else { panic!("{script:?}") };
        println!("not here: {}", script.complained);
        methods.remove(at);
    }
}

/// Applies remedies, takes them back, and runs their script.
fn script_and_program(mut methods: Vec<Method>) {
    let lab = Lab::with_guests_apart();
    let before = here();
    let script = script(&lab, &mut methods);
    let asked = asked(&methods);
    println!("{asked}");
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
