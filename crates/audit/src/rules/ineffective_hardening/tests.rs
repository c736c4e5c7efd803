//! Each setting on, with what it leaves open; and each without.

use portcullis_snapshot::LinkFlags;

use crate::Finding;
use crate::testing::{Host, sketch};

fn found(host: &Host) -> Vec<Finding> {
    host.found("ineffective-hardening")
}

fn titles(host: &Host) -> String {
    found(host).iter().map(|finding| format!("{}: {}\n", finding.severity.name(), finding.title)).collect()
}

#[test]
fn no_hardening_is_no_illusion() {
    assert_eq!(found(&Host::hypervisor()), []);
}

#[test]
fn a_blackhole_rule_behind_the_local_table() {
    let mut host = Host::hypervisor();
    host.rule(false, 100, 6, 0).iif = Some("br0".to_owned());
    insta::assert_snapshot!(sketch(&found(&host)), @r#"
        medium br0: the policy rule for br0 does not stop packets to the host itself
          priority of the ip rule that blocks br0 = 100
          priority of the ip rule for the local table = 0
          0200000000040250430000050800… by vnet0 reaches the host, on br0
          $ ip rule add pref 101 lookup local
          $ ip rule del pref 0 lookup local
          $ nft add table netdev portcullis
          $ nft 'add chain netdev portcullis up_br0 { type filter hook ingress device "br0" priority -500; policy drop; }'
        "#);
}

#[test]
fn a_blackhole_rule_before_the_local_table_leaves_broadcast() {
    let mut host = Host::hypervisor();
    host.rule(false, 100, 6, 0).iif = Some("br0".to_owned());
    if let portcullis_snapshot::Reading::Read(rules) = &mut host.netns().rules {
        rules.retain(|rule| rule.ipv6 || rule.priority != 0);
    }
    host.rule(false, 200, 1, 255);
    insta::assert_snapshot!(titles(&host), @"low: broadcast and address probes pass the policy rule for br0");
}

#[test]
fn ip_forward_does_not_speak_for_the_device() {
    let mut host = Host::hypervisor();
    host.ipv4("br0").forwarding = Some(1);
    insta::assert_snapshot!(titles(&host), @"medium: ip_forward is 0, yet br0 forwards");
    host.all_ipv4().all.forwarding = Some(1);
    assert_eq!(found(&host), []);
}

#[test]
fn strict_in_name_only() {
    let mut host = Host::hypervisor();
    host.address("br0", "192.0.2.1/24");
    host.route_via("0.0.0.0/0", 254, 1, "eth1", Some("10.1.2.1"));
    host.ipv4("br0").rp_filter = Some(1);
    assert_eq!(found(&host), []);
    host.all_ipv4().all.rp_filter = Some(2);
    insta::assert_snapshot!(titles(&host), @"medium: rp_filter of br0 is strict in name only");
}

#[test]
fn the_reverse_path_filter_on_a_bridge_without_an_address() {
    let mut host = Host::hypervisor();
    host.ipv4("br0").rp_filter = Some(1);
    insta::assert_snapshot!(titles(&host), @"low: the reverse path filter leaves broadcast and address probes on br0 open");
}

#[test]
fn ipv6_off_on_the_bridge_only() {
    let mut host = Host::hypervisor();
    host.ipv6("br0").disable_ipv6 = Some(1);
    insta::assert_snapshot!(sketch(&found(&host)), @r#"
        medium br0: IPv6 is off on br0 and on at its ports
          net.ipv6.conf.br0.disable_ipv6 = 1
          0180c200000e02504300000586dd… by vnet0 reaches the host's IPv6 on the port
          $ sysctl -w net.ipv6.conf.vnet0.disable_ipv6=1
          $ sysctl -w net.ipv6.conf.vnet1.disable_ipv6=1
          $ sysctl -w net.ipv6.conf.vnet2.disable_ipv6=1
          $ nft 'add table netdev portcullis'
          $ nft 'add chain netdev portcullis port_vnet0 { type filter hook ingress device "vnet0" priority -500; }'
          $ nft 'add rule netdev portcullis port_vnet0 ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop'
        "#);
    for guest in ["vnet0", "vnet1", "vnet2"] {
        host.ipv6(guest).disable_ipv6 = Some(1);
    }
    assert_eq!(found(&host), []);
}

#[test]
fn the_well_known_recipe() {
    let mut host = Host::hypervisor();
    host.bridge_options("br0").vlan_filtering = Some(true);
    host.no_vlan("br0", 1);
    insta::assert_snapshot!(titles(&host), @"medium: br0 is in no VLAN, yet link-local frames reach the host");
}

#[test]
fn arp_off_or_ignored() {
    let mut host = Host::hypervisor();
    host.link("br0").flags.0 |= LinkFlags::NOARP;
    insta::assert_snapshot!(titles(&host), @"medium: br0 answers no ARP, yet takes IPv4");
    let mut host = Host::hypervisor();
    host.all_ipv4().all.arp_ignore = Some(1);
    assert_eq!(found(&host).len(), 1);
}

#[test]
fn isolated_guests_reach_the_host() {
    let mut host = Host::hypervisor();
    host.port_options("vnet1").isolated = Some(true);
    insta::assert_snapshot!(titles(&host), @"low: isolation does not keep guests from the host");
}
