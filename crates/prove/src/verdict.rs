//! What a proof comes to.

use portcullis_datapath::OpenKind;
use portcullis_snapshot::{Bytes, IfIndex};

use crate::claim::Goal;

/// A claim about a port, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The port that frames come in by; for sniffing, the one that they leave by.
    pub port: IfIndex,
    /// What is claimed not to happen.
    pub goal: Goal,
    /// Whether that is so.
    pub verdict: Verdict,
}

/// Whether a claim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds for every frame.
    Isolated,
    /// It does not.
    Exposed(Exposure),
    /// It depends on these, sorted. There is one at least.
    Unproven(Vec<Assumption>),
}

/// A frame that gets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The frame, from the destination address on, without a frame check sequence: of those that were made the
    /// shortest.
    pub frame: Bytes,
    /// The port that it comes in by.
    pub into: IfIndex,
    /// Whether it gets through only once the table of learned addresses, or who is a member of which group, is other
    /// than it was read.
    pub later: bool,
}

/// Something that the walk does not see into, or that was not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assumption {
    /// What it is, in words.
    pub what: String,
    /// The kernel's function where it stands; empty if it is about the proof itself.
    pub function: &'static str,
}

impl Assumption {
    pub(crate) fn new(function: &'static str, kind: &OpenKind) -> Self {
        Self { what: kind.to_string(), function }
    }
}

impl Verdict {
    /// Returns its name, as in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Exposed(_) => "exposed",
            Self::Unproven(_) => "unproven",
        }
    }
}
