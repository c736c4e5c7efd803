//! Which filters and programs stand at which hook.
//!
//! Their rules are not evaluated yet: each that is present becomes an open question of every frame that passes its
//! hook. Hooks without any cost nothing.

use std::collections::HashMap;

use portcullis_snapshot::{
    BrNetfilter, IfIndex, LegacyFamily, Link, Netns, NftBaseChain, NftFamily, Reading, TcHookKind,
    UnreadCause,
};

use crate::walk::OpenKind;

/// A netfilter hook (`NF_INET_*`, `NF_BR_*`, `NF_ARP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NfHook {
    /// Before the bridge, or before the route, decides.
    PreRouting,
    /// On the way up to the host.
    LocalIn,
    /// From one port, or one device, to another.
    Forward,
    /// On the way out.
    PostRouting,
}

/// Everything that stands at the hooks of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    ingress: HashMap<IfIndex, Vec<OpenKind>>,
    every_ingress: Vec<OpenKind>,
    netfilter: HashMap<(NftFamily, NfHook), Vec<OpenKind>>,
    br_netfilter: Option<BrNetfilter>,
}

impl Hooks {
    pub(super) fn new(netns: &Netns) -> Self {
        let mut hooks = Self { br_netfilter: netns.filters.br_netfilter.read().copied(), ..Self::default() };
        hooks.xdp(netns);
        hooks.tc(netns);
        hooks.nft(netns);
        hooks.legacy(netns);
        hooks
    }

    /// Returns what stands before everything else on a device: XDP, tc, nftables' `netdev`.
    pub(crate) fn ingress(&self, device: IfIndex) -> impl Iterator<Item = &OpenKind> {
        self.every_ingress.iter().chain(self.ingress.get(&device).into_iter().flatten())
    }

    /// Returns what stands at a netfilter hook.
    pub(crate) fn netfilter(&self, family: NftFamily, hook: NfHook) -> &[OpenKind] {
        self.netfilter.get(&(family, hook)).map_or(&[], Vec::as_slice)
    }

    /// Returns br_netfilter's settings, where it is loaded.
    pub(crate) const fn br_netfilter(&self) -> Option<&BrNetfilter> {
        self.br_netfilter.as_ref()
    }

    fn xdp(&mut self, netns: &Netns) {
        for link in netns.links.known() {
            for program in &link.xdp {
                let id = program.id.map_or_else(String::new, |id| format!(" {id}"));
                let what = format!("XDP program{id} on {}", link.name);
                self.ingress.entry(link.index).or_default().push(OpenKind::Filter(what));
            }
        }
    }

    fn tc(&mut self, netns: &Netns) {
        let name =
            |device| netns.link(device).map_or_else(|| format!("if{device}"), |link| link.name.clone());
        self.unread_everywhere("tc filters", &netns.filters.tc);
        for hook in netns.filters.tc.known() {
            if hook.hook == TcHookKind::Ingress && !hook.filters.is_empty() {
                let what =
                    format!("tc {} of {} ({} filters)", hook.qdisc, name(hook.device), hook.filters.len());
                self.ingress.entry(hook.device).or_default().push(OpenKind::Filter(what));
            }
        }
        self.unread_everywhere("tcx programs", &netns.filters.tcx);
        for programs in netns.filters.tcx.known() {
            if programs.hook == TcHookKind::Ingress && !programs.programs.is_empty() {
                let what = format!("BPF programs {:?} on {}", programs.programs, name(programs.device));
                self.ingress.entry(programs.device).or_default().push(OpenKind::Filter(what));
            }
        }
    }

    fn nft(&mut self, netns: &Netns) {
        let flowtables = netns.filters.nft_flowtables.known();
        for (flowtable, device) in
            flowtables.iter().flat_map(|table| table.devices.iter().map(move |d| (table, d)))
        {
            let what = format!("nftables flowtable {} {}", flowtable.table, flowtable.name);
            self.at_device(netns, device, OpenKind::Filter(what));
        }
        self.unread_everywhere("nftables chains", &netns.filters.nft_chains);
        if let Some(what) = unread("nftables chains", &netns.filters.nft_chains) {
            for family in [NftFamily::Bridge, NftFamily::Ip, NftFamily::Ip6, NftFamily::Arp] {
                self.at_every_hook(family, &what);
            }
        }
        for chain in netns.filters.nft_chains.known() {
            if !chain.dormant && (chain.rules > 0 || chain.policy_drop) {
                self.nft_chain(netns, chain);
            }
        }
    }

    fn nft_chain(&mut self, netns: &Netns, chain: &NftBaseChain) {
        let policy = if chain.policy_drop { ", policy drop" } else { "" };
        let family = format!("{:?}", chain.family).to_lowercase();
        let what = OpenKind::Filter(format!(
            "nftables chain {family} {} {} ({} rules{policy})",
            chain.table, chain.chain, chain.rules
        ));
        let families: &[NftFamily] = match chain.family {
            NftFamily::Netdev => &[],
            NftFamily::Inet => &[NftFamily::Ip, NftFamily::Ip6],
            NftFamily::Ip => &[NftFamily::Ip],
            NftFamily::Ip6 => &[NftFamily::Ip6],
            NftFamily::Arp => &[NftFamily::Arp],
            NftFamily::Bridge => &[NftFamily::Bridge],
            NftFamily::Other(_) => return,
        };
        // `inet` chains may hook ingress too, which is number 5 there and 0 in `netdev`.
        let at_ingress = matches!((chain.family, chain.hook), (NftFamily::Netdev, 0) | (NftFamily::Inet, 5));
        if at_ingress {
            for device in &chain.devices {
                self.at_device(netns, device, what.clone());
            }
            return;
        }
        for &family in families {
            if let Some(hook) = NfHook::of(family, chain.hook) {
                self.netfilter.entry((family, hook)).or_default().push(what.clone());
            }
        }
    }

    fn legacy(&mut self, netns: &Netns) {
        if let Some(what) = unread("legacy tables", &netns.filters.legacy_tables) {
            for family in [NftFamily::Bridge, NftFamily::Ip, NftFamily::Ip6, NftFamily::Arp] {
                self.at_every_hook(family, &what);
            }
        }
        for table in netns.filters.legacy_tables.known() {
            let (family, tool) = match table.family {
                LegacyFamily::Iptables => (NftFamily::Ip, "iptables"),
                LegacyFamily::Ip6tables => (NftFamily::Ip6, "ip6tables"),
                LegacyFamily::Arptables => (NftFamily::Arp, "arptables"),
                LegacyFamily::Ebtables => (NftFamily::Bridge, "ebtables"),
            };
            let what = OpenKind::Filter(format!("{tool} table {}", table.table));
            let hooks: &[NfHook] = match table.table.as_str() {
                "broute" | "raw" => &[NfHook::PreRouting],
                "filter" | "security" => &[NfHook::LocalIn, NfHook::Forward],
                "nat" if family == NftFamily::Bridge => &[NfHook::PreRouting, NfHook::PostRouting],
                "nat" => &[NfHook::PreRouting, NfHook::LocalIn, NfHook::PostRouting],
                _ => &[NfHook::PreRouting, NfHook::LocalIn, NfHook::Forward, NfHook::PostRouting],
            };
            for &hook in hooks {
                self.netfilter.entry((family, hook)).or_default().push(what.clone());
            }
        }
    }

    /// Puts a filter at a device, or with an asterisk at the end of `device` at all whose names begin so (since 6.16).
    fn at_device(&mut self, netns: &Netns, device: &str, what: OpenKind) {
        let links = netns.links.known().iter();
        let named = |link: &&Link| match device.strip_suffix('*') {
            Some(prefix) => link.name.starts_with(prefix),
            None => link.name == device || link.altnames.iter().any(|name| name == device),
        };
        for link in links.filter(named) {
            self.ingress.entry(link.index).or_default().push(what.clone());
        }
    }

    fn at_every_hook(&mut self, family: NftFamily, what: &OpenKind) {
        for hook in [NfHook::PreRouting, NfHook::LocalIn, NfHook::Forward, NfHook::PostRouting] {
            self.netfilter.entry((family, hook)).or_default().push(what.clone());
        }
    }

    fn unread_everywhere<T>(&mut self, what: &str, reading: &Reading<T>) {
        self.every_ingress.extend(unread(what, reading));
    }
}

/// Returns the open question that something unread leaves; none if this kernel cannot have it.
pub(crate) fn unread<T>(what: &str, reading: &Reading<T>) -> Option<OpenKind> {
    let why = reading.unread().filter(|why| why.cause != UnreadCause::Unsupported)?;
    Some(OpenKind::Unread(format!("{what} were not read: {}", why.reason)))
}

impl NfHook {
    /// Returns the hook of a family by its number there (`linux/netfilter*.h`).
    const fn of(family: NftFamily, number: u32) -> Option<Self> {
        match (family, number) {
            (NftFamily::Arp, 0) => Some(Self::LocalIn),
            (NftFamily::Arp, 2) => Some(Self::Forward),
            (NftFamily::Arp, _) => None,
            (_, 0) => Some(Self::PreRouting),
            (_, 1) => Some(Self::LocalIn),
            (_, 2) => Some(Self::Forward),
            (_, 4) => Some(Self::PostRouting),
            _ => None,
        }
    }
}
