//! libvirt's network filters, put to the proof and to the kernel as other products' are (`product_rulesets`): in stock kernels,
//! too, as few others have legacy ebtables.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a test may fail, in its helpers too, of which other products' tests use more"
)]

#[path = "../product_rulesets/claims.rs"]
mod claims;
#[path = "../product_rulesets/frames.rs"]
mod frames;
#[path = "../product_rulesets/hold.rs"]
mod hold;
mod libvirt;
#[path = "../product_rulesets/world.rs"]
mod world;

use hold::{hold, on};
