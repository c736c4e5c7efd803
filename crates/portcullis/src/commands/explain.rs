//! `portcullis explain`.

use std::process::ExitCode;

use portcullis_audit::registry;
use portcullis_report::json::{self, ExplainDocument};
use portcullis_report::text;

use crate::arguments::{ExplainArguments, Format};
use crate::failure::Failure;
use crate::output::print;

pub(crate) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let rule = arguments.rule.as_deref().filter(|name| *name != "list");
    let document = match rule {
        None => ExplainDocument::new(registry::docs()),
        Some(name) => ExplainDocument::new([registry::doc_named(name).ok_or_else(|| {
            let failure = Failure::new(format!("there is no rule {name:?}"));
            failure
                .hint("portcullis explain list names them all")
                .nearest(name, registry::ids().map(|id| id.0))
        })?]),
    };
    print(|mut out| match (arguments.format, rule) {
        (Format::Json, _) => json::write(&mut out, &document),
        (Format::Text, None) => text::explain_list(&mut out, &document),
        (Format::Text, Some(_)) => text::explain(&mut out, &document),
    })?;
    Ok(ExitCode::SUCCESS)
}
