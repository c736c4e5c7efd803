//! `portcullis map`.

use std::collections::HashMap;
use std::process::ExitCode;

use portcullis_audit::{Context, Role};
use portcullis_report::json::{self, MapDocument};
use portcullis_report::text;

use super::{policy, source::State};
use crate::arguments::{Format, MapArguments};
use crate::failure::Failure;
use crate::output::print;

pub(crate) fn run(arguments: &MapArguments) -> Result<ExitCode, Failure> {
    let (policy, _) = policy::read(&arguments.policy)?;
    let state = State::read(&arguments.source)?;
    let contexts =
        state.snapshot.namespaces.iter().filter_map(|netns| Context::new(&state.snapshot, netns, &policy));
    let mut roles = HashMap::new();
    for context in contexts {
        let ports = context.bridges().iter().flat_map(|bridge| &bridge.ports);
        roles.extend(ports.map(|port| ((context.netns().id, port.link.index), port.role)));
    }
    let role_of = |netns, port| roles.get(&(netns, port)).copied().unwrap_or(Role::Uplink);
    let document = MapDocument::new(&state.snapshot, |netns| state.includes(netns), role_of);
    print(|mut out| match arguments.format {
        Format::Text => text::map(&mut out, &document),
        Format::Json => json::write(&mut out, &document),
    })?;
    Ok(ExitCode::SUCCESS)
}
