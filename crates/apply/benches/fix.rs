//! How long making changes in the kernel and taking them back takes, by the number of ports, 64 on a bridge. They are made in
//! a namespace of the benchmark's own. What planning them takes: `cargo bench -p portcullis-plan`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark may fail")]

use std::os::fd::AsFd;

use divan::Bencher;
use portcullis_apply::{Live, Order, StateDir, apply, rollback};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::{Error, apply_all, capture};
use portcullis_plan::{Change, PortOption};
use portcullis_snapshot::MacAddr;

const PORTS: &[usize] = &[64, 1024];
const PORTS_OF_A_BRIDGE: usize = 64;
/// How many changes are one step, as `portcullis fix` has it.
const STEP: usize = 256;

fn main() {
    divan::main();
}

/// Each port is isolated, and is not any more.
#[divan::bench(args = PORTS, sample_count = 5)]
fn apply_and_roll_back(bencher: Bencher<'_, '_>, ports: usize) {
    let (netns, guests) = (Netns::create().unwrap(), Netns::create().unwrap());
    let changes = netns.run(|| populate(ports, &guests)).unwrap().unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    let dir = StateDir::new(directory.path());
    bencher.bench(|| {
        let order = Order {
            steps: changes.chunks(STEP).map(<[Change]>::to_vec).collect(),
            methods: Vec::new(),
            command: String::new(),
            since: String::new(),
            confirm: None,
        };
        netns.run(|| {
            apply(&mut Live::new(), &dir, order).unwrap();
            rollback(&mut Live::new(), &dir).unwrap()
        })
    });
}

/// Bridges with ports, whose peers are elsewhere. Returns what isolates each.
fn populate(ports: usize, guests: &Netns) -> Result<Vec<Change>, Error> {
    let mut route = Socket::open(Family::Route)?;
    let mut bridges = Vec::new();
    for bridge in 0..ports.div_ceil(PORTS_OF_A_BRIDGE) {
        let name = format!("br{bridge}");
        NewLink::new(&name, "bridge").create(|data| data).apply(&mut route)?;
        bridges.push(link::index_of(&mut route, &name)?);
    }
    let veths = (0..ports).map(|port| {
        let (name, peer) = (format!("p{port}"), format!("g{port}"));
        let [.., high, low] = port.to_be_bytes();
        let address = |side| MacAddr([2, side, 0, 0, high, low]);
        let new = NewLink::new(&name, "veth").address(address(0));
        new.veth(&peer, address(1), Some(guests.as_fd()))
    });
    apply_all(&mut route, veths)?;
    let mut enslave = Vec::new();
    for port in 0..ports {
        let index = link::index_of(&mut route, &format!("p{port}"))?;
        enslave
            .extend([link::master(index, bridges.get(port / PORTS_OF_A_BRIDGE).copied()), link::up(index)]);
    }
    apply_all(&mut route, enslave)?;
    let netns = capture::here()?;
    let ports = netns.links.known().iter().filter(|link| link.bridge_port().is_some());
    let isolated = |port| Change::Port { port, option: PortOption::Isolated, from: 0, to: 1 };
    Ok(ports.map(|port| isolated(port.into())).collect())
}
