use portcullis_snapshot::{
    EtherType, FlowerField, FlowerKey, GactRandom, MacAddr, PeditHeader, PeditKey, Skbedit, TcAction,
    TcActionKind, TcVerdict, U32Key, U32Mark, U32Node, VlanAction, VlanTag,
};
use proptest::prelude::*;

use super::*;
use crate::Messages;

/// A message's payload: `tcmsg` and what `fill` puts behind it.
fn payload(device: u32, handle: u32, info: u32, fill: impl FnOnce(Message) -> Message) -> Vec<u8> {
    let words = [0, device, handle, 0, info];
    let header: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let bytes = fill(Message::new(44, 0).header(&header)).finish(1);
    Messages::new(&bytes).next().unwrap().payload.to_vec()
}

/// Priority 7, protocol 802.1Q.
const INFO: u32 = 7 << 16 | 0x8100u16.to_be() as u32;

/// A filter with these options, as it is read.
fn filter(kind: &str, fill: impl FnOnce(Message) -> Message) -> TcFilter {
    let bytes = payload(3, 0x8000_0800, INFO, |m| {
        m.put_str(TCA_KIND, kind).put_u32(TCA_CHAIN, 5).nest(TCA_OPTIONS, fill)
    });
    match filter_entry(&bytes) {
        Some(FilterEntry::Filter(filter)) => filter,
        other => panic!("{other:?}"),
    }
}

/// The single action of a filter of `matchall`.
fn action(kind: &str, fill: impl FnOnce(Message) -> Message) -> TcAction {
    let mut actions = filter("matchall", |options| {
        options.nest(2, |list| list.nest(1, |action| action.put_str(1, kind).nest(2, fill)))
    })
    .actions;
    assert_eq!(actions.len(), 1);
    actions.remove(0)
}

/// `tc_gen` with a verdict, and what follows it.
fn generic(verdict: i32, behind: &[u32]) -> Vec<u8> {
    let words = [1, 0, verdict.cast_unsigned(), 1, 1];
    words.iter().chain(behind).flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct tc_u32_sel` with its keys, each a mask, a value, an offset and an offset's mask.
fn selector(flags: u8, keys: &[(u32, u32, i32, i32)]) -> Vec<u8> {
    let mut bytes = vec![flags, 6, u8::try_from(keys.len()).unwrap(), 0];
    bytes.extend(0x0f00u16.to_be_bytes());
    bytes.extend(4u16.to_ne_bytes());
    bytes.extend((-2i16).to_ne_bytes());
    bytes.extend(16i16.to_ne_bytes());
    bytes.extend(0x00ff_0000u32.to_be_bytes());
    for (mask, value, offset, offset_mask) in keys {
        bytes.extend(mask.to_be_bytes());
        bytes.extend(value.to_be_bytes());
        bytes.extend(offset.to_ne_bytes());
        bytes.extend(offset_mask.to_ne_bytes());
    }
    bytes
}

#[test]
fn a_qdisc_with_a_shared_block() {
    let bytes = payload(3, INGRESS_HANDLE, 1, |m| m.put_str(TCA_KIND, "clsact").put_u32(13, 22));
    let expected = Qdisc {
        device: IfIndex(3),
        kind: "clsact".to_owned(),
        handle: INGRESS_HANDLE,
        ingress_block: Some(22),
        egress_block: None,
    };
    assert_eq!(qdisc(&bytes), Some(expected));
}

#[test]
fn a_list_a_table_and_a_filter() {
    let head = |m: Message| m.put_str(TCA_KIND, "u32").put_u32(TCA_CHAIN, 5);
    let list = FilterList { chain: 5, priority: 7, protocol: 0x8100, kind: "u32".to_owned() };
    assert_eq!(filter_entry(&payload(3, 0, INFO, head)), Some(FilterEntry::List(list)));
    let table =
        payload(3, 0x0050_0000, INFO, |m| head(m).nest(TCA_OPTIONS, |options| options.put_u32(4, 16)));
    let expected = U32Table { chain: 5, priority: 7, handle: 0x0050_0000, divisor: 16, root: false };
    assert_eq!(filter_entry(&table), Some(FilterEntry::Table(expected)));
    let found = filter("matchall", |options| options.put_u32(1, 0x10002).put_u32(3, 8));
    assert_eq!((found.chain, found.priority, found.protocol, found.kind()), (5, 7, 0x8100, "matchall"));
    assert_eq!((found.handle, found.classid, found.flags), (0x8000_0800, Some(0x10002), 8));
    assert!(found.actions.is_empty());
}

#[test]
fn a_filter_without_a_chain_is_in_the_first_one() {
    let bytes = payload(3, 1, INFO, |m| m.put_str(TCA_KIND, "fw").nest(TCA_OPTIONS, |options| options));
    let Some(FilterEntry::Filter(found)) = filter_entry(&bytes) else { panic!() };
    assert_eq!((found.chain, found.classifier), (0, TcClassifier::Fw { mask: None }));
    // The oldest way of fw has no options at all, but it has a handle.
    let bytes = payload(3, 0x42, INFO, |m| m.put_str(TCA_KIND, "fw"));
    assert!(matches!(filter_entry(&bytes), Some(FilterEntry::Filter(_))));
}

#[test]
fn a_node_of_u32() {
    let found = filter("u32", |options| {
        let keys = [(0xffff_0000, 0x0a00_0000, 12, 0), (0xff, 6, -4, -1)];
        let mark: Vec<u8> = [3u32, 0xff, 77].iter().flat_map(|word| word.to_ne_bytes()).collect();
        options.put(5, &selector(5, &keys)).put_u32(3, 0x0050_0000).put(10, &mark).put_str(8, "eth0")
    });
    assert_eq!(found.indev.as_deref(), Some("eth0"));
    assert_eq!((found.u32_table(), found.u32_bucket(), found.u32_node()), (0x8000_0000, 0, 0x800));
    let TcClassifier::U32(node) = found.classifier else { panic!("{found:?}") };
    assert!(node.has(U32Node::TERMINAL) && node.has(U32Node::VAROFFSET) && !node.has(U32Node::EAT));
    let expected = [
        U32Key { mask: 0xffff_0000, value: 0x0a00_0000, offset: 12, offset_mask: 0 },
        U32Key { mask: 0xff, value: 6, offset: -4, offset_mask: -1 },
    ];
    assert_eq!(node.keys, expected);
    assert_eq!((node.link, node.mark), (Some(0x0050_0000), Some(U32Mark { value: 3, mask: 0xff })));
    assert_eq!((node.offset_shift, node.offset_mask, node.offset, node.offset_at), (6, 0x0f00, 4, -2));
    assert_eq!((node.hash_at, node.hash_mask), (16, 0x00ff_0000));
}

#[test]
fn a_node_with_fewer_keys_than_it_says_is_no_node() {
    let mut short = selector(1, &[(1, 1, 0, 0), (1, 1, 4, 0)]);
    short.truncate(40);
    let found = filter("u32", |options| options.put(5, &short));
    let TcClassifier::Other { kind, options } = found.classifier else { panic!("{found:?}") };
    assert_eq!((kind.as_str(), options.len(), options[0].number), ("u32", 1, 5));
}

#[test]
fn keys_of_flower() {
    let found = filter("flower", |options| {
        options
            .put(4, &[2, 0, 0, 0, 0, 1])
            .put(5, &[0xff; 6])
            .put(8, &0x0800u16.to_be_bytes())
            .put_u8(9, 6)
            .put_u16(23, 100)
            .put_u8(24, 3)
            .put(18, &80u16.to_be_bytes())
            .put(35, &0xfff0u16.to_be_bytes())
            .put(47, &1u32.to_be_bytes())
            .put(48, &3u32.to_be_bytes())
            .put(89, &1000u16.to_be_bytes())
            .put(90, &2000u16.to_be_bytes())
            .put(91, &[7, 0])
            .put_u32(22, 10)
            .put_u32(86, 0)
            .put_str(2, "eth0")
    });
    assert_eq!((found.flags, found.indev.as_deref()), (10, Some("eth0")));
    let TcClassifier::Flower(keys) = found.classifier else { panic!("{found:?}") };
    let field =
        |field, value: &[u8], mask: &[u8]| FlowerKey::Field { field, value: value.into(), mask: mask.into() };
    let expected = [
        field(FlowerField::EthDst, &[2, 0, 0, 0, 0, 1], &[0xff; 6]),
        field(FlowerField::EthType, &[8, 0], &[0xff; 2]),
        field(FlowerField::IpProto, &[6], &[0xff]),
        field(FlowerField::PortSrc, &[0, 80], &[0xff, 0xf0]),
        field(FlowerField::VlanId, &[0, 100], &[0x0f, 0xff]),
        field(FlowerField::VlanPriority, &[3], &[7]),
        field(FlowerField::Flags, &[0, 0, 0, 1], &[0, 0, 0, 3]),
        FlowerKey::PortRange { source: false, from: 1000, to: 2000 },
        FlowerKey::Other(UnknownAttribute { number: 91, bytes: "0700".to_owned() }),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_key_of_another_length_is_kept_as_it_came() {
    let found = filter("flower", |options| options.put(4, &[1, 2]).put(8, &[8, 0]).put(13, &[9; 4]));
    let TcClassifier::Flower(keys) = found.classifier else { panic!("{found:?}") };
    let other = |number, bytes: &str| FlowerKey::Other(UnknownAttribute { number, bytes: bytes.to_owned() });
    assert_eq!(keys[1..], [other(4, "0102"), other(13, "09090909")]);
}

#[test]
fn programs() {
    let found = filter("bpf", |options| {
        options.put_str(7, "guard.o:[tc]").put_u32(8, 1).put_u32(11, 42).put(10, &[0xab; 8])
    });
    let program = TcBpf {
        name: Some("guard.o:[tc]".to_owned()),
        id: Some(42),
        tag: Some(Bytes(vec![0xab; 8])),
        classic: None,
    };
    assert_eq!(found.classifier, TcClassifier::Bpf { program, direct_action: true });
    let found = filter("bpf", |options| options.put_u16(4, 1).put(5, &[6, 0, 0, 0, 1, 0, 0, 0]));
    let program = TcBpf { classic: Some(Bytes(vec![6, 0, 0, 0, 1, 0, 0, 0])), ..TcBpf::default() };
    assert_eq!(found.classifier, TcClassifier::Bpf { program: program.clone(), direct_action: false });
    let found = action("bpf", |options| {
        options.put(2, &generic(0, &[])).put_u16(3, 1).put(4, &[6, 0, 0, 0, 1, 0, 0, 0])
    });
    assert_eq!((found.kind, found.verdict), (TcActionKind::Bpf(program), Some(TcVerdict::Ok)));
}

#[test]
fn another_classifier_is_kept_without_its_actions_and_counters() {
    let found = filter("basic", |options| {
        let gact = |action: Message| action.put_str(1, "gact").nest(2, |o| o.put(2, &generic(2, &[])));
        options.put_u32(1, 9).put(2, &[1, 2, 3, 4]).nest(3, |list| list.nest(1, gact)).put(5, &[0; 16])
    });
    let options = vec![UnknownAttribute { number: 2, bytes: "01020304".to_owned() }];
    assert_eq!(found.classifier, TcClassifier::Other { kind: "basic".to_owned(), options });
    assert_eq!((found.kind(), found.classid, found.actions.len()), ("basic", Some(9), 1));
}

#[test]
fn verdicts() {
    for (number, verdict) in [
        (-1, TcVerdict::Unspec),
        (0, TcVerdict::Ok),
        (1, TcVerdict::Reclassify),
        (2, TcVerdict::Shot),
        (3, TcVerdict::Pipe),
        (4, TcVerdict::Stolen),
        (5, TcVerdict::Queued),
        (6, TcVerdict::Repeat),
        (7, TcVerdict::Redirect),
        (8, TcVerdict::Trap),
        (9, TcVerdict::Other(9)),
        (0x1000_0002, TcVerdict::Jump(2)),
        (0x2000_0007, TcVerdict::GotoChain(7)),
        (0x3000_0000, TcVerdict::Other(0x3000_0000)),
        (-2, TcVerdict::Other(-2)),
    ] {
        let found = action("gact", |options| options.put(2, &generic(number, &[])));
        assert_eq!(found.verdict, Some(verdict), "{number}");
        assert_eq!(found.kind, TcActionKind::Gact { random: None });
    }
}

#[test]
fn gact_at_random() {
    let random = [1, 0, 10, 0].into_iter().chain(2i32.to_ne_bytes()).collect::<Vec<u8>>();
    let found = action("gact", |options| options.put(2, &generic(0, &[])).put(3, &random));
    let random = if cfg!(target_endian = "little") {
        Some(GactRandom { kind: 1, value: 10, verdict: TcVerdict::Shot })
    } else {
        Some(GactRandom { kind: 0x100, value: 0xa00, verdict: TcVerdict::Shot })
    };
    assert_eq!(found.kind, TcActionKind::Gact { random });
}

#[test]
fn mirred_to_devices_and_blocks() {
    let found = |how, device: u32, fill: fn(Message) -> Message| {
        action("mirred", |options| fill(options.put(2, &generic(4, &[how, device])))).kind
    };
    let mirred = |redirect, ingress, device: Option<u32>, block| TcActionKind::Mirred {
        redirect,
        ingress,
        device: device.map(IfIndex),
        block,
    };
    assert_eq!(found(1, 5, |m| m), mirred(true, false, Some(5), None));
    assert_eq!(found(2, 5, |m| m), mirred(false, false, Some(5), None));
    assert_eq!(found(3, 5, |m| m), mirred(true, true, Some(5), None));
    assert_eq!(found(4, 0, |m| m), mirred(false, true, None, None));
    assert_eq!(found(2, 0, |m| m.put_u32(4, 22)), mirred(false, false, None, Some(22)));
    assert_eq!(found(9, 5, |m| m).kind(), "mirred", "kept as it came");
}

#[test]
fn tags_are_pushed_popped_and_changed() {
    let found = |how, fill: fn(Message) -> Message| {
        action("vlan", |options| fill(options.put(2, &generic(3, &[how])))).kind
    };
    assert_eq!(found(1, |m| m), TcActionKind::Vlan(VlanAction::Pop));
    let tag = |m: Message| m.put_u16(3, 100).put(4, &0x88a8u16.to_be_bytes());
    let expected = VlanTag { id: 100, protocol: EtherType(0x88a8), priority: None };
    assert_eq!(found(2, tag), TcActionKind::Vlan(VlanAction::Push(expected)));
    let expected = VlanTag { priority: Some(5), ..expected };
    let with_priority = |m: Message| m.put_u16(3, 100).put(4, &0x88a8u16.to_be_bytes()).put_u8(6, 5);
    assert_eq!(found(3, with_priority), TcActionKind::Vlan(VlanAction::Modify(expected)));
    assert_eq!(found(4, |m| m), TcActionKind::Vlan(VlanAction::PopEth));
    let header = VlanAction::PushEth { dst: MacAddr([2; 6]), src: MacAddr([4; 6]) };
    assert_eq!(found(5, |m| m.put(7, &[2; 6]).put(8, &[4; 6])), TcActionKind::Vlan(header));
    assert_eq!(found(2, |m| m).kind(), "vlan", "a tag that is not told");
    assert_eq!(found(6, |m| m), TcActionKind::Vlan(VlanAction::Other(6)));
}

#[test]
fn what_skbedit_sets() {
    let found = action("skbedit", |options| {
        let options = options.put(2, &generic(3, &[])).put_u32(3, 6).put_u16(4, 1).put_u32(5, 0x42);
        options.put_u16(7, 3).put_u32(8, 0xff).put(9, &0x20u64.to_ne_bytes()).put_u16(10, 4)
    });
    let expected = Skbedit {
        priority: Some(6),
        queue_mapping: Some(1),
        queue_mapping_max: Some(4),
        mark: Some(0x42),
        mark_mask: Some(0xff),
        ptype: Some(3),
        flags: 0x20,
    };
    assert_eq!((found.kind, found.verdict), (TcActionKind::Skbedit(expected), Some(TcVerdict::Pipe)));
}

#[test]
fn keys_of_pedit() {
    let parameters = |keys: u8| {
        let mut bytes = generic(3, &[]);
        bytes.extend([keys, 0, 0, 0]);
        for words in [[0xffff_0000u32, 0x0000_1234, 4], [0, 1, 8]] {
            let [mask, value, offset] = words;
            bytes.extend(mask.to_be_bytes());
            bytes.extend(value.to_be_bytes());
            bytes.extend([offset, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()));
        }
        bytes
    };
    let found = action("pedit", |options| options.put(2, &parameters(2)));
    let TcActionKind::Pedit { keys } = &found.kind else { panic!("{found:?}") };
    assert_eq!((keys.len(), found.verdict), (2, Some(TcVerdict::Pipe)));
    assert_eq!((keys[0].mask, keys[0].value, keys[0].offset), (0xffff_0000, 0x1234, 4));
    assert_eq!((keys[0].header, keys[0].add), (PeditHeader::Network, false));
    let extended = action("pedit", |options| {
        let key = |header, command| move |key: Message| key.put_u16(1, header).put_u16(2, command);
        let keys = |keys: Message| keys.nest(6, key(1, 0)).nest(6, key(2, 1));
        options.nest(5, keys).put(4, &parameters(2))
    });
    let TcActionKind::Pedit { keys } = &extended.kind else { panic!("{extended:?}") };
    assert_eq!((keys[0].header, keys[0].add), (PeditHeader::Eth, false));
    assert_eq!((keys[1].header, keys[1].add, keys[1].value), (PeditHeader::Ip4, true, 1));
    assert_eq!(extended.verdict, Some(TcVerdict::Pipe));
    let short = action("pedit", |options| options.put(2, &parameters(3)));
    assert!(matches!(short.kind, TcActionKind::Other { .. }), "{short:?}");
}

#[test]
fn police_of_both_sorts() {
    let rate = [1u32, 2].iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let fill = |options: Message| options.put(1, &rate).put_u32(5, 3).put(6, &[0; 32]);
    let found = action("police", fill);
    let TcActionKind::Police { conform, options } = &found.kind else { panic!("{found:?}") };
    assert_eq!((*conform, found.verdict), (TcVerdict::Pipe, Some(TcVerdict::Shot)));
    assert_eq!(options.iter().map(|option| option.number).collect::<Vec<_>>(), [1]);
    let old = filter("u32", |options| options.put(5, &selector(1, &[])).nest(6, fill));
    assert_eq!(old.actions, [found]);
}

#[test]
fn another_action_is_kept_without_its_times() {
    let found = action("csum", |options| options.put(1, &generic(3, &[1])).put(2, &[7; 32]).put_u8(9, 1));
    let TcActionKind::Other { kind, options } = &found.kind else { panic!("{found:?}") };
    assert_eq!((kind.as_str(), found.verdict), ("csum", Some(TcVerdict::Pipe)));
    assert_eq!(options.iter().map(|option| option.number).collect::<Vec<_>>(), [1, 9]);
    let found = action("new", |options| options.put(2, &generic(2, &[])));
    assert_eq!(found.verdict, None, "nobody knows where it stands");
}

#[test]
fn an_action_that_only_hardware_takes() {
    let flags: Vec<u8> = [4u32, 4].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let found = filter("matchall", |options| {
        options.nest(2, |list| {
            let gact = |m: Message| m.put_str(1, "gact").nest(2, |o| o.put(2, &generic(2, &[])));
            list.nest(1, |action| gact(action).put(7, &flags)).nest(2, gact)
        })
    });
    assert_eq!(found.actions.iter().map(|action| action.skip_sw).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn actions_are_named_in_their_order() {
    let action = |m: Message, at, kind| m.nest(at, |action| action.put_str(1, kind));
    let found = filter("u32", |options| {
        let options = options.put(5, &selector(1, &[]));
        options.nest(7, |list| action(action(list, 1, "vlan"), 2, "mirred"))
    });
    assert_eq!(found.action_kinds().collect::<Vec<_>>(), ["vlan", "mirred"]);
}

#[test]
fn requests_say_where() {
    let bytes = filters_request(FilterParent::Block(22)).finish(1);
    assert_eq!((u32_at(&bytes, 16 + 4), u32_at(&bytes, 16 + 12)), (Some(MAGIC_BLOCK), Some(22)));
    let place = FilterParent::Device(IfIndex(9), CLSACT_EGRESS);
    let bytes = filters_request(place).finish(1);
    assert_eq!((u32_at(&bytes, 16 + 4), u32_at(&bytes, 16 + 12)), (Some(9), Some(CLSACT_EGRESS)));
    let list = FilterList { chain: 5, priority: 7, protocol: 0x8100, kind: "u32".to_owned() };
    let bytes = u32_root_request(place, &list).finish(1);
    assert_eq!((u32_at(&bytes, 16 + 8), u32_at(&bytes, 16 + 16)), (Some(0xfff0_0000), Some(INFO)));
    let attributes = Attributes::after(&bytes, 16 + TCMSG);
    assert_eq!(attributes.get(TCA_CHAIN).unwrap().u32(), Some(5));
}

proptest! {
    #[test]
    fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (filter_entry(&bytes), qdisc(&bytes));
    }

    /// Bytes that get as far as the options of each classifier and action.
    #[test]
    fn any_options_will_do(
        at in 0u16..12,
        number in 0u16..112,
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        for kind in ["u32", "flower", "matchall", "bpf", "fw", "basic"] {
            let message = payload(3, 1, INFO, |m| {
                m.put_str(TCA_KIND, kind).nest(TCA_OPTIONS, |options| options.put(at, &bytes).put(number, &bytes))
            });
            let _ = filter_entry(&message);
        }
        for kind in ["gact", "mirred", "vlan", "skbedit", "pedit", "police", "bpf", "csum", "new"] {
            let _ = action(kind, |options| options.put(at, &bytes).put(at + 1, &bytes));
        }
    }
}

/// What is written is read again as it was.
fn comes_back(filter: &TcFilter) {
    let place = FilterParent::Device(IfIndex(3), CLSACT_INGRESS);
    let bytes = new_filter(place, filter).finish(1);
    let payload = Messages::new(&bytes).next().unwrap().payload;
    let Some(FilterEntry::Filter(found)) = filter_entry(payload) else { panic!("{bytes:?}") };
    assert_eq!(found, *filter);
}

fn with(classifier: TcClassifier, actions: Vec<TcAction>) -> TcFilter {
    TcFilter {
        chain: 5,
        priority: 7,
        protocol: 0x8100,
        handle: 3,
        classifier,
        classid: None,
        indev: None,
        flags: 0,
        actions,
    }
}

#[test]
fn written_filters_come_back() {
    let act = |kind, verdict| TcAction { kind, verdict: Some(verdict), skip_sw: false };
    let tag = VlanTag { id: 5, protocol: EtherType::SVLAN, priority: Some(3) };
    let key = PeditKey {
        header: PeditHeader::Eth,
        add: false,
        mask: 0xffff,
        value: 0x0200_0000,
        offset: 4,
        at: 0,
        offset_mask: 0,
        shift: 0,
    };
    let program = TcBpf { classic: Some(Bytes(vec![6, 0, 0, 0, 2, 0, 0, 0])), ..TcBpf::default() };
    let actions = vec![
        act(TcActionKind::Gact { random: None }, TcVerdict::GotoChain(9)),
        act(
            TcActionKind::Mirred { redirect: true, ingress: false, device: Some(IfIndex(4)), block: None },
            TcVerdict::Stolen,
        ),
        act(TcActionKind::Vlan(VlanAction::Modify(tag)), TcVerdict::Pipe),
        act(
            TcActionKind::Skbedit(Skbedit { mark: Some(1), ptype: Some(0), ..Skbedit::default() }),
            TcVerdict::Unspec,
        ),
        act(TcActionKind::Pedit { keys: vec![key] }, TcVerdict::Jump(2)),
        act(TcActionKind::Bpf(program.clone()), TcVerdict::Pipe),
    ];
    comes_back(&with(TcClassifier::Matchall, actions));
    let classifier = TcClassifier::Bpf { program, direct_action: true };
    comes_back(&TcFilter { flags: TcFilter::SKIP_SW, ..with(classifier, Vec::new()) });
    comes_back(&TcFilter {
        indev: Some("p0".to_owned()),
        ..with(TcClassifier::Fw { mask: Some(7) }, Vec::new())
    });
    let field = |field, value: &[u8], mask: &[u8]| FlowerKey::Field {
        field,
        value: Bytes(value.to_vec()),
        mask: Bytes(mask.to_vec()),
    };
    let keys = vec![
        field(FlowerField::EthType, &[8, 0], &[0xff; 2]),
        field(FlowerField::IpProto, &[17], &[0xff]),
        field(FlowerField::Ipv4Dst, &[10, 0, 0, 0], &[0xff, 0xff, 0xff, 0]),
        field(FlowerField::PortDst, &[0, 53], &[0xff; 2]),
        FlowerKey::PortRange { source: true, from: 1000, to: 2000 },
    ];
    comes_back(&TcFilter { protocol: 0x0800, ..with(TcClassifier::Flower(keys), Vec::new()) });
    let node = U32Node {
        flags: U32Node::TERMINAL | U32Node::VAROFFSET,
        keys: vec![U32Key { mask: 0xff00, value: 0x1100, offset: -4, offset_mask: -1 }],
        link: Some(0x0050_0000),
        mark: Some(U32Mark { value: 1, mask: 3 }),
        offset_shift: 6,
        offset_mask: 0x0f00,
        offset: 4,
        offset_at: 0,
        hash_at: 8,
        hash_mask: 0x00ff_0000,
    };
    // The kernel makes the handle up from the table, the bucket and the node.
    let filter = TcFilter { handle: 9, ..with(TcClassifier::U32(node), Vec::new()) };
    comes_back(&filter);
}

#[test]
fn what_is_taken_away_is_named_in_full() {
    let filter = filter("matchall", |options| options);
    let parent = FilterParent::Device(IfIndex(3), CLSACT_INGRESS);
    for (handle, named) in [(None, 0), (Some(9), 9)] {
        let bytes = delete_filter(parent, &filter, handle).finish(1);
        let message = Messages::new(&bytes).next().unwrap();
        let words = [4, 8, 12, 16].map(|at| u32_at(message.payload, at).unwrap());
        assert_eq!((message.kind, words), (45, [3, named, CLSACT_INGRESS, INFO]));
        let attributes = Attributes::after(message.payload, TCMSG);
        assert_eq!(attributes.get(TCA_KIND).unwrap().string(), "matchall");
        assert_eq!(attributes.get(TCA_CHAIN).unwrap().u32(), Some(5));
    }
    let bytes = delete_qdisc(IfIndex(3), "clsact").finish(1);
    let message = Messages::new(&bytes).next().unwrap();
    let taken = qdisc(message.payload).unwrap();
    assert_eq!((message.kind, taken.kind.as_str(), taken.handle), (37, "clsact", INGRESS_HANDLE));
}
