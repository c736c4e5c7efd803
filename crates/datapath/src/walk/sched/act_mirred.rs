//! `net/sched/act_mirred.c`: the packet, or a copy of it, goes on in another device.

use portcullis_snapshot::{IfIndex, Link, LinkKind, TcHookKind, TcVerdict};

use super::{Act, Tc};
use crate::frame::Frame;
use crate::walk::{OpenKind, Skb, Walker};

/// How often a packet is sent on in this way; the kernels' limits lie here and a little above (`MIRRED_NEST_LIMIT`,
/// `MIRRED_DEFER_LIMIT`).
const MOST_HOPS: u8 = 3;
/// `ARPHRD_ETHER`.
const ARPHRD_ETHER: u16 = 1;

impl<F: Frame> Walker<'_, '_, F> {
    /// `tcf_mirred_act`, `tcf_mirred_to_dev`.
    pub(super) fn tcf_mirred_act(
        &mut self,
        skb: &mut Skb,
        tc: &Tc<'_, '_>,
        (redirect, ingress, device): (bool, bool, Option<IfIndex>),
        verdict: TcVerdict,
    ) -> Act {
        let failed = Act::Of(if redirect { TcVerdict::Shot } else { verdict });
        let Some(link) = device.and_then(|device| self.link(device)) else { return failed };
        if !link.is_up() || link.carrier == Some(false) {
            let why = format_args!("{} is down", link.name);
            self.step("tcf_mirred_to_dev", skb.dev, format_args!("not sent on"), why);
            return failed;
        }
        if skb.hops >= MOST_HOPS {
            self.act_open(skb, tc, "the action mirred, once more");
            return Act::Of(TcVerdict::Shot);
        }
        let at_ingress = tc.hook == TcHookKind::Ingress;
        let ends =
            matches!(verdict, TcVerdict::Shot | TcVerdict::Stolen | TcVerdict::Queued | TcVerdict::Trap);
        let what = if redirect { "sent on" } else { "copied" };
        let way = if ingress { "into" } else { "out of" };
        let why = format_args!("{}", tc.name());
        self.step("tcf_mirred_to_dev", skb.dev, format_args!("{what} {way} {}", link.name), why);
        // skb->skb_iif is the device whose filter sends it on.
        let mut copy = Skb { dev: tc.device, hops: skb.hops + 1, ..*skb };
        if ingress && !at_ingress && skb.behind_tag {
            self.act_open(&mut copy, tc, "a tag between Ethernet and network header");
        }
        if ingress {
            copy = Skb {
                dev: link.index,
                redirected: redirect,
                injected: true,
                port: None,
                l3mdev: None,
                broute: false,
                ..copy
            };
            self.copy(|walker| walker.netif_receive_skb_core(copy));
        } else {
            copy.redirected = true;
            self.copy(|walker| walker.mirred_xmit(copy, link));
        }
        if redirect && !ends {
            // Before 6.8 it then also depended on what became of the copy.
            self.act_open(skb, tc, "the action mirred, which redirects and goes on");
        }
        if at_ingress && redirect && ends { Act::Consumed } else { Act::Of(verdict) }
    }

    /// `tcf_dev_queue_xmit`: out of a device that need not be a bridge port.
    pub(in crate::walk) fn mirred_xmit(&mut self, mut skb: Skb, link: &Link) {
        let unmodelled = match &link.kind {
            LinkKind::Bridge(_) => Some("sends into its bridge"),
            LinkKind::Vrf { .. } => Some("routes"),
            _ if link.arp_type != ARPHRD_ETHER => Some("sends"),
            _ => None,
        };
        if let Some(does) = unmodelled {
            let what = format!("what {} {does} by itself", link.name);
            self.assume(&mut skb, "dev_queue_xmit", OpenKind::Unmodelled(what));
            return self.drop_skb(
                "dev_queue_xmit",
                &skb,
                "sent into a device",
                format_args!("{}", link.name),
            );
        }
        if self.dev_queue_xmit(&mut skb, link.index).is_some() {
            self.dev_hard_start_xmit(&skb, link, false, None);
        }
    }
}
