//! `portcullis explain`.

use std::process::ExitCode;

use portcullis_audit::registry;
use portcullis_plan::{BY_HAND, Method, MethodDoc};
use portcullis_report::json::{self, ExplainDocument};
use portcullis_report::text;

use crate::arguments::{ExplainArguments, Format};
use crate::failure::Failure;
use crate::output::print;

pub(crate) fn run(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let name = arguments.rule.as_deref();
    let document = match name {
        None | Some("list") => ExplainDocument::new(registry::docs()),
        Some("methods") => ExplainDocument::of_methods(remedies()),
        Some(name) => page(name)?,
    };
    print(|mut out| match (arguments.format, name) {
        (Format::Json, _) => json::write(&mut out, &document),
        (Format::Text, None | Some("list")) => text::explain_list(&mut out, &document),
        (Format::Text, Some("methods")) => text::explain_methods(&mut out, &document),
        (Format::Text, Some(_)) => text::explain(&mut out, &document),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn remedies() -> impl Iterator<Item = &'static MethodDoc> {
    Method::ALL.into_iter().map(Method::doc).chain(BY_HAND)
}

/// The page of a rule, or of a remedy. No name is of both.
fn page(name: &str) -> Result<ExplainDocument, Failure> {
    if let Some(doc) = remedies().find(|doc| doc.name == name) {
        return Ok(ExplainDocument::of_methods([doc]));
    }
    let rule = registry::doc_named(name).ok_or_else(|| {
        let known = registry::ids().map(|id| id.0).chain(remedies().map(|doc| doc.name));
        Failure::new(format!("there is no rule and no remedy {name:?}"))
            .hint("portcullis explain list names the rules, explain methods the remedies")
            .nearest(name, known)
    })?;
    Ok(ExplainDocument::new([rule]))
}
