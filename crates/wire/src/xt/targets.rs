//! Targets.

use portcullis_snapshot::XtTarget;

use super::Extension;

/// Decodes a target.
#[must_use]
pub fn decode(extension: &Extension<'_>) -> XtTarget {
    XtTarget::Other(extension.other())
}
