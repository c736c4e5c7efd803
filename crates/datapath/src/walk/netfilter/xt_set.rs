//! `net/netfilter/xt_set.c`, `net/netfilter/ipset/ip_set_hash_ip.c` and the like: addresses in sets.

use std::net::IpAddr;

use portcullis_snapshot::{IpSet, IpSetMember, NftFamily, XtSetMatch};

use super::x_tables::Xt;
use crate::frame::{Field, Frame, Ip4Field, Ip6Field, Set};
use crate::walk::{OpenKind, Skb, Walker};

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `IPSET_FLAG_RETURN_NOMATCH`.
const RETURN_NOMATCH: u32 = 128;

impl<F: Frame> Walker<'_, '_, F> {
    /// `set_match_v4`. Sets of addresses and networks are looked into; those of other types stay open.
    pub(super) fn set_match(
        &mut self,
        skb: &mut Skb,
        xt: &Xt<'_>,
        asked: &XtSetMatch,
        known: Option<&IpSet>,
        changes: bool,
    ) -> bool {
        let Some(set) = known else { return self.xt_unknown(skb, xt, "set, of a set that was not read") };
        let name = || format!("set {} ({})", set.name, set.kind);
        if changes || set.timeout.is_some() {
            let what = format!("{}: {}, which packets and time change", (xt.place)(), name());
            if self.undecided(skb, "set_match", OpenKind::Changing(what)) {
                let found = self.ip_set_test(skb, xt, asked, set).unwrap_or(false);
                return found == asked.inverted;
            }
        }
        match self.ip_set_test(skb, xt, asked, set) {
            Some(found) if !asked.counters => found != asked.inverted,
            _ => self.xt_unknown(skb, xt, &name()),
        }
    }

    /// `ip_set_test`; `None` if that is not known here.
    fn ip_set_test(&mut self, skb: &Skb, xt: &Xt<'_>, asked: &XtSetMatch, set: &IpSet) -> Option<bool> {
        let family = match xt.state.family {
            NftFamily::Ip => NFPROTO_IPV4,
            NftFamily::Ip6 => NFPROTO_IPV6,
            _ => return None,
        };
        if set.family != 0 && set.family != family {
            return Some(false);
        }
        let source = asked.set.from_source.first().copied()?;
        let d = skb.depth;
        let address = match (family, source) {
            (NFPROTO_IPV4, true) => Field::Ip4(d, Ip4Field::Source),
            (NFPROTO_IPV4, false) => Field::Ip4(d, Ip4Field::Destination),
            (_, true) => Field::Ip6(d, Ip6Field::Source),
            (_, false) => Field::Ip6(d, Ip6Field::Destination),
        };
        match set.kind.as_str() {
            "hash:ip" if set.netmask.is_none() => self.in_networks(address, &set.members, false),
            "hash:net" => self.in_networks(address, &set.members, asked.flags & RETURN_NOMATCH != 0),
            "hash:mac" => {
                let field = if source { Field::Src } else { Field::Dst };
                Some(set.members.iter().filter_map(|member| member.mac).any(|mac| self.frame.is(field, mac)))
            }
            _ => None,
        }
    }

    /// `hash_net4_kadt`: the member with the longest prefix decides, and whether it is an exception: those are what is
    /// looked for, or those that are none.
    fn in_networks(&mut self, field: Field, members: &[IpSetMember], exceptions: bool) -> Option<bool> {
        let mut networks = Vec::with_capacity(members.len());
        for member in members {
            let (Some(ip), None) = (member.ip, member.ip_to) else { return None };
            let (value, width) = match ip {
                IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
                IpAddr::V6(ip) => (u128::from(ip), 128),
            };
            let prefix = u32::from(member.prefix.unwrap_or(width)).min(u32::from(width));
            let low = u32::from(width) - prefix;
            let below = if low >= 128 { u128::MAX } else { (1u128 << low) - 1 };
            networks.push((prefix, Set::Range(value & !below, value | below), member.nomatch));
        }
        networks.sort_by_key(|(prefix, ..)| std::cmp::Reverse(*prefix));
        let sets: Vec<_> = networks.iter().map(|(_, set, _)| *set).collect();
        let class = self.frame.which(field, &crate::frame::Sets(&sets));
        Some(class.and_then(|class| networks.get(class)).is_some_and(|(.., nomatch)| *nomatch == exceptions))
    }
}
