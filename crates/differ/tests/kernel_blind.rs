//! The harness itself: a walk that does not see a knob must be caught, whichever knob it is.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

use portcullis_differ::blind::Blind;
use portcullis_differ::generate;
use portcullis_differ::run::Runner;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_testnet::{fresh, skip};

/// More than any of them has needed; less than a minute's work.
const MOST_SCENARIOS: u64 = 150;

/// Runs scenarios until one does not agree. A kernel that cannot be set so that the knob matters is left out.
fn is_caught(blind: Blind) {
    fresh(move || {
        pin_to_one_processor().unwrap();
        let mut runner = Runner::new(Some(blind));
        let mut in_force = 0u64;
        for seed in 1..=MOST_SCENARIOS {
            let scenario = generate::scenario(seed, 50);
            let account = runner.run(&scenario).unwrap();
            if let Some(mismatch) = account.mismatch {
                return println!("caught by scenario {seed}: {}", mismatch.differences.join("; "));
            }
            let refused = |at: usize| account.refused.iter().any(|(refused, _)| *refused == at);
            let steps = scenario.steps.iter().enumerate();
            in_force += steps.filter(|(at, step)| blind.is_about(step) && !refused(*at)).count() as u64;
        }
        if in_force == 0 {
            skip!("this kernel has no such knob as {blind:?}");
        }
        panic!("{blind:?} was set {in_force} times in {MOST_SCENARIOS} scenarios, and nothing was noticed");
    });
}

macro_rules! caught {
    ($($name:ident: $blind:ident;)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Blind::$blind);
            }
        )*
    };
}

caught! {
    isolated_ports: Isolated;
    flood_off: Flood;
    hairpin: Hairpin;
    group_fwd_mask_of_ports: GroupFwdMask;
    vlan_filtering: VlanFiltering;
    locked_ports: Locked;
    learning_off: Learning;
    local_fdb_entries: LocalEntries;
    a_promiscuous_bridge: Promiscuity;
    rp_filter: RpFilter;
    arp_ignore: ArpIgnore;
    forwarding: Forwarding;
    policy_rules: Rules;
    drop_unicast_in_l2_multicast: UnicastInMulticast;
    ageing_time: AgeingTime;
}
