//! tc filters on the small networks of the bridge's tests.

use portcullis_snapshot::{
    Bytes, IfIndex, MacAddr, PeditHeader, PeditKey, Reading, TcAction, TcActionKind, TcBpf, TcClassifier,
    TcFilter, TcHook, TcHookKind, TcVerdict, U32Key, U32Node, VlanAction, VlanTag,
};

use crate::frame::{Concrete, FrameBuilder, Payload};
use crate::walk::tests::{A, B, BR0, C, Lab, UNKNOWN, ports, stack, to};
use crate::walk::{TagVid, Trace, Walk};
use portcullis_snapshot::EtherType;

fn act(kind: TcActionKind, verdict: TcVerdict) -> TcAction {
    TcAction { kind, verdict: Some(verdict), skip_sw: false }
}

fn gact(verdict: TcVerdict) -> Vec<TcAction> {
    vec![act(TcActionKind::Gact { random: None }, verdict)]
}

fn filter(chain: u32, priority: u16, protocol: u16, actions: Vec<TcAction>) -> TcFilter {
    let classifier = TcClassifier::Matchall;
    TcFilter {
        chain,
        priority,
        protocol,
        handle: 1,
        classifier,
        classid: None,
        indev: None,
        flags: 0,
        actions,
    }
}

fn walk(hook: TcHookKind, device: IfIndex, filters: Vec<TcFilter>, frame: &FrameBuilder) -> Walk {
    let mut lab = Lab::new();
    let (qdisc, u32_tables) = ("clsact".to_owned(), Vec::new());
    lab.netns().filters.tc =
        Reading::Read(vec![TcHook { device, hook, qdisc, block: None, filters, u32_tables }]);
    lab.send(A, frame)
}

fn ingress(filters: Vec<TcFilter>) -> Walk {
    walk(TcHookKind::Ingress, A, filters, &to(UNKNOWN))
}

#[test]
fn a_filter_for_another_protocol_is_passed_over() {
    let shot = gact(TcVerdict::Shot);
    assert!(ports(&ingress(vec![filter(0, 1, 3, shot.clone())])).is_empty());
    assert_eq!(ports(&ingress(vec![filter(0, 1, 0x0800, shot.clone())])), [B, C]);
    // A priority tag hides what it carries.
    let tagged = to(UNKNOWN).tag(EtherType::VLAN, 0);
    let of =
        |protocol| ports(&walk(TcHookKind::Ingress, A, vec![filter(0, 1, protocol, shot.clone())], &tagged));
    assert_eq!(of(0x88b5), [B, C]);
    assert!(of(0x8100).is_empty());
}

#[test]
fn chains_begin_with_0() {
    let shot = gact(TcVerdict::Shot);
    assert_eq!(ports(&ingress(vec![filter(5, 1, 3, shot.clone())])), [B, C]);
    let go = gact(TcVerdict::GotoChain(5));
    assert!(ports(&ingress(vec![filter(0, 1, 3, go), filter(5, 1, 3, shot.clone())])).is_empty());
    // A loop ends with the frame.
    let round = ingress(vec![filter(0, 1, 3, gact(TcVerdict::Reclassify))]);
    assert_eq!((ports(&round).len(), round.drops.len()), (0, 1));
    // ok ends the search, continue does not.
    for (verdict, passes) in [(TcVerdict::Ok, true), (TcVerdict::Unspec, false), (TcVerdict::Pipe, true)] {
        let both = vec![filter(0, 1, 3, gact(verdict)), filter(0, 2, 3, shot.clone())];
        assert_eq!(!ports(&ingress(both)).is_empty(), passes, "{verdict:?}");
    }
}

#[test]
fn jumps_pass_actions_over() {
    let mut actions = gact(TcVerdict::Jump(2));
    actions.extend(gact(TcVerdict::Shot));
    actions.extend(gact(TcVerdict::Ok));
    assert_eq!(ports(&ingress(vec![filter(0, 1, 3, actions)])), [B, C]);
}

#[test]
fn what_is_redirected_leaves_past_the_bridge() {
    let mirred = |redirect, ingress, device, verdict| {
        vec![act(TcActionKind::Mirred { redirect, ingress, device: Some(device), block: None }, verdict)]
    };
    let out = ingress(vec![filter(0, 1, 3, mirred(true, false, C, TcVerdict::Stolen))]);
    assert_eq!((ports(&out), out.learned.len(), out.open.len()), (vec![C], 0, 0));
    let copy = ingress(vec![filter(0, 1, 3, mirred(false, false, C, TcVerdict::Pipe))]);
    assert_eq!(ports(&copy), [C, B, C]);
    let up = ingress(vec![filter(0, 1, 3, mirred(true, true, BR0, TcVerdict::Stolen))]);
    assert_eq!((ports(&up), stack(&up)), (vec![], vec![BR0]));
    let gone = ingress(vec![filter(0, 1, 3, mirred(true, false, IfIndex(99), TcVerdict::Stolen))]);
    assert_eq!((ports(&gone).len(), gone.drops.len()), (0, 1));
}

#[test]
fn a_tag_is_pushed_and_popped() {
    let tag = VlanTag { id: 5, protocol: EtherType::VLAN, priority: None };
    let push = vec![act(TcActionKind::Vlan(VlanAction::Push(tag)), TcVerdict::Pipe)];
    let pushed = ingress(vec![filter(0, 1, 3, push)]);
    let tag = pushed.ports().next().unwrap().hwtag.unwrap();
    assert!(matches!(tag.vid, TagVid::Fixed { vid: 5, .. }));
    let pop = vec![act(TcActionKind::Vlan(VlanAction::Pop), TcVerdict::Pipe)];
    let twice = to(UNKNOWN).tag(EtherType::VLAN, 5).tag(EtherType::VLAN, 6);
    let popped = walk(TcHookKind::Ingress, A, vec![filter(0, 1, 3, pop)], &twice);
    let tag = popped.ports().next().unwrap().hwtag.unwrap();
    assert_eq!(tag.vid, TagVid::Frame(1));
}

/// The bytes of a UDP packet, from the Ethernet header on, after some changes; `None` if something stayed open.
fn edited(keys: Vec<PeditKey>) -> Option<Vec<u8>> {
    let [from, to] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(std::net::Ipv4Addr::from);
    let packet = Payload::Udp4 { from, to, ports: (1000, 2000), data: vec![0; 20] };
    let bytes = FrameBuilder::new(UNKNOWN, MacAddr([2, 0, 0, 0, 1, 1])).payload(&packet);
    let mut lab = Lab::new();
    let filters = vec![filter(0, 1, 3, vec![act(TcActionKind::Pedit { keys }, TcVerdict::Pipe)])];
    let (qdisc, u32_tables, hook) = ("clsact".to_owned(), Vec::new(), TcHookKind::Ingress);
    lab.netns().filters.tc =
        Reading::Read(vec![TcHook { device: A, hook, qdisc, block: None, filters, u32_tables }]);
    let mut frame = Concrete::new(&bytes)?;
    let walk = crate::walk::walk(&lab.network(), A, &mut frame, Trace::Off);
    let left = walk.ports().next()?.bytes(&Concrete::new(&bytes)?);
    walk.open.is_empty().then_some(left)
}

#[test]
fn pedit_adds_in_host_byte_order_and_finds_headers() {
    let key = |header, offset, mask, value| PeditKey {
        header,
        add: false,
        mask,
        value,
        offset,
        at: 0,
        offset_mask: 0,
        shift: 0,
    };
    let port = edited(vec![key(PeditHeader::Udp, 0, 0xffff_0000, 53)]).unwrap();
    assert_eq!(port[36..38], [0, 53]);
    // Of IPv4 nobody asks whose header it is; behind its end nothing is changed, by the keys that follow neither.
    let port = edited(vec![key(PeditHeader::Tcp, 0, 0xffff, 22 << 16)]).unwrap();
    assert_eq!(port[34..36], [0, 22]);
    let none = edited(vec![key(PeditHeader::Ip4, 600, 0, 0), key(PeditHeader::Ip4, 16, 0, 0)]).unwrap();
    assert_eq!(none[30..34], [10, 0, 0, 2]);

    let less = PeditKey { add: true, ..key(PeditHeader::Ip4, 8, 0x00ff_ffff, 0xff << 24) };
    assert_eq!(edited(vec![less]).unwrap()[22..24], [63, 17]);
    if cfg!(target_endian = "little") {
        // 10 + 250 is 260: the carry goes to the byte behind.
        let carry = PeditKey { add: true, ..key(PeditHeader::Ip4, 16, 0, 250 << 24) };
        assert_eq!(edited(vec![carry]).unwrap()[30..34], [4, 1, 0, 2]);
    }
    // As far on as the header is long, of which the last two bits count.
    let along = PeditKey { offset_mask: 4, ..key(PeditHeader::Ip4, 12, 0, 7) };
    assert_eq!(edited(vec![along]).unwrap()[30..34], [0, 0, 0, 7]);
}

#[test]
fn a_pushed_tag_of_another_kind_than_the_bridges_stays_open() {
    let tag = VlanTag { id: 5, protocol: EtherType::SVLAN, priority: None };
    let push = vec![act(TcActionKind::Vlan(VlanAction::Push(tag)), TcVerdict::Pipe)];
    let mut lab = Lab::new().vlans(&[], &[(A, &[(1, 6)]), (B, &[(1, 6)])]);
    let (qdisc, u32_tables, hook) = ("clsact".to_owned(), Vec::new(), TcHookKind::Ingress);
    let filters = vec![filter(0, 1, 3, push)];
    lab.netns().filters.tc =
        Reading::Read(vec![TcHook { device: A, hook, qdisc, block: None, filters, u32_tables }]);
    assert!(!lab.send(A, &to(UNKNOWN)).open.is_empty());
}

#[test]
fn words_count_from_the_network_header() {
    let key = |offset, value| U32Key { mask: u32::MAX, value, offset, offset_mask: 0 };
    let node = |key| U32Node::new(U32Node::TERMINAL, vec![key]);
    let with = |key| TcFilter {
        classifier: TcClassifier::U32(node(key)),
        handle: 0x8000_0800,
        ..filter(0, 1, 3, gact(TcVerdict::Shot))
    };
    let MacAddr(mac) = UNKNOWN;
    let last = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    assert!(ports(&ingress(vec![with(key(-12, last))])).is_empty());
    assert_eq!(ports(&ingress(vec![with(key(-12, last + 1))])), [B, C]);
    assert_eq!(ports(&ingress(vec![with(key(600, 0))])), [B, C]);
}

#[test]
fn programs_are_named_unless_they_always_say_the_same() {
    let bpf = |program| TcFilter {
        classifier: TcClassifier::Bpf { program, direct_action: true },
        ..filter(0, 1, 3, Vec::new())
    };
    let drops = TcBpf { classic: Some(Bytes(vec![6, 0, 0, 0, 2, 0, 0, 0])), ..TcBpf::default() };
    let walk = ingress(vec![bpf(drops)]);
    assert_eq!((ports(&walk).len(), walk.open.len()), (0, 0));
    let walk = ingress(vec![bpf(TcBpf { id: Some(42), ..TcBpf::default() })]);
    assert_eq!(walk.open[0].kind.to_string(), "BPF program 42 on a");
}
