//! A word on standard error when something takes longer than a moment. On a terminal only.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a command may be silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is under way until it is dropped.
pub(crate) struct Progress {
    ended: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts something that is likely to be short.
    pub(crate) fn of(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { ended: None };
        }
        let (sender, receiver) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(io::stderr(), "{what} …");
                let _ = receiver.recv();
                let _ = write!(io::stderr(), "\r\u{1b}[K");
            }
        });
        Self { ended: Some((sender, thread)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.ended.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}
