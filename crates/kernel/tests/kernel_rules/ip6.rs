//! ip6tables.

use portcullis_snapshot::{
    Ip6tHeader, LegacyFamily, LegacyHeader, NftFamily, XtConntrack, XtDevice, XtFrag, XtIcmp, XtInterface,
    XtIp6Header, XtIp6Options, XtIprange, XtMatch, XtMh, XtNat, XtRt, XtTarget, XtTtlChange, XtTtlMode,
    XtTtlTarget, XtVerdict,
};
use portcullis_testnet::fresh;

use super::{Case, address, case, is, not, range, reads_compat, reads_legacy};

fn plain(words: &'static str, matches: Vec<XtMatch>) -> Case {
    case(words, LegacyHeader::Ip6(Ip6tHeader::default()), matches)
}

fn of_protocol(words: &'static str, protocol: u16, matches: Vec<XtMatch>) -> Case {
    let header = Ip6tHeader { protocol: Some(is(protocol)), ..Ip6tHeader::default() };
    case(words, LegacyHeader::Ip6(header), matches)
}

fn matches() -> Vec<Case> {
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let full = Ip6tHeader {
        source: Some(address("2001:db8::", "ffff:ffff::", true)),
        destination: Some(address("2001:db8::1", ones, false)),
        input: Some(XtDevice { interface: XtInterface::Name("br0".to_owned()), inverted: true }),
        output: None,
        protocol: Some(not(17)),
    };
    let options = |header_len, options| XtIp6Options { header_len, options, not_strict: false };
    let frag = XtFrag {
        ids: range(1, 5),
        header_len: Some(is(8)),
        reserved_zero: true,
        first: true,
        more: true,
        last: false,
    };
    let rt = XtRt {
        kind: Some(is(0)),
        segments: range(1, 2),
        header_len: Some(not(40)),
        reserved_zero: true,
        addresses: vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()],
        not_strict: false,
    };
    let ip = |text: &str| text.parse().unwrap();
    let iprange = XtIprange { source: Some(range(ip("2001:db8::5"), ip("2001:db8::9"))), destination: None };
    let conntrack = XtConntrack {
        reply_destination: Some(address("2001:db8::", "ffff:ffff::", false)),
        ..XtConntrack::default()
    };
    vec![
        case(
            "-t mangle -A FORWARD ! -s 2001:db8::/32 -d 2001:db8::1 ! -i br0 ! -p udp -j DROP",
            LegacyHeader::Ip6(full),
            vec![],
        )
        .verdict(XtVerdict::Drop),
        of_protocol(
            "-t mangle -A FORWARD -p icmpv6 --icmpv6-type 135",
            58,
            vec![XtMatch::Icmp6(XtIcmp { kind: 135, codes: range(0, 255) })],
        ),
        plain(
            "-t mangle -A FORWARD -m hbh --hbh-len 8 --hbh-opts 1:2,5",
            vec![XtMatch::Hbh(options(Some(is(8)), vec![0x0102, 0x05ff]))],
        ),
        plain(
            "-t mangle -A FORWARD -m dst ! --dst-len 16",
            vec![XtMatch::Dst(options(Some(not(16)), vec![]))],
        ),
        plain(
            "-t mangle -A FORWARD -m frag --fragid 1:5 --fraglen 8 --fragres --fragfirst --fragmore",
            vec![XtMatch::Frag(frag)],
        ),
        plain(
            "-t mangle -A FORWARD -m rt --rt-type 0 --rt-segsleft 1:2 ! --rt-len 40 --rt-0-res \
             --rt-0-addrs 2001:db8::1,2001:db8::2",
            vec![XtMatch::Rt(rt)],
        ),
        of_protocol(
            "-t mangle -A FORWARD -p mh -m mh --mh-type 1:2",
            135,
            vec![XtMatch::Mh(XtMh { kinds: range(1, 2) })],
        ),
        plain(
            "-t mangle -A FORWARD -m ipv6header --header hop-by-hop,frag --soft",
            vec![XtMatch::Ipv6header(XtIp6Header { headers: 128 | 16, inverted: 0, soft: true })],
        ),
        plain(
            "-t mangle -A FORWARD -m hl --hl-gt 3",
            vec![XtMatch::Hl { mode: XtTtlMode::Greater, value: 3 }],
        ),
        plain(
            "-t mangle -A FORWARD -m iprange --src-range 2001:db8::5-2001:db8::9",
            vec![XtMatch::Iprange(iprange)],
        ),
        plain(
            "-t mangle -A FORWARD -m conntrack --ctrepldst 2001:db8::/32",
            vec![XtMatch::Conntrack(Box::new(conntrack))],
        ),
    ]
}

fn targets() -> Vec<Case> {
    let ip = |text: &str| text.parse().unwrap();
    let nat = |flags, addresses, ports| XtNat { flags, addresses, ports, base_port: None };
    let one = Some((ip("2001:db8::7"), ip("2001:db8::7")));
    vec![
        plain("-t filter -A FORWARD -j REJECT --reject-with icmp6-adm-prohibited", vec![])
            .target(XtTarget::Reject { with: 1 }),
        plain("-t mangle -A FORWARD -j HL --hl-set 5", vec![])
            .target(XtTarget::Hl(XtTtlTarget { mode: XtTtlChange::Set, value: 5 })),
        of_protocol("-t nat -A PREROUTING -p tcp -j DNAT --to-destination [2001:db8::7]:80", 6, vec![])
            .target(XtTarget::Dnat(nat(3, one, Some((80, 80))))),
        of_protocol("-t nat -A PREROUTING -p udp -j REDIRECT --to-ports 53", 17, vec![])
            .target(XtTarget::Redirect(nat(2, None, Some((53, 53))))),
        plain("-t nat -A POSTROUTING -j SNAT --to-source 2001:db8::7", vec![])
            .target(XtTarget::Snat(nat(1, one, None))),
        plain("-t nat -A POSTROUTING -j MASQUERADE --random", vec![])
            .target(XtTarget::Masquerade(nat(4, None, None))),
        plain("-t mangle -A FORWARD -j TEE --gateway 2001:db8::3", vec![])
            .target(XtTarget::Tee { gateway: ip("2001:db8::3"), output: None }),
    ]
}

fn all() -> Vec<Case> {
    [matches(), targets()].into_iter().flatten().collect()
}

#[test]
fn of_ip6tables_legacy() {
    fresh(|| reads_legacy("ip6tables-legacy", LegacyFamily::Ip6tables, all()));
}

#[test]
fn of_ip6tables_nft() {
    fresh(|| reads_compat("ip6tables-nft", NftFamily::Ip6, all()));
}
