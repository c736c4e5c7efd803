//! What `portcullis audit` says of a lab's host, and whether the frames that it shows get there.

use std::os::fd::{AsFd, AsRawFd};

use portcullis_audit::{AuditReport, Policy};
use portcullis_kernel::Error;
use portcullis_kernel::capture::{self, Request, Scope};
use portcullis_snapshot::{IfIndex, MacAddr, Route};

use super::station::{Station, settle};
use super::story::Story;
use super::world::Node;

/// Today does not matter: a lab has no waivers that could expire.
const NO_DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Audits nodes, the host first: a guest's macvlan is seen in the guest's namespace alone.
fn report(nodes: &[&Node]) -> Result<AuditReport, Error> {
    let path = |node: &&Node| format!("/proc/self/fd/{}", node.as_fd().as_raw_fd());
    let request = Request {
        scope: Scope::Paths(nodes.iter().map(path).collect()),
        taken_at: "1970-01-01T00:00:00Z".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(portcullis_audit::audit(&capture::capture(&request)?, &Policy::default(), NO_DAY))
}

/// Audits nodes and tells the story what came of it, each sort of finding in a line.
pub(super) fn audit(nodes: &[&Node], story: &mut Story) -> Result<(), Error> {
    for finding in &report(nodes)?.findings {
        let line = format!("{:<9}{:<28}{}", finding.severity.name(), finding.rule.to_string(), finding.title);
        if !story.audit.contains(&line) {
            story.audit.push(line);
        }
    }
    Ok(())
}

/// Where a witness frame can be seen to arrive: the stations of the lab, each named after the port it is behind.
pub(super) type Stations = Vec<(String, Station)>;

const CONFIRM: &str = "The audit's witness frames, sent for real";

/// Sends each witness frame of a port and tells the story whether it got where the finding says.
///
/// The first station is the one behind the port, the second hears the markers. Findings whose effect shows neither on the
/// wire nor in the host's counters, routes or FDB are left out: nothing is called confirmed that was not seen.
pub(super) fn confirm(
    host: &Node,
    port: IfIndex,
    mut stations: Stations,
    story: &mut Story,
) -> Result<(), Error> {
    for finding in report(&[host])?.findings {
        let Some(witness) = finding.witness.filter(|witness| witness.port.index == port) else { continue };
        let before = (host.counters()?, ra_routes(host)?);
        for (_, station) in &mut stations {
            station.forget()?;
        }
        if let [(_, sender), (_, other), ..] = stations.as_mut_slice() {
            sender.send(&witness.frame)?;
            settle(other, sender)?;
        }
        let counted = |name: &str| Ok(host.counters()?.since(&before.0, name) > 0);
        let arrived: Result<bool, Error> = match finding.rule.0 {
            "host-arp" | "arp-probe" => heard(&mut stations, &witness.port.name, is_arp_reply),
            "host-ipv4" | "infra-address" | "link-local-to-host" => counted("Icmp.InEchos"),
            "host-ipv6" => counted("Icmp6InEchos"),
            "host-forwards" => counted("Ip.ForwDatagrams"),
            "rogue-ra" => Ok(ra_routes(host)? > before.1),
            "mac-spoofing" => learned(host, port, &witness.frame),
            "unknown-unicast-flood" => {
                heard(&mut stations, &witness.reaches, |frame| frame == &*witness.frame)
            }
            _ => continue,
        };
        let confirmed = format!("confirmed: the frame reached {}", witness.reaches);
        let observed = if arrived? { &confirmed } else { "the frame did not get there" };
        story.value(CONFIRM, format!("{}: {}", finding.rule, finding.title), &confirmed, observed, None);
    }
    Ok(())
}

fn heard(stations: &mut Stations, port: &str, wanted: impl Fn(&[u8]) -> bool) -> Result<bool, Error> {
    match stations.iter_mut().find(|(name, _)| name == port) {
        Some((_, station)) => station.heard(wanted),
        None => Ok(false),
    }
}

/// EtherType ARP, operation reply.
fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(20..22) == Some(&[0, 2])
}

/// How many default routes come from router advertisements (`RTPROT_RA`).
fn ra_routes(host: &Node) -> Result<usize, Error> {
    const RTPROT_RA: u8 = 9;
    let snapshot = host.snapshot()?;
    let routes = snapshot.namespaces.iter().flat_map(|netns| netns.routes.known());
    let believed = |route: &&Route| route.destination.prefix_len() == 0 && route.protocol == RTPROT_RA;
    Ok(routes.filter(believed).count())
}

/// Whether the bridge has learned a frame's source address at a port.
fn learned(host: &Node, port: IfIndex, frame: &[u8]) -> Result<bool, Error> {
    let (_, fdb) = host.run(capture::links_and_fdb)?;
    let source = frame.get(6..12).and_then(|bytes| bytes.first_chunk()).map(|bytes| MacAddr(*bytes));
    Ok(fdb.iter().any(|entry| Some(entry.address) == source && entry.device == port))
}
