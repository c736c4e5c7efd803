//! The harness itself: a walk that does not see a knob must be caught, whichever knob it is.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_differ::blind::Blind;
use portcullis_differ::generate;
use portcullis_differ::run::Runner;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_testnet::{fresh, skip};

/// More than any of them has needed; less than a minute's work.
const MOST_SCENARIOS: usize = 150;

/// A knob that none of so many scenarios could turn is not there.
const ENOUGH_TO_TELL: usize = 40;

/// Runs scenarios from one on until one does not agree. The first is chosen so that not many are needed. A kernel that cannot be set so that the knob matters is left out.
fn is_caught(blind: Blind, first: u64) {
    fresh(move || {
        pin_to_one_processor().unwrap();
        let mut runner = Runner::new(Some(blind));
        let mut in_force = 0;
        for (number, seed) in (first..).take(MOST_SCENARIOS).enumerate() {
            if number >= ENOUGH_TO_TELL && in_force == 0 {
                skip!("this kernel has no such knob as {blind:?}");
            }
            let account = runner.run(&generate::scenario(seed, 50)).unwrap();
            if let Some(mismatch) = account.mismatch {
                return println!("caught by scenario {seed}: {}", mismatch.differences.join("; "));
            }
            in_force += usize::from(account.hidden);
        }
        panic!("{blind:?} was hidden in {in_force} of {MOST_SCENARIOS} scenarios, and nothing was noticed");
    });
}

macro_rules! caught {
    ($($name:ident: $blind:ident from $first:literal;)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Blind::$blind, $first);
            }
        )*
    };
}

caught! {
    isolated_ports: Isolated from 19;
    flood_off: Flood from 10;
    hairpin: Hairpin from 2;
    group_fwd_mask_of_ports: GroupFwdMask from 11;
    vlan_filtering: VlanFiltering from 1;
    locked_ports: Locked from 7;
    learning_off: Learning from 2;
    local_fdb_entries: LocalEntries from 2;
    a_promiscuous_bridge: Promiscuity from 38;
    rp_filter: RpFilter from 11;
    arp_ignore: ArpIgnore from 7;
    forwarding: Forwarding from 15;
    policy_rules: Rules from 17;
    drop_unicast_in_l2_multicast: UnicastInMulticast from 42;
    ageing_time: AgeingTime from 26;
    nftables: Nftables from 7;
}
