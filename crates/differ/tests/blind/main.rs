//! The harness itself: a walk that does not see a knob must be caught, whichever knob it is. Which kernel catches it does
//! not matter, so that this machine's does; `kernel_blind` is for what kernels are built without.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

mod caught;

use portcullis_differ::blind::Blind;

macro_rules! caught {
    ($($name:ident: $blind:ident from $first:literal;)*) => {
        $(
            #[test]
            fn $name() {
                caught::is_caught(Blind::$blind, $first);
            }
        )*
    };
}

caught! {
    isolated_ports: Isolated from 19;
    flood_off: Flood from 10;
    hairpin: Hairpin from 2;
    group_fwd_mask_of_ports: GroupFwdMask from 11;
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
