//! What the walk once got wrong: each mismatch that the harness found, made small, and named after what the kernel does.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, which may fail"
)]

use std::net::{IpAddr, Ipv6Addr};

use portcullis_datapath::{FrameBuilder, Payload};
use portcullis_differ::firewall::{self, Chain, Match, TABLE, meta};
use portcullis_differ::generate::{Scenario, Sent, guest_mac};
use portcullis_differ::knobs::{BRIDGE_KNOBS, PORT_KNOBS, STATE};
use portcullis_differ::names::{
    BRIDGE, GUESTS, LOWERS, Name, OUTSIDE, PORTS, UPLINK, UPLINK_MACVLANS, VRF, index, mac,
};
use portcullis_differ::run::{Account, Runner};
use portcullis_differ::step::{Rule, Step};
use portcullis_differ::tools::ToolRule;
use portcullis_differ::traffic::{Filter, Place, Qdisc};
use portcullis_kernel::link::NUD_REACHABLE;
use portcullis_kernel::namespace::pin_to_one_processor;
use portcullis_snapshot::{
    BoolOpt, CmpOp, EtherType, Hex, MacAddr, MdbGroup, MetaKey, NftBaseChain, NftExpr, NftFamily, NftVerdict,
    PayloadBase, PayloadSum, TcAction, TcActionKind, TcClassifier, TcFilter, TcHookKind, TcVerdict, U32Node,
    VlanAction, VlanFlags, VlanId, VlanTag,
};
use portcullis_testnet::{fresh, skip};

/// A bridge with these ports, each a cable, all of it on.
fn bridge(ports: &[usize]) -> Vec<Step> {
    let mut steps = vec![Step::Bridge(BRIDGE), Step::Up(BRIDGE)];
    for &number in ports {
        steps.extend(cable(PORTS[number], GUESTS[number]));
        steps.push(Step::Master { device: PORTS[number], master: BRIDGE });
    }
    steps
}

fn cable(near: Name, far: Name) -> [Step; 3] {
    [Step::Cable { near, far }, Step::Up(far), Step::Up(near)]
}

/// A macvlan on a cable, as a port.
fn macvlan_port(number: usize, mode: u32) -> Vec<Step> {
    let (name, lower) = (PORTS[number], LOWERS[number]);
    let mut steps = Vec::from(cable(lower, GUESTS[number]));
    steps.push(Step::Macvlan { name, lower, mode });
    steps.push(Step::Master { device: name, master: BRIDGE });
    steps.push(Step::Up(name));
    steps
}

fn on(port: Name, keyword: &str, value: u32) -> Step {
    let knob = PORT_KNOBS.iter().chain([&STATE]).find(|knob| knob.keyword == keyword).unwrap();
    Step::PortOption { port, knob, value }
}

fn on_bridge(keyword: &str, value: u32) -> Step {
    let knob = BRIDGE_KNOBS.iter().find(|knob| knob.keyword == keyword).unwrap();
    Step::BridgeOption { bridge: BRIDGE, knob, value }
}

fn address(device: Name, address: &str) -> Step {
    let address: IpAddr = address.parse().unwrap();
    Step::Address { device, address, prefix: if address.is_ipv4() { 24 } else { 64 } }
}

fn ipv4(device: Name, setting: &'static str, value: u32) -> Step {
    Step::Sysctl { family: "ipv4", device: Some(device), setting, value }
}

fn vrf(device: Name) -> [Step; 3] {
    [Step::Vrf { name: VRF, table: 10 }, Step::Up(VRF), Step::Master { device, master: VRF }]
}

/// Builds the steps, sends the frames, and wants the kernel and the walk to agree.
fn agrees(steps: Vec<Step>, frames: &[(Name, &str)]) {
    check(steps, frames, |_| ());
}

/// The same of one frame whose way the walk leaves open.
fn stays_open(steps: Vec<Step>, hex: &str) {
    check(steps, &[(PORTS[0], hex)], |account| assert_eq!(account.open, 1, "it was taken for certain"));
}

fn check(steps: Vec<Step>, frames: &[(Name, &str)], further: fn(&Account)) {
    let sent = |(into, hex): &(Name, &str)| {
        let digits: Vec<_> = hex.as_bytes().chunks(2).collect();
        let byte = |pair: &&[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Sent { into, bytes: digits.iter().map(byte).collect() }
    };
    let scenario = Scenario { steps, frames: frames.iter().map(sent).collect() };
    fresh(|| {
        pin_to_one_processor().unwrap();
        let account = Runner::new(None).run(&scenario).unwrap();
        assert!(account.mismatch.is_none(), "{:#?}", account.mismatch);
        if let Some((at, reason)) = account.refused.first() {
            skip!("this kernel refuses {}: {reason}", scenario.steps[*at].sort());
        }
        assert_eq!(account.cases, frames.len() as u64, "not every frame was sent");
        further(&account);
    });
}

/// A scenario of one frame, from the guest behind port 0.
fn one(steps: Vec<Step>, hex: &str) {
    agrees(steps, &[(PORTS[0], hex)]);
}

const ARP: &str = "08060001080006040001";
const PADDING: &str = "000000000000000000000000000000000000";

#[test]
fn a_frame_to_its_own_source_is_on_its_own_port_by_then() {
    one(bridge(&[0, 1]), "02000000200002000000200088b5706f727463756c6c6973");
}

#[test]
fn the_pvid_keeps_the_priority_of_a_priority_tag() {
    let steps =
        [bridge(&[0, 1]), vec![on_bridge("vlan_filtering", 1)], vec![member(PORTS[1], 1, VlanFlags::PVID)]];
    one(steps.concat(), "ffffffffffff0200000020008100f00088b5706f727463756c6c6973");
}

fn member(device: Name, id: u16, flags: u16) -> Step {
    Step::Member { device, id: VlanId::new(id).unwrap(), flags: Some(flags) }
}

#[test]
fn gratuitous_arp_is_kept_from_suppressed_ports() {
    let steps = [bridge(&[0, 1]), vec![on(PORTS[1], "neigh_suppress", 1)]].concat();
    one(steps, &format!("ffffffffffff020000002000{ARP}0200000020000a00000b0000000000000a00000b{PADDING}"));
}

#[test]
fn whether_a_global_address_of_another_interface_is_the_bridges_own_stays_open() {
    let steps = [
        bridge(&[0, 1]),
        cable(UPLINK, OUTSIDE).into(),
        vec![on(PORTS[1], "neigh_suppress", 1), address(UPLINK, "2001:db8::1")],
    ];
    stays_open(
        steps.concat(),
        "ffffffffffff02000000200086dd6000002200203afffd00000000000000000000000000000c20010db8000000000000000000000001\
         8700fd210000000020010db800000000000000000000000101010200000020007063ac9b04290022",
    );
}

#[test]
fn a_bridge_in_a_vrf_counts_the_addresses_of_its_vrf_only() {
    let steps = [
        bridge(&[0, 1]),
        cable(UPLINK, OUTSIDE).into(),
        vrf(BRIDGE).into(),
        vec![on(PORTS[1], "neigh_suppress", 1), address(UPLINK, "2001:db8::1")],
    ];
    one(
        steps.concat(),
        "ffffffffffff02000000200086dd6000000200203afffd00000000000000000000000000000cfd0000000000000000000000000000018\
         7002dda0000000020010db800000000000000000000000101010200000020007063b71ac4ae0002",
    );
}

#[test]
fn address_0_0_0_0_is_local_to_a_bridge_without_one() {
    let steps = [bridge(&[0, 1]), vec![on(PORTS[1], "neigh_suppress", 1)]].concat();
    one(steps, &format!("333300000001020000002000{ARP}020000002000cb00710900000000000000000000{PADDING}"));
}

#[test]
fn a_neighbour_that_this_very_frame_teaches_is_known() {
    let neighbour = Step::Neighbour { device: BRIDGE, address: [10, 0, 0, 12].into(), mac: guest_mac(0) };
    let steps = [bridge(&[0, 1]), vec![on(PORTS[1], "neigh_suppress", 1), neighbour]].concat();
    one(steps, &format!("ffffffffffff020000002000{ARP}020000002000c00002010000000000000a00000c{PADDING}"));
}

#[test]
fn mab_notes_the_source_that_a_locked_port_refuses() {
    let steps = [bridge(&[0, 1]), vec![on(PORTS[0], "locked", 1), on(PORTS[0], "mab", 1)]].concat();
    one(steps, "02000000200102000000200088b5706f727463756c6c6973");
}

#[test]
fn br_netfilter_drops_a_cut_off_tag() {
    one(bridge(&[0, 1]), "020000001001020000002000810000058100e001");
}

#[test]
fn br_netfilter_drops_a_cut_off_arp_header() {
    one(bridge(&[0, 1]), "ffffffffffff02000000200008060001080006");
}

#[test]
fn snooping_drops_igmp_with_a_wrong_checksum() {
    one(
        bridge(&[0, 1]),
        "3333000000010200000020008100b000080046c0002000300000010243e700000000e000000194040000c864ee9b0000000000000000\
         00000000000070",
    );
}

#[test]
fn ports_lead_to_routers_though_the_bridge_does_not_tell() {
    let group = MdbGroup::Mac(MacAddr([0x01, 0, 0x5e, 0x7f, 1, 1]));
    let steps = [
        bridge(&[0, 1]),
        vec![
            on_bridge("mcast_router", 0),
            on(PORTS[1], "mcast_router", 2),
            Step::Mdb { bridge: BRIDGE, port: BRIDGE, group, vlan: None },
        ],
    ];
    one(steps.concat(), "01005e7f010102000000200088b5706f727463756c6c6973");
}

#[test]
fn all_of_0_0_0_0_8_but_0_0_0_0_is_unicast() {
    let steps = [bridge(&[0]), vec![address(BRIDGE, "10.0.0.1")]].concat();
    one(steps, &format!("ffffffffffff020000002000{ARP}020000002000000080000000000000000a000001{PADDING}"));
}

#[test]
fn an_ipv6_address_probe_goes_to_its_group() {
    one(
        bridge(&[0]),
        "0180c200000302000000200086dd6000000b00203aff00000000000000000000000000000000fe80000000000000000000fffe001001\
         87003a9d00000000fe80000000000000000000fffe0010010101020000002000",
    );
}

#[test]
fn link_local_sources_are_routed_back_out_of_the_same_interface() {
    let forwarding = Step::Sysctl { family: "ipv6", device: Some("all"), setting: "forwarding", value: 1 };
    let steps = [bridge(&[0]), vec![forwarding]].concat();
    one(
        steps,
        "02000000100002000000200086dd6000001a001211fffe800000000000000000000000000077fe80000000000000000000fffe001002\
         03e807d00012cb5e706f727463756c6c69737063c70b82a4001a",
    );
}

/// The longest prefix is another interface's own address; the lookup goes on to what every interface has (`fib6_backtrack`).
#[test]
fn a_strict_lookup_goes_on_to_a_shorter_prefix() {
    let forwarding = Step::Sysctl { family: "ipv6", device: Some("all"), setting: "forwarding", value: 1 };
    let elsewhere = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x78).into();
    let steps = [
        bridge(&[0]),
        cable(UPLINK, OUTSIDE).into(),
        vec![Step::Address { device: UPLINK, address: elsewhere, prefix: 128 }, forwarding],
    ];
    one(
        steps.concat(),
        "02000000100002000000200086dd6000001a001211fffe800000000000000000000000000077fe800000000000000000000000000078\
         03e807d00012cb5e706f727463756c6c69737063c70b82a4001a",
    );
}

/// Found by a proof whose witness did not get there (configuration 291 on 6.18).
#[test]
fn hop_by_hop_options_that_do_not_fit_end_a_packet() {
    let forwarding = Step::Sysctl { family: "ipv6", device: Some("all"), setting: "forwarding", value: 1 };
    let steps = [bridge(&[0]), vec![forwarding]].concat();
    stays_open(
        steps,
        "02000000100002000000200086dd6000001a001200fffe800000000000000000000000000077fe80000000000000000000fffe001002\
         03e807d00012cb5e706f727463756c6c69737063c70b82a4001a",
    );
}

#[test]
fn arp_filter_keeps_silent_to_an_own_address_as_sender() {
    let steps = [
        bridge(&[0]),
        cable(UPLINK, OUTSIDE).into(),
        vec![address(BRIDGE, "10.0.0.1"), address(UPLINK, "192.0.2.1")],
        vec![ipv4("all", "accept_local", 1), ipv4(BRIDGE, "arp_filter", 1)],
    ];
    let frame = format!("ffffffffffff020000002000{ARP}0200000020000a000001000000000000c0000201{PADDING}");
    one(steps.concat(), &frame);
}

#[test]
fn arp_filter_looks_into_the_table_of_the_vrf() {
    let steps =
        [bridge(&[0]), vrf(BRIDGE).into(), vec![address(BRIDGE, "10.0.0.1"), ipv4("all", "arp_filter", 1)]];
    let frame = format!("ffffffffffff020000002000{ARP}0200000020000a00000f0000000000000a000001{PADDING}");
    one(steps.concat(), &frame);
}

#[test]
fn arp_filter_finds_no_way_by_a_vrf_that_is_down() {
    let vrf = vec![Step::Vrf { name: VRF, table: 10 }, Step::Master { device: BRIDGE, master: VRF }];
    let steps = [
        bridge(&[0]),
        vrf,
        cable(UPLINK, OUTSIDE).into(),
        vec![address(BRIDGE, "10.0.0.1"), address(UPLINK, "192.0.2.1"), ipv4(BRIDGE, "arp_filter", 1)],
    ];
    let frame = format!("ffffffffffff020000002000{ARP}0200000020000a00000c000000000000c0000201{PADDING}");
    one(steps.concat(), &frame);
}

#[test]
fn whether_proxy_arp_pvlan_of_all_counts_stays_open() {
    let steps = [
        bridge(&[0]),
        vec![address(BRIDGE, "10.0.0.1"), ipv4("all", "forwarding", 1), ipv4("all", "proxy_arp_pvlan", 1)],
    ];
    let frame = format!("020000001000020000002000{ARP}0200000020000a00000b0000000000000a00000c{PADDING}");
    stays_open(steps.concat(), &frame);
}

#[test]
fn address_probes_are_answered_by_the_table_of_the_vrf() {
    let steps = [bridge(&[0]), vrf(BRIDGE).into(), vec![address(BRIDGE, "10.0.0.1")]];
    let frame = format!("ffffffffffff020000002000{ARP}020000002000000000000000000000000a000001{PADDING}");
    one(steps.concat(), &frame);
}

#[test]
fn unsolicited_arp_makes_an_entry_of_a_reply_or_a_gratuitous_request_only() {
    let steps = [bridge(&[0]), vec![address(BRIDGE, "10.0.0.1"), ipv4(BRIDGE, "arp_accept", 1)]].concat();
    let reply = "08060001080006040002";
    let frames = [
        format!("ffffffffffff020000002000{ARP}0200000020000a00000b0000000000000a00000d{PADDING}"),
        format!("ffffffffffff020000002000{ARP}0200000020000a00000c0000000000000a00000c{PADDING}"),
        format!("ffffffffffff020000002000{reply}0200000020000a00000e0000000000000a00000f{PADDING}"),
    ];
    let frames: Vec<(Name, &str)> = frames.iter().map(|frame| (PORTS[0], frame.as_str())).collect();
    agrees(steps, &frames);
}

#[test]
fn the_state_in_a_vlan_counts_for_a_forwarding_port_only() {
    let id = VlanId::new(5).unwrap();
    let steps = [
        bridge(&[0]),
        vec![
            on_bridge("vlan_filtering", 1),
            member(PORTS[0], 5, VlanFlags::PVID),
            Step::VlanState { device: PORTS[0], id, state: 0 },
            on(PORTS[0], "state", 2),
        ],
    ];
    one(steps.concat(), "02000000200102000000200088b5706f727463756c6c6973");
}

#[test]
fn fragments_in_group_frames_wait_at_a_macvlan() {
    let steps = [bridge(&[]), macvlan_port(1, 2)].concat();
    let frame = "333300000001020000002001080045000026000600404011bfb6cb0071097f00000103e807d000121cce706f727463756c6c6973";
    agrees(steps, &[(LOWERS[1], frame)]);
}

#[test]
fn frames_to_a_bridge_mode_macvlan_that_is_a_port_come_back() {
    let entry =
        Step::Fdb { device: PORTS[0], address: mac(PORTS[0]), vlan: None, state: NUD_REACHABLE, flags: 0 };
    let steps = [bridge(&[1]), macvlan_port(0, 4), vec![entry]].concat();
    agrees(steps, &[(PORTS[1], "02000000100102000000200188b5706f727463756c6c6973")]);
}

#[test]
fn under_mst_a_bridge_that_is_down_passes_up() {
    let mut steps = vec![Step::Bridge(BRIDGE)];
    steps.extend(cable(UPLINK, OUTSIDE));
    steps.push(address(UPLINK, "192.0.2.1"));
    steps.extend(cable(PORTS[0], GUESTS[0]));
    steps.push(Step::Master { device: PORTS[0], master: BRIDGE });
    steps.push(on_bridge("vlan_default_pvid", 0));
    steps.push(Step::BoolOption { bridge: BRIDGE, option: BoolOpt::MstEnable });
    one(
        steps,
        "ffffffffffff0200000020000800450000260008000040017cc4cb007109c000020108008b8250430001706f727463756c6c6973",
    );
}

#[test]
fn a_vrf_routes_multicast_without_asking_rules() {
    let rule = Rule { ipv6: true, priority: 50, action: 8, table: 0, iif: None };
    let steps = [bridge(&[0]), vrf(BRIDGE).into(), vec![Step::Rule(rule)]];
    one(
        steps.concat(),
        "33330000000102000000200086dd6000002c001211fffe800000000000000000000000000077ff020000000000000000000000000001\
         03e807d00012d9dd706f727463756c6c6973",
    );
}

#[test]
fn a_bond_that_is_down_takes_in_and_does_not_answer() {
    let mut steps = bridge(&[]);
    // A bond takes no port that is on, and turns it on itself.
    steps.push(Step::Cable { near: LOWERS[3], far: GUESTS[3] });
    steps.push(Step::Up(GUESTS[3]));
    steps.push(Step::Bond(PORTS[3]));
    steps.push(Step::Master { device: LOWERS[3], master: PORTS[3] });
    steps.push(address(BRIDGE, "10.0.0.1"));
    let frame = format!("ffffffffffff020000002003{ARP}0200000020030a00000c0000000000000a000001{PADDING}");
    agrees(steps, &[(LOWERS[3], &frame)]);
}

#[test]
fn the_table_of_a_vrf_is_there_before_any_route() {
    let steps = [bridge(&[0]), vrf(BRIDGE).into(), vec![ipv4(BRIDGE, "arp_accept", 1)]];
    let reply = "0806000108000604000202000000200\
                 30a00000e000000000000c0000201000000000000000000000000000000000000";
    let frame = format!("020000001000020000002003{reply}");
    one(steps.concat(), &frame);
}

#[test]
fn under_mst_a_bridge_without_a_forwarding_port_does_not_answer() {
    let mut steps = vec![Step::Bridge(BRIDGE)];
    steps.extend(cable(PORTS[0], GUESTS[0]));
    steps.push(Step::Master { device: PORTS[0], master: BRIDGE });
    steps.push(on_bridge("vlan_default_pvid", 0));
    steps.push(on_bridge("stp_state", 1));
    steps.push(Step::BoolOption { bridge: BRIDGE, option: BoolOpt::MstEnable });
    steps.push(Step::Up(BRIDGE));
    steps.push(address(BRIDGE, "10.0.0.1"));
    one(steps, &format!("ffffffffffff020000002000{ARP}0200000020000a00000d0000000000000a000001{PADDING}"));
}

#[test]
fn a_macvlan_puts_an_8021ad_tag_into_the_bytes() {
    let mut steps = [bridge(&[1]), macvlan_port(2, 2)].concat();
    steps.push(on_bridge("vlan_filtering", 1));
    steps.push(on_bridge("vlan_protocol", 0x88a8));
    let six = VlanId::new(6).unwrap();
    let flags = Some(VlanFlags::PVID | VlanFlags::UNTAGGED);
    steps.push(Step::Member { device: PORTS[1], id: six, flags });
    steps.push(Step::Member { device: PORTS[2], id: six, flags: Some(0) });
    agrees(steps, &[(PORTS[1], "0180c200000f020000002001080045")]);
}

/// A chain at a hook of the IP stack, or of the bridge, and one rule in it that drops what matches.
fn drops(family: NftFamily, (hook_name, hook): (&str, u32), matches: Match) -> [Step; 2] {
    let base = NftBaseChain {
        family,
        table: TABLE.to_owned(),
        chain: "chain".to_owned(),
        kind: "filter".to_owned(),
        hook,
        hook_name: hook_name.to_owned(),
        priority: 0,
        devices: Vec::new(),
        policy_drop: false,
        rules: 0,
        dormant: false,
    };
    let chain = Chain { family, name: base.chain.clone(), base: Some(base) };
    let verdict = Some(NftVerdict::Drop);
    let rule = firewall::Rule { family, chain: chain.name.clone(), matches: vec![matches], verdict };
    [Step::Chain(chain), Step::FirewallRule(rule)]
}

/// A rule that brings br_netfilter, where that is a module.
fn brings_br_netfilter() -> Step {
    let words = "-w -A FORWARD -m physdev --physdev-in none -j DROP";
    Step::ToolRule(ToolRule {
        tool: "iptables-legacy",
        arguments: words.split(' ').map(str::to_owned).collect(),
    })
}

/// Sees to it that br_netfilter's settings are there, for steps that come before any rule.
fn load_br_netfilter() {
    one([bridge(&[0, 1]), vec![brings_br_netfilter()]].concat(), UDP);
}

#[test]
fn rules_at_the_priority_of_br_netfilter_may_be_passed_over() {
    let ipv4 = firewall::payload("ether type ip".to_owned(), PayloadBase::Link, 12, CmpOp::Eq, &[8, 0]);
    let steps =
        [bridge(&[0, 1]), vec![brings_br_netfilter()], drops(NftFamily::Bridge, ("forward", 2), ipv4).into()];
    one(steps.concat(), UDP);
}

/// A ping from port 0 to the bridge at 10.0.0.1, as long as a short frame is on the wire.
fn padded_ping() -> String {
    let (from, to) = ("10.0.0.12".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let start = FrameBuilder::new(mac(BRIDGE), guest_mac(0));
    let mut frame = start.payload(&Payload::Ping4 { from, to });
    frame.resize(100, 0);
    Hex(&frame).to_string()
}

#[test]
fn rules_of_the_hosts_stack_do_not_see_what_is_behind_the_packet() {
    let length =
        |length: u32| meta(format!("meta length {length}"), MetaKey::Len, CmpOp::Eq, &length.to_ne_bytes());
    for (hook, at) in [(("prerouting", 0), 86), (("input", 1), 86)] {
        let rules = drops(NftFamily::Ip, hook, length(at));
        one([bridge(&[0]), vec![address(BRIDGE, "10.0.0.1")], rules.into()].concat(), &padded_ping());
    }
}

#[test]
fn a_bridged_packet_is_the_hosts_own_to_the_hosts_postrouting() {
    let other = meta("meta pkttype != other".to_owned(), MetaKey::PktType, CmpOp::Neq, &[3]);
    for hook in [("forward", 2), ("postrouting", 4)] {
        let steps = [bridge(&[0, 1]), drops(NftFamily::Inet, hook, other.clone()).into()];
        one(
            steps.concat(),
            "020000002002020000002000080045000026001f00004011709d000000000a00000c03e807d00012cdcd706f727463756c6c6973",
        );
    }
}

#[test]
fn rules_by_interface_do_not_know_a_vrfs_ipv6_packets_by_it() {
    let rule = Rule { ipv6: true, priority: 51, action: 8, table: 0, iif: Some(BRIDGE) };
    let steps = [
        bridge(&[0]),
        vrf(BRIDGE).into(),
        cable(UPLINK, OUTSIDE).into(),
        vec![address(UPLINK, "fd00::1"), Step::LocalRuleLast { ipv6: true }, Step::Rule(rule)],
    ];
    one(
        steps.concat(),
        "ffffffffffff02000000200086dd6000000c001211fffe800000000000000000000000000077fd0000000000000000000000000000\
         0103e807d00012dbdf706f727463756c6c6973",
    );
}

#[test]
fn input_rules_see_a_vrfs_packets_come_in_by_the_vrf() {
    for name in [BRIDGE, VRF] {
        let by = meta(format!("iifname \"{name}\""), MetaKey::IifName, CmpOp::Eq, &firewall::name(name));
        for hook in [("prerouting", 0), ("input", 1)] {
            let rules = drops(NftFamily::Inet, hook, by.clone());
            let steps = [bridge(&[0]), vrf(BRIDGE).into(), vec![address(BRIDGE, "10.0.0.1")], rules.into()];
            one(steps.concat(), &padded_ping());
        }
    }
}

#[test]
fn a_macvlan_that_is_down_is_not_found_by_its_address() {
    let mut steps = Vec::from(cable(UPLINK, OUTSIDE));
    steps.push(address(UPLINK, "10.0.0.1"));
    steps.push(Step::Macvlan { name: UPLINK_MACVLANS[0], lower: UPLINK, mode: 4 });
    let to = Hex(&mac(UPLINK_MACVLANS[0]).0).to_string();
    let frame = format!("{to}020000001011{ARP}0200000010110a00000c0000000000000a000001{PADDING}");
    agrees(steps, &[(UPLINK, &frame)]);
}

/// A chain with a rule that writes a value into the packet.
fn writes(family: NftFamily, text: &str, (offset, value): (u32, &[u8]), sum: PayloadSum) -> [Step; 2] {
    let data = value.into();
    let expressions = vec![
        NftExpr::Immediate { dreg: firewall::REGISTER, data },
        NftExpr::PayloadSet {
            base: PayloadBase::Network,
            offset,
            len: value.len() as u32,
            sreg: firewall::REGISTER,
            sum,
        },
    ];
    let one = Match { text: text.to_owned(), expressions, set: None };
    let [chain, rule] = drops(family, ("prerouting", 0), one);
    let Step::FirewallRule(rule) = rule else { return [chain, rule] };
    [chain, Step::FirewallRule(firewall::Rule { verdict: None, ..rule })]
}

#[test]
fn a_new_destination_without_a_route_ends_an_ipv6_packet_in_the_bridge() {
    let sum = PayloadSum { kind: 0, offset: 0, flags: 1 };
    let address: Ipv6Addr = "fd00::b".parse().unwrap();
    let rules = writes(NftFamily::Ip6, "ip6 daddr set fd00::b", (24, &address.octets()), sum);
    one(
        [bridge(&[0]), rules.into()].concat(),
        "02000000200402000000200186dd6000002800383afffe800000000000000000000000000077ff020000000000000000000000000001\
         86009ac04000070800000000000000000101020000002001030440c000000258000002580000000020010db8009900000000000000\
         0000007063472e67b50028",
    );
}

#[test]
fn an_address_is_not_written_into_a_tag() {
    let sum = PayloadSum { kind: 1, offset: 10, flags: 1 };
    let ipv4 = meta("meta protocol ip".to_owned(), MetaKey::Protocol, CmpOp::Eq, &[8, 0]);
    let [chain, rule] = writes(NftFamily::Bridge, "ip saddr set 10.0.0.11", (12, &[10, 0, 0, 11]), sum);
    let Step::FirewallRule(mut rule) = rule else { return };
    rule.matches.insert(0, ipv4);
    one(
        [bridge(&[0, 1]), vec![chain, Step::FirewallRule(rule)]].concat(),
        "ffffffffffff020000002001810000010800450000280013000040064676c63364070a00000d03e800160000000100000000500\
         2ffff779c0000000070634a7f58520013",
    );
}

#[test]
fn a_chain_that_translates_sees_nothing_where_nobody_tracks_connections() {
    let never = meta("meta mark 7".to_owned(), MetaKey::Mark, CmpOp::Eq, &7u32.to_ne_bytes());
    let [Step::Chain(mut chain), _] = drops(NftFamily::Inet, ("prerouting", 0), never) else { return };
    if let Some(base) = &mut chain.base {
        (base.kind, base.priority, base.policy_drop) = ("nat".to_owned(), -100, true);
    }
    stays_open([bridge(&[0, 1]), vec![Step::Chain(chain)]].concat(), UDP);
}

#[test]
fn the_hosts_postrouting_may_stop_a_neighbour_advertisement() {
    let never = meta("meta mark 7".to_owned(), MetaKey::Mark, CmpOp::Eq, &7u32.to_ne_bytes());
    let [Step::Chain(mut chain), _] = drops(NftFamily::Ip6, ("postrouting", 4), never) else { return };
    if let Some(base) = &mut chain.base {
        base.policy_drop = true;
    }
    let steps = [bridge(&[0]), vec![address(BRIDGE, "fd00::1"), Step::Chain(chain)]].concat();
    stays_open(steps, &solicitation(guest_mac(0)));
}

/// Somebody asks for `fd00::1`, and says where the answer is to go.
fn solicitation(by: MacAddr) -> String {
    let (from, target) = ("fe80::77".parse().unwrap(), "fd00::1".parse().unwrap());
    let solicitation = Payload::NeighbourSolicitation { from, to: target, target };
    Hex(&FrameBuilder::new(MacAddr::BROADCAST, by).payload(&solicitation)).to_string()
}

#[test]
fn a_tpid_is_written_over() {
    let tagged = Match {
        text: "@ll,96,16 0x88a8".to_owned(),
        ..firewall::payload(String::new(), PayloadBase::Link, 12, CmpOp::Eq, &[0x88, 0xa8])
    };
    let [chain, rule] =
        writes(NftFamily::Bridge, "@ll,96,16 set 0x2b74", (12, &[0x2b, 0x74]), PayloadSum::default());
    let Step::FirewallRule(mut rule) = rule else { return };
    for expression in rule.matches.iter_mut().flat_map(|one| &mut one.expressions) {
        if let NftExpr::PayloadSet { base, .. } = expression {
            *base = PayloadBase::Link;
        }
    }
    rule.matches.insert(0, tagged);
    one(
        [bridge(&[0, 1]), vec![chain, Step::FirewallRule(rule)]].concat(),
        "ffffffffffff02000000200088a8c00088b5706f727463756c6c69737063beb7e0660022",
    );
}

/// A filter of this classifier at the ingress of a device, with one action.
fn filters(device: Name, classifier: TcClassifier, action: TcAction) -> [Step; 2] {
    let filter = TcFilter {
        chain: 0,
        priority: 1,
        protocol: 3,
        handle: 1,
        classifier,
        classid: None,
        indev: None,
        flags: 0,
        actions: vec![action],
    };
    let qdisc = Qdisc { device, ingress_block: None, egress_block: None };
    let place = Place::Device(device, TcHookKind::Ingress);
    [Step::Qdisc(qdisc), Step::TcFilter(Box::new(Filter { place, filter }))]
}

#[test]
fn a_pushed_tag_of_another_kind_than_the_bridges_stays_open() {
    let tag = VlanTag { id: 5, protocol: EtherType::SVLAN, priority: Some(0) };
    let action = TcAction {
        kind: TcActionKind::Vlan(VlanAction::Push(tag)),
        verdict: Some(TcVerdict::Pipe),
        skip_sw: false,
    };
    let [qdisc, filter] = filters(PORTS[0], TcClassifier::Matchall, action);
    let more = vec![on_bridge("vlan_filtering", 1), qdisc, filter];
    stays_open([bridge(&[0, 1]), more].concat(), "ffffffffffff02000000200088b5706f727463756c6c6973");
}

#[test]
fn arptables_drops_a_message_that_is_cut_off_at_chains_without_rules_too() {
    let arguments = ["-A", "INPUT", "-s", "203.0.113.1", "-j", "DROP"].map(str::to_owned).to_vec();
    let rule = Step::ToolRule(ToolRule { tool: "arptables-legacy", arguments });
    let frame = format!("ffffffffffff020000002000{ARP}0200000020000a00000b");
    one([bridge(&[0, 1]), vec![rule]].concat(), &frame);
}

#[test]
fn a_checksum_of_0_is_written_as_another() {
    // No change at all: of IPv6, what stands where IPv4 has its checksum, and that of TCP.
    let unchanged = |family, (offset, value): (u32, &[u8]), frame: &str| {
        let sum = PayloadSum { kind: 1, offset: 10, flags: 1 };
        let [chain, rule] = writes(family, "@nh set to what it is", (offset, value), sum);
        ([bridge(&[0, 1]), vec![chain, rule]].concat(), frame.to_owned())
    };
    let (steps, frame) = unchanged(
        NftFamily::Ip6,
        (12, &[0, 0, 0, 0]),
        "02000000300302000000200286dd60000000000c11fffd00000000000000000000000000000dfd00000000000000000000000000000b\
         03e807d0000c00017063beb7",
    );
    stays_open(steps, &frame);
    let (steps, frame) = unchanged(
        NftFamily::Ip,
        (16, &[10, 0, 0, 12]),
        "020000002002020000002000080045000028001f00004006669b0a00000b0a00000c03e8001600000001000000005002ffff00000000",
    );
    one(steps, &frame);
}

#[test]
fn return_nomatch_looks_for_exceptions() {
    let tool = |tool, words: &str| {
        let arguments = words.split_whitespace().map(str::to_owned).collect();
        Step::ToolRule(ToolRule { tool, arguments })
    };
    for (not, also) in [("", "--return-nomatch"), ("!", "--return-nomatch"), ("", ""), ("!", "")] {
        for nomatch in ["nomatch", ""] {
            let rule = format!("-t mangle -A PREROUTING -m set {not} --match-set s src {also} -j DROP");
            let steps = [
                bridge(&[0, 1]),
                vec![
                    tool("ipset", "create s hash:net family inet"),
                    tool("ipset", &format!("add s 10.0.0.0/28 {nomatch}")),
                    tool("iptables-legacy", &rule),
                ],
            ];
            one(steps.concat(), UDP);
        }
    }
}

/// A chain of some devices' own, and a rule in it that sends everything on, or none.
fn at_device(name: &str, (hook_name, hook): (&str, u32), device: Name, to: Option<Name>) -> Vec<Step> {
    let any = Match { text: String::new(), expressions: Vec::new(), set: None };
    let [Step::Chain(mut chain), Step::FirewallRule(mut rule)] =
        drops(NftFamily::Netdev, (hook_name, hook), any)
    else {
        return Vec::new();
    };
    chain.name = name.to_owned();
    if let Some(base) = &mut chain.base {
        (base.chain, base.devices, base.policy_drop) =
            (name.to_owned(), vec![device.to_owned()], to.is_none());
    }
    let Some(to) = to else { return vec![Step::Chain(chain)] };
    let data = index(to).0.to_ne_bytes().as_slice().into();
    let expressions = vec![
        NftExpr::Immediate { dreg: firewall::REGISTER, data },
        NftExpr::ToDevice { copy: false, sreg: firewall::REGISTER },
    ];
    rule.matches = vec![Match { text: format!("fwd to {to}"), expressions, set: None }];
    (rule.chain, rule.verdict) = (chain.name.clone(), None);
    vec![Step::Chain(chain), Step::FirewallRule(rule)]
}

#[test]
fn what_a_rule_sends_on_is_shown_to_the_other_devices_chain() {
    let shown = [
        bridge(&[0, 1, 2]),
        at_device("in", ("ingress", 0), PORTS[0], Some(PORTS[2])),
        at_device("out", ("egress", 1), PORTS[2], None),
    ];
    one(shown.concat(), UDP);
    let again = [bridge(&[0, 1]), at_device("out", ("egress", 1), PORTS[1], Some(PORTS[1]))];
    stays_open(again.concat(), UDP);
}

#[test]
fn a_trimmed_packet_may_be_behind_a_tag_again() {
    let family = "bridge";
    let tagged = Step::Sysctl { family, device: None, setting: "bridge-nf-filter-vlan-tagged", value: 1 };
    load_br_netfilter();
    one(
        [bridge(&[0, 1]), vec![on_bridge("vlan_filtering", 1), tagged]].concat(),
        "02000000101302000000200088a8006486dd6000002000203afffd00000000000000000000000000000cff0200000000000000000000\
         0000000187005c8a00000000fd0000000000000600000000000000010101020000002001706303e65bae",
    );
}

#[test]
fn br_netfilter_reads_four_bytes_off_behind_a_tag_that_was_put_back() {
    let tagged =
        Step::Sysctl { family: "bridge", device: None, setting: "bridge-nf-filter-vlan-tagged", value: 1 };
    let knobs = [on_bridge("vlan_filtering", 1), on_bridge("vlan_protocol", 0x88a8), tagged];
    let steps = [bridge(&[0, 1]), knobs.into()].concat();
    load_br_netfilter();
    let tag = |frame: &str, protocol: &str| frame.replacen(protocol, &format!("81000006{protocol}"), 1);
    let ipv6 = "02000000200202000000200086dd60000000000c11fffd000000000000000000000000000001\
                fd00000000000000000000000000000203e807d0000ccaa3706f7274";
    let arp = |sender: &str| {
        format!("ffffffffffff02000000200008060001080006040001{sender}0a00000c0000000000000a000001")
    };
    // Version and header length are sought in the identification; the length of addresses in the sender's second byte.
    let certain = [tag(UDP, "0800"), tag(ipv6, "86dd"), tag(&arp("020000002000"), "0806")];
    agrees(steps.clone(), &certain.each_ref().map(|frame| (PORTS[0], frame.as_str())));
    // There they may be, and then bytes within the header count for its beginning.
    let identified = UDP.replacen("001f00004011709d", "4500000040112bbc", 1);
    for frame in [tag(&identified, "0800"), tag(&arp("020400002000"), "0806")] {
        stays_open(steps.clone(), &frame);
    }
}

#[test]
fn an_answer_to_a_macvlan_port_comes_back_to_be_routed_on() {
    const BRIDGE_MODE: u32 = 4;
    let forwarding = Step::Sysctl { family: "ipv6", device: Some("all"), setting: "forwarding", value: 1 };
    let host = vec![address(BRIDGE, "fd00::1"), forwarding];
    let steps = [bridge(&[0]), macvlan_port(2, BRIDGE_MODE), host].concat();
    one(steps, &solicitation(mac(PORTS[2])));
}

#[test]
fn what_may_go_round_without_end_is_left_open() {
    const PASSTHRU: u32 = 8;
    // What the lower device takes in goes up to the macvlan by a queue of its own, which no limit of nesting counts, and the
    // filter sends it back to the lower device: for ever on 6.18, not on 6.12.
    let macvlan = UPLINK_MACVLANS[0];
    let back =
        TcActionKind::Mirred { redirect: true, ingress: true, device: Some(index(UPLINK)), block: None };
    let action = TcAction { kind: back, verdict: Some(TcVerdict::Stolen), skip_sw: false };
    let every = U32Node::new(U32Node::TERMINAL, Vec::new());
    let mut steps = Vec::from(cable(UPLINK, OUTSIDE));
    steps.extend([Step::Macvlan { name: macvlan, lower: UPLINK, mode: PASSTHRU }, Step::Up(macvlan)]);
    steps.extend(filters(macvlan, TcClassifier::U32(every), action));
    let frame = format!("ffffffffffff020000002000{ARP}0200000020000a00000b0000000000000a000001");
    check(steps, &[(UPLINK, &frame)], |account| {
        println!("{}", if account.endless.is_some() { "it goes round" } else { "it comes to an end" });
        assert_eq!(account.open, 1, "it was taken for certain");
    });
}

#[test]
fn rules_of_every_tool_are_told() {
    let rule = |tool, words: &str| {
        let arguments = words.split_whitespace().map(str::to_owned).collect();
        Step::ToolRule(ToolRule { tool, arguments })
    };
    for (tool, words) in [
        ("iptables-legacy", "-w -A FORWARD -m physdev --physdev-in p0 -p udp --dport 2000 -j DROP"),
        ("iptables-nft", "-w -A FORWARD -m physdev --physdev-in p0 -p udp --dport 2000 -j DROP"),
        ("ebtables-legacy", "-t nat -A PREROUTING -p IPv4 --ip-proto udp -j redirect"),
        ("ebtables-nft", "-A FORWARD -p IPv4 --ip-proto udp --ip-dport 2000 -j DROP"),
        ("ebtables-legacy", "-t broute -A BROUTING -p IPv4 -j redirect --redirect-target DROP"),
    ] {
        let steps = [bridge(&[0, 1]), vec![address(BRIDGE, "10.0.0.1"), rule(tool, words)]];
        one(steps.concat(), &padded_ping());
        one(steps_again(&[0, 1], rule(tool, words)), UDP);
    }
}

fn steps_again(ports: &[usize], rule: Step) -> Vec<Step> {
    [bridge(ports), vec![rule]].concat()
}

/// UDP from port 1000 to port 2000.
const UDP: &str = "020000002002020000002000080045000026001f00004011709d000000000a00000c03e807d00012cdcd706f727463756c6c6973";
