//! The rules, a file each: manual page, check, tests. What several of them share is in `host`, `services`,
//! `crate::probe` and `crate::remedy`.

mod host;
mod services;

pub mod arp_probe;
pub mod host_arp;
pub mod host_forwards;
pub mod host_ipv4;
pub mod host_ipv6;
pub mod infra_address;
pub mod link_local_to_host;
