//! Proofs, held against the kernel: on configurations that it made, a frame that is said to get through is sent and does,
//! and none of thousands gets where none is said to. `cargo xtask differ --proofs` does as many as one likes.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use std::net::Ipv4Addr;

use portcullis_datapath::frame::ArpOperation;
use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::generate::{self, Scenario, Sent};
use portcullis_differ::knobs::PORT_KNOBS;
use portcullis_differ::names::{self, BRIDGE, GUESTS, PORTS};
use portcullis_differ::proofs::{Account, Judge, Search};
use portcullis_differ::run::Runner;
use portcullis_differ::step::Step;
use portcullis_kernel::link::{NUD_NOARP, NUD_REACHABLE};
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_prove::{Goal, HostProtocol, Verdict};
use portcullis_snapshot::VlanId;
use portcullis_testnet::{fresh, skip};

const SEEDS: std::ops::Range<u64> = 1..6;
/// Frames enough for the whole battery.
const SEARCH: Search = Search { frames: 3_000, neighbours: 1, most_ways: 3_000 };

#[test]
fn witnesses_get_through_and_nothing_else_does() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let (mut judge, mut total) = (Judge::new(SEARCH), Account::default());
        for seed in SEEDS {
            let account = judge.seed(seed).unwrap();
            if let Some(wrong) = account.wrong.first() {
                let wrong = judge.shrink(wrong.clone()).unwrap();
                panic!("configuration {seed}: {}", wrong.lines().join("\n"));
            }
            total.add(account);
        }
        println!(
            "{} exposed, {} of them sent and arrived; {} isolated, searched with {} frames; {} unproven",
            total.with_verdict("exposed"),
            total.arrived,
            total.with_verdict("isolated"),
            total.sent,
            total.with_verdict("unproven"),
        );
        assert!(total.arrived >= 10, "too few arrived: {total:?}");
        assert!(total.searched >= 20, "too few are isolated: {total:?}");
    });
}

/// A host that answers no ARP, but asks for whom it answers otherwise.
fn silent_but_asking() -> Vec<Step> {
    let (p0, p1) = (PORTS[0], PORTS[1]);
    let mut steps = vec![Step::Bridge(BRIDGE)];
    for (near, far) in [p0, p1].into_iter().zip(GUESTS) {
        steps.extend([Step::Cable { near, far }, Step::Master { device: near, master: BRIDGE }]);
        steps.extend([Step::Up(far), Step::Up(near)]);
    }
    let address = Ipv4Addr::new(10, 0, 0, 1).into();
    steps.extend([
        Step::Up(BRIDGE),
        Step::Address { device: BRIDGE, address, prefix: 24 },
        // Of every device: frames to link-local group addresses come up on the ports.
        Step::Sysctl { family: "ipv4", device: Some("all"), setting: "arp_ignore", value: 8 },
    ]);
    steps
}

#[test]
fn an_answer_is_taken_in_once_the_host_has_asked() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let steps = silent_but_asking();
        let goal = Goal::Host(HostProtocol::Arp);
        let verdicts = Judge::new(SEARCH).verdicts(&steps, &[goal]).unwrap();
        let [Verdict::Exposed(exposure)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(exposure.later, "nobody is asked for yet: {exposure:?}");
        // A ping makes the host ask; its harness sees the answer in the neighbour table.
        let (guest, host) = (Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 1));
        let mac = generate::guest_mac(0);
        let answer = Payload::Arp {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: guest,
            target_ip: host,
        };
        let frames = [Payload::Ping4 { from: guest, to: host }, answer].map(|payload| {
            let bytes = FrameBuilder::new(names::mac(BRIDGE), mac).payload(&payload);
            Sent { into: PORTS[0], bytes }
        });
        let account = Runner::new(None).run(&Scenario { steps, frames: frames.into() }).unwrap();
        assert!(account.mismatch.is_none(), "{:#?}", account.mismatch);
    });
}

/// A proxy's port is left out of every flood; found by a frame that an entry led there (configuration 98).
#[test]
fn an_entry_leads_where_nothing_is_flooded() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut steps = silent_but_asking();
        let knob = PORT_KNOBS.iter().find(|knob| knob.keyword == "proxy_arp").unwrap();
        steps.push(Step::PortOption { port: PORTS[1], knob, value: 1 });
        let goal = Goal::Port(names::index(PORTS[1]));
        let verdicts = Judge::new(SEARCH).verdicts(&steps, &[goal]).unwrap();
        assert!(matches!(verdicts.as_slice(), [Verdict::Exposed(_)]), "{verdicts:?}");
        // With the entry there the witness goes there.
        let (address, state) = (generate::guest_mac(1), NUD_REACHABLE);
        steps.push(Step::Fdb { device: PORTS[1], address, vlan: None, state, flags: 0 });
        let account = Judge::new(SEARCH).claims(&steps, Some(vec![goal]), 1).unwrap();
        assert!(account.wrong.is_empty(), "{:?}", account.wrong);
        assert_eq!(account.with_verdict("exposed"), 1, "{account:?}");
    });
}

/// Where a port neither floods nor learns, an entry that somebody made leads there until it ages (configuration 207).
#[test]
fn an_entry_leads_where_nothing_is_learned() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut steps = silent_but_asking();
        for (keyword, value) in [("proxy_arp", 1), ("learning", 0)] {
            let knob = PORT_KNOBS.iter().find(|knob| knob.keyword == keyword).unwrap();
            steps.push(Step::PortOption { port: PORTS[1], knob, value });
        }
        let (address, state) = (generate::guest_mac(1), NUD_REACHABLE);
        let goal = Goal::Port(names::index(PORTS[1]));
        let verdicts = Judge::new(SEARCH).verdicts(&steps, &[goal]).unwrap();
        assert_eq!(verdicts, [Verdict::Isolated]);
        steps.push(Step::Fdb { device: PORTS[1], address, vlan: None, state, flags: 0 });
        let account = Judge::new(SEARCH).claims(&steps, Some(vec![goal]), 1).unwrap();
        assert!(account.wrong.is_empty(), "{:?}", account.wrong);
        assert_eq!(account.with_verdict("exposed"), 1, "{account:?}");
    });
}

/// An address that is at both ports, in one VLAN here and in another there, shows nothing by being where it was (configuration
/// 69 on 6.12).
#[test]
fn an_address_that_was_here_before_is_not_taken_over() {
    fresh(|| {
        pin_to_one_processor().unwrap();
        let mut steps = silent_but_asking();
        let knob = PORT_KNOBS.iter().find(|knob| knob.keyword == "learning").unwrap();
        steps.push(Step::PortOption { port: PORTS[0], knob, value: 0 });
        steps.push(Step::Member { device: PORTS[0], id: VlanId::new(5).unwrap(), flags: Some(0) });
        // Without a VLAN, it is made in each of the port's; the second replaces those that both have.
        for (device, state) in [(PORTS[0], NUD_NOARP), (PORTS[1], NUD_REACHABLE)] {
            steps.push(Step::Fdb { device, address: generate::guest_mac(1), vlan: None, state, flags: 0 });
        }
        let goal = Goal::Spoof { of: names::index(PORTS[1]) };
        let account = Judge::new(SEARCH).claims(&steps, Some(vec![goal]), 1).unwrap();
        if let Some((_, why)) = account.refused.first() {
            skip!("{why}");
        }
        assert!(account.wrong.is_empty(), "{:?}", account.wrong);
        assert_eq!(account.with_verdict("isolated"), 1, "{account:?}");
    });
}
