//! The real kernel: each change as netlink messages, transactions of nftables and writes to `/proc/sys/net`.

use std::time::Duration;

use portcullis_kernel::link::{self, FdbChange};
use portcullis_kernel::netlink::{Family, Socket};
use portcullis_kernel::{
    Change as Message, apply_all, bridge, capture, clock, namespace, nftables, route, sysctl, traffic,
};
use portcullis_plan::{BridgeOption, Change, ConfAt, PortOption, Ruleset, local_rule};
use portcullis_snapshot::{
    IfIndex, LinkFlags, Netns, NftFamily, TcFilter, TcHook, TcHookKind, VlanFlags, VlanId,
};
use portcullis_wire::tc::{CLSACT_INGRESS, FilterParent, INGRESS_HANDLE};

use crate::{Error, Host, Place};

/// The network namespace of the calling thread.
#[derive(Debug, Default)]
pub struct Live(());

impl Live {
    /// Stands for the network namespace of whichever thread uses it.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Host for Live {
    fn place(&self) -> Result<Place, Error> {
        let netns = namespace::Netns::current()?.id();
        Ok(Place { boot: clock::boot_id()?, netns, cookie: namespace::Netns::current_cookie() })
    }

    fn now(&self) -> Result<Duration, Error> {
        Ok(clock::since_boot()?)
    }

    fn read(&mut self) -> Result<Netns, Error> {
        Ok(capture::here()?)
    }

    fn make(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut deeds = Deeds::new()?;
        changes.iter().try_for_each(|change| make(&mut deeds, change))?;
        deeds.flush()
    }

    fn take_back(&mut self, changes: &[Change], seen: &Netns) -> Result<(), Error> {
        let mut deeds = Deeds::new()?;
        let mut first = Ok(());
        for change in changes {
            // Each is tried: what cannot be taken back is no reason to leave the rest.
            let done = take_back(&mut deeds, change, changes, seen);
            first = first.and(done);
        }
        first.and(deeds.flush())
    }
}

/// Messages that go out together, until something has to be done in another way.
struct Deeds {
    route: Socket,
    waiting: Vec<Message>,
}

impl Deeds {
    fn new() -> Result<Self, Error> {
        Ok(Self { route: Socket::open(Family::Route)?, waiting: Vec::new() })
    }

    fn put(&mut self, message: Message) -> Result<(), Error> {
        self.waiting.push(message);
        Ok(())
    }

    /// Sends what waits. All of it is tried.
    fn flush(&mut self) -> Result<(), Error> {
        Ok(apply_all(&mut self.route, std::mem::take(&mut self.waiting))?)
    }

    /// Sends messages one by one: none after one that was refused. What waits goes before them.
    fn one_by_one(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), Error> {
        self.flush()?;
        Ok(messages.into_iter().try_for_each(|message| message.apply(&mut self.route))?)
    }

    fn sysctl(&mut self, family: &str, at: &ConfAt, setting: &str, value: i32) -> Result<(), Error> {
        self.flush()?;
        let place = match at {
            ConfAt::Device(device) => device.name.as_str(),
            ConfAt::Default => "default",
        };
        Ok(sysctl::write(&[family, "conf", place, setting], &value.to_string())?)
    }

    fn table(&mut self, old: Option<(NftFamily, &str)>, new: Option<&Ruleset>) -> Result<(), Error> {
        self.flush()?;
        let new = new.map(|new| (&new.table, new.bases.as_slice()));
        Ok(nftables::replace_table(old, new)?)
    }
}

fn make(deeds: &mut Deeds, change: &Change) -> Result<(), Error> {
    match change {
        Change::Bridge { bridge, option, to, .. } => deeds.put(bridge_option(bridge.index, *option, *to)),
        Change::Port { port, option, to, .. } => deeds.put(port_option(port.index, *option, *to)),
        Change::LeaveVlans { bridge, from, to, .. } => {
            deeds.put(link::vlan_range_del(bridge.index, (*from, *to)))
        }
        Change::Ipv4 { at, setting, to, .. } => deeds.sysctl("ipv4", at, setting, *to),
        Change::Ipv6 { at, setting, to, .. } => deeds.sysctl("ipv6", at, setting, *to),
        Change::ArpOff { device } => deeds.put(link::flags(device.index, LinkFlags::NOARP, LinkFlags::NOARP)),
        Change::LocalEntry { .. } | Change::StaticEntry { .. } => {
            fdb(change).map_or(Ok(()), |entry| deeds.put(entry.add()))
        }
        Change::Table { from, to } => {
            let old = from.as_ref().map(|from| (from.table.family, from.table.name.as_str()));
            deeds.table(old, Some(to))
        }
        Change::Filter { device, clsact, filter } => {
            if *clsact {
                deeds.put(traffic::qdisc(device.index, "clsact", None, None))?;
            }
            deeds.put(traffic::filter(parent(device.index), filter))
        }
        Change::Rule(rule) => deeds.put(route::rule_add(rule, route::RTPROT_STATIC)),
        // At no time is there no such rule.
        Change::LocalRule { ipv6, to } => deeds.one_by_one(move_local_rule(*ipv6, 0, *to)),
    }
}

fn take_back(deeds: &mut Deeds, change: &Change, all: &[Change], seen: &Netns) -> Result<(), Error> {
    match change {
        Change::Bridge { bridge, option, from, .. } => deeds.put(bridge_option(bridge.index, *option, *from)),
        Change::Port { port, option, from, .. } => deeds.put(port_option(port.index, *option, *from)),
        Change::LeaveVlans { bridge, from, to, flags } => join(deeds, bridge.index, (*from, *to), *flags),
        Change::Ipv4 { at, setting, from, .. } => deeds.sysctl("ipv4", at, setting, *from),
        Change::Ipv6 { at, setting, from, .. } => deeds.sysctl("ipv6", at, setting, *from),
        Change::ArpOff { device } => deeds.put(link::flags(device.index, 0, LinkFlags::NOARP)),
        Change::LocalEntry { .. } | Change::StaticEntry { .. } => {
            fdb(change).map_or(Ok(()), |entry| deeds.put(entry.delete()))
        }
        Change::Table { from, to } => {
            let (family, name) = (to.table.family, to.table.name.as_str());
            let from = from.as_ref().map(|from| on_devices_that_are(from, seen));
            let held = seen.filters.nft_tables.known().iter();
            let held = held.filter(|table| table.family == family && table.name == name).count() > 0;
            deeds.table(held.then_some((family, name)), from.as_ref())
        }
        Change::Filter { device, clsact, filter } => {
            take_filter_back(deeds, device.index, *clsact, filter, all, seen)
        }
        Change::Rule(rule) => deeds.put(route::rule_delete(rule)),
        Change::LocalRule { ipv6, to } => {
            let at_front = seen.rules.known().contains(&local_rule(*ipv6, 0));
            let messages = move_local_rule(*ipv6, *to, 0);
            deeds.one_by_one(messages.into_iter().skip(usize::from(at_front)))
        }
    }
}

fn bridge_option(bridge: IfIndex, option: BridgeOption, value: u32) -> Message {
    link::bridge_option(bridge, option.number(), &option.encode(value))
}

fn port_option(port: IfIndex, option: PortOption, value: u32) -> Message {
    bridge::port_option(port, option.number(), &option.encode(value))
}

fn join(deeds: &mut Deeds, bridge: IfIndex, range: (VlanId, VlanId), flags: VlanFlags) -> Result<(), Error> {
    // What the kernel keeps for itself is not for others to set.
    let own = flags.0 & (VlanFlags::PVID | VlanFlags::UNTAGGED);
    deeds.put(link::vlan_range_add(bridge, range, own))
}

fn fdb(change: &Change) -> Option<FdbChange> {
    match change {
        Change::LocalEntry { bridge, address } => Some(FdbChange {
            device: bridge.index,
            address: *address,
            vlan: None,
            state: link::NUD_PERMANENT,
            flags: link::NTF_SELF,
        }),
        Change::StaticEntry { port, address, vlan, sticky } => Some(FdbChange {
            device: port.index,
            address: *address,
            vlan: *vlan,
            state: link::NUD_NOARP,
            flags: link::NTF_MASTER | if *sticky { link::NTF_STICKY } else { 0 },
        }),
        _ => None,
    }
}

/// `ingress`, which others may have made, takes what is meant for `clsact` too (`ingress_find`).
const fn parent(device: IfIndex) -> FilterParent {
    FilterParent::Device(device, CLSACT_INGRESS)
}

/// Takes a filter away, and with it the queueing discipline that was made for it, unless others use that by now.
fn take_filter_back(
    deeds: &mut Deeds,
    device: IfIndex,
    clsact: bool,
    filter: &TcFilter,
    all: &[Change],
    seen: &Netns,
) -> Result<(), Error> {
    let hooks = || seen.filters.tc.known().iter().filter(|hook| hook.device == device);
    let Some(hook) = hooks().find(|hook| hook.hook == TcHookKind::Ingress) else { return Ok(()) };
    let goes_too = |held: &TcFilter| {
        all.iter().any(|change| {
            matches!(change, Change::Filter { device: at, filter, .. }
                if at.index == device && place(filter) == place(held))
        })
    };
    let is_used = |hook: &TcHook| match hook.hook {
        TcHookKind::Ingress => !hook.filters.iter().all(goes_too),
        TcHookKind::Egress => !hook.filters.is_empty(),
    };
    if clsact && hook.qdisc == "clsact" && !hooks().any(is_used) {
        return deeds.put(traffic::qdisc_delete(device, "clsact"));
    }
    let beside: Vec<_> = hook.filters.iter().filter(|held| place(held) == place(filter)).collect();
    let parent =
        FilterParent::Device(device, if hook.qdisc == "ingress" { INGRESS_HANDLE } else { CLSACT_INGRESS });
    match beside.as_slice() {
        [] => Ok(()),
        // Alone at its priority, it goes with all that was made for it.
        [_] => deeds.put(traffic::filter_delete(parent, filter, None)),
        [held, ..] => deeds.put(traffic::filter_delete(parent, filter, Some(held.handle))),
    }
}

const fn place(filter: &TcFilter) -> (u32, u16) {
    (filter.chain, filter.priority)
}

/// The same table without the devices that are gone, and without chains that had no others: the kernel would refuse it.
pub(crate) fn on_devices_that_are(ruleset: &Ruleset, seen: &Netns) -> Ruleset {
    let mut ruleset = ruleset.clone();
    let mut gone = Vec::new();
    ruleset.bases.retain_mut(|base| {
        let had = !base.devices.is_empty();
        base.devices.retain(|device| seen.link_named(device).is_some());
        let stays = !had || !base.devices.is_empty();
        if !stays {
            gone.push(base.chain.clone());
        }
        stays
    });
    ruleset.table.chains.retain(|chain| !gone.contains(&chain.name));
    ruleset
}

fn move_local_rule(ipv6: bool, from: u32, to: u32) -> [Message; 2] {
    [
        route::rule_add(&local_rule(ipv6, to), route::RTPROT_KERNEL),
        route::rule_delete(&local_rule(ipv6, from)),
    ]
}
