//! SARIF 2.1.0, for tools that collect findings of many checkers.

use std::io::{self, Write};

use portcullis_audit::Severity;
use serde_json::{Value, json};

use crate::json::{self, AuditDocument, ExplainDocument, FindingEntry, Findings, RulePage};

/// Writes findings as one SARIF run; `rules` are the pages of all rules.
///
/// Devices become logical locations (`NETNS/BRIDGE/PORT`), as there is no file to point to. Waived findings are there
/// with a suppression. What was proven is no result: it stands among the run's properties.
///
/// # Errors
/// Whatever writing gives.
pub fn sarif(
    out: &mut impl Write,
    document: &AuditDocument<impl Findings>,
    rules: &ExplainDocument,
) -> io::Result<()> {
    let results: Vec<_> = document.findings.entries().map(|finding| result(&finding)).collect();
    let notifications = document.unread.iter().map(|entry| {
        let netns = entry.netns.as_deref().unwrap_or("the host");
        json!({
            "level": "warning",
            "message": { "text": format!("not read: {} in {netns}: {}", entry.what, entry.reason) },
        })
    });
    let notifications: Vec<_> = notifications.collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portcullis",
                "version": document.version,
                "rules": rules.rules.iter().map(rule).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications,
            }],
            "properties": {
                "host": document.host,
                "kernel": document.kernel,
                "takenAt": document.taken_at,
                "claims": document.claims,
                "notProven": document.not_proven,
            },
            "results": results,
        }],
    });
    json::write(out, &log)
}

fn rule(page: &RulePage) -> Value {
    let remedies: Vec<_> =
        page.remedies.iter().map(|remedy| format!("{}: {}", remedy.method, remedy.trade_off)).collect();
    json!({
        "id": page.rule,
        "shortDescription": { "text": page.title },
        "fullDescription": { "text": page.threat },
        "help": { "text": remedies.join("\n") },
        "defaultConfiguration": { "level": level(page.severity) },
    })
}

fn result(finding: &FindingEntry<'_>) -> Value {
    let place = [Some(&finding.netns), finding.bridge.as_ref(), finding.port.as_ref()];
    let place: Vec<_> = place.into_iter().flatten().map(AsRef::as_ref).collect();
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": { "text": format!("{}. {}", finding.title.trim_end_matches('.'), finding.why) },
        "locations": [{ "logicalLocations": [{
            "fullyQualifiedName": place.join("/"),
            "kind": "resource",
        }]}],
        "properties": {
            "severity": finding.severity,
            "witness": finding.witness,
            "evidence": finding.evidence,
            "unproven": finding.unproven,
            "remedies": finding.remedies,
        },
    });
    if let (Some(waiver), Some(result)) = (&finding.waiver, result.as_object_mut()) {
        let justification = format!("{} (until {})", waiver.reason, waiver.expires);
        let suppression = json!([{ "kind": "external", "justification": justification }]);
        result.insert("suppressions".to_owned(), suppression);
    }
    result
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}
