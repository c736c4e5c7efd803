//! `portcullis audit`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_audit::{audit, registry};
use portcullis_report::json::{self, AuditDocument, ExplainDocument};
use portcullis_report::{html, sarif, text};

use super::{policy, source::State};
use crate::arguments::{AuditArguments, AuditFormat};
use crate::failure::Failure;
use crate::output::{print, print_document};

pub(crate) fn run(arguments: &AuditArguments) -> Result<ExitCode, Failure> {
    let (policy, policy_path) = policy::read(&arguments.policy)?;
    let state = State::read(&arguments.source)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut report = audit(&state.snapshot, &policy, today);
    report.findings.retain(|finding| state.includes(finding.netns));
    report.claims.retain(|claim| state.includes(claim.netns));
    report.not_proven.retain(|left| state.includes(left.netns));
    report.bridges.retain(|bridge| state.includes(bridge.netns));
    report.lower_devices.retain(|lower| state.includes(lower.netns));
    let mut document = AuditDocument::new(&state.snapshot, &report);
    document.policy = policy_path;
    match arguments.format {
        AuditFormat::Text => print(|mut out| text::audit(&mut out, &document)),
        AuditFormat::Json if io::stdout().is_terminal() => print_document(|out| json::write(out, &document)),
        AuditFormat::Json => print_document(|out| json::write_line(out, &document)),
        AuditFormat::Sarif => {
            print_document(|out| sarif(out, &document, &ExplainDocument::new(registry::docs())))
        }
        AuditFormat::Html => print_document(|out| html(out, &document)),
    }?;
    let threshold = arguments.fail_on.unwrap_or(report.fail_on);
    let status = if report.fails(threshold) { ExitCode::from(1) } else { ExitCode::SUCCESS };
    // The process ends here, which frees them at once rather than text by text.
    std::mem::forget((report, state));
    Ok(status)
}
