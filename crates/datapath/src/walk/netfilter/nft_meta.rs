//! `net/netfilter/nft_meta.c`, `net/bridge/netfilter/nft_meta_bridge.c`: what is known of a packet beside its bytes.

use portcullis_snapshot::{IfIndex, LinkKind, MetaKey, Register};

use super::nf_tables_core::{Pktinfo, host_number};
use super::registers::{Piece, Registers, Value, swapped};
use crate::frame::{Field, Frame};
use crate::network::{Bridge, NfHook, Verdict};
use crate::walk::{OpenKind, PacketType, Skb, Walker};

/// `IFNAMSIZ`.
const IFNAMSIZ: usize = 16;

impl<'w, F: Frame> Walker<'_, 'w, F> {
    /// `nft_meta_get_eval`, `nft_meta_bridge_get_eval`.
    pub(super) fn nft_meta_get_eval<'s>(
        &mut self,
        skb: &mut Skb,
        pkt: &mut Pktinfo<'_, 's>,
        key: MetaKey,
        registers: &mut Registers,
        dreg: Register,
    ) -> Verdict<'s> {
        let state = pkt.state;
        let bytes: Option<Vec<u8>> = match key {
            MetaKey::Len => {
                self.nft_meta_len(skb, pkt, registers, dreg);
                return Verdict::Continue;
            }
            MetaKey::Protocol | MetaKey::L4Proto if self.may_look_behind_tags(skb) => {
                return self.nft_behind_tags(skb, pkt, registers);
            }
            MetaKey::Protocol => {
                self.store(registers, dreg, Field::Protocol(skb.depth));
                return Verdict::Continue;
            }
            MetaKey::L4Proto => {
                let Some(transport) = self.nft_pktinfo(skb, pkt) else { return Verdict::Break };
                self.store(registers, dreg, transport.protocol);
                return Verdict::Continue;
            }
            MetaKey::Mark => Some(skb.mark.to_ne_bytes().to_vec()),
            MetaKey::Priority => Some(skb.priority.to_ne_bytes().to_vec()),
            MetaKey::NfProto => Some(vec![state.family.number()]),
            MetaKey::PktType => Some(vec![pkt_type(skb.pkt_type)]),
            MetaKey::Iif => Some(index(state.iif)),
            MetaKey::Oif => Some(index(state.oif)),
            MetaKey::IifName => Some(self.ifname(state.iif)),
            MetaKey::OifName => Some(self.ifname(state.oif)),
            MetaKey::IifType => self.arp_type(state.iif),
            MetaKey::OifType => self.arp_type(state.oif),
            MetaKey::IifKind => self.kind(state.iif),
            MetaKey::OifKind => self.kind(state.oif),
            MetaKey::BriIifName => self.bridge_of(state.iif).map(|bridge| name(&bridge.link.name)),
            MetaKey::BriOifName => self.bridge_of(state.oif).map(|bridge| name(&bridge.link.name)),
            MetaKey::BriIifPvid => self.filtering_bridge_of(state.iif).and_then(|bridge| {
                let port = bridge.port(state.iif?)?;
                let pvid =
                    port.vlans.and_then(portcullis_snapshot::VlanTable::pvid).map_or(0, |vid| vid.get());
                Some(pvid.to_ne_bytes().to_vec())
            }),
            MetaKey::BriIifVproto => self
                .filtering_bridge_of(state.iif)
                .and_then(|bridge| Some(bridge.options.vlan_protocol?.0.to_be_bytes().to_vec())),
            MetaKey::BriIifHwAddr => {
                self.bridge_of(state.iif).and_then(|bridge| Some(bridge.link.address?.0.to_vec()))
            }
            MetaKey::BriBroute | MetaKey::Other(_) => {
                registers.forget_all();
                return self.nft_unknown(skb, pkt, &format!("meta {key:?}"));
            }
        };
        // What there is none of breaks the rule.
        let Some(bytes) = bytes else { return Verdict::Break };
        registers.store(dreg, &bytes);
        Verdict::Continue
    }

    /// `nft_meta_set_eval`, `nft_meta_bridge_set_eval`.
    pub(super) fn nft_meta_set_eval(
        &mut self,
        skb: &mut Skb,
        pkt: &Pktinfo<'_, '_>,
        key: MetaKey,
        value: &Value<'_>,
    ) {
        let Value::Known(bytes) = value else {
            let what = format!("{}: sets {key:?} to what is not known", pkt.place());
            return self.assume(skb, "nft_meta_set_eval", OpenKind::Filter(what));
        };
        let number = host_number(bytes) as u32;
        match key {
            MetaKey::Mark => skb.mark = number,
            MetaKey::Priority => skb.priority = number,
            MetaKey::PktType => {
                skb.pkt_type = match number {
                    0 => PacketType::Host,
                    1 => PacketType::Broadcast,
                    2 => PacketType::Multicast,
                    3 => PacketType::OtherHost,
                    _ => skb.pkt_type,
                }
            }
            MetaKey::BriBroute => skb.broute = number != 0,
            // Tracing, a security mark: no effect on the way.
            _ => {}
        }
    }

    /// `skb->len`: from the network header on; on the way out with the MAC header.
    fn nft_meta_len(&mut self, skb: &Skb, pkt: &Pktinfo<'_, '_>, registers: &mut Registers, dreg: Register) {
        let field = self.length_field(skb);
        let more = if pkt.state.hook == NfHook::Egress { 14 } else { 0 };
        if let Some(length) = self.frame.known(field) {
            return registers.store(dreg, &(length as u32 + more).to_ne_bytes());
        }
        if more > 0 {
            return registers
                .store_pieces(dreg, vec![Piece { bits: 32, source: super::registers::Source::Unknown }]);
        }
        let bits = u32::from(field.bits());
        let mut pieces = vec![Piece::field(bits.min(32), field, 0)];
        if bits < 32 {
            pieces.insert(0, Piece::known(32 - bits, 0));
        }
        let size = if cfg!(target_endian = "little") { 4 } else { 1 };
        registers.store_pieces(dreg, swapped(&pieces, 4, size));
    }

    /// Stores a field of whole bytes, as bytes where the frame tells them.
    fn store(&self, registers: &mut Registers, dreg: Register, field: Field) {
        let bits = field.bits();
        match self.frame.known(field) {
            Some(value) => {
                let value = value.to_be_bytes();
                registers.store(dreg, value.get(16 - usize::from(bits / 8)..).unwrap_or_default());
            }
            None => registers.store_pieces(dreg, vec![Piece::field(bits.into(), field, 0)]),
        }
    }

    fn ifname(&self, device: Option<IfIndex>) -> Vec<u8> {
        device.and_then(|device| self.link(device)).map_or_else(|| vec![0; IFNAMSIZ], |link| name(&link.name))
    }

    fn arp_type(&self, device: Option<IfIndex>) -> Option<Vec<u8>> {
        Some(self.link(device?)?.arp_type.to_ne_bytes().to_vec())
    }

    /// `rtnl_link_ops->kind`.
    fn kind(&self, device: Option<IfIndex>) -> Option<Vec<u8>> {
        let kind = match &self.link(device?)?.kind {
            LinkKind::Bridge(_) => "bridge",
            LinkKind::Veth => "veth",
            LinkKind::Vlan(_) => "vlan",
            LinkKind::Macvlan(_) => "macvlan",
            LinkKind::Macvtap(_) => "macvtap",
            LinkKind::Tun(_) => "tun",
            LinkKind::Vxlan(_) => "vxlan",
            LinkKind::Bond(_) => "bond",
            LinkKind::Vrf { .. } => "vrf",
            _ => return None,
        };
        Some(name(kind))
    }

    fn bridge_of(&self, device: Option<IfIndex>) -> Option<&'_ Bridge<'w>> {
        let network = self.network;
        let master = self.link(device?)?.master?;
        network.bridge(master)
    }

    fn filtering_bridge_of(&self, device: Option<IfIndex>) -> Option<&'_ Bridge<'w>> {
        self.bridge_of(device).filter(|bridge| bridge.vlan_filtering())
    }
}

fn name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(IFNAMSIZ, 0);
    bytes
}

fn index(device: Option<IfIndex>) -> Vec<u8> {
    device.map_or(0, |device| device.0).to_ne_bytes().to_vec()
}

const fn pkt_type(pkt_type: PacketType) -> u8 {
    match pkt_type {
        PacketType::Host => 0,
        PacketType::Broadcast => 1,
        PacketType::Multicast => 2,
        PacketType::OtherHost => 3,
    }
}
