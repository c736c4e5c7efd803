//! What closes something on a bridge, as steps.

use portcullis_snapshot::{
    CmpOp, EtherType, NftBaseChain, NftFamily, NftVerdict, PayloadBase, TcAction, TcActionKind, TcClassifier,
    TcFilter, TcHookKind, TcVerdict, U32Key, U32Node, VlanId,
};

use crate::firewall::{self, Chain, Match, TABLE};
use crate::knobs::{BRIDGE_KNOBS, PORT_KNOBS};
use crate::names::{BRIDGE, Name};
use crate::step::{Rule, Step};
use crate::traffic::{Filter, Place, Qdisc};

/// A setting of a device, or of `all`.
pub(crate) fn conf(family: &'static str, device: Name, setting: &'static str, value: u32) -> Vec<Step> {
    vec![Step::Sysctl { family, device: Some(device), setting, value }]
}

/// The host is no router.
pub(crate) fn no_forwarding() -> Vec<Step> {
    [conf("ipv4", "all", "forwarding", 0), conf("ipv6", "all", "forwarding", 0)].concat()
}

/// What is for one host is not taken from frames that are for a group.
pub(crate) fn unicast_in_groups_dropped() -> Vec<Step> {
    let setting = "drop_unicast_in_l2_multicast";
    [conf("ipv4", BRIDGE, setting, 1), conf("ipv6", BRIDGE, setting, 1)].concat()
}

/// An option of a port.
pub(crate) fn port_option(port: Name, keyword: &str, value: u32) -> Option<Step> {
    let knob = PORT_KNOBS.iter().find(|knob| knob.keyword == keyword)?;
    Some(Step::PortOption { port, knob, value })
}

/// An option of the bridge.
pub(crate) fn bridge_option(keyword: &str, value: u32) -> Option<Step> {
    let knob = BRIDGE_KNOBS.iter().find(|knob| knob.keyword == keyword)?;
    Some(Step::BridgeOption { bridge: BRIDGE, knob, value })
}

/// The bridge filters by VLAN, and is in none itself.
pub(crate) fn vlan_filtering() -> Vec<Step> {
    let out = VlanId::new(1).map(|id| Step::Member { device: BRIDGE, id, flags: None });
    bridge_option("vlan_filtering", 1).into_iter().chain(out).collect()
}

/// `ip rule add iif br0 blackhole`.
pub(crate) fn blackhole(ipv6: bool, priority: u32) -> Step {
    Step::Rule(Rule { ipv6, priority, action: 6, table: 0, iif: Some(BRIDGE) })
}

/// The same, in front of the rule for local addresses.
pub(crate) fn blackhole_first(ipv6: bool) -> Vec<Step> {
    vec![Step::LocalRuleLast { ipv6 }, blackhole(ipv6, 50)]
}

/// A chain's place.
pub(crate) fn base(
    family: NftFamily,
    (hook, hook_name): (u32, &str),
    devices: &[Name],
    policy_drop: bool,
) -> NftBaseChain {
    let name: Vec<_> = [hook_name].into_iter().chain(devices.iter().copied()).collect();
    NftBaseChain {
        family,
        table: TABLE.to_owned(),
        chain: name.join("-"),
        kind: "filter".to_owned(),
        hook,
        hook_name: hook_name.to_owned(),
        priority: -10,
        devices: devices.iter().map(|device| (*device).to_owned()).collect(),
        policy_drop,
        rules: 0,
        dormant: false,
    }
}

/// A chain without a rule.
pub(crate) fn chain(
    family: NftFamily,
    hook: u32,
    hook_name: &str,
    devices: &[Name],
    policy_drop: bool,
) -> Vec<Step> {
    with_rules(base(family, (hook, hook_name), devices, policy_drop), Vec::new())
}

/// A chain and its rules.
pub(crate) fn with_rules(base: NftBaseChain, rules: Vec<(Vec<Match>, NftVerdict)>) -> Vec<Step> {
    let (family, name) = (base.family, base.chain.clone());
    let mut steps = vec![Step::Chain(Chain { family, name: name.clone(), base: Some(base) })];
    steps.extend(rules.into_iter().map(|(matches, verdict)| {
        let rule = firewall::Rule { family, chain: name.clone(), matches, verdict: Some(verdict) };
        Step::FirewallRule(rule)
    }));
    steps
}

/// Rules where frames come in by devices.
pub(crate) fn at_ingress(
    name: &str,
    devices: &[Name],
    policy_drop: bool,
    rules: Vec<(Vec<Match>, NftVerdict)>,
) -> Vec<Step> {
    let base = base(NftFamily::Netdev, (0, "ingress"), devices, policy_drop);
    with_rules(NftBaseChain { chain: name.to_owned(), ..base }, rules)
}

/// The remedy for what passes a bridge by: group addresses that are for bridges alone.
pub(crate) fn link_local_dropped(ports: &[Name]) -> Vec<Step> {
    let (mask, value) = ([0xff, 0xff, 0xff, 0xff, 0xff, 0xf0], [0x01, 0x80, 0xc2, 0, 0, 0]);
    let text = "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00".to_owned();
    let group = firewall::masked(text, PayloadBase::Link, 0, &mask, CmpOp::Eq, &value);
    at_ingress("link-local", ports, false, vec![(vec![group], NftVerdict::Drop)])
}

/// The EtherType that stands behind the addresses.
pub(crate) fn ether_type(protocol: EtherType) -> Match {
    let text = format!("ether type {protocol}");
    firewall::payload(text, PayloadBase::Link, 12, CmpOp::Eq, &protocol.0.to_be_bytes())
}

/// `u32 match u8 0 0 action drop`, where frames come in by a device.
pub(crate) fn tc_drop(device: Name) -> Vec<Step> {
    let node = U32Node::new(U32Node::TERMINAL, vec![U32Key { mask: 0, value: 0, offset: 0, offset_mask: 0 }]);
    let drop = TcAction {
        kind: TcActionKind::Gact { random: None },
        verdict: Some(TcVerdict::Shot),
        skip_sw: false,
    };
    let filter = TcFilter {
        chain: 0,
        priority: 1,
        protocol: 3,
        handle: 1,
        classifier: TcClassifier::U32(node),
        classid: None,
        indev: None,
        flags: 0,
        actions: vec![drop],
    };
    let place = Place::Device(device, TcHookKind::Ingress);
    vec![
        Step::Qdisc(Qdisc { device, ingress_block: None, egress_block: None }),
        Step::TcFilter(Box::new(Filter { place, filter })),
    ]
}
