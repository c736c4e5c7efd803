//! What a snapshot tells of tc filters, against filters that the tests make by netlink and by `tc`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use std::process::Command;

use portcullis_kernel::capture;
use portcullis_kernel::link::{self, NewLink};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_snapshot::{
    EtherType, FlowerField, FlowerKey, GactRandom, IfIndex, MacAddr, PeditHeader, Skbedit, TcAction,
    TcActionKind, TcClassifier, TcFilter, TcHook, TcHookKind, TcVerdict, U32Key, U32Node, VlanAction,
    VlanTag,
};
use portcullis_testnet::{fresh, skip};
use portcullis_wire::{Message, NLM_F_CREATE, NLM_F_EXCL};

fn hooks() -> Vec<TcHook> {
    capture::here().unwrap().filters.tc.read().unwrap().clone()
}

fn hook(device: IfIndex, hook: TcHookKind) -> TcHook {
    hooks().into_iter().find(|found| (found.device, found.hook) == (device, hook)).unwrap()
}

fn veth() -> (IfIndex, IfIndex) {
    let mut route = Socket::open(Family::Route).unwrap();
    NewLink::new("v0", "veth").veth("w0", MacAddr([2, 0, 0, 0, 0, 2]), None).apply(&mut route).unwrap();
    ["v0", "w0"].map(|name| link::index_of(&mut route, name).unwrap()).into()
}

/// Runs `tc`, with a tilde for a blank within a word; what it complained of, if it could not do so.
fn tc(line: &str) -> Result<(), String> {
    let words = line.split_whitespace().map(|word| word.replace('~', " "));
    let output = Command::new("tc").args(words).output().map_err(|error| format!("tc: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("tc {line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Adds filters to the way into `v0`, after its queueing discipline.
fn ingress(filters: &[&str]) -> Result<(), String> {
    tc("qdisc add dev v0 clsact")?;
    filters.iter().try_for_each(|filter| tc(&format!("filter add dev v0 ingress {filter}")))
}

/// `struct tcmsg`.
fn tcmsg(device: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [0, device, handle, parent, info].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn make_qdisc(device: IfIndex, kind: &str, block: Option<u32>) -> Result<(), portcullis_kernel::Error> {
    const RTM_NEWQDISC: u16 = 36;
    let header = tcmsg(device.0, 0xffff_0000, 0xffff_fff1, 0);
    let message = Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL).header(&header).put_str(1, kind);
    let message = match block {
        Some(block) => message.put_u32(13, block),
        None => message,
    };
    Socket::open(Family::Route).unwrap().change(&format!("adding {kind}"), message)
}

/// A `u32` filter that matches everything of a protocol.
fn make_filter(
    device: u32,
    parent: u32,
    priority: u32,
    protocol: u16,
) -> Result<(), portcullis_kernel::Error> {
    const RTM_NEWTFILTER: u16 = 44;
    let info = priority << 16 | u32::from(protocol.to_be());
    // struct tc_u32_sel: flags TC_U32_TERMINAL, one key; the key's mask is 0.
    let selector = [&[1, 0, 1, 0][..], &[0; 12], &[0; 16]].concat();
    let message = Message::new(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL)
        .header(&tcmsg(device, 0, parent, info))
        .put_str(1, "u32")
        .nest(2, |options| options.put_u32(1, 1).put(5, &selector));
    Socket::open(Family::Route).unwrap().change("adding a filter", message)
}

/// What matters of a hook: device, hook, queueing discipline, block, and of each filter priority and protocol.
type Short<'h> = (IfIndex, TcHookKind, &'h str, Option<u32>, Vec<(u16, u16)>);

fn short(hook: &TcHook) -> Short<'_> {
    let filters = hook.filters.iter().map(|filter| (filter.priority, filter.protocol)).collect();
    (hook.device, hook.hook, hook.qdisc.as_str(), hook.block, filters)
}

#[test]
fn tc_filters_of_both_directions_in_their_order() {
    fresh(|| {
        let (v0, w0) = veth();
        let made = make_qdisc(v0, "clsact", None)
            .and_then(|()| make_qdisc(w0, "ingress", None))
            .and_then(|()| make_filter(v0.0, 0xffff_fff2, 9, 0x0800));
        if let Err(error) = made {
            skip!("{error}");
        }
        make_filter(v0.0, 0xffff_fff2, 3, 0x0806).unwrap();
        make_filter(v0.0, 0xffff_fff3, 5, 3).unwrap();
        make_filter(w0.0, 0xffff_0000, 1, 0x86dd).unwrap();
        let found = hooks();
        let mut hooks: Vec<_> = found.iter().map(short).collect();
        hooks.sort_by_key(|(device, hook, ..)| (*device, *hook == TcHookKind::Egress));
        let mut expected = [
            (v0, TcHookKind::Ingress, "clsact", None, vec![(3, 0x0806), (9, 0x0800)]),
            (v0, TcHookKind::Egress, "clsact", None, vec![(5, 3)]),
            (w0, TcHookKind::Ingress, "ingress", None, vec![(1, 0x86dd)]),
        ];
        expected.sort_by_key(|(device, hook, ..)| (*device, *hook == TcHookKind::Egress));
        assert_eq!(hooks, expected);
        let all = found.iter().flat_map(|hook| &hook.filters);
        assert!(all.into_iter().all(|filter| filter.kind() == "u32" && filter.actions.is_empty()));
    });
}

#[test]
fn tc_filters_in_a_shared_block_are_told_at_each_of_its_devices() {
    fresh(|| {
        let (v0, w0) = veth();
        let made = make_qdisc(v0, "clsact", Some(22))
            .and_then(|()| make_qdisc(w0, "clsact", Some(22)))
            .and_then(|()| make_filter(u32::MAX, 22, 4, 3));
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = hooks();
        let at_ingress = found.iter().filter(|hook| hook.hook == TcHookKind::Ingress);
        let mut hooks: Vec<_> = at_ingress.map(short).collect();
        hooks.sort_by_key(|(device, ..)| *device);
        let mut expected =
            [v0, w0].map(|device| (device, TcHookKind::Ingress, "clsact", Some(22), vec![(4, 3)]));
        expected.sort_by_key(|(device, ..)| *device);
        assert_eq!(hooks, expected);
    });
}

/// Handles of the filters of a hook, with their chains.
fn handles(hook: &TcHook) -> Vec<(u32, u32)> {
    hook.filters.iter().map(|filter| (filter.chain, filter.handle)).collect()
}

#[test]
fn tc_u32_lists_of_a_priority_are_told_apart() {
    fresh(|| {
        let (v0, _) = veth();
        let made = ingress(&[
            "pref 1 protocol ip u32 match u32 0x11 0xff at 0",
            "pref 1 chain 5 protocol ip u32 match u32 0x22 0xff at 0",
        ]);
        if let Err(error) =
            made.and_then(|()| tc("filter add dev v0 egress pref 1 protocol ip u32 match u32 0x33 0xff at 0"))
        {
            skip!("{error}");
        }
        // The kernel tells each of the three with each of the three lists.
        let (on_ingress, on_egress) = (hook(v0, TcHookKind::Ingress), hook(v0, TcHookKind::Egress));
        assert_eq!(handles(&on_ingress), [(0, 0x8000_0800), (5, 0x8010_0800)]);
        assert_eq!(handles(&on_egress), [(0, 0x8020_0800)]);
        let tables = |hook: &TcHook| {
            hook.u32_tables.iter().map(|table| (table.chain, table.handle, table.root)).collect::<Vec<_>>()
        };
        assert_eq!(tables(&on_ingress), [(0, 0x8000_0000, true), (5, 0x8010_0000, true)]);
        assert_eq!(tables(&on_egress), [(0, 0x8020_0000, true)]);
        assert!(on_ingress.filters.iter().all(|filter| filter.actions.is_empty()));
    });
}

#[test]
fn tc_u32_with_a_linked_table() {
    fresh(|| {
        let (v0, w0) = veth();
        let made = ingress(&[
            "pref 5 protocol ip handle 5: u32 divisor 16",
            "pref 5 protocol ip u32 ht 800: match u8 6 0xff at 9 offset at 0 mask 0x0f00 shift 6 plus 4 eat \
             hashkey mask 0x00ff0000 at 12 link 5:",
            "pref 5 protocol ip u32 ht 5:2: match u32 0x01020304 0xffff0000 at 16 \
             match u16 0x0050 0xffff at nexthdr+2 action mirred egress redirect dev w0",
        ]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = hook(v0, TcHookKind::Ingress);
        let tables: Vec<_> =
            found.u32_tables.iter().map(|table| (table.handle, table.divisor, table.root)).collect();
        assert_eq!(tables, [(0x0050_0000, 16, false), (0x8000_0000, 1, true)]);
        assert_eq!(handles(&found), [(0, 0x8000_0800), (0, 0x0050_2800)]);
        let [first, second] = found.filters.as_slice() else { panic!("{found:#?}") };
        let (TcClassifier::U32(first), TcClassifier::U32(node)) = (&first.classifier, &second.classifier)
        else {
            panic!("{found:#?}")
        };
        let expected = U32Node {
            flags: U32Node::VAROFFSET | U32Node::OFFSET | U32Node::EAT,
            keys: vec![U32Key { mask: 0x00ff_0000, value: 0x0006_0000, offset: 8, offset_mask: 0 }],
            link: Some(0x0050_0000),
            mark: None,
            offset_shift: 6,
            offset_mask: 0x0f00,
            offset: 4,
            offset_at: 0,
            hash_at: 12,
            hash_mask: 0x00ff_0000,
        };
        assert_eq!(*first, expected);
        assert!(node.has(U32Node::TERMINAL) && node.link.is_none());
        let keys = [
            U32Key { mask: 0xffff_0000, value: 0x0102_0000, offset: 16, offset_mask: 0 },
            U32Key { mask: 0x0000_ffff, value: 0x50, offset: 0, offset_mask: -1 },
        ];
        assert_eq!(node.keys, keys);
        assert_eq!((second.u32_table(), second.u32_bucket(), second.u32_node()), (0x0050_0000, 2, 0x800));
        let mirred = TcActionKind::Mirred { redirect: true, ingress: false, device: Some(w0), block: None };
        assert_eq!(second.actions, [action(mirred, TcVerdict::Stolen)]);
    });
}

fn action(kind: TcActionKind, verdict: TcVerdict) -> TcAction {
    TcAction { kind, verdict: Some(verdict), skip_sw: false }
}

/// The only filter of a hook.
fn only(device: IfIndex) -> TcFilter {
    let mut found = hook(device, TcHookKind::Ingress);
    assert_eq!(found.filters.len(), 1, "{found:#?}");
    found.filters.remove(0)
}

#[test]
fn tc_mirred_of_four_sorts() {
    fresh(|| {
        let (v0, w0) = veth();
        let made = ingress(&["pref 1 protocol all u32 match u32 0 0 \
             action mirred egress mirror dev w0 pipe action mirred ingress mirror dev v0 continue \
             action mirred egress mirror dev w0 goto chain 7 action mirred ingress redirect dev w0 \
             action mirred egress redirect dev v0"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = only(v0);
        let mirred = |redirect, ingress, device, verdict| {
            action(TcActionKind::Mirred { redirect, ingress, device: Some(device), block: None }, verdict)
        };
        let expected = [
            mirred(false, false, w0, TcVerdict::Pipe),
            mirred(false, true, v0, TcVerdict::Unspec),
            mirred(false, false, w0, TcVerdict::GotoChain(7)),
            mirred(true, true, w0, TcVerdict::Stolen),
            mirred(true, false, v0, TcVerdict::Stolen),
        ];
        assert_eq!(found.actions, expected);
    });
}

#[test]
fn tc_matchall_with_gact() {
    fresh(|| {
        let (v0, _) = veth();
        let made =
            ingress(&["pref 9 protocol all matchall skip_hw action gact jump 2 action gact reclassify \
             action gact drop random netrand pass 10"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = only(v0);
        assert_eq!((found.classifier, found.priority, found.protocol), (TcClassifier::Matchall, 9, 3));
        // Not in hardware: as it was asked for, and as it is.
        assert_eq!(found.flags, 1 | 8);
        let random = GactRandom { kind: 1, value: 10, verdict: TcVerdict::Ok };
        let expected = [
            action(TcActionKind::Gact { random: None }, TcVerdict::Jump(2)),
            action(TcActionKind::Gact { random: None }, TcVerdict::Reclassify),
            action(TcActionKind::Gact { random: Some(random) }, TcVerdict::Shot),
        ];
        assert_eq!(found.actions, expected);
    });
}

#[test]
fn tc_actions_that_change_tags() {
    fresh(|| {
        let (v0, _) = veth();
        let made = ingress(&["pref 1 protocol all matchall action vlan pop \
             action vlan push id 100 protocol 802.1ad priority 5 action vlan modify id 7 continue"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = only(v0).actions;
        assert_eq!(found[0], action(TcActionKind::Vlan(VlanAction::Pop), TcVerdict::Pipe));
        let tag = VlanTag { id: 100, protocol: EtherType(0x88a8), priority: Some(5) };
        assert_eq!(found[1], action(TcActionKind::Vlan(VlanAction::Push(tag)), TcVerdict::Pipe));
        let TcActionKind::Vlan(VlanAction::Modify(tag)) = found[2].kind else { panic!("{found:#?}") };
        assert_eq!((tag.id, tag.protocol, found[2].verdict), (7, EtherType(0x8100), Some(TcVerdict::Unspec)));
        // Before 5.11, a priority that was not given was 0.
        assert!(matches!(tag.priority, None | Some(0)));
    });
}

#[test]
fn tc_actions_that_change_what_is_noted() {
    fresh(|| {
        let (v0, _) = veth();
        let made = ingress(&["pref 1 protocol all matchall \
             action skbedit priority 1:2 mark 0x42/0xff ptype otherhost"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let expected = Skbedit {
            priority: Some(0x1_0002),
            mark: Some(0x42),
            mark_mask: Some(0xff),
            ptype: Some(3),
            ..Skbedit::default()
        };
        assert_eq!(only(v0).actions, [action(TcActionKind::Skbedit(expected), TcVerdict::Pipe)]);
        // A queue can be chosen on the way out only.
        tc("filter add dev v0 egress protocol all matchall action skbedit queue_mapping 3").unwrap();
        let expected = Skbedit { queue_mapping: Some(3), ..Skbedit::default() };
        let found = &hook(v0, TcHookKind::Egress).filters[0].actions;
        assert_eq!(*found, [action(TcActionKind::Skbedit(expected), TcVerdict::Pipe)]);
    });
}

#[test]
fn tc_actions_that_change_bytes() {
    fresh(|| {
        let (v0, _) = veth();
        let made = ingress(&["pref 1 protocol ip matchall \
             action pedit munge offset 4 u16 set 0x1234 pipe \
             action pedit ex munge eth dst set 02:00:00:00:00:09 munge ip ttl add 255"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = only(v0).actions;
        let keys = |at: usize| match &found[at].kind {
            TcActionKind::Pedit { keys } => keys.clone(),
            _ => panic!("{found:#?}"),
        };
        let [key] = keys(0).try_into().unwrap();
        assert_eq!((key.header, key.add, key.offset), (PeditHeader::Network, false, 4));
        assert_eq!((key.mask, key.value), (0x0000_ffff, 0x1234_0000));
        let extended: Vec<_> =
            keys(1).iter().map(|key| (key.header, key.add, key.offset, key.mask, key.value)).collect();
        let expected = [
            (PeditHeader::Eth, false, 0, 0, 0x0200_0000),
            (PeditHeader::Eth, false, 4, 0x0000_ffff, 0x0009_0000),
            (PeditHeader::Ip4, true, 8, 0x00ff_ffff, 0xff00_0000),
        ];
        assert_eq!(extended, expected);
    });
}

#[test]
fn tc_another_action_and_another_classifier() {
    fresh(|| {
        let (v0, _) = veth();
        if let Err(error) = ingress(&["pref 1 protocol ip basic action csum ip pipe"]) {
            skip!("{error}");
        }
        let found = only(v0);
        assert_eq!((found.kind(), found.action_kinds().collect::<Vec<_>>()), ("basic", vec!["csum"]));
        assert_eq!(found.actions[0].verdict, Some(TcVerdict::Pipe));
        let again = only(v0);
        assert_eq!(found, again, "nothing in it changes by itself");
    });
}

/// A key with a value and a mask in hex.
fn field(field: FlowerField, value: &str, mask: &str) -> FlowerKey {
    let bytes = |hex: &str| serde_json::from_value(serde_json::Value::from(hex)).unwrap();
    FlowerKey::Field { field, value: bytes(value), mask: bytes(mask) }
}

fn flower(line: &str, expected: &[FlowerKey]) {
    fresh(|| {
        let (v0, _) = veth();
        if let Err(error) = ingress(&[line]) {
            skip!("{error}");
        }
        let found = only(v0);
        let TcClassifier::Flower(keys) = &found.classifier else { panic!("{found:#?}") };
        assert_eq!(keys, expected);
        assert_eq!(found.actions, [action(TcActionKind::Gact { random: None }, TcVerdict::Shot)]);
    });
}

#[test]
fn tc_flower_with_keys_of_ipv4() {
    let expected = [
        field(FlowerField::EthDst, "020000000001", "ffffffffffff"),
        field(FlowerField::EthSrc, "020000000002", "ffffff000000"),
        field(FlowerField::EthType, "0800", "ffff"),
        field(FlowerField::IpProto, "06", "ff"),
        field(FlowerField::Ipv4Src, "0a000000", "ff000000"),
        field(FlowerField::Ipv4Dst, "c0000201", "ffffffff"),
        field(FlowerField::PortSrc, "0050", "ffff"),
        field(FlowerField::Flags, "00000000", "00000001"),
        field(FlowerField::TcpFlags, "0002", "0017"),
        field(FlowerField::IpTos, "10", "1e"),
        field(FlowerField::IpTtl, "40", "ff"),
        FlowerKey::PortRange { source: false, from: 1000, to: 2000 },
    ];
    flower(
        "pref 1 protocol ip flower dst_mac 02:00:00:00:00:01 src_mac 02:00:00:00:00:02/ff:ff:ff:00:00:00 \
         ip_proto tcp src_ip 10.0.0.0/8 dst_ip 192.0.2.1 src_port 80 dst_port 1000-2000 tcp_flags 0x2/0x17 \
         ip_tos 0x10/0x1e ip_ttl 64 ip_flags nofrag action drop",
        &expected,
    );
}

#[test]
fn tc_flower_with_keys_of_ipv6() {
    let (address, mask) = ("fe800000000000000000000000000000", "ffc00000000000000000000000000000");
    let expected = [
        field(FlowerField::EthType, "86dd", "ffff"),
        field(FlowerField::IpProto, "3a", "ff"),
        field(FlowerField::Ipv6Src, address, mask),
        field(FlowerField::IcmpCode, "00", "ff"),
        field(FlowerField::IcmpType, "87", "ff"),
    ];
    flower(
        "pref 1 protocol ipv6 flower ip_proto icmpv6 src_ip fe80::/10 type 135 code 0 action drop",
        &expected,
    );
}

#[test]
fn tc_flower_with_keys_of_arp() {
    let expected = [
        field(FlowerField::EthType, "0806", "ffff"),
        field(FlowerField::ArpSip, "0a000000", "ffffff00"),
        field(FlowerField::ArpTip, "0a000001", "ffffffff"),
        field(FlowerField::ArpOp, "01", "ff"),
        field(FlowerField::ArpSha, "020000000001", "ffffffffffff"),
        field(FlowerField::ArpTha, "020000000002", "ffffffffff00"),
    ];
    flower(
        "pref 1 protocol arp flower arp_sip 10.0.0.0/24 arp_tip 10.0.0.1 arp_op request \
         arp_sha 02:00:00:00:00:01 arp_tha 02:00:00:00:00:02/ff:ff:ff:ff:ff:00 action drop",
        &expected,
    );
}

#[test]
fn tc_flower_with_two_tags() {
    let expected = [
        field(FlowerField::EthType, "0800", "ffff"),
        field(FlowerField::VlanId, "0064", "0fff"),
        field(FlowerField::VlanPriority, "03", "07"),
        field(FlowerField::VlanEthType, "8100", "ffff"),
        field(FlowerField::CvlanId, "0009", "0fff"),
        field(FlowerField::CvlanPriority, "01", "07"),
        field(FlowerField::CvlanEthType, "0800", "ffff"),
    ];
    flower(
        "pref 1 protocol 802.1ad flower vlan_id 100 vlan_prio 3 vlan_ethtype 802.1q cvlan_id 9 cvlan_prio 1 \
         cvlan_ethtype ip action drop",
        &expected,
    );
}

#[test]
fn tc_a_classic_program() {
    fresh(|| {
        let (v0, _) = veth();
        // A program that returns 1: class 1, or as a verdict TC_ACT_RECLASSIFY.
        let made = ingress(&["pref 1 protocol all bpf bytecode 1,6~0~0~1 direct-action"]);
        if let Err(error) = made {
            skip!("{error}");
        }
        let found = only(v0);
        let TcClassifier::Bpf { program, direct_action } = &found.classifier else { panic!("{found:#?}") };
        assert!(direct_action);
        assert_eq!(program.classic.as_ref().map(|classic| classic.0.len()), Some(8));
    });
}
