//! `drivers/net/macvlan.c`: what a lower device's macvlans take, and what is left for its own stack.

use portcullis_snapshot::{EtherType, Link, LinkKind, MacvlanMode, MacvlanOptions};

use super::{OpenKind, Outcome, PacketType, Skb, Walker};
use crate::frame::{Field, Frame, Ip4Field, Set};
use crate::network::Upper;

/// What `macvlan_handle_frame` made of a frame.
pub(super) enum Handled {
    /// A macvlan took it over; the next round runs on it.
    Another(Skb),
    /// The lower device's own stack gets it.
    Pass(Skb),
    /// Only macvlans got it.
    Consumed,
}

const FLAG_NODST: u16 = 2;

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `macvlan_handle_frame`.
    pub(super) fn macvlan_handle_frame(&mut self, skb: Skb) -> Handled {
        let network = self.network;
        let macvlans = network.uppers(skb.dev).map_or(&[][..], |uppers| &uppers.macvlans);
        if self.frame.is(Field::Dst, Set::MULTICAST) {
            let ipv4 = self.frame.is(Field::Protocol(skb.depth), EtherType::IPV4);
            if ipv4 && self.frame.is(Field::Ip4(skb.depth, Ip4Field::Fragment), 1u8) {
                return self.ip_check_defrag(skb);
            }
            return self.macvlan_multicast(skb, macvlans);
        }
        if let Handled::Consumed = self.macvlan_forward_source(skb, macvlans) {
            return Handled::Consumed;
        }
        let passthru = macvlans.iter().find(|(_, options)| options.mode == MacvlanMode::Passthru);
        if let Some((upper, _)) = passthru {
            self.step(
                "macvlan_handle_frame",
                skb.dev,
                format_args!("{} takes it", upper.link.name),
                format_args!("passthru"),
            );
            return self.macvlan_take(skb, *upper);
        }
        // Source-mode macvlans are not found by destination, those that are down not at all (macvlan_stop).
        let found = macvlans.iter().filter(|(_, options)| options.mode != MacvlanMode::Source);
        for (upper, _) in found.filter(|(upper, _)| upper.link.is_up()) {
            if self.dst_is(upper.link.address) {
                let why = format_args!("its address");
                self.step("macvlan_handle_frame", skb.dev, format_args!("{} takes it", upper.link.name), why);
                return self.macvlan_take(skb, *upper);
            }
        }
        self.step(
            "macvlan_handle_frame",
            skb.dev,
            format_args!("passed on"),
            format_args!("no macvlan has that address"),
        );
        Handled::Pass(skb)
    }

    /// `tap_handle_frame` (drivers/net/tap.c): whoever has opened a macvtap gets its frames; while nobody has, the host's stack
    /// does.
    pub(super) fn tap_handle_frame(&mut self, skb: &mut Skb, held: bool) -> Option<()> {
        if held {
            self.step(
                "tap_handle_frame",
                skb.dev,
                format_args!("queued"),
                format_args!("for who has opened it"),
            );
            return None;
        }
        let what = format!("whether anybody has opened {}", self.network.name(skb.dev));
        self.may_stop(skb, "tap_handle_frame", OpenKind::Changing(what));
        Some(())
    }

    /// `ip_check_defrag`: fragments in group frames wait for the others, whoever would get them.
    fn ip_check_defrag(&mut self, mut skb: Skb) -> Handled {
        let what = "whether the other fragments come".to_owned();
        self.may_stop(&mut skb, "ip_check_defrag", OpenKind::Changing(what));
        self.drop_skb("ip_check_defrag", &skb, "waits for the other fragments", format_args!("a fragment"));
        Handled::Consumed
    }

    /// Broadcast and multicast: a copy for each macvlan, and the frame itself for the lower device.
    fn macvlan_multicast(&mut self, skb: Skb, macvlans: &[(Upper<'s>, &'s MacvlanOptions)]) -> Handled {
        let source = macvlans.iter().position(|(upper, _)| upper.link.is_up() && self.src_is(upper.link));
        let source = source.and_then(|at| macvlans.get(at));
        if let Some((upper, options)) = source {
            let alone = !matches!(options.mode, MacvlanMode::Bridge | MacvlanMode::Vepa);
            if alone {
                let why = format_args!("reflected, and its mode is {:?}", options.mode);
                self.step("macvlan_handle_frame", skb.dev, format_args!("only to {}", upper.link.name), why);
                self.macvlan_copy(skb, *upper);
                return Handled::Consumed;
            }
        }
        for (upper, options) in macvlans {
            let own = source.is_some_and(|(from, _)| from.link.index == upper.link.index);
            if !own && options.mode != MacvlanMode::Source {
                self.macvlan_copy(skb, *upper);
            }
        }
        self.step(
            "macvlan_handle_frame",
            skb.dev,
            format_args!("copied, and passed on"),
            format_args!("multicast"),
        );
        Handled::Pass(skb)
    }

    /// `macvlan_forward_source`: source-mode macvlans take frames from their list; with NODST nobody else gets them.
    fn macvlan_forward_source(&mut self, skb: Skb, macvlans: &[(Upper<'s>, &'s MacvlanOptions)]) -> Handled {
        let mut consumed = false;
        for (upper, options) in macvlans.iter().filter(|(_, options)| options.mode == MacvlanMode::Source) {
            let sources: Vec<_> = options.sources.iter().map(|mac| Set::from(*mac)).collect();
            if self.frame.is_any(Field::Src, &sources) {
                self.macvlan_copy(skb, *upper);
                consumed |= options.flags & FLAG_NODST != 0;
            }
        }
        if consumed { Handled::Consumed } else { Handled::Pass(skb) }
    }

    /// Hands a unicast frame to a macvlan for good.
    fn macvlan_take(&mut self, skb: Skb, upper: Upper<'s>) -> Handled {
        if !upper.link.is_up() {
            self.drop_skb(
                "macvlan_handle_frame",
                &skb,
                "the macvlan is down",
                format_args!("{}", upper.link.name),
            );
            return Handled::Consumed;
        }
        match upper.netns {
            Some(netns) => {
                self.arrive(Outcome::Elsewhere { device: upper.link.index, netns, assumes: skb.assumes });
                Handled::Consumed
            }
            None => Handled::Another(Skb { dev: upper.link.index, pkt_type: PacketType::Host, ..skb }),
        }
    }

    /// Hands a copy to a macvlan: its multicast filter, a hash of what was joined there, may still refuse it.
    fn macvlan_copy(&mut self, mut skb: Skb, upper: Upper<'s>) {
        if !upper.link.is_up() {
            return;
        }
        let broadcast = self.frame.is(Field::Dst, portcullis_snapshot::MacAddr::BROADCAST);
        if !broadcast && upper.link.is_allmulti() != Some(true) {
            let what = format!("which multicast addresses {} listens to", upper.link.name);
            self.may_stop(&mut skb, "macvlan_broadcast_one", OpenKind::Changing(what));
        }
        let pkt_type = if broadcast { PacketType::Broadcast } else { PacketType::Multicast };
        match upper.netns {
            Some(netns) => {
                self.arrive(Outcome::Elsewhere { device: upper.link.index, netns, assumes: skb.assumes });
            }
            None => {
                let skb = Skb { dev: upper.link.index, pkt_type, ..skb };
                self.copy(|walker| walker.netif_receive_skb_core(skb));
            }
        }
    }

    /// `macvlan_queue_xmit`, of a macvlan that is a bridge port: in bridge mode, what is addressed to it or to a sibling
    /// does not leave, but arrives at their lower device. Returns the frame as that gets it.
    pub(super) fn macvlan_queue_xmit(&mut self, skb: &Skb, port: &Link) -> Option<Skb> {
        let bridging = |kind: &LinkKind| match kind {
            LinkKind::Macvlan(options) | LinkKind::Macvtap(options) => options.mode == MacvlanMode::Bridge,
            _ => false,
        };
        if !bridging(&port.kind) || self.frame.is(Field::Dst, Set::MULTICAST) {
            return None;
        }
        let network = self.network;
        let lower = network.link(port.link?)?;
        let siblings = network.uppers(lower.index).map_or(&[][..], |uppers| &uppers.macvlans);
        let mut siblings = siblings.iter().filter(|(upper, _)| bridging(&upper.link.kind));
        let sibling = siblings.find(|(upper, _)| self.dst_is(upper.link.address))?;
        let why = format_args!("the address of {}, in bridge mode", sibling.0.link.name);
        self.step("macvlan_queue_xmit", skb.dev, format_args!("back to {}", lower.name), why);
        let pkt_type = self.eth_type_trans(lower);
        Some(Skb { dev: lower.index, pkt_type, port: None, ..*skb })
    }

    fn src_is(&mut self, link: &Link) -> bool {
        link.address.is_some_and(|address| self.frame.is(Field::Src, address))
    }
}
