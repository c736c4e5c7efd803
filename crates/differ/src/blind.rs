//! Breaking the walk on purpose: a knob that it does not see. The harness must notice each.

use portcullis_snapshot::{
    BridgeOptions, FdbEntry, Ipv4Conf, Ipv6Conf, Link, LinkFlags, LinkKind, Netns, PolicyRule, PortKind,
    PortOptions, Reading, Snapshot,
};

/// A knob that the walk is kept from seeing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Blind {
    /// Ports that are isolated.
    Isolated,
    /// `flood` off.
    Flood,
    /// `hairpin`.
    Hairpin,
    /// `group_fwd_mask` of ports.
    GroupFwdMask,
    /// `vlan_filtering`.
    VlanFiltering,
    /// `locked`.
    Locked,
    /// `learning` off.
    Learning,
    /// That an FDB entry is local.
    LocalEntries,
    /// That the bridge is promiscuous.
    Promiscuity,
    /// `rp_filter`.
    RpFilter,
    /// `arp_ignore`.
    ArpIgnore,
    /// `forwarding`.
    Forwarding,
    /// Policy rules that refuse.
    Rules,
    /// `drop_unicast_in_l2_multicast`.
    UnicastInMulticast,
    /// `ageing_time` 0.
    AgeingTime,
    /// The rules of nftables' chains.
    Nftables,
}

impl Blind {
    /// Returns a snapshot in which the knob is as it is by default.
    #[must_use]
    pub fn applied_to(self, snapshot: &Snapshot) -> Snapshot {
        let mut snapshot = snapshot.clone();
        for netns in &mut snapshot.namespaces {
            self.hide(netns);
        }
        snapshot
    }

    fn hide(self, netns: &mut Netns) {
        match self {
            Self::Isolated => ports(netns, |port| tell(&mut port.isolated, false)),
            Self::Flood => ports(netns, |port| tell(&mut port.flood, true)),
            Self::Hairpin => ports(netns, |port| tell(&mut port.hairpin, false)),
            Self::GroupFwdMask => ports(netns, |port| tell(&mut port.group_fwd_mask, 0)),
            Self::Locked => ports(netns, |port| tell(&mut port.locked, false)),
            Self::Learning => ports(netns, |port| tell(&mut port.learning, true)),
            Self::VlanFiltering => bridges(netns, |bridge| tell(&mut bridge.vlan_filtering, false)),
            Self::AgeingTime => bridges(netns, |bridge| tell(&mut bridge.ageing_time, 30_000)),
            Self::LocalEntries => entries(netns, |entry| entry.state = 2),
            Self::Promiscuity => links(netns, |link| {
                tell(&mut link.promiscuity, 0);
                link.sysfs_flags = link.sysfs_flags.map(|flags| LinkFlags(flags.0 & !LinkFlags::PROMISC));
            }),
            Self::RpFilter => ipv4(netns, |conf| tell(&mut conf.rp_filter, 0)),
            Self::ArpIgnore => ipv4(netns, |conf| tell(&mut conf.arp_ignore, 0)),
            Self::Forwarding => {
                ipv4(netns, |conf| tell(&mut conf.forwarding, 1));
                ipv6(netns, |conf| tell(&mut conf.forwarding, 1));
            }
            Self::UnicastInMulticast => {
                ipv4(netns, |conf| tell(&mut conf.drop_unicast_in_l2_multicast, 0));
                ipv6(netns, |conf| tell(&mut conf.drop_unicast_in_l2_multicast, 0));
            }
            Self::Nftables => {
                if let Reading::Read(tables) = &mut netns.filters.nft_tables {
                    tables
                        .iter_mut()
                        .flat_map(|table| &mut table.chains)
                        .for_each(|chain| chain.rules.clear());
                }
            }
            Self::Rules => rules(netns, |rules| rules.retain(|rule| rule.action == 1)),
        }
    }
}

/// Changes a value that the kernel tells; one that it does not have stays away.
fn tell<T>(place: &mut Option<T>, value: T) {
    if place.is_some() {
        *place = Some(value);
    }
}

fn links(netns: &mut Netns, change: impl Fn(&mut Link)) {
    if let Reading::Read(links) = &mut netns.links {
        links.iter_mut().for_each(change);
    }
}

fn ports(netns: &mut Netns, change: impl Fn(&mut PortOptions)) {
    links(netns, |link| {
        if let Some(PortKind::Bridge(options)) = &mut link.port {
            change(options);
        }
    });
}

fn bridges(netns: &mut Netns, change: impl Fn(&mut BridgeOptions)) {
    links(netns, |link| {
        if let LinkKind::Bridge(options) = &mut link.kind {
            change(options);
        }
    });
}

fn entries(netns: &mut Netns, change: impl Fn(&mut FdbEntry)) {
    if let Reading::Read(entries) = &mut netns.fdb {
        entries.iter_mut().for_each(change);
    }
}

fn rules(netns: &mut Netns, change: impl Fn(&mut Vec<PolicyRule>)) {
    if let Reading::Read(rules) = &mut netns.rules {
        change(rules);
    }
}

fn ipv4(netns: &mut Netns, change: impl Fn(&mut Ipv4Conf)) {
    links(netns, |link| link.ipv4.iter_mut().for_each(&change));
    if let Reading::Read(settings) = &mut netns.ipv4 {
        change(&mut settings.all);
    }
}

fn ipv6(netns: &mut Netns, change: impl Fn(&mut Ipv6Conf)) {
    links(netns, |link| link.ipv6.iter_mut().for_each(&change));
    if let Reading::Read(settings) = &mut netns.ipv6 {
        change(&mut settings.all);
    }
}
