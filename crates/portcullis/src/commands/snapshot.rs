//! `portcullis snapshot`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use portcullis_report::text;
use portcullis_snapshot::Snapshot;

use super::source::State;
use crate::arguments::{Format, SnapshotArguments};
use crate::failure::Failure;
use crate::output::{print, print_document};

pub(crate) fn run(arguments: &SnapshotArguments) -> Result<ExitCode, Failure> {
    let mut state = State::read(&arguments.source)?;
    let wanted: Vec<_> = state.snapshot.namespaces.iter().map(|netns| state.includes(netns.id)).collect();
    let mut wanted = wanted.into_iter();
    state.snapshot.namespaces.retain(|_| wanted.next().unwrap_or(true));
    let snapshot = state.snapshot;
    match (&arguments.output, arguments.format) {
        (Some(path), _) => {
            save(&snapshot, path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            if arguments.format == Format::Text {
                print(|mut out| text::snapshot(&mut out, &snapshot))?;
            }
        }
        (None, Format::Json) => print_document(|out| snapshot.save(out))?,
        (None, Format::Text) => print(|mut out| text::snapshot(&mut out, &snapshot))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the file beside its place and moves it there, so that nobody ever finds half of it.
fn save(snapshot: &Snapshot, path: &Path) -> std::io::Result<()> {
    if !path.is_file() && path.exists() {
        // A pipe or a device: there is nothing to replace.
        return snapshot.save(BufWriter::new(File::options().write(true).open(path)?));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = File::create(&beside).and_then(|file| {
        let mut file = BufWriter::new(file);
        snapshot.save(&mut file)?;
        file.flush()
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}
