//! Standard output: buffered, coloured on a terminal only, and quiet when the reader has gone.

use std::io::{self, BufWriter, ErrorKind, Write};

use crate::failure::Failure;

/// Writes to standard output.
///
/// A reader that stops reading (`| head`) is no error.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let stdout = anstream::AutoStream::auto(io::stdout().lock());
    let mut out = BufWriter::new(stdout);
    let written = write(&mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
