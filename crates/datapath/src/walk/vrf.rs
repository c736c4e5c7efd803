//! `drivers/net/vrf.c`: what a VRF does with the packets of its members on their way in.

use portcullis_snapshot::{IfIndex, LinkKind, NftFamily, PortKind, Route};

use super::netfilter::NfState;
use super::route::{FibResult, Flow, MULTICAST};
use super::{OpenKind, Skb, Walker};
use crate::frame::{Field, Frame, Icmp6Field, Ip6Field, Set};
use crate::network::NfHook;

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `vrf_ip_rcv`: from here on rules see the packet as the VRF's, and PREROUTING has another look; not at multicast.
    /// `None` if the packet ends there.
    pub(super) fn vrf_ip_rcv(&mut self, skb: &mut Skb, daddr: Field) -> Option<()> {
        let Some(vrf) = self.l3mdev_master(skb.dev) else { return Some(()) };
        skb.l3mdev = Some(vrf);
        if self.frame.is(daddr, MULTICAST) {
            return Some(());
        }
        self.vrf_rcv_nfhook(skb, NftFamily::Ip, vrf)
    }

    /// `vrf_ip6_rcv`: neighbour discovery stays its member's, though PREROUTING has another look; of the rest that which
    /// means something on one interface only (`strict`) is not looked at again.
    pub(super) fn vrf_ip6_rcv(&mut self, skb: &mut Skb, strict: bool) -> Option<()> {
        let Some(vrf) = self.l3mdev_master(skb.dev) else { return Some(()) };
        let discovery = self.ipv6_ndisc_frame(skb.depth);
        if !discovery {
            skb.l3mdev = Some(vrf);
            if strict {
                return Some(());
            }
        }
        self.vrf_rcv_nfhook(skb, NftFamily::Ip6, vrf)
    }

    fn vrf_rcv_nfhook(&mut self, skb: &mut Skb, family: NftFamily, vrf: IfIndex) -> Option<()> {
        let state = NfState { family, hook: NfHook::PreRouting, iif: Some(vrf), oif: None };
        self.nf_hook(skb, "vrf_rcv_nfhook", state)
    }

    /// `vrf_ip6_input_dst`: a VRF finds the route of what means something on one interface only in its own table, with
    /// no question to rules; neighbour discovery aside.
    pub(super) fn vrf_ip6_input_dst(&mut self, skb: &Skb, flow: &Flow) -> Option<&'s Route> {
        let network = self.network;
        let table = network.fib().family(true).table(self.l3mdev_table_of(skb.dev)?)?;
        match self.fib_table_lookup(table, flow, None) {
            Some(FibResult::Route(route)) if !self.ipv6_ndisc_frame(skb.depth) => Some(route),
            _ => None,
        }
    }

    /// `ipv6_ndisc_frame`.
    fn ipv6_ndisc_frame(&mut self, depth: u8) -> bool {
        self.frame.is(Field::Ip6(depth, Ip6Field::NextHeader), 58u8)
            && self.frame.is(Field::Icmp6(depth, Icmp6Field::Type), Set::Range(133, 137))
    }

    /// `ip_sabotage_in`: what br_netfilter has shown to PREROUTING already passes it over. Whether what a VRF's member
    /// takes in does so too has changed over the years.
    pub(super) fn ip_sabotage_in(&mut self, skb: &mut Skb) -> bool {
        let sabotaged = std::mem::take(&mut skb.nf_bridge);
        if sabotaged && self.l3mdev_master(skb.dev).is_some() {
            let what = "br_netfilter on a bridge in a VRF".to_owned();
            self.assume(skb, "ip_sabotage_in", OpenKind::Unmodelled(what));
        }
        sabotaged
    }

    /// `l3mdev_master_ifindex`: the VRF that an interface is in, or is.
    pub(super) fn l3mdev_master(&self, device: IfIndex) -> Option<IfIndex> {
        let link = self.network.link(device)?;
        if matches!(link.kind, LinkKind::Vrf { .. }) {
            return Some(device);
        }
        matches!(&link.port, Some(PortKind::Other(kind)) if kind == "vrf").then_some(link.master).flatten()
    }

    /// `l3mdev_fib_table`: the table of that VRF.
    pub(super) fn l3mdev_table_of(&self, device: IfIndex) -> Option<u32> {
        match self.network.link(self.l3mdev_master(device)?)?.kind {
            LinkKind::Vrf { table } => Some(table),
            _ => None,
        }
    }
}
