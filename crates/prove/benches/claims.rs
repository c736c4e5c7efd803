//! How long it takes to judge all claims of all ports of a large host, by the number of its guests; and how long after one
//! event.

#![expect(clippy::unwrap_used, reason = "a bench whose own hosts are wrong has nothing to measure")]

use divan::Bencher;
use portcullis_datapath::Network;
use portcullis_prove::{ClassProof, Prover};
use portcullis_snapshot::{PortKind, Reading, Snapshot};
use portcullis_testnet::{AntiSpoofing, large_host};

fn main() {
    divan::main();
}

const BRIDGES: usize = 16;

/// From the snapshot to every verdict.
fn every_claim(snapshot: &Snapshot) -> Vec<ClassProof> {
    let network = Network::new(snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let alike = network.alike();
    let classes: Vec<_> = (0..alike.classes().len()).collect();
    Prover::new(&network).every_claim(&alike, &classes)
}

#[divan::bench(args = [16, 64, 256, 1024, 4096], sample_count = 10)]
fn no_rules(bencher: Bencher<'_, '_>, guests: usize) {
    let snapshot = large_host(guests, BRIDGES, AntiSpoofing::None);
    bencher.bench(|| every_claim(&snapshot).len());
}

#[divan::bench(args = [16, 64, 256, 1024, 4096], sample_count = 10)]
fn libvirt(bencher: Bencher<'_, '_>, guests: usize) {
    let snapshot = large_host(guests, BRIDGES, AntiSpoofing::Libvirt);
    bencher.bench(|| every_claim(&snapshot).len());
}

#[divan::bench(args = [16, 64, 256, 1024, 4096], sample_count = 10)]
fn proxmox(bencher: Bencher<'_, '_>, guests: usize) {
    let snapshot = large_host(guests, BRIDGES, AntiSpoofing::Proxmox);
    bencher.bench(|| every_claim(&snapshot).len());
}

/// What is left to do after one guest's port became isolated: the claims about it.
#[divan::bench(args = [16, 64, 256, 1024, 4096], sample_count = 10)]
fn claims_of_one_port(bencher: Bencher<'_, '_>, guests: usize) {
    let mut snapshot = large_host(guests, BRIDGES, AntiSpoofing::Libvirt);
    let port = isolate(&mut snapshot);
    let network = Network::new(&snapshot, snapshot.namespaces.first().unwrap().id).unwrap();
    let alike = network.alike();
    let class = alike.class(port).unwrap();
    bencher.bench(|| Prover::new(&network).claims_of(&alike, class).len());
}

/// The index of a snapshot, which has to be made anew after an event.
#[divan::bench(args = [16, 64, 256, 1024, 4096], sample_count = 10)]
fn index_and_classes(bencher: Bencher<'_, '_>, guests: usize) {
    let snapshot = large_host(guests, BRIDGES, AntiSpoofing::Libvirt);
    let id = snapshot.namespaces.first().unwrap().id;
    bencher.bench(|| Network::new(&snapshot, id).unwrap().alike().classes().len());
}

fn isolate(snapshot: &mut Snapshot) -> portcullis_snapshot::IfIndex {
    let Reading::Read(links) = &mut snapshot.namespaces.first_mut().unwrap().links else { unreachable!() };
    let link = links.iter_mut().find(|link| link.name == "vnet0").unwrap();
    if let Some(PortKind::Bridge(options)) = &mut link.port {
        options.isolated = Some(true);
    }
    link.index
}
