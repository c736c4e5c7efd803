//! Holding back the signals that end a process, while it does something that has to be done whole or undone.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::Error;

/// The signals by which people and service managers end a process.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals that wait until this is dropped.
#[derive(Debug)]
pub struct Held {
    signals: SignalFd,
    before: SigSet,
}

impl Held {
    /// Holds back `SIGINT`, `SIGTERM` and `SIGHUP` from the calling thread and those that it starts. A process whose other
    /// threads already run gets them there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self, Error> {
        let refused = |errno| Error::refused("holding back signals", errno);
        let ending: SigSet = ENDING.into_iter().collect();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&ending, flags).map_err(refused)?;
        let before = SigSet::thread_get_mask().map_err(refused)?;
        ending.thread_block().map_err(refused)?;
        Ok(Self { signals, before })
    }

    /// Whether one has come since; it is taken for dealt with.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn came(&self) -> Result<bool, Error> {
        let signal = self.signals.read_signal();
        signal.map(|signal| signal.is_some()).map_err(|errno| Error::refused("asking for signals", errno))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be restored stays held: the process then ends by itself.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_waits_and_is_told() {
        // A thread of its own: the mask is the thread's, and so is the signal.
        let told = std::thread::spawn(|| {
            let held = Held::new().unwrap();
            assert!(!held.came().unwrap());
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            let told = held.came().unwrap();
            assert!(!held.came().unwrap());
            told
        });
        assert!(told.join().unwrap());
    }
}
