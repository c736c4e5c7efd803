//! `net/bridge/br_vlan.c`: which VLAN a frame is in, and who may have it.

use portcullis_snapshot::{BoolOpt, EtherType, PortState, VlanEntry, VlanFlags, VlanTable};

use super::br_input::Bridged;
use super::{HwTag, OpenKind, Skb, TagVid, Walker};
use crate::frame::{Field, Frame};
use crate::network::{Bridge, Members, Port, membership};

/// A frame that was let in: its VLAN and the state that counts for it.
pub(super) struct Ingress {
    pub(super) vid: u16,
    pub(super) state: PortState,
}

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `br_allowed_ingress`, `__allowed_ingress`: classifies the frame into a VLAN that the port is in.
    pub(super) fn br_allowed_ingress(
        &mut self,
        skb: &mut Skb,
        bridge: &Bridge<'s>,
        port: &Port<'s>,
    ) -> Option<Ingress> {
        let port_state = port.state().unwrap_or(PortState::Disabled);
        // With spanning trees per VLAN group the port's own state does not count.
        let state = if bridge.bool_opt(BoolOpt::MstEnable) { PortState::Forwarding } else { port_state };
        if !bridge.vlan_filtering() {
            return Some(Ingress { vid: 0, state });
        }
        self.vlans_were_read(skb, bridge);
        let vid = self.classify(skb, bridge, port)?;
        let entry = membership(port.vlans, vid, false);
        let state = self.br_vlan_state(skb, entry, state)?;
        Some(Ingress { vid, state })
    }

    /// The VLAN id of a frame: from its tag, else the PVID.
    fn classify(&mut self, skb: &mut Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> Option<u16> {
        let function = "__allowed_ingress";
        let tpid = bridge.options.vlan_protocol.unwrap_or(EtherType::VLAN);
        if skb.hwtag.is_none() && self.frame.is(Field::Protocol(skb.depth), tpid) {
            self.skb_vlan_untag(skb)?;
        }
        if let Some(tag) = skb.hwtag.filter(|tag| tag.tpid != tpid) {
            // A tag of the other kind goes back into the bytes: to this bridge the frame is untagged.
            self.step(
                function,
                skb.dev,
                format_args!("counts as untagged"),
                format_args!("{} on a {tpid} bridge", tag.tpid),
            );
            skb.hwtag = None;
            match tag.vid {
                TagVid::Frame(d) if d + 1 == skb.depth && self.frame.is(Field::Protocol(d), tag.tpid) => {
                    (skb.depth, skb.behind_tag) = (d, true);
                }
                _ => {
                    let what = "a tag that is not the frame's own goes into the bytes".to_owned();
                    self.assume(skb, function, OpenKind::Filter(what));
                }
            }
        }
        match skb.hwtag {
            Some(tag) if !self.vid_is_zero(tag) => self.tagged(skb, tag, port),
            _ => self.untagged(skb, tpid, port),
        }
    }

    fn untagged(&mut self, skb: &mut Skb, tpid: EtherType, port: &Port<'s>) -> Option<u16> {
        let Some(pvid) = port.vlans.and_then(VlanTable::pvid) else {
            self.drop_skb(
                "__allowed_ingress",
                skb,
                "untagged, and the port has no PVID",
                format_args!("pvid none"),
            );
            return None;
        };
        self.step(
            "__allowed_ingress",
            skb.dev,
            format_args!("VLAN {pvid}"),
            format_args!("untagged; PVID {pvid}"),
        );
        // Of a priority tag only the VLAN id is filled in.
        let over = skb.hwtag.and_then(|tag| match tag.vid {
            TagVid::Frame(depth) => Some(depth),
            TagVid::Fixed { .. } => None,
        });
        skb.hwtag = Some(HwTag { tpid, vid: TagVid::Fixed { vid: pvid.get(), over, priority: None } });
        Some(pvid.get())
    }

    fn tagged(&mut self, skb: &Skb, tag: HwTag, port: &Port<'s>) -> Option<u16> {
        let vid = match tag.vid {
            TagVid::Fixed { vid, .. } => membership(port.vlans, vid, false).map(|_| vid),
            TagVid::Frame(depth) => self.member_vid(Field::Vid(depth), port),
        };
        let Some(vid) = vid else {
            self.drop_skb(
                "__allowed_ingress",
                skb,
                "the port is not in the frame's VLAN",
                format_args!("bridge vlan"),
            );
            return None;
        };
        self.step(
            "__allowed_ingress",
            skb.dev,
            format_args!("VLAN {vid}"),
            format_args!("tagged; the port is a member"),
        );
        Some(vid)
    }

    fn member_vid(&mut self, field: Field, port: &Port<'s>) -> Option<u16> {
        self.frame.which(field, &Members(port.vlans)).and_then(|class| u16::try_from(class).ok())
    }

    /// `br_vlan_state_allowed` for learning: the state of the port in this VLAN, which only a forwarding port is asked
    /// about. A learning port learns in VLANs that are blocked there, too.
    fn br_vlan_state(&mut self, skb: &Skb, entry: Option<&VlanEntry>, state: PortState) -> Option<PortState> {
        if state != PortState::Forwarding {
            return Some(state);
        }
        match entry.and_then(|entry| entry.state) {
            None | Some(PortState::Forwarding) => Some(state),
            Some(PortState::Learning) => Some(PortState::Learning),
            Some(other) => {
                self.drop_skb(
                    "__allowed_ingress",
                    skb,
                    "the VLAN does not forward here",
                    format_args!("state {other:?}"),
                );
                None
            }
        }
    }

    /// `br_should_learn`: the VLAN in which a link-local frame teaches its source; `None` if in none.
    pub(super) fn br_should_learn(&mut self, skb: &Skb, bridge: &Bridge<'s>, port: &Port<'s>) -> Option<u16> {
        if !bridge.vlan_filtering() {
            return Some(0);
        }
        let tpid = bridge.options.vlan_protocol.unwrap_or(EtherType::VLAN);
        let tag = skb.hwtag.filter(|tag| tag.tpid == tpid);
        let vid = match tag {
            Some(tag) if !self.vid_is_zero(tag) => match tag.vid {
                TagVid::Fixed { vid, .. } => vid,
                TagVid::Frame(depth) => self.member_vid(Field::Vid(depth), port)?,
            },
            _ => port.vlans.and_then(VlanTable::pvid)?.get(),
        };
        let entry = membership(port.vlans, vid, false)?;
        matches!(entry.state, None | Some(PortState::Forwarding | PortState::Learning)).then_some(vid)
    }

    /// `br_allowed_egress`: whether a device may have frames of this VLAN.
    pub(super) fn br_allowed_egress(entry: Option<&VlanEntry>) -> bool {
        entry.is_some_and(|entry| matches!(entry.state, None | Some(PortState::Forwarding)))
    }

    /// `br_handle_vlan` for a port: the tag it leaves with.
    pub(super) fn br_handle_vlan(entry: &VlanEntry, hwtag: Option<HwTag>) -> Option<HwTag> {
        if entry.flags.has(VlanFlags::UNTAGGED) { None } else { hwtag }
    }

    /// The VLAN tests of `br_pass_frame_up`: a bridge device that is not in the VLAN does not get the frame, unless it
    /// is promiscuous. Returns the frame as the bridge device gets it.
    pub(super) fn br_vlan_up(&mut self, bridged: &Bridged, bridge: &Bridge<'s>) -> Option<Skb> {
        let skb = bridged.skb;
        if !bridge.vlan_filtering() {
            return Some(skb);
        }
        let (vid, name) = (bridged.vid, &bridge.link.name);
        let entry = membership(bridge.vlans, vid, true);
        let promisc = self.is_promiscuous(bridge).unwrap_or(false);
        if !promisc && !Self::br_allowed_egress(entry) {
            self.drop_skb(
                "br_pass_frame_up",
                &skb,
                "the bridge device is not in the VLAN",
                format_args!("{name}, VLAN {vid}"),
            );
            return None;
        }
        match entry {
            Some(entry) => Some(Skb { hwtag: Self::br_handle_vlan(entry, skb.hwtag), ..skb }),
            None => {
                let why = format_args!("{name} is promiscuous, though not in VLAN {vid}");
                self.step("br_handle_vlan", skb.dev, format_args!("passed as it is"), why);
                Some(skb)
            }
        }
    }

    /// Leaves a question open if the tables that decide were not read.
    fn vlans_were_read(&mut self, skb: &mut Skb, bridge: &Bridge<'s>) {
        let unread = crate::network::unread("VLAN tables", &self.network.netns().vlans);
        if let (true, Some(OpenKind::Unread(what))) = (bridge.vlan_filtering(), unread) {
            self.assume(skb, "br_allowed_ingress", OpenKind::Unread(what));
        }
    }
}
