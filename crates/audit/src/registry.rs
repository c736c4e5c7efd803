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
    &rules::hub_mode::HubMode,
    &rules::bridge_promiscuous::BridgePromiscuous,
    &rules::foreign_bridge::ForeignBridge,
    &rules::foreign_guest_flood::ForeignGuestFlood,
    &rules::unknown_unicast_flood::UnknownUnicastFlood,
    &rules::mac_spoofing::MacSpoofing,
    &rules::ip_spoofing::IpSpoofing,
    &rules::locked_self_authorised::LockedSelfAuthorised,
    &rules::fdb_exhaustion::FdbExhaustion,
    &rules::fdb_local_surprise::FdbLocalSurprise,
    &rules::vlan_hop::VlanHop,
    &rules::stp_from_guest::StpFromGuest,
    &rules::multicast_takeover::MulticastTakeover,
    &rules::link_local_forwarding::LinkLocalForwarding,
    &rules::br_netfilter::BrNetfilter,
    &rules::brouting::Brouting,
    &rules::port_detours::PortDetours,
    &rules::mixed_firewalls::MixedFirewalls,
    &rules::macvlan_host_exposure::MacvlanHostExposure,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<_> = ids().map(|id| id.0).collect();
        let all = names.len();
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit()))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn manual_pages_are_whole() {
        for doc in docs() {
            let texts = [doc.title, doc.threat, doc.how_found];
            assert!(texts.iter().all(|text| !text.is_empty()), "{}", doc.id);
            assert!(!doc.remedies.is_empty() && !doc.references.is_empty(), "{}", doc.id);
            assert!(texts.iter().all(|text| !text.contains("  ")), "{}: a line break went wrong", doc.id);
        }
    }

    #[test]
    fn remedies_of_findings_are_those_of_the_manual() {
        let mut host = Host::hypervisor();
        host.ipv4("br0").forwarding = Some(1);
        host.ipv6("br0").disable_ipv6 = Some(1);
        host.port_options("vnet1").isolated = Some(true);
        host.rule(false, 100, 6, 0).iif = Some("br0".to_owned());
        for finding in host.audit().findings {
            let doc = doc(finding.rule).unwrap();
            for remedy in &finding.remedies {
                let known = doc.remedies.iter().any(|doc| doc.method == remedy.method);
                assert!(known, "{} offers {}", finding.rule, remedy.method);
            }
        }
    }
}
