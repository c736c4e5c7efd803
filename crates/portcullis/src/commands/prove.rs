//! `portcullis prove`.

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;

use portcullis_audit::{BridgeView, Context, PortView, Role};
use portcullis_datapath::When;
use portcullis_datapath::network::Alike;
use portcullis_prove::{Goal, HostProtocol, Proof, Prover, Receiver, rests_on};
use portcullis_report::json::{self, ClaimEntry, Holds, KnobEntry, ProveDocument, VerdictName};
use portcullis_report::text;
use portcullis_snapshot::IfIndex;

use super::{policy, source::State};
use crate::arguments::{Format, ProveArguments};
use crate::failure::Failure;
use crate::output::print;
use crate::pcap;
use crate::progress::Progress;

pub(crate) fn run(arguments: &ProveArguments) -> Result<ExitCode, Failure> {
    let (policy, _) = policy::read(&arguments.policy)?;
    let state = State::read(&arguments.source)?;
    let namespaces = state.snapshot.namespaces.iter().filter(|netns| state.includes(netns.id));
    let contexts: Vec<_> =
        namespaces.filter_map(|netns| Context::new(&state.snapshot, netns, &policy)).collect();
    let asked = Asked::new(arguments, &contexts)?;
    let claims = {
        let _progress = Progress::of("proving");
        contexts.iter().flat_map(|context| asked.claims_of(context)).collect()
    };
    let holds = if arguments.now { Holds::Now } else { Holds::Ever };
    let document = ProveDocument::new(&state.snapshot, holds, claims);
    if let Some(path) = &arguments.pcap {
        let frames = document.claims.iter().filter_map(|claim| claim.witness.as_ref());
        let bytes = pcap::file(frames.map(|witness| &*witness.frame.0));
        fs::write(path, bytes).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    }
    print(|mut out| match arguments.format {
        Format::Text => text::prove(&mut out, &document),
        Format::Json => json::write(&mut out, &document),
    })?;
    let isolated = document.claims.iter().all(|claim| claim.verdict == VerdictName::Isolated);
    Ok(if isolated { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Which ports somebody means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ports {
    /// Those of roles.
    Of(Vec<Role>),
    /// One, by name.
    Named(String),
}

/// What is to be kept from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Host,
    Infrastructure,
    Sniff,
    Spoof,
    SpoofIp,
    Ports(Ports),
}

/// What was asked for.
struct Asked {
    from: Ports,
    to: Vec<Target>,
    /// In whose name, for [`Target::SpoofIp`]; empty for those that the host knows.
    addresses: Vec<IpAddr>,
    when: When,
    explain: bool,
}

impl Asked {
    fn new(arguments: &ProveArguments, contexts: &[Context<'_>]) -> Result<Self, Failure> {
        let from = match &arguments.from {
            None => Ports::Of(vec![Role::Guest, Role::Foreign]),
            Some(name) => ports(name, contexts)?,
        };
        let target = |name: &String| {
            Ok(match name.as_str() {
                "host" => Target::Host,
                "infra" => Target::Infrastructure,
                "sniff" => Target::Sniff,
                "spoof" => Target::Spoof,
                "spoof-ip" => Target::SpoofIp,
                _ => Target::Ports(ports(name, contexts)?),
            })
        };
        let to = if arguments.to.is_empty() {
            let other = Target::Ports(Ports::Of(vec![Role::Guest, Role::Foreign, Role::Uplink]));
            vec![Target::Host, Target::Infrastructure, other, Target::Sniff, Target::Spoof, Target::SpoofIp]
        } else {
            arguments.to.iter().map(target).collect::<Result<_, Failure>>()?
        };
        let addresses = arguments.address.clone();
        if !addresses.is_empty() && !to.contains(&Target::SpoofIp) {
            return Err(Failure::new("--address is for --to spoof-ip"));
        }
        let when = if arguments.now { When::Now } else { When::Ever };
        Ok(Self { from, to, addresses, when, explain: arguments.explain })
    }

    /// Judges what was asked for of the bridges of a namespace. Of ports that are alike, on whichever bridge, one stands for
    /// all.
    fn claims_of(&self, context: &Context<'_>) -> Vec<ClaimEntry> {
        let prover = Prover::new(context.network());
        let prover = if self.when == When::Now { prover.now() } else { prover };
        let classes = context.network().alike();
        let mut claims = Vec::new();
        for group in groups(context.bridges().iter(), &classes, &self.from) {
            let Some(((bridge, port), alike)) = group.split_first() else { continue };
            let there = Others { bridges: context.bridges(), bridge, classes: &classes, port };
            let known = |port| prover.ip_addresses_behind(port);
            let goals = self.to.iter().flat_map(|target| there.goals(target, &self.addresses, known));
            let goals: Vec<_> = goals.collect();
            let wanted: Vec<_> = goals.iter().map(|(goal, _)| *goal).collect();
            let proofs: Vec<Proof> = prover.prove(port.link.index, &wanted);
            for (proof, (_, to_alike)) in proofs.iter().zip(goals) {
                let from_alike = alike.iter().map(|(_, port)| port.link.name.clone()).collect();
                let (network, alike) = (context.network(), (from_alike, to_alike));
                let mut claim = ClaimEntry::new(network, &bridge.link.name, proof, alike);
                if self.explain {
                    let knobs = rests_on(context.snapshot(), context.netns(), proof, self.when);
                    claim.rests_on = Some(knobs.into_iter().map(KnobEntry::from).collect());
                }
                claims.push(claim);
            }
        }
        claims
    }
}

/// Reads a role or the name of a port.
fn ports(name: &str, contexts: &[Context<'_>]) -> Result<Ports, Failure> {
    if let Some((_, role)) = Role::NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(Ports::Of(vec![*role]));
    }
    let all = contexts.iter().flat_map(Context::bridges).flat_map(|bridge| &bridge.ports);
    let names: Vec<_> = all.map(|port| port.link.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(Ports::Named(name.to_owned()));
    }
    let roles = Role::NAMES.iter().map(|(role, _)| *role);
    Err(Failure::new(format!("{name:?} is neither a role nor a port of a bridge"))
        .nearest(name, names.iter().copied().chain(roles)))
}

/// A port, and the bridge that it is on.
type Place<'b, 's> = (&'b BridgeView<'s>, &'b PortView<'s>);

/// The ports that are meant, those that are alike together.
fn groups<'b, 's>(
    bridges: impl Iterator<Item = &'b BridgeView<'s>>,
    classes: &Alike,
    ports: &Ports,
) -> Vec<Vec<Place<'b, 's>>> {
    let all = bridges.flat_map(|bridge| bridge.ports.iter().map(move |port| (bridge, port)));
    let meant = all.filter(|(_, port)| match ports {
        Ports::Of(roles) => roles.contains(&port.role),
        Ports::Named(name) => port.link.name == *name,
    });
    let mut groups: Vec<(_, Vec<Place<'b, 's>>)> = Vec::new();
    for place in meant {
        let key = (place.1.role, classes.class(place.1.link.index));
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(place),
            None => groups.push((key, vec![place])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// What claims about a port can be about beside it.
struct Others<'b, 's> {
    bridges: &'b [BridgeView<'s>],
    bridge: &'b BridgeView<'s>,
    classes: &'b Alike,
    port: &'b PortView<'s>,
}

impl Others<'_, '_> {
    /// The goals of a target, each with the ports that are like the one it is about. Who is meant by role is on the same
    /// bridge.
    fn goals(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        known: impl Fn(IfIndex) -> Vec<IpAddr>,
    ) -> Vec<(Goal, Vec<String>)> {
        let everybody = Ports::Of(Role::NAMES.iter().map(|(_, role)| *role).collect());
        match target {
            Target::Host => HostProtocol::ALL.map(|protocol| (Goal::Host(protocol), Vec::new())).into(),
            Target::Infrastructure => vec![(Goal::Infrastructure, Vec::new())],
            Target::Sniff => self.of_ports(&everybody, |from| Goal::Sniff { from }),
            Target::Spoof => self.of_ports(&everybody, |of| Goal::Spoof { of }),
            Target::SpoofIp if addresses.is_empty() => {
                let others = self.ports(&everybody).into_iter().flat_map(|(port, _)| known(port));
                others.flat_map(|address| self.in_the_name_of(&everybody, address)).collect()
            }
            Target::SpoofIp => {
                addresses.iter().flat_map(|address| self.in_the_name_of(&everybody, *address)).collect()
            }
            Target::Ports(ports) => self.of_ports(ports, Goal::Port),
        }
    }

    /// Frames in the name of an IP address: to the host, and to one port of each other sort.
    fn in_the_name_of(&self, everybody: &Ports, address: IpAddr) -> Vec<(Goal, Vec<String>)> {
        let goal = |to| Goal::SpoofIp { address, to };
        let ports = self.of_ports(everybody, |port| goal(Receiver::Port(port)));
        std::iter::once((goal(Receiver::Host), Vec::new())).chain(ports).collect()
    }

    fn of_ports(&self, ports: &Ports, goal: impl Fn(IfIndex) -> Goal) -> Vec<(Goal, Vec<String>)> {
        self.ports(ports).into_iter().map(|(port, alike)| (goal(port), alike)).collect()
    }

    /// One port of each sort that is meant, with the names of those that are like it.
    fn ports(&self, ports: &Ports) -> Vec<(IfIndex, Vec<String>)> {
        let groups = match ports {
            Ports::Of(_) => groups(std::iter::once(self.bridge), self.classes, ports),
            Ports::Named(_) => groups(self.bridges.iter(), self.classes, ports),
        };
        let ports = groups.into_iter().filter_map(|group| {
            let others = group.into_iter().map(|(_, port)| port);
            let others: Vec<_> = others.filter(|other| other.link.index != self.port.link.index).collect();
            let (other, alike) = others.split_first()?;
            Some((other.link.index, alike.iter().map(|port| port.link.name.clone()).collect()))
        });
        ports.collect()
    }
}
