//! How many frames a second the concrete walk takes: through a bridge without rules, and through one with a chain of a
//! hundred rules of the bridge family at the forward hook, as a person would write them.
//!
//! Every frame passes all of the rules. `rules` is asked once for each copy of the frame; what it costs alone is the
//! difference to `no_rules`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench whose own hosts and frames are wrong has nothing to measure"
)]

use divan::Bencher;
use divan::counter::ItemsCount;
use portcullis_datapath::{
    Aim, Concrete, FrameBuilder, Manner, Network, Payload, Trace, Walk, When, walk, walk_into,
};
use portcullis_snapshot::{
    Bytes, CmpOp, EtherType, IfIndex, MacAddr, MetaKey, NftBaseChain, NftChain, NftElement, NftExpr,
    NftFamily, NftRule, NftSet, NftTable, NftVerdict, PayloadBase, Reading, Snapshot,
};
use portcullis_testnet::{AntiSpoofing, Guest, large_host};

fn main() {
    divan::main();
}

/// What stands at the bridge's forward hook.
#[derive(Debug, Clone, Copy)]
enum Chain {
    /// Nothing.
    None,
    /// A hundred rules, of which twenty are for one of the two guest ports.
    Mixed,
    /// A hundred rules, none of which names a device.
    NoDevice,
}

const VNET0: IfIndex = IfIndex(1000);
const ETHERNET_IPV6: [u8; 2] = [0x86, 0xdd];

/// One sort of frame at a time, with and without the chain.
mod one {
    use super::*;

    #[divan::bench(args = KINDS)]
    fn no_rules(bencher: Bencher<'_, '_>, kind: &str) {
        run(bencher, Chain::None, &[frame(kind)]);
    }

    #[divan::bench(args = KINDS)]
    fn rules(bencher: Bencher<'_, '_>, kind: &str) {
        run(bencher, Chain::Mixed, &[frame(kind)]);
    }

    #[divan::bench(args = KINDS)]
    fn rules_for_all_devices(bencher: Bencher<'_, '_>, kind: &str) {
        run(bencher, Chain::NoDevice, &[frame(kind)]);
    }
}

/// What guests send most: of 32 frames, 22 of TCP and 4 of UDP over IPv4, 4 over IPv6, one ARP reply, and one to an
/// address that is not known, which is flooded.
mod mix {
    use super::*;

    #[divan::bench]
    fn no_rules(bencher: Bencher<'_, '_>) {
        run(bencher, Chain::None, &mixed());
    }

    #[divan::bench]
    fn rules(bencher: Bencher<'_, '_>) {
        run(bencher, Chain::Mixed, &mixed());
    }

    #[divan::bench]
    fn rules_for_all_devices(bencher: Bencher<'_, '_>) {
        run(bencher, Chain::NoDevice, &mixed());
    }
}

const KINDS: [&str; 6] = ["tcp", "udp", "udp6", "arp_reply", "unknown_flooded", "arp_request_broadcast"];

fn run(bencher: Bencher<'_, '_>, chain: Chain, frames: &[Vec<u8>]) {
    let snapshot = host(chain);
    let network = Network::new(&snapshot, snapshot.namespaces[0].id).unwrap();
    let manner = Manner { trace: Trace::Off, aim: Aim::Everywhere, when: When::Now };
    for bytes in frames {
        let walk = walk(&network, VNET0, &mut Concrete::new(bytes).unwrap(), manner);
        assert!(
            walk.ports().next().is_some() && walk.drops.iter().all(|drop| drop.function != "nft_do_chain"),
            "{walk:?}"
        );
    }
    let mut into = Walk::default();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        let mut arrived = 0;
        for bytes in frames {
            let Some(mut frame) = Concrete::new(divan::black_box(bytes)) else { continue };
            walk_into(&network, VNET0, &mut frame, manner, &mut into);
            arrived += into.outcomes.len();
        }
        arrived
    });
}

fn mixed() -> Vec<Vec<u8>> {
    let times = [("tcp", 22), ("udp", 4), ("udp6", 4), ("arp_reply", 1), ("unknown_flooded", 1)];
    let mut frames: Vec<_> =
        times.iter().flat_map(|(kind, times)| std::iter::repeat_n(frame(kind), *times)).collect();
    // In no order that a processor would learn too easily.
    (0..frames.len()).for_each(|at| frames.swap(at, at * 13 % 32));
    frames
}

fn guests() -> [Guest; 2] {
    [0, 1].map(|number| Guest::new(number, 0, AntiSpoofing::None))
}

/// A frame from the first guest to the second, or to everybody.
fn frame(kind: &str) -> Vec<u8> {
    let [from, to] = guests();
    let ports = (40000, 443);
    let udp = |from: &Guest, to: &Guest| Payload::Udp4 { from: from.ip, to: to.ip, ports, data: vec![0; 64] };
    let arp =
        |operation| Payload::Arp { operation, sender_mac: from.mac, sender_ip: from.ip, target_ip: to.ip };
    let payload = match kind {
        "tcp" => Payload::TcpSyn4 { from: from.ip, to: to.ip, ports },
        "udp6" => Payload::Udp6 { from: from.link_local, to: to.link_local, ports, data: vec![0; 64] },
        "arp_reply" => arp(portcullis_datapath::frame::ArpOperation::Reply),
        "arp_request_broadcast" => arp(portcullis_datapath::frame::ArpOperation::Request),
        _ => udp(&from, &to),
    };
    let dst = match kind {
        "unknown_flooded" => MacAddr([0x52, 0x54, 0, 0xff, 0, 1]),
        "arp_request_broadcast" => MacAddr::BROADCAST,
        _ => to.mac,
    };
    FrameBuilder::new(dst, from.mac).payload(&payload)
}

/// A bridge with two guest ports and an uplink.
fn host(chain: Chain) -> Snapshot {
    let mut snapshot = large_host(2, 1, AntiSpoofing::None);
    let (rules, sets) = match chain {
        Chain::None => return snapshot,
        Chain::Mixed => rules(true),
        Chain::NoDevice => rules(false),
    };
    assert_eq!(rules.len(), 100);
    let filters = &mut snapshot.namespaces[0].filters;
    let rule = |(at, expressions): (usize, Vec<NftExpr>)| NftRule { handle: 2 + at as u64, expressions };
    let rules = rules.into_iter().enumerate().map(rule).collect();
    filters.nft_chains = Reading::Read(vec![NftBaseChain {
        family: NftFamily::Bridge,
        table: "filter".to_owned(),
        chain: "forward".to_owned(),
        kind: "filter".to_owned(),
        hook: 2,
        hook_name: "forward".to_owned(),
        priority: 0,
        devices: Vec::new(),
        policy_drop: false,
        rules: 100,
        dormant: false,
    }]);
    filters.nft_tables = Reading::Read(vec![NftTable {
        family: NftFamily::Bridge,
        name: "filter".to_owned(),
        dormant: false,
        chains: vec![NftChain { name: "forward".to_owned(), rules }],
        sets,
    }]);
    snapshot
}

/// A hundred rules, as `nft` 1.0.6 writes them, and their sets.
fn rules(for_devices: bool) -> (Vec<Vec<NftExpr>>, Vec<NftSet>) {
    let mut rules = Vec::new();
    let mut sets = Vec::new();
    for at in 0..10u8 {
        let [low, high] = [10 * at, 10 * at + 5];
        if for_devices {
            // Guest 0 for even numbers, guest 1 for odd ones; the first of each are those of its own addresses.
            let guest = &guests()[usize::from(at % 2)];
            let port = || named(MetaKey::IifName, &guest.port);
            rules.push(match at / 2 {
                // iifname "vnet0" ether saddr != 52:54:00:00:00:00 drop
                0 => rule([port(), vec![link(6, 6), neq(&guest.mac.0)]]),
                // iifname "vnet0" arp saddr ether != … drop
                1 => rule([port(), arp(), vec![network(8, 6), neq(&guest.mac.0)]]),
                // iifname "vnet0" arp saddr ip != … drop
                2 => rule([port(), arp(), vec![network(14, 4), neq(&guest.ip.octets())]]),
                // iifname "vnet0" ip saddr != … drop
                3 => rule([port(), ipv4(), vec![network(12, 4), neq(&guest.ip.octets())]]),
                // iifname "vnet0" ip6 saddr != … drop
                _ => rule([port(), ipv6(), vec![network(8, 16), neq(&guest.link_local.octets())]]),
            });
            // iifname "vnet0" tcp dport 100 drop
            rules.push(rule([port(), l4proto(6), vec![transport(2, 2), eq(&[0, 100 + at])]]));
        } else {
            // ether daddr 02:00:00:00:00:05 drop
            rules.push(rule([vec![link(0, 6), eq(&[2, 0, 0, 0, 0, at])]]));
            // ether type 0x88c5 drop
            rules.push(rule([vec![link(12, 2), eq(&[0x88, 0xc0 + at])]]));
        }
        // ether saddr 02:00:00:00:01:05 drop
        rules.push(rule([vec![link(6, 6), eq(&[2, 0, 0, 0, 1, at])]]));
        // arp operation request arp saddr ip 10.0.200.5 drop
        let sender = vec![network(14, 4), eq(&[10, 0, 200, at])];
        rules.push(rule([arp(), vec![network(6, 2), eq(&[0, 1])], sender]));
        // ip saddr 192.168.20.0/22 drop
        let mask = NftExpr::Bitwise {
            sreg: 4,
            dreg: 4,
            len: 4,
            op: portcullis_snapshot::BitwiseOp::Mask {
                mask: Bytes(vec![255, 255, 252, 0]),
                xor: Bytes(vec![0; 4]),
            },
        };
        rules.push(rule([ipv4(), vec![network(12, 4), mask, eq(&[192, 168, 4 * at, 0])]]));
        // ip daddr 10.5.0.0/16 drop
        rules.push(rule([ipv4(), vec![network(16, 2), eq(&[10, 5 + at])]]));
        // tcp dport 10-15 drop
        let range = [(CmpOp::Gte, low), (CmpOp::Lte, high)];
        let range = range.map(|(op, port)| NftExpr::Cmp { sreg: 4, op, data: Bytes(vec![0, port]) });
        rules.push(rule([l4proto(6), vec![transport(2, 2)], range.to_vec()]));
        // udp dport { 10, 15 } drop
        let (name, keys) = (format!("__set{at}"), [[0, low], [0, high]]);
        sets.push(set(&name, &keys));
        let lookup = NftExpr::Lookup { set: name, sreg: 4, dreg: None, inverted: false };
        rules.push(rule([l4proto(17), vec![transport(2, 2), lookup]]));
        // ip6 daddr ff02::5 drop
        let mut group = [0; 16];
        (group[0], group[1], group[15]) = (0xff, 2, at);
        rules.push(rule([ipv6(), vec![network(24, 16), eq(&group)]]));
        // icmpv6 type 135 drop
        let is_ipv6 = vec![link(12, 2), eq(&ETHERNET_IPV6)];
        rules.push(rule([is_ipv6, l4proto(58), vec![transport(0, 1), eq(&[130 + at])]]));
    }
    (rules, sets)
}

fn rule<const N: usize>(parts: [Vec<NftExpr>; N]) -> Vec<NftExpr> {
    let mut expressions = parts.concat();
    expressions.push(NftExpr::Verdict(NftVerdict::Drop));
    expressions
}

fn set(name: &str, keys: &[[u8; 2]]) -> NftSet {
    let element = |key: &[u8; 2]| NftElement {
        key: Some(Bytes(key.to_vec())),
        key_end: None,
        interval_end: false,
        data: None,
        expires: false,
        expressions: Vec::new(),
    };
    let elements = keys.iter().map(element).collect();
    // NFT_SET_ANONYMOUS | NFT_SET_CONSTANT
    NftSet { name: name.to_owned(), flags: 3, key_len: 2, concat: Vec::new(), elements }
}

fn payload(base: PayloadBase, offset: u32, len: u32) -> NftExpr {
    NftExpr::Payload { base, offset, len, dreg: 4 }
}

fn link(offset: u32, len: u32) -> NftExpr {
    payload(PayloadBase::Link, offset, len)
}

fn network(offset: u32, len: u32) -> NftExpr {
    payload(PayloadBase::Network, offset, len)
}

fn transport(offset: u32, len: u32) -> NftExpr {
    payload(PayloadBase::Transport, offset, len)
}

fn eq(data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: data.into() }
}

fn neq(data: &[u8]) -> NftExpr {
    NftExpr::Cmp { sreg: 4, op: CmpOp::Neq, data: data.into() }
}

fn meta(key: MetaKey) -> NftExpr {
    NftExpr::Meta { key, dreg: 4 }
}

fn named(key: MetaKey, name: &str) -> Vec<NftExpr> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    vec![meta(key), eq(&bytes)]
}

fn arp() -> Vec<NftExpr> {
    vec![link(12, 2), eq(&EtherType::ARP.0.to_be_bytes())]
}

fn ipv4() -> Vec<NftExpr> {
    vec![meta(MetaKey::Protocol), eq(&EtherType::IPV4.0.to_be_bytes())]
}

fn ipv6() -> Vec<NftExpr> {
    vec![meta(MetaKey::Protocol), eq(&ETHERNET_IPV6)]
}

fn l4proto(protocol: u8) -> Vec<NftExpr> {
    vec![meta(MetaKey::L4Proto), eq(&[protocol])]
}
