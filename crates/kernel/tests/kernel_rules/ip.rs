//! iptables.

use portcullis_snapshot::{
    Bytes, IptHeader, LegacyFamily, LegacyHeader, MacAddr, NftFamily, XtAddrtype, XtBpf, XtConnlimit,
    XtConnmarkMode, XtConnmarkTarget, XtConntrack, XtCt, XtDevice, XtHashlimit, XtIcmp, XtInterface,
    XtIprange, XtMarkTarget, XtMatch, XtMultiport, XtNat, XtNfqueue, XtOwner, XtPhysdev, XtPortSide, XtRange,
    XtRecent, XtStatistic, XtString, XtTarget, XtTcp, XtTtlChange, XtTtlMode, XtTtlTarget, XtU32, XtU32Op,
    XtU32Step, XtU32Test, XtUdp, XtVerdict,
};
use portcullis_testnet::fresh;

use super::{
    Case, address, case, flags, is, masked, not, not_in, not_masked, range, reads_compat, reads_legacy,
};

fn plain(words: &'static str, matches: Vec<XtMatch>) -> Case {
    case(words, LegacyHeader::Ip(IptHeader::default()), matches)
}

fn of_protocol(words: &'static str, protocol: u16, matches: Vec<XtMatch>) -> Case {
    let header = IptHeader { protocol: Some(is(protocol)), ..IptHeader::default() };
    case(words, LegacyHeader::Ip(header), matches)
}

fn one(words: &'static str, found: XtMatch) -> Case {
    plain(words, vec![found])
}

fn port(port: u16) -> XtRange<u16> {
    range(port, port)
}

fn any_port() -> XtRange<u16> {
    range(0, 65535)
}

fn headers() -> Vec<Case> {
    let name = |name: &str| XtInterface::Name(name.to_owned());
    let device = |interface, inverted| Some(XtDevice { interface, inverted });
    let full = IptHeader {
        source: Some(address("192.0.2.0", "255.255.255.0", false)),
        destination: Some(address("198.51.100.1", "255.255.255.255", true)),
        input: device(XtInterface::Prefix("eth".to_owned()), false),
        output: device(name("br0"), true),
        protocol: Some(not(17)),
        fragment: Some(is(true)),
    };
    let odd = IptHeader {
        source: Some(address("10.0.0.5", "255.0.0.255", false)),
        fragment: Some(not(true)),
        ..IptHeader::default()
    };
    let words = "-t mangle -A FORWARD -s 192.0.2.0/24 ! -d 198.51.100.1 -i eth+ ! -o br0 ! -p udp -f -j DROP";
    vec![
        case(words, LegacyHeader::Ip(full), Vec::new()).verdict(XtVerdict::Drop),
        case("-t mangle -A FORWARD -s 10.0.0.5/255.0.0.255 ! -f", LegacyHeader::Ip(odd), Vec::new()),
        plain("-t mangle -A FORWARD -j RETURN", Vec::new()).verdict(XtVerdict::Return),
    ]
}

fn transport() -> Vec<Case> {
    let tcp = XtTcp {
        source: range(1000, 2000),
        destination: not_in(80, 80),
        flags: masked(2, 0x12),
        option: Some(is(5)),
    };
    let ports = vec![port(1), range(5, 9)];
    let multiport = XtMultiport { side: XtPortSide::Destination, ports, inverted: true };
    let sources =
        XtMultiport { side: XtPortSide::Source, ports: (1..=15).map(port).collect(), inverted: false };
    vec![
        of_protocol(
            "-t mangle -A FORWARD -p tcp --sport 1000:2000 ! --dport 80 --tcp-flags SYN,ACK SYN --tcp-option 5 -j ACCEPT",
            6,
            vec![XtMatch::Tcp(tcp)],
        )
        .verdict(XtVerdict::Accept),
        of_protocol(
            "-t mangle -A FORWARD -p udp --dport 53",
            17,
            vec![XtMatch::Udp(XtUdp { source: any_port(), destination: port(53) })],
        ),
        of_protocol(
            "-t mangle -A FORWARD -p icmp ! --icmp-type 3/1",
            1,
            vec![XtMatch::Icmp(XtIcmp { kind: 3, codes: not_in(1, 1) })],
        ),
        of_protocol(
            "-t mangle -A FORWARD -p icmp --icmp-type any",
            1,
            vec![XtMatch::Icmp(XtIcmp { kind: 255, codes: range(0, 255) })],
        ),
        of_protocol(
            "-t mangle -A FORWARD -p tcp -m multiport ! --dports 1,5:9",
            6,
            vec![XtMatch::Multiport(multiport)],
        ),
        of_protocol(
            "-t mangle -A FORWARD -p udp -m multiport --sports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            17,
            vec![XtMatch::Multiport(sources)],
        ),
    ]
}

fn packet() -> Vec<Case> {
    let device = |interface, inverted| Some(XtDevice { interface, inverted });
    let physdev = XtPhysdev {
        input: device(XtInterface::Prefix("tap".to_owned()), false),
        output: device(XtInterface::Name("vnet1".to_owned()), true),
        is_bridged: Some(true),
        is_in: None,
        is_out: None,
    };
    let placed =
        XtPhysdev { input: None, output: None, is_bridged: None, is_in: Some(true), is_out: Some(false) };
    let addrtype = XtAddrtype {
        source: Some(flags(4)),
        destination: Some(portcullis_snapshot::XtFlags { flags: 32, inverted: true }),
        limit_in: true,
        limit_out: false,
    };
    let ip = |text: &str| text.parse().unwrap();
    let iprange = XtIprange {
        source: Some(range(ip("192.0.2.5"), ip("192.0.2.9"))),
        destination: Some(not_in(ip("198.51.100.0"), ip("198.51.100.7"))),
    };
    let string = XtString {
        pattern: Bytes::from(&b"a b"[..]),
        algorithm: "bm".to_owned(),
        from: 4,
        to: 60,
        ignore_case: true,
        inverted: true,
    };
    let step = |op, number| XtU32Step { op, number };
    let tests = vec![
        XtU32Test { start: 0, steps: vec![step(XtU32Op::And, 0xffff)], values: vec![range(0x100, 0x200)] },
        XtU32Test {
            start: 4,
            steps: vec![step(XtU32Op::ShiftRight, 2), step(XtU32Op::At, 3)],
            values: vec![range(5, 5), range(7, 9)],
        },
    ];
    let owner = XtOwner {
        uid: Some(range(5, 9)),
        gid: Some(not_in(7, 7)),
        socket: Some(true),
        supplementary_groups: false,
    };
    let program = Bytes(vec![6, 0, 0, 0, 0xff, 0xff, 0, 0]);
    let mac = MacAddr([2, 0, 0, 0, 0, 5]);
    vec![
        one("-t mangle -A FORWARD -m mac ! --mac-source 02:00:00:00:00:05", XtMatch::Mac(not(mac))),
        one("-t mangle -A FORWARD -m mark --mark 0x5/0xff", XtMatch::Mark(masked(5, 0xff))),
        one(
            "-t mangle -A FORWARD -m physdev --physdev-in tap+ ! --physdev-out vnet1 --physdev-is-bridged",
            XtMatch::Physdev(physdev),
        ),
        one("-t mangle -A FORWARD -m physdev --physdev-is-in ! --physdev-is-out", XtMatch::Physdev(placed)),
        one("-t mangle -A FORWARD -m pkttype ! --pkt-type broadcast", XtMatch::Pkttype(not(1))),
        one(
            "-t mangle -A FORWARD -m addrtype --src-type LOCAL ! --dst-type MULTICAST --limit-iface-in",
            XtMatch::Addrtype(addrtype),
        ),
        one(
            "-t mangle -A FORWARD -m iprange --src-range 192.0.2.5-192.0.2.9 ! --dst-range 198.51.100.0-198.51.100.7",
            XtMatch::Iprange(iprange),
        ),
        one("-t mangle -A FORWARD -m comment --comment two~words", XtMatch::Comment("two words".to_owned())),
        one("-t mangle -A FORWARD -m length ! --length 100:200", XtMatch::Length(not_in(100, 200))),
        one("-t mangle -A FORWARD -m ttl --ttl-lt 5", XtMatch::Ttl { mode: XtTtlMode::Less, value: 5 }),
        one("-t mangle -A FORWARD -m dscp ! --dscp 0x0a", XtMatch::Dscp(not(10))),
        one("-t mangle -A FORWARD -m tos ! --tos 0x10/0xff", XtMatch::Tos(not_masked(0x10, 0xff))),
        one(
            "-t mangle -A FORWARD -m string --algo bm ! --string a~b --from 4 --to 60 --icase",
            XtMatch::String(string),
        ),
        one(
            "-t mangle -A FORWARD -m u32 --u32 0&0xFFFF=0x100:0x200&&4>>2@3=5,7:9",
            XtMatch::U32(XtU32 { tests, inverted: false }),
        ),
        one("-t mangle -A FORWARD -m bpf --bytecode 1,6~0~0~65535", XtMatch::Bpf(XtBpf::Bytecode(program))),
        one("-t mangle -A PREROUTING -m socket --transparent --nowildcard", XtMatch::Socket { flags: 3 }),
        one("-t mangle -A PREROUTING -m rpfilter --loose --invert", XtMatch::Rpfilter { flags: 9 }),
        one(
            "-t mangle -A OUTPUT -m owner --uid-owner 5-9 ! --gid-owner 7 --socket-exists",
            XtMatch::Owner(owner),
        ),
    ]
}

fn connections() -> Vec<Case> {
    let conntrack = XtConntrack {
        state: Some(flags(2 | 8)),
        status: Some(flags(4)),
        original: Some(true),
        protocol: Some(is(6)),
        original_source: Some(address("192.0.2.0", "255.255.255.0", true)),
        reply_source_port: Some(range(5, 6)),
        expires: Some(range(5, 6)),
        ..XtConntrack::default()
    };
    let invalid = XtConntrack { state: Some(flags(1)), ..XtConntrack::default() };
    let hashlimit = XtHashlimit {
        name: "h".to_owned(),
        mode: 6,
        average: 100_000,
        burst: 5,
        source_prefix: 32,
        destination_prefix: 32,
    };
    let mask = "255.255.255.0".parse().unwrap();
    let connlimit = XtConnlimit { limit: 3, mask, destination: true, inverted: false };
    let recent = XtRecent {
        name: "r".to_owned(),
        flags: 1,
        seconds: 60,
        hit_count: 3,
        destination: true,
        inverted: true,
    };
    vec![
        one("-t mangle -A FORWARD -m connmark ! --mark 7", XtMatch::Connmark(not_masked(7, u32::MAX))),
        one(
            "-t mangle -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED --ctproto 6 ! --ctorigsrc 192.0.2.0/24 \
             --ctreplsrcport 5:6 --ctdir ORIGINAL --ctexpire 5:6 --ctstatus ASSURED",
            XtMatch::Conntrack(Box::new(conntrack)),
        ),
        one("-t mangle -A FORWARD -m conntrack --ctstate INVALID", XtMatch::Conntrack(Box::new(invalid))),
        one(
            "-t mangle -A FORWARD -m limit --limit 5/second --limit-burst 7",
            XtMatch::Limit { average: 2000, burst: 7 },
        ),
        one(
            "-t mangle -A FORWARD -m hashlimit --hashlimit-upto 10/sec --hashlimit-mode srcip,dstport \
             --hashlimit-name h --hashlimit-burst 5",
            XtMatch::Hashlimit(hashlimit),
        ),
        one(
            "-t mangle -A FORWARD -m connlimit --connlimit-above 3 --connlimit-mask 24 --connlimit-daddr",
            XtMatch::Connlimit(connlimit),
        ),
        one(
            "-t mangle -A FORWARD -m recent --name r ! --rcheck --seconds 60 --hitcount 3 --rdest",
            XtMatch::Recent(recent),
        ),
        one(
            "-t mangle -A FORWARD -m statistic --mode random ! --probability 0.5",
            XtMatch::Statistic(XtStatistic::Random { probability: 1 << 30, inverted: true }),
        ),
        one(
            "-t mangle -A FORWARD -m statistic --mode nth --every 3 --packet 1",
            XtMatch::Statistic(XtStatistic::Nth { every: 2, packet: 1, inverted: false }),
        ),
    ]
}

fn nat(flags: u32, addresses: Option<(&str, &str)>, ports: Option<(u16, u16)>) -> XtNat {
    let addresses = addresses.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    XtNat { flags, addresses, ports, base_port: None }
}

fn translations() -> Vec<Case> {
    vec![
        of_protocol(
            "-t nat -A PREROUTING -p tcp -j DNAT --to-destination 192.0.2.7-192.0.2.9:80-81",
            6,
            vec![],
        )
        .target(XtTarget::Dnat(nat(3, Some(("192.0.2.7", "192.0.2.9")), Some((80, 81))))),
        of_protocol("-t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 8080", 6, vec![])
            .target(XtTarget::Redirect(nat(2, None, Some((8080, 8080))))),
        plain("-t nat -A POSTROUTING -j SNAT --to-source 192.0.2.7 --random", vec![])
            .target(XtTarget::Snat(nat(5, Some(("192.0.2.7", "192.0.2.7")), None))),
        of_protocol("-t nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 1000-2000", 6, vec![])
            .target(XtTarget::Masquerade(nat(2, None, Some((1000, 2000))))),
        plain("-t nat -A POSTROUTING -j NETMAP --to 192.0.2.0/24", vec![]).target(XtTarget::Netmap(nat(
            1,
            Some(("192.0.2.0", "192.0.2.255")),
            None,
        ))),
    ]
}

fn targets() -> Vec<Case> {
    let connmark =
        XtConnmarkTarget { mode: XtConnmarkMode::Restore, mark: 0, mask: 0xff, packet_mask: 0xf0, shift: 0 };
    let ct = |notrack, flags, zone| XtTarget::Ct(XtCt { notrack, flags, zone, helper: String::new() });
    let syn = XtTcp { source: any_port(), destination: any_port(), flags: masked(2, 6), option: None };
    let tproxy = XtTarget::Tproxy { address: "192.0.2.5".parse().unwrap(), port: 80, mark: 1, mask: 1 };
    let tee = XtTarget::Tee { gateway: "192.0.2.3".parse().unwrap(), output: None };
    let queue = XtNfqueue { first: 3, count: 3, bypass: true };
    vec![
        plain("-t filter -A FORWARD -j REJECT --reject-with icmp-host-prohibited", vec![])
            .target(XtTarget::Reject { with: 6 }),
        plain("-t filter -A FORWARD -j LOG --log-prefix x: --log-level 3", vec![])
            .target(XtTarget::Log { prefix: "x:".to_owned(), level: 3 }),
        plain("-t filter -A FORWARD -j NFLOG --nflog-group 5 --nflog-prefix hi", vec![])
            .target(XtTarget::Nflog { prefix: "hi".to_owned(), group: 5 }),
        plain("-t mangle -A FORWARD -j MARK --set-xmark 0x1/0xf", vec![])
            .target(XtTarget::Mark(XtMarkTarget { value: 1, mask: 0xf })),
        plain("-t mangle -A FORWARD -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xff", vec![])
            .target(XtTarget::Connmark(connmark)),
        plain("-t raw -A PREROUTING -j CT --zone 5", vec![]).target(ct(false, 0, 5)),
        plain("-t raw -A PREROUTING -j CT --notrack", vec![]).target(ct(true, 1, 0)),
        plain("-t raw -A PREROUTING -j TRACE", vec![]).target(XtTarget::Trace),
        plain("-t mangle -A FORWARD -j CLASSIFY --set-class 1:5", vec![])
            .target(XtTarget::Classify { priority: 0x1_0005 }),
        of_protocol(
            "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            6,
            vec![XtMatch::Tcp(syn.clone())],
        )
        .target(XtTarget::Tcpmss { mss: None }),
        of_protocol(
            "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
            6,
            vec![XtMatch::Tcp(syn)],
        )
        .target(XtTarget::Tcpmss { mss: Some(1000) }),
        of_protocol("-t mangle -A FORWARD -p udp -j CHECKSUM --checksum-fill", 17, vec![])
            .target(XtTarget::Checksum { operation: 1 }),
        plain("-t mangle -A FORWARD -j NFQUEUE --queue-balance 3:5 --queue-bypass", vec![])
            .target(XtTarget::Nfqueue(queue)),
        plain("-t mangle -A FORWARD -j TOS --set-tos 0x10/0xff", vec![])
            .target(XtTarget::Tos { value: 0x10, mask: 0xff }),
        plain("-t mangle -A FORWARD -j DSCP --set-dscp 5", vec![]).target(XtTarget::Dscp { dscp: 5 }),
        plain("-t mangle -A FORWARD -j TTL --ttl-dec 1", vec![])
            .target(XtTarget::Ttl(XtTtlTarget { mode: XtTtlChange::Decrease, value: 1 })),
        plain("-t mangle -A FORWARD -j TEE --gateway 192.0.2.3", vec![]).target(tee),
        of_protocol(
            "-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 80 --on-ip 192.0.2.5 --tproxy-mark 1/1",
            6,
            vec![],
        )
        .target(tproxy),
        plain("-t mangle -A FORWARD -j AUDIT --type drop", vec![]).target(XtTarget::Audit { kind: 1 }),
    ]
}

fn all() -> Vec<Case> {
    [headers(), transport(), packet(), connections(), translations(), targets()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn of_iptables_legacy() {
    fresh(|| reads_legacy("iptables-legacy", LegacyFamily::Iptables, all()));
}

#[test]
fn of_iptables_nft() {
    fresh(|| reads_compat("iptables-nft", NftFamily::Ip, all()));
}
