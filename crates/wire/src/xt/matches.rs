//! Matches.

use portcullis_snapshot::XtMatch;

use super::Extension;

/// Decodes a match.
#[must_use]
pub fn decode(extension: &Extension<'_>) -> XtMatch {
    XtMatch::Other(extension.other())
}
