//! What a product's rules promise, as claims about every frame of a kind; each proven, and each verdict put to the kernel.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use portcullis_datapath::frame::domain::Domain;
use portcullis_datapath::frame::symbolic::{Condition, MOST_TAGS};
use portcullis_datapath::frame::{ArpField, Concrete, Field, Icmp6Field, Ip4Field, Ip6Field, Set};
use portcullis_datapath::{
    Aim, Assumes, LearnedChange, Manner, Network, Otherwise, Outcome, Trace, Walk, When, walk,
};
use portcullis_prove::{Goal, HostProtocol, Prover, Receiver, every_way, in_the_name_of};
use portcullis_snapshot::{EtherType, Hex, IfIndex, Snapshot};

use crate::frames::directed;
use crate::world::{Guest, Seen, World, snapshot};

/// More ways than any of these rulesets has.
const MOST_WAYS: usize = 400_000;
/// How many frames are held against what is said to be isolated.
const DIRECTED: usize = 400;

/// Which frames are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    Every,
    /// With a tag or more.
    Tagged,
    /// From a MAC address that is not the guest's.
    ForeignMac,
    /// ARP that names a MAC address as the sender's that is not the guest's.
    ForeignArpMac,
    /// ARP that names an IPv4 address as the sender's that is not the guest's, nor 0.0.0.0.
    ForeignArpIp,
    /// IPv4 from an address that is not the guest's, nor 0.0.0.0.
    ForeignIpv4,
    /// ARP without a tag that names another sender: by IPv4 address, or by MAC address.
    UntaggedArp(bool),
    /// IPv4 from 0.0.0.0.
    UnspecifiedIpv4,
    /// IPv4 without a tag.
    UntaggedIpv4,
    /// IPv6 from an address that is neither of the guest's two, nor unspecified.
    ForeignIpv6,
    /// A neighbour advertisement, right behind the IPv6 header, of an address that is not the guest's.
    ForeignNa,
    /// A neighbour advertisement of an address that begins with 20, behind destination options.
    HiddenNa,
    /// A router advertisement right behind the IPv6 header.
    RouterAdvertisement,
    /// One protocol over IPv4.
    Ipv4Of(u8),
    /// One protocol over IPv6.
    Ipv6Of(u8),
    /// A port of TCP or UDP over IPv4.
    Ipv4Port(u8, u16),
    /// All ports of TCP or UDP over IPv4 but these.
    Ipv4PortsBut(u8, &'static [u16]),
    /// An EtherType.
    Ethertype(u16),
    /// In the name of an IP address, however it is said.
    InTheNameOf(Ipv4Addr),
}

/// Where they are not to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Out of a port.
    Port(&'static str),
    /// Into a protocol of the host's stack.
    Host(HostProtocol),
    /// On by the host's router, out of a device.
    Routed(&'static str),
    /// Into the FDB, with a source that is another guest's.
    Learned(&'static str),
}

/// A claim, and what must come of it.
pub(crate) type Promise = (&'static str, Frames, Ends, Expect);

/// What must come of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Isolated,
    Exposed,
    /// Something that the walk does not decide stands in the way, whose name has this in it; what is new does not pass.
    Unless(&'static str),
    /// Likewise, and something of it passes.
    Lets(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Isolated,
    Exposed(Vec<u8>),
    Unproven(BTreeSet<String>),
}

impl Verdict {
    const fn name(&self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Exposed(_) => "exposed ",
            Self::Unproven(_) => "unproven",
        }
    }
}

impl Frames {
    /// The frames, as conditions that no two share a frame.
    fn conditions(self, guest: &Guest) -> Vec<Condition> {
        let mac = u128::from(guest.mac.to_u64());
        let ip = u128::from(u32::from(guest.ip));
        let own6 = [guest.link_local(), guest.global()].map(u128::from);
        let [link_local, global] = own6;
        let every = || vec![Condition::untagged_frames(), Condition::tagged_frames()];
        let arp = |field, values| {
            behind_tags(EtherType::ARP, |d| {
                vec![is(Field::Arp(d, ArpField::WellFormed), 1), not(Field::Arp(d, field), values)]
            })
        };
        let ipv4 = |fields: &dyn Fn(u8) -> Vec<(Field, Domain)>| behind_tags(EtherType::IPV4, fields);
        let ipv6 = |fields: &dyn Fn(u8) -> Vec<(Field, Domain)>| {
            behind_tags(EtherType::IPV6, |d| {
                [vec![is(Field::Ip6(d, Ip6Field::WellFormed), 1)], fields(d)].concat()
            })
        };
        let icmp6 = |d, kind| {
            // One that is cut off before its target ends is none.
            let whole = Domain::of(Field::Length(d), Set::Range(64, 9000)).unwrap();
            vec![
                (Field::Length(d), whole),
                is(Field::Ip6(d, Ip6Field::NextHeader), 58),
                is(Field::Icmp6(d, Icmp6Field::Type), kind),
            ]
        };
        match self {
            Self::Every => every(),
            Self::Tagged => vec![Condition::tagged_frames()],
            Self::ForeignMac => narrowed(every(), &not(Field::Src, &[mac])),
            Self::ForeignArpMac => arp(ArpField::SenderMac, &[mac]),
            Self::ForeignArpIp => arp(ArpField::SenderIp, &[ip, 0]),
            Self::ForeignIpv4 => ipv4(&|d| {
                vec![
                    is(Field::Ip4(d, Ip4Field::WellFormed), 1),
                    not(Field::Ip4(d, Ip4Field::Source), &[ip, 0]),
                ]
            }),
            Self::UntaggedArp(by_ip) => {
                let foreign = if by_ip { Self::ForeignArpIp } else { Self::ForeignArpMac };
                // The first of them are those without a tag.
                foreign.conditions(guest).into_iter().take(1).collect()
            }
            Self::UnspecifiedIpv4 => ipv4(&|d| {
                vec![is(Field::Ip4(d, Ip4Field::WellFormed), 1), is(Field::Ip4(d, Ip4Field::Source), 0)]
            }),
            Self::UntaggedIpv4 => {
                let protocol = is(Field::Protocol(0), EtherType::IPV4.0.into());
                narrowed(vec![Condition::untagged_frames()], &protocol)
            }
            Self::ForeignIpv6 => {
                ipv6(&|d| vec![not(Field::Ip6(d, Ip6Field::Source), &[link_local, global, 0])])
            }
            Self::ForeignNa => {
                ipv6(&|d| [icmp6(d, 136), vec![not(Field::Icmp6(d, Icmp6Field::Target), &own6)]].concat())
            }
            Self::HiddenNa => ipv6(&|d| {
                vec![
                    is(Field::Ip6(d, Ip6Field::NextHeader), 60),
                    is(Field::Ip6(d, Ip6Field::HasTransport), 1),
                    is(Field::Ip6(d, Ip6Field::TransportProtocol), 58),
                    is(Field::TransportByte(d, 0), 136),
                    is(Field::TransportByte(d, 8), 0x20),
                ]
            }),
            Self::RouterAdvertisement => ipv6(&|d| icmp6(d, 134)),
            Self::Ipv4Of(protocol) => ipv4(&|d| vec![is(Field::Ip4(d, Ip4Field::Protocol), protocol.into())]),
            Self::Ipv6Of(protocol) => {
                ipv6(&|d| vec![is(Field::Ip6(d, Ip6Field::NextHeader), protocol.into())])
            }
            Self::Ipv4Port(protocol, port) => ipv4(&|d| {
                vec![
                    is(Field::Ip4(d, Ip4Field::Protocol), protocol.into()),
                    is(Field::Ip4(d, Ip4Field::DestinationPort), port.into()),
                ]
            }),
            Self::Ipv4PortsBut(protocol, ports) => ipv4(&|d| {
                let ports: Vec<_> = ports.iter().map(|port| u128::from(*port)).collect();
                vec![
                    is(Field::Ip4(d, Ip4Field::Protocol), protocol.into()),
                    not(Field::Ip4(d, Ip4Field::DestinationPort), &ports),
                ]
            }),
            Self::Ethertype(ethertype) => behind_tags(EtherType(ethertype), |_| Vec::new()),
            Self::InTheNameOf(address) => in_the_name_of(address.into()),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Every => "any frame".to_owned(),
            Self::Tagged => "frames with a tag".to_owned(),
            Self::ForeignMac => "frames from another MAC address".to_owned(),
            Self::ForeignArpMac => "ARP in the name of another MAC address".to_owned(),
            Self::ForeignArpIp => "ARP in the name of another IPv4 address".to_owned(),
            Self::ForeignIpv4 => "IPv4 from another address".to_owned(),
            Self::UntaggedArp(true) => "ARP without a tag in the name of another IPv4 address".to_owned(),
            Self::UntaggedArp(false) => "ARP without a tag in the name of another MAC address".to_owned(),
            Self::UnspecifiedIpv4 => "IPv4 from 0.0.0.0".to_owned(),
            Self::UntaggedIpv4 => "IPv4 without a tag".to_owned(),
            Self::ForeignIpv6 => "IPv6 from another address".to_owned(),
            Self::ForeignNa => "neighbour advertisements of another address".to_owned(),
            Self::HiddenNa => "neighbour advertisements of 2000::/8 behind destination options".to_owned(),
            Self::RouterAdvertisement => "router advertisements".to_owned(),
            Self::Ipv4Of(protocol) => format!("IPv4 of protocol {protocol}"),
            Self::Ipv6Of(protocol) => format!("IPv6 of protocol {protocol}"),
            Self::Ipv4Port(protocol, port) => format!("IPv4 of protocol {protocol} to port {port}"),
            Self::Ipv4PortsBut(protocol, ports) => {
                format!("IPv4 of protocol {protocol} to ports other than {ports:?}")
            }
            Self::Ethertype(ethertype) => format!("frames of EtherType {ethertype:#06x}"),
            Self::InTheNameOf(address) => format!("frames in the name of {address}"),
        }
    }
}

fn is(field: Field, value: u128) -> (Field, Domain) {
    (field, Domain::of(field, Set::Exactly(value)).unwrap())
}

fn not(field: Field, values: &[u128]) -> (Field, Domain) {
    let all = Domain::full(field.bits());
    (field, values.iter().fold(all, |all, value| all.without(&is(field, *value).1)))
}

/// Conditions with what a field can be, where that leaves any frames.
fn narrowed(mut conditions: Vec<Condition>, (field, domain): &(Field, Domain)) -> Vec<Condition> {
    conditions.retain_mut(|given| given.narrow(*field, domain));
    conditions
}

/// Frames of a protocol, behind each number of tags, with fields of which each has certain values.
fn behind_tags(protocol: EtherType, fields: impl Fn(u8) -> Vec<(Field, Domain)>) -> Vec<Condition> {
    let tpids = Set::VLAN_TPIDS.into_iter().filter_map(|tpid| Domain::of(Field::Protocol(0), tpid));
    let tpids = tpids.fold(Domain::default(), |all, tpid| all.union(&tpid));
    let depths = 0..=MOST_TAGS;
    let conditions = depths.filter_map(|depth| {
        let mut given = Condition::every_frame();
        let tags = (0..depth).all(|outer| given.narrow(Field::Protocol(outer), &tpids));
        let (field, protocol) = is(Field::Protocol(depth), protocol.0.into());
        let behind = tags && given.narrow(field, &protocol);
        let all = behind && fields(depth).iter().all(|(field, domain)| given.narrow(*field, domain));
        all.then_some(given)
    });
    conditions.collect()
}

/// A claim about a snapshot.
struct Claim<'n, 's> {
    network: &'n Network<'s>,
    from: IfIndex,
    ends: Ends,
    /// The port that the claim is about beside the sender's.
    other: Option<IfIndex>,
}

impl Claim<'_, '_> {
    fn manner(&self, when: When) -> Manner {
        let aim = match (self.ends, self.other) {
            (Ends::Port(_), Some(port)) => Aim::Port(port),
            (Ends::Learned(_), _) => Aim::Port(IfIndex(0)),
            _ => Aim::Host,
        };
        Manner { trace: Trace::Off, aim, when }
    }

    /// The ends of a way that the claim is about.
    fn reached(&self, walked: &Walk) -> Vec<Assumes> {
        let outcomes = walked.outcomes.iter();
        match self.ends {
            Ends::Learned(_) => walked
                .learned
                .iter()
                .filter(|learned| learned.port == self.from && learned.change != LearnedChange::Locked)
                .map(|learned| learned.assumes)
                .collect(),
            Ends::Port(_) => outcomes
                .filter(|end| matches!(end, Outcome::Port(delivery) if Some(delivery.device) == self.other))
                .map(Outcome::assumes)
                .collect(),
            Ends::Host(protocol) => outcomes
                .filter(|end| matches!(end, Outcome::Host(delivery) if HostProtocol::of(delivery.protocol) == protocol))
                .map(Outcome::assumes)
                .collect(),
            Ends::Routed(_) => outcomes
                .filter(|end| matches!(end, Outcome::Forwarded { device, .. } if Some(*device) == self.other))
                .map(Outcome::assumes)
                .collect(),
        }
    }

    fn gets_there(&self, bytes: &[u8]) -> bool {
        let Some(mut frame) = Concrete::new(bytes) else { return false };
        let walked = walk(self.network, self.from, &mut frame, self.manner(When::Now));
        self.reached(&walked).iter().any(|assumes| assumes.is_empty())
    }

    /// Takes every way until one is found that gets there.
    fn judge(&self, given: &[Condition]) -> Verdict {
        let mut open = BTreeSet::new();
        let mut witness = None;
        for given in given {
            let whole = every_way(
                self.network,
                (self.from, self.manner(When::Ever)),
                given,
                MOST_WAYS,
                &mut |condition, walked| {
                    let anything = walked.open.iter().filter(|open| open.otherwise == Otherwise::Anything);
                    open.extend(anything.map(|open| open.kind.to_string()));
                    for assumes in self.reached(walked) {
                        let questions = walked.questions(assumes);
                        open.extend(questions.map(|open| open.kind.to_string()));
                        if !assumes.is_empty() {
                            continue;
                        }
                        match condition.witness(&[]).filter(|bytes| self.gets_there(bytes)) {
                            Some(bytes) => {
                                witness = Some(bytes);
                                return ControlFlow::Break(());
                            }
                            None => {
                                println!("  no frame of {condition:?}");
                                open.insert("of a sort of frames none could be made".to_owned());
                            }
                        }
                    }
                    ControlFlow::Continue(())
                },
            );
            assert!(whole, "more than {MOST_WAYS} ways");
            if let Some(bytes) = witness {
                return Verdict::Exposed(bytes);
            }
        }
        if open.is_empty() { Verdict::Isolated } else { Verdict::Unproven(open) }
    }
}

/// Proves what is promised of a port's frames, holds the verdicts against the kernel, and returns them as text.
pub(crate) fn check(world: &mut World, name: &str, promises: &[Promise]) -> String {
    world.introduce_all();
    let state = snapshot();
    if let Some(folder) = std::env::var_os("PORTCULLIS_SAVE") {
        let path = std::path::Path::new(&folder).join(format!("{name}.json"));
        state.save(std::fs::File::create(path).unwrap()).unwrap();
    }
    let network = Network::new(&state, state.namespaces[0].id).unwrap();
    let index = |name: &str| state.namespaces[0].link_named(name).unwrap().index;
    let mut text = String::new();
    let mut wrong = Vec::new();
    for (from, frames, ends, expected) in promises {
        let guest = world.guest(from);
        let other = match ends {
            Ends::Port(port) | Ends::Learned(port) | Ends::Routed(port) => Some(index(port)),
            Ends::Host(_) => None,
        };
        let claim = Claim { network: &network, from: index(from), ends: *ends, other };
        let mut conditions = frames.conditions(guest);
        if let Ends::Learned(of) = ends {
            let theirs = u128::from(world.guest(of).mac.to_u64());
            conditions = narrowed(conditions, &is(Field::Src, theirs));
        }
        let start = std::time::Instant::now();
        let verdict = claim.judge(&conditions);
        println!("{:?} for {from}: {}, {ends:?}: {}", start.elapsed(), frames.words(), verdict.name());
        describe(&mut text, from, *frames, *ends, &verdict);
        if let (Frames::InTheNameOf(address), Ends::Port(_), Some(to)) = (frames, ends, other) {
            let goal = Goal::SpoofIp { address: (*address).into(), to: Receiver::Port(to) };
            let proof = Prover::new(&network).prove(index(from), &[goal]).remove(0);
            assert_eq!(proof.verdict.name(), verdict.name().trim_end(), "{from}: {proof:?}");
        }
        let as_expected = match (&verdict, expected) {
            (Verdict::Isolated, Expect::Isolated) | (Verdict::Exposed(_), Expect::Exposed) => true,
            (Verdict::Unproven(open), Expect::Unless(what) | Expect::Lets(what)) => {
                open.iter().any(|one| one.contains(what))
            }
            // Of recent kernels nothing tells what their rules see behind a second tag.
            (Verdict::Unproven(open), Expect::Isolated) => open.iter().all(|one| {
                let rule = one.split(':').next().unwrap_or_default();
                open.iter().any(|other| other.starts_with(rule) && other.contains("behind a second tag"))
            }),
            _ => false,
        };
        if !as_expected {
            wrong.push(format!("{from}, {}, {ends:?}: {verdict:?}, not {expected:?}", frames.words()));
        }
        if *ends == Ends::Host(HostProtocol::Other) {
            // Nothing that is at hand tells whether a handler got a frame.
            continue;
        }
        if let Verdict::Exposed(frame) = &verdict {
            world.introduce_all();
            let seen = world.send(from, frame);
            let hex = Hex(frame);
            assert!(got_there(world, &claim, frame, &seen), "{from}: {hex} did not get there: {seen:?}");
            continue;
        }
        let got = one_that_gets_there(world, &claim, from, &conditions);
        let wanted = matches!(expected, Expect::Lets(_));
        assert!(got.is_some() == wanted, "{from}, {}, {ends:?}: {got:?}", frames.words());
    }
    assert!(wrong.is_empty(), "{text}\n{}", wrong.join("\n"));
    text
}

fn describe(text: &mut String, from: &str, frames: Frames, ends: Ends, verdict: &Verdict) {
    let to = match ends {
        Ends::Port(port) => format!("out of {port}"),
        Ends::Host(protocol) => format!("into the host's {}", protocol.name()),
        Ends::Routed(device) => format!("on by the host's router, out of {device}"),
        Ends::Learned(of) => format!("learned in the name of {of}"),
    };
    writeln!(text, "{} {from}: {} {to}", verdict.name(), frames.words()).unwrap();
    match verdict {
        Verdict::Isolated => {}
        Verdict::Exposed(frame) => writeln!(text, "         {}", Hex(frame)).unwrap(),
        Verdict::Unproven(open) => {
            for one in open {
                writeln!(text, "         {one}").unwrap();
            }
        }
    }
}

/// How often a frame has to get somewhere where none is said to.
const TIMES: usize = 3;

/// Sends frames that are made to get there; returns the first that does, in hex.
fn one_that_gets_there(
    world: &mut World,
    claim: &Claim<'_, '_>,
    from: &'static str,
    conditions: &[Condition],
) -> Option<String> {
    let mut tried = 0;
    for frame in directed(world, from, DIRECTED) {
        let meant = |read: Concrete<'_>| conditions.iter().any(|given| given.holds(&read));
        if Concrete::new(&frame).is_some_and(meant) {
            tried += 1;
            let mut seen = Seen::default();
            // The stack's counters are of the whole namespace, where the host has packets of its own: one that gets there
            // does so each time.
            let each_time = (0..TIMES).all(|_| {
                seen = world.send(from, &frame);
                got_there(world, claim, &frame, &seen)
            });
            if each_time {
                return Some(format!("{}: {seen:?}", Hex(&frame)));
            }
        }
    }
    println!("  {tried} frames did not");
    None
}

fn got_there(world: &mut World, claim: &Claim<'_, '_>, frame: &[u8], seen: &Seen) -> bool {
    match claim.ends {
        Ends::Port(port) => seen.at.get(port).is_some_and(|all| all.iter().any(|got| is_copy(got, frame))),
        Ends::Host(HostProtocol::Arp) => seen.arp,
        Ends::Host(HostProtocol::Ipv4) => seen.ipv4,
        Ends::Host(HostProtocol::Ipv6) => seen.ipv6,
        Ends::Host(HostProtocol::Other) => false,
        Ends::Routed(device) => {
            let there = |port: &str| {
                port == device
                    || world.site.guests.iter().any(|guest| guest.port == port && guest.bridge == device)
            };
            let ip = |bytes: &Vec<u8>| matches!(bytes.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
            seen.routed && seen.at.iter().any(|(port, all)| there(port) && all.iter().any(ip))
        }
        Ends::Learned(of) => {
            let behind = world.learned_behind(world.guest(of).mac);
            behind.contains(&claim.from)
        }
    }
}

/// Whether what arrived is a frame that was sent, tags or not, routed or not.
fn is_copy(got: &[u8], sent: &[u8]) -> bool {
    let same_source = got.get(6..12) == sent.get(6..12);
    let tail = |bytes: &[u8]| bytes.get(bytes.len().saturating_sub(8)..).map(<[u8]>::to_vec);
    same_source || (sent.len() > 60 && tail(got) == tail(sent))
}

/// The host's rules as they were read, counted; and what of them the walk does not see into.
pub(crate) fn inventory(state: &Snapshot) -> String {
    let filters = &state.namespaces[0].filters;
    let mut text = String::new();
    for table in filters.nft_tables.known() {
        let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
        let family = format!("{:?}", table.family).to_lowercase();
        let (chains, sets) = (table.chains.len(), table.sets.len());
        writeln!(text, "{family} {}: {chains} chains, {rules} rules, {sets} sets", table.name).unwrap();
    }
    for table in filters.legacy_tables.known() {
        writeln!(text, "{:?} {}", table.family, table.table).unwrap();
    }
    text
}
