//! One page of HTML that needs nothing else: to attach to a ticket, to print.

use std::fmt;
use std::io::{self, Write};

use portcullis_audit::Severity;

use crate::json::{AuditDocument, BridgeEntry, FindingEntry, Findings, LowerEntry, RemedyEntry};

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.4em } h2 { font-size: 1.15em; margin: 0 0 .3em }
section { border-left: .35em solid #bbb; padding: .2em 1em; margin: 1.5em 0 }
.critical { border-color: #a00 } .high { border-color: #d55 } .medium { border-color: #d90 } .low { border-color: #59c }
.tag { font-size: .8em; color: #555; margin: 0 } dt { font-weight: 600 } dd { margin: 0 0 .5em 0 }
code, pre { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }
pre { background: #f5f5f5; padding: .5em } table { border-collapse: collapse } td, th { padding: .1em 1em .1em 0; text-align: left }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } pre { background: #252525 } .tag { color: #aaa } }
@media print { section { break-inside: avoid } }
";

/// Writes what was found as one page.
///
/// # Errors
/// Whatever writing gives.
pub fn html(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    let (host, kernel, taken) = (Text(&document.host), Text(&document.kernel), Text(&document.taken_at));
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(out, "<title>Bridge isolation of {host}</title>\n<style>\n{STYLE}</style>")?;
    writeln!(out, "<h1>Bridge isolation of {host}</h1>")?;
    writeln!(out, "<p>Linux {kernel}, as of {taken}, judged by Portcullis {}.</p>", Text(&document.version))?;
    write_counts(out, document)?;
    for finding in document.findings.entries() {
        write_finding(out, &finding)?;
    }
    write_claims(out, document)?;
    write_unread(out, document)?;
    document.bridges.iter().try_for_each(|bridge| write_bridge(out, bridge))?;
    document.lower_devices.iter().try_for_each(|lower| write_lower(out, lower))?;
    writeln!(out, "</html>")
}

/// Text within HTML, harmless there.
struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = crate::text::Clean(self.0).to_string();
        for character in clean.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

fn write_counts(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    let s = &document.summary;
    let rows = [
        ("critical", s.critical),
        ("high", s.high),
        ("medium", s.medium),
        ("low", s.low),
        ("info", s.info),
        ("waived", s.waived),
        ("unproven, of those not waived", s.unproven),
    ];
    writeln!(out, "<table>")?;
    for (name, count) in rows {
        writeln!(out, "<tr><th>{name}</th><td>{count}</td></tr>")?;
    }
    writeln!(out, "</table>")
}

fn write_finding(out: &mut impl Write, finding: &FindingEntry<'_>) -> io::Result<()> {
    let place = [Some(&finding.netns), finding.bridge.as_ref(), finding.port.as_ref()];
    let place: Vec<_> = place.into_iter().flatten().map(AsRef::as_ref).collect();
    let class = if finding.waiver.is_some() { Severity::Info.name() } else { finding.severity.name() };
    writeln!(out, "<section class=\"{class}\">\n<h2>{}</h2>", Text(&finding.title))?;
    let (rule, place) = (Text(&finding.rule), place.join(" / "));
    writeln!(out, "<p class=\"tag\">{} · {rule} · {}</p>", finding.severity.name(), Text(&place))?;
    if let Some(waiver) = &finding.waiver {
        writeln!(out, "<p>Waived until {}: {}</p>", Text(&waiver.expires), Text(&waiver.reason))?;
    }
    if let Some(waiver) = &finding.expired_waiver {
        writeln!(out, "<p>The waiver expired on {}: {}</p>", Text(&waiver.expires), Text(&waiver.reason))?;
    }
    writeln!(out, "<p>{}</p>\n<dl>", Text(&finding.why))?;
    for evidence in &finding.evidence {
        writeln!(out, "<dt><code>{}</code></dt><dd>{}</dd>", Text(&evidence.source), Text(&evidence.value))?;
    }
    writeln!(out, "</dl>")?;
    if !finding.unproven.is_empty() {
        writeln!(out, "<p>Unproven, because of {}.</p>", Text(&finding.unproven.join("; ")))?;
    }
    if let Some(witness) = &finding.witness {
        let (port, reaches) = (Text(&witness.port), Text(&witness.reaches));
        writeln!(out, "<p>This frame, sent in by {port}, reaches {reaches}:</p>")?;
        writeln!(out, "<pre>{}</pre>", witness.frame)?;
    }
    finding.commands.iter().try_for_each(|remedy| write_remedy(out, remedy))?;
    writeln!(out, "</section>")
}

fn write_remedy(out: &mut impl Write, remedy: &RemedyEntry<'_>) -> io::Result<()> {
    writeln!(out, "<details><summary>{}: {}</summary>", Text(&remedy.method), Text(&remedy.summary))?;
    if !remedy.commands.is_empty() {
        let lines: Vec<_> = remedy.commands.iter().map(|line| Text(line).to_string()).collect();
        writeln!(out, "<pre>{}</pre>", lines.join("\n"))?;
    }
    writeln!(out, "</details>")
}

fn write_claims(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    if !document.claims.is_empty() {
        writeln!(out, "<h2>What holds for every frame of a guest port</h2>\n<table>")?;
        writeln!(out, "<tr><th>bridge</th><th>from</th><th>to</th><th>verdict</th><th>because of</th></tr>")?;
    }
    for claim in &document.claims {
        let from = crate::text::named(&claim.from, &claim.from_alike);
        let because: Vec<_> = claim.assumptions.iter().map(|one| one.what.as_str()).collect();
        let cells = [
            claim.bridge.clone(),
            from,
            crate::text::what(claim),
            claim.verdict.name().to_owned(),
            because.join("; "),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", Text(cell))).collect();
        writeln!(out, "<tr>{cells}</tr>")?;
    }
    if !document.claims.is_empty() {
        writeln!(out, "</table>")?;
    }
    for left in &document.not_proven {
        let (bridge, ports) = (Text(&left.bridge), left.ports.join(" "));
        writeln!(out, "<p>Nothing was proven of these ports of {bridge}: {}.</p>", Text(&ports))?;
    }
    Ok(())
}

fn write_unread(out: &mut impl Write, document: &AuditDocument<impl Findings>) -> io::Result<()> {
    if document.unread.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Not read, and could hide something</h2>\n<ul>")?;
    for entry in &document.unread {
        let netns = entry.netns.as_deref().unwrap_or("the host");
        writeln!(out, "<li>{} in {}: {}</li>", Text(&entry.what), Text(netns), Text(&entry.reason))?;
    }
    writeln!(out, "</ul>")
}

fn write_bridge(out: &mut impl Write, bridge: &BridgeEntry) -> io::Result<()> {
    writeln!(out, "<h2>{} in {}</h2>\n<table>", Text(&bridge.name), Text(&bridge.netns))?;
    writeln!(out, "<tr><th>port</th><th>role</th><th>guest</th></tr>")?;
    for port in &bridge.ports {
        let guest = port.guest.as_deref().unwrap_or("");
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(&port.name),
            port.role.name(),
            Text(guest)
        )?;
    }
    writeln!(out, "</table>")
}

fn write_lower(out: &mut impl Write, lower: &LowerEntry) -> io::Result<()> {
    writeln!(out, "<h2>{} in {}</h2>\n<ul>", Text(&lower.name), Text(&lower.netns))?;
    for upper in &lower.macvlans {
        writeln!(out, "<li>macvlan {} in {}</li>", Text(&upper.name), Text(&upper.netns))?;
    }
    writeln!(out, "</ul>")
}
