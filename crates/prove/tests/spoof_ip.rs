//! Frames in the name of an IP address: which those are, and where they get under the rules of a large host.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use std::net::IpAddr;

use portcullis_datapath::frame::symbolic::MOST_TAGS;
use portcullis_datapath::{Concrete, Network};
use portcullis_prove::{Goal, Prover, Receiver, Verdict, in_the_name_of};
use portcullis_snapshot::{IfIndex, Neighbour, Reading, Snapshot};
use portcullis_testnet::{AntiSpoofing, Guest, large_host};

fn index(snapshot: &Snapshot, name: &str) -> IfIndex {
    snapshot.namespaces[0].link_named(name).unwrap().index
}

fn verdicts(snapshot: &Snapshot, from: &str, goals: &[Goal]) -> Vec<Verdict> {
    let network = Network::new(snapshot, snapshot.namespaces[0].id).unwrap();
    let proofs = Prover::new(&network).prove(index(snapshot, from), goals);
    proofs.into_iter().map(|proof| proof.verdict).collect()
}

fn is_in_the_name_of(frame: &[u8], address: IpAddr) -> usize {
    let frame = Concrete::new(frame).unwrap();
    in_the_name_of(address).iter().filter(|given| given.holds(&frame)).count()
}

#[test]
fn each_sort_of_frames_has_one_and_they_share_none() {
    for (address, sorts) in [("10.0.0.7", 2), ("fe80::5054:ff:fe00:7", 3)] {
        let address: IpAddr = address.parse().unwrap();
        let conditions = in_the_name_of(address);
        assert_eq!(conditions.len(), sorts * (usize::from(MOST_TAGS) + 1));
        for condition in conditions {
            let frame = condition.witness(&[]).unwrap();
            assert_eq!(is_in_the_name_of(&frame, address), 1, "{frame:02x?}");
            assert_eq!(is_in_the_name_of(&frame, "192.0.2.1".parse().unwrap()), 0);
            assert_eq!(is_in_the_name_of(&frame, "fe80::1".parse().unwrap()), 0);
        }
    }
}

#[test]
fn rules_for_each_guest_keep_it_from_the_names_of_others() {
    let style = AntiSpoofing::Libvirt;
    let snapshot = large_host(4, 1, style);
    let [own, others] = [0, 1].map(|number| IpAddr::V4(Guest::new(number, 0, style).ip));
    let to = |name: &str| Receiver::Port(index(&snapshot, name));
    let goal = |address, to| Goal::SpoofIp { address, to };
    let goals = [
        goal(others, to("vnet2")),
        goal(others, to("vnet1")),
        goal(others, to("ens0")),
        goal(own, to("vnet2")),
        goal(own, to("ens0")),
    ];
    let found = verdicts(&snapshot, "vnet0", &goals);
    // Of recent kernels nothing tells what their rules see behind a second tag.
    let isolated = |verdict: &Verdict| match verdict {
        Verdict::Isolated => true,
        Verdict::Unproven(open) => open.iter().all(|one| one.what.contains("behind a second tag")),
        Verdict::Exposed(_) => false,
    };
    assert!(found[..3].iter().all(isolated), "{found:?}");
    assert!(found[3..].iter().all(|verdict| verdict.name() == "exposed"), "{found:?}");
}

#[test]
fn without_rules_a_guest_speaks_in_any_name() {
    let snapshot = large_host(4, 1, AntiSpoofing::None);
    let to = Receiver::Port(index(&snapshot, "vnet2"));
    for address in ["10.0.0.3", "203.0.113.9", "fe80::5054:ff:fe00:1"] {
        let address: IpAddr = address.parse().unwrap();
        let found = verdicts(&snapshot, "vnet0", &[Goal::SpoofIp { address, to }]);
        let [Verdict::Exposed(exposure)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(is_in_the_name_of(&exposure.frame, address), 1, "{exposure:?}");
        assert!(!exposure.later, "{exposure:?}");
    }
}

#[test]
fn whose_name_it_is_the_host_knows_of_its_neighbours() {
    let mut snapshot = large_host(4, 1, AntiSpoofing::None);
    let guest = Guest::new(1, 0, AntiSpoofing::None);
    let neighbour = |device: &str, address: IpAddr| Neighbour {
        device: index(&snapshot, device),
        address,
        mac: Some(guest.mac),
        state: 2,
        flags: 0,
    };
    let known = [
        neighbour("br0", guest.link_local.into()),
        neighbour("br0", guest.ip.into()),
        // Of another network, where somebody may have the same MAC address.
        neighbour("eth1", "10.255.2.9".parse().unwrap()),
    ];
    snapshot.namespaces[0].neighbours = Reading::Read(known.to_vec());
    let network = Network::new(&snapshot, snapshot.namespaces[0].id).unwrap();
    let behind = |name: &str| Prover::new(&network).ip_addresses_behind(index(&snapshot, name));
    assert_eq!(behind("vnet1"), [IpAddr::from(guest.ip), guest.link_local.into()]);
    assert_eq!(behind("vnet2"), Vec::<IpAddr>::new());
}
