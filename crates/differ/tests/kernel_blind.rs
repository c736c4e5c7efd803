//! The harness itself, as in `blind`: a knob that not every kernel has.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "this is a test, which may fail")]

#[path = "blind/caught.rs"]
mod caught;

use portcullis_differ::blind::Blind;

#[test]
fn vlan_filtering() {
    caught::is_caught(Blind::VlanFiltering, 1);
}
