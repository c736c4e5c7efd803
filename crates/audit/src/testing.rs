//! Hosts made by hand, for the tests of rules: a snapshot that grows line by line, everything at kernel defaults.

use portcullis_snapshot::{
    Address, BoolOpts, BridgeOptions, CmpOp, EtherType, FdbEntry, Filters, IfIndex, Ipv4Conf, Ipv6Conf,
    Kernel, Link, LinkFlags, LinkKind, Mdb, Membership, Netns, NetnsId, NextHop, NftBaseChain, NftChain,
    NftExpr, NftFamily, NftRule, NftTable, NftVerdict, PayloadBase, PolicyRule, PortKind, PortOptions,
    PortState, Reading, Route, SCHEMA, Settings, Snapshot, StpState, TunOptions, VlanEntry, VlanFlags,
    VlanId, VlanTable,
};

use crate::{AuditReport, Finding, Policy, audit};

/// A host under construction.
pub(crate) struct Host {
    pub(crate) snapshot: Snapshot,
    next: u32,
}

pub(crate) const TODAY: jiff::civil::Date = jiff::civil::date(2026, 6, 1);

/// Sysctls as a kernel has them from the start.
pub(crate) fn ipv4_defaults() -> Ipv4Conf {
    Ipv4Conf::gather(|name, _| {
        Some(i32::from(matches!(name, "accept_redirects" | "send_redirects" | "accept_source_route")))
    })
}

/// Likewise.
pub(crate) fn ipv6_defaults() -> Ipv6Conf {
    let on = |name| {
        matches!(
            name,
            "accept_ra"
                | "accept_redirects"
                | "autoconf"
                | "accept_ra_defrtr"
                | "accept_ra_pinfo"
                | "accept_ra_min_hop_limit"
        )
    };
    Ipv6Conf::gather(|name, _| Some(i32::from(on(name))))
}

impl Host {
    /// A host with a loopback device, routing rules and nothing else.
    pub(crate) fn new() -> Self {
        let mut host = Self { snapshot: empty(), next: 1 };
        host.device("lo", LinkKind::Plain);
        host.link("lo").flags = LinkFlags(LinkFlags::UP | LinkFlags::LOOPBACK | LinkFlags::RUNNING);
        host.link("lo").arp_type = 772;
        host.address("lo", "127.0.0.1/8");
        host.address("lo", "::1/128");
        for (priority, table) in [(0, 255), (32766, 254), (32767, 253)] {
            host.rule(false, priority, 1, table);
        }
        for (priority, table) in [(0, 255), (32766, 254)] {
            host.rule(true, priority, 1, table);
        }
        host
    }

    /// The first article's host: guests on `br0`, which leads out by `eth0` and has no address; `eth1` leads to the
    /// infrastructure, with an address.
    pub(crate) fn hypervisor() -> Self {
        let mut host = Self::new();
        host.device("eth0", LinkKind::Plain);
        host.device("eth1", LinkKind::Plain);
        host.address("eth1", "10.1.2.3/24");
        host.address("eth1", "2001:db8:1::3/64");
        host.bridge("br0");
        host.enslave("eth0", "br0");
        for guest in ["vnet0", "vnet1", "vnet2"] {
            host.tap(guest, "br0");
        }
        host
    }

    pub(crate) fn netns(&mut self) -> &mut Netns {
        &mut self.snapshot.namespaces[0]
    }

    pub(crate) fn link(&mut self, name: &str) -> &mut Link {
        let links = read(&mut self.netns().links);
        links.iter_mut().find(|link| link.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn index(&mut self, name: &str) -> IfIndex {
        self.link(name).index
    }

    pub(crate) fn device(&mut self, name: &str, kind: LinkKind) {
        let index = IfIndex(self.next);
        self.next += 1;
        let link = Link {
            index,
            name: name.to_owned(),
            altnames: Vec::new(),
            arp_type: 1,
            flags: LinkFlags(LinkFlags::UP | LinkFlags::LOWER_UP | LinkFlags::RUNNING),
            sysfs_flags: None,
            promiscuity: Some(0),
            allmulti: Some(0),
            operstate: 6,
            carrier: Some(true),
            mtu: 1500,
            address: Some(portcullis_snapshot::MacAddr([2, 0, 0, 0, 0, index.0 as u8])),
            broadcast: Some(portcullis_snapshot::MacAddr::BROADCAST),
            master: None,
            link: None,
            link_netns: None,
            kind,
            port: None,
            xdp: Vec::new(),
            phys_switch_id: None,
            ipv4: Some(ipv4_defaults()),
            ipv6: Some(ipv6_defaults()),
            behind: None,
            unknown: Vec::new(),
        };
        read(&mut self.netns().links).push(link);
        self.route("ff00::/8", 255, 5, name);
        for group in ["224.0.0.1", "ff02::1"] {
            let membership = Membership { device: index, group: group.parse().unwrap() };
            read(&mut self.netns().memberships).push(membership);
        }
    }

    pub(crate) fn bridge(&mut self, name: &str) {
        let options = BridgeOptions {
            ageing_time: Some(30000),
            stp_state: Some(StpState::Off),
            vlan_filtering: Some(false),
            vlan_protocol: Some(EtherType::VLAN),
            vlan_default_pvid: Some(1),
            group_fwd_mask: Some(0),
            mcast_snooping: Some(true),
            multi_boolopt: Some(BoolOpts { value: 0, mask: 0x1f }),
            ..BridgeOptions::default()
        };
        self.device(name, LinkKind::Bridge(Box::new(options)));
        self.vlan(name, 1, VlanFlags::PVID | VlanFlags::UNTAGGED | VlanFlags::BRENTRY);
        let index = self.index(name);
        self.local(name, index);
    }

    pub(crate) fn bridge_options(&mut self, name: &str) -> &mut BridgeOptions {
        match &mut self.link(name).kind {
            LinkKind::Bridge(options) => options,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn port_options(&mut self, name: &str) -> &mut PortOptions {
        match &mut self.link(name).port {
            Some(PortKind::Bridge(options)) => options,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn tap(&mut self, name: &str, bridge: &str) {
        self.device(name, LinkKind::Tun(TunOptions { tap: true, ..TunOptions::default() }));
        self.enslave(name, bridge);
    }

    /// A veth pair with both ends here.
    pub(crate) fn pair(&mut self, one: &str, other: &str) {
        self.device(one, LinkKind::Veth);
        self.device(other, LinkKind::Veth);
        let (first, second) = (self.index(one), self.index(other));
        self.link(one).link = Some(second);
        self.link(other).link = Some(first);
    }

    pub(crate) fn enslave(&mut self, name: &str, bridge: &str) {
        let master = self.index(bridge);
        let options = PortOptions {
            state: Some(PortState::Forwarding),
            learning: Some(true),
            flood: Some(true),
            mcast_flood: Some(true),
            bcast_flood: Some(true),
            ..PortOptions::default()
        };
        let link = self.link(name);
        link.master = Some(master);
        link.port = Some(PortKind::Bridge(Box::new(options)));
        self.vlan(name, 1, VlanFlags::PVID | VlanFlags::UNTAGGED);
        self.local(name, master);
    }

    fn local(&mut self, name: &str, bridge: IfIndex) {
        let address = self.link(name).address.unwrap();
        self.fdb(name, bridge, address, 0x80, None);
        self.fdb(name, bridge, address, 0x80, Some(1));
    }

    pub(crate) fn fdb(
        &mut self,
        device: &str,
        bridge: IfIndex,
        address: portcullis_snapshot::MacAddr,
        state: u16,
        vlan: Option<u16>,
    ) {
        let entry = FdbEntry::new(self.index(device), Some(bridge), address, state);
        let entry = FdbEntry { vlan: vlan.and_then(VlanId::new), ..entry };
        read(&mut self.netns().fdb).push(entry);
    }

    /// Puts a device into a VLAN; on a bridge, add [`VlanFlags::BRENTRY`].
    pub(crate) fn vlan(&mut self, device: &str, id: u16, flags: u16) {
        let device = self.index(device);
        let id = VlanId::new(id).unwrap();
        let entry = VlanEntry {
            from: id,
            to: id,
            flags: VlanFlags(flags),
            state: Some(PortState::Forwarding),
            mcast_router: None,
            neigh_suppress: None,
            tunnel_id: None,
            unknown: Vec::new(),
        };
        let tables = read(&mut self.netns().vlans);
        match tables.iter_mut().find(|table| table.device == device) {
            Some(table) => {
                table.vlans.retain(|entry| entry.from != id);
                table.vlans.push(entry);
                table.vlans.sort_by_key(|entry| entry.from);
            }
            None => tables.push(VlanTable { device, vlans: vec![entry] }),
        }
    }

    pub(crate) fn no_vlan(&mut self, device: &str, id: u16) {
        let device = self.index(device);
        let tables = read(&mut self.netns().vlans);
        for table in tables.iter_mut().filter(|table| table.device == device) {
            table.vlans.retain(|entry| entry.from.get() != id);
        }
    }

    /// Adds an address with the routes that come with it.
    pub(crate) fn address(&mut self, device: &str, address: &str) {
        let index = self.index(device);
        let net: ipnet::IpNet = address.parse().unwrap();
        let host = ipnet::IpNet::from(net.addr());
        let scope = if device == "lo" { 254 } else { 0 };
        read(&mut self.netns().addresses).push(Address {
            device: index,
            address: net,
            peer: None,
            scope,
            flags: 0x80,
        });
        self.route(&host.to_string(), 255, 2, device);
        if device == "lo" {
            self.route(&net.trunc().to_string(), 255, 2, device);
        } else if net.prefix_len() < host.prefix_len() {
            self.route(&net.trunc().to_string(), 254, 1, device);
        }
        if let ipnet::IpNet::V4(net) = net
            && device != "lo"
        {
            self.route(&format!("{}/32", net.broadcast()), 255, 3, device);
        }
    }

    pub(crate) fn route(&mut self, destination: &str, table: u32, kind: u8, device: &str) {
        self.route_via(destination, table, kind, device, None);
    }

    pub(crate) fn route_via(&mut self, to: &str, table: u32, kind: u8, device: &str, gateway: Option<&str>) {
        let device = self.index(device);
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        let route = Route {
            table,
            destination: to.parse().unwrap(),
            source: None,
            kind,
            scope: if kind == 2 { 254 } else { 0 },
            protocol: 2,
            tos: 0,
            flags: None,
            metric: None,
            prefsrc: None,
            nexthops: vec![NextHop { device: Some(device), gateway, flags: 0 }],
            nexthop_id: None,
        };
        read(&mut self.netns().routes).push(route);
    }

    /// Adds a policy rule in its place; action 1 is a lookup, 6 a blackhole.
    pub(crate) fn rule(&mut self, ipv6: bool, priority: u32, action: u8, table: u32) -> &mut PolicyRule {
        let rule = PolicyRule::new(ipv6, priority, action, table);
        let rules = read(&mut self.netns().rules);
        let at = rules.partition_point(|known| (known.ipv6, known.priority) <= (ipv6, priority));
        rules.insert(at, rule);
        &mut rules[at]
    }

    pub(crate) fn ipv4(&mut self, device: &str) -> &mut Ipv4Conf {
        self.link(device).ipv4.as_mut().unwrap()
    }

    pub(crate) fn ipv6(&mut self, device: &str) -> &mut Ipv6Conf {
        self.link(device).ipv6.as_mut().unwrap()
    }

    pub(crate) fn all_ipv4(&mut self) -> &mut Settings<Ipv4Conf> {
        read(&mut self.netns().ipv4)
    }

    pub(crate) fn all_ipv6(&mut self) -> &mut Settings<Ipv6Conf> {
        read(&mut self.netns().ipv6)
    }

    /// Adds a base chain with one rule that nothing here looks into.
    pub(crate) fn nft_chain(&mut self, family: NftFamily, hook: u32, hook_name: &str) {
        let chain = NftBaseChain {
            family,
            table: "filter".to_owned(),
            chain: hook_name.to_owned(),
            kind: "filter".to_owned(),
            hook,
            hook_name: hook_name.to_owned(),
            priority: 0,
            devices: Vec::new(),
            policy_drop: false,
            rules: 1,
            dormant: false,
        };
        read(&mut self.netns().filters.nft_chains).push(chain);
    }

    /// Drops what comes in by some devices, but for frames whose first EtherType is `but`.
    pub(crate) fn drop_at_ingress(&mut self, devices: &[&str], but: Option<u16>) {
        let accept = |ethertype: u16| NftRule {
            handle: 1,
            expressions: vec![
                NftExpr::Payload { base: PayloadBase::Link, offset: 12, len: 2, dreg: 4 },
                NftExpr::Cmp { sreg: 4, op: CmpOp::Eq, data: ethertype.to_be_bytes()[..].into() },
                NftExpr::Verdict(NftVerdict::Accept),
            ],
        };
        let rules: Vec<_> = but.map(accept).into_iter().collect();
        self.nft_chain(NftFamily::Netdev, 0, "ingress");
        let base = read(&mut self.netns().filters.nft_chains).last_mut().unwrap();
        (base.policy_drop, base.rules) = (true, u32::try_from(rules.len()).unwrap());
        base.devices = devices.iter().map(|&device| device.to_owned()).collect();
        let chains = vec![NftChain { name: "ingress".to_owned(), rules }];
        let (family, name) = (NftFamily::Netdev, "filter".to_owned());
        let table = NftTable { family, name, dormant: false, chains, sets: Vec::new() };
        read(&mut self.netns().filters.nft_tables).push(table);
    }

    pub(crate) fn audit(&self) -> AuditReport {
        audit(&self.snapshot, &Policy::default(), TODAY)
    }

    pub(crate) fn audit_with(&self, policy: &str) -> AuditReport {
        audit(&self.snapshot, &Policy::parse(policy).unwrap(), TODAY)
    }

    /// The findings of one rule.
    pub(crate) fn found(&self, rule: &str) -> Vec<Finding> {
        self.audit().findings.into_iter().filter(|finding| finding.rule.0 == rule).collect()
    }

    /// The findings of one rule, with a policy.
    pub(crate) fn found_with(&self, rule: &str, policy: &str) -> Vec<Finding> {
        self.audit_with(policy).findings.into_iter().filter(|finding| finding.rule.0 == rule).collect()
    }
}

/// A finding in a few lines, for inline snapshots.
pub(crate) fn sketch(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let place = [&finding.bridge, &finding.port];
        let place: Vec<_> = place.into_iter().flatten().map(|device| &*device.name).collect();
        let unproven = if finding.is_proven() { "" } else { ", unproven" };
        text += &format!("{} {}{unproven}: {}\n", finding.severity.name(), place.join(" "), finding.title);
        for evidence in &finding.evidence {
            text += &format!("  {} = {}\n", evidence.source, evidence.value);
        }
        if let Some(witness) = &finding.witness {
            let head: String = witness.frame.iter().take(14).map(|byte| format!("{byte:02x}")).collect();
            text += &format!("  {head}… by {} reaches {}\n", witness.port.name, witness.reaches);
        }
        for command in finding.remedies.iter().flat_map(|remedy| &remedy.commands) {
            text += &format!("  $ {command}\n");
        }
    }
    text
}

fn read<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Read(value) => value,
        Reading::Unread(why) => panic!("{why:?}"),
    }
}

fn empty() -> Snapshot {
    let filters = Filters {
        tc: Reading::Read(Vec::new()),
        tcx: Reading::Read(Vec::new()),
        nft_chains: Reading::Read(Vec::new()),
        nft_tables: Reading::Read(Vec::new()),
        nft_flowtables: Reading::Read(Vec::new()),
        legacy_tables: Reading::Read(Vec::new()),
        ipsets: Reading::Read(Vec::new()),
        br_netfilter: Reading::Unread(portcullis_snapshot::Unread {
            cause: portcullis_snapshot::UnreadCause::Unsupported,
            reason: "br_netfilter is not loaded".to_owned(),
        }),
    };
    let netns = Netns {
        id: NetnsId(4_026_531_840),
        names: Vec::new(),
        processes: Vec::new(),
        links: Reading::Read(Vec::new()),
        vlans: Reading::Read(Vec::new()),
        vlan_globals: Reading::Read(Vec::new()),
        mst: Reading::Read(Vec::new()),
        fdb: Reading::Read(Vec::new()),
        mdb: Reading::Read(Mdb::default()),
        addresses: Reading::Read(Vec::new()),
        routes: Reading::Read(Vec::new()),
        rules: Reading::Read(Vec::new()),
        neighbours: Reading::Read(Vec::new()),
        ipv4: Reading::Read(Settings { all: ipv4_defaults(), default: ipv4_defaults() }),
        ipv6: Reading::Read(Settings { all: ipv6_defaults(), default: ipv6_defaults() }),
        filters,
        listeners: Reading::Read(Vec::new()),
        packet_sockets: Reading::Read(Vec::new()),
        protocol_handlers: Reading::Read(Vec::new()),
        memberships: Reading::Read(Vec::new()),
    };
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        taken_at: "2026-06-01T00:00:00Z".to_owned(),
        kernel: Kernel { release: "6.12.0".to_owned(), host: "hypervisor".to_owned() },
        namespaces: vec![netns],
        problems: Vec::new(),
    }
}
