//! How long a snapshot takes, and how much of it is decoding, by the number of ports. The ports are veths in a namespace
//! of the benchmark's own, 64 on a bridge, with their peers in another.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark may fail")]

use std::os::fd::AsFd;

use divan::Bencher;
use portcullis_kernel::capture::{Request, Scope, capture};
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::namespace::Netns;
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::{Error, apply_all};
use portcullis_snapshot::{MacAddr, Snapshot};
use portcullis_wire::link::link as link_message;
use portcullis_wire::{Message, bridge};

const PORTS: &[u32] = &[16, 256, 4096];
const PORTS_OF_A_BRIDGE: u32 = 64;

fn main() {
    divan::main();
}

/// A namespace with ports, and one that holds their peers.
struct Host {
    netns: Netns,
    _guests: Netns,
}

impl Host {
    fn new(ports: u32) -> Result<Self, Error> {
        let (netns, guests) = (Netns::create()?, Netns::create()?);
        netns.run(|| populate(ports, &guests))??;
        Ok(Self { netns, _guests: guests })
    }
}

fn populate(ports: u32, guests: &Netns) -> Result<(), Error> {
    let mut route = Socket::open(Family::Route)?;
    let mut bridges = Vec::new();
    for bridge in 0..ports.div_ceil(PORTS_OF_A_BRIDGE) {
        let name = format!("br{bridge}");
        NewLink::new(&name, "bridge").create(|data| data).apply(&mut route)?;
        bridges.push(link::index_of(&mut route, &name)?);
    }
    let address = |side: u8, port: u32| {
        let [a, b, c, d] = port.to_be_bytes();
        MacAddr([2, side, a, b, c, d])
    };
    let veths = (0..ports).map(|port| {
        let (name, peer) = (format!("p{port}"), format!("g{port}"));
        let new = NewLink::new(&name, "veth").address(address(0, port));
        new.veth(&peer, address(1, port), Some(guests.as_fd()))
    });
    apply_all(&mut route, veths)?;
    let mut enslave = Vec::new();
    for port in 0..ports {
        let index = link::index_of(&mut route, &format!("p{port}"))?;
        let bridge = bridges.get((port / PORTS_OF_A_BRIDGE) as usize).copied();
        enslave.extend([link::master(index, bridge), link::up(index)]);
    }
    apply_all(&mut route, enslave)
}

/// Runs a benchmark on a host with so many ports.
fn on_host(ports: u32, bench: impl FnOnce(&Host)) {
    match Host::new(ports) {
        Ok(host) => bench(&host),
        Err(error) => println!("skipped, because {error}"),
    }
}

fn snapshot_of(host: &Host) -> Snapshot {
    let request = Request { scope: Scope::Current, taken_at: String::new(), version: String::new() };
    host.netns.run(|| capture(&request)).unwrap().unwrap()
}

#[divan::bench(args = PORTS, sample_count = 10, sample_size = 1)]
fn snapshot(bencher: Bencher, ports: u32) {
    on_host(ports, |host| bencher.bench_local(|| snapshot_of(host)));
}

/// What a dump sends, message by message.
fn messages(host: &Host, request: &Message) -> Vec<Vec<u8>> {
    let dump = || {
        Socket::open(Family::Route)?
            .dump("a dump", request, Vec::new, |all, reply| all.push(reply.payload.to_vec()))
    };
    host.netns.run(dump).unwrap().unwrap()
}

fn header(family: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0; length];
    if let Some(first) = header.first_mut() {
        *first = family;
    }
    header
}

#[divan::bench(args = PORTS, sample_count = 20)]
fn decode_links(bencher: Bencher, ports: u32) {
    const RTM_GETLINK: u16 = 18;
    on_host(ports, |host| {
        let messages = messages(host, &Message::new(RTM_GETLINK, 0).header(&header(0, 16)));
        bencher.bench_local(|| messages.iter().filter_map(|message| link_message(message).ok()).count());
    });
}

#[divan::bench(args = PORTS, sample_count = 20)]
fn decode_fdb(bencher: Bencher, ports: u32) {
    const RTM_GETNEIGH: u16 = 30;
    on_host(ports, |host| {
        let messages = messages(host, &Message::new(RTM_GETNEIGH, 0).header(&header(7, 12)));
        bencher.bench_local(|| messages.iter().filter_map(|message| bridge::fdb_entry(message)).count());
    });
}
