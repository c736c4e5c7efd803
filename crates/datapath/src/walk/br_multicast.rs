//! `net/bridge/br_multicast.c`, `net/bridge/br_mdb.c`: snooping, as far as it decides where a frame goes.

use portcullis_snapshot::{BoolOpt, EtherType, IfIndex, McastRouter, MdbGroup};

use super::br_input::Bridged;
use super::{OpenKind, Skb, Walker};
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Partition, Set};
use crate::network::{Bridge, Port};

/// What `br_multicast_rcv` noted of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Multicast {
    /// For routers, unless a group entry says more (`mrouters_only`).
    mrouters_only: bool,
    /// IGMP or MLD itself (`igmp`): never looked up in the MDB.
    control: bool,
}

/// What an MDB lookup found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Whether the bridge device joined (`host_joined`).
    host_joined: bool,
    /// The member ports.
    members: Vec<IfIndex>,
}

/// 224.0.0.0/24.
const LOCAL_MULTICAST: Set = Set::Masked { value: 0xe000_0000, mask: 0xffff_ff00 };
/// ff02::1.
const ALL_NODES: Set = Set::Exactly(0xff02_0000_0000_0000_0000_0000_0000_0001);

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_multicast_rcv`: looks into IGMP, MLD and the rest. `None` if it drops the frame as malformed.
    pub(super) fn br_multicast_rcv(&mut self, skb: &mut Skb, bridge: &Bridge<'s>) -> Option<Multicast> {
        if bridge.options.mcast_snooping != Some(true) {
            return Some(Multicast::default());
        }
        if bridge.bool_opt(BoolOpt::McastVlanSnooping) {
            let what = format!("multicast snooping by VLAN on {}", bridge.link.name);
            self.assume(skb, "br_multicast_rcv", OpenKind::Unmodelled(what));
        }
        let inet = [EtherType::IPV4, EtherType::IPV6].map(Set::from);
        match self.frame.which(Field::Protocol(skb.depth), &inet) {
            Some(0) => self.br_multicast_ipv4_rcv(skb),
            Some(_) => self.br_multicast_ipv6_rcv(skb),
            None => Some(Multicast::default()),
        }
    }

    /// `br_multicast_ipv4_rcv`, with `ip_mc_check_igmp` (net/ipv4/igmp.c).
    fn br_multicast_ipv4_rcv(&mut self, skb: &Skb) -> Option<Multicast> {
        let d = skb.depth;
        if !self.frame.is(Field::Ip4(d, Ip4Field::WellFormed), 1u8) {
            self.drop_skb(
                "br_multicast_ipv4_rcv",
                skb,
                "malformed IPv4 header",
                format_args!("mcast_snooping on"),
            );
            return None;
        }
        if !self.frame.is(Field::Ip4(d, Ip4Field::Protocol), 2u8) {
            let local = self.frame.is(Field::Ip4(d, Ip4Field::Destination), LOCAL_MULTICAST);
            return Some(Multicast { mrouters_only: !local, control: false });
        }
        // Malformed, of no known type; reports of versions 1 and 2.
        let kinds: [Set; 4] = [0u8, 1, 0x12, 0x16].map(Set::from);
        match self.frame.which(Field::Ip4(d, Ip4Field::Igmp), &kinds) {
            Some(0) => {
                self.drop_skb(
                    "ip_mc_check_igmp",
                    skb,
                    "malformed IGMP message",
                    format_args!("mcast_snooping on"),
                );
                None
            }
            Some(1) => {
                let local = self.frame.is(Field::Ip4(d, Ip4Field::Destination), LOCAL_MULTICAST);
                Some(Multicast { mrouters_only: !local, control: false })
            }
            kind => Some(Multicast { mrouters_only: kind.is_some(), control: true }),
        }
    }

    /// `br_multicast_ipv6_rcv`, with `ipv6_mc_check_mld` (net/ipv6/mcast_snoop.c).
    fn br_multicast_ipv6_rcv(&mut self, skb: &mut Skb) -> Option<Multicast> {
        let d = skb.depth;
        if !self.frame.is(Field::Ip6(d, Ip6Field::WellFormed), 1u8) {
            self.drop_skb(
                "br_multicast_ipv6_rcv",
                skb,
                "malformed IPv6 header",
                format_args!("mcast_snooping on"),
            );
            return None;
        }
        // MLD comes behind a hop-by-hop header, which holds the router alert (ipv6_mc_check_exthdrs).
        if self.frame.is(Field::Ip6(d, Ip6Field::NextHeader), 0u8) {
            let what = "an MLD message behind extension headers".to_owned();
            self.may_stop(skb, "ipv6_mc_check_mld", OpenKind::Unmodelled(what));
        }
        let all_nodes = self.frame.is(Field::Ip6(d, Ip6Field::Destination), ALL_NODES);
        Some(Multicast { mrouters_only: !all_nodes, control: false })
    }

    /// The multicast case of `br_handle_frame_finish`: the group, if frames go by it, and whether the bridge device gets
    /// a copy.
    pub(super) fn br_multicast_lookup(
        &mut self,
        bridged: &mut Bridged,
        bridge: &Bridge<'s>,
    ) -> (Option<Group>, bool) {
        if self.ever() {
            return self.br_multicast_whoever(bridged, bridge);
        }
        let group = self.br_mdb_entry_skb_get(bridged, bridge);
        let function = "br_mdb_entry_skb_get";
        let dev = bridged.skb.dev;
        let by_group = group.is_some() || bridged.multicast.mrouters_only;
        if !by_group || !self.br_multicast_querier_exists(bridged, bridge, group.is_some()) {
            self.step(function, dev, format_args!("flood"), format_args!("no group, or no querier"));
            return (None, true);
        }
        let group = group.unwrap_or_default();
        let router = self.br_multicast_is_router(bridge);
        let allmulti = bridge.link.is_allmulti() == Some(true);
        // IFF_ALLMULTI counts since the kernel that also brought this option.
        let counts = bridge.knows(BoolOpt::MdbOffloadFailNotification);
        let up = group.host_joined || router || (allmulti && counts);
        let why = format_args!("host_joined {}, mcast_router {router}", group.host_joined);
        self.step(function, dev, format_args!("{} members", group.members.len()), why);
        (Some(group), up)
    }

    /// The same for every group that anybody may join, with or without a querier: flooded, or to all that could be
    /// members. Up to the host it comes in either case.
    fn br_multicast_whoever(&mut self, bridged: &Bridged, bridge: &Bridge<'s>) -> (Option<Group>, bool) {
        let snoops = bridge.options.mcast_snooping == Some(true) && !bridged.multicast.control;
        let Some(port) = self.aims_at(bridge).filter(|_| snoops) else { return (None, true) };
        // Where it floods there is no need to be a member.
        if port.options.mcast_flood != Some(false) || self.frame.choose(2) == 0 {
            return (None, true);
        }
        (Some(Group { host_joined: true, members: vec![port.link.index] }), true)
    }

    /// `br_mdb_entry_skb_get`: by IP destination for IP, by MAC address for the rest.
    fn br_mdb_entry_skb_get(&mut self, bridged: &Bridged, bridge: &Bridge<'s>) -> Option<Group> {
        if bridge.options.mcast_snooping != Some(true)
            || bridged.multicast.control
            || bridge.groups.is_empty()
        {
            return None;
        }
        let d = bridged.skb.depth;
        let inet = [EtherType::IPV4, EtherType::IPV6].map(Set::from);
        let (field, keys) = match self.frame.which(Field::Protocol(d), &inet) {
            Some(0) => (Field::Ip4(d, Ip4Field::Destination), Groups::new(bridge, bridged.vid, ipv4_key)),
            Some(_) => (Field::Ip6(d, Ip6Field::Destination), Groups::new(bridge, bridged.vid, ipv6_key)),
            None => (Field::Dst, Groups::new(bridge, bridged.vid, mac_key)),
        };
        let key = *keys.keys.get(self.frame.which(field, &keys)?)?;
        let in_vlan = bridge.groups.iter().filter(|entry| entry.vlan.map_or(0, Into::into) == bridged.vid);
        let matching = in_vlan.filter(|entry| (keys.key_of)(&entry.group) == Some(key));
        let mut group = Group::default();
        for entry in matching {
            if entry.port == bridge.link.index {
                group.host_joined = true;
            } else if !group.members.contains(&entry.port) {
                group.members.push(entry.port);
            }
        }
        Some(group)
    }

    /// `br_multicast_querier_exists`: without a querier nobody can have reported, so groups mean nothing.
    fn br_multicast_querier_exists(
        &mut self,
        bridged: &mut Bridged,
        bridge: &Bridge<'s>,
        has_group: bool,
    ) -> bool {
        let inet = [EtherType::IPV4, EtherType::IPV6].map(Set::from);
        let options = bridge.options;
        let own = options.mcast_querier == Some(true);
        let state = options.mcast_querier_state.unwrap_or_default();
        let (own, other) = match self.frame.which(Field::Protocol(bridged.skb.depth), &inet) {
            Some(0) => (own, state.ipv4_other_timer.is_some()),
            Some(_) => (own && self.has_ipv6_address(bridge.link.index), state.ipv6_other_timer.is_some()),
            None => return has_group,
        };
        if own || other {
            // Another querier's timer can run out; the query-response delay after its start may not be over.
            let what = format!("whether a multicast querier still counts on {}", bridge.link.name);
            self.assume(&mut bridged.skb, "br_multicast_querier_exists", OpenKind::Changing(what));
        }
        own || other
    }

    /// `br_multicast_is_router`: whether the bridge device leads to a multicast router.
    fn br_multicast_is_router(&self, bridge: &Bridge<'s>) -> bool {
        match bridge.options.mcast_router {
            Some(McastRouter::Permanent) => true,
            Some(McastRouter::TempQuery | McastRouter::Temp) => {
                bridge.routers.iter().any(|router| router.port == bridge.link.index)
            }
            _ => false,
        }
    }

    fn has_ipv6_address(&self, device: IfIndex) -> bool {
        let addresses = self.network.netns().addresses.known();
        addresses.iter().any(|address| address.device == device && address.address.addr().is_ipv6())
    }

    /// `br_multicast_flood`: to the members of a group and to router ports.
    pub(super) fn br_multicast_flood(&mut self, bridged: &Bridged, bridge: &Bridge<'s>, group: Group) {
        let mut bridged = *bridged;
        self.routers_were_told(&mut bridged.skb, bridge);
        let routers = bridge.routers.iter().map(|router| router.port);
        let always =
            bridge.ports.iter().filter(|port| port.options.mcast_router == Some(McastRouter::Permanent));
        let always = always.map(|port| port.link.index);
        let mut ports: Vec<_> = group.members.iter().copied().chain(routers).chain(always).collect();
        ports.sort_unstable();
        ports.dedup();
        let function = "br_multicast_flood";
        for device in ports {
            let Some(port) = bridge.port(device).filter(|port| !self.passes_over(port.link)) else {
                continue;
            };
            if let Err(reason) = self.should_deliver(&bridged, bridge, port) {
                let name = &port.link.name;
                self.step(function, bridged.skb.dev, format_args!("not to {name}"), format_args!("{reason}"));
                continue;
            }
            self.multicast_copy(&bridged, bridge, port);
        }
        self.drop_skb(
            function,
            &bridged.skb,
            "for members and routers only",
            format_args!("{}", bridge.link.name),
        );
    }

    /// `br_rports_fill_info`: while the bridge itself is set never to lead to a router, it does not tell which ports do,
    /// and floods to them all the same.
    fn routers_were_told(&mut self, skb: &mut Skb, bridge: &Bridge<'s>) {
        let may_learn = |port: &Port<'_>| port.options.mcast_router == Some(McastRouter::TempQuery);
        if bridge.options.mcast_router == Some(McastRouter::Disabled)
            && self.other_querier_was_heard(bridge)
            && bridge.ports.iter().any(may_learn)
        {
            let what = format!("which ports of {} lead to routers", bridge.link.name);
            self.assume(skb, "br_multicast_flood", OpenKind::Unread(what));
        }
    }

    fn other_querier_was_heard(&self, bridge: &Bridge<'s>) -> bool {
        let state = bridge.options.mcast_querier_state;
        state.is_none_or(|state| state.ipv4_other_timer.is_some() || state.ipv6_other_timer.is_some())
    }

    fn multicast_copy(&mut self, bridged: &Bridged, bridge: &Bridge<'s>, port: &Port<'s>) {
        let mut bridged = *bridged;
        if port.has(|options| options.mcast_to_unicast) {
            let what = format!("which members get unicast copies on {}", port.link.name);
            self.may_stop(&mut bridged.skb, "maybe_deliver_addr", OpenKind::Changing(what));
        }
        self.br_forward_to(&bridged, bridge, port, false, None);
    }
}

fn ipv4_key(group: &MdbGroup) -> Option<u128> {
    if let MdbGroup::Ipv4(group) = group { Some(u32::from(*group).into()) } else { None }
}

fn ipv6_key(group: &MdbGroup) -> Option<u128> {
    if let MdbGroup::Ipv6(group) = group { Some(u128::from(*group)) } else { None }
}

fn mac_key(group: &MdbGroup) -> Option<u128> {
    if let MdbGroup::Mac(group) = group { Some(group.to_u64().into()) } else { None }
}

/// The partition of destinations by MDB group, within one VLAN.
struct Groups {
    keys: Vec<u128>,
    key_of: fn(&MdbGroup) -> Option<u128>,
}

impl Groups {
    fn new(bridge: &Bridge<'_>, vid: u16, key_of: fn(&MdbGroup) -> Option<u128>) -> Self {
        let here = bridge.groups.iter().filter(|entry| entry.vlan.map_or(0, Into::into) == vid);
        let mut keys: Vec<_> = here.filter_map(|entry| key_of(&entry.group)).collect();
        keys.sort_unstable();
        keys.dedup();
        Self { keys, key_of }
    }
}

impl Partition for Groups {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.keys.binary_search(&value).ok()
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, key) in self.keys.iter().enumerate() {
            each(class, Set::Exactly(*key));
        }
    }
}
