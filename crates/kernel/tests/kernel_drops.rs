//! Drops as the kernel's trace tells them, against frames that are sent to be dropped.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod common;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{Lab, fresh};
use portcullis_kernel::drops::{DropTrace, Dropped};
use portcullis_kernel::packet::{PacketSocket, Promiscuous};
use portcullis_snapshot::EtherType;
use portcullis_testnet::skip;

/// Nobody else on this machine sends this: it is for local experiments (IEEE 802).
const OURS: EtherType = EtherType(0x88b5);

/// Instances of tests beside would be seen as left behind.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A frame whose source is a group, which no bridge takes.
fn from_a_group() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 2];
    frame.extend(OURS.0.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// A bridge with one port, and a socket at the other end of its cable.
fn cable(lab: &mut Lab) -> PacketSocket {
    let bridge = lab.bridge("br0");
    lab.port(bridge, "p1");
    lab.forward("p1");
    PacketSocket::open(lab.index("p1x"), Promiscuous::No).unwrap()
}

/// Reads a trace until it has told of a frame of ours.
fn first_of_ours(trace: &mut DropTrace) -> Dropped {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let ours = trace.drain().unwrap().into_iter().find(|dropped| dropped.protocol == OURS);
        if let Some(dropped) = ours {
            return dropped;
        }
        assert!(Instant::now() < patience, "no drop of ours was told");
        std::thread::yield_now();
    }
}

#[test]
fn drops_are_told_with_their_place_and_reason() {
    fresh(|lab| {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trace = match DropTrace::start() {
            Ok(trace) => trace,
            Err(error) => skip!("{error}"),
        };
        cable(lab).send(&from_a_group()).unwrap();
        let dropped = first_of_ours(&mut trace);
        assert_eq!(dropped.function(), Some("br_handle_frame"), "{dropped:?}");
        // The reason is older than the bridge's use of it.
        let reasons = [None, Some("NOT_SPECIFIED"), Some("MAC_INVALID_SOURCE")];
        assert!(reasons.contains(&dropped.reason.as_deref()), "{dropped:?}");
    });
}

#[test]
fn each_trace_of_drops_hears_for_itself_and_leaves_nothing() {
    fresh(|lab| {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut first, mut second) = match (DropTrace::start(), DropTrace::start()) {
            (Ok(first), Ok(second)) => (first, second),
            (first, _) => skip!("{}", first.err().map_or_else(String::new, |error| error.to_string())),
        };
        let socket = cable(lab);
        socket.send(&from_a_group()).unwrap();
        assert_eq!(first_of_ours(&mut first), first_of_ours(&mut second));
        drop(first);
        socket.send(&from_a_group()).unwrap();
        first_of_ours(&mut second);
        drop(second);
        // Where tracefs is not mounted, nobody can see that there is nothing.
        let instances = Path::new("/sys/kernel/tracing/instances").read_dir().into_iter().flatten();
        let names: Vec<String> =
            instances.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let left = format!("portcullis-{}", std::process::id());
        assert!(
            !names.iter().any(|name| *name == left || name.starts_with(&format!("{left}-"))),
            "{names:?}"
        );
    });
}
