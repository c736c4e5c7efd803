//! The bridge part of the walk on small networks, each test a sentence of the specification.

use portcullis_snapshot::{
    BoolOpts, BridgeOptions, EtherType, FdbEntry, Filters, IfIndex, Kernel, Link, LinkFlags, LinkKind,
    MacAddr, Netns, NetnsId, NftBaseChain, NftFamily, PortKind, PortOptions, PortState, Reading, SCHEMA,
    Snapshot, StpState, VlanDevice, VlanEntry, VlanFlags, VlanId, VlanTable,
};

use super::{LearnedChange, Outcome, Trace, Walk, walk};
use crate::frame::{Concrete, FrameBuilder, Payload};
use crate::network::Network;

pub(super) const BR0: IfIndex = IfIndex(2);
pub(super) const A: IfIndex = IfIndex(11);
pub(super) const B: IfIndex = IfIndex(12);
pub(super) const C: IfIndex = IfIndex(13);

/// A bridge with three ports, everything at the kernel's defaults.
pub(super) struct Lab {
    snapshot: Snapshot,
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn link(index: IfIndex, name: &str, kind: LinkKind) -> Link {
    Link {
        index,
        name: name.to_owned(),
        altnames: Vec::new(),
        arp_type: 1,
        flags: LinkFlags(LinkFlags::UP | LinkFlags::LOWER_UP | LinkFlags::RUNNING),
        sysfs_flags: None,
        promiscuity: Some(0),
        allmulti: Some(0),
        operstate: 6,
        carrier: Some(true),
        mtu: 1500,
        address: Some(mac(index.0 as u8)),
        broadcast: Some(MacAddr::BROADCAST),
        master: None,
        link: None,
        link_netns: None,
        kind,
        port: None,
        xdp: Vec::new(),
        phys_switch_id: None,
        ipv4: None,
        ipv6: None,
        behind: None,
        unknown: Vec::new(),
    }
}

fn port(index: IfIndex, name: &str) -> Link {
    let options = PortOptions {
        state: Some(PortState::Forwarding),
        learning: Some(true),
        flood: Some(true),
        mcast_flood: Some(true),
        bcast_flood: Some(true),
        ..PortOptions::default()
    };
    let mut link = link(index, name, LinkKind::Veth);
    link.master = Some(BR0);
    link.port = Some(PortKind::Bridge(Box::new(options)));
    link
}

fn fdb(device: IfIndex, address: MacAddr, state: u16, vlan: Option<u16>) -> FdbEntry {
    FdbEntry { vlan: vlan.and_then(VlanId::new), ..FdbEntry::new(device, Some(BR0), address, state) }
}

const LOCAL: u16 = 0x80;
const STATIC: u16 = 0x40;
const LEARNED: u16 = 0x02;

impl Lab {
    pub(super) fn new() -> Self {
        let options = BridgeOptions {
            ageing_time: Some(30000),
            stp_state: Some(StpState::Off),
            vlan_filtering: Some(false),
            vlan_protocol: Some(EtherType::VLAN),
            group_fwd_mask: Some(0),
            mcast_snooping: Some(true),
            multi_boolopt: Some(BoolOpts { value: 0, mask: 0x1f }),
            ..BridgeOptions::default()
        };
        let links = vec![
            link(BR0, "br0", LinkKind::Bridge(Box::new(options))),
            port(A, "a"),
            port(B, "b"),
            port(C, "c"),
        ];
        let locals =
            links.iter().filter_map(|link| Some(fdb(link.index, link.address?, LOCAL, None))).collect();
        let netns = Netns {
            id: NetnsId(1),
            names: Vec::new(),
            processes: Vec::new(),
            links: Reading::Read(links),
            vlans: Reading::Read(Vec::new()),
            vlan_globals: Reading::default(),
            mst: Reading::default(),
            fdb: Reading::Read(locals),
            mdb: Reading::default(),
            addresses: Reading::default(),
            routes: Reading::default(),
            rules: Reading::default(),
            neighbours: Reading::default(),
            ipv4: Reading::default(),
            ipv6: Reading::default(),
            filters: Filters {
                tc: Reading::Read(Vec::new()),
                tcx: Reading::Read(Vec::new()),
                nft_chains: Reading::Read(Vec::new()),
                nft_tables: Reading::Read(Vec::new()),
                nft_flowtables: Reading::Read(Vec::new()),
                legacy_tables: Reading::Read(Vec::new()),
                ipsets: Reading::Read(Vec::new()),
                br_netfilter: Reading::default(),
            },
            listeners: Reading::default(),
            packet_sockets: Reading::default(),
            protocol_handlers: Reading::Read(Vec::new()),
            memberships: Reading::default(),
        };
        let kernel = Kernel { release: String::new(), host: String::new() };
        let (schema, version, taken_at) = (SCHEMA.to_owned(), String::new(), String::new());
        Self {
            snapshot: Snapshot {
                schema,
                version,
                taken_at,
                kernel,
                namespaces: vec![netns],
                problems: Vec::new(),
            },
        }
    }

    pub(super) fn netns(&mut self) -> &mut Netns {
        &mut self.snapshot.namespaces[0]
    }

    fn links(&mut self) -> &mut Vec<Link> {
        let Reading::Read(links) = &mut self.netns().links else { panic!("links are there") };
        links
    }

    pub(super) fn bridge(mut self, change: impl FnOnce(&mut BridgeOptions)) -> Self {
        let LinkKind::Bridge(options) = &mut self.links()[0].kind else { panic!("br0 comes first") };
        change(options);
        self
    }

    fn port(mut self, port: IfIndex, change: impl FnOnce(&mut PortOptions)) -> Self {
        let link = self.links().iter_mut().find(|link| link.index == port).unwrap();
        let Some(PortKind::Bridge(options)) = &mut link.port else { panic!("a port") };
        change(options);
        self
    }

    fn entry(mut self, entry: FdbEntry) -> Self {
        let Reading::Read(entries) = &mut self.netns().fdb else { panic!("the FDB is there") };
        entries.push(entry);
        self
    }

    /// VLAN filtering on, every port in VLAN 1, the bridge device in `bridge`.
    pub(super) fn vlans(self, bridge: &[(u16, u16)], ports: &[(IfIndex, &[(u16, u16)])]) -> Self {
        let mut lab = self.bridge(|options| options.vlan_filtering = Some(true));
        let table = |device, vlans: &[(u16, u16)]| VlanTable {
            device,
            vlans: vlans
                .iter()
                .map(|(vid, flags)| VlanEntry {
                    from: VlanId::new(*vid).unwrap(),
                    to: VlanId::new(*vid).unwrap(),
                    flags: VlanFlags(*flags),
                    state: Some(PortState::Forwarding),
                    mcast_router: None,
                    neigh_suppress: None,
                    tunnel_id: None,
                    unknown: Vec::new(),
                })
                .collect(),
        };
        let mut tables = vec![table(BR0, bridge)];
        tables.extend(ports.iter().map(|(port, vlans)| table(*port, vlans)));
        lab.netns().vlans = Reading::Read(tables);
        lab
    }

    pub(super) fn network(&self) -> Network<'_> {
        Network::new(&self.snapshot, NetnsId(1)).unwrap()
    }

    pub(super) fn send(&self, from: IfIndex, frame: &FrameBuilder) -> Walk {
        let data = vec![0; 46];
        let bytes = frame.payload(&Payload::Raw { ethertype: EtherType(0x88b5), data });
        walk(&self.network(), from, &mut Concrete::new(&bytes).unwrap(), Trace::Steps)
    }
}

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub(super) const UNKNOWN: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);
const MEMBER: u16 = VlanFlags::PVID | VlanFlags::UNTAGGED;

pub(super) fn to(dst: MacAddr) -> FrameBuilder {
    FrameBuilder::new(dst, GUEST)
}

pub(super) fn ports(walk: &Walk) -> Vec<IfIndex> {
    walk.ports().map(|delivery| delivery.device).collect()
}

/// The device whose stack refused the frame for want of a handler: it got there.
pub(super) fn stack(walk: &Walk) -> Vec<IfIndex> {
    let ends = walk.drops.iter().filter(|drop| drop.function == "deliver_ptype_list_skb");
    ends.map(|drop| drop.device).collect()
}

#[test]
fn unknown_unicast_is_flooded_to_the_others_and_not_up() {
    let walk = Lab::new().send(A, &to(UNKNOWN));
    assert_eq!(ports(&walk), [B, C]);
    assert_eq!(stack(&walk), []);
    assert_eq!(walk.learned[0].change, LearnedChange::New);
}

#[test]
fn a_promiscuous_bridge_device_gets_a_copy_of_everything() {
    let mut lab = Lab::new();
    lab.links()[0].promiscuity = Some(1);
    let walk = lab.send(A, &to(UNKNOWN));
    assert_eq!((ports(&walk), stack(&walk)), (vec![B, C], vec![BR0]));
}

#[test]
fn a_local_entry_leads_up_and_nowhere_else() {
    for own in [BR0, A, B] {
        let walk = Lab::new().send(A, &to(mac(own.0 as u8)));
        assert_eq!((ports(&walk), stack(&walk)), (vec![], vec![BR0]));
    }
}

#[test]
fn broadcast_goes_everywhere() {
    let walk = Lab::new().send(A, &to(MacAddr::BROADCAST));
    assert_eq!((ports(&walk), stack(&walk)), (vec![B, C], vec![BR0]));
}

#[test]
fn link_local_goes_to_the_ports_own_stack_whatever_the_port_state() {
    let closed = Lab::new()
        .port(A, |port| {
            port.state = Some(PortState::Disabled);
            port.isolated = Some(true);
            port.locked = Some(true);
        })
        .vlans(&[], &[]);
    let walk = closed.send(A, &to(MacAddr::link_local(14)));
    assert_eq!((ports(&walk), stack(&walk)), (vec![], vec![A]));
    assert_eq!(closed.send(A, &to(MacAddr::link_local(1))).drops[0].reason, "a PAUSE frame");
}

#[test]
fn link_local_is_forwarded_where_the_mask_says_so() {
    let walk =
        Lab::new().port(A, |port| port.group_fwd_mask = Some(0xfffd)).send(A, &to(MacAddr::link_local(14)));
    assert_eq!((ports(&walk), stack(&walk)), (vec![B, C], vec![BR0]));
    // Without STP, BPDUs are ordinary multicast.
    assert_eq!(ports(&Lab::new().send(A, &to(MacAddr::link_local(0)))), [B, C]);
    let stp = Lab::new().bridge(|bridge| bridge.stp_state = Some(StpState::Kernel));
    assert_eq!(stack(&stp.send(A, &to(MacAddr::link_local(0)))), [A]);
}

#[test]
fn a_service_vlan_bridge_forwards_what_802_1q_requires() {
    let lab = Lab::new()
        .vlans(&[(1, MEMBER | VlanFlags::BRENTRY)], &[(A, &[(1, MEMBER)]), (B, &[(1, MEMBER)])])
        .bridge(|bridge| bridge.vlan_protocol = Some(EtherType::SVLAN));
    for x in 0..16 {
        let forwarded = matches!(x, 0 | 11 | 12 | 13 | 15);
        let walk = lab.send(A, &to(MacAddr::link_local(x)));
        assert_eq!(ports(&walk) == [B], forwarded, "01:80:c2:00:00:{x:02x}");
    }
}

#[test]
fn a_blocked_port_takes_nothing_and_gets_nothing() {
    let lab = Lab::new().port(A, |port| port.state = Some(PortState::Blocking));
    assert_eq!(lab.send(A, &to(UNKNOWN)).outcomes, []);
    assert_eq!(ports(&lab.send(B, &to(UNKNOWN))), [C]);
}

#[test]
fn a_learning_port_learns_and_forwards_nothing() {
    let walk = Lab::new().port(A, |port| port.state = Some(PortState::Learning)).send(A, &to(UNKNOWN));
    assert_eq!((walk.outcomes.len(), walk.learned.len()), (0, 1));
}

#[test]
fn isolated_ports_do_not_meet_but_reach_the_rest_and_the_host() {
    let lab =
        Lab::new().port(A, |port| port.isolated = Some(true)).port(B, |port| port.isolated = Some(true));
    assert_eq!(ports(&lab.send(A, &to(UNKNOWN))), [C]);
    assert_eq!(ports(&lab.send(C, &to(UNKNOWN))), [A, B]);
    assert_eq!(stack(&lab.send(A, &to(mac(2)))), [BR0]);
}

#[test]
fn a_locked_port_lets_in_only_what_belongs_there() {
    let locked = || Lab::new().port(A, |port| port.locked = Some(true));
    assert_eq!(locked().send(A, &to(UNKNOWN)).outcomes, []);
    assert_eq!(ports(&locked().entry(fdb(A, GUEST, STATIC, None)).send(A, &to(UNKNOWN))), [B, C]);
    assert_eq!(locked().entry(fdb(B, GUEST, STATIC, None)).send(A, &to(UNKNOWN)).outcomes, []);
    let mut waiting = fdb(A, GUEST, LEARNED, None);
    waiting.flags_ext = 2;
    assert_eq!(locked().entry(waiting).send(A, &to(UNKNOWN)).outcomes, []);
}

#[test]
fn a_link_local_frame_authorises_its_own_source_on_a_locked_port() {
    let locked = Lab::new().port(A, |port| port.locked = Some(true));
    assert_eq!(locked.send(A, &to(MacAddr::link_local(3))).learned[0].change, LearnedChange::New);
    let closed = locked.bridge(|bridge| bridge.multi_boolopt = Some(BoolOpts { value: 1, mask: 0x1f }));
    assert_eq!(closed.send(A, &to(MacAddr::link_local(3))).learned, []);
}

#[test]
fn a_static_entry_moves_and_a_sticky_one_stays() {
    let walk = Lab::new().entry(fdb(B, GUEST, STATIC, None)).send(A, &to(UNKNOWN));
    assert_eq!(walk.learned[0].change, LearnedChange::Move { from: B });
    let mut sticky = fdb(B, GUEST, STATIC, None);
    sticky.flags = 0x40;
    let walk = Lab::new().entry(sticky).send(A, &to(UNKNOWN));
    assert_eq!((walk.learned.len(), ports(&walk)), (0, vec![B, C]));
}

#[test]
fn ageing_0_learns_nothing() {
    assert_eq!(Lab::new().bridge(|bridge| bridge.ageing_time = Some(0)).send(A, &to(UNKNOWN)).learned, []);
}

#[test]
fn flood_switches_stop_their_own_sort_only() {
    let lab =
        Lab::new().port(B, |port| port.flood = Some(false)).port(C, |port| port.bcast_flood = Some(false));
    assert_eq!(ports(&lab.send(A, &to(UNKNOWN))), [C]);
    assert_eq!(ports(&lab.send(A, &to(MacAddr::BROADCAST))), [B]);
}

#[test]
fn hairpin_reflects() {
    let lab = Lab::new().port(A, |port| port.hairpin = Some(true)).entry(fdb(A, UNKNOWN, LEARNED, None));
    assert_eq!(ports(&lab.send(A, &to(UNKNOWN))), [A]);
    let plain = Lab::new().entry(fdb(A, UNKNOWN, LEARNED, None));
    assert_eq!(plain.send(A, &to(UNKNOWN)).outcomes, []);
}

#[test]
fn a_backup_port_takes_over_without_carrier() {
    let mut lab = Lab::new().entry(fdb(B, UNKNOWN, LEARNED, None)).port(B, |port| port.backup_port = Some(C));
    assert_eq!(ports(&lab.send(A, &to(UNKNOWN))), [B]);
    lab.links()[2].carrier = Some(false);
    assert_eq!(ports(&lab.send(A, &to(UNKNOWN))), [C]);
}

#[test]
fn vlan_filtering_keeps_vlans_apart_and_the_bridge_device_out() {
    let lab = Lab::new().vlans(&[], &[(A, &[(1, MEMBER), (5, 0)]), (B, &[(1, MEMBER)]), (C, &[(5, 0)])]);
    let untagged = lab.send(A, &to(UNKNOWN));
    assert_eq!((ports(&untagged), stack(&untagged)), (vec![B], vec![]));
    let five = lab.send(A, &to(UNKNOWN).tag(EtherType::VLAN, 5));
    assert_eq!(ports(&five), [C]);
    assert!(five.ports().all(|delivery| delivery.hwtag.is_some()));
    let six = lab.send(A, &to(UNKNOWN).tag(EtherType::VLAN, 6));
    assert_eq!(six.drops[0].reason, "the port is not in the frame's VLAN");
    let broadcast = lab.send(A, &to(MacAddr::BROADCAST));
    assert!(broadcast.drops.iter().any(|drop| drop.reason == "the bridge device is not in the VLAN"));
}

#[test]
fn a_promiscuous_bridge_device_gets_vlans_that_it_is_not_in() {
    let mut lab = Lab::new().vlans(&[], &[(A, &[(1, MEMBER)])]);
    lab.links()[0].promiscuity = Some(1);
    // Still tagged, hence somebody else's for IP, but it is there.
    assert_eq!(stack(&lab.send(A, &to(UNKNOWN))), [BR0]);
}

#[test]
fn a_tag_of_the_other_kind_is_payload() {
    let lab = Lab::new().vlans(&[], &[(A, &[(1, MEMBER)]), (B, &[(1, MEMBER)])]);
    let frame = to(UNKNOWN).tag(EtherType::SVLAN, 3).tag(EtherType::VLAN, 5);
    let walk = lab.send(A, &frame);
    assert_eq!(ports(&walk), [B]);
    let bytes = frame.payload(&Payload::Raw { ethertype: EtherType(0x88b5), data: vec![0; 46] });
    let left = walk.ports().next().unwrap().bytes(&Concrete::new(&bytes).unwrap());
    assert_eq!(left, bytes, "it leaves as it came");
}

#[test]
fn a_tag_within_the_pvid_hops_to_the_vlan_device_of_the_bridge() {
    let mut lab = Lab::new().vlans(&[(1, MEMBER | VlanFlags::BRENTRY)], &[(A, &[(1, MEMBER)])]);
    let vlan = VlanDevice { id: 7, protocol: EtherType::VLAN, flags: 1 };
    let mut upper = link(IfIndex(20), "br0.7", LinkKind::Vlan(vlan));
    upper.link = Some(BR0);
    lab.links().push(upper);
    for outer in [0, 1] {
        let hop = to(MacAddr::BROADCAST).tag(EtherType::VLAN, outer).tag(EtherType::VLAN, 7);
        assert_eq!(stack(&lab.send(A, &hop)), [IfIndex(20)], "outer tag {outer}");
    }
}

#[test]
fn a_vlan_device_on_a_port_takes_its_vlan_from_the_bridge() {
    let mut lab = Lab::new();
    let vlan = VlanDevice { id: 5, protocol: EtherType::VLAN, flags: 1 };
    let mut upper = link(IfIndex(20), "a.5", LinkKind::Vlan(vlan));
    upper.link = Some(A);
    lab.links().push(upper);
    let tagged = to(MacAddr::BROADCAST).tag(EtherType::VLAN, 5);
    let walk = lab.send(A, &tagged);
    assert_eq!((ports(&walk), stack(&walk)), (vec![], vec![IfIndex(20)]));
    lab.links()[4].flags = LinkFlags(0);
    assert_eq!(lab.send(A, &tagged).drops[0].reason, "the VLAN device is down");
}

#[test]
fn any_number_of_priority_tags_is_no_tag_at_all() {
    for tags in [vec![EtherType::VLAN], vec![EtherType::SVLAN], vec![EtherType::VLAN; 3]] {
        let frame = tags.iter().fold(to(mac(2)), |frame, tpid| frame.tag(*tpid, 0));
        assert_eq!(stack(&Lab::new().send(A, &frame)), [BR0], "{tags:?}");
    }
}

#[test]
fn an_invalid_source_gets_nowhere() {
    for source in [MacAddr::ZERO, MacAddr::BROADCAST] {
        assert_eq!(Lab::new().send(A, &FrameBuilder::new(UNKNOWN, source)).outcomes, []);
    }
}

#[test]
fn what_was_not_read_stays_an_open_question() {
    let mut lab = Lab::new();
    lab.netns().filters = Filters::default();
    let walk = lab.send(A, &to(UNKNOWN));
    let Some(Outcome::Port(delivery)) = walk.outcomes.first() else { panic!("flooded") };
    let questions: Vec<_> = walk.questions(delivery.assumes).map(|open| open.kind.to_string()).collect();
    assert!(
        questions.iter().any(|question| question.contains("nftables chains were not read")),
        "{questions:?}"
    );
}

#[test]
fn a_chain_on_a_prefix_of_names_stands_at_each_such_device() {
    let name = Lab::new().netns().link(A).unwrap().name.clone();
    let open_questions = |devices: &str| {
        let mut lab = Lab::new();
        lab.netns().filters.nft_chains = Reading::Read(vec![NftBaseChain {
            family: NftFamily::Netdev,
            table: "guard".to_owned(),
            chain: "in".to_owned(),
            kind: "filter".to_owned(),
            hook: 0,
            hook_name: "ingress".to_owned(),
            priority: 0,
            devices: vec![devices.to_owned()],
            policy_drop: true,
            rules: 0,
            dormant: false,
        }]);
        let walk = lab.send(A, &to(UNKNOWN));
        let Some(Outcome::Port(delivery)) = walk.outcomes.first() else { panic!("flooded") };
        walk.questions(delivery.assumes).count()
    };
    let prefix = name.get(..1).unwrap();
    assert_eq!(
        (open_questions(&name), open_questions(&format!("{prefix}*")), open_questions("*")),
        (1, 1, 1)
    );
    assert_eq!((open_questions("z*"), open_questions("other")), (0, 0));
}

proptest::proptest! {
    #[test]
    fn every_frame_ends_somewhere(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 14..120)) {
        let lab = Lab::new().vlans(&[(1, MEMBER)], &[(A, &[(1, MEMBER)]), (B, &[(1, MEMBER)])]);
        let network = Network::new(&lab.snapshot, NetnsId(1)).unwrap();
        let walk = walk(&network, A, &mut Concrete::new(&bytes).unwrap(), Trace::Off);
        proptest::prop_assert!(!walk.outcomes.is_empty() || !walk.drops.is_empty());
    }
}

#[test]
fn every_frame_lies_in_one_way_of_a_symbolic_one() {
    use super::{Aim, Manner, When};
    use crate::frame::symbolic::{Condition, explore};
    let lab = Lab::new();
    let network = Network::new(&lab.snapshot, NetnsId(1)).unwrap();
    for aim in [Aim::Host, Aim::Port(B)] {
        let manner = Manner { trace: Trace::Off, aim, when: When::Now };
        let mut ways = Vec::new();
        let whole = explore(
            &Condition::every_frame(),
            20_000,
            |frame| walk(&network, A, frame, manner),
            |condition, walk| {
                ways.push((condition.clone(), walk));
                std::ops::ControlFlow::Continue(())
            },
        );
        assert!(whole, "{aim:?}: more than 20,000 ways");
        // A frame of each way goes that way, and lies in no other.
        for (condition, found) in &ways {
            let Some(bytes) = condition.witness(&[]) else { continue };
            let frame = Concrete::new(&bytes).unwrap();
            assert_eq!(walk_of(&network, &frame, manner).outcomes, found.outcomes);
            assert_eq!(ways.iter().filter(|(other, _)| other.holds(&frame)).count(), 1);
        }
    }
}

fn walk_of(network: &Network<'_>, frame: &Concrete<'_>, manner: super::Manner) -> Walk {
    walk(network, A, &mut frame.clone(), manner)
}
