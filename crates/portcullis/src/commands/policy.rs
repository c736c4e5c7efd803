//! The policy file: the one that was named, or the one in its usual place.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use portcullis_audit::Policy;

use crate::arguments::PolicyFile;
use crate::failure::Failure;

/// Where a policy file is looked for when none is named.
const USUAL: &str = "/etc/portcullis/policy.toml";

/// Reads it, and says where it was.
pub(super) fn read(arguments: &PolicyFile) -> Result<(Policy, Option<String>), Failure> {
    let (path, named) = match &arguments.path {
        Some(path) => (path.as_path(), true),
        None => (Path::new(USUAL), false),
    };
    let place = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if !named && error.kind() == ErrorKind::NotFound => return Ok((Policy::default(), None)),
        Err(error) => return Err(Failure::new(format!("{place}: {error}"))),
    };
    let policy = Policy::parse(&text).map_err(|error| {
        let failure =
            Failure::new(format!("{place}: line {}, column {}: {}", error.line, error.column, error.message));
        match &error.nearest {
            Some(nearest) => failure.hint(format!("did you mean {nearest:?}?")),
            None => failure,
        }
    })?;
    Ok((policy, Some(place)))
}
