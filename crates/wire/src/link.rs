//! `RTM_NEWLINK`: one interface (linux/if_link.h).

use portcullis_snapshot::{
    BondOptions, EtherType, IfIndex, Ipv4Conf, Ipv6Conf, IpvlanOptions, Link, LinkFlags, LinkKind, LinkNetns,
    MacvlanMode, MacvlanOptions, PortKind, TunOptions, VlanDevice, VxlanOptions, XdpMode, XdpProgram,
};

use crate::attribute::{u16_at, u32_at};
use crate::payload::{bridge_options, port_options};
use crate::{Attribute, Attributes, DecodeError};

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Statistics, queue lengths and the like, which decide nothing about a frame.
const PASSED_OVER: &[u16] = &[
    6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21, 22, 23, 24, 25, 27, 29, 31, 32, 34, 35, 38, 39, 40, 41, 42,
    44, 47, 48, 50, 51, 54, 55, 56, 57, 58, 59, 60, 62, 63, 64, 65, 66, 67, 68, 69,
];

/// Decodes the message.
///
/// What is cut off is left out; the last value says how many bytes were.
///
/// # Errors
/// If there is no whole `ifinfomsg`.
pub fn link(message: &[u8]) -> Result<(Link, usize), DecodeError> {
    let header = || {
        let (arp_type, index, flags) = (u16_at(message, 2)?, u32_at(message, 4)?, u32_at(message, 8)?);
        (message.len() >= IFINFOMSG).then_some((arp_type, index, flags))
    };
    let short =
        DecodeError { what: "RTM_NEWLINK", number: 0, wanted: "struct ifinfomsg", got: message.len() };
    let (arp_type, index, flags) = header().ok_or(short)?;
    let mut link = empty(IfIndex(index), arp_type, LinkFlags(flags));
    let mut attributes = Attributes::after(message, IFINFOMSG);
    let (mut info, mut netnsid) = (None, None);
    for attribute in attributes.by_ref() {
        match attribute.number {
            18 => info = Some(attribute),
            37 => netnsid = attribute.u32(),
            _ => take_in(&mut link, &attribute),
        }
    }
    link.link_netns = netnsid.map(|nsid| LinkNetns { nsid: nsid.cast_signed(), netns: None });
    if let Some(info) = info {
        link_info(&mut link, info.nested());
    }
    Ok((link, attributes.left_over()))
}

fn empty(index: IfIndex, arp_type: u16, flags: LinkFlags) -> Link {
    Link {
        index,
        name: String::new(),
        altnames: Vec::new(),
        arp_type,
        flags,
        sysfs_flags: None,
        promiscuity: None,
        allmulti: None,
        operstate: 0,
        carrier: None,
        mtu: 0,
        address: None,
        broadcast: None,
        master: None,
        link: None,
        link_netns: None,
        kind: LinkKind::Plain,
        port: None,
        xdp: Vec::new(),
        phys_switch_id: None,
        ipv4: None,
        ipv6: None,
        behind: None,
        unknown: Vec::new(),
    }
}

fn take_in(link: &mut Link, attribute: &Attribute<'_>) {
    match attribute.number {
        1 => link.address = attribute.mac(),
        2 => link.broadcast = attribute.mac(),
        3 => link.name = attribute.string(),
        4 => link.mtu = attribute.u32().unwrap_or_default(),
        // Tunnels without a lower device say 0.
        5 => link.link = attribute.u32().filter(|lower| *lower != 0).map(IfIndex),
        10 => link.master = attribute.u32().map(IfIndex),
        16 => link.operstate = attribute.u8().unwrap_or_default(),
        26 => af_spec(link, attribute.nested()),
        30 => link.promiscuity = attribute.u32(),
        33 => link.carrier = attribute.u8().map(|carrier| carrier != 0),
        43 => link.xdp = xdp(attribute.nested()),
        52 => {
            link.altnames =
                attribute.nested().filter(|name| name.number == 53).map(|name| name.string()).collect()
        }
        61 => link.allmulti = attribute.u32(),
        number if PASSED_OVER.contains(&number) => {}
        36 => link.phys_switch_id = Some(attribute.unknown().bytes),
        _ => link.unknown.push(attribute.unknown()),
    }
}

/// `IFLA_AF_SPEC`: the interface's IPv4 and IPv6 settings, as arrays.
fn af_spec(link: &mut Link, families: Attributes<'_>) {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    const IFLA_INET_CONF: u16 = 1;
    const IFLA_INET6_CONF: u16 = 2;
    let number = |conf: Attribute<'_>, at: usize| u32_at(conf.payload, at * 4).map(u32::cast_signed);
    for family in families {
        match family.number {
            AF_INET => {
                let conf = family.nested().get(IFLA_INET_CONF);
                // The kernel's indices count from 1 and its array from 0.
                link.ipv4 = conf.map(|conf| Ipv4Conf::gather(|_, index| number(conf, index - 1)));
            }
            AF_INET6 => {
                let conf = family.nested().get(IFLA_INET6_CONF);
                link.ipv6 = conf.map(|conf| Ipv6Conf::gather(|_, index| number(conf, index)));
            }
            _ => {}
        }
    }
}

/// `IFLA_XDP`: the single program, or one for each place where several may be.
fn xdp(nest: Attributes<'_>) -> Vec<XdpProgram> {
    let (attached, id) = (nest.get(2).and_then(|a| a.u8()).unwrap_or(0), nest.get(4).and_then(|a| a.u32()));
    let mode = |attached| match attached {
        1 => XdpMode::Driver,
        2 => XdpMode::Generic,
        3 => XdpMode::Hardware,
        other => XdpMode::Other(other),
    };
    match attached {
        0 => Vec::new(),
        // XDP_ATTACHED_MULTI: IFLA_XDP_DRV_PROG_ID 5, SKB 6, HW 7.
        4 => {
            let places = [(5, XdpMode::Driver), (6, XdpMode::Generic), (7, XdpMode::Hardware)];
            let program = |(number, mode)| nest.get(number).map(|id| XdpProgram { mode, id: id.u32() });
            places.into_iter().filter_map(program).collect()
        }
        single => vec![XdpProgram { mode: mode(single), id }],
    }
}

/// `IFLA_LINKINFO`: the kind, and what it is to its master.
fn link_info(link: &mut Link, info: Attributes<'_>) {
    let data = info.get(2).map_or(Attributes::new(&[]), |data| data.nested());
    if let Some(name) = info.get(1) {
        link.kind = kind(&name.string(), data);
    }
    if let Some(name) = info.get(4) {
        let data = info.get(5).map_or(Attributes::new(&[]), |data| data.nested());
        link.port = Some(match name.string().as_str() {
            "bridge" => PortKind::Bridge(Box::new(port_options(data))),
            other => PortKind::Other(other.to_owned()),
        });
    }
}

fn kind(name: &str, data: Attributes<'_>) -> LinkKind {
    let u8_of = |number| data.get(number).and_then(|attribute| attribute.u8());
    let u16_of = |number| data.get(number).and_then(|attribute| attribute.u16());
    let u32_of = |number| data.get(number).and_then(|attribute| attribute.u32());
    match name {
        "bridge" => LinkKind::Bridge(Box::new(bridge_options(data))),
        "veth" => LinkKind::Veth,
        "tun" => LinkKind::Tun(TunOptions {
            owner: u32_of(1),
            group: u32_of(2),
            tap: u8_of(3) == Some(2),
            vnet_hdr: u8_of(5) == Some(1),
            persist: u8_of(6) == Some(1),
            multi_queue: u8_of(7) == Some(1),
        }),
        "vlan" => LinkKind::Vlan(VlanDevice {
            id: u16_of(1).unwrap_or_default(),
            protocol: data.get(5).and_then(|tpid| tpid.be16()).map_or(EtherType::VLAN, EtherType),
            flags: u32_of(2).unwrap_or_default(),
        }),
        "macvlan" => LinkKind::Macvlan(macvlan(&data)),
        "macvtap" => LinkKind::Macvtap(macvlan(&data)),
        "ipvlan" | "ipvtap" => LinkKind::Ipvlan(IpvlanOptions {
            mode: u16_of(1).unwrap_or_default(),
            flags: u16_of(2).unwrap_or_default(),
        }),
        "vxlan" => LinkKind::Vxlan(VxlanOptions {
            id: u32_of(1),
            lower: u32_of(3).map(IfIndex),
            port: data.get(15).and_then(|port| port.be16()),
            collect_metadata: u8_of(25) == Some(1),
        }),
        "bond" => LinkKind::Bond(BondOptions { mode: u8_of(1), active_slave: u32_of(2).map(IfIndex) }),
        "vrf" => LinkKind::Vrf { table: u32_of(1).unwrap_or_default() },
        other => LinkKind::Other(other.to_owned()),
    }
}

fn macvlan(data: &Attributes<'_>) -> MacvlanOptions {
    let mode = match data.get(1).and_then(|mode| mode.u32()).unwrap_or_default() {
        1 => MacvlanMode::Private,
        2 => MacvlanMode::Vepa,
        4 => MacvlanMode::Bridge,
        8 => MacvlanMode::Passthru,
        16 => MacvlanMode::Source,
        other => MacvlanMode::Other(other),
    };
    let flags = data.get(2).and_then(|flags| flags.u16()).unwrap_or_default();
    let sources = data.get(5).into_iter().flat_map(|nest| nest.nested());
    MacvlanOptions { mode, flags, sources: sources.filter_map(|source| source.mac()).collect() }
}
