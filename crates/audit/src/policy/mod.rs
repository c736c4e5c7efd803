//! What the administrator wants: roles of ports, what is allowed, what is accepted for a time.
//!
//! The types of the policy file and the questions that rules ask of them live here; reading the file is `read`'s
//! business. Nothing here looks at a snapshot: everything is asked by name.

mod glob;
mod read;

pub use glob::Glob;
pub use read::PolicyError;

use ipnet::IpNet;
use jiff::civil::Date;
use portcullis_snapshot::MacAddr;

use crate::finding::{Role, Severity};

/// The policy file, read and checked. The default is an empty file.
///
/// Tables of one kind are consulted in the order of the file; the first that matches and says something counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `fail-on`: findings of this severity and worse make the exit status 1. Default: `medium`.
    pub fail_on: Severity,
    /// `[[bridge]]`: what is allowed on bridges.
    pub bridges: Vec<BridgePolicy>,
    /// `[[port]]`: what ports are for, and who is behind them.
    pub ports: Vec<PortPolicy>,
    /// `[[waiver]]`: findings that are accepted for a time.
    pub waivers: Vec<Waiver>,
}

/// One `[[bridge]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BridgePolicy {
    /// `name`: the bridges that it is for, as a pattern. Default: every one.
    pub name: Glob,
    /// `netns`: the namespaces that it is for, as a pattern. Default: every one.
    pub netns: Glob,
    /// `host-access`: whether guests may reach the host through this bridge.
    ///
    /// Without it, the host's own addresses say what is meant: a bridge device without an address (other than the
    /// IPv6 link-local one that the kernel gives it) is meant to be only a switch, hence `deny`; one with an address
    /// offers something, hence `allow`, and what is reached there is still listed, at a lower severity.
    pub host_access: Option<Access>,
    /// `guest-to-guest`: whether guest ports may exchange frames. Default: `allow`, because that is what a switch is
    /// for; isolated ports are still expected not to be reached by others.
    pub guest_to_guest: Option<Access>,
    /// `link-local`: protocols to link-local group addresses that the host speaks with guests. Default: none.
    pub link_local: Option<Vec<LinkLocalProtocol>>,
    /// `promiscuous`: names of processes that may make the bridge or its ports promiscuous. Default: none.
    pub promiscuous: Option<Vec<String>>,
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It is meant to work.
    Allow,
    /// It must not work.
    Deny,
}

/// A protocol that goes to a link-local group address, `01:80:c2:00:00:0X`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkLocalProtocol {
    /// 802.1X, EtherType 0x888e, to `:03`.
    Eapol,
    /// Link aggregation, EtherType 0x8809, to `:02`.
    Lacp,
    /// LLDP, EtherType 0x88cc, to `:0e`, `:03` and `:00`.
    Lldp,
    /// Spanning tree, 802.2 with SAP 0x42, to `:00`.
    Stp,
}

/// One `[[port]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortPolicy {
    /// `name`: the ports that it is for, as a pattern.
    pub name: Glob,
    /// `bridge`: the bridges whose ports it is for, as a pattern. Default: every one.
    pub bridge: Glob,
    /// `netns`: the namespaces that it is for, as a pattern. Default: every one.
    pub netns: Glob,
    /// `role`: what such a port is for. Default: as it looks.
    pub role: Option<Role>,
    /// `mac`: the addresses that the guest behind it sends from.
    pub mac: Option<Vec<MacAddr>>,
    /// `ip`: the addresses and networks that it speaks for, in ARP and in IP. Every guest may use IPv6 link-local ones beside
    /// them.
    pub ip: Option<Vec<IpNet>>,
}

/// One `[[waiver]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// `rule`: the rule whose findings it covers.
    pub rule: crate::RuleId,
    /// `bridge`: the bridges it is for, as a pattern. Default: every one.
    pub bridge: Glob,
    /// `port`: the ports it is for, as a pattern. Default: every one, and findings that are about no port.
    pub port: Glob,
    /// `netns`: the namespaces it is for, as a pattern. Default: every one.
    pub netns: Glob,
    /// `reason`: why this is accepted. There is no waiver without one.
    pub reason: String,
    /// `expires`: the last day on which it holds. There is no waiver without one.
    pub expires: Date,
}

impl Default for Policy {
    fn default() -> Self {
        Self { fail_on: Severity::Medium, bridges: Vec::new(), ports: Vec::new(), waivers: Vec::new() }
    }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`]: the place, what is wrong there, and the nearest thing that would be right.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        read::policy(text)
    }

    /// Returns what the file says about a bridge; what it does not say is `None`.
    #[must_use]
    pub fn bridge(&self, netns: &str, bridge: &str) -> BridgePolicy {
        let mut merged = BridgePolicy::default();
        for table in self.bridges.iter().filter(|t| t.name.matches(bridge) && t.netns.matches(netns)) {
            merged.host_access = merged.host_access.or(table.host_access);
            merged.guest_to_guest = merged.guest_to_guest.or(table.guest_to_guest);
            merged.link_local = merged.link_local.or_else(|| table.link_local.clone());
            merged.promiscuous = merged.promiscuous.or_else(|| table.promiscuous.clone());
        }
        merged
    }

    /// Returns what the file says about a port, by any of its names; what it does not say is `None`.
    #[must_use]
    pub fn port<'n>(
        &self,
        netns: &str,
        bridge: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> PortPolicy {
        let covers = |table: &&PortPolicy| {
            table.netns.matches(netns)
                && table.bridge.matches(bridge)
                && names.clone().any(|name| table.name.matches(name))
        };
        let mut merged = PortPolicy::default();
        for table in self.ports.iter().filter(covers) {
            merged.role = merged.role.or(table.role);
            merged.mac = merged.mac.or_else(|| table.mac.clone());
            merged.ip = merged.ip.or_else(|| table.ip.clone());
        }
        merged
    }
}

impl Access {
    /// Both, with their names.
    pub const NAMES: [(&'static str, Self); 2] = [("allow", Self::Allow), ("deny", Self::Deny)];
}

impl LinkLocalProtocol {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 4] =
        [("eapol", Self::Eapol), ("lacp", Self::Lacp), ("lldp", Self::Lldp), ("stp", Self::Stp)];
}
