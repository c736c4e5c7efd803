//! How findings, walks and maps are said: as JSON for programs, as text for people, as SARIF and HTML for others.
//!
//! [`json`] makes a document from a finished value; everything else prints documents. Printing takes a
//! [`Write`](std::io::Write) and decides nothing: no finding is judged, sorted by importance or left out uncounted
//! here. Text that comes from the kernel or from a file is never trusted: what could steer a terminal is escaped.

mod html;
pub mod json;
mod sarif;
pub mod text;

pub use html::html;
pub use sarif::sarif;
