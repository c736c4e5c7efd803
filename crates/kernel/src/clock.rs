//! The clock that goes on while the machine sleeps, and the name of the time since it was started.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Error;

/// Returns how long the machine has been up, sleep included (`CLOCK_BOOTTIME`). No one can set it.
///
/// # Errors
/// If the kernel does not have it.
pub fn since_boot() -> Result<Duration, Error> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME);
    now.map(Duration::from).map_err(|errno| Error::refused("reading the clock", errno))
}

/// Returns the id of this start of the machine.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn boot_id() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).map_err(|error| Error::file(PATH, error))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_the_start_has_a_name() {
        let before = since_boot().unwrap();
        assert!(since_boot().unwrap() >= before);
        assert_eq!(boot_id().unwrap().len(), 36);
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }
}
