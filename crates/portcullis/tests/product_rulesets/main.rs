//! Rulesets as products write them (`tests/rulesets/`), loaded by the tools themselves into a host as such a product
//! builds it: no rule is lost, what the product promises is proven or refuted, and the kernel agrees, frame by frame.
//! On this machine's kernel alone: emulated it would take longer than all other tests together. libvirt's, whose legacy
//! ebtables many a machine's kernel lacks, are `kernel_libvirt`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a test may fail, in its helpers too, of which `kernel_libvirt` uses more"
)]

mod claims;
mod docker;
mod firewalld;
mod frames;
mod hold;
mod incus;
mod proxmox;
mod world;

use hold::{hold, on};
