//! `net/core/dev.c`, `net/8021q/vlan_core.c`: a device receives a frame.
//!
//! Every device runs this: first the port, then, for what the bridge passes up, the bridge device, then perhaps a VLAN
//! device or a macvlan on top of it.

use portcullis_snapshot::{EtherType, IfIndex, Link, LinkKind, NftFamily, Reading};

use super::entry::{At, RulesOf};
use super::netfilter::NfState;
use super::{Assumes, Effect, HostDelivery, HwTag, OpenKind, Outcome, PacketType, Skb, TagVid, Walker};
use crate::frame::{Field, Frame, Partition, Set, Sets};
use crate::network::{NfHook, RxHandler, Upper};

/// More rounds than any sane stack of devices takes.
const MAX_ROUNDS: u16 = 64;

/// What `vlan_do_receive` made of a tag.
enum VlanReceive {
    /// There is no VLAN device for it.
    NoDevice,
    /// A VLAN device took it over; the next round runs on it.
    Device,
    /// The frame ended here.
    Done,
}

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// The driver of a port hands the frame to the stack.
    pub(super) fn netif_receive(&mut self, ingress: IfIndex) {
        let skb = Skb {
            dev: ingress,
            pkt_type: PacketType::OtherHost,
            depth: 0,
            hwtag: None,
            trimmed: false,
            mark: 0,
            priority: 0,
            broute: false,
            nf_bridge: false,
            physdev: None,
            l3mdev: None,
            port: None,
            behind_tag: false,
            redirected: false,
            sent_on: false,
            injected: false,
            hops: 0,
            assumes: Assumes::default(),
        };
        let Some(link) = self.link(ingress) else {
            return self.drop_skb(
                "netif_receive_skb",
                &skb,
                "no such device",
                format_args!("ifindex {ingress}"),
            );
        };
        if !link.is_up() {
            return self.drop_skb(
                "netif_receive_skb",
                &skb,
                "the device is down",
                format_args!("{}", link.name),
            );
        }
        let pkt_type = self.eth_type_trans(link);
        self.netif_receive_skb_core(Skb { pkt_type, ..skb });
    }

    /// `eth_type_trans` (net/ethernet/eth.c): whom the receiving device takes the frame to be for.
    pub(super) fn eth_type_trans(&mut self, link: &Link) -> PacketType {
        let pkt_type = if self.dst_is(link.address) {
            PacketType::Host
        } else if !self.frame.is(Field::Dst, Set::MULTICAST) {
            PacketType::OtherHost
        } else if self.dst_is(link.broadcast) {
            PacketType::Broadcast
        } else {
            PacketType::Multicast
        };
        let decision = format_args!("{pkt_type:?}");
        match link.address {
            Some(address) => self.step("eth_type_trans", link.index, decision, format_args!("{address}")),
            None => self.step("eth_type_trans", link.index, decision, format_args!("no address")),
        }
        pkt_type
    }

    /// `__netif_receive_skb_core`: filters, VLAN devices, the receive handler, then the protocol handlers.
    pub(super) fn netif_receive_skb_core(&mut self, mut skb: Skb) {
        skb.behind_tag = false;
        while self.ingress_filters(&mut skb).is_some() {
            if self.pauses(|| At::Received, &skb) || self.handed_over(&mut skb).is_none() {
                return;
            }
        }
    }

    /// The second half of a round on one device: the frame is for another round, if another device took it over.
    pub(super) fn handed_over(&mut self, skb: &mut Skb) -> Option<()> {
        self.another_round(skb)?;
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            self.assume(skb, "__netif_receive_skb_core", too_deep());
            self.drop_skb("__netif_receive_skb_core", skb, "too many devices", format_args!("a loop"));
            return None;
        }
        Some(())
    }

    /// The first half: what filters of the device let through.
    fn ingress_filters(&mut self, skb: &mut Skb) -> Option<()> {
        self.do_xdp_generic(skb);
        if skb.hwtag.is_none() && self.frame.which(Field::Protocol(skb.depth), &Set::VLAN_TPIDS).is_some() {
            self.skb_vlan_untag(skb)?;
        }
        self.sch_handle_ingress(skb)?;
        self.nf_ingress(skb)
    }

    /// Goes on between two rules of the device's own.
    pub(super) fn ingress_from(&mut self, mut skb: Skb) {
        if self.nf_ingress(&mut skb).is_some()
            && !self.pauses(|| At::Received, &skb)
            && self.handed_over(&mut skb).is_some()
        {
            self.netif_receive_skb_core(skb);
        }
    }

    /// VLAN devices, the receive handler, the protocol handlers.
    fn another_round(&mut self, skb: &mut Skb) -> Option<()> {
        let link = self.link(skb.dev)?;
        if let Some(tag) = skb.hwtag {
            match self.vlan_do_receive(skb, tag) {
                VlanReceive::NoDevice => {}
                VlanReceive::Device => return Some(()),
                VlanReceive::Done => return None,
            }
        }
        match self.network.rx_handler(link) {
            RxHandler::None => self.leftover_tag(skb),
            RxHandler::Bridge(bridge) => {
                self.br_handle_frame(skb, bridge)?;
                self.leftover_tag(skb)
            }
            RxHandler::Macvlan => match self.macvlan_handle_frame(*skb) {
                super::macvlan::Handled::Another(next) => {
                    *skb = next;
                    Some(())
                }
                super::macvlan::Handled::Pass(same) => {
                    *skb = same;
                    self.leftover_tag(skb)
                }
                super::macvlan::Handled::Consumed => None,
            },
            RxHandler::Bond(bond) => self.bond_handle_frame(skb, bond),
            RxHandler::Tap { held } => {
                self.tap_handle_frame(skb, held)?;
                self.leftover_tag(skb)
            }
            RxHandler::Other(kind) => {
                self.assume(
                    skb,
                    "rx_handler",
                    OpenKind::Unmodelled(format!("{} is a {kind} port", link.name)),
                );
                self.drop_skb(
                    "rx_handler",
                    skb,
                    "taken by a device that is not modelled",
                    format_args!("{kind}"),
                );
                None
            }
        }
    }

    /// `do_xdp_generic`, or the driver's own XDP: present, so open. What tc sent on passes both, copies the driver's.
    fn do_xdp_generic(&mut self, skb: &mut Skb) {
        let network = self.network;
        if !skb.redirected {
            for kind in network.hooks().xdp(skb.dev, skb.injected) {
                self.assume(skb, "do_xdp_generic", kind.clone());
            }
        }
        (skb.redirected, skb.injected) = (false, false);
    }

    /// `nf_ingress`: nftables' `netdev` hook.
    fn nf_ingress(&mut self, skb: &mut Skb) -> Option<()> {
        let (family, hook) = (NftFamily::Netdev, NfHook::Ingress);
        let state = NfState { family, hook, iif: Some(skb.dev), oif: None };
        self.at_rules(|| RulesOf::Ingress, |walker| walker.nf_hook(skb, "nf_ingress", state))
    }

    /// `__dev_queue_xmit` of a device: nftables' `netdev` egress hook, then tc's.
    pub(super) fn dev_queue_xmit(&mut self, skb: &mut Skb, device: IfIndex) -> Option<()> {
        let (family, hook) = (NftFamily::Netdev, NfHook::Egress);
        // What tc sent on is not shown to it (nf_skip_egress).
        if !std::mem::take(&mut skb.redirected) {
            self.nf_hook(skb, "nf_hook_egress", NfState { family, hook, iif: None, oif: Some(device) })?;
        }
        self.sch_handle_egress(skb, device)
    }

    /// `skb_vlan_untag` (net/core/skbuff.c): takes one tag out of the bytes.
    pub(super) fn skb_vlan_untag(&mut self, skb: &mut Skb) -> Option<()> {
        let tpid = self.frame.which(Field::Protocol(skb.depth), &Set::VLAN_TPIDS)?;
        // The tag's four bytes, and two more for vlan_set_encap_proto to look at.
        if !self.frame.is(Field::Length(skb.depth), Set::Range(6, u128::MAX)) {
            self.drop_skb(
                "skb_vlan_untag",
                skb,
                "the tag is cut off",
                format_args!("fewer than 6 bytes follow"),
            );
            return None;
        }
        let tpid = if tpid == 0 { EtherType::VLAN } else { EtherType::SVLAN };
        self.step("skb_vlan_untag", skb.dev, format_args!("one {tpid} tag set aside"), format_args!("TPID"));
        skb.hwtag = Some(HwTag { tpid, vid: TagVid::Frame(skb.depth) });
        skb.depth += 1;
        Some(())
    }

    /// `vlan_do_receive` (net/8021q/vlan_core.c): a VLAN device on this device takes its VLAN, before any bridge does.
    fn vlan_do_receive(&mut self, skb: &mut Skb, tag: HwTag) -> VlanReceive {
        let Some(upper) = self.vlan_find_dev(skb.dev, tag) else { return VlanReceive::NoDevice };
        let name = &upper.link.name;
        if !upper.link.is_up() {
            self.drop_skb("vlan_do_receive", skb, "the VLAN device is down", format_args!("{name}"));
            return VlanReceive::Done;
        }
        self.step("vlan_do_receive", skb.dev, format_args!("{name} takes it"), format_args!("VLAN device"));
        if let Some(netns) = upper.netns {
            let device = upper.link.index;
            self.arrive(Outcome::Elsewhere { device, netns, assumes: skb.assumes });
            return VlanReceive::Done;
        }
        let meant = skb.pkt_type == PacketType::OtherHost && self.dst_is(upper.link.address);
        if meant {
            skb.pkt_type = PacketType::Host;
        }
        (skb.dev, skb.hwtag) = (upper.link.index, None);
        VlanReceive::Device
    }

    /// `vlan_find_dev`: the VLAN device for a tag.
    pub(super) fn vlan_find_dev(&mut self, device: IfIndex, tag: HwTag) -> Option<Upper<'s>> {
        let network = self.network;
        let uppers = network.uppers(device)?;
        let vid = match tag.vid {
            TagVid::Fixed { vid, .. } => vid,
            TagVid::Frame(depth) => {
                let mut vids: Vec<_> =
                    uppers.vlans.keys().filter(|(tpid, _)| *tpid == tag.tpid).map(|(_, vid)| *vid).collect();
                vids.sort_unstable();
                let class = self.frame.which(Field::Vid(depth), &Vids(&vids))?;
                *vids.get(class)?
            }
        };
        uppers.vlans.get(&(tag.tpid, vid)).copied()
    }

    /// What `__netif_receive_skb_core` does with a tag that nobody took: a VLAN id makes it somebody else's, VLAN 0 is
    /// passed over, however often and with either TPID.
    pub(super) fn leftover_tag(&mut self, skb: &mut Skb) -> Option<()> {
        while let Some(tag) = skb.hwtag {
            skb.hwtag = None;
            if !self.vid_is_zero(tag) {
                self.step(
                    "__netif_receive_skb_core",
                    skb.dev,
                    format_args!("OtherHost"),
                    format_args!("VLAN tag"),
                );
                skb.pkt_type = PacketType::OtherHost;
                break;
            }
            if self.frame.which(Field::Protocol(skb.depth), &Set::VLAN_TPIDS).is_none() {
                break;
            }
            self.skb_vlan_untag(skb)?;
            match skb.hwtag.map_or(VlanReceive::NoDevice, |tag| self.vlan_do_receive(skb, tag)) {
                VlanReceive::NoDevice => {}
                VlanReceive::Device => return Some(()),
                VlanReceive::Done => return None,
            }
        }
        self.deliver_skb(*skb);
        None
    }

    /// Whether a tag's VLAN id is 0: a priority tag.
    pub(super) fn vid_is_zero(&mut self, tag: HwTag) -> bool {
        match tag.vid {
            TagVid::Fixed { vid, .. } => vid == 0,
            TagVid::Frame(depth) => self.frame.is(Field::Vid(depth), 0u16),
        }
    }

    /// `deliver_ptype_list_skb`: the protocol handlers.
    fn deliver_skb(&mut self, skb: Skb) {
        if !self.passes_over_the_stack() && !self.pauses(|| At::Stack, &skb) {
            self.deliver(skb);
        }
    }

    /// The handler of the frame's protocol.
    pub(super) fn deliver(&mut self, skb: Skb) {
        let inet = [EtherType::IPV4, EtherType::ARP, EtherType::IPV6].map(Set::from);
        match self.frame.which(Field::Protocol(skb.depth), &inet) {
            Some(0) => self.ip_rcv(skb),
            Some(1) => self.arp_rcv(skb),
            Some(_) => self.ipv6_rcv(skb),
            None => self.other_handler(skb),
        }
    }

    /// Handlers of other protocols, as `/proc/net/ptype` lists them.
    fn other_handler(&mut self, mut skb: Skb) {
        let network = self.network;
        let Reading::Read(handlers) = &network.netns().protocol_handlers else {
            let what = "protocol handlers were not read".to_owned();
            self.assume(&mut skb, "deliver_ptype_list_skb", OpenKind::Unread(what));
            return self.drop_skb(
                "deliver_ptype_list_skb",
                &skb,
                "no handler is known",
                format_args!("ptype"),
            );
        };
        let name = network.name(skb.dev);
        let here =
            handlers.iter().filter(|handler| handler.device.as_ref().is_none_or(|device| *device == name));
        let mut protocols: Vec<_> = here.map(|handler| handler.protocol).filter(|p| p.0 != 3).collect();
        protocols.sort_unstable();
        protocols.dedup();
        let sets: Vec<_> = protocols.iter().map(|protocol| Set::from(*protocol)).collect();
        let class = self.frame.which(Field::Protocol(skb.depth), &Sets(&sets));
        let Some(&protocol) = class.and_then(|class| protocols.get(class)) else {
            return self.drop_skb(
                "deliver_ptype_list_skb",
                &skb,
                "no handler for the protocol",
                format_args!("ptype"),
            );
        };
        self.step(
            "deliver_ptype_list_skb",
            skb.dev,
            format_args!("a handler takes it"),
            format_args!("{protocol}"),
        );
        self.arrive(Outcome::Host(HostDelivery {
            device: skb.dev,
            protocol,
            effect: Effect::Handler,
            pkt_type: skb.pkt_type,
            rewritten: self.frame.writes().to_vec(),
            assumes: skb.assumes,
        }));
    }

    /// `bond_handle_frame` (drivers/net/bonding/bond_main.c), as far as it decides: the bond takes the frame over.
    fn bond_handle_frame(&mut self, skb: &mut Skb, bond: IfIndex) -> Option<()> {
        let Some(link) = self.link(bond) else {
            self.drop_skb("bond_handle_frame", skb, "no such bond", format_args!("ifindex {bond}"));
            return None;
        };
        if let LinkKind::Bond(options) = &link.kind {
            // 1 is active-backup: what arrives on a backup port is not for the stack.
            if options.mode == Some(1) && options.active_slave.is_some_and(|active| active != skb.dev) {
                self.drop_skb(
                    "bond_should_deliver_exact_match",
                    skb,
                    "a backup port",
                    format_args!("active_slave"),
                );
                return None;
            }
            if matches!(options.mode, Some(5 | 6)) {
                let what = format!("bond {} balances by itself (mode tlb or alb)", link.name);
                self.assume(skb, "bond_handle_frame", OpenKind::Unmodelled(what));
            }
        }
        self.step(
            "bond_handle_frame",
            skb.dev,
            format_args!("{} takes it", link.name),
            format_args!("bond port"),
        );
        skb.dev = bond;
        Some(())
    }
}

fn too_deep() -> OpenKind {
    OpenKind::Unmodelled("devices stacked in a loop".to_owned())
}

/// The partition of VLAN ids by a sorted list.
struct Vids<'a>(&'a [u16]);

impl Partition for Vids<'_> {
    fn class_of(&self, value: u128) -> Option<usize> {
        self.0.binary_search(&u16::try_from(value).ok()?).ok()
    }

    fn for_each_class(&self, each: &mut dyn FnMut(usize, Set)) {
        for (class, vid) in self.0.iter().enumerate() {
            each(class, (*vid).into());
        }
    }
}
