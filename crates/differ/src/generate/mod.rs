//! Random configurations and frames, from a seed. Whatever the kernel refuses is left out later; what it takes should
//! be likely to matter, so most of a configuration is as it is by default and a few things are not.

mod config;
mod firewall;
mod frames;
mod ipset;
mod isolation;
mod nat;
mod pedit;
mod registers;
mod tools;
mod traffic;
mod writes;

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use portcullis_snapshot::MacAddr;

use crate::names::Name;
use crate::step::Step;

pub(crate) use frames::EXPERIMENT;

/// A configuration and what is sent through it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What is configured, in this order.
    pub steps: Vec<Step>,
    /// What is sent, in this order.
    pub frames: Vec<Sent>,
}

/// One frame that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The host's end of the cable that it comes in by.
    pub into: Name,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Makes a scenario of this many frames.
#[must_use]
pub fn scenario(seed: u64, frames: usize) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let steps = config::steps(&mut rng, config::Sort::Anything);
    let frames = frames::frames(&mut rng, &steps, frames);
    Scenario { steps, frames }
}

/// Makes the steps of a configuration in which much is closed, and little is left open.
///
/// Its first port is a cable or a tap, so that what is sent into it is what comes in by it.
#[must_use]
pub fn near_isolated(seed: u64) -> Vec<Step> {
    isolation::steps(&mut Rng::with_seed(seed))
}

/// Makes frames for a configuration that all come in by one wire.
#[must_use]
pub fn frames_into(seed: u64, steps: &[Step], into: Name, count: usize) -> Vec<Vec<u8>> {
    frames::frames_into(&mut Rng::with_seed(seed), steps, into, count)
}

/// Whether the one case in so many is this one.
fn one_in(rng: &mut Rng, count: u32) -> bool {
    rng.u32(..count) == 0
}

/// One of several; the first if there are none, which no caller gives.
fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> Option<T> {
    rng.choice(from).copied()
}

/// A guest's own hardware address.
#[must_use]
pub const fn guest_mac(number: usize) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 0x20, number as u8])
}

/// A guest's own IPv4 address.
#[must_use]
pub const fn guest_ip4(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 11 + number as u8)
}

/// A guest's own IPv6 address.
#[must_use]
pub const fn guest_ip6(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 11 + number as u16)
}

/// A router beyond the uplink.
pub const ROUTER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// A router beyond the uplink.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);
/// The VLANs that configurations and frames speak of.
pub const VLANS: [u16; 4] = [1, 5, 6, 100];
