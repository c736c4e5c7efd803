//! Adding routes of any kind to any table, and policy rules.

use std::net::IpAddr;

use portcullis_snapshot::{IfIndex, PolicyRule};
use portcullis_wire::{Message, NLM_F_CREATE, NLM_F_REPLACE, inet};

use crate::Change;

/// A route to be added.
#[derive(Debug, Clone, Copy)]
pub struct RouteChange {
    /// Where to.
    pub to: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// `RTN_*`: 1 unicast, 2 local, 6 blackhole, 7 unreachable, 8 prohibit, 9 throw.
    pub kind: u8,
    /// By which router.
    pub via: Option<IpAddr>,
    /// By which interface.
    pub device: Option<IfIndex>,
    /// In which table.
    pub table: u8,
}

impl RouteChange {
    /// Adds the route, in place of one that may be there.
    #[must_use]
    pub fn add(&self) -> Change {
        const RTM_NEWROUTE: u16 = 24;
        const RTPROT_STATIC: u8 = 4;
        const RTA_DST: u16 = 1;
        const RTA_OIF: u16 = 4;
        const RTA_GATEWAY: u16 = 5;
        const RT_SCOPE_UNIVERSE: u8 = 0;
        const RT_SCOPE_LINK: u8 = 253;
        const RT_SCOPE_HOST: u8 = 254;
        // As ip(8) chooses it: what is local stays in the host, what needs no router stays on the link.
        let scope = match (self.kind, self.via, self.to.is_ipv4()) {
            (2, _, true) => RT_SCOPE_HOST,
            (1, None, true) => RT_SCOPE_LINK,
            _ => RT_SCOPE_UNIVERSE,
        };
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let family = if self.to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let header =
            [family as u8, self.prefix, 0, 0, self.table, RTPROT_STATIC, scope, self.kind, 0, 0, 0, 0];
        let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE).header(&header);
        if self.prefix > 0 {
            message = message.put(RTA_DST, &bytes(self.to));
        }
        if let Some(via) = self.via {
            message = message.put(RTA_GATEWAY, &bytes(via));
        }
        if let Some(device) = self.device {
            message = message.put_u32(RTA_OIF, device.0);
        }
        Change::new(format!("adding a route to {}/{}", self.to, self.prefix), message)
    }
}

/// `RTPROT_KERNEL`: in the name of the kernel, whose rules no daemon takes away.
pub const RTPROT_KERNEL: u8 = 2;
/// `RTPROT_STATIC`: in the name of the administrator.
pub const RTPROT_STATIC: u8 = 4;

/// Puts a policy rule in, in the name of a routing daemon (`RTPROT_*`). Refused if there is one like it.
#[must_use]
pub fn rule_add(rule: &PolicyRule, protocol: u8) -> Change {
    Change::new(format!("adding the {}", rule_name(rule)), inet::new_rule(rule, protocol))
}

/// Takes a policy rule out.
#[must_use]
pub fn rule_delete(rule: &PolicyRule) -> Change {
    Change::new(format!("deleting the {}", rule_name(rule)), inet::delete_rule(rule))
}

fn rule_name(rule: &PolicyRule) -> String {
    format!("policy rule of {} at priority {}", if rule.ipv6 { "IPv6" } else { "IPv4" }, rule.priority)
}
