//! Whether the session that asks for a plan comes through what the plan changes: then it could cut itself off.

use std::net::IpAddr;

use portcullis_plan::{Change, Plan};
use portcullis_snapshot::{IfIndex, Netns};

/// Whether it does, as far as sshd says where it comes from. A session inside another (sudo, tmux) may have lost that.
pub(super) fn passes_through(netns: &Netns, plan: &Plan) -> bool {
    let said = std::env::var("SSH_CONNECTION").unwrap_or_default();
    local_address(&said).is_some_and(|address| is_touched(netns, plan, address))
}

/// The address of this host that a connection is to: the third of four words (ssh(1), SSH_CONNECTION).
fn local_address(said: &str) -> Option<IpAddr> {
    said.split_whitespace().nth(2)?.parse().ok()
}

/// Whether a plan changes something about the device that has an address, or about a port of it. Rules for the whole host
/// touch every device.
fn is_touched(netns: &Netns, plan: &Plan, address: IpAddr) -> bool {
    let holders = netns.addresses.known().iter().filter(|held| held.address.addr() == address);
    let devices: Vec<IfIndex> = holders.map(|held| held.device).collect();
    let of = |device: IfIndex| {
        let master = netns.link(device).and_then(|link| link.master);
        devices.contains(&device) || master.is_some_and(|master| devices.contains(&master))
    };
    let named = |name: &String| netns.link_named(name).is_some_and(|link| of(link.index));
    plan.changes.iter().any(|change| match change {
        Change::Table { to, .. } => {
            to.bases.iter().any(|base| base.devices.is_empty() || base.devices.iter().any(named))
        }
        Change::Rule(rule) => rule.iif.as_ref().is_none_or(named),
        Change::LocalRule { .. } => true,
        other => other.device().is_some_and(|device| of(device.index)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_word_is_ours() {
        let said = "198.51.100.7 51000 192.0.2.1 22";
        assert_eq!(local_address(said), Some([192, 0, 2, 1].into()));
        assert_eq!(local_address(""), None);
        assert_eq!(local_address("x y z"), None);
    }
}
