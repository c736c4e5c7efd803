//! Rules of the legacy tables, and what rules write.

use portcullis_snapshot::{
    EbtHeader, EbtProtocol, EtherType, IfIndex, LegacyChain, LegacyFamily, LegacyHeader, LegacyRule,
    LegacyTable, LegacyTarget, MacAddr, Reading, XtBridgeNat, XtDevice, XtInterface, XtMac, XtMatch,
    XtTarget, XtValue, XtVerdict,
};

use crate::frame::Field;
use crate::walk::tests::{A, B, BR0, C, Lab, UNKNOWN, ports, stack, to};
use crate::{Concrete, Payload};

/// A table of ebtables with one base chain.
fn ebtables(table: &str, hook: u32, rules: Vec<LegacyRule>, policy: XtVerdict) -> LegacyTable {
    let chain = LegacyChain { name: "BASE".to_owned(), hook: Some(hook), policy, rules };
    LegacyTable {
        family: LegacyFamily::Ebtables,
        table: table.to_owned(),
        entries: None,
        chains: Reading::Read(vec![chain]),
    }
}

fn rule(header: EbtHeader, target: LegacyTarget) -> LegacyRule {
    let (matches, watchers) = (Vec::new(), Vec::new());
    LegacyRule { header: LegacyHeader::Bridge(header), matches, watchers, target }
}

fn with(tables: Vec<LegacyTable>) -> Lab {
    let mut lab = Lab::new();
    lab.netns().filters.legacy_tables = Reading::Read(tables);
    lab
}

const DROP: LegacyTarget = LegacyTarget::Verdict(XtVerdict::Drop);

fn protocol(number: u16, inverted: bool) -> EbtHeader {
    let value = EbtProtocol::Type(EtherType(number));
    EbtHeader { protocol: Some(XtValue { value, inverted }), ..EbtHeader::default() }
}

#[test]
fn ebtables_takes_any_tag_for_one_of_802_1q() {
    let lab = |header| with(vec![ebtables("filter", 2, vec![rule(header, DROP)], XtVerdict::Accept)]);
    let plain = || to(UNKNOWN);
    let tagged = |tpid| to(UNKNOWN).tag(tpid, 0);
    // The frame's own type is seen without a tag only (kernel-path 1.6).
    assert_eq!(ports(&lab(protocol(0x88b5, false)).send(A, &plain())), []);
    assert_eq!(ports(&lab(protocol(0x88b5, false)).send(A, &tagged(EtherType::VLAN))), [B, C]);
    for tpid in [EtherType::VLAN, EtherType::SVLAN] {
        assert_eq!(ports(&lab(protocol(0x8100, false)).send(A, &tagged(tpid))), []);
        assert_eq!(ports(&lab(protocol(0x88a8, false)).send(A, &tagged(tpid))), [B, C]);
    }
}

#[test]
fn devices_are_asked_for_by_name_and_by_how_it_begins() {
    let out = |name: &str, prefix: bool, inverted| {
        let interface =
            if prefix { XtInterface::Prefix(name.to_owned()) } else { XtInterface::Name(name.to_owned()) };
        EbtHeader { output: Some(XtDevice { interface, inverted }), ..EbtHeader::default() }
    };
    let lab = |header| with(vec![ebtables("filter", 2, vec![rule(header, DROP)], XtVerdict::Accept)]);
    assert_eq!(ports(&lab(out("b", false, false)).send(A, &to(UNKNOWN))), [C]);
    assert_eq!(ports(&lab(out("b", false, true)).send(A, &to(UNKNOWN))), [B]);
    assert_eq!(ports(&lab(out("", true, false)).send(A, &to(UNKNOWN))), []);
}

#[test]
fn broute_sends_to_the_port_s_own_stack() {
    let redirect = LegacyTarget::Extension(XtTarget::BridgeRedirect { verdict: XtVerdict::Drop });
    let lab =
        with(vec![ebtables("broute", 5, vec![rule(EbtHeader::default(), redirect)], XtVerdict::Accept)]);
    let walk = lab.send(A, &to(UNKNOWN));
    assert_eq!((ports(&walk), stack(&walk)), (vec![], vec![A]));
}

#[test]
fn what_nat_writes_decides_where_it_goes_and_each_copy_has_its_own() {
    let nat = |mac, verdict| XtBridgeNat { mac, verdict };
    let up = MacAddr([2, 0, 0, 0, 0, BR0.0 as u8]);
    let dnat = LegacyTarget::Extension(XtTarget::BridgeDnat(nat(up, XtVerdict::Accept)));
    let walk = with(vec![ebtables("nat", 0, vec![rule(EbtHeader::default(), dnat)], XtVerdict::Accept)])
        .send(A, &to(UNKNOWN));
    assert_eq!((ports(&walk), stack(&walk)), (vec![], vec![BR0]));

    // Only what leaves by b gets another source.
    let other = MacAddr([2, 0, 0, 0, 7, 7]);
    let snat =
        LegacyTarget::Extension(XtTarget::BridgeSnat { nat: nat(other, XtVerdict::Accept), arp: false });
    let by_b = EbtHeader {
        output: Some(XtDevice { interface: XtInterface::Name("b".to_owned()), inverted: false }),
        ..EbtHeader::default()
    };
    let walk =
        with(vec![ebtables("nat", 4, vec![rule(by_b, snat)], XtVerdict::Accept)]).send(A, &to(UNKNOWN));
    let bytes = to(UNKNOWN).payload(&Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0; 46] });
    let frame = Concrete::new(&bytes).unwrap();
    let sources: Vec<(IfIndex, u128)> = walk
        .ports()
        .map(|delivery| {
            let left = delivery.bytes(&frame);
            (delivery.device, Concrete::new(&left).unwrap().value(Field::Src))
        })
        .collect();
    assert_eq!(sources, [(B, other.to_u64().into()), (C, frame.value(Field::Src))]);
}

#[test]
fn a_policy_counts_where_no_rule_decides_and_unknown_matches_stay_open() {
    let from = |address, inverted| EbtHeader {
        source: Some(XtMac { address, mask: MacAddr::BROADCAST, inverted }),
        ..EbtHeader::default()
    };
    let guest = MacAddr([2, 0, 0, 0, 1, 1]);
    let accept = LegacyTarget::Verdict(XtVerdict::Accept);
    let table = |header| ebtables("filter", 2, vec![rule(header, accept.clone())], XtVerdict::Drop);
    assert_eq!(ports(&with(vec![table(from(guest, false))]).send(A, &to(UNKNOWN))), [B, C]);
    assert_eq!(ports(&with(vec![table(from(guest, true))]).send(A, &to(UNKNOWN))), []);

    let mut limited = rule(EbtHeader::default(), DROP);
    limited.matches.push(XtMatch::Limit { average: 1, burst: 1 });
    let walk = with(vec![ebtables("filter", 2, vec![limited], XtVerdict::Accept)]).send(A, &to(UNKNOWN));
    let open: Vec<_> = walk.open.iter().map(|open| open.kind.to_string()).collect();
    assert_eq!(open, ["ebtables filter BASE rule 1: the match limit"; 1]);
}
