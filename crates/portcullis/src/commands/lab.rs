//! `portcullis lab`.

use std::process::ExitCode;

use portcullis_report::json::{self, LabEntry, LabsDocument};

use crate::arguments::{Format, LabArguments, LabCommand};
use crate::failure::Failure;
use crate::lab::{self, LABS, Lab, LabError};
use crate::output::print;

pub(crate) fn run(arguments: &LabArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        LabCommand::List => list(arguments.format),
        LabCommand::Run { name } => run_one(lab::find(name)?, arguments.format),
        LabCommand::Up { name } => {
            let lab = lab::find(name)?;
            let names = lab.up()?;
            namespaces(lab, "made", names, arguments.format)
        }
        LabCommand::Down { name } => {
            let lab = lab::find(name)?;
            let names = lab.down()?;
            namespaces(lab, "removed", names, arguments.format)
        }
    }
}

fn list(format: Format) -> Result<ExitCode, Failure> {
    print(|mut out| match format {
        Format::Json => json::write(&mut out, &LabsDocument::new(LABS.map(|lab| entry(lab, None)))),
        Format::Text => {
            let width = LABS.iter().map(|lab| lab.name.len()).max().unwrap_or(0);
            LABS.iter().try_for_each(|lab| writeln!(out, "{:width$}  {}", lab.name, lab.about))
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn run_one(lab: Lab, format: Format) -> Result<ExitCode, Failure> {
    let story = lab.run()?;
    print(|mut out| match format {
        Format::Json => json::write(&mut out, &story),
        Format::Text => lab::print(&story, &mut out),
    })?;
    Ok(if story.agrees() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Says which namespaces came or went, and how to look at those that came.
fn namespaces(lab: Lab, what: &str, names: Vec<String>, format: Format) -> Result<ExitCode, Failure> {
    print(|mut out| match format {
        Format::Json => json::write(&mut out, &LabsDocument::new([entry(lab, Some(names))])),
        Format::Text => {
            writeln!(out, "{what}: {}", names.join(", "))?;
            match names.first().filter(|_| what == "made") {
                Some(first) => {
                    writeln!(out, "look at it: ip netns exec {first} ip link; portcullis audit --all-netns")
                }
                None => Ok(()),
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn entry(lab: Lab, namespaces: Option<Vec<String>>) -> LabEntry {
    LabEntry { name: lab.name.to_owned(), about: lab.about.to_owned(), namespaces }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Kernel(error) => Self::from(error).hint(
                "root may do this; others need user namespaces, and for up a /run of their own: \
                 unshare -Urnm sh -c 'mount -t tmpfs run /run; exec sh'",
            ),
            LabError::Unknown { ref name } => Self::new(&error).nearest(name, LABS.map(|lab| lab.name)),
            other => Self::new(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lab::{Article, Story};
    use portcullis_report::json::LabDocument;

    #[test]
    fn a_run_is_what_its_schema_says() {
        let mut story = Story::new("hypervisor", "guest1 ── br0", "6.12.0".to_owned());
        story.step("part", "a step", true, true, Some(Article { says: "so", holds: true }));
        let json = serde_json::to_value(&story).unwrap();
        let document: LabDocument = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(document.schema, LabDocument::SCHEMA);
        assert_eq!(serde_json::to_value(&document).unwrap(), json);
    }
}
