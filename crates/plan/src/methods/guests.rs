//! Remedies at the guests' ports: before the bridge, and between guests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use portcullis_audit::{BridgeView, Context, LinkLocalProtocol, PortView};
use portcullis_snapshot::{
    Bytes, CmpOp, EtherType, FlowerField, FlowerKey, MacAddr, TcAction, TcActionKind, TcClassifier, TcFilter,
    TcVerdict,
};

use super::{Lacks, MethodDoc, Piece, bridge::filter, guests, on_guests};
use crate::change::Change;
use crate::option::PortOption;
use crate::rules::{
    Chain, Drop, Hook, Match, Named, arp_not_from_mac, behind_tag, chain_name, ether_type, from_mac,
    from_udp_port, has_ether_type, icmpv6, not_in_the_name_of, of_protocol, to_link_local,
};

pub(super) const DROP_LINK_LOCAL: MethodDoc = MethodDoc {
    name: "drop-link-local",
    does: "nftables drops frames to 01:80:c2:00:00:00–0f on the way in of guest ports, before the bridge, but for the protocols that \
           the policy lets through.",
    costs: "One rule for every frame of a guest. LACP, LLDP, 802.1X and BPDUs of guests stop.",
    leaves: "Everything else. New ports have to be added.",
    by_hand: &[
        "nft add table netdev portcullis",
        "nft 'add chain netdev portcullis guests { type filter hook ingress device \"vnet0\" priority -500; }'",
        "nft 'add rule netdev portcullis guests ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop'",
    ],
};
pub(super) const TC_LINK_LOCAL: MethodDoc = MethodDoc {
    name: "tc-link-local",
    does: "tc drops frames to 01:80:c2:00:00:00–0f on the way in of guest ports.",
    costs: "As drop-link-local, and a queueing discipline for each port; for kernels without nftables. Needs cls_flower and act_gact.",
    leaves: "As drop-link-local. It lets no protocol through.",
    by_hand: &[
        "tc qdisc add dev vnet0 clsact",
        "tc filter add dev vnet0 ingress pref 500 protocol all flower dst_mac 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0 action drop",
    ],
};
pub(super) const FORWARD_LINK_LOCAL: MethodDoc = MethodDoc {
    name: "forward-link-local",
    does: "group_fwd_mask 0xfffd of guest ports: their frames to 01:80:c2:00:00:00 and 02–0f are forwarded as to any other group, \
           and reach the host by the bridge device only, where drop-on-bridge and others stop them.",
    costs: "Nothing per frame. Other guests and the uplink hear LACP, LLDP, 802.1X and BPDUs of guests, and may believe them.",
    leaves: "Frames to 01:80:c2:00:00:01, which no mask covers, and everything by the bridge device. drop-link-local stops \
             all of them.",
    by_hand: &["ip link set dev vnet0 type bridge_slave group_fwd_mask 65533"],
};
pub(super) const ISOLATE: MethodDoc = MethodDoc {
    name: "isolated",
    does: "Guest ports are isolated: they exchange frames with the uplink and with the host, not with each other.",
    costs: "Nothing per frame. Guests of the bridge no longer reach each other.",
    leaves: "Ways by which frames come back to the bridge: a router on the uplink, the host's own routing.",
    by_hand: &["bridge link set dev vnet0 isolated on"],
};
pub(super) const FLOOD_OFF: MethodDoc = MethodDoc {
    name: "flood-off",
    does: "Unknown unicast is not flooded to guest ports. Addresses that are known behind them get static entries, so that guests \
           that are silent stay reachable.",
    costs: "Nothing per frame. A guest with a new address is reached once it has sent.",
    leaves: "Broadcasts and multicast.",
    by_hand: &[
        "bridge fdb replace 02:00:00:00:00:01 dev vnet0 master static",
        "bridge link set dev vnet0 flood off",
    ],
};
pub(super) const LOCK_PORTS: MethodDoc = MethodDoc {
    name: "locked",
    does: "Guest ports are locked: they take frames only from the addresses that are known behind them, which get static entries.",
    costs: "Nothing per frame. A guest with a new address is cut off until it is given an entry.",
    leaves: "Link-local frames, which teach addresses all the same: add no-linklocal-learn. Addresses of higher layers.",
    by_hand: &[
        "bridge fdb replace 02:00:00:00:00:01 dev vnet0 master static",
        "bridge link set dev vnet0 locked on",
    ],
};
pub(super) const LEARNING_OFF: MethodDoc = MethodDoc {
    name: "learning-off",
    does: "Guest ports learn nothing. Addresses that are known behind them get static entries that no other port takes over.",
    costs: "Nothing per frame. What is for a guest with a new address is flooded.",
    leaves: "Frames with a false source; they change nothing, but go where they are sent.",
    by_hand: &[
        "bridge fdb replace 02:00:00:00:00:01 dev vnet0 master static sticky",
        "bridge link set dev vnet0 learning off",
    ],
};
pub(super) const ANTI_SPOOF: MethodDoc = MethodDoc {
    name: "anti-spoof",
    does: "nftables drops frames and ARP of a guest whose source is not an address that is known behind its port; where the policy states \
           its IP addresses, ARP, IP and neighbour advertisements in any other name, too.",
    costs: "Two rules for every frame of a guest, up to ten with IP addresses; those also drop what has two tags. A guest with a new \
            address is cut off until `portcullis rollback` and another `fix` make new rules.",
    leaves: "Link-local IPv6 addresses, 0.0.0.0 and ::, without which no guest gets an address. IP addresses that the policy \
             does not state: the kernel knows none by port.",
    by_hand: &[
        "nft add table netdev portcullis",
        "nft 'add chain netdev portcullis from_vnet0 { type filter hook ingress device \"vnet0\" priority -500; }'",
        "nft 'add rule netdev portcullis from_vnet0 ether saddr != 02:00:00:00:00:01 drop'",
        "nft 'add rule netdev portcullis from_vnet0 arp saddr ip != 0.0.0.0 arp saddr ip != 192.0.2.10 drop'",
        "nft 'add rule netdev portcullis from_vnet0 ip saddr != 0.0.0.0 ip saddr != 192.0.2.10 drop'",
    ],
};
pub(super) const DHCP_RA_GUARD: MethodDoc = MethodDoc {
    name: "dhcp-ra-guard",
    does: "nftables drops what DHCP and DHCPv6 servers and IPv6 routers send, on the way in of guest ports.",
    costs: "Three rules for every frame of a guest. Guests that are such servers stop working.",
    leaves: "The same in fragments, behind extension headers or tags.",
    by_hand: &[
        "nft add table netdev portcullis",
        "nft 'add chain netdev portcullis servers { type filter hook ingress device \"vnet0\" priority -500; }'",
        "nft 'add rule netdev portcullis servers meta l4proto udp udp sport 67 drop'",
    ],
};
pub(super) const DROP_TAGS: MethodDoc = MethodDoc {
    name: "drop-tagged",
    does: "nftables drops frames of guests that carry a tag, of either TPID, priority tags among them.",
    costs: "Two rules for every frame of a guest. Guests cannot use VLANs.",
    leaves: "Nothing of that kind.",
    by_hand: &[
        "nft add table netdev portcullis",
        "nft 'add chain netdev portcullis tags { type filter hook ingress device \"vnet0\" priority -500; }'",
        "nft 'add rule netdev portcullis tags ether type 0x8100 drop'",
        "nft 'add rule netdev portcullis tags ether type 0x88a8 drop'",
    ],
};
pub(super) const BPDU_GUARD: MethodDoc = MethodDoc {
    name: "bpdu-guard",
    does: "A BPDU from a guest disables its port.",
    costs: "Nothing per frame. A guest that sends one is cut off until its port is set up again.",
    leaves: "It works only while the kernel's spanning tree is on.",
    by_hand: &["bridge link set dev vnet0 guard on"],
};
pub(super) const ROOT_BLOCK: MethodDoc = MethodDoc {
    name: "root-block",
    does: "Guest ports never become the way to the root bridge.",
    costs: "Nothing.",
    leaves: "It works only while the kernel's spanning tree is on.",
    by_hand: &["bridge link set dev vnet0 root_block on"],
};
pub(super) const MCAST_ROUTER_OFF: MethodDoc = MethodDoc {
    name: "mcast-router-off",
    does: "Guest ports never count as leading to a multicast router, whatever queries they send.",
    costs: "A multicast router that is a guest stops working.",
    leaves: "Multicast that is flooded anyway.",
    by_hand: &["bridge link set dev vnet0 mcast_router 0"],
};

/// A chain for the guests' ports.
fn at_guests(bridge: &BridgeView<'_>, name: &str, rules: &[Drop]) -> Vec<Piece> {
    let devices: Vec<_> = guests(bridge).map(|port| port.link.name.clone()).collect();
    let chain = || Piece::Chain(Chain::new(Hook::Ingress, name.to_owned(), devices.clone(), rules.to_vec()));
    if devices.is_empty() { Vec::new() } else { vec![chain()] }
}

pub(super) fn drop_link_local(bridge: &BridgeView<'_>) -> Vec<Piece> {
    let allowed = bridge.policy.link_local.as_deref().unwrap_or_default();
    let rule = std::iter::once(to_link_local()).chain(except(allowed)).collect();
    at_guests(bridge, "guests", &[Drop(rule)])
}

/// The conditions that leave protocols out: by EtherType, and 802.2 by its being none.
fn except(allowed: &[LinkLocalProtocol]) -> Vec<Match> {
    let condition = |protocol: &LinkLocalProtocol| match protocol {
        LinkLocalProtocol::Eapol => ether_type(CmpOp::Neq, EtherType(0x888e)),
        LinkLocalProtocol::Lacp => ether_type(CmpOp::Neq, EtherType(0x8809)),
        LinkLocalProtocol::Lldp => ether_type(CmpOp::Neq, EtherType(0x88cc)),
        LinkLocalProtocol::Stp => has_ether_type(),
    };
    allowed.iter().map(condition).collect()
}

pub(super) fn tc_link_local(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    if bridge.policy.link_local.as_ref().is_some_and(|allowed| !allowed.is_empty()) {
        return Err(Lacks("it cannot let a protocol through, as the policy wants".to_owned()));
    }
    let key = FlowerKey::Field {
        field: FlowerField::EthDst,
        value: Bytes::from(&MacAddr::link_local(0).0[..]),
        mask: Bytes::from(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0][..]),
    };
    let drop = TcAction {
        kind: TcActionKind::Gact { random: None },
        verdict: Some(TcVerdict::Shot),
        skip_sw: false,
    };
    let at = |port: &PortView<'_>| {
        filter(context, port.link.index, |filter| TcFilter {
            classifier: TcClassifier::Flower(vec![key.clone()]),
            actions: vec![drop.clone()],
            ..filter
        })
        .map(Piece::Change)
    };
    guests(bridge).map(at).collect()
}

pub(super) fn forward_link_local(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    // br_setport refuses BR_GROUPFWD_MACPAUSE.
    const ALL_BUT_PAUSE: u32 = 0xfffd;
    on_guests(bridge, PortOption::GroupFwdMask, ALL_BUT_PAUSE)
}

pub(super) fn isolate(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    on_guests(bridge, PortOption::Isolated, 1)
}

/// Static entries for the addresses that are known behind guest ports.
fn entries(bridge: &BridgeView<'_>, sticky: bool) -> Vec<Piece> {
    let known = guests(bridge).flat_map(|port| port.known_macs().iter().map(move |address| (port, *address)));
    let entry = |(port, address): (&PortView<'_>, MacAddr)| {
        Piece::Change(Change::StaticEntry { port: port.link.into(), address, vlan: None, sticky })
    };
    known.map(entry).collect()
}

/// Refuses what would cut a guest off that is not known yet.
fn all_known(bridge: &BridgeView<'_>) -> Result<(), Lacks> {
    match guests(bridge).find(|port| port.known_macs().is_empty()) {
        Some(port) => {
            Err(Lacks(format!("no address is known behind {}: its guest would be cut off", port.link.name)))
        }
        None => Ok(()),
    }
}

/// Entries have a VLAN where the bridge filters by VLAN; which a guest uses is not known there.
fn one_vlan(bridge: &BridgeView<'_>) -> Result<(), Lacks> {
    if bridge.vlan_filtering() {
        return Err(Lacks(
            "the bridge filters by VLAN, and which of them guests use is not known".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn flood_off(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    one_vlan(bridge)?;
    Ok([entries(bridge, false), on_guests(bridge, PortOption::Flood, 0)?].concat())
}

pub(super) fn lock(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    one_vlan(bridge)?;
    all_known(bridge)?;
    Ok([entries(bridge, false), on_guests(bridge, PortOption::Locked, 1)?].concat())
}

pub(super) fn learning_off(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    one_vlan(bridge)?;
    Ok([entries(bridge, true), on_guests(bridge, PortOption::Learning, 0)?].concat())
}

pub(super) fn anti_spoof(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    if let Some(port) = guests(bridge).find(|port| port.known_macs().is_empty() && port.stated_ip.is_none()) {
        let what = "its guest would be cut off";
        return Err(Lacks(format!("no address is known behind {}: {what}", port.link.name)));
    }
    let chain = |port: &PortView<'_>| {
        let (macs, nets) = (port.known_macs(), port.stated_ip.as_deref());
        let rules = [from_others(macs), nets.map_or_else(Vec::new, in_the_name_of_others)].concat();
        let name = &port.link.name;
        Piece::Chain(Chain::new(Hook::Ingress, chain_name("from", name), vec![name.clone()], rules))
    };
    Ok(guests(bridge).map(chain).collect())
}

/// Rules that drop what has none of some MAC addresses as its source, or as the sender of ARP.
fn from_others(macs: &[MacAddr]) -> Vec<Drop> {
    let source = macs.iter().map(|mac| from_mac(CmpOp::Neq, *mac)).collect::<Vec<_>>();
    let sender = macs.iter().map(|mac| arp_not_from_mac(*mac));
    let in_arp = std::iter::once(of_protocol(EtherType::ARP)).chain(sender).collect();
    if macs.is_empty() { Vec::new() } else { vec![Drop(source), Drop(in_arp)] }
}

/// Rules that drop what names an address of none of some networks: as the sender of ARP, the source of a packet, the target of
/// a neighbour advertisement. Addresses that every guest may use are let through.
fn in_the_name_of_others(nets: &[IpNet]) -> Vec<Drop> {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let nobody4 = IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let nobody6 = IpNet::from(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let link_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10).into();
    let rule = |asked: Match, of: Named, everybody: &[IpNet]| {
        let ipv4 = everybody.first().is_some_and(|net| net.addr().is_ipv4());
        let own = nets.iter().filter(|net| net.addr().is_ipv4() == ipv4);
        let others = everybody.iter().chain(own).map(|net| not_in_the_name_of(of, *net));
        Drop(std::iter::once(asked).chain(others).collect())
    };
    let tags = [EtherType::VLAN, EtherType::SVLAN];
    let stacked = tags.into_iter().flat_map(|outer| tags.map(|inner| (outer, inner)));
    // By the bytes: what kernels call the protocol of such frames differs.
    let stacked = stacked.map(|(outer, inner)| Drop(vec![ether_type(CmpOp::Eq, outer), behind_tag(inner)]));
    let names = [
        rule(of_protocol(EtherType::ARP), Named::Arp, &[nobody4]),
        rule(of_protocol(EtherType::IPV4), Named::Ip, &[nobody4]),
        rule(of_protocol(EtherType::IPV6), Named::Ip, &[nobody6, link_local]),
        rule(icmpv6(NEIGHBOUR_ADVERTISEMENT), Named::Advertised, &[link_local]),
    ];
    stacked.chain(names).collect()
}

pub(super) fn dhcp_ra_guard(bridge: &BridgeView<'_>) -> Vec<Piece> {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    let rules = [from_udp_port(67), from_udp_port(547), icmpv6(ROUTER_ADVERTISEMENT)];
    at_guests(bridge, "servers", &rules.map(|rule| Drop(vec![rule])))
}

pub(super) fn drop_tags(bridge: &BridgeView<'_>) -> Vec<Piece> {
    let tags = [EtherType::VLAN, EtherType(0x88a8)];
    at_guests(bridge, "tags", &tags.map(|tpid| Drop(vec![ether_type(CmpOp::Eq, tpid)])))
}

pub(super) fn bpdu_guard(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    on_guests(bridge, PortOption::Guard, 1)
}

pub(super) fn root_block(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    on_guests(bridge, PortOption::RootBlock, 1)
}

pub(super) fn mcast_router_off(bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    on_guests(bridge, PortOption::McastRouter, 0)
}
