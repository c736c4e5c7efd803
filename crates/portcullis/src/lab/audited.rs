//! What `portcullis audit` says of a lab's host.

use portcullis_audit::Policy;
use portcullis_kernel::Error;
use portcullis_snapshot::IfIndex;

use super::story::Story;
use super::world::Node;

/// Today does not matter: a lab has no waivers that could expire.
const NO_DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Audits a node and keeps the findings, a line each.
pub(super) fn audit_lines(host: &Node) -> Result<Vec<String>, Error> {
    let snapshot = host.snapshot()?;
    let report = portcullis_audit::audit(&snapshot, &Policy::default(), NO_DAY);
    let mut lines: Vec<String> = Vec::new();
    for finding in &report.findings {
        let severity = format!("{:?}", finding.severity).to_lowercase();
        let line = format!("{severity:<9}{:<28}{}", finding.rule.to_string(), finding.title);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Audits a node and tells the story what came of it.
pub(super) fn audit(host: &Node, story: &mut Story) -> Result<(), Error> {
    story.audit = audit_lines(host)?;
    Ok(())
}

/// The witness frames of a port: the rule, and the frame.
pub(super) fn witnesses(host: &Node, port: IfIndex) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let snapshot = host.snapshot()?;
    let report = portcullis_audit::audit(&snapshot, &Policy::default(), NO_DAY);
    let of_port = report.findings.into_iter().filter_map(|finding| {
        let witness = finding.witness?;
        (witness.port.index == port).then(|| (format!("{}: {}", finding.rule, finding.title), witness.frame))
    });
    Ok(of_port.collect())
}
