//! `portcullis prove` for people: for each port what it is kept from and what not, the frame beside it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use portcullis_prove::HostProtocol;

use super::layout::shell_word;
use super::{Clean, field, plural};
use crate::json::{ClaimEntry, ClaimKind, Holds, ProveDocument, VerdictName};

/// How many names of ports are listed before the rest is only counted.
const PORTS: usize = 4;

/// Writes the claims, port by port, and a line that counts them.
///
/// # Errors
/// Whatever writing gives.
pub fn prove(out: &mut impl Write, document: &ProveDocument) -> io::Result<()> {
    if document.claims.is_empty() {
        return writeln!(out, "There is nothing to prove: no such port, or nothing that it could reach.");
    }
    let several = document
        .claims
        .iter()
        .any(|claim| Some(&claim.netns) != document.claims.first().map(|one| &one.netns));
    let mut last = None;
    for claim in &document.claims {
        let place = (&claim.netns, &claim.bridge, &claim.from);
        if last != Some(place) {
            if last.is_some() {
                writeln!(out)?;
            }
            write_place(out, claim, several)?;
            last = Some(place);
        }
        write_claim(out, claim, several)?;
    }
    write_summary(out, document)
}

fn write_place(out: &mut impl Write, claim: &ClaimEntry, several: bool) -> io::Result<()> {
    let netns = if several { format!(" in {}", Clean(&claim.netns)) } else { String::new() };
    let ports = named(&claim.from, &claim.from_alike);
    writeln!(out, "{}{netns} · from {ports}", Clean(&claim.bridge))
}

/// A port, and those that are like it.
pub(crate) fn named(port: &str, alike: &[String]) -> String {
    some(std::iter::once(port).chain(alike.iter().map(String::as_str)), PORTS)
}

/// The first of some names, and how many more there are.
pub(crate) fn some<'n>(names: impl IntoIterator<Item = &'n str>, most: usize) -> String {
    let names: Vec<_> = names.into_iter().map(|name| Clean(name).to_string()).collect();
    let shown = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn write_claim(out: &mut impl Write, claim: &ClaimEntry, several: bool) -> io::Result<()> {
    let (word, colour) = match claim.verdict {
        VerdictName::Isolated => ("isolated", AnsiColor::Green),
        VerdictName::Exposed => ("exposed", AnsiColor::Red),
        VerdictName::Unproven => ("unproven", AnsiColor::Yellow),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    writeln!(out, "  {style}{word:<8}{style:#}  {}", what(claim))?;
    if let Some(witness) = &claim.witness {
        let netns = if several { format!("--netns {} ", shell_word(&claim.netns)) } else { String::new() };
        // One line, however long: it is there to be pasted.
        let port = shell_word(&witness.port);
        writeln!(
            out,
            "              witness   portcullis walk {netns}--from {port} --frame {}",
            witness.frame
        )?;
        if witness.later {
            field(out, 14, "", "once what is learned now is forgotten or displaced")?;
        }
    }
    for (at, assumption) in claim.assumptions.iter().enumerate() {
        field(out, 14, if at == 0 { "because" } else { "" }, &assumption.what)?;
    }
    let Some(knobs) = &claim.rests_on else { return Ok(()) };
    if knobs.is_empty() {
        return field(out, 14, "rests on", "no single setting that was tried");
    }
    for (at, knob) in knobs.iter().enumerate() {
        let text = format!("{}: {} (with {}: {})", knob.name, knob.is, knob.instead, knob.verdict);
        field(out, 14, if at == 0 { "rests on" } else { "" }, &text)?;
    }
    Ok(())
}

/// What a claim is about, in words.
pub(crate) fn what(claim: &ClaimEntry) -> String {
    let to = named(&claim.to, &claim.to_alike);
    match (claim.claim, claim.host_protocol()) {
        (ClaimKind::Reach, Some(HostProtocol::Arp)) => "the host's ARP".to_owned(),
        (ClaimKind::Reach, Some(HostProtocol::Ipv4)) => "the host's IPv4".to_owned(),
        (ClaimKind::Reach, Some(HostProtocol::Ipv6)) => "the host's IPv6".to_owned(),
        (ClaimKind::Reach, Some(HostProtocol::Other)) => "other protocols of the host".to_owned(),
        (ClaimKind::Reach, None) if claim.to == "infra" => {
            "what is behind the host: its other addresses, and where it routes to".to_owned()
        }
        (ClaimKind::Reach, None) => to,
        (ClaimKind::Sniff, _) => format!("others' unicast frames from {to}"),
        (ClaimKind::Spoof, _) => format!("the addresses behind {to}"),
        (ClaimKind::SpoofIp, _) => {
            let address = claim.address.as_deref().unwrap_or_default();
            let to = if claim.to == "host" { "the host".to_owned() } else { to };
            format!("{to}, in the name of {address}")
        }
    }
}

fn write_summary(out: &mut impl Write, document: &ProveDocument) -> io::Result<()> {
    let summary = &document.summary;
    let holds = match document.holds {
        Holds::Ever => "whatever is learned meanwhile",
        Holds::Now => "in the state as it was read",
    };
    writeln!(
        out,
        "\n{}: {} isolated, {} exposed, {} unproven, {holds}",
        plural(document.claims.len(), "claim"),
        summary.isolated,
        summary.exposed,
        summary.unproven
    )
}
