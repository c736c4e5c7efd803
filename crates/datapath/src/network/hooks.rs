//! Which filters and programs stand at which hook, in the order in which they are asked.
//!
//! Rules that the walk evaluates are indexed; whatever else is present becomes an open question of every frame that
//! passes its hook. Hooks without any cost nothing.

use std::sync::OnceLock;

use portcullis_snapshot::{
    BrNetfilter, IfIndex, LegacyChain, LegacyFamily, Link, Netns, NftBaseChain, NftFamily, Reading,
    TcHookKind, UnreadCause, XdpMode, XtVerdict,
};

use super::legacy::{self, XtTable};
use super::prepared::DeviceNames;
use super::quick::QuickMap;
use super::ruleset::{Expr, Ruleset};
use super::traffic_control::{Block, name, program_name, sends_elsewhere};
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
    /// From the host itself.
    LocalOut,
    /// On the way out.
    PostRouting,
    /// On a device's way in (`NF_NETDEV_INGRESS`).
    Ingress,
    /// On a device's way out (`NF_NETDEV_EGRESS`).
    Egress,
}

/// What stands at a hook.
#[derive(Debug, Clone)]
pub(crate) struct AtHook {
    /// Lower is asked first.
    pub(crate) priority: i32,
    pub(crate) function: HookFunction,
}

/// The sorts of it.
#[derive(Debug, Clone)]
pub(crate) enum HookFunction {
    /// Present, and not evaluated.
    Open(OpenKind),
    /// A base chain of nftables.
    Nft {
        /// Its table, for [`Hooks::ruleset`].
        table: usize,
        /// The chain within the table.
        chain: usize,
        /// Whether what no rule decides on is dropped.
        policy_drop: bool,
        /// Of a chain of the type `nat`: its place among those. They stand at the hook together.
        nat: Option<i32>,
    },
    /// A base chain of a legacy table.
    Xt {
        /// Its table, for [`Hooks::xt_table`].
        table: usize,
        /// The chain within the table.
        chain: usize,
    },
}

/// What stands at the hooks of the families that have some of their own. Every frame asks several times.
#[derive(Debug, Default)]
struct Netfilter([[Vec<AtHook>; NfHook::COUNT]; 4]);

impl Netfilter {
    #[inline]
    const fn place(family: NftFamily) -> Option<usize> {
        match family {
            NftFamily::Bridge => Some(0),
            NftFamily::Ip => Some(1),
            NftFamily::Ip6 => Some(2),
            NftFamily::Arp => Some(3),
            _ => None,
        }
    }

    #[inline]
    fn at(&self, family: NftFamily, hook: NfHook) -> &[AtHook] {
        Self::place(family)
            .and_then(|family| self.0.get(family)?.get(hook as usize))
            .map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, family: NftFamily, hook: NfHook, what: AtHook) {
        if let Some(hooks) =
            Self::place(family).and_then(|family| self.0.get_mut(family)?.get_mut(hook as usize))
        {
            hooks.push(what);
        }
    }

    fn values(&self) -> impl Iterator<Item = &Vec<AtHook>> {
        self.0.iter().flatten()
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<AtHook>> {
        self.0.iter_mut().flatten()
    }
}

/// Everything that stands at the hooks of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Hooks<'s> {
    xdp: QuickMap<IfIndex, Vec<(XdpMode, OpenKind)>>,
    tcx: QuickMap<(IfIndex, TcHookKind), Vec<OpenKind>>,
    every_tc: Vec<OpenKind>,
    tc: QuickMap<(IfIndex, TcHookKind), Block<'s>>,
    /// Whether what leaves by a device may be sent on to elsewhere.
    sends_elsewhere: bool,
    /// Whether what comes in by one may be.
    takes_elsewhere: bool,
    ingress: QuickMap<IfIndex, Vec<AtHook>>,
    egress: QuickMap<IfIndex, Vec<AtHook>>,
    /// At ingress and egress of every device: that the chains were not read.
    every_device: Vec<AtHook>,
    netfilter: Netfilter,
    rulesets: Vec<Ruleset<'s>>,
    xt_tables: Vec<XtTable<'s>>,
    br_netfilter: Option<BrNetfilter>,
    device_names: OnceLock<DeviceNames>,
    /// Whether anything here may send a frame anywhere, once it was asked.
    goes_anywhere: OnceLock<bool>,
}

impl<'s> Hooks<'s> {
    pub(super) fn new(netns: &'s Netns) -> Self {
        let mut hooks = Self { br_netfilter: netns.filters.br_netfilter.read().copied(), ..Self::default() };
        hooks.xdp_programs(netns);
        hooks.tc_filters(netns);
        hooks.nft(netns);
        hooks.legacy(netns);
        let lists =
            hooks.ingress.values_mut().chain(hooks.egress.values_mut()).chain(hooks.netfilter.values_mut());
        // Of two with the same priority, the one that was registered first is asked first.
        lists.for_each(|list| list.sort_by_key(AtHook::place));
        hooks
    }

    /// Returns the XDP programs of a device: of all, or of those that the kernel's generic path runs.
    pub(crate) fn xdp(&self, device: IfIndex, generic: bool) -> impl Iterator<Item = &OpenKind> {
        let programs = self.xdp.get(&device).into_iter().flatten();
        programs.filter(move |(mode, _)| !generic || *mode == XdpMode::Generic).map(|(_, kind)| kind)
    }

    /// Returns what is asked before a device's tc filters, and is not evaluated: tcx programs, and what was not read.
    pub(crate) fn tcx(&self, device: IfIndex, hook: TcHookKind) -> impl Iterator<Item = &OpenKind> {
        self.every_tc.iter().chain(self.tcx.get(&(device, hook)).into_iter().flatten())
    }

    /// Returns a device's tc filters.
    #[inline]
    pub(crate) fn tc(&self, device: IfIndex, hook: TcHookKind) -> Option<&Block<'s>> {
        self.tc.get(&(device, hook))
    }

    /// Whether anything of tc is asked anywhere.
    #[inline]
    pub(crate) fn has_any_tc(&self) -> bool {
        !(self.tc.is_empty() && self.tcx.is_empty() && self.every_tc.is_empty())
    }

    /// Whether anything of tc is asked there.
    pub(crate) fn has_tc(&self, device: IfIndex, hook: TcHookKind) -> bool {
        self.tc(device, hook).is_some() || self.tcx(device, hook).next().is_some()
    }

    /// Whether what leaves by some device may be sent on to elsewhere: then every way out matters to every question.
    pub(crate) const fn sends_elsewhere(&self) -> bool {
        self.sends_elsewhere
    }

    /// Whether a frame may be sent on by filters or programs, or something is present of which nobody knows what it does.
    pub(crate) fn may_go_anywhere(&self) -> bool {
        *self.goes_anywhere.get_or_init(|| self.has_what_may_go_anywhere())
    }

    fn has_what_may_go_anywhere(&self) -> bool {
        let mut lists = self.ingress.values().chain(self.egress.values()).chain(self.netfilter.values());
        let mut rules =
            self.rulesets.iter().flat_map(|ruleset| &ruleset.chains).flat_map(|chain| &chain.rules);
        let mut expressions = rules.by_ref().flat_map(|rule| &rule.expressions);
        self.sends_elsewhere
            || self.takes_elsewhere
            || !(self.xdp.is_empty() && self.tcx.is_empty())
            || !(self.every_tc.is_empty() && self.every_device.is_empty())
            || lists.any(|list| list.iter().any(|one| matches!(one.function, HookFunction::Open(_))))
            || expressions.any(|expression| matches!(expression, Expr::ToDevice { .. }))
    }

    /// Returns what stands at nftables' hook of a device's way in.
    #[inline]
    pub(crate) fn ingress(&self, device: IfIndex) -> &[AtHook] {
        self.ingress.get(&device).unwrap_or(&self.every_device)
    }

    /// Returns what stands at nftables' hook of a device's way out.
    #[inline]
    pub(crate) fn egress(&self, device: IfIndex) -> &[AtHook] {
        self.egress.get(&device).unwrap_or(&self.every_device)
    }

    /// Returns what stands at a netfilter hook.
    #[inline]
    pub(crate) fn netfilter(&self, family: NftFamily, hook: NfHook) -> &[AtHook] {
        self.netfilter.at(family, hook)
    }

    /// Returns a table's rules.
    pub(crate) fn ruleset(&self, table: usize) -> Option<&Ruleset<'s>> {
        self.rulesets.get(table)
    }

    /// Returns the devices by name, as rules see it.
    pub(crate) fn device_names(&self, netns: &Netns) -> &DeviceNames {
        self.device_names.get_or_init(|| DeviceNames::new(netns))
    }

    #[cfg(test)]
    pub(super) fn evaluate_every_rule(&mut self) {
        self.rulesets.iter_mut().for_each(|ruleset| ruleset.self_contained = false);
    }

    /// Returns a legacy table.
    pub(crate) fn xt_table(&self, table: usize) -> Option<&XtTable<'s>> {
        self.xt_tables.get(table)
    }

    /// Returns br_netfilter's settings, where it is loaded.
    pub(crate) const fn br_netfilter(&self) -> Option<&BrNetfilter> {
        self.br_netfilter.as_ref()
    }

    fn xdp_programs(&mut self, netns: &Netns) {
        for link in netns.links.known() {
            for program in &link.xdp {
                let id = program.id.map_or_else(String::new, |id| format!(" {id}"));
                let what = format!("XDP program{id} on {}", link.name);
                self.xdp.entry(link.index).or_default().push((program.mode, OpenKind::Filter(what)));
            }
        }
    }

    fn tc_filters(&mut self, netns: &'s Netns) {
        self.every_tc.extend(unread("tc filters", &netns.filters.tc));
        for hook in netns.filters.tc.known() {
            if let Some(block) = Block::new(hook, &name(netns, hook.device)) {
                self.tc.insert((hook.device, hook.hook), block);
                self.takes_elsewhere |= sends_elsewhere(hook);
                self.sends_elsewhere |= hook.hook == TcHookKind::Egress && sends_elsewhere(hook);
            }
        }
        self.every_tc.extend(unread("tcx programs", &netns.filters.tcx));
        for programs in netns.filters.tcx.known() {
            let named = programs
                .programs
                .iter()
                .map(|id| OpenKind::Filter(program_name(Some(*id), &name(netns, programs.device))));
            self.tcx.entry((programs.device, programs.hook)).or_default().extend(named);
            self.sends_elsewhere |= programs.hook == TcHookKind::Egress && !programs.programs.is_empty();
        }
    }

    fn nft(&mut self, netns: &'s Netns) {
        let flowtables = netns.filters.nft_flowtables.known();
        for (flowtable, device) in
            flowtables.iter().flat_map(|table| table.devices.iter().map(move |d| (table, d)))
        {
            let what = format!("nftables flowtable {} {}", flowtable.table, flowtable.name);
            self.at_device(netns, device, NfHook::Ingress, &AtHook::open(OpenKind::Filter(what)));
        }
        if let Some(what) = unread("nftables chains", &netns.filters.nft_chains) {
            self.every_device.push(AtHook::open(what.clone()));
            for family in [NftFamily::Bridge, NftFamily::Ip, NftFamily::Ip6, NftFamily::Arp] {
                self.at_every_hook(family, &what);
            }
        }
        self.rulesets = netns.filters.nft_tables.known().iter().map(Ruleset::new).collect();
        let sets = legacy::Sets::new(&netns.filters);
        self.rulesets.iter_mut().for_each(|ruleset| ruleset.resolve(netns.links.known(), &sets));
        for chain in netns.filters.nft_chains.known() {
            if !chain.dormant && (chain.rules > 0 || chain.policy_drop) {
                self.nft_chain(netns, chain);
            }
            // `netdev` egress, where rules may send frames out of another device.
            self.sends_elsewhere |= (chain.family, chain.hook) == (NftFamily::Netdev, 1) && chain.rules > 0;
        }
    }

    /// Finds the rules of a base chain; without them it is only known to be there.
    fn nft_function(&self, chain: &NftBaseChain) -> HookFunction {
        let ours =
            |ruleset: &Ruleset<'_>| ruleset.family() == chain.family && ruleset.table.name == chain.table;
        let place = self.rulesets.iter().position(ours);
        let rules = place.and_then(|table| Some((table, self.rulesets.get(table)?.chain(&chain.chain)?)));
        if let Some((table, chain_at)) = rules {
            let nat = (chain.kind == "nat").then_some(chain.priority);
            return HookFunction::Nft { table, chain: chain_at, policy_drop: chain.policy_drop, nat };
        }
        let policy = if chain.policy_drop { ", policy drop" } else { "" };
        let family = format!("{:?}", chain.family).to_lowercase();
        HookFunction::Open(OpenKind::Filter(format!(
            "nftables chain {family} {} {} ({} rules{policy})",
            chain.table, chain.chain, chain.rules
        )))
    }

    fn nft_chain(&mut self, netns: &Netns, chain: &NftBaseChain) {
        let at_hook = AtHook { priority: chain.priority, function: self.nft_function(chain) };
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
        let of_device = match (chain.family, chain.hook) {
            (NftFamily::Netdev, 0) | (NftFamily::Inet, 5) => Some(NfHook::Ingress),
            (NftFamily::Netdev, 1) => Some(NfHook::Egress),
            _ => None,
        };
        if let Some(hook) = of_device {
            for device in &chain.devices {
                self.at_device(netns, device, hook, &at_hook);
            }
            return;
        }
        for &family in families {
            if let Some(hook) = NfHook::of(family, chain.hook) {
                let priority = if chain.kind == "nat" { hook.nat_priority() } else { chain.priority };
                self.netfilter.push(family, hook, AtHook { priority, ..at_hook.clone() });
            }
        }
    }

    fn legacy(&mut self, netns: &'s Netns) {
        if let Some(what) = unread("legacy tables", &netns.filters.legacy_tables) {
            for family in [NftFamily::Bridge, NftFamily::Ip, NftFamily::Ip6, NftFamily::Arp] {
                self.at_every_hook(family, &what);
            }
        }
        let (links, sets) = (netns.links.known(), legacy::Sets::new(&netns.filters));
        for table in netns.filters.legacy_tables.known() {
            let ready = XtTable::new(links, &sets, table);
            let family = legacy::family_of(table.family);
            for &(number, hook, priority) in legacy::hooks_of(table.family, &table.table) {
                let what = || format!("{} table {}", legacy::tool(table.family), table.table);
                let function = match table.chains.read() {
                    Some(chains) => {
                        let base = chains.iter().position(|chain| chain.hook == Some(number));
                        let acts = |chain: &&LegacyChain| {
                            // Without a rule, arptables still drops what is cut off; nothing is that the host sends.
                            !chain.rules.is_empty()
                                || chain.policy != XtVerdict::Accept
                                || table.family == LegacyFamily::Arptables && hook != NfHook::LocalOut
                        };
                        let Some(chain) = base.filter(|at| chains.get(*at).as_ref().is_some_and(acts)) else {
                            continue;
                        };
                        HookFunction::Xt { table: self.xt_tables.len(), chain }
                    }
                    None => HookFunction::Open(OpenKind::Filter(what())),
                };
                self.netfilter.push(family, hook, AtHook { priority, function });
            }
            self.xt_tables.extend(ready);
        }
    }

    /// Puts something at a device, or with an asterisk at the end of `device` at all whose names begin so (since 6.16).
    fn at_device(&mut self, netns: &Netns, device: &str, hook: NfHook, what: &AtHook) {
        let links = netns.links.known().iter();
        let named = |link: &&Link| match device.strip_suffix('*') {
            Some(prefix) => link.name.starts_with(prefix),
            None => link.name == device || link.altnames.iter().any(|name| name == device),
        };
        let lists = if hook == NfHook::Egress { &mut self.egress } else { &mut self.ingress };
        for link in links.filter(named) {
            lists.entry(link.index).or_default().push(what.clone());
        }
    }

    fn at_every_hook(&mut self, family: NftFamily, what: &OpenKind) {
        for hook in
            [NfHook::PreRouting, NfHook::LocalIn, NfHook::Forward, NfHook::LocalOut, NfHook::PostRouting]
        {
            self.netfilter.push(family, hook, AtHook::open(what.clone()));
        }
    }
}

impl AtHook {
    /// Where it stands among the others.
    const fn place(&self) -> (i32, i32) {
        match self.function {
            HookFunction::Nft { nat: Some(among), .. } => (self.priority, among),
            _ => (self.priority, self.priority),
        }
    }

    /// Something that is present and not evaluated; where among the others does not matter.
    const fn open(kind: OpenKind) -> Self {
        Self { priority: 0, function: HookFunction::Open(kind) }
    }
}

/// Returns the open question that something unread leaves; none if this kernel cannot have it.
pub(crate) fn unread<T>(what: &str, reading: &Reading<T>) -> Option<OpenKind> {
    let why = reading.unread().filter(|why| why.cause != UnreadCause::Unsupported)?;
    Some(OpenKind::Unread(format!("{what} were not read: {}", why.reason)))
}

impl NfHook {
    const COUNT: usize = 7;

    /// Where translation stands (`NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`), whatever its chains say.
    const fn nat_priority(self) -> i32 {
        if matches!(self, Self::LocalIn | Self::PostRouting) { 100 } else { -100 }
    }

    /// Returns the hook of a family by its number there (`linux/netfilter*.h`).
    const fn of(family: NftFamily, number: u32) -> Option<Self> {
        match (family, number) {
            (NftFamily::Arp, 0) => Some(Self::LocalIn),
            (NftFamily::Arp, 1) => Some(Self::LocalOut),
            (NftFamily::Arp, 2) => Some(Self::Forward),
            (NftFamily::Arp, _) => None,
            (_, 0) => Some(Self::PreRouting),
            (_, 1) => Some(Self::LocalIn),
            (_, 2) => Some(Self::Forward),
            (_, 3) => Some(Self::LocalOut),
            (_, 4) => Some(Self::PostRouting),
            _ => None,
        }
    }
}
