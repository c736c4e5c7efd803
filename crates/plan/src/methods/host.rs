//! Remedies in the host's stack: ARP, IPv4 and IPv6 at the bridge device.

use portcullis_audit::{Access, BridgeView, Context};
use portcullis_snapshot::{Link, LinkFlags, PolicyRule};

use super::{Lacks, MethodDoc, Piece, conf, guests};
use crate::change::{Change, local_rule};
use crate::device::{ConfAt, Device};
use crate::rules::{Chain, Drop, Hook, by_device, no_way_back};

pub(super) const ARP_OFF: MethodDoc = MethodDoc {
    name: "arp-off",
    does: "The bridge device neither answers nor asks by ARP.",
    costs: "The host cannot speak IPv4 on the bridge device unless by permanent neighbour entries.",
    leaves: "IPv4 to whoever knows the device's MAC address or uses a broadcast, and IPv6.",
    by_hand: &["ip link set dev br0 arp off"],
};
pub(super) const ARP_INPUT: MethodDoc = MethodDoc {
    name: "arp-input",
    does: "nftables drops ARP that comes in by the device.",
    costs: "As arp-off. Needs nftables' arp family.",
    leaves: "As arp-off.",
    by_hand: &[
        "nft add table arp portcullis",
        "nft 'add chain arp portcullis up { type filter hook input priority -200; }'",
        "nft 'add rule arp portcullis up iifname \"br0\" drop'",
    ],
};
pub(super) const ARP_IGNORE: MethodDoc = MethodDoc {
    name: "arp-ignore",
    does: "arp_ignore 2: ARP is answered only for an address of the bridge device itself, to senders in its subnet. 1 still answers \
           for addresses that senders outside the subnet ask for, 8 never answers, and neither keeps IPv4 out.",
    costs: "Nothing.",
    leaves: "Everything but answers to ARP: IPv4 to whoever knows the device's MAC address, and IPv6.",
    by_hand: &["sysctl -w net.ipv4.conf.br0.arp_ignore=2"],
};
pub(super) const RAW_PREROUTING: MethodDoc = MethodDoc {
    name: "raw-prerouting",
    does: "nftables drops IPv4 that comes in by the device, before it is routed.",
    costs: "One rule for every IPv4 packet that the host gets. Addresses on the bridge device stop working.",
    leaves: "ARP, IPv6, and frames to 01:80:c2:00:00:00–0f, which come in by a bridge's port.",
    by_hand: &[
        "nft add table ip portcullis",
        "nft 'add chain ip portcullis up { type filter hook prerouting priority -300; }'",
        "nft 'add rule ip portcullis up iifname \"br0\" drop'",
    ],
};
pub(super) const RP_FILTER: MethodDoc = MethodDoc {
    name: "rp-filter",
    does: "rp_filter 1: IPv4 is taken in only from sources that a route leads back to by the bridge device.",
    costs: "A lookup per packet. Asymmetric routing stops.",
    leaves: "Sources that the bridge device has a route to, broadcasts from 0.0.0.0, ARP, IPv6.",
    by_hand: &["sysctl -w net.ipv4.conf.br0.rp_filter=1"],
};
pub(super) const IP_RULE: MethodDoc = MethodDoc {
    name: "ip-rule",
    does: "A policy rule sends IPv4 from the bridge device nowhere. It stands before the rule that looks local addresses up, which \
           moves behind it: after that rule it would not be asked about the host's own addresses.",
    costs: "A rule for every packet that is routed. Addresses on the bridge device stop working.",
    leaves: "ARP, IPv6, broadcasts and multicast groups of the host's, and frames to 01:80:c2:00:00:00–0f.",
    by_hand: &[
        "ip rule add pref 32765 lookup local",
        "ip rule del pref 0",
        "ip rule add pref 50 iif br0 blackhole",
    ],
};
pub(super) const DISABLE_IPV6: MethodDoc = MethodDoc {
    name: "disable-ipv6",
    does: "IPv6 is off on the bridge device.",
    costs: "The device loses its IPv6 addresses.",
    leaves: "ARP, IPv4; IPv6 on ports and VLAN devices, which have settings of their own.",
    by_hand: &["sysctl -w net.ipv6.conf.br0.disable_ipv6=1"],
};
pub(super) const IP6_PREROUTING: MethodDoc = MethodDoc {
    name: "ip6-prerouting",
    does: "nftables drops IPv6 that comes in by the device, before it is routed.",
    costs: "One rule for every IPv6 packet that the host gets.",
    leaves: "ARP, IPv4, and frames to 01:80:c2:00:00:00–0f, which come in by a bridge's port.",
    by_hand: &[
        "nft add table ip6 portcullis",
        "nft 'add chain ip6 portcullis up { type filter hook prerouting priority -300; }'",
        "nft 'add rule ip6 portcullis up iifname \"br0\" drop'",
    ],
};
pub(super) const IP6_RULE: MethodDoc = MethodDoc {
    name: "ip6-rule",
    does: "As ip-rule, for IPv6.",
    costs: "A rule for every packet that is routed.",
    leaves: "ARP, IPv4, multicast groups of the host's, and frames to 01:80:c2:00:00:00–0f.",
    by_hand: &[
        "ip -6 rule add pref 32765 lookup local",
        "ip -6 rule del pref 0",
        "ip -6 rule add pref 50 iif br0 blackhole",
    ],
};
pub(super) const IP6_FIB: MethodDoc = MethodDoc {
    name: "ip6-fib",
    does: "nftables drops IPv6 from sources that no route leads back to by the device they come in by, as rp_filter does for IPv4.",
    costs: "A lookup per packet. Asymmetric routing stops. Needs nft_fib_ipv6.",
    leaves: "Sources that the device has a route to: fe80::/10 among them.",
    by_hand: &[
        "nft add table ip6 portcullis",
        "nft 'add chain ip6 portcullis no_way_back { type filter hook prerouting priority -300; }'",
        "nft 'add rule ip6 portcullis no_way_back iifname \"br0\" fib saddr . iif oif missing drop'",
    ],
};
pub(super) const DROP_UNICAST: MethodDoc = MethodDoc {
    name: "drop-unicast-in-l2-multicast",
    does: "Packets for one host are not taken from frames that are for a group, on the bridge device and its guest ports, and in IPv6 \
           by the next port that comes.",
    costs: "In IPv6, devices that come later have it too: who shares an address by frames to a group has to tell them.",
    leaves: "Frames to the device's MAC address, and packets for groups.",
    by_hand: &[
        "sysctl -w net.ipv6.conf.default.drop_unicast_in_l2_multicast=1",
        "sysctl -w net.ipv4.conf.br0.drop_unicast_in_l2_multicast=1",
        "sysctl -w net.ipv6.conf.br0.drop_unicast_in_l2_multicast=1",
    ],
};
pub(super) const ACCEPT_RA_OFF: MethodDoc = MethodDoc {
    name: "accept-ra-off",
    does: "Router advertisements are not believed on guest ports, nor by the next port that comes, nor on the bridge device unless \
           the host is meant to be reached there.",
    costs: "Devices that come later have to be told to believe advertisements where they should.",
    leaves: "Daemons that handle advertisements themselves.",
    by_hand: &[
        "sysctl -w net.ipv6.conf.default.accept_ra=0",
        "sysctl -w net.ipv6.conf.br0.accept_ra=0",
        "sysctl -w net.ipv6.conf.vnet0.accept_ra=0",
    ],
};
pub(super) const ACCEPT_RA_DEFAULT: MethodDoc = MethodDoc {
    name: "accept-ra-default",
    does: "Router advertisements are not believed by the next port that comes.",
    costs: "Devices that come later have to be told to believe advertisements where they should.",
    leaves: "The devices that there are.",
    by_hand: &["sysctl -w net.ipv6.conf.default.accept_ra=0"],
};
pub(super) const FORWARDING_OFF: MethodDoc = MethodDoc {
    name: "forwarding-off",
    does: "The host routes no IPv4 that comes in by the bridge device.",
    costs: "Guests that use the host as their router lose it.",
    leaves: "The host itself, and IPv6.",
    by_hand: &["sysctl -w net.ipv4.conf.br0.forwarding=0"],
};

/// An IPv4 setting of a device that the host's stack is on.
pub(super) fn ipv4(device: &Link, setting: &str, to: i32) -> Result<Vec<Piece>, Lacks> {
    let from = device.ipv4.as_ref().and_then(|conf| conf.get(setting));
    Ok(conf(ConfAt::Device(device.into()), false, setting, from, to)?.into_iter().collect())
}

pub(super) fn arp_off(device: &Link) -> Vec<Piece> {
    let on = !device.flags.has(LinkFlags::NOARP);
    on.then(|| Piece::Change(Change::ArpOff { device: device.into() })).into_iter().collect()
}

fn by_the_device(hook: Hook, device: &Link) -> Vec<Piece> {
    let name = &device.name;
    vec![Piece::Chain(Chain::new(hook, "up".to_owned(), Vec::new(), vec![Drop(vec![by_device(name)])]))]
}

pub(super) fn arp_input(device: &Link) -> Vec<Piece> {
    by_the_device(Hook::ArpInput, device)
}

pub(super) fn raw_prerouting(device: &Link) -> Vec<Piece> {
    by_the_device(Hook::Ipv4Prerouting, device)
}

pub(super) fn ip6_prerouting(device: &Link) -> Vec<Piece> {
    by_the_device(Hook::Ipv6Prerouting, device)
}

pub(super) fn ip6_fib(device: &Link) -> Vec<Piece> {
    let name = &device.name;
    let rules = vec![Drop(vec![by_device(name), no_way_back()])];
    vec![Piece::Chain(Chain::new(Hook::Ipv6Prerouting, "no_way_back".to_owned(), Vec::new(), rules))]
}

/// `FR_ACT_*`, and where the rules here stand.
mod rule {
    pub(super) const BLACKHOLE: u8 = 6;
    pub(super) const LOCAL_BEHIND: u32 = 32_765;
    pub(super) const PRIORITY: u32 = 50;
}

pub(super) fn blackhole(context: &Context<'_>, device: &Link, ipv6: bool) -> Result<Vec<Piece>, Lacks> {
    let rules = context.netns().rules.known();
    let in_front = rules.contains(&local_rule(ipv6, 0));
    let taken = |priority: u32| rules.iter().any(|rule| rule.ipv6 == ipv6 && rule.priority == priority);
    let priority = (1..=rule::PRIORITY).rev().find(|priority| !taken(*priority));
    let priority = priority.ok_or_else(|| Lacks("every priority before 50 is taken".to_owned()))?;
    let blackhole =
        PolicyRule { iif: Some(device.name.clone()), ..PolicyRule::new(ipv6, priority, rule::BLACKHOLE, 0) };
    if in_front && taken(rule::LOCAL_BEHIND) {
        return Err(Lacks(format!("there is a rule at priority {} already", rule::LOCAL_BEHIND)));
    }
    let moved = in_front.then_some(Change::LocalRule { ipv6, to: rule::LOCAL_BEHIND });
    Ok(moved.into_iter().chain([Change::Rule(blackhole)]).map(Piece::Change).collect())
}

pub(super) fn disable_ipv6(context: &Context<'_>, device: &Link) -> Result<Vec<Piece>, Lacks> {
    // The kernel forgets the addresses, and an undo could not bring them back.
    if context.chosen_addresses(device.index).any(|address| address.addr().is_ipv6()) {
        return Err(Lacks(format!("{} has IPv6 addresses, which would be lost", device.name)));
    }
    let from = device.ipv6.as_ref().and_then(|conf| conf.get("disable_ipv6"));
    let piece = conf(ConfAt::Device(device.into()), true, "disable_ipv6", from, 1)?;
    Ok(piece.into_iter().collect())
}

pub(super) fn drop_unicast(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    const SETTING: &str = "drop_unicast_in_l2_multicast";
    let mut pieces = Vec::new();
    // Not IPv4's: it is taken over by every device that was never told otherwise (`devinet_copy_dflt_conf`), uplinks among them.
    if let Some(held) = context.netns().ipv6.read() {
        pieces.extend(conf(ConfAt::Default, true, SETTING, held.default.get(SETTING), 1)?);
    }
    for link in std::iter::once(bridge.link).chain(guests(bridge).map(|port| port.link)) {
        let at = || ConfAt::Device(Device::from(link));
        if let Some(held) = &link.ipv4 {
            pieces.extend(conf(at(), false, SETTING, held.get(SETTING), 1)?);
        }
        if let Some(held) = &link.ipv6 {
            pieces.extend(conf(at(), true, SETTING, held.get(SETTING), 1)?);
        }
    }
    Ok(pieces)
}

const ACCEPT_RA: &str = "accept_ra";

/// What was made today is another remedy's: where frames do not get that far, that is a thousand changes for nothing.
pub(super) fn accept_ra_default(context: &Context<'_>) -> Result<Vec<Piece>, Lacks> {
    let default = context.netns().ipv6.read().and_then(|all| all.default.get(ACCEPT_RA));
    Ok(conf(ConfAt::Default, true, ACCEPT_RA, default, 0)?.into_iter().collect())
}

pub(super) fn accept_ra_off(context: &Context<'_>, bridge: &BridgeView<'_>) -> Result<Vec<Piece>, Lacks> {
    let mut pieces = accept_ra_default(context)?;
    // A host that is meant to be on the bridge may have its own addresses from there.
    let closed = context.access_at(bridge, bridge.link.index) == Access::Deny;
    let own = closed.then_some(bridge.link);
    for link in own.into_iter().chain(guests(bridge).map(|port| port.link)) {
        if let Some(held) = &link.ipv6 {
            pieces.extend(conf(ConfAt::Device(link.into()), true, ACCEPT_RA, held.get(ACCEPT_RA), 0)?);
        }
    }
    Ok(pieces)
}
