//! `net/bridge/br_input.c`: what the bridge does with a frame that comes in by a port.

use portcullis_snapshot::{BoolOpt, EtherType, IfIndex, MacAddr, NftFamily, PortState};

use super::br_multicast::Multicast;
use super::br_vlan::Ingress;
use super::entry::{At, Rules, RulesOf};
use super::netfilter::{BR_NF_HOOK_THRESH, NF_BR_PRI_BRNF, NfState};
use super::{OpenKind, PacketType, Skb, Walker};
use crate::frame::{Classes, Field, Frame, Set};
use crate::network::{Bridge, FdbDst, NfHook, Port};

/// What an instance of MRP or CFM takes.
const TAKEN: [Set; 2] = [Set::of(EtherType::MRP), Set::of(EtherType::CFM)];

/// What sort of destination the bridge sees (`enum br_pkt_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrPktType {
    Unicast,
    Multicast,
    Broadcast,
}

/// A frame within the bridge: what `br_input_skb_cb` and the locals of `br_handle_frame_finish` carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bridged {
    pub(super) skb: Skb,
    /// The VLAN it was classified into; 0 without VLAN filtering.
    pub(super) vid: u16,
    pub(super) pkt_type: BrPktType,
    /// `src_port_isolated`.
    pub(super) src_port_isolated: bool,
    /// `proxyarp_replied`.
    pub(super) proxyarp_replied: bool,
    /// `mrouters_only`, or IGMP and MLD themselves.
    pub(super) multicast: Multicast,
}

/// Where a link-local group address leads (`br_handle_frame`'s switch on its last byte).
enum LinkLocal {
    Forward,
    Drop,
    /// To the port's own stack, with or without a netfilter hook on the way.
    Pass {
        hook: bool,
    },
}

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_handle_frame`: the receive handler of every port. `None` unless the frame goes on to the port's own stack.
    pub(super) fn br_handle_frame(&mut self, skb: &mut Skb, bridge: IfIndex) -> Option<()> {
        let network = self.network;
        let Some((bridge, port)) = network.bridge(bridge).and_then(|b| Some((b, *b.port(skb.dev)?))) else {
            self.drop_skb(
                "br_handle_frame",
                skb,
                "the bridge was not read",
                format_args!("IFLA_MASTER of {}", network.name(skb.dev)),
            );
            return None;
        };
        // is_valid_ether_addr
        if self.frame.is_any(Field::Src, &[Set::MULTICAST, Set::Exactly(0)]) {
            self.drop_skb(
                "br_handle_frame",
                skb,
                "no valid source address",
                format_args!("multicast or zero"),
            );
            return None;
        }
        skb.port = Some(skb.dev);
        if port.has(|options| options.vlan_tunnel) {
            let what = format!("VLAN tunnel mapping on {}", port.link.name);
            self.assume(skb, "br_handle_ingress_vlan_tunnel", OpenKind::Unmodelled(what));
        }
        if self.frame.is(Field::Dst, Set::LINK_LOCAL) {
            match self.link_local(skb, bridge, &port) {
                LinkLocal::Forward => {}
                LinkLocal::Drop => return None,
                LinkLocal::Pass { hook } => return self.br_handle_local_finish(skb, bridge, &port, hook),
            }
        }
        if self.frame.is_any(Field::Protocol(skb.depth), &TAKEN) {
            let what = "an MRP or CFM instance would take it".to_owned();
            self.may_stop(skb, "br_process_frame_type", OpenKind::Unmodelled(what));
        }
        self.br_handle_frame_forward(skb, bridge, &port)
    }

    /// The switch on `dest[5]` in `br_handle_frame`.
    fn link_local(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> LinkLocal {
        let required = group_fwd_mask_required(bridge);
        let port_mask = required | port.options.group_fwd_mask.unwrap_or(0);
        let full_mask = port_mask | bridge.options.group_fwd_mask.unwrap_or(0);
        let stp_off = bridge.stp_off();
        // Addresses that are treated alike are one class.
        let class_of = |x: u8| match x {
            1 => 1,
            0 if stp_off || port_mask & 1 == 1 => 0,
            // STP and LLDP go on without asking netfilter.
            0 => 3,
            x if full_mask >> x & 1 == 1 => 0,
            0x0e => 3,
            _ => 2,
        };
        let mut classes: [Vec<Set>; 4] = Default::default();
        for x in 0..16u8 {
            if let Some(sets) = classes.get_mut(class_of(x)) {
                sets.push(MacAddr::link_local(x).into());
            }
        }
        let class = self.frame.which(Field::Dst, &Classes(&classes));
        let (dev, function) = (skb.dev, "br_handle_frame");
        match class {
            Some(1) => {
                self.drop_skb(function, skb, "a PAUSE frame", format_args!("01:80:c2:00:00:01"));
                LinkLocal::Drop
            }
            Some(0) => {
                self.step(
                    function,
                    dev,
                    format_args!("forwarded like other multicast"),
                    format_args!("stp_state {:?}, group_fwd_mask {full_mask:#06x}", bridge.options.stp_state),
                );
                LinkLocal::Forward
            }
            class => {
                let x = self.frame.known(Field::Dst).map_or(0, |dst| dst & 0xff);
                self.step(
                    function,
                    dev,
                    format_args!("to the port's own stack, past the bridge"),
                    format_args!("01:80:c2:00:00:{x:02x}, group_fwd_mask {full_mask:#06x}"),
                );
                LinkLocal::Pass { hook: class == Some(2) }
            }
        }
    }

    /// `br_handle_local_finish`, `__br_handle_local_finish`: a link-local frame goes on to the port's own stack, and
    /// may teach the FDB its source, even on a locked port.
    fn br_handle_local_finish(
        &mut self,
        skb: &mut Skb,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
        hook: bool,
    ) -> Option<()> {
        if hook {
            let state =
                NfState { family: NftFamily::Bridge, hook: NfHook::LocalIn, iif: skb.port, oif: None };
            self.nf_hook(skb, "br_handle_local_finish", state)?;
        }
        let state_learns = matches!(port.state(), Some(PortState::Learning | PortState::Forwarding));
        let learns = port.has(|options| options.learning) && state_learns;
        if learns && !bridge.bool_opt(BoolOpt::NoLinkLocalLearn) {
            // br_should_learn
            if let Some(vid) = self.br_should_learn(skb, bridge, port) {
                self.br_fdb_update(skb, bridge, port, vid);
            }
        }
        Some(())
    }

    /// From label `forward` of `br_handle_frame`: the port's state, then the hooks.
    fn br_handle_frame_forward(&mut self, skb: &mut Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> Option<()> {
        let mst = bridge.bool_opt(BoolOpt::MstEnable);
        let passes = matches!(port.state(), Some(PortState::Forwarding | PortState::Learning));
        if !mst && !passes {
            let state = port.state();
            self.drop_skb(
                "br_handle_frame",
                skb,
                "the port does not forward",
                format_args!("state {state:?}"),
            );
            return None;
        }
        if self.dst_is(bridge.link.address) {
            self.step(
                "br_handle_frame",
                skb.dev,
                format_args!("Host"),
                format_args!("{}'s address", bridge.link.name),
            );
            skb.pkt_type = PacketType::Host;
        }
        let of = || RulesOf::Bridge { bridge: bridge.link.index, port: port.link.index, stolen: false };
        self.at_rules(of, |walker| walker.nf_hook_bridge_pre(skb, bridge))?;
        self.behind_pre_routing(skb, bridge, port)
    }

    /// Goes on between two rules of the bridge's PRE_ROUTING.
    pub(super) fn bridge_from(&mut self, mut skb: Skb, bridge: &Bridge<'s>, port: &Port<'s>, stolen: bool) {
        let of = || RulesOf::Bridge { bridge: bridge.link.index, port: port.link.index, stolen };
        let passed = self.at_rules(of, |walker| walker.nf_hook_bridge_pre(&mut skb, bridge));
        if passed.is_some()
            && self.behind_pre_routing(&mut skb, bridge, port).is_some()
            && self.leftover_tag(&mut skb).is_some()
        {
            self.netif_receive_skb_core(skb);
        }
    }

    fn behind_pre_routing(&mut self, skb: &mut Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> Option<()> {
        if skb.broute {
            skb.broute = false;
            let why = format_args!("a rule of broute");
            self.step(
                "nf_hook_bridge_pre",
                skb.dev,
                format_args!("to the port's own stack, past the bridge"),
                why,
            );
            return Some(());
        }
        let at = || At::Finish { bridge: bridge.link.index, port: port.link.index };
        if !self.pauses(at, skb) {
            self.br_handle_frame_finish(skb, bridge, port);
        }
        None
    }

    /// `nf_hook_bridge_pre`: the bridge's own hooks, and through br_netfilter those of the host's stack.
    fn nf_hook_bridge_pre(&mut self, skb: &mut Skb, bridge: &Bridge<'s>) -> Option<()> {
        let state =
            NfState { family: NftFamily::Bridge, hook: NfHook::PreRouting, iif: Some(skb.dev), oif: None };
        self.nf_hook_between(skb, "nf_hook_bridge_pre", state, i32::MIN..=NF_BR_PRI_BRNF - 1)?;
        if skb.broute {
            return Some(());
        }
        // Whoever goes on behind br_netfilter knows what it did.
        let resumed = match (&self.start_at, self.rules) {
            (Some(_), Some(Rules { of: RulesOf::Bridge { stolen, .. }, .. })) => Some(stolen),
            _ => None,
        };
        let stolen = match resumed {
            Some(stolen) => stolen,
            None => self.br_nf_pre_routing(skb, bridge)?,
        };
        if let Some(Rules { of: RulesOf::Bridge { stolen: noted, .. }, .. }) = &mut self.rules {
            *noted = stolen;
        }
        // Behind br_netfilter nobody asks for what broute says (br_nf_hook_thresh).
        let function = if stolen { BR_NF_HOOK_THRESH } else { "nf_hook_bridge_pre" };
        self.nf_hook_between(skb, function, state, NF_BR_PRI_BRNF..=i32::MAX)?;
        skb.broute &= !stolen;
        Some(())
    }

    /// `br_handle_frame_finish`: VLAN, lock, learning, and where to.
    pub(super) fn br_handle_frame_finish(&mut self, skb: &mut Skb, bridge: &Bridge<'s>, port: &Port<'s>) {
        let function = "br_handle_frame_finish";
        let Some(Ingress { vid, state }) = self.br_allowed_ingress(skb, bridge, port) else { return };
        if port.has(|options| options.locked) && !self.locked_lets_in(skb, bridge, port, vid) {
            return;
        }
        if port.has(|options| options.learning) {
            self.br_fdb_update(skb, bridge, port, vid);
        }
        let pkt_type = self.br_pkt_type();
        let mut multicast = Multicast::default();
        if pkt_type == BrPktType::Multicast {
            match self.br_multicast_rcv(skb, bridge) {
                Some(found) => multicast = found,
                None => return,
            }
        }
        if state == PortState::Learning {
            return self.drop_skb(function, skb, "the port only learns", format_args!("state learning"));
        }
        let src_port_isolated = port.has(|options| options.isolated);
        let mut bridged =
            Bridged { skb: *skb, vid, pkt_type, src_port_isolated, proxyarp_replied: false, multicast };
        self.br_proxy(&mut bridged, bridge, port);
        self.br_deliver(bridged, bridge);
    }

    /// Broadcast, multicast or unicast.
    fn br_pkt_type(&mut self) -> BrPktType {
        if !self.frame.is(Field::Dst, Set::MULTICAST) {
            BrPktType::Unicast
        } else if self.frame.is(Field::Dst, MacAddr::BROADCAST) {
            BrPktType::Broadcast
        } else {
            BrPktType::Multicast
        }
    }

    /// The test of `BR_PORT_LOCKED`: only a source with an entry on this very port gets in.
    fn locked_lets_in(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>, vid: u16) -> bool {
        let function = "br_handle_frame_finish";
        let entry = self.br_fdb_find(Field::Src, bridge, vid);
        if entry.is_none()
            && self.ever()
            && self.may_authorise_itself(bridge, port)
            && self.frame.choose(2) == 1
        {
            return true;
        }
        let on_this_port = entry.is_some_and(|entry| entry.dst == FdbDst::Port(port.link.index));
        let reason = match entry {
            None => {
                if port.has(|options| options.mab) {
                    self.br_fdb_note_locked(skb, bridge, port, vid);
                }
                "locked, and the source is unknown"
            }
            Some(_) if !on_this_port => "locked, and the source belongs elsewhere",
            Some(entry) if entry.locked => "locked, and the source waits for authorisation",
            Some(_) => {
                self.step(
                    function,
                    skb.dev,
                    format_args!("let in"),
                    format_args!("locked; the source has an entry here"),
                );
                return true;
            }
        };
        self.drop_skb(function, skb, reason, format_args!("locked on"));
        false
    }

    /// Whether a locked port may have learned entries: from link-local frames, or from before it was locked.
    fn may_authorise_itself(&self, bridge: &Bridge<'s>, port: &Port<'s>) -> bool {
        let learns = port.has(|options| options.learning) && !bridge.bool_opt(BoolOpt::NoLinkLocalLearn);
        let here = |record: &crate::network::FdbRecord| {
            record.dst == FdbDst::Port(port.link.index) && !record.lasts() && !record.locked
        };
        learns || bridge.fdb.records().any(|(_, record)| here(record))
    }

    /// The end of `br_handle_frame_finish`: the lookup, forwarding or flooding, and the way up.
    fn br_deliver(&mut self, bridged: Bridged, bridge: &Bridge<'s>) {
        let promisc = self.is_promiscuous(bridge);
        let mut bridged = bridged;
        if promisc.is_none() {
            let what = format!("whether {} is promiscuous was not read", bridge.link.name);
            self.assume(&mut bridged.skb, "br_handle_frame_finish", OpenKind::Unread(what));
        }
        let promisc = promisc.unwrap_or(false);
        let local_rcv = promisc || bridged.pkt_type == BrPktType::Broadcast;
        match bridged.pkt_type {
            BrPktType::Unicast => self.br_deliver_unicast(bridged, bridge, promisc),
            BrPktType::Broadcast => {
                self.br_flood(&bridged, bridge);
                self.br_pass_frame_up(&bridged, bridge, "broadcast");
            }
            BrPktType::Multicast => {
                let (hit, up) = self.br_multicast_lookup(&mut bridged, bridge);
                match hit {
                    Some(group) => self.br_multicast_flood(&bridged, bridge, group),
                    None => self.br_flood(&bridged, bridge),
                }
                if local_rcv || up {
                    self.br_pass_frame_up(&bridged, bridge, if up { "multicast" } else { "promiscuous" });
                }
            }
        }
    }

    fn br_deliver_unicast(&mut self, bridged: Bridged, bridge: &Bridge<'s>, promisc: bool) {
        let function = "br_handle_frame_finish";
        let dev = bridged.skb.dev;
        let vid = bridged.vid;
        // Learning comes first: a frame to its own source is on its own port by now.
        if self.just_learned(bridge, vid)
            && self.frame.same(Field::Src, Field::Dst)
            && self.was_learned(&bridged.skb, bridge, vid)
        {
            let here = bridged.skb.port.unwrap_or(dev);
            self.step(function, dev, format_args!("to where it came from"), format_args!("its own source"));
            self.br_forward(&bridged, bridge, here);
            if promisc {
                self.br_pass_frame_up(&bridged, bridge, "promiscuous");
            }
            return;
        }
        let mut entry = self.br_fdb_find_dst(bridge, vid);
        if entry.is_none() && vid != 0 && bridge.bool_opt(BoolOpt::FdbLocalVlan0) {
            entry = self
                .br_fdb_find(Field::Dst, bridge, 0)
                .filter(|entry| matches!(entry.dst, FdbDst::Local(_)) && !entry.is_static)
                .map(|entry| entry.dst);
        }
        match entry {
            Some(FdbDst::Local(owner)) => {
                let owner = self.network.naming(owner);
                self.step(
                    function,
                    dev,
                    format_args!("up, and only up"),
                    format_args!("local FDB entry of {owner}"),
                );
                return self.br_pass_frame_up(&bridged, bridge, "local FDB entry");
            }
            Some(FdbDst::Port(to)) => {
                let name = self.network.naming(to);
                self.step(function, dev, format_args!("to {name}"), format_args!("FDB entry, vlan {vid}"));
                self.br_forward(&bridged, bridge, to);
            }
            None if self.an_entry_may_lead_there(bridge, vid) && self.frame.choose(2) == 1 => {
                let to = self.aims_at(bridge).map_or(dev, |port| port.link.index);
                self.br_forward(&bridged, bridge, to);
            }
            None => {
                self.step(function, dev, format_args!("flood"), format_args!("no FDB entry, vlan {vid}"));
                self.br_flood(&bridged, bridge);
            }
        }
        if promisc {
            self.br_pass_frame_up(&bridged, bridge, "promiscuous");
        }
    }

    /// Whether an entry can lead to the port that is aimed at: one that is there, or any that is learned on it.
    fn an_entry_may_lead_there(&mut self, bridge: &Bridge<'s>, vid: u16) -> bool {
        let Some(port) = self.aims_at(bridge).filter(|_| self.ever()) else { return false };
        let options = &port.options;
        let kept =
            [options.proxy_arp, options.proxy_arp_wifi, options.neigh_suppress, options.neigh_vlan_suppress];
        // Where unknown addresses are flooded, whatever they carry, no entry leads any further.
        if options.flood != Some(false) && !kept.contains(&Some(true)) {
            return false;
        }
        let learns = bridge.hold_time() != Some(0) && port.has(|options| options.learning);
        learns || self.br_fdb_find_passing(bridge, vid, port.link.index)
    }

    /// `br->dev->flags & IFF_PROMISC`.
    pub(super) fn is_promiscuous(&self, bridge: &Bridge<'s>) -> Option<bool> {
        bridge.link.is_promiscuous()
    }

    /// `br_pass_frame_up`: to the bridge device, and through the stack again from there.
    fn br_pass_frame_up(&mut self, bridged: &Bridged, bridge: &Bridge<'s>, why: &str) {
        self.copy(|walker| walker.br_pass_copy_up(bridged, bridge, why));
    }

    fn br_pass_copy_up(&mut self, bridged: &Bridged, bridge: &Bridge<'s>, why: &str) {
        let brdev = bridge.link.index;
        self.step(
            "br_pass_frame_up",
            bridged.skb.dev,
            format_args!("up to {}", bridge.link.name),
            format_args!("{why}"),
        );
        let Some(skb) = self.br_vlan_up(bridged, bridge) else { return };
        self.up_from(skb, brdev);
    }

    /// The bridge's LOCAL_IN, and what follows; or goes on between two of its rules.
    pub(super) fn up_from(&mut self, mut skb: Skb, brdev: IfIndex) {
        // The hook still sees the port as its ingress device, so it is asked before the change of device shows.
        let state = NfState { family: NftFamily::Bridge, hook: NfHook::LocalIn, iif: skb.port, oif: None };
        let of = || RulesOf::Up { bridge: brdev };
        if self.at_rules(of, |walker| walker.nf_hook(&mut skb, "br_pass_frame_up", state)).is_none() {
            return;
        }
        // Nothing asks whether the bridge device is up: its ports are disabled while it is not, unless MST is on.
        self.netif_receive_skb_core(Skb { dev: brdev, ..skb });
    }
}

/// `br_recalculate_fwd_mask`: what an 802.1ad bridge has to forward, by IEEE 802.1Q table 8-2.
fn group_fwd_mask_required(bridge: &Bridge<'_>) -> u16 {
    const BR_GROUPFWD_8021AD: u16 = 0xb801;
    if bridge.vlan_filtering() && bridge.options.vlan_protocol == Some(EtherType::SVLAN) {
        let group = bridge.options.group_addr.map_or(8, |address| address.0[5] & 0x0f);
        BR_GROUPFWD_8021AD & !(1 << group)
    } else {
        0
    }
}
