//! Why and where the kernel freed packets: the tracepoint `skb:kfree_skb`, read through tracefs.
//!
//! Tracing is the machine's, not a network namespace's: whoever reads has to know his own packets. Nobody else's tracing
//! is disturbed, since events are enabled in an instance of our own.

mod lines;
mod tracefs;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use portcullis_snapshot::EtherType;

use crate::Error;
use lines::Reader;
use tracefs::{Instance, Tracefs};

/// The tracepoint. `consume_skb` is another one, of packets that came where they should.
const EVENT: &str = "events/skb/kfree_skb";

/// How often [`DropTrace::drain`] reads at most, lest a kernel that drops faster than we read holds it for ever.
const MOST_READS: usize = 4096;

/// A packet that the kernel freed without having delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The place in the kernel, `br_handle_frame_finish+0x1a2/0x4b0`, with ` [bridge]` behind it if it is in a module. An
    /// address where the kernel tells no symbol; the whole line where it was not understood.
    pub location: String,
    /// The packet's protocol; 0 where the line was not understood.
    pub protocol: EtherType,
    /// Why, in the kernel's word: `MAC_INVALID_SOURCE`. Kernels before 5.17 give no reasons.
    pub reason: Option<String>,
}

impl Dropped {
    /// Returns the name of the function in which it was dropped, where the location is a symbol.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.location.split_once("+0x").map(|(name, _)| name).filter(|name| !name.contains(' '))
    }
}

/// The kernel's drops from now on, until this is dropped itself.
#[derive(Debug)]
pub struct DropTrace {
    // Closed before the instance is removed: the kernel removes none that is open. Fields are dropped in this order.
    pipe: File,
    /// The beginning of a line whose end was not read yet.
    begun: Vec<u8>,
    _instance: Instance,
}

impl DropTrace {
    /// Begins to trace, for the whole machine. Where tracefs is not mounted, root gets a mount that nobody else sees.
    ///
    /// # Errors
    /// Without root's rights over tracefs (a user namespace gives none), or on a kernel without it.
    pub fn start() -> Result<Self, Error> {
        let instance = Tracefs::find()?.instance()?;
        let format = instance.read(&format!("{EVENT}/format"))?;
        if !format.contains("location=%pS") {
            // 6.1 and older write a hashed address. The stack has the symbol: the first function in it that is not there
            // to free packets.
            instance.write("options/sym-offset", "1")?;
            instance.write("options/stacktrace", "1")?;
        }
        instance.write(&format!("{EVENT}/enable"), "1")?;
        Ok(Self { pipe: instance.pipe()?, begun: Vec::new(), _instance: instance })
    }

    /// Returns what was dropped since the last time, oldest first, without waiting.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub fn drain(&mut self) -> Result<Vec<Dropped>, Error> {
        let mut text = std::mem::take(&mut self.begun);
        let mut buffer = vec![0; 65536];
        for _ in 0..MOST_READS {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::file(Path::new("trace_pipe"), error)),
            }
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.begun = text.split_off(whole);
        let mut reader = Reader::default();
        String::from_utf8_lossy(&text).lines().for_each(|line| reader.read(line));
        Ok(reader.finish())
    }
}
