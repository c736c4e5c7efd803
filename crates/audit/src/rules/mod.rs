//! The rules, a file each: manual page, check, tests. What several of them share is in `host`, `services`,
//! `crate::probe` and `crate::remedy`.

mod host;
mod services;

pub mod arp_probe;
pub mod guest_to_guest;
pub mod host_access;
pub mod host_arp;
pub mod host_forwards;
pub mod host_ipv4;
pub mod host_ipv6;
pub mod ineffective_hardening;
pub mod infra_address;
pub mod link_local_to_host;
pub mod packet_socket_listeners;
pub mod priority_tags;
pub mod rogue_ra;
pub mod unread_state;
