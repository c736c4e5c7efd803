//! `net/netfilter/xt_*.c`: the targets of iptables, ip6tables and arptables.

use std::net::IpAddr;

use portcullis_snapshot::{
    Bytes, NftFamily, XtArpMangle, XtNat, XtTarget, XtTtlChange, XtTtlTarget, XtVerdict,
};

use super::x_tables::Xt;
use crate::frame::{ArpField, Field, Frame, Ip4Field, Ip6Field, Set, Sums, Written};
use crate::network::NfHook;
use crate::walk::{OpenKind, Skb, Walker};

/// `NF_NAT_RANGE_MAP_IPS`, `NF_NAT_RANGE_PROTO_SPECIFIED`: what a translation with no other flag sets.
const PLAIN_RANGE: u32 = 1 | 2;

impl<F: Frame> Walker<'_, '_, F> {
    /// What a target does, and what it decides.
    pub(super) fn xt_target(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, target: &XtTarget) -> XtVerdict {
        match target {
            // They tell somebody, or concern what is no matter of the packet's way.
            XtTarget::Audit { .. } if xt.state.family != NftFamily::Bridge => XtVerdict::Continue,
            XtTarget::Checksum { .. }
            | XtTarget::Log { .. }
            | XtTarget::Nflog { .. }
            | XtTarget::Trace
            | XtTarget::Notrack
            | XtTarget::Ct(_)
            | XtTarget::Tee { .. }
            | XtTarget::Tcpmss { .. }
            | XtTarget::Set(_) => XtVerdict::Continue,
            XtTarget::Classify { priority } => {
                skb.priority = *priority;
                XtVerdict::Continue
            }
            XtTarget::Mark(mark) => {
                skb.mark = skb.mark & !mark.mask ^ mark.value;
                XtVerdict::Continue
            }
            XtTarget::Connmark(connmark) => {
                if connmark.mode == portcullis_snapshot::XtConnmarkMode::Restore {
                    self.xt_target_open(skb, xt, "CONNMARK, by the mark of the connection");
                }
                XtVerdict::Continue
            }
            XtTarget::Reject { .. } => XtVerdict::Drop,
            XtTarget::Ttl(ttl) => self.ttl_tg(skb, xt, ttl, Field::Ip4(skb.depth, Ip4Field::Ttl)),
            XtTarget::Hl(ttl) => self.ttl_tg(skb, xt, ttl, Field::Ip6(skb.depth, Ip6Field::HopLimit)),
            XtTarget::Dnat(nat) => self.dnat_target(skb, xt, nat),
            XtTarget::Redirect(nat) => self.redirect_target(skb, xt, nat),
            XtTarget::Snat(_) | XtTarget::Masquerade(_) | XtTarget::Netmap(_) => {
                // The source of what leaves; what is bridged leaves with another one.
                if skb.physdev.is_some() {
                    self.xt_target_open(skb, xt, target.name());
                }
                XtVerdict::Accept
            }
            XtTarget::Mangle(mangle) => self.arpt_mangle(skb, xt, mangle),
            XtTarget::BridgeMark(mark) => Self::ebt_mark_tg(skb, mark),
            XtTarget::BridgeDnat(nat) => self.ebt_dnat_tg(skb, xt, nat),
            XtTarget::BridgeSnat { nat, arp } => self.ebt_snat_tg(skb, xt, nat, *arp),
            XtTarget::BridgeRedirect { verdict } => self.ebt_redirect_tg(skb, xt, *verdict),
            XtTarget::BridgeArpreply(nat) => self.ebt_arpreply_tg(skb, xt, nat),
            XtTarget::Dscp { .. } | XtTarget::Tos { .. } => {
                self.xt_target_open(skb, xt, target.name());
                XtVerdict::Continue
            }
            XtTarget::Audit { .. } | XtTarget::Nfqueue(_) | XtTarget::Tproxy { .. } | XtTarget::Other(_) => {
                self.xt_target_open(skb, xt, target.name());
                let what = format!("{}: the verdict of {}", (xt.place)(), target.name());
                if self.undecided(skb, "xt_target", OpenKind::Filter(what)) {
                    XtVerdict::Drop
                } else {
                    XtVerdict::Accept
                }
            }
        }
    }

    /// Something that a target does which is not followed.
    fn xt_target_open(&mut self, skb: &mut Skb, xt: &Xt<'_>, name: &str) {
        let what = format!("{}: the target {name}", (xt.place)());
        self.assume(skb, "xt_target", OpenKind::Filter(what));
    }

    /// `ttl_tg`, `hl_tg6`.
    fn ttl_tg(&mut self, skb: &mut Skb, xt: &Xt<'_>, ttl: &XtTtlTarget, field: Field) -> XtVerdict {
        let known = self.frame.known(field).map(|value| value as u8);
        let value = match (ttl.mode, known) {
            (XtTtlChange::Set, _) => Some(ttl.value),
            (XtTtlChange::Increase, Some(value)) => Some(value.saturating_add(ttl.value)),
            (XtTtlChange::Decrease, Some(value)) => Some(value.saturating_sub(ttl.value)),
            (_, None) => None,
        };
        match value {
            Some(value) => {
                let sums = if matches!(field, Field::Ip4(..)) { Sums::HEADER } else { Sums::NONE };
                let written = (field, Written::Value(value.into()), sums);
                self.rewrite(skb, "ttl_tg", written, &(xt.place)());
            }
            None => self.xt_target_open(skb, xt, "TTL, of a packet whose own is not known"),
        }
        XtVerdict::Continue
    }

    /// `xt_dnat_target_v2`, and what `nf_nat_packet` does then to the first packet of a connection.
    pub(super) fn dnat_target(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, nat: &XtNat) -> XtVerdict {
        if xt.state.hook != NfHook::PreRouting {
            return XtVerdict::Accept;
        }
        let what = format!("{}: whether its connection is one that can be translated", (xt.place)());
        if self.undecided(skb, "nf_nat_setup_info", OpenKind::Changing(what)) {
            return XtVerdict::Accept;
        }
        let address = match nat.addresses {
            Some((from, to)) if from == to => Some(from),
            None => None,
            Some(_) => {
                self.xt_target_open(skb, xt, "DNAT to one of several addresses");
                return XtVerdict::Accept;
            }
        };
        let port = match nat.ports {
            Some((from, to)) if from == to => Some(from),
            None => None,
            Some(_) => {
                self.xt_target_open(skb, xt, "DNAT to one of several ports");
                None
            }
        };
        if nat.flags & !PLAIN_RANGE != 0 {
            self.xt_target_open(skb, xt, "DNAT by chance, or by an offset");
        }
        self.nf_nat_manip_pkt(skb, xt, address, port);
        XtVerdict::Accept
    }

    /// `nf_nat_manip_pkt` of the destination.
    fn nf_nat_manip_pkt(
        &mut self,
        skb: &mut Skb,
        xt: &mut Xt<'_>,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) {
        let d = skb.depth;
        let transport = self.xt_transport(skb, xt);
        let place = (xt.place)();
        if let (Some(port), Some(transport)) = (port, transport)
            && !transport.later_fragment
        {
            let direct = [Set::Exactly(6), Set::Exactly(17)];
            if self.frame.is_any(transport.protocol, &direct) {
                let field = match transport.protocol {
                    Field::Ip4(..) => Field::Ip4(d, Ip4Field::DestinationPort),
                    _ => Field::Ip6(d, Ip6Field::DestinationPort),
                };
                let written = (field, Written::Value(port.into()), Sums::TRANSPORT);
                self.rewrite(skb, "nf_nat_manip_pkt", written, &place);
            } else {
                self.xt_target_open(skb, xt, "DNAT to a port, of neither TCP nor UDP");
            }
        }
        let written = match address {
            Some(IpAddr::V4(ip)) => {
                let value = Written::Value(u32::from(ip).into());
                (Field::Ip4(d, Ip4Field::Destination), value, Sums::BOTH)
            }
            Some(IpAddr::V6(ip)) => {
                (Field::Ip6(d, Ip6Field::Destination), Written::Value(ip.into()), Sums::TRANSPORT)
            }
            None => return,
        };
        self.rewrite(skb, "nf_nat_manip_pkt", written, &place);
    }

    /// `redirect_tg4`: to the first address of the device that it came in by. IPv6's choice stays open.
    fn redirect_target(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, nat: &XtNat) -> XtVerdict {
        if xt.state.family != NftFamily::Ip {
            self.xt_target_open(skb, xt, "REDIRECT to an IPv6 address of the host");
            return XtVerdict::Accept;
        }
        let addresses = self.network.netns().addresses.known().iter();
        let own = addresses
            .filter(|address| Some(address.device) == xt.state.iif)
            .map(|address| address.address.addr())
            .find(IpAddr::is_ipv4);
        let Some(own) = own else { return XtVerdict::Drop };
        let to_own = XtNat { addresses: Some((own, own)), ..*nat };
        self.dnat_target(skb, xt, &to_own)
    }

    /// `target` of `arpt_mangle.c`.
    fn arpt_mangle(&mut self, skb: &mut Skb, xt: &Xt<'_>, mangle: &XtArpMangle) -> XtVerdict {
        let of = |field| Field::Arp(skb.depth, field);
        let lengths = self.frame.is(of(ArpField::HardwareLength), 6u8)
            && self.frame.is(of(ArpField::ProtocolLength), 4u8);
        if !lengths {
            self.xt_target_open(skb, xt, "mangle, of other lengths of addresses");
            return mangle.verdict;
        }
        let mac = |bytes: &Bytes| {
            let bytes = bytes.0.iter().copied().chain(std::iter::repeat(0)).take(6);
            bytes.fold(0, |number: u128, byte| number << 8 | u128::from(byte))
        };
        let ip = |ip: std::net::Ipv4Addr| u128::from(u32::from(ip));
        let writes = [
            (of(ArpField::SenderMac), mangle.source_device.as_ref().map(mac)),
            (of(ArpField::SenderIp), mangle.source.map(ip)),
            (of(ArpField::TargetMac), mangle.target_device.as_ref().map(mac)),
            (of(ArpField::TargetIp), mangle.target.map(ip)),
        ];
        for (field, value) in writes {
            if let Some(value) = value {
                let written = (field, Written::Value(value), Sums::NONE);
                self.rewrite(skb, "arpt_mangle", written, &(xt.place)());
            }
        }
        mangle.verdict
    }
}
