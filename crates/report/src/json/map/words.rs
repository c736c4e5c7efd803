//! Words for options, as `ip`(8) and `bridge`(8) have them.

use portcullis_snapshot::{
    GuestKind, IfIndex, Link, LinkKind, MacvlanMode, PortOptions, PortState, StpState, VlanEntry, VlanFlags,
};

pub(super) fn guest(link: &Link) -> Option<String> {
    let guest = link.behind.as_ref()?.guest.as_ref()?;
    let kind = match guest.kind {
        GuestKind::Libvirt => "libvirt domain",
        GuestKind::Qemu => "QEMU",
        GuestKind::Container => "container",
        GuestKind::Namespace => "namespace",
        GuestKind::Process => "process",
    };
    Some(format!("{kind} {}", guest.name))
}

pub(super) fn stp(state: StpState) -> String {
    match state {
        StpState::Off => "off".to_owned(),
        StpState::Kernel => "kernel".to_owned(),
        StpState::User => "user".to_owned(),
        StpState::Other(number) => number.to_string(),
    }
}

pub(super) fn state(state: PortState) -> String {
    match state {
        PortState::Disabled => "disabled".to_owned(),
        PortState::Listening => "listening".to_owned(),
        PortState::Learning => "learning".to_owned(),
        PortState::Forwarding => "forwarding".to_owned(),
        PortState::Blocking => "blocking".to_owned(),
        PortState::Other(number) => number.to_string(),
    }
}

/// Lists the options that decide where frames go and are not as `br_add_if` leaves them.
pub(super) fn unusual(options: &PortOptions) -> Vec<String> {
    let on = [
        (options.isolated, "isolated on"),
        (options.locked, "locked on"),
        (options.mab, "mab on"),
        (options.hairpin, "hairpin on"),
        (options.guard, "guard on"),
        (options.root_block, "root_block on"),
        (options.proxy_arp, "proxy_arp on"),
        (options.proxy_arp_wifi, "proxy_arp_wifi on"),
        (options.neigh_suppress, "neigh_suppress on"),
        (options.neigh_vlan_suppress, "neigh_vlan_suppress on"),
        (options.mcast_to_unicast, "mcast_to_unicast on"),
        (options.vlan_tunnel, "vlan_tunnel on"),
    ];
    let off = [
        (options.learning, "learning off"),
        (options.flood, "flood off"),
        (options.mcast_flood, "mcast_flood off"),
        (options.bcast_flood, "bcast_flood off"),
    ];
    let on = on.into_iter().filter(|(value, _)| *value == Some(true));
    let off = off.into_iter().filter(|(value, _)| *value == Some(false));
    let mut words: Vec<_> = on.chain(off).map(|(_, word)| word.to_owned()).collect();
    if let Some(mask) = options.group_fwd_mask.filter(|mask| *mask != 0) {
        words.push(format!("group_fwd_mask {mask:#x}"));
    }
    if options.backup_port.is_some_and(|port| port != IfIndex(0)) {
        words.push("backup_port".to_owned());
    }
    words
}

pub(super) fn vlan(entry: &VlanEntry) -> String {
    let mut text =
        if entry.from == entry.to { entry.from.to_string() } else { format!("{}-{}", entry.from, entry.to) };
    for (flag, word) in [(VlanFlags::PVID, " PVID"), (VlanFlags::UNTAGGED, " untagged")] {
        if entry.flags.has(flag) {
            text.push_str(word);
        }
    }
    text
}

/// Says what a device on top of another is; `None` if it is not one that takes the other's frames.
pub(super) fn upper_kind(kind: &LinkKind) -> Option<String> {
    match kind {
        LinkKind::Vlan(vlan) => Some(format!("vlan {}", vlan.id)),
        LinkKind::Macvlan(options) => Some(format!("macvlan {}", mode(options.mode))),
        LinkKind::Macvtap(options) => Some(format!("macvtap {}", mode(options.mode))),
        LinkKind::Ipvlan(_) => Some("ipvlan".to_owned()),
        _ => None,
    }
}

fn mode(mode: MacvlanMode) -> String {
    match mode {
        MacvlanMode::Private => "private".to_owned(),
        MacvlanMode::Vepa => "vepa".to_owned(),
        MacvlanMode::Bridge => "bridge".to_owned(),
        MacvlanMode::Passthru => "passthru".to_owned(),
        MacvlanMode::Source => "source".to_owned(),
        MacvlanMode::Other(number) => format!("mode {number}"),
    }
}
