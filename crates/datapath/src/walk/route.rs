//! `net/core/fib_rules.c`, `net/ipv4/fib_frontend.c`, `net/ipv4/route.c`: where a packet goes, and whether its source is
//! believed.

use portcullis_snapshot::{IfIndex, Ipv4Conf, NextHop, PolicyRule, Route};

use super::{OpenKind, Skb, Walker};
use crate::frame::{Field, Frame, Set};
use crate::network::{FibTable, RT_TABLE_LOCAL};

/// What a lookup asks with (`struct flowi4`, `struct flowi6`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) ipv6: bool,
    /// The field that is looked up.
    pub(super) daddr: Field,
    /// The field that rules take for the source.
    pub(super) saddr: Field,
    /// The interface that rules take for the ingress one; `None` is the host itself (`lo`).
    pub(super) iif: Option<IfIndex>,
    /// Only routes by this interface.
    pub(super) oif: Option<IfIndex>,
}

/// What a lookup found.
#[derive(Debug, Clone, Copy)]
pub(super) enum FibResult<'s> {
    /// A route.
    Route(&'s Route),
    /// A rule or route that refuses.
    Refused(&'static str),
    /// Nothing.
    Unreachable,
}

/// Where `ip_route_input_slow` leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input {
    /// To the host itself (`RTN_LOCAL`).
    Local,
    /// To the host itself, as a broadcast.
    Broadcast,
    /// On, by this interface; the second is set if it goes to a router on it.
    Forward(IfIndex),
}

pub(super) const RTN_UNICAST: u8 = 1;
pub(super) const RTN_LOCAL: u8 = 2;
pub(super) const RTN_BROADCAST: u8 = 3;
const RTN_THROW: u8 = 9;

const REFUSED: &str = "a rule or route refuses it";
const UNREACHABLE: &str = "no route to the destination";
const NOT_HERE: &str = "not for this host";
/// Why packets get a route that ends in `ip_error`, rather than none (label `no_route`).
pub(super) const NO_ROUTE: [&str; 3] = [REFUSED, UNREACHABLE, NOT_HERE];

/// 127.0.0.0/8.
pub(super) const LOOPBACK: Set = Set::Masked { value: 0x7f00_0000, mask: 0xff00_0000 };
/// 224.0.0.0/4.
pub(super) const MULTICAST: Set = Set::Masked { value: 0xe000_0000, mask: 0xf000_0000 };
/// `ipv4_is_zeronet`: since 5.3 the rest of 0.0.0.0/8 is as good as any other address.
pub(super) const ZERONET: Set = Set::Exactly(0);
/// 255.255.255.255.
const LIMITED_BROADCAST: Set = Set::Exactly(0xffff_ffff);

impl<'s, F: Frame> Walker<'_, 's, F> {
    /// `fib_lookup`, `fib_rules_lookup`: rule by rule, the first table that has a route.
    pub(super) fn fib_lookup(&mut self, skb: &mut Skb, flow: &Flow) -> FibResult<'s> {
        let network = self.network;
        let fib = network.fib();
        if let Some(what) = fib.unread() {
            self.assume(skb, "fib_lookup", OpenKind::Unread(what.to_owned()));
        }
        let family = fib.family(flow.ipv6);
        let mut jump = None;
        for rule in family.rules() {
            if jump.is_some_and(|priority| rule.priority < priority) || !self.fib_rule_match(skb, rule, flow)
            {
                continue;
            }
            jump = None;
            let priority = rule.priority;
            match rule.action {
                1 => {
                    let id = if rule.l3mdev { self.l3mdev_fib_table(flow) } else { Some(rule.table) };
                    let Some(table) = id.and_then(|id| family.table(id)) else { continue };
                    match self.fib_table_lookup(table, flow, rule.suppress_prefixlen) {
                        Some(FibResult::Unreachable) | None => {}
                        Some(found) => return found,
                    }
                }
                2 => jump = rule.goto,
                6 => return self.rule_refuses(skb, priority, "blackhole"),
                7 => return self.rule_refuses(skb, priority, "unreachable"),
                8 => return self.rule_refuses(skb, priority, "prohibit"),
                _ => {}
            }
        }
        FibResult::Unreachable
    }

    fn rule_refuses(&mut self, skb: &Skb, priority: u32, action: &'static str) -> FibResult<'s> {
        self.step(
            "fib_rules_lookup",
            skb.dev,
            format_args!("{action}"),
            format_args!("policy rule {priority}"),
        );
        FibResult::Refused(action)
    }

    /// `fib_rule_match`.
    fn fib_rule_match(&mut self, skb: &mut Skb, rule: &PolicyRule, flow: &Flow) -> bool {
        let name = |device: Option<IfIndex>| {
            device.map_or_else(|| "lo".to_owned(), |device| self.network.name(device))
        };
        let mut iif = rule.iif.as_ref().is_none_or(|iif| *iif == name(flow.iif));
        let vrf = flow.iif.and_then(|iif| self.l3mdev_master(iif));
        if !iif && vrf.is_some() && rule.iif == vrf.map(|vrf| self.network.name(vrf)) {
            // Before 5.18 and since 6.14 (`iif_is_l3_master`).
            let what = "whether this kernel's rules know a VRF's packets by the VRF".to_owned();
            self.assume(skb, "fib_rule_match", OpenKind::Unmodelled(what));
            iif = true;
        }
        let oif = rule.oif.as_ref().is_none_or(|oif| flow.oif.is_some() && *oif == name(flow.oif));
        let mut matches = iif && oif && (!rule.l3mdev || self.l3mdev_fib_table(flow).is_some());
        for (prefix, field) in [(rule.source, flow.saddr), (rule.destination, flow.daddr)] {
            matches = matches
                && match prefix {
                    None => true,
                    Some(ipnet::IpNet::V4(net)) => self.frame.is(field, net),
                    Some(ipnet::IpNet::V6(net)) => self.frame.is(field, net),
                };
        }
        if matches && !rule.unknown.is_empty() {
            let what = format!("policy rule {} goes by a mark, a port or a user", rule.priority);
            self.assume(skb, "fib_rule_match", OpenKind::Unmodelled(what));
            return false;
        }
        matches != rule.not
    }

    /// `l3mdev_fib_table_rcu`: the table of the VRF that an interface is in.
    fn l3mdev_fib_table(&self, flow: &Flow) -> Option<u32> {
        self.l3mdev_table_of(flow.iif.or(flow.oif)?)
    }

    /// `fib_table_lookup`: longest prefix; a `throw` route, or one by the wrong interface, sends the search on.
    pub(super) fn fib_table_lookup(
        &mut self,
        table: &FibTable<'s>,
        flow: &Flow,
        suppress: Option<u32>,
    ) -> Option<FibResult<'s>> {
        let table = table.seen(flow.oif);
        let route = table.best(self.frame.which(flow.daddr, &table)?)?;
        if suppress.is_some_and(|length| u32::from(route.destination.prefix_len()) <= length) {
            return None;
        }
        match route.kind {
            6 => Some(FibResult::Refused("blackhole")),
            7 => Some(FibResult::Refused("unreachable")),
            8 => Some(FibResult::Refused("prohibit")),
            RTN_THROW => None,
            _ => Some(FibResult::Route(route)),
        }
    }

    /// `ip_route_input_slow` (net/ipv4/route.c), for IPv4 packets and, with `arp`, for what ARP asks.
    pub(super) fn ip_route_input(&mut self, skb: &mut Skb, flow: &Flow, arp: bool) -> Option<Input> {
        let function = "ip_route_input_slow";
        let (saddr, daddr) = (flow.saddr, flow.daddr);
        if self.frame.is_any(saddr, &[MULTICAST, LIMITED_BROADCAST]) {
            return self.martian(skb, "the source is multicast or broadcast", "saddr");
        }
        let from_nowhere = self.frame.is(saddr, ZERONET);
        if self.frame.is(daddr, LIMITED_BROADCAST) || (from_nowhere && self.frame.is(daddr, ZERONET)) {
            return self.brd_input(skb, flow, arp);
        }
        if self.frame.is(saddr, ZERONET) {
            return self.martian(skb, "the source is 0.0.0.0", "saddr");
        }
        if self.frame.is(daddr, ZERONET) {
            return self.martian(skb, "the destination is 0.0.0.0", "daddr");
        }
        let localnet = self.ipv4_or(skb, |conf| conf.route_localnet);
        if !localnet && (self.frame.is(daddr, LOOPBACK) || self.frame.is(saddr, LOOPBACK)) {
            return self.martian(skb, "a loopback address on the wire", "route_localnet 0");
        }
        let forwarding = self.ipv4_conf(skb.dev, |conf| conf.forwarding) != 0;
        match self.fib_lookup(skb, flow) {
            FibResult::Refused(action) => self.no_route(skb, REFUSED, action),
            FibResult::Unreachable => self.no_route(skb, UNREACHABLE, "routing tables"),
            FibResult::Route(route) if route.kind == RTN_BROADCAST => self.brd_input(skb, flow, arp),
            FibResult::Route(route) if route.kind == RTN_LOCAL => {
                self.fib_validate_source(skb, flow, None)?;
                self.step(function, skb.dev, format_args!("local"), format_args!("{}", route.destination));
                Some(Input::Local)
            }
            FibResult::Route(_) if !forwarding => self.no_route(skb, NOT_HERE, "forwarding 0"),
            FibResult::Route(route) if route.kind != RTN_UNICAST => {
                self.no_route(skb, "not a unicast route", "type")
            }
            FibResult::Route(route) => {
                let oif = self.nexthop(skb, route)?;
                self.fib_validate_source(skb, flow, Some(oif))?;
                let name = self.network.name(oif);
                self.step(
                    function,
                    skb.dev,
                    format_args!("forward by {name}"),
                    format_args!("{}", route.destination),
                );
                Some(Input::Forward(oif))
            }
        }
    }

    /// The interface that a route leads to; several or unknown ones stay open.
    pub(super) fn nexthop(&mut self, skb: &mut Skb, route: &Route) -> Option<IfIndex> {
        if route.nexthops.len() > 1 {
            let what = format!("which of the next hops of {} is taken", route.destination);
            self.assume(skb, "fib_select_path", OpenKind::Changing(what));
        }
        let oif = route.nexthops.iter().find_map(|nexthop| nexthop.device);
        if oif.is_none() {
            let what = format!("next hop {:?} of {}", route.nexthop_id, route.destination);
            self.assume(skb, "fib_select_path", OpenKind::Unmodelled(what));
            self.drop_skb("fib_select_path", skb, "the next hop is not known", format_args!("RTA_NH_ID"));
        }
        oif
    }

    /// Label `brd_input`: to the host as a broadcast, with no question to the routing tables.
    fn brd_input(&mut self, skb: &mut Skb, flow: &Flow, arp: bool) -> Option<Input> {
        if arp {
            return self.no_route(skb, "a broadcast address", "ARP");
        }
        if !self.frame.is(flow.saddr, ZERONET) {
            self.fib_validate_source(skb, flow, None)?;
        }
        self.step("ip_route_input_slow", skb.dev, format_args!("broadcast"), format_args!("daddr"));
        Some(Input::Broadcast)
    }

    /// `fib_validate_source` (net/ipv4/fib_frontend.c): whether a packet from there may come in here.
    pub(super) fn fib_validate_source(
        &mut self,
        skb: &mut Skb,
        flow: &Flow,
        oif: Option<IfIndex>,
    ) -> Option<()> {
        let function = "fib_validate_source";
        let rpf = self.ipv4_max(skb, |conf| conf.rp_filter);
        let accept_local = self.ipv4_or(skb, |conf| conf.accept_local);
        let redirects = self.ipv4_or(skb, |conf| conf.send_redirects);
        if rpf == 0 && (oif != Some(skb.dev) || !redirects) {
            if accept_local {
                return Some(());
            }
            if !self.network.fib().ipv4_needs_full_check() {
                if self.is_own_address(flow.saddr) {
                    self.drop_skb(
                        function,
                        skb,
                        "the source is one of the host's own addresses",
                        format_args!("accept_local 0"),
                    );
                    return None;
                }
                return Some(());
            }
        }
        self.fib_validate_source_full(skb, flow, oif, rpf, accept_local)
    }

    /// `__fib_validate_source`: the way back.
    fn fib_validate_source_full(
        &mut self,
        skb: &mut Skb,
        flow: &Flow,
        oif: Option<IfIndex>,
        rpf: i32,
        accept_local: bool,
    ) -> Option<()> {
        let function = "__fib_validate_source";
        let back = Flow {
            daddr: flow.saddr,
            saddr: flow.daddr,
            iif: self.l3mdev_master(skb.dev).or(oif),
            oif: None,
            ..*flow
        };
        let no_address = !self.has_ipv4_address(skb.dev);
        let FibResult::Route(route) = self.fib_lookup(skb, &back) else {
            return self.last_resort(skb, rpf, "no route back to the source");
        };
        if route.kind != RTN_UNICAST && !(route.kind == RTN_LOCAL && accept_local) {
            self.drop_skb(
                function,
                skb,
                "the source is no unicast address of another host",
                format_args!("route type {}", route.kind),
            );
            return None;
        }
        if route.nexthops.iter().any(|nexthop| nexthop.device == Some(skb.dev)) {
            return Some(());
        }
        if no_address {
            return self.last_resort(skb, rpf, "no IPv4 address on the interface");
        }
        if rpf == 1 {
            self.drop_skb(function, skb, "the way back is another one", format_args!("rp_filter 1 (strict)"));
            return None;
        }
        Some(())
    }

    fn last_resort(&mut self, skb: &Skb, rpf: i32, reason: &'static str) -> Option<()> {
        if rpf == 0 {
            return Some(());
        }
        self.drop_skb("__fib_validate_source", skb, reason, format_args!("rp_filter {rpf}"));
        None
    }

    /// `inet_lookup_ifaddr_rcu`: whether an address is one of the host's own.
    fn is_own_address(&mut self, field: Field) -> bool {
        let addresses = self.network.netns().addresses.known();
        let own: Vec<Set> = addresses
            .iter()
            .filter_map(|address| match address.address.addr() {
                std::net::IpAddr::V4(address) => Some(address.into()),
                std::net::IpAddr::V6(_) => None,
            })
            .collect();
        self.frame.is_any(field, &own)
    }

    pub(super) fn has_ipv4_address(&self, device: IfIndex) -> bool {
        let addresses = self.network.netns().addresses.known();
        addresses.iter().any(|address| address.device == device && address.address.addr().is_ipv4())
    }

    fn martian<T>(&mut self, skb: &Skb, reason: &'static str, because: &str) -> Option<T> {
        self.drop_skb("ip_route_input_slow", skb, reason, format_args!("{because}"));
        None
    }

    fn no_route<T>(&mut self, skb: &Skb, reason: &'static str, because: &str) -> Option<T> {
        self.drop_skb("ip_route_input_slow", skb, reason, format_args!("{because}"));
        None
    }

    /// An IPv4 setting of an interface; one that the kernel does not have is 0.
    pub(super) fn ipv4_conf(&self, device: IfIndex, of: fn(&Ipv4Conf) -> Option<i32>) -> i32 {
        self.network.link(device).and_then(|link| of(link.ipv4.as_ref()?)).unwrap_or(0)
    }

    /// `IN_DEV_ORCONF`: set on the interface or on `all`.
    pub(super) fn ipv4_or(&mut self, skb: &mut Skb, of: fn(&Ipv4Conf) -> Option<i32>) -> bool {
        self.ipv4_all(skb, of) != 0 || self.ipv4_conf(skb.dev, of) != 0
    }

    /// `IN_DEV_MAXCONF`: the larger of the interface's and `all`'s.
    pub(super) fn ipv4_max(&mut self, skb: &mut Skb, of: fn(&Ipv4Conf) -> Option<i32>) -> i32 {
        self.ipv4_all(skb, of).max(self.ipv4_conf(skb.dev, of))
    }

    fn ipv4_all(&mut self, skb: &mut Skb, of: fn(&Ipv4Conf) -> Option<i32>) -> i32 {
        let network = self.network;
        match network.netns().ipv4.read() {
            Some(settings) => of(&settings.all).unwrap_or(0),
            None => {
                let what = "net.ipv4.conf.all was not read".to_owned();
                self.assume(skb, "in_dev", OpenKind::Unread(what));
                0
            }
        }
    }

    /// Whether an IPv4 address is one of the host's, or of the device's VRF, whatever rules say
    /// (`inet_addr_type_dev_table`).
    pub(super) fn is_local_type(&mut self, device: IfIndex, field: Field) -> bool {
        self.addr_type_route(device, field).is_some_and(|kind| kind == RTN_LOCAL)
    }

    /// Whether an IPv4 address could be another host's: neither a group's, nor the host's own, nor a broadcast.
    pub(super) fn is_unicast_type(&mut self, device: IfIndex, field: Field) -> bool {
        let never = [MULTICAST, LIMITED_BROADCAST, ZERONET];
        !self.frame.is_any(field, &never)
            && self.addr_type_route(device, field).is_none_or(|kind| kind == RTN_UNICAST)
    }

    /// The type of the route to an address in the table of local ones, if the device, or no device, is on its way.
    fn addr_type_route(&mut self, device: IfIndex, field: Field) -> Option<u8> {
        self.local_table_type(device, field, None)
    }

    /// The same for a device that the route must lead to, if one is named (`__inet_dev_addr_type`).
    pub(super) fn local_table_type(
        &mut self,
        device: IfIndex,
        field: Field,
        on: Option<IfIndex>,
    ) -> Option<u8> {
        let network = self.network;
        let of_vrf = self.l3mdev_table_of(device);
        let Some(table) = network.fib().family(false).table(of_vrf.unwrap_or(RT_TABLE_LOCAL)) else {
            // A host that never had an address has no such table, and everything is a broadcast to it. A VRF's table
            // is made with it (vrf_rtable_create).
            return of_vrf.is_none().then_some(RTN_BROADCAST);
        };
        let table = table.seen(None);
        let route = table.best(self.frame.which(field, &table)?)?;
        let by = |hop: &NextHop| on.is_none() || hop.device == on;
        route.nexthops.first().is_none_or(by).then_some(route.kind)
    }
}
