//! Every rule, a line each. The order is that of `portcullis explain list`.

use crate::rule::{Rule, RuleDoc, RuleId};
use crate::rules;

/// Every rule there is.
pub static RULES: &[&dyn Rule] = &[
    &rules::link_local_to_host::LinkLocalToHost,
    &rules::host_arp::HostArp,
    &rules::host_ipv4::HostIpv4,
    &rules::host_ipv6::HostIpv6,
    &rules::arp_probe::ArpProbe,
    &rules::infra_address::InfraAddress,
    &rules::host_forwards::HostForwards,
    &rules::host_access::HostAccess,
    &rules::rogue_ra::RogueRa,
    &rules::guest_to_guest::GuestToGuest,
    &rules::priority_tags::PriorityTags,
    &rules::ineffective_hardening::IneffectiveHardening,
    &rules::packet_socket_listeners::PacketSocketListeners,
    &rules::unread_state::UnreadState,
];

/// Returns the manual page of a rule.
#[must_use]
pub fn doc(id: RuleId) -> Option<&'static RuleDoc> {
    docs().find(|doc| doc.id == id)
}

/// Returns the manual page of a rule by its name.
#[must_use]
pub fn doc_named(name: &str) -> Option<&'static RuleDoc> {
    docs().find(|doc| doc.id.0 == name)
}

/// Returns every manual page.
pub fn docs() -> impl Iterator<Item = &'static RuleDoc> {
    RULES.iter().map(|rule| rule.doc())
}

/// Returns the name of every rule.
pub fn ids() -> impl Iterator<Item = RuleId> {
    docs().map(|doc| doc.id)
}
