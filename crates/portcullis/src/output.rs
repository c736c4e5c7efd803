//! Standard output: buffered, coloured on a terminal only, and quiet when the reader has gone.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;

use crate::failure::Failure;

/// How many bytes of a document are written at once.
const CHUNK: usize = 1 << 16;

/// Writes text for people to standard output.
///
/// A reader that stops reading (`| head`) is no error.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let stdout = anstream::AutoStream::auto(io::stdout().lock());
    finish(BufWriter::new(stdout), |out| write(out))
}

/// Writes a document for programs to standard output: as it is, without a search for colours, and without one for
/// ends of lines, both of which take longer than writing on the many megabytes that an audit can have.
///
/// A reader that stops reading is no error here either.
pub(crate) fn print_document(
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Failure> {
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    finish(BufWriter::with_capacity(CHUNK, stdout), write)
}

fn finish<W: Write>(
    mut out: BufWriter<W>,
    write: impl FnOnce(&mut BufWriter<W>) -> io::Result<()>,
) -> Result<(), Failure> {
    let written = write(&mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
