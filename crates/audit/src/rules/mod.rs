//! The rules, a file each: manual page, check, tests. What several of them share is in `host`, `services`,
//! `crate::probe` and `crate::remedy`.

mod host;
mod services;
mod settings;

pub mod arp_probe;
pub mod br_netfilter;
pub mod bridge_promiscuous;
pub mod brouting;
pub mod fdb_exhaustion;
pub mod fdb_local_surprise;
pub mod foreign_bridge;
pub mod foreign_guest_flood;
pub mod guest_to_guest;
pub mod host_access;
pub mod host_arp;
pub mod host_forwards;
pub mod host_ipv4;
pub mod host_ipv6;
pub mod hub_mode;
pub mod ineffective_hardening;
pub mod infra_address;
pub mod ip_spoofing;
pub mod link_local_forwarding;
pub mod link_local_to_host;
pub mod locked_self_authorised;
pub mod mac_spoofing;
pub mod macvlan_host_exposure;
pub mod mixed_firewalls;
pub mod multicast_takeover;
pub mod packet_socket_listeners;
pub mod port_detours;
pub mod priority_tags;
pub mod rogue_ra;
pub mod stp_from_guest;
pub mod unknown_unicast_flood;
pub mod unread_state;
pub mod vlan_hop;
