//! `net/netfilter/xt_*.c`: the matches of iptables, ip6tables and ebtables. Those that go by what changes (limits,
//! connections, time, other programs), and those that are rare, stay open.

use std::net::IpAddr;

use portcullis_snapshot::{
    NftFamily, XtAddrtype, XtFlags, XtIprange, XtMatch, XtPhysdev, XtRange, XtTtlMode, XtValue,
};

use super::x_tables::{Matched, Xt};
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::network::{Device, Match};
use crate::walk::{PacketType, Skb, Walker};

/// `ARPHRD_ETHER`.
const ARPHRD_ETHER: u16 = 1;

impl<F: Frame> Walker<'_, '_, F> {
    /// Whether a match holds.
    pub(super) fn xt_match(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, one: &Match<'_>) -> Matched {
        match one {
            Match::Physdev(physdev, input, output) => physdev_mt(skb, physdev, input, output).into(),
            Match::Set { asked, set, changes } => self.set_match(skb, xt, asked, *set, *changes).into(),
            Match::Plain(plain) => self.xt_plain_match(skb, xt, plain),
        }
    }

    fn xt_plain_match(&mut self, skb: &mut Skb, xt: &mut Xt<'_>, one: &XtMatch) -> Matched {
        let d = skb.depth;
        match one {
            XtMatch::Comment(_) => Matched::Holds,
            XtMatch::Tcp(tcp) => self.tcp_mt(skb, xt, tcp),
            XtMatch::Udp(udp) | XtMatch::Udplite(udp) => self.udp_mt(skb, xt, udp),
            XtMatch::Multiport(multiport) => self.multiport_mt(skb, xt, multiport),
            XtMatch::Icmp(icmp) => self.icmp_match(skb, xt, icmp, true),
            XtMatch::Icmp6(icmp) => self.icmp_match(skb, xt, icmp, false),
            XtMatch::Mac(mac) => self.mac_mt(skb, mac).into(),
            XtMatch::Mark(mark) => ((skb.mark & mark.mask == mark.value) != mark.inverted).into(),
            XtMatch::MarkM { mark, mask, any, inverted } => {
                let masked = u64::from(skb.mark) & mask;
                ((if *any { masked != 0 } else { masked == *mark }) != *inverted).into()
            }
            XtMatch::Pkttype(kind) => ((pkt_type(skb.pkt_type) == kind.value) != kind.inverted).into(),
            XtMatch::Addrtype(addrtype) => self.addrtype_mt(skb, xt, addrtype).into(),
            XtMatch::Iprange(iprange) => self.iprange_mt(skb, xt, iprange).into(),
            XtMatch::Length(length) => self.length_mt(skb, xt, length).into(),
            XtMatch::Ttl { mode, value } => self.ttl_mt(Field::Ip4(d, Ip4Field::Ttl), *mode, *value).into(),
            XtMatch::Hl { mode, value } => {
                self.ttl_mt(Field::Ip6(d, Ip6Field::HopLimit), *mode, *value).into()
            }
            XtMatch::Ip(ip) => self.ebt_ip_mt(skb, ip).into(),
            XtMatch::Ip6(ip) => self.ebt_ip6_mt(skb, xt, ip).into(),
            XtMatch::Arp(arp) => self.ebt_arp_mt(skb, xt, arp).into(),
            XtMatch::Vlan(vlan) => self.ebt_vlan_mt(skb, vlan).into(),
            XtMatch::Among(among) => self.ebt_among_mt(skb, xt, among).into(),
            // The user of a socket: a packet that came in has none yet (`owner_mt`).
            XtMatch::Owner(owner) => {
                let nobody = [owner.uid.map(|range| range.inverted), owner.gid.map(|range| range.inverted)];
                let socket = owner.socket.is_none_or(|wanted| !wanted);
                (socket && nobody.into_iter().flatten().all(|inverted| inverted)).into()
            }
            other => self.xt_unknown(skb, xt, other.name()).into(),
        }
    }

    /// `mac_mt`: of devices that have such addresses.
    fn mac_mt(&mut self, skb: &Skb, mac: &XtValue<portcullis_snapshot::MacAddr>) -> bool {
        let ether = self.link(skb.dev).is_some_and(|link| link.arp_type == ARPHRD_ETHER);
        ether && self.frame.is(Field::Src, mac.value) != mac.inverted
    }

    /// `addrtype_mt_v1`, of IPv4; IPv6's stay open where they ask routing tables.
    fn addrtype_mt(&mut self, skb: &mut Skb, xt: &Xt<'_>, asked: &XtAddrtype) -> bool {
        let d = skb.depth;
        if xt.state.family != NftFamily::Ip {
            return self.xt_unknown(skb, xt, "addrtype of IPv6");
        }
        let device = match (asked.limit_in, asked.limit_out) {
            (true, _) => xt.state.iif,
            (_, true) => xt.state.oif,
            _ => None,
        };
        let mut holds = |field, flags: Option<XtFlags>| {
            let Some(flags) = flags else { return true };
            let kind = self.inet_dev_addr_type(device, field);
            (flags.flags >> kind & 1 != 0) != flags.inverted
        };
        holds(Field::Ip4(d, Ip4Field::Source), asked.source)
            && holds(Field::Ip4(d, Ip4Field::Destination), asked.destination)
    }

    /// `iprange_mt4`, `iprange_mt6`.
    fn iprange_mt(&mut self, skb: &Skb, xt: &Xt<'_>, iprange: &XtIprange) -> bool {
        let d = skb.depth;
        let fields = if xt.state.family == NftFamily::Ip {
            [Field::Ip4(d, Ip4Field::Source), Field::Ip4(d, Ip4Field::Destination)]
        } else {
            [Field::Ip6(d, Ip6Field::Source), Field::Ip6(d, Ip6Field::Destination)]
        };
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        fields.into_iter().zip([iprange.source, iprange.destination]).all(|(field, range)| {
            range.is_none_or(|XtRange { from, to, inverted }| {
                let range = XtRange { from: number(from), to: number(to), inverted };
                self.xt_range(field, Some(&range))
            })
        })
    }

    /// `length_mt`, `length_mt6`: the latter without the header's 40 bytes before 6.3, as one of the two knows.
    fn length_mt(&mut self, skb: &mut Skb, xt: &Xt<'_>, length: &XtRange<u16>) -> bool {
        let d = skb.depth;
        if xt.state.family == NftFamily::Ip {
            return self.xt_range(Field::Ip4(d, Ip4Field::TotalLength), Some(length));
        }
        let whole = self.length_field(skb);
        let now = self.xt_range(whole, Some(length));
        let wider = |bytes: u16| u32::from(bytes) + 40;
        let payload = XtRange { from: wider(length.from), to: wider(length.to), inverted: length.inverted };
        let before = self.xt_range(Field::Ip6(d, Ip6Field::TotalLength), Some(&payload));
        if now == before {
            now
        } else {
            self.xt_unknown(skb, xt, "length, of IPv6 with or without its header")
        }
    }

    fn ttl_mt(&mut self, field: Field, mode: XtTtlMode, value: u8) -> bool {
        let value = u128::from(value);
        match mode {
            XtTtlMode::Equal => self.frame.is(field, Set::Exactly(value)),
            XtTtlMode::NotEqual => !self.frame.is(field, Set::Exactly(value)),
            XtTtlMode::Less => value > 0 && self.frame.is(field, Set::Range(0, value - 1)),
            XtTtlMode::Greater => value < 255 && self.frame.is(field, Set::Range(value + 1, 255)),
        }
    }
}

/// `physdev_mt`.
fn physdev_mt(skb: &Skb, asked: &XtPhysdev, input: &Device, output: &Device) -> bool {
    let inverted = |device: &Option<portcullis_snapshot::XtDevice>| device.as_ref().map(|one| one.inverted);
    let Some(bridged) = skb.physdev else {
        // It is not known to be bridged: what is asked for must be inverted, all of it.
        let flags = [asked.is_bridged, asked.is_in, asked.is_out];
        return flags.into_iter().flatten().all(|wanted| !wanted)
            && [inverted(&asked.input), inverted(&asked.output)]
                .into_iter()
                .flatten()
                .all(|inverted| inverted);
    };
    let (indev, outdev) = (Some(bridged.input), bridged.output);
    if asked.is_bridged.is_some_and(|wanted| outdev.is_some() != wanted)
        || asked.is_in.is_some_and(|wanted| indev.is_some() != wanted)
        || asked.is_out.is_some_and(|wanted| outdev.is_some() != wanted)
    {
        return false;
    }
    (asked.input.is_none() || input.holds(indev))
        && (asked.output.is_none() || (outdev.is_some() && output.holds(outdev)))
}

const fn pkt_type(pkt_type: PacketType) -> u32 {
    match pkt_type {
        PacketType::Host => 0,
        PacketType::Broadcast => 1,
        PacketType::Multicast => 2,
        PacketType::OtherHost => 3,
    }
}
