//! ebtables.

use portcullis_snapshot::{
    EbtHeader, EbtProtocol, EtherType, LegacyFamily, LegacyHeader, MacAddr, NftFamily, XtAmong, XtAmongEntry,
    XtBridgeArp, XtBridgeIp, XtBridgeMark, XtBridgeMarkOp, XtBridgeNat, XtBridgePorts, XtBridgeVlan,
    XtDevice, XtIeee8023, XtInterface, XtMac, XtMatch, XtStp, XtTarget, XtValue, XtVerdict,
};
use portcullis_testnet::fresh;

use super::{Case, address, case, is, not, not_in, range, reads_compat, reads_legacy};

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 5]);
const ONES: MacAddr = MacAddr::BROADCAST;

fn of_type(words: &'static str, kind: EtherType, matches: Vec<XtMatch>) -> Case {
    let protocol = Some(is(EbtProtocol::Type(kind)));
    case(words, LegacyHeader::Bridge(EbtHeader { protocol, ..EbtHeader::default() }), matches)
}

fn plain(words: &'static str, matches: Vec<XtMatch>) -> Case {
    case(words, LegacyHeader::Bridge(EbtHeader::default()), matches)
}

fn headers() -> Vec<Case> {
    let device = |interface, inverted| Some(XtDevice { interface, inverted });
    let name = |name: &str| XtInterface::Name(name.to_owned());
    let mac = |address, mask, inverted| Some(XtMac { address, mask, inverted });
    let full = EbtHeader {
        protocol: Some(not(EbtProtocol::Type(EtherType::ARP))),
        source: mac(GUEST, ONES, true),
        destination: mac(MacAddr([1, 0, 0, 0, 0, 0]), MacAddr([1, 0, 0, 0, 0, 0]), false),
        input: device(XtInterface::Prefix("tap".to_owned()), false),
        output: device(name("eth0"), true),
        logical_input: device(name("br0"), false),
        logical_output: device(name("br1"), true),
    };
    let length = EbtHeader { protocol: Some(is(EbtProtocol::Length)), ..EbtHeader::default() };
    vec![
        case(
            "-t filter -A FORWARD ! -p ARP ! -s 02:00:00:00:00:05 -d Multicast -i tap+ ! -o eth0 --logical-in br0 \
             ! --logical-out br1 -j DROP",
            LegacyHeader::Bridge(full),
            vec![],
        )
        .verdict(XtVerdict::Drop),
        case("-t filter -A FORWARD -p LENGTH -j ACCEPT", LegacyHeader::Bridge(length), vec![])
            .verdict(XtVerdict::Accept),
        plain("-t filter -A FORWARD -j CONTINUE", vec![]),
    ]
}

fn ip() -> Vec<Case> {
    let ports = XtBridgePorts::Ports { source: Some(range(1000, 2000)), destination: Some(not_in(80, 80)) };
    let full = XtBridgeIp {
        source: Some(address("192.0.2.0", "255.255.255.0", true)),
        destination: Some(address("198.51.100.1", "255.255.255.255", false)),
        tos: Some(not(16)),
        protocol: Some(is(6)),
        transport: Some(ports),
    };
    let transport = |protocol, transport| XtBridgeIp {
        source: None,
        destination: None,
        tos: None,
        protocol: Some(is(protocol)),
        transport: Some(transport),
    };
    let icmp = transport(1, XtBridgePorts::Icmp { kinds: not_in(3, 5), codes: range(0, 255) });
    let igmp = transport(2, XtBridgePorts::Igmp { kinds: range(0x11, 0x11) });
    let icmp6 = transport(58, XtBridgePorts::Icmp { kinds: range(135, 135), codes: range(0, 2) });
    let six = XtBridgeIp {
        source: Some(address("2001:db8::", "ffff:ffff::", false)),
        destination: None,
        tos: Some(is(8)),
        protocol: Some(not(17)),
        transport: None,
    };
    vec![
        of_type(
            "-t filter -A FORWARD -p IPv4 ! --ip-src 192.0.2.0/24 --ip-dst 198.51.100.1 ! --ip-tos 0x10 --ip-proto tcp \
             --ip-sport 1000:2000 ! --ip-dport 80",
            EtherType::IPV4,
            vec![XtMatch::Ip(full)],
        ),
        of_type(
            "-t filter -A FORWARD -p IPv4 --ip-proto icmp ! --ip-icmp-type 3:5",
            EtherType::IPV4,
            vec![XtMatch::Ip(icmp)],
        ),
        of_type(
            "-t filter -A FORWARD -p IPv4 --ip-proto igmp --ip-igmp-type 0x11",
            EtherType::IPV4,
            vec![XtMatch::Ip(igmp)],
        ),
        of_type(
            "-t filter -A FORWARD -p IPv6 --ip6-src 2001:db8::/32 --ip6-tclass 0x8 ! --ip6-proto udp",
            EtherType::IPV6,
            vec![XtMatch::Ip6(six)],
        ),
        of_type(
            "-t filter -A FORWARD -p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type 135/0:2",
            EtherType::IPV6,
            vec![XtMatch::Ip6(icmp6)],
        ),
    ]
}

fn others() -> Vec<Case> {
    let arp = XtBridgeArp {
        operation: Some(is(1)),
        hardware: Some(not(1)),
        protocol: Some(is(0x800)),
        source: Some(address("192.0.2.7", "255.255.255.255", true)),
        target: Some(address("198.51.100.0", "255.255.255.0", false)),
        source_mac: Some(XtMac { address: GUEST, mask: ONES, inverted: true }),
        target_mac: None,
        gratuitous: None,
    };
    let gratuitous = XtBridgeArp { gratuitous: Some(true), ..XtBridgeArp::default() };
    let vlan = XtBridgeVlan { id: Some(is(5)), priority: None, encapsulated: Some(not(0x806)) };
    let priority = XtBridgeVlan { id: None, priority: Some(is(3)), encapsulated: None };
    let stp = XtStp {
        kind: Some(is(0)),
        root_priority: Some(range(1, 5)),
        root_address: Some(XtMac { address: GUEST, mask: ONES, inverted: false }),
        root_cost: Some(not_in(7, 9)),
        forward_delay: Some(range(2, 2)),
        ..XtStp::default()
    };
    let bpdu = EbtHeader {
        destination: Some(XtMac { address: MacAddr([1, 0x80, 0xc2, 0, 0, 0]), mask: ONES, inverted: false }),
        ..EbtHeader::default()
    };
    let length = EbtHeader { protocol: Some(is(EbtProtocol::Length)), ..EbtHeader::default() };
    let snap = XtIeee8023 { sap: Some(is(0xaa)), kind: Some(not(0x800)) };
    let entry = |last, ip: Option<&str>| XtAmongEntry {
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        ip: ip.map(|ip| ip.parse().unwrap()),
    };
    let among = XtAmong {
        source: Some(vec![entry(5, Some("192.0.2.5")), entry(6, None)]),
        source_inverted: true,
        destination: None,
        destination_inverted: false,
    };
    let mark = |any, inverted| XtMatch::MarkM { mark: if any { 0 } else { 5 }, mask: 7, any, inverted };
    vec![
        of_type(
            "-t filter -A FORWARD -p ARP --arp-op 1 ! --arp-htype 1 --arp-ptype 0x800 ! --arp-ip-src 192.0.2.7 \
             --arp-ip-dst 198.51.100.0/24 ! --arp-mac-src 02:00:00:00:00:05",
            EtherType::ARP,
            vec![XtMatch::Arp(arp)],
        ),
        of_type(
            "-t filter -A FORWARD -p ARP --arp-gratuitous",
            EtherType::ARP,
            vec![XtMatch::Arp(gratuitous)],
        ),
        of_type(
            "-t filter -A FORWARD -p 802_1Q --vlan-id 5 ! --vlan-encap 0x806",
            EtherType::VLAN,
            vec![XtMatch::Vlan(vlan)],
        ),
        of_type(
            "-t filter -A FORWARD -p 802_1Q --vlan-prio 3",
            EtherType::VLAN,
            vec![XtMatch::Vlan(priority)],
        ),
        plain("-t filter -A FORWARD ! --pkttype-type otherhost", vec![XtMatch::Pkttype(not(3))]),
        plain("-t filter -A FORWARD ! --mark 5/7", vec![mark(false, true)]),
        plain("-t filter -A FORWARD --mark /7", vec![mark(true, false)]),
        plain(
            "-t filter -A FORWARD --limit 5/second --limit-burst 7",
            vec![XtMatch::Limit { average: 2000, burst: 7 }],
        ),
        plain(
            "-t filter -A FORWARD ! --among-src 02:00:00:00:00:05=192.0.2.5,02:00:00:00:00:06",
            vec![XtMatch::Among(among)],
        ),
        case(
            "-t filter -A FORWARD -p LENGTH --802_3-sap 0xaa ! --802_3-type 0x0800",
            LegacyHeader::Bridge(length),
            vec![XtMatch::Ieee8023(snap)],
        ),
        case(
            "-t filter -A FORWARD -d BGA --stp-type config --stp-root-prio 1:5 --stp-root-addr 02:00:00:00:00:05 \
             ! --stp-root-cost 7:9 --stp-forward-delay 2",
            LegacyHeader::Bridge(bpdu),
            vec![XtMatch::Stp(Box::new(stp))],
        ),
    ]
}

fn targets() -> Vec<Case> {
    let mark = |op, value, verdict| XtTarget::BridgeMark(XtBridgeMark { op, value, verdict });
    let nat = |verdict| XtBridgeNat { mac: GUEST, verdict };
    let mut watched = plain(
        "-t filter -A FORWARD --log-prefix seen --log-level 3 --nflog-group 5 --nflog-prefix hi -j CONTINUE",
        vec![],
    );
    watched.rule.watchers = vec![
        XtTarget::Log { prefix: "seen".to_owned(), level: 3 },
        XtTarget::Nflog { prefix: "hi".to_owned(), group: 5 },
    ];
    vec![
        watched,
        plain("-t filter -A FORWARD -j mark --mark-or 0x5 --mark-target CONTINUE", vec![]).target(mark(
            XtBridgeMarkOp::Or,
            5,
            XtVerdict::Continue,
        )),
        plain("-t nat -A PREROUTING -j mark --mark-set 0x5", vec![]).target(mark(
            XtBridgeMarkOp::Set,
            5,
            XtVerdict::Accept,
        )),
        plain("-t nat -A PREROUTING -j dnat --to-destination 02:00:00:00:00:05", vec![])
            .target(XtTarget::BridgeDnat(nat(XtVerdict::Accept))),
        plain("-t nat -A PREROUTING -j redirect --redirect-target DROP", vec![])
            .target(XtTarget::BridgeRedirect { verdict: XtVerdict::Drop }),
        of_type(
            "-t nat -A PREROUTING -p ARP --arp-op 1 -j arpreply --arpreply-mac 02:00:00:00:00:05",
            EtherType::ARP,
            vec![XtMatch::Arp(XtBridgeArp {
                operation: Some(XtValue { value: 1, inverted: false }),
                ..XtBridgeArp::default()
            })],
        )
        .target(XtTarget::BridgeArpreply(nat(XtVerdict::Drop))),
        plain("-t nat -A POSTROUTING -j snat --to-source 02:00:00:00:00:05 --snat-target CONTINUE", vec![])
            .target(XtTarget::BridgeSnat { nat: nat(XtVerdict::Continue), arp: false }),
        plain("-t nat -A POSTROUTING -j snat --to-source 02:00:00:00:00:05 --snat-arp", vec![])
            .target(XtTarget::BridgeSnat { nat: nat(XtVerdict::Accept), arp: true }),
    ]
}

fn all() -> Vec<Case> {
    [headers(), ip(), others(), targets()].into_iter().flatten().collect()
}

#[test]
fn of_ebtables_legacy() {
    fresh(|| reads_legacy("ebtables-legacy", LegacyFamily::Ebtables, all()));
}

#[test]
fn of_ebtables_nft() {
    fresh(|| reads_compat("ebtables-nft", NftFamily::Bridge, all()));
}
