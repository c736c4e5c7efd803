//! Settings under `/proc/sys/net`. The kernel resolves them in the namespace of the calling thread.

use std::path::PathBuf;

use crate::Error;

fn path(parts: &[&str]) -> PathBuf {
    // Parts, not one dotted name: interface names may have dots in them.
    let mut path = PathBuf::from("/proc/sys/net");
    path.extend(parts);
    path
}

/// Reads a setting: `read(&["ipv4", "conf", "br0", "rp_filter"])`.
///
/// # Errors
/// If there is none.
pub fn read(parts: &[&str]) -> Result<String, Error> {
    let path = path(parts);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
    Ok(text.trim().to_owned())
}

/// Reads a setting that is a number.
///
/// # Errors
/// If there is none, or it is no number.
pub fn read_number(parts: &[&str]) -> Result<i32, Error> {
    let text = read(parts)?;
    let malformed =
        |error| Error::Malformed { what: path(parts).display().to_string(), detail: format!("{error}") };
    text.parse().map_err(malformed)
}

/// Changes a setting.
///
/// # Errors
/// If there is none, or without permission.
pub fn write(parts: &[&str], value: &str) -> Result<(), Error> {
    let path = path(parts);
    std::fs::write(&path, value).map_err(|error| Error::file(&path, error))
}
