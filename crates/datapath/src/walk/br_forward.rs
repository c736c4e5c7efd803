//! `net/bridge/br_forward.c`: out of which ports.

use portcullis_snapshot::{
    BoolOpt, EtherType, IfIndex, Link, LinkFlags, LinkKind, MacAddr, NftFamily, PortState, TcHookKind,
};

use super::br_arp_nd_proxy::neigh_suppressed;
use super::br_input::{BrPktType, Bridged};
use super::entry::{At, RulesOf};
use super::netfilter::{NF_BR_PRI_BRNF, NfState};
use super::{OpenKind, Outcome, PortDelivery, Skb, Walker};
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::network::{Bridge, NfHook, Port, membership};

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_forward`: to the one port that the FDB names, or to its backup while it has no carrier.
    pub(super) fn br_forward(&mut self, bridged: &Bridged, bridge: &Bridge<'s>, to: IfIndex) {
        let Some(mut port) = bridge.port(to) else {
            return self.drop_skb(
                "br_forward",
                &bridged.skb,
                "the FDB names no port",
                format_args!("ifindex {to}"),
            );
        };
        if self.passes_over(port.link) && port.options.backup_port.is_none() {
            return;
        }
        let down = !port.link.is_up() || port.link.carrier == Some(false);
        if let (true, Some(backup)) = (down, port.options.backup_port.and_then(|backup| bridge.port(backup)))
        {
            let why = format_args!("backup_port of {}, which has no carrier", port.link.name);
            self.step("br_forward", bridged.skb.dev, format_args!("to {}", backup.link.name), why);
            port = backup;
        }
        match self.should_deliver(bridged, bridge, port) {
            Ok(()) => self.br_forward_to(bridged, bridge, port, false, None),
            Err(reason) => {
                self.drop_skb("should_deliver", &bridged.skb, reason, format_args!("{}", port.link.name))
            }
        }
    }

    /// `should_deliver`: whether a frame may leave by this port.
    pub(super) fn should_deliver(
        &mut self,
        bridged: &Bridged,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
    ) -> Result<(), &'static str> {
        if bridged.skb.port == Some(port.link.index) && !port.has(|options| options.hairpin) {
            return Err("that is where it came from");
        }
        if !bridge.bool_opt(BoolOpt::MstEnable) && port.state() != Some(PortState::Forwarding) {
            return Err("the port does not forward");
        }
        if bridge.vlan_filtering() && !Self::br_allowed_egress(membership(port.vlans, bridged.vid, false)) {
            return Err("the port is not in the frame's VLAN");
        }
        if bridged.src_port_isolated && port.has(|options| options.isolated) {
            return Err("both ports are isolated");
        }
        Ok(())
    }

    /// `br_flood`: to every port that lets itself be flooded with this sort of frame.
    pub(super) fn br_flood(&mut self, bridged: &Bridged, bridge: &Bridge<'s>) {
        let mut bridged = *bridged;
        self.fdb_was_read(&mut bridged.skb);
        let mut reached = 0;
        for port in &bridge.ports {
            if self.passes_over(port.link) {
                reached += 1;
                continue;
            }
            if let Err(reason) = self.floods_to(&bridged, bridge, port) {
                let name = &port.link.name;
                self.step(
                    "br_flood",
                    bridged.skb.dev,
                    format_args!("not to {name}"),
                    format_args!("{reason}"),
                );
                continue;
            }
            reached += 1;
            self.br_forward_to(&bridged, bridge, port, true, None);
        }
        if reached == 0 {
            self.drop_skb("br_flood", &bridged.skb, "no port takes it", format_args!("{}", bridge.link.name));
        }
    }

    fn floods_to(
        &mut self,
        bridged: &Bridged,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
    ) -> Result<(), &'static str> {
        // An option that this kernel does not know is on: that is how it was before it became one.
        let (flood, off) = match bridged.pkt_type {
            BrPktType::Unicast => (port.options.flood, "flood off"),
            BrPktType::Multicast => (port.options.mcast_flood, "mcast_flood off"),
            BrPktType::Broadcast => (port.options.bcast_flood, "bcast_flood off"),
        };
        if flood == Some(false) {
            return Err(off);
        }
        if port.has(|options| options.proxy_arp) {
            return Err("proxy_arp on");
        }
        if bridged.proxyarp_replied && (port.has(|o| o.proxy_arp_wifi) || neigh_suppressed(port, bridged.vid))
        {
            return Err("answered in its stead");
        }
        self.should_deliver(bridged, bridge, port)
    }

    /// `deliver_clone`, `maybe_deliver`: one copy of the frame out of a port.
    pub(super) fn br_forward_to(
        &mut self,
        bridged: &Bridged,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
        flooded: bool,
        dst: Option<MacAddr>,
    ) {
        let (on, to) = (bridge.link.index, port.link.index);
        let at = || At::Leaving { bridged: *bridged, bridge: on, port: to, flooded, dst };
        if !self.pauses(at, &bridged.skb) {
            self.copy(|walker| walker.br_forward_copy(bridged, bridge, port, flooded, dst));
        }
    }

    /// `__br_forward` to `br_dev_queue_push_xmit`: the tag, the hooks, and whether it fits.
    pub(super) fn br_forward_copy(
        &mut self,
        bridged: &Bridged,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
        flooded: bool,
        dst: Option<MacAddr>,
    ) {
        let mut skb = bridged.skb;
        if bridge.vlan_filtering()
            && let Some(entry) = membership(port.vlans, bridged.vid, false)
        {
            skb.hwtag = Self::br_handle_vlan(entry, skb.hwtag);
        }
        let (on, to) = (bridge.link.index, port.link.index);
        let of = || RulesOf::Leaving { bridged: *bridged, bridge: on, port: to, flooded, dst };
        // What br_netfilter has shown to the host's rules it shows to later ones, too: there is no pause between.
        let passed = if self.network.hooks().br_netfilter().is_none() {
            self.at_rules(of, |walker| walker.br_forward_hooks(&mut skb, bridge, port))
        } else {
            self.br_forward_hooks(&mut skb, bridge, port)
        };
        if passed.is_none() {
            return;
        }
        if !self.is_skb_forwardable(&skb, port) {
            let mtu = port.link.mtu;
            return self.drop_skb(
                "br_dev_queue_push_xmit",
                &skb,
                "too long, or the port is down",
                format_args!("mtu {mtu}"),
            );
        }
        if port.link.phys_switch_id.is_some() {
            let what = format!("a switch chip forwards for {} by itself", port.link.name);
            self.assume(&mut skb, "nbp_switchdev_allowed_egress", OpenKind::Unmodelled(what));
        }
        if self.dev_queue_xmit(&mut skb, port.link.index).is_none() {
            return;
        }
        self.dev_hard_start_xmit(&skb, port.link, flooded, dst);
    }

    /// `dev_hard_start_xmit`: out of a device, as far as it does not come straight back in below it.
    pub(super) fn dev_hard_start_xmit(
        &mut self,
        skb: &Skb,
        link: &Link,
        flooded: bool,
        dst: Option<MacAddr>,
    ) {
        if let Some(back) = self.macvlan_queue_xmit(skb, link) {
            return self.netif_receive_skb_core(back);
        }
        let mut skb = *skb;
        self.lower_devices(&mut skb, link);
        let why = if flooded { "flooded" } else { "FDB or MDB entry" };
        self.step(
            "dev_hard_start_xmit",
            skb.dev,
            format_args!("out of {}", link.name),
            format_args!("{why}"),
        );
        let Skb { hwtag, depth, trimmed, assumes, .. } = skb;
        self.arrive(Outcome::Port(PortDelivery {
            device: link.index,
            flooded,
            hwtag,
            depth,
            trimmed,
            dst,
            rewritten: self.frame.writes().to_vec(),
            assumes,
        }));
    }

    /// The devices below one that is a VLAN device, a macvlan or a bond: what they ask and do is not walked.
    fn lower_devices(&mut self, skb: &mut Skb, link: &Link) {
        let network = self.network;
        let below = |link: &Link| {
            let lower = match &link.kind {
                LinkKind::Vlan(_) | LinkKind::Macvlan(_) | LinkKind::Macvtap(_) => link.link,
                LinkKind::Bond(bond) => bond.active_slave,
                _ => None,
            };
            lower.and_then(|lower| network.link(lower))
        };
        let mut lower = below(link);
        // No sane stack is deeper.
        for _ in 0..8 {
            let Some(device) = lower else { return };
            let (hooks, name) = (network.hooks(), &device.name);
            if !hooks.egress(device.index).is_empty() || hooks.has_tc(device.index, TcHookKind::Egress) {
                let what = format!("filters on the way out of {name}, below {}", link.name);
                self.assume(skb, "__dev_queue_xmit", OpenKind::Filter(what));
            }
            if device.bridge().is_some() {
                let what = format!("what {name} sends into its bridge by itself");
                self.assume(skb, "br_dev_xmit", OpenKind::Unmodelled(what));
            }
            lower = below(device);
        }
    }

    /// The hooks of `__br_forward` and `br_forward_finish`, with br_netfilter among them.
    fn br_forward_hooks(&mut self, skb: &mut Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> Option<()> {
        let out = Some(port.link.index);
        let state = NfState { family: NftFamily::Bridge, hook: NfHook::Forward, iif: skb.port, oif: out };
        self.nf_hook_between(skb, "__br_forward", state, i32::MIN..=NF_BR_PRI_BRNF - 1)?;
        let shown = self.br_nf_forward(skb, bridge, port)?;
        let passed_over = i32::from(shown.is_some() && self.br_nf_hook_thresh_passes_over(skb, &state));
        self.nf_hook_between(skb, "__br_forward", state, NF_BR_PRI_BRNF + passed_over..=i32::MAX)?;
        let state = NfState { family: NftFamily::Bridge, hook: NfHook::PostRouting, iif: None, oif: out };
        self.nf_hook(skb, "br_forward_finish", state)?;
        // It stands last.
        self.br_nf_post_routing(skb, bridge, shown)
    }

    /// Whether `br_nf_hook_thresh` takes rules of br_netfilter's own priority for asked, where br_netfilter has taken the
    /// packet over: of IP packets before 6.8 always; else if they were registered before it, and nothing tells the order.
    fn br_nf_hook_thresh_passes_over(&mut self, skb: &mut Skb, state: &NfState) -> bool {
        let hooks = self.network.hooks().netfilter(state.family, state.hook);
        let what = "whether rules at priority 0 of the bridge's FORWARD are asked behind br_netfilter";
        hooks.iter().any(|hook| hook.priority == NF_BR_PRI_BRNF)
            && self.undecided(skb, "br_nf_hook_thresh", OpenKind::Unmodelled(what.to_owned()))
    }

    /// `is_skb_forwardable` (net/core/dev.c): the port is up and the frame fits, a tag's four bytes aside.
    fn is_skb_forwardable(&mut self, skb: &Skb, port: &Port<'s>) -> bool {
        let longest = u128::from(port.link.mtu) + 4;
        // What was trimmed ends with its packet, which may be behind a tag by now.
        let (d, longest) = match (skb.trimmed, skb.behind_tag) {
            (true, true) => (skb.depth + 1, longest - 4),
            _ => (skb.depth, longest),
        };
        let ipv4 = skb.trimmed && self.frame.is(Field::Protocol(d), EtherType::IPV4);
        let length = match (skb.trimmed, ipv4) {
            (false, _) => Field::Length(d),
            (true, true) => Field::Ip4(d, Ip4Field::TotalLength),
            (true, false) => Field::Ip6(d, Ip6Field::TotalLength),
        };
        port.link.flags.has(LinkFlags::UP) && self.frame.is(length, Set::Range(0, longest))
    }
}
